package broker

import (
	"context"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
)

// Forward carries a request to the active controller in the name of its caller. While there is no active
// controller it tries again, as Kafka's brokers do, until the context ends or request.timeout.ms is over; then
// the error carries REQUEST_TIMED_OUT.
//
// It returns when this broker has what the controller answered: who creates a topic can write to it at once.
func (b *Broker) Forward(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	response, err := b.carry(ctx, caller, request, version)
	if err == nil && b.o.Committed != nil {
		b.await(ctx, b.o.Committed())
	}
	return response, err
}

// carry is Forward without the wait for the metadata.
func (b *Broker) carry(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	if b.o.Config.ForwardTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.o.Config.ForwardTimeout)
		defer cancel()
	}
	for pause := backoffMin; ; pause = min(2*pause, backoffMax) {
		response, err := b.o.Controller.Handle(ctx, caller, request, version)
		if kafka.CodeOf(err) != kafka.NotController {
			return response, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			timer.Stop()
			return nil, kafka.BrokerNotAvailable.Errorf("the broker is stopping")
		case <-ctx.Done():
			timer.Stop()
			return nil, kafka.RequestTimedOut.Errorf("there was no active controller in time")
		}
	}
}

// catchUpLimit bounds the wait of await: a broker that applies images that slowly answers all the same.
const catchUpLimit = 2 * time.Second

// await returns when the image that all rooms have contains the offset, or when that takes too long.
func (b *Broker) await(ctx context.Context, offset int64) {
	var limit <-chan time.Time
	for {
		b.mu.Lock()
		come, handed := b.life.offset, b.handed
		b.mu.Unlock()
		if come >= offset {
			return
		}
		if limit == nil {
			timer := time.NewTimer(catchUpLimit)
			defer timer.Stop()
			limit = timer.C
		}
		select {
		case <-handed:
		case <-limit:
			return
		case <-ctx.Done():
			return
		case <-b.ctx.Done():
			return
		}
	}
}

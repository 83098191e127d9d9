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
func (b *Broker) Forward(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
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

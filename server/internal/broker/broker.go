package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// Controller takes requests for the active controller: the one in this process, or a connection to another's.
type Controller interface {
	// Handle answers a request. The error carries NOT_CONTROLLER when it should be asked elsewhere or later.
	Handle(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error)
}

// Options is what a broker is made of.
type Options struct {
	NodeID      int32
	ClusterID   string
	Incarnation kafka.UUID // of this run of the process
	Rack        string     // empty for none
	Endpoints   []metadata.Endpoint
	Features    map[string]metadata.FeatureRange

	Controller Controller
	// Committed returns the offset up to which this node knows the metadata log to be committed; the image that
	// Publish is given follows it. nil where requests should not wait for their own changes.
	Committed func() int64
	// MetadataDir is the directory of the metadata log: when it fails the node must stop.
	MetadataDir kafka.DirectoryID
	Config      Config
	Log         *slog.Logger
	// Failed is told, once, why the node must stop.
	Failed func(error)
}

// Replicas is the part of replica.Manager that the broker drives.
type Replicas interface {
	Apply(image *metadata.Image, delta *metadata.Delta)
	SetBrokerEpoch(epoch int64)
}

// Coordinator is what follows the leaderships of an internal topic: group.Coordinator.
type Coordinator interface {
	Publish(image *metadata.Image, delta *metadata.Delta)
}

// Broker is the life of one broker. It implements api.Forwarder and replica.Cluster.
type Broker struct {
	o   Options
	log *slog.Logger
	ids producerIDs

	replicas     Replicas // set by Loaded, with the coordinators
	coordinators []Coordinator

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	wg     sync.WaitGroup
	wake   chan struct{} // holds one token when the loop has something new to look at

	mu     sync.Mutex
	life   *lifecycle
	closed bool
	// unfenced is closed when the controller has said that this registration is unfenced, and an image that has been
	// handed to all rooms shows it. Either may come first.
	unfenced chan struct{}
	isReady  bool // unfenced is closed
	gone     chan struct{}
	isGone   bool          // gone is closed: the lifecycle has ended
	handed   chan struct{} // closed, and replaced, when the next image has been handed to all rooms
	stalls   map[kafka.DirectoryID]string
	assigns  assignments

	publisher publisher
}

var (
	_ replica.Cluster = (*Broker)(nil)
	_ Replicas        = (*replica.Manager)(nil)
)

// New makes a broker. It may be given images at once; Start begins its life.
func New(o Options) *Broker {
	registration := wire.BrokerRegistrationRequest{
		BrokerID:            o.NodeID,
		ClusterID:           o.ClusterID,
		IncarnationID:       o.Incarnation,
		PreviousBrokerEpoch: -1,
	}
	if o.Rack != "" {
		registration.Rack = &o.Rack
	}
	for _, e := range o.Endpoints {
		registration.Listeners = append(registration.Listeners, wire.BrokerRegistrationRequestListeners{
			Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.Protocol})
	}
	for _, name := range sortedKeys(o.Features) {
		r := o.Features[name]
		registration.Features = append(registration.Features, wire.BrokerRegistrationRequestFeatures{
			Name: name, MinSupportedVersion: r.Min, MaxSupportedVersion: r.Max})
	}
	b := &Broker{
		o:        o,
		log:      o.Log,
		wake:     make(chan struct{}, 1),
		unfenced: make(chan struct{}),
		gone:     make(chan struct{}),
		handed:   make(chan struct{}),
		stalls:   make(map[kafka.DirectoryID]string),
	}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.life = newLifecycle(registration, o.Config, time.Now())
	b.ids = producerIDs{fetch: b.fetchBlock, run: b.run}
	b.assigns.pending = make(map[kafka.TopicIDPartition]kafka.DirectoryID)
	return b
}

// Start begins to register with the controller. Loaded comes before.
func (b *Broker) Start() { b.run(b.live) }

// run starts a goroutine that Close waits for; false when the broker is closed.
func (b *Broker) run(f func(ctx context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.wg.Go(func() { f(b.ctx) })
	return true
}

// live turns the crank of the lifecycle.
func (b *Broker) live(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b.mu.Lock()
		request, wake := b.life.next(time.Now())
		b.mu.Unlock()
		if request != nil {
			response, err := b.ask(ctx, request)
			if ctx.Err() != nil {
				return
			}
			b.answered(response, err)
			continue
		}
		if wake.IsZero() {
			wake = time.Now().Add(time.Hour)
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		}
	}
}

// ask sends one request to the controller, in this node's own name. A heartbeat that hangs is worth less than
// the next one, so it may take one session at most.
func (b *Broker) ask(ctx context.Context, request wire.Message) (wire.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, max(8*b.o.Config.HeartbeatInterval, time.Second))
	defer cancel()
	return b.o.Controller.Handle(ctx, b.self(), request, request.Info().MaxVersion)
}

// self is the caller of requests that the broker sends in its own name.
func (b *Broker) self() controller.Caller {
	return controller.Caller{Principal: "User:ANONYMOUS", ClientID: fmt.Sprintf("broker-%d", b.o.NodeID)}
}

// answered hands an answer to the lifecycle and acts on what came of it.
func (b *Broker) answered(response wire.Message, err error) {
	b.mu.Lock()
	before, epoch := b.life.state, b.life.epoch
	b.life.answered(response, err, time.Now())
	state, failure := b.life.state, b.life.failure
	registered := b.life.epoch != epoch && b.life.epoch >= 0
	epoch = b.life.epoch
	if (state == Gone || failure != nil) && !b.isGone {
		b.isGone = true
		close(b.gone)
	}
	b.lookReady(b.Image())
	b.mu.Unlock()

	if err != nil && before != Gone {
		b.log.Debug("the controller did not answer", "state", state, "error", err)
	}
	if registered {
		b.replicas.SetBrokerEpoch(epoch)
		b.log.Info("registered with the controller", "epoch", epoch)
	}
	switch {
	case failure != nil:
		b.o.Failed(failure)
	case before == Running && (state == Recovering || state == Starting):
		b.log.Warn("fenced by the controller: clients are not sent here until the session is restored", "epoch", epoch)
	}
}

// lookReady closes unfenced when it is time. Called with mu held, with the newest image that all rooms have.
func (b *Broker) lookReady(image *metadata.Image) {
	if b.isReady || image == nil || b.life.state != Running {
		return
	}
	if me := image.Broker(b.o.NodeID); me != nil && me.Epoch == b.life.epoch && !me.Fenced {
		b.isReady = true
		close(b.unfenced)
	}
}

// nudge makes the loop look at the lifecycle again.
func (b *Broker) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Ready is closed when the broker has been unfenced for the first time and every room knows it.
func (b *Broker) Ready() <-chan struct{} { return b.unfenced }

// Epoch returns the broker epoch of the current registration, -1 when there is none.
func (b *Broker) Epoch() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life.epoch
}

// State returns where the broker is in its life.
func (b *Broker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life.state
}

// Unready returns why clients should not be sent here, in sentences; none when all is well.
func (b *Broker) Unready() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var why []string
	switch b.life.state {
	case Starting:
		why = append(why, "the broker has not registered with the controller")
	case Recovering:
		why = append(why, "the broker is fenced")
	case Leaving, Gone:
		why = append(why, "the broker is stopping")
	}
	for _, id := range sortedDirs(b.stalls) {
		why = append(why, "the disk of "+b.stalls[id]+" does not answer")
	}
	return why
}

// Leave asks the controller to move this broker's leaderships elsewhere, and returns when it has, when there is
// nobody to ask, or with the context's error. Close comes next in any case.
func (b *Broker) Leave(ctx context.Context) error {
	if !b.o.Config.ControlledShutdown {
		return nil
	}
	b.mu.Lock()
	b.life.leave(time.Now())
	if b.life.state == Gone && !b.isGone {
		b.isGone = true
		close(b.gone)
	}
	b.mu.Unlock()
	b.nudge()
	select {
	case <-b.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the controller did not agree to the shutdown: %w", ctx.Err())
	}
}

// Close ends the heartbeats, hands no image on any more, and waits for every goroutine of the broker.
func (b *Broker) Close() {
	b.publisher.mu.Lock()
	b.publisher.loaded = false // what is published from now on concerns nobody
	b.publisher.mu.Unlock()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
}

// ProducerID returns an id that no producer of the cluster was ever given. The error carries
// COORDINATOR_LOAD_IN_PROGRESS when the client should try again.
func (b *Broker) ProducerID(ctx context.Context) (int64, error) { return b.ids.next(ctx) }

// fetchBlock asks the controller for a block of producer ids.
func (b *Broker) fetchBlock(ctx context.Context) (idBlock, error) {
	request := &wire.AllocateProducerIdsRequest{BrokerID: b.o.NodeID, BrokerEpoch: b.Epoch()}
	response, err := b.carry(ctx, b.self(), request, request.Info().MaxVersion)
	if err != nil {
		return idBlock{}, err
	}
	r := response.(*wire.AllocateProducerIdsResponse)
	if r.ErrorCode != kafka.None {
		return idBlock{}, r.ErrorCode
	}
	return idBlock{r.ProducerIDStart, r.ProducerIDStart + int64(r.ProducerIDLen)}, nil
}

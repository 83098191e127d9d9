package controller

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Controller decides while its node leads the metadata quorum, and says NOT_CONTROLLER otherwise.
type Controller struct {
	settings
	quorum   Proposer
	rand     *rand.Rand
	clock    func() time.Time
	maxBatch int

	mu        sync.Mutex
	committed *metadata.Image
	leader    int32
	epoch     int32
	lead      *leadership // nil while another node leads, or nobody does
	// due says that this node leads and has not begun to decide. It begins with the next Tick or request and not
	// in the call that says so, because that comes from the quorum, and beginning asks the quorum.
	due bool

	timedOut atomic.Int64 // brokers that were fenced for their silence

	wake chan struct{} // the loop sleeps towards a deadline; this tells that it moved
	stop chan struct{}
	done chan struct{}
}

// leadership is the state of the controller in one leader epoch.
type leadership struct {
	epoch    int32
	image    *metadata.Image // committed plus own uncommitted records
	index    *index
	sessions sessions
	next     int64 // offset that the next record gets

	// inFlight counts proposals that are not done; the waiters of decisions without records of their own are
	// parked behind the last one.
	inFlight int
	parked   []*pending // in the order of their proposals; those at the front are answered first
	proposed int64      // number of the last proposal
	settled  int64      // number of the last proposal that was committed

	// broken is set when a proposal failed: the image holds records that are not in the log. The state is
	// built again from the committed image when nothing is in flight any more.
	broken bool
	// wakeAt is when the loop wants to look at the sessions.
	wakeAt time.Time
}

// pending is an answer that waits for a proposal.
type pending struct {
	after int64 // number of the proposal
	done  chan error
}

// New makes a controller. It decides nothing before LeaderChanged says that its node leads.
func New(o Options) *Controller {
	c := &Controller{
		settings: settings{
			nodeID: o.NodeID, clusterID: o.ClusterID, topic: o.TopicConfigs, broker: o.BrokerConfigs,
			group: o.GroupConfigs, telemetry: o.ClientMetricsConfigs, static: o.Static, features: o.Features, log: o.Log,
		},
		quorum: o.Quorum, rand: o.Rand, clock: o.Now, maxBatch: o.MaxBatchRecords,
		committed: metadata.Empty(), leader: kafka.NoNode, epoch: kafka.NoEpoch,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if c.topic == nil {
		c.topic = config.NewTable(TopicKeys()...)
	}
	if c.broker == nil {
		c.broker = config.NewTable(BrokerKeys()...)
	}
	if c.group == nil {
		c.group = config.NewTable(GroupKeys()...)
	}
	if c.telemetry == nil {
		c.telemetry = config.NewTable(ClientMetricsKeys()...)
	}
	if c.features == nil {
		c.features = metadata.ServedFeatures()
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.rand == nil {
		var seed [16]byte
		crand.Read(seed[:])
		c.rand = rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:]), binary.LittleEndian.Uint64(seed[8:])))
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	if c.maxBatch == 0 {
		c.maxBatch = 10_000
	}
	c.sessionTimeout = time.Duration(c.staticInt("broker.session.timeout.ms", defaultSessionTimeoutMs)) * time.Millisecond
	c.suspectTimeout = min(c.sessionTimeout, defaultSuspectTimeout)
	return c
}

// fenceRetry is when a fencing is tried again that the quorum refused.
const fenceRetry = time.Second

// Start begins to watch over the brokers' sessions, until Close.
func (c *Controller) Start() { go c.loop() }

// Close stops what Start began and waits for it. Requests that wait for a commit are not cut off; the quorum
// answers them when it closes.
func (c *Controller) Close() {
	close(c.stop)
	<-c.done
}

// loop fences brokers that were silent for too long. It sleeps while there is nothing to watch.
func (c *Controller) loop() {
	defer close(c.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := c.Tick(c.clock())
		sleep := time.Hour
		if !next.IsZero() {
			sleep = max(0, next.Sub(c.clock()))
		}
		timer.Reset(sleep)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.stop:
			return
		}
	}
}

func (c *Controller) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Tick judges the sessions of the brokers at now and returns when it wants to be called again; the zero time
// for never, until something changes.
func (c *Controller) Tick(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	l := c.lead
	if l == nil || l.broken {
		return time.Time{}
	}
	if !l.wakeAt.IsZero() {
		l.sessions.slept(now.Sub(l.wakeAt))
	}
	for {
		v := c.view(now)
		stale, ok := v.staleBroker()
		if !ok {
			break
		}
		c.log.Warn("fencing a broker that was silent for too long", "broker", stale, "timeout", c.sessionTimeout)
		if err := c.propose(v.fence(stale).records, nil); err != nil {
			if c.lead != l || l.broken {
				return time.Time{}
			}
			c.log.Warn("a broker could not be fenced; it is tried again", "broker", stale, "in", fenceRetry, "error", err)
			l.wakeAt = now.Add(fenceRetry)
			return l.wakeAt
		}
		c.timedOut.Add(1)
		l.sessions.forget(stale)
	}
	l.wakeAt = l.sessions.next(c.sessionTimeout)
	// It looks oftener than it must, to notice soon and closely how long it was itself away.
	if soon := now.Add(c.sessionTimeout / 8); l.wakeAt.After(soon) {
		l.wakeAt = soon
	}
	return l.wakeAt
}

// view is what a decider sees now. The lock is held.
func (c *Controller) view(now time.Time) *view {
	l := c.lead
	return &view{settings: &c.settings, image: l.image, index: l.index, sessions: l.sessions, now: now, rand: c.rand, nextOffset: l.next, room: c.quorum.Room}
}

// Publish takes the committed image; it is a metadata.Publisher.
func (c *Controller) Publish(image *metadata.Image, _ *metadata.Delta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committed = image
}

// LeaderChanged tells who leads the quorum. When it is this node, all earlier records must have been
// published before.
func (c *Controller) LeaderChanged(leader, epoch int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if epoch < c.epoch {
		return
	}
	c.leader, c.epoch = leader, epoch
	c.resign()
	c.due = leader == c.nodeID
	c.nudge()
}

// TimedOutHeartbeats returns how many brokers this node has fenced since its start because they were silent for too long.
func (c *Controller) TimedOutHeartbeats() int64 { return c.timedOut.Load() }

// Leader returns the node that leads the quorum, NoNode when none is known, and its epoch.
func (c *Controller) Leader() (id, epoch int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader, c.epoch
}

// resign drops the speculative state. Answers that wait stay with their proposals, which fail by themselves.
func (c *Controller) resign() {
	l := c.lead
	if l == nil {
		return
	}
	c.lead = nil
	for _, p := range l.parked {
		p.done <- c.notController()
	}
	l.parked = nil
}

// begin starts to decide, on the committed image, when that is due.
func (c *Controller) begin() {
	if !c.due {
		return
	}
	c.due = false
	now := c.clock()
	c.lead = &leadership{epoch: c.epoch, image: c.committed, index: newIndex(c.committed), sessions: newSessions(c.committed, now), next: c.quorum.EndOffset()}
	if records := c.view(now).activation(); len(records) > 0 {
		if err := c.propose(records, nil); err != nil {
			c.log.Warn("the controller could not write its first records; it tries again with the next request", "error", err)
			c.lead = nil
			c.due = kafka.CodeOf(err) != kafka.NotController
		}
	}
}

func (c *Controller) notController() error {
	if c.leader != kafka.NoNode && c.leader != c.nodeID {
		return kafka.NotController.Errorf("node %d is the active controller", c.leader)
	}
	return kafka.NotController.Errorf("node %d is not the active controller, and knows of no other", c.nodeID)
}

// Handle decides a request and returns its response when all it rests on is committed. An error carries
// NOT_CONTROLLER when this node does not decide (any more), REQUEST_TIMED_OUT when ctx ends first: what was
// decided may then still come true. Errors that the response has a place for come in the response.
func (c *Controller) Handle(ctx context.Context, caller Caller, request wire.Message, version int16) (wire.Message, error) {
	response, wait, err := c.submit(caller, request, version)
	if err != nil {
		return nil, err
	}
	if wait == nil {
		return response, nil
	}
	select {
	case err := <-wait:
		if err != nil {
			return nil, err
		}
		return response, nil
	case <-ctx.Done():
		return nil, kafka.RequestTimedOut.Errorf("%s was not committed in time: %v", request.Info().Name, context.Cause(ctx))
	}
}

// submit decides and proposes. The channel yields when the response may leave; nil: at once.
func (c *Controller) submit(caller Caller, request wire.Message, version int16) (wire.Message, <-chan error, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begin()
	l := c.lead
	if l == nil || l.broken {
		return nil, nil, c.notController()
	}
	decided, err := c.view(c.clock()).decide(caller, request, version)
	if err != nil {
		return nil, nil, err
	}
	var wait chan error
	switch {
	case len(decided.records) > 0:
		wait = make(chan error, 1)
		if err := c.propose(decided.records, wait); err != nil {
			return nil, nil, err
		}
	case l.inFlight > 0 && !c.isCommitted(request, decided.response):
		// What was read may rest on records that are on their way: the answer goes behind the last of them.
		wait = make(chan error, 1)
		l.parked = append(l.parked, &pending{l.proposed, wait})
	}
	if decided.touch != nil {
		decided.touch()
		c.nudge()
	}
	return decided.response, wait, nil
}

// isCommitted reports whether the answer to a heartbeat says what is committed already, and asks for no shutdown. It
// leaves at once then: a broker sends the next heartbeat when it has the answer to the last, so one that waited
// behind the commit of a slow disk would make its broker look silent.
func (c *Controller) isCommitted(request, response wire.Message) bool {
	r, ok := request.(*wire.BrokerHeartbeatRequest)
	if !ok {
		return false
	}
	answer := response.(*wire.BrokerHeartbeatResponse)
	b := c.committed.Broker(r.BrokerID)
	return answer.ErrorCode == kafka.None && !answer.ShouldShutDown && b != nil && b.Epoch == r.BrokerEpoch && b.Fenced == answer.IsFenced
}

// propose replays records into the speculative image and hands them to the quorum, cut into batches. wait, if
// any, yields when the last batch is committed, or the first error. The lock is held.
func (c *Controller) propose(records []record, wait chan error) error {
	l := c.lead
	for begun := false; len(records) > 0; begun = true {
		n := min(len(records), c.maxBatch)
		batch := records[:n]
		records = records[n:]
		last := len(records) == 0

		values := make([][]byte, n)
		delta := metadata.NewDelta(l.image)
		for i, r := range batch {
			values[i] = wire.AppendMetadataRecord(nil, r.message, r.version)
			if err := delta.Replay(r.message); err != nil {
				// A decider wrote a record that contradicts the image it decided on.
				panic("controller: " + err.Error())
			}
		}
		l.proposed++
		number := l.proposed
		l.inFlight++
		offset, err := c.quorum.ProposeAsync(l.epoch, values, func(_ int64, err error) {
			if last && wait != nil || err != nil {
				c.settle(l, number, err, wait)
			} else {
				c.settle(l, number, err, nil)
			}
		})
		if err != nil {
			l.inFlight--
			l.proposed--
			if !begun && kafka.CodeOf(err) != kafka.NotController {
				return err // nothing of it was appended, and the leadership goes on
			}
			c.abandon(l, err)
			return c.proposalError(err)
		}
		if want := l.next + int64(n) - 1; offset != want {
			c.log.Error("the quorum gave the controller's records other offsets than it counted on", "offset", offset, "expected", want)
		}
		l.next = offset + 1
		l.image = delta.Apply(offset, l.epoch, c.clock().UnixMilli())
		for old, new := range delta.ChangedTopics() {
			l.index.replace(old, new)
		}
	}
	return nil
}

// settle is called when a proposal was committed or failed.
func (c *Controller) settle(l *leadership, number int64, err error, wait chan error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.inFlight--
	if err != nil {
		c.abandon(l, err)
	} else if number > l.settled {
		l.settled = number
		for len(l.parked) > 0 && l.parked[0].after <= number {
			l.parked[0].done <- nil
			l.parked = l.parked[1:]
		}
	}
	if wait != nil {
		var outcome error
		if err != nil {
			outcome = c.proposalError(err)
		}
		select {
		case wait <- outcome: // a change of several batches may fail more than once; the first word counts
		default:
		}
	}
	if l.broken && l.inFlight == 0 && c.lead == l {
		c.lead = nil
		c.due = c.leader == c.nodeID && c.epoch == l.epoch
		c.nudge()
	}
}

// abandon marks the speculative state as wrong after a failed proposal.
func (c *Controller) abandon(l *leadership, err error) {
	if l.broken {
		return
	}
	l.broken = true
	c.log.Warn("a proposal failed; the controller falls back to what is committed", "error", err)
	for _, p := range l.parked {
		p.done <- c.proposalError(err)
	}
	l.parked = nil
	if l.inFlight == 0 && c.lead == l {
		c.lead = nil // LeaderChanged brings the next one
	}
}

// proposalError is what a client is told of a failed proposal: to look for the active controller.
func (c *Controller) proposalError(err error) error {
	return kafka.NotController.Errorf("the change was not committed: %v", err)
}

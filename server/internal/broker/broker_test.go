package broker

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// fakeController answers as the test says and keeps the metadata that its answers make true.
type fakeController struct {
	mu       sync.Mutex
	answer   func(wire.Message) (wire.Message, error) // nil: the sensible answer
	requests []wire.Message
	epoch    int64
	nextID   int64
	broker   *Broker
	image    *metadata.Image
	replicas *fakeReplicas
	slow     time.Duration // how long an answer is on its way; the metadata it made is not held up

	publishing chan struct{} // holds one token; whoever has it may publish
	queue      []published
}

type published struct {
	image *metadata.Image
	delta *metadata.Delta
}

func (c *fakeController) Handle(_ context.Context, _ controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	response, err := c.decide(request, version)
	time.Sleep(c.slow)
	return response, err
}

func (c *fakeController) decide(request wire.Message, version int16) (wire.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if request.Info().MaxVersion != version {
		return nil, kafka.UnsupportedVersion
	}
	c.requests = append(c.requests, request)
	if c.answer != nil {
		if response, err := c.answer(request); response != nil || err != nil {
			return response, err
		}
	}
	switch r := request.(type) {
	case *wire.BrokerRegistrationRequest:
		c.epoch = c.image.Offset() + 1
		c.commit(&wire.RegisterBrokerRecord{BrokerID: r.BrokerID, IncarnationID: r.IncarnationID, BrokerEpoch: c.epoch, Fenced: true, LogDirs: r.LogDirs})
		return &wire.BrokerRegistrationResponse{BrokerEpoch: c.epoch}, nil
	case *wire.BrokerHeartbeatRequest:
		if r.BrokerEpoch != c.epoch {
			return &wire.BrokerHeartbeatResponse{ErrorCode: kafka.StaleBrokerEpoch}, nil
		}
		if r.WantShutDown {
			return &wire.BrokerHeartbeatResponse{ShouldShutDown: true, IsFenced: true}, nil
		}
		caughtUp := r.CurrentMetadataOffset >= c.epoch
		if caughtUp && c.image.Broker(r.BrokerID).Fenced {
			c.commit(&wire.BrokerRegistrationChangeRecord{BrokerID: r.BrokerID, BrokerEpoch: c.epoch, Fenced: -1})
		}
		return &wire.BrokerHeartbeatResponse{IsFenced: !caughtUp, IsCaughtUp: caughtUp}, nil
	case *wire.AllocateProducerIdsRequest:
		c.nextID += 1000
		return &wire.AllocateProducerIdsResponse{ProducerIDStart: c.nextID - 1000, ProducerIDLen: 1000}, nil
	case *wire.AssignReplicasToDirsRequest:
		return &wire.AssignReplicasToDirsResponse{}, nil
	}
	return nil, kafka.UnsupportedVersion
}

// commit appends one record to the metadata and publishes the image.
func (c *fakeController) commit(record wire.Message) {
	delta := metadata.NewDelta(c.image)
	if err := delta.Replay(record); err != nil {
		panic(err)
	}
	c.image = delta.Apply(c.image.Offset()+1, 1, 0)
	c.queue = append(c.queue, published{c.image, delta})
	go c.publish()
}

// publish hands on the image at the head of the queue, as the one goroutine of a loader would.
func (c *fakeController) publish() {
	<-c.publishing
	defer func() { c.publishing <- struct{}{} }()
	c.mu.Lock()
	head := c.queue[0]
	c.queue = c.queue[1:]
	c.mu.Unlock()
	c.broker.Publish(head.image, head.delta)
}

// of returns the requests of one type.
func of[T wire.Message](c *fakeController) []T {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []T
	for _, r := range c.requests {
		if r, ok := r.(T); ok {
			found = append(found, r)
		}
	}
	return found
}

// fakeReplicas counts what it is handed.
type fakeReplicas struct {
	applied []int64
	epoch   int64
}

func (r *fakeReplicas) Apply(image *metadata.Image, _ *metadata.Delta) {
	r.applied = append(r.applied, image.Offset())
}
func (r *fakeReplicas) SetBrokerEpoch(epoch int64) { r.epoch = epoch }

func newTestBroker(t *testing.T) (*Broker, *fakeController, *fakeReplicas) {
	c, r := &fakeController{image: metadata.Empty(), publishing: make(chan struct{}, 1)}, &fakeReplicas{}
	c.publishing <- struct{}{}
	c.replicas = r
	b := New(Options{
		NodeID: 1, ClusterID: "c", Incarnation: kafka.NewUUID(), Controller: c, Log: slog.New(slog.DiscardHandler),
		Config: Config{HeartbeatInterval: 250 * time.Millisecond, RegistrationTimeout: time.Minute, ControlledShutdown: true, ForwardTimeout: 30 * time.Second},
		Failed: func(err error) { t.Errorf("the broker failed: %v", err) },
	})
	c.broker = b
	return b, c, r
}

func TestABrokerIsReadyAsSoonAsTheMetadataSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, r := newTestBroker(t)
		begun := time.Now()
		c.mu.Lock()
		c.commit(&wire.TopicRecord{Name: "t", TopicID: kafka.NewUUID()})
		c.mu.Unlock()
		synctest.Wait()
		if len(r.applied) > 0 {
			t.Fatalf("images %v were applied before the replicas were loaded", r.applied)
		}
		dirs := []kafka.DirectoryID{kafka.NewUUID()}
		b.Loaded(Recovered{Replicas: r, Online: dirs, PreviousEpoch: 17})
		if len(r.applied) != 1 {
			t.Errorf("applied %v; want the image that came while they were loaded", r.applied)
		}
		b.Start()
		<-b.Ready()
		if told := of[*wire.BrokerRegistrationRequest](c)[0]; !slices.Equal(told.LogDirs, dirs) || told.PreviousBrokerEpoch != 17 {
			t.Errorf("registration %+v", told)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %v: somewhere a timer was waited for", took)
		}
		if b.State() != Running || r.epoch != b.Epoch() || len(b.Unready()) > 0 {
			t.Errorf("state %s, epochs %d and %d, unready %q", b.State(), b.Epoch(), r.epoch, b.Unready())
		}
		if !slices.IsSorted(r.applied) {
			t.Errorf("images out of order: %v", r.applied)
		}

		before := len(of[*wire.BrokerHeartbeatRequest](c))
		time.Sleep(10 * time.Second)
		if n := len(of[*wire.BrokerHeartbeatRequest](c)) - before; n < 39 || n > 41 {
			t.Errorf("%d heartbeats in ten seconds", n)
		}

		if err := b.Leave(context.Background()); err != nil {
			t.Error(err)
		}
		b.Close()
	})
}

func TestABrokerThatIsReadyFindsItselfReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		c.slow = time.Second // the image that shows us unfenced overtakes the answer to the heartbeat
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		if why := b.Unready(); len(why) > 0 {
			t.Errorf("ready, and yet %q", why)
		}
		b.Close()
	})
}

func TestALostSessionIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		c.mu.Lock()
		c.epoch += 100 // as if another controller had forgotten the broker
		c.mu.Unlock()
		time.Sleep(time.Second)
		if b.State() != Running || len(of[*wire.BrokerRegistrationRequest](c)) != 2 {
			t.Errorf("state %s after %d registrations", b.State(), len(of[*wire.BrokerRegistrationRequest](c)))
		}
		b.Close()
	})
}

func TestLeavingIsBoundedByItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		c.mu.Lock()
		c.answer = func(wire.Message) (wire.Message, error) { return nil, kafka.NotController }
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if err := b.Leave(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("left: %v", err)
		}
		b.Close()
	})
}

func TestProducerIDsAreNeverGivenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		defer b.Close()
		const each, callers = 700, 8
		var mu sync.Mutex
		seen := make(map[int64]bool)
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range each {
					id, err := b.ProducerID(context.Background())
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					if seen[id] {
						t.Errorf("%d was given twice", id)
					}
					seen[id] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != each*callers {
			t.Errorf("%d ids for %d calls", len(seen), each*callers)
		}
		synctest.Wait()
		if n := len(of[*wire.AllocateProducerIdsRequest](c)); n != 6 {
			t.Errorf("%d blocks were fetched for %d ids; want 6, none of them in vain", n, each*callers)
		}
	})
}

func TestProducerIDsComeWithoutAWaitFromTheSecondBlockOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		defer b.Close()
		c.answer = func(m wire.Message) (wire.Message, error) {
			time.Sleep(time.Second)
			return nil, nil
		}
		begun := time.Now()
		for range 950 {
			if _, err := b.ProducerID(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		waited := time.Since(begun)
		for range 900 {
			if _, err := b.ProducerID(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if waited != 2*time.Second || time.Since(begun) != waited {
			t.Errorf("the first ids came after %v, the others after %v more", waited, time.Since(begun)-waited)
		}
	})
}

func TestAProducerIDThatCannotBeHadIsRetriable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		defer b.Close()
		c.answer = func(wire.Message) (wire.Message, error) { return nil, kafka.NotController }
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := b.ProducerID(ctx); kafka.CodeOf(err) != kafka.CoordinatorLoadInProgress {
			t.Errorf("error %v", err)
		}
		c.mu.Lock()
		c.answer = nil
		c.mu.Unlock()
		time.Sleep(2 * time.Second)
		if _, err := b.ProducerID(context.Background()); err != nil {
			t.Errorf("the controller is back, and yet %v", err)
		}
	})
}

func TestForwardingWaitsForAController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		var asked atomic.Int32
		c.answer = func(wire.Message) (wire.Message, error) {
			if asked.Add(1) < 4 {
				return nil, kafka.NotController
			}
			return nil, nil
		}
		if _, err := b.Forward(context.Background(), controller.Caller{}, &wire.AllocateProducerIdsRequest{}, 0); err != nil {
			t.Error(err)
		}

		c.answer = func(wire.Message) (wire.Message, error) { return nil, kafka.NotController }
		begun := time.Now()
		_, err := b.Forward(context.Background(), controller.Caller{}, &wire.AllocateProducerIdsRequest{}, 0)
		if kafka.CodeOf(err) != kafka.RequestTimedOut || time.Since(begun) != 30*time.Second {
			t.Errorf("error %v after %v", err, time.Since(begun))
		}

		go func() {
			time.Sleep(time.Second)
			b.Close()
		}()
		if _, err := b.Forward(context.Background(), controller.Caller{}, &wire.AllocateProducerIdsRequest{}, 0); kafka.CodeOf(err) != kafka.BrokerNotAvailable {
			t.Errorf("a request outlived the broker: %v", err)
		}
		synctest.Wait()
	})
}

func TestAForwardedChangeIsThereWhenTheAnswerIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		b.o.Committed = func() int64 {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.image.Offset()
		}
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		create := func(name string) (took time.Duration) {
			c.mu.Lock()
			c.answer = func(wire.Message) (wire.Message, error) {
				c.commit(&wire.TopicRecord{Name: name, TopicID: kafka.NewUUID()})
				return &wire.CreateTopicsResponse{}, nil
			}
			c.mu.Unlock()
			begun := time.Now()
			request := &wire.CreateTopicsRequest{}
			if _, err := b.Forward(context.Background(), controller.Caller{}, request, request.Info().MaxVersion); err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
		slow := func(d time.Duration) { // images are d late
			<-c.publishing
			time.AfterFunc(d, func() { c.publishing <- struct{}{} })
		}
		slow(time.Second)
		if took := create("t"); took != time.Second || b.Image().Topic("t") == nil {
			t.Errorf("answered after %v, and the topic is not there", took)
		}
		slow(time.Minute) // longer than anybody should wait
		if took := create("u"); took != catchUpLimit {
			t.Errorf("answered after %v", took)
		}
		time.Sleep(time.Minute)
		b.Close()
	})
}

func TestDirectoriesOfReplicasAreToldTogetherAndUntilHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		topic, dir := kafka.NewUUID(), kafka.NewUUID()
		for i := range int32(3000) { // before the broker is known to anybody
			b.AssignDirectory(kafka.TopicIDPartition{TopicID: topic, Partition: i}, dir)
		}
		refusals := 2
		c.answer = func(m wire.Message) (wire.Message, error) {
			if _, ok := m.(*wire.AssignReplicasToDirsRequest); ok && refusals > 0 {
				refusals--
				return &wire.AssignReplicasToDirsResponse{ErrorCode: kafka.StaleBrokerEpoch}, nil
			}
			return nil, nil
		}
		b.Start()
		<-b.Ready()
		time.Sleep(time.Second)
		requests := of[*wire.AssignReplicasToDirsRequest](c)
		if len(requests) != 4 {
			t.Fatalf("%d requests; want two that were refused and two that were heard", len(requests))
		}
		told := make(map[int32]bool)
		for _, r := range requests[2:] {
			if r.BrokerEpoch != b.Epoch() || len(r.Directories) != 1 || r.Directories[0].ID != dir || len(r.Directories[0].Topics) != 1 {
				t.Fatalf("request %+v", r)
			}
			for _, p := range r.Directories[0].Topics[0].Partitions {
				told[p.PartitionIndex] = true
			}
		}
		if len(told) != 3000 {
			t.Errorf("%d of 3000 partitions told", len(told))
		}
		b.Close()
	})
}

func TestTheLastDirectoryThatFailsStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		var failed error
		b.o.Failed = func(err error) { failed = err }
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		dir := replica.Dir{Path: "/b", ID: kafka.NewUUID()}
		b.DirFailed(dir, 1, errors.New("input/output error"))
		synctest.Wait()
		beats := of[*wire.BrokerHeartbeatRequest](c)
		if last := beats[len(beats)-1]; len(last.OfflineLogDirs) != 1 || last.OfflineLogDirs[0] != dir.ID {
			t.Errorf("the controller was told %+v", last)
		}
		if failed != nil {
			t.Errorf("one of two directories stops the node: %v", failed)
		}
		b.DirFailed(replica.Dir{Path: "/a", ID: kafka.NewUUID()}, 0, errors.New("input/output error"))
		if kafka.CodeOf(failed) != kafka.KafkaStorageError {
			t.Errorf("failed: %v", failed)
		}
		b.Close()
	})
}

func TestTheMetadataDirectoryThatFailsStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		var failed error
		b.o.Failed, b.o.MetadataDir = func(err error) { failed = err }, kafka.NewUUID()
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		b.DirFailed(replica.Dir{Path: "/b", ID: b.o.MetadataDir}, 1, errors.New("input/output error"))
		if failed == nil || !strings.Contains(failed.Error(), "metadata log, /b") {
			t.Errorf("failed: %v", failed)
		}
		b.Close()
	})
}

func TestAStalledSyncIsToldToReadinessAndLeadersMoveOnlyWhereTheyCan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, c, _ := newTestBroker(t)
		b.Loaded(Recovered{Replicas: c.replicas, PreviousEpoch: -1})
		b.Start()
		<-b.Ready()
		dir := replica.Dir{Path: "/a", ID: kafka.NewUUID()}
		b.SyncStalled(dir, 5*time.Second)
		synctest.Wait()
		if why := b.Unready(); len(why) != 1 || why[0] != "the disk of /a does not answer" {
			t.Errorf("unready %q", why)
		}
		if beats := of[*wire.BrokerHeartbeatRequest](c); beats[len(beats)-1].WantFence {
			t.Error("a node alone asks to be fenced, and nobody can take over")
		}
		c.mu.Lock()
		c.commit(&wire.RegisterBrokerRecord{BrokerID: 2, BrokerEpoch: 50})
		c.mu.Unlock()
		synctest.Wait()
		if beats := of[*wire.BrokerHeartbeatRequest](c); !beats[len(beats)-1].WantFence {
			t.Error("another node could take over, and the broker keeps its leaderships")
		}
		b.SyncResumed(dir, 7*time.Second)
		synctest.Wait()
		if beats := of[*wire.BrokerHeartbeatRequest](c); beats[len(beats)-1].WantFence || len(b.Unready()) > 0 {
			t.Errorf("after the sync: %+v, %q", beats[len(beats)-1], b.Unready())
		}
		b.Close()
	})
}

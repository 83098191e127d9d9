package coordinator

import (
	"cmp"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Options are what a runtime is made of.
type Options[M Machine] struct {
	// Records names the topic, for the keys and values in it.
	Records wire.CoordinatorTopic
	// Open returns the log of a partition that this node leads in an epoch. An error says that it does not, or not
	// any more.
	Open func(partition, epoch int32) (Log, error)
	// New makes the machine of a partition.
	New func(Shard) M
	// WriteTimeout is how long an answer waits for its records to be committed.
	WriteTimeout time.Duration
	// Linger is how long a batch waits for more: negative for as long as other requests already wait, 0 not at all.
	Linger time.Duration
	// KeptBytes returns how large the buffers of a batch may have grown to be kept for the next one; nil keeps any.
	KeptBytes func() int
	Codec     record.Codec
	// Loaders is how many partitions are loaded at a time, BufferBytes what is read at a time for each.
	Loaders     int
	BufferBytes int
	Log         *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Go runs a load on a goroutine; nil does that. The simulator makes an event of it.
	Go func(load func())
}

// Shard is what a machine gets of the partition that it is the state of.
type Shard struct {
	Partition int32
	Journal   *Journal
	Timers    *Timers
}

// Runtime runs the machines of one topic on this node. All methods may be called by anybody at any time; Lead and
// Resign for one partition come in the order of its leader epochs.
type Runtime[M Machine] struct {
	o       Options[M]
	loaders chan struct{}
	loads   sync.WaitGroup
	figures loadFigures

	mu     sync.Mutex
	shards map[int32]*shard[M]
	closed bool

	// The loop sleeps until sleepsUntil: never when it has nothing to wait for, awake while Tick is under way. earliest is
	// the first deadline of those set since the last Tick began. Both are nanoseconds since begun.
	begun       time.Time
	sleepsUntil atomic.Int64
	earliest    atomic.Int64
	planned     time.Time // what Tick returned last; only Tick touches it
	wake        chan struct{}
	stop, done  chan struct{}
}

// The limits of Options that are not said.
const (
	defaultBufferBytes = 5 << 20
	defaultTimeout     = 5 * time.Second
)

// overslept is how late the loop may be without the timers being put off: less is a busy machine.
const overslept = 500 * time.Millisecond

// lookOften is how long the loop sleeps at most while timers are set, so that it notices closely how long it was
// itself away.
const lookOften = time.Second

// retryExpire is when a timer comes again whose records could not be appended.
const retryExpire = 500 * time.Millisecond

// New makes a runtime that leads nothing yet.
func New[M Machine](o Options[M]) *Runtime[M] {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.KeptBytes == nil {
		o.KeptBytes = func() int { return math.MaxInt }
	}
	o.BufferBytes = cmp.Or(o.BufferBytes, defaultBufferBytes)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, defaultTimeout)
	r := &Runtime[M]{
		o: o, loaders: make(chan struct{}, max(1, o.Loaders)), shards: map[int32]*shard[M]{},
		begun: o.Now(), wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if r.o.Go == nil {
		r.o.Go = func(load func()) { go load() }
	}
	r.sleepsUntil.Store(never)
	r.earliest.Store(never)
	return r
}

// Start begins to watch the timers, until Close.
func (r *Runtime[M]) Start() { go r.loop() }

// Close ends every shard and stops what Start began. Who waits is told NOT_COORDINATOR.
func (r *Runtime[M]) Close() {
	r.End()
	close(r.stop)
	<-r.done
	r.loads.Wait()
}

// End ends every shard, for good.
func (r *Runtime[M]) End() {
	r.mu.Lock()
	r.closed = true
	shards := r.shards
	r.shards = map[int32]*shard[M]{}
	r.mu.Unlock()
	for _, s := range inOrder(shards) {
		s.end(kafka.NotCoordinator)
	}
}

// Lead makes this node the coordinator of a partition, in a leader epoch: it is loaded from its log.
func (r *Runtime[M]) Lead(partition, epoch int32) {
	r.mu.Lock()
	old := r.shards[partition]
	if r.closed || old != nil && old.epoch >= epoch {
		r.mu.Unlock()
		return
	}
	s := r.newShard(partition, epoch)
	r.shards[partition] = s
	r.mu.Unlock()
	if old != nil {
		old.end(kafka.NotCoordinator)
	}
	r.load(s)
}

func (r *Runtime[M]) load(s *shard[M]) {
	r.loads.Add(1)
	r.o.Go(func() {
		defer r.loads.Done()
		r.loaders <- struct{}{}
		defer func() { <-r.loaders }()
		s.load()
	})
}

// Aside does work outside of all locks, a bounded number at a time, and then tells what came of it. Close waits for it;
// once closed it does not begin.
func (r *Runtime[M]) Aside(work func() (then func())) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.loads.Add(1)
	r.mu.Unlock()
	r.o.Go(func() {
		defer r.loads.Done()
		r.loaders <- struct{}{}
		then := work()
		<-r.loaders
		then()
	})
}

// Resign ends the shard of a partition that another node leads now, in that leader epoch, or that is gone.
func (r *Runtime[M]) Resign(partition, epoch int32) {
	r.mu.Lock()
	s := r.shards[partition]
	if s == nil || s.epoch > epoch {
		r.mu.Unlock()
		return
	}
	delete(r.shards, partition)
	r.mu.Unlock()
	s.end(kafka.NotCoordinator)
}

// Do decides a request of a partition. Either decide is called, once, and what it returns is done; or refuse is,
// with NOT_COORDINATOR or COORDINATOR_LOAD_IN_PROGRESS. The answers come on any goroutine.
func (r *Runtime[M]) Do(partition int32, decide func(m M, now time.Time) Result, refuse func(error)) {
	s := r.find(partition)
	if s == nil {
		refuse(kafka.NotCoordinator.Errorf("this node is not the coordinator of partition %d", partition))
		return
	}
	s.queued.Add(1)
	s.mu.Lock()
	s.queued.Add(-1)
	if err := s.refusal(); err != nil {
		s.leave()
		refuse(err)
		return
	}
	if !s.guard(func() {
		now := r.o.Now()
		s.run(decide(s.machine, now), now)
	}) {
		refuse(kafka.UnknownServerError.Errorf("the coordinator of partition %d met an error of its own; it is in the log of the broker", partition))
	}
}

// All decides the same for every partition: machines are told in this way of what has changed. One that is loading is told
// when it is loaded.
func (r *Runtime[M]) All(decide func(m M, now time.Time) Result) {
	for _, s := range r.all() {
		if !s.whenLoaded(decide) {
			r.Do(s.partition, decide, func(error) {})
		}
	}
}

// Partitions lists the partitions that this node coordinates, those that are still loading too, in order.
func (r *Runtime[M]) Partitions() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]int32, 0, len(r.shards))
	for p := range r.shards {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// Loading counts the partitions that are not loaded yet.
func (r *Runtime[M]) Loading() int {
	n := 0
	for _, s := range r.all() {
		s.mu.Lock()
		if s.state == loading {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

func (r *Runtime[M]) find(partition int32) *shard[M] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shards[partition]
}

func (r *Runtime[M]) all() []*shard[M] {
	r.mu.Lock()
	defer r.mu.Unlock()
	return inOrder(r.shards)
}

func inOrder[M Machine](shards map[int32]*shard[M]) []*shard[M] {
	list := make([]*shard[M], 0, len(shards))
	for _, s := range shards {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *shard[M]) int { return cmp.Compare(a.partition, b.partition) })
	return list
}

// replace puts a new shard, in the same epoch, in the place of one that went wrong, and loads it.
func (r *Runtime[M]) replace(s *shard[M]) {
	r.mu.Lock()
	if r.closed || r.shards[s.partition] != s {
		r.mu.Unlock()
		return
	}
	again := r.newShard(s.partition, s.epoch)
	r.shards[s.partition] = again
	r.mu.Unlock()
	r.load(again)
}

// never is a time that does not come, awake one that is over.
const (
	never = int64(1<<63 - 1)
	awake = -never
)

// loop turns the crank.
func (r *Runtime[M]) loop() {
	defer close(r.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := r.o.Now()
		next := r.Tick(now)
		sleep := time.Hour
		if !next.IsZero() {
			sleep = max(0, next.Sub(now))
		}
		timer.Reset(sleep)
		select {
		case <-timer.C:
		case <-r.wake:
		case <-r.stop:
			return
		}
	}
}

// Tick does what is due at now and returns when it wants to be called again; the zero time for never, until a timer
// is set. Only one Tick runs at a time.
func (r *Runtime[M]) Tick(now time.Time) time.Time {
	late := time.Duration(0)
	if !r.planned.IsZero() {
		if d := now.Sub(r.planned); d > overslept {
			late = d
		}
	}
	// Whoever sets a deadline from here on leaves it in earliest, this Tick among them, and wakes nobody.
	r.sleepsUntil.Store(awake)
	r.earliest.Store(never)
	var next time.Time
	for _, s := range r.all() {
		if at := s.tick(now, late); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	if seen := r.earliest.Swap(never); seen != never {
		if at := r.begun.Add(time.Duration(seen)); next.IsZero() || at.Before(next) {
			next = at
		}
	}
	r.planned = next
	sleepsUntil := never
	if !next.IsZero() {
		if soon := now.Add(lookOften); next.After(soon) {
			r.planned = soon
		}
		sleepsUntil = int64(r.planned.Sub(r.begun))
	}
	r.sleepsUntil.Store(sleepsUntil)
	if r.earliest.Load() < sleepsUntil { // set between the two
		r.nudge()
	}
	return r.planned
}

// sees wakes the loop when a deadline comes before it would look.
func (r *Runtime[M]) sees(at time.Time) {
	if at.IsZero() {
		return
	}
	n := int64(at.Sub(r.begun))
	for {
		seen := r.earliest.Load()
		if n >= seen || r.earliest.CompareAndSwap(seen, n) {
			break
		}
	}
	if n < r.sleepsUntil.Load() {
		r.nudge()
	}
}

func (r *Runtime[M]) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

package coordinator

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// state is the life of a shard: loading, then active, then ended.
type state uint8

const (
	loading state = iota
	active
	ended
)

// shard is one partition in one leadership of it.
type shard[M Machine] struct {
	runtime          *Runtime[M]
	partition, epoch int32

	// queued counts the requests that wait for mu: the one before them leaves its records to them, for one batch.
	queued atomic.Int32

	mu      sync.Mutex
	state   state
	why     error // what requests are told once ended
	machine M
	journal Journal
	timers  Timers
	log     Log
	batch   batch
	scratch scratch
	kept    kept
	// offset is what the next record gets. Invariant: the end of the log plus the records in batch.
	offset int64
	// after is what is to be called when mu is released.
	after []func()
	// loadedThen is what is to be decided when the shard is loaded.
	loadedThen []func(m M, now time.Time) Result

	flights flights
}

func (r *Runtime[M]) newShard(partition, epoch int32) *shard[M] {
	s := &shard[M]{runtime: r, partition: partition, epoch: epoch}
	s.machine = r.o.New(Shard{Partition: partition, Journal: &s.journal, Timers: &s.timers})
	return s
}

// refusal is what a request is told that cannot be decided now. The caller holds mu.
func (s *shard[M]) refusal() error {
	s.checkFlights()
	switch s.state {
	case loading:
		return kafka.CoordinatorLoadInProgress.Errorf("the coordinator is loading partition %d", s.partition)
	case ended:
		return s.why
	}
	return nil
}

// whenLoaded takes what is to be decided when the shard is loaded, and reports whether it is still loading.
func (s *shard[M]) whenLoaded(decide func(m M, now time.Time) Result) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == loading {
		s.loadedThen = append(s.loadedThen, decide)
	}
	return s.state == loading
}

// checkFlights ends a shard whose leadership is over, as a batch was told. The caller holds mu.
func (s *shard[M]) checkFlights() {
	if err := s.flights.broken(); err != nil && s.state == active {
		s.stop(answerFor(err))
	}
}

// guard runs what a machine decides and leaves. A panic of a machine ends the shard, since its state may be torn, and
// the partition is loaded again; guard then reports false.
func (s *shard[M]) guard(f func()) (whole bool) {
	defer func() {
		if p := recover(); p != nil {
			s.runtime.o.Log.Error("a coordinator panicked; its partition is loaded again", "partition", s.partition, "panic", p, "stack", string(debug.Stack()))
			s.stop(kafka.NotCoordinator.Errorf("partition %d is being loaded again", s.partition))
			s.after = append(s.after, func() { s.runtime.replace(s) })
		}
		s.leave()
	}()
	f()
	return true
}

// leave releases mu. What is in the batch is appended, unless others wait who may add to it; then the answers are given
// that are due.
func (s *shard[M]) leave() {
	if s.state == active && s.queued.Load() == 0 && s.runtime.o.Linger <= 0 {
		s.flush()
	}
	s.checkFlights()
	next := s.deadline()
	after := s.after
	s.after = nil
	s.mu.Unlock()
	for _, f := range after {
		f()
	}
	s.runtime.sees(next)
}

// deadline is when the shard wants to be looked at. The caller holds mu.
func (s *shard[M]) deadline() time.Time {
	if s.state != active {
		return time.Time{}
	}
	next := s.timers.next()
	for _, at := range [...]time.Time{s.batch.due, s.flights.deadline()} {
		if !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// next is deadline for those who do not hold mu.
func (s *shard[M]) next() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline()
}

// tick does what is due. late is how long the process was away.
func (s *shard[M]) tick(now time.Time, late time.Duration) time.Time {
	s.mu.Lock()
	if s.refusal() != nil {
		s.leave()
		return time.Time{}
	}
	if late > 0 {
		s.timers.shift(late)
	}
	s.guard(func() {
		for {
			t, ok := s.timers.due(now)
			if !ok {
				break
			}
			s.run(s.again(t, s.machine.Expire(t, now), now), now)
		}
		if at := s.batch.due; !at.IsZero() && !at.After(now) {
			s.flush()
		}
		s.after = append(s.after, s.flights.expire(now)...)
	})
	return s.next()
}

// again makes a timer come once more when what followed from it could not be appended.
func (s *shard[M]) again(t Timer, res Result, now time.Time) Result {
	undo := res.Undo
	res.Undo = func() {
		if undo != nil {
			undo()
		}
		if _, set := s.timers.At(t); !set {
			s.timers.Set(t, now.Add(retryExpire))
		}
	}
	return res
}

// end ends the shard. It is for those who do not hold mu.
func (s *shard[M]) end(why error) {
	s.mu.Lock()
	s.stop(why)
	s.leave()
}

// stop ends the shard: what is in the batch is given up, and everybody who waits is told why. The caller holds mu and
// leaves.
func (s *shard[M]) stop(why error) {
	if s.state == ended {
		return
	}
	was := s.state
	s.state, s.why = ended, why
	for _, then := range s.batch.then {
		s.after = append(s.after, func() { then(why) })
	}
	s.batch = batch{}
	s.after = append(s.after, s.flights.abandon(why)...)
	if was == active { // a machine that is loading belongs to the loader, and nobody waits in it
		s.after = append(s.after, s.machine.Unloaded(why)...)
	}
}

// answerFor turns an error of the log into what a client is told: to look for the coordinator, or to try again. It is
// Kafka's table.
func answerFor(err error) error {
	switch code := kafka.CodeOf(err); code {
	case kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch, kafka.KafkaStorageError, kafka.NotCoordinator:
		return kafka.NotCoordinator.Errorf("the coordinator cannot write: %v", err)
	case kafka.UnknownTopicOrPartition, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend, kafka.RequestTimedOut,
		kafka.CoordinatorNotAvailable:
		return kafka.CoordinatorNotAvailable.Errorf("the coordinator cannot write: %v", err)
	case kafka.MessageTooLarge, kafka.RecordListTooLarge: // these say something of requests that bring records
		return kafka.UnknownServerError.Errorf("the coordinator cannot write: %v", err)
	default:
		return fmt.Errorf("the coordinator cannot write: %w", err)
	}
}

// leadershipOver reports whether an error of an append means that this node does not lead any more.
func leadershipOver(err error) bool {
	switch kafka.CodeOf(err) {
	case kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch, kafka.UnknownTopicOrPartition, kafka.UnknownTopicID:
		return true
	}
	return false
}

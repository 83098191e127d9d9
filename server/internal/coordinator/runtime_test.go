package coordinator

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
)

func TestAnswersWaitForTheCommit(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	first, second, read := w.put("a", 1), w.put("a", 2), w.get("a")
	for _, a := range []*answer{first, second, read} {
		w.expect(a, "")
	}
	w.log.Commit(1)
	w.expect(first, "a=1")
	w.expect(second, "")
	w.expect(read, "")
	w.log.Commit(1)
	w.expect(second, "a=2")
	w.expect(read, "a is 2")
	w.expect(w.get("a"), "a is 2") // nothing in flight: at once
}

func TestCommitsInsideOfAppend(t *testing.T) {
	w := newWorld(t)
	w.log.Direct = true
	w.Lead(0, 1)
	held := false
	w.Do(0, func(*tally, time.Time) Result {
		return Result{Records: []Record{put("a", 1)}, Then: []func(error){func(err error) {
			// An answer may lead to the next request, so no lock is held.
			w.expect(w.put("b", 2), "b=2")
			held = true
		}}}
	}, func(err error) { t.Error(err) })
	if !held {
		t.Error("no answer")
	}
}

func TestRequestsThatWaitShareABatch(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	// While the first request is decided, others queue up: all of them go into one batch.
	inside, others := make(chan struct{}), sync.WaitGroup{}
	others.Go(func() {
		w.Do(0, func(*tally, time.Time) Result {
			close(inside)
			for w.find(0).queued.Load() < 7 {
				runtime.Gosched() // the others reach the lock by themselves, and tell nobody
			}
			return Result{Records: []Record{put("first", 1)}}
		}, func(err error) { t.Error(err) })
	})
	<-inside
	for i := range 7 {
		others.Go(func() { w.put(fmt.Sprint(i), int64(i)) })
	}
	others.Wait()
	if n := len(w.log.Batches); n != 1 {
		t.Errorf("8 requests made %d batches, want 1", n)
	}
	if n := w.log.Batches[0].Count(); n != 8 {
		t.Errorf("the batch has %d records, want 8", n)
	}
}

func TestALingeringBatch(t *testing.T) {
	w := newWorld(t, func(o *Options[*tally]) { o.Linger = 10 * time.Millisecond })
	w.Lead(0, 1)
	a, b := w.put("a", 1), w.put("b", 2)
	if len(w.log.Batches) != 0 {
		t.Fatal("appended at once")
	}
	if next := w.Tick(w.now); !next.Equal(w.now.Add(10 * time.Millisecond)) {
		t.Errorf("wakes at %v, want 10 ms from now", next.Sub(w.now))
	}
	w.now = w.now.Add(10 * time.Millisecond)
	w.Tick(w.now)
	if len(w.log.Batches) != 1 {
		t.Fatalf("%d batches, want 1", len(w.log.Batches))
	}
	w.log.Commit(1)
	w.expect(a, "a=1")
	w.expect(b, "b=2")
}

func TestAnAppendThatFailsChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	w.put("a", 1)
	w.log.Commit(1)
	undone := false
	w.log.Refuse = kafka.NotEnoughReplicas
	a := w.do(func(m *tally) (Result, string) {
		return Result{Records: []Record{put("a", 2), drop("a"), put("b", 3)}, Undo: func() { undone = true }}, "done"
	})
	w.expect(a, "COORDINATOR_NOT_AVAILABLE")
	if !undone {
		t.Error("Undo was not called")
	}
	w.log.Refuse = nil
	w.expect(w.get("a"), "a is 1")
	w.expect(w.get("b"), "b is 0")
	c := w.put("c", 1) // offsets go on where the log ends
	w.log.Commit(1)
	w.expect(c, "c=1")
}

func TestErrorsAsAClientIsToldThem(t *testing.T) {
	for err, want := range map[error]kafka.ErrorCode{
		kafka.NotEnoughReplicas:       kafka.CoordinatorNotAvailable,
		kafka.UnknownTopicOrPartition: kafka.CoordinatorNotAvailable,
		kafka.NotLeaderOrFollower:     kafka.NotCoordinator,
		kafka.KafkaStorageError:       kafka.NotCoordinator,
		kafka.MessageTooLarge:         kafka.UnknownServerError,
		errors.New("a bug"):           kafka.UnknownServerError,
	} {
		w := newWorld(t)
		w.Lead(0, 1)
		w.log.Refuse = err
		w.expect(w.put("a", 1), want.String())
	}
}

func TestATooLargeChange(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	var many []Record
	for i := range 200 {
		many = append(many, put(fmt.Sprintf("name-%03d", i), int64(i)))
	}
	w.expect(w.do(func(*tally) (Result, string) { return Result{Records: many}, "done" }), "UNKNOWN_SERVER_ERROR")
	w.expect(w.get("name-000"), "name-000 is 0")
	a := w.do(func(*tally) (Result, string) { return Result{Records: many, Split: true}, "done" })
	if n := len(w.log.Batches); n < 3 {
		t.Errorf("%d batches", n)
	}
	w.log.Commit(len(w.log.Batches) - 1)
	w.expect(a, "")
	w.log.Commit(1)
	w.expect(a, "done")
	for _, b := range w.log.Batches {
		if len(b) > 4096 {
			t.Errorf("a batch of %d bytes", len(b))
		}
	}
}

// How large a batch may be is the log's to say, and may change.
func TestALargerBatchOnceTheLogTakesIt(t *testing.T) {
	w := newWorld(t, func(o *Options[*tally]) { o.KeptBytes = func() int { return 5000 } })
	w.Lead(0, 1)
	w.log.Direct = true
	var many []Record
	for i := range 200 {
		many = append(many, put(fmt.Sprintf("name-%03d", i), int64(i)))
	}
	all := func() *answer { return w.do(func(*tally) (Result, string) { return Result{Records: many}, "done" }) }
	w.expect(all(), "UNKNOWN_SERVER_ERROR")
	kept := &w.find(0).kept
	w.expect(w.put("a", 1), "a=1")
	if kept.builder == nil || cap(kept.bytes) == 0 {
		t.Error("the memory of a small batch is not kept")
	}
	w.log.Max = 100_000
	w.expect(all(), "done")
	if kept.builder != nil || kept.bytes != nil {
		t.Errorf("%d bytes are kept, more than 5000", cap(kept.bytes))
	}
	w.expect(w.get("name-199"), "name-199 is 199")
	w.expect(w.put("a", 2), "a=2")
}

func TestARecordThatContradictsTheState(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	bad := put("b", 1)
	bad.Value.(*wire.OffsetCommitValue).Metadata = "impossible"
	w.expect(w.do(func(*tally) (Result, string) { return Result{Records: []Record{put("a", 1), bad}}, "done" }), "UNKNOWN_SERVER_ERROR")
	w.expect(w.get("a"), "a is 0")
	if len(w.log.Batches) != 0 {
		t.Error("it is in the log")
	}
}

func TestLeadershipMovesAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.expect(w.get("a"), "NOT_COORDINATOR")
	w.Lead(0, 1)
	w.put("a", 1)
	w.log.Commit(1)
	lost, kept := w.put("a", 2), w.get("a")
	parked := &answer{}
	w.do(func(m *tally) (Result, string) {
		m.waiters = append(m.waiters, parked.of("never"))
		return Result{}, "parked"
	})
	w.log.Lose(0)
	w.expect(lost, "NOT_COORDINATOR")
	w.expect(kept, "NOT_COORDINATOR")
	w.expect(w.get("a"), "NOT_COORDINATOR") // also before anybody calls Resign
	w.expect(parked, "NOT_COORDINATOR")
	w.Resign(0, 2)
	w.expect(w.get("a"), "NOT_COORDINATOR")

	w.log = w.log.Next()
	w.lazy = true
	w.Lead(0, 3)
	w.expect(w.get("a"), "COORDINATOR_LOAD_IN_PROGRESS")
	if w.Loading() != 1 {
		t.Error("it is not loading")
	}
	w.loads[0]()
	w.expect(w.get("a"), "a is 1")
	w.Lead(0, 2) // old news
	w.expect(w.get("a"), "a is 1")
}

func TestLeadershipEndsWhileLoading(t *testing.T) {
	w := newWorld(t)
	w.lazy = true
	w.Lead(0, 1)
	w.Resign(0, 2)
	w.Lead(0, 3)
	w.log.Direct = true
	w.loads[0]() // of epoch 1: must not make anything active
	w.expect(w.get("a"), "COORDINATOR_LOAD_IN_PROGRESS")
	w.loads[1]()
	w.expect(w.put("a", 1), "a=1")
}

func TestWhoIsLoadingIsToldOfChangesWhenItIsLoaded(t *testing.T) {
	w := newWorld(t)
	w.log.Direct, w.lazy = true, true
	w.Lead(0, 1)
	w.All(func(m *tally, _ time.Time) Result {
		if !m.loaded {
			t.Error("it is told before it is loaded")
		}
		return Result{Records: []Record{put("a", 5)}}
	})
	w.loads[0]()
	var seen int64
	w.Do(0, func(m *tally, _ time.Time) Result { seen = m.get("a"); return Result{} }, func(err error) { t.Error(err) })
	if seen != 5 || len(w.log.Batches) != 1 {
		t.Errorf("a is %d, and %d batches are in the log; want 5 and 1", seen, len(w.log.Batches))
	}
}

func TestWhatWasLoadedIsNotAnsweredBeforeItIsCommitted(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	w.put("a", 1)
	w.log.Lose(1)
	w.log = w.log.Next()
	w.log.High = 0 // the new leader does not know yet
	w.Lead(0, 2)
	a := w.get("a")
	w.expect(a, "")
	w.log.Commit(1)
	w.expect(a, "a is 1")
}

func TestAWriteThatIsNotCommittedInTime(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	a := w.put("a", 1)
	if next := w.Tick(w.now); next.IsZero() {
		t.Fatal("nobody looks at the time")
	}
	w.now = w.now.Add(5 * time.Second)
	w.Tick(w.now)
	w.expect(a, "COORDINATOR_NOT_AVAILABLE")
	b := w.get("a") // still in flight: nothing of it may be told
	w.expect(b, "")
	w.log.Commit(1)
	w.expect(b, "a is 1")
	w.expect(a, "COORDINATOR_NOT_AVAILABLE")
}

func TestTimers(t *testing.T) {
	w := newWorld(t)
	w.log.Direct = true
	w.Lead(0, 1)
	at := func(name string, d time.Duration) {
		w.do(func(m *tally) (Result, string) {
			m.shard.Timers.Set(Timer{Group: name}, w.now.Add(d))
			return Result{}, ""
		})
	}
	at("c", 30*time.Millisecond)
	at("a", 10*time.Millisecond)
	at("b", 10*time.Millisecond)
	at("moved", 10*time.Millisecond)
	at("moved", time.Minute)
	at("gone", 10*time.Millisecond)
	w.do(func(m *tally) (Result, string) { m.shard.Timers.Cancel(Timer{Group: "gone"}); return Result{}, "" })
	w.machine().onFire = func(t Timer, _ time.Time) Result { return Result{Records: []Record{put(t.Group, 1)}} }

	if next := w.Tick(w.now); !next.Equal(w.now.Add(10 * time.Millisecond)) {
		t.Errorf("wakes in %v", next.Sub(w.now))
	}
	w.now = w.now.Add(10 * time.Millisecond)
	if next := w.Tick(w.now); !next.Equal(w.now.Add(20 * time.Millisecond)) {
		t.Errorf("wakes in %v", next.Sub(w.now))
	}
	w.now = w.now.Add(20 * time.Millisecond)
	w.Tick(w.now)
	if got := fmt.Sprint(w.machine().expired); got != fmt.Sprint([]Timer{{Group: "a"}, {Group: "b"}, {Group: "c"}}) {
		t.Errorf("expired %s", got)
	}
	w.expect(w.get("c"), "c is 1")
	w.expect(w.get("gone"), "gone is 0")
}

func TestATimerWhoseRecordsCannotBeAppendedComesAgain(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	w.do(func(m *tally) (Result, string) {
		m.shard.Timers.Set(Timer{Group: "a"}, w.now.Add(time.Second))
		return Result{}, ""
	})
	w.machine().onFire = func(t Timer, _ time.Time) Result { return Result{Records: []Record{put(t.Group, 1)}} }
	w.log.Refuse = kafka.KafkaStorageError
	w.now = w.now.Add(time.Second)
	next := w.Tick(w.now)
	if next.IsZero() {
		t.Fatal("the timer is lost")
	}
	w.log.Refuse, w.log.Direct = nil, true
	w.now = next
	w.Tick(w.now)
	w.expect(w.get("a"), "a is 1")
}

// TestATimerThatFoundNothingToDoComesAgain: what it found rests on a batch that was replayed and could not be appended.
func TestATimerThatFoundNothingToDoComesAgain(t *testing.T) {
	w := newWorld(t, func(o *Options[*tally]) { o.Linger = time.Second })
	w.Lead(0, 1)
	w.log.Direct = true
	w.put("a", 1)
	w.now = w.now.Add(time.Second)
	w.Tick(w.now)
	w.do(func(m *tally) (Result, string) {
		m.shard.Timers.Set(Timer{Group: "a"}, w.now.Add(time.Second/2))
		return Result{Records: []Record{drop("a")}}, "dropped"
	})
	w.machine().onFire = func(t Timer, _ time.Time) Result {
		if w.machine().get(t.Group) == 0 {
			return Result{}
		}
		return Result{Records: []Record{put(t.Group, 2)}}
	}
	w.now = w.now.Add(time.Second / 2)
	w.Tick(w.now) // the timer finds a gone, and the batch that says so still waits
	w.log.Refuse = kafka.KafkaStorageError
	w.now = w.now.Add(time.Second / 2)
	next := w.Tick(w.now)
	if next.IsZero() {
		t.Fatal("the timer is lost")
	}
	w.log.Refuse = nil
	for range 3 {
		if next.IsZero() {
			break
		}
		w.now = next
		next = w.Tick(w.now)
	}
	w.expect(w.get("a"), "a is 2")
}

func TestASleepingProcessPutsTimersOff(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	w.do(func(m *tally) (Result, string) {
		m.shard.Timers.Set(Timer{Group: "a"}, w.now.Add(10*time.Second))
		return Result{}, ""
	})
	next := w.Tick(w.now)
	if d := next.Sub(w.now); d > time.Second {
		t.Errorf("sleeps %v: it cannot notice how long it was away", d)
	}
	w.now = next.Add(time.Minute) // the process was stopped
	w.Tick(w.now)
	if len(w.machine().expired) != 0 {
		t.Error("a member was judged by a coordinator that could not hear it")
	}
	for range 12 {
		w.now = w.now.Add(time.Second)
		w.Tick(w.now)
	}
	if len(w.machine().expired) != 1 {
		t.Error("the timer never came")
	}
}

func TestTheLoopWakesForANewTimer(t *testing.T) {
	w := newWorld(t, func(o *Options[*tally]) { o.Now = time.Now })
	w.Start()
	defer w.Close()
	w.Lead(0, 1)
	fired := make(chan struct{})
	w.Do(0, func(m *tally, now time.Time) Result {
		m.onFire = func(Timer, time.Time) Result { close(fired); return Result{} }
		m.shard.Timers.Set(Timer{Group: "a"}, now.Add(time.Millisecond))
		return Result{}
	}, func(err error) { t.Error(err) })
	<-fired
}

// TestTheLoopRests: while it waits for a timer, and while others are put off, the loop does not turn for nothing.
func TestTheLoopRests(t *testing.T) {
	var turns atomic.Int32
	w := newWorld(t, func(o *Options[*tally]) { o.Now = func() time.Time { turns.Add(1); return time.Now() } })
	w.Start()
	defer w.Close()
	w.Lead(0, 1)
	fired := make(chan struct{})
	set := func(group string, d time.Duration) {
		w.Do(0, func(m *tally, now time.Time) Result {
			m.onFire = func(Timer, time.Time) Result { close(fired); return Result{} }
			m.shard.Timers.Set(Timer{Group: group}, now.Add(d))
			return Result{}
		}, func(err error) { t.Error(err) })
	}
	set("a", 300*time.Millisecond)
	const others = 50
	for range others {
		set("b", time.Hour)
	}
	<-fired
	if n := turns.Load(); n > 4*others {
		t.Errorf("the clock was looked at %d times for %d requests and one timer", n, others+1)
	}
}

func TestTransactionsAreReplayedWhenTheyEnd(t *testing.T) {
	w := newWorld(t)
	w.log.Direct = true
	w.Lead(0, 1)
	p := Producer{ID: 7, Epoch: 2}
	for _, step := range []struct {
		res  Result
		want string
	}{
		{Result{Records: []Record{put("a", 1)}, Producer: &p}, "a is 0"},
		{Result{Marker: &Marker{Producer: p, Commit: true}}, "a is 1"},
		{Result{Records: []Record{put("a", 2)}, Producer: &p}, "a is 1"},
		{Result{Marker: &Marker{Producer: p}}, "a is 1"},
		{Result{Records: []Record{put("a", 3)}}, "a is 3"},
	} {
		w.expect(w.do(func(*tally) (Result, string) { return step.res, "done" }), "done")
		w.expect(w.get("a"), step.want)
	}
	b := w.log.Batches[0]
	if !b.Transactional() || b.ProducerID() != 7 || b.ProducerEpoch() != 2 {
		t.Errorf("batch %v", b)
	}
	w.log = w.log.Next()
	w.Lead(0, 2)
	w.expect(w.get("a"), "a is 3")
}

// TestALogThatIsNotLedAnyMore: a broker that comes back finds itself leading in its last epoch, and then in another one. That is
// no failure, and nobody is to be woken by it.
func TestALogThatIsNotLedAnyMore(t *testing.T) {
	w := newWorld(t, func(o *Options[*tally]) {
		led := o.Open
		o.Open = func(partition, epoch int32) (Log, error) {
			if epoch < 2 {
				return nil, kafka.NotLeaderOrFollower.Errorf("epoch %d is over", epoch)
			}
			return led(partition, epoch)
		}
	})
	w.log.Direct = true
	w.Lead(0, 1)
	w.expect(w.get("a"), "NOT_COORDINATOR")
	w.Lead(0, 2)
	w.expect(w.get("a"), "a is 0")
	if strings.Contains(w.said.String(), "ERROR") {
		t.Error(w.said.String())
	}
}

func TestALogThatCannotBeLoaded(t *testing.T) {
	t.Run("damaged", func(t *testing.T) {
		w := newWorld(t)
		w.log.Direct = true
		w.Lead(0, 1)
		w.put("a", 1)
		w.log.Batches[0][record.HeaderLen+3] ^= 1
		w.log = w.log.Next()
		w.Lead(0, 2)
		w.expect(w.get("a"), "NOT_COORDINATOR")
		if !strings.Contains(w.said.String(), "could not load") {
			t.Error("and nobody says so")
		}
	})
	t.Run("records of a newer version", func(t *testing.T) {
		w := newWorld(t)
		w.log.Direct = true
		b := record.NewBuilder(record.NewBuilderOptions())
		b.Append(record.Record{Key: []byte{0x7f, 0, 1}, Value: []byte{1}})
		b.Append(record.Record{Value: []byte{1}})
		b.Append(record.Record{Key: wire.AppendCoordinatorKey(nil, put("a", 1).Key), Value: wire.AppendCoordinatorValue(nil, put("a", 1).Value, 4)})
		w.log.Append(b.Build(nil), func(error) {})
		w.Lead(0, 1)
		w.expect(w.get("a"), "a is 1")
	})
}

func TestSomebodyElseWritesToTheLog(t *testing.T) {
	w := newWorld(t)
	w.Lead(0, 1)
	w.log.Skew = 1
	a := w.put("a", 1)
	w.expect(a, "NOT_COORDINATOR")
	w.log.Skew = 0
	w.log.Commit(2)
	w.expect(w.get("a"), "a is 1") // loaded again, with what is really there
}

func TestAPanicOfAMachineEndsNothingElse(t *testing.T) {
	w := newWorld(t)
	w.log.Direct = true
	w.Lead(0, 1)
	w.put("a", 1)
	w.expect(w.do(func(*tally) (Result, string) { panic("a bug") }), "UNKNOWN_SERVER_ERROR")
	w.expect(w.get("a"), "a is 1")
}

func TestCloseAnswersEverybody(t *testing.T) {
	w := newWorld(t)
	w.Start()
	w.Lead(0, 1)
	a := w.put("a", 1)
	w.Close()
	w.expect(a, "NOT_COORDINATOR")
	w.Lead(0, 2)
	w.expect(w.get("a"), "NOT_COORDINATOR")
}

func TestWorkAside(t *testing.T) {
	release, did := make(chan struct{}), make(chan string, 4)
	w := newWorld(t, func(o *Options[*tally]) { o.Go = func(work func()) { go work() } }) // one loader
	w.Start()
	work := func(name string) {
		w.Aside(func() (then func()) {
			did <- name
			<-release
			return func() { did <- name + " told" }
		})
	}
	work("a")
	work("a")
	if got := <-did; got != "a" || len(did) > 0 {
		t.Errorf("%s, and %d more at the same time", got, len(did))
	}
	close(release)
	w.Close() // waits for both
	if len(did) != 3 {
		t.Errorf("%d of 3 were done when it was closed", len(did))
	}
	for len(did) > 0 {
		<-did
	}
	work("b")
	w.Runtime.loads.Wait()
	if len(did) > 0 {
		t.Errorf("%s was done after it was closed", <-did)
	}
}

// Random requests, commits, refused appends and lost leaderships at any point: what is answered as done is there for
// ever, what is read was committed, and the state is what the log says.
func TestNothingAnsweredIsLost(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, func(o *Options[*tally]) {
			if seed%3 == 0 {
				o.Linger = 5 * time.Millisecond
			}
		})
		epoch := int32(1)
		w.Lead(0, epoch)
		acknowledged := map[string]int64{} // the highest count that was answered as done
		sent := map[string]int64{}
		for range 300 {
			name := string(rune('a' + r.IntN(3)))
			switch k := r.IntN(20); {
			case k < 9:
				sent[name]++
				n := sent[name]
				w.Do(0, func(m *tally, _ time.Time) Result {
					if m.get(name) >= n {
						t.Fatalf("seed %d: %s is %d before %d was decided", seed, name, m.get(name), n)
					}
					return Result{Records: []Record{put(name, n)}, Then: []func(error){func(err error) {
						if err == nil {
							acknowledged[name] = max(acknowledged[name], n)
						}
					}}}
				}, func(error) {})
			case k < 13:
				w.Do(0, func(m *tally, _ time.Time) Result {
					n := m.get(name)
					return Reply(func(err error) {
						if err != nil {
							return
						}
						if n < acknowledged[name] && w.log.High < w.log.End {
							return // read before the later one was decided
						}
						// What was read must be in the committed part of the log.
						if at := committed(w.log, name); n > at {
							t.Fatalf("seed %d: read %s=%d, but only %d is committed", seed, name, n, at)
						}
					})
				}, func(error) {})
			case k < 16:
				w.log.Commit(1 + r.IntN(3))
			case k < 17:
				w.log.Refuse = []error{kafka.NotEnoughReplicas, kafka.KafkaStorageError, nil}[r.IntN(3)]
			case k < 18:
				w.now = w.now.Add(time.Duration(r.IntN(3000)) * time.Millisecond)
				w.Tick(w.now)
			case k < 19 && r.IntN(4) == 0:
				w.log.Lose(r.IntN(3))
				if r.IntN(2) == 0 {
					w.Resign(0, epoch+1)
				}
				epoch += 2
				w.log = w.log.Next()
				w.Lead(0, epoch)
				for name, n := range acknowledged {
					if at := committed(w.log, name); at < n {
						t.Fatalf("seed %d: %s=%d was acknowledged, the log has %d", seed, name, n, at)
					}
				}
			}
		}
		w.log.Refuse = nil
		w.find(0).mu.Lock()
		w.find(0).flush()
		w.find(0).leave()
		w.log.Commit(1000)
		for name := range sent {
			if got, want := w.machine().get(name), committed(w.log, name); got != want {
				t.Fatalf("seed %d: the state says %s=%d, the log %d", seed, name, got, want)
			}
		}
	}
}

// committed is the last count of a name below the high watermark.
func committed(l *memlog.Log, name string) int64 {
	n := int64(0)
	for _, b := range l.Batches {
		if b.NextOffset() > l.High {
			break
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				panic(err)
			}
			key, _ := wire.DecodeCoordinatorKey(wire.GroupRecords, r.Key)
			if value, _, _ := wire.DecodeCoordinatorValue(wire.GroupRecords, 1, r.Value); key.(*wire.OffsetCommitKey).Group == name {
				n = value.(*wire.OffsetCommitValue).Offset
			}
		}
	}
	return n
}

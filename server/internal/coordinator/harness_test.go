package coordinator

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// memoryLog is a log whose commits, faults and loss of leadership the test decides.
type memoryLog struct {
	t       *testing.T
	batches []record.Batch
	end     int64
	high    int64
	waiting []waitingBatch
	refuse  error // what the next appends meet
	over    error // the leadership ended
	direct  bool  // commits at once, inside of Append
	skew    int64 // what is added to offsets, as if somebody else wrote
}

type waitingBatch struct {
	end  int64
	done func(error)
}

func (l *memoryLog) Bounds() (int64, int64) { return 0, l.end }

func (l *memoryLog) Read(offset int64, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for _, b := range l.batches {
		if b.NextOffset() <= offset {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > cap(buf) {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

func (l *memoryLog) Append(batch []byte, done func(error)) (int64, error) {
	if l.over != nil {
		return 0, l.over
	}
	if l.refuse != nil {
		return 0, l.refuse
	}
	b := record.Batch(bytes.Clone(batch))
	if err := b.CheckCRC(); err != nil {
		l.t.Error(err)
	}
	base := l.end + l.skew
	b.SetBaseOffset(base)
	l.batches = append(l.batches, b)
	l.end = b.NextOffset()
	if l.direct {
		l.high = l.end
		done(nil)
	} else {
		l.waiting = append(l.waiting, waitingBatch{l.end, done})
	}
	return base, nil
}

func (l *memoryLog) Await(offset int64, done func(error)) {
	if l.over != nil {
		done(l.over)
	} else if l.high >= offset {
		done(nil)
	} else {
		l.waiting = append(l.waiting, waitingBatch{offset, done})
	}
}

// commit moves the high watermark over the next n batches that wait.
func (l *memoryLog) commit(n int) {
	for ; n > 0 && len(l.waiting) > 0; n-- {
		w := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.high = max(l.high, w.end)
		w.done(nil)
	}
}

// lose ends the leadership. What was not committed is cut away, but for the first keep batches of it.
func (l *memoryLog) lose(keep int) {
	l.over = kafka.NotLeaderOrFollower
	waiting := l.waiting
	l.waiting = nil
	for _, w := range waiting {
		if keep > 0 {
			l.high, keep = max(l.high, w.end), keep-1
		}
		w.done(kafka.NotLeaderOrFollower)
	}
	for len(l.batches) > 0 && l.batches[len(l.batches)-1].NextOffset() > l.high {
		l.batches = l.batches[:len(l.batches)-1]
	}
	l.end = l.high
}

// next is the log as the next leader finds it.
func (l *memoryLog) next() *memoryLog {
	return &memoryLog{t: l.t, batches: l.batches, end: l.end, high: l.high}
}

// tally is a machine that counts: a record's key is a name (the group of an OffsetCommitKey), its value a number.
type tally struct {
	shard   Shard
	counts  Map[string, int64]
	pending map[int64]map[string]int64
	expired []Timer
	onFire  func(Timer, time.Time) Result
	loaded  bool
	waiters []func(error) // parked in the machine
}

func newTally(s Shard) *tally {
	return &tally{shard: s, counts: NewMap[string, int64](s.Journal), pending: map[int64]map[string]int64{}}
}

func (m *tally) Replay(offset, producerID int64, r Record) error {
	name := r.Key.(*wire.OffsetCommitKey).Group
	if r.Value == nil {
		m.counts.Delete(name)
		return nil
	}
	v := r.Value.(*wire.OffsetCommitValue)
	switch {
	case v.Metadata == "impossible":
		return fmt.Errorf("%s cannot be", name)
	case v.LeaderEpoch >= 0 && int64(v.LeaderEpoch) != offset:
		return fmt.Errorf("replayed at %d what stands at %d", offset, v.LeaderEpoch)
	case producerID != kafka.NoProducerID:
		if m.pending[producerID] == nil {
			m.pending[producerID] = map[string]int64{}
		}
		m.pending[producerID][name] = v.Offset
	default:
		m.counts.Set(name, v.Offset)
	}
	return nil
}

func (m *tally) EndTxn(_, producerID int64, commit bool) error {
	if commit {
		for name, n := range m.pending[producerID] {
			m.counts.Set(name, n)
		}
	}
	delete(m.pending, producerID)
	return nil
}

func (m *tally) Loaded(time.Time) { m.loaded = true }

func (m *tally) Expire(t Timer, now time.Time) Result {
	m.expired = append(m.expired, t)
	if m.onFire != nil {
		return m.onFire(t, now)
	}
	return Result{}
}

func (m *tally) Unloaded(why error) []func() {
	var told []func()
	for _, w := range m.waiters {
		told = append(told, func() { w(why) })
	}
	m.waiters = nil
	return told
}

func (m *tally) get(name string) int64 {
	n, _ := m.counts.Get(name)
	return n
}

// put is a record that sets a count.
func put(name string, n int64) Record {
	v := wire.NewOffsetCommitValue()
	v.Offset = n
	return Record{Key: &wire.OffsetCommitKey{Group: name}, Value: v, Version: 4}
}

// drop is a tombstone.
func drop(name string) Record { return Record{Key: &wire.OffsetCommitKey{Group: name}} }

// world is a runtime of one partition whose clock the test moves.
type world struct {
	*Runtime[*tally]
	t     *testing.T
	log   *memoryLog
	now   time.Time
	loads []func() // that were not run yet, when lazy
	lazy  bool
	said  bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*Options[*tally])) *world {
	w := &world{t: t, log: &memoryLog{t: t}, now: time.UnixMilli(1_000_000)}
	o := Options[*tally]{
		Records: wire.GroupRecords, New: newTally, WriteTimeout: 5 * time.Second, Linger: -1, BatchBytes: 4096, BufferBytes: 512,
		Open: func(int32, int32) (Log, error) { return w.log, nil },
		Now:  func() time.Time { return w.now },
		Log:  slog.New(slog.NewTextHandler(&w.said, nil)),
		Go: func(load func()) {
			if w.lazy {
				w.loads = append(w.loads, load)
			} else {
				load()
			}
		},
	}
	for _, f := range change {
		f(&o)
	}
	w.Runtime = New(o)
	return w
}

// answer is what a request was told; "" while it waits.
type answer struct{ text string }

func (a *answer) tell(format string, args ...any) {
	if a.text != "" {
		a.text += " and again: "
	}
	a.text += fmt.Sprintf(format, args...)
}

func (a *answer) of(text string) func(error) {
	return func(err error) {
		if err != nil {
			a.tell("%v", kafka.CodeOf(err))
		} else {
			a.tell("%s", text)
		}
	}
}

// do decides one request; its answer is what decide says.
func (w *world) do(decide func(m *tally) (Result, string)) *answer {
	a := &answer{}
	w.Do(0, func(m *tally, _ time.Time) Result {
		res, text := decide(m)
		res.Then = append(res.Then, a.of(text))
		return res
	}, a.of("refused"))
	return a
}

func (w *world) put(name string, n int64) *answer {
	return w.do(func(*tally) (Result, string) {
		return Result{Records: []Record{put(name, n)}}, fmt.Sprintf("%s=%d", name, n)
	})
}

func (w *world) get(name string) *answer {
	return w.do(func(m *tally) (Result, string) { return Result{}, fmt.Sprintf("%s is %d", name, m.get(name)) })
}

func (w *world) expect(a *answer, want string) {
	w.t.Helper()
	if a.text != want {
		w.t.Errorf("answered %q, want %q", a.text, want)
	}
}

func (w *world) machine() *tally { return w.find(0).machine }

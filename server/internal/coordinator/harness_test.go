package coordinator

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
)

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
	log   *memlog.Log
	now   time.Time
	loads []func() // that were not run yet, when lazy
	lazy  bool
	said  bytes.Buffer
}

func newWorld(t *testing.T, change ...func(*Options[*tally])) *world {
	w := &world{t: t, log: &memlog.Log{Max: 4096}, now: time.UnixMilli(1_000_000)}
	o := Options[*tally]{
		Records: wire.GroupRecords, New: newTally, WriteTimeout: 5 * time.Second, Linger: -1, BufferBytes: 512,
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

package commitlog

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// modelRecord is a record as the dumb twin keeps it.
type modelRecord struct {
	got
	batch int64 // base offset
	pid   int64
	seq   int32
}

// twin is a log as a slice of records.
type twin struct {
	records []modelRecord // records[i] has offset i
	start   int64
	epoch   int32
}

func (m *twin) end() int64 { return int64(len(m.records)) }

// lastOf returns the last batch of a producer.
func (m *twin) lastOf(pid int64) (first, last *modelRecord) {
	for i := len(m.records) - 1; i >= 0; i-- {
		if r := &m.records[i]; r.pid == pid {
			return &m.records[r.batch], r
		}
	}
	return nil, nil
}

// TestModel runs random operations against a log and a slice of records, and compares.
func TestModel(t *testing.T) {
	seeds := 30
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, uint64(seed), 250) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	dice := rand.New(rand.NewPCG(seed, 1))
	fsys := vfs.NewMem()
	c := testConfig(func(c *Config) {
		c.SegmentBytes = 600 + int64(dice.IntN(4000))
		c.IndexIntervalBytes = []int{0, 1, 200, 4096}[dice.IntN(4)]
		c.RetentionBytes, c.RetentionMs = -1, -1
		c.FileDeleteDelay = time.Second
		if dice.IntN(4) == 0 {
			c.SegmentIndexBytes = 48
		}
	})
	l := newTestLog(t, fsys, c)
	m := &twin{epoch: 1}
	now := t0
	point := int64(0)
	var history []string
	note := func(format string, args ...any) { history = append(history, fmt.Sprintf(format, args...)) }
	defer func() {
		if t.Failed() {
			for _, h := range history[max(0, len(history)-25):] {
				t.Log(h)
			}
		}
	}()
	options := func() Options {
		o := testOptions(fsys, c)
		o.StartOffset = m.start
		return o
	}
	for step := range steps {
		now = now.Add(time.Duration(dice.IntN(2000)) * time.Millisecond)
		switch op := dice.IntN(100); {
		case op < 45:
			n := 1 + dice.IntN(4)
			s := plain(now.UnixMilli() - int64(dice.IntN(5000)))
			s.codec = record.Codec(dice.IntN(5))
			if dice.IntN(2) == 0 {
				s.pid, s.epoch, s.sequence = int64(dice.IntN(3)), 0, 0
				if _, last := m.lastOf(s.pid); last != nil {
					s.sequence = last.seq + 1
				}
			}
			for i := range n {
				s.values = append(s.values, fmt.Sprintf("%d.%d.%0*d", step, i, dice.IntN(200), 0))
			}
			info := mustAppend(t, l, s, m.epoch, now)
			note("append %d records of producer %d at %d", n, s.pid, info.FirstOffset)
			if info.FirstOffset != m.end() || info.Duplicate {
				t.Fatalf("step %d: appended at %d, want %d (%+v)", step, info.FirstOffset, m.end(), info)
			}
			base := m.end()
			for i, v := range s.values {
				m.records = append(m.records, modelRecord{got{base + int64(i), s.ts + int64(i), m.epoch, v}, base, s.pid, s.sequence + int32(i)})
			}
		case op < 52: // the last batch of a producer again
			pid := int64(dice.IntN(3))
			first, last := m.lastOf(pid)
			if first == nil {
				continue
			}
			values := make([]string, last.seq-first.seq+1)
			for i := range values {
				values[i] = "again"
			}
			info := mustAppend(t, l, idem(pid, 0, first.seq, values...), m.epoch, now)
			note("repeat producer %d: %+v", pid, info)
			if !info.Duplicate || info.FirstOffset != first.offset || info.LastOffset != last.offset || info.Position != last.offset+1 {
				t.Fatalf("step %d: the batch at %d-%d of producer %d again gave %+v", step, first.offset, last.offset, pid, info)
			}
		case op < 55: // a gap in the sequence
			pid := int64(dice.IntN(3))
			if _, last := m.lastOf(pid); last != nil {
				_, err := l.Append(idem(pid, 0, last.seq+2, "gap").batch(), AppendOptions{LeaderEpoch: m.epoch, ProduceVersion: 12}, now)
				if kafka.CodeOf(err) != kafka.OutOfOrderSequenceNumber {
					t.Fatalf("step %d: a gap gave %v", step, err)
				}
			}
		case op < 60:
			m.epoch += int32(dice.IntN(2))
			if dice.IntN(2) == 0 {
				if err := l.AssignEpoch(m.epoch, l.EndOffset()); err != nil {
					t.Fatal(err)
				}
			}
		case op < 68:
			mustFlush(t, l)
			note("flush to %d", l.Flushed())
		case op < 73:
			var err error
			if point, err = l.PrepareCheckpoint(); err != nil {
				t.Fatal(err)
			}
			note("checkpoint at %d", point)
		case op < 77:
			if m.end() == 0 {
				continue
			}
			to := m.start + dice.Int64N(m.end()-m.start+1)
			if err := l.TruncateTo(to); err != nil {
				t.Fatal(err)
			}
			if to < m.end() {
				to = m.records[to].batch
			}
			note("truncate to %d", to)
			m.records = m.records[:to]
			m.start = min(m.start, to)
			point = min(point, to)
			if l.EndOffset() != to {
				t.Fatalf("step %d: truncated to %d, want %d", step, l.EndOffset(), to)
			}
		case op < 81:
			to := m.start + dice.Int64N(m.end()-m.start+1)
			if err := l.AdvanceStart(to); err != nil {
				t.Fatal(err)
			}
			m.start = to
			note("advance the start to %d", to)
		case op < 85:
			mustFlush(t, l) // the high watermark is never above what is flushed
			d := c
			d.RetentionBytes = int64(dice.IntN(6000))
			l.SetConfig(d)
			if _, err := l.Retain(now, m.end()); err != nil {
				t.Fatal(err)
			}
			l.SetConfig(c)
			if l.StartOffset() < m.start {
				t.Fatalf("step %d: retention moved the start back", step)
			}
			m.start = l.StartOffset()
			note("retention moved the start to %d", m.start)
		case op < 89:
			if l.Cool() {
				note("cooled")
			}
		case op < 93:
			s := mustClose(t, l)
			checkClean(t, fsys)
			note("closed: %+v", s)
			if dice.IntN(2) == 0 {
				l = OpenCold(options(), s)
			} else {
				o := options()
				o.Clean = true
				var err error
				if l, err = Open(o, now); err != nil {
					t.Fatal(err)
				}
			}
			point = s.EndOffset
		case op < 97: // the process ends, the disk's cache stays
			o := options()
			o.RecoveryPoint, o.Floor = point, l.Flushed()
			var err error
			if l, err = Open(o, now); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			note("killed; opened above %d", point)
			mustFlush(t, l)
		default:
			checkTimes(t, l, m, dice)
		}
		if l.EndOffset() != m.end() || l.StartOffset() != m.start {
			t.Fatalf("step %d: the log has %d to %d, want %d to %d", step, l.StartOffset(), l.EndOffset(), m.start, m.end())
		}
		checkReads(t, l, m, dice)
		checkEpochs(t, l, m, dice)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
	}
	mustClose(t, l)
	checkClean(t, fsys)
}

func checkReads(t *testing.T, l *Log, m *twin, dice *rand.Rand) {
	t.Helper()
	if m.start == m.end() {
		return
	}
	from := m.start + dice.Int64N(m.end()-m.start)
	limit := m.records[from+dice.Int64N(m.end()-from)].batch // a batch boundary, as the high watermark is
	if dice.IntN(2) == 0 {
		limit = m.end()
	}
	maxBytes, minOne := dice.IntN(1500), dice.IntN(4) > 0
	s, err := l.Read(from, maxBytes, limit, minOne)
	if err != nil {
		t.Fatalf("read at %d: %v", from, err)
	}
	if s.FirstEpoch != m.records[from].epoch {
		t.Errorf("the epoch at %d is %d, want %d", from, s.FirstEpoch, m.records[from].epoch)
	}
	if s.Range == nil {
		if from < limit && minOne {
			t.Errorf("nothing was read at %d with limit %d and minOne", from, limit)
		}
		return
	}
	size := s.Range.Len()
	rs := readSlice(t, s)
	if rs[0].offset != m.records[from].batch {
		t.Errorf("a read at %d begins at %d, want %d", from, rs[0].offset, m.records[from].batch)
	}
	last := rs[len(rs)-1].offset
	if last >= limit || s.NextOffset != last+1 {
		t.Errorf("a read at %d below %d gave %s and goes on at %d", from, limit, offsets(rs), s.NextOffset)
	}
	for i, r := range rs {
		if want := m.records[rs[0].offset+int64(i)].got; r != want {
			t.Errorf("read %+v, want %+v", r, want)
		}
	}
	if size > maxBytes && (!minOne || m.records[last].batch != m.records[from].batch) {
		t.Errorf("%d bytes were read where %d were allowed (minOne %v)", size, maxBytes, minOne)
	}
}

func checkEpochs(t *testing.T, l *Log, m *twin, dice *rand.Rand) {
	t.Helper()
	if m.start == m.end() {
		return
	}
	r := m.records[m.start+dice.Int64N(m.end()-m.start)]
	want := m.end()
	for _, x := range m.records[r.offset:] {
		if x.epoch > r.epoch {
			want = x.offset
			break
		}
	}
	found, end := l.EndOffsetForEpoch(r.epoch)
	// An epoch that was assigned and wrote nothing yet ends the one before at the log's end.
	if found != r.epoch || end != want {
		t.Errorf("epoch %d ends at %d (as %d), want %d", r.epoch, end, found, want)
	}
}

func checkTimes(t *testing.T, l *Log, m *twin, dice *rand.Rand) {
	t.Helper()
	if m.start == m.end() {
		return
	}
	ts := m.records[m.start+dice.Int64N(m.end()-m.start)].ts + int64(dice.IntN(3)) - 1
	var want *modelRecord
	for i := m.start; i < m.end(); i++ {
		if m.records[i].ts >= ts {
			want = &m.records[i]
			break
		}
	}
	at, found, err := l.OffsetForTimestamp(ts, m.end())
	if err != nil {
		t.Fatal(err)
	}
	if found != (want != nil) || found && (at.Offset != want.offset || at.Timestamp != want.ts || at.Epoch != want.epoch) {
		t.Errorf("timestamp %d: %+v %v, want %+v", ts, at, found, want)
	}
	greatest := m.start
	for i := m.start; i < m.end(); i++ {
		if m.records[i].ts > m.records[greatest].ts {
			greatest = i
		}
	}
	at, found, err = l.MaxTimestampOffset(m.end())
	if err != nil {
		t.Fatal(err)
	}
	if found && at.Timestamp > m.records[greatest].ts { // the greatest lies below the start, in the first segment
		return
	}
	if found && at.Offset != greatest {
		t.Errorf("the greatest timestamp is at %+v, want offset %d with %d", at, greatest, m.records[greatest].ts)
	}
}

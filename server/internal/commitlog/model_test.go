package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// seedsOf tells which seeds a randomised test runs: the first n, or as many as COMMITLOG_SEEDS says, or the one that
// COMMITLOG_SEED names.
func seedsOf(t *testing.T, n int) (from, to uint64) {
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	if os.Getenv("COMMITLOG_SEED") != "" {
		seed := number("COMMITLOG_SEED", 0)
		return seed, seed + 1
	}
	return 0, number("COMMITLOG_SEEDS", uint64(n))
}

// modelRecord is a record as the dumb twin keeps it.
type modelRecord struct {
	got
	batch int64 // base offset
	pid   int64
	seq   int32
	txn   bool
	end   txnEnd
}

// txnEnd says that a record is the marker of a transaction.
type txnEnd int8

const (
	notEnd txnEnd = iota
	commits
	aborts
)

// twin is a log as a slice of records. Those below start were deleted, but what they said of producers holds.
type twin struct {
	records []modelRecord // records[i] has offset i
	start   int64
	epoch   int32
}

func (m *twin) end() int64 { return int64(len(m.records)) }

// some returns the offset of a record that can be read; there must be one.
func (m *twin) some(dice *rand.Rand) int64 { return m.start + dice.Int64N(m.end()-m.start) }

// lastOf returns the first and the last record of a producer's last batch.
func (m *twin) lastOf(pid int64) (first, last *modelRecord) {
	for i := len(m.records) - 1; i >= 0; i-- {
		if r := &m.records[i]; r.pid == pid && r.end == notEnd {
			return &m.records[r.batch], r
		}
	}
	return nil, nil
}

// transactions lists all that ever began, in the order of their ends; those under way have last -1.
func (m *twin) transactions() (decided []ended, ongoing map[int64]int64) {
	ongoing = map[int64]int64{}
	for _, r := range m.records {
		first, open := ongoing[r.pid]
		switch {
		case r.end != notEnd && open:
			decided = append(decided, ended{txn: txn{r.pid, first, r.offset}, aborted: r.end == aborts})
			delete(ongoing, r.pid)
		case r.txn && r.end == notEnd && !open:
			ongoing[r.pid] = r.offset
		}
	}
	return decided, ongoing
}

// TestModel runs random operations against a log and a slice of records, and compares.
func TestModel(t *testing.T) {
	from, to := seedsOf(t, 12)
	for seed := from; seed < to; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newModel(t, seed).run(250) })
	}
}

// model is a run: a log, its twin, and what a node would keep beside the log.
type model struct {
	*testing.T
	twin
	log     *Log
	dice    *rand.Rand
	fs      *vfs.Mem
	config  Config
	now     time.Time
	point   int64             // the recovery point as the checkpoint file has it
	high    int64             // the high watermark as the last check had it
	number  int               // of the step
	synced  func(name string) // hears of every sync
	history []string
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{T: t, dice: rand.New(rand.NewPCG(seed, 1)), fs: vfs.NewMem(), now: t0, twin: twin{epoch: 1}}
	m.config = testConfig(func(c *Config) {
		c.SegmentBytes = 1000 + m.dice.Int64N(4000)
		c.IndexIntervalBytes = []int{0, 1, 200, 4096}[m.dice.IntN(4)]
		c.RetentionBytes, c.RetentionMs = -1, -1
		c.FileDeleteDelay = time.Second
		if m.dice.IntN(4) == 0 {
			c.SegmentIndexBytes = 48
		}
	})
	m.log = newTestLog(t, m.fs, m.config)
	return m
}

func (m *model) note(format string, args ...any) {
	m.history = append(m.history, fmt.Sprintf("%d: ", m.number)+fmt.Sprintf(format, args...))
}

func (m *model) run(steps int) {
	defer func() {
		if m.Failed() {
			for _, h := range m.history[max(0, len(m.history)-40):] {
				m.Log(h)
			}
		}
	}()
	// Each move with how often of a hundred times it is made.
	moves := []struct {
		weight int
		make   func()
	}{
		{32, m.append}, {7, m.transact}, {6, m.decide}, {7, m.repeat}, {3, m.leaveGap}, {5, m.lead}, {8, m.flush},
		{5, m.checkpoint}, {4, m.truncate}, {4, m.advance}, {4, m.retain}, {4, m.cool}, {4, m.stop}, {4, m.kill}, {3, m.losePower},
	}
	for m.number = range steps {
		m.now = m.now.Add(time.Duration(m.dice.IntN(2000)) * time.Millisecond)
		pick := m.dice.IntN(100)
		for _, move := range moves {
			if pick -= move.weight; pick < 0 {
				move.make()
				break
			}
		}
		if m.log.EndOffset() != m.end() || m.log.StartOffset() != m.start {
			m.Fatalf("step %d: the log has %d to %d, want %d to %d", m.number, m.log.StartOffset(), m.log.EndOffset(), m.start, m.end())
		}
		m.check()
		if m.Failed() {
			m.Fatalf("step %d", m.number)
		}
	}
	mustClose(m, m.log)
	m.checkFiles()
}

// The moves.

// send makes up a batch of a producer that continues what it sent before.
func (m *model) send(pid int64, txn bool) {
	s := plain(m.now.UnixMilli() - int64(m.dice.IntN(5000)))
	s.codec = record.Codec(m.dice.IntN(5))
	if s.txn = txn; pid >= 0 {
		s.pid, s.epoch, s.sequence = pid, 0, 0
		if _, last := m.lastOf(pid); last != nil {
			s.sequence = last.seq + 1
		}
	}
	for i := range 1 + m.dice.IntN(4) {
		s.values = append(s.values, fmt.Sprintf("%d.%d.%0*d", m.number, i, m.dice.IntN(200), 0))
	}
	info := mustAppend(m, m.log, s, m.epoch, m.now)
	m.note("append %d records of producer %d at %d (txn %v)", len(s.values), s.pid, info.FirstOffset, s.txn)
	if info.FirstOffset != m.end() || info.Duplicate {
		m.Fatalf("appended at %d, want %d (%+v)", info.FirstOffset, m.end(), info)
	}
	base := m.end()
	for i, v := range s.values {
		m.records = append(m.records, modelRecord{got{base + int64(i), s.ts + int64(i), m.epoch, v}, base, s.pid, s.sequence + int32(i), s.txn, notEnd})
	}
}

func (m *model) append() { m.send(int64(m.dice.IntN(6)-3), false) } // producers 0 to 2, and none

func (m *model) transact() { m.send(int64(10+m.dice.IntN(2)), true) }

func (m *model) decide() {
	pid, end := int64(10+m.dice.IntN(2)), commits
	if m.dice.IntN(2) == 0 {
		end = aborts
	}
	b := marker(pid, 0, end == commits, 0)
	info, err := m.log.Append(b, AppendOptions{LeaderEpoch: m.epoch, Origin: Coordinator}, m.now)
	if err != nil {
		m.Fatal(err)
	}
	m.note("transaction of producer %d ends at %d (%d)", pid, info.FirstOffset, end)
	m.adopt(b, m.end())
}

func (m *model) repeat() { m.repeatOf(int64(m.dice.IntN(3))) }

// repeatOf sends the last batch of a producer again.
func (m *model) repeatOf(pid int64) {
	first, last := m.lastOf(pid)
	if first == nil {
		return
	}
	info := mustAppend(m, m.log, idem(pid, 0, first.seq, make([]string, last.seq-first.seq+1)...), m.epoch, m.now)
	m.note("repeat producer %d: %+v", pid, info)
	if !info.Duplicate || info.FirstOffset != first.offset || info.LastOffset != last.offset || info.Position != last.offset+1 {
		m.Fatalf("the batch at %d-%d of producer %d again gave %+v", first.offset, last.offset, pid, info)
	}
}

func (m *model) leaveGap() { m.leaveGapOf(int64(m.dice.IntN(3))) }

// leaveGapOf leaves one out in a producer's sequence.
func (m *model) leaveGapOf(pid int64) {
	if _, last := m.lastOf(pid); last != nil {
		_, err := m.log.Append(idem(pid, 0, last.seq+2, "gap").batch(), AppendOptions{LeaderEpoch: m.epoch, ProduceVersion: 12}, m.now)
		if kafka.CodeOf(err) != kafka.OutOfOrderSequenceNumber {
			m.Fatalf("a gap gave %v", err)
		}
	}
}

func (m *model) lead() {
	m.epoch += int32(m.dice.IntN(2))
	m.note("epoch %d", m.epoch)
	if m.dice.IntN(2) == 0 {
		if err := m.log.AssignEpoch(m.epoch, m.log.EndOffset()); err != nil {
			m.Fatal(err)
		}
	}
}

func (m *model) flush() {
	mustFlush(m, m.log)
	m.note("flush to %d", m.log.Flushed())
}

func (m *model) checkpoint() {
	var err error
	if m.point, err = m.log.PrepareCheckpoint(); err != nil {
		m.Fatal(err)
	}
	m.note("checkpoint at %d", m.point)
}

func (m *model) truncate() {
	to := m.start + m.dice.Int64N(m.end()-m.start+1)
	if err := m.log.TruncateTo(to); err != nil {
		m.Fatal(err)
	}
	if to < m.end() {
		to = m.records[to].batch
	}
	m.note("truncate to %d", to)
	m.records = m.records[:to]
	m.start, m.point, m.high = min(m.start, to), min(m.point, to), min(m.high, to)
}

// advance deletes records, which must be below the high watermark, and that below what is flushed.
func (m *model) advance() {
	if m.log.Flushed() < m.start {
		return
	}
	to := m.start + m.dice.Int64N(m.log.Flushed()-m.start+1)
	if err := m.log.AdvanceStart(to); err != nil {
		m.Fatal(err)
	}
	m.start = to
	m.note("advance the start to %d", to)
}

func (m *model) retain() {
	c := m.config
	c.RetentionBytes = int64(m.dice.IntN(6000))
	m.log.SetConfig(c)
	m.high = max(m.high, m.log.Flushed())
	if _, err := m.log.Retain(m.now, m.log.Flushed()); err != nil {
		m.Fatal(err)
	}
	m.log.SetConfig(m.config)
	if m.log.StartOffset() < m.start {
		m.Fatalf("retention moved the start back")
	}
	m.start = m.log.StartOffset()
	m.note("retention moved the start to %d", m.start)
}

func (m *model) cool() {
	if m.log.Cool() {
		m.note("cooled")
	}
}

func (m *model) options() Options {
	o := testOptions(m.fs, m.config)
	o.StartOffset = m.start
	return o
}

func (m *model) open(o Options) {
	var err error
	if m.log, err = Open(o, m.now); err != nil {
		m.Fatalf("step %d: %v", m.number, err)
	}
}

func (m *model) stop() {
	s := mustClose(m, m.log)
	m.checkFiles()
	m.note("closed: %+v", s)
	o := m.options()
	if m.dice.IntN(2) == 0 {
		m.log = OpenCold(o, s)
	} else {
		o.Clean = true
		m.open(o)
	}
	// Which transactions were decided between the watermark and the newest snapshot is not on the disk, as in Kafka.
	m.point, m.high = s.EndOffset, s.EndOffset
}

// kill ends the process; what it wrote stays in the cache of the disk. What it held in memory is lost.
func (m *model) kill() {
	if m.dice.IntN(2) == 0 {
		m.restart(m.fs, m.log.Flushed(), m.start)
		mustFlush(m, m.log)
		return
	}
	if h, err := m.log.wake(); err == nil {
		h.active().Log.WriteBack()
	}
	o := m.options()
	o.RecoveryPoint, o.Floor = m.point, m.log.Flushed()
	m.open(o)
	m.high = max(m.high, m.point)
	m.note("killed; opened above %d", m.point)
	mustFlush(m, m.log)
}

// losePower loses what was not flushed, or only some of it.
func (m *model) losePower() {
	floor := m.log.Flushed()
	m.restart(m.fs.CrashClone(vfs.CrashOptions{Rand: m.dice}), floor, m.start)
	mustFlush(m, m.log)
}

// restart opens the log on a disk as a power loss or a kill left it, and takes in what is there beyond what was acknowledged, the
// records below floor.
func (m *model) restart(disk *vfs.Mem, floor, start int64) {
	m.fs = disk
	m.fs.SetSyncHook(m.synced)
	o := m.options()
	o.RecoveryPoint, o.Floor, o.StartOffset = m.point, floor, start
	if _, err := disk.ReadDir(o.Dir); errors.Is(err, fs.ErrNotExist) && floor == 0 {
		var err error
		if m.log, err = Create(o); err != nil { // as a node does: it does not find the directory
			m.Fatal(err)
		}
	} else {
		m.open(o)
	}
	m.note("power lost; opened above %d, floor %d, end %d", m.point, floor, m.log.EndOffset())
	if m.log.EndOffset() < floor {
		m.Fatalf("the log ends at %d; it was flushed to %d", m.log.EndOffset(), floor)
	}
	m.records, m.high = m.records[:floor], max(min(m.high, floor), m.point)
	for next := max(floor, m.start); next < m.log.EndOffset(); {
		s, err := m.log.Read(next, 1<<20, m.log.EndOffset(), true)
		if err != nil || s.Range == nil {
			m.Fatalf("nothing at %d: %v", next, err)
		}
		m.adopt(bytesOf(m, s), next)
		next = s.NextOffset
	}
}

// adopt takes batches as they are into the twin; the first begins at offset next.
func (m *model) adopt(batches []byte, next int64) {
	for rest := batches; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil || b.BaseOffset() != next || m.end() != next {
			m.Fatalf("a batch at %d where %d must follow %d: %v", b.BaseOffset(), next, m.end(), err)
		}
		end := notEnd
		if b.Control() {
			if mark, ok, err := b.Marker(nil); err != nil || !ok {
				m.Fatal("no marker: ", err)
			} else if end = aborts; mark.Commit {
				end = commits
			}
		}
		for _, g := range decode(m, b) {
			m.records = append(m.records, modelRecord{g, next, b.ProducerID(), b.BaseSequence() + int32(g.offset-next), b.Transactional(), end})
		}
		next, rest = b.NextOffset(), after
	}
}

// The checks.

func (m *model) check() {
	m.Helper()
	if m.start == m.end() {
		return
	}
	m.checkReads()
	m.checkEpochs()
	m.checkOngoing()
	if m.dice.IntN(10) == 0 {
		m.checkTimes()
		m.checkTransactions()
	}
}

// checkFiles has Check look at the files of a log that is closed. Segments that end below the start do not count: they
// are what a power loss brings back of what was deleted, in part.
func (m *model) checkFiles() {
	m.Helper()
	r := Check(m.fs, testDir, CheckOptions{Deep: true, TopicID: testTopicID})
	live := int64(0)
	entries, err := m.fs.ReadDir(testDir)
	if err != nil {
		m.Fatal(err)
	}
	for _, e := range entries {
		if base, kind, state, _ := segment.ParseFileName(e.Name()); kind == segment.LogSuffix && state == "" && base <= m.start {
			live = base
		}
	}
	for _, f := range r.Findings {
		if base, _, _, ok := segment.ParseFileName(f.File); !ok || base >= live {
			m.Errorf("check: %v", f)
		}
	}
	if r.Err != nil {
		m.Fatal(r.Err)
	}
}

func (m *model) checkReads() {
	m.Helper()
	from := m.some(m.dice)
	limit := m.records[from+m.dice.Int64N(m.end()-from)].batch // a batch boundary, as the high watermark is
	if m.dice.IntN(2) == 0 {
		limit = m.end()
	}
	maxBytes, minOne := m.dice.IntN(1500), m.dice.IntN(4) > 0
	s, err := m.log.Read(from, maxBytes, limit, minOne)
	if err != nil {
		m.Fatalf("read at %d: %v", from, err)
	}
	if s.FirstEpoch != m.records[from].epoch {
		m.Errorf("the epoch at %d is %d, want %d", from, s.FirstEpoch, m.records[from].epoch)
	}
	if s.Range == nil {
		if from < limit && minOne {
			m.Errorf("nothing was read at %d with limit %d and minOne", from, limit)
		}
		return
	}
	size := s.Range.Len()
	rs := readSlice(m, s)
	if rs[0].offset != m.records[from].batch {
		m.Errorf("a read at %d begins at %d, want %d", from, rs[0].offset, m.records[from].batch)
	}
	last := rs[len(rs)-1].offset
	if last >= limit || s.NextOffset != last+1 {
		m.Errorf("a read at %d below %d gave %s and goes on at %d", from, limit, offsets(rs), s.NextOffset)
	}
	for i, r := range rs {
		if want := m.records[rs[0].offset+int64(i)].got; r != want {
			m.Errorf("read %+v, want %+v", r, want)
		}
	}
	if size > maxBytes && (!minOne || m.records[last].batch != m.records[from].batch) {
		m.Errorf("%d bytes were read where %d were allowed (minOne %v)", size, maxBytes, minOne)
	}
}

func (m *model) checkEpochs() {
	m.Helper()
	r := m.records[m.some(m.dice)]
	want := m.end() // an epoch that was assigned and wrote nothing yet ends the one before at the log's end
	for _, x := range m.records[r.offset:] {
		if x.epoch > r.epoch {
			want = x.offset
			break
		}
	}
	if found, end := m.log.EndOffsetForEpoch(r.epoch); found != r.epoch || end != want {
		m.Errorf("epoch %d ends at %d (as %d), want %d", r.epoch, end, found, want)
	}
}

func (m *model) checkTimes() {
	m.Helper()
	ts := m.records[m.some(m.dice)].ts + int64(m.dice.IntN(3)) - 1
	var want, greatest *modelRecord
	for i := m.start; i < m.end(); i++ {
		r := &m.records[i]
		if r.ts >= ts && want == nil {
			want = r
		}
		if greatest == nil || r.ts > greatest.ts {
			greatest = r
		}
	}
	at, found, err := m.log.OffsetForTimestamp(ts, m.end())
	if err != nil {
		m.Fatal(err)
	}
	if found != (want != nil) || found && (at.Offset != want.offset || at.Timestamp != want.ts || at.Epoch != want.epoch) {
		m.Errorf("timestamp %d: %+v %v, want %+v", ts, at, found, want)
	}
	at, found, err = m.log.MaxTimestampOffset(m.end())
	if err != nil {
		m.Fatal(err)
	}
	if !found || at.Offset != greatest.offset || at.Timestamp != greatest.ts {
		m.Errorf("the greatest timestamp is at %+v (%v), want offset %d with %d", at, found, greatest.offset, greatest.ts)
	}
}

// checkOngoing compares where the first transaction under way began.
func (m *model) checkOngoing() {
	m.Helper()
	want := int64(-1)
	for _, first := range second(m.transactions()) {
		if want < 0 || first < want {
			want = first
		}
	}
	got, ok := m.log.FirstUnstable()
	if ok != (want >= 0) || ok && got != max(want, m.start) {
		m.Errorf("the first transaction under way began at %d (%v), want %d", got, ok, want)
	}
}

func second[A, B any](_ A, b B) B { return b }

func (m *model) checkTransactions() {
	m.Helper()
	decided, ongoing := m.transactions()
	m.high = max(min(m.high, m.end()), m.start, m.records[m.some(m.dice)].batch)
	high := m.high
	stable := high
	for _, first := range ongoing {
		stable = min(stable, first)
	}
	from := m.some(m.dice)
	to := from + m.dice.Int64N(m.end()-from) + 1
	var want []txn
	for _, e := range decided {
		if e.last >= high {
			stable = min(stable, e.first)
		}
		if e.aborted && e.last >= from && e.first < to {
			want = append(want, e.txn)
		}
	}
	if got := m.log.LastStable(high); got != max(stable, m.start) {
		m.Errorf("below %d it is stable to %d, want %d (%v, %v under way)", high, got, max(stable, m.start), decided, ongoing)
	}
	aborted, err := m.log.AbortedTxns(from, to)
	if err != nil {
		m.Fatal(err)
	}
	var have []txn
	for _, a := range aborted {
		have = append(have, txn{a.ProducerID, a.FirstOffset, a.LastOffset})
	}
	if !slices.Equal(have, want) {
		m.Errorf("aborted in [%d, %d): %v, want %v", from, to, have, want)
	}
}

package commitlog

import (
	"fmt"
	"path"
	"testing"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Of each producer the last five batches are known: one of them again returns its old offsets, an older one is refused.
func TestLastFiveBatchesAreDuplicates(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig())
	for i := range int32(7) {
		mustAppend(t, l, idem(1, 0, 2*i, "a", "b"), 1, t0)
	}
	for i := range int32(7) {
		info, err := l.Append(idem(1, 0, 2*i, "a", "b").batch(), AppendOptions{ProduceVersion: 12}, t0)
		if i < 2 {
			if kafka.CodeOf(err) != kafka.OutOfOrderSequenceNumber {
				t.Errorf("batch %d, older than five: %v", i, err)
			}
			continue
		}
		if err != nil || !info.Duplicate || info.FirstOffset != int64(2*i) || info.LastOffset != int64(2*i+1) || info.Bytes != 0 {
			t.Errorf("batch %d again: %+v, %v", i, info, err)
		}
	}
	// The same first sequence with another length is no duplicate.
	if code := refusal(l, idem(1, 0, 12, "a")); code != kafka.OutOfOrderSequenceNumber {
		t.Errorf("half a batch again: %v", code)
	}
	if l.EndOffset() != 14 {
		t.Errorf("the log ends at %d", l.EndOffset())
	}
}

// Sequences and epochs are judged as Kafka judges them.
func TestSequencesAndEpochs(t *testing.T) {
	const last = 1<<31 - 1
	for _, c := range []struct {
		name   string
		before []sent
		send   sent
		want   kafka.ErrorCode
	}{
		{"an unknown producer may begin anywhere", nil, idem(1, 3, 4711, "x"), kafka.None},
		{"the next sequence", []sent{idem(1, 0, 0, "x", "y")}, idem(1, 0, 2, "z"), kafka.None},
		{"a gap", []sent{idem(1, 0, 0, "x", "y")}, idem(1, 0, 3, "z"), kafka.OutOfOrderSequenceNumber},
		{"a step back", []sent{idem(1, 0, 4, "x", "y")}, idem(1, 0, 3, "z"), kafka.OutOfOrderSequenceNumber},
		{"sequences wrap", []sent{idem(1, 0, last, "x")}, idem(1, 0, 0, "z"), kafka.None},
		{"a batch may wrap", []sent{idem(1, 0, last-1, "x")}, idem(1, 0, last, "y", "z"), kafka.None},
		{"behind one that wrapped", []sent{idem(1, 0, last, "y", "z")}, idem(1, 0, 1, "x"), kafka.None},
		{"a new epoch begins with 0", []sent{idem(1, 0, 0, "x")}, idem(1, 1, 0, "z"), kafka.None},
		{"a new epoch that does not", []sent{idem(1, 0, 0, "x")}, idem(1, 1, 1, "z"), kafka.OutOfOrderSequenceNumber},
		{"a stale epoch", []sent{idem(1, 5, 0, "x")}, idem(1, 4, 1, "z"), kafka.InvalidProducerEpoch},
		{"producers are apart", []sent{idem(1, 0, 0, "x")}, idem(2, 0, 7, "z"), kafka.None},
		{"no producer", []sent{idem(1, 0, 0, "x")}, at(0, "z"), kafka.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newTestLog(t, vfs.NewMem(), testConfig())
			for _, s := range c.before {
				mustAppend(t, l, s, 1, t0)
			}
			end := l.EndOffset()
			if code := refusal(l, c.send); code != c.want {
				t.Fatalf("%v, want %v", code, c.want)
			}
			if c.want != kafka.None && l.EndOffset() != end {
				t.Error("a batch that was refused is in the log")
			}
		})
	}
}

// A transaction under way takes only transactional batches, and its end only from the coordinator's latest epoch.
func TestTransactionsAndMarkers(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig())
	begin := idem(1, 2, 0, "x")
	begin.txn = true
	mustAppend(t, l, begin, 1, t0)
	if code := refusal(l, idem(1, 2, 1, "outside")); code != kafka.InvalidTxnState {
		t.Errorf("outside of the transaction: %v", code)
	}
	end := func(epoch int16, coordinatorEpoch int32) kafka.ErrorCode {
		_, err := l.Append(marker(1, epoch, true, coordinatorEpoch), AppendOptions{LeaderEpoch: 1, Origin: Coordinator}, t0)
		return kafka.CodeOf(err)
	}
	if first, ok := l.FirstUnstable(); !ok || first != 0 {
		t.Errorf("the first unstable offset is %d, %v", first, ok)
	}
	if code := end(1, 9); code != kafka.InvalidProducerEpoch {
		t.Errorf("a marker of a stale epoch: %v", code)
	}
	if code := end(2, 9); code != kafka.None {
		t.Errorf("the marker: %v", code)
	}
	if code := end(2, 8); code != kafka.TransactionCoordinatorFenced {
		t.Errorf("a marker of a fenced coordinator: %v", code)
	}
	if _, ok := l.FirstUnstable(); ok {
		t.Error("a transaction is under way")
	}
	// The marker lies at offset 1: until the high watermark has passed it, nothing of the transaction is stable.
	for high, want := range map[int64]int64{1: 0, 2: 2} {
		l := newTestLog(t, vfs.NewMem(), testConfig())
		mustAppend(t, l, begin, 1, t0)
		if _, err := l.Append(marker(1, 2, true, 9), AppendOptions{LeaderEpoch: 1, Origin: Coordinator}, t0); err != nil {
			t.Fatal(err)
		}
		if stable := l.LastStable(high); stable != want {
			t.Errorf("below %d it is stable to %d, want %d", high, stable, want)
		}
	}
	// A marker under a new epoch fences the old one.
	if code := end(3, 9); code != kafka.None {
		t.Fatal(code)
	}
	if code := refusal(l, idem(1, 2, 1, "late")); code != kafka.InvalidProducerEpoch {
		t.Errorf("a fenced producer: %v", code)
	}
}

// Time alone makes a producer be forgotten: not the deletion of its records, and not what others write.
func TestProducersExpireByTime(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig())
	mustAppend(t, l, idem(1, 0, 0, "x"), 1, t0)
	open := idem(2, 0, 0, "x")
	open.txn = true
	mustAppend(t, l, open, 1, t0)
	mustFlush(t, l)
	if err := l.AdvanceStart(l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	known := func() (ids []int64) {
		for _, p := range l.Producers() {
			ids = append(ids, p.ProducerID)
		}
		return ids
	}
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{24*time.Hour - time.Millisecond, "[1 2]"}, {24 * time.Hour, "[2]"}, {100 * 24 * time.Hour, "[2]"}} {
		if _, err := l.Retain(t0.Add(c.after), l.EndOffset()); err != nil {
			t.Fatal(err)
		}
		if have := fmt.Sprint(known()); have != c.want {
			t.Errorf("after %v it knows %s, want %s", c.after, have, c.want)
		}
	}
}

// More producers than fit in memory are kept in a file, and are as good as the others.
func TestProducersSpill(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig())
	const many = 3 * producersInMemory
	for round := range int32(2) {
		for pid := range int64(many) {
			mustAppend(t, l, idem(pid, 0, round, "x"), 1, t0)
		}
	}
	if n := len(l.hot.producers.resident); n != producersInMemory {
		t.Errorf("%d producers are in memory, want %d", n, producersInMemory)
	}
	check := func(l *Log) {
		t.Helper()
		for _, pid := range []int64{0, 1, many / 2, many - 1} {
			info := mustAppend(t, l, idem(pid, 0, 1, "x"), 1, t0)
			if !info.Duplicate || info.FirstOffset != many+pid {
				t.Errorf("producer %d again: %+v", pid, info)
			}
			if code := refusal(l, idem(pid, 0, 5, "x")); code != kafka.OutOfOrderSequenceNumber {
				t.Errorf("a gap of producer %d: %v", pid, code)
			}
		}
		if n := len(l.Producers()); n != many {
			t.Errorf("%d producers are known, want %d", n, many)
		}
	}
	check(l)
	s := mustClose(t, l)
	if _, err := disk.Stat(path.Join(testDir, spillFile)); err == nil {
		t.Error("the spill file outlives the log")
	}
	n := 0
	if err := ReadSnapshot(disk, path.Join(testDir, segment.FileName(s.EndOffset, segment.SnapshotSuffix)), func(SnapshotEntry) error { n++; return nil }); err != nil || n != many {
		t.Errorf("the snapshot has %d producers: %v", n, err)
	}
	l = OpenCold(testOptions(disk, testConfig()), s)
	check(l)
}

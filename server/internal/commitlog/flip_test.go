package commitlog

import (
	"context"
	"errors"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// unlimited lets a scrub read as fast as it can.
type unlimited struct{}

func (unlimited) Wait(context.Context, int) error { return nil }

// flipLog is a small log of which everything is durable: two segments, three epochs, producers, an aborted transaction.
// The recovery point lies in the last segment when low is false, else at 0.
func flipLog(t *testing.T) (disk *vfs.Mem, c Config, want []got, s Summary) {
	disk = vfs.NewMem()
	c = testConfig(func(c *Config) { c.SegmentBytes, c.IndexIntervalBytes = 520, 1 })
	l := newTestLog(t, disk, c)
	appendAll := func(epoch int32, batches ...[]byte) {
		for _, b := range batches {
			o := AppendOptions{LeaderEpoch: epoch, Origin: Client, ProduceVersion: 12}
			if record.Batch(b).Control() {
				o.Origin = Coordinator
			}
			if _, err := l.Append(b, o, t0); err != nil {
				t.Fatal(err)
			}
		}
	}
	txn := idem(7, 0, 0, "aborted")
	txn.txn = true
	packed := plain(t0.UnixMilli()+50, "packed", "packed too", "and this")
	packed.codec = record.CodecLz4
	appendAll(1, plain(t0.UnixMilli(), "a", "b").batch(), txn.batch())
	appendAll(3, packed.batch(), marker(7, 0, false, 1), idem(8, 0, 0, "x", "y").batch())
	appendAll(4, plain(t0.UnixMilli()+90, "c").batch(), idem(8, 0, 2, "z").batch(), plain(t0.UnixMilli()+70, "d", "e").batch())
	mustFlush(t, l)
	if n := l.NumSegments(); n != 2 {
		t.Fatalf("%d segments", n)
	}
	want = readAll(t, l, 0)
	s = mustClose(t, l)
	checkClean(t, disk)
	return disk, c, want, s
}

// flip turns one bit of a file.
func flip(t *testing.T, disk *vfs.Mem, name string, bit int) {
	t.Helper()
	f, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], int64(bit/8)); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << (bit % 8)
	if _, err := f.WriteAt(b[:], int64(bit/8)); err != nil {
		t.Fatal(err)
	}
}

// eachFlip calls fn with a disk for every bit of every file that has the suffix.
func eachFlip(t *testing.T, disk *vfs.Mem, suffix string, fn func(t *testing.T, disk *vfs.Mem)) {
	t.Helper()
	entries, err := disk.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	flips := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		for bit := range int(info.Size()) * 8 {
			flips++
			turned := disk.CrashClone(vfs.CrashOptions{})
			flip(t, turned, path.Join(testDir, e.Name()), bit)
			fn(t, turned)
			if t.Failed() {
				t.Fatalf("%s: bit %d of byte %d", e.Name(), bit%8, bit/8)
			}
		}
	}
	if flips == 0 {
		t.Fatalf("no file %s", suffix)
	}
}

// serves compares everything that a log answers with what it should.
func serves(t *testing.T, l *Log, want []got) {
	t.Helper()
	if have := readAll(t, l, l.StartOffset()); !slices.Equal(have, want) {
		t.Errorf("it serves %v, want %v", have, want)
	}
	for _, w := range want {
		first, start := -1, w.offset
		for i, r := range want {
			if r.ts >= w.ts && first < 0 {
				first = i
			}
		}
		at, found, err := l.OffsetForTimestamp(w.ts, l.EndOffset())
		if err != nil || !found || at.Offset != want[first].offset {
			t.Errorf("timestamp %d is at %+v (%v, %v), want %d", w.ts, at, found, err, want[first].offset)
		}
		if s, err := l.Read(start, 1, l.EndOffset(), true); err != nil {
			t.Errorf("read at %d: %v", start, err)
		} else if rs := readSlice(t, s); rs[0].offset > start || rs[len(rs)-1].offset < start {
			t.Errorf("read at %d gave %s", start, offsets(rs))
		}
	}
	if at, found, err := l.MaxTimestampOffset(l.EndOffset()); err != nil || !found || at.Timestamp != t0.UnixMilli()+90 {
		t.Errorf("the greatest timestamp is %+v (%v, %v)", at, found, err)
	}
	aborted, err := l.AbortedTxns(0, l.EndOffset())
	if err != nil || len(aborted) != 1 || aborted[0].ProducerID != 7 || aborted[0].FirstOffset != 2 || aborted[0].LastOffset != 6 {
		t.Errorf("aborted transactions: %+v, %v", aborted, err)
	}
	for epoch, end := range map[int32]int64{1: 3, 3: 9, 4: int64(len(want))} {
		if found, at := l.EndOffsetForEpoch(epoch); found != epoch || at != end {
			t.Errorf("epoch %d ends at %d (as %d), want %d", epoch, at, found, end)
		}
	}
	again := mustAppend(t, l, idem(8, 0, 2, "z"), 4, t0)
	if !again.Duplicate || again.FirstOffset != 10 {
		t.Errorf("a repeated batch gave %+v", again)
	}
}

// Every bit of a .log is checked: by Check, by the scrubber, and by recovery, which calls it damage below the floor.
func TestFlippedBitInLog(t *testing.T) {
	disk, c, want, _ := flipLog(t)
	end := int64(len(want))
	eachFlip(t, disk, segment.LogSuffix, func(t *testing.T, disk *vfs.Mem) {
		if r := Check(disk, testDir, CheckOptions{}); !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Severity >= Torn }) {
			t.Errorf("Check finds nothing: %+v", r)
		}
		o := testOptions(disk, c)
		o.Floor = end
		if l, err := Open(o, t0); !errors.Is(err, ErrDamaged) {
			t.Errorf("recovery takes it for good: %v; the log has %d to %d", err, l.StartOffset(), l.EndOffset())
		}
		o = testOptions(disk, c)
		o.Clean = true
		l, err := Open(o, t0)
		if err == nil {
			err = l.Scrub(context.Background(), unlimited{})
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("the scrubber finds nothing: %v", err)
		}
		if _, err := disk.Stat(path.Join(testDir, segment.FileName(0, segment.LogSuffix))); err != nil {
			t.Error(err)
		}
	})
}

// Above the floor a flipped bit is a torn write: the log ends before it, and what is left is right.
func TestFlippedBitAboveFloor(t *testing.T) {
	disk, c, want, _ := flipLog(t)
	eachFlip(t, disk, segment.LogSuffix, func(t *testing.T, disk *vfs.Mem) {
		l, err := Open(testOptions(disk, c), t0)
		if err != nil {
			t.Fatal(err)
		}
		have := readAll(t, l, 0)
		if slices.Equal(have, want) {
			t.Error("it is taken for good")
		}
		for i, r := range have {
			// An epoch that was turned up shows by the next batch, which is what is cut; down, by the one before it.
			if r.epoch = want[i].epoch; r != want[i] {
				t.Errorf("record %+v, want %+v", r, want[i])
			}
		}
	})
}

// An index that is believed, after a clean stop or below the recovery point, has its entries compared with their batches
// when they are used: the log answers rightly, and the index is made anew.
func TestFlippedBitInTrustedIndex(t *testing.T) {
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeIndexSuffix} {
		for how, believe := range map[string]func(o *Options, end int64){
			"clean":   func(o *Options, _ int64) { o.Clean = true },
			"unclean": func(o *Options, end int64) { o.RecoveryPoint = end },
		} {
			t.Run(suffix+" "+how, func(t *testing.T) {
				disk, c, want, _ := flipLog(t)
				eachFlip(t, disk, suffix, func(t *testing.T, disk *vfs.Mem) {
					o := testOptions(disk, c)
					believe(&o, int64(len(want)))
					l, err := Open(o, t0)
					if err != nil {
						t.Fatal(err)
					}
					serves(t, l, want)
				})
			})
		}
	}
}

// A flipped bit in a file beside the .log is found by Check. Recovery makes those files anew: the log answers rightly, or
// says that its epoch file and its batches do not agree.
func TestFlippedBitBesideLog(t *testing.T) {
	for _, suffix := range []string{segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix, segment.SnapshotSuffix, EpochFile} {
		t.Run(suffix, func(t *testing.T) {
			disk, c, want, _ := flipLog(t)
			eachFlip(t, disk, suffix, func(t *testing.T, disk *vfs.Mem) {
				if r := Check(disk, testDir, CheckOptions{}); len(r.Findings) == 0 && !firstEpochLater(t, disk) {
					t.Error("Check finds nothing")
				}
				o := testOptions(disk, c)
				o.Floor = int64(len(want))
				l, err := Open(o, t0)
				if errors.Is(err, ErrDamaged) && suffix == EpochFile {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				serves(t, l, want)
			})
		})
	}
}

// firstEpochLater reports whether the first epoch in the file begins behind the first batch, as it does when records were
// deleted up to there: that cannot be told from a flipped bit.
func firstEpochLater(t *testing.T, disk *vfs.Mem) bool {
	known, err := ReadEpochs(disk, path.Join(testDir, EpochFile))
	return err == nil && len(known) > 0 && known[0].Start > 0
}

// A snapshot that does not check is not believed after a clean stop either: older ones and the batches say the same.
func TestFlippedBitInSnapshotOfCleanStop(t *testing.T) {
	disk, c, want, _ := flipLog(t)
	eachFlip(t, disk, segment.SnapshotSuffix, func(t *testing.T, disk *vfs.Mem) {
		o := testOptions(disk, c)
		o.Clean = true
		l, err := Open(o, t0)
		if err != nil {
			t.Fatal(err)
		}
		serves(t, l, want)
	})
}

package commitlog

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// segmented is a log of n segments of one record each, ten seconds apart.
func segmented(t *testing.T, disk vfs.FS, n int) *Log {
	t.Helper()
	l := newTestLog(t, disk, testConfig(func(c *Config) { c.SegmentBytes, c.FileDeleteDelay = 200, 0 }))
	for i := range n {
		mustAppend(t, l, plain(t0.UnixMilli()+int64(i)*10_000, strings.Repeat("v", 100)), int32(i), t0.Add(time.Duration(i)*10*time.Second))
	}
	mustFlush(t, l)
	if l.NumSegments() != n {
		t.Fatalf("%d segments", l.NumSegments())
	}
	return l
}

// Retention deletes whole segments, the oldest first, below the high watermark; the active one is rolled when it is due.
func TestRetentionRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(c *Config)
		high   int64
		start  int64
		segs   int
	}{
		{"nothing is due", func(c *Config) {}, 4, 0, 4},
		{"by time", func(c *Config) { c.RetentionMs = 45_000 }, 4, 2, 2},
		{"all by time", func(c *Config) { c.RetentionMs = 1 }, 4, 4, 1},
		{"never above the high watermark", func(c *Config) { c.RetentionMs = 1 }, 2, 2, 2},
		{"nor the segment that the high watermark lies in", func(c *Config) { c.RetentionMs = 1 }, 0, 0, 4},
		{"by size, as long as what is left is not less than allowed", func(c *Config) { c.RetentionBytes = 2 * 175 }, 4, 2, 2},
		{"all by size", func(c *Config) { c.RetentionBytes = 0 }, 4, 4, 1},
		{"compact alone keeps all", func(c *Config) { c.Delete, c.Compact, c.RetentionMs = false, true, 1 }, 4, 0, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := vfs.NewMem()
			l := segmented(t, disk, 4)
			size := l.Size()
			config := l.Config()
			c.change(&config)
			if config.RetentionBytes > 0 {
				config.RetentionBytes = size / 2
			}
			l.SetConfig(config)
			freed, err := l.Retain(t0.Add(time.Minute), c.high)
			if err != nil {
				t.Fatal(err)
			}
			if l.StartOffset() != c.start || l.NumSegments() != c.segs || freed != size-l.Size() {
				t.Errorf("it starts at %d with %d segments, %d bytes of %d freed; want %d with %d", l.StartOffset(), l.NumSegments(), freed, size, c.start, c.segs)
			}
			if l.EndOffset() != 4 {
				t.Errorf("it ends at %d", l.EndOffset())
			}
			if _, err := l.Read(c.start-1, 100, 4, true); kafka.CodeOf(err) != kafka.OffsetOutOfRange {
				t.Errorf("a deleted record: %v", err)
			}
			// What is appended next goes on where the log ended.
			if info := mustAppend(t, l, at(0, "v"), 9, t0); info.FirstOffset != 4 {
				t.Errorf("appended at %d", info.FirstOffset)
			}
			mustClose(t, l)
			checkClean(t, disk)
		})
	}
}

// A segment whose records have no timestamp is as old as its last write.
func TestRetentionWithoutTimestamps(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig(func(c *Config) { c.RetentionMs = 1000 }))
	mustAppend(t, l, plain(-1, "v"), 1, t0)
	mustFlush(t, l)
	for _, c := range []struct {
		after time.Duration
		start int64
	}{{time.Second, 0}, {1001 * time.Millisecond, 1}} {
		if _, err := l.Retain(t0.Add(c.after), 1); err != nil {
			t.Fatal(err)
		}
		if l.StartOffset() != c.start {
			t.Errorf("after %v it starts at %d, want %d", c.after, l.StartOffset(), c.start)
		}
	}
}

// DeleteRecords moves the start, also inside a segment; segments that lie wholly below go.
func TestAdvanceStart(t *testing.T) {
	disk := vfs.NewMem()
	l := segmented(t, disk, 4)
	if err := l.AdvanceStart(5); kafka.CodeOf(err) != kafka.OffsetOutOfRange {
		t.Errorf("beyond the end: %v", err)
	}
	for _, c := range []struct {
		to, start int64
		segs      int
	}{{0, 0, 4}, {2, 2, 2}, {1, 2, 2}, {4, 4, 1}} {
		if err := l.AdvanceStart(c.to); err != nil {
			t.Fatal(err)
		}
		if l.StartOffset() != c.start || l.NumSegments() != c.segs {
			t.Errorf("to %d: it starts at %d with %d segments, want %d with %d", c.to, l.StartOffset(), l.NumSegments(), c.start, c.segs)
		}
	}
	if epoch, end := l.EndOffsetForEpoch(3); epoch != 3 || end != 4 {
		t.Errorf("epoch 3 ends at %d as %d", end, epoch)
	}
	if names := listed(t, disk, ".log.deleted"); len(names) != 3 {
		t.Errorf("waiting to be unlinked: %v", names)
	}
	if at, ok := l.NextRetention(); !ok || !at.IsZero() {
		t.Errorf("the next retention is at %v (%v)", at, ok)
	}
	if _, err := l.Retain(t0, 4); err != nil {
		t.Fatal(err)
	}
	if names := listed(t, disk, ".deleted"); len(names) != 0 {
		t.Errorf("not unlinked: %v", names)
	}
	// The start is a checkpoint's to keep: with it the log opens where it was, inside a segment as well.
	l = newTestLog(t, vfs.NewMem(), testConfig())
	mustAppend(t, l, at(0, "a", "b", "c"), 1, t0)
	if err := l.AdvanceStart(2); err != nil {
		t.Fatal(err)
	}
	o := testOptions(l.fs(), testConfig())
	mustClose(t, l)
	o.Clean, o.StartOffset = true, 2
	l, err := Open(o, t0)
	if err != nil || l.StartOffset() != 2 {
		t.Fatalf("it starts at %d: %v", l.StartOffset(), err)
	}
	if rs := readAll(t, l, 2); len(rs) != 1 || rs[0].value != "c" {
		t.Errorf("read %v", rs)
	}
}

func listed(t *testing.T, disk vfs.FS, suffix string) (names []string) {
	t.Helper()
	entries, err := disk.ReadDir(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names
}

// A log that is not used has no file open and no memory for being used; it wakes when it is touched.
func TestCoolLogHoldsNothing(t *testing.T) {
	disk := vfs.NewMem()
	l := segmented(t, disk, 3)
	if l.Cool(); l.Hot() || l.handles.Open() != 0 {
		t.Fatalf("hot: %v, %d files open", l.Hot(), l.handles.Open())
	}
	if _, err := l.Retain(t0, 3); err != nil || l.Hot() {
		t.Errorf("retention with nothing due woke it: %v", err)
	}
	want := fmt.Sprint(l.StartOffset(), l.EndOffset(), l.Size(), l.NumSegments(), l.LastEpoch())
	if rs := readAll(t, l, 0); len(rs) != 3 || !l.Hot() {
		t.Errorf("%d records, hot: %v", len(rs), l.Hot())
	}
	if have := fmt.Sprint(l.StartOffset(), l.EndOffset(), l.Size(), l.NumSegments(), l.LastEpoch()); have != want {
		t.Errorf("%s, want %s", have, want)
	}
	s := mustClose(t, l)
	if l.handles.Open() != 0 {
		t.Errorf("%d files open after Close", l.handles.Open())
	}
	o := testOptions(disk, testConfig())
	if l = OpenCold(o, s); l.Hot() || o.Handles.Open() != 0 || l.EndOffset() != 3 {
		t.Errorf("opened cold: hot %v, %d files open, end %d", l.Hot(), o.Handles.Open(), l.EndOffset())
	}
}

// A log that nobody has used is cold from the start and costs no sync: neither when it is made, nor when the node stops,
// nor when it starts after it was killed. What it must survive then is that its files are gone.
func TestUnusedLogIsNeverSynced(t *testing.T) {
	for _, how := range []struct {
		lost   string
		killed bool
	}{{"nothing", false}, {"the files", false}, {"the directory", false}, {"nothing", true}, {"the files", true}} {
		lost := how.lost
		t.Run(fmt.Sprintf("lost %s, killed %v", lost, how.killed), func(t *testing.T) {
			disk := vfs.NewMem()
			l := newTestLog(t, disk, testConfig())
			disk.SetSyncHook(func(name string) { t.Errorf("%s was synced for a log that is not used", name) })
			if l.Hot() || l.handles.Open() != 0 {
				t.Errorf("a new log is hot: %v, %d files open", l.Hot(), l.handles.Open())
			}
			mustFlush(t, l)
			if s, err := l.Read(0, 1<<20, 0, true); err != nil || s.Range != nil || s.NextOffset != 0 || l.LastStable(0) != 0 || l.Hot() {
				t.Errorf("a reader that waits for the first record: %+v, %v, and the log is hot: %v", s, err, l.Hot())
			}
			s := mustClose(t, l)
			if _, err := l.Read(0, 1<<20, 0, true); kafka.CodeOf(err) != kafka.KafkaStorageError {
				t.Errorf("a log that is closed is read: %v", err)
			}
			if lost != "nothing" {
				disk.SetSyncHook(nil)
				if lost == "the files" {
					if err := disk.SyncDir("/data"); err != nil {
						t.Fatal(err)
					}
				}
				disk = disk.CrashClone(vfs.CrashOptions{})
			}

			synced := map[string]bool{}
			disk.SetSyncHook(func(name string) { synced[name] = true })
			if l = OpenCold(testOptions(disk, testConfig()), s); how.killed {
				var err error
				if l, err = Open(testOptions(disk, testConfig()), t0); err != nil {
					t.Fatal(err)
				}
				if l.Hot() || l.EndOffset() != 0 || len(synced) > 0 {
					t.Errorf("opened after it was killed: hot %v, end %d, synced %v", l.Hot(), l.EndOffset(), synced)
				}
			}
			mustAppend(t, l, plain(1, "a"), 1, t0)
			mustFlush(t, l)
			for _, name := range []string{"/data", testDir, testDir + "/" + PartitionMetadataFile, testDir + "/00000000000000000000.log"} {
				if !synced[name] {
					t.Errorf("the first flush did not sync %s, only %v", name, synced)
				}
			}
			o := testOptions(disk.CrashClone(vfs.CrashOptions{}), testConfig())
			o.Floor = 1
			l, err := Open(o, t0)
			if err != nil || l.EndOffset() != 1 {
				t.Fatalf("after a crash: %v", err)
			}
			if id, err := ReadPartitionMetadata(l.fs(), testDir); err != nil || id != testTopicID {
				t.Errorf("topic id %v, %v", id, err)
			}
		})
	}
}

// onWait is a limiter that does something when it is asked for the first time.
type onWait struct {
	once sync.Once
	do   func()
}

func (w *onWait) Wait(context.Context, int) error {
	w.once.Do(w.do)
	return nil
}

// A scrub takes hours, and retention goes on meanwhile: what it takes away is not missing.
func TestRetentionUnderAScrub(t *testing.T) {
	l := segmented(t, vfs.NewMem(), 6)
	err := l.Scrub(t.Context(), &onWait{do: func() {
		c := l.Config()
		c.RetentionBytes = 2 * l.Size() / 6
		l.SetConfig(c)
		for range 2 { // out of the log, and off the disk
			if _, err := l.Retain(t0.Add(time.Hour), 6); err != nil {
				t.Error(err)
			}
			mustFlush(t, l)
			if _, err := l.PrepareCheckpoint(); err != nil {
				t.Error(err)
			}
		}
		if l.StartOffset() != 4 {
			t.Errorf("the log starts at %d", l.StartOffset())
		}
	}})
	if err != nil {
		t.Errorf("the scrub: %v", err)
	}
	if rs := readAll(t, l, 4); len(rs) != 2 {
		t.Errorf("%d records are left", len(rs))
	}
}

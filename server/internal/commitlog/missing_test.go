package commitlog

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"testing"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

func removeSegment(t *testing.T, disk vfs.FS, base int64) {
	t.Helper()
	if err := disk.Remove(path.Join(testDir, segment.FileName(base, segment.LogSuffix))); err != nil {
		t.Fatal(err)
	}
}

// Segments that somebody took away while the log was not used are missed at its first use: what they held is refused, all
// else is served, and deleting the records below mends it. A scrub says the same.
func TestMissingSegments(t *testing.T) {
	for _, c := range []struct {
		name     string
		gone     []int64
		from, to int64 // what is refused
		good     int64 // an offset that is served
	}{
		{"the first", []int64{0}, 0, 1, 2},
		{"one in the middle", []int64{2}, 2, 3, 1},
		{"two in the middle", []int64{2, 3}, 2, 4, 1},
		{"all but the last", []int64{0, 1, 2, 3}, 0, 4, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := vfs.NewMem()
			l := segmented(t, disk, 5)
			options := testOptions(disk, l.Config())
			summary := mustClose(t, l)
			for _, base := range c.gone {
				removeSegment(t, disk, base)
			}
			l = OpenCold(options, summary)
			check := func(when string) {
				t.Helper()
				for offset := c.from; offset < c.to; offset++ {
					if _, err := l.Read(offset, 1<<20, 5, true); kafka.CodeOf(err) != kafka.CorruptMessage {
						t.Errorf("%s, offset %d: %v", when, offset, err)
					}
				}
				s, err := l.Read(c.good, 1, 5, true)
				if err != nil {
					t.Fatalf("%s, offset %d: %v", when, c.good, err)
				}
				if got := readSlice(t, s); got[0].offset != c.good {
					t.Errorf("%s: %s instead of offset %d", when, offsets(got), c.good)
				}
			}
			check("at the first use")
			var d *Damage
			if err := l.Scrub(context.Background(), unlimited{}); !errors.As(err, &d) || d.From != c.from || d.To != c.to {
				t.Errorf("scrub: %v", err)
			}
			check("after a scrub")
			if err := l.AdvanceStart(c.to); err != nil {
				t.Fatal(err)
			}
			if err := l.Scrub(context.Background(), unlimited{}); err != nil {
				t.Errorf("scrub behind the hole: %v", err)
			}
			mustAppend(t, l, plain(t0.UnixMilli(), "goes on"), 9, t0)
			mustFlush(t, l)
			if l.EndOffset() != 6 {
				t.Errorf("it ends at %d", l.EndOffset())
			}
		})
	}
}

// A log whose directory is gone does not begin anew: its records were acknowledged. The disk is not to blame.
func TestMissingDirectory(t *testing.T) {
	for name, instead := range map[string]func(vfs.FS) error{
		"nothing": func(vfs.FS) error { return nil },
		"a file":  func(fsys vfs.FS) error { return vfs.WriteFile(fsys, testDir, nil) },
	} {
		disk := vfs.NewMem()
		l := segmented(t, disk, 2)
		options := testOptions(disk, l.Config())
		summary := mustClose(t, l)
		if err := disk.RemoveAll(testDir); err != nil {
			t.Fatal(err)
		}
		if err := instead(disk); err != nil {
			t.Fatal(err)
		}
		l = OpenCold(options, summary)
		_, err := l.Read(0, 1, 2, true)
		if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrIO) || kafka.CodeOf(err) != kafka.KafkaStorageError {
			t.Errorf("%s in its place: read: %v", name, err)
		}
		if _, err := l.Append(plain(0, "v").batch(), AppendOptions{Origin: Client, ProduceVersion: 12}, t0); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s in its place: append: %v", name, err)
		}
	}
}

// A segment that is taken away from a log in use is missed by the scrubber.
func TestScrubMissesASegment(t *testing.T) {
	disk := vfs.NewMem()
	l := segmented(t, disk, 4)
	options := testOptions(disk, l.Config())
	options.Handles = segment.NewHandles(disk, 1)
	l = OpenCold(options, mustClose(t, l))
	if s, err := l.Read(3, 1, 4, true); err != nil {
		t.Fatal(err)
	} else {
		s.Range.Release()
	}
	removeSegment(t, disk, 1) // which is not open, or it would still be read
	var d *Damage
	if err := l.Scrub(context.Background(), unlimited{}); !errors.As(err, &d) || d.From != 1 || d.To != 2 {
		t.Errorf("scrub: %v", err)
	}
	if _, err := l.Read(1, 1, 4, true); kafka.CodeOf(err) != kafka.CorruptMessage {
		t.Errorf("read: %v", err)
	}
}

// An append to a segment that somebody took away makes no new file, which would lack what was acknowledged.
func TestAppendToAMissingSegment(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig())
	mustAppend(t, l, plain(t0.UnixMilli(), "acknowledged"), 0, t0)
	mustFlush(t, l)
	for _, s := range l.hot.segs {
		s.Close() // as when other files need the room
	}
	removeSegment(t, disk, 0)
	_, err := l.Append(plain(0, "v").batch(), AppendOptions{Origin: Client, ProduceVersion: 12}, t0)
	if !errors.Is(err, ErrDamaged) || errors.Is(err, ErrIO) || kafka.CodeOf(err) != kafka.KafkaStorageError {
		t.Errorf("append: %v", err)
	}
	if _, err := disk.Stat(path.Join(testDir, segment.FileName(0, segment.LogSuffix))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is there again: %v", err)
	}
}

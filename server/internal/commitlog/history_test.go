package commitlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// A producer that was not answered sends all that it had under way again. Each of those batches is told to be the
// duplicate that it is, wherever a snapshot was taken between them: by a roll, a recovery point, a stop or a log
// that cooled.
func TestDuplicatesBeforeASnapshot(t *testing.T) {
	between := map[string]func(t *testing.T, l *Log){
		"nothing": func(*testing.T, *Log) {},
		"a roll": func(t *testing.T, l *Log) {
			l.mu.Lock()
			defer l.mu.Unlock()
			h, err := l.writable()
			if err == nil {
				err = l.roll(h, t0)
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"a recovery point": func(t *testing.T, l *Log) {
			mustFlush(t, l)
			if _, err := l.PrepareCheckpoint(); err != nil {
				t.Fatal(err)
			}
		},
		"a log that cooled": func(t *testing.T, l *Log) {
			mustFlush(t, l)
			if l.Cool(); l.Hot() {
				t.Fatal("the log is still hot")
			}
		},
	}
	stops := map[string]func(t *testing.T, disk *vfs.Mem, l *Log) *Log{
		"a crash": func(t *testing.T, disk *vfs.Mem, l *Log) *Log {
			mustFlush(t, l)
			o := testOptions(disk.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(1, 1))}), testConfig())
			o.RecoveryPoint, o.Floor = l.RecoveryPoint(), l.Flushed()
			return reopened(t, o)
		},
		"a clean stop": func(t *testing.T, disk *vfs.Mem, l *Log) *Log {
			o := testOptions(disk, testConfig())
			o.Clean = true
			mustClose(t, l)
			return reopened(t, o)
		},
	}
	for what, does := range between {
		for how, stop := range stops {
			for place := range 6 {
				t.Run(fmt.Sprintf("%s after %d batches, then %s", what, place, how), func(t *testing.T) {
					disk := vfs.NewMem()
					l := newTestLog(t, disk, testConfig())
					mustAppend(t, l, idem(7, 0, 0, "answered", "long ago"), 0, t0)
					for _, dir := range []string{"/", "/data"} {
						if err := disk.SyncDir(dir); err != nil {
							t.Fatal(err)
						}
					}
					for i := range 5 {
						if i == place {
							does(t, l)
						}
						mustAppend(t, l, idem(7, 0, int32(2+2*i), "a", "b"), 0, t0)
						mustAppend(t, l, idem(8, 3, int32(i), "another's"), 0, t0)
					}
					if place == 5 {
						does(t, l)
					}
					end := l.EndOffset()
					l = stop(t, disk, l)
					for i := range 5 {
						info := mustAppend(t, l, idem(7, 0, int32(2+2*i), "a", "b"), 0, t0)
						if want := int64(2 + 3*i); !info.Duplicate || info.FirstOffset != want {
							t.Errorf("batch %d again: duplicate %v of offset %d, want of %d", i, info.Duplicate, info.FirstOffset, want)
						}
					}
					if _, err := l.Append(idem(7, 0, 0, "answered", "long ago").batch(), AppendOptions{ProduceVersion: 12}, t0); !errors.Is(err, kafka.OutOfOrderSequenceNumber) {
						t.Errorf("the sixth batch from the end again: %v", err)
					}
					if info := mustAppend(t, l, idem(7, 0, 12, "new"), 0, t0); info.Duplicate || info.FirstOffset != end {
						t.Errorf("a new batch: duplicate %v, offset %d, want %d", info.Duplicate, info.FirstOffset, end)
					}
				})
			}
		}
	}
}

func reopened(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o, t0.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

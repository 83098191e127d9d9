package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// small keeps little of the log, and in small pieces.
func small(o *Options) {
	o.Config.SnapshotMaxBytes, o.Config.SegmentBytes, o.Config.RetentionBytes = 2000, 1000, 4000
}

// propose adds records of about 100 bytes, from one number up to another.
func propose(t testing.TB, n *Node, from, to int) {
	t.Helper()
	_, epoch := n.Leader()
	for i := from; i < to; i++ {
		if _, err := n.Propose(context.Background(), epoch, [][]byte{fmt.Appendf(nil, "%0100d", i)}); err != nil {
			t.Fatal(err)
		}
	}
}

// holds checks that a state machine has the records up to a number, each once and in order.
func holds(t testing.TB, m *machine, to int) {
	t.Helper()
	got := m.values()[1:] // the first is that of the format
	if len(got) != to {
		t.Fatalf("%d records, want %d", len(got), to)
	}
	for i, v := range got {
		if v != fmt.Sprintf("%0100d", i) {
			t.Fatalf("record %d is %q", i, v)
		}
	}
}

// files returns the names in the metadata log's directory that end in one of the suffixes.
func files(t testing.TB, disk vfs.FS, suffixes ...string) (names []string) {
	t.Helper()
	entries, err := disk.ReadDir(Dir("/meta"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(e.Name(), s) }) {
			names = append(names, e.Name())
		}
	}
	return names
}

func stop(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// However long the log has been written, log and snapshots together stay about as large as metadata.max.retention.bytes
// says, and a start finds everything in them.
func TestTheLogBehindASnapshotIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		format(t, disk)
		for start := range 5 {
			n, err := Open(Options{FS: disk, Dir: "/meta", NodeID: 1, DirectoryID: directory, StateMachine: forgetful{&machine{}}, Failed: func(err error) { t.Error(err) },
				Config: Config{SnapshotMaxBytes: 2000, SegmentBytes: 1000, SegmentTime: time.Hour, RetentionBytes: 6000, RetentionTime: -1}})
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Start(); err != nil {
				t.Fatal(err)
			}
			propose(t, n, start*200, (start+1)*200)
			time.Sleep(2 * retainInterval)
			synctest.Wait()
			if first := n.stored.StartOffset(); first < int64(start*200+100) {
				t.Errorf("start %d: the log begins at offset %d and ends at %d", start, first, n.EndOffset())
			}
			var total int64
			for _, name := range files(t, disk, ".log", ".checkpoint") {
				info, err := disk.Stat(path.Join(Dir("/meta"), name))
				if err != nil {
					t.Fatal(err)
				}
				total += info.Size()
			}
			if total > 6000+1000 { // a segment goes as a whole
				t.Errorf("start %d: log and snapshots have %d bytes: %v", start, total, files(t, disk, ""))
			}
			if left := files(t, disk, ".deleted", ".part"); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			stop(t, n)
		}
	})
}

// forgetful is a machine whose state is its last record alone, so that its snapshots stay small.
type forgetful struct{ *machine }

func (f forgetful) Apply(base int64, epoch int32, stamp int64, records [][]byte) error {
	err := f.machine.Apply(base, epoch, stamp, records)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = f.records[len(f.records)-1:]
	return err
}

// A crash after any sync, with whatever else reached the disk by chance, leaves a directory that a node starts from with all that
// was answered: between the snapshot and the deletion of what it replaces, too.
func TestACrashWhileTheLogIsDeletedLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		format(t, disk)
		type crash struct {
			disk     *vfs.Mem
			answered int
		}
		var mu sync.Mutex
		var crashes []crash
		answered := 0
		dice := rand.New(rand.NewPCG(3, 4))
		capture := func(string) {
			mu.Lock()
			defer mu.Unlock()
			for _, o := range []vfs.CrashOptions{{}, {Rand: dice}} {
				crashes = append(crashes, crash{disk.CrashClone(o), answered})
			}
		}
		n, _ := start(t, disk, small)
		disk.SetSyncHook(capture)
		for i := range 60 {
			propose(t, n, i, i+1)
			mu.Lock()
			answered = i + 1
			mu.Unlock()
			synctest.Wait() // the snapshot is written
		}
		stop(t, n)
		disk.SetSyncHook(nil)
		if first := n.stored.StartOffset(); first == 0 {
			t.Fatal("nothing was deleted; the crashes prove nothing")
		}
		for i, c := range crashes {
			n, m := start(t, c.disk, small)
			if got := len(m.values()) - 1; got < c.answered {
				t.Fatalf("crash %d: %d records, %d were answered", i, got, c.answered)
			} else {
				holds(t, m, got)
				propose(t, n, got, got+40) // and goes on, with more snapshots and deletions
				stop(t, n)
				n, m = start(t, c.disk, small)
				holds(t, m, got+40)
			}
			stop(t, n)
		}
	})
}

// A snapshot that cannot be read any more is passed over for an older one where the log still reaches back to it, and nothing
// that it was to replace is deleted.
func TestADamagedSnapshotIsPassedOver(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	n, _ := start(t, disk, func(o *Options) { small(o); o.Config.RetentionBytes = -1 })
	propose(t, n, 0, 60)
	stop(t, n)
	snapshots := files(t, disk, ".checkpoint")
	damage(t, disk, snapshots[len(snapshots)-1])

	var said bytes.Buffer
	n, m := start(t, disk, func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&said, nil)) })
	holds(t, m, 60)
	stop(t, n)
	if !strings.Contains(said.String(), "a newer snapshot of the metadata cannot be read") || !strings.Contains(said.String(), snapshots[len(snapshots)-1]) {
		t.Errorf("said %s", said.String())
	}
}

// When the log does not reach back, records are lost: that is said, and nothing is made up or thrown away.
func TestLostRecordsAreNotPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		format(t, disk)
		first := files(t, disk, ".checkpoint")[0]
		kept, err := vfs.ReadFile(disk, path.Join(Dir("/meta"), first))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := start(t, disk, small)
		for i := range 60 {
			propose(t, n, i, i+1)
			synctest.Wait() // the snapshot is written
		}
		stop(t, n)
		for _, name := range files(t, disk, ".checkpoint") {
			damage(t, disk, name)
		}
		if err := vfs.WriteFile(disk, path.Join(Dir("/meta"), first), kept); err != nil {
			t.Fatal(err)
		}
		before := files(t, disk, "")
		_, err = Open(Options{FS: disk, Dir: "/meta", NodeID: 1, DirectoryID: directory, StateMachine: &machine{}})
		if err == nil || !strings.Contains(err.Error(), "the newest snapshot that can be read is "+first+": the records between them are lost") {
			t.Errorf("said %v", err)
		}
		if after := files(t, disk, ""); !slices.Equal(before, after) {
			t.Errorf("the files are %v, were %v", after, before)
		}
	})
}

func damage(t testing.TB, disk vfs.FS, name string) {
	t.Helper()
	name = path.Join(Dir("/meta"), name)
	b, err := vfs.ReadFile(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := vfs.WriteFile(disk, name, b); err != nil {
		t.Fatal(err)
	}
}

// metadata.log.max.snapshot.interval.ms takes a snapshot of new records and none without, metadata.max.retention.ms lets the old
// ones go, and with 0 no snapshot is taken because of time.
func TestSnapshotsByTime(t *testing.T) {
	for _, interval := range []time.Duration{time.Hour, 0} {
		synctest.Test(t, func(t *testing.T) {
			disk := vfs.NewMem()
			format(t, disk)
			n, _ := start(t, disk, func(o *Options) {
				o.Config.SnapshotMaxInterval, o.Config.RetentionTime = interval, 6*time.Hour
			})
			propose(t, n, 0, 10)
			time.Sleep(59 * time.Minute)
			synctest.Wait()
			if got := files(t, disk, ".checkpoint"); len(got) != 1 {
				t.Errorf("interval %v: %v before its end", interval, got)
			}
			time.Sleep(61 * time.Second)
			synctest.Wait()
			taken := files(t, disk, ".checkpoint")
			if interval > 0 && (len(taken) != 1 || strings.HasPrefix(taken[0], fmt.Sprintf("%020d", 0))) {
				t.Errorf("interval %v: %v after it; want the new one alone, since that of the format is from 1970", interval, taken)
			}
			if age, size := n.SnapshotStats(); interval > 0 && (age > 2*time.Minute || size == 0) {
				t.Errorf("the newest snapshot is %v old and has %d bytes", age, size)
			}
			time.Sleep(24 * time.Hour)
			synctest.Wait()
			if got := files(t, disk, ".checkpoint"); !slices.Equal(got, taken) {
				t.Errorf("interval %v: %v a day later, without a record since %v", interval, got, taken)
			}
			stop(t, n)
		})
	}
}

// A snapshot that cannot be written is no reason to stop: the log has everything. It is tried again.
func TestASnapshotThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		format(t, disk)
		fault := vfs.NewFail(disk)
		full := &vfs.Rule{Ops: vfs.OpWrite, Path: "*.checkpoint.part", Err: errors.New("no space")}
		fault.Add(full)
		n, _ := start(t, fault, func(o *Options) { o.Config.SnapshotMaxBytes = 1000 })
		propose(t, n, 0, 30)
		synctest.Wait() // the snapshot is written
		if got := files(t, disk, ".checkpoint", ".part"); len(got) != 1 {
			t.Errorf("files %v", got)
		}
		fault.Clear()
		time.Sleep(2 * retainInterval)
		synctest.Wait()
		if got := files(t, disk, ".checkpoint"); len(got) != 2 && !(len(got) == 1 && got[0] > fmt.Sprintf("%020d", 1)) {
			t.Errorf("snapshots %v", got)
		}
		stop(t, n)
	})
}

// between is a machine in the middle of a metadata transaction: its state is that of an earlier offset.
type between struct{ *machine }

func (b between) Snapshot() (int64, iter.Seq[[]byte]) {
	last, records := b.machine.Snapshot()
	return last - 1, records
}

// A snapshot ends where a batch ends, so that a start does not replay half of one twice.
func TestThereIsNoSnapshotInATransaction(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	n, err := Open(Options{FS: disk, Dir: "/meta", NodeID: 1, DirectoryID: directory, StateMachine: between{&machine{}}, Config: Config{SnapshotMaxBytes: 500, SegmentBytes: 1 << 20, SegmentTime: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	propose(t, n, 0, 50)
	stop(t, n)
	if got := files(t, disk, ".checkpoint"); len(got) != 1 {
		t.Errorf("snapshots %v", got)
	}
}

package segment

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// holding is a file whose end may be held, on a disk that fails as told.
type holding struct {
	*testing.T
	disk   *vfs.Fail
	budget *budget.Budget
	hs     *Handles
	h      *Handle
	sweep  func() // what Later was given
	insist int    // how often Insist was called
	all    []byte // what was appended
}

func newHolding(t *testing.T, limit int64) *holding {
	t.Helper()
	x := &holding{T: t, disk: vfs.NewFail(vfs.NewMem()), budget: budget.New(4 << 20)}
	x.hs = NewHandles(x.disk, 4)
	x.hs.SetHolding(Holding{
		Budget: x.budget, Limit: limit,
		Insist: func(write func() error) error { x.insist++; return write() },
		Later:  func(delay time.Duration, f func()) { x.sweep = f },
	})
	x.h = x.hs.NewHandle("log")
	if _, err := x.h.AcquireOrCreate(); err != nil {
		t.Fatal(err)
	}
	x.h.Release()
	return x
}

// append appends n bytes, and reports whether they are held.
func (x *holding) append(n int) bool {
	x.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(len(x.all) + i*7)
	}
	at := int64(len(x.all))
	held, err := x.h.Hold(b, at)
	if err != nil {
		x.Fatal(err)
	}
	if !held {
		f, err := x.h.Acquire()
		if err != nil {
			x.Fatal(err)
		}
		if _, err := f.WriteAt(b, at); err != nil {
			x.Fatal(err)
		}
		x.h.Release()
	}
	x.all = append(x.all, b...)
	return held
}

// written is how long the file is on the disk.
func (x *holding) written() int64 {
	x.Helper()
	info, err := x.disk.Stat("log")
	if err != nil {
		x.Fatal(err)
	}
	return info.Size()
}

func (x *holding) want(what string, got, want any) {
	x.Helper()
	if got != want {
		x.Errorf("%s: %v, want %v", what, got, want)
	}
}

// whole reads the file as anybody does.
func (x *holding) whole(what string) {
	x.Helper()
	f, err := x.h.Acquire()
	if err != nil {
		x.Fatal(err)
	}
	defer x.h.Release()
	got := make([]byte, len(x.all))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, x.all) {
		x.Errorf("%s: the file is not what was appended (%v)", what, err)
	}
}

// TestHeldBytesAreSeen: what is held is not in the file, and whoever acquires the file finds it there. ReadAt leaves it where it
// is, also where it has to read both. Nothing is held while somebody has the file.
func TestHeldBytesAreSeen(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.want("the first is held", x.append(100), true)
	x.want("the second is held", x.append(5000), true) // a larger buffer
	x.want("written", x.written(), int64(0))
	x.whole("acquired")
	x.want("written once acquired", x.written(), int64(5100))
	x.want("memory", x.hs.Held(), int64(0))

	x.append(300)
	for _, from := range []int{0, 5000, 5100, 5250} { // in the file, across, held
		got := make([]byte, len(x.all)-from-10)
		if err := x.h.ReadAt(got, int64(from)); err != nil || !bytes.Equal(got, x.all[from:len(x.all)-10]) {
			t.Errorf("ReadAt from %d: not what was appended (%v)", from, err)
		}
	}
	x.want("written after ReadAt", x.written(), int64(5100))

	if _, err := x.h.Acquire(); err != nil {
		t.Fatal(err)
	}
	x.want("held while somebody has the file", x.append(100), false)
	x.h.Release()
	x.append(100)
	if err := x.h.Sync(); err != nil {
		t.Fatal(err)
	}
	x.want("written once synced", x.written(), int64(len(x.all)))
	x.append(100)
	x.h.WriteBack()
	x.want("written once its write-back began", x.written(), int64(len(x.all)))
	x.whole("at the end")
}

// TestHeldBytesGoWhereTheyBelong: what was held, and did not become part of the file since the append failed then, is not in
// the way of the next.
func TestHeldBytesGoWhereTheyBelong(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.append(100)
	if held, err := x.h.Hold([]byte("does not count"), 100); !held || err != nil {
		t.Fatal(held, err)
	}
	x.append(10)
	x.append(10)
	x.whole("behind an append that failed")
}

// TestHeldBytesAreDirtyOnceWritten: the file is synced before it is closed to make room for another.
func TestHeldBytesAreDirtyOnceWritten(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.append(100)
	if err := x.h.write(); err != nil {
		t.Fatal(err)
	}
	syncs := &vfs.Rule{Ops: vfs.OpSync, Path: "log"}
	x.disk.Add(syncs)
	for _, name := range []string{"a", "b", "c", "d"} {
		other := x.hs.NewHandle(name)
		if _, err := other.AcquireOrCreate(); err != nil {
			t.Fatal(err)
		}
	}
	x.want("syncs", x.disk.Hits(syncs), 1)
}

// TestHeldBytesAreBounded: by the file, by the directory, and by the budget; a large append is not held at all.
func TestHeldBytesAreBounded(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.want("a large append is held", x.append(heldBatch+1), false)
	for range 3 * heldMost / 8192 {
		x.want("held", x.append(8192), true)
		if memory := x.hs.Held(); memory > heldMost {
			t.Fatalf("%d bytes of memory", memory)
		}
		if missing := int64(len(x.all)) - x.written(); missing > heldMost {
			t.Fatalf("the file lacks %d bytes", missing)
		}
	}
	x.whole("a file that held more than it may")

	x = newHolding(t, 16<<10)
	x.want("beyond what the directory may hold", x.append(17<<10), false)
	x.want("as much as it may", x.append(16<<10), true)
	x.want("one byte more, in the place of those", x.append(1), true)
	x.want("written for it", x.written(), int64(33<<10))
	x.whole("a directory that held all it may")

	x = newHolding(t, 1<<20)
	if !x.budget.TryAcquire(x.budget.Limit()) {
		t.Fatal("the budget is not whole")
	}
	x.want("held without memory", x.append(10), false)
}

// TestHeldBytesAreWrittenAfterAWhile: the timer is set by the first file that holds something, and again only while one does.
func TestHeldBytesAreWrittenAfterAWhile(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.append(100)
	sweep := x.sweep
	if x.sweep = nil; sweep == nil {
		t.Fatal("nobody will write what is held")
	}
	x.append(100)
	if x.sweep != nil {
		t.Error("a second timer")
	}
	x.disk.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "log", Err: syscall.ENOSPC})
	sweep()
	sweep = x.sweep
	if x.sweep = nil; sweep == nil {
		t.Fatal("what could not be written is not tried again")
	}
	x.disk.Clear()
	sweep()
	x.want("written", x.written(), int64(200))
	if x.sweep != nil {
		t.Error("a timer although nothing is held")
	}
	x.append(100)
	if x.sweep == nil {
		t.Error("no timer for what is held later")
	}
}

// TestHeldBytesWithoutRoom: what a full disk cannot take stays in memory, and is written once there is room. An append that finds
// the buffer full and the disk, too, is refused as one that writes. Any other error is final.
func TestHeldBytesWithoutRoom(t *testing.T) {
	x := newHolding(t, 1<<20)
	x.append(8000)
	x.disk.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "log", Err: syscall.ENOSPC})
	for range 2 {
		if _, err := x.h.Acquire(); !errors.Is(err, ErrHeld) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("acquired on a full disk: %v", err)
		}
		if err := x.h.Sync(); !errors.Is(err, ErrHeld) {
			t.Fatalf("synced on a full disk: %v", err)
		}
	}
	x.want("asked to make room", x.insist, 4)
	for len(x.all)+8000 <= heldMost {
		x.want("held", x.append(8000), true)
	}
	if held, err := x.h.Hold(make([]byte, 8000), int64(len(x.all))); held || !errors.Is(err, ErrHeld) {
		t.Fatalf("an append beyond the buffer: %v, %v", held, err)
	}
	x.disk.Clear()
	x.whole("once there is room")

	x.append(10)
	x.disk.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "log", Err: syscall.EIO, Times: 1})
	for range 2 {
		if _, err := x.h.Acquire(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("acquired after a failed write: %v", err)
		}
	}
	if held, err := x.h.Hold([]byte("x"), int64(len(x.all))); held || !errors.Is(err, syscall.EIO) {
		t.Errorf("an append after a failed write: %v, %v", held, err)
	}
}

// TestHeldBytesAreGivenUp with their file, and their memory comes back.
func TestHeldBytesAreGivenUp(t *testing.T) {
	for _, what := range []string{"closed", "removed"} {
		x := newHolding(t, 1<<20)
		x.append(100)
		if x.hs.Held() == 0 {
			t.Fatalf("%s: nothing was held", what)
		}
		if what == "closed" {
			x.h.Close()
			x.want("written", x.written(), int64(0))
		} else if err := x.h.Remove(); err != nil {
			t.Fatal(err)
		}
		x.want(what+": memory", x.hs.Held()+x.budget.InUse(), int64(0))
	}
}

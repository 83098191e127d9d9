package vfs

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
	"unsafe"
)

// TestDirect writes past the page cache, or not where the file system of the test cannot do that, and reads the same
// bytes through another handle.
func TestDirect(t *testing.T) {
	for _, on := range []struct {
		name string
		fsys FS
		dir  string
	}{{"os", OS, t.TempDir()}, {"mem", NewMem(), "/"}} {
		t.Run(on.name, func(t *testing.T) {
			name := on.dir + "/f"
			f, err := on.fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|Direct, 0o644)
			must(t, err)
			defer f.Close()
			want := bytes.Repeat([]byte("0123456789abcdef"), 3*DirectSector/16)
			b := append(AlignedBuffer(len(want)), want...)
			for _, part := range []int{0, 2, 1} { // in any order, and over what was there
				at := part * DirectSector
				if n, err := f.WriteAt(b[at:at+DirectSector], int64(at)); err != nil || n != DirectSector {
					t.Fatalf("%d bytes written, %v", n, err)
				}
			}
			must(t, f.Sync())
			if got := content(t, on.fsys, name); got != string(want) {
				t.Errorf("%d bytes came back, or other ones", len(got))
			}
		})
	}
}

// TestDirectIsAWish: what the disk cannot take past the page cache goes through it.
func TestDirectIsAWish(t *testing.T) {
	name := t.TempDir() + "/f"
	f, err := OS.OpenFile(name, os.O_WRONLY|os.O_CREATE|Direct, 0o644)
	must(t, err)
	defer f.Close()
	odd := append(AlignedBuffer(DirectSector), "odd"...)
	write(t, f, 0, string(odd)) // a length that no disk takes
	write(t, f, 3, " again")
	if got := content(t, OS, name); got != "odd again" {
		t.Errorf("%q", got)
	}
}

// TestMemIsStrictWithDirect: a disk in memory takes nothing that some disk would not take.
func TestMemIsStrictWithDirect(t *testing.T) {
	f, err := NewMem().OpenFile("/f", os.O_WRONLY|os.O_CREATE|Direct, 0o644)
	must(t, err)
	defer f.Close()
	b := AlignedBuffer(2 * DirectSector)[:2*DirectSector]
	for _, c := range []struct {
		what string
		p    []byte
		off  int64
	}{{"position", b[:DirectSector], 1}, {"length", b[:DirectSector+1], 0}, {"address", b[1 : 1+DirectSector], 0}} {
		if _, err := f.WriteAt(c.p, c.off); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("an odd %s: %v", c.what, err)
		}
	}
}

func TestAlignedBuffer(t *testing.T) {
	for _, n := range []int{1, 511, 512, 513, 5000, 1 << 20} {
		b := AlignedBuffer(n)
		if len(b) != 0 || cap(b) < n || cap(b)%DirectSector != 0 {
			t.Errorf("%d bytes: length %d, capacity %d", n, len(b), cap(b))
		}
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(b))); at%directPage != 0 {
			t.Errorf("%d bytes: at %x", n, at)
		}
	}
}

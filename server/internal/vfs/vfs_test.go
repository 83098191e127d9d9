package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// each runs a test on every file system, in an empty directory.
func each(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/some/dir", 0o755))
		test(t, m, "/some/dir")
	})
	t.Run("fail without rules", func(t *testing.T) {
		m := NewMem()
		must(t, m.MkdirAll("/some/dir", 0o755))
		test(t, NewFail(m), "/some/dir")
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, fsys FS, name string) File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	return f
}

func write(t testing.TB, f File, off int64, data string) {
	t.Helper()
	n, err := f.WriteAt([]byte(data), off)
	must(t, err)
	if n != len(data) {
		t.Fatalf("%d bytes of %d written without an error", n, len(data))
	}
}

func content(t testing.TB, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name)
	must(t, err)
	return string(b)
}

// wantErr checks the class of an error and that it says which operation on which path.
func wantErr(t testing.TB, what string, err, class error) {
	t.Helper()
	var pe *fs.PathError
	if !errors.Is(err, class) || !errors.As(err, &pe) || pe.Path == "" || pe.Op == "" {
		t.Errorf("%s: %v (%T), want a PathError around %v", what, err, err, class)
	}
}

func TestFiles(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		f := open(t, fsys, dir+"/a")
		write(t, f, 0, "hello")
		write(t, f, 10_000, "far")
		if size, err := f.Size(); size != 10_003 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
		buf := make([]byte, 7)
		if n, err := f.ReadAt(buf, 9_998); n != 5 || err != io.EOF || string(buf[:5]) != "\x00\x00far" {
			t.Errorf("at the end: %q %v", buf[:n], err)
		}
		if n, err := f.ReadAt(buf, 9_996); n != 7 || err != nil && err != io.EOF {
			t.Errorf("up to the end: %d %v", n, err)
		}
		if n, err := f.ReadAt(buf, 20_000); n != 0 || err != io.EOF {
			t.Errorf("beyond the end: %d %v", n, err)
		}
		must(t, f.Truncate(3))
		must(t, f.Truncate(6))
		if got := content(t, fsys, dir+"/a"); got != "hel\x00\x00\x00" {
			t.Errorf("cut and grown: %q", got)
		}
		must(t, f.Preallocate(0, 1<<20))
		if size, err := f.Size(); size != 6 || err != nil {
			t.Errorf("preallocated: size %d, %v", size, err)
		}
		must(t, f.Sync())
		if f.Name() != dir+"/a" {
			t.Errorf("name %q", f.Name())
		}
		must(t, f.Close())
		wantErr(t, "close again", f.Close(), fs.ErrClosed)
		_, err := f.ReadAt(buf, 0)
		wantErr(t, "read after close", err, fs.ErrClosed)
		_, err = f.WriteAt(buf, 0)
		wantErr(t, "write after close", err, fs.ErrClosed)
		wantErr(t, "sync after close", f.Sync(), fs.ErrClosed)
		if _, ok := f.Fd(); ok {
			t.Error("a closed file has a descriptor")
		}

		_, err = fsys.OpenFile(dir+"/a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		wantErr(t, "exclusive", err, fs.ErrExist)
		_, err = fsys.OpenFile(dir+"/b", os.O_RDWR, 0)
		wantErr(t, "missing", err, fs.ErrNotExist)
		_, err = fsys.OpenFile(dir+"/no/b", os.O_RDWR|os.O_CREATE, 0o644)
		wantErr(t, "missing directory", err, fs.ErrNotExist)
		_, err = fsys.OpenFile(dir, os.O_RDONLY, 0)
		wantErr(t, "a directory", err, syscall.EISDIR)
		_, err = fsys.OpenFile(dir+"/a", os.O_RDWR|os.O_APPEND, 0)
		wantErr(t, "append", err, syscall.EINVAL)
		r, err := fsys.OpenFile(dir+"/a", os.O_RDONLY, 0)
		must(t, err)
		defer r.Close()
		_, err = r.WriteAt(buf, 0)
		wantErr(t, "write to a file opened for reading", err, syscall.EBADF)
	})
}

func TestNames(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		must(t, fsys.MkdirAll(dir+"/x/y/z", 0o755))
		must(t, fsys.MkdirAll(dir+"/x/y", 0o755))
		must(t, WriteFile(fsys, dir+"/x/two", []byte("2")))
		must(t, WriteFileAtomic(fsys, dir+"/x/one", []byte("11")))
		must(t, WriteFileAtomic(fsys, dir+"/x/one", []byte("1")))
		list := func(name string) (names []string) {
			entries, err := fsys.ReadDir(name)
			must(t, err)
			for _, e := range entries {
				info, err := e.Info()
				must(t, err)
				if e.IsDir() != info.IsDir() {
					t.Error(e)
				}
				names = append(names, e.Name())
			}
			return names
		}
		if got := list(dir + "/x"); !slices.Equal(got, []string{"one", "two", "y"}) {
			t.Errorf("%v", got)
		}
		if info, err := fsys.Stat(dir + "/x/one"); err != nil || info.Size() != 1 || info.IsDir() || info.Name() != "one" || info.ModTime().IsZero() {
			t.Errorf("%+v %v", info, err)
		}
		must(t, fsys.Rename(dir+"/x/one", dir+"/x/two"))
		if got := content(t, fsys, dir+"/x/two"); got != "1" {
			t.Errorf("renamed over: %q", got)
		}
		must(t, fsys.Rename(dir+"/x/two", dir+"/x/y/three"))
		must(t, fsys.SyncDir(dir+"/x"))
		must(t, fsys.SyncDir(dir+"/x/y"))
		wantErr(t, "rename of nothing", fsys.Rename(dir+"/x/one", dir+"/x/four"), fs.ErrNotExist)
		wantErr(t, "remove of nothing", fsys.Remove(dir+"/x/one"), fs.ErrNotExist)
		if err := fsys.Remove(dir + "/x/y"); err == nil {
			t.Error("a full directory was removed")
		}
		_, err := fsys.ReadDir(dir + "/nowhere")
		wantErr(t, "list nothing", err, fs.ErrNotExist)
		_, err = fsys.Stat(dir + "/nowhere")
		wantErr(t, "stat nothing", err, fs.ErrNotExist)
		wantErr(t, "sync nothing", fsys.SyncDir(dir+"/nowhere"), fs.ErrNotExist)
		wantErr(t, "a directory under a file", fsys.MkdirAll(dir+"/x/y/three/four", 0o755), syscall.ENOTDIR)

		f := open(t, fsys, dir+"/x/y/three")
		defer f.Close()
		must(t, fsys.RemoveAll(dir+"/x"))
		must(t, fsys.RemoveAll(dir+"/x"))
		write(t, f, 1, "!") // a file without a name is still a file
		if size, err := f.Size(); size != 2 || err != nil {
			t.Error(size, err)
		}
		if got := list(dir); len(got) != 0 {
			t.Errorf("left: %v", got)
		}
		u, err := fsys.Usage(dir)
		if err != nil || u.Total <= 0 || u.Free <= 0 || u.Free > u.Total {
			t.Errorf("%+v %v", u, err)
		}
	})
}

func TestLocks(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		one, err := fsys.Lock(dir + "/.lock")
		must(t, err)
		_, err = fsys.Lock(dir + "/.lock")
		wantErr(t, "a second holder", err, ErrLocked)
		must(t, one.Close())
		two, err := fsys.Lock(dir + "/.lock")
		must(t, err)
		must(t, two.Close())
	})
}

// TestCloseDuringReads would read from whatever file gets the number of a descriptor that was closed too early.
func TestCloseDuringReads(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		must(t, WriteFile(fsys, dir+"/ours", bytes.Repeat([]byte("o"), 1000)))
		must(t, WriteFile(fsys, dir+"/theirs", bytes.Repeat([]byte("t"), 1000)))
		for range 200 {
			f, err := fsys.OpenFile(dir+"/ours", os.O_RDONLY, 0)
			must(t, err)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					buf := make([]byte, 1000)
					for {
						_, err := f.ReadAt(buf, 0)
						if errors.Is(err, fs.ErrClosed) {
							return
						}
						if err != nil || buf[0] != 'o' {
							t.Errorf("%q %v", buf[0], err)
							return
						}
					}
				})
			}
			must(t, f.Close())
			other, err := fsys.OpenFile(dir+"/theirs", os.O_RDONLY, 0)
			must(t, err)
			wg.Wait()
			must(t, other.Close())
		}
	})
}

// TestMemAgainstOS runs the same random operations on both and compares everything that can be seen.
func TestMemAgainstOS(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	real, mem := t.TempDir(), NewMem()
	must(t, mem.MkdirAll("/d", 0o755))
	names := []string{"/a", "/b", "/c", "/s/a", "/s/b", "/s/t/a", "/s", "/s/t"}
	both := func(what string, op func(fsys FS, dir string) (any, error)) {
		t.Helper()
		v1, err1 := op(OS, real)
		v2, err2 := op(mem, "/d")
		var n1, n2 syscall.Errno
		errors.As(err1, &n1)
		errors.As(err2, &n2)
		if v1 != v2 || n1 != n2 || (err1 == nil) != (err2 == nil) {
			t.Fatalf("%s: %v, %v on the disk, %v, %v in memory", what, v1, err1, v2, err2)
		}
	}
	for range 3000 {
		name, other := names[rnd.IntN(len(names))], names[rnd.IntN(len(names))]
		off, n := rnd.Int64N(20_000), rnd.IntN(9000)
		switch rnd.IntN(8) {
		case 0:
			both("mkdir "+name, func(fsys FS, dir string) (any, error) { return nil, fsys.MkdirAll(dir+name, 0o755) })
		case 1:
			both("rename "+name+" "+other, func(fsys FS, dir string) (any, error) { return nil, fsys.Rename(dir+name, dir+other) })
		case 2:
			if rnd.IntN(3) == 0 {
				both("remove "+name, func(fsys FS, dir string) (any, error) { return nil, fsys.Remove(dir + name) })
			}
		case 3, 4, 5:
			data := bytes.Repeat([]byte{byte(rnd.IntN(256))}, n)
			both("write "+name, func(fsys FS, dir string) (any, error) {
				f, err := fsys.OpenFile(dir+name, os.O_RDWR|os.O_CREATE, 0o644)
				if err != nil {
					return nil, err
				}
				defer f.Close()
				return f.WriteAt(data, off)
			})
		case 6:
			both("truncate "+name, func(fsys FS, dir string) (any, error) {
				f, err := fsys.OpenFile(dir+name, os.O_RDWR, 0)
				if err != nil {
					return nil, err
				}
				defer f.Close()
				return nil, f.Truncate(off)
			})
		case 7:
			both("read "+name, func(fsys FS, dir string) (any, error) {
				b, err := ReadFile(fsys, dir+name)
				return string(b), err
			})
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, on := range []struct {
		name string
		fsys FS
		dir  string
	}{{"os", OS, b.TempDir()}, {"mem", NewMem(), "/"}} {
		b.Run(on.name, func(b *testing.B) {
			f := open(b, on.fsys, on.dir+"/f")
			defer f.Close()
			data := make([]byte, 100_000)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			var at int64
			for b.Loop() {
				if at > 64<<20 {
					must(b, f.Truncate(0))
					at = 0
				}
				_, err := f.WriteAt(data, at)
				must(b, err)
				at += int64(len(data))
			}
		})
	}
}

func BenchmarkOpenClose(b *testing.B) {
	name := b.TempDir() + "/f"
	must(b, WriteFile(OS, name, nil))
	b.ReportAllocs()
	for b.Loop() {
		f, err := OS.OpenFile(name, os.O_RDWR, 0)
		must(b, err)
		f.Close()
	}
}

// TestWriteBack: it changes nothing of a file, leaves Sync its word, and a closed file does not mind.
func TestWriteBack(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := dir + "/f"
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
		must(t, err)
		_, err = f.WriteAt([]byte("text"), 0)
		must(t, err)
		f.WriteBack()
		must(t, f.Sync())
		if got, err := ReadFile(fsys, name); string(got) != "text" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		must(t, f.Close())
		f.WriteBack()
	})
}

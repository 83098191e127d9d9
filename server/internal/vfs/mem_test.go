package vfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestCrashForgetsWhatWasNotSynced(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d", 0o755))
	must(t, m.SyncDir("/"))
	f := open(t, m, "/d/f")
	write(t, f, 0, "durable")
	must(t, f.Sync())
	if _, err := m.CrashClone(CrashOptions{}).Stat("/d/f"); err == nil {
		t.Error("a name survived without SyncDir")
	}
	must(t, m.SyncDir("/d"))
	write(t, f, 7, " and not")
	write(t, f, 0, "DURABLE")
	c := m.CrashClone(CrashOptions{})
	if got := content(t, c, "/d/f"); got != "durable" {
		t.Errorf("after the crash: %q", got)
	}
	if got := content(t, m, "/d/f"); got != "DURABLE and not" {
		t.Errorf("the disk itself: %q", got)
	}

	// A clone is a disk of its own.
	cf := open(t, c, "/d/f")
	write(t, cf, 0, "clone")
	must(t, cf.Sync())
	if got := content(t, m.CrashClone(CrashOptions{}), "/d/f"); got != "durable" {
		t.Errorf("writing to a clone changed the disk: %q", got)
	}
	if got := content(t, c.CrashClone(CrashOptions{}), "/d/f"); got != "clonele" {
		t.Errorf("a clone's clone: %q", got)
	}

	// A truncation that was not synced did not happen; a name without bytes has an empty file.
	must(t, f.Sync())
	must(t, f.Truncate(0))
	open(t, m, "/d/g")
	must(t, m.SyncDir("/d"))
	c = m.CrashClone(CrashOptions{})
	if got := content(t, c, "/d/f"); got != "DURABLE and not" {
		t.Errorf("truncated without a sync: %q", got)
	}
	if got := content(t, c, "/d/g"); got != "" {
		t.Errorf("%q", got)
	}
}

func TestCrashAndNames(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/a", 0o755))
	must(t, m.MkdirAll("/b", 0o755))
	must(t, m.SyncDir("/"))
	for _, name := range []string{"/a/one", "/a/two"} {
		f := open(t, m, name)
		write(t, f, 0, name)
		must(t, f.Sync())
	}
	must(t, m.SyncDir("/a"))
	tree := func(opts CrashOptions) string {
		var s strings.Builder
		c := m.CrashClone(opts)
		for _, dir := range []string{"/a", "/b"} {
			entries, err := c.ReadDir(dir)
			must(t, err)
			for _, e := range entries {
				fmt.Fprintf(&s, "%s/%s=%s ", dir, e.Name(), content(t, c, dir+"/"+e.Name()))
			}
		}
		return strings.TrimSpace(s.String())
	}
	before := "/a/one=/a/one /a/two=/a/two"

	must(t, m.Rename("/a/one", "/b/one"))
	if got := tree(CrashOptions{}); got != before {
		t.Errorf("a rename that was not synced: %s", got)
	}
	must(t, m.SyncDir("/b"))
	if got := tree(CrashOptions{}); got != before {
		t.Errorf("a rename of which one directory was synced: %s", got)
	}
	must(t, m.SyncDir("/a"))
	if got := tree(CrashOptions{}); got != "/a/two=/a/two /b/one=/a/one" {
		t.Errorf("a rename that was synced: %s", got)
	}

	// Chance may lose or keep a change, but never halves one, and never forgets the order.
	must(t, m.Rename("/a/two", "/b/two"))
	must(t, m.Rename("/b/two", "/b/one"))
	must(t, m.Remove("/b/one"))
	possible := map[string]int{
		"/a/two=/a/two /b/one=/a/one": 0, // nothing
		"/b/one=/a/one /b/two=/a/two": 0,
		"/b/one=/a/two":               0,
		"":                            0, // all
	}
	for seed := range uint64(300) {
		got := tree(CrashOptions{Rand: rand.New(rand.NewPCG(seed, 1))})
		if _, ok := possible[got]; !ok {
			t.Fatalf("seed %d: %s", seed, got)
		}
		possible[got]++
		if again := tree(CrashOptions{Rand: rand.New(rand.NewPCG(seed, 1))}); again != got {
			t.Fatalf("seed %d: %s, then %s", seed, got, again)
		}
	}
	for state, n := range possible {
		if n == 0 {
			t.Errorf("never seen: %q", state)
		}
	}
}

// TestCrashByChance writes to a file with syncs between and checks that every clone is something that the writes
// explain: each byte of the synced content unless a later write covered it, and else zero or what was written.
func TestCrashByChance(t *testing.T) {
	torn, lost, kept, holes := 0, 0, 0, 0
	for seed := range uint64(400) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		m := NewMem()
		f := open(t, m, "/f")
		must(t, m.SyncDir("/"))
		for range rnd.IntN(4) {
			write(t, f, rnd.Int64N(30_000), strings.Repeat("s", rnd.IntN(9000)))
		}
		must(t, f.Sync())
		synced := content(t, m, "/f")
		for range 1 + rnd.IntN(4) {
			write(t, f, rnd.Int64N(60_000), strings.Repeat("w", 1+rnd.IntN(9000)))
		}
		all := content(t, m, "/f")
		c := m.CrashClone(CrashOptions{Rand: rnd})
		got := content(t, c, "/f")
		if len(got) < len(synced) || len(got) > len(all) {
			t.Fatalf("seed %d: %d bytes after %d synced of %d", seed, len(got), len(synced), len(all))
		}
		for i := range got {
			was := byte(0)
			if i < len(synced) {
				was = synced[i]
			}
			if got[i] != was && got[i] != all[i] {
				t.Fatalf("seed %d: byte %d is %q; synced %q, written %q", seed, i, got[i], was, all[i])
			}
			if got[i] != all[i] && i >= len(synced) {
				holes++
			}
		}
		switch {
		case got == synced:
			lost++
		case got == all:
			kept++
		case len(got)%memPageSize != 0 && len(got) < len(all) && len(got) > len(synced):
			torn++
		}
		// The clone's own memory of the disk is what it shows.
		if again := content(t, c.CrashClone(CrashOptions{}), "/f"); again != got {
			t.Fatalf("seed %d: a clone lost something in its turn", seed)
		}
		// Beyond the end there are zeros.
		cf := open(t, c, "/f")
		must(t, cf.Truncate(int64(len(got)+5000)))
		if tail := content(t, c, "/f")[len(got):]; strings.Trim(tail, "\x00") != "" {
			t.Fatalf("seed %d: old bytes came back beyond the end", seed)
		}
	}
	if torn < 10 || lost < 10 || kept < 10 || holes == 0 {
		t.Errorf("%d torn, %d lost, %d kept, %d bytes of holes: not enough of each was seen", torn, lost, kept, holes)
	}
}

func TestCrashUndoesTruncationAsAWhole(t *testing.T) {
	old := strings.Repeat("0123456789", 2000)
	for seed := range uint64(200) {
		m := NewMem()
		f := open(t, m, "/f")
		write(t, f, 0, old)
		must(t, f.Sync())
		must(t, m.SyncDir("/"))
		must(t, f.Truncate(5001))
		got := content(t, m.CrashClone(CrashOptions{Rand: rand.New(rand.NewPCG(seed, 3))}), "/f")
		if got != old && got != old[:5001] {
			t.Fatalf("seed %d: %d bytes that are neither", seed, len(got))
		}
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(10 * memPageSize)
	f := open(t, m, "/f")
	n, err := f.WriteAt(make([]byte, 20*memPageSize), 0)
	wantErr(t, "writing beyond the capacity", err, syscall.ENOSPC)
	if n != 10*memPageSize {
		t.Errorf("%d bytes were written", n)
	}
	if u, err := m.Usage("/"); err != nil || u.Free != 0 || u.Total != 10*memPageSize {
		t.Errorf("%+v %v", u, err)
	}
	write(t, f, 0, "overwriting needs no room")
	must(t, f.Truncate(4*memPageSize))
	g := open(t, m, "/g")
	wantErr(t, "preallocating too much", g.Preallocate(0, 7*memPageSize), syscall.ENOSPC)
	must(t, g.Preallocate(0, 6*memPageSize))
	_, err = f.WriteAt([]byte("x"), 5*memPageSize)
	wantErr(t, "what is reserved is not there for others", err, syscall.ENOSPC)
	if _, err = g.WriteAt(make([]byte, 6*memPageSize), 0); err != nil {
		t.Errorf("what is reserved is there for its owner: %v", err)
	}
	must(t, m.Remove("/g"))
	if u, _ := m.Usage("/"); u.Free != 0 {
		t.Errorf("an open file gave its room back: %+v", u)
	}
	must(t, g.Close())
	if u, _ := m.Usage("/"); u.Free != 6*memPageSize {
		t.Errorf("after the last close: %+v", u)
	}
	must(t, f.Sync())
	must(t, m.SyncDir("/"))
	if u, _ := m.CrashClone(CrashOptions{}).Usage("/"); u.Free != 6*memPageSize || u.Total != 10*memPageSize {
		t.Errorf("a clone: %+v", u)
	}
}

func TestSyncPoints(t *testing.T) {
	m := NewMem()
	var points []string
	m.SetSyncHook(func(name string) {
		points = append(points, name)
		m.CrashClone(CrashOptions{}) // no lock is held
	})
	must(t, WriteFileAtomic(m, "/x", []byte("1")))
	if got := strings.Join(points, " "); got != "/x.tmp /" {
		t.Errorf("sync points %q", got)
	}
	m.SetSyncHook(nil)
	must(t, m.SyncDir("/"))
	if len(points) != 2 {
		t.Error("a removed hook was called")
	}
}

// TestAtomicWritesSurviveAnyCrash clones the disk in every way at every sync point.
func TestAtomicWritesSurviveAnyCrash(t *testing.T) {
	m := NewMem()
	must(t, WriteFileAtomic(m, "/x", []byte("old")))
	check := func() {
		for seed := range uint64(50) {
			c := m.CrashClone(CrashOptions{Rand: rand.New(rand.NewPCG(seed, 4))})
			if got := content(t, c, "/x"); got != "old" && got != "new" {
				t.Fatalf("seed %d: %q", seed, got)
			}
		}
	}
	m.SetSyncHook(func(string) { check() })
	must(t, WriteFileAtomic(m, "/x", []byte("new")))
	if got := content(t, m.CrashClone(CrashOptions{}), "/x"); got != "new" {
		t.Errorf("acknowledged, but after the crash: %q", got)
	}
}

func TestRemovedDirectoriesAreForgotten(t *testing.T) {
	m := NewMem()
	for i := range 100 {
		dir := fmt.Sprintf("/d%d", i)
		must(t, m.MkdirAll(dir, 0o755))
		open(t, m, dir+"/f").Close()
		must(t, m.RemoveAll(dir))
		must(t, m.SyncDir("/"))
	}
	if len(m.root.pending) > 0 || len(m.root.durable) > 0 {
		t.Errorf("%d changes pending, %d names", len(m.root.pending), len(m.root.durable))
	}
}

func TestMemUnderConcurrency(t *testing.T) {
	m := NewMem()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			name := fmt.Sprintf("/f%d", g)
			f := open(t, m, name)
			for i := range 300 {
				write(t, f, int64(i*100), strings.Repeat("x", 100))
				if i%10 == 0 {
					must(t, f.Sync())
					must(t, m.SyncDir("/"))
				}
				if i%50 == 0 {
					c := m.CrashClone(CrashOptions{})
					if got := content(t, c, name); len(got) != i/10*1000+100 {
						t.Errorf("%d bytes synced, %d in the clone", i*100+100, len(got))
					}
				}
			}
		})
	}
	wg.Wait()
}

func TestFail(t *testing.T) {
	m := NewMem()
	nth := &Rule{Ops: OpWrite, Path: "*.log", Skip: 2, Times: 1, Err: syscall.EIO}
	f := NewFail(m, nth)
	log, txt := open(t, f, "/a.log"), open(t, f, "/a.txt")
	for i := range 5 {
		write(t, txt, 0, "fine")
		_, err := log.WriteAt([]byte("x"), int64(i))
		if i == 2 {
			wantErr(t, "the third write", err, syscall.EIO)
		} else {
			must(t, err)
		}
	}
	if f.Hits(nth) != 1 {
		t.Errorf("%d hits", f.Hits(nth))
	}

	f.Clear()
	f.Add(&Rule{Ops: OpWrite, Bytes: 10, Err: syscall.ENOSPC})
	write(t, txt, 0, "12345678")
	n, err := txt.WriteAt([]byte("abcdef"), 8)
	wantErr(t, "a disk that fills", err, syscall.ENOSPC)
	if n != 2 || content(t, m, "/a.txt") != "12345678ab" {
		t.Errorf("%d bytes, %q", n, content(t, m, "/a.txt"))
	}

	f.Clear()
	f.Add(&Rule{Ops: OpSync | OpSyncDir, Lie: true})
	must(t, txt.Sync())
	must(t, f.SyncDir("/"))
	if _, err := m.CrashClone(CrashOptions{}).Stat("/a.txt"); err == nil {
		t.Error("a lying disk told the truth")
	}

	f.Clear()
	f.Add(&Rule{Ops: OpRead, Flip: true, FlipBit: 8*3 + 7})
	buf := make([]byte, 4)
	if _, err := txt.ReadAt(buf, 2); err != nil || string(buf) != "3556" {
		t.Errorf("a flipped bit: %q %v", buf, err)
	}

	f.Clear()
	f.Add(&Rule{Ops: OpRead, Short: true})
	if n, err := txt.ReadAt(buf, 0); n != 2 || err == nil {
		t.Errorf("a short read: %d %v", n, err)
	}

	f.Clear()
	slow := make(chan struct{})
	entered := make(chan string)
	f.Add(&Rule{Ops: OpSync, Hook: func(op Op, name string) { entered <- op.String() + " " + name; <-slow }})
	done := make(chan error)
	go func() { done <- txt.Sync() }()
	if got := <-entered; got != "sync /a.txt" {
		t.Errorf("%q", got)
	}
	write(t, txt, 0, "others go on")
	close(slow)
	must(t, <-done)

	for op, call := range map[Op]func() error{
		OpOpen:        func() error { _, err := f.OpenFile("/a.txt", os.O_RDWR, 0); return err },
		OpCreate:      func() error { _, err := f.OpenFile("/new", os.O_RDWR|os.O_CREATE, 0o644); return err },
		OpRead:        func() error { _, err := txt.ReadAt(buf, 0); return err },
		OpWrite:       func() error { _, err := txt.WriteAt(buf, 0); return err },
		OpTruncate:    func() error { return txt.Truncate(4) },
		OpPreallocate: func() error { return txt.Preallocate(0, 4) },
		OpSync:        func() error { return txt.Sync() },
		OpClose:       func() error { g := open(t, f, "/a.txt"); return g.Close() },
		OpRemove:      func() error { return f.Remove("/a.log") },
		OpRename:      func() error { return f.Rename("/a.log", "/b.log") },
		OpMkdir:       func() error { return f.MkdirAll("/dir", 0o755) },
		OpReadDir:     func() error { _, err := f.ReadDir("/"); return err },
		OpStat:        func() error { _, err := f.Stat("/a.log"); return err },
		OpSyncDir:     func() error { return f.SyncDir("/") },
		OpLock:        func() error { _, err := f.Lock("/lock"); return err },
		OpUsage:       func() error { _, err := f.Usage("/"); return err },
	} {
		f.Clear()
		f.Add(&Rule{Ops: op, Err: fs.ErrPermission})
		wantErr(t, op.String(), call(), fs.ErrPermission)
	}
	f.Clear()
	f.Add(&Rule{Path: "/a.log", Err: syscall.EIO})
	wantErr(t, "a rename by its old name", f.Rename("/a.log", "/b.log"), syscall.EIO)
	wantErr(t, "a rename by its new name", f.Rename("/a.txt", "/a.log"), syscall.EIO)
	must(t, f.Rename("/a.txt", "/c.txt"))
}

func BenchmarkCrashClone(b *testing.B) {
	m := NewMem()
	for i := range 100 {
		f := open(b, m, fmt.Sprintf("/f%d", i))
		_, err := f.WriteAt(bytes.Repeat([]byte("x"), 1<<20), 0)
		must(b, err)
		must(b, f.Sync())
	}
	must(b, m.SyncDir("/"))
	b.ReportAllocs()
	for b.Loop() {
		m.CrashClone(CrashOptions{})
	}
}

// TestCrashCloneOfAll: a process that is killed loses nothing of what it has told the disk.
func TestCrashCloneOfAll(t *testing.T) {
	m := NewMem()
	must(t, m.MkdirAll("/d", 0o755))
	f := open(t, m, "/d/a")
	write(t, f, 0, strings.Repeat("x", 3*memPageSize))
	must(t, f.Sync())
	write(t, f, 10, "unsynced")
	must(t, f.Truncate(2*memPageSize+5))
	must(t, m.Rename("/d/a", "/d/b"))
	write(t, open(t, m, "/d/c"), 0, "new")
	clone := m.CrashClone(CrashOptions{All: true})
	write(t, f, 0, "later")
	want := "xxxxxxxxxxunsynced" + strings.Repeat("x", 2*memPageSize+5-18)
	if got := content(t, clone, "/d/b"); got != want {
		t.Errorf("b has %d bytes, or other ones", len(got))
	}
	if got := content(t, clone, "/d/c"); got != "new" {
		t.Errorf("c has %q", got)
	}
	if entries, err := clone.ReadDir("/d"); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", entries, err)
	}
}

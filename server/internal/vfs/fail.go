package vfs

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
)

// Op is a set of operations that a Rule is about.
type Op uint32

// The operations. OpCreate is an OpenFile with O_CREATE of a file that is not there yet.
const (
	OpOpen Op = 1 << iota
	OpCreate
	OpRead
	OpWrite
	OpTruncate
	OpPreallocate
	OpSync
	OpClose
	OpRemove // Remove and RemoveAll
	OpRename
	OpMkdir
	OpReadDir
	OpStat // Stat and File.Size
	OpSyncDir
	OpLock
	OpUsage

	OpAny Op = 1<<iota - 1
)

var opNames = []string{
	"open", "create", "read", "write", "truncate", "preallocate", "sync", "close",
	"remove", "rename", "mkdir", "readdir", "stat", "syncdir", "lock", "usage",
}

// String lists the operations, joined by "|".
func (o Op) String() string {
	var names []string
	for i, name := range opNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Rule says what goes wrong, where and when. A zero Err with no other effect only counts and calls the hook.
type Rule struct {
	// Ops are the operations that it is about; 0 is OpAny.
	Ops Op

	// Path is a pattern of package path for the whole name, or, when it holds no slash, for the last part of
	// it: "*.log". Empty is every path. A rename matches by either name.
	Path string

	// Skip lets so many matching operations pass first; Times ends the rule after so many more, 0 is never.
	Skip, Times int

	// Bytes lets so many bytes of matching writes pass before the rule acts, counted over all files; the write
	// that crosses the limit is cut there. With syscall.ENOSPC as Err this is a disk that fills up.
	Bytes int64

	// Err is returned, in an *fs.PathError. It is usually a syscall.Errno.
	Err error

	// Short lets a matching read or write do only its first half, then return Err (io.ErrShortWrite or
	// io.ErrUnexpectedEOF when Err is nil).
	Short bool

	// Lie makes Sync and SyncDir return nil without syncing anything.
	Lie bool

	// Flip inverts bit FlipBit of the file (0 is the highest bit of its first byte) in what a read returns,
	// when the read covers it.
	Flip    bool
	FlipBit int64

	// Hook runs before the operation, with no lock held. It may block: that is a slow disk.
	Hook func(op Op, name string)

	// Guarded by Fail.mu.
	seen    int
	hits    int
	written int64
}

// Fail is a file system on which operations go wrong as its rules say. All rules that match an operation act,
// in order; the first error wins.
type Fail struct {
	base FS

	mu    sync.Mutex
	rules []*Rule
}

// NewFail wraps a file system.
func NewFail(base FS, rules ...*Rule) *Fail { return &Fail{base: base, rules: slices.Clone(rules)} }

// Add puts a rule in force.
func (f *Fail) Add(r *Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
}

// Clear ends all rules: the disk was repaired.
func (f *Fail) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Hits is how often a rule acted.
func (f *Fail) Hits(r *Rule) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return r.hits
}

func (r *Rule) matches(op Op, names []string) bool {
	if r.Ops != 0 && r.Ops&op == 0 {
		return false
	}
	return r.Path == "" || slices.ContainsFunc(names, func(name string) bool {
		if !strings.Contains(r.Path, "/") {
			name = path.Base(name)
		}
		ok, err := path.Match(r.Path, name)
		if err != nil {
			panic("vfs: bad pattern in a rule: " + r.Path)
		}
		return ok
	})
}

// effect is what the rules in force do to one operation.
type effect struct {
	err   error
	pass  int // of a read or write, the bytes that are done before err; -1 all
	lie   bool
	flips []int64
}

// judge counts the operation and returns what becomes of it. n is the length of a read or write.
func (f *Fail) judge(op Op, n int, names ...string) effect {
	e := effect{pass: -1}
	var hooks []func(Op, string)
	f.mu.Lock()
	for _, r := range f.rules {
		if !r.matches(op, names) {
			continue
		}
		r.seen++
		if r.seen <= r.Skip || r.Times > 0 && r.hits >= r.Times {
			continue
		}
		pass := 0
		if r.Bytes > 0 && op == OpWrite {
			if r.written+int64(n) <= r.Bytes {
				r.written += int64(n)
				continue
			}
			pass = int(r.Bytes - r.written)
			r.written = r.Bytes
		}
		r.hits++
		if r.Hook != nil {
			hooks = append(hooks, r.Hook)
		}
		err := r.Err
		if r.Short && op&(OpRead|OpWrite) != 0 {
			pass = n / 2
			if err == nil && op == OpRead {
				err = io.ErrUnexpectedEOF
			} else if err == nil {
				err = io.ErrShortWrite
			}
		}
		if err != nil && e.err == nil {
			e.err, e.pass = pathError(op.String(), names[0], err), pass
		}
		e.lie = e.lie || r.Lie
		if r.Flip {
			e.flips = append(e.flips, r.FlipBit)
		}
	}
	f.mu.Unlock()
	for _, hook := range hooks {
		hook(op, names[0])
	}
	return e
}

// OpenFile implements FS.
func (f *Fail) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	op := OpOpen
	if flag&os.O_CREATE != 0 {
		if _, err := f.base.Stat(name); err != nil {
			op = OpCreate
		}
	}
	if e := f.judge(op, 0, name); e.err != nil {
		return nil, e.err
	}
	file, err := f.base.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &failFile{File: file, f: f}, nil
}

// Remove implements FS.
func (f *Fail) Remove(name string) error {
	if e := f.judge(OpRemove, 0, name); e.err != nil {
		return e.err
	}
	return f.base.Remove(name)
}

// RemoveAll implements FS.
func (f *Fail) RemoveAll(name string) error {
	if e := f.judge(OpRemove, 0, name); e.err != nil {
		return e.err
	}
	return f.base.RemoveAll(name)
}

// Rename implements FS.
func (f *Fail) Rename(oldName, newName string) error {
	if e := f.judge(OpRename, 0, oldName, newName); e.err != nil {
		return e.err
	}
	return f.base.Rename(oldName, newName)
}

// MkdirAll implements FS.
func (f *Fail) MkdirAll(name string, perm fs.FileMode) error {
	if e := f.judge(OpMkdir, 0, name); e.err != nil {
		return e.err
	}
	return f.base.MkdirAll(name, perm)
}

// ReadDir implements FS.
func (f *Fail) ReadDir(name string) ([]fs.DirEntry, error) {
	if e := f.judge(OpReadDir, 0, name); e.err != nil {
		return nil, e.err
	}
	return f.base.ReadDir(name)
}

// Stat implements FS.
func (f *Fail) Stat(name string) (fs.FileInfo, error) {
	if e := f.judge(OpStat, 0, name); e.err != nil {
		return nil, e.err
	}
	return f.base.Stat(name)
}

// SyncDir implements FS.
func (f *Fail) SyncDir(name string) error {
	if e := f.judge(OpSyncDir, 0, name); e.err != nil || e.lie {
		return e.err
	}
	return f.base.SyncDir(name)
}

// Lock implements FS.
func (f *Fail) Lock(name string) (io.Closer, error) {
	if e := f.judge(OpLock, 0, name); e.err != nil {
		return nil, e.err
	}
	return f.base.Lock(name)
}

// Usage implements FS.
func (f *Fail) Usage(name string) (Usage, error) {
	if e := f.judge(OpUsage, 0, name); e.err != nil {
		return Usage{}, e.err
	}
	return f.base.Usage(name)
}

type failFile struct {
	File
	f *Fail
}

func (f *failFile) ReadAt(p []byte, off int64) (int, error) {
	e := f.f.judge(OpRead, len(p), f.Name())
	if e.err != nil {
		n, err := 0, error(nil)
		if e.pass > 0 {
			n, err = f.File.ReadAt(p[:e.pass], off)
		}
		if err == nil {
			err = e.err
		}
		return n, err
	}
	n, err := f.File.ReadAt(p, off)
	for _, bit := range e.flips {
		if at := bit/8 - off; at >= 0 && at < int64(n) {
			p[at] ^= 0x80 >> (bit % 8)
		}
	}
	return n, err
}

func (f *failFile) WriteAt(p []byte, off int64) (int, error) {
	e := f.f.judge(OpWrite, len(p), f.Name())
	if e.err == nil {
		return f.File.WriteAt(p, off)
	}
	n, err := 0, error(nil)
	if e.pass > 0 {
		n, err = f.File.WriteAt(p[:e.pass], off)
	}
	if err == nil {
		err = e.err
	}
	return n, err
}

func (f *failFile) Truncate(size int64) error {
	if e := f.f.judge(OpTruncate, 0, f.Name()); e.err != nil {
		return e.err
	}
	return f.File.Truncate(size)
}

func (f *failFile) Preallocate(offset, length int64) error {
	if e := f.f.judge(OpPreallocate, 0, f.Name()); e.err != nil {
		return e.err
	}
	return f.File.Preallocate(offset, length)
}

func (f *failFile) Sync() error {
	if e := f.f.judge(OpSync, 0, f.Name()); e.err != nil || e.lie {
		return e.err
	}
	return f.File.Sync()
}

func (f *failFile) Size() (int64, error) {
	if e := f.f.judge(OpStat, 0, f.Name()); e.err != nil {
		return 0, e.err
	}
	return f.File.Size()
}

func (f *failFile) Close() error {
	e := f.f.judge(OpClose, 0, f.Name())
	if err := f.File.Close(); e.err == nil { // the descriptor goes in any case, as on Linux
		return err
	}
	return e.err
}

// Fd hides the descriptor: a sendfile would pass the rules by.
func (f *failFile) Fd() (uintptr, bool) { return 0, false }

package vfs

import (
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Mem is a disk in memory that keeps two stories: what a running program sees, and what would be left after a
// power loss. The second one learns of a file's bytes from File.Sync and of names from SyncDir, and of nothing
// else: syncing a file does not make its name durable.
//
// Files are tables of pages, shared between a disk and its clones and copied when written, so that big files
// cost what was written of them and CrashClone copies no data.
type Mem struct {
	// mu guards the tree of names. Whoever changes a file's bytes holds it for reading, so that a clone, which
	// holds it for writing, is one instant of the whole disk. Lock order: mu, then memNode.mu.
	mu    sync.RWMutex
	root  *memNode
	seq   int64 // of the last operation on a directory
	locks map[*memNode]bool

	capacity atomic.Int64 // bytes; 0 is unlimited
	used     atomic.Int64 // bytes in pages that live files hold
	hook     atomic.Pointer[func(name string)]
}

// memPageSize is what a disk writes or loses as a whole, short of a torn write.
const memPageSize = 4096

// memUnlimited is the total that Usage shows when there is no capacity.
const memUnlimited = 1 << 50

// memNode is a file or a directory.
type memNode struct {
	dir  bool
	perm fs.FileMode

	// Of a file; guarded by mu.
	mu       sync.RWMutex
	modified time.Time
	size     int64
	synced   int64    // size after a power loss
	pages    [][]byte // nil is a hole. A page may be shorter than memPageSize: the rest is zeros
	// dirty maps the index of each page written since the last sync to what the disk holds there.
	// Invariant: a page that is not in dirty is the same on the disk, may be shared with clones and is never
	// written again; a page that is in dirty is this file's own.
	dirty map[int][]byte

	// Of a file; guarded by Mem.mu.
	linked bool // has a name
	opens  int

	// Of a directory; guarded by Mem.mu.
	names   map[string]*memNode // as seen
	durable map[string]*memNode // after a power loss
	pending []*dirOp            // what lies between the two, in order
}

// dirOp is one change of names. It reaches the disk as a whole or not at all.
type dirOp struct {
	seq    int64
	parts  [2]dirPart // one, or two for a rename
	done   bool
	synced [2]bool // SyncDir was called on the directory of that part
}

// dirPart says that in dir the name now stands for node; nil is nothing.
type dirPart struct {
	dir  *memNode
	name string
	node *memNode
}

// NewMem returns an empty disk without limit.
func NewMem() *Mem {
	return &Mem{root: newDir(0o755), locks: map[*memNode]bool{}}
}

func newDir(perm fs.FileMode) *memNode {
	return &memNode{
		dir: true, perm: perm, modified: time.Now(),
		names: map[string]*memNode{}, durable: map[string]*memNode{},
	}
}

// SetCapacity makes the disk full at so many bytes, counted in pages of 4 KiB; 0 is unlimited. It may be less
// than what is in use.
func (m *Mem) SetCapacity(bytes int64) { m.capacity.Store(bytes) }

// SetSyncHook has f called after every successful Sync and SyncDir with the name of what was synced, on the
// goroutine that synced and with no lock held: each call is a point after which a crash may lose no more than
// before. nil removes the hook.
func (m *Mem) SetSyncHook(f func(name string)) {
	if f == nil {
		m.hook.Store(nil)
		return
	}
	m.hook.Store(&f)
}

func (m *Mem) syncPoint(name string) {
	if f := m.hook.Load(); f != nil {
		(*f)(name)
	}
}

// reserve takes bytes from the capacity.
func (m *Mem) reserve(bytes int64) bool {
	if used := m.used.Add(bytes); bytes > 0 {
		if limit := m.capacity.Load(); limit > 0 && used > limit {
			m.used.Add(-bytes)
			return false
		}
	}
	return true
}

// clean is the form in which names are looked up: without a leading slash, "" for the root.
func clean(name string) string { return path.Clean("/" + name)[1:] }

// find returns the node of a name, or an error as a system call gives it. Needs mu.
func (m *Mem) find(name string) (*memNode, error) {
	node := m.root
	for rest := clean(name); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if !node.dir {
			return nil, syscall.ENOTDIR
		}
		if node = node.names[part]; node == nil {
			return nil, syscall.ENOENT
		}
	}
	return node, nil
}

// parent returns the directory of a name and the last part of it.
func (m *Mem) parent(name string) (*memNode, string, error) {
	dir, base := path.Split(clean(name))
	if base == "" {
		return nil, "", syscall.EBUSY // the root itself
	}
	node, err := m.find(dir)
	if err == nil && !node.dir {
		err = syscall.ENOTDIR
	}
	return node, base, err
}

// change carries out one change of names and remembers that the disk does not have it yet.
func (m *Mem) change(parts ...dirPart) {
	m.seq++
	op := &dirOp{seq: m.seq}
	op.synced[1] = len(parts) == 1 || parts[0].dir == parts[1].dir
	now := time.Now()
	for i, p := range parts {
		op.parts[i] = p
		set(p.dir.names, p.name, p.node)
		p.dir.modified = now
		if i == 0 || !op.synced[1] {
			p.dir.pending = append(p.dir.pending, op)
		}
	}
}

func set(names map[string]*memNode, name string, node *memNode) {
	if node == nil {
		delete(names, name)
	} else {
		names[name] = node
	}
}

// touches reports whether op is about one of the names that other is about.
func (op *dirOp) touches(other *dirOp) bool {
	for _, p := range op.parts {
		for _, q := range other.parts {
			if p.dir != nil && p.dir == q.dir && p.name == q.name {
				return true
			}
		}
	}
	return false
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := m.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return f, nil
}

func (m *Mem) open(name string, flag int, perm fs.FileMode) (*memFile, error) {
	if flag&os.O_APPEND != 0 {
		return nil, syscall.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.find(name)
	switch {
	case err == syscall.ENOENT && flag&os.O_CREATE != 0:
		dir, base, err := m.parent(name)
		if err != nil {
			return nil, err
		}
		node = &memNode{perm: perm.Perm(), modified: time.Now(), linked: true}
		m.change(dirPart{dir, base, node})
	case err != nil:
		return nil, err
	case flag&os.O_EXCL != 0 && flag&os.O_CREATE != 0:
		return nil, syscall.EEXIST
	case node.dir:
		return nil, syscall.EISDIR
	}
	node.opens++
	f := &memFile{m: m, node: node, name: name, access: flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR), direct: flag&Direct != 0}
	if flag&os.O_TRUNC != 0 && f.access != os.O_RDONLY {
		node.mu.Lock()
		m.truncate(node, 0)
		node.mu.Unlock()
	}
	return f, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	node := dir.names[base]
	switch {
	case node == nil:
		return pathError("remove", name, syscall.ENOENT)
	case node.dir && len(node.names) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.change(dirPart{dir, base, nil})
	m.unlinked(node)
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err == syscall.ENOENT || err == syscall.ENOTDIR {
		return nil
	}
	if err != nil {
		return pathError("removeall", name, err)
	}
	m.removeAll(dir, base)
	return nil
}

func (m *Mem) removeAll(dir *memNode, name string) {
	node := dir.names[name]
	if node == nil {
		return
	}
	for _, child := range sortedNames(node.names) {
		m.removeAll(node, child)
	}
	m.change(dirPart{dir, name, nil})
	m.unlinked(node)
}

// unlinked gives a file's pages back once it has neither a name nor a user. The bytes stay where they are: the
// disk may still remember the name.
func (m *Mem) unlinked(node *memNode) {
	node.linked = false
	m.release(node)
}

func (m *Mem) release(node *memNode) {
	if node.dir || node.linked || node.opens > 0 {
		return
	}
	node.mu.RLock()
	defer node.mu.RUnlock()
	m.used.Add(-node.held())
}

// held is what the file takes of the capacity. Needs node.mu.
func (n *memNode) held() int64 {
	var held int64
	for _, p := range n.pages {
		if p != nil {
			held += memPageSize
		}
	}
	return held
}

// Rename implements FS.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.rename(oldName, newName); err != nil {
		return pathError("rename", oldName+" to "+newName, err)
	}
	return nil
}

func (m *Mem) rename(oldName, newName string) error {
	from, oldBase, err := m.parent(oldName)
	if err != nil {
		return err
	}
	to, newBase, err := m.parent(newName)
	if err != nil {
		return err
	}
	node, old := from.names[oldBase], to.names[newBase]
	switch {
	case node == nil:
		return syscall.ENOENT
	case node == old:
		return nil
	case node.dir && strings.HasPrefix(clean(newName)+"/", clean(oldName)+"/"):
		return syscall.EINVAL
	case strings.HasPrefix(clean(oldName), clean(newName)+"/"):
		return syscall.ENOTEMPTY
	case old == nil:
	case old.dir && !node.dir:
		return syscall.EISDIR
	case !old.dir && node.dir:
		return syscall.ENOTDIR
	case old.dir && len(old.names) > 0:
		return syscall.ENOTEMPTY
	}
	m.change(dirPart{from, oldBase, nil}, dirPart{to, newBase, node})
	if old != nil {
		m.unlinked(old)
	}
	return nil
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.root
	for rest := clean(name); rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := node.names[part]
		if next == nil {
			next = newDir(perm.Perm())
			m.change(dirPart{node, part, next})
		}
		if node = next; !node.dir {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
	}
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.DirEntry, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.find(name)
	if err == nil && !node.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	entries := make([]fs.DirEntry, 0, len(node.names))
	for _, child := range sortedNames(node.names) {
		entries = append(entries, fs.FileInfoToDirEntry(node.names[child].info(child)))
	}
	return entries, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.find(name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return node.info(path.Base(name)), nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	m.mu.Lock()
	dir, err := m.find(name)
	if err == nil && !dir.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		m.mu.Unlock()
		return pathError("sync", name, err)
	}
	ops := dir.pending
	dir.pending = nil
	for _, op := range ops {
		for i := range op.parts {
			if op.parts[i].dir == dir {
				op.synced[i] = true
			}
		}
		switch {
		case op.done:
		case op.synced[0] && op.synced[1]:
			commit(op)
		default: // a rename that waits for its other directory
			dir.pending = append(dir.pending, op)
		}
	}
	m.mu.Unlock()
	m.syncPoint(name)
	return nil
}

// commit brings a change of names to the disk, and before it those that it builds upon.
func commit(op *dirOp) {
	op.done = true // before the recursion: an op meets itself in the lists
	for _, p := range op.parts {
		if p.dir == nil {
			continue
		}
		for _, earlier := range p.dir.pending {
			if !earlier.done && earlier.seq < op.seq && earlier.touches(op) {
				commit(earlier)
			}
		}
	}
	for _, p := range op.parts {
		if p.dir == nil {
			continue
		}
		if gone := p.dir.durable[p.name]; p.node == nil && gone != nil && gone.dir && op.parts[1].node != gone {
			gone.pending = nil // nobody will sync it, nor look into it
		}
		set(p.dir.durable, p.name, p.node)
	}
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	f, err := m.open(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	m.mu.Lock()
	held := m.locks[f.node]
	m.locks[f.node] = true
	m.mu.Unlock()
	if held {
		f.Close()
		return nil, pathError("lock", name, ErrLocked)
	}
	return &memLock{f: f}, nil
}

type memLock struct {
	f    *memFile
	once sync.Once
}

func (l *memLock) Close() error {
	l.once.Do(func() {
		l.f.m.mu.Lock()
		delete(l.f.m.locks, l.f.node)
		l.f.m.mu.Unlock()
	})
	return l.f.Close()
}

// Usage implements FS.
func (m *Mem) Usage(name string) (Usage, error) {
	if _, err := m.Stat(name); err != nil {
		return Usage{}, err
	}
	total := m.capacity.Load()
	if total == 0 {
		total = memUnlimited
	}
	return Usage{Total: total, Free: max(0, total-m.used.Load())}, nil
}

func sortedNames(names map[string]*memNode) []string {
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return sorted
}

// memInfo is an fs.FileInfo.
type memInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (n *memNode) info(name string) memInfo {
	n.mu.RLock()
	defer n.mu.RUnlock()
	info := memInfo{name: name, size: n.size, mode: n.perm, modified: n.modified}
	if n.dir {
		info.mode |= fs.ModeDir
	}
	return info
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }

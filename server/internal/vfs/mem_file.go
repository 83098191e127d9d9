package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// memFile is an open file of a Mem.
type memFile struct {
	m      *Mem
	node   *memNode
	name   string
	access int
	direct bool
	closed atomic.Bool
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Fd() (uintptr, bool) { return 0, false }

func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.node.opens--
	f.m.release(f.node)
	return nil
}

// check refuses a call on a closed file, or one that the file was not opened for.
func (f *memFile) check(op string, refused int, off int64) error {
	switch {
	case f.closed.Load():
		return pathError(op, f.name, fs.ErrClosed)
	case f.access == refused:
		return pathError(op, f.name, syscall.EBADF)
	case off < 0:
		return pathError(op, f.name, syscall.EINVAL)
	}
	return nil
}

func (f *memFile) Size() (int64, error) {
	if err := f.check("stat", -1, 0); err != nil {
		return 0, err
	}
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	return f.node.size, nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", os.O_WRONLY, off); err != nil {
		return 0, err
	}
	n := f.node
	n.mu.RLock()
	defer n.mu.RUnlock()
	want := len(p)
	if rest := n.size - off; int64(want) > rest {
		want = int(max(0, rest))
	}
	for done := 0; done < want; {
		at := off + int64(done)
		in := int(at % memPageSize)
		part := p[done:min(want, done+memPageSize-in)]
		copied := 0
		if page := n.page(int(at / memPageSize)); in < len(page) {
			copied = copy(part, page[in:])
		}
		clear(part[copied:])
		done += len(part)
	}
	if want < len(p) {
		return want, io.EOF
	}
	return want, nil
}

func (n *memNode) page(i int) []byte {
	if i < len(n.pages) {
		return n.pages[i]
	}
	return nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", os.O_RDONLY, off); err != nil {
		return 0, err
	}
	if f.direct && !aligned(p, off) {
		return 0, pathError("write", f.name, syscall.EINVAL) // stricter than OS: a disk may be
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	n.modified = time.Now()
	for done := 0; done < len(p); {
		at := off + int64(done)
		in := int(at % memPageSize)
		part := p[done:min(len(p), done+memPageSize-in)]
		i := int(at / memPageSize)
		if n.page(i) == nil && !f.m.reserve(memPageSize) {
			return done, pathError("write", f.name, syscall.ENOSPC)
		}
		n.writePage(i, in, part)
		done += len(part)
		n.size = max(n.size, at+int64(len(part)))
	}
	return len(p), nil
}

// writePage puts data into page i at in. The room for the page has been reserved.
func (n *memNode) writePage(i, in int, data []byte) {
	n.grow(i + 1)
	page := n.pages[i]
	own := n.touch(i)
	end := in + len(data)
	if !own || end > cap(page) {
		size := max(end, len(page))
		if in > 0 || end < memPageSize { // it will grow: an append comes in small steps
			size = min(memPageSize, max(64, 2*size))
		}
		fresh := make([]byte, len(page), size)
		copy(fresh, page)
		page = fresh
	}
	if end > len(page) {
		grown := page[:end]
		if len(page) < in {
			clear(grown[len(page):in])
		}
		page = grown
	}
	copy(page[in:], data)
	n.pages[i] = page
}

// touch notes that page i is about to differ from the disk and reports whether it did so before.
func (n *memNode) touch(i int) (own bool) {
	if _, own = n.dirty[i]; !own {
		if n.dirty == nil {
			n.dirty = map[int][]byte{}
		}
		n.dirty[i] = n.page(i)
	}
	return own
}

func (n *memNode) grow(pages int) {
	if pages > len(n.pages) {
		if pages > cap(n.pages) {
			bigger := make([][]byte, len(n.pages), max(pages, 2*len(n.pages)))
			copy(bigger, n.pages)
			n.pages = bigger
		}
		n.pages = n.pages[:pages]
	}
}

func (f *memFile) Truncate(size int64) error {
	if err := f.check("truncate", os.O_RDONLY, size); err != nil {
		return err
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.m.truncate(f.node, size)
	return nil
}

// truncate needs node.mu, and Mem.mu at least for reading.
func (m *Mem) truncate(n *memNode, size int64) {
	n.modified = time.Now()
	keep := int((size + memPageSize - 1) / memPageSize)
	for i := keep; i < len(n.pages); i++ {
		if n.pages[i] != nil {
			n.touch(i)
			n.pages[i] = nil
			m.used.Add(-memPageSize)
		}
	}
	n.pages = n.pages[:min(keep, len(n.pages))]
	if in := int(size % memPageSize); in > 0 {
		if page := n.page(keep - 1); len(page) > in {
			n.touch(keep - 1)
			n.pages[keep-1] = append(make([]byte, 0, in), page[:in]...)
		}
	}
	n.size = size
}

// WriteBack does nothing: the memory disk keeps what was not synced as long as it likes.
func (f *memFile) WriteBack() {}

// Preallocate takes the pages of the range from the capacity, all or none.
func (f *memFile) Preallocate(offset, length int64) error {
	if err := f.check("fallocate", os.O_RDONLY, min(offset, length)); err != nil {
		return err
	}
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	n := f.node
	n.mu.Lock()
	defer n.mu.Unlock()
	first, end := int(offset/memPageSize), int((offset+length+memPageSize-1)/memPageSize)
	var missing int64
	for i := first; i < end; i++ {
		if n.page(i) == nil {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	if !f.m.reserve(missing * memPageSize) {
		return pathError("fallocate", f.name, syscall.ENOSPC)
	}
	n.grow(end)
	for i := first; i < end; i++ {
		if n.pages[i] == nil {
			n.touch(i)
			n.pages[i] = []byte{}
		}
	}
	return nil
}

func (f *memFile) Sync() error {
	if err := f.check("sync", -1, 0); err != nil {
		return err
	}
	f.m.mu.RLock()
	n := f.node
	n.mu.Lock()
	n.synced = n.size
	if len(n.dirty) > 1024 {
		n.dirty = nil // a map never shrinks
	} else {
		clear(n.dirty)
	}
	n.mu.Unlock()
	f.m.mu.RUnlock()
	f.m.syncPoint(f.name)
	return nil
}

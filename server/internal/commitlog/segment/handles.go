package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Handles keeps the files of one log directory open that are in use or were used last, so that a node with a
// million files needs no million descriptors. At most limit files stay open while some of them can be closed:
//
//   - a pinned one (between Acquire and Release) is never closed;
//   - a dirty one (written to, not yet synced) is closed only after it was synced, and only when no clean one is
//     left to close;
//   - of the others, the least recently used goes first.
//
// When every open file is pinned the limit is exceeded rather than a request failed; Open tells by how much.
type Handles struct {
	fsys   vfs.FS
	limit  int
	holder holder

	mu   sync.Mutex
	open int
	// Rings of the open, unpinned handles, most recently used first. A pinned handle is on neither.
	clean, dirty Handle
}

// NewHandles makes an empty cache that keeps about limit files open.
func NewHandles(fsys vfs.FS, limit int) *Handles {
	hs := &Handles{fsys: fsys, limit: max(limit, 1)}
	hs.clean.prev, hs.clean.next = &hs.clean, &hs.clean
	hs.dirty.prev, hs.dirty.next = &hs.dirty, &hs.dirty
	return hs
}

// FS is the file system that the files are on.
func (hs *Handles) FS() vfs.FS { return hs.fsys }

// Open returns how many files are open now.
func (hs *Handles) Open() int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.open
}

// Limit returns how many files are kept open when none of them is pinned.
func (hs *Handles) Limit() int { return hs.limit }

// Handle stands for one file, open or not. It costs no descriptor until Acquire.
type Handle struct {
	cache *Handles

	// opening is locked while the file is opened, so that it is opened once, and while what is held is added to or written.
	opening sync.Mutex
	listed  bool // by the holder, whose mu guards it

	// Guarded by cache.mu.
	path       string
	file       vfs.File // nil while closed
	pins       int32
	isDirty    bool
	writes     uint32 // how often MarkDirty was called: tells a sync whether something came after it
	removed    bool   // close as soon as nobody has it pinned
	err        error  // of a sync that failed while the file was closed to make room: final
	held       *held  // what the file does not have yet; nil while it is pinned
	prev, next *Handle
}

// NewHandle returns the handle of a file, which is not touched.
func (hs *Handles) NewHandle(path string) *Handle { return &Handle{cache: hs, path: path} }

// Path is where the file is now.
func (h *Handle) Path() string {
	h.cache.mu.Lock()
	defer h.cache.mu.Unlock()
	return h.path
}

func (h *Handle) unlink() {
	if h.next != nil {
		h.prev.next, h.next.prev = h.next, h.prev
		h.prev, h.next = nil, nil
	}
}

func (h *Handle) pushTo(ring *Handle) {
	h.prev, h.next = ring, ring.next
	ring.next.prev = h
	ring.next = h
}

// Flags to open a file with.
const (
	openExisting = os.O_RDWR
	openOrCreate = os.O_RDWR | os.O_CREATE
)

// Acquire opens the file if need be and pins it until Release, for reading and writing. One that is missing is
// fs.ErrNotExist: somebody took it away, and a new one in its place would lack what it held.
func (h *Handle) Acquire() (vfs.File, error) { return h.acquire(openExisting) }

// AcquireOrCreate is Acquire for a file that may not be there yet.
func (h *Handle) AcquireOrCreate() (vfs.File, error) { return h.acquire(openOrCreate) }

func (h *Handle) acquire(flag int) (vfs.File, error) {
	if f, err := h.pin(false); f != nil || err != nil {
		return f, err
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	return h.acquireLocked(flag)
}

// acquireLocked is acquire for those who have opening locked.
func (h *Handle) acquireLocked(flag int) (vfs.File, error) {
	f, err := h.pin(true)
	if f == nil && err == nil {
		f, err = h.open(flag)
	}
	if err != nil {
		return nil, err
	}
	if err := h.writeHeld(); err != nil {
		h.Release()
		return nil, err
	}
	return f, nil
}

// open opens the file, pinned. The caller has opening locked.
func (h *Handle) open(flag int) (vfs.File, error) {
	hs := h.cache
	if err := hs.makeRoom(); err != nil {
		return nil, err
	}
	f, err := hs.fsys.OpenFile(h.Path(), flag, 0o644)
	if err != nil {
		return nil, err
	}
	hs.mu.Lock()
	h.file, h.pins = f, 1
	hs.open++
	hs.mu.Unlock()
	return f, nil
}

// pin pins the file if it is open and, unless the caller sees to what is held, nothing is held of it.
func (h *Handle) pin(seesToHeld bool) (vfs.File, error) {
	hs := h.cache
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if h.err != nil {
		return nil, h.err
	}
	if h.file == nil || h.held != nil && !seesToHeld {
		return nil, nil
	}
	if h.pins == 0 {
		h.unlink()
	}
	h.pins++
	return h.file, nil
}

// Release gives a pin back.
func (h *Handle) Release() {
	hs := h.cache
	hs.mu.Lock()
	h.pins--
	if h.pins < 0 {
		hs.mu.Unlock()
		panic("segment: a handle was released more often than acquired")
	}
	var closing vfs.File
	if h.pins == 0 {
		switch {
		case h.removed:
			closing, h.file, h.removed = h.file, nil, false
			hs.open--
		case h.isDirty:
			h.pushTo(&hs.dirty)
		default:
			h.pushTo(&hs.clean)
		}
	}
	over := hs.open > hs.limit
	hs.mu.Unlock()
	if closing != nil {
		closing.Close()
	}
	if over {
		hs.makeRoom() // an error stays with the handle it belongs to
	}
}

// MarkDirty says that the file was written to. The caller has it pinned.
func (h *Handle) MarkDirty() {
	h.cache.mu.Lock()
	h.isDirty = true
	h.writes++
	h.cache.mu.Unlock()
}

// MarkClean says that all that was written is synced.
func (h *Handle) MarkClean() {
	hs := h.cache
	hs.mu.Lock()
	h.isDirty = false
	if h.pins == 0 && h.file != nil {
		h.unlink()
		h.pushTo(&hs.clean)
	}
	hs.mu.Unlock()
}

// WriteBack begins to bring what was written to the disk, if the file is open, and what is held in any case.
func (h *Handle) WriteBack() {
	h.write() // an error comes again, to who syncs
	if f, _ := h.pin(false); f != nil {
		defer h.Release()
		f.WriteBack()
	}
}

// Sync makes what was written durable. A failed sync is final for the handle.
func (h *Handle) Sync() error {
	f, err := h.Acquire()
	if err != nil {
		return err
	}
	defer h.Release()
	if err := f.Sync(); err != nil {
		h.cache.mu.Lock()
		h.err = err
		h.cache.mu.Unlock()
		return err
	}
	return nil
}

// Rename moves the file. Those who have it pinned keep it.
func (h *Handle) Rename(path string) error {
	h.opening.Lock()
	defer h.opening.Unlock()
	if err := h.cache.fsys.Rename(h.Path(), path); err != nil {
		return err
	}
	h.Moved(path)
	return nil
}

// Moved says that the file has another path now, because its directory was renamed.
func (h *Handle) Moved(path string) {
	h.cache.mu.Lock()
	h.path = path
	h.cache.mu.Unlock()
}

// Remove unlinks the file. Those who have it pinned can go on reading it; a missing file is no error.
func (h *Handle) Remove() error {
	err := h.cache.fsys.Remove(h.Path())
	if isNotExist(err) {
		err = nil
	}
	h.Close()
	return err
}

// Close gives the descriptor up, now or when the last pin is released. The handle stays usable. What is held is given up,
// too: a file that is to keep it was synced before.
func (h *Handle) Close() {
	hs := h.cache
	hs.mu.Lock()
	holds := h.held != nil
	hs.mu.Unlock()
	if holds {
		h.giveUpHeld()
	}
	hs.mu.Lock()
	var closing vfs.File
	switch {
	case h.file == nil:
	case h.pins > 0:
		h.removed = true
	default:
		h.unlink()
		closing, h.file = h.file, nil
		hs.open--
	}
	h.isDirty = false
	hs.mu.Unlock()
	if closing != nil {
		closing.Close()
	}
}

// makeRoom closes files until one more may be opened, or all that are left are pinned.
func (hs *Handles) makeRoom() error {
	for {
		hs.mu.Lock()
		if hs.open < hs.limit {
			hs.mu.Unlock()
			return nil
		}
		if h := hs.clean.prev; h != &hs.clean {
			h.unlink()
			f := h.file
			h.file = nil
			hs.open--
			hs.mu.Unlock()
			f.Close()
			continue
		}
		h := hs.dirty.prev
		if h == &hs.dirty {
			hs.mu.Unlock()
			return nil
		}
		h.unlink()
		h.pins++
		f, writes := h.file, h.writes
		hs.mu.Unlock()
		err := f.Sync()
		hs.mu.Lock()
		if err != nil {
			h.err = fmt.Errorf("sync %s: %w", h.path, err)
		}
		h.pins--
		if h.pins > 0 || h.writes != writes && err == nil { // in use again: it is not the one to close
			if h.pins == 0 {
				h.pushTo(&hs.dirty)
			}
			hs.mu.Unlock()
			continue
		}
		h.file = nil
		h.isDirty = false
		hs.open--
		hs.mu.Unlock()
		f.Close()
	}
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

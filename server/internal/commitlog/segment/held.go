package segment

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/server/internal/budget"
)

// Holding lets the files of a directory hold their ends in memory for a while: of a log that many small batches are
// appended to, and that is durable by other means than its file (replica's journal), the batches are written together.
//
//	file    ┌──────────────────────────────┐
//	        │ written                      │
//	        └──────────────────────────────┘
//	held                                   ┌───────┬────────────┬────┬ ─ ─ ┐
//	                                       │ batch │ batch      │ .. │         up to heldMost
//	                                       └───────┴────────────┴────┴ ─ ─ ┘
//
// Nobody sees the difference: who acquires a file finds all of it there, and while somebody has it nothing is held. What is
// held is written at the latest after HeldFor, so that a look at the files of a living node from outside shows nearly all.
type Holding struct {
	// Budget pays for the memory. Without one nothing is held.
	Budget *budget.Budget
	// Limit is how many bytes all files of the directory hold together, at most.
	Limit int64
	// Insist runs a write for which there was room on the disk when its bytes were accepted, and makes room for it if it
	// can. nil runs it once.
	Insist func(write func() error) error
	// Later runs f once, after a delay, unless the directory closes before.
	Later func(delay time.Duration, f func())
}

const (
	// HeldFor is for how long bytes are held, up to twice of it.
	HeldFor = 200 * time.Millisecond
	// heldMost is how much a file holds, heldBatch the largest append that is held: what a larger one costs is not the call.
	heldMost  = 64 << 10
	heldBatch = 32 << 10
	// heldFirst is the size of a file's first buffer; the next one is heldGrowth times as large.
	heldFirst  = 4 << 10
	heldGrowth = 4
)

// ErrHeld is wrapped by the error of who needs a file whose held bytes the disk had no room for. They stay in memory.
var ErrHeld = errors.New("the disk has no room for bytes that are held in memory")

// holder is the part of Handles that holds.
type holder struct {
	Holding
	bytes atomic.Int64 // of all buffers

	mu       sync.Mutex
	listed   []*Handle // each file that holds something, once; some that do not any more
	sweeping bool      // Later has been asked
}

// held is what a file holds. The handle's opening lock is held by who looks at it, cache.mu too by who sets the handle's
// pointer to it.
type held struct {
	at     int64 // where in the file it belongs: at its end
	n      int
	buffer *budget.Buffer
}

func (t *held) bytes() []byte { return t.buffer.Bytes()[:t.n] }

// SetHolding is called before the first file is used.
func (hs *Handles) SetHolding(h Holding) { hs.holder.Holding = h }

// Held returns how many bytes of memory the files hold.
func (hs *Handles) Held() int64 { return hs.holder.bytes.Load() }

// buffer lends a buffer of n bytes; nil when that is too much.
func (o *holder) buffer(n int) *budget.Buffer {
	if o.Budget == nil || o.bytes.Add(int64(n)) > o.Limit {
		o.bytes.Add(int64(-n))
		return nil
	}
	b, ok := o.Budget.TryGet(n)
	if !ok {
		o.bytes.Add(int64(-n))
		return nil
	}
	return b
}

func (o *holder) release(b *budget.Buffer) {
	o.bytes.Add(int64(-len(b.Bytes())))
	b.Release()
}

// note puts a file on the list of those to write after a while.
func (o *holder) note(h *Handle) {
	o.mu.Lock()
	first := !o.sweeping
	o.sweeping = true
	if !h.listed {
		h.listed = true
		o.listed = append(o.listed, h)
	}
	o.mu.Unlock()
	if first && o.Later != nil {
		o.Later(HeldFor, o.sweep)
	}
}

// sweep writes what is held. What cannot be written stays held, and whoever needs it is told why.
func (o *holder) sweep() {
	o.mu.Lock()
	listed := o.listed
	o.listed = nil
	for _, h := range listed {
		h.listed = false
	}
	o.mu.Unlock()
	var still []*Handle
	for _, h := range listed {
		// One that somebody has at hand may hang: the others do not wait for it.
		if !h.opening.TryLock() {
			still = append(still, h)
			continue
		}
		if h.writeLocked() != nil {
			still = append(still, h)
		}
		h.opening.Unlock()
	}
	o.mu.Lock()
	for _, h := range still {
		if !h.listed {
			h.listed = true
			o.listed = append(o.listed, h)
		}
	}
	again := len(o.listed) > 0
	o.sweeping = again
	o.mu.Unlock()
	if again {
		o.Later(HeldFor, o.sweep)
	}
}

// Hold takes b, to be written at position at, the end of the file, by who acquires the file next. It reports false when b
// must be written now. An error says that what was held before could not be written; b was not taken.
func (h *Handle) Hold(b []byte, at int64) (bool, error) {
	hs := h.cache
	if hs.holder.Budget == nil || len(b) > heldBatch {
		return false, nil
	}
	h.opening.Lock()
	defer h.opening.Unlock()
	hs.mu.Lock()
	t, err := h.held, h.err
	hs.mu.Unlock()
	if err != nil {
		return false, err
	}
	if t != nil {
		t.n = int(at - t.at) // what was taken last may not have become part of the file
	}
	if t != nil && !t.makeRoom(&hs.holder, len(b)) {
		if _, err := h.acquireLocked(openExisting); err != nil {
			return false, err
		}
		h.Release()
		t = nil
	}
	if t == nil {
		if t = h.beginHolding(len(b), at); t == nil {
			return false, nil
		}
	}
	copy(t.buffer.Bytes()[t.n:], b)
	t.n += len(b)
	return true, nil
}

// makeRoom makes the buffer larger, if it must for n bytes more and can.
func (t *held) makeRoom(o *holder, n int) bool {
	size := len(t.buffer.Bytes())
	if n += t.n; n <= size {
		return true
	}
	for size < n {
		size *= heldGrowth
	}
	if size > heldMost {
		return false
	}
	larger := o.buffer(size)
	if larger == nil {
		return false
	}
	copy(larger.Bytes(), t.bytes())
	o.release(t.buffer)
	t.buffer = larger
	return true
}

// beginHolding makes the file hold up to n bytes and more; nil when that cannot be: there is no memory, or somebody has
// the file.
func (h *Handle) beginHolding(n int, at int64) *held {
	size := heldFirst
	for size < n {
		size *= heldGrowth
	}
	hs := h.cache
	buffer := hs.holder.buffer(size)
	if buffer == nil {
		return nil
	}
	t := &held{at: at, buffer: buffer}
	hs.mu.Lock()
	pinned := h.pins > 0 // meanwhile
	if !pinned {
		h.held = t
	}
	hs.mu.Unlock()
	if pinned {
		hs.holder.release(buffer)
		return nil
	}
	hs.holder.note(h)
	return t
}

// ReadAt reads len(p) bytes at a position of the file. What is held stays so.
func (h *Handle) ReadAt(p []byte, position int64) error {
	h.opening.Lock()
	defer h.opening.Unlock()
	if t := h.held; t != nil && position+int64(len(p)) > t.at {
		behind := max(t.at-position, 0)
		copy(p[behind:], t.bytes()[position+behind-t.at:])
		p = p[:behind]
	}
	if len(p) == 0 {
		return nil
	}
	f, err := h.pin(true)
	if f == nil && err == nil {
		f, err = h.open(openExisting)
	}
	if err != nil {
		return err
	}
	defer h.Release()
	_, err = f.ReadAt(p, position)
	return err
}

// write writes what is held.
func (h *Handle) write() error {
	h.opening.Lock()
	defer h.opening.Unlock()
	return h.writeLocked()
}

// writeLocked is write for those who have opening locked.
func (h *Handle) writeLocked() error {
	if h.held == nil {
		return nil
	}
	_, err := h.acquireLocked(openExisting)
	if err == nil {
		h.Release()
	}
	return err
}

// writeHeld writes what is held into the file, which the caller has pinned, with opening locked.
func (h *Handle) writeHeld() error {
	hs, t := h.cache, h.held
	if t == nil {
		return nil
	}
	h.MarkDirty()
	write := func() error {
		_, err := h.file.WriteAt(t.bytes(), t.at)
		return err
	}
	err := error(nil)
	if insist := hs.holder.Insist; insist != nil {
		err = insist(write)
	} else {
		err = write()
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrHeld, err)
	}
	if err != nil {
		hs.mu.Lock()
		h.err = err // what the file has of it is not known
		hs.mu.Unlock()
		return err
	}
	h.endHolding()
	return nil
}

// endHolding says that nothing is held any more. The caller has opening locked.
func (h *Handle) endHolding() {
	hs, t := h.cache, h.held
	hs.mu.Lock()
	h.held = nil
	hs.mu.Unlock()
	hs.holder.release(t.buffer)
}

// giveUpHeld forgets what is held.
func (h *Handle) giveUpHeld() {
	h.opening.Lock()
	defer h.opening.Unlock()
	if h.held != nil {
		h.endHolding()
	}
}

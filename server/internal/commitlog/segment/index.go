package segment

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrIndexCorrupt is wrapped by what reading an index returns when its bytes cannot be those of an index. The
// remedy is to rebuild it from the log.
var ErrIndexCorrupt = errors.New("corrupt index")

// CorruptIndexError says that an index of the segment with that base contradicts its batches. It is an ErrIndexCorrupt;
// Reindex makes the indexes anew.
type CorruptIndexError struct {
	Base   int64
	Reason string
}

func (e *CorruptIndexError) Error() string {
	return fmt.Sprintf("segment %d: %v: %s", e.Base, ErrIndexCorrupt, e.Reason)
}

// Unwrap makes it an ErrIndexCorrupt.
func (e *CorruptIndexError) Unwrap() error { return ErrIndexCorrupt }

// pageBytes is how much of an index is read or written at once.
const pageBytes = 4096

var pages = sync.Pool{New: func() any { return new([pageBytes]byte) }}

// index is what the offset index and the time index have in common: entries of one size, ascending, appended by
// one writer and looked up by many readers. The newest entries are in memory until a page of them is full.
//
//	file [ e0 e1 e2 ... e(stored-1) ]  tail [ e(stored) ... ]
type index struct {
	h     *Handle
	width int // bytes of an entry

	mu     sync.Mutex
	loaded bool // stored is known
	stored int  // entries in the file
	tail   []byte
	dirty  bool // the file was written to since the last sync
	// last is a copy of the newest entry, when there is one and loaded is true.
	last [16]byte
}

// load finds out how many entries the file has. Zeros at the end are not entries: Kafka leaves them when it
// stops without warning, since it makes the file as large as it may become and cuts it when it is sealed.
// x.mu is held.
func (x *index) load() error {
	if x.loaded {
		return nil
	}
	f, err := x.h.Acquire()
	if isNotExist(err) {
		x.loaded = true
		return nil
	}
	if err != nil {
		return err
	}
	defer x.h.Release()
	size, err := f.Size()
	if err != nil {
		return err
	}
	n := int(size) / x.width
	// One zero entry that is the only one can be true of a time index: timestamp 0 at the base offset.
	if n > 1 || x.width == offsetEntryBytes {
		if n, err = x.withoutZeros(f, n); err != nil {
			return err
		}
	}
	if n > 0 {
		if _, err := f.ReadAt(x.last[:x.width], int64(n-1)*int64(x.width)); err != nil {
			return fmt.Errorf("read the last entry of %s: %w", x.h.Path(), err)
		}
	}
	x.stored, x.loaded = n, true
	return nil
}

func (x *index) withoutZeros(f io.ReaderAt, n int) (int, error) {
	page := pages.Get().(*[pageBytes]byte)
	defer pages.Put(page)
	per := pageBytes / x.width
	for n > 0 {
		from := max(0, n-per)
		b := page[:(n-from)*x.width]
		if _, err := f.ReadAt(b, int64(from)*int64(x.width)); err != nil {
			return 0, fmt.Errorf("read %s: %w", x.h.Path(), err)
		}
		for n > from {
			for _, c := range b[(n-1-from)*x.width : (n-from)*x.width] {
				if c != 0 {
					return n, nil
				}
			}
			n--
		}
	}
	return 0, nil
}

func (x *index) count() (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.load()
	return x.stored + len(x.tail)/x.width, err
}

// lastEntry copies the newest entry; ok is false for an empty index.
func (x *index) lastEntry() (e [16]byte, ok bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return e, false, err
	}
	return x.last, x.stored > 0 || len(x.tail) > 0, nil
}

// push appends an entry. A full page is written out; an error is that of the write.
func (x *index) push(entry []byte) error {
	x.mu.Lock()
	if err := x.load(); err != nil {
		x.mu.Unlock()
		return err
	}
	if x.tail == nil {
		x.tail = make([]byte, 0, 64*x.width)
	}
	x.tail = append(x.tail, entry...)
	copy(x.last[:], entry)
	full := len(x.tail)+x.width > pageBytes
	x.mu.Unlock()
	if full {
		return x.store()
	}
	return nil
}

// store writes the entries that are in memory to the file. There is one writer, so the tail does not change
// between the write and the bookkeeping.
func (x *index) store() error {
	x.mu.Lock()
	if err := x.load(); err != nil {
		x.mu.Unlock()
		return err
	}
	tail, at := x.tail, int64(x.stored)*int64(x.width)
	x.mu.Unlock()
	if len(tail) == 0 {
		return nil
	}
	f, err := x.h.AcquireOrCreate()
	if err != nil {
		return err
	}
	defer x.h.Release()
	if _, err := f.WriteAt(tail, at); err != nil {
		return fmt.Errorf("write %s: %w", x.h.Path(), err)
	}
	x.h.MarkDirty()
	x.mu.Lock()
	x.stored += len(tail) / x.width
	x.tail = x.tail[:0]
	x.dirty = true
	x.mu.Unlock()
	return nil
}

// seal writes everything out and cuts what is in the file beyond: zeros of Kafka's, or entries of before a
// truncation. It leaves a file even when there is no entry, which is how Kafka leaves a segment.
func (x *index) seal() error {
	if err := x.store(); err != nil {
		return err
	}
	x.mu.Lock()
	want := int64(x.stored) * int64(x.width)
	x.mu.Unlock()
	f, err := x.h.AcquireOrCreate()
	if err != nil {
		return err
	}
	defer x.h.Release()
	size, err := f.Size()
	if err != nil || size == want {
		return err
	}
	if err := f.Truncate(want); err != nil {
		return fmt.Errorf("cut %s: %w", x.h.Path(), err)
	}
	x.h.MarkDirty()
	x.mu.Lock()
	x.dirty = true
	x.mu.Unlock()
	return nil
}

// sync makes what was stored durable.
func (x *index) sync() error {
	x.mu.Lock()
	dirty := x.dirty
	x.dirty = false
	x.mu.Unlock()
	if !dirty {
		return nil
	}
	if err := x.h.Sync(); err != nil && !isNotExist(err) {
		return fmt.Errorf("sync %s: %w", x.h.Path(), err)
	}
	x.h.MarkClean()
	return nil
}

func (x *index) unsynced() {
	x.mu.Lock()
	x.dirty = true
	x.mu.Unlock()
}

// truncate keeps the first n entries.
func (x *index) truncate(n int) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return err
	}
	if n >= x.stored {
		if keep := (n - x.stored) * x.width; keep < len(x.tail) {
			x.tail = x.tail[:keep]
		}
	} else {
		f, err := x.h.Acquire()
		if err != nil {
			return err
		}
		defer x.h.Release()
		if err := f.Truncate(int64(n) * int64(x.width)); err != nil {
			return fmt.Errorf("cut %s: %w", x.h.Path(), err)
		}
		x.h.MarkDirty()
		x.stored, x.tail, x.dirty = n, x.tail[:0], true
	}
	x.last = [16]byte{}
	switch {
	case len(x.tail) > 0:
		copy(x.last[:], x.tail[len(x.tail)-x.width:])
	case x.stored > 0:
		f, err := x.h.Acquire()
		if err != nil {
			return err
		}
		defer x.h.Release()
		if _, err := f.ReadAt(x.last[:x.width], int64(x.stored-1)*int64(x.width)); err != nil {
			return fmt.Errorf("read %s: %w", x.h.Path(), err)
		}
	}
	return nil
}

// reset forgets every entry, those in the file too, whatever state that is in.
func (x *index) reset() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stored, x.tail, x.loaded, x.last = 0, x.tail[:0], true, [16]byte{}
	f, err := x.h.Acquire()
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.h.Release()
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("empty %s: %w", x.h.Path(), err)
	}
	x.h.MarkDirty()
	x.dirty = true
	return nil
}

// search returns the last entry that is not after what is looked for, and its number: -1 when all are after.
func (x *index) search(after func(entry []byte) bool) (e [16]byte, at int, err error) {
	x.mu.Lock()
	if err := x.load(); err != nil {
		x.mu.Unlock()
		return e, -1, err
	}
	if n := len(x.tail) / x.width; n > 0 && !after(x.tail[:x.width]) {
		lo, hi := 0, n // entry lo is not after, entry hi is
		for hi-lo > 1 {
			if mid := (lo + hi) / 2; after(x.tail[mid*x.width : (mid+1)*x.width]) {
				hi = mid
			} else {
				lo = mid
			}
		}
		copy(e[:], x.tail[lo*x.width:(lo+1)*x.width])
		at = x.stored + lo
		x.mu.Unlock()
		return e, at, nil
	}
	stored := x.stored
	x.mu.Unlock()
	if stored == 0 {
		return e, -1, nil
	}

	f, err := x.h.Acquire()
	if err != nil {
		return e, -1, err
	}
	defer x.h.Release()
	page := pages.Get().(*[pageBytes]byte)
	defer pages.Put(page)
	per := pageBytes / x.width
	at = -1
	for lo, hi := 0, stored; lo < hi; { // what is looked for is at lo-1 or in [lo, hi)
		from := min(max(lo, (lo+hi-per)/2), hi)
		n := min(per, hi-from)
		got, err := f.ReadAt(page[:n*x.width], int64(from)*int64(x.width))
		if err != nil && err != io.EOF {
			return e, -1, fmt.Errorf("read %s: %w", x.h.Path(), err)
		}
		if got/x.width < n { // cut meanwhile
			if n = got / x.width; n == 0 {
				hi = from
				continue
			}
			hi = from + n
		}
		if after(page[:x.width]) {
			hi = from
			continue
		}
		l, h := 0, n
		for h-l > 1 {
			if mid := (l + h) / 2; after(page[mid*x.width : (mid+1)*x.width]) {
				h = mid
			} else {
				l = mid
			}
		}
		copy(e[:], page[l*x.width:(l+1)*x.width])
		at = from + l
		if h < n {
			break
		}
		lo = from + n
	}
	return e, at, nil
}

// each calls fn for every entry in order, until it returns false.
func (x *index) each(fn func(i int, entry []byte) bool) error {
	x.mu.Lock()
	if err := x.load(); err != nil {
		x.mu.Unlock()
		return err
	}
	stored, tail := x.stored, append([]byte(nil), x.tail...)
	x.mu.Unlock()
	if stored > 0 {
		f, err := x.h.Acquire()
		if err != nil {
			return err
		}
		defer x.h.Release()
		page := pages.Get().(*[pageBytes]byte)
		defer pages.Put(page)
		per := pageBytes / x.width
		for i := 0; i < stored; i += per {
			n := min(per, stored-i)
			if _, err := f.ReadAt(page[:n*x.width], int64(i)*int64(x.width)); err != nil {
				return fmt.Errorf("read %s: %w", x.h.Path(), err)
			}
			for j := range n {
				if !fn(i+j, page[j*x.width:(j+1)*x.width]) {
					return nil
				}
			}
		}
	}
	for j := range len(tail) / x.width {
		if !fn(stored+j, tail[j*x.width:(j+1)*x.width]) {
			return nil
		}
	}
	return nil
}

package segment

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// TxnEntryBytes is the size of an entry of a .txnindex file, which exists only in segments that hold the marker of
// an aborted transaction:
//
//	0         2             10             18            26                   34
//	+---------+-------------+--------------+-------------+--------------------+
//	| version | producer id | first offset | last offset | last stable offset |
//	+---------+-------------+--------------+-------------+--------------------+
//
// version is 0, the rest int64, all big-endian. last offset is that of the abort marker; the entries ascend by it.
// last stable offset is what it became when the transaction was aborted: no transaction that began below it is
// found behind this entry.
const TxnEntryBytes = 34

// AbortedTxn is one aborted transaction of one producer in this partition.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64 // of its first record
	LastOffset       int64 // of its abort marker
	LastStableOffset int64 // just after it was aborted
}

// AppendTo appends the entry as a .txnindex file has it.
func (t AbortedTxn) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(t.ProducerID))
	b = binary.BigEndian.AppendUint64(b, uint64(t.FirstOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(t.LastOffset))
	return binary.BigEndian.AppendUint64(b, uint64(t.LastStableOffset))
}

// ParseAbortedTxn reads one entry.
func ParseAbortedTxn(b []byte) (AbortedTxn, error) {
	if len(b) < TxnEntryBytes {
		return AbortedTxn{}, fmt.Errorf("%w: %d bytes are no entry of a transaction index", ErrIndexCorrupt, len(b))
	}
	if v := binary.BigEndian.Uint16(b); v != 0 {
		return AbortedTxn{}, fmt.Errorf("%w: version %d of a transaction index entry is not known", ErrIndexCorrupt, v)
	}
	return AbortedTxn{
		ProducerID:       int64(binary.BigEndian.Uint64(b[2:])),
		FirstOffset:      int64(binary.BigEndian.Uint64(b[10:])),
		LastOffset:       int64(binary.BigEndian.Uint64(b[18:])),
		LastStableOffset: int64(binary.BigEndian.Uint64(b[26:])),
	}, nil
}

// TxnIndex lists the transactions whose abort marker is in the segment. Aborts are rare, so each is written at
// once and the file is read as a whole.
type TxnIndex struct {
	h    *Handle
	base int64 // of the segment

	mu     sync.Mutex
	loaded bool
	size   int64 // bytes of whole entries; 0 when there is no file
	dirty  bool
}

// OpenTxnIndex makes the index of a segment; no file is touched before it is needed.
func OpenTxnIndex(h *Handle, base int64) *TxnIndex { return &TxnIndex{h: h, base: base} }

// load finds the size. x.mu is held.
func (x *TxnIndex) load() error {
	if x.loaded {
		return nil
	}
	info, err := x.h.cache.fsys.Stat(x.h.Path())
	switch {
	case isNotExist(err):
	case err != nil:
		return err
	default:
		x.size = info.Size() - info.Size()%TxnEntryBytes
	}
	x.loaded = true
	return nil
}

// Append adds a transaction.
func (x *TxnIndex) Append(t AbortedTxn) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.load(); err != nil {
		return err
	}
	f, err := x.h.AcquireOrCreate()
	if err != nil {
		return err
	}
	defer x.h.Release()
	if _, err := f.WriteAt(t.AppendTo(nil), x.size); err != nil {
		return fmt.Errorf("write %s: %w", x.h.Path(), err)
	}
	x.h.MarkDirty()
	x.size += TxnEntryBytes
	x.dirty = true
	return nil
}

// All returns every entry in order.
func (x *TxnIndex) All() ([]AbortedTxn, error) {
	x.mu.Lock()
	err := x.load()
	size := x.size
	x.mu.Unlock()
	if err != nil || size == 0 {
		return nil, err
	}
	f, err := x.h.Acquire()
	if err != nil {
		return nil, err
	}
	defer x.h.Release()
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read %s: %w", x.h.Path(), err)
	}
	all := make([]AbortedTxn, 0, n/TxnEntryBytes)
	for b = b[:n]; len(b) >= TxnEntryBytes; b = b[TxnEntryBytes:] {
		t, err := ParseAbortedTxn(b)
		if err != nil {
			return all, fmt.Errorf("%s: entry %d: %w", x.h.Path(), len(all), err)
		}
		all = append(all, t)
	}
	return all, nil
}

// Collect appends the transactions that a reader of [from, to) must know of. done says that no later segment can
// hold one.
func (x *TxnIndex) Collect(dst []AbortedTxn, from, to int64) (all []AbortedTxn, done bool, err error) {
	entries, err := x.All()
	if err != nil {
		return dst, false, err
	}
	for _, t := range entries {
		if t.LastOffset >= from && t.FirstOffset < to {
			dst = append(dst, t)
		}
		if t.LastStableOffset >= to {
			return dst, true, nil
		}
	}
	return dst, false, nil
}

// TruncateTo drops the transactions whose marker lies at or behind an offset.
func (x *TxnIndex) TruncateTo(offset int64) error {
	entries, err := x.All()
	if err != nil {
		return err
	}
	n := len(entries)
	for n > 0 && entries[n-1].LastOffset >= offset {
		n--
	}
	if n == len(entries) {
		return nil
	}
	return x.cut(int64(n) * TxnEntryBytes)
}

// Reset drops every entry, whatever state the file is in.
func (x *TxnIndex) Reset() error {
	x.mu.Lock()
	err := x.load()
	x.mu.Unlock()
	if err != nil {
		return err
	}
	return x.cut(0)
}

func (x *TxnIndex) cut(size int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, err := x.h.Acquire()
	if isNotExist(err) {
		x.size = 0
		return nil
	}
	if err != nil {
		return err
	}
	defer x.h.Release()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("cut %s: %w", x.h.Path(), err)
	}
	x.h.MarkDirty()
	x.size, x.dirty = size, true
	return nil
}

// Verify checks that every entry can be true and that they ascend.
func (x *TxnIndex) Verify() error {
	x.mu.Lock()
	x.loaded, x.size = false, 0
	err := x.load()
	x.mu.Unlock()
	if err != nil {
		return err
	}
	if info, err := x.h.cache.fsys.Stat(x.h.Path()); err == nil && info.Size()%TxnEntryBytes != 0 {
		return fmt.Errorf("%w: %s has %d bytes, not a multiple of %d", ErrIndexCorrupt, x.h.Path(), info.Size(), TxnEntryBytes)
	}
	entries, err := x.All()
	if err != nil {
		return err
	}
	for i, t := range entries {
		if t.FirstOffset >= t.LastOffset || t.FirstOffset < 0 || t.LastOffset < x.base || t.LastStableOffset < 0 || t.LastStableOffset > t.LastOffset+1 {
			return fmt.Errorf("%w: %s: entry %d cannot be true: %+v", ErrIndexCorrupt, x.h.Path(), i, t)
		}
		if i > 0 && t.LastOffset <= entries[i-1].LastOffset {
			return fmt.Errorf("%w: %s: entry %d (last offset %d) does not lie behind the one before it (%d)",
				ErrIndexCorrupt, x.h.Path(), i, t.LastOffset, entries[i-1].LastOffset)
		}
	}
	return nil
}

// Sync makes what was written durable.
func (x *TxnIndex) Sync() error {
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

func (x *TxnIndex) unsynced() {
	x.mu.Lock()
	x.dirty = true
	x.mu.Unlock()
}

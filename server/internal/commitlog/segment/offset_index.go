package segment

import (
	"encoding/binary"
	"fmt"
)

// offsetEntryBytes is the size of an entry of an .index file:
//
//	0        4          8
//	+--------+----------+
//	| offset | position |   both int32, big-endian
//	+--------+----------+
//
// offset is the last offset of a batch, relative to the segment's base offset; position is where that batch begins
// in the .log file. Both ascend. Not every batch has an entry: one is written before a batch is appended when
// more than index.interval.bytes were appended since the last entry.
const offsetEntryBytes = 8

// OffsetEntry points at one batch.
type OffsetEntry struct {
	Offset   int64 // the last offset of the batch
	Position int64 // where it begins in the .log file
}

// OffsetIndex finds the position of an offset.
type OffsetIndex struct {
	index
	base int64
}

// OpenOffsetIndex makes the index of a segment; no file is touched before it is needed.
func OpenOffsetIndex(h *Handle, base int64) *OffsetIndex {
	return &OffsetIndex{index: index{h: h, width: offsetEntryBytes}, base: base}
}

func (x *OffsetIndex) decode(e []byte) OffsetEntry {
	return OffsetEntry{
		Offset:   x.base + int64(int32(binary.BigEndian.Uint32(e))),
		Position: int64(int32(binary.BigEndian.Uint32(e[4:]))),
	}
}

// Append adds an entry, which must lie behind the last one.
func (x *OffsetIndex) Append(e OffsetEntry) error {
	var b [offsetEntryBytes]byte
	binary.BigEndian.PutUint32(b[:], uint32(e.Offset-x.base))
	binary.BigEndian.PutUint32(b[4:], uint32(e.Position))
	return x.push(b[:])
}

// Count returns the number of entries.
func (x *OffsetIndex) Count() (int, error) { return x.count() }

// Last returns the newest entry; ok is false when there is none.
func (x *OffsetIndex) Last() (OffsetEntry, bool, error) {
	e, ok, err := x.lastEntry()
	if err != nil || !ok {
		return OffsetEntry{Offset: x.base}, false, err
	}
	return x.decode(e[:]), true, nil
}

// Lookup returns the last entry at or before an offset; the beginning of the segment when there is none.
func (x *OffsetIndex) Lookup(offset int64) (OffsetEntry, error) {
	return x.find(func(e []byte) bool { return x.decode(e).Offset > offset })
}

// LookupPosition returns the last entry whose batch begins at or before a position; the beginning of the segment
// when there is none.
func (x *OffsetIndex) LookupPosition(position int64) (OffsetEntry, error) {
	return x.find(func(e []byte) bool { return x.decode(e).Position > position })
}

func (x *OffsetIndex) find(after func([]byte) bool) (OffsetEntry, error) {
	e, at, err := x.search(after)
	if err != nil || at < 0 {
		return OffsetEntry{Offset: x.base}, err
	}
	return x.decode(e[:]), nil
}

// TruncateTo drops the entries of batches that end at or behind an offset.
func (x *OffsetIndex) TruncateTo(offset int64) error {
	_, at, err := x.search(func(e []byte) bool { return x.decode(e).Offset >= offset })
	if err != nil {
		return err
	}
	return x.truncate(at + 1)
}

// TruncateToPosition drops the entries of batches that begin at or behind a position.
func (x *OffsetIndex) TruncateToPosition(position int64) error {
	_, at, err := x.search(func(e []byte) bool { return x.decode(e).Position >= position })
	if err != nil {
		return err
	}
	return x.truncate(at + 1)
}

// Each calls fn for every entry in order until it returns false.
func (x *OffsetIndex) Each(fn func(i int, e OffsetEntry) bool) error {
	return x.each(func(i int, b []byte) bool { return fn(i, x.decode(b)) })
}

// Verify checks that the entries ascend and point into a log of size bytes.
func (x *OffsetIndex) Verify(size int64) error {
	prev := OffsetEntry{Offset: x.base - 1, Position: -1}
	var bad error
	err := x.Each(func(i int, e OffsetEntry) bool {
		switch {
		case e.Offset <= prev.Offset || e.Position <= prev.Position:
			bad = fmt.Errorf("%w: %s: entry %d (offset %d, position %d) does not lie behind the one before it (offset %d, position %d)",
				ErrIndexCorrupt, x.h.Path(), i, e.Offset, e.Position, prev.Offset, prev.Position)
		case e.Position >= size:
			bad = fmt.Errorf("%w: %s: entry %d (offset %d) points at position %d, beyond the %d bytes of the log",
				ErrIndexCorrupt, x.h.Path(), i, e.Offset, e.Position, size)
		}
		prev = e
		return bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

package segment

import (
	"encoding/binary"
	"fmt"
)

// timeEntryBytes is the size of an entry of a .timeindex file:
//
//	0           8        12
//	+-----------+--------+
//	| timestamp | offset |   int64 and int32, big-endian
//	+-----------+--------+
//
// timestamp (ms) is the greatest seen in the segment so far, offset the last offset of the batch that holds it,
// relative to the segment's base offset. Timestamps ascend strictly, offsets do not descend. An entry is written
// with an entry of the offset index when the timestamp has grown, and a final one when the segment is sealed.
const timeEntryBytes = 12

// TimeEntry says: up to here no record is younger than Timestamp.
type TimeEntry struct {
	Timestamp int64 // ms; -1 none
	Offset    int64 // last offset of the batch that holds it
}

// BorneOutBy reports whether the batch that holds the entry's offset, or ends behind it, is the one that it was made for.
func (e TimeEntry) BorneOutBy(b *Batch) bool {
	return b.MaxTimestamp == e.Timestamp && (b.BaseOffset <= e.Offset || b.Magic < 2)
}

// TimeIndex finds an offset for a timestamp.
type TimeIndex struct {
	index
	base int64
}

// OpenTimeIndex makes the index of a segment; no file is touched before it is needed.
func OpenTimeIndex(h *Handle, base int64) *TimeIndex {
	return &TimeIndex{index: index{h: h, width: timeEntryBytes}, base: base}
}

func (x *TimeIndex) decode(e []byte) TimeEntry {
	return TimeEntry{
		Timestamp: int64(binary.BigEndian.Uint64(e)),
		Offset:    x.base + int64(int32(binary.BigEndian.Uint32(e[8:]))),
	}
}

// Append adds an entry if its timestamp is greater than the last one's; else it does nothing.
func (x *TimeIndex) Append(e TimeEntry) error {
	last, _, err := x.Last()
	if err != nil || e.Timestamp <= last.Timestamp || e.Offset < last.Offset {
		return err
	}
	var b [timeEntryBytes]byte
	binary.BigEndian.PutUint64(b[:], uint64(e.Timestamp))
	binary.BigEndian.PutUint32(b[8:], uint32(e.Offset-x.base))
	return x.push(b[:])
}

// Count returns the number of entries.
func (x *TimeIndex) Count() (int, error) { return x.count() }

// Last returns the newest entry; timestamp -1 at the base offset when there is none.
func (x *TimeIndex) Last() (TimeEntry, bool, error) {
	e, ok, err := x.lastEntry()
	if err != nil || !ok {
		return TimeEntry{Timestamp: -1, Offset: x.base}, false, err
	}
	return x.decode(e[:]), true, nil
}

// Lookup returns the last entry at or before a timestamp; timestamp -1 at the base offset when there is none.
func (x *TimeIndex) Lookup(timestamp int64) (TimeEntry, error) {
	e, at, err := x.search(func(e []byte) bool { return x.decode(e).Timestamp > timestamp })
	if err != nil || at < 0 {
		return TimeEntry{Timestamp: -1, Offset: x.base}, err
	}
	return x.decode(e[:]), nil
}

// TruncateTo drops the entries of batches that end at or behind an offset.
func (x *TimeIndex) TruncateTo(offset int64) error {
	_, at, err := x.search(func(e []byte) bool { return x.decode(e).Offset >= offset })
	if err != nil {
		return err
	}
	return x.truncate(at + 1)
}

// Each calls fn for every entry in order until it returns false.
func (x *TimeIndex) Each(fn func(i int, e TimeEntry) bool) error {
	return x.each(func(i int, b []byte) bool { return fn(i, x.decode(b)) })
}

// Verify checks that the entries ascend.
func (x *TimeIndex) Verify() error {
	prev := TimeEntry{Timestamp: -1, Offset: x.base}
	var bad error
	err := x.Each(func(i int, e TimeEntry) bool {
		if e.Timestamp <= prev.Timestamp || e.Offset < prev.Offset {
			bad = fmt.Errorf("%w: %s: entry %d (timestamp %d, offset %d) does not lie behind the one before it (timestamp %d, offset %d)",
				ErrIndexCorrupt, x.h.Path(), i, e.Timestamp, e.Offset, prev.Timestamp, prev.Offset)
		}
		prev = e
		return bad == nil
	})
	if err != nil {
		return err
	}
	return bad
}

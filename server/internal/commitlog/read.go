package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// AbortedTxn is an aborted transaction: its producer and its first offset are what a reader needs.
type AbortedTxn = segment.AbortedTxn

// Slice is what a read found: whole batches that lie in one file.
type Slice struct {
	Range      wire.Range // nil when there are none; else it must be released
	NextOffset int64      // the offset behind the last batch; the offset asked for when there is none
	FirstEpoch int32      // the leader epoch at the offset asked for; -1 when it is older than all we know
}

// marks remember batch boundaries that were come by lately: the ends of appends, flushes and reads. Consumers ask for
// the offset where their last read ended, and up to where the last flush ended: then no index need be searched and
// no batch looked at. Guarded by Log.view.
type marks struct {
	ring [16]mark
	next uint8
}

// mark says that the batches from offset on begin at a position.
type mark struct {
	offset   int64
	seg      *segment.Segment // nil: not in use
	position int64
}

func (m *marks) add(n mark) {
	for i := range m.ring {
		if m.ring[i].offset == n.offset && m.ring[i].seg == n.seg {
			return
		}
	}
	m.ring[m.next] = n
	m.next = (m.next + 1) % uint8(len(m.ring))
}

func (m *marks) find(offset int64) (mark, bool) {
	for i := range m.ring {
		if m.ring[i].offset == offset && m.ring[i].seg != nil {
			return m.ring[i], true
		}
	}
	return mark{}, false
}

func (m *marks) clear() { *m = marks{} }

// Read returns batches from the one that holds offset on: at most maxBytes of them, none that reaches limit, the
// first offset not to be shown. With minOne the first batch comes even if it is larger than maxBytes. A slice ends
// where its segment does.
//
// Nothing is decoded and no CRC is checked: the log's is checked when it is written and by the scrubber, and every
// client checks what it gets.
//
// An offset below the log's start or above its end is OFFSET_OUT_OF_RANGE.
func (l *Log) Read(offset int64, maxBytes int, limit int64, minOne bool) (Slice, error) {
	for attempt := 0; ; attempt++ {
		s, err := l.read(offset, maxBytes, limit, minOne)
		if err == nil || kafka.CodeOf(err) == kafka.OffsetOutOfRange || errors.As(err, new(unsound)) {
			return s, err
		}
		// Retention or truncation may have taken the segment away under us: then the offsets tell.
		if l.again(attempt, err) {
			continue
		}
		return Slice{}, ioError(fmt.Errorf("read %s at offset %d: %w", l.tp, offset, err))
	}
}

func (l *Log) read(offset int64, maxBytes int, limit int64, minOne bool) (Slice, error) {
	if offset == l.end.Load() && offset >= l.start.Load() && l.atRest() { // who waits at the end wakes nothing
		return Slice{NextOffset: offset, FirstEpoch: l.lastEpoch.Load()}, nil
	}
	h, err := l.wake()
	if err != nil {
		return Slice{}, err
	}
	if limit, err = l.sound(offset, limit); err != nil { // a log that wakes looks for holes
		return Slice{}, err
	}
	l.view.Lock()
	start, end := l.start.Load(), l.end.Load()
	if offset < start || offset > end {
		l.view.Unlock()
		return Slice{}, kafka.OffsetOutOfRange.Errorf("offset %d of %s is out of range: the log has %d to %d", offset, l.tp, start, end)
	}
	limit = min(limit, end)
	s := Slice{NextOffset: offset, FirstEpoch: h.epochs.at(offset)}
	if offset >= limit {
		l.view.Unlock()
		return s, nil
	}
	segs, generation, cuts := h.segs, l.generation, l.cuts.Load()
	from, known := h.marks.find(offset)
	upTo, limitKnown := h.marks.find(limit)
	l.view.Unlock()

	// Where it begins.
	i := find(segs, offset)
	position := int64(-1)
	if known && from.seg == segs[i] {
		position = from.position
		if position >= from.seg.Size() && i+1 < len(segs) {
			position = -1
		}
	}
	for ; position < 0; i++ {
		if i == len(segs) {
			return s, nil // compaction took what was between here and the end
		}
		b, ok, err := segs[i].Find(offset, segs[i].Size())
		if err != nil {
			return s, err
		}
		if ok {
			position = b.Position
			break
		}
	}
	seg := segs[i]

	// Where it ends.
	size := seg.Size()
	stop, next := int64(-1), limit
	switch {
	case i+1 < len(segs) && segs[i+1].Base <= limit:
		stop, next = size, segs[i+1].Base
	case limitKnown && upTo.seg == seg:
		stop = upTo.position
	}
	if stop < 0 || stop-position > int64(maxBytes) {
		stopAt := int64(math.MaxInt64)
		if int64(maxBytes) < stopAt-position {
			stopAt = position + int64(maxBytes)
		}
		var first segment.Batch
		if stop, next, first, err = seg.Boundary(position, stopAt, size, limit); err != nil {
			return s, err
		}
		if next < 0 { // the first batch is too large, or not to be shown
			if !minOne || first.Length == 0 || first.LastOffset() >= limit {
				return s, nil
			}
			stop, next = first.End(), first.LastOffset()+1
		}
	}
	if stop <= position {
		return s, nil
	}
	f, err := seg.Log.Acquire()
	if err != nil {
		return s, err
	}
	l.view.Lock()
	if l.generation == generation && l.hot == h {
		h.marks.add(mark{offset: next, seg: seg, position: stop})
	}
	l.view.Unlock()
	s.Range = &fileRange{log: l, cuts: cuts, handle: seg.Log, file: f, position: position, length: int(stop - position)}
	s.NextOffset = next
	return s, nil
}

// errCut says that a log was truncated under a reader.
var errCut = errors.New("the log was truncated while it was read")

// fileRange is a part of a segment's file. It pins the file: a segment that is deleted meanwhile, renamed or unlinked, is
// there until Release. A segment is written to behind what was read of it, but for a truncation, after which other bytes
// come to lie where those of the range were; so nothing that was read after one began is given out.
//
// What the kernel was told to send before it began is right but for one case. It sends the pages of the page cache
// themselves. Pages wholly behind a cut leave the cache as they are; the one with the cut in it is cleared from there
// on, and appended to, perhaps before it was sent. So a reader may get a batch that fails its CRC, or the records that
// the log has at those offsets now. A log is cut below its high watermark in an unclean election alone, so to consumers
// this happens when records that they were shown are lost anyway; and a follower checks the CRCs. Apache Kafka sends
// its files in the same way.
type fileRange struct {
	log      *Log
	cuts     uint32 // of the log when it was looked at
	handle   *segment.Handle
	file     vfs.File
	position int64
	length   int
}

func (r *fileRange) Len() int { return r.length }

func (r *fileRange) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(r.length) {
		return 0, fmt.Errorf("read at %d of a range of %d bytes: %w", off, r.length, io.ErrUnexpectedEOF)
	}
	left := int64(r.length) - off
	n, err := r.file.ReadAt(p[:min(int64(len(p)), left)], r.position+off)
	if cut := r.Intact(); cut != nil {
		return 0, cut
	}
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (r *fileRange) File() (fd uintptr, pos int64, ok bool) {
	fd, ok = r.file.Fd()
	return fd, r.position, ok
}

func (r *fileRange) Intact() error {
	if r.log.cuts.Load() != r.cuts {
		return fmt.Errorf("%s from position %d on: %w", r.handle.Path(), r.position, errCut)
	}
	return nil
}

func (r *fileRange) Release() { r.handle.Release() }

// AbortedTxns lists the aborted transactions that a reader of committed records needs to know of to read [from, to).
func (l *Log) AbortedTxns(from, to int64) (all []AbortedTxn, err error) {
	for attempt := 0; ; attempt++ {
		if all, err = l.abortedTxns(from, to); !l.again(attempt, err) {
			return all, err
		}
	}
}

func (l *Log) abortedTxns(from, to int64) ([]AbortedTxn, error) {
	h, err := l.wake()
	if err != nil {
		return nil, err
	}
	l.view.Lock()
	segs := h.segs
	l.view.Unlock()
	var all []AbortedTxn
	for i := find(segs, from); i < len(segs); i++ {
		var done bool
		if all, done, err = segs[i].Txns.Collect(all, from, to); err != nil {
			return nil, ioError(fmt.Errorf("aborted transactions of %s: %w", l.tp, err))
		}
		if done {
			break
		}
	}
	return all, nil
}

package commitlog

import (
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// TruncateTo cuts the log so that it ends at an offset, or before the batch that holds it. Producers and epochs become
// what they were then. A flush under way does not count any more. An offset at or above the end cuts no record; it
// still makes the log forget epochs that began there.
func (l *Log) TruncateTo(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return err
	}
	if offset >= l.end.Load() {
		l.view.Lock()
		h.epochs.truncateEnd(offset)
		l.lastEpoch.Store(h.epochs.latest())
		l.view.Unlock()
		return nil
	}
	if offset < h.segs[0].Base {
		return l.restartAt(h, offset)
	}
	i := find(h.segs, offset)
	seg := h.segs[i]
	end := offset
	b, ok, err := seg.Find(offset, seg.Size())
	if err != nil && l.healLocked(h, err) {
		b, ok, err = seg.Find(offset, seg.Size())
	}
	if err != nil {
		return l.fail("truncate", err)
	}
	if ok {
		end = min(end, b.BaseOffset)
		if b.Magic < 2 {
			end = offset
		}
	}
	// From the highest down, so that a crash in between leaves a log without a hole.
	removed := h.segs[i+1:]
	for j := len(removed) - 1; j >= 0; j-- {
		if err := removed[j].Remove(); err != nil {
			return l.broken("truncate", err)
		}
	}
	if ok {
		l.cuts.Add(1) // before the bytes go, so that who sees others in their place is told
		if err := seg.TruncateToPosition(b.Position, end); err != nil {
			return l.broken("truncate", err)
		}
	}
	size, greatest := int64(0), record.NoTimestamp
	for _, s := range h.segs[:i+1] {
		size += s.Size()
		t, err := s.MaxTime()
		if err != nil {
			return l.fail("truncate", err)
		}
		greatest = max(greatest, t.Timestamp)
	}
	oldest, err := h.segs[0].LargestTimestamp()
	if err != nil {
		return l.fail("truncate", err)
	}

	l.view.Lock()
	h.segs = slices.Clone(h.segs[:i+1])
	h.epochs.truncateEnd(end)
	l.cutTo(h, end)
	l.start.Store(min(l.start.Load(), end))
	l.size, l.maxTime, l.oldestTime = size, greatest, oldest
	h.dirty = slices.DeleteFunc(slices.Clone(h.dirty), func(s *segment.Segment) bool { return slices.Contains(removed, s) })
	if ok {
		l.cuts.Add(1) // who looked at the log meanwhile saw ends that are none any more
		h.noteDirty(seg)
	}
	l.view.Unlock()
	h.unindexed = slices.DeleteFunc(h.unindexed, func(s *segment.Segment) bool { return slices.Contains(removed, s) })
	h.noteUnindexed(seg)
	l.segments.Store(int32(len(h.segs)))

	return l.rewindProducers(h, end)
}

// cutTo sets what a truncation sets in any case. mu and view are held.
func (l *Log) cutTo(h *hot, end int64) {
	l.generation++
	l.end.Store(end)
	l.flushed.Store(min(l.flushed.Load(), end))
	l.recovery.Store(min(l.recovery.Load(), end))
	l.lastEpoch.Store(h.epochs.latest())
	h.marks.clear()
	h.dirSeq++
	decided := h.decided[:0]
	for _, t := range h.decided {
		if t.last < end {
			decided = append(decided, t)
		}
	}
	h.decided = decided
}

// rewindProducers makes the producers what they were at an offset, which is the log's end now. mu is held.
func (l *Log) rewindProducers(h *hot, end int64) error {
	behind := func(o int64) bool { return o > end }
	if h.between > end {
		h.between = -1
	}
	if h.producers.count() == 0 && !slices.ContainsFunc(h.snapshots, behind) {
		return nil
	}
	l.dropSnapshots(h, behind)
	h.producers.close()
	h.producers = l.newProducers()
	// The recovery point may lie above the snapshots that are left: what is indexed of aborted transactions stays.
	if err := l.loadProducers(h, h.snapshots, scope{trusted: end, clean: len(h.snapshots) > 0}, time.Time{}); err != nil {
		return err
	}
	l.undecided.Store(h.producers.firstOngoing())
	return nil
}

// TruncateFullyAndStartAt drops everything; the log is empty and goes on at the offset.
func (l *Log) TruncateFullyAndStartAt(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return err
	}
	return l.restartAt(h, offset)
}

func (l *Log) restartAt(h *hot, offset int64) error {
	for j := len(h.segs) - 1; j >= 0; j-- {
		if err := h.segs[j].Remove(); err != nil {
			return l.broken("truncate", err)
		}
	}
	seg, err := l.createSegment(offset, time.Time{})
	if err != nil {
		return l.broken("truncate", err)
	}
	l.dropSnapshots(h, func(int64) bool { return true })
	h.producers.close()
	h.producers = l.newProducers()
	l.undecided.Store(-1)

	l.view.Lock()
	defer l.view.Unlock()
	h.segs, h.dirty, h.unindexed, h.between = []*segment.Segment{seg}, nil, nil, -1
	if len(h.epochs.entries) > 0 {
		h.epochs.entries, h.epochs.changed = nil, true
	}
	l.cutTo(h, offset)
	for _, o := range []interface{ Store(int64) }{&l.start, &l.flushed, &l.recovery} {
		o.Store(offset)
	}
	h.decided = nil
	l.size, l.maxTime, l.oldestTime = 0, record.NoTimestamp, record.NoTimestamp
	l.segments.Store(1)
	return nil
}

// AdvanceStart moves the log's start up to an offset (DeleteRecords): the records below cannot be read any more, and
// segments that lie wholly below go, with Options.SavesStart once that is saved. An offset above the end is OFFSET_OUT_OF_RANGE; one below the start does nothing.
func (l *Log) AdvanceStart(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return err
	}
	if end := l.end.Load(); offset > end {
		return kafka.OffsetOutOfRange.Errorf("the records of %s below offset %d cannot be deleted: the log ends at %d", l.tp, offset, end)
	}
	if offset <= l.start.Load() {
		return nil
	}
	l.view.Lock()
	l.start.Store(offset)
	h.epochs.truncateStart(offset)
	l.view.Unlock()
	_, err = l.retire(h, l.deserted(h), 0)
	return err
}

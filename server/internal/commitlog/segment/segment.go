package segment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/internal/record"
)

// Segment is one segment of a log. It has one writer at a time (the log sees to that) and any number of readers.
type Segment struct {
	Base    int64 // offset of the first record that it can hold
	Log     *Handle
	Offsets *OffsetIndex
	Times   *TimeIndex
	Txns    *TxnIndex

	// Jitter is taken off segment.ms for this segment.
	Jitter time.Duration

	mu   sync.Mutex
	size int64
	// maxTime is the greatest timestamp with the last offset of its batch; known once timeKnown is set, before
	// that it is the last entry of the time index.
	maxTime   TimeEntry
	timeKnown bool
	// firstTime is the max timestamp of the first batch, which the age of a segment counts from.
	firstTime      int64
	firstTimeKnown bool
	// modified is wall time (ms) of the last write, or of the file when it was opened: what age means for a
	// segment without timestamps.
	modified int64
	created  int64 // wall time (ms) when this process made or opened it; 0: at the first append
	// sinceEntry counts the bytes appended since the last index entry.
	sinceEntry int64
	synced     int64 // bytes of the log file that are durable. Invariant: synced <= size
	// journaled: the bytes from synced up to here are durable in a journal that is kept until the file is synced. Only a
	// file that was synced since it was made or cut may rely on one (settled): bytes of a journal cannot undo a cut.
	journaled int64
	settled   bool
}

// New returns the segment in a directory; no file is touched.
func New(handles *Handles, dir string, base int64) *Segment {
	handle := func(suffix string) *Handle { return handles.NewHandle(path.Join(dir, FileName(base, suffix))) }
	return &Segment{
		Base:    base,
		Log:     handle(LogSuffix),
		Offsets: OpenOffsetIndex(handle(IndexSuffix), base),
		Times:   OpenTimeIndex(handle(TimeIndexSuffix), base),
		Txns:    OpenTxnIndex(handle(TxnIndexSuffix), base),
		maxTime: TimeEntry{Timestamp: -1, Offset: base},
	}
}

// Create makes the log file of a new segment; the indexes are made when there is something to write to them.
// preallocate is how many bytes to reserve on the disk, 0 for none.
func Create(handles *Handles, dir string, base int64, preallocate int64, now time.Time) (*Segment, error) {
	s := New(handles, dir, base)
	f, err := s.Log.AcquireOrCreate()
	if err != nil {
		return nil, err
	}
	defer s.Log.Release()
	if err := f.Truncate(0); err != nil { // of a file that an earlier attempt left
		return nil, err
	}
	if preallocate > 0 {
		if err := f.Preallocate(0, preallocate); err != nil {
			return nil, err
		}
	}
	s.timeKnown = true
	if !now.IsZero() {
		s.created, s.modified = now.UnixMilli(), now.UnixMilli()
	}
	for _, reset := range []func() error{s.Offsets.reset, s.Times.reset, s.Txns.Reset} {
		if err := reset(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Open takes the segment as it is: size bytes that end with a whole batch, last written at modified.
func (s *Segment) Open(size int64, modified, now time.Time) {
	s.mu.Lock()
	s.size, s.synced, s.journaled, s.settled = size, size, 0, true
	s.modified, s.created = modified.UnixMilli(), modified.UnixMilli()
	if !now.IsZero() {
		s.created = now.UnixMilli()
	}
	s.mu.Unlock()
}

// Size is the length of the log file in bytes.
func (s *Segment) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Synced is how much of it is durable.
func (s *Segment) Synced() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// MarkSynced says that the first n bytes are durable, and reports whether these are all.
func (s *Segment) MarkSynced(n int64) (all bool) {
	s.mu.Lock()
	s.synced = max(s.synced, min(n, s.size))
	s.settled = true
	all = s.synced == s.size
	s.mu.Unlock()
	if all {
		s.Log.MarkClean()
	}
	return all
}

// Loose returns the size, and the position behind which the bytes are durable nowhere; settled says whether a journal may
// hold them in the place of the file.
func (s *Segment) Loose() (size, from int64, settled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, max(s.synced, s.journaled), s.settled
}

// Leans reports whether bytes of the file are durable by a journal alone.
func (s *Segment) Leans() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journaled > s.synced
}

// MarkJournaled says that the first n bytes are durable: those that are not in the file are in a journal.
func (s *Segment) MarkJournaled(n int64) {
	s.mu.Lock()
	s.journaled = max(s.journaled, min(n, s.size))
	s.mu.Unlock()
}

// Unsynced says that the file was changed in a way that only a sync of its own makes durable: a journal cannot keep what
// was cut off from coming back behind what it has.
func (s *Segment) Unsynced() {
	s.mu.Lock()
	s.synced = min(s.synced, max(s.size-1, 0))
	s.settled = false
	s.mu.Unlock()
}

// MaxTime returns the greatest timestamp with the last offset of its batch; -1 when there is none.
func (s *Segment) MaxTime() (TimeEntry, error) {
	s.mu.Lock()
	known, t := s.timeKnown, s.maxTime
	s.mu.Unlock()
	if known {
		return t, nil
	}
	t, ok, err := s.Times.Last()
	if err == nil && ok {
		err = s.bearOut(t)
	}
	if err != nil {
		return t, err
	}
	s.mu.Lock()
	if !s.timeKnown {
		s.maxTime, s.timeKnown = t, true
	}
	t = s.maxTime
	s.mu.Unlock()
	return t, nil
}

// bearOut makes sure that the batch that a time entry names is as young as it says.
func (s *Segment) bearOut(t TimeEntry) error {
	b, ok, err := s.Find(t.Offset, s.Size())
	if err == nil && (!ok || !t.BorneOutBy(&b)) {
		err = &CorruptIndexError{Base: s.Base, Reason: fmt.Sprintf("a time entry says that %d is the timestamp at offset %d", t.Timestamp, t.Offset)}
	}
	return err
}

// LargestTimestamp is what retention by time counts from: the greatest timestamp, or the time of the last write
// when the records have none.
func (s *Segment) LargestTimestamp() (int64, error) {
	t, err := s.MaxTime()
	if err != nil || t.Timestamp >= 0 {
		return t.Timestamp, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.modified, nil
}

// FirstTimestamp is the max timestamp of the first batch; -1 when there is none.
func (s *Segment) FirstTimestamp() (int64, error) {
	s.mu.Lock()
	known, t, size := s.firstTimeKnown, s.firstTime, s.size
	s.mu.Unlock()
	if known {
		return t, nil
	}
	if size == 0 {
		return -1, nil
	}
	f, err := s.Log.Acquire()
	if err != nil {
		return -1, err
	}
	defer s.Log.Release()
	var head [record.HeaderLen]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return -1, err
	}
	b, err := parseBatch(head[:n], 0)
	if err != nil {
		return -1, fmt.Errorf("%s: position 0: %w", s.Log.Path(), err)
	}
	s.mu.Lock()
	s.firstTime, s.firstTimeKnown = b.MaxTimestamp, true
	s.mu.Unlock()
	return b.MaxTimestamp, nil
}

// RollOptions are the limits of a segment and what is about to be appended to it.
type RollOptions struct {
	MaxBytes      int64
	MaxAge        int64 // ms
	MaxIndexBytes int
	AppendBytes   int
	MaxTimestamp  int64 // of what is appended
	LastOffset    int64
	Now           time.Time
}

// ShouldRoll tells whether a new segment is due before the append: this one would grow too large, holds records for
// too long (as the timestamps of the records tell it; the wall clock when they have none), has a full index, or the
// offset is too far from its base for 32 bits.
func (s *Segment) ShouldRoll(o RollOptions) (bool, error) {
	size := s.Size()
	if size > o.MaxBytes-int64(o.AppendBytes) {
		return true, nil
	}
	if d := o.LastOffset - s.Base; d < 0 || d > math.MaxInt32 {
		return true, nil
	}
	offsets, err := s.Offsets.Count()
	if err != nil {
		return false, err
	}
	times, err := s.Times.Count()
	if err != nil {
		return false, err
	}
	if offsets >= o.MaxIndexBytes/offsetEntryBytes || times >= o.MaxIndexBytes/timeEntryBytes-1 {
		return true, nil
	}
	if size == 0 {
		return false, nil
	}
	first, err := s.FirstTimestamp()
	if err != nil {
		return false, err
	}
	waited := o.MaxTimestamp - first
	if first < 0 {
		s.mu.Lock()
		waited = o.Now.UnixMilli() - s.created
		if s.created == 0 {
			waited = 0
		}
		s.mu.Unlock()
	}
	return waited > o.MaxAge-s.Jitter.Milliseconds(), nil
}

// ErrPartial says that a write failed and that what it left behind could not be taken back.
var ErrPartial = errors.New("a failed write left bytes behind")

// Append writes batches with one write and adds to the indexes. When the write fails the file is cut back to where
// it was; ErrPartial says that even this failed. An index that could not be written to a full disk is kept in memory
// and tried again with the next entry. With hold the batches may wait in memory, until the file is synced at the latest.
func (s *Segment) Append(batches []byte, indexInterval int, hold bool, now time.Time) error {
	if _, err := s.MaxTime(); err != nil { // so that timeKnown is set
		return err
	}
	at := s.Size()
	held, err := false, error(nil)
	if hold {
		held, err = s.Log.Hold(batches, at)
	}
	if err == nil && !held {
		err = s.write(batches, at)
	}
	if err != nil {
		return err
	}
	position := at
	for rest := batches; len(rest) > 0; {
		b, err := parseBatch(rest, position)
		if err != nil {
			return err // the log looked at them before
		}
		if err := s.index(&b, int64(indexInterval)); err != nil {
			return err
		}
		position += int64(b.Length)
		rest = rest[b.Length:]
	}
	s.mu.Lock()
	s.size = position
	s.modified = now.UnixMilli()
	if s.created == 0 {
		s.created = s.modified
	}
	s.mu.Unlock()
	return nil
}

// write writes bytes at the end of the file, at.
func (s *Segment) write(b []byte, at int64) error {
	f, err := s.Log.Acquire()
	if err != nil {
		return err
	}
	defer s.Log.Release()
	s.Log.MarkDirty()
	if _, err := f.WriteAt(b, at); err != nil {
		s.Unsynced()
		if cut := f.Truncate(at); cut != nil {
			return fmt.Errorf("%w: %w (then: %w)", ErrPartial, err, cut)
		}
		return err
	}
	return nil
}

// index notes a batch that is about to become part of the segment.
func (s *Segment) index(b *Batch, interval int64) error {
	s.mu.Lock()
	if b.Position == 0 {
		s.firstTime, s.firstTimeKnown = b.MaxTimestamp, true
	}
	if b.MaxTimestamp > s.maxTime.Timestamp {
		s.maxTime = TimeEntry{Timestamp: b.MaxTimestamp, Offset: b.LastOffset()}
	}
	due, newest := s.sinceEntry > interval, s.maxTime
	if due {
		s.sinceEntry = 0
	}
	s.sinceEntry += int64(b.Length)
	s.mu.Unlock()
	if !due {
		return nil
	}
	err := s.Offsets.Append(OffsetEntry{Offset: b.LastOffset(), Position: b.Position})
	if err2 := s.Times.Append(newest); err == nil {
		err = err2
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	return err
}

// Seal writes the indexes out as a segment that is no longer appended to has them: with a final time entry.
// Appending again is allowed, as it is after a restart.
func (s *Segment) Seal() error {
	t, err := s.MaxTime()
	if err != nil {
		return err
	}
	if t.Timestamp >= 0 {
		if err := s.Times.Append(t); err != nil {
			return err
		}
	}
	if err := s.Offsets.seal(); err != nil {
		return err
	}
	return s.Times.seal()
}

// StoreIndexes writes the index entries that are in memory to their files.
func (s *Segment) StoreIndexes() error {
	if err := s.Offsets.store(); err != nil {
		return err
	}
	return s.Times.store()
}

// UnsyncedIndexes says that a process that ended without warning may have changed the index files: they are as they
// look only once they are synced.
func (s *Segment) UnsyncedIndexes() {
	s.Offsets.unsynced()
	s.Times.unsynced()
	s.Txns.unsynced()
}

// SyncIndexes makes durable what is in the index files.
func (s *Segment) SyncIndexes() error {
	if err := s.Offsets.sync(); err != nil {
		return err
	}
	if err := s.Times.sync(); err != nil {
		return err
	}
	return s.Txns.Sync()
}

// Scan walks over the batches of the first size bytes from the one that an entry of the offset index points at. f is the
// log file.
func (s *Segment) Scan(f io.ReaderAt, from OffsetEntry, size int64, window int) *Scanner {
	sc := NewScanner(f, 0, size, window)
	sc.seek(from, s.Base)
	return sc
}

// Find returns the first batch that ends at or behind an offset; ok is false when there is none.
func (s *Segment) Find(offset int64, size int64) (b Batch, ok bool, err error) {
	at, err := s.Offsets.Lookup(offset)
	if err != nil {
		return b, false, err
	}
	f, err := s.Log.Acquire()
	if err != nil {
		return b, false, err
	}
	defer s.Log.Release()
	sc := s.Scan(f, at, size, HeaderWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
		if err == io.EOF {
			return b, false, nil
		}
		if err != nil {
			return b, false, fmt.Errorf("%s: position %d: %w", s.Log.Path(), sc.Position(), err)
		}
		if b.LastOffset() >= offset {
			return b, true, nil
		}
	}
}

// Boundary returns the last batch boundary that lies at or before position max and at or behind position from,
// itself a boundary, and such that no batch before it ends at or behind offset limit. next is the offset behind the
// last batch in between; -1 when there is none. first is the batch at from, when there is one.
func (s *Segment) Boundary(from, max, size, limit int64) (position, next int64, first Batch, err error) {
	f, err := s.Log.Acquire()
	if err != nil {
		return from, -1, first, err
	}
	defer s.Log.Release()
	sc := NewScanner(f, from, size, HeaderWindow)
	defer sc.Close()
	first, err = sc.Next()
	if err == io.EOF {
		return from, -1, first, nil
	}
	if err != nil {
		return from, -1, first, fmt.Errorf("%s: position %d: %w", s.Log.Path(), from, err)
	}
	if first.End() > max || first.LastOffset() >= limit {
		return from, -1, first, nil
	}
	position, next = first.End(), first.LastOffset()+1

	// Skip most of the way by the index: every entry is where a batch begins.
	skip, err := s.Offsets.LookupPosition(max)
	if err != nil {
		return from, -1, first, err
	}
	if skip.Offset >= limit {
		if skip, err = s.Offsets.Lookup(limit - 1); err != nil {
			return from, -1, first, err
		}
	}
	if skip.Position > position && skip.Position < size {
		sc.seek(skip, s.Base)
	}
	for {
		b, err := sc.Next()
		if err == io.EOF {
			return position, next, first, nil
		}
		if err != nil {
			return from, -1, first, fmt.Errorf("%s: position %d: %w", s.Log.Path(), sc.Position(), err)
		}
		if b.Position > position {
			// The index led here, and the batches before it fit: they end below the entry's offset.
			position, next = b.Position, b.BaseOffset
		}
		if b.End() > max || b.LastOffset() >= limit {
			return position, next, first, nil
		}
		position, next = b.End(), b.LastOffset()+1
	}
}

// TruncateTo cuts the segment before the batch that holds an offset, or that follows it. It returns the new size.
func (s *Segment) TruncateTo(offset int64) (int64, error) {
	size := s.Size()
	position := size
	b, ok, err := s.Find(offset, size)
	if err != nil {
		return size, err
	}
	if ok {
		position = b.Position
	}
	return position, s.TruncateToPosition(position, offset)
}

// TruncateToPosition cuts the segment at a batch boundary; offset is that of the first record that goes.
func (s *Segment) TruncateToPosition(position, offset int64) error {
	f, err := s.Log.Acquire()
	if err != nil {
		return err
	}
	defer s.Log.Release()
	if err := s.Offsets.TruncateToPosition(position); err != nil {
		return err
	}
	if err := s.Times.TruncateTo(offset); err != nil {
		return err
	}
	if err := s.Txns.TruncateTo(offset); err != nil {
		return err
	}
	s.Log.MarkDirty()
	if err := f.Truncate(position); err != nil {
		return fmt.Errorf("cut %s: %w", s.Log.Path(), err)
	}
	s.mu.Lock()
	s.size, s.synced = position, min(s.synced, max(position-1, 0))
	s.journaled, s.settled = min(s.journaled, position), false
	s.timeKnown = false
	s.sinceEntry = 0
	if position == 0 {
		s.firstTimeKnown = false
	}
	s.mu.Unlock()
	// The last time entry says what the greatest timestamp was up to the last offset entry; the batches from
	// there on tell the rest.
	return s.rescanTime(f, position)
}

func (s *Segment) rescanTime(f io.ReaderAt, size int64) error {
	t, _, err := s.Times.Last()
	if err != nil {
		return err
	}
	at, _, err := s.Offsets.Last()
	if err != nil {
		return err
	}
	sc := s.Scan(f, at, size, HeaderWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
		if err == io.EOF {
			break
		}
		if errors.Is(err, ErrIndexCorrupt) { // from the beginning, then
			sc.pos, at.Position, t = 0, 0, TimeEntry{Timestamp: -1, Offset: s.Base}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: position %d: %w", s.Log.Path(), sc.Position(), err)
		}
		if b.MaxTimestamp > t.Timestamp {
			t = TimeEntry{Timestamp: b.MaxTimestamp, Offset: b.LastOffset()}
		}
	}
	s.mu.Lock()
	s.maxTime, s.timeKnown = t, true
	s.sinceEntry = size - at.Position
	s.mu.Unlock()
	return nil
}

func (s *Segment) handles() [4]*Handle {
	return [4]*Handle{s.Log, s.Offsets.h, s.Times.h, s.Txns.h}
}

// Retire renames the segment's files to .deleted. Readers that have them pinned go on.
func (s *Segment) Retire() error {
	for _, h := range s.handles() {
		if err := h.Rename(h.Path() + DeletedSuffix); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}

// Remove unlinks the segment's files, whatever they are called now.
func (s *Segment) Remove() error {
	for _, h := range s.handles() {
		if err := h.Remove(); err != nil {
			return err
		}
	}
	return nil
}

// Moved says that the directory of the segment was renamed.
func (s *Segment) Moved(dir string) {
	for _, h := range s.handles() {
		h.Moved(path.Join(dir, path.Base(h.Path())))
	}
}

// Close gives the descriptors up.
func (s *Segment) Close() {
	for _, h := range s.handles() {
		h.Close()
	}
}

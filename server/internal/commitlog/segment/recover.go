package segment

import (
	"fmt"
	"io"
)

// Recovery is what a scan of a segment after an unclean stop found.
type Recovery struct {
	Size int64 // where the good batches end
	Next int64 // the offset behind the last good batch; the base offset when there is none
	// Bad says what is wrong with the batch at Size; nil when the file ends there.
	Bad error
	// FileSize is the length of the file. More than Size only if Bad is set.
	FileSize int64
}

// Recover scans the segment and rebuilds its indexes. What lies below trusted, an offset that is known to be
// durable with its index entries, is not read again as far as the index reaches. check judges every batch that is read,
// of which it can have the bytes: an error that IsBad ends the scan before that batch. Recover changes only index
// files: to cut what is bad is the caller's to decide.
func (s *Segment) Recover(trusted int64, indexInterval int, check func(b *Batch, bytes func() ([]byte, error)) error) (Recovery, error) {
	f, err := s.Log.Acquire()
	if err != nil {
		return Recovery{}, err
	}
	defer s.Log.Release()
	fileSize, err := f.Size()
	if err != nil {
		return Recovery{}, err
	}
	from, err := s.trustIndex(f, trusted, fileSize)
	if err != nil {
		return Recovery{}, err
	}
	s.mu.Lock()
	s.sinceEntry, s.firstTimeKnown = 0, false
	s.mu.Unlock()

	r := Recovery{Size: from.Position, Next: s.Base, FileSize: fileSize}
	sc := NewScanner(f, from.Position, fileSize, BatchWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = check(&b, sc.Bytes)
		}
		if err != nil {
			if !IsBad(err) {
				return r, fmt.Errorf("read %s: %w", s.Log.Path(), err)
			}
			r.Bad = err
			break
		}
		if b.Position > from.Position || from.Position == 0 { // the index has the batch at from already
			if err := s.index(&b, int64(indexInterval)); err != nil {
				return r, err
			}
		} else {
			s.mu.Lock()
			s.sinceEntry = int64(b.Length)
			s.mu.Unlock()
		}
		r.Size, r.Next = b.End(), b.LastOffset()+1
	}
	s.mu.Lock()
	s.size = r.Size
	s.synced = 0 // it is read from the page cache, perhaps: sync it before anybody relies on it
	s.mu.Unlock()
	return r, nil
}

// trustIndex keeps the index entries of batches that end below the trusted offset, and returns the last of them;
// its batch is where scanning begins. When the index turns out not to fit the log, it is thrown away.
func (s *Segment) trustIndex(f io.ReaderAt, trusted, size int64) (OffsetEntry, error) {
	none := OffsetEntry{Offset: s.Base}
	forget := func() (OffsetEntry, error) {
		s.mu.Lock()
		s.maxTime, s.timeKnown = TimeEntry{Timestamp: -1, Offset: s.Base}, true
		s.mu.Unlock()
		if err := s.Offsets.reset(); err != nil {
			return none, err
		}
		return none, s.Times.reset()
	}
	if trusted <= s.Base {
		return forget()
	}
	last, n := none, 0
	err := s.Offsets.Each(func(i int, e OffsetEntry) bool {
		if e.Offset >= trusted || e.Offset <= last.Offset && n > 0 || e.Position <= last.Position || e.Position >= size {
			return false
		}
		last, n = e, n+1
		return true
	})
	if err != nil || n == 0 {
		return forget()
	}
	if b, err := NewScanner(f, last.Position, size, HeaderWindow).Next(); err != nil || b.LastOffset() != last.Offset {
		return forget()
	}
	times := 0
	prev := TimeEntry{Timestamp: -1, Offset: s.Base}
	err = s.Times.Each(func(i int, e TimeEntry) bool {
		if e.Offset > last.Offset || e.Timestamp <= prev.Timestamp || e.Offset < prev.Offset {
			return false
		}
		prev, times = e, times+1
		return true
	})
	if err != nil {
		return forget()
	}
	if err := s.Offsets.truncate(n); err != nil {
		return none, err
	}
	if err := s.Times.truncate(times); err != nil {
		return none, err
	}
	s.mu.Lock()
	s.maxTime, s.timeKnown = prev, true
	s.mu.Unlock()
	return last, nil
}

// Reindex makes the indexes anew from batches that check finds good; size and what is synced stay as they are. Nobody
// appends meanwhile. The error says that a batch is bad, or is one of reading.
func (s *Segment) Reindex(indexInterval int, check func(b *Batch, bytes func() ([]byte, error)) error) error {
	s.mu.Lock()
	size, synced := s.size, s.synced
	s.mu.Unlock()
	r, err := s.Recover(0, indexInterval, check)
	s.mu.Lock()
	s.size, s.synced = size, synced
	s.mu.Unlock()
	if err == nil && r.Size < size {
		err = fmt.Errorf("%s: position %d: %w", s.Log.Path(), r.Size, r.Bad)
	}
	return err
}

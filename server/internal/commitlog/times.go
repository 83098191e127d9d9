package commitlog

import (
	"fmt"
	"io"
	"math"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// TimestampOffset is the answer to a search by time.
type TimestampOffset struct {
	Offset    int64
	Timestamp int64 // ms
	Epoch     int32 // the leader epoch of the record's batch
}

// OffsetForTimestamp finds the first record at or above the log's start whose timestamp is ts or later. found is
// false when there is none below limit.
func (l *Log) OffsetForTimestamp(ts, limit int64) (at TimestampOffset, found bool, err error) {
	for attempt := 0; ; attempt++ {
		if at, found, err = l.offsetForTimestamp(ts, limit); !l.again(attempt, err) {
			break
		}
	}
	return at, found, ioError(err)
}

func (l *Log) offsetForTimestamp(ts, limit int64) (at TimestampOffset, found bool, err error) {
	h, err := l.wake()
	if err != nil {
		return at, false, err
	}
	l.view.Lock()
	segs := h.segs
	l.view.Unlock()
	start := l.start.Load()
	for i, seg := range segs {
		largest, err := seg.LargestTimestamp()
		if err != nil {
			return at, false, ioError(err)
		}
		if largest < ts || i+1 < len(segs) && segs[i+1].Base <= start {
			continue
		}
		at, found, err = l.searchTime(seg, ts, start)
		if err != nil {
			return at, false, err
		}
		if found {
			return at, at.Offset < limit, nil
		}
	}
	return at, false, nil
}

// searchTime looks for the first record of a segment at or above start with timestamp ts or later.
func (l *Log) searchTime(seg *segment.Segment, ts, start int64) (at TimestampOffset, found bool, err error) {
	fail := func(err error) (TimestampOffset, bool, error) {
		return at, false, ioError(fmt.Errorf("%s: search for timestamp %d: %w", l.tp, ts, err))
	}
	// The last time entry below ts: nothing up to its batch is as young as ts.
	before, err := seg.Times.Lookup(ts - 1)
	if ts == math.MinInt64 {
		before, err = segment.TimeEntry{Timestamp: -1, Offset: seg.Base}, nil
	}
	if err != nil {
		return fail(err)
	}
	near, err := seg.Offsets.Lookup(max(before.Offset, start))
	if err != nil {
		return fail(err)
	}
	f, err := seg.Log.Acquire()
	if err != nil {
		return fail(err)
	}
	defer seg.Log.Release()
	sc := seg.Scan(f, near, seg.Size(), segment.HeaderWindow)
	defer sc.Close()
	claimed := before.Timestamp >= 0 && before.Offset >= start
	for {
		b, err := sc.Next()
		// No batch before the one that the entry names is younger.
		if claimed && (err == io.EOF || err == nil && (b.LastOffset() >= before.Offset || b.MaxTimestamp >= ts)) {
			if claimed = false; err != nil || !before.BorneOutBy(&b) {
				return fail(&segment.CorruptIndexError{Base: seg.Base, Reason: fmt.Sprintf("a time entry says that %d is the timestamp at offset %d", before.Timestamp, before.Offset)})
			}
		}
		if err == io.EOF {
			return at, false, nil
		}
		if err != nil {
			return fail(fmt.Errorf("%s: position %d: %w", seg.Log.Path(), sc.Position(), err))
		}
		if b.MaxTimestamp < ts || b.LastOffset() < start {
			continue
		}
		bytes, err := sc.Bytes()
		if err != nil {
			return fail(err)
		}
		if b.Magic < 2 {
			return TimestampOffset{max(b.BaseOffset, start), b.MaxTimestamp, b.LeaderEpoch}, true, nil
		}
		d := decompressors.Get()
		for r, err := range record.Batch(bytes).Records(d) {
			if err != nil {
				decompressors.Put(d)
				return fail(err)
			}
			if r.Timestamp >= ts && r.Offset >= start {
				decompressors.Put(d)
				return TimestampOffset{r.Offset, r.Timestamp, b.LeaderEpoch}, true, nil
			}
		}
		decompressors.Put(d)
	}
}

// MaxTimestampOffset finds the first record with the greatest timestamp of those that can be read; where none has one that
// is -1, of the first of them. found is false when there is no record, or when that record is not below limit.
func (l *Log) MaxTimestampOffset(limit int64) (at TimestampOffset, found bool, err error) {
	for attempt := 0; ; attempt++ {
		if at, found, err = l.maxTimestampOffset(limit); !l.again(attempt, err) {
			break
		}
	}
	return at, found, ioError(err)
}

func (l *Log) maxTimestampOffset(limit int64) (at TimestampOffset, found bool, err error) {
	h, err := l.wake()
	if err != nil {
		return at, false, err
	}
	l.view.Lock()
	segs := h.segs
	l.view.Unlock()
	start := l.start.Load()
	greatest := int64(math.MinInt64)
	for _, seg := range segs[find(segs, start):] {
		t, err := seg.MaxTime()
		if err != nil {
			return at, false, ioError(err)
		}
		if t.Timestamp <= greatest {
			continue
		}
		here, ok, err := l.searchTime(seg, t.Timestamp, start)
		if err == nil && !ok { // it was of a record below the start
			here, ok, err = l.greatestFrom(seg, start)
		}
		if err != nil {
			return at, false, err
		}
		if ok && here.Timestamp > greatest {
			greatest, at, found = here.Timestamp, here, true
		}
	}
	return at, found && at.Offset < limit, nil
}

// greatestFrom looks at every batch of a segment for the first record at or above start with the greatest timestamp.
func (l *Log) greatestFrom(seg *segment.Segment, start int64) (at TimestampOffset, found bool, err error) {
	greatest := int64(math.MinInt64)
	err = eachHeaderIn(seg, start, math.MaxInt64, func(b *segment.Batch, bytes func() ([]byte, error)) error {
		if b.BaseOffset >= start || b.Magic < 2 {
			greatest = max(greatest, b.MaxTimestamp)
			return nil
		}
		raw, err := bytes()
		if err != nil {
			return err
		}
		d := decompressors.Get()
		defer decompressors.Put(d)
		for r, err := range record.Batch(raw).Records(d) {
			if err != nil {
				return err
			}
			if r.Offset >= start {
				greatest = max(greatest, r.Timestamp)
			}
		}
		return nil
	})
	if err != nil || greatest == math.MinInt64 {
		return at, false, ioError(err)
	}
	return l.searchTime(seg, greatest, start)
}

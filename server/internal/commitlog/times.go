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
	f, err := seg.Log.AcquireExisting()
	if err != nil {
		return fail(err)
	}
	defer seg.Log.Release()
	sc := segment.NewScanner(f, near.Position, seg.Size(), segment.HeaderWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
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

// MaxTimestampOffset finds the first record with the greatest timestamp of the log. found is false when no record
// has one, or when that record is not below limit.
func (l *Log) MaxTimestampOffset(limit int64) (at TimestampOffset, found bool, err error) {
	h, err := l.wake()
	if err != nil {
		return at, false, err
	}
	l.view.Lock()
	segs := h.segs
	l.view.Unlock()
	greatest := segment.TimeEntry{Timestamp: -1}
	var in *segment.Segment
	for _, seg := range segs {
		t, err := seg.MaxTime()
		if err != nil {
			return at, false, ioError(err)
		}
		if t.Timestamp > greatest.Timestamp {
			greatest, in = t, seg
		}
	}
	if in == nil {
		return at, false, nil
	}
	at, found, err = l.searchTime(in, greatest.Timestamp, l.start.Load())
	return at, found && at.Offset < limit, err
}

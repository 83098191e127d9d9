package commitlog

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// Origin says who made the records that are appended; clients are trusted least.
type Origin int8

// The origins.
const (
	Client      Origin = iota // a Produce request
	Coordinator               // a coordinator on this node: markers, offsets, its own records
	Raft                      // the quorum
	replication               // the leader, by way of AppendFollower
)

// AppendOptions say on whose behalf a leader appends.
type AppendOptions struct {
	LeaderEpoch    int32
	Origin         Origin
	ProduceVersion int16 // of the Produce request, when a client's
	// Hold says that the records may wait in memory until the log is flushed or, once they are in a journal, until its
	// files are synced: who is killed loses them from the file, as by a power loss.
	Hold bool
}

// RecordError says what is wrong with one record of a refused batch (KIP-467).
type RecordError = record.RecordError

// AppendInfo is what an append did.
type AppendInfo struct {
	FirstOffset int64 // -1 when nothing was appended
	LastOffset  int64
	// LogAppendTime is what the records got as timestamp (ms), -1 when they keep their own. For a duplicate it is
	// the max timestamp of the batch it repeats, as Kafka has it.
	LogAppendTime int64
	StartOffset   int64 // of the log
	MaxTimestamp  int64
	// Duplicate says that the batch was in the log already; the offsets are its old ones.
	Duplicate bool
	Records   int
	Bytes     int           // appended to the log
	Errors    []RecordError // of single records, with an error
	// Position is what must be flushed, or committed, before the append can be acknowledged: the offset behind its
	// last record.
	Position int64
}

// ErrUnexpectedOffset says that batches from a leader do not continue the log.
var ErrUnexpectedOffset = errors.New("unexpected offset")

// Append appends as leader. The records, one batch when they come from a client, are judged as Kafka judges them,
// get their offsets and the leader epoch in place, and are written with one write. The bytes are not kept.
//
// Errors carry the protocol's code; AppendInfo.Errors has those of single records. KAFKA_STORAGE_ERROR wraps ErrIO,
// unless the disk is merely full.
func (l *Log) Append(records []byte, a AppendOptions, now time.Time) (AppendInfo, error) {
	c := l.Config()
	info := AppendInfo{FirstOffset: -1, LastOffset: -1, LogAppendTime: record.NoTimestamp, StartOffset: l.StartOffset(), MaxTimestamp: record.NoTimestamp}
	if c.LogAppendTime {
		info.LogAppendTime = now.UnixMilli()
	}
	var v verdict
	if err := l.validate(records, &a, &c, now, &v); err != nil {
		var invalid *record.InvalidError
		if errors.As(err, &invalid) {
			info.Errors = invalid.Records
		}
		return info, err
	}
	defer v.release()

	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return info, err
	}
	if v.producer {
		header, err := record.ParseHeader(v.batches)
		if err != nil {
			return info, err
		}
		m := markerOf(v.batches, &header)
		duplicate, err := h.producers.check(&header, m, a.Origin, l.tp)
		if err != nil {
			return info, err
		}
		if duplicate != nil {
			info.FirstOffset, info.LastOffset = duplicate.lastOffset-int64(duplicate.offsetDelta), duplicate.lastOffset
			info.LogAppendTime, info.MaxTimestamp = duplicate.timestamp, duplicate.timestamp
			info.Duplicate, info.Records = true, int(duplicate.offsetDelta)+1
			info.Position = duplicate.lastOffset + 1
			info.StartOffset = l.StartOffset()
			return info, nil
		}
	}
	if int64(len(v.batches)) > c.SegmentBytes {
		return info, kafka.RecordListTooLarge.Errorf("the record batch for %s has %d bytes; segment.bytes allows %d", l.tp, len(v.batches), c.SegmentBytes)
	}

	next := l.end.Load()
	info.FirstOffset = next
	for rest := v.batches; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			return info, err
		}
		b.SetBaseOffset(next)
		b.SetLeaderEpoch(a.LeaderEpoch)
		next, rest = b.NextOffset(), after
	}
	info.LastOffset, info.MaxTimestamp = next-1, v.maxTimestamp
	if a.LeaderEpoch > h.epochs.latest() {
		l.assignEpoch(h, a.LeaderEpoch, info.FirstOffset)
	}
	if err := l.write(h, &c, v.batches, info.LastOffset, v.maxTimestamp, v.producer, a.Hold, now); err != nil {
		info.FirstOffset, info.LastOffset = -1, -1
		return info, err
	}
	info.Records, info.Bytes = v.records, len(v.batches)
	info.Position = next
	info.StartOffset = l.StartOffset()
	return info, nil
}

// AppendFollower appends what the leader sent, with its offsets and epochs. A torn batch at the end is left out.
// Offsets must not go back; ErrUnexpectedOffset says so.
func (l *Log) AppendFollower(records []byte, now time.Time) (AppendInfo, error) {
	info := AppendInfo{FirstOffset: -1, LastOffset: -1, LogAppendTime: record.NoTimestamp, StartOffset: l.StartOffset(), MaxTimestamp: record.NoTimestamp}
	whole := records
	producer := false
	next := int64(-1)
	for rest := records; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if errors.Is(err, record.ErrTorn) {
			whole = records[:len(records)-len(rest)]
			break
		}
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			return info, kafka.CorruptMessage.Errorf("a batch for %s from its leader: %v", l.tp, err)
		}
		if b.BaseOffset() < next {
			return info, fmt.Errorf("%w: the leader of %s sent offset %d behind %d", ErrUnexpectedOffset, l.tp, b.BaseOffset(), next-1)
		}
		if info.FirstOffset < 0 {
			info.FirstOffset = b.BaseOffset()
		}
		next = b.NextOffset()
		info.Records += int(b.Count())
		info.MaxTimestamp = max(info.MaxTimestamp, b.MaxTimestamp())
		producer = producer || b.ProducerID() >= 0
		rest = after
	}
	if len(whole) == 0 {
		info.Position = l.end.Load()
		return info, nil
	}
	info.LastOffset, info.Position, info.Bytes = next-1, next, len(whole)
	c := l.Config()

	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return info, err
	}
	if end := l.end.Load(); info.FirstOffset < end {
		return info, fmt.Errorf("%w: the leader of %s sent offset %d, where %d must follow", ErrUnexpectedOffset, l.tp, info.FirstOffset, end)
	}
	// As much at once as fits in a segment.
	for len(whole) > 0 {
		run, last, greatest := 0, int64(-1), record.NoTimestamp
		for rest := whole; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil {
				return info, err
			}
			if run > 0 && int64(run+len(b)) > c.SegmentBytes {
				break
			}
			run, last, greatest, rest = run+len(b), b.LastOffset(), max(greatest, b.MaxTimestamp()), after
		}
		for rest := whole[:run]; len(rest) > 0; {
			b, after, err := record.Next(rest)
			if err != nil {
				return info, err
			}
			if b.LeaderEpoch() > h.epochs.latest() {
				l.assignEpoch(h, b.LeaderEpoch(), b.BaseOffset())
			}
			rest = after
		}
		if err := l.write(h, &c, whole[:run], last, greatest, producer, false, now); err != nil {
			return info, err
		}
		whole = whole[run:]
	}
	return info, nil
}

// write appends batches that have their offsets to the active segment, or to a new one, and takes them in. mu is held.
func (l *Log) write(h *hot, c *Config, batches []byte, last, maxTimestamp int64, producer, hold bool, now time.Time) error {
	l.writes.Add(1)
	defer l.writes.Add(1)
	seg := h.active()
	due, err := seg.ShouldRoll(segment.RollOptions{
		MaxBytes: c.SegmentBytes, MaxAge: c.maxSegmentAge(), MaxIndexBytes: c.SegmentIndexBytes,
		AppendBytes: len(batches), MaxTimestamp: maxTimestamp, LastOffset: last, Now: now,
	})
	if err != nil {
		return l.fail("look at the active segment", err)
	}
	if due {
		if err := l.roll(h, now); err != nil {
			return err
		}
		seg = h.active()
	}
	at := seg.Size()
	if err := seg.Append(batches, c.IndexIntervalBytes, hold, now); err != nil {
		if IsFull(err) && !errors.Is(err, segment.ErrPartial) {
			return ioError(fmt.Errorf("%s: append: %w", l.tp, err))
		}
		return l.broken("append", err)
	}
	if producer {
		if err := l.takeIn(h, seg, batches); err != nil {
			return l.broken("note a producer", err)
		}
	}
	h.sinceSnap += int64(len(batches))

	l.view.Lock()
	l.end.Store(last + 1)
	l.size += int64(len(batches))
	l.maxTime = max(l.maxTime, maxTimestamp)
	if len(h.segs) == 1 {
		l.oldestTime = max(l.oldestTime, maxTimestamp)
	}
	h.noteDirty(seg)
	h.marks.add(mark{offset: last + 1, seg: seg, position: at + int64(len(batches))})
	l.view.Unlock()
	return nil
}

// broken is fail for an append that left the files in a state that only recovery can judge, even if the disk is
// merely full.
func (l *Log) broken(doing string, err error) error {
	err = ioError(fmt.Errorf("%s: %s: %w", l.tp, doing, err))
	l.view.Lock()
	if l.failed == nil {
		l.failed = err
	}
	l.view.Unlock()
	return err
}

// takeIn notes the producers of batches that were written.
func (l *Log) takeIn(h *hot, seg *segment.Segment, batches []byte) error {
	for rest := batches; len(rest) > 0; {
		b, after, err := record.Next(rest)
		if err != nil {
			return err
		}
		rest = after
		if b.ProducerID() < 0 {
			continue
		}
		header, err := record.ParseHeader(b)
		if err != nil {
			return err
		}
		if err := l.takeInBatch(h, seg, &header, b, 0); err != nil {
			return err
		}
	}
	l.undecided.Store(h.producers.firstOngoing())
	return nil
}

// takeInBatch notes the producer of a batch; bytes are needed of control batches alone. A transaction that it aborts
// goes to the segment's index when its marker lies at or above the offset unindexed.
func (l *Log) takeInBatch(h *hot, seg *segment.Segment, header *record.Header, bytes []byte, unindexed int64) error {
	e, err := h.producers.apply(header, markerOf(bytes, header))
	if err != nil || e.last < 0 {
		return err
	}
	l.view.Lock()
	h.decided = append(h.decided, e.txn)
	l.view.Unlock()
	if !e.aborted || e.last < unindexed {
		return nil
	}
	h.noteUnindexed(seg)
	return seg.Txns.Append(AbortedTxn{ProducerID: e.producerID, FirstOffset: e.first, LastOffset: e.last, LastStableOffset: e.stable})
}

// assignEpoch notes that an epoch begins. mu is held.
func (l *Log) assignEpoch(h *hot, epoch int32, start int64) {
	l.view.Lock()
	h.epochs.assign(epoch, start)
	l.lastEpoch.Store(h.epochs.latest())
	l.view.Unlock()
}

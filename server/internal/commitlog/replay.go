package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// readEpochs reads the epoch file, as far as it is believed; what it says of the log's tail may be of before a
// truncation. usable is false when there is no file, or none that can be read: then the batches tell.
func (l *Log) readEpochs(h *hot, s scope) (usable bool, err error) {
	entries, err := ReadEpochs(l.fs(), l.path(EpochFile))
	if errors.Is(err, ErrIO) {
		return false, err
	}
	if err != nil {
		l.logger.Warn("the epoch file cannot be read and is made anew from the batches", "partition", l.tp, "err", err)
	}
	h.epochs = epochs{entries: entries, changed: err != nil, saved: -1}
	h.epochs.truncateEnd(s.believed())
	h.epochs.saved = h.epochs.latest()
	return err == nil && entries != nil, nil
}

// loadEpochs adds to the epochs what the batches above the recovery point say, or all batches when there was no file.
func (l *Log) loadEpochs(h *hot, usable bool) error {
	from, end := l.recovery.Load(), l.end.Load()
	if !usable {
		from = h.segs[0].Base
	}
	if from < end {
		h.epochs.truncateEnd(from)
		err := l.eachHeader(h, from, end, func(b *segment.Batch) {
			if b.LeaderEpoch > h.epochs.latest() {
				h.epochs.assign(b.LeaderEpoch, b.BaseOffset)
			}
		})
		if err != nil {
			return err
		}
	}
	h.epochs.truncateEnd(end)
	h.epochs.truncateStart(l.start.Load())
	return nil
}

// eachHeader walks over the batches that end in [from, to).
func (l *Log) eachHeader(h *hot, from, to int64, fn func(b *segment.Batch)) error {
	for i := find(h.segs, from); i < len(h.segs) && h.segs[i].Base < to; i++ {
		err := eachHeaderIn(h.segs[i], from, to, func(b *segment.Batch, _ func() ([]byte, error)) error {
			fn(b)
			return nil
		})
		if err != nil {
			return ioError(fmt.Errorf("%s: %w", l.tp, err))
		}
	}
	return nil
}

func eachHeaderIn(seg *segment.Segment, from, to int64, fn func(b *segment.Batch, bytes func() ([]byte, error)) error) error {
	at := segment.OffsetEntry{Offset: seg.Base}
	if from > seg.Base {
		var err error
		if at, err = seg.Offsets.Lookup(from); err != nil {
			return err
		}
	}
	f, err := seg.Log.Acquire()
	if err != nil {
		return err
	}
	defer seg.Log.Release()
	sc := seg.Scan(f, at, seg.Size(), segment.HeaderWindow)
	defer func() { sc.Close() }()
	for {
		b, err := sc.Next()
		if errors.Is(err, segment.ErrIndexCorrupt) { // from the beginning, then; who looks for a record will rebuild it
			sc.Close()
			sc = segment.NewScanner(f, 0, seg.Size(), segment.HeaderWindow)
			continue
		}
		if err == io.EOF || err == nil && b.LastOffset() >= to {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: position %d: %w", seg.Log.Path(), sc.Position(), err)
		}
		if b.LastOffset() < from {
			continue
		}
		if err := fn(&b, sc.Bytes); err != nil {
			return err
		}
	}
}

// loadProducers reads the newest snapshot that can be believed and replays the batches behind it. Snapshots of
// segments that have none are written on the way, as rolling would have.
func (l *Log) loadProducers(h *hot, snapshots []int64, s scope, now time.Time) error {
	end := l.end.Load()
	believed := end
	if !s.clean {
		// A snapshot above the recovery point may be of before a truncation; that of the first segment was made
		// durable before the batches below went.
		believed = min(end, max(s.trusted, h.segs[0].Base))
	}
	h.snapshots = snapshots
	l.dropSnapshots(h, func(o int64) bool { return o > believed })
	if !s.clean { // that of the recovery point may be younger than that
		h.unsynced = slices.DeleteFunc(slices.Clone(h.snapshots), func(o int64) bool { return o < s.trusted })
	}
	if err := l.trustTxns(h, believed); err != nil {
		return err
	}
	known := len(h.snapshots) > 0
	from, err := l.restoreProducers(h, now)
	if err != nil {
		return err
	}
	if s.clean && !known {
		return nil // a log whose producers were never written down has none, as Kafka takes it
	}
	if err := l.history(h, from); err != nil {
		return err
	}
	if n := len(h.snapshots); n > 0 && h.snapshots[n-1] != h.segs[find(h.segs, h.snapshots[n-1])].Base {
		h.between = h.snapshots[n-1]
	}
	if err := l.replay(h, from, end, believed); err != nil {
		return err
	}
	h.producers.changed = false
	return h.producers.expire(now, l.expiration)
}

// restoreProducers takes in the newest snapshot that can be read, and returns from which offset on the batches must be
// replayed.
func (l *Log) restoreProducers(h *hot, now time.Time) (from int64, err error) {
	for n := len(h.snapshots); n > 0; n = len(h.snapshots) {
		newest := h.snapshots[n-1]
		err := l.readSnapshot(newest, func(e SnapshotEntry) error {
			if e.TxnFirstOffset < 0 && now.UnixMilli()-e.Timestamp >= l.expiration.Milliseconds() {
				return nil
			}
			return h.producers.restore(e)
		})
		if err == nil {
			return max(h.segs[0].Base, newest), nil
		}
		if !errors.Is(err, ErrSnapshotCorrupt) {
			return 0, ioError(fmt.Errorf("%s: %w", l.tp, err))
		}
		l.logger.Warn("a producer snapshot is not usable and is removed; an older one and the batches behind it say the same", "partition", l.tp, "err", err)
		h.producers.close()
		h.producers = l.newProducers()
		l.dropSnapshots(h, func(o int64) bool { return o == newest })
	}
	return h.segs[0].Base, nil
}

func (l *Log) readSnapshot(offset int64, fn func(SnapshotEntry) error) error {
	return ReadSnapshot(l.fs(), l.path(segment.FileName(offset, segment.SnapshotSuffix)), fn)
}

// trustTxns makes the transaction indexes complete up to an offset and empty from there on, where replay goes on. One
// whose bytes cannot be right is made anew.
func (l *Log) trustTxns(h *hot, below int64) error {
	for i, seg := range h.segs {
		err := seg.Txns.Verify()
		if errors.Is(err, segment.ErrIndexCorrupt) {
			l.logger.Warn("a transaction index is not usable and is made anew", "partition", l.tp, "segment", seg.Base, "err", err)
			err = l.rebuildTxns(h, i, below)
		} else if err == nil && h.nextBase(i, math.MaxInt64) > below {
			err = seg.Txns.TruncateTo(below)
		}
		if err != nil {
			return ioError(fmt.Errorf("%s: transaction index: %w", l.tp, err))
		}
	}
	return nil
}

// rebuildTxns makes the transaction index of the segment at i anew, up to an offset.
func (l *Log) rebuildTxns(h *hot, i int, below int64) error {
	seg := h.segs[i]
	if err := seg.Txns.Reset(); err != nil {
		return err
	}
	h.noteUnindexed(seg)
	// Those that began before the segment are in a snapshot, or in the segments behind it.
	open, from := txns{}, h.segs[0].Base
	for n := len(h.snapshots) - 1; n >= 0; n-- {
		if h.snapshots[n] > seg.Base || l.readSnapshot(h.snapshots[n], open.restore) != nil {
			clear(open)
			continue
		}
		from = max(from, h.snapshots[n])
		break
	}
	for _, s := range h.segs[find(h.segs, from) : i+1] {
		err := eachHeaderIn(s, from, below, func(b *segment.Batch, bytes func() ([]byte, error)) error {
			raw, err := controlBytes(b, bytes)
			if err != nil {
				return err
			}
			if aborted, ok := open.step(b, raw); ok && aborted.LastOffset >= seg.Base && aborted.FirstOffset >= 0 {
				return seg.Txns.Append(aborted)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// controlBytes reads the bytes of a batch when it is one that may end a transaction.
func controlBytes(b *segment.Batch, bytes func() ([]byte, error)) ([]byte, error) {
	if b.ProducerID < 0 || !b.Control() {
		return nil, nil
	}
	return bytes()
}

// replay takes in the producers of the batches in [from, to). Aborted transactions whose marker lies at or above
// unindexed are added to the transaction indexes.
func (l *Log) replay(h *hot, from, to, unindexed int64) error {
	h.decided = slices.DeleteFunc(h.decided, func(t txn) bool { return t.last >= from })
	for i := find(h.segs, from); i < len(h.segs) && from < to; i++ {
		seg := h.segs[i]
		if n := len(h.snapshots); (seg.Base > from || i > 0 && seg.Base == from) && (n == 0 || h.snapshots[n-1] < seg.Base) {
			if err := l.snapshot(h, seg.Base); err != nil {
				return l.fail("write a producer snapshot", err)
			}
		}
		err := eachHeaderIn(seg, from, to, func(b *segment.Batch, bytes func() ([]byte, error)) error {
			raw, err := controlBytes(b, bytes)
			if err != nil || b.ProducerID < 0 {
				return err
			}
			return l.takeInBatch(h, seg, &b.Header, raw, unindexed)
		})
		if err != nil {
			return ioError(fmt.Errorf("%s: replay producers: %w", l.tp, err))
		}
	}
	return nil
}

package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// contents is what a partition's directory holds.
type contents struct {
	logs      []int64 // base offsets, ascending
	indexes   map[int64]bool
	snapshots []int64 // ascending
}

// list reads the directory and finishes what a stop interrupted: it removes files that were being deleted and
// compaction output that is not complete, and puts complete output in the place of what it covers.
func (l *Log) list() (contents, error) {
	c := contents{indexes: map[int64]bool{}}
	entries, err := l.fs().ReadDir(l.Dir())
	if err != nil {
		return c, err
	}
	remove := func(name string) error {
		if err := l.fs().Remove(l.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	minCleaned := int64(math.MaxInt64)
	var swaps []int64
	var drop []string
	for _, e := range entries {
		name := e.Name()
		offset, kind, state, ok := segment.ParseFileName(name)
		switch {
		case strings.HasPrefix(name, spillFile) || strings.HasSuffix(name, ".tmp"):
			drop = append(drop, name)
		case !ok:
		case state == segment.DeletedSuffix:
			drop = append(drop, name)
		case state == segment.CleanedSuffix:
			minCleaned = min(minCleaned, offset)
			drop = append(drop, name)
		case state == segment.SwapSuffix && kind == segment.LogSuffix:
			swaps = append(swaps, offset)
		case state == segment.SwapSuffix:
			drop = append(drop, name) // an index is rebuilt
		case kind == segment.LogSuffix:
			c.logs = append(c.logs, offset)
		case kind == segment.IndexSuffix:
			c.indexes[offset] = true
		case kind == segment.SnapshotSuffix:
			c.snapshots = append(c.snapshots, offset)
		}
	}
	for _, name := range drop {
		if err := remove(name); err != nil {
			return c, err
		}
	}
	for _, base := range swaps {
		swap := segment.FileName(base, segment.LogSuffix) + segment.SwapSuffix
		if base >= minCleaned {
			// One segment was being split into several and not all of them are complete: the original is still there.
			if err := remove(swap); err != nil {
				return c, err
			}
			continue
		}
		next, err := endOfFile(l.fs(), l.path(swap), base)
		if err != nil {
			return c, err
		}
		kept := c.logs[:0]
		for _, old := range c.logs {
			if old < base || old >= next && old != base {
				kept = append(kept, old)
				continue
			}
			for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix} {
				if err := remove(segment.FileName(old, suffix)); err != nil {
					return c, err
				}
			}
			delete(c.indexes, old)
		}
		c.logs = append(kept, base)
		if err := l.fs().Rename(l.path(swap), l.path(segment.FileName(base, segment.LogSuffix))); err != nil {
			return c, err
		}
		l.logger.Info("compaction that was interrupted is complete now", "partition", l.tp, "segment", base)
	}
	sort.Slice(c.logs, func(i, j int) bool { return c.logs[i] < c.logs[j] })
	sort.Slice(c.snapshots, func(i, j int) bool { return c.snapshots[i] < c.snapshots[j] })
	return c, nil
}

// endOfFile returns the offset behind the last whole batch of a file.
func endOfFile(fsys vfs.FS, name string, base int64) (int64, error) {
	next := base
	err := ScanFile(fsys, name, func(b segment.Batch, _ []byte) error {
		next = b.LastOffset() + 1
		return nil
	})
	var bad *BadBatch
	if err != nil && !errors.As(err, &bad) {
		return 0, err
	}
	return next, nil
}

// scope says what to believe when a log is read from its files.
type scope struct {
	trusted int64 // everything below is durable with its indexes
	floor   int64 // everything below was durable
	clean   bool  // everything is
}

// open reads the log from its files.
func (l *Log) open(o *Options, now time.Time) error {
	dir, err := l.list()
	if err != nil {
		return ioError(fmt.Errorf("%s: %w", l.tp, err))
	}
	h := &hot{between: -1, producers: l.newProducers(), dirSeq: 1}
	s := scope{trusted: o.RecoveryPoint, floor: o.Floor, clean: o.Clean}
	if len(dir.logs) == 0 {
		if s.floor > max(o.StartOffset, 0) {
			return &Damage{Partition: l.tp, From: max(o.StartOffset, 0), To: s.floor, File: l.Dir(), Cause: errors.New("the directory holds no segment")}
		}
		seg, err := l.createSegment(max(o.StartOffset, 0), now)
		if err != nil {
			return l.fail("begin a segment", err)
		}
		h.segs = []*segment.Segment{seg}
		h.created = true
	} else if err := l.openSegments(h, &dir, s, o.Progress, now); err != nil {
		return err
	}
	end := l.end.Load()
	if len(dir.logs) == 0 {
		end = h.segs[0].Base
	}
	start := max(o.StartOffset, h.segs[0].Base)
	if start > end {
		if s.floor > end {
			return &Damage{Partition: l.tp, From: end, To: s.floor, File: h.active().Log.Path(), Position: h.active().Size(), Cause: errors.New("the log ends below its start offset")}
		}
		l.logger.Warn("the log ends below its start offset and begins anew there", "partition", l.tp, "start", start, "end", end)
		l.hot = h
		l.end.Store(end)
		return l.TruncateFullyAndStartAt(start)
	}
	l.start.Store(start)
	l.end.Store(end)
	l.flushed.Store(min(end, max(s.trusted, s.floor)))
	l.recovery.Store(min(end, s.trusted))
	if s.clean {
		l.flushed.Store(end)
		l.recovery.Store(end)
		h.dirSynced = h.dirSeq
	}
	if len(dir.logs) == 0 {
		l.flushed.Store(end)
		l.recovery.Store(end)
	}
	if err := l.loadEpochs(h); err != nil {
		return err
	}
	if err := l.loadProducers(h, dir.snapshots, s, now); err != nil {
		return err
	}
	if !l.topicID.IsZero() {
		if _, err := ReadPartitionMetadata(l.fs(), l.Dir()); err != nil {
			if errors.Is(err, ErrIO) {
				return err
			}
			// Missing or empty: the crash came before the first flush. An id of another topic is seen by who asked.
			if err := vfs.WriteFile(l.fs(), l.path(PartitionMetadataFile), partitionMetadata(l.topicID)); err != nil {
				return l.fail("write "+PartitionMetadataFile, err)
			}
			h.created, h.dirSynced = true, h.dirSeq-1
		}
	}
	return l.publish(h)
}

// rewarm reads a cold log from its files, which nobody has touched since it cooled or was closed cleanly. mu is held.
func (l *Log) rewarm() (*hot, error) {
	dir, err := l.list()
	if err != nil {
		return nil, ioError(fmt.Errorf("%s: %w", l.tp, err))
	}
	end := l.end.Load()
	h := &hot{between: -1, producers: l.newProducers(), dirSeq: 1, dirSynced: 1}
	s := scope{trusted: end, floor: end, clean: true}
	now := time.Time{} // ages count from the files' own times, and nobody expires
	if len(dir.logs) == 0 {
		err = &Damage{Partition: l.tp, From: l.start.Load(), To: end, File: l.Dir(), Cause: errors.New("the directory holds no segment")}
	} else if err = l.openSegments(h, &dir, s, nil, now); err == nil && l.end.Load() != end {
		err = &Damage{Partition: l.tp, From: min(end, l.end.Load()), To: end, File: h.active().Log.Path(), Position: h.active().Size(),
			Cause: fmt.Errorf("the log ends at offset %d where it ended at %d", l.end.Load(), end)}
	}
	l.end.Store(end)
	if err == nil {
		err = l.loadEpochs(h)
	}
	if err == nil {
		err = l.loadProducers(h, dir.snapshots, s, now)
	}
	if err == nil {
		err = l.publish(h)
	}
	if err != nil {
		h.producers.close()
		return nil, ioError(err)
	}
	return h, nil
}

// publish makes the log hot with what was read.
func (l *Log) publish(h *hot) error {
	size, greatest := int64(0), record.NoTimestamp
	for _, seg := range h.segs {
		size += seg.Size()
		t, err := seg.MaxTime()
		if err != nil {
			return ioError(err)
		}
		greatest = max(greatest, t.Timestamp)
	}
	oldest, err := h.segs[0].LargestTimestamp()
	if err != nil {
		return ioError(err)
	}
	l.lastEpoch.Store(max(l.lastEpoch.Load(), h.epochs.latest()))
	l.segments.Store(int32(len(h.segs)))
	l.undecided.Store(h.producers.firstOngoing())
	l.view.Lock()
	l.size, l.maxTime, l.oldestTime = size, greatest, oldest
	h.marks.add(mark{offset: l.end.Load(), seg: h.active(), position: h.active().Size()})
	l.hot = h
	l.view.Unlock()
	return nil
}

// openSegments opens the segments and sets the log's end. What lies above the trusted offset is scanned.
func (l *Log) openSegments(h *hot, dir *contents, s scope, progress func(scanned, total int64), now time.Time) error {
	c := l.Config()
	total, scanned := int64(0), int64(0)
	segs := make([]*segment.Segment, len(dir.logs))
	recoverFrom := len(segs)
	for i, base := range dir.logs {
		segs[i] = segment.New(l.handles, l.Dir(), base)
		segs[i].Jitter = l.jitter(base, &c)
		info, err := l.fs().Stat(segs[i].Log.Path())
		if err != nil {
			return ioError(err)
		}
		segs[i].Open(info.Size(), info.ModTime(), now)
		last := i == len(segs)-1
		if !s.clean && (last || dir.logs[i+1] > s.trusted) {
			recoverFrom = min(recoverFrom, i)
			total += info.Size()
		}
	}
	end := dir.logs[0]
	for i, seg := range segs {
		last := i == len(segs)-1
		trusted := s.trusted
		switch {
		case i >= recoverFrom:
		case l.indexUsable(seg, dir):
			if last { // the last segment of a clean stop: where does it end?
				next, err := l.tail(seg, s)
				if err != nil {
					return err
				}
				end = next
			} else {
				end = dir.logs[i+1]
			}
			continue
		default:
			l.logger.Info("the index of a segment is missing or not usable and is rebuilt", "partition", l.tp, "segment", seg.Base)
			trusted = 0
			h.noteUnindexed(seg)
		}
		fileSize := seg.Size()
		r, err := seg.Recover(trusted, c.IndexIntervalBytes, nil)
		if err != nil {
			return ioError(fmt.Errorf("%s: recover: %w", l.tp, err))
		}
		scanned += fileSize
		if progress != nil && i >= recoverFrom {
			progress(scanned, total)
		}
		end = r.Next
		if !last && i < recoverFrom {
			end = dir.logs[i+1]
		}
		if r.Bad == nil {
			if i < recoverFrom {
				seg.MarkSynced(r.Size)
			} else {
				h.dirty = append(h.dirty, seg)
				h.noteUnindexed(seg)
			}
			continue
		}
		if floor := s.durable(i < recoverFrom); r.Next < floor {
			to := floor
			if to == math.MaxInt64 {
				to = -1
			}
			return &Damage{Partition: l.tp, From: r.Next, To: to, File: seg.Log.Path(), Position: r.Size, Cause: r.Bad}
		}
		l.logger.Warn("the log ended with writes that were not complete; they were cut", "partition", l.tp, "offset", r.Next,
			"file", seg.Log.Path(), "position", r.Size, "bytes", r.FileSize-r.Size, "segments_behind", len(segs)-1-i, "why", r.Bad)
		for _, later := range segs[i+1:] {
			if err := later.Remove(); err != nil {
				return l.fail("remove a segment behind a torn one", err)
			}
		}
		if err := seg.TruncateToPosition(r.Size, r.Next); err != nil {
			return l.fail("cut a torn tail", err)
		}
		segs = segs[:i+1]
		if i < recoverFrom {
			recoverFrom = i
		}
		h.dirty = append(h.dirty, seg)
		h.noteUnindexed(seg)
		break
	}
	if end < s.floor {
		last := segs[len(segs)-1]
		return &Damage{Partition: l.tp, From: end, To: s.floor, File: last.Log.Path(), Position: last.Size(), Cause: errors.New("the log ends early")}
	}
	for _, seg := range segs {
		if seg.Size() > 0 || seg == segs[len(segs)-1] || seg == segs[0] {
			h.segs = append(h.segs, seg)
			continue
		}
		// An empty segment in the middle: a roll that was followed by nothing.
		if err := seg.Remove(); err != nil {
			return l.fail("remove an empty segment", err)
		}
	}
	for _, seg := range h.segs[:len(h.segs)-1] {
		for _, u := range h.unindexed {
			if u == seg {
				if err := seg.Seal(); err != nil {
					return l.fail("seal a segment", err)
				}
			}
		}
	}
	l.end.Store(end)
	return nil
}

// durable is the offset below which a bad batch is damage.
func (s scope) durable(belowTrusted bool) int64 {
	if s.clean || belowTrusted {
		return math.MaxInt64
	}
	return s.floor
}

// indexUsable reports whether the offset index of a segment that is not scanned can be relied on.
func (l *Log) indexUsable(seg *segment.Segment, dir *contents) bool {
	if !dir.indexes[seg.Base] {
		return seg.Size() == 0
	}
	info, err := l.fs().Stat(l.path(segment.FileName(seg.Base, segment.IndexSuffix)))
	if err != nil || info.Size()%8 != 0 {
		return false
	}
	info, err = l.fs().Stat(l.path(segment.FileName(seg.Base, segment.TimeIndexSuffix)))
	if err != nil || info.Size()%12 != 0 {
		return false
	}
	last, ok, err := seg.Offsets.Last()
	return err == nil && (!ok || last.Position < seg.Size())
}

// tail walks from the last index entry to the end of the last segment.
func (l *Log) tail(seg *segment.Segment, s scope) (next int64, err error) {
	at, _, err := seg.Offsets.Last()
	if err != nil {
		return 0, ioError(err)
	}
	f, err := seg.Log.AcquireExisting()
	if err != nil {
		return 0, ioError(err)
	}
	defer seg.Log.Release()
	sc := segment.NewScanner(f, at.Position, seg.Size(), segment.HeaderWindow)
	defer sc.Close()
	next = seg.Base
	for {
		b, err := sc.Next()
		switch {
		case err == io.EOF:
			return next, nil
		case err != nil && segment.IsBad(err):
			return 0, &Damage{Partition: l.tp, From: next, To: -1, File: seg.Log.Path(), Position: sc.Position(), Cause: err}
		case err != nil:
			return 0, ioError(err)
		}
		next = b.LastOffset() + 1
	}
}

// loadEpochs reads the epoch file and adds what the batches above the recovery point say.
func (l *Log) loadEpochs(h *hot) error {
	entries, err := ReadEpochs(l.fs(), l.path(EpochFile))
	if errors.Is(err, ErrIO) {
		return err
	}
	from := l.recovery.Load()
	if err != nil || entries == nil && l.end.Load() > h.segs[0].Base {
		if err != nil {
			l.logger.Warn("the epoch file cannot be read and is made anew from the batches", "partition", l.tp, "err", err)
		}
		from, h.epochs.changed = 0, true
	}
	if err == nil {
		h.epochs.entries = entries
	}
	end := l.end.Load()
	if from < end {
		// A file of before a truncation may say of what lies above what is not true any more.
		h.epochs.truncateEnd(from)
		err := l.eachHeader(h, from, end, func(_ *segment.Segment, b *segment.Batch, _ func() ([]byte, error)) error {
			if b.LeaderEpoch >= 0 && b.LeaderEpoch > h.epochs.latest() {
				h.epochs.assign(b.LeaderEpoch, b.BaseOffset)
			}
			return nil
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
func (l *Log) eachHeader(h *hot, from, to int64, fn func(seg *segment.Segment, b *segment.Batch, bytes func() ([]byte, error)) error) error {
	for i := find(h.segs, from); i < len(h.segs); i++ {
		seg := h.segs[i]
		if seg.Base >= to {
			break
		}
		if err := eachHeaderIn(seg, from, to, fn); err != nil {
			return ioError(fmt.Errorf("%s: %w", l.tp, err))
		}
	}
	return nil
}

func eachHeaderIn(seg *segment.Segment, from, to int64, fn func(seg *segment.Segment, b *segment.Batch, bytes func() ([]byte, error)) error) error {
	at := segment.OffsetEntry{}
	if from > seg.Base {
		var err error
		if at, err = seg.Offsets.Lookup(from); err != nil {
			return err
		}
	}
	f, err := seg.Log.AcquireExisting()
	if err != nil {
		return err
	}
	defer seg.Log.Release()
	sc := segment.NewScanner(f, at.Position, seg.Size(), segment.HeaderWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
		if err == io.EOF || err == nil && b.LastOffset() >= to {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: position %d: %w", seg.Log.Path(), sc.Position(), err)
		}
		if b.LastOffset() < from {
			continue
		}
		if err := fn(seg, &b, sc.Bytes); err != nil {
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
	from := h.segs[0].Base
	for n := len(h.snapshots); n > 0; n = len(h.snapshots) {
		newest := h.snapshots[n-1]
		name := l.path(segment.FileName(newest, segment.SnapshotSuffix))
		err := ReadSnapshot(l.fs(), name, func(e SnapshotEntry) error {
			if e.TxnFirstOffset < 0 && now.UnixMilli()-e.Timestamp >= l.expiration.Milliseconds() {
				return nil
			}
			return h.producers.restore(e)
		})
		if err == nil {
			from = max(from, newest)
			break
		}
		if !errors.Is(err, ErrSnapshotCorrupt) {
			return ioError(fmt.Errorf("%s: %w", l.tp, err))
		}
		l.logger.Warn("a producer snapshot is not usable and is removed; an older one and the batches behind it say the same", "partition", l.tp, "err", err)
		h.producers.close()
		h.producers = l.newProducers()
		l.dropSnapshots(h, func(o int64) bool { return o == newest })
	}
	if s.clean && len(h.snapshots) == 0 {
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

// replay takes in the producers of the batches in [from, to). Aborted transactions whose marker lies at or above
// unindexed are added to the transaction indexes.
func (l *Log) replay(h *hot, from, to, unindexed int64) error {
	for i := find(h.segs, from); i < len(h.segs) && from < to; i++ {
		seg := h.segs[i]
		if seg.Base > from || i > 0 && seg.Base == from {
			if n := len(h.snapshots); n == 0 || h.snapshots[n-1] < seg.Base {
				if err := l.snapshot(h, seg.Base); err != nil {
					return l.fail("write a producer snapshot", err)
				}
			}
		}
		cut := false
		err := eachHeaderIn(seg, from, to, func(seg *segment.Segment, b *segment.Batch, bytes func() ([]byte, error)) error {
			if b.ProducerID < 0 {
				return nil
			}
			var m endMarker
			if b.Control() {
				raw, err := bytes()
				if err != nil {
					return err
				}
				m = markerOf(raw, &b.Header)
			}
			e, err := h.producers.apply(&b.Header, m)
			if err != nil {
				return err
			}
			if e.last < 0 || !e.aborted || e.last < unindexed {
				return nil
			}
			if !cut {
				if err := seg.Txns.TruncateTo(max(unindexed, seg.Base)); err != nil {
					return err
				}
				cut = true
				h.noteUnindexed(seg)
			}
			return seg.Txns.Append(AbortedTxn{ProducerID: e.producerID, FirstOffset: e.first, LastOffset: e.last, LastStableOffset: e.stable})
		})
		if err != nil {
			return ioError(fmt.Errorf("%s: replay producers: %w", l.tp, err))
		}
	}
	return nil
}

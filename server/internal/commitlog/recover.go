package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// scope says what to believe when a log is read from its files.
type scope struct {
	start   int64 // of the log, as a checkpoint has it; -1 when none does
	saved   bool  // nothing between the start and the first segment was let go
	trusted int64 // everything below is durable with its indexes
	floor   int64 // everything below was durable. Invariant: trusted <= floor
	clean   bool  // everything is
	unknown bool  // whether the topic is a compacted one
}

// open reads the log from its files.
func (l *Log) open(o *Options, now time.Time) error {
	dir, err := l.list()
	if err != nil {
		return ioError(fmt.Errorf("%s: %w", l.tp, err))
	}
	h := &hot{between: -1, producers: l.newProducers(), dirSeq: 1}
	s := scope{start: o.StartOffset, trusted: o.RecoveryPoint, floor: max(o.Floor, o.RecoveryPoint), clean: o.Clean, unknown: o.PolicyUnknown}
	if o.StartSaved && !o.Clean {
		s.start, s.saved = max(s.start, 0), true
	}
	usable, err := l.readEpochs(h, s)
	if err != nil {
		return err
	}
	if len(dir.logs) == 0 {
		err = l.openEmpty(h, s, now)
	} else {
		err = l.openSegments(h, &dir, s, o.Progress, now)
	}
	if err != nil {
		return err
	}
	end := l.end.Load()
	start := max(s.start, h.segs[0].Base)
	if s.saved {
		if start = s.start; h.segs[0].Base > start {
			h.holes = append([]error{l.hole(start, h.segs[0])}, h.holes...)
		}
	}
	if start > end {
		if s.floor > end {
			return &Damage{Partition: l.tp, From: end, To: s.floor, File: h.active().Log.Path(), Position: h.active().Size(), Cause: errors.New("the log ends below its start offset")}
		}
		l.logger.Warn("the log ends below its start offset and begins anew there", "partition", l.tp, "start", start, "end", end)
		l.hot = h
		return l.TruncateFullyAndStartAt(start)
	}
	l.start.Store(start)
	switch {
	case s.clean:
		l.flushed.Store(end)
		l.recovery.Store(end)
		h.dirSynced = h.dirSeq
	case len(dir.logs) == 0:
		l.flushed.Store(end)
		l.recovery.Store(end)
	default:
		l.flushed.Store(min(end, s.floor))
		l.recovery.Store(min(end, s.trusted))
		h.created = s.trusted <= h.segs[0].Base // no checkpoint has made the directory itself durable, as far as is known
	}
	if err := l.loadEpochs(h, usable); err != nil {
		return err
	}
	if err := l.loadProducers(h, dir.snapshots, s, now); err != nil {
		return err
	}
	if err := l.restoreMetadata(h); err != nil {
		return err
	}
	if err := l.publish(h); err != nil {
		return err
	}
	if l.asCreated(h, &dir) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.view.Lock()
		defer l.view.Unlock()
		l.drop(h)
	}
	return nil
}

// asCreated reports whether a log that was opened is what Create leaves, and so can be cold as that one is: of the many
// logs that nobody has used yet, none takes memory or is synced because the last stop was unclean.
func (l *Log) asCreated(h *hot, dir *contents) bool {
	c := l.Config()
	return l.end.Load() == 0 && !c.Preallocate && len(h.segs) == 1 && h.active().Size() == 0 && len(dir.snapshots) == 0 &&
		len(h.epochs.entries) == 0 && !h.epochs.changed && len(h.doomed) == 0
}

// openEmpty begins the log of a directory that holds no segment: the crash came before its first flush.
func (l *Log) openEmpty(h *hot, s scope, now time.Time) error {
	base := max(s.start, 0)
	if s.floor > base {
		return &Damage{Partition: l.tp, From: base, To: s.floor, File: l.Dir(), Cause: errors.New("the directory holds no segment")}
	}
	seg, err := l.createSegment(base, now)
	if err != nil {
		return l.fail("begin a segment", err)
	}
	h.segs, h.created = []*segment.Segment{seg}, true
	l.end.Store(base)
	return nil
}

// restoreMetadata writes a partition.metadata that is missing or empty: the crash came before the first flush. That
// it has the id of another topic is seen by who asked.
func (l *Log) restoreMetadata(h *hot) error {
	if l.topicID.IsZero() {
		return nil
	}
	_, err := ReadPartitionMetadata(l.fs(), l.Dir())
	if err == nil || errors.Is(err, ErrIO) {
		return err
	}
	if err := vfs.WriteFile(l.fs(), l.path(PartitionMetadataFile), partitionMetadata(l.topicID)); err != nil {
		return l.fail("write "+PartitionMetadataFile, err)
	}
	h.created, h.dirSynced = true, h.dirSeq-1
	return nil
}

// rewarm reads a cold log from its files, which nobody has touched since it cooled or was closed cleanly. One that never
// held a record may have lost them: a clean stop does not sync what nobody used. mu is held.
func (l *Log) rewarm() (*hot, error) {
	end := l.end.Load()
	if end == 0 {
		if err := l.fs().MkdirAll(l.Dir(), 0o755); err != nil {
			return nil, ioError(fmt.Errorf("%s: %w", l.tp, err))
		}
	}
	dir, err := l.list()
	if isMissing(err) {
		return nil, &Damage{Partition: l.tp, From: l.start.Load(), To: end, File: l.Dir(), Cause: err}
	}
	if err != nil {
		return nil, ioError(fmt.Errorf("%s: %w", l.tp, err))
	}
	h := &hot{between: -1, producers: l.newProducers(), dirSeq: 1, dirSynced: 1}
	if end == 0 { // it may never have been synced
		h.created, h.dirSynced = true, 0
	}
	s := scope{start: l.start.Load(), trusted: end, floor: end, clean: true}
	now := time.Time{} // ages count from the files' own times, and nobody expires
	usable, err := l.readEpochs(h, s)
	if err != nil {
		return nil, err
	}
	if len(dir.logs) == 0 && end == 0 {
		if err = l.openEmpty(h, s, now); err == nil {
			err = l.restoreMetadata(h)
		}
	} else if len(dir.logs) == 0 {
		err = &Damage{Partition: l.tp, From: l.start.Load(), To: end, File: l.Dir(), Cause: errors.New("the directory holds no segment")}
	} else if err = l.openSegments(h, &dir, s, nil, now); err == nil && l.end.Load() != end {
		err = &Damage{Partition: l.tp, From: min(end, l.end.Load()), To: end, File: h.active().Log.Path(), Position: h.active().Size(),
			Cause: fmt.Errorf("the log ends at offset %d where it ended at %d", l.end.Load(), end)}
	}
	l.end.Store(end)
	if err == nil && end > 0 {
		err = l.lookForHoles(h)
	}
	if err == nil {
		err = l.loadEpochs(h, usable)
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

// lookForHoles refuses reads of what is missing inside a log that has fewer segments, or others, than when it was last in
// use. The rest of it is served. mu is held.
func (l *Log) lookForHoles(h *hot) error {
	size := int64(0)
	for _, seg := range h.segs {
		size += seg.Size()
	}
	if size == l.Size() && len(h.segs) == l.NumSegments() {
		return nil
	}
	var found []error
	if hole := l.hole(l.start.Load(), h.segs[0]); hole != nil {
		found = append(found, hole)
	}
	compacted := l.Config().Compact
	for i, seg := range h.segs[1:] {
		next, err := l.tail(h.segs[i])
		var d *Damage
		switch {
		case errors.As(err, &d):
			found = append(found, err)
		case err != nil:
			return err
		case !compacted:
			if hole := l.hole(max(next, l.start.Load()), seg); hole != nil {
				found = append(found, hole)
			}
		}
	}
	l.refuseHoles(h, found)
	return nil
}

// RefuseHoles refuses reads of what was found to be missing when the log was opened, and reports whether that is
// anything. The configuration must be the topic's: where compaction may have left nothing of a segment, no segment is
// missed.
func (l *Log) RefuseHoles() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hot
	if h == nil || len(h.holes) == 0 || l.Config().Compact {
		return false
	}
	l.refuseHoles(h, h.holes)
	h.holes = nil
	return true
}

// refuseHoles refuses reads of holes, and says so. mu is held.
func (l *Log) refuseHoles(h *hot, found []error) {
	if len(found) > 0 {
		l.refuse(found, h.segs)
		l.logger.Error("a part of a log is missing: reads of it are refused with CORRUPT_MESSAGE, all else of the partition is served. Restore the log's directory from a copy, let the records go with kafka-delete-records, or delete the topic",
			"partition", l.tp, "dir", l.Dir(), "err", errors.Join(found...))
	}
}

// hole is the damage of a log that should go on at an offset and goes on with a segment behind it, nil when it does not.
func (l *Log) hole(next int64, seg *segment.Segment) error {
	if seg.Base <= next {
		return nil
	}
	return &Damage{Partition: l.tp, From: next, To: seg.Base, File: seg.Log.Path(), Cause: fmt.Errorf("the log goes on at offset %d where %d must follow", seg.Base, next)}
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
	sc := &scan{log: l, h: h, scope: s, config: &c, indexes: dir.indexes, retired: dir.retired, progress: progress}
	sc.unknown = s.unknown && !c.Compact
	sc.chain = chain{epoch: record.NoLeaderEpoch, epochs: h.epochs.entries, below: s.believed()}
	err := sc.open(dir.logs, now)
	if err == nil {
		err = sc.run()
	}
	if err == nil {
		err = sc.settle()
	}
	if err != nil {
		for _, seg := range sc.segs {
			seg.Close()
		}
	}
	return err
}

// believed is the offset below which the epoch file is right: it is made durable with the batches.
func (s scope) believed() int64 {
	if s.clean {
		return math.MaxInt64
	}
	return s.floor
}

// scan reads the segments of a log that is being opened. Those that end below the trusted offset are taken as they
// are, the others are read batch by batch.
type scan struct {
	scope
	log            *Log
	h              *hot
	config         *Config
	indexes        map[int64]bool
	retired        []int64
	segs           []*segment.Segment
	doubt          *doubt
	first          int   // index of the first segment that is read
	end            int64 // the offset behind the segments that were gone through
	chain          chain
	scanned, total int64
	progress       func(scanned, total int64)
}

// open takes the segments as the file system shows them, and finds out which must be read.
func (sc *scan) open(bases []int64, now time.Time) error {
	l := sc.log
	sc.first, sc.end = len(bases), bases[0]
	for i, base := range bases {
		seg := segment.New(l.handles, l.Dir(), base)
		seg.Jitter = l.jitter(base, sc.config)
		info, err := l.fs().Stat(seg.Log.Path())
		if err != nil {
			return ioError(err)
		}
		seg.Open(info.Size(), info.ModTime(), now)
		sc.segs = append(sc.segs, seg)
		// One that ends at the trusted offset was sealed later than that was trusted.
		if !sc.clean && (i == len(bases)-1 || bases[i+1] >= sc.trusted) {
			sc.first = min(sc.first, i)
			sc.total += info.Size()
		}
	}
	return nil
}

// run goes through the segments, and cuts what a crash tore.
func (sc *scan) run() error {
	gapsBelow := int64(math.MinInt64)
	switch {
	case sc.unknown:
		gapsBelow = math.MaxInt64 // the first one is a doubt
	case sc.config.Compact:
		gapsBelow = sc.floor // what is above was only appended
	}
	for i := 0; i < len(sc.segs); i++ {
		if i < sc.first {
			if err := sc.take(i); err != nil {
				return err
			}
			if i+1 < len(sc.segs) && sc.segs[i+1].Base != sc.end {
				if err := sc.drop(i + 1); err != nil {
					return err
				}
				i = -1
			}
			continue
		}
		seg := sc.segs[i]
		if hole := seg.Base != sc.end; i > sc.first && hole {
			switch {
			case seg.Base > sc.end && seg.Base <= sc.start:
				if err := sc.drop(i); err != nil {
					return err
				}
				i = 0
			case seg.Base > sc.end && sc.end < gapsBelow:
				// Compaction took what was between.
				sc.doubts(seg, sc.end, 0, -1, fmt.Sprintf("the log goes on at offset %d where %d must follow", seg.Base, sc.end))
			default:
				cause := fmt.Errorf("the next segment begins at offset %d", seg.Base)
				return sc.cut(i-1, segment.Recovery{Size: sc.segs[i-1].Size(), Next: sc.end, Bad: cause, FileSize: sc.segs[i-1].Size()})
			}
		}
		r, err := sc.read(seg, sc.trusted, gapsBelow)
		if err != nil {
			return err
		}
		if sc.end = r.Next; r.Bad != nil {
			return sc.cut(i, r)
		}
		sc.h.dirty = append(sc.h.dirty, seg)
		sc.h.noteUnindexed(seg)
		seg.UnsyncedIndexes()
	}
	return sc.reached()
}

// take believes a segment, and makes its indexes anew if they cannot be believed.
func (sc *scan) take(i int) error {
	seg, last := sc.segs[i], i == len(sc.segs)-1
	usable, err := sc.log.indexUsable(seg, sc.indexes)
	if err == nil && usable {
		above := !last && sc.segs[i+1].Base > sc.start
		if above && sc.clean {
			sc.end = sc.segs[i+1].Base
			return nil
		}
		sc.end, err = sc.log.tail(seg)
		var d *Damage
		switch {
		case above && errors.As(err, &d):
			sc.end, err = sc.segs[i+1].Base, nil // the scrubber, or who reads it, will say so
		case above && err == nil:
			sc.noteHole(i + 1)
		}
	}
	if err == nil && usable || err != nil && !errors.Is(err, segment.ErrIndexCorrupt) {
		return ioError(err)
	}
	sc.log.logger.Info("the index of a segment is missing or not usable and is rebuilt", "partition", sc.log.tp, "segment", seg.Base)
	// Whether the topic was a compacted one when it was written is not known.
	r, err := sc.read(seg, 0, math.MaxInt64)
	if err != nil {
		return err
	}
	if r.Bad != nil {
		return sc.damage(r.Next, -1, seg, r.Size, r.Bad)
	}
	seg.MarkSynced(r.Size)
	sc.h.noteUnindexed(seg)
	if sc.end = r.Next; !last && sc.segs[i+1].Base > sc.start {
		sc.noteHole(i + 1)
	}
	return nil
}

// noteHole goes on at the segment at i, and notes what is missing before it. It is not when retention was about to take
// it and the log's start need not say so: a crash may have brought back the segments before it.
func (sc *scan) noteHole(i int) {
	seg := sc.segs[i]
	hole := sc.log.hole(max(sc.end, sc.start), seg)
	retired := func(base int64) bool { return base >= sc.end && base < seg.Base }
	if hole != nil && !sc.clean && (sc.saved || !slices.ContainsFunc(sc.retired, retired)) {
		sc.h.holes = append(sc.h.holes, hole)
	}
	sc.end = seg.Base
}

// read goes through the batches of a segment and builds its indexes, but for those below the trusted offset. Gaps between
// the offsets are what compaction leaves below gapsBelow.
func (sc *scan) read(seg *segment.Segment, trusted, gapsBelow int64) (segment.Recovery, error) {
	fresh := true
	check := func(b *segment.Batch, bytes func() ([]byte, error)) error {
		if fresh {
			fresh, sc.chain.next = false, seg.Base
			if b.Position > 0 { // the index, which has its last offset, led here
				sc.chain.next = b.BaseOffset
			}
		}
		sc.chain.gaps = sc.chain.next < gapsBelow
		if trusted == sc.trusted && b.Magic == 2 {
			switch {
			case b.BaseOffset > sc.chain.next:
				sc.doubts(seg, sc.chain.next, b.Position, b.LastOffset()+1, fmt.Sprintf("base offset %d where %d must follow", b.BaseOffset, sc.chain.next))
			case b.Count > 0 && b.LastOffsetDelta+1 != b.Count:
				sc.doubts(seg, b.BaseOffset, b.Position, b.LastOffset()+1, fmt.Sprintf("%d records for %d offsets", b.Count, b.LastOffsetDelta+1))
			}
		}
		return sc.check(trusted, b, bytes)
	}
	size := seg.Size()
	r, err := seg.Recover(trusted, sc.config.IndexIntervalBytes, check)
	if err != nil {
		return r, ioError(fmt.Errorf("%s: recover: %w", sc.log.tp, err))
	}
	if sc.scanned += size; sc.progress != nil {
		sc.total = max(sc.total, sc.scanned)
		sc.progress(sc.scanned, sc.total)
	}
	return r, nil
}

// check judges one batch by the chain, and by its CRC unless it lies below what is trusted.
func (sc *scan) check(trusted int64, b *segment.Batch, bytes func() ([]byte, error)) error {
	var raw []byte
	if b.LastOffset() >= trusted {
		var err error
		if raw, err = bytes(); err != nil {
			return err
		}
	}
	var bad error
	sc.chain.problems(b, raw, func(problem string) {
		if bad == nil {
			bad = &record.CorruptError{Offset: b.BaseOffset, Reason: problem}
		}
	})
	return bad
}

// cut ends the log inside the segment at i, or behind it, where the batches cease to be good. Below the floor nothing is
// cut: that is damage.
func (sc *scan) cut(i int, r segment.Recovery) error {
	l, seg := sc.log, sc.segs[i]
	if sc.clean {
		return sc.damage(r.Next, -1, seg, r.Size, r.Bad)
	}
	if r.Next < sc.floor {
		return sc.damage(r.Next, sc.floor, seg, r.Size, r.Bad)
	}
	if d := sc.doubt; d != nil && d.from < sc.floor {
		return sc.damage(d.from, sc.floor, d.seg, d.position, d.cause) // it was no gap: an offset that is wrong leads too far
	}
	if d := sc.doubt; d != nil && d.misled(&r) {
		sc.end, sc.doubt = d.from, nil
		r.Next, r.Size = d.from, d.position
	}
	l.logger.Warn("the log ended with writes that were not complete; they were cut", "partition", l.tp, "offset", r.Next,
		"file", seg.Log.Path(), "position", r.Size, "bytes", r.FileSize-r.Size, "segments_behind", len(sc.segs)-1-i, "why", r.Bad)
	for j := len(sc.segs) - 1; j > i; j-- {
		if err := sc.segs[j].Remove(); err != nil {
			return l.fail("remove a segment behind a torn one", err)
		}
	}
	sc.segs = sc.segs[:i+1]
	if err := seg.TruncateToPosition(r.Size, r.Next); err != nil {
		return l.fail("cut a torn tail", err)
	}
	sc.h.noteDirty(seg)
	sc.h.noteUnindexed(seg)
	seg.UnsyncedIndexes()
	return nil
}

// drop removes the segments before the one at i: they lie below the log's start, and there is a hole behind them, since
// retention took them all out and the crash brought back some.
func (sc *scan) drop(i int) error {
	for _, seg := range sc.segs[:i] {
		if err := seg.Remove(); err != nil {
			return sc.log.fail("remove a segment below the log's start", err)
		}
	}
	gone := func(seg *segment.Segment) bool { return slices.Contains(sc.segs[:i], seg) }
	sc.h.dirty = slices.DeleteFunc(sc.h.dirty, gone)
	sc.h.unindexed = slices.DeleteFunc(sc.h.unindexed, gone)
	sc.segs, sc.first, sc.doubt = sc.segs[i:], max(sc.first-i, 0), nil
	return nil
}

// reached makes sure that the log is as long as it was known to be.
func (sc *scan) reached() error {
	if sc.end >= sc.floor {
		return nil
	}
	seg := sc.segs[len(sc.segs)-1]
	return sc.damage(sc.end, sc.floor, seg, seg.Size(), errors.New("the log ends early"))
}

func (sc *scan) damage(from, to int64, seg *segment.Segment, position int64, cause error) error {
	return &Damage{Partition: sc.log.tp, From: from, To: to, File: seg.Log.Path(), Position: position, Cause: cause}
}

// settle hands the segments over.
func (sc *scan) settle() error {
	l, h := sc.log, sc.h
	for i, seg := range sc.segs {
		if seg.Size() > 0 || i == 0 || i == len(sc.segs)-1 {
			h.segs = append(h.segs, seg)
			continue
		}
		if err := seg.Remove(); err != nil { // nothing was appended to it, or compaction left nothing
			return l.fail("remove an empty segment", err)
		}
		gone := func(s *segment.Segment) bool { return s == seg }
		h.dirty, h.unindexed = slices.DeleteFunc(h.dirty, gone), slices.DeleteFunc(h.unindexed, gone)
	}
	for _, seg := range h.segs[:len(h.segs)-1] {
		if slices.Contains(h.unindexed, seg) {
			if err := seg.Seal(); err != nil {
				return l.fail("seal a segment", err)
			}
		}
	}
	h.doubt = sc.doubt
	l.end.Store(sc.end)
	return nil
}

// doubt is the first place above the recovery point where a log goes on as compaction leaves it. Where the topic is no
// compacted one it is damage below the floor, and above it the end of what a crash has left whole.
type doubt struct {
	seg            *segment.Segment
	from, position int64
	next           int64 // the offset behind the batch; -1 when a segment begins there
	floor          int64
	cause          error
}

func (sc *scan) doubts(seg *segment.Segment, from, position, next int64, cause string) {
	if sc.unknown && sc.doubt == nil {
		sc.doubt = &doubt{seg: seg, from: from, position: position, next: next, floor: sc.floor, cause: errors.New(cause)}
	}
}

// misled reports whether what follows the doubtful batch, and is bad, has the offset where that should have been: then it was
// an offset that is wrong, and no gap.
func (d *doubt) misled(r *segment.Recovery) bool {
	var bad *record.CorruptError
	return d.next == r.Next && errors.As(r.Bad, &bad) && d.from <= bad.Offset && bad.Offset < d.next
}

// Doubtful reports whether Judge has to be asked before the log is flushed or used.
func (l *Log) Doubtful() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hot != nil && l.hot.doubt != nil
}

// Judge decides, with the topic's configuration, what Open has left open (Options.PolicyUnknown): a log that is none of a
// compacted topic is cut where it ceases to be whole, or is an ErrDamaged, and closed, where that lies below the floor.
func (l *Log) Judge() error {
	l.mu.Lock()
	h := l.hot
	if h == nil || h.doubt == nil {
		l.mu.Unlock()
		return nil
	}
	d := h.doubt
	h.doubt = nil
	compacted := l.Config().Compact
	if !compacted && d.from < d.floor {
		l.abandon(h)
		l.mu.Unlock()
		return &Damage{Partition: l.tp, From: d.from, To: d.floor, File: d.seg.Log.Path(), Position: d.position, Cause: d.cause}
	}
	l.mu.Unlock()
	if compacted {
		return nil
	}
	l.logger.Warn("the log ended with writes that were not complete; they were cut", "partition", l.tp, "offset", d.from,
		"file", d.seg.Log.Path(), "position", d.position, "why", d.cause)
	return l.TruncateTo(d.from)
}

// indexUsable reports whether the indexes of a segment that is not scanned can be relied on, as their last entries tell.
// What is wrong elsewhere shows when it is used (heal.go).
func (l *Log) indexUsable(seg *segment.Segment, indexes map[int64]bool) (bool, error) {
	if !indexes[seg.Base] {
		return seg.Size() == 0, nil
	}
	for suffix, width := range map[string]int64{segment.IndexSuffix: 8, segment.TimeIndexSuffix: 12} {
		info, err := l.fs().Stat(l.path(segment.FileName(seg.Base, suffix)))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size()%width != 0 {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	last, ok, err := seg.Offsets.Last()
	if err != nil || ok && last.Position >= seg.Size() {
		return false, err
	}
	_, err = seg.MaxTime()
	return err == nil, err
}

// tail walks from the last index entry to the end of a segment.
func (l *Log) tail(seg *segment.Segment) (next int64, err error) {
	at, _, err := seg.Offsets.Last()
	if err != nil {
		return 0, err
	}
	f, err := seg.Log.Acquire()
	if err != nil {
		return 0, ioError(err)
	}
	defer seg.Log.Release()
	sc := seg.Scan(f, at, seg.Size(), segment.HeaderWindow)
	defer sc.Close()
	next = seg.Base
	for {
		b, err := sc.Next()
		if err == nil && b.BaseOffset < next && b.Magic == 2 {
			err = &record.CorruptError{Offset: b.BaseOffset, Reason: fmt.Sprintf("base offset %d where %d must follow", b.BaseOffset, next)}
		}
		switch {
		case err == io.EOF:
			return next, nil
		case err != nil && segment.IsBad(err):
			return 0, &Damage{Partition: l.tp, From: next, To: -1, File: seg.Log.Path(), Position: sc.Position(), Cause: err}
		case err != nil:
			return 0, err
		}
		next = b.LastOffset() + 1
	}
}

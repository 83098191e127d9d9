package commitlog

import (
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Options say which log to open and how.
type Options struct {
	FS        vfs.FS // that of Handles when nil
	Dir       string // the partition's own directory
	Partition kafka.TopicPartition
	TopicID   kafka.TopicID // zero: not known, partition.metadata is not written
	Config    Config
	// PolicyUnknown says that Config is not the topic's: what compaction may have left is not judged before Judge.
	PolicyUnknown bool
	Handles       *segment.Handles
	Log           *slog.Logger // nil: nothing is logged

	// RecoveryPoint is the offset below which everything was durable with its indexes when the checkpoint was
	// written; 0 when there is none.
	RecoveryPoint int64
	// StartOffset is the log start of the checkpoint; -1 when it lists none.
	StartOffset int64
	// SavesStart says that the owner saves the log's start and then calls StartSaved: no segment goes before.
	SavesStart bool
	// StartSaved says that this was so whenever the log was in use, and that StartOffset (0 for -1) is what was saved: a log
	// that begins above it lacks what lies between. Else it begins where its first segment does.
	StartSaved bool
	// Floor is the durable floor: the records below it were acknowledged as flushed. A bad batch below it is
	// damage, a bad batch above it the torn tail of the last writes. 0 when not known.
	Floor int64
	// Clean says that the last stop was clean: everything is durable and complete.
	Clean bool
	// ProducerIDExpiration is how long an idle producer is remembered; 0 stands for Kafka's 24 hours.
	ProducerIDExpiration time.Duration
	// Progress hears during Open how many bytes of how many were scanned. May be nil.
	Progress func(scanned, total int64)
}

// Summary is what must be known of a log that was closed cleanly in order to serve it without touching its files.
type Summary struct {
	StartOffset int64
	EndOffset   int64
	LastEpoch   int32
	Segments    int32 // 0 when parts of the log were missing: its first use looks again which
	Size        int64 // bytes of all .log files
	// MaxTimestamp is the greatest timestamp in the log, OldestTimestamp that of its first segment, which retention
	// looks at: both in ms, -1 when there is none.
	MaxTimestamp    int64
	OldestTimestamp int64
}

// producersInMemory is how many producers of a log are kept in memory, 250 bytes each.
const producersInMemory = 512

// Log is the log of one partition. Its methods are safe for concurrent use.
type Log struct {
	// mu belongs to who changes the log, one at a time. view guards what readers look at; who changes that holds both.
	// mu is taken before view. doc.go says more.
	mu   sync.Mutex
	view sync.Mutex
	// saving is held while the epoch file is written, by one at a time; before view.
	saving sync.Mutex

	tp         kafka.TopicPartition
	topicID    kafka.TopicID
	handles    *segment.Handles
	logger     *slog.Logger
	expiration time.Duration

	// Offsets; changed under mu. Invariant: recovery <= flushed <= end, start <= end.
	start, end, flushed, recovery atomic.Int64
	// saved is the start that is saved: segments that lie wholly below it may go. It is above every offset when nobody saves it.
	saved atomic.Int64
	// undecided is the first offset of a transaction under way, -1 when there is none; known while hot.
	undecided atomic.Int64
	lastEpoch atomic.Int32
	segments  atomic.Int32
	// cuts counts the beginnings and the ends of truncations inside a segment: what a reader found before another one may
	// be other bytes by now.
	cuts atomic.Uint32
	// writes counts the beginnings and the ends of writes of batches: it is odd while one is under way.
	writes atomic.Uint32
	// damages is what the last scrub found, in order; nil when that was nothing.
	damages atomic.Pointer[[]Damage]

	// Guarded by view.
	dir        string
	config     unique.Handle[Config]
	hot        *hot // nil while cold
	size       int64
	maxTime    int64
	oldestTime int64
	generation uint32 // counts truncations: a flush that began before one does not count
	closed     bool
	failed     error // why nothing can be written any more
}

// hot is what a log in use needs. The slices are replaced, not changed in place, unless said otherwise.
type hot struct {
	// Changed under mu and view.
	segs    []*segment.Segment // ascending; never empty; the last is active
	epochs  epochs
	marks   marks
	dirty   []*segment.Segment // with bytes that are not synced
	decided []txn              // whose marker the high watermark may not have passed; ascending by last; in place
	// dirSeq counts changes of the directory's entries, dirSynced how many of them are durable.
	dirSeq, dirSynced uint32
	created           bool // its directory's own entry is not durable

	// Used under mu.
	producers *producers
	unindexed []*segment.Segment // with index entries that are not durable
	snapshots []int64            // offsets of the .snapshot files, ascending
	unsynced  []int64            // of them, those that are not durable
	between   int64              // the snapshot that no segment begins with, -1 none: the next one replaces it
	sinceSnap int64              // bytes appended since the last snapshot
	doomed    []doomed           // segments waiting to be unlinked
	doubt     *doubt             // what compaction may have left, or a crash; found by open
	holes     []error            // where a segment is missing, unless compaction left nothing of it; found by open
}

// doomed is a segment whose files are called .deleted.
type doomed struct {
	seg *segment.Segment
	seq uint32 // of the directory's change that called them so
	at  int64  // ms; 0: not yet known
}

func (h *hot) active() *segment.Segment { return h.segs[len(h.segs)-1] }

// nextBase is where the segment at i ends: the base of the one behind it, or the log's end.
func (h *hot) nextBase(i int, end int64) int64 {
	if i+1 < len(h.segs) {
		return h.segs[i+1].Base
	}
	return end
}

// find returns the index of the segment that an offset belongs to.
func find(segs []*segment.Segment, offset int64) int {
	lo, hi := 0, len(segs)
	for hi-lo > 1 {
		if mid := (lo + hi) / 2; segs[mid].Base > offset {
			hi = mid
		} else {
			lo = mid
		}
	}
	return lo
}

// newLog makes a log of which nothing is known yet.
func newLog(o *Options) *Log {
	l := &Log{
		tp: o.Partition, topicID: o.TopicID, handles: o.Handles, logger: o.Log, expiration: o.ProducerIDExpiration,
		dir: o.Dir, config: unique.Make(o.Config), maxTime: record.NoTimestamp, oldestTime: record.NoTimestamp,
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.expiration == 0 {
		l.expiration = 24 * time.Hour
	}
	if o.Handles == nil {
		l.handles = segment.NewHandles(o.FS, 64)
	}
	l.undecided.Store(-1)
	l.lastEpoch.Store(-1)
	l.saved.Store(math.MaxInt64)
	if o.SavesStart {
		l.saved.Store(max(o.StartOffset, 0))
	}
	return l
}

func (l *Log) fs() vfs.FS { return l.handles.FS() }

func (l *Log) path(name string) string { return path.Join(l.Dir(), name) }

// Create makes the directory of a new log, with its first segment and partition.metadata. Nothing of it is durable
// before the first flush, nor need it be: the log is cold until its first use, and one that nobody ever uses is never
// synced. StartOffset is its first offset, 0 when negative.
func Create(o Options) (*Log, error) {
	l := newLog(&o)
	if err := l.fs().MkdirAll(o.Dir, 0o755); err != nil {
		return nil, ioError(err)
	}
	start := max(o.StartOffset, 0)
	seg, err := l.createSegment(start, time.Time{})
	if err != nil {
		return nil, ioError(err)
	}
	if !o.TopicID.IsZero() {
		if err := vfs.WriteFile(l.fs(), l.path(PartitionMetadataFile), partitionMetadata(o.TopicID)); err != nil {
			return nil, ioError(err)
		}
	}
	for _, offset := range []*atomic.Int64{&l.start, &l.end, &l.flushed, &l.recovery} {
		offset.Store(start)
	}
	l.segments.Store(1)
	if start > 0 || o.Config.Preallocate { // what is not to be seen from an empty file
		l.hot = &hot{segs: []*segment.Segment{seg}, epochs: epochs{saved: -1}, dirSeq: 1, created: true, between: -1, producers: l.newProducers()}
		return l, nil
	}
	seg.Close()
	return l, nil
}

// Open opens a log. Unless the last stop was clean it scans what lies above the recovery point and cuts a torn tail.
// Errors wrap ErrDamaged (then nothing was cut) or ErrIO.
func Open(o Options, now time.Time) (*Log, error) {
	l := newLog(&o)
	if err := l.open(&o, now); err != nil {
		return nil, err
	}
	return l, nil
}

// OpenCold makes a log that was closed cleanly, of what Close returned. No file is touched before the first use.
func OpenCold(o Options, s Summary) *Log {
	l := newLog(&o)
	l.start.Store(s.StartOffset)
	l.saved.Store(max(l.saved.Load(), s.StartOffset))
	for _, offset := range []*atomic.Int64{&l.end, &l.flushed, &l.recovery} {
		offset.Store(s.EndOffset)
	}
	l.lastEpoch.Store(s.LastEpoch)
	l.segments.Store(s.Segments)
	l.size, l.maxTime, l.oldestTime = s.Size, s.MaxTimestamp, s.OldestTimestamp
	return l
}

// Partition names the log.
func (l *Log) Partition() kafka.TopicPartition { return l.tp }

// TopicID is the id of the topic's incarnation that the log belongs to.
func (l *Log) TopicID() kafka.TopicID { return l.topicID }

// Dir is the log's directory.
func (l *Log) Dir() string {
	l.view.Lock()
	defer l.view.Unlock()
	return l.dir
}

// StartOffset is the first offset that can be read.
func (l *Log) StartOffset() int64 { return l.start.Load() }

// EndOffset is the offset of the next record.
func (l *Log) EndOffset() int64 { return l.end.Load() }

// Flushed is the offset below which everything is durable.
func (l *Log) Flushed() int64 { return l.flushed.Load() }

// RecoveryPoint is the offset below which everything is durable together with indexes, epochs and producers: what
// the checkpoint of recovery points must say. PrepareCheckpoint moves it.
func (l *Log) RecoveryPoint() int64 { return l.recovery.Load() }

// LastEpoch is the latest leader epoch that the log was told of; -1 when there is none.
func (l *Log) LastEpoch() int32 { return l.lastEpoch.Load() }

// Writing reports whether batches are being written; which tells one write from another.
func (l *Log) Writing() (which uint32, under bool) {
	which = l.writes.Load()
	return which, which%2 == 1
}

// NumSegments is the number of segments.
func (l *Log) NumSegments() int { return int(l.segments.Load()) }

// Size is the length of all segments in bytes, without indexes.
func (l *Log) Size() int64 {
	l.view.Lock()
	defer l.view.Unlock()
	return l.size
}

// Config returns the configuration in force.
func (l *Log) Config() Config {
	l.view.Lock()
	c := l.config
	l.view.Unlock()
	return c.Value()
}

// SetConfig changes the configuration; it acts from the next append on.
func (l *Log) SetConfig(c Config) {
	made := unique.Make(c)
	l.view.Lock()
	l.config = made
	l.view.Unlock()
}

func (l *Log) isClosed() bool {
	l.view.Lock()
	defer l.view.Unlock()
	return l.closed
}

// Hot reports whether the log holds memory for being used.
func (l *Log) Hot() bool {
	l.view.Lock()
	defer l.view.Unlock()
	return l.hot != nil
}

// atRest reports whether the log is cold and could be woken.
func (l *Log) atRest() bool {
	l.view.Lock()
	defer l.view.Unlock()
	return l.hot == nil && l.failed == nil && !l.closed
}

// Err returns why the log takes no more writes, nil while it does.
func (l *Log) Err() error {
	l.view.Lock()
	defer l.view.Unlock()
	return l.failed
}

// FirstUnstable is the first offset of a transaction that is under way; ok is false when there is none.
func (l *Log) FirstUnstable() (offset int64, ok bool) {
	if _, err := l.wake(); err != nil {
		return 0, false
	}
	offset = l.undecided.Load()
	return max(offset, l.start.Load()), offset >= 0
}

// LastStable is how far a reader of committed records may read: the high watermark, or the first offset of a
// transaction that is not decided by a marker below it. The watermark never goes back but to where the log is cut.
func (l *Log) LastStable(highWatermark int64) int64 {
	if l.start.Load() == l.end.Load() && l.atRest() { // nothing is in it, nor need it be looked at
		return highWatermark
	}
	h, err := l.wake()
	if err != nil {
		return l.start.Load()
	}
	stable := highWatermark
	if first := l.undecided.Load(); first >= 0 {
		stable = min(stable, first)
	}
	l.view.Lock()
	h.forgetDecided(highWatermark)
	for i := range h.decided {
		stable = min(stable, h.decided[i].first)
	}
	l.view.Unlock()
	return max(stable, min(l.start.Load(), highWatermark))
}

// forgetDecided drops the transactions whose marker lies below the high watermark. view is held.
func (h *hot) forgetDecided(highWatermark int64) {
	n := 0
	for n < len(h.decided) && h.decided[n].last < highWatermark {
		n++
	}
	h.decided = append(h.decided[:0], h.decided[n:]...)
}

// wake returns what a log in use needs, and reads it from the disk if the log is cold.
func (l *Log) wake() (*hot, error) {
	l.view.Lock()
	h := l.hot
	l.view.Unlock()
	if h != nil {
		return h, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wakeLocked()
}

// wakeLocked is wake for those who hold mu.
func (l *Log) wakeLocked() (*hot, error) {
	l.view.Lock()
	h, failed, closed := l.hot, l.failed, l.closed
	l.view.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("%s is closed: %w", l.tp, kafka.KafkaStorageError)
	case h != nil:
		return h, nil
	case failed != nil:
		return nil, failed
	}
	return l.rewarm()
}

// writable is wakeLocked for those who are about to write.
func (l *Log) writable() (*hot, error) {
	if err := l.Err(); err != nil {
		return nil, err
	}
	return l.wakeLocked()
}

// fail notes that a write or a sync failed: from now on nothing is written, since what the disk holds is not known.
// A full disk is no failure. It returns the error, classed. mu may be held, view not.
func (l *Log) fail(doing string, err error) error {
	err = ioError(fmt.Errorf("%s: %s: %w", l.tp, doing, err))
	if IsFull(err) {
		return err
	}
	l.view.Lock()
	if l.failed == nil {
		l.failed = err
	}
	l.view.Unlock()
	return err
}

// createSegment makes an empty segment with that base offset.
func (l *Log) createSegment(base int64, now time.Time) (*segment.Segment, error) {
	c := l.Config()
	preallocate := int64(0)
	if c.Preallocate {
		preallocate = c.SegmentBytes
	}
	seg, err := segment.Create(l.handles, l.Dir(), base, preallocate, now)
	if err != nil {
		return nil, err
	}
	seg.Jitter = l.jitter(base, &c)
	return seg, nil
}

// jitter spreads the ages at which the segments of many partitions end. It is drawn from the name, so that a run can
// be repeated.
func (l *Log) jitter(base int64, c *Config) time.Duration {
	limit := min(c.SegmentJitterMs, c.SegmentMs)
	if limit <= 0 {
		return 0
	}
	sum := fnv.New64a()
	fmt.Fprintf(sum, "%s/%d", l.tp, base)
	return milliseconds(int64(sum.Sum64() % uint64(limit)))
}

func (l *Log) newProducers() *producers {
	return newProducers(producersInMemory, func() *spill { return newSpill(l.handles, l.path(spillFile)) })
}

// roll seals the active segment and begins one at the log's end. mu is held.
func (l *Log) roll(h *hot, now time.Time) error {
	old, base := h.active(), l.end.Load()
	if old.Base == base {
		return nil // it is empty, and cannot be begun again
	}
	if err := l.present(h); err != nil {
		return err
	}
	if err := old.Seal(); err != nil {
		return l.fail("seal a segment", err)
	}
	if err := l.snapshot(h, base); err != nil {
		return l.fail("write a producer snapshot", err)
	}
	if h.between == base {
		h.between = -1 // the segment begins with it: the next one must not replace it
	}
	if err := l.nameFirst(h); err != nil {
		return l.fail("sync the directory of a new log", err)
	}
	seg, err := l.createSegment(base, now)
	if err != nil {
		return l.fail("begin a segment", err)
	}
	largest, err := old.LargestTimestamp()
	if err != nil {
		return l.fail("seal a segment", err)
	}
	l.view.Lock()
	if len(h.segs) == 1 {
		l.oldestTime = largest
	}
	h.segs = append(h.segs[:len(h.segs):len(h.segs)], seg)
	h.dirSeq++
	l.view.Unlock()
	h.noteUnindexed(old)
	l.segments.Store(int32(len(h.segs)))
	return nil
}

// present makes sure that the file of the active segment can be found. One that somebody unlinked while it is open takes
// every write and every sync, and is gone once it is closed. mu is held.
func (l *Log) present(h *hot) error {
	if _, err := l.fs().Stat(h.active().Log.Path()); err != nil {
		return l.fail("look for the active segment", err)
	}
	return nil
}

// nameFirst makes the name of a new log's first segment durable before there is a second one: a crash that kept the second
// alone would leave a log that begins there, as if retention had taken the first.
func (l *Log) nameFirst(h *hot) error {
	l.view.Lock()
	seq, synced := h.dirSeq, h.dirSynced
	l.view.Unlock()
	if synced > 0 {
		return nil
	}
	if err := l.fs().SyncDir(l.Dir()); err != nil {
		return err
	}
	l.view.Lock()
	h.dirSynced = max(h.dirSynced, seq)
	l.view.Unlock()
	return nil
}

func (h *hot) noteUnindexed(seg *segment.Segment) {
	for _, s := range h.unindexed {
		if s == seg {
			return
		}
	}
	h.unindexed = append(h.unindexed, seg)
}

// noteDirty says that a segment has bytes to sync. view is held.
func (h *hot) noteDirty(seg *segment.Segment) {
	for _, s := range h.dirty {
		if s == seg {
			return
		}
	}
	h.dirty = append(h.dirty, seg)
}

// snapshot writes the producers as they are at the end of the log. mu is held.
func (l *Log) snapshot(h *hot, offset int64) error {
	if n := len(h.snapshots); n > 0 && h.snapshots[n-1] == offset {
		return nil
	}
	name := l.path(segment.FileName(offset, segment.SnapshotSuffix))
	err := writeSnapshot(l.fs(), name, h.producers.count(), func(yield func(*SnapshotEntry) error) error {
		return h.producers.each(func(p *producer) error {
			e := p.entry()
			return yield(&e)
		})
	})
	if err != nil {
		l.fs().Remove(name)
		return err
	}
	if h.between >= 0 {
		l.dropSnapshots(h, func(o int64) bool { return o == h.between })
		h.between = -1
	}
	h.snapshots = append(h.snapshots, offset)
	h.unsynced = append(h.unsynced, offset)
	h.producers.changed = false
	h.sinceSnap = 0
	return nil
}

// dropSnapshots removes the .snapshot files that which says yes to.
func (l *Log) dropSnapshots(h *hot, which func(offset int64) bool) {
	drop := func(offsets []int64, remove bool) []int64 {
		kept := offsets[:0]
		for _, o := range offsets {
			if !which(o) {
				kept = append(kept, o)
			} else if remove {
				l.fs().Remove(l.path(segment.FileName(o, segment.SnapshotSuffix))) // one that stays does no harm
			}
		}
		return kept
	}
	h.snapshots = drop(h.snapshots, true)
	h.unsynced = drop(h.unsynced, false)
}

// summary describes the log. view is held.
func (l *Log) summary() Summary {
	s := Summary{
		StartOffset: l.start.Load(), EndOffset: l.end.Load(), LastEpoch: l.lastEpoch.Load(), Segments: l.segments.Load(),
		Size: l.size, MaxTimestamp: l.maxTime, OldestTimestamp: l.oldestTime,
	}
	if l.damages.Load() != nil {
		s.Segments = 0
	}
	return s
}

// Cool gives up what a log in use needs. It does so only when all is durable and nothing waits to be removed; it
// reports whether the log is cold now.
func (l *Log) Cool() bool {
	if !l.Hot() {
		return true
	}
	if l.flushed.Load() != l.end.Load() || l.Err() != nil {
		return false
	}
	l.mu.Lock()
	h := l.hot
	if h == nil || l.closed || len(h.doomed) > 0 || len(h.decided) > 0 || l.passed(h) > 0 || l.flushed.Load() != l.end.Load() {
		l.mu.Unlock()
		return h == nil
	}
	err := l.settle(h)
	l.mu.Unlock()
	if err == nil {
		err = l.checkpoint()
	}
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.view.Lock()
	defer l.view.Unlock()
	if l.hot != h || l.closed || l.recovery.Load() != l.end.Load() || len(h.dirty) > 0 || h.dirSeq != h.dirSynced || h.created || h.epochs.changed || len(h.unindexed) > 0 || len(h.doomed) > 0 {
		return false
	}
	l.drop(h)
	return true
}

// settle writes what a closed log has on the disk beside its batches: indexes with their last entries and the
// producers at the end. mu is held.
func (l *Log) settle(h *hot) error {
	active := h.active()
	if active.Size() > 0 {
		if err := active.Seal(); err != nil {
			return l.fail("seal a segment", err)
		}
		h.noteUnindexed(active)
	}
	end := l.end.Load()
	if n := len(h.snapshots); (h.producers.count() > 0 || n > 0) && (n == 0 || h.snapshots[n-1] != end) {
		if err := l.snapshot(h, end); err != nil {
			return l.fail("write a producer snapshot", err)
		}
		if active.Base != end {
			h.between = end
		}
		l.view.Lock()
		h.dirSeq++
		l.view.Unlock()
	}
	return nil
}

// drop makes the log cold. mu and view are held.
func (l *Log) drop(h *hot) {
	h.producers.close()
	for _, s := range h.segs {
		s.Close()
	}
	l.hot = nil
}

// farFuture is when everything is due.
var farFuture = time.UnixMilli(math.MaxInt64)

// Close flushes the log and leaves its files as a clean stop leaves them. The log cannot be used any more. What it
// returns is good for OpenCold.
func (l *Log) Close(now time.Time) (Summary, error) {
	l.mu.Lock()
	h := l.hot
	if l.closed || h == nil {
		l.view.Lock()
		defer l.mu.Unlock()
		defer l.view.Unlock()
		l.closed = true
		return l.summary(), l.failed
	}
	if err := l.Err(); err != nil {
		l.abandon(h)
		l.mu.Unlock()
		return Summary{}, err
	}
	err := l.settle(h)
	l.mu.Unlock()
	if err == nil {
		err = l.flushAll()
	}
	if err == nil {
		l.mu.Lock()
		err = l.unlinkDue(h, farFuture, 0)
		l.mu.Unlock()
	}
	if err == nil {
		err = l.checkpoint()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.abandon(h)
		return Summary{}, err
	}
	l.view.Lock()
	defer l.view.Unlock()
	l.drop(h)
	l.closed = true
	return l.summary(), nil
}

// abandon gives up the files of a log that failed. mu is held.
func (l *Log) abandon(h *hot) {
	l.view.Lock()
	l.drop(h)
	l.closed = true
	l.view.Unlock()
}

// Delete renames the directory so that the partition is gone, and returns where it is now: its removal is up to the
// caller, after file.delete.delay.ms. Readers that hold ranges go on. The rename is durable when the parent directory
// is synced. renamed is "" when somebody took the directory away before.
func (l *Log) Delete(now time.Time) (renamed string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dir := l.Dir()
	renamed = path.Join(path.Dir(dir), DeleteDirName(l.tp))
	err = l.fs().Rename(dir, renamed)
	if isMissing(err) {
		renamed, err = "", nil
	}
	if err != nil {
		return "", l.fail("rename the directory for deletion", err)
	}
	l.view.Lock()
	defer l.view.Unlock()
	if renamed != "" {
		l.dir = renamed
	}
	l.generation++
	l.closed = true
	if h := l.hot; h != nil {
		for _, s := range h.segs {
			s.Moved(l.dir)
		}
		for _, d := range h.doomed {
			d.seg.Moved(l.dir)
		}
		l.drop(h)
	}
	return renamed, nil
}

package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Flush is one flush of a log: BeginFlush notes what there is to make durable, Sync makes it so without any lock, and
// EndFlush says so. Between the first and the last the log can be appended to, and even truncated: then the flush
// counts for nothing.
type Flush struct {
	log        *Log
	end        int64 // durable below, when it succeeds
	at         mark  // where the end is, if that is known: a file may be longer already, by an append under way
	generation uint32
	n          int
	first      [2]flushPart
	more       []flushPart
	dirSeq     uint32
	syncDir    bool
	created    bool
	epochs     bool // the epoch file is behind
	journaled  bool
}

// flushPart is a file to sync: how long it was when the flush began, and from where on its bytes are durable nowhere.
type flushPart struct {
	seg        *segment.Segment
	size, from int64
	settled    bool
}

func (f *Flush) part(i int) *flushPart {
	if i < len(f.first) {
		return &f.first[i]
	}
	return &f.more[i-len(f.first)]
}

// BeginFlush begins a flush; false when all is durable already. mu is not needed: an append shows its offset after its
// bytes.
func (l *Log) BeginFlush() (Flush, bool) {
	if l.Err() != nil {
		return Flush{}, false
	}
	return l.beginFlush()
}

func (l *Log) beginFlush() (Flush, bool) {
	l.view.Lock()
	defer l.view.Unlock()
	h := l.hot
	if h == nil || len(h.dirty) == 0 && h.dirSeq == h.dirSynced && !h.created && l.flushed.Load() == l.end.Load() {
		return Flush{}, false
	}
	f := Flush{log: l, end: l.end.Load(), generation: l.generation, dirSeq: h.dirSeq, syncDir: h.dirSeq != h.dirSynced, created: h.created, epochs: h.epochs.changed}
	f.at, _ = h.marks.find(f.end)
	for _, seg := range h.dirty {
		p := flushPart{seg: seg}
		p.size, p.from, p.settled = seg.Loose()
		if f.n < len(f.first) {
			f.first[f.n] = p
		} else {
			f.more = append(f.more, p)
		}
		f.n++
	}
	return f, true
}

// Sync makes everything durable that the flush covers: the files, the epoch file when an epoch began or was cut, and
// the directory when it has new files.
func (f *Flush) Sync() error {
	for i := range f.n {
		if err := f.part(i).seg.Log.Sync(); err != nil {
			return err
		}
	}
	l := f.log
	if f.created {
		if err := l.syncCreated(l.Dir()); err != nil {
			return err
		}
	}
	if f.epochs {
		saved, err := l.saveEpochs()
		if err != nil && !IsFull(err) {
			return err
		}
		// Without its epoch a batch does not count as durable: recovery would take it for damaged.
		f.end = min(f.end, saved)
	}
	if !f.syncDir {
		return nil
	}
	return l.fs().SyncDir(l.Dir())
}

// Run is a run of bytes in the file of a segment.
type Run struct {
	Base, Position int64
	Length         int
}

// Loose returns how many bytes a journal has to hold for the flush to be durable without Sync; ok is false when only
// Sync makes it so: there are new files, or the log was cut, or an epoch began.
func (f *Flush) Loose() (bytes int64, ok bool) {
	if f.syncDir || f.created || f.epochs || f.n == 0 {
		return 0, false
	}
	for i := range f.n {
		p := f.part(i)
		if !p.settled {
			return 0, false
		}
		bytes += p.size - p.from
	}
	return bytes, true
}

// LooseRuns yields those bytes, as runs to be passed to ReadRun.
func (f *Flush) LooseRuns(yield func(i int, r Run) bool) {
	for i := range f.n {
		p := f.part(i)
		if p.from < p.size && !yield(i, Run{Base: p.seg.Base, Position: p.from, Length: int(p.size - p.from)}) {
			return
		}
	}
}

// ReadRun reads the bytes of a run.
func (f *Flush) ReadRun(i int, r Run, into []byte) error {
	return f.part(i).seg.Log.ReadAt(into[:r.Length], r.Position)
}

// Journaled says that the loose bytes of the flush are durable in a journal, which keeps them until a flush that begins
// later has made the files durable. EndFlush comes next, without Sync.
func (f *Flush) Journaled() { f.journaled = true }

// End is the offset below which the log is durable once the flush has succeeded.
func (f *Flush) End() int64 { return f.end }

// saveEpochs brings the epoch file up to date; it is durable, with its directory, on return. The offset is how far the
// file is right, as it was and as it is, whether or not it could be written.
func (l *Log) saveEpochs() (right int64, err error) {
	l.saving.Lock()
	defer l.saving.Unlock()
	l.view.Lock()
	defer l.view.Unlock()
	h := l.hot
	if h == nil || !h.epochs.changed {
		return math.MaxInt64, nil
	}
	text, latest, dir := appendEpochs(nil, h.epochs.entries), h.epochs.latest(), l.dir
	h.epochs.changed = false
	l.view.Unlock()
	err = vfs.WriteFileAtomic(l.fs(), path.Join(dir, EpochFile), text)
	l.view.Lock()
	if err != nil {
		h.epochs.changed = true
		return h.epochs.unsaved(), err
	}
	h.epochs.saved = latest
	return math.MaxInt64, nil
}

// syncCreated makes durable that a new partition's directory is there at all, and whose it is.
func (l *Log) syncCreated(dir string) error {
	if err := syncFile(l.fs(), path.Join(dir, PartitionMetadataFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.fs().SyncDir(path.Dir(dir))
}

func syncFile(fsys vfs.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// EndFlush takes in what Sync returned, and returns how far the log is durable. A flush of a log that was truncated
// since counts for nothing. A failed one is final, the log takes no more writes; but one that found no room for what was
// held in memory (IsHeld) may be tried again.
func (l *Log) EndFlush(f Flush, err error) (flushed int64) {
	if f.log != l {
		return l.flushed.Load()
	}
	l.view.Lock()
	defer l.view.Unlock()
	h := l.hot
	if h == nil || f.generation != l.generation {
		return l.flushed.Load()
	}
	if err != nil {
		if l.failed == nil && !IsHeld(err) {
			l.failed = ioError(fmt.Errorf("%s: flush: %w", l.tp, err))
		}
		return l.flushed.Load()
	}
	if f.journaled {
		for i := range f.n {
			p := f.part(i)
			p.seg.MarkJournaled(p.size)
		}
	} else {
		f.filesSynced(h)
	}
	if f.end > l.flushed.Load() {
		l.flushed.Store(f.end)
		if f.at.seg != nil && f.at.offset == f.end {
			h.marks.add(f.at) // up to here consumers may read now
		}
	}
	return l.flushed.Load()
}

// filesSynced notes what Sync made durable. view is held.
func (f *Flush) filesSynced(h *hot) {
	clean := 0
	for i := range f.n {
		if p := f.part(i); p.seg.MarkSynced(p.size) {
			clean++
		}
	}
	if clean > 0 {
		dirty := h.dirty[:0]
		for _, seg := range h.dirty {
			if seg.Synced() < seg.Size() {
				dirty = append(dirty, seg)
			}
		}
		clear(h.dirty[len(dirty):])
		h.dirty = dirty
	}
	if f.syncDir {
		h.dirSynced = max(h.dirSynced, f.dirSeq)
	}
	if f.created {
		h.created = false
	}
}

// leans reports whether the log is durable by a journal in part.
func (l *Log) leans() bool {
	l.view.Lock()
	defer l.view.Unlock()
	return l.hot != nil && slices.ContainsFunc(l.hot.dirty, (*segment.Segment).Leans)
}

// WriteBack begins what SyncFiles does, without waiting for the disk: with many logs it is begun for all of them first.
func (l *Log) WriteBack() {
	if !l.leans() {
		return
	}
	if f, ok := l.beginFlush(); ok {
		for i := range f.n {
			f.part(i).seg.Log.WriteBack()
		}
	}
}

// SyncFiles makes the files of a log durable that a journal holds bytes of: when it returns, what was journaled before is
// needed no more. It does not move Flushed: that belongs to who flushes. A log that failed is no exception.
func (l *Log) SyncFiles() error {
	if !l.leans() {
		return nil
	}
	f, ok := l.beginFlush()
	if !ok {
		return nil
	}
	err := f.Sync()
	l.view.Lock()
	defer l.view.Unlock()
	h := l.hot
	switch {
	case h == nil || f.generation != l.generation:
		return nil // it was truncated or dropped meanwhile
	case err != nil:
		err = ioError(fmt.Errorf("%s: flush: %w", l.tp, err))
		if l.failed == nil && !IsHeld(err) {
			l.failed = err
		}
		return err
	}
	f.filesSynced(h)
	return nil
}

// flushAll flushes on the spot.
func (l *Log) flushAll() error {
	f, ok := l.BeginFlush()
	if !ok {
		return l.Err()
	}
	err := f.Sync()
	l.EndFlush(f, err)
	if err != nil {
		return ioError(err)
	}
	return l.Err()
}

// snapshotEvery is how many bytes may be appended before a checkpoint writes the producers anew, so that replay
// after a crash has little to read.
const snapshotEvery = 16 << 20

// PrepareCheckpoint makes indexes, producers, epochs and the directory durable as far as the batches are, and moves
// the recovery point, which it returns. It syncs without a lock.
func (l *Log) PrepareCheckpoint() (recoveryPoint int64, err error) {
	err = l.checkpoint()
	return l.recovery.Load(), err
}

func (l *Log) checkpoint() error {
	l.mu.Lock()
	l.view.Lock()
	h, failed := l.hot, l.failed
	l.view.Unlock()
	if h == nil || failed != nil {
		l.mu.Unlock()
		return failed
	}
	if err := l.present(h); err != nil {
		l.mu.Unlock()
		return err
	}
	target := l.flushed.Load()
	l.view.Lock()
	saved := !h.epochs.changed && h.dirSeq == h.dirSynced && !h.created
	l.view.Unlock()
	if saved && target == l.recovery.Load() && len(h.unindexed) == 0 && len(h.unsynced) == 0 {
		l.mu.Unlock()
		return nil
	}
	if h.sinceSnap >= snapshotEvery && h.producers.changed && h.producers.count() > 0 {
		if err := l.snapshot(h, l.end.Load()); err != nil {
			l.mu.Unlock()
			return l.fail("write a producer snapshot", err)
		}
		h.between = l.end.Load()
		l.view.Lock()
		h.dirSeq++
		l.view.Unlock()
	}
	active := h.active()
	if err := active.StoreIndexes(); err != nil {
		l.mu.Unlock()
		return l.fail("write an index", err)
	}
	indexes := append(h.unindexed[:len(h.unindexed):len(h.unindexed)], active)
	snapshots := h.unsynced
	h.unindexed, h.unsynced = nil, nil
	l.view.Lock()
	generation, dirSeq, dir, created := l.generation, h.dirSeq, l.dir, h.created
	l.view.Unlock()
	l.mu.Unlock()

	// Below a recovery point all is in the files: who believes it need not know of a journal.
	err := l.SyncFiles()
	// After a checkpoint the log may cool, and a log that wakes believes that its directory can be found again.
	if err == nil && created {
		err = l.syncCreated(dir)
	}
	if err == nil {
		err = l.syncCheckpoint(dir, indexes, snapshots)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.view.Lock()
	same := l.hot == h && l.generation == generation
	if err == nil && same {
		h.dirSynced = max(h.dirSynced, dirSeq)
		h.created = h.created && !created
		l.recovery.Store(max(l.recovery.Load(), target))
	}
	l.view.Unlock()
	if err == nil || !same {
		return nil // a log that was truncated or dropped meanwhile begins again
	}
	h.unindexed = append(h.unindexed, indexes[:len(indexes)-1]...)
	h.unsynced = append(h.unsynced, snapshots...)
	return l.fail("checkpoint", err)
}

func (l *Log) syncCheckpoint(dir string, indexes []*segment.Segment, snapshots []int64) error {
	for _, seg := range indexes {
		if err := seg.SyncIndexes(); err != nil {
			return err
		}
	}
	for _, offset := range snapshots {
		err := syncFile(l.fs(), path.Join(dir, segment.FileName(offset, segment.SnapshotSuffix)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // removed meanwhile, with its segment
			return err
		}
	}
	if _, err := l.saveEpochs(); err != nil {
		return err
	}
	return l.fs().SyncDir(dir)
}

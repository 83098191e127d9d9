package commitlog

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// Retain deletes what the configuration does not keep: whole segments, the oldest first, that lie below the high
// watermark and are too old or too many bytes. Their files are renamed now and unlinked by the first Retain after
// file.delete.delay.ms. It also forgets producers that were idle for too long, and transactions that the high watermark
// has passed. freed is the bytes of log that were taken out now. NextRetention says when files wait to be unlinked.
// With Options.SavesStart only the log's start moves, and StartSaved takes the segments out.
//
// A cold log in which nothing can be due is not touched.
func (l *Log) Retain(now time.Time, highWatermark int64) (freed int64, err error) {
	c := l.Config()
	if !l.Hot() && !l.retentionDue(&c, now) {
		return 0, nil
	}
	if err := l.syncNames(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err == nil {
		err = l.present(h)
	}
	if err != nil {
		return 0, err
	}
	l.view.Lock()
	h.forgetDecided(highWatermark)
	l.view.Unlock()
	if err := l.unlinkDue(h, now, milliseconds(c.FileDeleteDelay.Milliseconds())); err != nil {
		return 0, err
	}
	if err := h.producers.expire(now, l.expiration); err != nil {
		return 0, l.fail("expire producers", err)
	}
	n, err := l.deletable(h, &c, now, highWatermark)
	if err != nil || n == 0 {
		return 0, err
	}
	if n == len(h.segs) {
		if err := l.roll(h, now); err != nil {
			return 0, err
		}
		if n == len(h.segs) {
			return 0, nil
		}
	}
	base := h.segs[n].Base
	l.view.Lock()
	if base > l.start.Load() {
		l.start.Store(base)
		h.epochs.truncateStart(base)
	}
	l.view.Unlock()
	return l.retire(h, min(n, l.deserted(h)), now.UnixMilli()+c.FileDeleteDelay.Milliseconds())
}

// StartSaved says that a start of the log was saved, durably: the segments that lie wholly below it go now, as Retain has
// it. Before, a crash would leave a log that begins above its start as one that lost its first segments.
func (l *Log) StartSaved(start int64, now time.Time) (freed int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if start <= l.saved.Load() {
		return 0, nil
	}
	l.saved.Store(start)
	h := l.hot
	if h == nil || l.isClosed() || l.Err() != nil {
		return 0, nil
	}
	return l.retire(h, l.deserted(h), now.UnixMilli()+l.Config().FileDeleteDelay.Milliseconds())
}

// StartUnsaved reports whether the log's start is above the one that was saved last.
func (l *Log) StartUnsaved() bool { return l.start.Load() > l.saved.Load() }

// passed counts the segments that lie wholly below the log's start.
func (l *Log) passed(h *hot) int { return h.below(l.start.Load()) }

// deserted counts those of them that no start needs that a crash may bring back.
func (l *Log) deserted(h *hot) int { return h.below(min(l.start.Load(), l.saved.Load())) }

// below counts the segments that lie wholly below an offset; the last one never does.
func (h *hot) below(offset int64) (n int) {
	for n+1 < len(h.segs) && h.segs[n+1].Base <= offset {
		n++
	}
	return n
}

// retentionDue tells from what a cold log remembers whether a segment may have to go.
func (l *Log) retentionDue(c *Config, now time.Time) bool {
	l.view.Lock()
	defer l.view.Unlock()
	if !c.Delete || l.size == 0 {
		return false
	}
	if c.RetentionMs >= 0 && now.UnixMilli()-l.oldestTime > c.RetentionMs {
		return true
	}
	return c.RetentionBytes >= 0 && l.size > c.RetentionBytes && (l.segments.Load() > 1 || c.RetentionBytes == 0)
}

// deletable counts the segments from the oldest on that may go.
func (l *Log) deletable(h *hot, c *Config, now time.Time, highWatermark int64) (int, error) {
	excess := l.Size() - c.RetentionBytes
	start, end := l.start.Load(), l.end.Load()
	for i, seg := range h.segs {
		size, last := seg.Size(), i == len(h.segs)-1
		next := h.nextBase(i, end)
		if next > highWatermark || last && size == 0 {
			return i, nil
		}
		due := !last && next <= start
		if c.Delete && !due && c.RetentionMs >= 0 {
			largest, err := seg.LargestTimestamp()
			if err != nil {
				return 0, l.fail("look for what retention.ms deletes", err)
			}
			due = now.UnixMilli()-largest > c.RetentionMs
		}
		if c.Delete && !due && c.RetentionBytes >= 0 {
			due = excess-size >= 0
		}
		if !due {
			return i, nil
		}
		excess -= size
	}
	return len(h.segs), nil
}

// retire takes the first n segments out of the log. at is when their files may be unlinked, in ms; 0 leaves that to
// the next Retain. mu is held.
func (l *Log) retire(h *hot, n int, at int64) (freed int64, err error) {
	if n == 0 {
		return 0, nil
	}
	old := h.segs[:n]
	// Readers see them go first, so that none finds a file by a name that it has no more.
	for _, seg := range old {
		freed += seg.Size()
	}
	oldest, err := h.segs[n].LargestTimestamp()
	if err != nil {
		return 0, l.fail("retire a segment", err)
	}
	if err := l.secureSnapshots(h, h.segs[n].Base); err != nil {
		return 0, l.fail("make a producer snapshot durable", err)
	}
	l.view.Lock()
	h.segs = slices.Clone(h.segs[n:])
	l.size -= freed
	l.oldestTime = oldest
	h.dirty = slices.DeleteFunc(slices.Clone(h.dirty), func(s *segment.Segment) bool { return slices.Contains(old, s) })
	h.dirSeq++
	seq := h.dirSeq
	l.view.Unlock()
	h.unindexed = slices.DeleteFunc(h.unindexed, func(s *segment.Segment) bool { return slices.Contains(old, s) })
	l.segments.Store(int32(len(h.segs)))
	for _, seg := range old {
		if err := seg.Retire(); err != nil {
			return freed, l.fail("retire a segment", err)
		}
		h.doomed = append(h.doomed, doomed{seg, seq, at})
	}
	return freed, nil
}

// secureSnapshots makes the snapshots up to the segment that is going to be the first durable: the batches below, which
// could be replayed instead, are about to go. A checkpoint has mostly done so long ago. Until the files are unlinked
// all those snapshots stay, since a power loss may bring back some of the segments.
func (l *Log) secureSnapshots(h *hot, base int64) error {
	if !slices.ContainsFunc(h.unsynced, func(o int64) bool { return o <= base }) {
		return nil
	}
	for _, o := range h.unsynced {
		if o > base {
			continue
		}
		if err := syncFile(l.fs(), l.path(segment.FileName(o, segment.SnapshotSuffix))); err != nil {
			return err
		}
	}
	if err := l.fs().SyncDir(l.Dir()); err != nil {
		return err
	}
	h.unsynced = slices.DeleteFunc(h.unsynced, func(o int64) bool { return o <= base })
	return nil
}

// syncNames makes the names of the files in the directory durable.
func (l *Log) syncNames() error {
	l.view.Lock()
	h, dir := l.hot, l.dir
	if h == nil || h.dirSeq == h.dirSynced || l.failed != nil {
		l.view.Unlock()
		return nil
	}
	seq := h.dirSeq
	l.view.Unlock()
	if err := l.fs().SyncDir(dir); err != nil {
		if l.isClosed() {
			return nil // it was deleted meanwhile
		}
		return l.fail("sync the directory", err)
	}
	l.view.Lock()
	h.dirSynced = max(h.dirSynced, seq)
	l.view.Unlock()
	return nil
}

// unlinkDue removes the files of segments that were taken out long enough ago, if that is durable. mu is held.
func (l *Log) unlinkDue(h *hot, now time.Time, delay time.Duration) error {
	l.view.Lock()
	synced := h.dirSynced
	l.view.Unlock()
	kept := h.doomed[:0]
	for _, d := range h.doomed {
		if d.at == 0 {
			d.at = now.Add(delay).UnixMilli()
		}
		if d.at > now.UnixMilli() || d.seq > synced {
			kept = append(kept, d)
			continue
		}
		if err := d.seg.Remove(); err != nil {
			return l.fail("unlink a deleted segment", err)
		}
	}
	clear(h.doomed[len(kept):])
	if h.doomed = kept; len(kept) == 0 {
		l.dropOldSnapshots(h)
	}
	return nil
}

// dropOldSnapshots removes the snapshots that no replay begins with any more. Of those up to the first segment the newest
// is wanted.
func (l *Log) dropOldSnapshots(h *hot) {
	base, newest := h.segs[0].Base, int64(-1)
	for _, o := range h.snapshots {
		if o <= base {
			newest = max(newest, o)
		}
	}
	l.dropSnapshots(h, func(o int64) bool { return o < newest })
}

// NextRetention is when files that wait to be unlinked may be; ok is false when none waits. The zero time means that
// the next Retain sets it.
func (l *Log) NextRetention() (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hot == nil {
		return time.Time{}, false
	}
	for _, d := range l.hot.doomed {
		t := time.Time{}
		if d.at != 0 {
			t = time.UnixMilli(d.at)
		}
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// AssignEpoch notes that a leader epoch begins at an offset. An epoch that is known already changes nothing.
func (l *Log) AssignEpoch(epoch int32, start int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.writable()
	if err != nil {
		return err
	}
	if epoch < 0 || start < 0 {
		return fmt.Errorf("epoch %d at offset %d of %s: %w", epoch, start, l.tp, kafka.InvalidRequest)
	}
	l.assignEpoch(h, epoch, start)
	return nil
}

// EndOffsetForEpoch returns the largest epoch known that is not above the one asked for, and the offset where it
// ended; for the latest epoch that is the log's end. -1 and -1 when it is not known.
func (l *Log) EndOffsetForEpoch(epoch int32) (foundEpoch int32, end int64) {
	h, err := l.wake()
	if err != nil {
		return -1, -1
	}
	l.view.Lock()
	defer l.view.Unlock()
	return h.epochs.endOf(epoch, l.end.Load())
}

// EpochAt returns the leader epoch of the record at an offset, or that the next record would have; -1 when it is
// older than all we know.
func (l *Log) EpochAt(offset int64) int32 {
	h, err := l.wake()
	if err != nil {
		return -1
	}
	l.view.Lock()
	defer l.view.Unlock()
	return h.epochs.at(offset)
}

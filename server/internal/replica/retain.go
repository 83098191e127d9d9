package replica

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// janitor does what a directory needs now and then: retention, cooling of idle logs, removal of what was deleted,
// background flushing by flush.ms, and the scrubber. It owns timers; nothing runs between its rounds, and nothing
// is kept per partition.
type janitor struct {
	dir *logDir

	ctx    context.Context // ends with stop
	cancel context.CancelFunc

	mu sync.Mutex
	// doomed is what there is to delete and when; next is when the timer for the first of it goes off.
	doomed []doomed
	next   time.Time
}

// doomed is a directory to delete, or a log with files to unlink.
type doomed struct {
	path string
	log  *Partition
	at   time.Time
}

const (
	// retainFirst is when retention runs for the first time: a full disk should not wait five minutes.
	retainFirst = 30 * time.Second
	// scrubFirst is when the scrubber walks through the directory for the first time.
	scrubFirst = 10 * time.Minute
	// sweepFirst is when the directory is looked through for what an earlier run left to be deleted; a start
	// from a manifest does not list it.
	sweepFirst = 5 * time.Second
)

func (j *janitor) init(d *logDir) {
	j.dir = d
	j.ctx, j.cancel = context.WithCancel(context.Background())
}

// start arms the first rounds.
func (j *janitor) start() {
	d := j.dir
	if d.offline.Load() {
		return
	}
	b := d.manager.broker
	d.after(min(retainFirst, b.RetentionCheckInterval), j.retain)
	d.after(sweepFirst, j.sweep)
	if b.ScrubBytesPerSecond > 0 {
		d.after(min(scrubFirst, b.ScrubInterval), j.scrub)
	}
	if b.FlushSchedulerInterval < foreverish {
		d.after(b.FlushSchedulerInterval, j.flush)
	}
}

// foreverish is the least interval that means never: a timer that far away would overflow.
const foreverish = 100 * 365 * 24 * time.Hour

// stop ends what runs for long.
func (j *janitor) stop() { j.cancel() }

// retain lets go of what retention lets go of, in every log of the directory, and cools the idle ones.
func (j *janitor) retain() {
	d := j.dir
	now := time.Now()
	moved := false
	for p := range d.hosted() {
		if j.ctx.Err() != nil || d.offline.Load() {
			return
		}
		moved = p.retain(now) || moved
	}
	freed := d.freeBelowStarts(moved)
	if freed > 0 {
		d.log.Info("retention freed room", "dir", d.Path, "bytes", freed)
	}
	d.after(d.manager.broker.RetentionCheckInterval, j.retain)
}

// freeBelowStarts saves the starts that retention has moved, so that the segments below may go: a node that is killed in
// between has them still, and no start ever finds a log that begins above its start for no reason that it knows of.
func (d *logDir) freeBelowStarts(moved bool) (freed int64) {
	if !moved {
		return 0
	}
	freed, err := d.saveStartsAndFree()
	if err != nil {
		d.notSaved(&d.starts, err)
	}
	return freed
}

// retain is one log's part of it: moved says that it begins later now.
func (p *Partition) retain(now time.Time) (moved bool) {
	wake := newWakes()
	moved, err := p.retainUnderRole(now, wake)
	wake.run()
	p.retained(err)
	return moved
}

// retained sees to an error of retention.
func (p *Partition) retained(err error) {
	switch {
	case err == nil:
	case isIO(err):
		p.dir.fail(err)
	case p.dir.isOfOneLog(err) && p.log.Err() != nil:
		wake := newWakes()
		p.lose(err, wake)
		wake.run()
	default:
		p.dir.log.Warn("retention of a log failed; it is tried again", "partition", p.tp(), "err", err)
	}
}

func (p *Partition) retainUnderRole(now time.Time, wake *wakes) (moved bool, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.role.gone || p.damage.Load() == damageLost {
		return false, nil
	}
	start := p.log.StartOffset()
	_, err = p.log.Retain(now, p.high.Load())
	if moved = p.log.StartOffset() != start; moved {
		p.wakeFetches(wake)
	}
	p.unlinkLater()
	if !p.touched.Swap(false) && !p.dirty.Load() {
		p.log.Cool()
	}
	return moved, err
}

// startSaved lets the segments below a start go that was saved.
func (p *Partition) startSaved(start int64) (freed int64) {
	freed, err := p.startSavedUnderRole(start)
	p.retained(err)
	return freed
}

func (p *Partition) startSavedUnderRole(start int64) (freed int64, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.role.gone || p.damage.Load() == damageLost || p.dir.offline.Load() { // in the last case it was not saved
		return 0, nil
	}
	freed, err = p.log.StartSaved(start, time.Now())
	p.unlinkLater()
	return freed, err
}

// flush flushes what flush.ms asks for: logs of class cache that were last flushed longer ago than that.
func (j *janitor) flush() {
	d := j.dir
	now := time.Now().UnixMilli()
	for p := range d.hosted() {
		if age := now - p.flushedAt.Load(); age >= p.topic.settings.Load().log.FlushMs && p.log.EndOffset() > p.log.Flushed() && p.damage.Load() != damageLost {
			d.sync.add(p)
		}
	}
	d.sync.kick()
	d.after(d.manager.broker.FlushSchedulerInterval, j.flush)
}

// unlinkLater arranges that the files of segments that were taken out are unlinked when it is time.
func (p *Partition) unlinkLater() {
	if at, waits := p.log.NextRetention(); waits {
		if now := time.Now(); at.Before(now) { // it is the next look that sets the time
			at = now
		}
		p.dir.janitor.add(doomed{log: p, at: at})
	}
}

// doom hands over a directory to be deleted after a delay: files of it may still be read by a response under way.
func (j *janitor) doom(path string, delay time.Duration) {
	j.add(doomed{path: path, at: time.Now().Add(delay)})
}

func (j *janitor) add(x doomed) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.doomed {
		if y := &j.doomed[i]; y.path == x.path && y.log == x.log {
			return // it is known; a log is looked at again when its time comes
		}
	}
	j.doomed = append(j.doomed, x)
	j.arm()
}

// arm sets the timer for what is to be deleted next. The caller holds mu.
func (j *janitor) arm() {
	var next time.Time
	for _, x := range j.doomed {
		if next.IsZero() || x.at.Before(next) {
			next = x.at
		}
	}
	if next.IsZero() || !j.next.IsZero() && !next.Before(j.next) {
		return
	}
	j.next = next
	j.dir.after(time.Until(next), j.execute)
}

// execute deletes what is due.
func (j *janitor) execute() {
	d := j.dir
	now := time.Now()
	j.mu.Lock()
	j.next = time.Time{}
	var due, kept []doomed
	for _, x := range j.doomed {
		if x.at.After(now) {
			kept = append(kept, x)
		} else {
			due = append(due, x)
		}
	}
	j.doomed = kept
	j.mu.Unlock()
	moved := false
	for _, x := range due {
		if j.ctx.Err() != nil || d.offline.Load() {
			return // the next start finds the rest
		}
		if x.log != nil {
			moved = x.log.retain(now) || moved
			continue
		}
		if err := d.fs.RemoveAll(x.path); err != nil {
			d.log.Warn("a deleted log's directory could not be removed; the next start tries again", "dir", x.path, "err", err)
			continue
		}
		d.log.Info("deleted log", "dir", x.path)
	}
	d.freeBelowStarts(moved)
	j.mu.Lock()
	j.arm()
	j.mu.Unlock()
}

// sweep hands over what an earlier run left to be deleted.
func (j *janitor) sweep() {
	if !j.dir.fromManifest {
		return // the listing of the start has seen to it
	}
	if _, err := j.dir.list(); err != nil {
		j.dir.log.Warn("the log directory could not be looked through", "dir", j.dir.Path, "err", err)
	}
}

// scrub walks through every log of the directory, slowly, and reports damage. Nothing is cut or changed: reads of what is
// damaged are refused from then on, and whoever runs the node decides.
func (j *janitor) scrub() {
	d := j.dir
	begun, logs, damaged := time.Now(), 0, 0
	limit := &pace{dir: d, perSecond: d.manager.broker.ScrubBytesPerSecond}
	for p := range d.hosted() {
		if j.ctx.Err() != nil || d.offline.Load() {
			return
		}
		if p.damage.Load() == damageLost {
			continue
		}
		logs++
		err := p.log.Scrub(j.ctx, limit)
		switch {
		case err == nil, errors.Is(err, context.Canceled), p.currentRole().gone:
		case isIO(err):
			d.fail(err)
			return
		default:
			damaged++
			d.damage.Add(1)
			d.log.Error("the scrubber found damage: reads of what it names are refused with CORRUPT_MESSAGE, all else of the partition is served. Restore the log's directory from a copy, let the records go with kafka-delete-records, or delete the topic",
				"partition", p.tp(), "dir", d.Path, "err", err)
		}
	}
	d.log.Info("the scrubber has checked all logs", "dir", d.Path, "logs", logs, "damaged", damaged, "bytes", limit.taken, "took", time.Since(begun).Round(time.Millisecond))
	d.after(d.manager.broker.ScrubInterval, j.scrub)
}

// pace bounds how fast the scrubber reads.
type pace struct {
	dir       *logDir
	perSecond int64
	taken     int64
	due       time.Time // when all that was taken is paid for
}

// paceCredit is how much time that was not used may be made up for.
const paceCredit = 100 * time.Millisecond

// Wait takes n bytes, and waits until the rate allows them.
func (l *pace) Wait(ctx context.Context, n int) error {
	l.taken += int64(n)
	l.dir.scrubbed.Add(int64(n))
	if earliest := time.Now().Add(-paceCredit); l.due.Before(earliest) {
		l.due = earliest
	}
	l.due = l.due.Add(time.Duration(float64(n) / float64(l.perSecond) * float64(time.Second)))
	wait := time.Until(l.due)
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// isIO reports whether an error says that the disk failed, rather than what lies on it.
func isIO(err error) bool {
	return errors.Is(err, commitlog.ErrIO)
}

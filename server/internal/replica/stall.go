package replica

import (
	"sync"
	"sync/atomic"
	"time"
)

// stallWatch notices a sync that does not return, and a write (writeWatch).
type stallWatch struct {
	dir   *logDir
	begun time.Time
	timer *time.Timer

	mu              sync.Mutex
	under, reported bool
	writes          writeWatch
}

// start begins to watch a round.
func (w *stallWatch) start() {
	w.begun = time.Now()
	w.mu.Lock()
	w.under, w.reported = true, false
	w.mu.Unlock()
	limit := w.dir.manager.broker.SyncStallTimeout
	if w.timer == nil {
		w.timer = time.AfterFunc(limit, w.report)
	} else {
		w.timer.Reset(limit)
	}
}

func (w *stallWatch) report() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.under || w.reported {
		return // it returned just now
	}
	w.reported = true
	d, limit := w.dir, w.dir.manager.broker.SyncStallTimeout
	d.log.Error("a sync of the disk hangs; nothing in this directory is acknowledged until it returns", "dir", d.Path, "limit", limit)
	if !w.writes.reported {
		w.tellStalled()
	}
}

// stop ends the watch of a round.
func (w *stallWatch) stop() {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	reported := w.reported
	w.under, w.reported = false, false
	if reported {
		d, took := w.dir, time.Since(w.begun)
		d.log.Warn("the sync that hung has returned", "dir", d.Path, "took", took)
		if !w.writes.reported {
			w.tellResumed(took)
		}
	}
}

// writeWatch notices a write to a log that does not return: the page cache takes it at once while the disk is well, and one
// that hangs holds its partition, which no sync shows. An append costs a look at looks and two counts in its log. While there
// are appends, the logs are looked at twice in a limit; a directory at rest has no timer.
type writeWatch struct {
	looks atomic.Bool // a look is arranged
	// look is held for a look, which alone uses seen; reported is guarded by stallWatch.mu.
	look     sync.Mutex
	seen     map[*Partition]writeSeen
	reported bool
	since    time.Time
}

// writeSeen is a write that was under way at a look, and when that was first so.
type writeSeen struct {
	which uint32
	since time.Time
}

// watchWrites is called before a write: it arranges a look, if there is none.
func (w *stallWatch) watchWrites() {
	if x := &w.writes; !x.looks.Load() && x.looks.CompareAndSwap(false, true) {
		w.dir.after(w.dir.manager.broker.SyncStallTimeout/2, w.lookAtWrites)
	}
}

// lookAtWrites looks at the writes under way, and at those that were at the last look.
func (w *stallWatch) lookAtWrites() {
	d, x, now := w.dir, &w.writes, time.Now()
	x.look.Lock()
	defer x.look.Unlock()
	x.looks.Store(false) // before the look: an append that it does not see arranges another
	var seen map[*Partition]writeSeen
	var oldest *Partition
	for p := range d.hosted() {
		which, under := p.log.Writing()
		if !under {
			continue
		}
		s := x.seen[p]
		if s.which != which {
			s = writeSeen{which, now}
		}
		if seen == nil {
			seen = map[*Partition]writeSeen{}
		}
		seen[p] = s
		if oldest == nil || s.since.Before(seen[oldest].since) {
			oldest = p
		}
	}
	x.seen = seen
	if oldest != nil {
		w.watchWrites()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := d.manager.broker.SyncStallTimeout
	stalled := oldest != nil && now.Sub(seen[oldest].since) >= limit
	switch {
	case stalled && !x.reported:
		x.reported, x.since = true, seen[oldest].since
		d.log.Error("a write to a log hangs; the partition takes nothing, and what it took is not acknowledged, until it returns", "partition", oldest.tp(), "dir", d.Path, "limit", limit)
		if !w.reported {
			w.tellStalled()
		}
	case !stalled && x.reported:
		x.reported = false
		d.log.Warn("the write that hung has returned", "dir", d.Path, "took", now.Sub(x.since))
		if !w.reported {
			w.tellResumed(now.Sub(x.since))
		}
	}
}

// tellStalled tells the cluster that the first thing hangs, tellResumed that the last one has returned. mu is held.
func (w *stallWatch) tellStalled() {
	if c := w.dir.manager.cluster; c != nil {
		c.SyncStalled(w.dir.Dir, w.dir.manager.broker.SyncStallTimeout)
	}
}

func (w *stallWatch) tellResumed(took time.Duration) {
	if c := w.dir.manager.cluster; c != nil {
		c.SyncResumed(w.dir.Dir, took)
	}
}

package replica

import (
	"github.com/millrace-io/millrace/kafka"
)

// view is how far a reader sees.
type view uint8

const (
	viewCommitted view = iota // to the high watermark
	viewStable                // to the last stable offset: read_committed
	viewAll                   // to the end: followers, debugging consumers
)

// limit is the offset behind the last record in view.
func (p *Partition) limit(v view) int64 {
	switch v {
	case viewStable:
		return p.lastStable(p.high.Load())
	case viewAll:
		return p.log.EndOffset()
	}
	return p.high.Load()
}

// lastStable is the offset before which every transaction is decided, as far as committed.
func (p *Partition) lastStable(high int64) int64 { return p.log.LastStable(high) }

// position is how far this replica counts: to what it flushed in class disk, to what it wrote in class cache.
func (p *Partition) position() int64 {
	if p.topic.settings.Load().Durability == DurabilityDisk {
		return p.log.Flushed()
	}
	return p.log.EndOffset()
}

// raise moves the high watermark to the least position among the in-sync replicas, never back, and not while
// there are fewer of them than min.insync.replicas (strict min ISR, KIP-966). The caller holds mu for reading.
func (p *Partition) raise() {
	r := &p.role
	if !r.leading || r.isr < r.minISR(p.topic.settings.Load()) {
		return
	}
	reached := p.position()
	disk := p.topic.settings.Load().Durability == DurabilityDisk
	for i := range r.followers {
		f := &r.followers[i]
		switch {
		case !f.inSync:
		case disk:
			reached = min(reached, f.flushed)
		default:
			reached = min(reached, f.appended)
		}
	}
	for {
		high := p.high.Load()
		if reached <= high {
			return
		}
		if p.high.CompareAndSwap(high, reached) {
			p.dir.highMoved()
			return
		}
	}
}

// advance moves the high watermark after a position moved, and collects who waited for what is reached now.
func (p *Partition) advance(w *wakes) {
	if p.log == nil {
		return
	}
	p.mu.RLock()
	p.raise()
	p.mu.RUnlock()
	p.collect(w)
}

// collect takes off the lists who waited for what is reached now.
func (p *Partition) collect(w *wakes) {
	if !p.somebodyWaits.Load() {
		return
	}
	short := false // too few in-sync replicas: what is committed was appended, but the promise does not hold
	if r := p.currentRole(); r.isr < r.minISR(p.topic.settings.Load()) {
		short = true
	}
	p.waitMu.Lock()
	defer p.waitMu.Unlock()
	if p.waiting == nil {
		return
	}
	high, flushed := p.high.Load(), p.log.Flushed()
	for e := p.waiting.acks.head; e != nil; {
		next := e.waiter.next
		if e.waiter.committed && high >= e.waiter.position || !e.waiter.committed && flushed >= e.waiter.position {
			p.waiting.acks.remove(e)
			if e.waiter.committed && short {
				e.Err = kafka.NotEnoughReplicasAfterAppend
				p.topic.failedProduce.Add(1)
			}
			if e.waiter.owner.release() {
				w.appends = append(w.appends, e.waiter.owner)
			}
		}
		e = next
	}
	stable := int64(-1)
	for x := p.waiting.fetches.head; x != nil; x = x.next {
		limit := high
		switch x.view {
		case viewStable:
			if stable < 0 {
				stable = p.lastStable(high)
			}
			limit = stable
		case viewAll:
			limit = p.log.EndOffset()
		}
		if limit > x.offset || x.offset < p.log.StartOffset() {
			w.fetches = append(w.fetches, x.fetch)
		}
	}
	p.settle()
}

// wakeFetches makes every fetch parked here look again.
func (p *Partition) wakeFetches(w *wakes) {
	p.waitMu.Lock()
	defer p.waitMu.Unlock()
	if p.waiting == nil {
		return
	}
	for x := p.waiting.fetches.head; x != nil; x = x.next {
		w.fetches = append(w.fetches, x.fetch)
	}
}

// fail answers every entry that waits here with an error, and makes the fetches look again.
func (p *Partition) fail(err error, w *wakes) {
	p.wakeFetches(w)
	p.waitMu.Lock()
	defer p.waitMu.Unlock()
	if p.waiting == nil {
		return
	}
	for e := p.waiting.acks.head; e != nil; {
		next := e.waiter.next
		p.waiting.acks.remove(e)
		e.Err = err
		p.topic.failedProduce.Add(1)
		if e.waiter.owner.release() {
			w.appends = append(w.appends, e.waiter.owner)
		}
		e = next
	}
	p.settle()
}

// park puts an entry on the list of those that wait for their acknowledgement.
func (p *Partition) park(e *AppendEntry) {
	p.waitMu.Lock()
	p.list().acks.push(e)
	p.waitMu.Unlock()
}

// watch puts a parked fetch on the list of those that wait for records.
func (p *Partition) watch(x *watcher) {
	p.waitMu.Lock()
	p.list().fetches.push(x)
	p.waitMu.Unlock()
}

// list returns the lists of who waits, made when needed. The caller holds waitMu.
func (p *Partition) list() *waiting {
	if p.waiting == nil {
		p.waiting = waitingPool.Get().(*waiting)
		p.somebodyWaits.Store(true)
	}
	return p.waiting
}

// settle gives the lists up when nobody waits any more. The caller holds waitMu.
func (p *Partition) settle() {
	if p.waiting != nil && p.waiting.empty() {
		waitingPool.Put(p.waiting)
		p.waiting = nil
		p.somebodyWaits.Store(false)
	}
}

package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// What waits on a partition. A partition has a waiting only while somebody waits, and knows by one atomic load
// when nobody does: that is all the hot path pays.
//
// The rule that loses no wake-up: who waits puts itself on the list first and looks at the position again
// after; who moves a position stores it first and looks at the list after.
type waiting struct {
	acks    ackQueue
	fetches watchQueue
}

var waitingPool = sync.Pool{New: func() any { return new(waiting) }}

func (w *waiting) empty() bool {
	return w.acks.head == nil && w.fetches.head == nil
}

// wakes collects whom to answer once every lock is released: answering encodes and writes to sockets, and a fetch
// that is answered reads.
type wakes struct {
	appends []*AppendRequest
	fetches []*parkedFetch
}

var wakesPool = sync.Pool{New: func() any { return new(wakes) }}

func newWakes() *wakes { return wakesPool.Get().(*wakes) }

// run answers, and gives the collection back. The caller holds no lock.
func (w *wakes) run() {
	for i, req := range w.appends {
		w.appends[i] = nil
		req.Done(req)
	}
	for i, f := range w.fetches {
		w.fetches[i] = nil
		f.wake()
	}
	w.appends, w.fetches = w.appends[:0], w.fetches[:0]
	wakesPool.Put(w)
}

// ackWaiter is the part of an AppendEntry that waits for its acknowledgement. It lies inside the entry, so that
// waiting allocates nothing. All but partition is guarded by the partition's waitMu.
type ackWaiter struct {
	// partition is where the entry waits, nil when it does not have to.
	partition *Partition
	owner     *AppendRequest
	// position is the offset behind the last record: what must be flushed, or committed, first.
	position   int64
	committed  bool // waits for the high watermark, not only for the leader's own disk
	queued     bool
	next, prev *AppendEntry
}

// ackQueue is a list of entries in the order they came. Their positions mostly rise, but a duplicate waits for the
// end of the batch it repeats, so every entry is looked at.
type ackQueue struct{ head, tail *AppendEntry }

func (q *ackQueue) push(e *AppendEntry) {
	w := &e.waiter
	w.queued, w.next, w.prev = true, nil, q.tail
	if q.tail == nil {
		q.head = e
	} else {
		q.tail.waiter.next = e
	}
	q.tail = e
}

func (q *ackQueue) remove(e *AppendEntry) {
	w := &e.waiter
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.waiter.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.waiter.prev = w.prev
	}
	w.queued, w.next, w.prev = false, nil, nil
}

// The count of what an AppendRequest waits for: one for each parked entry, one for the call of Append itself, and
// timerRef while the timer is armed. Whoever takes the last one away calls Done. Whoever leaves only the timer
// stops it: when that comes too late, the timer's own function is the last.
const timerRef = 1 << 30

// release takes one off the count and reports whether Done is now due.
func (req *AppendRequest) release() bool {
	switch req.pending.Add(-1) {
	case 0:
		return true
	case timerRef:
		// Append has returned its own count, so the timer is there to be seen, and nobody else stops it.
		return req.timer.Stop() && req.pending.Add(-timerRef) == 0
	}
	return false
}

// arm starts the timer that ends the wait, if it is to end. The caller still holds the count of Append.
func (req *AppendRequest) arm() {
	if req.Timeout == forever {
		return
	}
	req.pending.Add(timerRef)
	if req.timer == nil {
		req.timer = time.AfterFunc(req.Timeout, req.expire)
		return
	}
	req.timer.Reset(req.Timeout)
}

// expire answers what still waits with REQUEST_TIMED_OUT. The records stay appended, and may yet be committed.
func (req *AppendRequest) expire() {
	for i := range req.Entries {
		e := &req.Entries[i]
		p := e.waiter.partition
		if p == nil {
			continue
		}
		p.waitMu.Lock()
		if e.waiter.queued {
			p.waiting.acks.remove(e)
			p.settle()
			e.Err = kafka.RequestTimedOut
			p.topic.failedProduce.Add(1)
			req.pending.Add(-1) // never the last: timerRef is still there
		}
		p.waitMu.Unlock()
	}
	if req.pending.Add(-timerRef) == 0 {
		req.Done(req)
	}
}

// watcher is one partition that a parked fetch watches. Guarded by the partition's waitMu.
type watcher struct {
	fetch     *parkedFetch
	partition *Partition
	// offset is where the fetch wants to read next: it is woken when the limit of what it may see is past it.
	offset   int64
	maxBytes int32
	// epoch is the leader epoch that the fetch found: another one ends the wait.
	epoch      int32
	view       view
	queued     bool
	next, prev *watcher
}

type watchQueue struct{ head, tail *watcher }

func (q *watchQueue) push(w *watcher) {
	w.queued, w.next, w.prev = true, nil, q.tail
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
}

func (q *watchQueue) remove(w *watcher) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.queued, w.next, w.prev = false, nil, nil
}

// parkedFetch is a fetch that waits. There is one for each wait, never used twice, so that a wake-up that comes
// late finds an old one and does nothing.
type parkedFetch struct {
	manager  *Manager
	req      *FetchRequest
	minBytes int32
	watchers []watcher
	timer    atomic.Pointer[time.Timer]
	// over is taken by whoever ends the wait: an event, the timer, or the connection's end. Only that one may
	// still touch req.
	over atomic.Bool
}

// wake looks whether the fetch has what it waits for, and answers it then.
func (f *parkedFetch) wake() {
	if f.over.Load() || !f.manager.fetchable(f) || !f.over.CompareAndSwap(false, true) {
		return
	}
	f.end()
	f.manager.finishFetch(f.req)
}

// expire answers with what there is.
func (f *parkedFetch) expire() {
	if f.over.CompareAndSwap(false, true) {
		f.end()
		f.manager.finishFetch(f.req)
	}
}

// end stops the timer and takes the fetch off the lists of its partitions.
func (f *parkedFetch) end() {
	if t := f.timer.Load(); t != nil {
		t.Stop()
	}
	for i := range f.watchers {
		w := &f.watchers[i]
		p := w.partition
		p.waitMu.Lock()
		if w.queued {
			p.waiting.fetches.remove(w)
			p.settle()
		}
		p.waitMu.Unlock()
	}
}

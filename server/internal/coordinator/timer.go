package coordinator

import (
	"container/heap"
	"time"
)

// Timer names a timer of a machine. Kinds are the machine's own.
type Timer struct {
	Kind   uint8
	Group  string
	Member string
}

// Timers are the deadlines of one shard. Each name has at most one.
type Timers struct {
	queue  deadlines
	byName map[Timer]*deadline
}

type deadline struct {
	Timer
	at    time.Time
	order uint64 // of two that are due at the same time, the one set first comes first
	index int    // in the queue
}

// Set makes a timer due at a time, instead of any time that it was due at before.
func (t *Timers) Set(name Timer, at time.Time) {
	t.queue.order++
	if d := t.byName[name]; d != nil {
		d.at, d.order = at, t.queue.order
		heap.Fix(&t.queue, d.index)
		return
	}
	if t.byName == nil {
		t.byName = map[Timer]*deadline{}
	}
	d := &deadline{Timer: name, at: at, order: t.queue.order}
	t.byName[name] = d
	heap.Push(&t.queue, d)
}

// Cancel takes a timer away, if it is set.
func (t *Timers) Cancel(name Timer) {
	if d := t.byName[name]; d != nil {
		heap.Remove(&t.queue, d.index)
		delete(t.byName, name)
	}
}

// At returns when a timer is due, and whether it is set.
func (t *Timers) At(name Timer) (time.Time, bool) {
	if d := t.byName[name]; d != nil {
		return d.at, true
	}
	return time.Time{}, false
}

// Len is the number of timers that are set.
func (t *Timers) Len() int { return len(t.byName) }

// next returns when the first timer is due; the zero time for never.
func (t *Timers) next() time.Time {
	if len(t.queue.list) == 0 {
		return time.Time{}
	}
	return t.queue.list[0].at
}

// due takes off and returns the first timer that is due at now.
func (t *Timers) due(now time.Time) (Timer, bool) {
	if len(t.queue.list) == 0 || t.queue.list[0].at.After(now) {
		return Timer{}, false
	}
	d := heap.Pop(&t.queue).(*deadline)
	delete(t.byName, d.Timer)
	return d.Timer, true
}

// shift puts every deadline off: the process slept, and could not hear those that it judges.
func (t *Timers) shift(by time.Duration) {
	for _, d := range t.queue.list {
		d.at = d.at.Add(by)
	}
}

// deadlines is a heap.
type deadlines struct {
	list  []*deadline
	order uint64
}

func (q *deadlines) Len() int { return len(q.list) }

func (q *deadlines) Less(i, j int) bool {
	a, b := q.list[i], q.list[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.order < b.order
}

func (q *deadlines) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].index, q.list[j].index = i, j
}

func (q *deadlines) Push(x any) {
	d := x.(*deadline)
	d.index = len(q.list)
	q.list = append(q.list, d)
}

func (q *deadlines) Pop() any {
	last := len(q.list) - 1
	d := q.list[last]
	q.list[last] = nil
	q.list = q.list[:last]
	return d
}

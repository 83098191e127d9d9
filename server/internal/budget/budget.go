// Package budget owns the bytes of memory that requests may occupy: they are lent, and returned.
package budget

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrTooLarge is wrapped by the error for a wish that exceeds the whole budget: waiting would not help.
var ErrTooLarge = errors.New("larger than the memory budget")

// Budget is a limit on bytes that are in use at once, and a pool of buffers inside it. What waits for memory gets it
// in the order in which it asked, so that a large wish is not starved by small ones. All methods are safe for
// concurrent use. Nothing is per process: each node has its own.
//
// Invariant: inUse + idle <= limit, but for buffers that Resize left above a smaller limit, and what Charge counts.
type Budget struct {
	mu      sync.Mutex
	limit   int64
	inUse   int64
	idle    int64     // bytes of free
	maxIdle int64     // what is kept for the next request; the rest goes to the garbage collector
	used    bool      // a buffer was lent since the last Rest
	waiting list.List // of *waiter, first come first

	free [numClasses][]*Buffer

	// reclaims are asked, while somebody waits, to see to that memory comes back.
	reclaims []func(n int64)

	waits    atomic.Int64
	refusals atomic.Int64
}

// reclaimEvery is how often those who can give memory back are asked to, while somebody waits for it.
const reclaimEvery = 100 * time.Millisecond

type waiter struct {
	n     int64
	ready chan struct{} // closed when the bytes are the waiter's
}

// Buffers come in sizes 4, 5, 6, 7 KiB, 8, 10, 12, 14 KiB and so on: at most a quarter is wasted. Buffers beyond
// maxClassBytes are made for one use, since few of them would be all that is kept. A producer that fills eight
// partitions sends up to 8 MB at a time, and a new buffer for each request, cleared and collected, would take half of the
// CPU of the node. It has five such requests on the way, which come back together when a sync has answered them.
//
// What is kept is a small share of the budget. Garbage, which is not counted, comes on top of what is lent, and beside
// buffers that are kept for long there is that much less room for it.
const (
	minClassBits  = 12
	maxClassBits  = 24
	numClasses    = (maxClassBits-minClassBits)*4 + 1
	maxClassBytes = 1 << maxClassBits
	maxIdleBytes  = 4 << maxClassBits
	maxIdleShare  = 8                       // of the limit
	largeClass    = (20-minClassBits)*4 + 1 // beyond 1 MiB
)

// classOf returns the class that holds n bytes, 0 < n <= maxClassBytes, and its size.
func classOf(n int) (class, size int) {
	if n <= 1<<minClassBits {
		return 0, 1 << minClassBits
	}
	shift := bits.Len(uint(n-1)) - 3 // n-1 has two bits below its top one at shift
	quarter := (n - 1) >> shift      // 4 to 7
	return (shift+2-minClassBits)*4 + quarter - 4 + 1, (quarter + 1) << shift
}

// New returns a budget of limit bytes.
func New(limit int64) *Budget {
	return &Budget{limit: limit, maxIdle: min(maxIdleBytes, limit/maxIdleShare)}
}

// Acquire takes n bytes out of the budget, waiting for them if it must. The error wraps ErrTooLarge, or is the
// context's.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	b.mu.Lock()
	if n > b.limit {
		limit := b.limit
		b.mu.Unlock()
		b.refusals.Add(1)
		return fmt.Errorf("%d bytes are %w of %d", n, ErrTooLarge, limit)
	}
	if b.waiting.Len() == 0 && b.take(n) {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, ready: make(chan struct{})}
	place := b.waiting.PushBack(w)
	b.mu.Unlock()
	b.waits.Add(1)
	if b.await(ctx, w) {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.ready: // both happened: give it to the next
		b.inUse -= n
	default:
		b.waiting.Remove(place)
	}
	b.wake()
	b.refusals.Add(1)
	return fmt.Errorf("waiting for %d bytes of memory: %w", n, context.Cause(ctx))
}

// await waits until the bytes are the waiter's; false says that the context ended.
func (b *Budget) await(ctx context.Context, w *waiter) bool {
	ask := time.NewTicker(reclaimEvery)
	defer ask.Stop()
	for {
		select {
		case <-w.ready:
			return true
		case <-ctx.Done():
			return false
		case <-ask.C:
			b.mu.Lock()
			reclaims, first := b.reclaims, b.waiting.Len() > 0 && b.waiting.Front().Value == w
			b.mu.Unlock()
			for i := 0; first && i < len(reclaims); i++ { // the others will be first
				reclaims[i](w.n)
			}
		}
	}
}

// Ample reports whether more than half of the budget is left and nobody waits: then what is merely faster with more
// memory may take it.
func (b *Budget) Ample() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inUse <= b.limit/2 && b.waiting.Len() == 0
}

// Overdrawn reports whether more is in use than there is, as Charge can bring about.
func (b *Budget) Overdrawn() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inUse > b.limit
}

// OnShort registers what to call, from time to time and from any goroutine, while somebody waits, with the bytes that
// the first of those needs: it should see to that they come back.
func (b *Budget) OnShort(reclaim func(n int64)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reclaims = append(slices.Clone(b.reclaims), reclaim)
}

// Charge counts n bytes that are in use already, whether or not there is room for them: those who ask for more wait
// until they were released.
func (b *Budget) Charge(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.take(n) {
		b.inUse += n
	}
}

// TryAcquire takes n bytes if they are there and nobody waits for them.
func (b *Budget) TryAcquire(n int64) bool {
	b.mu.Lock()
	ok := b.waiting.Len() == 0 && b.take(n)
	b.mu.Unlock()
	if !ok {
		b.refusals.Add(1)
	}
	return ok
}

// Release gives back what Acquire or TryAcquire took.
func (b *Budget) Release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveBack(n)
}

func (b *Budget) giveBack(n int64) {
	b.inUse -= n
	if b.inUse < 0 {
		panic("budget: more was given back than was taken")
	}
	b.wake()
}

// take needs mu. Idle buffers make room.
func (b *Budget) take(n int64) bool {
	if b.inUse+n > b.limit {
		return false
	}
	for class := numClasses - 1; class >= 0 && b.inUse+b.idle+n > b.limit; class-- {
		for len(b.free[class]) > 0 && b.inUse+b.idle+n > b.limit {
			b.pop(class)
		}
	}
	b.inUse += n
	return true
}

// wake serves those who wait, in order, as far as the bytes go. Needs mu.
func (b *Budget) wake() {
	for place := b.waiting.Front(); place != nil; place = b.waiting.Front() {
		w := place.Value.(*waiter)
		if w.n <= b.limit && !b.take(w.n) || w.n > b.limit && b.inUse > 0 {
			return
		}
		if w.n > b.limit { // the limit shrank below it: it goes alone
			b.inUse += w.n
		}
		b.waiting.Remove(place)
		close(w.ready)
	}
}

func (b *Budget) pop(class int) *Buffer {
	last := len(b.free[class]) - 1
	buf := b.free[class][last]
	b.free[class][last] = nil
	b.free[class] = b.free[class][:last]
	b.idle -= int64(len(buf.full))
	return buf
}

// Buffer is memory on loan.
type Buffer struct {
	budget *Budget
	full   []byte // the size of its class: what it costs
	n      int
	class  int // -1: made for one use
	lent   atomic.Bool
}

// Get lends a buffer of n bytes, whose content is arbitrary, waiting for memory if it must. The error wraps
// ErrTooLarge, or is the context's.
func (b *Budget) Get(ctx context.Context, n int) (*Buffer, error) {
	class, size := b.sizeOf(n)
	if err := b.Acquire(ctx, int64(size)); err != nil {
		return nil, err
	}
	return b.buffer(class, size, n), nil
}

// TryGet is Get for those who do not wait.
func (b *Budget) TryGet(n int) (*Buffer, bool) {
	class, size := b.sizeOf(n)
	if !b.TryAcquire(int64(size)) {
		return nil, false
	}
	return b.buffer(class, size, n), true
}

func (b *Budget) sizeOf(n int) (class, size int) {
	if n <= maxClassBytes {
		if class, size = classOf(n); int64(size) <= b.Limit() {
			return class, size
		}
	}
	return -1, n
}

// buffer makes or finds a buffer whose bytes have been taken.
func (b *Budget) buffer(class, size, n int) *Buffer {
	buf := b.find(class, size)
	if buf == nil {
		buf = &Buffer{budget: b, full: make([]byte, size), class: class}
	}
	buf.n = n
	buf.lent.Store(true)
	return buf
}

// find returns an idle buffer of the class, or nil. Of the large ones one up to four times as large does as well while
// memory is ample: no two requests of such a client are of one size, and to make a buffer costs more than to lend one too
// large. It counts in full.
func (b *Budget) find(class, size int) *Buffer {
	if class < 0 {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = true
	last := class
	if class >= largeClass && b.inUse <= b.limit/2 {
		last = min(class+8, numClasses-1)
	}
	for c := class; c <= last; c++ {
		if len(b.free[c]) > 0 {
			buf := b.pop(c)
			b.inUse += int64(len(buf.full) - size) // was idle: the sum of both has not grown
			return buf
		}
	}
	return nil
}

// Bytes is the buffer, as long as was asked for. It is the borrower's until Release.
func (buf *Buffer) Bytes() []byte { return buf.full[:buf.n] }

// Cap is how many bytes the buffer has cost, and Grow can give.
func (buf *Buffer) Cap() int { return len(buf.full) }

// Grow makes the buffer n bytes long, n <= Cap, and returns them. What it held stays.
func (buf *Buffer) Grow(n int) []byte {
	buf.n = n
	return buf.full[:n]
}

// Release gives the buffer back. Nobody may touch its bytes afterwards. Releasing twice panics; nil is fine.
func (buf *Buffer) Release() {
	if buf == nil {
		return
	}
	if !buf.lent.Swap(false) {
		panic("budget: a buffer was released twice")
	}
	b := buf.budget
	size := int64(len(buf.full))
	b.mu.Lock()
	defer b.mu.Unlock()
	// The large ones make room for each other: what was used last is what is wanted next.
	for class := numClasses - 1; buf.class >= largeClass && size <= b.maxIdle && class >= largeClass; class-- {
		for len(b.free[class]) > 0 && b.idle+size > b.maxIdle {
			b.pop(class)
		}
	}
	// Kept only when it fits beside what is in use once this one is given back, and nobody waits.
	if buf.class >= 0 && b.idle+size <= b.maxIdle && b.inUse+b.idle <= b.limit && b.waiting.Len() == 0 {
		b.free[buf.class] = append(b.free[buf.class], buf)
		b.idle += size
	}
	b.giveBack(size)
}

// Rest lets all idle buffers go to the garbage collector, unless one was lent since Rest was called last: a node asks now
// and then, and one at rest keeps nothing. It returns how many bytes it let go.
func (b *Budget) Rest() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.used {
		b.used = false
		return 0
	}
	for class := range b.free {
		b.free[class] = nil
	}
	freed := b.idle
	b.idle = 0
	return freed
}

// Resize changes the limit. What is in use stays; those who wait may get their turn.
func (b *Budget) Resize(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
	b.maxIdle = min(maxIdleBytes, limit/maxIdleShare)
	b.wake()
}

// Limit is the size of the budget in bytes.
func (b *Budget) Limit() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit
}

// Stats is a moment of a Budget, for metrics.
type Stats struct {
	Limit    int64
	InUse    int64 // bytes lent
	Idle     int64 // bytes of buffers kept for the next request
	Waiting  int   // those who wait now
	Waits    int64 // how often somebody had to wait, ever
	Refusals int64 // how often somebody got nothing, ever
}

// Stats returns the figures of this moment.
func (b *Budget) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{
		Limit: b.limit, InUse: b.inUse, Idle: b.idle, Waiting: b.waiting.Len(),
		Waits: b.waits.Load(), Refusals: b.refusals.Load(),
	}
}

// InUse is the number of bytes lent.
func (b *Budget) InUse() int64 { return b.Stats().InUse }

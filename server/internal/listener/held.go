package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

// A connection holds memory of the budget in four ways: a buffer for a request that has begun to come (input), what
// the handler makes of a large request (weight), answers that the client does not take (owed), and copies of records that
// are being sent. All but the third are lent before they are used. Answers are never waited for, since what they are made of
// comes back when they are sent; they are charged, and then it is further requests that wait, those that have been read
// already among them. While somebody waits, connections that have held on to memory for longer than shedAfter without any
// progress are closed, the longest first: so a node full of clients that do not read goes on to serve those that do.
type held struct {
	// input is the size of the buffer of a request that the reader waits for the rest of, and inputSince when that
	// began; 0 while it waits for none.
	input, inputSince atomic.Int64
	// copies is what ranges were copied to and is being sent. moved is when the last bytes went out.
	copies, moved atomic.Int64

	// Guarded by Conn.mu. Of owed bytes, charged are counted in the budget.
	owed, charged, weight int64
	since                 time.Time // when charged and weight were last 0
}

const (
	// shedAfter is how long a connection may hold what others wait for without any progress.
	shedAfter = 2 * time.Second
	// owedFree is how many bytes of answers a connection may hold without their being charged: nearly all answers are
	// smaller and sent at once, and need no look at the budget.
	owedFree = 16 << 10
	// weighFrom is from which size on a request is weighed. weighFactor is how much memory it is taken for: the structs
	// of a Fetch of many partitions, and of what waits for them, are about that much larger than their bytes.
	weighFrom   = 16 << 10
	weighFactor = 32
)

// errShed is why a connection ends that holds what others need.
var errShed = errors.New("it held memory that others wait for, and neither sent nor took anything")

// began notes that the reader waits for the rest of a request and holds a buffer for it, or, with 0, that it does not.
func (h *held) began(bytes int) {
	was := h.input.Load()
	if int64(bytes) > was { // it begins, or so much came that it needed a larger buffer
		h.inputSince.Store(time.Now().UnixNano())
	}
	if int64(bytes) != was {
		h.input.Store(int64(bytes))
	}
}

// errNoMemory is why a connection ends that got no memory in time.
var errNoMemory = errors.New("the memory budget had no room for the request in time")

// await has the reader wait for memory, until StallTimeout is over or the connection ends.
func (c *Conn) await(get func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(c.l.ctx, c.l.cfg.StallTimeout, errNoMemory)
	defer cancel()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return net.ErrClosed
	}
	c.stopWaiting = cancel
	c.mu.Unlock()
	err := get(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopWaiting = nil
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// weigh borrows memory for what a large request turns into. Records stay bytes, so a Produce is weighed by nothing but its
// buffer. Any other waits while answers that were not taken have overdrawn the budget, since its own may be large, too: those
// who have read their requests already would all add to it.
func (c *Conn) weigh(r *Request) error {
	if r.Header.Key == wire.KeyProduce {
		return nil
	}
	b := c.l.cfg.Budget
	if b.Overdrawn() {
		if err := c.waitForPayers(); err != nil {
			return fmt.Errorf("%s: %w", r.Header.Key, err)
		}
	}
	if r.frameLen < weighFrom {
		return nil
	}
	n, most := weighFactor*int64(r.frameLen), b.Limit()/2
	if n > most {
		return fmt.Errorf("a %s of %d bytes may take %d bytes of memory; half of memory.budget.bytes is %d: %w", r.Header.Key, r.frameLen, n, most, budget.ErrTooLarge)
	}
	if !b.TryAcquire(n) {
		if err := c.await(func(ctx context.Context) error { return b.Acquire(ctx, n) }); err != nil {
			return fmt.Errorf("%s of %d bytes: %w", r.Header.Key, r.frameLen, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.weight = n
	c.held.hold(time.Now())
	c.held.weight += n
	return nil
}

// waitForPayers waits until the budget is not overdrawn. What is complete leaves meanwhile: it is a part of what is owed.
func (c *Conn) waitForPayers() error {
	c.mu.Lock()
	c.reading = false
	if !c.writing && c.ready() {
		c.startWriter()
	}
	c.mu.Unlock()
	if c.in.buf != nil {
		c.held.began(c.in.buf.Cap())
		defer c.held.began(0)
	}
	b := c.l.cfg.Budget
	err := c.await(func(ctx context.Context) error { return b.Acquire(ctx, 1) })
	if err == nil {
		b.Release(1)
	}
	return err
}

// unweigh gives back what was borrowed for a request. The lock is held, or nobody else knows the request.
func (c *Conn) unweigh(r *Request) {
	if r.weight == 0 {
		return
	}
	c.l.cfg.Budget.Release(r.weight)
	c.held.weight -= r.weight
	r.weight = 0
}

// owe counts the answer of a request that is complete. The lock is held.
func (c *Conn) owe(r *Request) {
	for i := range r.response.Parts {
		p := &r.response.Parts[i]
		r.size += int64(p.Len())
		r.owed += int64(len(p.Bytes))
	}
	c.unsent += r.size
	c.held.owed += r.owed
	c.charge()
}

// settle takes an answer that was sent, or never will be, out of the count. The lock is held.
func (c *Conn) settle(r *Request) {
	c.unsent -= r.size
	c.held.owed -= r.owed
	r.size, r.owed = 0, 0
	c.charge()
}

// charge makes the budget know of what is owed. The lock is held.
func (c *Conn) charge() {
	h := &c.held
	want := h.owed
	if want <= owedFree {
		want = 0
	}
	switch {
	case want > h.charged:
		h.hold(time.Now())
		c.l.cfg.Budget.Charge(want - h.charged)
	case want < h.charged:
		c.l.cfg.Budget.Release(h.charged - want)
	}
	h.charged = want
}

// hold notes when a connection that held nothing begins to.
func (h *held) hold(now time.Time) {
	if h.charged == 0 && h.weight == 0 {
		h.since = now
	}
}

// holding returns how many bytes the connection holds without progress, and since when.
func (c *Conn) holding(now time.Time) (bytes int64, since time.Time) {
	since = now
	if n := c.held.input.Load(); n > 0 {
		if begun := time.Unix(0, c.held.inputSince.Load()); now.Sub(begun) > c.l.shedAfter {
			bytes, since = n, begun
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	copies := c.held.copies.Load()
	if n := c.held.charged + c.held.weight + copies; n > 0 {
		begun := c.held.since
		if moved := time.Unix(0, c.held.moved.Load()); copies > 0 || moved.After(begun) {
			begun = moved
		}
		if now.Sub(begun) > c.l.shedAfter {
			bytes += n
			if begun.Before(since) {
				since = begun
			}
		}
	}
	return bytes, since
}

// shed closes connections that hold memory without progress until n bytes come back. It is told by the budget that
// somebody waits for them.
func (l *Listener) shed(n int64) {
	now := time.Now()
	type holder struct {
		*Conn
		bytes int64
		since time.Time
	}
	var holders []holder
	for _, c := range l.connections() {
		if bytes, since := c.holding(now); bytes > 0 {
			holders = append(holders, holder{c, bytes, since})
		}
	}
	slices.SortFunc(holders, func(a, b holder) int { return cmp.Or(a.since.Compare(b.since), cmp.Compare(b.bytes, a.bytes)) })
	for _, h := range holders {
		if n <= 0 {
			return
		}
		h.end(fmt.Errorf("%d bytes for %s: %w", h.bytes, now.Sub(h.since).Round(time.Second), errShed), true)
		n -= h.bytes
	}
}

package listener

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

const (
	// sendfileFrom is from how many bytes on a range of a file is sent by the kernel; below, copying costs no more.
	sendfileFrom = 64 << 10
	// copyChunk is the most that is copied out of a range at a time. When the budget has not much memory left a
	// connection makes do with copyLeast of its own: an answer never waits for memory, since what it is made of
	// is given back when it has been sent, and others may be waiting for that.
	copyChunk = 1 << 20
	copyLeast = 16 << 10
	// copyMost is how much is copied for one write while memory is plenty. The more of it there is, the fewer times the
	// client, and then this side again, sleep and are woken.
	copyMost = 4 << 20
	// gatherMax is how many pieces one writev takes. Up to crumbs in all one copy is cheaper than a vector.
	gatherMax = 1024
	crumbs    = 16 << 10
	// atOnceMax is how large an answer may be to be written by whoever completes it.
	atOnceMax = 4 << 10
	// writeTimeout bounds a write without any progress when connections never idle out.
	writeTimeout = 10 * time.Minute
)

// write writes what is complete at the head of the queue until nothing is. The caller has set writing.
func (c *Conn) write() {
	out := outputs.Get().(*output)
	out.c = c
	c.mu.Lock()
	for c.ready() {
		n := 0
		for n < len(c.queue) && c.queue[n].done && c.queue[n].failure == nil {
			n++
		}
		batch := append(out.batch[:0], c.queue[:n]...)
		c.queue = append(c.queue[:0], c.queue[n:]...)
		var failure error
		if n == 0 {
			failure = c.queue[0].failure
			c.queue = append(c.queue[:0], c.queue[1:]...)
		}
		clear(c.queue[len(c.queue):cap(c.queue)])
		c.idle.Signal() // there is room in the queue
		broken := c.failing
		c.mu.Unlock()

		var err error
		if !broken {
			err = out.send(batch)
		}
		for _, r := range batch {
			r.response.Release()
		}
		c.mu.Lock()
		for i, r := range batch {
			c.settle(r)
			recycle(r)
			batch[i] = nil
		}
		out.batch = batch
		c.idle.Signal() // there is room for responses
		if err == nil {
			err = failure
		}
		if err != nil {
			c.failing = true
			if !c.closed {
				c.closed, c.reason = true, err
			}
			c.idle.Broadcast()
		}
	}
	c.writing = false
	closing := c.closed
	var cancel []func()
	if closing {
		for _, r := range c.queue {
			if r.onClose != nil {
				cancel = append(cancel, r.onClose)
				r.onClose, r.cancelled = nil, true
			}
		}
	}
	c.wrote.Broadcast()
	c.idle.Broadcast()
	c.mu.Unlock()
	out.recycle()
	if closing {
		c.nc.Close()
	}
	for _, f := range cancel {
		f()
	}
}

// writeAtOnce writes the only answer that is owed, when it is small and the socket takes all of it without a wait: a goroutine
// for it would cost more than the write. It returns false when there is still something to write. The lock is held.
//
// Where more requests are on the way, the next ones may be complete in a moment, and their answers leave together.
func (c *Conn) writeAtOnce() bool {
	if c.raw == nil || c.closed || c.failing || len(c.queue) != 1 || c.queue[0].failure != nil {
		return false
	}
	r := c.queue[0]
	size := 0
	for i := range r.response.Parts {
		p := &r.response.Parts[i]
		if p.Range != nil {
			return false
		}
		size += len(p.Bytes)
	}
	if size == 0 || size > atOnceMax {
		return false
	}
	out := outputs.Get().(*output)
	out.c = c
	rest := out.sendAtOnce(r)
	sent := size - len(rest)
	if 0 < sent && sent < size {
		rest = append([]byte(nil), rest...)
		r.response.Release()
		r.response = wire.BytesResponse(rest)
	}
	out.recycle()
	c.l.stats.api(r.Header.Key).bytesOut.Add(int64(sent))
	if sent < size {
		return false // the writer goes on from there, or finds out what is wrong
	}
	c.queue[0] = nil
	c.queue = c.queue[:0]
	r.response.Release()
	c.settle(r)
	recycle(r)
	c.idle.Signal() // there is room in the queue, and for responses
	return true
}

// sendAtOnce has the socket take as much of a response as it does without a wait, and returns what is left.
func (o *output) sendAtOnce(r *Request) (rest []byte) {
	for i := range r.response.Parts {
		o.pieces = append(o.pieces, r.response.Parts[i].Bytes)
	}
	s := &o.sending
	s.head, s.sent = o.together(), 0
	o.release()
	if o.deadline() != nil || o.c.raw.Write(o.sendNow) != nil || s.err != nil {
		return s.head
	}
	return s.head[s.sent:]
}

// trySendNow never waits.
func (o *output) trySendNow(socket uintptr) bool {
	s := &o.sending
	for {
		if s.sent, s.err = unix.SendmsgN(int(socket), s.head, nil, nil, 0); s.err != unix.EINTR {
			return true
		}
	}
}

// output gathers pieces of responses and writes as many as it can at a time. A connection borrows one while it writes.
type output struct {
	c       *Conn
	batch   []*Request // whose responses are being written
	pieces  net.Buffers
	size    int
	small   []byte           // small pieces, copied together
	copies  []*budget.Buffer // what ranges were copied to
	least   []byte           // for copies when the budget has nothing
	scratch net.Buffers

	// What the socket is written to by when the kernel sends a file or is told that more follows, made once, and what
	// they send.
	sendFile, sendHead, sendNow func(fd uintptr) bool
	sending                     struct {
		file int
		pos  int64
		n    int
		head []byte
		sent int
		err  error
	}
}

var outputs = sync.Pool{New: func() any {
	o := new(output)
	o.sendFile, o.sendHead, o.sendNow = o.trySendFile, o.trySendHead, o.trySendNow
	return o
}}

// outputSmallMax is how much of the memory for small pieces is kept.
const outputSmallMax = 64 << 10

// recycle gives the output back, with its memory and nothing else.
func (o *output) recycle() {
	if cap(o.small) > outputSmallMax {
		o.small = nil
	}
	*o = output{batch: o.batch[:0], pieces: o.pieces[:0], copies: o.copies[:0], small: o.small[:0], least: o.least,
		sendFile: o.sendFile, sendHead: o.sendHead, sendNow: o.sendNow}
	outputs.Put(o)
}

// send writes the responses of the requests.
func (o *output) send(batch []*Request) error {
	defer o.done()
	for _, r := range batch {
		size := 0
		for i := range r.response.Parts {
			p := &r.response.Parts[i]
			size += p.Len()
			if p.Range == nil {
				if err := o.add(p.Bytes); err != nil {
					return err
				}
			} else if err := o.addRange(p.Range); err != nil {
				return fmt.Errorf("send the answer to %s: %w", r.Header.Key, err)
			}
		}
		o.c.l.stats.api(r.Header.Key).bytesOut.Add(int64(size))
	}
	return o.flush()
}

// add takes a piece, which must stay as it is until flush.
func (o *output) add(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if len(o.pieces) >= gatherMax {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.pieces = append(o.pieces, b)
	o.size += len(b)
	return nil
}

// addRange takes a range: the kernel sends it, or it is copied, whichever the peer, the range and its size are for.
func (o *output) addRange(r wire.Range) error {
	if o.c.raw != nil && !o.c.l.copies && r.Len() >= sendfileFrom {
		if fd, pos, ok := r.File(); ok {
			if err := o.flushBefore(); err != nil {
				return err
			}
			return o.sendfile(r, int(fd), pos)
		}
	}
	return o.copyRange(r)
}

func (o *output) copyRange(r wire.Range) error {
	for off, n := 0, r.Len(); off < n; {
		b, err := o.buffer(n - off)
		if err != nil {
			return err
		}
		if got, err := r.ReadAt(b, int64(off)); got < len(b) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		off += len(b)
		if err := o.add(b); err != nil {
			return err
		}
		if o.size >= o.most() {
			if err := o.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// most is how much to gather for one write. A slow client holds that much, so it is a small share of the budget, and
// little when memory gets short.
func (o *output) most() int {
	b := o.c.l.cfg.Budget
	limit := b.Limit()
	if b.InUse() > limit/4 {
		return copyChunk
	}
	return int(max(copyChunk, min(copyMost, limit/32)))
}

// buffer finds memory for a copy of up to n bytes, good until the next flush.
func (o *output) buffer(n int) ([]byte, error) {
	n = min(n, copyChunk)
	if b := o.c.l.cfg.Budget; n <= copyLeast || b.Ample() {
		if buf, ok := b.TryGet(n); ok {
			o.copies = append(o.copies, buf)
			o.c.held.copies.Add(int64(buf.Cap()))
			return buf.Bytes(), nil
		}
	}
	if err := o.flush(); err != nil {
		return nil, err
	}
	if o.least == nil {
		o.least = make([]byte, copyLeast)
	}
	return o.least[:min(n, copyLeast)], nil
}

// flush writes all pieces.
func (o *output) flush() error {
	defer o.release()
	if len(o.pieces) == 0 {
		return nil
	}
	if err := o.deadline(); err != nil {
		return err
	}
	if len(o.pieces) == 1 {
		_, err := o.c.nc.Write(o.pieces[0])
		return err
	}
	if o.size <= crumbs || o.c.raw == nil {
		_, err := o.c.nc.Write(o.together())
		return err
	}
	o.scratch = o.pieces // WriteTo consumes what it is called on
	_, err := o.scratch.WriteTo(o.c.nc)
	o.scratch = nil
	return err
}

// together copies all pieces into one.
func (o *output) together() []byte {
	o.small = o.small[:0]
	for _, p := range o.pieces {
		o.small = append(o.small, p...)
	}
	return o.small
}

// release forgets the pieces and gives the copies back.
func (o *output) release() {
	clear(o.pieces)
	o.pieces, o.size = o.pieces[:0], 0
	for i, buf := range o.copies {
		o.c.held.copies.Add(-int64(buf.Cap()))
		buf.Release()
		o.copies[i] = nil
	}
	o.copies = o.copies[:0]
}

func (o *output) done() { o.release() }

// deadline sets the write deadline, unless the one that is set is good to an eighth.
func (o *output) deadline() error {
	c := o.c
	timeout := c.l.cfg.IdleTimeout
	if timeout <= 0 {
		timeout = writeTimeout
	}
	now := time.Now()
	c.held.moved.Store(now.UnixNano()) // all before has gone out
	if left := c.writeDue.Sub(now); timeout-timeout/8 < left && left <= timeout {
		return nil
	}
	c.writeDue = now.Add(timeout)
	return c.nc.SetWriteDeadline(c.writeDue)
}

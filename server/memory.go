package server

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// memoryBuffer is how many bytes one direction of an in-memory connection holds before its writer waits,
// as a socket buffer would make it wait.
const memoryBuffer = 256 << 10

// memoryListener is a net.Listener whose connections are pairs of buffers in this process: a guest in the
// same binary, or a test, speaks the same bytes without a socket (D9).
type memoryListener struct {
	addr    net.Addr
	accepts chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// newMemoryListener returns a listener that says it listens at addr: the address of the real listener it
// stands beside, so that a client is told an address both ways in understand.
func newMemoryListener(addr net.Addr) *memoryListener {
	return &memoryListener{addr: addr, accepts: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) Addr() net.Addr { return l.addr }

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, net.ErrClosed
	case c := <-l.accepts:
		return c, nil
	}
}

// Dial connects to the listener and returns the caller's end.
func (l *memoryListener) Dial(ctx context.Context) (net.Conn, error) {
	up, down := newMemoryPipe(), newMemoryPipe()
	client := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}
	ours := &memoryConn{in: up, out: down, local: l.addr, remote: client}
	theirs := &memoryConn{in: down, out: up, local: client, remote: l.addr}
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: l.addr, Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: l.addr, Err: ctx.Err()}
	case l.accepts <- ours:
		return theirs, nil
	}
}

// memoryConn is one end of an in-memory connection.
type memoryConn struct {
	in, out       *memoryPipe
	local, remote net.Addr
}

func (c *memoryConn) Read(p []byte) (int, error)         { return c.in.read(p) }
func (c *memoryConn) Write(p []byte) (int, error)        { return c.out.write(p) }
func (c *memoryConn) LocalAddr() net.Addr                { return c.local }
func (c *memoryConn) RemoteAddr() net.Addr               { return c.remote }
func (c *memoryConn) SetReadDeadline(t time.Time) error  { return c.in.readDeadline.set(c.in, t) }
func (c *memoryConn) SetWriteDeadline(t time.Time) error { return c.out.writeDeadline.set(c.out, t) }

func (c *memoryConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// Close ends both directions. What the peer had not read yet it can still read, as after a FIN.
func (c *memoryConn) Close() error {
	c.in.abandon()
	c.out.finish()
	return nil
}

// memoryPipe is one direction of an in-memory connection: a ring of bytes with a writer and a reader.
type memoryPipe struct {
	mu   sync.Mutex
	cond *sync.Cond

	// data[head:head+size] (around the end) is what was written and not read; the ring is made at the first
	// write and grows to memoryBuffer, so that an idle connection holds none.
	data       []byte
	head, size int

	finished  bool // the writer closed: reads end with EOF once the ring is empty
	abandoned bool // the reader closed: writes fail, and so do its own reads

	readDeadline, writeDeadline deadline
}

func newMemoryPipe() *memoryPipe {
	p := &memoryPipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// deadline is a moment after which a direction's waits fail; the timer only wakes the waiters.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) set(p *memoryPipe, t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if !t.IsZero() && !p.finished && !p.abandoned {
		d.timer = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			p.cond.Broadcast()
			p.mu.Unlock()
		})
	}
	p.cond.Broadcast()
	return nil
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}

func (p *memoryPipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.abandoned:
			return 0, net.ErrClosed
		case p.readDeadline.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case p.size > 0:
			n := copy(b, p.data[p.head:min(p.head+p.size, len(p.data))])
			if n < len(b) && n < p.size { // the rest lies at the start of the ring
				n += copy(b[n:], p.data[:p.size-n])
			}
			p.head = (p.head + n) % len(p.data)
			p.size -= n
			p.cond.Broadcast()
			return n, nil
		case p.finished:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}

func (p *memoryPipe) write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for {
		switch {
		case p.finished:
			return done, net.ErrClosed
		case p.abandoned:
			return done, io.ErrClosedPipe
		case p.writeDeadline.passed():
			return done, os.ErrDeadlineExceeded
		case done == len(b):
			return done, nil
		}
		p.grow(len(b) - done)
		if p.size == len(p.data) {
			p.cond.Wait()
			continue
		}
		tail := (p.head + p.size) % len(p.data)
		end := len(p.data)
		if tail < p.head {
			end = p.head
		}
		n := copy(p.data[tail:end], b[done:])
		p.size += n
		done += n
		p.cond.Broadcast()
	}
}

// grow makes room for n more bytes, up to memoryBuffer.
func (p *memoryPipe) grow(n int) {
	if len(p.data)-p.size >= n || len(p.data) == memoryBuffer {
		return
	}
	size := max(4<<10, len(p.data))
	for size < p.size+n && size < memoryBuffer {
		size *= 2
	}
	if size == len(p.data) {
		return
	}
	grown := make([]byte, size)
	k := copy(grown, p.data[p.head:min(p.head+p.size, len(p.data))])
	copy(grown[k:], p.data[:p.size-k])
	p.data, p.head = grown, 0
}

// finish is the writer's close.
func (p *memoryPipe) finish() {
	p.mu.Lock()
	p.finished = true
	p.writeDeadline.stop()
	p.cond.Broadcast()
	p.mu.Unlock()
}

// abandon is the reader's close.
func (p *memoryPipe) abandon() {
	p.mu.Lock()
	p.abandoned = true
	p.data, p.head, p.size = nil, 0, 0
	p.readDeadline.stop()
	p.cond.Broadcast()
	p.mu.Unlock()
}

package listener

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

const (
	// readMin is the least that a read asks for, and readMax the most while frames are smaller.
	readMin = 64 << 10
	readMax = 1 << 20
	// trustMax is up to which size a frame gets a buffer for all of it at once, while memory is ample; and so does one no
	// larger than what the client has just sent. Any other gets more as its bytes come, four times at each step: four bytes
	// must not cost the node a hundred megabytes.
	trustMax = 1 << 20
	// keepMax is how much of an unfinished frame a connection keeps for itself, so that a client that sends
	// bytes one by one does not hold a buffer.
	keepMax = 1 << 10
)

// input is the reading side of a connection. Between the calls of next it holds a buffer only while there is an
// unfinished frame in it.
//
//	buf: [ consumed | at … unread … end | free ]
type input struct {
	buf     *budget.Buffer
	at, end int
	small   []byte    // an unfinished frame of at most keepMax bytes; only while buf is nil
	usual   int       // the size of the last frame, from which the next buffer's follows
	last    time.Time // when the last bytes came
	due     time.Time // the read deadline; zero: none

	// readSocket is what a socket is read by, made once; got is what it brought.
	readSocket func(fd uintptr) bool
	got        struct {
		n     int
		err   error
		short bool // there was no memory for a buffer
	}
}

// pending is how many bytes of an unfinished frame there are.
func (in *input) pending() int { return in.end - in.at + len(in.small) }

// whole reports whether a whole frame is in the buffer.
func (in *input) whole(limit int) bool {
	if in.buf == nil {
		return false
	}
	frame, _, err := wire.SplitFrame(in.buf.Bytes()[in.at:in.end], limit)
	return frame != nil || err != nil
}

// drop gives the buffer back.
func (in *input) drop() {
	if in.buf != nil {
		in.buf.Release()
	}
	in.buf, in.at, in.end = nil, 0, 0
}

// next returns the next frame, without its size. It is valid until the next call.
func (in *input) next(c *Conn) ([]byte, error) {
	for {
		want := readMin
		if in.buf != nil {
			unread := in.buf.Bytes()[in.at:in.end]
			frame, behind, err := wire.SplitFrame(unread, c.l.cfg.MaxRequestBytes)
			if err != nil {
				return nil, err
			}
			if frame != nil {
				c.held.began(0)
				in.usual = len(frame)
				in.at = in.end - len(behind)
				return frame, nil
			}
			switch {
			case len(unread) == 0:
				in.drop()
			case len(unread) >= wire.FrameHead:
				size, _ := wire.FrameSize(unread, c.l.cfg.MaxRequestBytes) // checked by SplitFrame
				if want = wire.FrameHead + size; want > readMin {
					// At the last step there are two buffers. Who waits for more than there can be waits for itself.
					if most := int64(want) + int64(want)/4; most > c.l.cfg.Budget.Limit() {
						return nil, fmt.Errorf("a request of %d bytes takes %d bytes of memory, and memory.budget.bytes is %d: %w", size, most, c.l.cfg.Budget.Limit(), budget.ErrTooLarge)
					}
					trust := max(trustMax, in.usual+in.usual/4)
					if want > len(in.buf.Bytes()) && !c.l.cfg.Budget.Ample() {
						trust = readMin
					}
					want = min(want, max(trust, 4*len(unread)))
				}
			}
		}
		if err := in.more(c, want); err != nil {
			return nil, err
		}
	}
}

// more reads at least a byte, into a buffer that can hold want bytes of unread data.
func (in *input) more(c *Conn, want int) error {
	if in.buf != nil && (in.end == len(in.buf.Bytes()) || len(in.buf.Bytes())-in.at < want) {
		if err := in.grow(c, want); err != nil {
			return err
		}
	}
	for {
		if err := in.deadline(c); err != nil {
			return err
		}
		n, err := in.fill(c)
		switch {
		case n > 0:
			in.last = time.Now()
			return nil
		case err == nil:
			return io.EOF
		case !timedOut(err):
			return err
		}
		in.due = time.Time{}
		if err := in.late(c, time.Now()); err != nil {
			return err
		}
	}
}

// patience is how long the client may send nothing; 0 for ever. A client that has a buffer for the rest of its
// request is given less.
func (in *input) patience(c *Conn) time.Duration {
	idle := max(c.l.cfg.IdleTimeout, 0)
	if stall := c.l.cfg.StallTimeout; in.buf != nil && in.end > in.at && (idle == 0 || stall < idle) {
		return stall
	}
	return idle
}

// late decides what a deadline that passed means: an error ends the connection.
func (in *input) late(c *Conn, now time.Time) error {
	patience := in.patience(c)
	if patience == 0 || now.Sub(in.last) < patience {
		return nil // the deadline was set for what has changed since
	}
	if in.buf != nil && in.end > in.at {
		return fmt.Errorf("%d bytes of a request came, and nothing more for %s", in.end-in.at, patience)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.produces+c.others > 0 || c.writing: // the client waits for us
		in.last = now
	case now.Sub(c.answered) < patience: // it did until now
		in.last = c.answered
	default:
		return errIdle
	}
	return nil
}

// deadline sets the read deadline, unless the one that is set is good to an eighth.
func (in *input) deadline(c *Conn) error {
	patience := in.patience(c)
	if patience == 0 {
		if in.due.IsZero() {
			return nil
		}
		in.due = time.Time{}
		return c.nc.SetReadDeadline(in.due)
	}
	now := time.Now()
	if in.last.IsZero() {
		in.last = now
	}
	if left := in.due.Sub(now); patience-patience/8 < left && left <= patience {
		return nil
	}
	in.due = now.Add(patience)
	return c.nc.SetReadDeadline(in.due)
}

// get waits for a buffer, but not for ever: whoever waits may hold a part of what others wait for.
func (in *input) get(c *Conn, n int) (buf *budget.Buffer, err error) {
	if buf, ok := c.l.cfg.Budget.TryGet(n); ok {
		return buf, nil
	}
	err = c.await(func(ctx context.Context) error {
		buf, err = c.l.cfg.Budget.Get(ctx, n)
		return err
	})
	return buf, err
}

// grow moves what is unread to the front of the buffer, or to a larger one.
func (in *input) grow(c *Conn, want int) error {
	unread := in.buf.Bytes()[in.at:in.end]
	if want <= len(in.buf.Bytes()) {
		copy(in.buf.Bytes(), unread)
		in.at, in.end = 0, len(unread)
		return nil
	}
	c.held.began(in.buf.Cap()) // it holds a part of what others, or it itself, may wait for
	larger, err := in.get(c, want)
	if err != nil {
		return err
	}
	n := copy(larger.Bytes(), unread)
	in.buf.Release()
	in.buf, in.at, in.end = larger, 0, n
	return nil
}

// size is how large a buffer the next read takes: room for two frames like the last one.
func (in *input) size() int { return min(max(readMin, 2*(in.usual+wire.FrameHead)), readMax) }

// begin makes sure there is a buffer. Without waiting, it may fail for want of memory.
func (in *input) begin(c *Conn, wait bool) (bool, error) {
	if in.buf != nil {
		return true, nil
	}
	size := in.size()
	if size > readMin && !c.l.cfg.Budget.Ample() {
		size = readMin
	}
	buf, ok := c.l.cfg.Budget.TryGet(size)
	if !ok {
		if !wait {
			return false, nil
		}
		var err error
		if buf, err = in.get(c, readMin); err != nil {
			return false, err
		}
	}
	in.buf, in.at = buf, 0
	in.end = copy(buf.Bytes(), in.small)
	in.small = nil
	return true, nil
}

// rest gives the buffer back while the connection waits, if little or nothing is in it. Otherwise the connection is known
// to hold it.
func (in *input) rest(c *Conn) {
	if in.buf == nil {
		return
	}
	switch unread := in.buf.Bytes()[in.at:in.end]; {
	case len(unread) == 0:
		in.drop()
	case len(unread) <= keepMax && len(in.buf.Bytes()) <= readMax:
		in.small = append([]byte(nil), unread...)
		in.drop()
	default:
		if len(unread) <= len(in.buf.Bytes())/4 && in.buf.Cap() > readMin && !c.l.cfg.Budget.Ample() {
			in.shrink(c)
		}
		c.held.began(in.buf.Cap())
	}
}

// shrink moves what is unread to a buffer of its size, if there is one to have.
func (in *input) shrink(c *Conn) {
	unread := in.buf.Bytes()[in.at:in.end]
	smaller, ok := c.l.cfg.Budget.TryGet(max(readMin, len(unread)))
	if !ok {
		return
	}
	n := copy(smaller.Bytes(), unread)
	in.buf.Release()
	in.buf, in.at, in.end = smaller, 0, n
}

// fill reads once into the buffer. On a socket the buffer is held only for the time of a read that has something to
// read; on anything else a small read waits for the first bytes.
func (in *input) fill(c *Conn) (int, error) {
	if c.raw == nil {
		return in.fillPlain(c)
	}
	if in.readSocket == nil {
		in.readSocket = func(fd uintptr) bool { return in.tryRead(c, int(fd)) }
	}
	got := &in.got
	for {
		if err := c.raw.Read(in.readSocket); err != nil {
			return 0, err
		}
		if !got.short {
			break
		}
		if _, err := in.begin(c, true); err != nil {
			return 0, err
		}
	}
	if got.err != nil {
		return 0, got.err
	}
	in.end += got.n
	return got.n, nil
}

// tryRead reads what the socket has, and reports whether that is an answer: false waits until there is something.
func (in *input) tryRead(c *Conn, fd int) bool {
	got := &in.got
	got.n, got.err, got.short = 0, nil, false
	if ok, _ := in.begin(c, false); !ok {
		got.short = true
		return true
	}
	for {
		n, err := unix.Read(fd, in.buf.Bytes()[in.end:])
		switch err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			in.rest(c)
			return false
		}
		got.n, got.err = max(n, 0), err
		return true
	}
}

func (in *input) fillPlain(c *Conn) (int, error) {
	if in.buf == nil {
		var first [256]byte
		n, err := c.nc.Read(first[:])
		if n == 0 {
			return 0, err
		}
		if _, err := in.begin(c, true); err != nil {
			return 0, err
		}
		in.end += copy(in.buf.Bytes()[in.end:], first[:n])
		return n, nil
	}
	n, err := c.nc.Read(in.buf.Bytes()[in.end:])
	in.end += n
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

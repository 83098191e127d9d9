package listener

import (
	"errors"
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
	small   []byte // an unfinished frame of at most keepMax bytes; only while buf is nil
	usual   int    // the size of the last frame, from which the next buffer's follows
	due     time.Time
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
				in.usual = len(frame)
				in.at = in.end - len(behind)
				return frame, nil
			}
			switch {
			case len(unread) == 0:
				in.drop()
			case len(unread) >= wire.FrameHead:
				size, _ := wire.FrameSize(unread, c.l.cfg.MaxRequestBytes) // checked by SplitFrame
				want = wire.FrameHead + size
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
	if err := in.deadline(c); err != nil {
		return err
	}
	n, err := in.fill(c)
	if n > 0 {
		return nil
	}
	if timedOut(err) {
		// The deadline counts only when nothing is under way.
		c.mu.Lock()
		busy := c.produces+c.others > 0 || c.writing
		c.mu.Unlock()
		if busy {
			in.due = time.Time{}
			return in.more(c, want)
		}
		return errIdle
	}
	if err == nil {
		err = io.EOF
	}
	return err
}

// deadline arms the idle timeout, at most once in an eighth of it.
func (in *input) deadline(c *Conn) error {
	timeout := c.l.cfg.IdleTimeout
	if timeout <= 0 {
		return nil
	}
	now := time.Now()
	if in.due.Sub(now) > timeout-timeout/8 {
		return nil
	}
	in.due = now.Add(timeout)
	return c.nc.SetReadDeadline(in.due)
}

// grow moves what is unread to the front of the buffer, or to a larger one.
func (in *input) grow(c *Conn, want int) error {
	unread := in.buf.Bytes()[in.at:in.end]
	if want <= len(in.buf.Bytes()) {
		copy(in.buf.Bytes(), unread)
		in.at, in.end = 0, len(unread)
		return nil
	}
	larger, err := c.l.cfg.Budget.Get(c.l.ctx, want)
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
	buf, ok := c.l.cfg.Budget.TryGet(in.size())
	if !ok {
		if !wait {
			return false, nil
		}
		var err error
		if buf, err = c.l.cfg.Budget.Get(c.l.ctx, readMin); err != nil {
			return false, err
		}
	}
	in.buf, in.at = buf, 0
	in.end = copy(buf.Bytes(), in.small)
	in.small = nil
	return true, nil
}

// rest gives the buffer back while the connection waits, if little or nothing is in it.
func (in *input) rest() {
	if in.buf == nil {
		return
	}
	switch unread := in.buf.Bytes()[in.at:in.end]; {
	case len(unread) == 0:
		in.drop()
	case len(unread) <= keepMax && len(in.buf.Bytes()) <= readMax:
		in.small = append([]byte(nil), unread...)
		in.drop()
	}
}

// fill reads once into the buffer. On a socket the buffer is held only for the time of a read that has something to
// read; on anything else a small read waits for the first bytes.
func (in *input) fill(c *Conn) (n int, err error) {
	if c.raw == nil {
		return in.fillPlain(c)
	}
	var readErr error
	short := false
	for {
		short = false
		err = c.raw.Read(func(fd uintptr) bool {
			if ok, _ := in.begin(c, false); !ok {
				short = true
				return true
			}
			for {
				n, readErr = unix.Read(int(fd), in.buf.Bytes()[in.end:])
				if readErr != unix.EINTR {
					break
				}
			}
			if readErr == unix.EAGAIN {
				in.rest()
				return false
			}
			return true
		})
		if !short || err != nil {
			break
		}
		if _, err = in.begin(c, true); err != nil {
			return 0, err
		}
	}
	switch {
	case err != nil:
		return 0, err
	case readErr != nil:
		return 0, readErr
	}
	n = max(n, 0)
	in.end += n
	return n, nil
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

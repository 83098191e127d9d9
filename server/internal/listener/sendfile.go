package listener

import (
	"io"
	"net"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/internal/wire"
)

// localSendBuffer is how much the kernel queues for a client on the same machine from when a file is sent to it. There is no
// network to keep busy, and the megabytes that it would queue have left the processor's cache before the client reads
// them: a large fetch then costs both of them two thirds more CPU. Answers that are made in memory are better off in the
// kernel's.
const localSendBuffer = 100 << 10

// flushBefore writes all pieces where a file follows. The few bytes of a header are held back by the kernel until the file
// fills their packet: alone they would wake the client for nothing.
func (o *output) flushBefore() error {
	if len(o.pieces) == 0 || o.size > crumbs {
		return o.flush()
	}
	defer o.release()
	s := &o.sending
	for s.head = o.together(); len(s.head) > 0; s.head = s.head[s.sent:] {
		if err := o.push(o.sendHead); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) trySendHead(socket uintptr) bool {
	s := &o.sending
	for {
		if s.sent, s.err = unix.SendmsgN(int(socket), s.head, nil, nil, msgMore); s.err != unix.EINTR {
			return s.err != unix.EAGAIN
		}
	}
}

// sendfile has the kernel send a range from a position of its file on. No memory of the budget is held meanwhile, however
// slow the client. A file that ends early, or no longer holds the range, ends the connection: the client was told how
// many bytes come, and takes fewer for no answer.
func (o *output) sendfile(r wire.Range, file int, pos int64) error {
	if o.c.local {
		o.c.local = false
		o.c.nc.(*net.TCPConn).SetWriteBuffer(localSendBuffer) // without it, it is slower
	}
	s := &o.sending
	s.file, s.pos = file, pos
	for s.n = r.Len(); s.n > 0; s.n -= s.sent {
		if err := o.push(o.sendFile); err != nil {
			return err
		}
		if err := r.Intact(); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) trySendFile(socket uintptr) bool {
	s := &o.sending
	for {
		at := s.pos
		s.sent, s.err = unix.Sendfile(int(socket), s.file, &at, s.n)
		switch {
		case s.sent > 0: // some systems add that the socket is full
			s.pos, s.err = s.pos+int64(s.sent), nil
			return true
		case s.err != unix.EINTR:
			return s.err != unix.EAGAIN
		}
	}
}

// push has a part of something sent, as much as the socket takes, once it takes anything. What comes through puts the
// deadline off.
func (o *output) push(send func(socket uintptr) bool) error {
	if err := o.deadline(); err != nil {
		return err
	}
	if err := o.c.raw.Write(send); err != nil {
		return err
	}
	switch s := &o.sending; {
	case s.err != nil:
		return s.err
	case s.sent <= 0:
		return io.ErrUnexpectedEOF
	}
	return nil
}

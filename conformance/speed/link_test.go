package speed

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// link is one connection to a broker that any number of clients share: requests are sent as they come, and answered in
// their order.
type link struct {
	conn net.Conn
	form *kmsg.RequestFormatter

	mu      sync.Mutex
	waiting []chan answer // the oldest request first
	next    int32
	failed  error
}

type answer struct {
	frame []byte
	err   error
}

func dial(addr string) (*link, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	l := &link{conn: conn, form: kmsg.NewRequestFormatter(kmsg.FormatterClientID("speed"))}
	go l.read()
	return l, nil
}

// call sends a request in the version that it has, and waits for the answer.
func (l *link) call(request kmsg.Request) (kmsg.Response, error) {
	done := make(chan answer, 1)
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return nil, l.failed
	}
	l.next++
	frame := l.form.AppendRequest(nil, request, l.next)
	l.waiting = append(l.waiting, done)
	_, err := l.conn.Write(frame)
	l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a := <-done
	if a.err != nil {
		return nil, a.err
	}
	response := request.ResponseKind()
	body := a.frame[4:]
	if response.IsFlexible() && response.Key() != 18 {
		body = body[1:] // no tags in the header
	}
	return response, response.ReadFrom(body)
}

func (l *link) read() {
	var size [4]byte
	for {
		_, err := io.ReadFull(l.conn, size[:])
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if err == nil {
			_, err = io.ReadFull(l.conn, frame)
		}
		l.mu.Lock()
		if err != nil {
			l.failed = fmt.Errorf("the connection to %s: %w", l.conn.RemoteAddr(), err)
			for _, done := range l.waiting {
				done <- answer{err: l.failed}
			}
			l.mu.Unlock()
			return
		}
		done := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.mu.Unlock()
		done <- answer{frame: frame}
	}
}

func (l *link) close() { l.conn.Close() }

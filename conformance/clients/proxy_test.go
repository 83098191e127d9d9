package clients

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// proxy stands between clients and a server and loses acknowledgements: the server has taken a Produce request, and the
// connection ends before its response.
type proxy struct {
	listener net.Listener
	target   string

	mu   sync.Mutex
	seen int // Produce responses so far
	lost int
	open []net.Conn
}

// every is how often a Produce response is lost: one in so many.
const every = 5

func newProxy(t *testing.T) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.target)
			if err != nil {
				client.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, client, server)
			p.mu.Unlock()
			asked := &produced{ids: make(map[uint32]bool)}
			running.Go(func() { p.requests(client, server, asked) })
			running.Go(func() { p.responses(server, client, asked) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.open {
			c.Close()
		}
		p.mu.Unlock()
		running.Wait()
	})
	return p
}

// produced are the correlation ids of a connection's Produce requests.
type produced struct {
	mu  sync.Mutex
	ids map[uint32]bool
}

// frame reads one frame, its length with it.
func frame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	b := make([]byte, 4+binary.BigEndian.Uint32(length[:]))
	copy(b, length[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

func (p *proxy) requests(from, to net.Conn, asked *produced) {
	defer from.Close()
	defer to.Close()
	for {
		b, err := frame(from)
		if err != nil {
			return
		}
		const produce = 0
		if key := binary.BigEndian.Uint16(b[4:]); key == produce {
			asked.mu.Lock()
			asked.ids[binary.BigEndian.Uint32(b[8:])] = true
			asked.mu.Unlock()
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

func (p *proxy) responses(from, to net.Conn, asked *produced) {
	defer from.Close()
	defer to.Close()
	for {
		b, err := frame(from)
		if err != nil {
			return
		}
		asked.mu.Lock()
		isProduce := asked.ids[binary.BigEndian.Uint32(b[4:])]
		asked.mu.Unlock()
		if isProduce && p.lose() {
			return
		}
		if _, err := to.Write(b); err != nil {
			return
		}
	}
}

func (p *proxy) lose() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	if p.seen%every != 0 {
		return false
	}
	p.lost++
	return true
}

func (p *proxy) losses() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

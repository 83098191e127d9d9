package listener

import (
	"context"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

func TestCloseWithParkedRequests(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		var aborted, live atomic.Int32
		parked := make(chan struct{}, 64)
		n := start(t, Config{}, func(r *Request) {
			response := rangeAnswer(r, newCounted(wire.BytesRange("records"), &live))
			r.OnClose(func() {
				aborted.Add(1)
				r.Complete(response)
			})
			parked <- struct{}{}
		})
		const conns = 20
		for range conns {
			c := dial(n)
			go c.send(produce(1), produce(2))
		}
		for range 2 * conns {
			<-parked
		}
		n.stop()
		if got := aborted.Load(); got != 2*conns {
			t.Errorf("%d requests were told, want %d", got, 2*conns)
		}
		if live.Load() != 0 || n.Stats().Open != 0 {
			t.Errorf("%d ranges and %d connections are left", live.Load(), n.Stats().Open)
		}
	})
}

// The client goes away while its request is parked: the handler is told at once.
func TestOnClose(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		gone := make(chan struct{})
		n := start(t, Config{}, func(r *Request) {
			switch r.Header.CorrelationID {
			case 1:
				r.OnClose(func() { t.Error("a request that is complete was told of the end") })
				r.Complete(answer(r))
			case 2:
				r.OnClose(func() { close(gone); r.Complete(wire.Response{}) })
			}
		})
		c := dial(n)
		c.send(metadata(1), metadata(2))
		c.want(1)
		c.Close()
		<-gone
		eventually(t, "the connection gone", func() bool { return n.Stats().Open == 0 })
	})
}

func TestCloseInTime(t *testing.T) {
	parked := make(chan *Request, 1)
	n := start(t, Config{}, func(r *Request) { parked <- r })
	c := n.dial()
	c.send(metadata(1))
	r := <-parked
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := n.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "PLAINTEXT") {
		t.Errorf("Close with a handler that does not end: %v", err)
	}
	r.Complete(answer(r)) // nobody reads it any more, and nothing is left of it
}

// A client that does not read must not hold up a node that closes, whether it still sends or not.
func TestCloseDespiteSlowReaders(t *testing.T) {
	for what, halfClosed := range map[string]bool{"open": false, "half closed": true} {
		t.Run(what, func(t *testing.T) {
			var live atomic.Int32
			n := start(t, Config{}, func(r *Request) {
				response := rangeAnswer(r, newCounted(wire.BytesRange(pattern(16<<20)), &live))
				go r.Complete(response)
			})
			c := n.dial()
			c.send(metadata(1), metadata(2))
			if halfClosed {
				c.Conn.(*net.TCPConn).CloseWrite()
			}
			var head [8]byte
			if _, err := c.Read(head[:]); err != nil { // the writer is at work
				t.Fatal(err)
			}
			n.stop()
			if live.Load() != 0 {
				t.Errorf("%d ranges are left", live.Load())
			}
		})
	}
}

func TestServeAfterClose(t *testing.T) {
	n := start(t, Config{}, echo)
	n.stop()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Serve(socket); err != nil {
		t.Error(err)
	}
	if _, err := socket.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open: %v", err)
	}
}

func TestWhatAConnectionIs(t *testing.T) {
	type seen struct {
		listener, principal, clientID string
		local, remote                 net.Addr
		id                            uint64
	}
	conns := make(chan seen, 2)
	n := start(t, Config{}, func(r *Request) {
		conns <- seen{r.Conn.Listener, r.Conn.Principal, r.Header.ClientID, r.Conn.Local, r.Conn.Remote, r.Conn.ID}
		echo(r)
	})
	var ids [2]uint64
	for i := range ids {
		c := n.dial()
		c.send(metadata(1))
		c.want(1)
		s := <-conns
		ids[i] = s.id
		if s.listener != "PLAINTEXT" || s.principal != "User:ANONYMOUS" || s.clientID != "tester" ||
			s.local.String() != n.tcp.Addr().String() || s.remote.String() != c.LocalAddr().String() {
			t.Errorf("the handler saw %+v", s)
		}
	}
	if ids[0] == ids[1] {
		t.Error("two connections have one id")
	}
}

func TestStats(t *testing.T) {
	var observed atomic.Int32
	n := start(t, Config{Observe: func(key wire.APIKey, took time.Duration) {
		if key == wire.KeyMetadata && took >= 0 {
			observed.Add(1)
		}
	}}, echo)
	c := n.dial()
	c.send(metadata(1, 1, 2, 3), metadata(2), produce(3))
	c.want(1, 2, 3)
	eventually(t, "the last answer counted", func() bool { return len(n.Stats().APIs) == 2 && n.Stats().APIs[0].BytesOut > 0 })
	for _, s := range n.Stats().APIs {
		var buckets int64
		for _, k := range s.Buckets {
			buckets += k
		}
		want := map[wire.APIKey]int64{wire.KeyMetadata: 2, wire.KeyProduce: 1}[s.Key]
		if s.Requests != want || buckets != want || s.Failed != 0 || s.BytesIn == 0 {
			t.Errorf("%+v", s)
		}
	}
	if observed.Load() != 2 {
		t.Errorf("%d requests were observed, want 2", observed.Load())
	}
}

// The log cannot be flooded by clients.
func TestNoiseIsBounded(t *testing.T) {
	n := start(t, Config{}, echo)
	const conns = 60
	for range conns {
		c := n.dial()
		c.send([]byte{0xff, 0xff, 0xff, 0xff})
		c.wantClosed()
	}
	began := time.Now()
	eventually(t, "all connections gone", func() bool { return n.Stats().Open == 0 })
	if lines := strings.Count(n.log.String(), "a connection was closed"); lines > conns/2 && time.Since(began) < 3*time.Second {
		t.Errorf("%d lines for %d bad clients", lines, conns)
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	before := runtime.NumGoroutine()
	n := prepare(t, Config{}, echo)
	n.serve()
	for range 50 {
		c := n.dial()
		c.send(metadata(1), produce(2))
		c.want(1, 2)
	}
	eventually(t, "one goroutine each", func() bool { return runtime.NumGoroutine() <= before+50+4 })
	n.stop()
	eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before+2 })
}

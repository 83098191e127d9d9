package listener

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
)

// bothEnds runs a test over TCP and in memory.
func bothEnds(t *testing.T, f func(t *testing.T, dial func(n *node) *client)) {
	t.Run("tcp", func(t *testing.T) { f(t, (*node).dial) })
	t.Run("memory", func(t *testing.T) { f(t, (*node).pipe) })
}

func TestAnswersLeaveInOrder(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		parked := make(chan *Request, 3)
		n := start(t, Config{}, func(r *Request) { parked <- r })
		c := dial(n)
		go c.send(produce(1), produce(2), produce(3))
		first, second, third := <-parked, <-parked, <-parked
		third.Complete(answer(third))
		second.Complete(answer(second))
		first.Complete(answer(first))
		c.want(1, 2, 3)
	})
}

func TestOnlyProducesOverlap(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		type begun struct {
			r    *Request
			open int32
		}
		var open atomic.Int32
		parked := make(chan begun, 8)
		n := start(t, Config{}, func(r *Request) { parked <- begun{r, open.Add(1)} })
		c := dial(n)
		go c.send(produce(1), produce(2), metadata(3), metadata(4), produce(5), produce(6))
		next := func(id, beside int32) *Request {
			t.Helper()
			b := <-parked
			if b.r.Header.CorrelationID != id || b.open != beside || b.r.Behind != (beside > 1) {
				t.Fatalf("request %d began as one of %d, behind others %v; want request %d as one of %d", b.r.Header.CorrelationID, b.open, b.r.Behind, id, beside)
			}
			return b.r
		}
		finish := func(r *Request) { open.Add(-1); r.Complete(answer(r)) }
		one, two := next(1, 1), next(2, 2)
		finish(two)
		finish(one) // only now may anything but a Produce begin
		finish(next(3, 1))
		finish(next(4, 1))
		five := next(5, 1)
		finish(next(6, 2))
		finish(five)
		c.want(1, 2, 3, 4, 5, 6)
	})
}

// writes counts the writes of the server's end.
type writes struct {
	net.Conn
	n atomic.Int32
}

func (w *writes) Write(p []byte) (int, error) {
	w.n.Add(1)
	return w.Conn.Write(p)
}

func TestAnswersOfOneReadLeaveTogether(t *testing.T) {
	n := start(t, Config{}, echo)
	var w *writes
	c := n.client(n.memory.dial(func(nc net.Conn) net.Conn { w = &writes{Conn: nc}; return w }))
	var frames [][]byte
	var ids []int32
	for id := range int32(100) {
		frames, ids = append(frames, metadata(id, 'x')), append(ids, id)
	}
	c.send(metadata(-1)) // the first bytes are read by themselves
	c.want(-1)
	before := w.n.Load()
	go c.send(frames...)
	c.want(ids...)
	// The frames come in at most two reads: what fits beside the first bytes of a frame, and the rest.
	if got := w.n.Load() - before; got > 2 {
		t.Errorf("100 answers took %d writes", got)
	}
}

func TestProduceWithoutAcknowledgement(t *testing.T) {
	n := start(t, Config{}, func(r *Request) {
		if string(r.Body) == "acks=0" {
			r.Complete(wire.Response{})
			return
		}
		echo(r)
	})
	c := n.dial()
	c.send(produce(1, []byte("acks=0")...))
	c.send(produce(2, []byte("acks=0")...), metadata(3, 'm'), produce(4, []byte("acks=0")...), produce(5))
	c.want(3, 5)
}

func TestApiVersionsOfTheFuture(t *testing.T) {
	parked := make(chan *Request, 4)
	n := start(t, Config{}, func(r *Request) { parked <- r })
	c := n.dial()
	c.send(frame(wire.KeyApiVersions, 99, 7))
	id, body := c.next()
	versions := wire.NewApiVersionsResponse()
	if err := wire.Decode(versions, 0, body); err != nil || id != 7 || versions.ErrorCode != 35 {
		t.Fatalf("answer %d, %+v, %v; want 35 (UNSUPPORTED_VERSION) in version 0", id, versions, err)
	}
	// The connection goes on, and its next requests are each one of their own.
	c.send(produce(8), produce(9), produce(10))
	seen := map[*Request]bool{}
	for range 3 {
		r := <-parked
		if seen[r] {
			t.Fatal("one Request stands for two")
		}
		seen[r] = true
	}
	for r := range seen {
		r.Complete(answer(r))
	}
	c.want(8, 9, 10)
}

func TestWhatIsNotKnownEndsTheConnection(t *testing.T) {
	for what, bad := range map[string][]byte{
		"key":         frame(19999, 0, 2),
		"version":     frame(wire.KeyMetadata, 127, 2),
		"header":      {0, 0, 0, 3, 0, 3, 0},
		"client id":   {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 2, 0, 99},
		"negative":    {0xff, 0xff, 0xff, 0xff, 0, 3},
		"too large":   {0, 0, 0x40, 0, 0, 3},
		"HTTP":        []byte("GET / HTTP/1.1\r\n"),
		"TLS":         {22, 3, 1, 2, 0, 1},
		"empty frame": {0, 0, 0, 0},
	} {
		t.Run(what, func(t *testing.T) {
			n := start(t, Config{MaxRequestBytes: 8 << 10}, echo)
			c, other := n.dial(), n.dial()
			c.send(metadata(1), bad, metadata(3))
			c.want(1) // what came before it is answered
			c.wantClosed()
			other.send(metadata(1))
			other.want(1)
			eventually(t, "a line in the log", func() bool { return strings.Contains(n.log.String(), "a connection was closed") })
		})
	}
}

func TestFailAfterEarlierAnswers(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		parked := make(chan *Request, 3)
		n := start(t, Config{}, func(r *Request) { parked <- r })
		c := dial(n)
		go c.send(produce(1), produce(2), produce(3))
		one, two, three := <-parked, <-parked, <-parked
		two.Fail(errTest)
		three.Complete(answer(three))
		one.Complete(answer(one))
		c.want(1)
		c.wantClosed()
		eventually(t, "the reason in the log", func() bool { return strings.Contains(n.log.String(), errTest.Error()) })
	})
}

func TestPanicInAHandler(t *testing.T) {
	for what, panics := range map[string]func(r *Request){
		"before": func(r *Request) { panic("boom") },
		"after":  func(r *Request) { r.Complete(answer(r)); panic("boom") },
	} {
		t.Run(what, func(t *testing.T) {
			n := start(t, Config{}, func(r *Request) {
				if string(r.Body) == "panic" {
					panics(r)
				} else {
					echo(r)
				}
			})
			c, other := n.dial(), n.dial()
			c.send(metadata(1), metadata(2, []byte("panic")...), metadata(3))
			c.want(1)
			if what == "after" {
				c.want(2)
			}
			c.wantClosed()
			other.send(metadata(4))
			other.want(4)
			eventually(t, "the panic in the log", func() bool {
				return strings.Contains(n.log.String(), "boom") && strings.Contains(n.log.String(), "stack=")
			})
		})
	}
}

func TestCompletedTwice(t *testing.T) {
	again := make(chan any, 1)
	n := start(t, Config{}, func(r *Request) {
		defer func() { again <- recover() }()
		r.Complete(answer(r))
		r.Complete(answer(r))
	})
	c := n.dial()
	c.send(metadata(1))
	c.want(1)
	if p := <-again; p == nil {
		t.Error("the second Complete went unnoticed")
	}
}

// later is a request and what its answer will be.
type later struct {
	*Request
	body []byte
}

// TestAnyCompletionOrder sends random requests, has them completed by several goroutines in any order, and requires
// the answers in the order of the requests.
func TestAnyCompletionOrder(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		parked := make(chan later, 1024)
		var live atomic.Int32
		n := start(t, Config{}, func(r *Request) {
			body := bytes.Clone(r.Body)
			switch body[0] % 3 {
			case 0:
				r.Complete(answer(r, body...))
			case 1:
				r.Complete(rangeAnswer(r, newCounted(wire.BytesRange(body), &live)))
			default:
				parked <- later{r, body}
			}
		})
		var workers sync.WaitGroup
		for range 3 {
			workers.Go(func() {
				var held []later
				for r := range parked {
					held = append(held, r)
					for more := true; more && len(held) < 3; {
						select {
						case r, more = <-parked:
							if more {
								held = append(held, r)
							}
						default:
							more = false
						}
					}
					for i := range held { // the last first
						r := held[len(held)-1-i]
						r.Complete(answer(r.Request, r.body...))
					}
					held = held[:0]
				}
			})
		}
		defer workers.Wait()
		defer close(parked)
		c := dial(n)
		rng := rand.New(rand.NewPCG(1, 2))
		const requests = 3000
		bodies := make([][]byte, requests)
		var stream []byte
		for id := range bodies {
			bodies[id] = fmt.Appendf([]byte{byte(rng.Uint32())}, "%d", id)
			make := produce
			if rng.IntN(4) == 0 {
				make = metadata
			}
			stream = append(stream, make(int32(id), bodies[id]...)...)
		}
		go func() {
			for len(stream) > 0 {
				k := min(1+rng.IntN(2000), len(stream))
				if _, err := c.Write(stream[:k]); err != nil {
					t.Error(err)
					return
				}
				stream = stream[k:]
			}
		}()
		for id := range bodies {
			got, body := c.next()
			if got != int32(id) || !bytes.Equal(body, bodies[id]) {
				t.Fatalf("answer %d %q, want %d %q", got, body, id, bodies[id])
			}
		}
		eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
	})
}

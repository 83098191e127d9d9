package listener

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

// impatient is a listener with little memory that does not wait long for those who hold it.
func impatient(t *testing.T, limit int64, h handlerFunc) *node {
	n := prepare(t, Config{Budget: budget.New(limit)}, h)
	n.shedAfter = 50 * time.Millisecond
	n.serve()
	return n
}

// fill is a handler that answers Metadata with that many bytes, and echoes what else comes.
func fill(bytes int) handlerFunc {
	return func(r *Request) {
		if r.Header.Key == wire.KeyMetadata {
			r.Complete(answer(r, pattern(bytes)...))
			return
		}
		echo(r)
	}
}

func (n *node) held() int64 { return n.budget.InUse() }

// Clients that do not take their answers hold memory that is counted, and lose it to those who need it.
func TestSlowReadersAreShed(t *testing.T) {
	const size = 24 << 20 // more than the sockets' buffers take
	n := impatient(t, 64<<20, fill(size))
	var slow []*client
	for range 3 {
		c := n.dial()
		c.send(metadata(1))
		slow = append(slow, c)
	}
	eventually(t, "all answers counted", func() bool { return n.held() > 60<<20 })
	c := n.dial()
	for id := range int32(5) {
		c.send(produce(id, pattern(200<<10)...))
		c.want(id)
	}
	eventually(t, "a connection shed", func() bool { return strings.Contains(n.log.String(), errShed.Error()) })
	if open := n.Stats().Open; open == 1 || open == 4 {
		t.Errorf("%d connections are open: as many were to be closed as hold what is needed, the client's own not among them", open)
	}
	for _, c := range slow {
		c.Close()
	}
	eventually(t, "everything given back", func() bool { return n.held() == 0 })
}

// A request that has been read before answers overdrew the budget adds none of its own until it is even.
func TestRequestsWaitForPayers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		release, handled := make(chan struct{}), make(chan int32, 10)
		n := prepare(t, Config{Budget: budget.New(limit)}, func(r *Request) {
			if r.Header.CorrelationID == 1 {
				<-release
			}
			handled <- r.Header.CorrelationID
			fill(2 * limit)(r)
		})
		n.serveOn(n.memory)
		waits, owes := n.pipe(), n.pipe()
		go waits.send(produce(1), metadata(2))
		synctest.Wait()
		go owes.send(metadata(3))
		synctest.Wait()
		if id := <-handled; id != 3 || !n.budget.Overdrawn() {
			t.Fatalf("request %d came first, and %d bytes are in use", id, n.held())
		}
		close(release)
		waits.want(1) // although the next one waits
		synctest.Wait()
		if id := <-handled; id != 1 || len(handled) > 0 {
			t.Fatalf("request %d was handled, and %d more", id, len(handled))
		}
		owes.want(3)
		waits.want(2)
		waits.Close()
		owes.Close()
		n.stop()
	})
}

// The same with requests that do not come to their end.
func TestSlowWritersAreShed(t *testing.T) {
	n := impatient(t, 1<<20, echo)
	for range 20 { // they have a buffer each, and wait for a larger one
		n.dial().send(produce(1, pattern(300<<10)...)[:50<<10])
	}
	eventually(t, "the memory lent", func() bool { return n.budget.Stats().Waiting > 0 })
	c := n.dial()
	c.send(produce(1, 1, 2, 3))
	c.want(1)
	eventually(t, "connections shed", func() bool { return strings.Contains(n.log.String(), errShed.Error()) })
}

// Clients that do not take what the kernel sends from files hold the buffers of their further requests.
func TestSlowReadersOfFilesAreShed(t *testing.T) {
	const size = 24 << 20
	file := newFile(t, make([]byte, size))
	var live, sent atomic.Int32
	n := impatient(t, 1<<20, func(r *Request) {
		if r.Header.Key == wire.KeyFetch {
			r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, n: size, sent: &sent}, &live)))
			return
		}
		echo(r)
	})
	for range 20 { // the second waits for its turn
		n.dial().send(frame(wire.KeyFetch, 12, 1), frame(wire.KeyFetch, 12, 2))
	}
	eventually(t, "the memory lent", func() bool { return n.budget.Stats().Waiting > 0 })
	c := n.dial()
	c.send(produce(1, 1, 2, 3))
	c.want(1)
	eventually(t, "connections shed", func() bool { return strings.Contains(n.log.String(), errShed.Error()) })
}

// Who waits for an answer of ours is not shed, however long that takes.
func TestWaitingIsNotHolding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := make(chan *Request, 1)
		n := prepare(t, Config{Budget: budget.New(1 << 20)}, func(r *Request) {
			if r.Header.CorrelationID == 1 {
				parked <- r
				return
			}
			echo(r)
		})
		n.serveOn(n.memory)
		c := n.pipe()
		go c.send(produce(1), metadata(2, pattern(4<<10)...)) // the second waits for its turn
		r := <-parked
		time.Sleep(2 * n.shedAfter)
		n.shed(1 << 20)
		synctest.Wait()
		r.Complete(answer(r))
		c.want(1, 2)
		c.Close()
		n.stop()
	})
}

// A large request is taken for what it turns into until it is complete.
func TestLargeRequestsAreWeighed(t *testing.T) {
	parked := make(chan *Request, 1)
	n := start(t, Config{}, func(r *Request) { parked <- r })
	c := n.dial()
	c.send(metadata(1, pattern(100<<10)...))
	r := <-parked
	if held := n.held(); held < weighFactor*100<<10 {
		t.Errorf("%d bytes are lent while a request of 100 KiB is at work, want %d times its size", held, weighFactor)
	}
	r.Complete(answer(r))
	c.want(1)
	eventually(t, "everything given back", func() bool { return n.held() == 0 })

	c.send(produce(2, pattern(100<<10)...))
	r = <-parked
	if held := n.held(); held >= weighFactor*100<<10 {
		t.Errorf("%d bytes are lent for a Produce, whose records stay as they are", held)
	}
	r.Complete(answer(r))
	c.want(2)
}

// A client that sends and does not read is answered no further ahead than so many bytes, however many of its requests have
// come: little where they take memory, more where they are ranges.
func TestUnsentAnswersAreBounded(t *testing.T) {
	const size, requests = 3 << 20, 50
	file := newFile(t, make([]byte, size))
	for kind, tt := range map[string]struct {
		made int // answers, and the memory for them
		held int64
		fill func(r *Request) wire.Response
	}{
		"in memory": {1, size + size/4, func(r *Request) wire.Response { return answer(r, pattern(size)...) }},
		"ranges":    {2, 2 * copyMost, func(r *Request) wire.Response { return rangeAnswer(r, fileRange{file: file, n: size}) }},
	} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				made := 0
				n := prepare(t, Config{}, func(r *Request) {
					made++
					r.Complete(tt.fill(r))
				})
				n.serveOn(n.memory)
				c := n.pipe()
				var all []byte
				for id := range int32(requests) {
					all = append(all, metadata(id)...)
				}
				go c.send(all)
				synctest.Wait()
				if made != tt.made {
					t.Errorf("%d answers of 3 MiB were made while nobody reads, want %d", made, tt.made)
				}
				if held := n.held(); held > tt.held {
					t.Errorf("%d bytes are held while nobody reads, want at most %d", held, tt.held)
				}
				for id := range int32(requests) {
					c.want(id)
				}
				c.Close()
				n.stop()
			})
		})
	}
}

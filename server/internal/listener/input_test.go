package listener

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

func TestByteByByte(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		n := start(t, Config{}, echo)
		c := dial(n)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			tcp.SetNoDelay(true)
		}
		body := bytes.Repeat([]byte("0123456789"), 150) // longer than what is kept without a buffer
		go func() {
			for _, b := range bytes.Join([][]byte{metadata(1, 'a'), produce(2, body...), produce(3)}, nil) {
				c.send([]byte{b})
			}
		}()
		c.want(1)
		if id, got := c.next(); id != 2 || !bytes.Equal(got, body) {
			t.Fatalf("answer %d of %d bytes", id, len(got))
		}
		c.want(3)
	})
}

func TestHalfFrames(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		n := start(t, Config{}, echo)
		whole := metadata(1, bytes.Repeat([]byte{'x'}, 300<<10)...)
		for _, cut := range []int{1, 3, 4, 5, 20, 60 << 10, len(whole) - 1} {
			c := dial(n)
			two := append(bytes.Clone(whole), metadata(2)...)
			go func() {
				c.send(two[:cut])
				c.send(two[cut:])
			}()
			if id, body := c.next(); id != 1 || len(body) != 300<<10 {
				t.Fatalf("cut at %d: answer %d of %d bytes", cut, id, len(body))
			}
			c.want(2)
		}
	})
}

func TestEndInTheMiddleOfARequest(t *testing.T) {
	n := start(t, Config{}, echo)
	c := n.dial()
	c.send(metadata(1), metadata(2)[:9])
	c.want(1)
	c.Conn.(*net.TCPConn).CloseWrite()
	c.wantClosed()
	eventually(t, "a line in the log", func() bool { return strings.Contains(n.log.String(), "in the middle of a request") })
}

// A client that shuts its side down after its requests still gets the answers.
func TestHalfClose(t *testing.T) {
	n := start(t, Config{}, echo)
	c := n.dial()
	c.send(metadata(1), produce(2))
	c.Conn.(*net.TCPConn).CloseWrite()
	c.want(1, 2)
	c.wantClosed()
}

func TestNoBufferWhileIdle(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		n := start(t, Config{}, echo)
		conns := 2000
		var files unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 4500 || strings.HasSuffix(t.Name(), "memory") {
			conns = 200
		}
		clients := make([]*client, conns)
		for i := range clients {
			clients[i] = dial(n)
			clients[i].send(metadata(int32(i), make([]byte, 100)...))
			clients[i].want(int32(i))
		}
		eventually(t, "all buffers given back", func() bool { return n.budget.InUse() == 0 })
		if open := n.Stats().Open; open != conns {
			t.Errorf("%d connections are open, want %d", open, conns)
		}
		// Each is as good as new.
		for i, c := range clients {
			c.send(metadata(int32(i)))
		}
		for i, c := range clients {
			c.want(int32(i))
		}
	})
}

// A few bytes of a request hold no buffer either, but more of them do.
func TestBufferOfAnUnfinishedFrame(t *testing.T) {
	n := start(t, Config{}, echo)
	c := n.dial()
	whole := metadata(1, make([]byte, 100<<10)...)
	c.send(metadata(0), whole[:200])
	c.want(0)
	eventually(t, "the buffer given back", func() bool { return n.budget.InUse() == 0 })
	c.send(whole[200 : 50<<10])
	eventually(t, "a buffer in use", func() bool { return n.budget.InUse() > 0 })
	c.send(whole[50<<10:])
	c.want(1)
	eventually(t, "the buffer given back", func() bool { return n.budget.InUse() == 0 })
}

// Four bytes that announce a large request cost little; the memory comes with the bytes.
func TestLargeFramesAreBelievedAsTheyCome(t *testing.T) {
	n := start(t, Config{Budget: budget.New(40 << 20)}, func(r *Request) {
		sum := uint64(0)
		for _, b := range r.Body {
			sum += uint64(b)
		}
		r.Complete(answer(r, binary.BigEndian.AppendUint64(nil, sum)...))
	})
	const size = 16 << 20
	whole := produce(1, bytes.Repeat([]byte{3}, size)...)
	c := n.dial()
	c.send(whole[:2000])
	eventually(t, "a buffer in use", func() bool { return n.budget.InUse() > 0 })
	if used := n.budget.InUse(); used > 3<<20 {
		t.Errorf("2000 bytes of a frame of 16 MiB cost %d bytes", used)
	}
	c.send(whole[2000:], metadata(2, 1))
	if _, body := c.next(); binary.BigEndian.Uint64(body) != 3*size {
		t.Errorf("the handler saw a sum of %d, want %d", binary.BigEndian.Uint64(body), 3*size)
	}
	c.want(2)
}

// A producer that sends large requests need not be doubted at each of them: growing in steps copies them.
func TestWhoHasSentAsMuchIsBelieved(t *testing.T) {
	n := start(t, Config{Budget: budget.New(64 << 20)}, func(r *Request) { r.Complete(answer(r)) })
	const size = 8 << 20
	whole := produce(1, bytes.Repeat([]byte{3}, size)...)
	c := n.dial()
	c.send(whole)
	c.want(1)
	eventually(t, "the buffer given back", func() bool { return n.budget.InUse() == 0 })
	c.send(whole[:100<<10])
	eventually(t, "a buffer for all of it", func() bool { return n.budget.InUse() >= size })
	c.send(whole[100<<10:])
	c.want(1)
}

func TestFrameLargerThanTheBudget(t *testing.T) {
	n := start(t, Config{Budget: budget.New(2 << 20)}, echo)
	c := n.dial()
	c.send(metadata(1))
	c.want(1)
	go c.Write(metadata(2, make([]byte, 4<<20)...)) // the connection may end in the middle of it
	c.wantClosed()
	eventually(t, "the reason in the log", func() bool { return strings.Contains(n.log.String(), "memory budget") })
}

// While there is no memory clients wait, and go on when there is.
func TestWaitForMemory(t *testing.T) {
	bothEnds(t, func(t *testing.T, dial func(n *node) *client) {
		b := budget.New(128 << 10)
		n := start(t, Config{Budget: b}, echo)
		c := dial(n)
		if err := b.Acquire(context.Background(), 128<<10); err != nil {
			t.Fatal(err)
		}
		waits := b.Stats().Waits
		c.send(metadata(1))
		eventually(t, "the connection waits", func() bool { return b.Stats().Waits > waits })
		b.Release(128 << 10)
		c.want(1)
	})
}

// Answers need no memory of the budget: what would give it back may be waiting for them.
func TestAnswersDoNotWaitForMemory(t *testing.T) {
	body := bytes.Repeat([]byte("range"), 50<<10)
	b := budget.New(1 << 20)
	n := start(t, Config{Budget: b}, func(r *Request) {
		left := b.Limit() - b.InUse()
		if err := b.Acquire(context.Background(), left); err != nil {
			t.Error(err)
		}
		response := rangeAnswer(r, wire.BytesRange(body))
		response.OnRelease = func() { b.Release(left) }
		r.Complete(response)
	})
	c := n.dial()
	for id := range int32(3) {
		c.send(metadata(id))
		if got, answered := c.next(); got != id || !bytes.Equal(answered, body) {
			t.Fatalf("answer %d of %d bytes", got, len(answered))
		}
	}
}

// What follows runs on a faked clock, over pipes.

func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := prepare(t, Config{IdleTimeout: time.Minute}, echo)
		n.serveOn(n.memory)
		busy, idle := n.pipe(), n.pipe()
		for id := range int32(10) {
			busy.send(metadata(id))
			busy.want(id)
			if id == 0 {
				idle.send(metadata(0))
				idle.want(0)
			}
			time.Sleep(40 * time.Second)
			synctest.Wait()
			if want := 2; id < 1 && n.Stats().Open != want {
				t.Fatalf("%d connections after 40 s, want %d", n.Stats().Open, want)
			}
		}
		if open := n.Stats().Open; open != 1 {
			t.Errorf("%d connections are open, want the busy one alone", open)
		}
		if log := n.log.String(); log != "" {
			t.Errorf("an idle connection is no news:\n%s", log)
		}
		busy.Close()
		n.stop()
	})
}

func TestWaitingForUsIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parked := make(chan *Request, 1)
		n := prepare(t, Config{IdleTimeout: time.Minute}, func(r *Request) { parked <- r })
		n.serveOn(n.memory)
		c := n.pipe()
		c.send(metadata(1))
		r := <-parked
		time.Sleep(5 * time.Minute)
		r.Complete(answer(r))
		c.want(1)
		time.Sleep(50 * time.Second) // counted from the answer, or soon after
		c.send(metadata(2))
		r = <-parked
		r.Complete(answer(r))
		c.want(2)
		c.Close()
		n.stop()
	})
}

func TestStalledSendersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := prepare(t, Config{IdleTimeout: time.Hour, StallTimeout: 20 * time.Second}, echo)
		n.serveOn(n.memory)
		slow, stalled := n.pipe(), n.pipe()
		whole := metadata(1, make([]byte, 10<<10)...)
		stalled.send(whole[:5000])
		for at := 0; at < len(whole); at += 1000 { // slow is fine
			slow.send(whole[at:min(at+1000, len(whole))])
			if at+1000 < len(whole) {
				time.Sleep(15 * time.Second)
			}
		}
		slow.want(1)
		synctest.Wait()
		if open := n.Stats().Open; open != 1 {
			t.Errorf("%d connections are open, want the slow one alone", open)
		}
		if log := n.log.String(); !strings.Contains(log, "nothing more for 20s") {
			t.Errorf("the log does not say why:\n%s", log)
		}
		time.Sleep(30 * time.Minute) // between requests it may be silent
		slow.send(metadata(2))
		slow.want(2)
		slow.Close()
		n.stop()
	})
}

func TestNoMemoryInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New(128 << 10)
		n := prepare(t, Config{Budget: b, StallTimeout: 20 * time.Second}, echo)
		n.serveOn(n.memory)
		c := n.pipe()
		if err := b.Acquire(context.Background(), 128<<10); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		go c.Write(metadata(1))
		if _, _, err := c.read(); !errors.Is(err, io.EOF) && !timedOut(err) {
			t.Errorf("the connection ended with %v", err)
		}
		for n.Stats().Open > 0 {
			time.Sleep(time.Second)
		}
		if took := time.Since(began); took < 19*time.Second || took > 25*time.Second {
			t.Errorf("the connection waited for memory for %s, want 20 s", took)
		}
		b.Release(128 << 10)
		c.Close()
		n.stop()
	})
}

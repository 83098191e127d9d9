package listener

import (
	"bytes"
	"net"
	"runtime"
	"testing"
)

// completedLater answers each request from another goroutine, once the reader has left it to others, and reports whether
// nothing was left to write when Complete returned.
func completedLater(body []byte, written chan<- bool) handlerFunc {
	return func(r *Request) {
		go func() {
			c, id := r.Conn, r.Header.CorrelationID
			for reading := true; reading; runtime.Gosched() {
				c.mu.Lock()
				reading = c.reading
				c.mu.Unlock()
			}
			r.Complete(answer(r, append([]byte{byte(id)}, body...)...))
			c.mu.Lock()
			defer c.mu.Unlock()
			written <- !c.writing && len(c.queue) == 0
		}()
	}
}

// TestWhoCompletesWrites: the only answer that is owed is on its way when Complete returns, if it is small.
func TestWhoCompletesWrites(t *testing.T) {
	written := make(chan bool, 1)
	c := start(t, Config{}, completedLater([]byte("hello"), written)).dial()
	for id := range int32(50) {
		c.send(metadata(id))
		if !<-written {
			t.Fatal("an answer was left to a writer")
		}
		if got, body := c.next(); got != id || string(body) != string(rune(id))+"hello" {
			t.Fatalf("answer %d: %q", got, body)
		}
	}
}

// TestWhoCompletesDoesNotWait: a client that does not read holds up nobody, and misses nothing, however its answers
// were cut by a socket that is full.
func TestWhoCompletesDoesNotWait(t *testing.T) {
	body := pattern(4000)
	written := make(chan bool)
	n := start(t, Config{}, func(r *Request) {
		if r.Header.CorrelationID == 0 {
			r.Conn.nc.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
		completedLater(body, written)(r)
	})
	c := n.dial()
	requests, left := int32(0), int32(0)
	for ; left < 10 && requests < 4000; requests++ {
		c.send(metadata(requests))
		if !<-written { // comes whether or not the client reads
			left++
		}
	}
	if left < 10 || left == requests {
		t.Fatalf("%d of %d answers were left to a writer: the socket was to be full in between", left, requests)
	}
	for id := range requests {
		if got, b := c.next(); got != id || b[0] != byte(id) || !bytes.Equal(b[1:], body) {
			t.Fatalf("answer %d instead of %d, or other bytes", got, id)
		}
	}
}

// TestAnswersOfAPipelineAreLeftToAWriter: what else is on its way may leave with the answer.
func TestAnswersOfAPipelineAreLeftToAWriter(t *testing.T) {
	held := make(chan *Request, 2)
	n := start(t, Config{}, func(r *Request) { held <- r })
	c := n.dial()
	c.send(produce(1), produce(2))
	first, second := <-held, <-held
	first.Complete(answer(first))
	second.Complete(answer(second))
	c.want(1, 2)
}

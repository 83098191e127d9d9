package listener

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

// fileRange is a range of a file, as a segment's are.
type fileRange struct {
	file *os.File
	pos  int64
	n    int
	// sent counts how often the descriptor was asked for.
	sent *atomic.Int32
	// cut says that the file does not hold the range any more.
	cut bool
}

func (f fileRange) Len() int { return f.n }

func (f fileRange) ReadAt(p []byte, off int64) (int, error) {
	return f.file.ReadAt(p[:min(len(p), f.n-int(off))], f.pos+off)
}

func (f fileRange) File() (uintptr, int64, bool) {
	f.sent.Add(1)
	return f.file.Fd(), f.pos, true
}

func (f fileRange) Intact() error {
	if f.cut {
		return errTest
	}
	return nil
}

func (f fileRange) Release() {}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func newFile(t *testing.T, content []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestRangesOfFiles(t *testing.T) {
	content := pattern(5 << 20)
	for what, copies := range map[string]bool{"copied": true, "sent by the kernel": false} {
		t.Run(what, func(t *testing.T) {
			file := newFile(t, content)
			var live, sent atomic.Int32
			n := prepare(t, Config{}, func(r *Request) {
				at, size := int(r.Header.CorrelationID)*1000, 100+int(r.Header.CorrelationID)*70_000
				r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, pos: int64(at), n: size, sent: &sent}, &live)))
			})
			n.copies = copies
			n.serve()
			c := n.dial()
			const requests = 40
			for id := range int32(requests) {
				c.send(frame(wire.KeyFetch, 12, id))
			}
			for id := range int32(requests) {
				at, size := int(id)*1000, 100+int(id)*70_000
				if got, body := c.next(); got != id || !bytes.Equal(body, content[at:at+size]) {
					t.Fatalf("answer %d of %d bytes differs from the file", got, len(body))
				}
			}
			eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
			if got := sent.Load() > 0; got == copies {
				t.Errorf("descriptors were asked for: %v", got)
			}
		})
	}
}

// A file that is shorter than a range of it must not let the answers shift.
func TestFileEndsInARange(t *testing.T) {
	for what, copies := range map[string]bool{"copied": true, "sent by the kernel": false} {
		t.Run(what, func(t *testing.T) {
			file := newFile(t, pattern(100<<10))
			var live, sent atomic.Int32
			n := prepare(t, Config{}, func(r *Request) {
				r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, pos: 50 << 10, n: 100 << 10, sent: &sent}, &live)))
			})
			n.copies = copies
			n.serve()
			c := n.dial()
			c.send(frame(wire.KeyFetch, 12, 1), frame(wire.KeyFetch, 12, 2))
			if _, body, err := c.read(); err == nil {
				t.Errorf("an answer of %d bytes came", len(body))
			} else if timedOut(err) {
				t.Error("the connection is still open")
			}
			eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
			eventually(t, "a line in the log", func() bool { return strings.Contains(n.log.String(), "send the answer to Fetch") })
		})
	}
}

// What the kernel took from a file that was cut is no answer: not a byte follows it on the connection.
func TestFileIsCutWhileItIsSent(t *testing.T) {
	file := newFile(t, pattern(200<<10))
	var live, sent atomic.Int32
	n := start(t, Config{}, func(r *Request) {
		r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, n: 100 << 10, sent: &sent, cut: r.Header.CorrelationID == 2}, &live)))
	})
	c := n.dial()
	c.send(frame(wire.KeyFetch, 12, 1), frame(wire.KeyFetch, 12, 2), frame(wire.KeyFetch, 12, 3))
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	all, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if most := 2 * (100<<10 + 16); len(all) < 100<<10 || len(all) > most {
		t.Errorf("%d bytes came, want an answer and at most the one that was cut, %d", len(all), most)
	}
	eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
	eventually(t, "a line in the log", func() bool { return strings.Contains(n.log.String(), errTest.Error()) })
}

// A client that does not read what the kernel sends from files holds nothing that others could need.
func TestSlowReaderOfFiles(t *testing.T) {
	const size = 8 << 20
	content := pattern(size)
	file := newFile(t, content)
	var live, sent atomic.Int32
	b := budget.New(32 << 20)
	n := start(t, Config{Budget: b}, func(r *Request) {
		r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, n: size, sent: &sent}, &live)))
	})
	slow := n.dial()
	slow.send(frame(wire.KeyFetch, 12, 1))
	eventually(t, "the answer on its way", func() bool { return sent.Load() > 0 })
	other := n.dial()
	for id := range int32(10) {
		other.send(frame(wire.KeyFetch, 12, id))
		if got, body := other.next(); got != id || !bytes.Equal(body, content) {
			t.Fatalf("beside a slow reader: answer %d of %d bytes", got, len(body))
		}
	}
	eventually(t, "the other's request buffer given back, and nothing held for the slow reader", func() bool { return b.InUse() == 0 })
	if live.Load() == 0 {
		t.Error("8 MiB went to a client that does not read")
	}
	if got, body := slow.next(); got != 1 || !bytes.Equal(body, content) {
		t.Fatalf("answer %d of %d bytes to the slow reader", got, len(body))
	}
	eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
}

// The kernel queues little of a file for a client on the same machine.
func TestLittleIsQueuedForLocalClients(t *testing.T) {
	const size = 100 << 10
	file := newFile(t, make([]byte, size))
	var live, sent atomic.Int32
	n := start(t, Config{}, func(r *Request) {
		r.Complete(rangeAnswer(r, newCounted(fileRange{file: file, n: size, sent: &sent}, &live)))
	})
	c := n.dial()
	c.send(frame(wire.KeyFetch, 12, 1))
	c.next()
	buffer, err := 0, error(nil)
	n.connections()[0].raw.Control(func(fd uintptr) { buffer, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF) })
	if err != nil || buffer > 2*localSendBuffer { // Linux counts its own structures in, and doubles what it is told
		t.Errorf("the send buffer has %d bytes (%v), want at most %d", buffer, err, 2*localSendBuffer)
	}
}

// TestSlowReader sends requests without reading the answers until the server takes no more, and then reads them all:
// the server must hold the client back before it holds much for it, and lose nothing.
func TestSlowReader(t *testing.T) {
	for what, async := range map[string]bool{"answered at once": false, "answered by others": true} {
		t.Run(what, func(t *testing.T) {
			content := pattern(200 << 10)
			var live, most atomic.Int32
			b := budget.New(32 << 20)
			n := start(t, Config{Budget: b}, func(r *Request) {
				response := rangeAnswer(r, newCounted(wire.BytesRange(content), &live))
				most.Store(max(most.Load(), live.Load()))
				if async {
					go r.Complete(response)
				} else {
					r.Complete(response)
				}
			})
			c := n.dial()
			request := frame(wire.KeyFetch, 12, 0, make([]byte, 16<<10)...)
			var asked int32
			for ; ; asked++ {
				c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				request[11] = byte(asked) // of the correlation id
				if k, err := c.Write(request); err != nil {
					if !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatal(err)
					}
					c.SetWriteDeadline(time.Time{})
					rest := request[k:]
					go c.Write(rest)
					break
				}
				if asked == 10_000 {
					t.Fatal("the server takes whatever comes")
				}
			}
			if got := most.Load(); got > 2*queueMax+1 {
				t.Errorf("%d answers were held for a client that does not read", got)
			}
			if used := b.InUse(); used > 4<<20 {
				t.Errorf("a client that does not read holds %d bytes", used)
			}
			for id := range asked + 1 {
				if got, body := c.next(); byte(got) != byte(id) || !bytes.Equal(body, content) {
					t.Fatalf("answer %d: %d, %d bytes", id, got, len(body))
				}
			}
			eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
		})
	}
}

// Whatever way a connection ends, ranges are released once. counted panics when it is twice.
func TestRangesAreReleasedOnce(t *testing.T) {
	content := pattern(1 << 20)
	ends := map[string]func(n *node, c *client, parked []*Request, complete func()){
		"the client hangs up first": func(n *node, c *client, parked []*Request, complete func()) {
			c.Close()
			complete()
		},
		"the client hangs up while it is written to": func(n *node, c *client, parked []*Request, complete func()) {
			complete()
			io.ReadFull(c, make([]byte, 100))
			c.Close()
		},
		"the client resets": func(n *node, c *client, parked []*Request, complete func()) {
			complete()
			c.Conn.(*net.TCPConn).SetLinger(0)
			c.Close()
		},
		"the listener closes": func(n *node, c *client, parked []*Request, complete func()) {
			closed := make(chan struct{})
			go func() { n.stop(); close(closed) }()
			complete()
			<-closed
		},
		"a request fails": func(n *node, c *client, parked []*Request, complete func()) {
			parked[0].Fail(errTest)
			complete()
		},
	}
	for what, end := range ends {
		t.Run(what, func(t *testing.T) {
			var live atomic.Int32
			arrived := make(chan *Request, 8)
			n := start(t, Config{}, func(r *Request) { arrived <- r })
			c := n.dial()
			for id := range int32(8) {
				c.send(produce(id))
			}
			var parked []*Request
			var responses []wire.Response
			for range 8 {
				r := <-arrived
				parked = append(parked, r)
				responses = append(responses, rangeAnswer(r, newCounted(wire.BytesRange(content), &live)))
			}
			end(n, c, parked, func() {
				for i := len(parked) - 1; i >= 0; i-- {
					if what == "a request fails" && i == 0 {
						responses[i].Release()
						continue
					}
					parked[i].Complete(responses[i])
				}
			})
			eventually(t, "all ranges released", func() bool { return live.Load() == 0 })
			eventually(t, "the connection gone", func() bool { return n.Stats().Open == 0 })
		})
	}
}

// TestLittleIsCopiedWhenMemoryIsShort: what a slow client may hold of the budget is large only while nobody needs it.
func TestLittleIsCopiedWhenMemoryIsShort(t *testing.T) {
	memory := budget.New(256 << 20)
	o := &output{c: &Conn{l: New(Config{Budget: memory}, nil)}}
	if got := o.most(); got != copyMost {
		t.Errorf("with all memory free: %d bytes at a time", got)
	}
	if !memory.TryAcquire(128 << 20) {
		t.Fatal("no memory")
	}
	if got := o.most(); got != copyChunk {
		t.Errorf("with half of the memory in use: %d bytes at a time", got)
	}
	memory.Release(128 << 20)
	memory.Resize(48 << 20)
	if got := o.most(); got != 48<<20/32 {
		t.Errorf("of a small budget: %d bytes at a time", got)
	}
}

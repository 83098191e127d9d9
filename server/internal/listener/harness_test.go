package listener

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/budget"
)

// handlerFunc is a handler that is one function.
type handlerFunc func(r *Request)

func (f handlerFunc) Handle(r *Request) { f(r) }

// node is a listener under test.
type node struct {
	*Listener
	t      testing.TB
	budget *budget.Budget
	log    *logLines
	tcp    net.Listener
	memory *memory
}

// start serves on TCP and in memory. When the test ends the listener must close, and hold no memory.
func start(t testing.TB, cfg Config, h handlerFunc) *node {
	t.Helper()
	n := prepare(t, cfg, h)
	n.serve()
	return n
}

func prepare(t testing.TB, cfg Config, h handlerFunc) *node {
	t.Helper()
	n := &node{t: t, budget: cfg.Budget, log: &logLines{}, memory: newMemory()}
	if n.budget == nil {
		n.budget = budget.New(64 << 20)
	}
	cfg.Name, cfg.Budget, cfg.Log = cmp.Or(cfg.Name, "PLAINTEXT"), n.budget, slog.New(slog.NewTextHandler(n.log, nil))
	n.Listener = New(cfg, h)
	return n
}

func (n *node) serve() {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.tcp = tcp
	n.serveOn(tcp)
	n.serveOn(n.memory)
}

func (n *node) serveOn(socket net.Listener) {
	served := make(chan error, 1)
	go func() { served <- n.Serve(socket) }()
	n.t.Cleanup(func() {
		n.stop()
		if err := <-served; err != nil {
			n.t.Errorf("Serve: %v", err)
		}
		if used := n.budget.InUse(); used != 0 {
			n.t.Errorf("%d bytes of the budget are lent after Close", used)
		}
	})
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		n.t.Errorf("Close: %v", err)
	}
}

// client is the other end of a connection.
type client struct {
	net.Conn
	t testing.TB
}

func (n *node) dial() *client {
	n.t.Helper()
	c, err := net.Dial("tcp", n.tcp.Addr().String())
	if err != nil {
		n.t.Fatal(err)
	}
	return n.client(c)
}

func (n *node) client(c net.Conn) *client {
	n.t.Cleanup(func() { c.Close() })
	return &client{c, n.t}
}

// pipe connects in memory, where nothing is buffered and nothing is a socket.
func (n *node) pipe() *client { return n.client(n.memory.dial(nil)) }

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads an answer: its correlation id and what follows.
func (c *client) next() (id int32, body []byte) {
	c.t.Helper()
	id, body, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return id, body
}

func (c *client) read() (id int32, body []byte, err error) {
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:])-4)
	_, err = io.ReadFull(c, body)
	return int32(binary.BigEndian.Uint32(head[4:])), body, err
}

// want reads answers with these correlation ids.
func (c *client) want(ids ...int32) {
	c.t.Helper()
	for _, id := range ids {
		if got, _ := c.next(); got != id {
			c.t.Fatalf("the answer is that of request %d, want %d", got, id)
		}
	}
}

// wantClosed requires that the connection ends without a further answer.
func (c *client) wantClosed() {
	c.t.Helper()
	if id, _, err := c.read(); err == nil {
		c.t.Fatalf("answer %d came, want the end of the connection", id)
	} else if timedOut(err) {
		c.t.Fatal("the connection is still open")
	}
}

// frame is a request of some bytes.
func frame(key wire.APIKey, version int16, id int32, body ...byte) []byte {
	b := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: key, Version: version, CorrelationID: id, ClientID: "tester"})
	b = append(b, body...)
	wire.EndFrame(b, 0)
	return b
}

func produce(id int32, body ...byte) []byte  { return frame(wire.KeyProduce, 9, id, body...) }
func metadata(id int32, body ...byte) []byte { return frame(wire.KeyMetadata, 12, id, body...) }

// answer is a response of some bytes to a request.
func answer(r *Request, body ...byte) wire.Response {
	return wire.BytesResponse(answerFrame(r.Header.CorrelationID, len(body), body))
}

// answerFrame is the head of an answer whose body has n bytes, and those that are given.
func answerFrame(id int32, n int, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+n))
	b = binary.BigEndian.AppendUint32(b, uint32(id))
	return append(b, body...)
}

func echo(r *Request) { r.Complete(answer(r, bytes.Clone(r.Body)...)) }

// memory is a listener of connections that are pipes.
type memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

// dial connects; wrap may put something around the server's end.
func (m *memory) dial(wrap func(net.Conn) net.Conn) net.Conn {
	client, server := net.Pipe()
	if wrap != nil {
		server = wrap(server)
	}
	select {
	case m.conns <- server:
	case <-m.done:
		server.Close()
	}
	return client
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

// logLines is what was logged.
type logLines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// counted is a range that must be released exactly once.
type counted struct {
	wire.Range
	released atomic.Int32
	live     *atomic.Int32
}

func newCounted(r wire.Range, live *atomic.Int32) *counted {
	live.Add(1)
	return &counted{Range: r, live: live}
}

func (c *counted) Release() {
	if c.released.Add(1) != 1 {
		panic("a range was released twice")
	}
	c.live.Add(-1)
	c.Range.Release()
}

// rangeAnswer is an answer whose body is a range.
func rangeAnswer(r *Request, body wire.Range) wire.Response {
	return wire.Response{Parts: []wire.Part{{Bytes: answerFrame(r.Header.CorrelationID, body.Len(), nil)}, {Range: body}}}
}

// eventually waits for what another goroutine is about to do, where there is no event to wait for.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

var errTest = errors.New("the test says no")

package listener

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// Conn is one connection of a client.
type Conn struct {
	// ID is unique among the connections of the listener.
	ID uint64
	// Listener is the name of the listener, Local and Remote are the ends of the connection.
	Listener      string
	Local, Remote net.Addr
	// Principal is who the client is; without authentication User:ANONYMOUS.
	Principal string
	// Software is what ApiVersions said of the client (KIP-511). Only the connection's own handler touches it.
	SoftwareName, SoftwareVersion string
	// Worked is for the handler: the client did more than ask where to go.
	Worked bool
	// Opened is when the connection was accepted.
	Opened time.Time

	l   *Listener
	nc  net.Conn
	raw syscall.RawConn // nil when the connection is not a socket
	ip  netip.Addr
	in  input
	// clientID is what the last request called the client. Only the reader touches it.
	clientID string
	// writeDue is the write deadline, and local says that the client is on the same machine and its send buffer as it came.
	// Only the writer touches them.
	writeDue time.Time
	local    bool

	mu sync.Mutex
	// idle is signalled when a request is complete, for the reader that waits for its turn.
	idle *sync.Cond
	// queue holds the requests that were started and whose responses were not handed to a writer, in order.
	queue []*Request
	// produces and others count the requests in the queue that are not complete.
	produces, others int
	writing          bool // a writer is at work; it will see what is added to the queue
	reading          bool // the reader is between frames of its buffer; it will write what is complete
	closed           bool
	reason           error
	answered         time.Time // when the last request was complete
	failing          bool      // a request failed: nothing after it is answered
	wrote            sync.Cond
	stopWaiting      func() // ends the reader's wait for memory, while there is one
	held             held
	// unsent is how many bytes the responses in the queue have, those of ranges included.
	unsent int64
}

// queueMax is how many requests of a connection may be begun, or be complete and not written: a client that sends
// requests and does not read what they bring is not read from either. unsentMax is the same in bytes, and unsentMaxOwed in
// those that take memory: a buffer of small requests may ask for ten thousand times as much as it has.
const (
	queueMax      = 512
	unsentMax     = 4 << 20
	unsentMaxOwed = 64 << 10
)

func newConn(l *Listener, nc net.Conn, ip netip.Addr) *Conn {
	c := &Conn{ID: l.ids.Add(1), Listener: l.cfg.Name, Local: nc.LocalAddr(), Remote: nc.RemoteAddr(), Principal: "User:ANONYMOUS", Opened: time.Now(),
		l: l, nc: nc, ip: ip}
	c.idle = sync.NewCond(&c.mu)
	c.wrote.L = &c.mu
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			c.raw, c.local = raw, ip.IsLoopback() || ip == addrOf(nc.LocalAddr())
		}
	}
	return c
}

// errIdle is why a connection without traffic is closed; nobody needs to read of it.
var errIdle = errors.New("idle for too long")

// serve reads and runs requests until the connection ends.
func (c *Conn) serve() {
	err := c.introduce()
	if err == nil {
		err = c.read()
	}
	c.close(err)
	c.in.drop()
	// A handler may still complete requests; what remains to be done for the connection ends here.
	c.mu.Lock()
	for c.writing || c.produces+c.others > 0 {
		if c.writing {
			c.wrote.Wait()
		} else {
			c.idle.Wait()
		}
	}
	c.releaseQueue()
	reason := c.reason
	c.mu.Unlock()
	if reason != nil && !quiet(reason) {
		c.l.warn("a connection was closed", "client", c.Remote, "principal", c.Principal, "reason", reason)
	}
}

// quiet reports whether an end of a connection is an everyday one.
func quiet(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, errIdle) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (c *Conn) read() error {
	for {
		frame, err := c.in.next(c)
		if err != nil {
			if errors.Is(err, io.EOF) && c.in.pending() > 0 {
				err = fmt.Errorf("%w in the middle of a request, after %d bytes of it", io.ErrUnexpectedEOF, c.in.pending())
			}
			return err
		}
		if err := c.run(frame); err != nil {
			return err
		}
	}
}

// run parses a frame, waits for its turn, and hands it to the handler.
func (c *Conn) run(frame []byte) error {
	r := c.newRequest()
	body, err := r.Header.Parse(frame)
	if err != nil {
		var unsupported *wire.UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Header.Key != wire.KeyApiVersions {
			recycle(r)
			return err
		}
	}
	c.clientID = r.Header.ClientID
	r.Body, r.Received, r.frameLen = body, time.Now(), len(frame)
	if err := c.weigh(r); err != nil {
		recycle(r)
		return err
	}
	if !c.enqueue(r) {
		c.unweigh(r)
		recycle(r)
		return net.ErrClosed
	}
	if err != nil { // ApiVersions of the future is told what there is (KIP-511)
		r.Complete(wire.UnsupportedAPIVersions(r.Header.CorrelationID))
	} else {
		c.handle(r)
	}
	c.flushIfDrained()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return c.reason
	}
	return nil
}

// handle calls the handler. A panic in it costs the connection and never the node.
func (c *Conn) handle(r *Request) {
	key, version := r.Header.Key, r.Header.Version // the request may be another's when the handler panics
	defer func() {
		if p := recover(); p != nil {
			c.l.log.Error("a request ended in a panic; its connection is closed", "api", key, "version", version, "client", c.Remote, "panic", p, "stack", string(debug.Stack()))
			err := fmt.Errorf("%s version %d ended in a panic: %v", key, version, p)
			c.mu.Lock()
			if slices.Contains(c.queue, r) && !r.done {
				c.finish(r, wire.Response{}, err)
				c.mu.Unlock()
				return // what came before it is still answered
			}
			c.mu.Unlock()
			c.close(err)
		}
	}()
	c.l.handler.Handle(r)
}

// requests lends requests to all connections, so that one that pipelines many makes no garbage and an idle one keeps
// none.
var requests = sync.Pool{New: func() any { return new(Request) }}

// newRequest takes a request out of the pool. The client's id is the one of the last request on this connection, most
// likely, and then parsing allocates nothing.
func (c *Conn) newRequest() *Request {
	r := requests.Get().(*Request)
	r.Conn, r.Header.ClientID = c, c.clientID
	return r
}

// recycle puts back a request that nobody knows any more.
func recycle(r *Request) {
	*r = Request{}
	requests.Put(r)
}

// enqueue puts the request at the end of the queue when its turn has come: at once when nothing is unfinished, or
// when it and all that is unfinished are Produces. It returns false when the connection closed meanwhile.
func (c *Conn) enqueue(r *Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	produce := r.Header.Key == wire.KeyProduce
	for !c.closed && (c.others > 0 || c.produces > 0 && !produce || len(c.queue) >= queueMax || c.unsent > unsentMax || c.held.owed > unsentMaxOwed) {
		// What is complete should not wait for what is not: the client may need it to go on.
		if c.ready() && !c.writing {
			c.startWriter()
		}
		if c.writing && c.in.buf != nil {
			c.held.began(c.in.buf.Cap())
		}
		c.idle.Wait()
		c.held.began(0)
	}
	if c.closed {
		return false
	}
	if produce {
		r.Behind = c.produces > 0
		c.produces++
	} else {
		c.others++
	}
	c.queue = append(c.queue, r)
	c.reading = true
	return true
}

// complete is Request.Complete and Request.Fail.
func (c *Conn) complete(r *Request, response wire.Response, failure error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finish(r, response, failure)
	if !c.reading && !c.writing && c.ready() && !c.writeAtOnce() {
		c.startWriter()
	}
}

// finish marks a request complete. The lock is held.
func (c *Conn) finish(r *Request, response wire.Response, failure error) {
	if r.done {
		panic("listener: a request was completed twice")
	}
	r.done, r.response, r.failure, r.onClose, r.Body = true, response, failure, nil, nil
	c.unweigh(r)
	c.owe(r)
	if r.Header.Key == wire.KeyProduce {
		c.produces--
	} else {
		c.others--
	}
	api := c.l.stats.api(r.Header.Key)
	api.requests.Add(1)
	api.bytesIn.Add(int64(r.frameLen))
	if failure != nil {
		api.failed.Add(1)
	}
	if !r.Received.IsZero() {
		took := time.Since(r.Received)
		c.answered = r.Received.Add(took)
		api.observe(took)
		if observe := c.l.cfg.Observe; observe != nil {
			observe(r.Header.Key, took)
		}
	}
	c.idle.Signal()
}

// ready reports whether the head of the queue can be written. The lock is held.
func (c *Conn) ready() bool { return len(c.queue) > 0 && c.queue[0].done }

// flushIfDrained ends a turn of the reader: when no whole frame is left in its buffer it writes what is complete,
// and from then on others see to that.
func (c *Conn) flushIfDrained() {
	whole := c.in.whole(c.l.cfg.MaxRequestBytes)
	if whole {
		c.mu.Lock()
		queued := len(c.queue)
		c.mu.Unlock()
		if queued < 128 {
			return
		}
	}
	c.mu.Lock()
	c.reading = false
	if !c.writing && c.ready() {
		c.writing = true
		large := c.unsent > owedFree
		c.mu.Unlock()
		switch { // the client may take its time over much
		case large && whole:
			c.held.began(c.in.buf.Cap())
		case large:
			c.in.rest(c)
		}
		c.write()
		return
	}
	c.mu.Unlock()
}

// startWriter writes from a goroutine of its own. The lock is held.
func (c *Conn) startWriter() {
	c.writing = true
	go c.write()
}

// close ends the connection: the reader and the writer fail, and requests that are parked are told. Answers to earlier
// requests are still sent, unless there is no reason, since it is the node that closes.
func (c *Conn) close(reason error) { c.end(reason, reason == nil) }

// end is close; at once, whether or not answers are owed and the client takes them. It returns false when the connection was
// ending already.
func (c *Conn) end(reason error, atOnce bool) bool {
	c.mu.Lock()
	if c.closed {
		if atOnce {
			c.nc.Close() // a client that does not read must not hold it up
		}
		c.mu.Unlock()
		return false
	}
	c.closed, c.reason = true, reason
	if c.stopWaiting != nil {
		c.stopWaiting()
	}
	var cancel []func()
	for _, r := range c.queue {
		if r.onClose != nil {
			cancel = append(cancel, r.onClose)
			r.onClose, r.cancelled = nil, true
		}
	}
	switch {
	case !atOnce && !c.writing && c.ready() && !errors.Is(reason, net.ErrClosed):
		c.startWriter() // which closes the socket when it is done
	case atOnce || !c.writing:
		c.nc.Close()
	}
	c.idle.Broadcast()
	c.mu.Unlock()
	for _, f := range cancel {
		f()
	}
	return true
}

// used returns when the client last began or was answered a request; the zero time of a connection that is ending.
func (c *Conn) used() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return time.Time{}
	}
	last := c.Opened
	if c.answered.After(last) {
		last = c.answered
	}
	if n := len(c.queue); n > 0 && c.queue[n-1].Received.After(last) {
		last = c.queue[n-1].Received
	}
	if c.held.input.Load() > 0 {
		if begun := time.Unix(0, c.held.inputSince.Load()); begun.After(last) {
			last = begun
		}
	}
	return last
}

func (c *Conn) releaseQueue() {
	for _, r := range c.queue {
		c.settle(r)
		r.response.Release()
	}
	c.queue = nil
}

// timedOut reports whether an error is a deadline that passed.
func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

package listener

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// Handler runs requests; package api implements it.
type Handler interface {
	// Handle runs one request. It calls Complete or Fail exactly once: before it returns, or later, from any
	// goroutine. Body is valid until Handle returns. On one connection Handle is called from one goroutine, in
	// order.
	Handle(r *Request)
}

// Request is one request of a connection. It belongs to the handler until Complete or Fail.
type Request struct {
	Header wire.RequestHeader
	// Body is what follows the header. It aliases the connection's buffer: valid until Handle returns.
	Body []byte
	Conn *Conn
	// Received is when the frame was there as a whole.
	Received time.Time
	// Behind says that the client sent a Produce and did not wait for the answers to those before it.
	Behind bool

	frameLen int
	weight   int64 // lent for what the handler makes of the request
	size     int64 // bytes of the response
	owed     int64 // those that are in memory
	response wire.Response
	failure  error
	done     bool
	onClose  func()
	// cancelled is set when onClose was taken to be called: it may be called late.
	cancelled bool
}

// Complete gives the response, which the connection releases when it was sent or cannot be. An empty response
// stands for none: acks=0. The request must not be touched afterwards.
func (r *Request) Complete(response wire.Response) { r.Conn.complete(r, response, nil) }

// Fail closes the connection, with a line in the log that says why. Responses to earlier requests are still sent.
func (r *Request) Fail(err error) { r.Conn.complete(r, wire.Response{}, err) }

// Cancelled reports whether the function given to OnClose was called, or is about to be. It may be asked from Complete
// on, as long as the response is not released: whoever uses the memory of a request again must not when it says yes.
func (r *Request) Cancelled() bool { return r.cancelled }

// OnClose registers what to call, once, if the connection goes away before the request is complete; the request
// must still be completed. It is called from within Handle only.
func (r *Request) OnClose(cancel func()) {
	r.Conn.mu.Lock()
	closed := r.Conn.closed
	if closed {
		r.cancelled = true
	} else {
		r.onClose = cancel
	}
	r.Conn.mu.Unlock()
	if closed {
		cancel()
	}
}

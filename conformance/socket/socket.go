// Package socket speaks the protocol over one connection, request by request, and hides nothing: no retry, no batching,
// no version that was not asked for.
package socket

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// Conn is one connection. Sends may be ahead of receives; each of the two belongs to one goroutine.
type Conn struct {
	net.Conn
	sent, received int32
}

// Dial connects.
func Dial(addr string, within time.Duration) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, within)
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c}, nil
}

// Frame returns the frame of a request.
func Frame(request wire.Message, version int16, correlationID int32) []byte {
	frame := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: wire.APIKey(request.Info().Type), Version: version, CorrelationID: correlationID, ClientID: "conformance"})
	frame = request.AppendTo(frame, version)
	wire.EndFrame(frame, 0)
	return frame
}

// Send writes a request.
func (c *Conn) Send(request wire.Message, version int16) error {
	c.sent++
	_, err := c.Write(Frame(request, version, c.sent))
	return err
}

// Receive reads the response to the next of the requests that were sent.
func (c *Conn) Receive(response wire.Message, version int16) error {
	c.received++
	frame, err := c.ReadFrame()
	if err != nil {
		return err
	}
	key := wire.APIKey(response.Info().Type)
	id, body, err := wire.ParseResponseHeader(frame, key, version)
	if err != nil {
		return err
	}
	if id != c.received {
		return fmt.Errorf("an answer to request %d where that to %d must come", id, c.received)
	}
	return wire.Decode(response, version, body)
}

// ReadFrame reads one frame, without its size.
func (c *Conn) ReadFrame() ([]byte, error) {
	var head [wire.FrameHead]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(c, frame)
	return frame, err
}

// Call sends a request and reads its response, all within a time.
func (c *Conn) Call(request wire.Message, response wire.Message, version int16, within time.Duration) error {
	c.SetDeadline(time.Now().Add(within))
	defer c.SetDeadline(time.Time{})
	if err := c.Send(request, version); err != nil {
		return err
	}
	return c.Receive(response, version)
}

package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Side is one of the two servers, with what it chose itself so far.
type Side struct {
	Name           string
	Addr           string // broker listener
	ControllerAddr string // controller listener
	Dir            string // its log directory, to read its files
	ClusterID      string

	conns       map[string]*conn
	TopicIDs    map[string]kafka.TopicID                                       // by topic, of the running sequence
	producers   []int64                                                        // producer ids in the order they were handed out in the running sequence
	members     map[string]string                                              // ids of members of groups by the plan's names, of the running sequence
	generations map[string]int32                                               // of groups, as the members learned them
	owned       map[string][]wire.ConsumerGroupHeartbeatRequestTopicPartitions // what members were told to have
	SessionID   int32                                                          // of the last full fetch
	groupsEnd   int64                                                          // where its log of groups ended when the running sequence began
	recoded     map[string]bool                                                // the topics of the running sequence whose batches the server compresses itself
}

type conn struct {
	net.Conn
	correlation int32
}

// begin forgets what belonged to the last sequence. The topics named are those whose batches the server compresses
// itself.
func (s *Side) begin(recoded []string) {
	s.recoded = make(map[string]bool)
	for _, name := range recoded {
		s.recoded[name] = true
	}
	s.TopicIDs = make(map[string]kafka.TopicID)
	s.producers = nil
	s.members, s.generations = make(map[string]string), make(map[string]int32)
	s.owned = make(map[string][]wire.ConsumerGroupHeartbeatRequestTopicPartitions)
	s.SessionID = 0
}

// Close closes the connections.
func (s *Side) Close() {
	for name, c := range s.conns {
		c.Close()
		delete(s.conns, name)
	}
}

// endMembers closes the connections of the members of groups.
func (s *Side) endMembers() {
	for name, c := range s.conns {
		if name != "" && name != controllerConn {
			c.Close()
			delete(s.conns, name)
		}
	}
}

// Producer returns the n-th producer id this side handed out, counted from 0.
func (s *Side) Producer(n int) int64 {
	if n < 0 || n >= len(s.producers) {
		return 999_999_000 + int64(n) // an id that no side has handed out
	}
	return s.producers[n]
}

// Answer is what came of one request.
type Answer struct {
	Closed   bool // the server closed the connection instead of answering
	Timeout  bool // no answer came in time
	None     bool // no answer was awaited (acks=0)
	Request  wire.Message
	Response wire.Message
	Version  int16
	Err      error // the answer could not be decoded
}

// answerWithin bounds the wait for one answer; both servers answer in milliseconds, or after the request's own timeout.
const answerWithin = 8 * time.Second

func (s *Side) dial(name string) (*conn, error) {
	if c := s.conns[name]; c != nil {
		return c, nil
	}
	addr := s.Addr
	if name == controllerConn {
		addr = s.ControllerAddr
	}
	raw, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if s.conns == nil {
		s.conns = make(map[string]*conn)
	}
	s.conns[name] = &conn{Conn: raw}
	return s.conns[name], nil
}

// controllerConn is the name of the connection to the controller listener.
const controllerConn = "controller"

// send sends one request on the named connection and reads its answer. A body of bytes goes out as it is.
func (s *Side) send(connName string, key wire.APIKey, version int16, body []byte, noAnswer bool, within time.Duration) Answer {
	c, err := s.dial(connName)
	if err != nil {
		return Answer{Err: err}
	}
	c.correlation++
	frame := wire.AppendRequestHeader(make([]byte, 4, 64+len(body)), wire.RequestHeader{Key: key, Version: version, CorrelationID: c.correlation, ClientID: "differential"})
	frame = append(frame, body...)
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	c.SetDeadline(time.Now().Add(within))
	answer := s.exchange(c, key, version, frame, noAnswer)
	if answer.Closed || answer.Timeout || answer.Err != nil {
		c.Close()
		delete(s.conns, connName)
	}
	return answer
}

func (s *Side) exchange(c *conn, key wire.APIKey, version int16, frame []byte, noAnswer bool) Answer {
	if _, err := c.Write(frame); err != nil {
		return classify(err)
	}
	if noAnswer {
		return Answer{None: true}
	}
	return s.receive(c, key, version)
}

// take awaits the answer to the request that was sent last on the named connection.
func (s *Side) take(connName string, key wire.APIKey, version int16) Answer {
	c := s.conns[connName]
	if c == nil {
		return Answer{Closed: true}
	}
	c.SetDeadline(time.Now().Add(answerWithin))
	answer := s.receive(c, key, version)
	if answer.Response == nil {
		c.Close()
		delete(s.conns, connName)
	}
	return answer
}

func (s *Side) receive(c *conn, key wire.APIKey, version int16) Answer {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return classify(err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > 256<<20 {
		return Answer{Err: fmt.Errorf("an answer of %d bytes", n)}
	}
	reply := make([]byte, n)
	if _, err := io.ReadFull(c, reply); err != nil {
		return classify(err)
	}
	correlation, body, err := wire.ParseResponseHeader(reply, key, version)
	if err != nil {
		return Answer{Err: err}
	}
	if correlation != c.correlation {
		return Answer{Err: fmt.Errorf("answer to request %d, want %d", correlation, c.correlation)}
	}
	response := wire.NewResponse(key)
	err = wire.Decode(response, version, body)
	if err != nil && key == wire.KeyApiVersions {
		// The answer to an unknown version is written at version 0.
		version = 0
		response = wire.NewResponse(key)
		err = wire.Decode(response, 0, body)
	}
	return Answer{Response: response, Version: version, Err: err}
}

func classify(err error) Answer {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Answer{Closed: true}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Answer{Timeout: true}
	}
	return Answer{Err: err}
}

// call sends a message and returns its answer; it is for steps that are not compared.
func (s *Side) call(request wire.Message, key wire.APIKey, version int16) (wire.Message, error) {
	answer := s.send("", key, version, request.AppendTo(nil, version), false, answerWithin)
	switch {
	case answer.Err != nil:
		return nil, answer.Err
	case answer.Response == nil:
		return nil, fmt.Errorf("%s gave no answer to %s (closed %v, timed out %v)", s.Name, key, answer.Closed, answer.Timeout)
	}
	return answer.Response, nil
}

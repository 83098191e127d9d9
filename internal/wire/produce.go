package wire

import (
	"fmt"

	"github.com/millrace-io/millrace/kafka"
)

// keepElements is how many elements a reusable request keeps room for. What a larger one needed is given back.
const keepElements = 4096

// reuse empties a slice and drops what it refers to, so that a pooled request holds no frame; room for more than
// keepElements is given up.
func reuse[T any](s []T) []T {
	if cap(s) > keepElements {
		return nil
	}
	clear(s)
	return s[:0]
}

// more appends an element and charges the room that this made.
func more[T any](r *Reader, s []T, v T, count int) []T {
	return append(room(r, s, len(s)+count), v)
}

// Produce is a ProduceRequest for the hot path: it is decoded again and again into the same memory, and all bytes in
// it alias the frame. Topics and their partitions stand in the request's order, repeated ones included.
type Produce struct {
	TransactionalID []byte // nil for null
	Acks            int16
	TimeoutMs       int32
	Topics          []ProduceTopic

	// MaxPartitions, if not 0, is how many partitions a request may name; one with more is malformed. It stays when a
	// request is forgotten.
	MaxPartitions int

	// partitions is where the partitions of all topics lie, one topic after the other.
	partitions []ProducePartition
}

// ProduceTopic is the part of a Produce for one topic.
type ProduceTopic struct {
	TopicID    kafka.UUID // from version 13 on
	Name       []byte     // before version 13
	Partitions []ProducePartition
}

// ProducePartition is the part of a Produce for one partition.
type ProducePartition struct {
	Index   int32
	Records []byte // nil for null
}

// Reset forgets the request and whatever it aliased.
func (p *Produce) Reset() {
	*p = Produce{Topics: reuse(p.Topics), partitions: reuse(p.partitions), MaxPartitions: p.MaxPartitions}
}

// Decode reads the body of a ProduceRequest as DecodeRequest does, what was there before being forgotten. It allocates
// only while p has not seen as many topics and partitions yet.
func (p *Produce) Decode(version int16, body []byte) error {
	r := Reader{rest: body}
	p.decode(&r, version)
	if err := r.Err(); err != nil {
		p.Reset()
		return fmt.Errorf("ProduceRequest version %d: %w", version, err)
	}
	return nil
}

func (p *Produce) decode(r *Reader, version int16) {
	p.Reset()
	flex := version >= 9
	if n := r.stringLen(flex); n >= 0 {
		p.TransactionalID = r.Take(n)
	}
	p.Acks = r.Int16()
	p.TimeoutMs = r.Int32()
	topics := r.arrayLen(flex, never, minProduceTopic(version))
	for i := range topics {
		var t ProduceTopic
		if version >= 13 {
			t.TopicID = r.UUID()
		} else {
			t.Name = r.StringBytes(flex)
		}
		first := len(p.partitions)
		n := r.arrayLen(flex, never, 5)
		if most := p.MaxPartitions; most > 0 && first+n > most {
			r.Fail(fmt.Sprintf("more than %d partitions, which is all that it can have records for", most))
			return
		}
		for j := range n {
			part := ProducePartition{Index: r.Int32(), Records: r.records(flex, allowed)}
			if flex {
				r.SkipTags()
			}
			if r.err != nil {
				return
			}
			p.partitions = more(r, p.partitions, part, n-j)
		}
		t.Partitions = p.partitions[first:len(p.partitions):len(p.partitions)]
		if flex {
			r.SkipTags()
		}
		if r.err != nil {
			return
		}
		p.Topics = more(r, p.Topics, t, topics-i)
	}
	if flex {
		r.SkipTags()
	}
}

// minProduceTopic returns the fewest bytes of a topic: its id or name, the number of its partitions, tags.
func minProduceTopic(version int16) int {
	switch {
	case version >= 13:
		return 16 + 1 + 1
	case version >= 9:
		return 1 + 1 + 1
	}
	return 2 + 4
}

// ProduceEncoder appends a ProduceResponse to a buffer, partition by partition, so that nothing has to be built
// before it: Begin, for each topic Topic and as often as was announced Partition, then End. The zero value is ready,
// and one encoder can be used again and again.
type ProduceEncoder struct {
	dst     []byte
	start   int // where the frame begins in dst
	version int16
	flex    bool
	due     countdown
}

// countdown sees to it that an encoder gets as many topics and partitions as were announced, since the numbers stand
// before what they count.
type countdown struct{ topics, partitions int }

func (c *countdown) topic(partitions int) {
	if c.partitions != 0 || c.topics == 0 {
		panic(fmt.Sprintf("wire: a topic is encoded while %d partitions and %d topics are due", c.partitions, c.topics))
	}
	c.topics, c.partitions = c.topics-1, partitions
}

func (c *countdown) partition() {
	if c.partitions == 0 {
		panic("wire: more partitions are encoded than were announced")
	}
	c.partitions--
}

func (c *countdown) end() {
	if c.partitions != 0 || c.topics != 0 {
		panic(fmt.Sprintf("wire: a response ends while %d partitions and %d topics are due", c.partitions, c.topics))
	}
}

// ProduceResult is what became of the records for one partition.
type ProduceResult struct {
	Index           int32
	Err             kafka.ErrorCode
	BaseOffset      int64
	LogAppendTimeMs int64 // -1 unless the broker set the time
	LogStartOffset  int64 // from version 5 on
	RecordErrors    []ProduceResponseRecordErrors
	Message         string // why, for people; "" for none. From version 8 on
	LeaderID        int32  // where to go instead, -1 when it is not said. From version 10 on
	LeaderEpoch     int32  // -1 when it is not said
}

// Begin starts a response of so many topics in a frame of its own behind dst.
func (e *ProduceEncoder) Begin(dst []byte, version int16, correlationID int32, topics int) {
	*e = ProduceEncoder{start: len(dst), version: version, flex: version >= 9, due: countdown{topics: topics}}
	dst = appendInt32(BeginFrame(dst), correlationID)
	if e.flex {
		dst = append(dst, 0)
	}
	e.dst = appendLen(dst, topics, e.flex)
}

// Topic starts the next topic, of so many partitions. Versions from 13 on take the id, earlier ones the name.
func (e *ProduceEncoder) Topic(id kafka.UUID, name string, partitions int) {
	e.due.topic(partitions)
	if e.version >= 13 {
		e.dst = append(e.dst, id[:]...)
	} else {
		e.dst = appendString(e.dst, name, e.flex)
	}
	e.dst = appendLen(e.dst, partitions, e.flex)
	e.endTopic()
}

// endTopic writes the tags of a topic when all of its partitions are there.
func (e *ProduceEncoder) endTopic() {
	if e.flex && e.due.partitions == 0 {
		e.dst = append(e.dst, 0)
	}
}

// Partition appends the next partition of the topic.
func (e *ProduceEncoder) Partition(p *ProduceResult) {
	e.due.partition()
	dst := appendInt32(e.dst, p.Index)
	dst = appendInt16(dst, int16(p.Err))
	dst = appendInt64(dst, p.BaseOffset)
	dst = appendInt64(dst, p.LogAppendTimeMs)
	if e.version >= 5 {
		dst = appendInt64(dst, p.LogStartOffset)
	}
	if e.version >= 8 {
		dst = appendArray(dst, p.RecordErrors, e.version, e.flex, false)
		dst = appendMessage(dst, p.Message, e.flex)
	}
	if e.flex {
		if e.version >= 10 && (p.LeaderID != -1 || p.LeaderEpoch != -1) {
			dst = appendLeaderTag(append(dst, 1), 0, p.LeaderID, p.LeaderEpoch)
		} else {
			dst = append(dst, 0)
		}
	}
	e.dst = dst
	e.endTopic()
}

// End finishes the frame and returns dst with it. Endpoints, from version 10 on, say how the leaders that were named
// can be reached.
func (e *ProduceEncoder) End(throttleTimeMs int32, endpoints []ProduceResponseNodeEndpoints) []byte {
	e.due.end()
	dst := appendInt32(e.dst, throttleTimeMs)
	if e.flex {
		dst = appendEndpointsTag(dst, endpoints, e.version, e.version >= 10)
	}
	EndFrame(dst, e.start)
	*e = ProduceEncoder{}
	return dst
}

// appendMessage appends a nullable string that is null when it is empty.
func appendMessage(dst []byte, text string, flex bool) []byte {
	switch {
	case text != "":
		return appendString(dst, text, flex)
	case flex:
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff)
}

// appendLeaderTag appends the tagged field current_leader: tag | size 9 | leader id | leader epoch | no tags.
func appendLeaderTag(dst []byte, tag byte, id, epoch int32) []byte {
	dst = append(dst, tag, 9)
	dst = appendInt32(dst, id)
	dst = appendInt32(dst, epoch)
	return append(dst, 0)
}

// appendEndpointsTag appends the tags of a response whose only one is node_endpoints.
func appendEndpointsTag[T any, P structure[T]](dst []byte, endpoints []T, version int16, has bool) []byte {
	if !has || len(endpoints) == 0 {
		return append(dst, 0)
	}
	dst = openTag(append(dst, 1), 0)
	at := len(dst)
	return closeTag(appendArray[T, P](dst, endpoints, version, true, false), at)
}

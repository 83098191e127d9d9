package wire

import (
	"fmt"
	"math"

	"github.com/millrace-io/millrace/kafka"
)

// Fetch is a FetchRequest for the hot path: it is decoded again and again into the same memory, and all bytes in it
// alias the frame.
type Fetch struct {
	// ReplicaID is the follower that asks, -1 for a consumer, wherever the version carries it; ReplicaEpoch is the
	// follower's broker epoch, -1 before version 15.
	ReplicaID      int32
	ReplicaEpoch   int64
	MaxWaitMs      int32
	MinBytes       int32
	MaxBytes       int32
	IsolationLevel int8
	SessionID      int32
	SessionEpoch   int32
	Topics         []FetchTopic
	Forgotten      []FetchForgotten
	RackID         []byte
	ClusterID      []byte // nil for null

	// The partitions of all topics, and of all forgotten topics, lie here, one topic after the other.
	partitions []FetchPartition
	forgotten  []int32
}

// FetchTopic is the part of a Fetch for one topic.
type FetchTopic struct {
	TopicID    kafka.UUID // from version 13 on
	Name       []byte     // before version 13
	Partitions []FetchPartition
}

// FetchPartition says what is wanted of one partition. What the version does not carry has its default, -1 or, for
// HighWatermark, the largest number.
type FetchPartition struct {
	Partition          int32
	CurrentLeaderEpoch int32
	FetchOffset        int64
	LastFetchedEpoch   int32
	LogStartOffset     int64
	MaxBytes           int32
	ReplicaDirectoryID kafka.UUID
	HighWatermark      int64
}

// FetchForgotten names partitions of a topic that leave an incremental session (KIP-227).
type FetchForgotten struct {
	TopicID    kafka.UUID // from version 13 on
	Name       []byte     // before version 13
	Partitions []int32
}

// Reset forgets the request and whatever it aliased.
func (f *Fetch) Reset() {
	*f = Fetch{
		ReplicaID: -1, ReplicaEpoch: -1, MaxBytes: math.MaxInt32, SessionEpoch: -1,
		Topics: reuse(f.Topics), Forgotten: reuse(f.Forgotten),
		partitions: reuse(f.partitions), forgotten: reuse(f.forgotten),
	}
}

// Decode reads the body of a FetchRequest as DecodeRequest does, what was there before being forgotten. It allocates only
// while f has not seen as many topics and partitions yet.
func (f *Fetch) Decode(version int16, body []byte) error {
	r := Reader{rest: body}
	f.decode(&r, version)
	if err := r.Err(); err != nil {
		f.Reset()
		return fmt.Errorf("FetchRequest version %d: %w", version, err)
	}
	return nil
}

func (f *Fetch) decode(r *Reader, version int16) {
	f.Reset()
	flex := version >= 12
	if version <= 14 {
		f.ReplicaID = r.Int32()
	}
	f.MaxWaitMs = r.Int32()
	f.MinBytes = r.Int32()
	f.MaxBytes = r.Int32()
	f.IsolationLevel = r.Int8()
	if version >= 7 {
		f.SessionID = r.Int32()
		f.SessionEpoch = r.Int32()
	}
	f.topics(r, version, flex)
	if version >= 7 {
		f.forgets(r, version, flex)
	}
	if version >= 11 {
		f.RackID = r.StringBytes(flex)
	}
	if flex {
		f.tags(r, version)
	}
}

func (f *Fetch) topics(r *Reader, version int16, flex bool) {
	topics := r.arrayLen(flex, never, minFetchTopic(version))
	for i := range topics {
		var t FetchTopic
		if version >= 13 {
			t.TopicID = r.UUID()
		} else {
			t.Name = r.StringBytes(flex)
		}
		first := len(f.partitions)
		n := r.arrayLen(flex, never, 16)
		for j := range n {
			f.partitions = more(r, f.partitions, FetchPartition{}, n-j)
			if f.partitions[len(f.partitions)-1].decode(r, version, flex); r.err != nil {
				return
			}
		}
		t.Partitions = f.partitions[first:len(f.partitions):len(f.partitions)]
		if flex {
			r.SkipTags()
		}
		if r.err != nil {
			return
		}
		f.Topics = more(r, f.Topics, t, topics-i)
	}
}

func (p *FetchPartition) decode(r *Reader, version int16, flex bool) {
	*p = FetchPartition{CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, HighWatermark: math.MaxInt64}
	p.Partition = r.Int32()
	if version >= 9 {
		p.CurrentLeaderEpoch = r.Int32()
	}
	p.FetchOffset = r.Int64()
	if version >= 12 {
		p.LastFetchedEpoch = r.Int32()
	}
	if version >= 5 {
		p.LogStartOffset = r.Int64()
	}
	p.MaxBytes = r.Int32()
	if !flex {
		return
	}
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, behind := r.openTag()
		switch {
		case tag == 0 && version >= 17:
			p.ReplicaDirectoryID = r.UUID()
		case tag == 1 && version >= 18:
			p.HighWatermark = r.Int64()
		default:
			r.skipTag()
		}
		r.closeTag(behind)
	}
}

func (f *Fetch) forgets(r *Reader, version int16, flex bool) {
	topics := r.arrayLen(flex, never, minFetchTopic(version))
	for i := range topics {
		var t FetchForgotten
		if version >= 13 {
			t.TopicID = r.UUID()
		} else {
			t.Name = r.StringBytes(flex)
		}
		first := len(f.forgotten)
		n := r.arrayLen(flex, never, 4)
		for j := range n {
			f.forgotten = more(r, f.forgotten, r.Int32(), n-j)
		}
		t.Partitions = f.forgotten[first:len(f.forgotten):len(f.forgotten)]
		if flex {
			r.SkipTags()
		}
		if r.err != nil {
			return
		}
		f.Forgotten = more(r, f.Forgotten, t, topics-i)
	}
}

func (f *Fetch) tags(r *Reader, version int16) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, behind := r.openTag()
		switch {
		case tag == 0:
			f.ClusterID = nil
			if n := r.stringLen(true); n >= 0 {
				f.ClusterID = r.Take(n)
			}
		case tag == 1 && version >= 15:
			f.ReplicaID = r.Int32()
			f.ReplicaEpoch = r.Int64()
			r.SkipTags()
		default:
			r.skipTag()
		}
		r.closeTag(behind)
	}
}

// minFetchTopic returns the fewest bytes of a topic: its id or name, the number of its partitions, tags.
func minFetchTopic(version int16) int {
	switch {
	case version >= 13:
		return 16 + 1 + 1
	case version >= 12:
		return 1 + 1 + 1
	}
	return 2 + 4
}

// FetchEncoder makes a FetchResponse in which the records are ranges: Begin, for each topic Topic and as often as was
// announced Partition, then End. What lies between the ranges is written into one buffer. The zero value is ready;
// one encoder can be used again, and its memory with it, when the response that it made was released.
type FetchEncoder struct {
	dst     []byte
	version int16
	flex    bool
	due     countdown
	ranges  []placedRange
	parts   []Part
	size    int // the bytes of the ranges
}

// keep empties a buffer, and gives up a large one.
func keep(b []byte) []byte {
	if cap(b) > 1<<20 {
		return nil
	}
	return b[:0]
}

// placedRange is a range and where in the buffer it belongs.
type placedRange struct {
	at    int
	bytes Range
}

// FetchResult is what there is of one partition.
type FetchResult struct {
	Partition            int32
	Err                  kafka.ErrorCode
	HighWatermark        int64
	LastStableOffset     int64
	LogStartOffset       int64                              // from version 5 on
	Aborted              []FetchResponseAbortedTransactions // nil for null
	PreferredReadReplica int32                              // -1 for none. From version 11 on
	Records              Range                              // nil for none; the response releases it
	DivergingEpoch       FetchResponseDivergingEpoch        // -1, -1 for none. From version 12 on
	CurrentLeader        FetchResponseCurrentLeader         // -1, -1 when it is not said. From version 12 on
	SnapshotID           FetchResponseSnapshotID            // -1, -1 for none. From version 12 on
}

// NewFetchResult returns a result in which everything that a field can leave out is left out.
func NewFetchResult() FetchResult {
	return FetchResult{
		LastStableOffset: -1, LogStartOffset: -1, PreferredReadReplica: -1,
		DivergingEpoch: noDivergingEpoch, CurrentLeader: noCurrentLeader, SnapshotID: noSnapshotID,
	}
}

var (
	noDivergingEpoch = NewFetchResponseDivergingEpoch()
	noCurrentLeader  = NewFetchResponseCurrentLeader()
	noSnapshotID     = NewFetchResponseSnapshotID()
)

// Begin starts a response of so many topics. It takes up the memory of the response before.
func (e *FetchEncoder) Begin(version int16, correlationID, throttleTimeMs int32, err kafka.ErrorCode, sessionID int32, topics int) {
	*e = FetchEncoder{
		dst: keep(e.dst), ranges: reuse(e.ranges), parts: reuse(e.parts),
		version: version, flex: version >= 12, due: countdown{topics: topics},
	}
	dst := appendInt32(BeginFrame(e.dst), correlationID)
	if e.flex {
		dst = append(dst, 0)
	}
	dst = appendInt32(dst, throttleTimeMs)
	if version >= 7 {
		dst = appendInt16(dst, int16(err))
		dst = appendInt32(dst, sessionID)
	}
	e.dst = appendLen(dst, topics, e.flex)
}

// Topic starts the next topic, of so many partitions. Versions from 13 on take the id, earlier ones the name.
func (e *FetchEncoder) Topic(id kafka.UUID, name string, partitions int) {
	e.due.topic(partitions)
	if e.version >= 13 {
		e.dst = append(e.dst, id[:]...)
	} else {
		e.dst = appendString(e.dst, name, e.flex)
	}
	e.dst = appendLen(e.dst, partitions, e.flex)
	e.endTopic()
}

func (e *FetchEncoder) endTopic() {
	if e.flex && e.due.partitions == 0 {
		e.dst = append(e.dst, 0)
	}
}

// Partition appends the next partition of the topic. A result without records has empty ones, as Kafka writes it.
func (e *FetchEncoder) Partition(p *FetchResult) {
	e.due.partition()
	dst := appendInt32(e.dst, p.Partition)
	dst = appendInt16(dst, int16(p.Err))
	dst = appendInt64(dst, p.HighWatermark)
	dst = appendInt64(dst, p.LastStableOffset)
	if e.version >= 5 {
		dst = appendInt64(dst, p.LogStartOffset)
	}
	dst = appendArray(dst, p.Aborted, e.version, e.flex, true)
	if e.version >= 11 {
		dst = appendInt32(dst, p.PreferredReadReplica)
	}
	if p.Records == nil {
		dst = appendLen(dst, 0, e.flex)
	} else {
		n := p.Records.Len()
		dst = appendLen(dst, n, e.flex)
		e.ranges = append(e.ranges, placedRange{len(dst), p.Records})
		e.size += n
	}
	if e.flex {
		dst = appendFetchTags(dst, p)
	}
	e.dst = dst
	e.endTopic()
}

// appendFetchTags appends the tags of a partition: 0 diverging_epoch, 1 current_leader, 2 snapshot_id, each a struct of
// fixed size without tags of its own.
func appendFetchTags(dst []byte, p *FetchResult) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if p.DivergingEpoch != noDivergingEpoch {
		dst[at]++
		dst = appendInt32(append(dst, 0, 13), p.DivergingEpoch.Epoch)
		dst = append(appendInt64(dst, p.DivergingEpoch.EndOffset), 0)
	}
	if p.CurrentLeader != noCurrentLeader {
		dst[at]++
		dst = appendLeaderTag(dst, 1, p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch)
	}
	if p.SnapshotID != noSnapshotID {
		dst[at]++
		dst = appendInt64(append(dst, 2, 13), p.SnapshotID.EndOffset)
		dst = append(appendInt32(dst, p.SnapshotID.Epoch), 0)
	}
	return dst
}

// End finishes the frame. Endpoints, from version 16 on, say how the leaders that were named can be reached. The response
// lies in the encoder's memory, which must be left alone until it is released; its OnRelease is free for the caller.
//
// The whole must fit into a frame, which the limit on the bytes of a fetch sees to.
func (e *FetchEncoder) End(endpoints []FetchResponseNodeEndpoints) Response {
	e.due.end()
	if e.flex {
		e.dst = appendEndpointsTag(e.dst, endpoints, e.version, e.version >= 16)
	}
	size := len(e.dst) - FrameHead + e.size
	if size > MaxFrame {
		panic(fmt.Sprintf("wire: a fetch response of %d bytes does not fit into a frame", size))
	}
	appendInt32(e.dst[:0], int32(size))

	from := 0
	for _, r := range e.ranges {
		e.parts = append(e.parts, Part{Bytes: e.dst[from:r.at:r.at]}, Part{Range: r.bytes})
		from = r.at
	}
	if from < len(e.dst) {
		e.parts = append(e.parts, Part{Bytes: e.dst[from:]})
	}
	return Response{Parts: e.parts}
}

// Abandon releases the ranges of a response that will not be finished.
func (e *FetchEncoder) Abandon() {
	for _, r := range e.ranges {
		r.bytes.Release()
	}
	*e = FetchEncoder{dst: keep(e.dst), ranges: reuse(e.ranges), parts: reuse(e.parts)}
}

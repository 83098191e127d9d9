package replica

import (
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// LeaderHint tells a client who leads a partition, next to NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH
// (KIP-951). The zero hint says nothing; Known tells the two apart.
type LeaderHint struct {
	Known  bool
	Leader int32 // -1: nobody leads
	Epoch  int32
}

// AppendRequest is one Produce request. It can be used again after Done was called.
type AppendRequest struct {
	// Acks is 0, 1 or -1.
	Acks    int16
	Timeout time.Duration
	// Version is the version of the Produce request.
	Version int16
	Entries []AppendEntry
	// Behind says that the client does not wait for one answer before it sends the next request.
	Behind bool
	// Internal allows appending to internal topics: coordinators and Kafka's own admin client may.
	Internal bool
	// Origin says whose records these are: a client's (the zero value) or a coordinator's.
	Origin commitlog.Origin
	// Done is called exactly once, when every entry is answered; maybe before Append returns, maybe from
	// another goroutine. It must not block.
	Done func(*AppendRequest)
	// Context is the caller's own.
	Context any

	// led, when set, is the one leadership in which the records may be appended.
	led *Led

	// pending counts what Done waits for: the entries that are parked, the call of Append, and the timer.
	pending atomic.Int32
	timer   *time.Timer
}

// AppendEntry is the records for one partition of a request, and their answer.
type AppendEntry struct {
	// Topic is the name, TopicID the id. A request by id (version 13 and above) sets both: the name that the
	// id had in the image when it was looked up. Topic "" with an id is UNKNOWN_TOPIC_ID.
	Topic     string
	TopicID   kafka.TopicID
	Partition int32
	// Records alias the request. Offsets and epochs are patched in place. Not kept after Append returns.
	Records []byte

	// Err is nil or carries a code: kafka.CodeOf.
	Err error
	// BaseOffset is the offset of the first record, or -1.
	BaseOffset int64
	// LogAppendTime is in milliseconds, or -1 when the topic keeps the producer's timestamps.
	LogAppendTime int64
	// LogStartOffset is where the log begins, or -1.
	LogStartOffset int64
	RecordErrors   []commitlog.RecordError
	Leader         LeaderHint

	waiter ackWaiter
}

// FetchPartition is what a Fetch request asks of one partition.
type FetchPartition struct {
	// Topic and TopicID: as in AppendEntry. Requests by name have the zero id.
	Topic              string
	TopicID            kafka.TopicID
	Partition          int32
	CurrentLeaderEpoch int32 // -1: not given
	FetchOffset        int64
	LastFetchedEpoch   int32 // -1: not given
	LogStartOffset     int64 // a follower's, otherwise -1
	MaxBytes           int32
	// HighWatermark is what a follower knows already (KIP-1166), math.MaxInt64 when not given.
	HighWatermark int64

	// waited: the fetch has waited for this one, which was there.
	waited bool
}

// FetchForgotten names a partition to be dropped from a session.
type FetchForgotten struct {
	Topic     string
	TopicID   kafka.TopicID
	Partition int32
}

// FetchRequest is one Fetch request. It can be used again after Done was called.
type FetchRequest struct {
	Version int16
	// ReplicaID is -1 for a consumer, -2 for a debugging consumer, otherwise the follower's node.
	ReplicaID    int32
	ReplicaEpoch int64
	MaxWait      time.Duration
	MinBytes     int32
	MaxBytes     int32
	Isolation    kafka.IsolationLevel
	SessionID    int32
	SessionEpoch int32
	Partitions   []FetchPartition
	Forgotten    []FetchForgotten
	ClientID     string
	Rack         string
	// Authorize, when set, says whether the caller may read a topic. It is asked for every partition of the
	// session, those of earlier requests too.
	Authorize func(topic string) bool
	// Done is called exactly once; maybe before Fetch returns, maybe from another goroutine. It must not
	// block. The ranges in Responses are then the receiver's, to release when they were sent or not.
	Done    func(*FetchRequest)
	Context any

	// Err is an error of the whole request: of its session. Responses is empty then.
	Err error
	// ResponseSessionID is the session's id, 0 for none.
	ResponseSessionID int32
	// Responses holds the partitions in the order of the answer. Fetch reuses its memory.
	Responses []FetchedPartition

	fetchState
}

// FetchedPartition is the answer for one partition.
type FetchedPartition struct {
	Topic            string
	TopicID          kafka.TopicID
	Partition        int32
	Err              error
	Unread           bool  // the error is one that is known before the partition is read
	HighWatermark    int64 // -1 with an error
	LastStableOffset int64
	LogStartOffset   int64
	// Aborted lists the aborted transactions that overlap the slice; nil unless read_committed.
	Aborted []commitlog.AbortedTxn
	// Slice is the batches: Range is nil when there are none.
	Slice commitlog.Slice
	// Diverging is set when the reader's last epoch ended elsewhere here (KIP-595): Epoch -1 otherwise.
	Diverging EpochEnd
	Leader    LeaderHint

	item int // its place among what is read
}

// EpochEnd says where a leader epoch ended: Offset is the first offset behind it. -1 and -1 when not known.
type EpochEnd struct {
	Epoch  int32
	Offset int64
}

// OffsetQuery is one partition of a ListOffsets request.
type OffsetQuery struct {
	Topic              string
	TopicID            kafka.TopicID
	Partition          int32
	CurrentLeaderEpoch int32
	// Timestamp is in milliseconds, or one of kafka.TimestampLatest and its siblings.
	Timestamp int64
	// ReplicaID is -1 for consumers, who see what is committed; a node sees all, and -2 asks a follower too.
	ReplicaID int32
	Isolation kafka.IsolationLevel
}

// OffsetResult is its answer; all three are -1 when there is no such record.
type OffsetResult struct {
	Offset      int64
	Timestamp   int64
	LeaderEpoch int32
}

// DirInfo describes one log directory (DescribeLogDirs).
type DirInfo struct {
	Dir Dir
	// Err carries KAFKA_STORAGE_ERROR when the directory is offline.
	Err         error
	TotalBytes  int64 // -1: not known
	UsableBytes int64
	Cordoned    bool
	Replicas    []DirReplica
}

// DirReplica is one replica in a directory.
type DirReplica struct {
	Topic     string
	Partition int32
	Size      int64
	// OffsetLag is how far the replica's end lies behind the high watermark: 0 on a leader.
	OffsetLag int64
	Future    bool
}

// PartitionStats is a partition as metrics see it.
type PartitionStats struct {
	Topic         string
	Partition     int32
	Dir           string
	Leader        bool
	LeaderEpoch   int32
	Replicas, ISR int
	UnderMinISR   bool
	Online        bool
	Start, End    int64
	Flushed       int64
	HighWatermark int64
	Size          int64
	Segments      int
}

// TopicStats counts what passed through the partitions of one topic on this node, since it was created here.
type TopicStats struct {
	Topic                          string
	MessagesIn, BytesIn, BytesOut  int64
	ProduceRequests, FetchRequests int64
	FailedProduce, FailedFetch     int64
}

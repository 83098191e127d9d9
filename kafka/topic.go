package kafka

import (
	"fmt"
	"strconv"
	"strings"
)

// Internal topics, named by Kafka.
const (
	MetadataTopic         = "__cluster_metadata"
	ConsumerOffsetsTopic  = "__consumer_offsets"
	TransactionStateTopic = "__transaction_state"
	ShareGroupStateTopic  = "__share_group_state"
)

// MaxTopicNameLen is the longest name of a topic, in bytes: with "-<partition>" and the suffix of a
// directory being deleted it must still be a legal file name.
const MaxTopicNameLen = 249

// TopicPartition names one partition of one topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns "topic-partition", which is also the name of the partition's directory.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// TopicIDPartition names one partition of one incarnation of a topic.
type TopicIDPartition struct {
	TopicID   TopicID
	Partition int32
}

// String returns "topic id:partition".
func (tp TopicIDPartition) String() string {
	return tp.TopicID.String() + ":" + strconv.Itoa(int(tp.Partition))
}

// IsInternalTopic reports whether Kafka keeps the topic for itself: clients are told so in Metadata, and
// may not produce to it without a right to.
func IsInternalTopic(name string) bool {
	return name == ConsumerOffsetsTopic || name == TransactionStateTopic || name == ShareGroupStateTopic
}

// CheckTopicName returns nil for a legal topic name and otherwise a sentence that says what is wrong.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("the topic name cannot be %q", name)
	case len(name) > MaxTopicNameLen:
		return fmt.Errorf("the topic name has %d characters; at most %d are allowed", len(name), MaxTopicNameLen)
	}
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' {
			continue
		}
		return fmt.Errorf("the topic name %q holds a character other than ASCII letters, digits, '.', '_' and '-'", name)
	}
	return nil
}

// CollisionName returns the name as metric systems see it, with '.' turned into '_'. Two topics with the
// same collision name cannot both exist.
func CollisionName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// IsolationLevel says which records of transactions a reader sees.
type IsolationLevel int8

// The isolation levels of Fetch and ListOffsets (KIP-98).
const (
	ReadUncommitted IsolationLevel = 0
	ReadCommitted   IsolationLevel = 1
)

// Timestamps with a meaning of their own in ListOffsets.
const (
	TimestampLatest                = int64(-1)
	TimestampEarliest              = int64(-2)
	TimestampMax                   = int64(-3) // the record with the largest timestamp (KIP-734)
	TimestampEarliestLocal         = int64(-4) // KIP-405
	TimestampLatestTiered          = int64(-5) // KIP-1005
	TimestampEarliestPendingUpload = int64(-6) // KIP-1023
)

// Values that stand for "none" in the protocol.
const (
	NoOffset        = int64(-1)
	NoTimestamp     = int64(-1)
	NoEpoch         = int32(-1)
	NoNode          = int32(-1)
	NoProducerID    = int64(-1)
	NoProducerEpoch = int16(-1)
	NoSequence      = int32(-1)
)

// ResourceType is the kind of thing a configuration belongs to (ConfigResource in Kafka).
type ResourceType int8

// Configuration resources.
const (
	ResourceUnknown       ResourceType = 0
	ResourceTopic         ResourceType = 2
	ResourceBroker        ResourceType = 4
	ResourceBrokerLogger  ResourceType = 8
	ResourceClientMetrics ResourceType = 16
	ResourceGroup         ResourceType = 32
)

// String returns the name Kafka gives the resource type in its error messages.
func (t ResourceType) String() string {
	switch t {
	case ResourceTopic:
		return "TOPIC"
	case ResourceBroker:
		return "BROKER"
	case ResourceBrokerLogger:
		return "BROKER_LOGGER"
	case ResourceClientMetrics:
		return "CLIENT_METRICS"
	case ResourceGroup:
		return "GROUP"
	}
	return "UNKNOWN"
}

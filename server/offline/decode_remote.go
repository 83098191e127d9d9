package offline

import (
	"fmt"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// remoteText renders a record of __remote_log_metadata as Kafka's classes print themselves.
func remoteText(m wire.Message) string {
	switch m := m.(type) {
	case *wire.RemoteLogSegmentMetadataRecord:
		id := &m.RemoteLogSegmentID
		return fmt.Sprintf("RemoteLogSegmentMetadata{remoteLogSegmentId=%s, startOffset=%d, endOffset=%d, brokerId=%d, maxTimestampMs=%d, eventTimestampMs=%d, "+
			"segmentLeaderEpochs=%s, segmentSizeInBytes=%d, customMetadata=%s, state=%s, txnIdxEmpty=%t}",
			segmentID(id.TopicIDPartition.Name, id.TopicIDPartition.ID, id.TopicIDPartition.Partition, id.ID), m.StartOffset, m.EndOffset, m.BrokerID,
			m.MaxTimestampMs, m.EventTimestampMs, epochs(len(m.SegmentLeaderEpochs), func(i int) (int32, int64) {
				return m.SegmentLeaderEpochs[i].LeaderEpoch, m.SegmentLeaderEpochs[i].Offset
			}), m.SegmentSizeInBytes, custom(m.CustomMetadata), segmentState(m.RemoteLogSegmentState), m.TxnIndexEmpty)
	case *wire.RemoteLogSegmentMetadataSnapshotRecord:
		return fmt.Sprintf("RemoteLogSegmentMetadataSnapshot{segmentId=%s, startOffset=%d, endOffset=%d, maxTimestampMs=%d, "+
			"segmentLeaderEpochs=%s, segmentSizeInBytes=%d, customMetadata=%s, state=%s, txnIdxEmpty=%t}",
			m.SegmentID, m.StartOffset, m.EndOffset, m.MaxTimestampMs, epochs(len(m.SegmentLeaderEpochs), func(i int) (int32, int64) {
				return m.SegmentLeaderEpochs[i].LeaderEpoch, m.SegmentLeaderEpochs[i].Offset
			}), m.SegmentSizeInBytes, custom(m.CustomMetadata), segmentState(m.RemoteLogSegmentState), m.TxnIndexEmpty)
	case *wire.RemoteLogSegmentMetadataUpdateRecord:
		id := &m.RemoteLogSegmentID
		return fmt.Sprintf("RemoteLogSegmentMetadataUpdate{remoteLogSegmentId=%s, customMetadata=%s, state=%s, eventTimestampMs=%d, brokerId=%d}",
			segmentID(id.TopicIDPartition.Name, id.TopicIDPartition.ID, id.TopicIDPartition.Partition, id.ID), custom(m.CustomMetadata),
			segmentState(m.RemoteLogSegmentState), m.EventTimestampMs, m.BrokerID)
	case *wire.RemotePartitionDeleteMetadataRecord:
		p := &m.TopicIDPartition
		return fmt.Sprintf("RemotePartitionDeleteMetadata{topicPartition=%s, state=%s, eventTimestampMs=%d, brokerId=%d}",
			idPartition(p.Name, p.ID, p.Partition), named(m.RemotePartitionDeleteState, "DELETE_PARTITION_MARKED", "DELETE_PARTITION_STARTED", "DELETE_PARTITION_FINISHED"),
			m.EventTimestampMs, m.BrokerID)
	}
	return m.Info().Name + messageJSON(m, m.Info().MaxVersion)
}

func segmentID(topic string, id kafka.TopicID, partition int32, segment kafka.UUID) string {
	return fmt.Sprintf("RemoteLogSegmentId{topicIdPartition=%s, id=%s}", idPartition(topic, id, partition), segment)
}

func idPartition(topic string, id kafka.TopicID, partition int32) string {
	return fmt.Sprintf("%s:%s-%d", id, topic, partition)
}

// epochs prints epochs and where each begins as Java prints a map.
func epochs(n int, at func(i int) (epoch int32, offset int64)) string {
	pairs := make([]string, n)
	for i := range pairs {
		epoch, offset := at(i)
		pairs[i] = fmt.Sprintf("%d=%d", epoch, offset)
	}
	return "{" + strings.Join(pairs, ", ") + "}"
}

func custom(b []byte) string {
	if b == nil {
		return "Optional.empty"
	}
	return fmt.Sprintf("Optional[CustomMetadata{%d bytes}]", len(b))
}

func segmentState(s int8) string {
	return named(s, "COPY_SEGMENT_STARTED", "COPY_SEGMENT_FINISHED", "DELETE_SEGMENT_STARTED", "DELETE_SEGMENT_FINISHED")
}

// named is the constant of a number; a number without one stays a number.
func named(n int8, names ...string) string {
	if n < 0 || int(n) >= len(names) {
		return fmt.Sprint(n)
	}
	return names[n]
}

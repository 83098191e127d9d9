package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// OffsetForLeaderEpoch, versions 2 to 4 (KIP-320): where a leader epoch ended. What is not known is -1.
func offsetForLeaderEpoch(c *call, request *wire.OffsetForLeaderEpochRequest) wire.Message {
	response := wire.NewOffsetForLeaderEpochResponse()
	for _, t := range request.Topics {
		topic := wire.OffsetForLeaderEpochResponseTopics{Topic: t.Topic}
		allowed := c.allowed(OpDescribe, ResTopic, t.Topic)
		for _, p := range t.Partitions {
			one := wire.NewOffsetForLeaderEpochResponsePartitions()
			one.Partition = p.Partition
			if !allowed {
				one.ErrorCode = kafka.TopicAuthorizationFailed
			} else {
				end, err := c.t.o.Replicas.OffsetForLeaderEpoch(t.Topic, p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch)
				one.ErrorCode = c.t.code(err, "find the end of an epoch", t.Topic, p.Partition)
				one.LeaderEpoch, one.EndOffset = end.Epoch, end.Offset
			}
			topic.Partitions = append(topic.Partitions, one)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

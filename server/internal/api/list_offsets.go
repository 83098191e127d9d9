package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// ListOffsets, versions 1 to 11. A negative timestamp has a meaning of its own, from some version on: -1 latest, -2
// earliest, -3 the largest timestamp (7), -4 earliest local (8), -5 latest tiered (9), -6 earliest that waits to be
// tiered (11); any other, or one that the version does not have, is UNSUPPORTED_VERSION. A partition that stands twice
// in a request is INVALID_REQUEST, once.

// timestampSince is the version from which on a negative timestamp means something.
var timestampSince = map[int64]int16{
	kafka.TimestampLatest: 0, kafka.TimestampEarliest: 0, kafka.TimestampMax: 7, kafka.TimestampEarliestLocal: 8,
	kafka.TimestampLatestTiered: 9, kafka.TimestampEarliestPendingUpload: 11,
}

func listOffsets(c *call, request *wire.ListOffsetsRequest) wire.Message {
	times := make(map[kafka.TopicPartition]int)
	for _, t := range request.Topics {
		for _, p := range t.Partitions {
			times[kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}]++
		}
	}
	response := wire.NewListOffsetsResponse()
	if request.IsolationLevel < 0 || request.IsolationLevel > 1 {
		for _, t := range request.Topics {
			response.Topics = append(response.Topics, refuseOffsets(&t, kafka.UnknownServerError)) // Kafka's answer to a level that it has no name for
		}
		return response
	}
	places := make(map[string]int) // of the topics that may be described, which are told of once
	for _, t := range request.Topics {
		if !c.allowed(OpDescribe, ResTopic, t.Name) {
			response.Topics = append(response.Topics, refuseOffsets(&t, kafka.TopicAuthorizationFailed))
			continue
		}
		for _, p := range t.Partitions {
			tp := kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
			if times[tp] == 0 {
				continue // told already
			}
			place, known := places[t.Name]
			if !known {
				place = len(response.Topics)
				places[t.Name] = place
				response.Topics = append(response.Topics, wire.ListOffsetsResponseTopics{Name: t.Name})
			}
			to := &response.Topics[place]
			to.Partitions = append(to.Partitions, c.listOffset(request, t.Name, &p, times[tp] > 1))
			times[tp] = 0
		}
	}
	return response
}

// listOffset answers for one partition.
func (c *call) listOffset(request *wire.ListOffsetsRequest, topic string, p *wire.ListOffsetsRequestPartitions, repeated bool) wire.ListOffsetsResponsePartitions {
	one := wire.NewListOffsetsResponsePartitions()
	one.PartitionIndex = p.PartitionIndex
	since, known := timestampSince[p.Timestamp]
	switch {
	case repeated:
		one.ErrorCode = kafka.InvalidRequest
	case p.Timestamp < 0 && (!known || c.version() < since):
		one.ErrorCode = kafka.UnsupportedVersion
	default:
		found, err := c.t.o.Replicas.ListOffsets(replica.OffsetQuery{Topic: topic, Partition: p.PartitionIndex, CurrentLeaderEpoch: p.CurrentLeaderEpoch,
			Timestamp: p.Timestamp, ReplicaID: request.ReplicaID, Isolation: kafka.IsolationLevel(request.IsolationLevel)})
		one.ErrorCode = c.t.code(err, "list offsets", topic, p.PartitionIndex)
		one.Offset, one.Timestamp, one.LeaderEpoch = found.Offset, found.Timestamp, found.LeaderEpoch
	}
	return one
}

// refuseOffsets answers for all partitions of a topic that are asked for.
func refuseOffsets(t *wire.ListOffsetsRequestTopics, code kafka.ErrorCode) wire.ListOffsetsResponseTopics {
	topic := wire.ListOffsetsResponseTopics{Name: t.Name}
	for _, p := range t.Partitions {
		one := wire.NewListOffsetsResponsePartitions()
		one.PartitionIndex, one.ErrorCode = p.PartitionIndex, code
		topic.Partitions = append(topic.Partitions, one)
	}
	return topic
}

// code is the code of an error, with a line in the log for one that has none.
func (t *Table) code(err error, doing, topic string, partition int32) kafka.ErrorCode {
	code := kafka.CodeOf(err)
	if code == kafka.UnknownServerError {
		t.o.Log.Error("a request failed", "doing", doing, "topic", topic, "partition", partition, "err", err)
	}
	return code
}

package api

import (
	"slices"
	"sort"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// DescribeTopicPartitions, version 0 (KIP-966): topics by name with their eligible leader replicas, at most
// max.request.partition.size.limit partitions at a time; the cursor says where the next request goes on. No topics mean
// all.
const partitionLimit = 2000

func describeTopicPartitions(c *call, request *wire.DescribeTopicPartitionsRequest) wire.Message {
	response := wire.NewDescribeTopicPartitionsResponse()
	if cursor := request.Cursor; cursor != nil && cursor.PartitionIndex < 0 {
		return nil // Kafka has no way to answer this, and closes the connection
	}
	var names []string
	all := len(request.Topics) == 0
	if all {
		for t := range c.image.Topics() {
			names = append(names, t.Name)
		}
	} else {
		for _, t := range request.Topics {
			names = append(names, t.Name)
		}
		sort.Strings(names)
		names = slices.Compact(names)
	}
	first := int32(0)
	if cursor := request.Cursor; cursor != nil {
		at, found := slices.BinarySearch(names, cursor.TopicName)
		names = names[at:]
		if found {
			first = cursor.PartitionIndex
		}
	}
	left := min(max(request.ResponsePartitionLimit, 1), partitionLimit)
	var refused []wire.DescribeTopicPartitionsResponseTopics
	for _, name := range names {
		t := c.image.Topic(name)
		one := wire.NewDescribeTopicPartitionsResponseTopics()
		one.Name, one.IsInternal = &name, kafka.IsInternalTopic(name)
		switch {
		case !c.allowed(OpDescribe, ResTopic, name):
			if !all {
				one.ErrorCode = kafka.TopicAuthorizationFailed
				refused = append(refused, one)
			}
			continue
		case t == nil:
			one.ErrorCode = kafka.UnknownTopicOrPartition
			if kafka.CheckTopicName(name) != nil {
				one.ErrorCode = kafka.InvalidTopicException
			}
			response.Topics = append(response.Topics, one)
			continue
		}
		if left == 0 {
			response.NextCursor = &wire.DescribeTopicPartitionsResponseNextCursor{TopicName: name}
			break
		}
		one.TopicID = t.ID
		one.TopicAuthorizedOperations = c.authorizedOperations(true, ResTopic, name)
		for i := first; int(i) < len(t.Partitions); i++ {
			if left == 0 {
				response.NextCursor = &wire.DescribeTopicPartitionsResponseNextCursor{TopicName: name, PartitionIndex: i}
				break
			}
			left--
			one.Partitions = append(one.Partitions, c.describedPartition(i, t.Partitions[i]))
		}
		first = 0
		response.Topics = append(response.Topics, one)
		if response.NextCursor != nil {
			break
		}
	}
	response.Topics = append(response.Topics, refused...)
	return response
}

func (c *call) describedPartition(index int32, p *metadata.Partition) wire.DescribeTopicPartitionsResponsePartitions {
	one := wire.NewDescribeTopicPartitionsResponsePartitions()
	one.PartitionIndex, one.LeaderID, one.LeaderEpoch = index, p.Leader, p.LeaderEpoch
	one.ReplicaNodes, one.IsrNodes, one.OfflineReplicas = p.Replicas, p.ISR, c.offline(p)
	one.EligibleLeaderReplicas, one.LastKnownElr = nonNil(p.ELR), nonNil(p.LastKnownELR)
	if leader := c.image.Broker(p.Leader); leader == nil || leader.Fenced || !c.isReachable(p.Leader) {
		one.ErrorCode, one.LeaderID = kafka.LeaderNotAvailable, kafka.NoNode
	}
	return one
}

// nonNil tells an empty list from one that is not known.
func nonNil(ids []int32) []int32 {
	if ids == nil {
		return []int32{}
	}
	return ids
}

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
	if cursor := request.Cursor; cursor != nil {
		at, found := slices.BinarySearch(names, cursor.TopicName)
		names = names[at:]
		if cursor.PartitionIndex < 0 || !found && !all {
			return refuseTopicPartitions(request, kafka.InvalidRequest)
		}
	}
	if len(names) > 0 && names[0] == "" {
		return refuseTopicPartitions(request, kafka.UnknownServerError) // as Kafka does
	}
	left := min(max(request.ResponsePartitionLimit, 1), partitionLimit)
	var refused []wire.DescribeTopicPartitionsResponseTopics
	for _, name := range names {
		t := c.image.Topic(name)
		if left == 0 {
			response.NextCursor = &wire.DescribeTopicPartitionsResponseNextCursor{TopicName: name}
			break
		}
		one := wire.NewDescribeTopicPartitionsResponseTopics()
		one.Name, one.IsInternal = &name, kafka.IsInternalTopic(name)
		if !c.allowed(OpDescribe, ResTopic, name) {
			if !all {
				one.ErrorCode = kafka.TopicAuthorizationFailed
				refused = append(refused, one)
			}
			continue
		}
		one.TopicAuthorizedOperations = c.authorizedOperations(true, ResTopic, name)
		if t == nil {
			one.ErrorCode = kafka.UnknownTopicOrPartition
			if kafka.CheckTopicName(name) != nil {
				one.ErrorCode = kafka.InvalidTopicException
			}
			response.Topics = append(response.Topics, one)
			continue
		}
		one.TopicID = t.ID
		first := int32(0)
		if request.Cursor != nil && request.Cursor.TopicName == name {
			first = request.Cursor.PartitionIndex
		}
		for i := first; int(i) < len(t.Partitions); i++ {
			if left == 0 {
				response.NextCursor = &wire.DescribeTopicPartitionsResponseNextCursor{TopicName: name, PartitionIndex: i}
				break
			}
			left--
			one.Partitions = append(one.Partitions, c.describedPartition(i, t.Partitions[i]))
		}
		response.Topics = append(response.Topics, one)
		if response.NextCursor != nil {
			break
		}
	}
	response.Topics = append(response.Topics, refused...)
	return response
}

// refuseTopicPartitions answers a request that is wrong as a whole: only the topics that it names can say so.
func refuseTopicPartitions(request *wire.DescribeTopicPartitionsRequest, code kafka.ErrorCode) wire.Message {
	response := wire.NewDescribeTopicPartitionsResponse()
	for _, t := range request.Topics {
		one := wire.NewDescribeTopicPartitionsResponseTopics()
		one.Name, one.ErrorCode = &t.Name, code
		response.Topics = append(response.Topics, one)
	}
	return response
}

func (c *call) describedPartition(index int32, p *metadata.Partition) wire.DescribeTopicPartitionsResponsePartitions {
	one := wire.NewDescribeTopicPartitionsResponsePartitions()
	one.PartitionIndex, one.LeaderID, one.LeaderEpoch = index, p.Leader, p.LeaderEpoch
	one.ReplicaNodes, one.IsrNodes, one.OfflineReplicas = p.Replicas, p.ISR, c.offline(p)
	one.EligibleLeaderReplicas, one.LastKnownElr = nonNil(p.ELR), nonNil(p.LastKnownELR)
	if leader := c.image.Broker(p.Leader); leader == nil || leader.Fenced || !c.isReachable(p.Leader) {
		one.LeaderID = kafka.NoNode // which says it all: other than Metadata, this is no error
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

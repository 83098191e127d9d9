package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// OffsetDelete, version 0: forget where a group was in partitions that none of its members reads (KIP-496).

func offsetDelete(c *call, request *wire.OffsetDeleteRequest, respond func(wire.Message)) {
	response := wire.NewOffsetDeleteResponse()
	if !c.allowed(OpDelete, ResGroup, request.GroupID) {
		response.ErrorCode = kafka.GroupAuthorizationFailed
		respond(response)
		return
	}
	if request.GroupID == "" && len(request.Topics) > 0 {
		response.ErrorCode = kafka.InvalidGroupID
		respond(response)
		return
	}
	good := *request
	good.Topics = nil
	refuse := func(topic string, partition int32, code kafka.ErrorCode) {
		addDeleted(response, wire.OffsetDeleteResponseTopics{Name: topic, Partitions: []wire.OffsetDeleteResponsePartitions{{PartitionIndex: partition, ErrorCode: code}}})
	}
	for _, t := range request.Topics {
		there := wire.OffsetDeleteRequestTopics{Name: t.Name}
		allowed, known := c.allowed(OpRead, ResTopic, t.Name), c.image.Topic(t.Name)
		for _, p := range t.Partitions {
			switch {
			case !allowed:
				refuse(t.Name, p.PartitionIndex, kafka.TopicAuthorizationFailed)
			case known.Partition(p.PartitionIndex) == nil:
				refuse(t.Name, p.PartitionIndex, kafka.UnknownTopicOrPartition)
			default:
				there.Partitions = append(there.Partitions, p)
			}
		}
		if len(there.Partitions) > 0 {
			good.Topics = append(good.Topics, there)
		}
	}
	c.t.o.Groups.OffsetDelete(&good, func(deleted *wire.OffsetDeleteResponse, err error) {
		if err != nil {
			response.ErrorCode, response.Topics = kafka.CodeOf(err), nil
			respond(response)
			return
		}
		for _, t := range deleted.Topics {
			addDeleted(response, t)
		}
		respond(response)
	})
}

func addDeleted(response *wire.OffsetDeleteResponse, t wire.OffsetDeleteResponseTopics) {
	for i := range response.Topics {
		if to := &response.Topics[i]; to.Name == t.Name {
			to.Partitions = append(to.Partitions, t.Partitions...)
			return
		}
	}
	response.Topics = append(response.Topics, t)
}

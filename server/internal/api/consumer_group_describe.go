package api

import (
	"sync"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ConsumerGroupDescribe, versions 0 to 1 (KIP-848): groups of the consumer protocol with their members. A group that shows
// a topic that the caller may not know of is not shown.

func consumerGroupDescribe(c *call, request *wire.ConsumerGroupDescribeRequest, respond func(wire.Message)) {
	response := wire.NewConsumerGroupDescribeResponse()
	response.Groups = make([]wire.ConsumerGroupDescribeResponseGroups, len(request.GroupIDs))
	if len(request.GroupIDs) == 0 {
		respond(response)
		return
	}
	var mu sync.Mutex
	waits := len(request.GroupIDs)
	for i, id := range request.GroupIDs {
		c.describeConsumerGroup(id, request.IncludeAuthorizedOperations, func(one wire.ConsumerGroupDescribeResponseGroups) {
			mu.Lock()
			response.Groups[i] = one
			waits--
			last := waits == 0
			mu.Unlock()
			if last {
				respond(response)
			}
		})
	}
}

func (c *call) describeConsumerGroup(id string, operations bool, done func(wire.ConsumerGroupDescribeResponseGroups)) {
	refuse := func(err error) {
		one := wire.NewConsumerGroupDescribeResponseGroups()
		one.GroupID, one.ErrorCode, one.ErrorMessage = id, kafka.CodeOf(err), kafka.MessageOf(err)
		done(one)
	}
	switch {
	case !c.allowed(OpDescribe, ResGroup, id):
		refuse(kafka.GroupAuthorizationFailed)
		return
	case id == "":
		refuse(kafka.InvalidGroupID)
		return
	}
	c.t.o.Groups.ConsumerGroupDescribe(id, func(one wire.ConsumerGroupDescribeResponseGroups, err error) {
		if err != nil {
			refuse(err)
			return
		}
		for _, m := range one.Members {
			for _, t := range m.Assignment.TopicPartitions {
				if !c.allowed(OpDescribe, ResTopic, t.TopicName) {
					refuse(kafka.TopicAuthorizationFailed.Errorf("The group has described topic(s) that the client is not authorized to describe."))
					return
				}
			}
		}
		one.AuthorizedOperations = c.authorizedOperations(operations, ResGroup, id)
		done(one)
	})
}

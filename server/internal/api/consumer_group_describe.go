package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ConsumerGroupDescribe, versions 0 to 1 (KIP-848): groups of the consumer protocol with their members. A group that shows
// a topic that the caller may not know of is not shown.

func consumerGroupDescribe(c *call, request *wire.ConsumerGroupDescribeRequest, respond func(wire.Message)) {
	gather(request.GroupIDs, func(id string, answer func(wire.ConsumerGroupDescribeResponseGroups)) {
		c.describeConsumerGroup(id, request.IncludeAuthorizedOperations, answer)
	}, func(groups []wire.ConsumerGroupDescribeResponseGroups) {
		response := wire.NewConsumerGroupDescribeResponse()
		response.Groups = groups
		respond(response)
	})
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

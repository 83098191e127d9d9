package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ConsumerGroupHeartbeat, versions 0 to 1 (KIP-848): a member of a consumer group joins, stays and leaves by it. Version 1
// knows regular expressions, and members that choose their id.

func consumerGroupHeartbeat(c *call, request *wire.ConsumerGroupHeartbeatRequest, respond func(wire.Message)) {
	answer := func(response *wire.ConsumerGroupHeartbeatResponse, err error) {
		if response == nil || err != nil {
			response = wire.NewConsumerGroupHeartbeatResponse()
			response.ErrorCode, response.ErrorMessage = kafka.CodeOf(err), kafka.MessageOf(err)
		}
		respond(response)
	}
	if !c.allowed(OpRead, ResGroup, request.GroupID) {
		answer(nil, kafka.GroupAuthorizationFailed)
		return
	}
	for _, topic := range request.SubscribedTopicNames {
		if !c.allowed(OpDescribe, ResTopic, topic) {
			answer(nil, kafka.TopicAuthorizationFailed)
			return
		}
	}
	caller := c.groupCaller()
	if request.SubscribedTopicRegex != nil {
		caller.Describes = c.describes()
	}
	c.t.o.Groups.ConsumerGroupHeartbeat(request, caller, answer)
}

package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// SyncGroup, versions 0 to 5: the leader of a classic group brings the assignment, every member gets its part. From
// version 5 on both must name the protocol that was chosen (KIP-559).

func syncGroup(c *call, request *wire.SyncGroupRequest, respond func(wire.Message)) {
	answer := func(response *wire.SyncGroupResponse, err error) {
		if response == nil {
			response = wire.NewSyncGroupResponse()
		}
		response.ErrorCode = kafka.CodeOf(err)
		respond(response)
	}
	err := c.mayUse(request.GroupID)
	if err == nil && c.version() >= 5 && (request.ProtocolType == nil || request.ProtocolName == nil) {
		err = kafka.InconsistentGroupProtocol
	}
	if err != nil {
		answer(nil, err)
		return
	}
	c.t.o.Groups.SyncGroup(request, answer)
}

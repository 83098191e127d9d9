package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// LeaveGroup, versions 0 to 5: members leave a group, or are made to. One member before version 3, whose error is then
// that of the response; several after (KIP-345).

func leaveGroup(c *call, request *wire.LeaveGroupRequest, respond func(wire.Message)) {
	answer := func(response *wire.LeaveGroupResponse, err error) {
		if response == nil {
			response = wire.NewLeaveGroupResponse()
		}
		response.ErrorCode = kafka.CodeOf(err)
		if c.version() < 3 && response.ErrorCode == kafka.None && len(response.Members) > 0 {
			response.ErrorCode = response.Members[0].ErrorCode
		}
		respond(response)
	}
	if err := c.mayUse(request.GroupID); err != nil {
		answer(nil, err)
		return
	}
	if c.version() < 3 {
		request.Members = []wire.LeaveGroupRequestMembers{{MemberID: request.MemberID}}
	}
	c.t.o.Groups.LeaveGroup(request, answer)
}

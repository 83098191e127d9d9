package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// JoinGroup, versions 0 to 9: become a member of a group of the classic protocol. The answer comes when all members have
// joined. Before version 7 what has no name is empty and not null.

func joinGroup(c *call, request *wire.JoinGroupRequest, respond func(wire.Message)) {
	answer := func(response *wire.JoinGroupResponse, err error) {
		if response == nil {
			response = wire.NewJoinGroupResponse()
		}
		response.ErrorCode = kafka.CodeOf(err)
		if c.version() < 7 && response.ProtocolName == nil {
			none := ""
			response.ProtocolName = &none
		}
		respond(response)
	}
	if err := c.mayUse(request.GroupID); err != nil {
		response := wire.NewJoinGroupResponse()
		response.MemberID = request.MemberID
		answer(response, err)
		return
	}
	c.t.o.Groups.JoinGroup(request, c.groupCaller(), answer)
}

// mayUse reports whether the caller may be a member of a group, and whether it has a name.
func (c *call) mayUse(id string) error {
	switch {
	case !c.allowed(OpRead, ResGroup, id):
		return kafka.GroupAuthorizationFailed
	case id == "":
		return kafka.InvalidGroupID
	}
	return nil
}

func (c *call) groupCaller() group.Caller {
	return group.Caller{ClientID: c.Header.ClientID, Host: "/" + host(c.Conn.Remote), Version: c.version()}
}

package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Heartbeat, versions 0 to 4: a member of a classic group is still there.

func heartbeat(c *call, request *wire.HeartbeatRequest, respond func(wire.Message)) {
	answer := func(err error) {
		response := wire.NewHeartbeatResponse()
		response.ErrorCode = kafka.CodeOf(err)
		respond(response)
	}
	if err := c.mayUse(request.GroupID); err != nil {
		answer(err)
		return
	}
	c.t.o.Groups.Heartbeat(request, answer)
}

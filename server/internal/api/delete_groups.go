package api

import (
	"sync"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DeleteGroups, versions 0 to 2: groups without members, with their offsets.

func deleteGroups(c *call, request *wire.DeleteGroupsRequest, respond func(wire.Message)) {
	response := wire.NewDeleteGroupsResponse()
	response.Results = make([]wire.DeleteGroupsResponseResults, len(request.GroupsNames))
	if len(request.GroupsNames) == 0 {
		respond(response)
		return
	}
	var mu sync.Mutex
	waits := len(request.GroupsNames)
	for i, id := range request.GroupsNames {
		done := func(err error) {
			mu.Lock()
			response.Results[i] = wire.DeleteGroupsResponseResults{GroupID: id, ErrorCode: kafka.CodeOf(err)}
			waits--
			last := waits == 0
			mu.Unlock()
			if last {
				respond(response)
			}
		}
		if !c.allowed(OpDelete, ResGroup, id) {
			done(kafka.GroupAuthorizationFailed)
			continue
		}
		c.t.o.Groups.DeleteGroup(id, done)
	}
}

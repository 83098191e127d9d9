package api

import (
	"slices"
	"sync"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DeleteGroups, versions 0 to 3: groups without members, with their offsets. A group that is named twice is deleted, and
// answered for, once.

func deleteGroups(c *call, request *wire.DeleteGroupsRequest, respond func(wire.Message)) {
	response := wire.NewDeleteGroupsResponse()
	var names []string
	for _, id := range request.GroupsNames {
		if !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	response.Results = make([]wire.DeleteGroupsResponseResults, len(names))
	if len(names) == 0 {
		respond(response)
		return
	}
	var mu sync.Mutex
	waits := len(names)
	for i, id := range names {
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

package api

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DeleteGroups, versions 0 to 3: groups without members, with their offsets. A group that is named twice is deleted, and
// answered for, once.

func deleteGroups(c *call, request *wire.DeleteGroupsRequest, respond func(wire.Message)) {
	var names []string
	for _, id := range request.GroupsNames {
		if !slices.Contains(names, id) {
			names = append(names, id)
		}
	}
	gather(names, func(id string, answer func(wire.DeleteGroupsResponseResults)) {
		done := func(err error) {
			answer(wire.DeleteGroupsResponseResults{GroupID: id, ErrorCode: kafka.CodeOf(err)})
		}
		if !c.allowed(OpDelete, ResGroup, id) {
			done(kafka.GroupAuthorizationFailed)
			return
		}
		c.t.o.Groups.DeleteGroup(id, done)
	}, func(results []wire.DeleteGroupsResponseResults) {
		response := wire.NewDeleteGroupsResponse()
		response.Results = results
		respond(response)
	})
}

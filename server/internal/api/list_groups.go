package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ListGroups, versions 0 to 5: the groups that this broker coordinates, filtered by state from version 4 on and by kind
// from version 5 on. Who may not describe the cluster sees the groups that it may describe.

func listGroups(c *call, request *wire.ListGroupsRequest, respond func(wire.Message)) {
	c.t.o.Groups.ListGroups(request, func(groups []wire.ListGroupsResponseGroups, err error) {
		response := wire.NewListGroupsResponse()
		if err != nil {
			response.ErrorCode = kafka.CodeOf(err)
			respond(response)
			return
		}
		all := c.allowed(OpDescribe, ResCluster, clusterName)
		for _, g := range groups {
			if all || c.allowed(OpDescribe, ResGroup, g.GroupID) {
				response.Groups = append(response.Groups, g)
			}
		}
		respond(response)
	})
}

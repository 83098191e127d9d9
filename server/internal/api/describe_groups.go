package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DescribeGroups, versions 0 to 6: classic groups with their members. A group that is not there is told as dead, from
// version 6 on with the error GROUP_ID_NOT_FOUND (KIP-1043).

func describeGroups(c *call, request *wire.DescribeGroupsRequest, respond func(wire.Message)) {
	gather(request.Groups, func(id string, answer func(wire.DescribeGroupsResponseGroups)) {
		c.describeGroup(id, request.IncludeAuthorizedOperations, answer)
	}, func(groups []wire.DescribeGroupsResponseGroups) {
		response := wire.NewDescribeGroupsResponse()
		response.Groups = groups
		respond(response)
	})
}

func (c *call) describeGroup(id string, operations bool, done func(wire.DescribeGroupsResponseGroups)) {
	refuse := func(err error) {
		one := wire.NewDescribeGroupsResponseGroups()
		one.GroupID, one.ErrorCode = id, kafka.CodeOf(err)
		if one.ErrorCode == kafka.GroupIDNotFound {
			one.GroupState = "Dead"
			if c.version() < 6 {
				one.ErrorCode = kafka.None
				one.AuthorizedOperations = c.authorizedOperations(operations, ResGroup, id)
			} else {
				one.ErrorMessage = kafka.MessageOf(err)
			}
		}
		done(one)
	}
	if !c.allowed(OpDescribe, ResGroup, id) {
		refuse(kafka.GroupAuthorizationFailed)
		return
	}
	c.t.o.Groups.DescribeGroup(id, func(one wire.DescribeGroupsResponseGroups, err error) {
		if err != nil {
			refuse(err)
			return
		}
		one.AuthorizedOperations = c.authorizedOperations(operations, ResGroup, id)
		done(one)
	})
}

package classic

import (
	"github.com/millrace-io/millrace/internal/wire"
)

// Describe tells of the group and its members; what they say and have is told of a stable group only.
func (g *Group) Describe() wire.DescribeGroupsResponseGroups {
	one := wire.NewDescribeGroupsResponseGroups()
	one.GroupID, one.GroupState, one.ProtocolType = g.id, g.state.String(), g.protocolType
	for _, m := range g.members {
		member := wire.DescribeGroupsResponseMembers{MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host}
		if g.state == Stable {
			member.MemberMetadata, member.MemberAssignment = m.metadata(g.protocol), m.assignment
		}
		one.Members = append(one.Members, member)
	}
	if g.state == Stable {
		one.ProtocolData = g.protocol
	}
	return one
}

package classic

import (
	"github.com/millrace-io/millrace/internal/wire"
)

// Describe tells of the group and its members. What they say depends on the protocol, which only a stable group has for
// certain; what they were given last is told while they rebalance, too, until that begins anew.
func (g *Group) Describe() wire.DescribeGroupsResponseGroups {
	one := wire.NewDescribeGroupsResponseGroups()
	one.GroupID, one.GroupState, one.ProtocolType = g.id, g.state.String(), g.protocolType
	for _, m := range g.members {
		member := wire.DescribeGroupsResponseMembers{MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host}
		if !g.calledOff {
			member.MemberAssignment = m.assignment
		}
		if g.state == Stable {
			member.MemberMetadata = m.metadata(g.protocol)
		}
		one.Members = append(one.Members, member)
	}
	if g.state == Stable {
		one.ProtocolData = g.protocol
	}
	return one
}

package consumer

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
)

// Describe tells of the group and its members.
func (g *Group) Describe(now time.Time) wire.ConsumerGroupDescribeResponseGroups {
	one := wire.NewConsumerGroupDescribeResponseGroups()
	members := g.sortedMembers()
	one.GroupID, one.GroupState, one.GroupEpoch, one.AssignmentEpoch = g.id, g.State(now), g.epoch, g.targetEpoch
	one.AssignorName = g.assignor(members).Name()
	for _, m := range members {
		member := wire.NewConsumerGroupDescribeResponseMembers()
		member.MemberID, member.InstanceID, member.RackID, member.MemberEpoch = m.ID, m.Instance, m.Rack, m.epoch
		member.ClientID, member.ClientHost, member.SubscribedTopicNames = m.ClientID, m.Host, m.Topics
		member.SubscribedTopicRegex = &m.Regex // empty for none, as Kafka has it
		member.MemberType = 1                  // the consumer protocol
		if m.Classic != nil {
			member.MemberType = 0
		}
		target, _ := g.target.Get(m.ID)
		member.Assignment.TopicPartitions = g.named(m.assigned.Union(m.revoking)) // it works on both
		for _, t := range g.named(target) {
			member.TargetAssignment.TopicPartitions = append(member.TargetAssignment.TopicPartitions, wire.ConsumerGroupDescribeResponseTargetAssignmentTopicPartitions(t))
		}
		one.Members = append(one.Members, member)
	}
	return one
}

// named gives partitions the names of their topics; topics that are gone are left out.
func (g *Group) named(p assign.Partitions) []wire.ConsumerGroupDescribeResponseAssignmentTopicPartitions {
	var list []wire.ConsumerGroupDescribeResponseAssignmentTopicPartitions
	for _, t := range p {
		if topic := g.env.Image().TopicByID(t.Topic); topic != nil {
			list = append(list, wire.ConsumerGroupDescribeResponseAssignmentTopicPartitions{TopicID: t.Topic, TopicName: topic.Name, Partitions: t.Partitions})
		}
	}
	return list
}

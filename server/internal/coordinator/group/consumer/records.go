package consumer

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
)

func (g *Group) epochRecord(epoch int32, hash int64) coordinator.Record {
	return coordinator.Record{Key: &wire.ConsumerGroupMetadataKey{GroupID: g.id}, Value: &wire.ConsumerGroupMetadataValue{Epoch: epoch, MetadataHash: hash}}
}

func (g *Group) memberRecord(m *Member) coordinator.Record {
	v := wire.NewConsumerGroupMemberMetadataValue()
	v.InstanceID, v.RackID, v.ClientID, v.ClientHost = m.Instance, m.Rack, m.ClientID, m.Host
	v.SubscribedTopicNames, v.RebalanceTimeoutMs, v.ServerAssignor = m.Topics, m.RebalanceTimeoutMs, m.Assignor
	v.SubscribedTopicRegex = &m.Regex // empty for none, as Kafka has it
	v.ClassicMemberMetadata = m.Classic.value()
	return coordinator.Record{Key: &wire.ConsumerGroupMemberMetadataKey{GroupID: g.id, MemberID: m.ID}, Value: v}
}

func (g *Group) currentRecord(m *Member) coordinator.Record {
	v := &wire.ConsumerGroupCurrentMemberAssignmentValue{MemberEpoch: m.epoch, PreviousMemberEpoch: m.before, State: int8(m.state)}
	since := m.since
	for _, t := range m.assigned {
		n := len(t.Partitions)
		v.AssignedPartitions = append(v.AssignedPartitions, wire.ConsumerGroupCurrentMemberAssignmentValueAssignedPartitions{TopicID: t.Topic, Partitions: t.Partitions, AssignmentEpochs: since[:n]})
		since = since[n:]
	}
	since = m.revokingSince
	for _, t := range m.revoking {
		n := len(t.Partitions)
		v.PartitionsPendingRevocation = append(v.PartitionsPendingRevocation, wire.ConsumerGroupCurrentMemberAssignmentValuePartitionsPendingRevocation{TopicID: t.Topic, Partitions: t.Partitions, AssignmentEpochs: since[:n]})
		since = since[n:]
	}
	return coordinator.Record{Key: &wire.ConsumerGroupCurrentMemberAssignmentKey{GroupID: g.id, MemberID: m.ID}, Value: v}
}

func (g *Group) targetRecord(member string, p assign.Partitions) coordinator.Record {
	v := &wire.ConsumerGroupTargetAssignmentMemberValue{}
	for _, t := range p {
		v.TopicPartitions = append(v.TopicPartitions, wire.ConsumerGroupTargetAssignmentMemberValueTopicPartitions{TopicID: t.Topic, Partitions: t.Partitions})
	}
	return coordinator.Record{Key: &wire.ConsumerGroupTargetAssignmentMemberKey{GroupID: g.id, MemberID: member}, Value: v}
}

func (g *Group) targetEpochRecord(epoch int32, ms int64) coordinator.Record {
	return coordinator.Record{
		Key:   &wire.ConsumerGroupTargetAssignmentMetadataKey{GroupID: g.id},
		Value: &wire.ConsumerGroupTargetAssignmentMetadataValue{AssignmentEpoch: epoch, AssignmentTimestamp: ms},
	}
}

func (g *Group) regexRecord(regex string, r resolved) coordinator.Record {
	return coordinator.Record{
		Key:   &wire.ConsumerGroupRegularExpressionKey{GroupID: g.id, RegularExpression: regex},
		Value: &wire.ConsumerGroupRegularExpressionValue{Topics: r.topics, Version: r.version, Timestamp: r.ms},
	}
}

// memberTombstones delete a member: its assignment goes before the member does.
func (g *Group) memberTombstones(id string) []coordinator.Record {
	return []coordinator.Record{
		{Key: &wire.ConsumerGroupCurrentMemberAssignmentKey{GroupID: g.id, MemberID: id}},
		{Key: &wire.ConsumerGroupTargetAssignmentMemberKey{GroupID: g.id, MemberID: id}},
		{Key: &wire.ConsumerGroupMemberMetadataKey{GroupID: g.id, MemberID: id}},
	}
}

// Tombstones implements group.Group. The records are in the order in which Kafka writes them.
func (g *Group) Tombstones() []coordinator.Record {
	var current, target, rest []coordinator.Record
	for _, m := range g.sortedMembers() {
		gone := g.memberTombstones(m.ID)
		current, target, rest = append(current, gone[0]), append(target, gone[1]), append(rest, gone[2])
	}
	for regex := range g.regexes.Keys() {
		rest = append(rest, coordinator.Record{Key: &wire.ConsumerGroupRegularExpressionKey{GroupID: g.id, RegularExpression: regex}})
	}
	records := append(current, target...)
	records = append(records, coordinator.Record{Key: &wire.ConsumerGroupTargetAssignmentMetadataKey{GroupID: g.id}})
	return append(append(records, rest...),
		coordinator.Record{Key: &wire.ConsumerGroupPartitionMetadataKey{GroupID: g.id}}, // of an older Kafka, which may have written one
		coordinator.Record{Key: &wire.ConsumerGroupMetadataKey{GroupID: g.id}})
}

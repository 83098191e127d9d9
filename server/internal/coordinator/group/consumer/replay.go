package consumer

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
)

// GroupOf returns the group that a record of the consumer protocol is about, false for any other record.
func GroupOf(r coordinator.Record) (string, bool) {
	switch k := r.Key.(type) {
	case *wire.ConsumerGroupMetadataKey:
		return k.GroupID, true
	case *wire.ConsumerGroupPartitionMetadataKey:
		return k.GroupID, true
	case *wire.ConsumerGroupMemberMetadataKey:
		return k.GroupID, true
	case *wire.ConsumerGroupTargetAssignmentMetadataKey:
		return k.GroupID, true
	case *wire.ConsumerGroupTargetAssignmentMemberKey:
		return k.GroupID, true
	case *wire.ConsumerGroupCurrentMemberAssignmentKey:
		return k.GroupID, true
	case *wire.ConsumerGroupRegularExpressionKey:
		return k.GroupID, true
	}
	return "", false
}

// Replay changes the group by one of its records.
func (g *Group) Replay(r coordinator.Record) error {
	switch k := r.Key.(type) {
	case *wire.ConsumerGroupMetadataKey:
		if v, ok := r.Value.(*wire.ConsumerGroupMetadataValue); ok {
			g.setEpoch(v.Epoch, v.MetadataHash)
			g.gaps = false
		}
	case *wire.ConsumerGroupMemberMetadataKey:
		v, _ := r.Value.(*wire.ConsumerGroupMemberMetadataValue)
		g.replayMember(k.MemberID, v)
	case *wire.ConsumerGroupTargetAssignmentMetadataKey:
		if v, ok := r.Value.(*wire.ConsumerGroupTargetAssignmentMetadataValue); ok {
			epoch, ms := g.targetEpoch, g.targetMs
			g.targetEpoch, g.targetMs = v.AssignmentEpoch, v.AssignmentTimestamp
			g.env.Journal.Did(func() { g.targetEpoch, g.targetMs = epoch, ms })
		}
	case *wire.ConsumerGroupRegularExpressionKey:
		v, _ := r.Value.(*wire.ConsumerGroupRegularExpressionValue)
		g.replayRegex(k.RegularExpression, v)
	case *wire.ConsumerGroupTargetAssignmentMemberKey:
		v, ok := r.Value.(*wire.ConsumerGroupTargetAssignmentMemberValue)
		if !ok {
			g.target.Delete(k.MemberID)
			return nil
		}
		set := assign.Set{}
		for _, t := range v.TopicPartitions {
			for _, p := range t.Partitions {
				set.Add(t.TopicID, p)
			}
		}
		g.target.Set(k.MemberID, set.Partitions())
	case *wire.ConsumerGroupCurrentMemberAssignmentKey:
		v, _ := r.Value.(*wire.ConsumerGroupCurrentMemberAssignmentValue)
		return g.replayCurrent(k.MemberID, v)
	}
	return nil
}

func (g *Group) setEpoch(epoch int32, hash int64) {
	oldEpoch, oldHash := g.epoch, g.hash
	g.epoch, g.hash = epoch, hash
	g.env.Journal.Did(func() { g.epoch, g.hash = oldEpoch, oldHash })
}

func (g *Group) replayMember(id string, v *wire.ConsumerGroupMemberMetadataValue) {
	old, _ := g.members.Get(id)
	if v == nil {
		if old != nil {
			if old.Instance != nil {
				if holder, _ := g.static.Get(*old.Instance); holder == id {
					g.static.Delete(*old.Instance)
				}
			}
			g.countReader(old.Regex, -1)
			g.countTopics(old.Topics, nil)
			g.members.Delete(id)
		}
		return
	}
	m := &Member{ID: id}
	if old != nil {
		*m = *old
	}
	m.Instance, m.Rack, m.ClientID, m.Host = v.InstanceID, v.RackID, v.ClientID, v.ClientHost
	m.Topics = slices.Clone(v.SubscribedTopicNames)
	slices.Sort(m.Topics)
	m.Topics = slices.Compact(m.Topics)
	if old != nil {
		g.countTopics(old.Topics, m.Topics)
	} else {
		g.countTopics(nil, m.Topics)
	}
	before := m.Regex
	m.Regex = ""
	if v.SubscribedTopicRegex != nil {
		m.Regex = *v.SubscribedTopicRegex
	}
	if m.Regex != before {
		g.countReader(before, -1)
		g.countReader(m.Regex, 1)
	}
	m.RebalanceTimeoutMs, m.Assignor = v.RebalanceTimeoutMs, v.ServerAssignor
	m.Classic = classicOf(v.ClassicMemberMetadata)
	if m.Instance != nil {
		g.static.Set(*m.Instance, id)
	}
	g.members.Set(id, m)
}

// countTopics notes that a member reads other topics by name than before; both lists are in order.
func (g *Group) countTopics(before, after []string) {
	count := func(name string, by int) {
		n, _ := g.subscribed.Get(name)
		if n += by; n > 0 {
			g.subscribed.Set(name, n)
		} else {
			g.subscribed.Delete(name)
		}
	}
	for _, name := range before {
		if _, still := slices.BinarySearch(after, name); !still {
			count(name, -1)
		}
	}
	for _, name := range after {
		if _, already := slices.BinarySearch(before, name); !already {
			count(name, 1)
		}
	}
}

func (g *Group) replayCurrent(id string, v *wire.ConsumerGroupCurrentMemberAssignmentValue) error {
	old, _ := g.members.Get(id)
	if old == nil {
		if v == nil {
			return nil // the member's own tombstone may have been compacted to before this one
		}
		old = &Member{ID: id} // who it is comes later: that record was written anew, and the one before compacted away
	}
	m := *old
	if v == nil {
		m.epoch, m.before, m.state, m.assigned, m.revoking = leaveEpoch, leaveEpoch, stable, nil, nil
		m.since, m.revokingSince = nil, nil
	} else {
		m.epoch, m.before, m.state = v.MemberEpoch, v.PreviousMemberEpoch, memberState(v.State)
		assigned, revoking := dates{}, dates{}
		for _, t := range v.AssignedPartitions {
			assigned.add(t.TopicID, t.Partitions, t.AssignmentEpochs, v.MemberEpoch)
		}
		for _, t := range v.PartitionsPendingRevocation {
			revoking.add(t.TopicID, t.Partitions, t.AssignmentEpochs, v.MemberEpoch)
		}
		m.assigned, m.since = assigned.list()
		m.revoking, m.revokingSince = revoking.list()
	}
	g.hold(old, &m)
	g.members.Set(id, &m)
	return nil
}

// dates are partitions with the epochs in which a member got them.
type dates map[partition]int32

// add adds partitions of a topic. A coordinator that knew nothing of epochs has not stored them: then they are of the
// member's.
func (d dates) add(topic kafka.TopicID, partitions, epochs []int32, otherwise int32) {
	for i, p := range partitions {
		epoch := otherwise
		if len(epochs) == len(partitions) {
			epoch = epochs[i]
		}
		d[partition{topic, p}] = epoch
	}
}

func (d dates) list() (assign.Partitions, []int32) {
	set := assign.Set{}
	for p := range d {
		set.Add(p.topic, p.index)
	}
	all := set.Partitions()
	since := make([]int32, 0, len(d))
	for _, t := range all {
		for _, p := range t.Partitions {
			since = append(since, d[partition{t.Topic, p}])
		}
	}
	return all, since
}

// hold notes who has which partitions, after a member's assignment has changed.
func (g *Group) hold(old, now *Member) {
	for _, set := range []assign.Partitions{old.assigned, old.revoking} {
		for _, t := range set {
			for _, p := range t.Partitions {
				if holder, _ := g.holder.Get(partition{t.Topic, p}); holder == old.ID && !now.owns(t.Topic, p) {
					g.holder.Delete(partition{t.Topic, p})
				}
			}
		}
	}
	for _, set := range []assign.Partitions{now.assigned, now.revoking} {
		for _, t := range set {
			for _, p := range t.Partitions {
				if holder, _ := g.holder.Get(partition{t.Topic, p}); holder != now.ID {
					g.holder.Set(partition{t.Topic, p}, now.ID)
				}
			}
		}
	}
}

// free reports whether nobody else has a partition.
func (g *Group) free(m *Member, topic kafka.TopicID, index int32) bool {
	holder, held := g.holder.Get(partition{topic, index})
	return !held || holder == m.ID
}

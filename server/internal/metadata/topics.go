package metadata

import (
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// What the fields of PartitionChangeRecord hold when they leave a thing as it is.
const (
	// LeaderUnchanged leaves leader and leader epoch alone. Any other leader, the same one too, begins a new epoch.
	LeaderUnchanged int32 = -2
	// RecoveryUnchanged leaves the leader's recovery state alone.
	RecoveryUnchanged int8 = -1
)

func (d *Delta) ownTopics() {
	if !d.own.topics {
		d.own.topics = true
		d.next.topics, d.next.topicsByID = d.next.topics.edit(), d.next.topicsByID.edit()
	}
}

// editTopic returns the delta's own copy of a topic, nil when there is no such topic.
func (d *Delta) editTopic(id kafka.TopicID) *Topic {
	if t := d.topics[id]; t != nil {
		return t
	}
	old := d.next.TopicByID(id)
	if old == nil {
		return nil
	}
	t := &Topic{Name: old.Name, ID: old.ID, Partitions: slices.Clone(old.Partitions), ahead: maps.Clone(old.ahead)}
	d.setTopic(t)
	return t
}

func (d *Delta) setTopic(t *Topic) {
	d.ownTopics()
	d.next.topics.b.ReplaceOrInsert(t)
	d.next.topicsByID.b.ReplaceOrInsert(t)
	mark(&d.topics, t.ID, t)
}

func (d *Delta) replayTopic(m *wire.TopicRecord) error {
	if old := d.next.Topic(m.Name); old != nil {
		return refuse(m, "topic %s exists with the id %s", m.Name, old.ID)
	}
	if old := d.next.TopicByID(m.TopicID); old != nil {
		return refuse(m, "the id %s is that of topic %s", m.TopicID, old.Name)
	}
	d.setTopic(&Topic{Name: m.Name, ID: m.TopicID})
	return nil
}

func (d *Delta) replayRemoveTopic(m *wire.RemoveTopicRecord) error {
	t := d.next.TopicByID(m.TopicID)
	if t == nil {
		return refuse(m, "there is no topic with the id %s", m.TopicID)
	}
	d.ownTopics()
	d.next.topics.b.Delete(t)
	d.next.topicsByID.b.Delete(t)
	d.next.partitions -= len(t.Partitions)
	mark(&d.topics, t.ID, nil)
	d.removeConfigs(ConfigResource{kafka.ResourceTopic, t.Name}) // a topic takes its configs along
	return nil
}

func (d *Delta) replayPartition(m *wire.PartitionRecord) error {
	switch n := len(m.Directories); {
	case m.PartitionID < 0:
		return refuse(m, "partition %d", m.PartitionID)
	case n > 0 && n != len(m.Replicas):
		return refuse(m, "partition %d has %d replicas in %d directories", m.PartitionID, len(m.Replicas), n)
	case m.LeaderRecoveryState < 0 || m.LeaderRecoveryState > 1:
		return refuse(m, "partition %d is in the recovery state %d; this version does not know what that means", m.PartitionID, m.LeaderRecoveryState)
	}
	t := d.editTopic(m.TopicID)
	if t == nil {
		return refuse(m, "there is no topic with the id %s", m.TopicID)
	}
	shared := d.next.shared
	p := &Partition{
		Replicas: shared.ids(m.Replicas), ISR: shared.ids(m.Isr), Directories: d.directories(m.Directories, len(m.Replicas)),
		Leader: m.Leader, LeaderEpoch: m.LeaderEpoch, PartitionEpoch: m.PartitionEpoch, RecoveryState: m.LeaderRecoveryState,
		Unsettled: d.unsettled(Unsettled{m.RemovingReplicas, m.AddingReplicas, m.EligibleLeaderReplicas, m.LastKnownElr}),
	}
	switch at, n := int(m.PartitionID), len(t.Partitions); {
	case at < n:
		t.Partitions[at] = p
	case at > n:
		mark(&t.ahead, m.PartitionID, p)
	default:
		t.Partitions = append(t.Partitions, p)
		d.next.partitions++
		for next := t.ahead[int32(len(t.Partitions))]; next != nil; next = t.ahead[int32(len(t.Partitions))] {
			delete(t.ahead, int32(len(t.Partitions)))
			t.Partitions = append(t.Partitions, next)
			d.next.partitions++
		}
	}
	return nil
}

func (d *Delta) replayPartitionChange(m *wire.PartitionChangeRecord) error {
	t := d.next.TopicByID(m.TopicID)
	if t == nil {
		return refuse(m, "there is no topic with the id %s", m.TopicID)
	}
	old, ahead := t.Partition(m.PartitionID), false
	if old == nil {
		if old, ahead = t.ahead[m.PartitionID], true; old == nil {
			return refuse(m, "topic %s has no partition %d", t.Name, m.PartitionID)
		}
	}
	p, shared := *old, d.next.shared
	p.PartitionEpoch++
	if m.Replicas != nil {
		p.Replicas = shared.ids(m.Replicas)
	}
	switch n := len(m.Directories); {
	case n > 0 && n != len(p.Replicas):
		return refuse(m, "%s-%d has %d replicas in %d directories", t.Name, m.PartitionID, len(p.Replicas), n)
	case n > 0:
		p.Directories = shared.dirs(m.Directories)
	case m.Replicas != nil:
		p.Directories = d.carryDirectories(old, p.Replicas)
	}
	if m.Isr != nil {
		p.ISR = shared.ids(m.Isr)
	}
	if m.Leader != LeaderUnchanged {
		p.Leader = m.Leader
		p.LeaderEpoch++
	}
	switch m.LeaderRecoveryState {
	case RecoveryUnchanged:
	case 0, 1:
		p.RecoveryState = m.LeaderRecoveryState
	default:
		return refuse(m, "%s-%d is in the recovery state %d; this version does not know what that means", t.Name, m.PartitionID, m.LeaderRecoveryState)
	}
	rest := *old.Unsettled
	for _, change := range []struct {
		field *[]int32
		value []int32
	}{
		{&rest.Removing, m.RemovingReplicas}, {&rest.Adding, m.AddingReplicas},
		{&rest.ELR, m.EligibleLeaderReplicas}, {&rest.LastKnownELR, m.LastKnownElr},
	} {
		if change.value != nil {
			*change.field = change.value
		}
	}
	p.Unsettled = d.unsettled(rest)
	if t = d.editTopic(m.TopicID); ahead {
		t.ahead[m.PartitionID] = &p
	} else {
		t.Partitions[m.PartitionID] = &p
	}
	return nil
}

// replayClearELR forgets the eligible leader replicas of one topic, or of all when it names none. To the partitions that
// had some it is a change like any other: their epochs grow.
func (d *Delta) replayClearELR(m *wire.ClearElrRecord) error {
	if m.TopicName != "" {
		t := d.next.Topic(m.TopicName)
		if t == nil {
			return refuse(m, "there is no topic %s", m.TopicName)
		}
		d.clearELR(t)
		return nil
	}
	var holders []*Topic // collected first: clearELR writes to the tree
	for t := range d.next.Topics() {
		if t.hasELR() {
			holders = append(holders, t)
		}
	}
	for _, t := range holders {
		d.clearELR(t)
	}
	return nil
}

func (p *Partition) hasELR() bool { return len(p.ELR)+len(p.LastKnownELR) > 0 }

func (t *Topic) hasELR() bool {
	if slices.ContainsFunc(t.Partitions, (*Partition).hasELR) {
		return true
	}
	for _, p := range t.ahead {
		if p.hasELR() {
			return true
		}
	}
	return false
}

func (d *Delta) clearELR(t *Topic) {
	if !t.hasELR() {
		return
	}
	t = d.editTopic(t.ID)
	without := func(old *Partition) *Partition {
		if !old.hasELR() {
			return old
		}
		p := *old
		p.PartitionEpoch++
		p.Unsettled = d.unsettled(Unsettled{Removing: old.Removing, Adding: old.Adding})
		return &p
	}
	for i, p := range t.Partitions {
		t.Partitions[i] = without(p)
	}
	for n, p := range t.ahead {
		t.ahead[n] = without(p)
	}
}

func (d *Delta) unsettled(u Unsettled) *Unsettled {
	if u.empty() {
		return settled
	}
	shared := d.next.shared
	return &Unsettled{shared.ids(u.Removing), shared.ids(u.Adding), shared.ids(u.ELR), shared.ids(u.LastKnownELR)}
}

// directories returns the directories of n replicas. Records from before KIP-858 name none: the replicas are somewhere.
func (d *Delta) directories(v []kafka.DirectoryID, n int) []kafka.DirectoryID {
	if len(v) == 0 {
		v = make([]kafka.DirectoryID, n) // all zeros: kafka.MigratingDirectory
	}
	return d.next.shared.dirs(v)
}

// carryDirectories keeps the directories of the replicas that stay, where a change of replicas names none.
func (d *Delta) carryDirectories(old *Partition, replicas []int32) []kafka.DirectoryID {
	v := make([]kafka.DirectoryID, len(replicas))
	for i, id := range replicas {
		directory, stays := old.Directory(id)
		if !stays {
			directory = kafka.UnassignedDirectory
		}
		v[i] = directory
	}
	return d.next.shared.dirs(v)
}

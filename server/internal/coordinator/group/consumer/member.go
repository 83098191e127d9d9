package consumer

import (
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
)

// The states of a member, as they are stored.
type memberState int8

const (
	stable     memberState = 0
	unrevoked  memberState = 1 // it must give partitions up first
	unreleased memberState = 2 // it waits for partitions that others have not given up
)

// leftForNow is the epoch of a static member that went and may come back (KIP-848). leave is how a member says that it
// goes for good.
const (
	leaveEpoch = int32(-1)
	leftForNow = int32(-2)
)

// Member is one member. It is immutable: replaying makes another.
type Member struct {
	ID                 string
	Instance, Rack     *string
	ClientID, Host     string
	Topics             []string // names, in order, none twice
	Regex              string   // empty for none
	RebalanceTimeoutMs int32
	Assignor           *string
	// Classic is set for a member that speaks the classic protocol (classic.go).
	Classic *Classic

	epoch, before int32
	state         memberState
	assigned      assign.Partitions
	// revoking is what the member must give up before it gets on.
	revoking assign.Partitions
	// since and revokingSince are the epochs in which the member got assigned and revoking (KIP-1251), in their order.
	// Invariant: one for each partition.
	since, revokingSince []int32
}

// sameSubscription reports whether two members read the same.
func (m *Member) sameSubscription(o *Member) bool {
	return slices.Equal(m.Topics, o.Topics) && m.Regex == o.Regex
}

// names reports whether a member reads a topic by its name.
func (m *Member) names(topic string) bool {
	_, found := slices.BinarySearch(m.Topics, topic)
	return found
}

func equalText(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// sameMetadata reports whether nothing has changed that is stored of a member beside its assignment.
func (m *Member) sameMetadata(o *Member) bool {
	return m.Classic.equal(o.Classic) && m.sameSubscription(o) && equalText(m.Instance, o.Instance) && equalText(m.Rack, o.Rack) && m.ClientID == o.ClientID &&
		m.Host == o.Host && m.RebalanceTimeoutMs == o.RebalanceTimeoutMs && equalText(m.Assignor, o.Assignor)
}

// settled reports whether nothing is left to do for a member in the epoch of a target.
func (m *Member) settled(targetEpoch int32) bool {
	return m.state == stable && m.epoch == targetEpoch
}

// dated lists the epochs of some partitions: those that are in had have theirs in since, all others the last one.
func dated(some, had assign.Partitions, since []int32, otherwise int32) []int32 {
	list := make([]int32, 0, some.Len())
	at, before := 0, 0 // had[at] begins behind so many partitions
	for _, t := range some {
		for at < len(had) && had[at].Topic.Compare(t.Topic) < 0 {
			before += len(had[at].Partitions)
			at++
		}
		for _, p := range t.Partitions {
			epoch := otherwise
			if at < len(had) && had[at].Topic == t.Topic {
				if i, found := slices.BinarySearch(had[at].Partitions, p); found {
					epoch = since[before+i]
				}
			}
			list = append(list, epoch)
		}
	}
	return list
}

// gotIn returns the epoch in which the member got a partition that it may still work on.
func (m *Member) gotIn(topic kafka.TopicID, index int32) (epoch int32, has bool) {
	one := assign.Partitions{{Topic: topic, Partitions: []int32{index}}}
	for _, epoch := range [...]int32{dated(one, m.assigned, m.since, never)[0], dated(one, m.revoking, m.revokingSince, never)[0]} {
		if epoch != never {
			return epoch, true
		}
	}
	return never, false
}

// never is the epoch of a partition that a member does not have.
const never = int32(-1)

// owns reports whether a member may still work on a partition.
func (m *Member) owns(topic kafka.TopicID, partition int32) bool {
	return m.assigned.Has(topic, partition) || m.revoking.Has(topic, partition)
}

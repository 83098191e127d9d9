package consumer

import (
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
)

// reconcile returns the member as it is after the next step towards its target. owned is what it says that it owns, nil
// when it does not say. One that readsOther topics than before gives up what it reads no more, before there is a target
// that says so.
func (g *Group) reconcile(m *Member, target assign.Partitions, targetEpoch int32, owned *assign.Partitions, readsOther bool) *Member {
	if m.state == stable && m.epoch == targetEpoch || m.state == unrevoked && m.keeps(m.revoking, owned) {
		if readsOther {
			return g.strip(m, owned)
		}
		return m
	}
	next := *m
	next.before = m.epoch
	target = g.readable(m, target) // it may be older than what the member reads
	next.assigned = m.assigned.Intersect(target)
	losing := m.assigned.Minus(next.assigned)
	wanted := target.Minus(next.assigned)
	free := wanted.Filter(func(t kafka.TopicID, p int32) bool { return g.free(m, t, p) })
	waits := free.Len() < wanted.Len()
	if losing.Len() > 0 && m.keeps(losing, owned) {
		next.state, next.revoking = unrevoked, losing
		next.since, next.revokingSince = dated(next.assigned, m.assigned, m.since, never), dated(losing, m.assigned, m.since, never)
		return &next
	}
	next.revoking, next.revokingSince = nil, nil
	next.assigned = next.assigned.Union(free)
	next.since = dated(next.assigned, m.assigned, m.since, targetEpoch)
	next.epoch = targetEpoch
	next.state = stable
	if waits {
		next.state = unreleased
	}
	return &next
}

// strip takes from a member, before there is a new target, the topics that it does not read any more.
func (g *Group) strip(m *Member, owned *assign.Partitions) *Member {
	read := g.readable(m, m.assigned)
	if read.Len() == m.assigned.Len() {
		return m
	}
	next := *m
	next.before = m.epoch
	next.assigned, next.since = read, dated(read, m.assigned, m.since, never)
	if losing := m.revoking.Union(m.assigned.Minus(read)); m.keeps(losing, owned) {
		next.state, next.revoking = unrevoked, losing
		next.revokingSince = dated(losing, m.assigned, m.since, never)
		for i, epoch := range dated(losing, m.revoking, m.revokingSince, never) {
			next.revokingSince[i] = max(next.revokingSince[i], epoch)
		}
	}
	return &next
}

// readable is the part of some partitions whose topics exist and are read by a member.
func (g *Group) readable(m *Member, some assign.Partitions) assign.Partitions {
	var list assign.Partitions
	for _, t := range some {
		if topic := g.env.Image().TopicByID(t.Topic); topic != nil && g.reads(m, topic.Name) {
			list = append(list, t)
		}
	}
	return list
}

// keeps reports whether a member may still own some of the partitions: it does until it says otherwise.
func (m *Member) keeps(some assign.Partitions, owned *assign.Partitions) bool {
	return owned == nil || owned.Intersect(some).Len() > 0
}

// equalState reports whether two versions of a member are the same in what is stored of the assignment.
func (m *Member) equalState(o *Member) bool {
	return m.epoch == o.epoch && m.before == o.before && m.state == o.state && m.assigned.Equal(o.assigned) && m.revoking.Equal(o.revoking) &&
		slices.Equal(m.since, o.since) && slices.Equal(m.revokingSince, o.revokingSince)
}

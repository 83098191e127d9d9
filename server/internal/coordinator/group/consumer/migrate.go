package consumer

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Upgrade makes a group of the members of a classic one, and returns the records that say so. The generation is its epoch
// and theirs, and what they have is their target. An error means that there is something in what the members say that the
// group could not keep.
//
// A cooperative member may not have been told yet that it has lost something, or be about to give it up. What it said
// that it owned when it joined last, and nobody was given since, it must give up first. Kafka takes that as free, and two
// members can then work on it for a while.
//
// What they have may have gaps: the group is rebalancing, since one that had something is gone, or one that has nothing is
// there; or its leader has not seen new partitions yet. A new member brings about another assignment anyway. One that takes
// the place of a static member and reads the same does so for the gaps alone; Kafka leaves them.
func Upgrade(env *Env, id string, generation int32, members []embedded.Member, rebalancing bool) (*Group, []coordinator.Record, error) {
	g := New(env, id)
	var converted []*Member
	claims, taken := map[*Member]assign.Partitions{}, map[partition]bool{}
	for _, e := range members {
		m, owned, err := g.convert(e, generation)
		if err != nil {
			return nil, nil, err
		}
		converted = append(converted, m)
		claims[m] = owned
		for _, t := range m.assigned {
			for _, p := range t.Partitions {
				if taken[partition{t.Topic, p}] {
					return nil, nil, ErrCustom
				}
				taken[partition{t.Topic, p}] = true
			}
		}
	}
	slices.SortFunc(converted, func(a, b *Member) int { return strings.Compare(a.ID, b.ID) })
	topics := g.topicsOf(converted)
	gaps := rebalancing || !covered(topics, taken)
	for _, m := range converted {
		m.claim(claims[m], taken, generation)
	}
	var records []coordinator.Record
	for _, m := range converted {
		records = append(records, g.memberRecord(m))
	}
	records = append(records, g.epochRecord(generation, hashOf(env.Image(), topics)))
	for _, m := range converted {
		records = append(records, g.targetRecord(m.ID, m.assigned))
	}
	records = append(records, g.targetEpochRecord(generation, 0))
	for _, m := range converted {
		records = append(records, g.currentRecord(m))
	}
	for _, r := range records {
		if err := g.Replay(r); err != nil {
			return nil, nil, err
		}
	}
	g.gaps = gaps
	return g, records, nil
}

// covered reports whether every partition of some topics is taken.
func covered(topics []*metadata.Topic, taken map[partition]bool) bool {
	for _, t := range topics {
		for p := range t.Partitions {
			if !taken[partition{t.ID, int32(p)}] {
				return false
			}
		}
	}
	return true
}

// Adopted begins the sessions of the members of a group that was upgraded.
func (g *Group) Adopted(now time.Time) {
	for _, m := range g.sortedMembers() {
		if m.Classic != nil {
			g.heard(m, now)
			// They may be left from when the group was of this kind before.
			g.env.Timers.Cancel(g.timer(timerJoin, m.ID))
			g.env.Timers.Cancel(g.timer(timerSync, m.ID))
		}
	}
}

// Resume sets the timers that the group must have and has not: it was to be another, whose records could not be stored.
func (g *Group) Resume(now time.Time) {
	timing := g.env.Timing(g.id)
	for _, m := range g.sortedMembers() {
		if _, set := g.env.Timers.At(g.timer(timerSession, m.ID)); !set {
			g.watch(m, timing, false, now)
		}
	}
	if g.epoch > g.targetEpoch {
		g.planAssignment(now)
	}
}

// ErrCustom says that the members have been assigned by an assignor of their own in a way that a consumer group does not
// know: there is user data in the assignments, which would be lost, or two members have the same partition.
var ErrCustom = errors.New("the assignment is one of a custom assignor")

// convert reads a classic member, and what it said that it owned.
func (g *Group) convert(e embedded.Member, generation int32) (m *Member, owned assign.Partitions, err error) {
	given, err := embedded.ReadAssignment(e.Assignment)
	if err != nil {
		return nil, nil, err
	}
	if len(given.UserData) > 0 {
		return nil, nil, ErrCustom
	}
	said, err := embedded.ReadSubscription(e.Subscription)
	if err != nil {
		return nil, nil, err
	}
	m = &Member{
		ID: e.ID, Instance: e.Instance, Rack: said.RackID, ClientID: e.ClientID, Host: e.Host,
		RebalanceTimeoutMs: int32(e.RebalanceTimeout.Milliseconds()), epoch: generation, before: generation, state: stable,
		Classic: &Classic{SessionTimeout: e.SessionTimeout, Protocols: e.Protocols},
	}
	m.Topics = slices.Clone(said.Topics)
	slices.Sort(m.Topics)
	m.Topics = slices.Compact(m.Topics)
	set := assign.Set{}
	for _, t := range given.AssignedPartitions {
		if topic := g.env.Image().Topic(t.Topic); topic != nil {
			for _, p := range t.Partitions {
				set.Add(topic.ID, p)
			}
		}
	}
	m.assigned = set.Partitions()
	m.since = dated(m.assigned, nil, nil, generation)
	return m, g.partitionsOf(said), nil
}

// claim makes a member give up what it owns beside its assignment and nobody else has.
func (m *Member) claim(owned assign.Partitions, taken map[partition]bool, generation int32) {
	m.revoking = owned.Filter(func(t kafka.TopicID, p int32) bool {
		free := !taken[partition{t, p}]
		taken[partition{t, p}] = true
		return free
	})
	if m.revoking.Len() > 0 {
		m.state, m.revokingSince = unrevoked, dated(m.revoking, nil, nil, generation)
	}
}

// classicWithout reports whether there are members without those, and all of them speak the classic protocol.
func (g *Group) classicWithout(gone []*Member) bool {
	for _, m := range g.members.All() {
		if m.Classic == nil && !slices.Contains(gone, m) {
			return false
		}
	}
	return g.members.Len() > len(gone)
}

// embed gives members as those of a classic group. Their assignment is the target or, when they are called to join anew,
// what they have now: they work on that until they come, whatever the group becomes meanwhile. Kafka gives the target.
func (g *Group) embed(members []*Member, rebalance bool) []embedded.Member {
	list := make([]embedded.Member, len(members))
	for i, m := range members {
		has, _ := g.target.Get(m.ID)
		if rebalance {
			has = m.assigned.Union(m.revoking)
		}
		list[i] = g.embedOne(m, has)
	}
	return list
}

func (g *Group) embedOne(m *Member, has assign.Partitions) embedded.Member {
	return embedded.Member{
		ID: m.ID, Instance: m.Instance, ClientID: m.ClientID, Host: m.Host, SessionTimeout: m.Classic.SessionTimeout,
		RebalanceTimeout: m.rebalanceTimeout(), Protocols: m.Classic.Protocols, Topics: g.embedTopics(has),
	}
}

// embedTopics gives partitions the names of their topics; topics that are gone are left out.
func (g *Group) embedTopics(p assign.Partitions) []wire.ConsumerProtocolAssignmentAssignedPartitions {
	var list []wire.ConsumerProtocolAssignmentAssignedPartitions
	for _, t := range p {
		if topic := g.env.Image().TopicByID(t.Topic); topic != nil {
			list = append(list, wire.ConsumerProtocolAssignmentAssignedPartitions{Topic: topic.Name, Partitions: t.Partitions})
		}
	}
	return list
}

// joinBack lets the group go back to the classic protocol with a member of that which takes the place of the last one of
// the consumer protocol; false when it may not. All go on as they are if that is as their target has it; else they are
// called to join anew. Kafka calls them only when what they read has no target yet: then one goes on with what another is
// told to work on.
func (g *Group) joinBack(c *change, owned assign.Partitions) (res coordinator.Result, next *Member, ok bool) {
	if !g.classicWithout([]*Member{c.old}) && g.members.Len() > 1 {
		return coordinator.Result{}, nil, false
	}
	others := slices.DeleteFunc(g.sortedMembers(), func(m *Member) bool { return m == c.old })
	rebalance := c.epoch > g.targetEpoch || slices.ContainsFunc(others, func(m *Member) bool { return !m.settled(g.targetEpoch) })
	target, _ := g.target.Get(c.old.ID)
	next = c.m
	if c.epoch == g.targetEpoch {
		next = g.reconcile(c.m, target, g.targetEpoch, &owned, c.readsOther())
		rebalance = rebalance || next.state != stable
	}
	if rebalance {
		target = owned
	}
	// What was decided for the group as it is comes to nothing: its members go, and all that belongs to them with them.
	cause := history.Event{Kind: history.Returned, Member: c.m.noted()}
	res, ok = g.env.Downgrade(g.id, c.epoch, append(g.embed(others, rebalance), g.embedOne(c.m, target)), g.Tombstones(), rebalance, cause, c.now)
	return res, next, ok
}

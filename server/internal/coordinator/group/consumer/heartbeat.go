package consumer

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Heartbeat is one ConsumerGroupHeartbeat request.
type Heartbeat struct {
	*wire.ConsumerGroupHeartbeatRequest
	ClientID, Host string
}

// Check reports whether a request makes sense by itself. From version 1 on members bring their own ids.
func (c *Config) Check(r *wire.ConsumerGroupHeartbeatRequest, version int16) error {
	invalid := func(what string) error { return kafka.InvalidRequest.Errorf("%s", what) }
	empty := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	switch {
	case strings.TrimSpace(r.MemberID) == "" && (version >= 1 || r.MemberEpoch > 0 || r.MemberEpoch == leaveEpoch):
		return invalid("MemberId can't be empty.")
	case strings.TrimSpace(r.GroupID) == "":
		return invalid("GroupId can't be empty.")
	case empty(r.InstanceID):
		return invalid("InstanceId can't be empty.")
	case empty(r.RackID):
		return invalid("RackId can't be empty.")
	}
	switch {
	case r.MemberEpoch > 0 || r.MemberEpoch == leaveEpoch:
	case r.MemberEpoch == 0:
		switch {
		case r.RebalanceTimeoutMs == -1:
			return invalid("RebalanceTimeoutMs must be provided in first request.")
		case r.TopicPartitions == nil || len(r.TopicPartitions) > 0:
			return invalid("TopicPartitions must be empty when (re-)joining.")
		case r.SubscribedTopicNames == nil && r.SubscribedTopicRegex == nil:
			return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
		}
	case r.MemberEpoch == leftForNow:
		if r.InstanceID == nil {
			return invalid("InstanceId can't be null.")
		}
	default:
		return invalid("MemberEpoch is invalid.")
	}
	if r.ServerAssignor != nil && !slices.ContainsFunc(c.Assignors, func(a assign.Assignor) bool { return a.Name() == *r.ServerAssignor }) {
		var names []string
		for _, a := range c.Assignors {
			names = append(names, a.Name())
		}
		return kafka.UnsupportedAssignor.Errorf("ServerAssignor %s is not supported. Supported assignors: %s.", *r.ServerAssignor, strings.Join(names, ", "))
	}
	return nil
}

// Step is what follows from a heartbeat.
type Step struct {
	coordinator.Result
	// Response is told when the records are committed.
	Response *wire.ConsumerGroupHeartbeatResponse
	// Resolve are regular expressions to be resolved after that; the group is told by Resolved, and Env by EndResolve.
	Resolve []string
}

// Heartbeat takes a member one step on.
func (g *Group) Heartbeat(h *Heartbeat, now time.Time) (*Step, error) {
	if h.MemberEpoch < 0 {
		return g.leave(h, now)
	}
	old, takenOver, err := g.admit(h)
	if err != nil {
		return nil, err
	}
	m := h.update(old)
	if takenOver != nil {
		g.note(history.Returned, m, 0, now)
	}
	c, err := g.change(old, takenOver, m, now)
	if err != nil {
		return nil, err
	}
	var owned *assign.Partitions
	if h.TopicPartitions != nil {
		set := assign.Set{}
		for _, t := range h.TopicPartitions {
			for _, p := range t.Partitions {
				set.Add(t.TopicID, p)
			}
		}
		p := set.Partitions()
		owned = &p
	}
	next := c.step(owned)
	timing := g.env.Timing(g.id)
	g.watch(next, timing, c.moved, now)

	response := wire.NewConsumerGroupHeartbeatResponse()
	response.MemberID, response.MemberEpoch, response.HeartbeatIntervalMs = &next.ID, next.epoch, int32(c.pace(timing).Milliseconds())
	full := h.RebalanceTimeoutMs != -1 && (h.SubscribedTopicNames != nil || h.SubscribedTopicRegex != nil) && h.TopicPartitions != nil
	if h.MemberEpoch == 0 || full || old == nil || !next.assigned.Equal(old.assigned) {
		response.Assignment = &wire.ConsumerGroupHeartbeatResponseAssignment{}
		for _, t := range next.assigned {
			response.Assignment.TopicPartitions = append(response.Assignment.TopicPartitions, wire.ConsumerGroupHeartbeatResponseTopicPartitions{TopicID: t.Topic, Partitions: t.Partitions})
		}
	}
	return &Step{coordinator.Result{Records: c.records}, response, c.resolve}, nil
}

// change is what follows when a member has said who it is and what it reads, whatever protocol it speaks.
type change struct {
	g *Group
	// old is the member as it was, nil for a new one; takenOver is set when it comes back, perhaps by another id.
	old, takenOver, m *Member
	// from is what the member goes on from: old, but one that comes back begins anew with what that one had.
	from    *Member
	now     time.Time
	records []coordinator.Record
	resolve []string
	epoch   int32 // of the group
	// targetEpoch is that of the newest target, which was made at targetAt, once step has been taken.
	targetEpoch int32
	targetAt    time.Time
	// moved: the member has taken a step.
	moved bool
}

// readsOther reports whether the member says that it reads something else than before.
func (c *change) readsOther() bool { return c.from == nil || !c.m.sameSubscription(c.from) }

// change takes in what a member says, and lets the group go to another epoch if that matters to the others.
func (g *Group) change(old, takenOver, m *Member, now time.Time) (*change, error) {
	c := &change{g: g, old: old, takenOver: takenOver, m: m, from: old, now: now}
	if takenOver != nil {
		again := *takenOver
		again.ID, again.epoch, again.before = m.ID, m.epoch, m.before
		c.from = &again
		target, _ := g.target.Get(takenOver.ID)
		c.records = append(g.memberTombstones(takenOver.ID), g.memberRecord(&again), g.targetRecord(m.ID, target), g.currentRecord(&again))
	}
	if c.from == nil || !m.sameMetadata(c.from) {
		c.records = append(c.records, g.memberRecord(m))
	}
	forgotten, resolve, err := g.reregex(old, m, now)
	if err != nil {
		return nil, err
	}
	c.records, c.resolve = append(c.records, forgotten...), resolve
	c.epoch = g.epoch
	hash, changed := g.hash, g.readsOther(old, m) || g.asksOther(old, takenOver, m)
	if changed || !g.knowsHash() {
		hash = g.hashWith(old, m)
	}
	if changed || g.gaps || hash != g.hash {
		c.epoch++
		g.noteBegan(g.noteHeard(m, old, changed, now), c.epoch, now)
		c.records = append(c.records, g.epochRecord(c.epoch, hash))
	} else if old == nil {
		g.note(history.Joined, m, 0, now) // what it reads brings a rebalance when it is resolved
	}
	return c, nil
}

// step takes the member on towards its target, which is made anew when it is time. owned is what the member says that it
// owns, nil when it does not say.
func (c *change) step(owned *assign.Partitions) *Member {
	g := c.g
	target, _ := g.target.Get(c.m.ID)
	if c.takenOver != nil {
		target, _ = g.target.Get(c.takenOver.ID)
	}
	c.targetEpoch, c.targetAt = g.targetEpoch, time.UnixMilli(g.targetMs)
	if c.epoch > c.targetEpoch && !g.planAssignment(c.now) {
		made, all := g.retarget(g.with(c.m, c.takenOver), g.topics(c.old, c.m, g.matches), c.epoch, c.now)
		c.records, target = append(c.records, made...), all[c.m.ID]
		c.targetEpoch, c.targetAt = c.epoch, c.now
	}
	next := g.reconcile(c.m, target, c.targetEpoch, owned, c.readsOther())
	if c.moved = c.from == nil || !next.equalState(c.from); c.moved {
		c.records = append(c.records, g.currentRecord(next))
		g.noteReconciled(next, c.takenOver, c.epoch, c.targetEpoch, c.now)
	}
	return next
}

// readsOther reports whether what a member reads changes so that the group must be assigned anew. What a regular
// expression brings that was not resolved yet is seen when it is. Where the member reads counts for the next assignment,
// but brings none about, as in Kafka.
func (g *Group) readsOther(old, m *Member) bool {
	if old == nil {
		old = &Member{}
	}
	if !slices.Equal(old.Topics, m.Topics) {
		return true
	}
	_, known := g.regexes.Get(m.Regex)
	return old.Regex != m.Regex && (m.Regex == "" || known)
}

// asksOther reports whether the group is to be assigned by another assignor, now that a member asks for one.
func (g *Group) asksOther(old, takenOver, m *Member) bool {
	if old == nil {
		old = &Member{}
	}
	return !equalText(old.Assignor, m.Assignor) && g.assignor(g.sortedMembers()) != g.assignor(g.with(m, takenOver))
}

// admit finds the member of a request, nil for a new one. A static member that comes back, under another id or its own,
// takes over from the one that went.
func (g *Group) admit(h *Heartbeat) (m, takenOver *Member, err error) {
	if err := g.checkRoom(h.MemberID, h.InstanceID); err != nil {
		return nil, nil, err
	}
	m, _ = g.members.Get(h.MemberID)
	if h.InstanceID != nil {
		id, known := g.static.Get(*h.InstanceID)
		switch {
		case !known && h.MemberEpoch != 0:
			return nil, nil, kafka.UnknownMemberID.Errorf("the group %q has no member of the instance id %q", g.id, *h.InstanceID)
		case known && id != h.MemberID && h.MemberEpoch != 0:
			return nil, nil, kafka.FencedInstanceID.Errorf("the instance id %q of the group %q belongs to another member now", *h.InstanceID, g.id)
		case known && h.MemberEpoch == 0:
			before, _ := g.members.Get(id)
			if before.epoch != leftForNow && before.Classic == nil {
				return nil, nil, kafka.UnreleasedInstanceID.Errorf("the instance id %q of the group %q belongs to the member %q, which has not left", *h.InstanceID, g.id, id)
			}
			return before, before, nil
		}
	}
	switch {
	case m == nil && h.MemberEpoch != 0:
		return nil, nil, kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, h.MemberID)
	case m == nil || h.MemberEpoch == 0 || h.MemberEpoch == m.epoch:
		return m, nil, nil
	case h.MemberEpoch < m.epoch && h.MemberEpoch == m.before && h.subsetOf(m):
		return m, nil, nil // it has missed the answer that brought it here; one that has left was not brought anywhere
	}
	return nil, nil, kafka.FencedMemberEpoch.Errorf("the member %q of the group %q is in epoch %d, not %d; it must abandon its partitions and join again", m.ID, g.id, m.epoch, h.MemberEpoch)
}

// checkRoom reports whether a member may be in the group: it may if it is there already, or if it comes back.
func (g *Group) checkRoom(id string, instance *string) error {
	if _, there := g.members.Get(id); there || g.members.Len() < g.env.Config.MaxSize {
		return nil
	}
	if instance != nil {
		if _, known := g.static.Get(*instance); known {
			return nil
		}
	}
	return kafka.GroupMaxSizeReached.Errorf("the group %q has its %d members (group.consumer.max.size)", g.id, g.env.Config.MaxSize)
}

// subsetOf reports whether a request owns nothing but what the member has.
func (h *Heartbeat) subsetOf(m *Member) bool {
	if h.TopicPartitions == nil {
		return false
	}
	for _, t := range h.TopicPartitions {
		for _, p := range t.Partitions {
			if !m.assigned.Has(t.TopicID, p) {
				return false
			}
		}
	}
	return true
}

// update returns the member as the request has it; what it does not say stays.
func (h *Heartbeat) update(old *Member) *Member {
	m := &Member{RebalanceTimeoutMs: -1, before: 0}
	if old != nil {
		*m = *old
	}
	m.ID, m.ClientID, m.Host, m.Classic = h.MemberID, h.ClientID, h.Host, nil
	if old != nil && (old.ID != m.ID || old.epoch == leftForNow) {
		m.epoch, m.before = 0, 0 // it begins anew with what it had
	}
	if h.InstanceID != nil {
		m.Instance = h.InstanceID
	}
	if h.RackID != nil {
		m.Rack = h.RackID
	}
	if h.RebalanceTimeoutMs != -1 {
		m.RebalanceTimeoutMs = h.RebalanceTimeoutMs
	}
	if h.ServerAssignor != nil {
		m.Assignor = h.ServerAssignor
	}
	if h.SubscribedTopicNames != nil {
		m.Topics = slices.Clone(h.SubscribedTopicNames)
		slices.Sort(m.Topics)
		m.Topics = slices.Compact(m.Topics)
	}
	if h.SubscribedTopicRegex != nil {
		m.Regex = *h.SubscribedTopicRegex
	}
	return m
}

// with lists the members as they will be, by id.
func (g *Group) with(m, without *Member) []*Member {
	list := g.sortedMembers()
	list = slices.DeleteFunc(list, func(o *Member) bool { return o.ID == m.ID || without != nil && o.ID == without.ID })
	at, _ := slices.BinarySearchFunc(list, m.ID, func(o *Member, id string) int { return strings.Compare(o.ID, id) })
	return slices.Insert(list, at, m)
}

// leave lets a member go, for good or, a static one, for now: then it keeps its partitions until its session ends.
func (g *Group) leave(h *Heartbeat, now time.Time) (*Step, error) {
	id := h.MemberID
	if h.InstanceID != nil {
		holder, known := g.static.Get(*h.InstanceID)
		switch {
		case !known:
			return nil, kafka.UnknownMemberID.Errorf("the group %q has no member of the instance id %q", g.id, *h.InstanceID)
		case holder != id:
			return nil, kafka.FencedInstanceID.Errorf("the instance id %q of the group %q belongs to another member now", *h.InstanceID, g.id)
		}
	}
	m, ok := g.members.Get(id)
	if !ok {
		return nil, kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, id)
	}
	response := wire.NewConsumerGroupHeartbeatResponse()
	response.MemberID, response.MemberEpoch = &m.ID, h.MemberEpoch
	if h.MemberEpoch == leftForNow {
		g.note(history.LeftForNow, m, 0, now)
		gone := *m
		gone.epoch, gone.revoking = leftForNow, nil
		// Who comes back under another id may commit for them in any epoch, the one that went may not any more.
		gone.since, gone.revokingSince = make([]int32, m.assigned.Len()), nil
		return &Step{Result: coordinator.Result{Records: []coordinator.Record{g.currentRecord(&gone)}}, Response: response}, nil
	}
	return &Step{Result: g.dismiss([]*Member{m}, g.note(history.Left, m, 0, now), now), Response: response}, nil
}

// dismiss takes members out, for a cause. When all that stay speak the classic protocol, the group goes back to it. The
// timers stay: if the records cannot be stored the members are still there, and else they come to nothing.
func (g *Group) dismiss(members []*Member, cause history.Event, now time.Time) coordinator.Result {
	if g.classicWithout(members) {
		stay := slices.DeleteFunc(g.sortedMembers(), func(o *Member) bool { return slices.Contains(members, o) })
		if res, ok := g.env.Downgrade(g.id, g.epoch, g.embed(stay, true), g.Tombstones(), true, cause, now); ok {
			return res
		}
	}
	var records []coordinator.Record
	leaving := map[string]int{}
	for _, m := range members {
		records = append(records, g.memberTombstones(m.ID)...)
		leaving[m.Regex]++
	}
	for _, regex := range slices.Sorted(maps.Keys(leaving)) {
		records = append(records, g.forgetRegex(regex, leaving[regex])...)
	}
	epoch := g.epoch + 1
	records = append(records, g.epochRecord(epoch, g.hashWithout(members)))
	if g.members.Len() > len(members) {
		g.planAssignment(now)
		g.noteBegan(cause, epoch, now)
		return coordinator.Result{Records: records}
	}
	g.began = time.Time{}
	g.env.Note(g.id, history.Event{Kind: history.Emptied, At: now, Epoch: epoch})
	// There is nothing to assign, so that whoever comes next need not wait for another assignment.
	return coordinator.Result{Records: append(records, g.targetEpochRecord(epoch, 0))}
}

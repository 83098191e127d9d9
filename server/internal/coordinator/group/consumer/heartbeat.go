package consumer

import (
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

// Check reports whether a request makes sense by itself.
func (c *Config) Check(r *wire.ConsumerGroupHeartbeatRequest) error {
	invalid := func(what string) error { return kafka.InvalidRequest.Errorf("%s", what) }
	empty := func(s *string) bool { return s != nil && strings.TrimSpace(*s) == "" }
	switch {
	case strings.TrimSpace(r.GroupID) == "":
		return invalid("GroupId can't be empty.")
	case empty(r.InstanceID):
		return invalid("InstanceId can't be empty.")
	case empty(r.RackID):
		return invalid("RackId can't be empty.")
	case strings.TrimSpace(r.MemberID) == "" && r.MemberEpoch != 0:
		return invalid("MemberId can't be empty.")
	}
	switch {
	case r.MemberEpoch > 0 || r.MemberEpoch == leaveEpoch:
	case r.MemberEpoch == 0:
		switch {
		case r.RebalanceTimeoutMs == -1:
			return invalid("RebalanceTimeoutMs must be provided in first request.")
		case r.TopicPartitions == nil || len(r.TopicPartitions) > 0:
			return invalid("TopicPartitions must be empty when (re-)joining.")
		case len(r.SubscribedTopicNames) == 0 && r.SubscribedTopicRegex == nil:
			return invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-empty when (re-)joining.")
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
	Records []coordinator.Record
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
	var records []coordinator.Record
	if takenOver != nil {
		records = append(records, g.memberTombstones(takenOver.ID)...)
	}
	m := h.update(old)
	if h.MemberEpoch == 0 && old != nil && old.epoch == leftForNow {
		g.note(history.Returned, m, 0, now)
	}
	if old == nil || takenOver != nil || !m.sameMetadata(old) {
		records = append(records, g.memberRecord(m))
	}
	forgotten, resolve, err := g.reregex(old, m, now)
	if err != nil {
		return nil, err
	}
	records = append(records, forgotten...)
	epoch, hash := g.epoch, g.hash
	changed := g.epoch == 0 || g.readsOther(old, m)
	if changed || !g.knowsHash() {
		hash = g.hashWith(old, m)
	}
	if changed || hash != g.hash {
		epoch++
		g.noteBegan(g.noteHeard(m, old, changed, now), epoch, now)
		records = append(records, g.epochRecord(epoch, hash))
	} else if old == nil {
		g.note(history.Joined, m, 0, now) // what it reads brings a rebalance when it is resolved
	}

	target, _ := g.target.Get(m.ID)
	if takenOver != nil {
		target, _ = g.target.Get(takenOver.ID)
		records = append(records, g.targetRecord(m.ID, target))
	}
	targetEpoch := g.targetEpoch
	timing := g.env.Timing(g.id)
	if epoch > targetEpoch && !g.planAssignment(now) {
		made, all := g.retarget(g.with(m, takenOver), g.topics(old, m, g.matches), epoch, now)
		records, target, targetEpoch = append(records, made...), all[m.ID], epoch
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
	next := g.reconcile(m, target, targetEpoch, owned)
	if old == nil || takenOver != nil || !next.equalState(old) {
		records = append(records, g.currentRecord(next))
		g.noteReconciled(next, takenOver, epoch, targetEpoch, now)
	}
	g.watch(next, timing, now)

	response := wire.NewConsumerGroupHeartbeatResponse()
	response.MemberID, response.MemberEpoch, response.HeartbeatIntervalMs = &next.ID, next.epoch, int32(timing.HeartbeatInterval.Milliseconds())
	full := h.RebalanceTimeoutMs != -1 && (h.SubscribedTopicNames != nil || h.SubscribedTopicRegex != nil) && h.TopicPartitions != nil
	if h.MemberEpoch == 0 || full || old == nil || !next.assigned.Equal(old.assigned) {
		response.Assignment = &wire.ConsumerGroupHeartbeatResponseAssignment{}
		for _, t := range next.assigned {
			response.Assignment.TopicPartitions = append(response.Assignment.TopicPartitions, wire.ConsumerGroupHeartbeatResponseTopicPartitions{TopicID: t.Topic, Partitions: t.Partitions})
		}
	}
	return &Step{records, response, resolve}, nil
}

// readsOther reports whether what a member reads, or where, changes so that the group must be assigned anew. What a
// regular expression brings that was not resolved yet is seen when it is.
func (g *Group) readsOther(old, m *Member) bool {
	if old == nil {
		old = &Member{Rack: m.Rack}
	}
	if !slices.Equal(old.Topics, m.Topics) || !equalText(old.Rack, m.Rack) {
		return true
	}
	_, known := g.regexes.Get(m.Regex)
	return old.Regex != m.Regex && (m.Regex == "" || known)
}

// admit finds the member of a request, nil for a new one. A static member that comes back under another id takes over
// from the one that went.
func (g *Group) admit(h *Heartbeat) (m, takenOver *Member, err error) {
	m, _ = g.members.Get(h.MemberID)
	if h.InstanceID != nil {
		id, known := g.static.Get(*h.InstanceID)
		switch {
		case !known && h.MemberEpoch != 0:
			return nil, nil, kafka.UnknownMemberID.Errorf("the group %q has no member of the instance id %q", g.id, *h.InstanceID)
		case known && id != h.MemberID && h.MemberEpoch != 0:
			return nil, nil, kafka.FencedInstanceID.Errorf("the instance id %q of the group %q belongs to another member now", *h.InstanceID, g.id)
		case known && id != h.MemberID:
			before, _ := g.members.Get(id)
			if before.epoch != leftForNow {
				return nil, nil, kafka.UnreleasedInstanceID.Errorf("the instance id %q of the group %q belongs to the member %q, which has not left", *h.InstanceID, g.id, id)
			}
			return before, before, nil
		}
	}
	switch {
	case m == nil && h.MemberEpoch != 0:
		return nil, nil, kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, h.MemberID)
	case m == nil && g.members.Len() >= g.env.Config.MaxSize:
		return nil, nil, kafka.GroupMaxSizeReached.Errorf("the group %q has its %d members (group.consumer.max.size)", g.id, g.env.Config.MaxSize)
	case m == nil || h.MemberEpoch == 0 || h.MemberEpoch == m.epoch:
		return m, nil, nil
	case h.MemberEpoch == m.before && h.subsetOf(m):
		return m, nil, nil // it has missed the answer that brought it here
	}
	return nil, nil, kafka.FencedMemberEpoch.Errorf("the member %q of the group %q is in epoch %d, not %d; it must abandon its partitions and join again", m.ID, g.id, m.epoch, h.MemberEpoch)
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
	m.ID, m.ClientID, m.Host = h.MemberID, h.ClientID, h.Host
	if h.MemberEpoch == 0 && old != nil && old.epoch == leftForNow {
		m.epoch, m.before = old.before, old.before // where it was before it went
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
		gone.before, gone.epoch, gone.revoking, gone.state = m.epoch, leftForNow, nil, stable
		// Who comes back under another id may commit for them in any epoch, the one that went may not any more.
		gone.since, gone.revokingSince = make([]int32, m.assigned.Len()), nil
		return &Step{Records: []coordinator.Record{g.currentRecord(&gone)}, Response: response}, nil
	}
	return &Step{Records: g.dismiss(m, g.note(history.Left, m, 0, now), now), Response: response}, nil
}

// dismiss is the records that take a member out, for a cause. Its timers stay: if the records cannot be stored it is still
// there, and else they come to nothing.
func (g *Group) dismiss(m *Member, cause history.Event, now time.Time) []coordinator.Record {
	g.planAssignment(now)
	if g.members.Len() > 1 {
		g.noteBegan(cause, g.epoch+1, now)
	} else {
		g.began = time.Time{}
		g.env.Note(g.id, history.Event{Kind: history.Emptied, At: now, Epoch: g.epoch + 1})
	}
	records := append(g.forgetRegex(m.Regex, 1), g.memberTombstones(m.ID)...)
	return append(records, g.epochRecord(g.epoch+1, g.hashWith(m, nil)))
}

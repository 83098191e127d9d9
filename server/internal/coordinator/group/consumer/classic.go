package consumer

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Classic is what a member of the classic protocol is beside what all members are. To it its epoch is the generation,
// and it is called to join anew whenever it can go a step on; nobody leads.
type Classic struct {
	SessionTimeout time.Duration
	Protocols      []embedded.Protocol
}

func (c *Classic) equal(o *Classic) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.SessionTimeout == o.SessionTimeout && slices.EqualFunc(c.Protocols, o.Protocols, func(a, b embedded.Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// value is what is stored, nil for a member of the consumer protocol.
func (c *Classic) value() *wire.ConsumerGroupMemberMetadataValueClassicMemberMetadata {
	if c == nil {
		return nil
	}
	v := &wire.ConsumerGroupMemberMetadataValueClassicMemberMetadata{SessionTimeoutMs: int32(c.SessionTimeout.Milliseconds())}
	for _, p := range c.Protocols {
		v.SupportedProtocols = append(v.SupportedProtocols, wire.ConsumerGroupMemberMetadataValueSupportedProtocols(p))
	}
	return v
}

func classicOf(v *wire.ConsumerGroupMemberMetadataValueClassicMemberMetadata) *Classic {
	if v == nil {
		return nil
	}
	c := &Classic{SessionTimeout: time.Duration(v.SessionTimeoutMs) * time.Millisecond}
	for _, p := range v.SupportedProtocols {
		c.Protocols = append(c.Protocols, embedded.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	return c
}

// sessionTimeout is for how long the member may be silent: one of the classic protocol says so itself.
func (m *Member) sessionTimeout(timing Timing) time.Duration {
	if m.Classic != nil {
		return m.Classic.SessionTimeout
	}
	return timing.SessionTimeout
}

func (m *Member) rebalanceTimeout() time.Duration {
	return time.Duration(m.RebalanceTimeoutMs) * time.Millisecond
}

// Join is one JoinGroup request.
type Join struct {
	*wire.JoinGroupRequest
	Version        int16
	ClientID, Host string
	// NewID is the member id of whoever has none.
	NewID string
	Done  func(*wire.JoinGroupResponse, error)
}

// joinNeedsMemberID is the version of JoinGroup from which a new member is given its id before it joins (KIP-394).
const joinNeedsMemberID = 4

// ClassicJoin lets a member of the classic protocol in, or in again, and takes it one step on. It is not made to wait for
// the others.
func (g *Group) ClassicJoin(j *Join, now time.Time) coordinator.Result {
	refuse := func(id string, err error) coordinator.Result {
		response := wire.NewJoinGroupResponse()
		response.MemberID = id
		return coordinator.Reply(func(failed error) {
			if failed != nil {
				err = failed
			}
			j.Done(response, err)
		})
	}
	id := j.MemberID
	if id == "" {
		id = j.NewID
	}
	if err := g.checkRoom(id, j.GroupInstanceID); err != nil {
		return refuse("", err)
	}
	if !g.supports(j.ProtocolType, j.Protocols) {
		return refuse("", kafka.InconsistentGroupProtocol.Errorf("the group %q knows no protocol of the member's that all of its classic members support", g.id))
	}
	if j.MemberID == "" && j.GroupInstanceID == nil && j.Version >= joinNeedsMemberID {
		return refuse(id, kafka.MemberIDRequired.Errorf("join again with the member id %s", id))
	}
	old, takenOver, err := g.admitClassic(j, id)
	if err != nil {
		return refuse("", err)
	}
	said, err := embedded.ReadSubscription(j.Protocols[0].Metadata)
	if err != nil {
		return refuse("", kafka.InconsistentGroupProtocol.Errorf("the member's metadata cannot be read: %v", err))
	}
	m := j.update(old, id, said)
	if takenOver != nil {
		g.note(history.Returned, m, 0, now)
	}
	c, err := g.change(old, takenOver, m, now)
	if err != nil {
		return refuse("", err)
	}
	if len(c.resolve) > 0 {
		g.env.EndResolve(g.id) // it does not begin here: the next heartbeat of who reads by one sees to it
	}
	var res coordinator.Result
	var next *Member
	owned, back := g.partitionsOf(said), false
	if old != nil && old.Classic == nil && old.Instance != nil {
		res, next, back = g.joinBack(c, owned)
	}
	if !back {
		next = c.step(&owned)
		res.Records = c.records
		g.watch(next, g.env.Timing(g.id), c.moved, now)
		g.env.Timers.Cancel(g.timer(timerJoin, id))
		g.env.Timers.Set(g.timer(timerSync, id), now.Add(next.rebalanceTimeout()))
	}
	response := wire.NewJoinGroupResponse()
	protocolType, protocol := embedded.ProtocolType, j.Protocols[0].Name
	response.MemberID, response.GenerationID, response.ProtocolType, response.ProtocolName = id, next.epoch, &protocolType, &protocol
	res.Then = append(res.Then, func(err error) {
		if err != nil {
			response = wire.NewJoinGroupResponse()
		}
		j.Done(response, err)
	})
	return res
}

// supports reports whether a classic member that joins with these protocols can be together with the other classic ones,
// should the group go back to their protocol.
func (g *Group) supports(protocolType string, protocols []wire.JoinGroupRequestProtocols) bool {
	return protocolType == embedded.ProtocolType && slices.ContainsFunc(protocols, func(p wire.JoinGroupRequestProtocols) bool {
		for _, m := range g.members.All() {
			if m.Classic != nil && !slices.ContainsFunc(m.Classic.Protocols, func(o embedded.Protocol) bool { return o.Name == p.Name }) {
				return false
			}
		}
		return true
	})
}

// admitClassic finds the member of a request, nil for a new one. A static member takes over from one of its instance id,
// whichever protocol that one speaks: the process has been started again, and need not have said good-bye.
func (g *Group) admitClassic(j *Join, id string) (m, takenOver *Member, err error) {
	m, _ = g.members.Get(id)
	if j.GroupInstanceID == nil {
		return m, nil, nil
	}
	holder, known := g.static.Get(*j.GroupInstanceID)
	switch {
	case j.MemberID == "" && known:
		m, _ = g.members.Get(holder)
		return m, m, nil
	case j.MemberID == "":
		return nil, nil, nil
	}
	return m, nil, g.checkStatic(holder, known, id, *j.GroupInstanceID)
}

// checkStatic reports whether an instance id belongs to a member.
func (g *Group) checkStatic(holder string, known bool, id, instance string) error {
	switch {
	case !known:
		return kafka.UnknownMemberID.Errorf("the group %q has no member of the instance id %q", g.id, instance)
	case holder != id:
		return kafka.FencedInstanceID.Errorf("the instance id %q of the group %q belongs to another member now", instance, g.id)
	}
	return nil
}

// update returns the member as the request has it. The memory of the request is the request's.
func (j *Join) update(old *Member, id string, said *wire.ConsumerProtocolSubscription) *Member {
	m := &Member{}
	if old != nil {
		*m = *old
	}
	if m.ID != "" && m.ID != id {
		m.epoch, m.before = 0, 0
	}
	m.ID, m.ClientID, m.Host = id, j.ClientID, j.Host
	if j.GroupInstanceID != nil {
		m.Instance = j.GroupInstanceID
	}
	if said.RackID != nil {
		m.Rack = said.RackID
	}
	m.RebalanceTimeoutMs = j.RebalanceTimeoutMs
	if j.RebalanceTimeoutMs < 0 { // version 0 has one time for both
		m.RebalanceTimeoutMs = j.SessionTimeoutMs
	}
	m.Topics = slices.Clone(said.Topics)
	slices.Sort(m.Topics)
	m.Topics, m.Regex = slices.Compact(m.Topics), ""
	m.Classic = &Classic{SessionTimeout: time.Duration(j.SessionTimeoutMs) * time.Millisecond}
	for _, p := range j.Protocols {
		m.Classic.Protocols = append(m.Classic.Protocols, embedded.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	return m
}

// partitionsOf is what a member says that it owns. One that does not say, or knows no way to, gives up everything before
// it joins.
func (g *Group) partitionsOf(said *wire.ConsumerProtocolSubscription) assign.Partitions {
	set := assign.Set{}
	for _, t := range said.OwnedPartitions {
		if topic := g.env.Image().Topic(t.Topic); topic != nil {
			for _, p := range t.Partitions {
				set.Add(topic.ID, p)
			}
		}
	}
	return set.Partitions()
}

// ClassicSync answers a member of the classic protocol with its assignment.
func (g *Group) ClassicSync(r *wire.SyncGroupRequest, now time.Time, done func(*wire.SyncGroupResponse, error)) coordinator.Result {
	m, err := g.classicMember(r.MemberID, r.GroupInstanceID, r.GenerationID)
	if err == nil {
		err = g.checkSync(m, r, now)
	}
	if err != nil {
		return coordinator.Reply(func(failed error) {
			if failed != nil {
				err = failed
			}
			done(nil, err)
		})
	}
	g.env.Timers.Cancel(g.timer(timerSync, m.ID))
	g.heard(m, now)
	response := wire.NewSyncGroupResponse()
	response.ProtocolType, response.ProtocolName = r.ProtocolType, r.ProtocolName
	version, _ := embedded.Version(m.Classic.Protocols[0].Metadata) // who joined by it has one
	response.Assignment = embedded.WriteAssignment(g.embedTopics(m.assigned), version)
	return coordinator.Reply(func(err error) { done(response, err) })
}

func (g *Group) checkSync(m *Member, r *wire.SyncGroupRequest, now time.Time) error {
	differs := func(said *string, is string) bool { return said != nil && *said != is }
	switch {
	case differs(r.ProtocolType, embedded.ProtocolType), differs(r.ProtocolName, m.Classic.Protocols[0].Name):
		return kafka.InconsistentGroupProtocol.Errorf("the member %q was told to use the protocol %q", m.ID, m.Classic.Protocols[0].Name)
	case g.targetEpoch > m.epoch && m.state != unrevoked: // who has something to give up is told of it first
		g.call(m, now)
		return kafka.RebalanceInProgress.Errorf("the group %q has another assignment; the member %q must join again", g.id, m.ID)
	}
	return nil
}

// ClassicHeartbeat keeps a member of the classic protocol. REBALANCE_IN_PROGRESS calls it to join again: there is another
// target, it has something to give up, or all that it waits for is free.
func (g *Group) ClassicHeartbeat(r *wire.HeartbeatRequest, now time.Time) error {
	m, err := g.classicMember(r.MemberID, r.GroupInstanceID, r.GenerationID)
	if err != nil {
		return err
	}
	g.heard(m, now)
	if m.epoch < g.targetEpoch || m.state == unrevoked || m.state == unreleased && g.allFree(m) {
		g.call(m, now)
		return kafka.RebalanceInProgress.Errorf("the member %q of the group %q must join again", m.ID, g.id)
	}
	return nil
}

// allFree reports whether nobody has any partition that a member waits for.
func (g *Group) allFree(m *Member) bool {
	target, _ := g.target.Get(m.ID)
	for _, t := range target.Minus(m.assigned) {
		for _, p := range t.Partitions {
			if _, held := g.holder.Get(partition{t.Topic, p}); held {
				return false
			}
		}
	}
	return true
}

// call gives a member that is told to join anew its time for that, which does not begin again when it is told again.
func (g *Group) call(m *Member, now time.Time) {
	if _, called := g.env.Timers.At(g.timer(timerJoin, m.ID)); !called {
		g.env.Timers.Set(g.timer(timerJoin, m.ID), now.Add(m.rebalanceTimeout()))
	}
}

// heard puts the end of a classic member's session off.
func (g *Group) heard(m *Member, now time.Time) {
	g.env.Timers.Set(g.timer(timerSession, m.ID), now.Add(m.Classic.SessionTimeout))
}

// classicMember finds the member of the classic protocol that a request comes from.
func (g *Group) classicMember(id string, instance *string, generation int32) (*Member, error) {
	if instance != nil {
		holder, known := g.static.Get(*instance)
		if err := g.checkStatic(holder, known, id, *instance); err != nil {
			return nil, err
		}
	}
	m, _ := g.members.Get(id)
	switch {
	case m == nil || m.Classic == nil:
		return nil, kafka.UnknownMemberID.Errorf("the group %q has no member %q of the classic protocol", g.id, id)
	case generation != m.epoch:
		return nil, kafka.IllegalGeneration.Errorf("the member %q of the group %q is in generation %d, not %d", id, g.id, m.epoch, generation)
	}
	return m, nil
}

// ClassicLeave lets members go, of whichever protocol. An administrator names static ones by their instance id alone.
func (g *Group) ClassicLeave(r *wire.LeaveGroupRequest, now time.Time, done func(*wire.LeaveGroupResponse, error)) coordinator.Result {
	response := wire.NewLeaveGroupResponse()
	var gone []*Member
	var cause history.Event
	for _, who := range r.Members {
		m, err := g.leaver(who)
		response.Members = append(response.Members, wire.LeaveGroupResponseMembers{MemberID: who.MemberID, GroupInstanceID: who.GroupInstanceID, ErrorCode: kafka.CodeOf(err)})
		if err == nil && !slices.Contains(gone, m) {
			gone = append(gone, m)
			if e := g.noteSaid(history.Event{Kind: history.Left, At: now, Member: m.noted(), Reason: history.Reason(who.Reason)}); len(gone) == 1 {
				cause = e
			}
		}
	}
	res := coordinator.Result{}
	if len(gone) > 0 {
		slices.SortFunc(gone, func(a, b *Member) int { return strings.Compare(a.ID, b.ID) })
		res = g.dismiss(gone, cause, now)
	}
	res.Then = append(res.Then, func(err error) { done(response, err) })
	return res
}

func (g *Group) leaver(who wire.LeaveGroupRequestMembers) (*Member, error) {
	id := who.MemberID
	if who.GroupInstanceID != nil {
		holder, known := g.static.Get(*who.GroupInstanceID)
		if id == "" {
			id = holder
		}
		if err := g.checkStatic(holder, known, id, *who.GroupInstanceID); err != nil {
			return nil, err
		}
	}
	if m, ok := g.members.Get(id); ok {
		return m, nil
	}
	return nil, kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, id)
}

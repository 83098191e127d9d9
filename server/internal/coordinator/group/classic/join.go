package classic

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Join is one JoinGroup request. Done gets its answer; an error goes with the member id that the client is to use from
// then on.
type Join struct {
	*wire.JoinGroupRequest
	Version        int16
	ClientID, Host string
	// Created says that the group was made for this request.
	Created          bool
	Done             func(*wire.JoinGroupResponse, error)
	protocols        []protocol
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
}

// The versions of JoinGroup from which a new member is given its id before it joins (KIP-394), and from which a static
// member that comes back as the leader is told to leave the assignment as it is (KIP-814).
const (
	joinNeedsMemberID    = 4
	joinSkipsAssignments = 9
)

// Join lets a member in, or in again. The first request for a group stores that there is one.
func (g *Group) Join(j *Join, now time.Time) coordinator.Result {
	d := &decision{g: g, now: now, reason: history.Reason(j.Reason)}
	if j.Created {
		d.store()
	}
	j.protocols = protocolsOf(j.JoinGroupRequest)
	j.sessionTimeout = time.Duration(j.SessionTimeoutMs) * time.Millisecond
	j.rebalanceTimeout = time.Duration(j.RebalanceTimeoutMs) * time.Millisecond
	if j.RebalanceTimeoutMs < 0 { // version 0 has one time for both
		j.rebalanceTimeout = j.sessionTimeout
	}
	switch {
	case !g.hasRoomFor(j.MemberID):
		if m := g.find(j.MemberID); m != nil {
			g.remove(m)
		}
		d.refuse(j, "", kafka.GroupMaxSizeReached.Errorf("the group %q has its %d members (group.max.size)", g.id, g.env.Config.MaxSize))
	case !g.supports(j.ProtocolType, j.protocols):
		d.refuse(j, j.MemberID, kafka.InconsistentGroupProtocol.Errorf("the group %q speaks %q; the member speaks %q, and no protocol that all members know", g.id, g.protocolType, j.ProtocolType))
	case j.MemberID == "":
		d.joinNew(j)
	default:
		d.joinKnown(j)
	}
	return d.result()
}

// hasRoomFor reports whether a member may join a group that may have so many. While members join only those count that
// are there.
func (g *Group) hasRoomFor(id string) bool {
	m := g.find(id)
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.join != nil || g.joining() < g.env.Config.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.env.Config.MaxSize
	}
	return true
}

// refuse answers with an error, and with the member id that the client is to use.
func (d *decision) refuse(j *Join, memberID string, err error) {
	response := wire.NewJoinGroupResponse()
	response.MemberID = memberID
	d.replyJoin(j.Done, response, err)
}

// joinNew is for whoever has no member id yet.
func (d *decision) joinNew(j *Join) {
	g := d.g
	prefix := j.ClientID
	if j.GroupInstanceID != nil {
		prefix = *j.GroupInstanceID
	}
	id := prefix + "-" + g.env.NewID()
	switch {
	case j.GroupInstanceID != nil:
		if old := g.static(*j.GroupInstanceID); old != nil {
			d.replaceStatic(j, old, id)
			return
		}
	case j.Version >= joinNeedsMemberID:
		if g.pending == nil {
			g.pending = map[string]bool{}
		}
		g.pending[id] = true
		g.env.Timers.Set(g.session(id), d.now.Add(j.sessionTimeout))
		d.refuse(j, id, kafka.MemberIDRequired.Errorf("join again with the member id %s", id))
		return
	}
	d.addMember(j, id)
}

// joinKnown is for whoever has a member id.
func (d *decision) joinKnown(j *Join) {
	g := d.g
	if g.pending[j.MemberID] && j.GroupInstanceID == nil { // it is never given to a static member, and makes nobody one
		d.addMember(j, j.MemberID)
		return
	}
	if err := g.checkMember(j.MemberID, j.GroupInstanceID); err != nil {
		d.refuse(j, j.MemberID, err)
		return
	}
	m := g.find(j.MemberID)
	same := m.matches(j.protocols)
	switch {
	case g.state == Empty:
		d.refuse(j, j.MemberID, kafka.UnknownMemberID.Errorf("the group %q has begun anew", g.id))
	case g.state == CompletingRebalance && same:
		// It has missed the answer to its first request: the generation is as it was told.
		d.replyJoin(j.Done, g.welcome(m, g.leader == m.id), nil)
	case g.state == Stable && same && g.leader != m.id:
		// A leader that joins again wants a rebalance, for a reason that is not in its metadata: topics have changed.
		d.replyJoin(j.Done, g.welcome(m, false), nil)
	default:
		d.update(m, j)
		if g.state != PreparingRebalance { // then it was called
			d.note(map[bool]history.Kind{true: history.Rejoined, false: history.Resubscribed}[same], m, 0)
		}
		d.rebalanceOrComplete()
	}
}

// addMember takes in a member that was not there.
func (d *decision) addMember(j *Join, id string) {
	g := d.g
	if g.state == PreparingRebalance && g.before == Empty {
		g.joined = true // the initial rebalance may wait longer
	}
	m := &member{id: id, instance: j.GroupInstanceID, fresh: true}
	d.update(m, j)
	g.add(m, j.ProtocolType)
	d.note(history.Joined, m, 0)
	g.env.Timers.Set(g.session(id), d.now.Add(newMemberJoinTimeout))
	d.rebalanceOrComplete()
}

// update makes a member what its request says, and lets it wait.
func (d *decision) update(m *member, j *Join) {
	d.answerJoin(m, nil, kafka.UnknownMemberID.Errorf("the member %q has joined again", m.id)) // by an earlier request
	m.clientID, m.host = j.ClientID, j.Host
	m.protocols, m.sessionTimeout, m.rebalanceTimeout = j.protocols, j.sessionTimeout, j.rebalanceTimeout
	m.join = j.Done
	d.g.last, d.g.lastCame = m, d.now
}

// rebalanceOrComplete begins a rebalance, or ends its first phase when everybody is there.
func (d *decision) rebalanceOrComplete() {
	if d.g.state != PreparingRebalance {
		d.rebalance()
	} else {
		d.maybeJoined()
	}
}

// maybeJoined ends the joining phase when everybody is there. The first rebalance of a group waits its time: nobody
// knows who belongs to it.
func (d *decision) maybeJoined() {
	g := d.g
	if g.before != Empty {
		d.completeIfJoined()
	}
}

// completeIfJoined ends the joining phase when everybody is there. The first rebalance does not wait on, either, once one
// that it waited for was silent for too long.
func (d *decision) completeIfJoined() {
	if g := d.g; g.state == PreparingRebalance && g.allJoined() {
		d.complete()
	}
}

func (g *Group) allJoined() bool { return len(g.pending) == 0 && g.joining() == len(g.members) }

// rebalance calls the members to join.
func (d *decision) rebalance() {
	g := d.g
	if g.state == CompletingRebalance {
		d.spreadError(kafka.RebalanceInProgress.Errorf("the group %q is rebalancing again", g.id))
		g.calledOff = true
	}
	g.env.Timers.Cancel(g.timer(timerSync))
	d.noteBegan()
	first := g.state == Empty
	g.move(PreparingRebalance, d.now)
	switch {
	case first:
		g.joined = false
		g.delay = g.env.Config.InitialRebalanceDelay
		g.remaining = max(0, g.rebalanceTimeout()-g.delay)
		g.env.Timers.Set(g.timer(timerJoin), d.now.Add(g.delay))
	case g.allJoined():
		d.complete()
	default:
		g.env.Timers.Set(g.timer(timerJoin), d.now.Add(g.rebalanceTimeout()))
	}
}

// joinPhaseOver is for when the time of the joining phase is over. A first rebalance gets more when somebody came meanwhile.
func (d *decision) joinPhaseOver() {
	g := d.g
	if g.before == Empty && g.joined && g.remaining > 0 {
		g.joined = false
		g.delay, g.remaining = min(g.env.Config.InitialRebalanceDelay, g.remaining), max(0, g.remaining-g.delay)
		g.env.Timers.Set(g.timer(timerJoin), d.now.Add(g.delay))
		return
	}
	d.complete()
}

// complete begins the next generation with those who came. Members that did not are let go, but for static ones, which
// have until the end of their session.
func (d *decision) complete() {
	g := d.g
	g.env.Timers.Cancel(g.timer(timerJoin))
	for _, m := range append([]*member(nil), g.members...) {
		if m.join == nil && m.instance == nil {
			d.note(history.LateToJoin, m, d.now.Sub(g.began))
			g.remove(m)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		// Only static members are left, and none of them came: wait until their sessions end.
		g.env.Timers.Set(g.timer(timerJoin), d.now.Add(g.rebalanceTimeout()))
		return
	}
	d.nextGeneration()
}

// electLeader sees to it that a member leads that is there, and reports whether one is.
func (g *Group) electLeader() bool {
	if m := g.find(g.leader); m != nil && m.join != nil {
		return true
	}
	for _, m := range g.members {
		if m.join != nil {
			g.leader = m.id
			return true
		}
	}
	return false
}

func (d *decision) nextGeneration() {
	g := d.g
	g.generation++
	g.awaitingSync, g.converted, g.shared = nil, false, layout{}
	if len(g.members) == 0 {
		g.protocol = ""
		g.readTopics()
		g.move(Empty, d.now)
		d.noteGeneration()
		d.store()
		return
	}
	g.protocol = g.choose()
	g.readTopics()
	g.move(CompletingRebalance, d.now)
	d.noteGeneration()
	g.awaitingSync = map[string]bool{}
	for _, m := range g.members {
		d.answerJoin(m, g.welcome(m, g.leader == m.id), nil)
		d.heard(m)
		m.fresh = false
		g.awaitingSync[m.id] = true
	}
	g.env.Timers.Set(g.timer(timerSync), d.now.Add(g.rebalanceTimeout()))
}

// welcome is the answer to a member of this generation; the leader is told of all members.
func (g *Group) welcome(m *member, withMembers bool) *wire.JoinGroupResponse {
	response := wire.NewJoinGroupResponse()
	response.GenerationID, response.MemberID, response.Leader = g.generation, m.id, g.leader
	protocolType, protocol := g.protocolType, g.protocol
	response.ProtocolType, response.ProtocolName = &protocolType, &protocol
	if withMembers {
		response.Members = g.describeTo()
	}
	return response
}

// describeTo is what the leader is told of the members.
func (g *Group) describeTo() []wire.JoinGroupResponseMembers {
	list := make([]wire.JoinGroupResponseMembers, len(g.members))
	for i, m := range g.members {
		list[i] = wire.JoinGroupResponseMembers{MemberID: m.id, GroupInstanceID: m.instance, Metadata: m.metadata(g.protocol)}
	}
	return list
}

// replaceStatic lets a static member come back under a new member id: the process has been started again, or another
// has taken over its part. Who holds the old id is fenced (KIP-345).
func (d *decision) replaceStatic(j *Join, m *member, id string) {
	g := d.g
	oldID, oldLeader := m.id, g.leader
	before := *m
	d.answerJoin(m, nil, kafka.FencedInstanceID.Errorf("the instance id %q belongs to another member now", *m.instance))
	d.answerSync(m, nil, kafka.FencedInstanceID.Errorf("the instance id %q belongs to another member now", *m.instance))
	g.rename(m, id)
	d.heard(m)
	d.update(m, j)
	d.note(history.Returned, m, 0)
	switch {
	case g.state == Stable && g.choose() == g.protocol:
		// Nothing changes but the id, so nobody else needs to know. It is stored before the member is told.
		response := g.welcome(m, false)
		if j.Version >= joinSkipsAssignments {
			if g.leader == id {
				response.SkipAssignment, response.Members = true, g.describeTo()
			}
		} else {
			response.Leader = oldLeader // a leader that knew itself as one would assign, and bring a rebalance about
		}
		d.answerJoin(m, response, nil)
		d.store()
		d.undo = func() {
			g.rename(m, oldID)
			m.clientID, m.host = before.clientID, before.host
			m.protocols, m.rebalanceTimeout, m.sessionTimeout = before.protocols, before.rebalanceTimeout, before.sessionTimeout
			d.heard(m)
		}
	case g.state == PreparingRebalance:
		d.maybeJoined()
	default:
		// The leader may be assigning to the old id at this moment; what comes of that is of no use to the new one.
		d.rebalance()
	}
}

// rename gives a member another id.
func (g *Group) rename(m *member, id string) {
	g.env.Timers.Cancel(g.session(m.id))
	if g.leader == m.id {
		g.leader = id
	}
	if g.awaitingSync[m.id] {
		delete(g.awaitingSync, m.id)
		g.awaitingSync[id] = true
	}
	m.id = id
}

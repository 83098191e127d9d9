package classic

import (
	"bytes"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Sync answers a member with its assignment, which the leader's own Sync brings.
func (g *Group) Sync(request *wire.SyncGroupRequest, now time.Time, done func(*wire.SyncGroupResponse, error)) coordinator.Result {
	d := &decision{g: g, now: now}
	if err := g.checkSync(request); err != nil {
		d.replySync(done, nil, err)
		return d.result()
	}
	m := g.find(request.MemberID)
	switch g.state {
	case Stable:
		d.synced(m)
		d.replySync(done, g.assigned(m), nil)
	case CompletingRebalance:
		d.answerSync(m, nil, kafka.UnknownMemberID.Errorf("the member %q has asked again", m.id)) // an earlier request
		m.sync = done
		d.synced(m)
		if m.id == g.leader {
			d.assign(m, request.Assignments)
		}
	}
	return d.result()
}

func (g *Group) checkSync(request *wire.SyncGroupRequest) error {
	if err := g.checkMember(request.MemberID, request.GroupInstanceID); err != nil {
		return err
	}
	differs := func(said *string, is string) bool { return said != nil && *said != is }
	switch {
	case request.GenerationID != g.generation:
		return kafka.IllegalGeneration.Errorf("the group %q is in generation %d, not %d", g.id, g.generation, request.GenerationID)
	case differs(request.ProtocolType, g.protocolType), differs(request.ProtocolName, g.protocol):
		return kafka.InconsistentGroupProtocol.Errorf("the group %q has chosen the protocol %q of type %q", g.id, g.protocol, g.protocolType)
	case g.state == Empty:
		return kafka.UnknownMemberID.Errorf("the group %q has begun anew", g.id)
	case g.state == PreparingRebalance:
		return kafka.RebalanceInProgress.Errorf("the group %q is rebalancing", g.id)
	}
	return nil
}

// synced notes that a member has asked for its assignment.
func (d *decision) synced(m *member) {
	g := d.g
	delete(g.awaitingSync, m.id)
	if len(g.awaitingSync) == 0 {
		g.env.Timers.Cancel(g.timer(timerSync))
	}
}

// assign takes what the leader has decided; who is not named gets nothing. The members are told once it is stored.
func (d *decision) assign(leader *member, assignments []wire.SyncGroupRequestAssignments) {
	g := d.g
	before, calledOff, had := g.before, g.calledOff, make(map[*member][]byte, len(g.members))
	named := make(map[string][]byte, len(assignments))
	for _, a := range assignments {
		named[a.MemberID] = a.Assignment
	}
	waiting := make(map[*member]func(*wire.SyncGroupResponse, error))
	for _, m := range g.members {
		had[m] = m.assignment
		m.assignment = bytes.Clone(named[m.id])
		if m.sync != nil {
			waiting[m] = m.sync
			d.answerSync(m, g.assigned(m), nil)
			d.heard(m)
		}
	}
	g.calledOff = false
	d.noteAssigned(leader, g.since)
	g.move(Stable, d.now)
	d.store()
	d.undo = func() { // those who waited were told to ask again, the leader among them
		g.state, g.before, g.calledOff = CompletingRebalance, before, calledOff
		for _, m := range g.members {
			m.assignment = had[m]
			if waiting[m] != nil {
				g.awaitingSync[m.id] = true
			}
		}
		g.env.Timers.Set(g.timer(timerSync), d.now.Add(g.rebalanceTimeout()))
	}
}

// assigned is the answer to a member of a stable group.
func (g *Group) assigned(m *member) *wire.SyncGroupResponse {
	response := wire.NewSyncGroupResponse()
	protocolType, protocol := g.protocolType, g.protocol
	response.ProtocolType, response.ProtocolName, response.Assignment = &protocolType, &protocol, m.assignment
	return response
}

// spreadError ends the wait of all who wait for an assignment that will not come. What they had before is still theirs, as
// far as they know (migrate.go).
func (d *decision) spreadError(err error) {
	for _, m := range d.g.members {
		if m.sync != nil {
			d.answerSync(m, nil, err)
			d.heard(m)
		}
	}
}

// syncPhaseOver lets the members go that have not asked for their assignment.
func (d *decision) syncPhaseOver() {
	g := d.g
	if g.state != CompletingRebalance && g.state != Stable || len(g.awaitingSync) == 0 {
		return
	}
	for _, m := range append([]*member(nil), g.members...) {
		if g.awaitingSync[m.id] {
			d.note(history.LateToSync, m, g.rebalanceTimeout())
			g.remove(m)
		}
	}
	d.rebalance()
}

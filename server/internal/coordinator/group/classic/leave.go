package classic

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Leave lets members go. An administrator names static ones by their instance id alone.
func (g *Group) Leave(request *wire.LeaveGroupRequest, now time.Time, done func(*wire.LeaveGroupResponse, error)) coordinator.Result {
	d := &decision{g: g, now: now}
	response := wire.NewLeaveGroupResponse()
	left := false
	for _, who := range request.Members {
		d.reason = history.Reason(who.Reason)
		err := d.leave(who)
		left = left || err == nil
		response.Members = append(response.Members, wire.LeaveGroupResponseMembers{MemberID: who.MemberID, GroupInstanceID: who.GroupInstanceID, ErrorCode: kafka.CodeOf(err)})
	}
	d.reason = ""
	if left {
		d.changed()
	}
	d.then = append(d.then, func(err error) { done(response, err) })
	return d.result()
}

func (d *decision) leave(who wire.LeaveGroupRequestMembers) error {
	g := d.g
	switch {
	case who.MemberID == "":
		if who.GroupInstanceID != nil {
			if m := g.static(*who.GroupInstanceID); m != nil {
				d.note(history.Left, m, 0)
				d.dismiss(m)
				return nil
			}
		}
		return kafka.UnknownMemberID
	case g.pending[who.MemberID]:
		delete(g.pending, who.MemberID)
		g.env.Timers.Cancel(g.session(who.MemberID))
		return nil
	}
	if err := g.checkMember(who.MemberID, who.GroupInstanceID); err != nil {
		return err
	}
	m := g.find(who.MemberID)
	d.note(history.Left, m, 0)
	d.dismiss(m)
	return nil
}

// expel lets a member go that was silent.
func (d *decision) expel(m *member) {
	d.note(history.Silent, m, m.sessionTimeout)
	d.dismiss(m)
	if d.g.state == PreparingRebalance {
		d.completeIfJoined()
	} else {
		d.changed()
	}
}

// dismiss takes a member out. If it waits to join it may come again, as a new one.
func (d *decision) dismiss(m *member) {
	response := wire.NewJoinGroupResponse()
	d.answerJoin(m, response, kafka.UnknownMemberID.Errorf("the member %q has left the group %q", m.id, d.g.id))
	d.answerSync(m, nil, kafka.UnknownMemberID.Errorf("the member %q has left the group %q", m.id, d.g.id))
	d.g.remove(m)
}

// changed sees to the group after a member went.
func (d *decision) changed() {
	switch d.g.state {
	case Stable, CompletingRebalance:
		d.rebalance()
	case PreparingRebalance:
		d.maybeJoined()
	}
}

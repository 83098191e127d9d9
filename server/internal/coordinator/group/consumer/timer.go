package consumer

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// The kinds of timers of a consumer group, from Env.TimerKinds on.
const (
	timerSession   uint8 = iota // a member was silent for too long
	timerRebalance              // a member does not give up what it must
	timerJoin                   // a member of the classic protocol was called to join, and did not
	timerSync                   // it has joined, and did not ask for its assignment
	timerAssign                 // the assignment interval is over, and there is something to assign
	Timers                      // how many kinds there are
)

func (g *Group) timer(kind uint8, member string) coordinator.Timer {
	return coordinator.Timer{Kind: g.env.TimerKinds + kind, Group: g.id, Member: member}
}

// watch sets a member's deadlines after it was heard of. That by which it must have given something up begins anew when
// moved, as then it has given up what it was asked for before. Nothing takes them off when it goes: then they find nobody,
// and they are still needed if its going cannot be stored.
func (g *Group) watch(m *Member, timing Timing, moved bool, now time.Time) {
	g.env.Timers.Set(g.timer(timerSession, m.ID), now.Add(m.sessionTimeout(timing)))
	if m.state != unrevoked || m.Classic != nil {
		g.env.Timers.Cancel(g.timer(timerRebalance, m.ID))
	} else if _, set := g.env.Timers.At(g.timer(timerRebalance, m.ID)); moved || !set {
		g.env.Timers.Set(g.timer(timerRebalance, m.ID), now.Add(time.Duration(m.RebalanceTimeoutMs)*time.Millisecond))
	}
}

// planAssignment reports whether a new assignment must wait until the interval since the last one is over, so that
// members that come shortly after one another are assigned together (KIP-1263). Then a timer makes it, unless a
// heartbeat comes first.
func (g *Group) planAssignment(now time.Time) (waits bool) {
	at := time.UnixMilli(g.targetMs).Add(g.env.Timing(g.id).AssignmentInterval)
	if g.targetMs == 0 || !at.After(now) {
		g.env.Timers.Cancel(g.timer(timerAssign, ""))
		return false
	}
	g.env.Timers.Set(g.timer(timerAssign, ""), at)
	return true
}

// assign makes the assignment that was planned.
func (g *Group) assign(now time.Time) coordinator.Result {
	if g.epoch <= g.targetEpoch || g.Empty() {
		return coordinator.Result{}
	}
	records, _ := g.retarget(g.sortedMembers(), g.topics(nil, nil, g.matches), g.epoch, now)
	return coordinator.Result{Records: records}
}

// Expire takes out a member that was silent, or that has not given up what it must, or makes the assignment that waited.
func (g *Group) Expire(t coordinator.Timer, now time.Time) coordinator.Result {
	if t.Kind == g.env.TimerKinds+timerAssign {
		return g.assign(now)
	}
	m, ok := g.members.Get(t.Member)
	if !ok {
		return coordinator.Result{}
	}
	kind, took := history.Silent, m.rebalanceTimeout()
	switch t.Kind - g.env.TimerKinds {
	case timerSession:
		took = m.sessionTimeout(g.env.Timing(g.id))
	case timerRebalance:
		if m.state != unrevoked || m.Classic != nil {
			return coordinator.Result{}
		}
		kind = history.LateToRevoke
	case timerJoin, timerSync: // they may be left from when it spoke the classic protocol
		if m.Classic == nil {
			return coordinator.Result{}
		}
		kind = history.LateToJoin
		if t.Kind == g.env.TimerKinds+timerSync {
			kind = history.LateToSync
		}
	}
	return g.dismiss([]*Member{m}, g.note(kind, m, took, now), now)
}

// Loaded begins the sessions of the members, and plans an assignment that is still to be made.
func (g *Group) Loaded(now time.Time) {
	timing := g.env.Timing(g.id)
	for _, m := range g.sortedMembers() {
		g.watch(m, timing, false, now)
	}
	if g.epoch > g.targetEpoch {
		g.planAssignment(now)
	}
}

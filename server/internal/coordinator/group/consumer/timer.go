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
	Timers                      // how many kinds there are
)

func (g *Group) timer(kind uint8, member string) coordinator.Timer {
	return coordinator.Timer{Kind: g.env.TimerKinds + kind, Group: g.id, Member: member}
}

// watch sets a member's deadlines after it was heard of.
func (g *Group) watch(m *Member, timing Timing, now time.Time) {
	g.env.Timers.Set(g.timer(timerSession, m.ID), now.Add(timing.SessionTimeout))
	if m.state != unrevoked {
		g.env.Timers.Cancel(g.timer(timerRebalance, m.ID))
	} else if _, set := g.env.Timers.At(g.timer(timerRebalance, m.ID)); !set {
		g.env.Timers.Set(g.timer(timerRebalance, m.ID), now.Add(time.Duration(m.RebalanceTimeoutMs)*time.Millisecond))
	}
}

func (g *Group) unwatch(member string) {
	g.env.Timers.Cancel(g.timer(timerSession, member))
	g.env.Timers.Cancel(g.timer(timerRebalance, member))
}

// Expire takes out a member that was silent, or that has not given up what it must.
func (g *Group) Expire(t coordinator.Timer, now time.Time) coordinator.Result {
	m, ok := g.members.Get(t.Member)
	if !ok || t.Kind == g.env.TimerKinds+timerRebalance && m.state != unrevoked {
		return coordinator.Result{}
	}
	cause := history.Event{Kind: history.Silent, Took: g.env.Timing(g.id).SessionTimeout}
	if t.Kind == g.env.TimerKinds+timerRebalance {
		cause = history.Event{Kind: history.LateToRevoke, Took: time.Duration(m.RebalanceTimeoutMs) * time.Millisecond}
	}
	return coordinator.Result{Records: g.dismiss(m, g.note(cause.Kind, m, cause.Took, now), now)}
}

// Loaded begins the sessions of the members.
func (g *Group) Loaded(now time.Time) {
	timing := g.env.Timing(g.id)
	for _, m := range g.sortedMembers() {
		g.watch(m, timing, now)
	}
}

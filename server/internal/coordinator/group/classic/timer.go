package classic

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// The kinds of timers of a classic group, from Env.TimerKinds on.
const (
	timerJoin    uint8 = iota // the joining phase is over
	timerSync                 // who has not asked for an assignment will not
	timerSession              // a member was silent for too long
	Timers                    // how many kinds there are
)

func (g *Group) timer(kind uint8) coordinator.Timer {
	return coordinator.Timer{Kind: g.env.TimerKinds + kind, Group: g.id}
}

func (g *Group) session(member string) coordinator.Timer {
	return coordinator.Timer{Kind: g.env.TimerKinds + timerSession, Group: g.id, Member: member}
}

// Expire decides what follows from a timer that is due.
func (g *Group) Expire(t coordinator.Timer, now time.Time) coordinator.Result {
	d := &decision{g: g, now: now}
	switch t.Kind - g.env.TimerKinds {
	case timerJoin:
		if g.state == PreparingRebalance {
			d.joinPhaseOver()
		}
	case timerSync:
		d.syncPhaseOver()
	case timerSession:
		d.silent(t.Member)
	}
	return d.result()
}

// heard puts the end of a member's session off.
func (d *decision) heard(m *member) {
	d.g.env.Timers.Set(d.g.session(m.id), d.now.Add(m.sessionTimeout))
}

// Heard tells of a sign of life of a member: a commit is as good as a heartbeat, but not while the leader assigns.
func (g *Group) Heard(id string, now time.Time) {
	if g.state == Stable || g.state == PreparingRebalance {
		if m := g.find(id); m != nil {
			(&decision{g: g, now: now}).heard(m)
		}
	}
}

// silent removes a member whose session has ended, or a member id that nobody came back with.
func (d *decision) silent(id string) {
	g := d.g
	if g.pending[id] {
		delete(g.pending, id)
		d.note(history.NeverCame, &member{id: id}, 0)
		d.completeIfJoined()
		return
	}
	m := g.find(id)
	if m == nil || !m.fresh && (m.join != nil || m.sync != nil) {
		return // who waits for the group cannot send heartbeats
	}
	d.expel(m)
}

// Unloaded returns the answers for all who wait: this node is not their coordinator any more.
func (g *Group) Unloaded(why error) []func() {
	var told []func()
	for _, m := range g.members {
		if join := m.join; join != nil {
			told = append(told, func() { join(nil, why) })
		}
		if sync := m.sync; sync != nil {
			told = append(told, func() { sync(nil, why) })
		}
		m.join, m.sync = nil, nil
	}
	return told
}

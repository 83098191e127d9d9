package consumer

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// note tells the history what happened, and returns it: it may be the cause of a rebalance.
func (g *Group) note(kind history.Kind, m *Member, took time.Duration, now time.Time) history.Event {
	return g.noteSaid(history.Event{Kind: kind, At: now, Took: took, Member: m.noted()})
}

// noteSaid is note for who gives a reason.
func (g *Group) noteSaid(e history.Event) history.Event {
	e.Epoch = g.epoch
	g.env.Note(g.id, e)
	return e
}

// noteHeard tells what a heartbeat changed: who is new, or reads something else, or that the topics are not what they were.
func (g *Group) noteHeard(m, old *Member, changed bool, now time.Time) history.Event {
	switch {
	case old == nil:
		return g.note(history.Joined, m, 0, now)
	case changed:
		return g.note(history.Resubscribed, m, 0, now)
	case g.gaps:
		return history.Event{Kind: history.Upgraded} // it is noted when the group is in its place
	}
	return g.note(history.TopicsChanged, nil, 0, now)
}

// noteBegan tells that the group goes to another epoch. A rebalance lasts until nothing is left to do for anybody.
func (g *Group) noteBegan(cause history.Event, epoch int32, now time.Time) {
	if g.began.IsZero() {
		g.began = now
	}
	g.env.Note(g.id, history.Event{Kind: history.Began, At: now, Epoch: epoch, Cause: cause.Kind, Member: cause.Member, Took: cause.Took, Reason: cause.Reason})
}

// noteReconciled tells of the end of a rebalance, if next, which takes the place of a member gone if there is one, is the
// last member that had to go a step.
func (g *Group) noteReconciled(next, gone *Member, epoch, targetEpoch int32, now time.Time) {
	if g.began.IsZero() || epoch != targetEpoch || !next.settled(targetEpoch) {
		return
	}
	late := func(m *Member) bool {
		return m.ID != next.ID && (gone == nil || m.ID != gone.ID) && !m.settled(targetEpoch)
	}
	if m, ok := g.members.Get(g.laggard); ok && late(m) {
		return
	}
	for _, m := range g.members.All() {
		if late(m) { // any of them: the group waits for all
			g.laggard = m.ID
			return
		}
	}
	n := g.members.Len()
	if _, known := g.members.Get(next.ID); !known {
		n++
	}
	if gone != nil {
		n--
	}
	g.env.Note(g.id, history.Event{Kind: history.Reconciled, At: now, Epoch: epoch, Members: int32(n), Member: next.noted(), Whole: now.Sub(g.began)})
	g.began = time.Time{}
}

// noted is the member as the history knows it.
func (m *Member) noted() *history.Member {
	if m == nil {
		return nil
	}
	n := &history.Member{ID: m.ID, ClientID: m.ClientID, Host: m.Host}
	if m.Instance != nil {
		n.Instance = *m.Instance
	}
	return n
}

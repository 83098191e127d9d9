package consumer

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// note tells the history what happened, and returns it: it may be the cause of a rebalance.
func (g *Group) note(kind history.Kind, m *Member, took time.Duration, now time.Time) history.Event {
	e := history.Event{Kind: kind, At: now, Epoch: g.epoch, Took: took, Member: m.noted()}
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
	}
	return g.note(history.TopicsChanged, nil, 0, now)
}

// noteBegan tells that the group goes to another epoch. A rebalance lasts until nothing is left to do for anybody.
func (g *Group) noteBegan(cause history.Event, epoch int32, now time.Time) {
	if g.began.IsZero() {
		g.began = now
	}
	g.env.Note(g.id, history.Event{Kind: history.Began, At: now, Epoch: epoch, Cause: cause.Kind, Member: cause.Member, Took: cause.Took})
}

// noteReconciled tells of the end of a rebalance, if next is the last member that had to go a step. members are those
// that there will be.
func (g *Group) noteReconciled(next *Member, members []*Member, epoch, targetEpoch int32, now time.Time) {
	if g.began.IsZero() || epoch != targetEpoch {
		return
	}
	for _, m := range members {
		if m.ID == next.ID {
			m = next
		}
		if m.state != stable || m.epoch != targetEpoch && m.epoch != leftForNow {
			return
		}
	}
	g.env.Note(g.id, history.Event{Kind: history.Reconciled, At: now, Epoch: epoch, Members: int32(len(members)), Member: next.noted(), Whole: now.Sub(g.began)})
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

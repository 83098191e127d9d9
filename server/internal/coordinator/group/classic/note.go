package classic

import (
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// note tells the history what a member did, for the reason that it gives. The first of a decision is the cause of the
// rebalance that follows from it.
func (d *decision) note(kind history.Kind, m *member, took time.Duration) {
	e := history.Event{Kind: kind, At: d.now, Epoch: d.g.generation, Took: took, Member: m.noted(), Reason: d.reason}
	d.reason = "" // what follows is not its doing
	if d.cause.Kind == history.None {
		d.cause = e
	}
	d.g.env.Note(d.g.id, e)
}

// noteBegan tells of a rebalance. One that begins again before it has ended is a new one.
func (d *decision) noteBegan() {
	d.g.began = d.now
	d.g.last, d.g.lastCame = nil, time.Time{}
	d.g.env.Note(d.g.id, history.Event{Kind: history.Began, At: d.now, Epoch: d.g.generation + 1, Cause: d.cause.Kind, Member: d.cause.Member, Took: d.cause.Took, Reason: d.cause.Reason})
}

// noteGeneration tells of the end of the joining phase.
func (d *decision) noteGeneration() {
	g := d.g
	e := history.Event{Kind: history.Emptied, At: d.now, Epoch: g.generation}
	if len(g.members) > 0 {
		e.Kind, e.Members, e.By, e.Took = history.AllIn, int32(len(g.members)), g.protocol, d.now.Sub(g.began)
		if g.last != nil {
			e.Member, e.Waited = g.last.noted(), g.lastCame.Sub(g.began)
		}
	}
	g.env.Note(g.id, e)
}

// noteAssigned tells of the end of the rebalance. synced is when the members were asked to sync.
func (d *decision) noteAssigned(leader *member, synced int64) {
	g := d.g
	g.env.Note(g.id, history.Event{
		Kind: history.Settled, At: d.now, Epoch: g.generation, Members: int32(len(g.members)), Member: leader.noted(),
		Took: d.now.Sub(time.UnixMilli(synced)), Whole: d.now.Sub(g.began),
	})
}

// noted is the member as the history knows it; it stays when the member is gone.
func (m *member) noted() *history.Member {
	if m == nil {
		return nil
	}
	n := &history.Member{ID: m.id, ClientID: m.clientID, Host: m.host}
	if m.instance != nil {
		n.Instance = *m.instance
	}
	return n
}

package group

import (
	"maps"
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Explanation is what happened last in a group, and why.
type Explanation struct {
	Group, Kind, ProtocolType, State string
	// Since is from when on the coordinator knows: it has loaded the group then.
	Since time.Time
	// Events are the last ones, the oldest first.
	Events []history.Event
}

// Explain tells what happened last in a group; the error is GROUP_ID_NOT_FOUND when there is no such group. What was
// decided is told also when it could not be written: the members then do it again.
func (c *Coordinator) Explain(id string, done func(*Explanation, error)) {
	refuse := func(err error) { done(nil, err) }
	c.run(id, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g := s.find(id)
		if g == nil {
			return coordinator.Result{}, func(error) { refuse(notFound(id)) }
		}
		e := &Explanation{Group: id, Kind: g.Kind(), ProtocolType: g.ProtocolType(), State: g.State(now), Since: s.loaded}
		if ring := s.histories[id]; ring != nil {
			e.Events = ring.Events()
		}
		return coordinator.Result{}, func(err error) {
			if err != nil {
				refuse(err)
				return
			}
			done(e, nil)
		}
	}, refuse)
}

// note returns what the groups of a kind tell their history to. A group that nothing ever happened in has none.
func (s *Shard) note(kind string) func(group string, e history.Event) {
	f := s.c.figures.rebalances[kind]
	return func(group string, e history.Event) {
		ring := s.histories[group]
		if ring == nil {
			ring = &history.Ring{}
			s.histories[group] = ring
		}
		ring.Add(e)
		switch e.Kind {
		case history.Began:
			f.began.Add(1)
		case history.Settled, history.Reconciled:
			f.completed.Add(1)
			f.nanos.Add(int64(e.Whole))
		}
	}
}

// forgetHistories gives up the histories of groups that are gone.
func (s *Shard) forgetHistories() {
	maps.DeleteFunc(s.histories, func(group string, _ *history.Ring) bool { return s.find(group) == nil })
}

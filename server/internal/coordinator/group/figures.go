package group

import (
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// figures count since the start.
type figures struct {
	commits, expired atomic.Int64
	rebalances       map[string]*rebalanceFigures // by kind of group
}

// rebalanceFigures count the rebalances of a kind of groups. nanos is how long the completed ones took.
type rebalanceFigures struct {
	began, completed, nanos atomic.Int64
}

func newFigures() figures {
	return figures{rebalances: map[string]*rebalanceFigures{Classic: {}, Consumer: {}}}
}

// Stats are the figures of a coordinator, for metrics.
type Stats struct {
	// Groups counts the groups by kind and state.
	Groups map[KindState]int
	// Offsets is how many offsets are committed now. Commits and Expirations count since the start.
	Offsets              int
	Commits, Expirations int64
	// Rebalances are by kind.
	Rebalances map[string]RebalanceStats
	// Partitions are those that this node coordinates, Loading those of them that are not loaded yet.
	Partitions, Loading int
	Loads               coordinator.LoadStats
}

// KindState is a kind of groups and a state that groups of it may be in.
type KindState struct{ Kind, State string }

// RebalanceStats count the rebalances since the start, and the time that the completed ones took.
type RebalanceStats struct {
	Began, Completed int64
	Took             time.Duration
}

// Stats counts. It looks at every group.
func (c *Coordinator) Stats() Stats {
	s := Stats{
		Groups: map[KindState]int{}, Rebalances: map[string]RebalanceStats{}, Commits: c.figures.commits.Load(), Expirations: c.figures.expired.Load(),
		Partitions: len(c.runtime.Partitions()), Loading: c.runtime.Loading(), Loads: c.runtime.Loads(),
	}
	for kind, f := range c.figures.rebalances {
		s.Rebalances[kind] = RebalanceStats{Began: f.began.Load(), Completed: f.completed.Load(), Took: time.Duration(f.nanos.Load())}
	}
	c.runtime.All(func(shard *Shard, now time.Time) coordinator.Result {
		for _, g := range shard.groups.All() {
			s.Groups[KindState{g.Kind(), g.State(now)}]++
		}
		for _, t := range shard.offsets.groups.All() {
			for _, p := range t.All() {
				s.Offsets += p.Len()
			}
		}
		return coordinator.Result{}
	})
	return s
}

// Committed is where a group is in a partition.
type Committed struct {
	Group, Topic string
	Partition    int32
	Offset       int64
}

// EachCommitted calls f with every offset that is committed here, in no order and outside of all locks.
func (c *Coordinator) EachCommitted(f func(Committed)) {
	var list []Committed
	for _, p := range c.runtime.Partitions() {
		list = list[:0]
		c.runtime.Do(p, func(s *Shard, _ time.Time) coordinator.Result {
			for group, t := range s.offsets.groups.All() {
				for topic, ps := range t.All() {
					for partition, o := range ps.All() {
						list = append(list, Committed{group, topic, partition, o.Offset})
					}
				}
			}
			return coordinator.Result{}
		}, func(error) {}) // one that is loading, or went away: nothing is known of it now
		for _, one := range list {
			f(one)
		}
	}
}

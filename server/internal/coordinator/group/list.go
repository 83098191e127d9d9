package group

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// ListGroups lists the groups that this node coordinates, those of given states and kinds when such are named (KIP-518,
// 848); case does not matter.
func (c *Coordinator) ListGroups(request *wire.ListGroupsRequest, done func([]wire.ListGroupsResponseGroups, error)) {
	partitions := c.runtime.Partitions()
	var mu sync.Mutex
	var list []wire.ListGroupsResponseGroups
	var failed error
	waits := len(partitions) + 1
	arrived := func(groups []wire.ListGroupsResponseGroups, err error) {
		mu.Lock()
		list = append(list, groups...)
		if err != nil && kafka.CodeOf(err) != kafka.NotCoordinator { // a partition that moved away meanwhile is another's
			failed = err
		}
		waits--
		last := waits == 0
		mu.Unlock()
		if last {
			slices.SortFunc(list, func(a, b wire.ListGroupsResponseGroups) int { return strings.Compare(a.GroupID, b.GroupID) })
			done(list, failed)
		}
	}
	for _, p := range partitions {
		c.runtime.Do(p, func(s *Shard, now time.Time) coordinator.Result {
			groups := s.list(request, now)
			return coordinator.Reply(func(err error) { arrived(groups, err) })
		}, func(err error) { arrived(nil, err) })
	}
	arrived(nil, nil)
}

func (s *Shard) list(request *wire.ListGroupsRequest, now time.Time) []wire.ListGroupsResponseGroups {
	var list []wire.ListGroupsResponseGroups
	var states []string
	for _, s := range request.StatesFilter {
		states = append(states, strings.TrimSpace(s)) // as Kafka does, of states and not of kinds
	}
	for id, g := range s.groups.All() { // sorted when all are there
		state := g.State(now)
		if named(states, state) && named(request.TypesFilter, g.Kind()) {
			list = append(list, wire.ListGroupsResponseGroups{GroupID: id, ProtocolType: g.ProtocolType(), GroupState: state, GroupType: g.Kind()})
		}
	}
	return list
}

// named reports whether a word is in a filter; an empty filter lets everything through.
func named(filter []string, word string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, word) })
}

// sortedGroups lists the ids of all groups, in order.
func (s *Shard) sortedGroups() []string { return slices.Sorted(s.groups.Keys()) }

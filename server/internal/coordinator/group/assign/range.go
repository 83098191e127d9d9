package assign

import (
	"cmp"
	"slices"
)

// Range gives each member a range of every topic that it reads, so that topics with as many partitions are shared out
// alike: who has partition 3 of one has that of the others. Static members come first, by instance id, so that they
// keep their part whatever member ids they get.
//
// Racks make no difference: the order of the members decides everything, and leaves nothing to choose from. With P
// partitions, M members and T topics it takes O(P + M·(T + log M)).
type Range struct{}

// Name implements Assignor.
func (Range) Name() string { return "range" }

// Assign implements Assignor.
func (Range) Assign(s *Spec) map[string]Partitions {
	order := make([]*Member, len(s.Members))
	for i := range s.Members {
		order[i] = &s.Members[i]
	}
	slices.SortStableFunc(order, func(a, b *Member) int {
		if (a.Instance == "") != (b.Instance == "") {
			if a.Instance != "" {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Instance, b.Instance), cmp.Compare(a.ID, b.ID))
	})
	sets := make(map[string]Set, len(order))
	for _, m := range order {
		sets[m.ID] = Set{}
	}
	for _, t := range s.Topics {
		var readers []*Member
		for _, m := range order {
			if m.reads(t.ID) {
				readers = append(readers, m)
			}
		}
		if len(readers) == 0 {
			continue
		}
		each, more := t.Partitions/int32(len(readers)), t.Partitions%int32(len(readers))
		next := int32(0)
		for i, m := range readers {
			n := each
			if int32(i) < more {
				n++
			}
			for range n {
				sets[m.ID].Add(t.ID, next)
				next++
			}
		}
	}
	return finish(sets)
}

func finish(sets map[string]Set) map[string]Partitions {
	out := make(map[string]Partitions, len(sets))
	for id, set := range sets {
		out[id] = set.Partitions()
	}
	return out
}

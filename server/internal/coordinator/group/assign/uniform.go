package assign

import (
	"slices"

	"github.com/millrace-io/millrace/kafka"
)

// Uniform gives every member as many partitions as the others, as far as what they read lets it, and moves as few as it
// can: a partition stays where it was unless its member would have too many.
type Uniform struct{}

// Name implements Assignor.
func (Uniform) Name() string { return "uniform" }

// Assign implements Assignor.
func (Uniform) Assign(s *Spec) map[string]Partitions {
	u := &uniform{spec: s, sets: make([]Set, len(s.Members)), count: make([]int, len(s.Members))}
	for i := range u.sets {
		u.sets[i] = Set{}
	}
	if u.alike() {
		u.shareAlike()
	} else {
		u.shareUnlike()
	}
	sets := make(map[string]Set, len(s.Members))
	for i, m := range s.Members {
		sets[m.ID] = u.sets[i]
	}
	return finish(sets)
}

// uniform is an assignment that is being made; members by their place in the spec.
type uniform struct {
	spec  *Spec
	sets  []Set
	count []int
}

// alike reports whether all members read the same.
func (u *uniform) alike() bool {
	members := u.spec.Members
	for i := 1; i < len(members); i++ {
		if !slices.Equal(members[i].Topics, members[0].Topics) {
			return false
		}
	}
	return true
}

func (u *uniform) give(member int, topic kafka.TopicID, partition int32) {
	u.sets[member].Add(topic, partition)
	u.count[member]++
}

// shareAlike is for members that read the same: everybody gets the same number, and some one more. Those who have more
// already keep theirs, so that nothing moves for the sake of the remainder.
func (u *uniform) shareAlike() {
	members := u.spec.Members
	if len(members) == 0 {
		return
	}
	total := 0
	for _, t := range u.spec.Topics {
		if members[0].reads(t.ID) {
			total += int(t.Partitions)
		}
	}
	each, more := total/len(members), total%len(members)
	taken := map[kafka.TopicID][]bool{}
	for _, t := range u.spec.Topics {
		taken[t.ID] = make([]bool, t.Partitions)
	}
	for i, m := range members {
		quota := each
		if more > 0 && u.valid(&m, taken) > each {
			quota++
			more--
		}
		for _, t := range m.Target {
			for _, p := range t.Partitions {
				if u.count[i] < quota && m.reads(t.Topic) && int(p) < len(taken[t.Topic]) && !taken[t.Topic][p] {
					taken[t.Topic][p] = true
					u.give(i, t.Topic, p)
				}
			}
		}
	}
	next := 0
	for _, t := range u.spec.Topics {
		if !members[0].reads(t.ID) {
			continue
		}
		for p, is := range taken[t.ID] {
			if is {
				continue
			}
			for u.count[next] >= each {
				if u.count[next] == each && more > 0 {
					more--
					break
				}
				next++
			}
			u.give(next, t.ID, int32(p))
		}
	}
}

// valid counts the partitions of a member's old target that it can keep.
func (u *uniform) valid(m *Member, taken map[kafka.TopicID][]bool) int {
	n := 0
	for _, t := range m.Target {
		for _, p := range t.Partitions {
			if m.reads(t.Topic) && int(p) < len(taken[t.Topic]) && !taken[t.Topic][p] {
				n++
			}
		}
	}
	return n
}

// shareUnlike is for members that read different topics. Everybody keeps what it has; what is left goes, topics with the
// fewest readers first, to whoever has least; then partitions move from who has more to who has less by two or more,
// until none does.
func (u *uniform) shareUnlike() {
	readers := make(map[kafka.TopicID][]int, len(u.spec.Topics))
	for i := range u.spec.Members {
		for _, id := range u.spec.Members[i].Topics {
			readers[id] = append(readers[id], i)
		}
	}
	owner := make(map[kafka.TopicID][]int, len(u.spec.Topics))
	for _, t := range u.spec.Topics {
		list := make([]int, t.Partitions)
		for p := range list {
			list[p] = -1
		}
		owner[t.ID] = list
	}
	for i := range u.spec.Members {
		m := &u.spec.Members[i]
		for _, t := range m.Target {
			for _, p := range t.Partitions {
				if m.reads(t.Topic) && int(p) < len(owner[t.Topic]) && owner[t.Topic][p] < 0 {
					owner[t.Topic][p] = i
					u.count[i]++
				}
			}
		}
	}
	topics := slices.Clone(u.spec.Topics)
	slices.SortStableFunc(topics, func(a, b Topic) int { return len(readers[a.ID]) - len(readers[b.ID]) })
	for _, t := range topics {
		if len(readers[t.ID]) == 0 {
			continue
		}
		for p, o := range owner[t.ID] {
			if o < 0 {
				least := u.least(readers[t.ID])
				owner[t.ID][p] = least
				u.count[least]++
			}
		}
	}
	for moved := true; moved; { // every move makes the sum of squares smaller, so this ends
		moved = false
		for _, t := range topics {
			for p, o := range owner[t.ID] {
				if o < 0 {
					continue
				}
				if least := u.least(readers[t.ID]); u.count[o]-u.count[least] >= 2 {
					u.count[o]--
					u.count[least]++
					owner[t.ID][p] = least
					moved = true
				}
			}
		}
	}
	for _, t := range topics {
		for p, o := range owner[t.ID] {
			if o >= 0 {
				u.sets[o].Add(t.ID, int32(p))
			}
		}
	}
}

// least is the one of some members that has the fewest partitions, the first of several.
func (u *uniform) least(of []int) int {
	best := of[0]
	for _, i := range of[1:] {
		if u.count[i] < u.count[best] {
			best = i
		}
	}
	return best
}

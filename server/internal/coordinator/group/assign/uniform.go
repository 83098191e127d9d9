package assign

import (
	"slices"

	"github.com/millrace-io/millrace/kafka"
)

// Uniform gives every member as many partitions as the others, as far as what they read lets it, and moves as few as it
// can: a partition stays where it was unless its member would have too many. Among assignments that are as even and move
// as few, it takes one in which the members have a replica near them; Kafka's does not look. Where no member names a
// rack, that makes no difference at all.
//
// With P partitions of R replicas each and M members that all read the same it takes O(P·R + M), and for racks a flow
// through a network of as many nodes as there are different sets of racks that partitions are on. With members that read
// different topics it takes O(P·M) for each time that it looks for a partition that should move.
type Uniform struct{}

// Name implements Assignor.
func (Uniform) Name() string { return "uniform" }

// Assign implements Assignor.
func (Uniform) Assign(s *Spec) map[string]Partitions {
	u := &uniform{spec: s, racks: newRacks(s), sets: make([]Set, len(s.Members)), count: make([]int, len(s.Members))}
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
	racks *racks // nil where they do not matter
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
// already keep theirs, so that nothing moves for the sake of the remainder. Who must give something up keeps what is near.
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
		keep := func(nearOnly bool) {
			for _, t := range m.Target {
				for _, p := range t.Partitions {
					if u.count[i] < quota && m.reads(t.Topic) && int(p) < len(taken[t.Topic]) && !taken[t.Topic][p] && (!nearOnly || u.racks.near(i, t.Topic, p)) {
						taken[t.Topic][p] = true
						u.give(i, t.Topic, p)
					}
				}
			}
		}
		if u.racks != nil {
			keep(true)
		}
		keep(false)
	}
	if u.racks != nil {
		more -= u.giveNear(taken, each, more)
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

// giveNear gives partitions that nobody keeps to members near a replica, up to so many each and some of them one more,
// and returns how many have one more by that.
func (u *uniform) giveNear(taken map[kafka.TopicID][]bool, each, more int) (extras int) {
	var partitions []free
	for _, t := range u.spec.Topics {
		if !u.spec.Members[0].reads(t.ID) {
			continue
		}
		for p, is := range taken[t.ID] {
			if !is {
				partitions = append(partitions, free{t.ID, int32(p)})
			}
		}
	}
	s := slots{fixed: make([][]int, u.racks.count), extra: make([][]int, u.racks.count), extras: more}
	for i, rack := range u.racks.of {
		if rack < 0 {
			continue
		}
		for range each - u.count[i] {
			s.fixed[rack] = append(s.fixed[rack], i)
		}
		if u.count[i] <= each {
			s.extra[rack] = append(s.extra[rack], i)
		}
	}
	for i, member := range u.racks.place(partitions, s) {
		if member < 0 {
			continue
		}
		p := partitions[i]
		taken[p.topic][p.index] = true
		u.give(member, p.topic, p.index)
		if u.count[member] > each {
			extras++
		}
	}
	return extras
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
// until none does. Then those who got something of a topic swap it among themselves so that it is near them.
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
	var kept map[kafka.TopicID][]int
	if u.racks != nil {
		kept = make(map[kafka.TopicID][]int, len(owner))
		for id, list := range owner {
			kept[id] = slices.Clone(list)
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
		if u.racks != nil {
			u.swapNear(t.ID, owner[t.ID], kept[t.ID])
		}
		for p, o := range owner[t.ID] {
			if o >= 0 {
				u.sets[o].Add(t.ID, int32(p))
			}
		}
	}
}

// swapNear changes who gets which of the partitions of a topic that do not stay where they were; everybody gets as many
// as before.
func (u *uniform) swapNear(topic kafka.TopicID, owner, kept []int) {
	var partitions []free
	s := slots{fixed: make([][]int, u.racks.count), extra: make([][]int, u.racks.count)}
	left := make(map[int]int) // how many each member gets
	for p, o := range owner {
		if o < 0 || o == kept[p] {
			continue
		}
		partitions = append(partitions, free{topic, int32(p)})
		if rack := u.racks.of[o]; rack >= 0 {
			s.fixed[rack] = append(s.fixed[rack], o)
		}
		left[o]++
	}
	put := u.racks.place(partitions, s)
	for _, member := range put {
		if member >= 0 {
			left[member]--
		}
	}
	var rest []int
	for _, p := range partitions { // in the order in which they were to get them
		if o := owner[p.index]; left[o] > 0 {
			left[o]--
			rest = append(rest, o)
		}
	}
	for i, member := range put {
		if member < 0 {
			member, rest = rest[0], rest[1:]
		}
		owner[partitions[i].index] = member
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

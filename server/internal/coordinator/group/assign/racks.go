package assign

import (
	"encoding/binary"
	"slices"

	"github.com/millrace-io/millrace/kafka"
)

// racks knows which members have a replica of a partition near them. Kafka's assignors have not looked at racks since
// its own 4.0; here they decide between assignments that are equally good otherwise, and never more than that.
//
// Partitions whose replicas are on the same racks are of one kind: what is decided about racks takes time by the number
// of kinds and racks, of which there are few, and not by that of partitions and members.
type racks struct {
	// of is the rack of each member, -1 when it has none. Racks are numbered as members name them first.
	of    []int
	count int
	kinds [][]int                   // the racks of each kind that members are on, in order
	kind  map[kafka.TopicID][]int32 // of each partition
}

// slots are parts of members that a partition can be put into.
type slots struct {
	// fixed are those to fill, extra those to fill besides, as many of them as there are extras: members by rack, each
	// as often as it can take one.
	fixed, extra [][]int
	extras       int
}

// free is a partition that nobody keeps.
type free struct {
	topic kafka.TopicID
	index int32
}

// newRacks returns nil when no member says where it is, or nothing is known of where partitions are.
func newRacks(s *Spec) *racks {
	r := &racks{of: make([]int, len(s.Members)), kind: make(map[kafka.TopicID][]int32, len(s.Topics))}
	number := map[string]int{}
	for i, m := range s.Members {
		r.of[i] = -1
		if m.Rack == "" {
			continue
		}
		n, known := number[m.Rack]
		if !known {
			n = len(number)
			number[m.Rack] = n
		}
		r.of[i] = n
	}
	r.count = len(number)
	if r.count == 0 {
		return nil
	}
	byRacks := map[string]int32{}
	var on []int
	var key []byte
	for _, t := range s.Topics {
		kinds := make([]int32, t.Partitions)
		for p := range kinds {
			on = on[:0]
			if p < len(t.Racks) {
				for _, rack := range t.Racks[p] {
					if n, known := number[rack]; known {
						on = append(on, n)
					}
				}
			}
			slices.Sort(on)
			on = slices.Compact(on)
			key = key[:0]
			for _, n := range on {
				key = binary.AppendUvarint(key, uint64(n))
			}
			kind, known := byRacks[string(key)]
			if !known {
				kind = int32(len(r.kinds))
				byRacks[string(key)] = kind
				r.kinds = append(r.kinds, slices.Clone(on))
			}
			kinds[p] = kind
		}
		r.kind[t.ID] = kinds
	}
	if !slices.ContainsFunc(r.kinds, func(on []int) bool { return len(on) > 0 }) {
		return nil
	}
	return r
}

// near reports whether a replica of a partition is on the rack of a member.
func (r *racks) near(member int, topic kafka.TopicID, index int32) bool {
	return r.of[member] >= 0 && slices.Contains(r.kinds[r.kind[topic][index]], r.of[member])
}

// place says which member each of some partitions is put to so that as many as can be are near a replica; -1 for the
// others, which may go into any slot that is left.
func (r *racks) place(partitions []free, s slots) []int {
	// source ── kind ── rack ── sink, and beside the last, rack ── extra ── sink
	source, sink, extra, rack, kind := 0, 1, 2, 3, 3+r.count
	f := newFlow(kind + len(r.kinds))
	of := make([][]int, len(r.kinds)) // the partitions of each kind, by their place in the list
	for i, p := range partitions {
		k := r.kind[p.topic][p.index]
		of[k] = append(of[k], i)
	}
	pipes := make([][]int, len(r.kinds))
	for k, list := range of {
		if len(list) == 0 {
			continue
		}
		f.lay(source, kind+k, len(list))
		for _, n := range r.kinds[k] {
			pipes[k] = append(pipes[k], f.lay(kind+k, rack+n, len(list)))
		}
	}
	f.lay(extra, sink, s.extras)
	for n := range r.count {
		f.lay(rack+n, sink, len(s.fixed[n]))
		f.lay(rack+n, extra, len(s.extra[n]))
	}
	f.fill(source, sink)

	put := make([]int, len(partitions))
	for i := range put {
		put[i] = -1
	}
	taken := make([]int, r.count)
	for k, list := range of {
		for i, pipe := range pipes[k] {
			n := r.kinds[k][i]
			for range f.through(pipe) {
				if at := taken[n]; at < len(s.fixed[n]) {
					put[list[0]] = s.fixed[n][at]
				} else {
					put[list[0]] = s.extra[n][at-len(s.fixed[n])]
				}
				taken[n]++
				list = list[1:]
			}
		}
	}
	return put
}

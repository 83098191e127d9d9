package groups

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// event is one line of a member.
type event struct {
	time       int64 // nanoseconds since 1970
	member     string
	kind       string
	generation int // of assigned, or the epoch; 0 when the library does not say
	partitions []int
	offset     int64  // of read and committed
	text       string // of refused
}

// parseEvent reads a member's line.
func parseEvent(member, line string) (event, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return event{}, fmt.Errorf("%s said %q", member, line)
	}
	nanos, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return event{}, fmt.Errorf("%s said %q: %w", member, line, err)
	}
	e := event{time: nanos, member: member, kind: words[1]}
	numbers := words[2:]
	switch e.kind {
	case "refused":
		e.text = strings.Join(words[2:], " ")
		return e, nil
	case "read", "committed":
		if len(words) != 4 {
			return event{}, fmt.Errorf("%s said %q", member, line)
		}
		if e.offset, err = strconv.ParseInt(words[3], 10, 64); err != nil {
			return event{}, fmt.Errorf("%s said %q: %w", member, line, err)
		}
		numbers = words[2:3]
	case "assigned", "revoked", "lost":
		if n := len(numbers); n > 0 && strings.HasPrefix(numbers[n-1], "@") {
			if e.generation, err = strconv.Atoi(numbers[n-1][1:]); err != nil {
				return event{}, fmt.Errorf("%s said %q: %w", member, line, err)
			}
			numbers = numbers[:n-1]
		}
	default:
		return event{}, fmt.Errorf("%s said %q", member, line)
	}
	for _, w := range numbers {
		p, err := strconv.Atoi(w)
		if err != nil {
			return event{}, fmt.Errorf("%s said %q: %w", member, line, err)
		}
		e.partitions = append(e.partitions, p)
	}
	return e, nil
}

// history is what happened to a group, in order. That a member was killed is in it as an event of kind "died", that it
// was stopped as "hung". The member named theBroker is none: Apache Kafka, after it hung, ends the sessions of those whom
// it could not hear meanwhile, so its being stopped is noted as well. Millrace does not, and needs no excuse.
type history []event

const theBroker = "broker"

// owned returns the partitions that each member has at the end.
func (h history) owned() map[string][]int {
	owned := map[string][]int{}
	for _, e := range h {
		switch e.kind {
		case "assigned":
			owned[e.member] = append(owned[e.member], e.partitions...)
			slices.Sort(owned[e.member])
			owned[e.member] = slices.Compact(owned[e.member])
		case "revoked", "lost":
			owned[e.member] = slices.DeleteFunc(owned[e.member], func(p int) bool { return slices.Contains(e.partitions, p) })
		case "died":
			delete(owned, e.member)
		}
	}
	return owned
}

// unread returns how many of so many records of a partition nobody has read.
func (h history) unread(partition int, n int64) int64 {
	read := map[int64]bool{}
	for _, e := range h {
		if e.kind == "read" && e.partitions[0] == partition && e.offset < n {
			read[e.offset] = true
		}
	}
	return n - int64(len(read))
}

// acknowledged is the highest offset of a partition whose commit was acknowledged.
func (h history) acknowledged(partition int) int64 {
	var last int64
	for _, e := range h {
		if e.kind == "committed" && e.partitions[0] == partition {
			last = max(last, e.offset)
		}
	}
	return last
}

// wrong says what no group may do:
//   - a partition has two owners at a time, except that a member which is told that it lost one had it no more, and that
//     one which hung could not say so in time;
//   - a partition has two owners in a generation or epoch, whenever that is;
//   - an offset is committed before all records below it were read;
//   - an owner begins below what had been acknowledged when it became that.
func (h history) wrong() []string {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	owner := map[int]string{}
	prefix := map[int]int64{} // below it everything was read
	read := map[int]map[int64]bool{}
	acked := map[int]int64{}
	begins := map[int]int64{}     // what the first record of a new owner must not be below
	owners := map[[2]int]string{} // by partition and generation
	for i, e := range h {
		for _, p := range e.partitions {
			switch e.kind {
			case "assigned":
				if other := owner[p]; other != "" && other != e.member && !h.loses(i, other, p) {
					bad("partition %d was given to %s while %s had it", p, e.member, other)
				}
				if other := owners[[2]int{p, e.generation}]; e.generation > 0 && other != "" && other != e.member {
					bad("partition %d was given to %s and to %s in generation %d", p, other, e.member, e.generation)
				}
				owners[[2]int{p, e.generation}] = e.member
				owner[p] = e.member
				begins[p] = acked[p]
			case "revoked", "lost":
				if owner[p] == e.member {
					owner[p] = ""
				}
			case "read":
				if first, ok := begins[p]; ok && owner[p] == e.member {
					if e.offset < first {
						bad("%s begins partition %d at %d, below the acknowledged %d", e.member, p, e.offset, first)
					}
					delete(begins, p)
				}
				if read[p] == nil {
					read[p] = map[int64]bool{}
				}
				read[p][e.offset] = true
				for read[p][prefix[p]] {
					prefix[p]++
				}
			case "committed":
				if e.offset > prefix[p] {
					bad("%s committed %d of partition %d, of which only what is below %d was read", e.member, e.offset, p, prefix[p])
				}
				acked[p] = max(acked[p], e.offset)
			}
		}
		if e.kind == "died" {
			for p, m := range owner {
				if m == e.member {
					owner[p] = ""
				}
			}
		}
	}
	return wrong
}

// cannotLose are the libraries that tell of every partition that it was revoked.
var cannotLose = []string{"sarama", "kafka-go", "aiokafka", "kafkajs"}

// loses reports whether the next thing that the member hears of the partition, after an event, is that it is lost. One
// that hung since it was given the partition may hear that it has to give it up, after it has lost it; and some libraries
// do not tell one from the other.
func (h history) loses(after int, member string, partition int) bool {
	library, _, _ := strings.Cut(member, "/")
	late := slices.Contains(cannotLose, library)
	moved := func(e event) bool {
		return e.kind != "read" && e.kind != "committed" && slices.Contains(e.partitions, partition)
	}
	hung := func(e event) bool { return e.kind == "hung" && (e.member == member || e.member == theBroker) }
	for i := after; i >= 0 && !(h[i].member == member && moved(h[i])); i-- {
		late = late || hung(h[i])
	}
	for _, e := range h[after:] {
		switch {
		case hung(e):
			late = true
		case e.member != member:
		case e.kind == "died":
			return late
		case moved(e):
			return e.kind == "lost" || e.kind == "revoked" && late
		}
	}
	return late
}

// moves counts how often a member's assignment changed.
func (h history) moves(member string) int {
	n := 0
	for _, e := range h {
		if e.member == member && (e.kind == "assigned" || e.kind == "revoked" || e.kind == "lost") {
			n++
		}
	}
	return n
}

package assign

import (
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/kafka"
)

// Partitions is a set of partitions of topics. It is immutable: what changes it returns another.
//
// Invariant: topics in the order of their ids, none empty; their partitions in order, none twice.
type Partitions []TopicPartitions

// TopicPartitions are some partitions of one topic.
type TopicPartitions struct {
	Topic      kafka.TopicID
	Partitions []int32
}

// Len is the number of partitions.
func (p Partitions) Len() int {
	n := 0
	for _, t := range p {
		n += len(t.Partitions)
	}
	return n
}

// Of returns the partitions of one topic.
func (p Partitions) Of(topic kafka.TopicID) []int32 {
	if i, found := slices.BinarySearchFunc(p, topic, func(t TopicPartitions, id kafka.TopicID) int { return t.Topic.Compare(id) }); found {
		return p[i].Partitions
	}
	return nil
}

// Has reports whether a partition is in the set.
func (p Partitions) Has(topic kafka.TopicID, partition int32) bool {
	_, found := slices.BinarySearch(p.Of(topic), partition)
	return found
}

// Equal reports whether two sets are the same.
func (p Partitions) Equal(q Partitions) bool {
	return slices.EqualFunc(p, q, func(a, b TopicPartitions) bool {
		return a.Topic == b.Topic && slices.Equal(a.Partitions, b.Partitions)
	})
}

// Filter returns the partitions that keep says yes to.
func (p Partitions) Filter(keep func(topic kafka.TopicID, partition int32) bool) Partitions {
	var out Partitions
	for _, t := range p {
		var kept []int32
		for _, n := range t.Partitions {
			if keep(t.Topic, n) {
				kept = append(kept, n)
			}
		}
		if kept != nil {
			out = append(out, TopicPartitions{t.Topic, kept})
		}
	}
	return out
}

// Intersect returns what is in both.
func (p Partitions) Intersect(q Partitions) Partitions { return p.Filter(q.Has) }

// Minus returns what is not in q.
func (p Partitions) Minus(q Partitions) Partitions {
	return p.Filter(func(t kafka.TopicID, n int32) bool { return !q.Has(t, n) })
}

// Union returns what is in either.
func (p Partitions) Union(q Partitions) Partitions {
	b := Set{}
	b.AddAll(p)
	b.AddAll(q)
	return b.Partitions()
}

// String lists the set, as topic:[partitions].
func (p Partitions) String() string {
	var words []string
	for _, t := range p {
		words = append(words, fmt.Sprintf("%s:%v", t.Topic, t.Partitions))
	}
	return strings.Join(words, " ")
}

// Set is a set of partitions that is being made.
type Set map[kafka.TopicID][]int32

// Add puts a partition in; the same may be put in twice.
func (s Set) Add(topic kafka.TopicID, partition int32) { s[topic] = append(s[topic], partition) }

// AddAll puts a set in.
func (s Set) AddAll(p Partitions) {
	for _, t := range p {
		s[t.Topic] = append(s[t.Topic], t.Partitions...)
	}
}

// Partitions returns the set; s must not be used any more.
func (s Set) Partitions() Partitions {
	var out Partitions
	for topic, list := range s {
		slices.Sort(list)
		if list = slices.Compact(list); len(list) > 0 {
			out = append(out, TopicPartitions{topic, list})
		}
	}
	slices.SortFunc(out, func(a, b TopicPartitions) int { return a.Topic.Compare(b.Topic) })
	return out
}

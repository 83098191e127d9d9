package controller

import (
	"bytes"
	"iter"
	"math/bits"
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// index tells which partitions have a replica on a broker: for each broker a set of topics, for each of those
// a bit per partition. It follows the speculative image, record batch by record batch.
type index struct {
	brokers map[int32]map[kafka.TopicID][]uint64
}

func newIndex(image *metadata.Image) *index {
	x := &index{brokers: make(map[int32]map[kafka.TopicID][]uint64)}
	for t := range image.Topics() {
		x.replace(nil, t)
	}
	return x
}

// replace moves from one state of a topic to the next; nil for none.
func (x *index) replace(old, new *metadata.Topic) {
	if old != nil && new != nil && old.ID != new.ID {
		x.replace(old, nil)
		old = nil
	}
	count := 0
	if old != nil {
		count = len(old.Partitions)
	}
	if new != nil {
		count = max(count, len(new.Partitions))
	}
	for i := range int32(count) {
		before, after := old.Partition(i), new.Partition(i)
		if before == after {
			continue
		}
		if before != nil && after != nil && slices.Equal(before.Replicas, after.Replicas) {
			continue
		}
		if before != nil {
			for _, broker := range before.Replicas {
				x.clear(broker, old.ID, i)
			}
		}
		if after != nil {
			for _, broker := range after.Replicas {
				x.set(broker, new.ID, i)
			}
		}
	}
}

func (x *index) set(broker int32, topic kafka.TopicID, partition int32) {
	topics := x.brokers[broker]
	if topics == nil {
		topics = make(map[kafka.TopicID][]uint64)
		x.brokers[broker] = topics
	}
	words := topics[topic]
	for int(partition/64) >= len(words) {
		words = append(words, 0)
	}
	words[partition/64] |= 1 << (partition % 64)
	topics[topic] = words
}

func (x *index) clear(broker int32, topic kafka.TopicID, partition int32) {
	words := x.brokers[broker][topic]
	if int(partition/64) >= len(words) {
		return
	}
	words[partition/64] &^= 1 << (partition % 64)
	for _, word := range words {
		if word != 0 {
			return
		}
	}
	delete(x.brokers[broker], topic)
}

// partitions yields the partitions with a replica on the broker, by topic id and number: the order reaches
// records, so it must not be that of a map.
func (x *index) partitions(broker int32) iter.Seq[kafka.TopicIDPartition] {
	return func(yield func(kafka.TopicIDPartition) bool) {
		topics := x.brokers[broker]
		ids := make([]kafka.TopicID, 0, len(topics))
		for id := range topics {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(a, b kafka.TopicID) int { return bytes.Compare(a[:], b[:]) })
		for _, id := range ids {
			for w, word := range topics[id] {
				for ; word != 0; word &= word - 1 {
					p := int32(w*64 + bits.TrailingZeros64(word))
					if !yield(kafka.TopicIDPartition{TopicID: id, Partition: p}) {
						return
					}
				}
			}
		}
	}
}

package group

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// OffsetDelete deletes offsets that no member of the group reads on from (KIP-496).
func (c *Coordinator) OffsetDelete(request *wire.OffsetDeleteRequest, done func(*wire.OffsetDeleteResponse, error)) {
	c.run(request.GroupID, func(s *Shard, _ time.Time) (coordinator.Result, func(error)) {
		g := s.find(request.GroupID)
		err := notFound(request.GroupID)
		if g != nil {
			err = g.CheckOffsetDelete()
		}
		if err != nil {
			return coordinator.Result{}, func(error) { done(nil, err) }
		}
		response, res := &wire.OffsetDeleteResponse{}, coordinator.Result{Split: true}
		for _, t := range request.Topics {
			topic := wire.OffsetDeleteResponseTopics{Name: t.Name}
			subscribed := g.Subscribed(t.Name)
			for _, p := range t.Partitions {
				one := wire.OffsetDeleteResponsePartitions{PartitionIndex: p.PartitionIndex}
				where := place{request.GroupID, t.Name, p.PartitionIndex}
				if subscribed {
					one.ErrorCode = kafka.GroupSubscribedToTopic
				} else if _, committed := s.offsets.get(where); committed || s.offsets.unstable(where) {
					res.Records = append(res.Records, where.tombstone())
				}
				topic.Partitions = append(topic.Partitions, one)
			}
			response.Topics = append(response.Topics, topic)
		}
		return res, func(err error) { done(response, err) }
	}, func(err error) { done(nil, err) })
}

// DeleteGroup deletes a group that has no members, with its offsets.
func (c *Coordinator) DeleteGroup(id string, done func(error)) {
	c.run(id, func(s *Shard, _ time.Time) (coordinator.Result, func(error)) {
		g := s.find(id)
		err := notFound(id)
		if g != nil {
			err = g.CheckDelete()
		}
		if err != nil {
			return coordinator.Result{}, func(error) { done(err) }
		}
		return coordinator.Result{Records: s.deletion(g, id), Split: true}, done
	}, done)
}

// deletion is the records that delete a group with its offsets: the group goes last, so that a deletion that was cut
// short is found and can be asked for again.
func (s *Shard) deletion(g Group, id string) []coordinator.Record {
	var records []coordinator.Record
	for _, where := range s.offsets.places(id) {
		records = append(records, where.tombstone())
	}
	return append(records, g.Tombstones()...)
}

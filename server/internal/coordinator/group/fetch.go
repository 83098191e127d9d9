package group

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// OffsetFetch answers where a group is, in the partitions asked for or, without topics, in all of them. With stable, an
// offset that an open transaction may still replace is told as unstable (KIP-447).
func (c *Coordinator) OffsetFetch(request *wire.OffsetFetchRequestGroups, stable bool, done func(*wire.OffsetFetchResponseGroups, error)) {
	c.run(request.GroupID, func(s *Shard, _ time.Time) (coordinator.Result, func(error)) {
		response, err := s.fetchOffsets(request, stable)
		return coordinator.Result{}, func(failed error) {
			if failed != nil {
				err = failed
			}
			done(response, err)
		}
	}, func(err error) { done(nil, err) })
}

func (s *Shard) fetchOffsets(request *wire.OffsetFetchRequestGroups, stable bool) (*wire.OffsetFetchResponseGroups, error) {
	response := &wire.OffsetFetchResponseGroups{GroupID: request.GroupID}
	if g := s.find(request.GroupID); g != nil {
		if err := g.CheckFetch(request.MemberID, request.MemberEpoch); err != nil {
			return nil, err
		}
	} // a group that there is not has committed nothing
	if request.Topics == nil {
		for where := range s.offsets.of(request.GroupID) {
			if n := len(response.Topics); n == 0 || response.Topics[n-1].Name != where.topic {
				response.Topics = append(response.Topics, wire.OffsetFetchResponseGroupsTopics{Name: where.topic})
			}
			topic := &response.Topics[len(response.Topics)-1]
			topic.Partitions = append(topic.Partitions, s.fetchOffset(where, kafka.TopicID{}, stable))
		}
		return response, nil
	}
	for _, t := range request.Topics {
		topic := wire.OffsetFetchResponseGroupsTopics{TopicID: t.TopicID, Name: t.Name}
		for _, p := range t.PartitionIndexes {
			topic.Partitions = append(topic.Partitions, s.fetchOffset(place{request.GroupID, t.Name, p}, t.TopicID, stable))
		}
		response.Topics = append(response.Topics, topic)
	}
	return response, nil
}

// fetchOffset is the answer for one partition. Who asks by a topic's id is not told what was committed of another topic,
// which had the name before.
func (s *Shard) fetchOffset(where place, topic kafka.TopicID, stable bool) wire.OffsetFetchResponseGroupsTopicsPartitions {
	none := ""
	one := wire.OffsetFetchResponseGroupsTopicsPartitions{PartitionIndex: where.partition, CommittedOffset: kafka.NoOffset, CommittedLeaderEpoch: kafka.NoEpoch, Metadata: &none}
	committed, ok := s.offsets.get(where)
	switch {
	case stable && s.offsets.unstable(where):
		one.ErrorCode = kafka.UnstableOffsetCommit
	case ok && (committed.isOf(topic) || topic == kafka.TopicID{}):
		one.CommittedOffset, one.CommittedLeaderEpoch, one.Metadata = committed.Offset, committed.LeaderEpoch, &committed.Metadata
	}
	return one
}

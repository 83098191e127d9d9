package group

import (
	"iter"
	"time"
	"unicode/utf16"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
)

// commitKnowsGroups is the first version of OffsetCommit that knows the errors of KIP-848.
const commitKnowsGroups = 9

// OffsetCommit commits offsets, or deletes nothing: a request with an error of its own has it in every partition. The
// topics of the request must exist and have both name and id, as far as the gate knows them.
func (c *Coordinator) OffsetCommit(request *wire.OffsetCommitRequest, version int16, done func(*wire.OffsetCommitResponse, error)) {
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		who := committer{request.MemberID, request.GroupInstanceID, request.GenerationIDOrMemberEpoch, false, version, committed(request.Topics)}
		if err := s.mayCommit(request.GroupID, who, now); err != nil {
			return coordinator.Result{}, func(error) { done(nil, err) }
		}
		expireMs := int64(-1)
		if request.RetentionTimeMs != -1 { // a time that is over is one, too
			expireMs = now.UnixMilli() + request.RetentionTimeMs
		}
		response, res := &wire.OffsetCommitResponse{}, coordinator.Result{}
		for _, t := range request.Topics {
			topic := wire.OffsetCommitResponseTopics{TopicID: t.TopicID, Name: t.Name}
			for _, p := range t.Partitions {
				one := wire.OffsetCommitResponsePartitions{PartitionIndex: p.PartitionIndex}
				if c.tooLong(p.CommittedMetadata) {
					one.ErrorCode = kafka.OffsetMetadataTooLarge
				} else {
					res.Records = append(res.Records, place{request.GroupID, t.Name, p.PartitionIndex}.record(Offset{
						Offset: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch, Metadata: text(p.CommittedMetadata),
						CommitMs: now.UnixMilli(), ExpireMs: expireMs, TopicID: t.TopicID,
					}))
				}
				topic.Partitions = append(topic.Partitions, one)
			}
			response.Topics = append(response.Topics, topic)
		}
		c.figures.commits.Add(int64(len(res.Records)))
		return res, func(err error) { done(response, err) }
	}, func(err error) { done(nil, err) })
}

// TxnOffsetCommit commits offsets that count when the transaction of the producer does (KIP-447).
func (c *Coordinator) TxnOffsetCommit(request *wire.TxnOffsetCommitRequest, version int16, done func(*wire.TxnOffsetCommitResponse, error)) {
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		who := committer{request.MemberID, request.GroupInstanceID, request.GenerationIDOrMemberEpoch, true, version, c.sent(request.Topics)}
		if err := s.mayCommit(request.GroupID, who, now); err != nil {
			return coordinator.Result{}, func(error) { done(nil, err) }
		}
		response := &wire.TxnOffsetCommitResponse{}
		res := coordinator.Result{Producer: &coordinator.Producer{ID: request.ProducerID, Epoch: request.ProducerEpoch}}
		for _, t := range request.Topics {
			topic := wire.TxnOffsetCommitResponseTopics{Name: t.Name}
			for _, p := range t.Partitions {
				one := wire.TxnOffsetCommitResponsePartitions{PartitionIndex: p.PartitionIndex}
				if c.tooLong(p.CommittedMetadata) {
					one.ErrorCode = kafka.OffsetMetadataTooLarge
				} else {
					res.Records = append(res.Records, place{request.GroupID, t.Name, p.PartitionIndex}.record(Offset{
						Offset: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch, Metadata: text(p.CommittedMetadata),
						CommitMs: now.UnixMilli(), ExpireMs: -1, TopicID: c.topicID(t.Name),
					}))
				}
				topic.Partitions = append(topic.Partitions, one)
			}
			response.Topics = append(response.Topics, topic)
		}
		return res, func(err error) { done(response, err) }
	}, func(err error) { done(nil, err) })
}

// tooLong reports whether a text is longer than offset.metadata.max.bytes allows, which Kafka takes for what Java takes for
// the length of a text.
func (c *Coordinator) tooLong(metadata *string) bool {
	limit := c.o.Config.OffsetMetadataMaxBytes
	return metadata != nil && len(*metadata) > limit && len(utf16.Encode([]rune(*metadata))) > limit
}

// committer says who commits offsets.
type committer struct {
	memberID      string
	instance      *string
	epoch         int32
	transactional bool
	version       int16
	partitions    iter.Seq2[kafka.TopicID, int32]
}

// committed lists the partitions of a commit, by the ids of their topics.
func committed(topics []wire.OffsetCommitRequestTopics) iter.Seq2[kafka.TopicID, int32] {
	return func(yield func(kafka.TopicID, int32) bool) {
		for _, t := range topics {
			for _, p := range t.Partitions {
				if !yield(t.TopicID, p.PartitionIndex) {
					return
				}
			}
		}
	}
}

// sent lists the partitions of a commit in a transaction.
func (c *Coordinator) sent(topics []wire.TxnOffsetCommitRequestTopics) iter.Seq2[kafka.TopicID, int32] {
	return func(yield func(kafka.TopicID, int32) bool) {
		for _, t := range topics {
			id := c.topicID(t.Name)
			for _, p := range t.Partitions {
				if !yield(id, p.PartitionIndex) {
					return
				}
			}
		}
	}
}

// mayCommit finds the group and reports whether it takes a commit. Who is no member of a group that there is not may:
// the commit makes a group of its own.
func (s *Shard) mayCommit(id string, who committer, now time.Time) error {
	g := s.find(id)
	if g == nil {
		switch {
		case who.epoch < 0:
			return nil
		case who.version >= commitKnowsGroups && !who.transactional:
			return notFound(id)
		}
		return kafka.IllegalGeneration.Errorf("there is no group %q, and so no generation %d of it", id, who.epoch)
	}
	if err := g.CheckCommit(who.memberID, who.instance, who.epoch, who.transactional, who.version, who.partitions); err != nil {
		if kafka.CodeOf(err) == kafka.StaleMemberEpoch && !who.transactional && who.version < commitKnowsGroups {
			return kafka.IllegalGeneration.Errorf("%v", err)
		}
		return err
	}
	if g, ok := g.(*classic.Group); ok && !who.transactional {
		g.Heard(who.memberID, now) // a commit is as good as a heartbeat
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

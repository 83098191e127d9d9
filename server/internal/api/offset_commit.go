package api

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// OffsetCommit, versions 2 to 10: where a group is in its partitions. Topics by id from version 10 on. Partitions that do
// not exist are refused here, everything else is the coordinator's.

func offsetCommit(c *call, request *wire.OffsetCommitRequest, respond func(wire.Message)) {
	if !c.allowed(OpRead, ResGroup, request.GroupID) {
		respond(refuseCommit(wire.NewOffsetCommitResponse(), request.Topics, kafka.GroupAuthorizationFailed))
		return
	}
	response := wire.NewOffsetCommitResponse()
	good := request.Topics[:0]
	for _, t := range request.Topics {
		var known *metadata.Topic
		if c.version() >= 10 {
			if known = c.image.TopicByID(t.TopicID); known == nil {
				refuseCommit(response, []wire.OffsetCommitRequestTopics{t}, kafka.UnknownTopicID)
				continue
			}
			t.Name = known.Name
		}
		if !c.allowed(OpRead, ResTopic, t.Name) {
			refuseCommit(response, []wire.OffsetCommitRequestTopics{t}, kafka.TopicAuthorizationFailed)
			continue
		}
		if known == nil {
			known = c.image.Topic(t.Name)
		}
		if known != nil {
			t.TopicID = known.ID
		}
		unknown := func(p wire.OffsetCommitRequestPartitions) bool { return known.Partition(p.PartitionIndex) == nil }
		if len(t.Partitions) > 0 && !slices.ContainsFunc(t.Partitions, unknown) {
			good = append(good, t)
			continue
		}
		there, missing := t, t
		there.Partitions, missing.Partitions = nil, nil
		for _, p := range t.Partitions {
			if unknown(p) {
				missing.Partitions = append(missing.Partitions, p)
			} else {
				there.Partitions = append(there.Partitions, p)
			}
		}
		if len(missing.Partitions) > 0 || len(t.Partitions) == 0 {
			refuseCommit(response, []wire.OffsetCommitRequestTopics{missing}, kafka.UnknownTopicOrPartition)
		}
		if len(there.Partitions) > 0 {
			good = append(good, there)
		}
	}
	if request.Topics = good; len(good) == 0 {
		respond(response)
		return
	}
	c.t.o.Groups.OffsetCommit(request, c.version(), func(committed *wire.OffsetCommitResponse, err error) {
		if err != nil {
			respond(refuseCommit(response, good, kafka.CodeOf(err)))
			return
		}
		for _, t := range committed.Topics {
			addCommitted(response, t)
		}
		respond(response)
	})
}

// refuseCommit adds an error for every partition of topics.
func refuseCommit(response *wire.OffsetCommitResponse, topics []wire.OffsetCommitRequestTopics, code kafka.ErrorCode) *wire.OffsetCommitResponse {
	for _, t := range topics {
		one := wire.OffsetCommitResponseTopics{TopicID: t.TopicID, Name: t.Name}
		for _, p := range t.Partitions {
			one.Partitions = append(one.Partitions, wire.OffsetCommitResponsePartitions{PartitionIndex: p.PartitionIndex, ErrorCode: code})
		}
		addCommitted(response, one)
	}
	return response
}

// addCommitted puts what became of a topic behind what is known of it already.
func addCommitted(response *wire.OffsetCommitResponse, t wire.OffsetCommitResponseTopics) {
	for i := range response.Topics {
		if to := &response.Topics[i]; to.Name == t.Name && to.TopicID == t.TopicID {
			to.Partitions = append(to.Partitions, t.Partitions...)
			return
		}
	}
	response.Topics = append(response.Topics, t)
}

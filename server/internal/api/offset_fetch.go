package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// OffsetFetch, versions 1 to 10: where groups are. One group before version 8, several after (KIP-709); all of its
// partitions when the topics are null (from version 2 on); topics by id from version 10 on.
//
//	error of a group   in its place from version 8 on, before that once for the response, and in version 1, which has no
//	                   such place, in every partition

func offsetFetch(c *call, request *wire.OffsetFetchRequest, respond func(wire.Message)) {
	response := wire.NewOffsetFetchResponse()
	if c.version() < 8 {
		one := wire.OffsetFetchRequestGroups{GroupID: request.GroupID, MemberEpoch: kafka.NoEpoch}
		if request.Topics != nil {
			one.Topics = []wire.OffsetFetchRequestGroupsTopics{}
		}
		for _, t := range request.Topics {
			one.Topics = append(one.Topics, wire.OffsetFetchRequestGroupsTopics{Name: t.Name, PartitionIndexes: t.PartitionIndexes})
		}
		c.fetchGroup(&one, request.RequireStable, func(g wire.OffsetFetchResponseGroups) {
			respond(c.singleGroup(response, &one, g))
		})
		return
	}
	gather(request.Groups, func(g wire.OffsetFetchRequestGroups, answer func(wire.OffsetFetchResponseGroups)) {
		c.fetchGroup(&g, request.RequireStable, answer)
	}, func(groups []wire.OffsetFetchResponseGroups) {
		response.Groups = groups
		respond(response)
	})
}

// singleGroup is the answer of the versions that know one group.
func (c *call) singleGroup(response *wire.OffsetFetchResponse, request *wire.OffsetFetchRequestGroups, g wire.OffsetFetchResponseGroups) wire.Message {
	response.ErrorCode = g.ErrorCode
	if g.ErrorCode != kafka.None && c.version() < 2 {
		for _, t := range request.Topics {
			g.Topics = append(g.Topics, refuseFetch(t, g.ErrorCode))
		}
	}
	for _, t := range g.Topics {
		one := wire.OffsetFetchResponseTopics{Name: t.Name}
		for _, p := range t.Partitions {
			one.Partitions = append(one.Partitions, wire.OffsetFetchResponseTopicsPartitions(p))
		}
		response.Topics = append(response.Topics, one)
	}
	return response
}

// fetchGroup asks for the offsets of one group in the topics that the caller may know of.
func (c *call) fetchGroup(request *wire.OffsetFetchRequestGroups, stable bool, done func(wire.OffsetFetchResponseGroups)) {
	if !c.allowed(OpDescribe, ResGroup, request.GroupID) {
		done(wire.OffsetFetchResponseGroups{GroupID: request.GroupID, ErrorCode: kafka.GroupAuthorizationFailed})
		return
	}
	good := *request
	var refused []wire.OffsetFetchResponseGroupsTopics
	if request.Topics != nil {
		good.Topics = []wire.OffsetFetchRequestGroupsTopics{}
		for _, t := range request.Topics {
			if c.version() >= 10 {
				known := c.image.TopicByID(t.TopicID)
				if known == nil {
					refused = append(refused, refuseFetch(t, kafka.UnknownTopicID))
					continue
				}
				t.Name = known.Name
			}
			if !c.allowed(OpDescribe, ResTopic, t.Name) {
				refused = append(refused, refuseFetch(t, kafka.TopicAuthorizationFailed))
				continue
			}
			good.Topics = append(good.Topics, t)
		}
	}
	c.t.o.Groups.OffsetFetch(&good, stable, func(response *wire.OffsetFetchResponseGroups, err error) {
		if err != nil {
			done(wire.OffsetFetchResponseGroups{GroupID: request.GroupID, ErrorCode: kafka.CodeOf(err)})
			return
		}
		if request.Topics == nil {
			response.Topics = c.visible(response.Topics)
		}
		response.Topics = append(response.Topics, refused...)
		done(*response)
	})
}

// visible leaves out the topics that the caller may not know of and, where topics have ids, those that have none any more.
func (c *call) visible(topics []wire.OffsetFetchResponseGroupsTopics) []wire.OffsetFetchResponseGroupsTopics {
	kept := topics[:0]
	for _, t := range topics {
		if !c.allowed(OpDescribe, ResTopic, t.Name) {
			continue
		}
		if c.version() >= 10 {
			known := c.image.Topic(t.Name)
			if known == nil {
				continue
			}
			t.TopicID = known.ID
		}
		kept = append(kept, t)
	}
	return kept
}

func refuseFetch(t wire.OffsetFetchRequestGroupsTopics, code kafka.ErrorCode) wire.OffsetFetchResponseGroupsTopics {
	none := ""
	one := wire.OffsetFetchResponseGroupsTopics{TopicID: t.TopicID, Name: t.Name}
	for _, p := range t.PartitionIndexes {
		one.Partitions = append(one.Partitions, wire.OffsetFetchResponseGroupsTopicsPartitions{
			PartitionIndex: p, CommittedOffset: kafka.NoOffset, CommittedLeaderEpoch: kafka.NoEpoch, Metadata: &none, ErrorCode: code,
		})
	}
	return one
}

package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// answerSlack is how much later than its limits an answer may come: a tick.
const answerSlack = 2 * time.Second

// place is a partition that a group has committed an offset of.
type place struct {
	group, topic string
	partition    int32
}

func (p place) String() string { return fmt.Sprintf("%s of %s/%d", p.group, p.topic, p.partition) }

// join hands a JoinGroup to the coordinator.
func (w *world) join(request wire.JoinGroupRequest, client string, done func(*wire.JoinGroupResponse, error)) {
	if w.bug == KeepsTheDead {
		request.SessionTimeoutMs = int32((30 * time.Minute).Milliseconds())
	}
	w.c.JoinGroup(&request, w.caller(client, 9), done)
}

// caller is a client that may know of every topic.
func (w *world) caller(client string, version int16) group.Caller {
	c := group.Caller{ClientID: client, Host: "/h", Version: version}
	if w.bug == HidesTopics {
		c.Describes = func(topic string) bool { return topic != "t0" }
	}
	return c
}

// commit sends a commit of one partition, with an offset that no other commit has. Its text says in which epoch it was
// made, so that the ledger can judge it.
func (c *client) commit(memberID string, epoch int32, of string, hear func(error), silence func()) {
	w := c.w
	topic, partition := parsePlace(of)
	w.serial++
	offset, text := w.serial, fmt.Sprintf("%s@%d", memberID, epoch)
	c.ask(fmt.Sprintf("commit %d of %s in epoch %d", offset, of, epoch), 0, writeTimeout+3*time.Second, func(answer answer) {
		id, known := w.topics[topic]
		if !known {
			answer(func() { hear(kafka.UnknownTopicOrPartition) })
			return
		}
		request := &wire.OffsetCommitRequest{GroupID: c.in.name, MemberID: memberID, GroupInstanceID: c.instance, GenerationIDOrMemberEpoch: epoch, RetentionTimeMs: -1}
		if w.bug == TakesOldCommits && c.in.newestID != "" {
			request.MemberID, request.GenerationIDOrMemberEpoch, request.GroupInstanceID = c.in.newestID, c.in.newestEpoch, nil
		}
		if holder := c.in.holder[c.instanceID()]; w.bug == TakesReplaced && holder != "" {
			request.MemberID = holder
		}
		request.Topics = []wire.OffsetCommitRequestTopics{{Name: topic, TopicID: id, Partitions: []wire.OffsetCommitRequestPartitions{
			{PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: -1, CommittedMetadata: &text}}}}
		w.c.OffsetCommit(request, 9, func(r *wire.OffsetCommitResponse, err error) {
			if err == nil && r.Topics[0].Partitions[0].ErrorCode != 0 {
				err = r.Topics[0].Partitions[0].ErrorCode
			}
			if err == nil {
				w.acknowledged(place{c.in.name, topic, partition}, offset)
			}
			answer(func() { hear(err) })
		})
	}, silence)
}

// fetch asks, as somebody without membership, where a group is, and judges the answer.
func (w *world) fetch(c *client) {
	if w.chance(0.5) {
		w.fetchByID(c)
		return
	}
	c.ask("fetch", 0, writeTimeout+3*time.Second, func(answer answer) {
		floor := w.ledger.positions(c.in.name)
		w.c.OffsetFetch(&wire.OffsetFetchRequestGroups{GroupID: c.in.name, MemberEpoch: -1}, false, func(r *wire.OffsetFetchResponseGroups, err error) {
			if err == nil {
				w.checkFetched(c.in.name, floor, r)
			}
			answer(func() {})
		})
	}, func() {})
}

// fetchByID asks for offsets of the topics that there are, by their ids.
func (w *world) fetchByID(c *client) {
	c.ask("fetch by id", 0, writeTimeout+3*time.Second, func(answer answer) {
		request := &wire.OffsetFetchRequestGroups{GroupID: c.in.name, MemberEpoch: -1, Topics: []wire.OffsetFetchRequestGroupsTopics{}}
		for _, name := range w.sortedTopics() {
			t := wire.OffsetFetchRequestGroupsTopics{Name: name, TopicID: w.topics[name]}
			for p := range w.partitionsOf(name) {
				t.PartitionIndexes = append(t.PartitionIndexes, p)
			}
			request.Topics = append(request.Topics, t)
		}
		w.c.OffsetFetch(request, false, func(r *wire.OffsetFetchResponseGroups, err error) {
			if err == nil {
				w.checkAsked(request.Topics, r)
			}
			answer(func() {})
		})
	}, func() {})
}

// deleteGroup asks for the end of a group, which has it when it has no members.
func (w *world) deleteGroup(c *client) {
	c.ask("deletion of "+c.in.name, 0, writeTimeout+3*time.Second, func(answer answer) {
		w.asked[c.in.name] = w.now
		floor := w.of(c.in.name).log.End
		w.c.DeleteGroup(c.in.name, func(err error) {
			w.say("the deletion of %s: %v", c.in.name, kafka.CodeOf(err))
			if err == nil {
				w.checkDeleted(c.in, floor)
			}
			answer(func() { c.judge("deletion", err, kafka.None, kafka.NonEmptyGroup, kafka.GroupIDNotFound) })
		})
	}, func() {})
}

// deleteOffsets asks for the deletion of the offsets of a topic, which happens when no member reads it.
func (w *world) deleteOffsets(c *client) {
	topic := pick(w, c.in.topics)
	c.ask("deletion of the offsets of "+topic, 0, writeTimeout+3*time.Second, func(answer answer) {
		w.asked[c.in.name] = w.now
		t := wire.OffsetDeleteRequestTopics{Name: topic}
		for p := range int32(8) {
			t.Partitions = append(t.Partitions, wire.OffsetDeleteRequestPartitions{PartitionIndex: p})
		}
		w.c.OffsetDelete(&wire.OffsetDeleteRequest{GroupID: c.in.name, Topics: []wire.OffsetDeleteRequestTopics{t}}, func(_ *wire.OffsetDeleteResponse, err error) {
			answer(func() { c.judge("deletion of offsets", err, kafka.None, kafka.GroupIDNotFound) })
		})
	}, func() {})
}

func parsePlace(of string) (topic string, partition int32) {
	topic, number, _ := strings.Cut(of, "/")
	for _, digit := range number {
		partition = 10*partition + digit - '0'
	}
	return topic, partition
}

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
	w.c.JoinGroup(&request, group.Caller{ClientID: client, Host: "/h", Version: 9}, done)
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
		request := &wire.OffsetCommitRequest{GroupID: c.in.name, MemberID: memberID, GenerationIDOrMemberEpoch: epoch, RetentionTimeMs: -1}
		if w.bug == TakesOldCommits && c.in.newestID != "" {
			request.MemberID, request.GenerationIDOrMemberEpoch = c.in.newestID, c.in.newestEpoch
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

func parsePlace(of string) (topic string, partition int32) {
	topic, number, _ := strings.Cut(of, "/")
	for _, digit := range number {
		partition = 10*partition + digit - '0'
	}
	return topic, partition
}

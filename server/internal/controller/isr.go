package controller

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// alterPartition decides AlterPartition: a leader says who is in sync (KIP-497). It must know the partition's
// current leader epoch and partition epoch, and every member it names must be alive in the incarnation it saw
// (KIP-841, KIP-903).
func (v *view) alterPartition(r *wire.AlterPartitionRequest, version int16) (change, error) {
	response := &wire.AlterPartitionResponse{}
	if err := v.checkEpoch(r.BrokerID, r.BrokerEpoch); err != nil {
		response.ErrorCode = kafka.CodeOf(err)
		return respond(response)
	}
	var records []record
	for i := range r.Topics {
		asked := &r.Topics[i]
		answers := wire.AlterPartitionResponseTopics{TopicID: asked.TopicID}
		topic := v.image.TopicByID(asked.TopicID)
		var rules topicRules
		if topic != nil {
			rules = v.rules(topic.Name)
		}
		for j := range asked.Partitions {
			p := &asked.Partitions[j]
			answer := wire.AlterPartitionResponsePartitions{PartitionIndex: p.PartitionIndex}
			changed, err := v.alterISR(r.BrokerID, topic, rules, p, version, &answer)
			if err != nil {
				answer.ErrorCode = kafka.CodeOf(err)
			}
			records = append(records, changed...)
			answers.Partitions = append(answers.Partitions, answer)
		}
		response.Topics = append(response.Topics, answers)
	}
	return change{records: records, response: response}, nil
}

func (v *view) alterISR(broker int32, topic *metadata.Topic, rules topicRules, r *wire.AlterPartitionRequestPartitions, version int16, answer *wire.AlterPartitionResponsePartitions) ([]record, error) {
	if topic == nil {
		return nil, kafka.UnknownTopicID
	}
	p := topic.Partition(r.PartitionIndex)
	if p == nil {
		return nil, kafka.UnknownTopicOrPartition
	}
	isr := r.NewIsr
	epochs := make(map[int32]int64)
	if version >= 3 {
		isr = nil
		for _, member := range r.NewIsrWithEpochs {
			isr = append(isr, member.BrokerID)
			epochs[member.BrokerID] = member.BrokerEpoch
		}
	}
	switch {
	case r.LeaderEpoch > p.LeaderEpoch || r.PartitionEpoch > p.PartitionEpoch:
		// The broker is ahead: it follows a newer controller.
		return nil, kafka.NotController
	case broker != p.Leader:
		return nil, kafka.InvalidRequest
	case r.LeaderEpoch < p.LeaderEpoch:
		return nil, kafka.FencedLeaderEpoch
	case r.PartitionEpoch < p.PartitionEpoch:
		return nil, kafka.InvalidUpdateVersion
	case !slices.Contains(isr, p.Leader):
		return nil, kafka.InvalidRequest
	case r.LeaderRecoveryState != recovered && r.LeaderRecoveryState != recovering:
		return nil, kafka.InvalidRequest
	case r.LeaderRecoveryState == recovering && len(isr) > 1:
		return nil, kafka.InvalidRequest
	case r.LeaderRecoveryState == recovering && p.RecoveryState == recovered:
		return nil, kafka.InvalidRequest
	}
	for i, id := range isr {
		if !p.HasReplica(id) || slices.Contains(isr[:i], id) {
			return nil, kafka.InvalidRequest
		}
	}
	for _, id := range isr {
		if id == p.Leader {
			continue
		}
		epoch, told := epochs[id]
		if !v.active(id) || told && epoch >= 0 && v.image.Broker(id).Epoch != epoch {
			return nil, kafka.IneligibleReplica
		}
	}
	c := partitionChange{Partition: p, topic: topic.ID, partition: r.PartitionIndex, minISR: rules.minISR, elr: v.elr(),
		version: v.partitionVersion(), isr: isr, recovery: r.LeaderRecoveryState, mayLead: v.mayLeadBut(p, kafka.NoNode, kafka.NoNode)}
	change, changed := c.record()
	answer.LeaderID, answer.LeaderEpoch, answer.Isr = p.Leader, p.LeaderEpoch, isr
	answer.LeaderRecoveryState, answer.PartitionEpoch = r.LeaderRecoveryState, p.PartitionEpoch
	if !changed {
		return nil, nil
	}
	if leader := change.message.(*wire.PartitionChangeRecord).Leader; leader != noChange && leader != p.Leader {
		*answer = wire.AlterPartitionResponsePartitions{PartitionIndex: r.PartitionIndex}
		return []record{change}, kafka.NewLeaderElected
	}
	answer.PartitionEpoch++
	return []record{change}, nil
}

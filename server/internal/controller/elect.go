package controller

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// The election types of ElectLeaders (KIP-460).
const (
	electionPreferred int8 = 0
	electionUnclean   int8 = 1
)

// electLeaders decides ElectLeaders. A request for all partitions answers only for those where an election was
// due, but names every topic.
func (v *view) electLeaders(r *wire.ElectLeadersRequest, version int16) (change, error) {
	response := &wire.ElectLeadersResponse{}
	kind := r.ElectionType
	if version == 0 {
		kind = electionPreferred
	}
	var records []record
	add := func(topic string, partitions []int32, all bool) {
		result := wire.ElectLeadersResponseReplicaElectionResults{Topic: topic}
		for _, p := range partitions {
			changed, err := v.electLeader(kind, topic, p)
			if changed != nil {
				records = append(records, *changed)
			}
			if all && kafka.CodeOf(err) == kafka.ElectionNotNeeded {
				continue
			}
			result.PartitionResult = append(result.PartitionResult, wire.ElectLeadersResponsePartitionResult{
				PartitionID: p, ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err)})
		}
		response.ReplicaElectionResults = append(response.ReplicaElectionResults, result)
	}
	if kind != electionPreferred && kind != electionUnclean {
		response.ErrorCode = kafka.InvalidRequest
	}
	if r.TopicPartitions == nil {
		for t := range v.image.Topics() {
			partitions := make([]int32, len(t.Partitions))
			for i := range partitions {
				partitions[i] = int32(i)
			}
			add(t.Name, partitions, true)
		}
	} else {
		for _, t := range r.TopicPartitions {
			add(t.Topic, t.Partitions, false)
		}
	}
	return change{records: records, response: response}, nil
}

func (v *view) electLeader(kind int8, name string, partition int32) (*record, error) {
	if kind != electionPreferred && kind != electionUnclean {
		return nil, kafka.InvalidRequest.Errorf("%d is no type of election", kind)
	}
	topic := v.image.Topic(name)
	if topic == nil {
		return nil, kafka.UnknownTopicOrPartition.Errorf("there is no topic %q", name)
	}
	p := topic.Partition(partition)
	if p == nil {
		return nil, kafka.UnknownTopicOrPartition.Errorf("there is no partition %s-%d", name, partition)
	}
	if kind == electionPreferred && p.Leader == preferred(p) || kind == electionUnclean && p.Leader != kafka.NoNode {
		return nil, kafka.ElectionNotNeeded.Errorf("%s-%d has its leader", name, partition)
	}
	c := partitionChange{Partition: p, topic: topic.ID, partition: partition, minISR: v.rules(name).minISR, elr: v.elr(),
		version: v.partitionVersion(), recovery: -1, election: electPreferred, mayLead: v.mayLeadBut(p, kafka.NoNode, kafka.NoNode)}
	if kind == electionUnclean {
		c.election = electUnclean
	}
	changed, ok := c.record()
	switch {
	case ok:
		return &changed, nil
	case kind == electionPreferred:
		return nil, kafka.PreferredLeaderNotAvailable.Errorf("the preferred leader of %s-%d is not in sync, or not alive", name, partition)
	}
	return nil, kafka.EligibleLeadersNotAvailable.Errorf("no replica of %s-%d is alive", name, partition)
}

func preferred(p *metadata.Partition) int32 {
	if len(p.Replicas) == 0 {
		return kafka.NoNode
	}
	return p.Replicas[0]
}

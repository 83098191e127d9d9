package controller

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// createPartitions decides CreatePartitions: topics grow, each for itself.
func (v *view) createPartitions(r *wire.CreatePartitionsRequest) (change, error) {
	response := &wire.CreatePartitionsResponse{}
	answer := func(name string, err error) {
		response.Results = append(response.Results, wire.CreatePartitionsResponseResults{
			Name: name, ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err)})
	}
	count := make(map[string]int)
	additional := 0
	for _, t := range r.Topics {
		if count[t.Name]++; count[t.Name] == 1 {
			if topic := v.image.Topic(t.Name); topic != nil {
				additional += max(0, int(t.Count)-len(topic.Partitions))
			}
		}
	}
	tooMany := additional > maxPartitionsPerRequest
	var records []record
	var twice []string
	for i := range r.Topics {
		t := &r.Topics[i]
		switch {
		case count[t.Name] > 1:
			if !slices.Contains(twice, t.Name) {
				twice = append(twice, t.Name)
			}
		case tooMany:
			answer(t.Name, kafka.PolicyViolation.Errorf("the request asks for %d more partitions; at most %d are allowed in one request", additional, maxPartitionsPerRequest))
		default:
			added, err := v.addPartitions(t)
			records = append(records, added...)
			answer(t.Name, err)
		}
	}
	for _, name := range twice {
		answer(name, kafka.InvalidRequest.Errorf("the request names the topic %q more than once", name))
	}
	if r.ValidateOnly {
		records = nil
	}
	return change{records: records, response: response}, nil
}

func (v *view) addPartitions(t *wire.CreatePartitionsRequestTopics) ([]record, error) {
	topic := v.image.Topic(t.Name)
	if topic == nil {
		return nil, kafka.UnknownTopicOrPartition // Kafka says no more, so clients know it by its code
	}
	have := len(topic.Partitions)
	additional := int(t.Count) - have
	switch {
	case additional == 0:
		return nil, kafka.InvalidPartitions.Errorf("the topic %q has %d partitions already", t.Name, have)
	case additional < 0:
		return nil, kafka.InvalidPartitions.Errorf("the topic %q has %d partitions; their number can only grow, not become %d", t.Name, have, t.Count)
	case t.Assignments != nil && len(t.Assignments) != additional:
		return nil, kafka.InvalidReplicaAssignment.Errorf("%d partitions are to be added, but replicas are assigned for %d", additional, len(t.Assignments))
	}
	if err := v.room(); err != nil {
		return nil, err
	}
	factor := len(topic.Partitions[0].Replicas)
	var records []record
	p := v.newPlacer()
	for i := range additional {
		var replicas []int32
		if t.Assignments != nil {
			replicas = t.Assignments[i].BrokerIDs
			if err := v.checkAssignment(replicas, factor); err != nil {
				return nil, err
			}
		} else {
			var err error
			if replicas, err = p.place(factor); err != nil {
				return nil, err
			}
		}
		r, err := v.newPartition(topic.ID, int32(have+i), replicas, t.Assignments != nil)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

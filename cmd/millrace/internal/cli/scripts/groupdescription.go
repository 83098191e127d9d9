package scripts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// groupDescription is a group of consumers, whichever of the two protocols they speak.
type groupDescription struct {
	name, state, assignor  string
	coordinator            kgo.BrokerMetadata
	members                []describedMember
	epoch, assignmentEpoch *int32 // nil in classic groups
	err                    error
}

// describedMember is a member of a group.
type describedMember struct {
	id, instance, client, host string
	assigned, target           []kafka.TopicPartition
	epoch                      *int32 // nil in classic groups
	upgraded                   *bool  // whether it speaks the consumer protocol; nil when the broker does not tell
}

// describeGroups describes groups by name. A group that is none of the consumer protocol, which the broker may
// not know at all, is looked for among the classic ones. A coordinator that cannot answer yet is an error.
func (a *admin) describeGroups(ctx context.Context, names []string) (map[string]groupDescription, error) {
	groups := make(map[string]groupDescription, len(names))
	if len(names) == 0 {
		return groups, nil
	}
	request := kmsg.NewPtrConsumerGroupDescribeRequest()
	request.Groups = names
	var classic []string
	for _, shard := range a.raw.RequestSharded(ctx, request) {
		switch {
		case dial.Unsupported(shard.Err):
			classic = append(classic, shard.Req.(*kmsg.ConsumerGroupDescribeRequest).Groups...)
			continue
		case shard.Err != nil:
			return nil, shard.Err
		}
		for _, g := range shard.Resp.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			err := dial.Code(g.ErrorCode, g.ErrorMessage)
			if errors.Is(err, kerr.GroupIDNotFound) || errors.Is(err, kerr.UnsupportedVersion) {
				classic = append(classic, g.Group)
				continue
			}
			if dial.Unsettled(err) {
				return nil, err
			}
			groups[g.Group] = describeConsumerGroup(g, shard.Meta, err)
		}
	}
	if len(classic) == 0 {
		return groups, nil
	}
	old := kmsg.NewPtrDescribeGroupsRequest()
	old.Groups = classic
	for _, shard := range a.raw.RequestSharded(ctx, old) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, g := range shard.Resp.(*kmsg.DescribeGroupsResponse).Groups {
			d := describeClassicGroup(g, shard.Meta)
			if dial.Unsettled(d.err) {
				return nil, d.err
			}
			groups[g.Group] = d
		}
	}
	return groups, nil
}

func describeConsumerGroup(g kmsg.ConsumerGroupDescribeResponseGroup, at kgo.BrokerMetadata, err error) groupDescription {
	d := groupDescription{name: g.Group, state: g.State, assignor: g.AssignorName, coordinator: at, epoch: &g.Epoch, assignmentEpoch: &g.AssignmentEpoch, err: err}
	for _, m := range g.Members {
		member := describedMember{id: m.MemberID, client: m.ClientID, host: m.ClientHost, epoch: &m.MemberEpoch,
			assigned: partitionsOf(m.Assignment), target: partitionsOf(m.TargetAssignment)}
		if m.InstanceID != nil {
			member.instance = *m.InstanceID
		}
		if m.MemberType >= 0 {
			upgraded := m.MemberType == 1
			member.upgraded = &upgraded
		}
		d.members = append(d.members, member)
	}
	return d
}

func partitionsOf(a kmsg.Assignment) (partitions []kafka.TopicPartition) {
	for _, topic := range a.TopicPartitions {
		for _, p := range topic.Partitions {
			partitions = append(partitions, kafka.TopicPartition{Topic: topic.Topic, Partition: p})
		}
	}
	sortPartitions(partitions)
	return partitions
}

func describeClassicGroup(g kmsg.DescribeGroupsResponseGroup, at kgo.BrokerMetadata) groupDescription {
	d := groupDescription{name: g.Group, state: g.State, assignor: g.Protocol, coordinator: at, err: dial.Code(g.ErrorCode, g.ErrorMessage)}
	if d.err == nil && g.ProtocolType != "consumer" && g.ProtocolType != "" {
		d.err = fmt.Errorf("java.lang.IllegalArgumentException: GroupId %s is not a consumer group (%s).", g.Group, g.ProtocolType)
	}
	if d.err != nil {
		return d
	}
	for _, m := range g.Members {
		member := describedMember{id: m.MemberID, client: m.ClientID, host: m.ClientHost}
		if m.InstanceID != nil {
			member.instance = *m.InstanceID
		}
		if len(m.MemberAssignment) > 0 {
			var assignment kmsg.ConsumerMemberAssignment
			if err := assignment.ReadFrom(m.MemberAssignment); err != nil {
				d.err = fmt.Errorf("the assignment of member %s of group %s cannot be read: %w", m.MemberID, g.Group, err)
				return d
			}
			for _, topic := range assignment.Topics {
				for _, p := range topic.Partitions {
					member.assigned = append(member.assigned, kafka.TopicPartition{Topic: topic.Topic, Partition: p})
				}
			}
			sortPartitions(member.assigned)
		}
		d.members = append(d.members, member)
	}
	return d
}

func sortPartitions(partitions []kafka.TopicPartition) {
	slices.SortFunc(partitions, comparePartitions)
}

// comparePartitions orders partitions by topic, then number.
func comparePartitions(a, b kafka.TopicPartition) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

package scripts

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// delete deletes whole groups.
func (g *consumerGroups) delete() error {
	names, err := g.groupNames()
	if err != nil {
		return err
	}
	deleted, failed := g.requestDelete(names)
	slices.Sort(deleted)
	if len(failed) == 0 {
		g.printf("Deletion of requested consumer groups (%s) was successful.\n", strings.Join(deleted, ", "))
		return nil
	}
	g.printError("Deletion of some consumer groups failed:")
	for _, name := range slices.Sorted(maps.Keys(failed)) {
		g.printf("* Group '%s' could not be deleted due to: %s\n", name, failed[name])
	}
	if len(deleted) > 0 {
		g.printf("\nThese consumer groups were deleted successfully: %s\n", strings.Join(deleted, ", "))
	}
	return nil
}

// requestDelete deletes groups and returns the names of those that are gone, and why the others are not. Groups
// whose coordinator cannot answer yet are asked for again.
func (g *consumerGroups) requestDelete(names []string) (deleted []string, failed map[string]string) {
	c, cancel := g.bounded()
	defer cancel()
	failed = make(map[string]string)
	dial.Settled(c, func() (unsettled error) { // what is left is in failed
		if len(names) == 0 {
			return nil
		}
		request := kmsg.NewPtrDeleteGroupsRequest()
		request.Groups, names = names, nil
		file := func(name string, err error) {
			if err == nil {
				delete(failed, name)
				deleted = append(deleted, "'"+name+"'")
				return
			}
			if failed[name] = javaText(err); dial.Unsettled(err) {
				names, unsettled = append(names, name), err
			}
		}
		for _, shard := range g.admin.raw.RequestSharded(c, request) {
			if shard.Err != nil {
				for _, name := range shard.Req.(*kmsg.DeleteGroupsRequest).Groups {
					file(name, shard.Err)
				}
				continue
			}
			for _, group := range shard.Resp.(*kmsg.DeleteGroupsResponse).Groups {
				file(group.Group, dial.Code(group.ErrorCode, nil))
			}
		}
		return unsettled
	})
	return deleted, failed
}

// deleteOffsets deletes the offsets that a group has committed of topics, or of some of their partitions.
func (g *consumerGroups) deleteOffsets() error {
	if len(g.of["group"]) > 1 {
		return errors.New("Found multiple arguments for option group, but you asked for only one")
	}
	results := make(map[kafka.TopicPartition]error) // partition -1 is of a topic that is not there
	var partitions []kafka.TopicPartition
	for _, word := range g.of["topic"] {
		if strings.Contains(word, ":") {
			some, err := g.parsePartitions(word)
			if err != nil {
				return err
			}
			partitions = append(partitions, some...)
			continue
		}
		all, err := g.partitionsOf(word)
		if err != nil {
			results[kafka.TopicPartition{Topic: word, Partition: -1}] = err
		}
		partitions = append(partitions, all...)
	}
	sortPartitions(partitions)
	partitions = slices.Compact(partitions)
	top := g.requestOffsetDelete(g.get("group"), partitions, results)
	switch {
	case top == nil:
		g.printf("Request succeeded for deleting offsets from group %s.\n", g.get("group"))
	case oneOf(top, kerr.InvalidGroupID, kerr.GroupIDNotFound, kerr.GroupAuthorizationFailed, kerr.NonEmptyGroup):
		g.printError("%s", dial.Explain(top))
	case oneOf(top, kerr.GroupSubscribedToTopic, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition):
		g.printError("Encountered some partition-level error, see the follow-up details.")
	default:
		name := top.Error()
		if code, ok := errors.AsType[*kerr.Error](top); ok {
			name = code.Message
		}
		g.printError("Encountered some unknown error: %s", name)
	}
	g.printDeletions(results)
	return nil
}

func oneOf(err error, codes ...error) bool {
	return slices.ContainsFunc(codes, func(code error) bool { return errors.Is(err, code) })
}

// requestOffsetDelete sends the request and files the result of each partition. It returns the first error, in
// the order of the partitions; an error of the group is one of all its partitions.
func (g *consumerGroups) requestOffsetDelete(group string, partitions []kafka.TopicPartition, results map[kafka.TopicPartition]error) error {
	c, cancel := g.bounded()
	defer cancel()
	request := kmsg.NewPtrOffsetDeleteRequest()
	request.Group = group
	for i, tp := range partitions {
		if i == 0 || partitions[i-1].Topic != tp.Topic {
			topic := kmsg.NewOffsetDeleteRequestTopic()
			topic.Topic = tp.Topic
			request.Topics = append(request.Topics, topic)
		}
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = tp.Partition
		topic := &request.Topics[len(request.Topics)-1]
		topic.Partitions = append(topic.Partitions, p)
	}
	var response *kmsg.OffsetDeleteResponse
	err := dial.Settled(c, func() (err error) {
		if response, err = request.RequestWith(c, g.admin.raw); err == nil {
			err = dial.Code(response.ErrorCode, nil)
		}
		return err
	})
	if err != nil {
		for _, tp := range partitions {
			results[tp] = err
		}
		return err
	}
	for _, topic := range response.Topics {
		for _, p := range topic.Partitions {
			results[kafka.TopicPartition{Topic: topic.Topic, Partition: p.Partition}] = dial.Code(p.ErrorCode, nil)
		}
	}
	for _, tp := range partitions {
		if results[tp] != nil {
			return results[tp]
		}
	}
	return nil
}

func (g *consumerGroups) printDeletions(results map[kafka.TopicPartition]error) {
	width := 15
	for tp := range results {
		width = max(width, len(tp.Topic))
	}
	row := func(topic, partition, status string) { g.printf("\n%-*s %-10s %-15s", width, topic, partition, status) }
	row("TOPIC", "PARTITION", "STATUS")
	// Kafka sorts by the text of topic and partition, so that partition 10 stands before 2.
	byText := func(a, b kafka.TopicPartition) int {
		return cmp.Compare(fmt.Sprint(a.Topic, a.Partition), fmt.Sprint(b.Topic, b.Partition))
	}
	for _, tp := range slices.SortedFunc(maps.Keys(results), byText) {
		partition, status := fmt.Sprint(tp.Partition), "Successful"
		if tp.Partition < 0 {
			partition = missing
		}
		if err := results[tp]; err != nil {
			status = "Error: " + javaText(err)
		}
		row(tp.Topic, partition, status)
	}
	g.printf("\n")
}

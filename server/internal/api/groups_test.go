package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// atOnce is what a gate answers that has to answer at once: the coordinator, which there is none of, is not asked.
func atOnce[P wire.Message](t *testing.T, c *call, gate func(*call, P, func(wire.Message)), request P) wire.Message {
	t.Helper()
	var answer wire.Message
	gate(c, request, func(m wire.Message) {
		if answer != nil {
			t.Errorf("answered twice: %+v", m)
		}
		answer = m
	})
	if answer == nil {
		t.Fatal("no answer")
	}
	return answer
}

// What a caller may not do with a group is refused at the gate, each API in its own place and words.
func TestGatesOfGroupsRefuse(t *testing.T) {
	g := newGate(t)
	g.apply(append(aTopic("t", 1, 1), aTopic("secret", 2, 1)...)...)
	g.o.Authorizer = acls{"mine": true, "": true, "t": true}
	const may, none, not = "mine", "", "theirs"
	deny, unnamed := kafka.GroupAuthorizationFailed, kafka.InvalidGroupID
	name, protocol := "range", "consumer"
	id := func(b byte) kafka.TopicID { return kafka.TopicID{6: 0x40, 15: b} }

	check := func(what string, got, want any) {
		t.Helper()
		if g, w := strings.TrimSpace(fmt.Sprint(got)), fmt.Sprint(want); g != w {
			t.Errorf("%s: %s, want %s", what, g, w)
		}
	}

	for group, want := range map[string]kafka.ErrorCode{not: deny, none: unnamed} {
		for _, version := range []int16{4, 7, 9} {
			join := wire.NewJoinGroupRequest()
			join.GroupID, join.MemberID = group, "m"
			joined := atOnce(t, g.call(version), joinGroup, join).(*wire.JoinGroupResponse)
			check(fmt.Sprintf("join %q, version %d", group, version), fmt.Sprint(joined.ErrorCode, " ", joined.MemberID, " ", joined.ProtocolName == nil), fmt.Sprint(want, " m ", version >= 7))
		}
		check("sync "+group, atOnce(t, g.call(5), syncGroup, &wire.SyncGroupRequest{GroupID: group}).(*wire.SyncGroupResponse).ErrorCode, want)
		check("heartbeat "+group, atOnce(t, g.call(4), heartbeat, &wire.HeartbeatRequest{GroupID: group}).(*wire.HeartbeatResponse).ErrorCode, want)
		for _, version := range []int16{2, 5} {
			left := atOnce(t, g.call(version), leaveGroup, &wire.LeaveGroupRequest{GroupID: group, MemberID: "m"}).(*wire.LeaveGroupResponse)
			check(fmt.Sprintf("leave %q, version %d", group, version), fmt.Sprint(left.ErrorCode, " ", len(left.Members)), fmt.Sprint(want, " 0"))
		}
		described := atOnce(t, g.call(1), consumerGroupDescribe, &wire.ConsumerGroupDescribeRequest{GroupIDs: []string{group}}).(*wire.ConsumerGroupDescribeResponse).Groups
		check("describe the consumer group "+group, fmt.Sprint(len(described), described[0].GroupID, described[0].ErrorCode), fmt.Sprint(1, group, want))
	}

	// From version 5 on the protocol is named (KIP-559).
	for _, request := range []*wire.SyncGroupRequest{{GroupID: may}, {GroupID: may, ProtocolName: &name}, {GroupID: may, ProtocolType: &protocol}} {
		check("sync without its protocol", atOnce(t, g.call(5), syncGroup, request).(*wire.SyncGroupResponse).ErrorCode, kafka.InconsistentGroupProtocol)
	}

	beat := func(group string, topics ...string) kafka.ErrorCode {
		request := wire.NewConsumerGroupHeartbeatRequest()
		request.GroupID, request.SubscribedTopicNames = group, topics
		return atOnce(t, g.call(1), consumerGroupHeartbeat, request).(*wire.ConsumerGroupHeartbeatResponse).ErrorCode
	}
	check("a heartbeat to a consumer group", beat(not), deny)
	check("a heartbeat that subscribes to what may not be seen", beat(may, "t", "secret"), kafka.TopicAuthorizationFailed)

	groups := atOnce(t, g.call(6), describeGroups, &wire.DescribeGroupsRequest{Groups: []string{not, "other"}}).(*wire.DescribeGroupsResponse).Groups
	check("describe", fmt.Sprint(len(groups), groups[0].GroupID, groups[0].ErrorCode, groups[1].GroupID, groups[1].ErrorCode), fmt.Sprint(2, not, deny, "other", deny))
	deleted := atOnce(t, g.call(2), deleteGroups, &wire.DeleteGroupsRequest{GroupsNames: []string{not, "other", not}}).(*wire.DeleteGroupsResponse).Results
	check("delete", fmt.Sprint(len(deleted), deleted[0].GroupID, deleted[0].ErrorCode, deleted[1].GroupID, deleted[1].ErrorCode), fmt.Sprint(2, not, deny, "other", deny))

	check("find "+not, coordinatorSaid(g, not), deny)

	shownCommit := func(m wire.Message) (s string) {
		for _, t := range m.(*wire.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				s += fmt.Sprintf("%s#%d-%d %s; ", t.Name, t.TopicID[15], p.PartitionIndex, p.ErrorCode)
			}
		}
		return strings.TrimSuffix(s, "; ")
	}
	commit := func(version int16, group string) string {
		partitions := func(all ...int32) (out []wire.OffsetCommitRequestPartitions) {
			for _, p := range all {
				out = append(out, wire.OffsetCommitRequestPartitions{PartitionIndex: p})
			}
			return out
		}
		request := wire.NewOffsetCommitRequest()
		request.GroupID = group
		if version >= 10 {
			request.Topics = []wire.OffsetCommitRequestTopics{{TopicID: id(9), Partitions: partitions(0)}, {TopicID: id(2), Partitions: partitions(0)}, {TopicID: id(1), Partitions: partitions(7, 8)}}
		} else {
			request.Topics = []wire.OffsetCommitRequestTopics{{Name: "none", Partitions: partitions(0)}, {Name: "secret", Partitions: partitions(0)}, {Name: "t", Partitions: partitions(7, 8)}}
		}
		return shownCommit(atOnce(t, g.call(version), offsetCommit, request))
	}
	check("commit to "+not, commit(9, not), "none#0-0 GROUP_AUTHORIZATION_FAILED; secret#0-0 GROUP_AUTHORIZATION_FAILED; t#0-7 GROUP_AUTHORIZATION_FAILED; t#0-8 GROUP_AUTHORIZATION_FAILED")
	check("commit what is not there or not seen", commit(9, may),
		"none#0-0 TOPIC_AUTHORIZATION_FAILED; secret#0-0 TOPIC_AUTHORIZATION_FAILED; t#1-7 UNKNOWN_TOPIC_OR_PARTITION; t#1-8 UNKNOWN_TOPIC_OR_PARTITION")
	check("commit by ids", commit(10, may),
		"#9-0 UNKNOWN_TOPIC_ID; secret#2-0 TOPIC_AUTHORIZATION_FAILED; t#1-7 UNKNOWN_TOPIC_OR_PARTITION; t#1-8 UNKNOWN_TOPIC_OR_PARTITION")

	fetched := func(version int16) string {
		request := wire.NewOffsetFetchRequest()
		request.GroupID, request.Topics = not, []wire.OffsetFetchRequestTopics{{Name: "t", PartitionIndexes: []int32{3}}}
		request.Groups = []wire.OffsetFetchRequestGroups{{GroupID: not}}
		r := atOnce(t, g.call(version), offsetFetch, request).(*wire.OffsetFetchResponse)
		s := r.ErrorCode.String()
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				s += fmt.Sprintf("; %s-%d at %d %s", topic.Name, p.PartitionIndex, p.CommittedOffset, p.ErrorCode)
			}
		}
		for _, one := range r.Groups {
			s += fmt.Sprintf("; %s %s", one.GroupID, one.ErrorCode)
		}
		return s
	}
	check("fetch offsets, version 1", fetched(1), "GROUP_AUTHORIZATION_FAILED; t-3 at -1 GROUP_AUTHORIZATION_FAILED")
	check("fetch offsets, version 7", fetched(7), "GROUP_AUTHORIZATION_FAILED")
	check("fetch offsets, version 8", fetched(8), "NONE; theirs GROUP_AUTHORIZATION_FAILED")

	forget := func(group string, topics ...wire.OffsetDeleteRequestTopics) string {
		r := atOnce(t, g.call(0), offsetDelete, &wire.OffsetDeleteRequest{GroupID: group, Topics: topics}).(*wire.OffsetDeleteResponse)
		return fmt.Sprint(r.ErrorCode, " ", len(r.Topics))
	}
	check("forget offsets of "+not, forget(not), "GROUP_AUTHORIZATION_FAILED 0")
	check("forget offsets of no group", forget(none, wire.OffsetDeleteRequestTopics{Name: "t"}), "INVALID_GROUP_ID 0")
}

// coordinatorSaid is what FindCoordinator says of a group.
func coordinatorSaid(g *gate, group string) kafka.ErrorCode {
	request := wire.NewFindCoordinatorRequest()
	request.CoordinatorKeys = []string{group}
	return findCoordinator(g.call(4), request).(*wire.FindCoordinatorResponse).Coordinators[0].ErrorCode
}

// TestCoordinatorsThatAreNotThere: clients show nothing but the message to whoever wants a transaction, and none leaves him with
// an "unexpected error: ".
func TestCoordinatorsThatAreNotThere(t *testing.T) {
	g := newGate(t)
	for kind, want := range map[int8]string{keyTransaction: "coordinates transactions", 3: "not a type of keys"} {
		request := wire.NewFindCoordinatorRequest()
		request.KeyType, request.Key, request.CoordinatorKeys = kind, "k", []string{"k"}
		one := findCoordinator(g.call(3), request).(*wire.FindCoordinatorResponse)
		many := findCoordinator(g.call(4), request).(*wire.FindCoordinatorResponse).Coordinators[0]
		for _, got := range []*string{one.ErrorMessage, many.ErrorMessage} {
			if got == nil || !strings.Contains(*got, want) {
				t.Errorf("keys of type %d: %q", kind, *got)
			}
		}
	}
}

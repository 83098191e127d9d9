package groups

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
)

// Millrace and Apache Kafka are asked the same, request by request, where groups go from one protocol to the other, and
// answer the same: the codes, the generations and epochs, and how much everybody is given.
func TestMigrationOnTheWire(t *testing.T) {
	for policy, script := range map[string]func(w *wired){"bidirectional": migrate, "disabled": refuse} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			own := maps.Clone(settings)
			own["group.consumer.migration.policy"], own["group.initial.rebalance.delay.ms"] = policy, "0"
			own["group.consumer.session.timeout.ms"] = "60000"
			ours, theirs := converse(t, node.Start(t, own).Addr, script), converse(t, oracle.Start(t, own).Addr, script)
			if len(ours) != len(theirs) {
				t.Fatalf("%d answers and %d", len(ours), len(theirs))
			}
			for i := range ours {
				if ours[i] != theirs[i] {
					t.Errorf("Millrace answers\n\t%s\nKafka\n\t%s", ours[i], theirs[i])
				}
			}
		})
	}
}

func converse(t *testing.T, addr string, script func(w *wired)) []string {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	w := &wired{t: t, client: client, ids: map[string]string{}, generations: map[string]int32{}, instances: map[string]*string{}}
	created, err := kadm.NewClient(client).CreateTopics(t.Context(), 4, 1, nil, "t")
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}}
	r := ask(w, meta).(*kmsg.MetadataResponse)
	w.topic = r.Topics[0].TopicID
	script(w)
	return w.said
}

// wired is a conversation with one server. Members have labels, since their ids are the server's.
type wired struct {
	t           *testing.T
	client      *kgo.Client
	topic       [16]byte
	ids         map[string]string
	generations map[string]int32
	instances   map[string]*string
	said        []string
}

func (w *wired) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func ask(w *wired, r kmsg.Request) kmsg.Response {
	w.t.Helper()
	response, err := w.client.Request(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

func code(c int16) string {
	if err := kerr.ErrorForCode(c); err != nil {
		return err.(*kerr.Error).Message
	}
	return "NONE"
}

func subscription(owned []int32) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Version, m.Topics = 1, []string{"t"}
	if len(owned) > 0 {
		m.OwnedPartitions = []kmsg.ConsumerMemberMetadataOwnedPartition{{Topic: "t", Partitions: owned}}
	}
	return m.AppendTo(nil)
}

func given(userData string, partitions ...int32) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	a.Topics = []kmsg.ConsumerMemberAssignmentTopic{{Topic: "t", Partitions: partitions}}
	if userData != "" {
		a.UserData = []byte(userData)
	}
	return a.AppendTo(nil)
}

// joins sends JoinGroup, once more when it is given a member id.
func (w *wired) joins(who, group string, change func(*kmsg.JoinGroupRequest), owned ...int32) {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = group, w.ids[who], w.instances[who], "consumer", 600000, 600000
	r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscription(owned)}}
	if change != nil {
		change(r)
	}
	response := ask(w, r).(*kmsg.JoinGroupResponse)
	if response.ErrorCode == kerr.MemberIDRequired.Code {
		w.say("%s: %s", who, code(response.ErrorCode))
		r.MemberID = response.MemberID
		response = ask(w, r).(*kmsg.JoinGroupResponse)
	}
	if response.ErrorCode == 0 {
		w.ids[who], w.generations[who] = response.MemberID, response.Generation
	}
	name := ""
	if response.Protocol != nil {
		name = *response.Protocol
	}
	w.say("%s joins: %s, generation %d, protocol %q, leads %v, %d members", who, code(response.ErrorCode), response.Generation, name, response.LeaderID == response.MemberID && response.LeaderID != "", len(response.Members))
}

func (w *wired) syncs(who, group string, change func(*kmsg.SyncGroupRequest)) {
	r := kmsg.NewPtrSyncGroupRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, w.ids[who], w.instances[who], w.generations[who]
	r.ProtocolType, r.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	if change != nil {
		change(r)
	}
	response := ask(w, r).(*kmsg.SyncGroupResponse)
	partitions, version := 0, -1
	if len(response.MemberAssignment) > 2 {
		a := kmsg.NewConsumerMemberAssignment()
		if err := a.ReadFrom(response.MemberAssignment); err != nil {
			w.t.Error(err)
		}
		version = int(binary.BigEndian.Uint16(response.MemberAssignment))
		for _, t := range a.Topics {
			partitions += len(t.Partitions)
		}
	}
	w.say("%s syncs: %s, %d partitions in version %d", who, code(response.ErrorCode), partitions, version)
}

func (w *wired) leads(who string, userData string, partitions ...int32) func(*kmsg.SyncGroupRequest) {
	return func(r *kmsg.SyncGroupRequest) {
		r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: w.ids[who], MemberAssignment: given(userData, partitions...)})
	}
}

func (w *wired) heartbeats(who, group string, change func(*kmsg.HeartbeatRequest)) {
	r := kmsg.NewPtrHeartbeatRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, w.ids[who], w.instances[who], w.generations[who]
	if change != nil {
		change(r)
	}
	w.say("%s heartbeats: %s", who, code(ask(w, r).(*kmsg.HeartbeatResponse).ErrorCode))
}

func (w *wired) beats(who, group string, epoch int32, owned ...int32) {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.Group, r.MemberID, r.MemberEpoch, r.InstanceID = group, who+"-0123456789", epoch, w.instances[who]
	if epoch == 0 {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames = 600000, []string{"t"}
	}
	if epoch >= 0 {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if len(owned) > 0 {
			r.Topics = append(r.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: w.topic, Partitions: owned})
		}
	}
	w.ids[who] = r.MemberID
	response := ask(w, r).(*kmsg.ConsumerGroupHeartbeatResponse)
	told := "nothing new"
	if response.Assignment != nil {
		n := 0
		for _, t := range response.Assignment.Topics {
			n += len(t.Partitions)
		}
		told = fmt.Sprint(n, " partitions")
	}
	message := ""
	if response.ErrorCode == kerr.GroupIDNotFound.Code && response.ErrorMessage != nil && epoch == 0 {
		message = " " + *response.ErrorMessage
	}
	w.say("%s beats: %s%s, epoch %d, %s", who, code(response.ErrorCode), message, response.MemberEpoch, told)
}

func (w *wired) leave(group string, members ...kmsg.LeaveGroupRequestMember) {
	r := kmsg.NewPtrLeaveGroupRequest()
	r.Group, r.Members = group, members
	response := ask(w, r).(*kmsg.LeaveGroupResponse)
	var codes []string
	for _, m := range response.Members {
		codes = append(codes, code(m.ErrorCode))
	}
	w.say("leave: %s %v", code(response.ErrorCode), codes)
}

func (w *wired) commits(who, group string, generation int32) {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.Group, r.MemberID, r.InstanceID, r.Generation = group, w.ids[who], w.instances[who], generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = 0, 7
	r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: w.topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	response := ask(w, r).(*kmsg.OffsetCommitResponse)
	w.say("%s commits: %s", who, code(response.Topics[0].Partitions[0].ErrorCode))
}

// portrays says what the group is to those who ask.
func (w *wired) portrays(group string) {
	listed := ask(w, kmsg.NewPtrListGroupsRequest()).(*kmsg.ListGroupsResponse)
	for _, g := range listed.Groups {
		if g.Group == group {
			w.say("listed: %s %s %s", g.GroupType, g.GroupState, g.ProtocolType)
		}
	}
	old := kmsg.NewPtrDescribeGroupsRequest()
	old.Groups = []string{group}
	for _, g := range ask(w, old).(*kmsg.DescribeGroupsResponse).Groups {
		w.say("described: %s %s %q %q, %d members", code(g.ErrorCode), g.State, g.ProtocolType, g.Protocol, len(g.Members))
	}
	r := kmsg.NewPtrConsumerGroupDescribeRequest()
	r.Groups = []string{group}
	for _, g := range ask(w, r).(*kmsg.ConsumerGroupDescribeResponse).Groups {
		var members []string
		for _, m := range g.Members {
			has := 0
			for _, t := range m.Assignment.TopicPartitions {
				has += len(t.Partitions)
			}
			instance := ""
			if m.InstanceID != nil {
				instance = *m.InstanceID
			}
			for label, id := range w.ids {
				if id == m.MemberID {
					members = append(members, fmt.Sprintf("%s%s of type %d in %d reads %v has %d", label, instance, m.MemberType, m.MemberEpoch, m.SubscribedTopics, has))
				}
			}
		}
		slices.Sort(members)
		w.say("described: %s %s, epoch %d, assigned in %d by %q: %s", code(g.ErrorCode), g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName, strings.Join(members, "; "))
	}
}

// migrate takes groups up and down.
func migrate(w *wired) {
	const g = "up"
	w.joins("a", g, nil)
	w.syncs("a", g, w.leads("a", "", 0, 1, 2, 3))
	w.heartbeats("a", g, nil)
	w.beats("c", g, 5)
	w.beats("c", g, 0)
	w.portrays(g)
	w.heartbeats("a", g, nil)
	w.syncs("a", g, nil)
	w.commits("a", g, w.generations["a"])
	w.commits("a", g, 0)
	w.commits("a", g, 9)
	w.joins("a", g, nil, 0, 1, 2, 3)
	w.syncs("a", g, nil)
	w.portrays(g)
	w.heartbeats("a", g, nil)
	w.beats("c", g, 2)
	w.joins("a", g, nil, 0, 1)
	w.syncs("a", g, nil)
	w.heartbeats("a", g, nil)
	w.beats("c", g, 2)
	w.portrays(g)
	w.heartbeats("a", g, func(r *kmsg.HeartbeatRequest) { r.Generation = 1 })
	w.heartbeats("a", g, func(r *kmsg.HeartbeatRequest) { r.MemberID = "nobody" })
	w.heartbeats("a", g, func(r *kmsg.HeartbeatRequest) { r.InstanceID = kmsg.StringPtr("nobody") })
	w.heartbeats("c", g, func(r *kmsg.HeartbeatRequest) { r.Generation = 2 })
	w.syncs("a", g, func(r *kmsg.SyncGroupRequest) { r.Protocol = kmsg.StringPtr("other") })
	w.syncs("a", g, func(r *kmsg.SyncGroupRequest) { r.ProtocolType = kmsg.StringPtr("connect") })
	w.syncs("a", g, func(r *kmsg.SyncGroupRequest) { r.Generation = 1 })
	w.syncs("a", g, func(r *kmsg.SyncGroupRequest) { r.MemberID = "nobody" })
	w.joins("x", g, func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
	w.joins("x", g, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "other" })
	w.joins("x", g, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Metadata = []byte("?") })
	w.joins("x", g, func(r *kmsg.JoinGroupRequest) { r.MemberID, r.InstanceID = "nobody", kmsg.StringPtr("i") })
	w.leave(g, kmsg.LeaveGroupRequestMember{MemberID: "nobody"}, kmsg.LeaveGroupRequestMember{InstanceID: kmsg.StringPtr("nobody")})
	w.beats("c", g, -1)
	w.portrays(g)
	w.heartbeats("a", g, nil)
	w.joins("a", g, nil, 0, 1)
	w.syncs("a", g, w.leads("a", "", 0, 1, 2, 3))
	w.portrays(g)

	// By instance ids.
	const s = "static"
	one, two := kmsg.StringPtr("one"), kmsg.StringPtr("two")
	w.instances["s"], w.instances["s2"], w.instances["s3"], w.instances["n"], w.instances["n2"] = one, one, one, two, two
	w.joins("s", s, nil)
	w.syncs("s", s, w.leads("s", "", 0, 1, 2, 3))
	w.beats("s2", s, 0)
	w.heartbeats("s", s, nil)
	w.portrays(s)
	w.joins("s3", s, nil)
	w.portrays(s)
	w.syncs("s3", s, nil)
	w.heartbeats("s3", s, nil)
	w.beats("s2", s, 2)
	w.beats("n", s, 0)
	w.portrays(s)
	w.beats("n", s, -2)
	w.beats("n2", s, 0)
	w.leave(s, kmsg.LeaveGroupRequestMember{InstanceID: two})
	w.portrays(s)
	w.leave(s, kmsg.LeaveGroupRequestMember{InstanceID: one})
	w.portrays(s)

	// What does not go up, and what has no members.
	w.joins("k", "connect", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
	w.beats("c", "connect", 0)
	w.joins("u", "custom", nil)
	w.syncs("u", "custom", w.leads("u", "mine", 0))
	w.beats("c", "custom", 0)
	w.joins("m", "mute", nil)
	w.syncs("m", "mute", func(r *kmsg.SyncGroupRequest) {
		r.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: w.ids["m"], MemberAssignment: []byte("?")}}
	})
	w.beats("c", "mute", 0)
	w.empties()
}

// refuse tries what the policy disabled does not let be.
func refuse(w *wired) {
	w.joins("a", "g", nil)
	w.syncs("a", "g", w.leads("a", "", 0))
	w.beats("c", "g", 0)
	w.portrays("g")
	w.beats("d", "h", 0)
	w.joins("x", "h", nil)
	w.joins("x", "h", func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" })
	w.portrays("h")
	w.empties()
}

// empties lets groups without members go either way.
func (w *wired) empties() {
	w.beats("e", "empty", 0)
	w.beats("e", "empty", -1)
	w.portrays("empty")
	w.joins("f", "empty", nil)
	w.portrays("empty")
	w.leave("empty", kmsg.LeaveGroupRequestMember{MemberID: w.ids["f"]})
	w.portrays("empty")
	w.beats("e", "empty", 0)
	w.portrays("empty")
}

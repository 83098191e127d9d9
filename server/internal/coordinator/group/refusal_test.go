package group

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// TestWhoIsNotReady is what is said of a group whose partition is not led here, or not loaded: the same to everybody, but
// for the classic heartbeat, which is well while the group is loaded, as in Kafka: whoever is in it has nothing to do.
func TestWhoIsNotReady(t *testing.T) {
	config, err := ParseConfig(func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	var load func()
	c := New(Options{NodeID: 1, Config: config, Go: func(l func()) { load = l }, Open: func(int32, int32) (coordinator.Log, error) { return &memlog.Log{Direct: true}, nil }})
	image := metadata.Empty()
	publish := func(offset int64, records ...wire.Message) {
		t.Helper()
		d := metadata.NewDelta(image)
		for _, r := range records {
			if err := d.Replay(r); err != nil {
				t.Fatal(err)
			}
		}
		image = d.Apply(offset, 1, 0)
		c.Publish(image, d)
	}
	partition := func(leader, epoch int32) wire.Message {
		p := wire.NewPartitionRecord()
		p.TopicID, p.PartitionID, p.Replicas, p.Isr, p.Leader, p.LeaderEpoch = kafka.TopicID{15: 1}, 0, []int32{1}, []int32{1}, leader, epoch
		return p
	}
	check := func(when string, want, heartbeat, list kafka.ErrorCode) {
		t.Helper()
		for name, got := range refusals(c) {
			expected := fmt.Sprint(want)
			switch name {
			case "Heartbeat":
				expected = fmt.Sprint(heartbeat)
			case "ListGroups":
				expected = fmt.Sprint(list)
			}
			if got != expected {
				t.Errorf("%s: %s: %s, want %s", when, name, got, expected)
			}
		}
	}
	check("no topic", kafka.NotCoordinator, kafka.NotCoordinator, kafka.None)
	publish(1, &wire.TopicRecord{Name: Topic, TopicID: kafka.TopicID{15: 1}}, partition(1, 0))
	check("loading", kafka.CoordinatorLoadInProgress, kafka.None, kafka.CoordinatorLoadInProgress)
	load()
	for name, got := range refusals(c) {
		if strings.HasPrefix(got, "NOT_COORDINATOR") || strings.HasPrefix(got, "COORDINATOR") {
			t.Errorf("loaded: %s: %s", name, got)
		}
	}
	publish(2, partition(2, 1))
	check("led elsewhere", kafka.NotCoordinator, kafka.NotCoordinator, kafka.None)
	c.End()
}

// refusals asks everything that can be asked of a group at once, and returns what it was told.
func refusals(c *Coordinator) map[string]string {
	told := map[string]string{}
	say := func(name string) func(error) {
		told[name] = "nothing"
		return func(err error) { told[name] = fmt.Sprint(kafka.CodeOf(err)) }
	}
	commit := wire.NewOffsetCommitRequest()
	commit.GroupID, commit.Topics = "g", []wire.OffsetCommitRequestTopics{{Name: "t", Partitions: []wire.OffsetCommitRequestPartitions{{}}}}
	beat := wire.NewConsumerGroupHeartbeatRequest()
	beat.GroupID, beat.MemberID, beat.RebalanceTimeoutMs, beat.SubscribedTopicNames = "g", "m", 1000, []string{"t"}
	beat.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	join, heartbeat, sync, leave, heard := say("JoinGroup"), say("Heartbeat"), say("SyncGroup"), say("LeaveGroup"), say("ConsumerGroupHeartbeat")
	joined := func(r *wire.JoinGroupResponse, err error) {
		join(err)
		if kafka.CodeOf(err) != kafka.UnknownMemberID && r.MemberID != "" {
			told["JoinGroup"] += " with a member id"
		}
	}
	committed, fetched, forgot, deleted := say("OffsetCommit"), say("OffsetFetch"), say("OffsetDelete"), say("DeleteGroups")
	described, seen, listed := say("DescribeGroups"), say("ConsumerGroupDescribe"), say("ListGroups")
	session := int32(10 * time.Second / time.Millisecond)
	c.JoinGroup(&wire.JoinGroupRequest{GroupID: "g", MemberID: "m", SessionTimeoutMs: session, ProtocolType: "x", Protocols: []wire.JoinGroupRequestProtocols{{Name: "y"}}}, Caller{Version: 9}, joined)
	c.SyncGroup(&wire.SyncGroupRequest{GroupID: "g", MemberID: "m"}, func(_ *wire.SyncGroupResponse, err error) { sync(err) })
	c.Heartbeat(&wire.HeartbeatRequest{GroupID: "g", MemberID: "m"}, heartbeat)
	c.LeaveGroup(&wire.LeaveGroupRequest{GroupID: "g"}, func(_ *wire.LeaveGroupResponse, err error) { leave(err) })
	c.ConsumerGroupHeartbeat(beat, Caller{Version: 1}, func(_ *wire.ConsumerGroupHeartbeatResponse, err error) { heard(err) })
	c.OffsetCommit(commit, 9, func(_ *wire.OffsetCommitResponse, err error) { committed(err) })
	c.OffsetFetch(&wire.OffsetFetchRequestGroups{GroupID: "g", MemberEpoch: -1}, true, func(_ *wire.OffsetFetchResponseGroups, err error) { fetched(err) })
	c.OffsetDelete(&wire.OffsetDeleteRequest{GroupID: "g"}, func(_ *wire.OffsetDeleteResponse, err error) { forgot(err) })
	c.DescribeGroup("g", func(_ wire.DescribeGroupsResponseGroups, err error) { described(err) })
	c.ConsumerGroupDescribe("g", func(_ wire.ConsumerGroupDescribeResponseGroups, err error) { seen(err) })
	c.ListGroups(&wire.ListGroupsRequest{}, func(_ []wire.ListGroupsResponseGroups, err error) { listed(err) })
	c.DeleteGroup("g", deleted)
	return told
}

// TestHowLongAMetadataIs: characters are counted as Java counts them.
func TestHowLongAMetadataIs(t *testing.T) {
	c := New(Options{Config: Config{OffsetMetadataMaxBytes: 4}})
	for text, want := range map[string]bool{"": false, "abcd": false, "abcde": true, "éééé": false, "ééééé": true, "𝄞𝄞": false, "𝄞𝄞a": true} {
		if got := c.tooLong(&text); got != want {
			t.Errorf("%q is too long: %v, want %v", text, got, want)
		}
	}
	if c.tooLong(nil) {
		t.Error("nothing is too long")
	}
}

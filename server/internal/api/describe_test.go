package api

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
)

func TestDescribeCluster(t *testing.T) {
	g := newGate(t)
	g.apply(aBroker(1, "one", false), aBroker(2, "two", true), &wire.RegisterBrokerRecord{BrokerID: 3, BrokerEpoch: 3})
	ask := func(version int16, change func(*wire.DescribeClusterRequest)) string {
		request := wire.NewDescribeClusterRequest()
		if change != nil {
			change(request)
		}
		r := describeCluster(g.call(version), request).(*wire.DescribeClusterResponse)
		if r.ErrorCode != kafka.None {
			return r.ErrorCode.Error()
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s %d", r.ClusterID, r.ClusterAuthorizedOperations)
		for _, n := range r.Brokers {
			fmt.Fprintf(&b, ", %d=%s:%d %v", n.BrokerID, n.Host, n.Port, n.IsFenced)
		}
		return b.String()
	}
	fenced := func(r *wire.DescribeClusterRequest) { r.IncludeFencedBrokers = true }
	of := func(kind int8) func(*wire.DescribeClusterRequest) {
		return func(r *wire.DescribeClusterRequest) { r.EndpointType = kind }
	}
	for _, test := range []struct{ what, got, want string }{
		{"brokers that have an endpoint here", ask(1, nil), "a-cluster -2147483648, 1=one:9092 false"},
		{"fenced ones, too", ask(2, fenced), "a-cluster -2147483648, 1=one:9092 false, 2=two:9092 true"},
		{"controllers, of a broker", ask(1, of(2)), "MISMATCHED_ENDPOINT_TYPE"},
		{"controllers, where that cannot be asked", ask(0, of(2)), "INVALID_REQUEST"},
		{"neither", ask(1, of(3)), "UNSUPPORTED_ENDPOINT_TYPE"},
		{"what the caller may do", ask(1, func(r *wire.DescribeClusterRequest) { r.IncludeClusterAuthorizedOperations = true }), "a-cluster 8096, 1=one:9092 false"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
	if r := describeCluster(g.callOn(NewController(g.o), 1), wire.NewDescribeClusterRequest()).(*wire.DescribeClusterResponse); r.ErrorCode != kafka.MismatchedEndpointType {
		t.Errorf("brokers, of a controller: %v", r.ErrorCode)
	}
}

func TestDescribeLogDirs(t *testing.T) {
	g := fetchGate(t)
	ask := func(topics []wire.DescribeLogDirsRequestTopics) string {
		r := describeLogDirs(g.call(4), &wire.DescribeLogDirsRequest{Topics: topics}).(*wire.DescribeLogDirsResponse)
		var b strings.Builder
		fmt.Fprint(&b, r.ErrorCode)
		for _, dir := range r.Results {
			fmt.Fprintf(&b, "; %s %s", dir.LogDir, dir.ErrorCode)
			for _, topic := range dir.Topics {
				slices.SortFunc(topic.Partitions, func(a, b wire.DescribeLogDirsResponsePartitions) int { return int(a.PartitionIndex - b.PartitionIndex) })
				for _, p := range topic.Partitions {
					fmt.Fprintf(&b, " %s-%d %v", topic.Name, p.PartitionIndex, p.PartitionSize > 0)
				}
			}
		}
		return b.String()
	}
	for _, test := range []struct{ what, got, want string }{
		{"all", ask(nil), "NONE; /data NONE t-0 true t-1 false"},
		{"none", ask([]wire.DescribeLogDirsRequestTopics{}), "NONE; /data NONE"},
		{"one, and one that is not here", ask([]wire.DescribeLogDirsRequestTopics{{Topic: "t", Partitions: []int32{1, 7}}, {Topic: "elsewhere", Partitions: []int32{0}}}), "NONE; /data NONE t-1 false"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
	g.o.Authorizer = acls{}
	if got := ask(nil); got != "CLUSTER_AUTHORIZATION_FAILED" {
		t.Errorf("unauthorized: %s", got)
	}
}

func TestDescribeProducers(t *testing.T) {
	g := fetchGate(t)
	o := record.NewBuilderOptions()
	o.ProducerID, o.ProducerEpoch, o.BaseSequence = 7, 3, 0
	done := make(chan error, 1)
	request := &replica.AppendRequest{Acks: -1, Timeout: time.Minute, Version: 12, Done: func(r *replica.AppendRequest) { done <- r.Entries[0].Err }}
	request.Entries = []replica.AppendEntry{{Topic: "t", Partition: 1, Records: aBatch(o, nil)}}
	g.o.Replicas.Append(request)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		r := describeProducers(g.call(0), &wire.DescribeProducersRequest{Topics: []wire.DescribeProducersRequestTopics{
			{Name: "t", PartitionIndexes: []int32{0, 1, 9}}, {Name: "elsewhere", PartitionIndexes: []int32{0}}, {Name: "none", PartitionIndexes: []int32{0}}, {Name: "no/name", PartitionIndexes: []int32{0}}}}).(*wire.DescribeProducersResponse)
		var b strings.Builder
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				fmt.Fprintf(&b, "%s-%d %s", topic.Name, p.PartitionIndex, p.ErrorCode)
				for _, producer := range p.ActiveProducers {
					fmt.Fprintf(&b, " %d/%d at %d", producer.ProducerID, producer.ProducerEpoch, producer.LastSequence)
				}
				b.WriteString("; ")
			}
		}
		return b.String()
	}
	if got, want := ask(), "t-0 NONE; t-1 NONE 7/3 at 0; t-9 UNKNOWN_TOPIC_OR_PARTITION; elsewhere-0 NOT_LEADER_OR_FOLLOWER; none-0 UNKNOWN_TOPIC_OR_PARTITION; no/name-0 INVALID_TOPIC_EXCEPTION; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	g.o.Authorizer = acls{"t": true}
	if got := ask(); strings.Count(got, "TOPIC_AUTHORIZATION_FAILED") != 3 {
		t.Errorf("unauthorized but for t: %s", got)
	}
}

// The only quorum is that of the metadata, and it is asked for alone.
func TestDescribeQuorumOfAnythingElse(t *testing.T) {
	g := newGate(t)
	g.o.ControllerEndpoints = []metadata.Endpoint{{Name: "CONTROLLER", Host: "one", Port: 9093}}
	of := func(topic string, partitions ...int32) wire.DescribeQuorumRequestTopics {
		one := wire.DescribeQuorumRequestTopics{TopicName: topic}
		for _, p := range partitions {
			one.Partitions = append(one.Partitions, wire.DescribeQuorumRequestPartitions{PartitionIndex: p})
		}
		return one
	}
	for what, topics := range map[string][]wire.DescribeQuorumRequestTopics{
		"another topic":              {of("t", 0)},
		"another partition":          {of(kafka.MetadataTopic, 1)},
		"two partitions":             {of(kafka.MetadataTopic, 0, 1)},
		"two topics":                 {of(kafka.MetadataTopic, 0), of("t", 0)},
		"on a node without a quorum": {of(kafka.MetadataTopic, 0)},
	} {
		without := what == "on a node without a quorum"
		if g.o.Quorum = new(quorum.Node); without {
			g.o.Quorum = nil
		}
		r := describeQuorum(g.call(2), &wire.DescribeQuorumRequest{Topics: topics}).(*wire.DescribeQuorumResponse)
		if r.ErrorCode != kafka.None || len(r.Topics) != len(topics) {
			t.Errorf("%s: %+v", what, r)
		}
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				if p.ErrorCode != kafka.UnknownTopicOrPartition || len(p.CurrentVoters) > 0 {
					t.Errorf("%s: %+v", what, p)
				}
			}
		}
		if (len(r.Nodes) > 0) != without {
			t.Errorf("%s: nodes %+v", what, r.Nodes)
		}
	}
	g.o.Authorizer = acls{}
	if r := describeQuorum(g.call(2), &wire.DescribeQuorumRequest{Topics: []wire.DescribeQuorumRequestTopics{of(kafka.MetadataTopic, 0)}}).(*wire.DescribeQuorumResponse); r.ErrorCode != kafka.ClusterAuthorizationFailed || len(r.Topics) > 0 {
		t.Errorf("unauthorized: %+v", r)
	}
}

func TestDescribeTopicPartitions(t *testing.T) {
	g := newGate(t)
	g.apply(slices.Concat(aTopic("a", 1, 2), aTopic("b", 2, 3), aTopic("c", 3, 1, 2), []wire.Message{aBroker(1, "one", false), aBroker(2, "two", true)})...)
	elr := wire.NewPartitionChangeRecord()
	elr.TopicID, elr.PartitionID, elr.Isr, elr.EligibleLeaderReplicas = kafka.TopicID{6: 0x40, 15: 1}, 1, []int32{}, []int32{1}
	elr.Leader = kafka.NoNode
	g.apply(elr)
	ask := func(limit int32, cursor *wire.DescribeTopicPartitionsRequestCursor, names ...string) string {
		request := wire.NewDescribeTopicPartitionsRequest()
		request.ResponsePartitionLimit, request.Cursor = limit, cursor
		for _, name := range names {
			request.Topics = append(request.Topics, wire.DescribeTopicPartitionsRequestTopics{Name: name})
		}
		r := describeTopicPartitions(g.call(0), request).(*wire.DescribeTopicPartitionsResponse)
		var b strings.Builder
		for _, topic := range r.Topics {
			b.WriteString(*topic.Name)
			if topic.ErrorCode != kafka.None {
				fmt.Fprintf(&b, " %s", topic.ErrorCode)
			}
			for _, p := range topic.Partitions {
				fmt.Fprintf(&b, " %d", p.PartitionIndex)
				if p.LeaderID != 1 {
					fmt.Fprintf(&b, "(%s %d eligible %v)", p.ErrorCode, p.LeaderID, p.EligibleLeaderReplicas)
				}
			}
			b.WriteString("; ")
		}
		if r.NextCursor != nil {
			fmt.Fprintf(&b, "next %s-%d", r.NextCursor.TopicName, r.NextCursor.PartitionIndex)
		}
		return strings.TrimSuffix(b.String(), "; ")
	}
	from := func(topic string, partition int32) *wire.DescribeTopicPartitionsRequestCursor {
		return &wire.DescribeTopicPartitionsRequestCursor{TopicName: topic, PartitionIndex: partition}
	}
	const a = "a 0 1(NONE -1 eligible [1])"
	const c = "c 0(NONE -1 eligible [])"
	for _, test := range []struct{ what, got, want string }{
		{"all", ask(2000, nil), a + "; b 0 1 2; " + c},
		{"in order, each once", ask(2000, nil, "b", "a", "b"), a + "; b 0 1 2"},
		{"three at a time", ask(3, nil), a + "; b 0; next b-1"},
		{"from there", ask(3, from("b", 1)), "b 1 2; " + c},
		{"cut between topics", ask(2, nil), a + "; next b-0"},
		{"no limit that is one", ask(-1, nil), "a 0; next a-1"},
		{"from a topic that is gone", ask(9, from("aa", 1)), "b 0 1 2; " + c},
		{"from one that is not asked for", ask(9, from("aa", 1), "b"), "b INVALID_REQUEST"},
		{"from a partition that cannot be", ask(9, from("a", -1), "a"), "a INVALID_REQUEST"},
		{"from past the last", ask(9, from("b", 7), "b"), "b"},
		{"what is not there", ask(9, nil, "none", "no/name"), "no/name INVALID_TOPIC_EXCEPTION; none UNKNOWN_TOPIC_OR_PARTITION"},
		{"no name", ask(9, nil, ""), " UNKNOWN_SERVER_ERROR"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.what, test.got, test.want)
		}
	}
	g.o.Authorizer = acls{"b": true}
	if got, want := ask(9, nil), "b 0 1 2"; got != want {
		t.Errorf("all that one may see: %s, want %s", got, want)
	}
	if got, want := ask(9, nil, "a", "b"), "b 0 1 2; a TOPIC_AUTHORIZATION_FAILED"; got != want {
		t.Errorf("one of two that one may see: %s, want %s", got, want)
	}
}

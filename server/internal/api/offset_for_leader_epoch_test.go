package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
)

func TestOffsetForLeaderEpoch(t *testing.T) {
	g := fetchGate(t)
	ask := g.serve(New(g.o))
	question := func(topic string, partition, current, epoch int32) wire.OffsetForLeaderEpochRequestTopics {
		return wire.OffsetForLeaderEpochRequestTopics{Topic: topic, Partitions: []wire.OffsetForLeaderEpochRequestPartitions{
			{Partition: partition, CurrentLeaderEpoch: current, LeaderEpoch: epoch}}}
	}
	shown := func(r *wire.OffsetForLeaderEpochResponse) string {
		var b strings.Builder
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				fmt.Fprintf(&b, "%s-%d %s %d to %d; ", topic.Topic, p.Partition, p.ErrorCode, p.LeaderEpoch, p.EndOffset)
			}
		}
		return strings.TrimSuffix(b.String(), "; ")
	}
	type topics = []wire.OffsetForLeaderEpochRequestTopics
	for _, test := range []struct {
		what   string
		topics topics
		want   string
	}{
		{"the epoch that goes on", topics{question("t", 0, -1, 0), question("t", 1, 0, 0)}, "t-0 NONE 0 to 1; t-1 NONE 0 to 0"},
		{"an epoch to come", topics{question("t", 0, -1, 5)}, "t-0 NONE -1 to -1"},
		{"a leader epoch to come", topics{question("t", 0, 9, 0)}, "t-0 UNKNOWN_LEADER_EPOCH -1 to -1"},
		{"another broker leads", topics{question("elsewhere", 0, -1, 0)}, "elsewhere-0 NOT_LEADER_OR_FOLLOWER -1 to -1"},
		{"a partition and a topic that are not there", topics{question("t", 9, -1, 0), question("none", 0, -1, 0)},
			"t-9 UNKNOWN_TOPIC_OR_PARTITION -1 to -1; none-0 UNKNOWN_TOPIC_OR_PARTITION -1 to -1"},
		{"nothing", topics{}, ""},
	} {
		for version := int16(2); version <= 4; version++ {
			request, response := wire.NewOffsetForLeaderEpochRequest(), wire.NewOffsetForLeaderEpochResponse()
			request.Topics = test.topics
			if err := ask(request, response, version); err != nil {
				t.Fatalf("%s, version %d: %v", test.what, version, err)
			}
			if got := shown(response); got != test.want {
				t.Errorf("%s, version %d: %s, want %s", test.what, version, got, test.want)
			}
		}
	}

	g.o.Authorizer = acls{"t": true}
	request := wire.NewOffsetForLeaderEpochRequest()
	request.Topics = topics{question("t", 0, -1, 0), question("elsewhere", 0, -1, 0), question("none", 0, -1, 0)}
	if got, want := shown(offsetForLeaderEpoch(g.call(4), request).(*wire.OffsetForLeaderEpochResponse)),
		"t-0 NONE 0 to 1; elsewhere-0 TOPIC_AUTHORIZATION_FAILED -1 to -1; none-0 TOPIC_AUTHORIZATION_FAILED -1 to -1"; got != want {
		t.Errorf("who may see t: %s, want %s", got, want)
	}
}

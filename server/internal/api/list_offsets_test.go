package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func TestListOffsetsOfWhatIsAskedTwice(t *testing.T) {
	g := newGate(t)
	g.replicas(aTopic("t", 1, 2)...)
	request := wire.NewListOffsetsRequest()
	request.ReplicaID = -1
	ask := func(topic string, partitions ...int32) {
		one := wire.ListOffsetsRequestTopics{Name: topic}
		for _, p := range partitions {
			of := wire.NewListOffsetsRequestPartitions()
			of.PartitionIndex, of.Timestamp = p, kafka.TimestampLatest
			one.Partitions = append(one.Partitions, of)
		}
		request.Topics = append(request.Topics, one)
	}
	ask("t", 0, 1)
	ask("empty")
	ask("t", 0, 7)
	show := func(version int16) string {
		var b strings.Builder
		for _, topic := range listOffsets(g.call(version), request).(*wire.ListOffsetsResponse).Topics {
			b.WriteString(topic.Name)
			for _, p := range topic.Partitions {
				fmt.Fprintf(&b, " %d:%s", p.PartitionIndex, p.ErrorCode)
			}
			b.WriteString("; ")
		}
		return b.String()
	}
	if got, want := show(7), "t 0:INVALID_REQUEST 1:NONE 7:UNKNOWN_TOPIC_OR_PARTITION; "; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	request.IsolationLevel = 7
	if got := show(7); strings.Count(got, "UNKNOWN_SERVER_ERROR") != 4 {
		t.Errorf("an isolation level that is none: %s", got)
	}
	request.IsolationLevel = 0
	g.o.Authorizer = acls{}
	if got := show(7); strings.Count(got, "TOPIC_AUTHORIZATION_FAILED") != 4 {
		t.Errorf("unauthorized: %s", got)
	}
}

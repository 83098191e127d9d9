package api

import (
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func TestMetadataByIDs(t *testing.T) {
	g := newGate(t)
	g.apply(append(append(aTopic("a", 1, 1), aTopic("b", 2, 1)...), aBroker(1, "one", false))...)
	a, b := g.image.Topic("a").ID, g.image.Topic("b").ID
	name := "b"
	for _, test := range []struct {
		what    string
		version int16
		topics  []wire.MetadataRequestTopics
		want    string
	}{
		{"ids, one twice", 12, []wire.MetadataRequestTopics{{TopicID: a}, {TopicID: b}, {TopicID: a}}, "a:NONE b:NONE "},
		{"a name beside an id", 12, []wire.MetadataRequestTopics{{TopicID: a}, {Name: &name}}, "a:NONE "},
		{"neither", 13, []wire.MetadataRequestTopics{{}}, "UNKNOWN_SERVER_ERROR :UNKNOWN_SERVER_ERROR "},
		{"an id below version 12", 11, []wire.MetadataRequestTopics{{TopicID: a, Name: &name}}, "INVALID_REQUEST b:INVALID_REQUEST "},
		{"an id that nobody has", 12, []wire.MetadataRequestTopics{{TopicID: kafka.TopicID{9}}}, "null:UNKNOWN_TOPIC_ID "},
	} {
		request := wire.NewMetadataRequest()
		request.Topics, request.AllowAutoTopicCreation = test.topics, false
		response := describeMetadata(g.call(test.version), request).(*wire.MetadataResponse)
		got := ""
		if response.ErrorCode != kafka.None {
			got = response.ErrorCode.String() + " "
		}
		for _, one := range response.Topics {
			shown := "null"
			if one.Name != nil {
				shown = *one.Name
			}
			got += shown + ":" + one.ErrorCode.String() + " "
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}

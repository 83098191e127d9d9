package api

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// fetchGate is a gate with a topic of two partitions, one record in the first, and one that broker 2 leads.
func fetchGate(t *testing.T) *gate {
	g := newGate(t)
	records := append(aTopic("t", 1, 2), aTopic("elsewhere", 2, 1, 2)...)
	records = append(records, aBroker(1, "one", false), aBroker(2, "two", false))
	g.replicas(records...)
	done := make(chan error, 1)
	request := &replica.AppendRequest{Acks: -1, Timeout: time.Minute, Version: 12, Done: func(r *replica.AppendRequest) { done <- r.Entries[0].Err }}
	request.Entries = []replica.AppendEntry{{Topic: "t", Records: aBatch(noProducer, nil)}}
	g.o.Replicas.Append(request)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return g
}

// asked is a partition to fetch from, by the name of its topic and by its id.
type asked struct {
	topic     string
	id        byte
	partition int32
	offset    int64
	epoch     int32 // the leader epoch that the client knows
	fetched   int32 // the epoch of what it fetched last
}

func at(topic string, id byte, partition int32, offset int64) asked {
	return asked{topic, id, partition, offset, -1, -1}
}

func fetchOf(isolation int8, all ...asked) *wire.FetchRequest {
	request := wire.NewFetchRequest()
	request.ReplicaID, request.MaxBytes, request.SessionEpoch, request.IsolationLevel = -1, 1<<20, -1, isolation
	for _, a := range all {
		one := wire.NewFetchRequestPartitions()
		one.Partition, one.FetchOffset, one.PartitionMaxBytes, one.CurrentLeaderEpoch, one.LastFetchedEpoch = a.partition, a.offset, 1<<20, a.epoch, a.fetched
		request.Topics = append(request.Topics, wire.FetchRequestTopics{Topic: a.topic, TopicID: kafka.TopicID{6: 0x40, 15: a.id}, Partitions: []wire.FetchRequestPartitions{one}})
	}
	return request
}

// shown is an answer in words: of each partition its error, or how far it goes and how many records there are.
func shown(r *wire.FetchResponse) string {
	var b strings.Builder
	if r.ErrorCode != kafka.None {
		fmt.Fprintf(&b, "%s; ", r.ErrorCode)
	}
	for _, topic := range r.Responses {
		b.WriteString(topic.Topic)
		if topic.TopicID != (kafka.TopicID{}) {
			fmt.Fprintf(&b, "#%d", topic.TopicID[15])
		}
		for _, p := range topic.Partitions {
			fmt.Fprintf(&b, " %d:", p.PartitionIndex)
			switch {
			case p.ErrorCode != kafka.None:
				fmt.Fprint(&b, p.ErrorCode)
				if p.CurrentLeader.LeaderID >= 0 {
					fmt.Fprintf(&b, " led by %d", p.CurrentLeader.LeaderID)
				}
			case p.DivergingEpoch.EndOffset >= 0:
				fmt.Fprintf(&b, "diverges at %d", p.DivergingEpoch.EndOffset)
			default:
				n := 0
				for rest := p.Records; len(rest) > 0; n++ {
					_, rest, _ = record.Next(rest)
				}
				fmt.Fprintf(&b, "%d of %d", n, p.HighWatermark)
			}
		}
		b.WriteString("; ")
	}
	for _, n := range r.NodeEndpoints {
		fmt.Fprintf(&b, "%d is %s:%d; ", n.NodeID, n.Host, n.Port)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestFetch(t *testing.T) {
	g := fetchGate(t)
	ask := g.serve(New(g.o))
	known := at("t", 1, 0, 0)
	ahead, unknown, diverged := known, known, at("t", 1, 0, 7)
	ahead.epoch, diverged.fetched, unknown.fetched = 9, 0, 5
	for _, test := range []struct {
		what     string
		versions []int16
		request  *wire.FetchRequest
		want     string
	}{
		{"by name", []int16{4, 7, 11, 12}, fetchOf(0, known, at("t", 1, 1, 0)), "t 0:1 of 1 1:0 of 0"},
		{"by id", []int16{13, 16, 18}, fetchOf(0, known, at("t", 1, 1, 0)), "#1 0:1 of 1 1:0 of 0"},
		{"committed only", []int16{4, 12}, fetchOf(1, known), "t 0:1 of 1"},
		{"the last of what is asked twice stands", []int16{12}, fetchOf(0, known, at("t", 1, 1, 0), at("t", 1, 0, 1)), "t 0:0 of 1 1:0 of 0"},
		{"an offset that is not there", []int16{12}, fetchOf(0, at("t", 1, 0, 7)), "t 0:OFFSET_OUT_OF_RANGE"},
		{"a partition that is not there", []int16{4, 12}, fetchOf(0, at("t", 1, 9, 0)), "t 9:UNKNOWN_TOPIC_OR_PARTITION"},
		{"a name that nobody has", []int16{4, 12}, fetchOf(0, at("none", 9, 0, 0)), "none 0:UNKNOWN_TOPIC_OR_PARTITION"},
		{"an id that nobody has", []int16{13, 18}, fetchOf(0, at("none", 9, 0, 0)), "#9 0:UNKNOWN_TOPIC_ID"},
		{"a leader epoch to come", []int16{9, 12}, fetchOf(0, ahead), "t 0:UNKNOWN_LEADER_EPOCH"},
		{"leader epochs are not looked at", []int16{8}, fetchOf(0, ahead), "t 0:1 of 1"},
		{"past the end of the epoch it was fetched in", []int16{12}, fetchOf(0, diverged), "t 0:diverges at 1"},
		{"past the end, before that was told", []int16{4, 11}, fetchOf(0, diverged), "t 0:OFFSET_OUT_OF_RANGE"},
		{"fetched in an epoch that never was", []int16{12}, fetchOf(0, unknown), "t 0:OFFSET_OUT_OF_RANGE"},
		{"another broker leads", []int16{12}, fetchOf(0, at("elsewhere", 2, 0, 0)), "elsewhere 0:NOT_LEADER_OR_FOLLOWER"},
		{"another broker leads, with a hint", []int16{16, 18}, fetchOf(0, at("elsewhere", 2, 0, 0)), "#2 0:NOT_LEADER_OR_FOLLOWER led by 2; 2 is two:9092"},
		{"a level of isolation that is none", []int16{4, 12}, fetchOf(7, known, at("none", 9, 0, 0)), "UNKNOWN_SERVER_ERROR; t 0:UNKNOWN_SERVER_ERROR; none 0:UNKNOWN_SERVER_ERROR"},
		{"a level of isolation that is none, whole", []int16{13, 18}, fetchOf(7, known), "UNKNOWN_SERVER_ERROR"},
	} {
		for _, version := range test.versions {
			response := wire.NewFetchResponse()
			if err := ask(test.request, response, version); err != nil {
				t.Fatalf("%s, version %d: %v", test.what, version, err)
			}
			want := test.want
			if version < 7 { // an error of the whole comes with version 7
				want = strings.TrimPrefix(want, "UNKNOWN_SERVER_ERROR; ")
			}
			if got := shown(response); got != want {
				t.Errorf("%s, version %d: %s, want %s", test.what, version, got, want)
			}
		}
	}
}

// A client that may not read a topic is not told whether there is one.
func TestFetchIsRefused(t *testing.T) {
	g := fetchGate(t)
	g.o.Authorizer = acls{"elsewhere": true}
	ask := g.serve(New(g.o))
	response := wire.NewFetchResponse()
	if err := ask(fetchOf(0, at("t", 1, 0, 0), at("none", 9, 0, 0), at("elsewhere", 2, 0, 0)), response, 12); err != nil {
		t.Fatal(err)
	}
	if got, want := shown(response), "elsewhere 0:NOT_LEADER_OR_FOLLOWER; t 0:TOPIC_AUTHORIZATION_FAILED; none 0:TOPIC_AUTHORIZATION_FAILED"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A session is told what changed (KIP-227), and forgets what it is told to.
func TestFetchSession(t *testing.T) {
	g := fetchGate(t)
	ask := g.serve(New(g.o))
	session := int32(0)
	next := func(epoch int32, forgotten []int32, all ...asked) string {
		request, response := fetchOf(0, all...), wire.NewFetchResponse()
		request.SessionID, request.SessionEpoch = session, epoch
		if forgotten != nil {
			request.ForgottenTopicsData = []wire.FetchRequestForgottenTopicsData{{Topic: "t", Partitions: forgotten}}
		}
		if err := ask(request, response, 12); err != nil {
			t.Fatal(err)
		}
		session = response.SessionID
		return shown(response)
	}
	for i, step := range []struct{ got, want string }{
		{next(0, nil, at("t", 1, 0, 1), at("t", 1, 1, 0)), "t 0:0 of 1 1:0 of 0"},
		{next(1, nil), ""},
		{next(2, nil, at("t", 1, 0, 0)), "t 0:1 of 1"},
		{next(3, []int32{0}), ""},
		{next(3, nil), "INVALID_FETCH_SESSION_EPOCH"},
	} {
		if step.got != step.want {
			t.Errorf("request %d: %q, want %q", i, step.got, step.want)
		}
	}
	session = 1 << 20
	if got := next(1, nil); got != "FETCH_SESSION_ID_NOT_FOUND" {
		t.Errorf("a session that is none: %s", got)
	}
}

// What cannot be decoded, and what is not answered here, ends the connection.
func TestAConnectionEnds(t *testing.T) {
	g := fetchGate(t)
	for what, ask := range map[string]error{
		"half a request":          g.serve(New(g.o))(half{fetchOf(0, at("t", 1, 0, 0))}, wire.NewFetchResponse(), 12),
		"for brokers":             g.serve(New(g.o))(&wire.BrokerHeartbeatRequest{}, wire.NewBrokerHeartbeatResponse(), 1),
		"for another listener":    g.serve(NewController(g.o))(fetchOf(0), wire.NewFetchResponse(), 12),
		"half of one that blocks": g.serve(New(g.o))(half{&wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: "t"}}}}, wire.NewCreateTopicsResponse(), 7),
	} {
		if ask == nil {
			t.Errorf("%s was answered", what)
		}
	}
}

// half is a message of which the second half is missing.
// Who reads the log is told whether another listener would have answered.
func TestUnanswered(t *testing.T) {
	table := New(newGate(t).o)
	for key, want := range map[wire.APIKey]string{
		wire.KeyBrokerHeartbeat:   "BrokerHeartbeat is not answered on the listener PLAINTEXT",
		wire.KeyAlterClientQuotas: "AlterClientQuotas is not served in this version",
		5432:                      "API key 5432 is not served in this version",
	} {
		if err := table.unanswered(key, "PLAINTEXT"); kafka.CodeOf(err) != kafka.UnsupportedVersion || *kafka.MessageOf(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What stands behind the last field of a request is not looked at: librdkafka asks for all topics in this way.
func TestBytesBehindARequest(t *testing.T) {
	g := fetchGate(t)
	ask := g.serve(New(g.o))
	for _, one := range []struct {
		request, response wire.Message
		version           int16
	}{
		{&wire.ApiVersionsRequest{}, wire.NewApiVersionsResponse(), 0},
		{&wire.MetadataRequest{}, wire.NewMetadataResponse(), 13},
		{&wire.DescribeClusterRequest{}, wire.NewDescribeClusterResponse(), 0},
		{fetchOf(0, at("t", 1, 0, 0)), wire.NewFetchResponse(), 12},
		{&wire.ProduceRequest{Acks: 1}, wire.NewProduceResponse(), 9},
	} {
		if err := ask(behind{one.request}, one.response, one.version); err != nil {
			t.Errorf("%s: %v", one.request.Info().Name, err)
		}
	}
}

type behind struct{ wire.Message }

func (b behind) AppendTo(dst []byte, version int16) []byte {
	return append(b.Message.AppendTo(dst, version), 1, 0, 0)
}

type half struct{ wire.Message }

func (h half) AppendTo(b []byte, version int16) []byte {
	body := h.Message.AppendTo(nil, version)
	return append(b, bytes.Clone(body[:len(body)/2])...)
}

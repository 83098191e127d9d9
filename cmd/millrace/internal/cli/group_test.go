package cli_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli"
	"github.com/millrace-io/millrace/kafkatest"
)

// member joins a group and reads until it has so many records, of which it commits the first few.
func member(t *testing.T, s *shell, group, topic string, read, commit int, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client := s.cluster.Client(append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("shop"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit()}, options...)...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var records []*kgo.Record
	for len(records) < read {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		records = append(records, fetches.Records()...)
	}
	if err := client.CommitRecords(ctx, records[:commit]...); err != nil {
		t.Fatal(err)
	}
	return client
}

// describedGroup is what the tests look at of `group describe -o json`.
type describedGroup struct {
	Group, Type, State, Assignor string
	Epoch                        *int32
	Members                      []struct {
		Member, Client string
		Epoch          *int32
		Topics         []string
		Assignment     map[string][]int32
	}
	Lag        int64
	LagSeconds *float64
	Partitions []struct {
		Topic            string
		Partition        int32
		Offset, End, Lag *int64
		LagSeconds       *float64
		Member           *string
	}
}

func TestGroups(t *testing.T) {
	s := newShell(t, kafkatest.Property("http.listeners", "127.0.0.1:0"))
	if code, out, stderr := s.try("", "group", "list"); code != 0 || out != "" || !strings.Contains(stderr, "a consumer with a group id makes one") {
		t.Errorf("an empty list: code %d, %q, %q", code, out, stderr)
	}
	s.fails(1, "there is no group nobody; `millrace group list` lists them", "", "group", "describe", "nobody")
	s.fails(2, "needs the name of a group", "", "group", "members")
	s.fails(2, "is no regular expression", "", "group", "list", "(")
	s.cluster.CreateTopic("t", 2)
	producer := s.cluster.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 4 { // two in each batch, the later ones younger
		old := time.Now().Add(time.Duration(i-4) * time.Hour)
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v"), Timestamp: old}, &kgo.Record{Topic: "t", Value: []byte("v"), Timestamp: old.Add(30 * time.Minute)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	m := member(t, s, "g", "t", 8, 3)

	s.is(s.run("", "group", "list"), "GROUP  TYPE     STATE   PROTOCOL  COORDINATOR\ng      classic  Stable  consumer            1\n")
	if _, out, stderr := s.try("", "group", "list", "--state", "empty"); out != "" || stderr != "No group is like that.\n" {
		t.Errorf("--state: %q, %q", out, stderr)
	}
	if list := decode[struct{ Group, Type, State string }](t, s.run("", "group", "list", "^g", "--type", "Classic", "--state", "stable,empty", "-o", "json")); len(list) != 1 || list[0].Group != "g" || list[0].State != "Stable" {
		t.Errorf("%+v", list)
	}

	d := decode[describedGroup](t, s.run("", "group", "describe", "g", "-o", "json"))[0]
	if d.Type != "classic" || d.State != "Stable" || d.Assignor != "cooperative-sticky" || len(d.Members) != 1 || d.Members[0].Client != "shop" || len(d.Members[0].Assignment["t"]) != 2 {
		t.Errorf("%+v", d)
	}
	if len(d.Partitions) != 2 || *d.Partitions[0].Offset != 3 || *d.Partitions[0].End != 8 || *d.Partitions[0].Lag != 5 || d.Lag != 5 {
		t.Fatalf("%+v", d)
	}
	// The first record that is not committed is the second one of its batch.
	if seconds := *d.Partitions[0].LagSeconds; seconds < 9000 || seconds > 9600 || *d.LagSeconds != seconds {
		t.Errorf("the group is %v seconds behind, %v in all", seconds, *d.LagSeconds)
	}
	if p := d.Partitions[1]; p.Offset != nil || p.Lag != nil || *p.End != 0 || *p.Member != d.Members[0].Member {
		t.Errorf("a partition that nothing was committed in: %+v", p)
	}
	text := s.run("", "group", "describe", "g")
	for _, want := range []string{
		"Group       g\nType        classic\nState       Stable\nAssignor    cooperative-sticky\nCoordinator 1\nMembers     1\nLag         5 records, 2h30m",
		"TOPIC  PARTITION  OFFSET  END  LAG  LAG TIME  MEMBER\nt              0       3    8    5   2h30m", "\nt              1       -    0    -         -  shop-",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("printed\n%s\nwant\n%s", text, want)
		}
	}
	text = s.run("", "group", "members", "g")
	if !strings.HasPrefix(text, "MEMBER ") || !strings.Contains(text, "  shop    /127.0.0.1      -           2  t:0,1\n") {
		t.Errorf("printed\n%s", text)
	}
	m.Close()
	if code, out, stderr := s.try("", "group", "members", "g"); code != 0 || out != "" || stderr != "The group g has no members.\n" {
		t.Errorf("code %d, %q, %q", code, out, stderr)
	}
	explains(t, s)
}

// explains runs `group explain` against a group that one member has joined and left.
func explains(t *testing.T, s *shell) {
	t.Helper()
	node := s.cluster.Server().HTTPAddr().String()
	explain := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := cli.Main(append([]string{"millrace", "group", "explain"}, args...), strings.NewReader(""), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, out, stderr := explain("g", "--http", node)
	if code != 0 || stderr != "" || !strings.HasPrefix(out, "Group g (classic) is Empty. What is known begins at ") {
		t.Errorf("code %d, %q\n%s", code, stderr, out)
	}
	rest := out
	for _, want := range []string{"(client shop at /127.0.0.1) joined, saying \"", "  A rebalance towards 1 began: shop-", "  Generation 1 is stable with 1 member, ", "(client shop at /127.0.0.1) left, saying \"", "  The last member is gone; the group is empty in 2.\n"} {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Fatalf("printed\n%s\nand not, in this order, %q", out, want)
		}
		rest = after
	}
	_, out, _ = explain("g", "--http", "http://"+node+"/", "-o", "json")
	events := decode[struct {
		Group  string
		Events []struct {
			Event  string
			Member struct{ ClientID string }
		}
	}](t, out)
	if len(events) != 1 || events[0].Group != "g" || events[0].Events[0].Event != "member-joined" || events[0].Events[0].Member.ClientID != "shop" {
		t.Errorf("%+v", events)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "moved") {
			w.WriteHeader(503)
			io.WriteString(w, `{"error":"this node is not the coordinator of partition 3","code":"NOT_COORDINATOR"}`)
			return
		}
		http.NotFound(w, r)
	})}
	go other.Serve(taken)
	t.Cleanup(func() { other.Close() })
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for _, c := range []struct{ group, http, want string }{
		{"h/1", node, "millrace: Group h/1 not found.\n"},
		{"g", taken.Addr().String(), "is it the HTTP port of a Millrace node?"},
		{"moved", taken.Addr().String(), "--http has to be a port of the group's coordinator, which `millrace group list` tells"},
		{"g", gone.Addr().String(), "does not answer: "},
	} {
		if code, out, stderr := explain(c.group, "--http", c.http); code != 1 || out != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%+v: code %d, %q, %q", c, code, out, stderr)
		}
	}
}

func TestGroupsOfTheConsumerProtocol(t *testing.T) {
	s := newShell(t, kafkatest.Property("http.listeners", "127.0.0.1:0"))
	s.cluster.CreateTopic("t", 2)
	s.run("one\ntwo\n", "produce", "t", "-p", "1")
	//lint:ignore SA1029 franz-go looks for this very key
	member(t, s, "g", "t", 2, 2, kgo.WithContext(context.WithValue(t.Context(), "opt_in_kafka_next_gen_balancer_beta", true)))

	d := decode[describedGroup](t, s.run("", "group", "describe", "g", "-o", "json"))[0]
	if d.Type != "consumer" || d.State != "Stable" || d.Assignor != "uniform" || *d.Epoch < 1 || len(d.Members) != 1 || *d.Members[0].Epoch != *d.Epoch || len(d.Members[0].Topics) != 1 || len(d.Members[0].Assignment["t"]) != 2 {
		t.Errorf("%+v", d)
	}
	if len(d.Partitions) != 2 || *d.Partitions[1].Lag != 0 || *d.Partitions[1].LagSeconds != 0 || d.Lag != 0 || *d.LagSeconds != 0 {
		t.Errorf("a group that has read everything: %+v", d)
	}
	if text := s.run("", "group", "describe", "g"); !strings.Contains(text, "\nEpoch       2\nLag         0 records\n") {
		t.Errorf("printed\n%s", text)
	}
	var out, errs bytes.Buffer
	code := cli.Main([]string{"millrace", "group", "explain", "g", "--http", s.cluster.Server().HTTPAddr().String()}, strings.NewReader(""), &out, &errs)
	for _, want := range []string{"Group g (consumer) is Stable.", "The assignor uniform has made the assignment of epoch 2 for 1 member.\n", "Epoch 2 is stable with 1 member, "} {
		if code != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("code %d, %q\n%s\nwant %s", code, errs.String(), out.String(), want)
		}
	}
}

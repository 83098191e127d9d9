package groups

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
)

// patient are settings with which members that are gone stay in their groups until the test is over.
var patient = map[string]string{"group.consumer.session.timeout.ms": "600000", "group.consumer.max.session.timeout.ms": "600000", "group.consumer.heartbeat.interval.ms": "5000",
	"offsets.topic.num.partitions": "5"}

// A __consumer_offsets of Apache Kafka is loaded by Millrace with the same groups, members and offsets, and what Millrace
// made of it by Apache Kafka.
func TestGroupsMoveThereAndBack(t *testing.T) {
	k := oracle.Start(t, patient)
	top := newTopic(t, k.Addr, "moved", 100)
	top.write(t, 1)
	populate(t, top, "kafka")
	want := portrait(t, k.Addr)
	k.Stop(t, time.Minute)

	ours := filepath.Join(t.TempDir(), "ours")
	file := properties(t, k, ours)
	storage(t, "import", "--from", k.Dir, "-c", file)
	n := node.On(t, file, k.Addr, k.ControllerAddr, ours)
	loads(t, "what Kafka wrote and Millrace loaded", k.Addr, want)
	populate(t, top, "millrace")
	want = portrait(t, k.Addr)
	n.Stop(t, time.Minute)

	back := filepath.Join(t.TempDir(), "back")
	storage(t, "export", "-c", file, "--to", back)
	again := oracle.On(t, properties(t, k, back), k.Addr, k.ControllerAddr, back)
	loads(t, "what Millrace wrote and Kafka loaded", k.Addr, want)
	again.Stop(t, time.Minute)
}

func properties(t *testing.T, k *oracle.Kafka, dir string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(name, []byte(oracle.Properties(k.Addr, k.ControllerAddr, dir, patient)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func storage(t *testing.T, args ...string) {
	t.Helper()
	if out, errOut, err := node.Run(t, "", append([]string{"storage"}, args...)...); err != nil {
		t.Fatalf("millrace storage %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
}

// populate makes groups of every kind and state, named after who makes them, and changes those that are there.
func populate(t *testing.T, top *topic, by string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	commit := func(group string, partitions int, at func(p int) int64) {
		var offsets kadm.Offsets
		for p := range partitions {
			offsets.Add(kadm.Offset{Topic: top.name, Partition: int32(p), At: at(p), LeaderEpoch: int32(p%3) - 1, Metadata: strings.Repeat("m", p%50)})
		}
		if err := top.admin.CommitAllOffsets(ctx, group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	// Offsets only: many groups, many offsets of one, overwritten ones, and ones that are gone again.
	for i := range 50 {
		commit(fmt.Sprintf("%s.few.%d", by, i), 2, func(p int) int64 { return int64(i + p) })
	}
	for round := range 3 {
		commit("many", 100, func(p int) int64 { return int64(len(by)*1000 + 100*round + p) })
	}
	if gone, err := top.admin.DeleteGroups(ctx, by+".few.3"); err != nil || gone.Error() != nil {
		t.Fatal(err, gone.Error())
	}
	var one kadm.TopicsSet
	one.Add(top.name, 1)
	if gone, err := top.admin.DeleteOffsets(ctx, by+".few.4", one); err != nil || gone.Error() != nil {
		t.Fatal(err, gone.Error())
	}
	// Groups with members, which are killed and stay, and groups that their members left.
	for _, protocol := range []string{"classic", "consumer"} {
		full := newGroup(t, top, fmt.Sprint(by, ".", protocol, ".full"), spec{protocol: protocol, assignor: "range", session: 4 * time.Minute})
		static := full.spec
		static.instance = "static"
		full.join(t, "franz-go/a")
		full.joinAs(t, "confluent-kafka-go/static", static)
		full.shared(t, 50, "franz-go/a", "confluent-kafka-go/static")
		full.readAll(t)
		full.committed(t)
		empty := newGroup(t, top, fmt.Sprint(by, ".", protocol, ".empty"), spec{protocol: protocol, assignor: "range", session: 4 * time.Minute})
		empty.join(t, "franz-go/a")
		empty.finish(t, "franz-go/a")
		full.kill(t, "franz-go/a")
		full.kill(t, "confluent-kafka-go/static")
	}
	// A group with a member of each protocol, and one that has gone back to the classic one.
	for _, name := range []string{"mixed", "back"} {
		g := newGroup(t, top, fmt.Sprint(by, ".", name), spec{assignor: "range", session: 4 * time.Minute})
		next := g.spec
		next.protocol = "consumer"
		g.join(t, "franz-go/old")
		g.shared(t, 100, "franz-go/old")
		g.joinAs(t, "confluent-kafka-go/new", next)
		g.shared(t, 50, "franz-go/old", "confluent-kafka-go/new")
		g.readAll(t)
		g.committed(t)
		if name == "back" {
			g.leave(t, "confluent-kafka-go/new")
			g.shared(t, 100, "franz-go/old")
		} else {
			g.kill(t, "confluent-kafka-go/new")
		}
		g.kill(t, "franz-go/old")
	}
}

// portrait renders all that a server tells of its groups, a line each.
func portrait(t *testing.T, addr string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	kinds := map[string][]string{}
	for _, kind := range []string{"classic", "consumer"} {
		listed, err := admin.ListGroupsByType(ctx, []string{kind})
		must("list "+kind, err)
		for _, g := range listed.Sorted() {
			say("%s: listed as %s, %q, %s", g.Group, kind, g.ProtocolType, g.State)
			kinds[kind] = append(kinds[kind], g.Group)
		}
	}
	classic, err := admin.DescribeGroups(ctx, kinds["classic"]...)
	must("describe classic groups", err)
	for _, g := range classic.Sorted() {
		say("%s: %s %q %q %v", g.Group, g.State, g.ProtocolType, g.Protocol, g.Err)
		for _, m := range g.Members {
			say("%s: member %s, instance %s, %s at %s, assigned %v", g.Group, m.MemberID, text(m.InstanceID), m.ClientID, m.ClientHost, assignment(m.Assigned))
		}
	}
	next, err := admin.DescribeConsumerGroups(ctx, kinds["consumer"]...)
	must("describe consumer groups", err)
	for _, name := range slices.Sorted(maps.Keys(next)) {
		g := next[name]
		say("%s: %s, epoch %d, assignment epoch %d, %s %v", g.Group, g.State, g.Epoch, g.AssignmentEpoch, g.AssignorName, g.Err)
		for _, m := range g.Members {
			say("%s: member %s, instance %s, rack %s, epoch %d, %s at %s, type %d, topics %v, has %v of %v", g.Group, m.MemberID, text(m.InstanceID), text(m.RackID), m.MemberEpoch, m.ClientID, m.ClientHost, m.MemberType,
				m.SubscribedTopics, m.Assignment.Sorted(), m.TargetAssignment.Sorted())
		}
	}
	for _, group := range append(kinds["classic"], kinds["consumer"]...) {
		offsets, err := admin.FetchOffsets(ctx, group)
		must("offsets of "+group, err)
		must("offsets of "+group, offsets.Error())
		for _, o := range offsets.Offsets().Sorted() {
			say("%s: %s-%d at %d, epoch %d, %q", group, o.Topic, o.Partition, o.At, o.LeaderEpoch, o.Metadata)
		}
	}
	slices.Sort(lines)
	return lines
}

func text(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

func assignment(a kadm.GroupMemberAssignment) any {
	if c, ok := a.AsConsumer(); ok {
		return c.Topics
	}
	return "of another kind"
}

// loads wants the server to tell of its groups what another told, once it has loaded them, and says what differs if it does
// not.
func loads(t *testing.T, what, addr string, want []string) {
	t.Helper()
	if len(want) < 200 {
		t.Errorf("%s: a portrait of %d lines shows nothing", what, len(want))
	}
	deadline := time.Now().Add(patience)
	got := portrait(t, addr)
	for !slices.Equal(got, want) && time.Now().Before(deadline) {
		<-time.After(100 * time.Millisecond) // a load has no event to wait for
		got = portrait(t, addr)
	}
	differ := func(which string, lines, others []string) {
		shown := 0
		for _, line := range lines {
			if !slices.Contains(others, line) && shown < 10 {
				t.Errorf("%s: only %s: %s", what, which, line)
				shown++
			}
		}
	}
	differ("got", got, want)
	differ("wanted", want, got)
}

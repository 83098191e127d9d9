package tools

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/conformance/node"
)

// Groups that have members are the same for both sides, as the names of members are not ours to choose.
func TestOursDescribeActiveGroupsAsKafkas(t *testing.T) {
	kafkas, our := startJava(t), linkOurs(t)
	n := node.Start(t, nil)
	admin := kadm.NewClient(join(t, n.Addr))
	if _, err := admin.CreateTopics(t.Context(), 3, 1, nil, "a", "b"); err != nil {
		t.Fatal(err)
	}
	if err := admin.CommitAllOffsets(t.Context(), "empty", offsets0("a", "b")); err != nil {
		t.Fatal(err)
	}
	if err := admin.CommitAllOffsets(t.Context(), "classic", offsets0("b")); err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1029 franz-go looks for this very key
	modern := context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true)
	join(t, n.Addr, kgo.ConsumerGroup("classic"), kgo.ConsumeTopics("a"), kgo.ClientID("one"))
	join(t, n.Addr, kgo.ConsumerGroup("classic"), kgo.ConsumeTopics("a"), kgo.ClientID("two"), kgo.InstanceID("static"))
	join(t, n.Addr, kgo.ConsumerGroup("modern"), kgo.ConsumeTopics("a"), kgo.ClientID("one"), kgo.WithContext(modern))
	join(t, n.Addr, kgo.ConsumerGroup("modern"), kgo.ConsumeTopics("a"), kgo.ClientID("two"), kgo.WithContext(modern))
	awaitGroups(t, our, n.Addr)

	at := place{broker: n.Addr}
	var calls []call
	for _, group := range []string{"--group classic", "--group modern", "--group empty", "--group modern --group empty", "--all-groups"} {
		for _, what := range []string{"--offsets", "--offsets --verbose", "--members", "--members --verbose", "--state", "--state --verbose"} {
			calls = append(calls, consumerGroups("--describe "+group+" "+what))
		}
	}
	calls = append(calls,
		consumerGroups("--list").unordered(), consumerGroups("--list --state").unordered(), consumerGroups("--list --state --type").unordered(),
		consumerGroups("--list --state stable").unordered(), consumerGroups("--list --state empty,Dead --type classic").unordered(), consumerGroups("--list --type consumer").unordered(),
		groups("--list").unordered(), groups("--list --consumer").unordered(), groups("--list --group-type classic").unordered(),
		groups("--list --group-type consumer --protocol consumer").unordered(), groups("--list --protocol consumer").unordered(),
		consumerGroups("--reset-offsets --group classic --topic a --to-latest --execute"),
		consumerGroups("--reset-offsets --group modern --topic a --to-latest --dry-run"),
		consumerGroups("--delete-offsets --group classic --topic a:0"),
		consumerGroups("--delete-offsets --group modern --topic a").unordered(),
		consumerGroups("--delete --group classic"),
		consumerGroups("--delete --group modern --group nothing").unordered(),
	)
	s := scenario{calls: calls}
	theirs, ours := s.run(t, at, kafkas, kafkasPrefix), s.run(t, at, our, ourPrefix)
	for i, c := range calls {
		for _, difference := range c.compare(theirs[i], ours[i]) {
			t.Errorf("%s %s: %s\nKafka's: %s\nours: %s", c.tool, c.args, difference, theirs[i], ours[i])
		}
	}
}

// join runs a client until the test ends.
func join(t *testing.T, addr string, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(more, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func offsets0(topics ...string) kadm.Offsets {
	offsets := make(kadm.Offsets)
	for _, topic := range topics {
		offsets.AddOffset(topic, 0, 0, -1)
	}
	return offsets
}

// awaitGroups waits until both groups are stable with two members each.
func awaitGroups(t *testing.T, our side, addr string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		r := our.run(t, "", "kafka-consumer-groups", words("--bootstrap-server "+addr+" --describe --group classic --group modern --state"))
		stable := 0
		for line := range strings.Lines(r.stdout) {
			fields := strings.Fields(line)
			if len(fields) > 2 && slices.Contains(fields, "Stable") && fields[len(fields)-1] == "2" {
				stable++
			}
		}
		if stable == 2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the groups do not get stable: %s", r)
		}
	}
}

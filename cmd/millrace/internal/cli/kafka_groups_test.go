package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// join makes a member of a group, until the test ends, and waits until it has partitions.
func (s *shell) join(group, topic string, more ...kgo.Opt) {
	s.t.Helper()
	assigned := make(chan struct{}, 1)
	client, err := kgo.NewClient(append(more, kgo.SeedBrokers(s.cluster.Addrs()...), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("reader"),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			select {
			case assigned <- struct{}{}:
			default:
			}
		}))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(client.Close)
	select {
	case <-assigned:
	case <-time.After(30 * time.Second):
		s.t.Fatal("the member got no partitions")
	}
}

// commit commits offsets for a group that has no members.
func (s *shell) commit(group, topic string, offsets ...int64) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.cluster.Addrs()...))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	all := make(kadm.Offsets)
	for p, offset := range offsets {
		all.AddOffset(topic, int32(p), offset, -1)
	}
	if err := kadm.NewClient(client).CommitAllOffsets(s.t.Context(), group, all); err != nil {
		s.t.Fatal(err)
	}
}

const (
	groupOffsetsHead = "GROUP           TOPIC           PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG             CONSUMER-ID     HOST            CLIENT-ID"
	groupResetHead   = "GROUP           TOPIC           PARTITION  NEW-OFFSET"
)

// The first question about a group makes the topic of the groups, which takes a moment.
func TestKafkaConsumerGroupsOfANewCluster(t *testing.T) {
	for _, args := range []string{
		"--describe --group g", "--reset-offsets --dry-run --group g --topic t --shift-by 1", "--delete --group g", "--delete-offsets --group g --topic t:0",
	} {
		s := newShell(t)
		s.cluster.CreateTopic("t", 1)
		_, out, stderr := s.tool("", "kafka-consumer-groups", append(strings.Fields(args), "--bootstrap-server", s.cluster.Addrs()[0])...)
		if strings.Contains(out+stderr, "oordinator") || out+stderr == "" {
			t.Errorf("%s: %s%s", args, out, stderr)
		}
	}
}

func TestKafkaConsumerGroups(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 2)
	s.run("1\n2\n3\n", "produce", "t", "-p", "0")
	s.commit("g", "t", 1, 0)
	file := filepath.Join(t.TempDir(), "plan.csv")
	os.WriteFile(file, []byte("t,0,2\nt,1,9\n"), 0o644)
	const tool, plan = "kafka-consumer-groups --bootstrap-server {b} ", "kafka-consumer-groups --bootstrap-server {b} --reset-offsets --dry-run --group g "
	rows := func(rows ...string) string {
		return "\n" + groupResetHead + "\n" + strings.Join(rows, "\n") + "\n"
	}
	row := func(partition, offset string) string {
		return "g               t               " + partition + "          " + offset
	}
	s.follow(transcript{
		{tool + "--list", "", "g\n", ""},
		{tool + "--list --state --type", "", "GROUP                     TYPE                 STATE               \ng                         Classic              Empty               \n", ""},
		{tool + "--list --state stable", "", "GROUP                     STATE               \n", ""},
		{tool + "--describe --group g", "", "\n" + groupOffsetsHead + "\n" +
			"g               t               0          1               3               2               -               -               -\n" +
			"g               t               1          0               0               0               -               -               -\n", ""},
		{tool + "--describe --group g --state", "", "\nGROUP           COORDINATOR (ID)          ASSIGNMENT-STRATEGY  STATE                #MEMBERS\n" +
			"g               {b}  (1)      -                    Empty                0\n", ""},
		{tool + "--describe --group nothing", "", "\nError: Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: Group nothing not found.\n", ""},
		{plan + "--all-topics --to-earliest", "", rows(row("0", "0"), row("1", "0")), ""},
		{plan + "--topic t --to-latest", "", rows(row("0", "3"), row("1", "0")), ""},
		{plan + "--topic t:0 --to-offset 2", "", rows(row("0", "2")), ""},
		{plan + "--topic t:0 --to-offset 99", "", rows(row("0", "3")), ""},
		{plan + "--topic t:0 --to-offset -9", "", rows(row("0", "0")), ""},
		{plan + "--topic t:0 --to-current", "", rows(row("0", "1")), ""},
		{plan + "--topic t:0 --shift-by 1", "", rows(row("0", "2")), ""},
		{plan + "--topic t:0 --shift-by -9", "", rows(row("0", "0")), ""},
		{plan + "--topic t:0 --to-datetime 2020-01-01T00:00:00.000", "", rows(row("0", "0")), ""},
		{plan + "--topic t --to-datetime 2999-01-01T00:00:00.000Z", "", "\nWarn: Partition 0 from topic t is empty. Falling back to latest known offset.\n\nWarn: Partition 1 from topic t is empty. Falling back to latest known offset.\n" + rows(row("0", "3"), row("1", "0")), ""},
		{plan + "--topic t:0 --by-duration P1DT1H", "", rows(row("0", "0")), ""},
		{plan + "--from-file {file}", "", rows(row("0", "2"), row("1", "0")), ""},
		{plan + "--topic t:0 --to-latest --export", "", "t,0,3\n\n", ""},
		{plan + "--topic t:7 --to-latest", "", "\nError: Executing consumer group command failed due to The partitions \"t-7\" do not exist\n", ""},
		{plan + "--to-latest", "", "", "One of the reset scopes should be defined: --all-topics, --topic."},
		{plan + "--topic t:0 --by-duration 1h", "", "\nError: Executing consumer group command failed due to Text cannot be parsed to a Duration\n", ""},
		{tool + "--reset-offsets --group g --topic t --to-latest --execute", "", rows(row("0", "3"), row("1", "0")), ""},
		{plan + "--all-topics --to-current", "", rows(row("0", "3"), row("1", "0")), ""},
		{tool + "--delete-offsets --group g --topic t:1", "", "Request succeeded for deleting offsets from group g.\n\nTOPIC           PARTITION  STATUS         \nt               1          Successful     \n", ""},
		{plan + "--all-topics --to-current", "", rows(row("0", "3")), ""},
		{tool + "--delete --group g --group nothing", "", "\nError: Deletion of some consumer groups failed:\n* Group 'nothing' could not be deleted due to: org.apache.kafka.common.errors.GroupIdNotFoundException: The group id does not exist.\n\nThese consumer groups were deleted successfully: 'g'\n", ""},
		{tool + "--list", "", "", ""},
		{tool + "--validate-regex ab(c", "", "The regular expression `ab(c` is invalid: missing closing ).\n", ""},
		{tool + "--validate-regex ab*c", "", "The regular expression `ab*c` is valid.\n", ""},
		{tool + "--list --describe --all-groups", "", "", "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex"},
		{tool + "--list --members", "", "", "Option(s) [members] are unavailable given other options on the command line"},
	}, "{file}", file)
}

func TestKafkaToolsOnGroupsWithMembers(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 2)
	s.join("old", "t", kgo.InstanceID("static"))
	//lint:ignore SA1029 franz-go looks for this very key
	s.join("new", "t", kgo.WithContext(context.WithValue(t.Context(), "opt_in_kafka_next_gen_balancer_beta", true)))
	const tool = "kafka-consumer-groups --bootstrap-server {b} "
	s.follow(transcript{
		{"kafka-groups --bootstrap-server {b} --list", "", "GROUP                TYPE                 PROTOCOL            \nnew                  Consumer             consumer             \nold                  Classic              consumer             \n", ""},
		{"kafka-groups --bootstrap-server {b} --list --group-type classic", "", "GROUP                TYPE                 PROTOCOL            \nold                  Classic              consumer             \n", ""},
		{"kafka-groups --bootstrap-server {b} --list --share", "", "GROUP                TYPE                 PROTOCOL            \n", ""},
		{"kafka-groups --bootstrap-server {b} --list --consumer --share", "", "", `Option "[consumer]" can't be used with option "[share]"`},
		{"kafka-groups --list", "", "", "Missing required option(s) [bootstrap-server]"},
		{tool + "--reset-offsets --group old --topic t --to-latest --execute", "", "\nError: Assignments can only be reset if the group 'old' is inactive, but the current state is Stable.\n\n" + groupResetHead + "\n", ""},
		{tool + "--delete --group old", "", "\nError: Deletion of some consumer groups failed:\n* Group 'old' could not be deleted due to: org.apache.kafka.common.errors.GroupNotEmptyException: The group is not empty.\n", ""},
	})
	for group, want := range map[string][]string{
		"old": {"GROUP-INSTANCE-ID", "static", " reader          2               -               t:0,1                -               -"},
		"new": {" reader          2               ", "t:0,1                "},
	} {
		_, out, _ := s.tool("", "kafka-consumer-groups", "--bootstrap-server", s.cluster.Addrs()[0], "--describe", "--group", group, "--members", "--verbose")
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%s: printed\n%s\nwant %q", group, out, text)
			}
		}
	}
}

package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli"
	"github.com/millrace-io/millrace/kafkatest"
)

// tool runs the binary under the name of one of Kafka's tools.
func (s *shell) tool(stdin, name string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(append([]string{"/opt/kafka/bin/" + name}, args...), strings.NewReader(stdin), &out, &errs)
	return code, topicIDs.ReplaceAllString(out.String(), "TopicId: ID"), errs.String()
}

var topicIDs = regexp.MustCompile(`TopicId: [A-Za-z0-9_-]{22}`)

// transcript is a list of calls, each with all that it prints on stdout, and something that it says on stderr.
// A call that says something there ends with 1.
type transcript []struct {
	command, stdin, stdout, stderr string
}

func (s *shell) follow(all transcript, replace ...string) {
	s.t.Helper()
	fill := strings.NewReplacer(append(replace, "{b}", s.cluster.Addrs()[0])...)
	for _, c := range all {
		words := strings.Fields(fill.Replace(c.command))
		code, stdout, stderr := s.tool(c.stdin, words[0], words[1:]...)
		want := 0
		if c.stderr != "" || strings.HasPrefix(c.stdout, "Error while executing") {
			want = 1
		}
		if code != want || stdout != fill.Replace(c.stdout) || !strings.Contains(stderr, c.stderr) {
			s.t.Errorf("%s: code %d, want %d\nprinted\n%s\nwant\n%s\nstderr %s\nwant %s", c.command, code, want, stdout, fill.Replace(c.stdout), stderr, c.stderr)
		}
	}
}

// The texts are those that Kafka's tools print; conformance/kafka/tools compares them with Kafka itself.
func TestKafkaTopics(t *testing.T) {
	newShell(t).follow(transcript{
		{"kafka-topics.sh --bootstrap-server {b} --create --topic a --partitions 2 --config retention.ms=5", "", "Created topic a.\n", ""},
		{"kafka-topics --bootstrap-server {b} --create --topic a.b_c", "", "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.\nCreated topic a.b_c.\n", ""},
		{"kafka-topics --bootstrap-server {b} --create --topic a --if-not-exists", "", "", ""},
		{"kafka-topics --bootstrap-server {b} --create --topic r --replica-assignment 1,1", "", "Created topic r.\n", ""},
		{"kafka-topics --bootstrap-server {b} --create --topic x --replication-factor 0", "", "Error while executing topic command : The replication factor must be between 1 and 32767 inclusive\n", ""},
		{"kafka-topics --bootstrap-server={b} -list", "", "a\na.b_c\nr\n", ""},
		{"kafka-topics --bootstrap-server {b} --list --topic a.*", "", "a\na.b_c\n", ""},
		{"kafka-topics --bootstrap-server {b} --describe --topic a", "", "Topic: a\tTopicId: ID\tPartitionCount: 2\tReplicationFactor: 1\tConfigs: min.insync.replicas=1,retention.ms=5\n" +
			"\tTopic: a\tPartition: 0\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n\tTopic: a\tPartition: 1\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr: \n", ""},
		{"kafka-topics --bootstrap-server {b} --describe --under-replicated-partitions", "", "", ""},
		{"kafka-topics --bootstrap-server {b} --alter --topic a --partitions 3", "", "", ""},
		{"kafka-topics --bootstrap-server {b} --describe --topic nothing", "", "Error while executing topic command : Topic 'nothing' does not exist as expected\n", ""},
		{"kafka-topics --bootstrap-server {b} --delete --topic [ar].*", "", "", ""},
		{"kafka-topics --bootstrap-server {b} --list", "", "\n", ""},
		{"kafka-topics --list", "", "", "--bootstrap-server must be specified"},
		{"kafka-topics --bootstrap-server {b} --list --describe", "", "", "Command must include exactly one action: --list, --describe, --create, --alter or --delete"},
		{"kafka-topics --bootstrap-server {b} --nonsense", "", "", "nonsense is not a recognized option"},
		{"kafka-topics --bootstrap-server {b} --list --partitions 3", "", "", `Option "[partitions]" can't be used with option "[list]"`},
		{"kafka-topics --version", "", "4.3.1\n", ""},
	})
}

func TestKafkaConfigs(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 1)
	file := filepath.Join(t.TempDir(), "add.properties")
	os.WriteFile(file, []byte("flush.ms=9\n"), 0o644)
	s.follow(transcript{
		{"kafka-configs.sh --bootstrap-server {b} --alter --topic t --add-config cleanup.policy=[compact,delete],retention.ms=7", "", "Completed updating config for topic t.\n", ""},
		{"kafka-configs --bootstrap-server {b} --alter --entity-type topics --entity-name t --delete-config retention.ms --add-config-file {file}", "", "Completed updating config for topic t.\n", ""},
		{"kafka-configs --bootstrap-server {b} --describe --topic t", "", "Dynamic configs for topic t are:\n" +
			"  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete, DEFAULT_CONFIG:log.cleanup.policy=delete}\n" +
			"  flush.ms=9 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:flush.ms=9}\n", ""},
		{"kafka-configs --bootstrap-server {b} --alter --broker-defaults --add-config log.retention.ms=5", "", "Completed updating default config for brokers in the cluster.\n", ""},
		{"kafka-configs --bootstrap-server {b} --alter --entity-type client-metrics --entity-name m --add-config interval.ms=1000", "", "Completed updating config for client-metric m.\n", ""},
		{"kafka-configs --bootstrap-server {b} --describe --client-metrics m", "", "Dynamic configs for client-metric m are:\n" +
			"  interval.ms=1000 sensitive=false synonyms={DYNAMIC_CLIENT_METRICS_CONFIG:interval.ms=1000}\n", ""},
		{"kafka-configs --bootstrap-server {b} --alter --group g --add-config consumer.session.timeout.ms=50000", "", "Completed updating config for group g.\n", ""},
		{"kafka-configs --bootstrap-server {b} --describe --group g", "", "Dynamic configs for group g are:\n" +
			"  consumer.session.timeout.ms=50000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000, DEFAULT_CONFIG:group.consumer.session.timeout.ms=45000}\n", ""},
		{"kafka-configs --bootstrap-server {b} --describe --broker 1", "", "Dynamic configs for broker 1 are:\n", ""},
		{"kafka-configs --bootstrap-server {b} --describe --topic nothing", "", "The topic 'nothing' doesn't exist and doesn't have dynamic config.\n", ""},
		{"kafka-configs --bootstrap-server {b} --alter --topic t --add-config nonsense=1", "", "", "nonsense"},
		{"kafka-configs --bootstrap-server {b} --describe --entity-type things", "", "", "Invalid entity type things"},
		{"kafka-configs --bootstrap-server {b} --alter --topic t", "", "", "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter"},
	}, "{file}", file)
}

func TestKafkaConsoleTools(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 1)
	const produce, consume = "kafka-console-producer --bootstrap-server {b} --topic t ", "kafka-console-consumer.sh --bootstrap-server {b} --topic t --partition 0 "
	s.follow(transcript{
		{produce, "one\n\n", "", ""},
		{produce + "--reader-property parse.key=true --reader-property key.separator=: --compression-codec zstd", "k:v\n", "", ""},
		{produce + "--sync --reader-property parse.key=true --reader-property parse.headers=true --reader-property null.marker=N", "h:1,i:N\tN\tlast\n", "", ""},
		{produce + "--reader-property parse.key=true", "none\n", "", "No key separator found on line number 1: 'none'"},
		{produce + "--compression-codec nonsense", "x\n", "", "Invalid value nonsense for configuration compression.type"},
		{produce + "--property parse.key=false", "", "Warning: --property is deprecated and will be removed in a future version. Use --reader-property instead.\n", ""},
		{consume + "--from-beginning --max-messages 4", "", "one\n\nv\nlast\n", ""},
		{consume + "--offset 2 --max-messages 2 --formatter-property print.key=true --formatter-property print.offset=true --formatter-property print.headers=true --formatter-property key.separator=;", "", "Offset:2;NO_HEADERS;k;v\nOffset:3;h:1,i:null;null;last\n", ""},
		{consume + "--offset earliest --timeout-ms 200 --formatter-property print.value=false --formatter-property print.partition=true", "", "Partition:0\nPartition:0\nPartition:0\nPartition:0\n", ""},
		{"kafka-console-consumer --bootstrap-server {b} --include [t] --from-beginning --max-messages 1", "", "one\n", ""},
		{consume + "--offset soon", "", "", "The provided offset value 'soon' is incorrect."},
		{consume + "--offset 0 --max-messages 1 --value-deserializer org.apache.kafka.common.serialization.LongDeserializer", "", "", "Size of data received by LongDeserializer is not 8"},
	})
	_, _, stderr := s.tool("", "kafka-console-consumer", "--bootstrap-server", s.cluster.Addrs()[0], "--topic", "t", "--partition", "0", "--from-beginning", "--max-messages", "3")
	if stderr != "Processed a total of 3 messages\n" {
		t.Errorf("%q", stderr)
	}
}

func TestKafkaOffsetsAndDirectories(t *testing.T) {
	s := newShell(t, kafkatest.Property("node.id", "1"))
	s.cluster.CreateTopic("t", 2)
	s.run("1\n2\n3\n", "produce", "t", "-p", "0")
	file := filepath.Join(t.TempDir(), "offsets.json")
	os.WriteFile(file, []byte(`{"partitions":[{"topic":"t","partition":0,"offset":2}],"version":1}`), 0o644)
	id := s.cluster.Server().ClusterID()
	s.follow(transcript{
		{"kafka-get-offsets.sh --bootstrap-server {b} --topic t", "", "t:0:3\nt:1:0\n", ""},
		{"kafka-delete-records --bootstrap-server {b} --offset-json-file {file}", "", "Executing records delete operation\nRecords delete operation completed:\npartition: t-0\tlow_watermark: 2\n", ""},
		{"kafka-get-offsets --bootstrap-server {b} --topic-partitions t:0 --time earliest", "", "t:0:2\n", ""},
		{"kafka-get-offsets --bootstrap-server {b} --topic t --partitions 1 --time 99999999999999", "", "", ""},
		{"kafka-get-offsets --bootstrap-server {b} --topic t --time soon", "", "", "Malformed time argument soon."},
		{"kafka-get-offsets --bootstrap-server {b} --topic nothing", "", "", "Could not match any topic-partitions with the specified filters"},
		{"kafka-log-dirs --bootstrap-server {b} --describe --topic-list nothing", "", "Querying brokers for log directories information\nReceived log directory information from brokers 1\n" +
			`{"brokers":[{"broker":1,"logDirs":[{"partitions":[],"error":null,"logDir":"/data"}]}],"version":1}` + "\n", ""},
		{"kafka-log-dirs --bootstrap-server {b} --describe --broker-list 7", "", "", "ERROR: The given brokers do not exist from --broker-list: 7. Current existent brokers: 1"},
		{"kafka-cluster.sh cluster-id --bootstrap-server {b}", "", "Cluster ID: {id}\n", ""},
		{"kafka-cluster unregister --bootstrap-server {b} --id 77", "", "", "org.apache.kafka.common.errors.BrokerIdNotRegisteredException: "},
		{"kafka-cluster cluster-id --nonsense", "", "", "kafka-cluster: error: unrecognized arguments: '--nonsense'"},
		{"kafka-cluster list-endpoints --bootstrap-controller {b} --include-fenced-brokers", "", "", "The option --include-fenced-brokers is only supported with --bootstrap-server option"},
	}, "{file}", file, "{id}", id)
	code, out, _ := s.tool("", "kafka-cluster", "list-endpoints", "--bootstrap-server", s.cluster.Addrs()[0])
	if lines := strings.Split(out, "\n"); code != 0 || len(lines) != 3 || !strings.HasPrefix(lines[0], "ID         HOST      PORT       RACK       STATE") || !strings.HasPrefix(lines[1], "1          127.0.0.1 ") {
		t.Errorf("code %d, %q", code, out)
	}
}

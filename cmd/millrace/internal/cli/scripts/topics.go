package scripts

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// alterTopicConfigs is what kafka-topics adds where somebody alters configs with it.
const alterTopicConfigs = " (To alter topic configurations, the kafka-configs tool can be used.)"

var topicsActions = []string{"create", "list", "alter", "describe", "delete"}

func topicsOptions() *options {
	return newOptions("This tool helps to create, delete, describe, or change a topic.",
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "REQUIRED: The brokers to ask first, as HOST:PORT with commas between."},
		option{name: "command-config", kind: text, label: "command config property file", help: "A file of properties for the client, such as its security."},
		option{name: "list", help: "List the topics."},
		option{name: "create", help: "Create a topic."},
		option{name: "delete", help: "Delete topics."},
		option{name: "alter", help: "Give topics more partitions." + alterTopicConfigs},
		option{name: "describe", help: "Show topics and their partitions."},
		option{name: "topic", kind: text, label: "topic", help: "The topic; a regular expression, except with --create."},
		option{name: "topic-id", kind: text, label: "topic-id", help: "The id of the topic to describe."},
		option{name: "config", kind: text, label: "name=value", many: true, help: "A config of the topic that is created; may be repeated." + alterTopicConfigs},
		option{name: "delete-config", kind: text, label: "name", many: true, help: "No longer supported since Kafka 4.0."},
		option{name: "partitions", kind: integer, label: "# of partitions", help: "The number of partitions to create a topic with, or to have after --alter. More partitions send the keys of a topic elsewhere than before."},
		option{name: "replication-factor", kind: integer, label: "replication factor", help: "The number of replicas of each partition; the cluster's default where it is left out."},
		option{name: "replica-assignment", kind: text, label: "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , ...", help: "The brokers of every partition, by hand."},
		option{name: "under-replicated-partitions", help: "With --describe: only partitions with replicas out of sync."},
		option{name: "unavailable-partitions", help: "With --describe: only partitions whose leader is not available."},
		option{name: "under-min-isr-partitions", help: "With --describe: only partitions with fewer replicas in sync than min.insync.replicas."},
		option{name: "at-min-isr-partitions", help: "With --describe: only partitions with exactly as many replicas in sync as min.insync.replicas."},
		option{name: "topics-with-overrides", help: "With --describe: only topics with configs of their own."},
		option{name: "if-exists", help: "With --alter, --delete and --describe: a topic that is missing is no error."},
		option{name: "if-not-exists", help: "With --create: a topic that exists is no error."},
		option{name: "exclude-internal", help: "With --list and --describe: leave out internal topics."},
		option{name: "partition-size-limit-per-response", kind: integer, label: "maximum number of partitions per response", help: "How many partitions a broker may describe in one response."},
	)
}

func runTopics(c *call) error {
	o := topicsOptions()
	if len(c.args) == 0 {
		return o.misuse("Create, delete, describe, or change a topic.")
	}
	v, err := o.parse(c.args)
	if err != nil {
		if strings.HasPrefix(err.Error(), "Cannot parse argument") || strings.HasPrefix(err.Error(), "Found multiple arguments") {
			return topicsFailed(err) // Kafka finds these only while it works
		}
		return err
	}
	if err := checkTopics(c, v); err != nil {
		return err
	}
	t := &topics{call: c, values: v}
	if err := t.parseNew(); err != nil {
		return topicsFailed(err)
	}
	if t.admin, err = c.admin(v); err != nil {
		return topicsFailed(err)
	}
	defer t.admin.Close()
	do := map[string]func() error{"create": t.create, "list": t.list, "alter": t.alter, "describe": t.describe, "delete": t.delete}
	for _, action := range topicsActions {
		if v.has(action) {
			if err := do[action](); err != nil {
				return topicsFailed(err)
			}
		}
	}
	return nil
}

// topicsFailed prints a failure as kafka-topics does: on stdout.
func topicsFailed(err error) error {
	var e *exit
	if errors.As(err, &e) {
		return err
	}
	return &exit{code: 1, stdout: "Error while executing topic command : " + dial.Explain(err).Error()}
}

// checkTopics sees that the options fit together.
func checkTopics(c *call, v *values) error {
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	actions := 0
	for _, action := range topicsActions {
		if v.has(action) {
			actions++
		}
	}
	if actions != 1 {
		return v.options.misuse("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	}
	if v.has("delete-config") {
		fmt.Fprintln(c.err, "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.")
	}
	if !v.has("bootstrap-server") {
		return terse("--bootstrap-server must be specified")
	}
	if v.has("describe") && v.has("if-exists") {
		if !v.has("topic") && !v.has("topic-id") {
			return v.options.misuse("--topic or --topic-id is required to describe a topic")
		}
		if v.has("topic") && v.has("topic-id") {
			c.printf("Only topic id will be used when both --topic and --topic-id are specified and topicId is not Uuid.ZERO_UUID\n")
		}
	}
	if !v.has("list") && !v.has("describe") {
		if err := v.require("topic"); err != nil {
			return err
		}
	}
	if v.has("alter") {
		if v.has("config") {
			return v.options.misuse("Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\"%s", alterTopicConfigs)
		}
		if err := v.require("partitions"); err != nil {
			return err
		}
	}
	besides := func(allowed ...string) []string {
		return slices.DeleteFunc([]string{"alter", "create", "describe", "list", "delete"}, func(a string) bool { return slices.Contains(allowed, a) })
	}
	reports := []string{"under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"}
	rules := []struct {
		used   string
		others []string
	}{
		{"config", besides("alter", "create")},
		{"partitions", besides("alter", "create")},
		{"replication-factor", besides("create")},
		{"replica-assignment", besides("alter", "create")},
	}
	if v.has("create") {
		rules = append(rules, struct {
			used   string
			others []string
		}{"replica-assignment", []string{"partitions", "replication-factor"}})
	}
	for _, report := range reports {
		rules = append(rules, struct {
			used   string
			others []string
		}{report, append(besides("describe"), "topics-with-overrides")})
	}
	rules = append(rules, []struct {
		used   string
		others []string
	}{
		{"topics-with-overrides", append(besides("describe"), reports...)},
		{"if-exists", besides("alter", "delete", "describe")},
		{"if-not-exists", besides("create")},
		{"exclude-internal", besides("list", "describe")},
	}...)
	for _, rule := range rules {
		if err := v.exclude(rule.used, rule.others...); err != nil {
			return err
		}
	}
	return nil
}

// topics is one run of kafka-topics.
type topics struct {
	*call
	*values
	admin *admin

	configs    map[string]string // of --config
	assignment [][]int32         // of --replica-assignment, by partition
}

// parseNew reads --config and --replica-assignment.
func (t *topics) parseNew() error {
	t.configs = make(map[string]string)
	if t.has("create") {
		for _, word := range t.of["config"] {
			pair := splitAround(word, "=")
			if len(pair) != 2 {
				return fmt.Errorf("requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".")
			}
			t.configs[javaTrim(pair[0])] = javaTrim(pair[1])
		}
	}
	if list := t.get("replica-assignment"); list != "" {
		for i, partition := range strings.Split(list, ",") {
			var brokers, twice []int32
			for word := range strings.SplitSeq(partition, ":") {
				id, err := strconv.ParseInt(javaTrim(word), 10, 32)
				if err != nil {
					return fmt.Errorf("For input string: \"%s\"", javaTrim(word))
				}
				if slices.Contains(brokers, int32(id)) {
					twice = append(twice, int32(id))
				}
				brokers = append(brokers, int32(id))
			}
			if len(twice) > 0 {
				return fmt.Errorf("Partition replica lists may not contain duplicate entries: %s", joinIDs(twice))
			}
			if i > 0 && len(brokers) != len(t.assignment[0]) {
				return fmt.Errorf("Partition %d has different replication factor: [%s]", i, strings.ReplaceAll(joinIDs(brokers), ",", ", "))
			}
			t.assignment = append(t.assignment, brokers)
		}
	}
	return nil
}

func (t *topics) create() error {
	name := t.get("topic")
	if strings.ContainsAny(name, "._") {
		t.printf("WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.\n")
	}
	if name == "" {
		return fmt.Errorf("The given topic name '' cannot be represented in a request.")
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 30_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	if t.has("replication-factor") {
		n := t.int("replication-factor")
		if n < 1 || n > math.MaxInt16 {
			return fmt.Errorf("The replication factor must be between 1 and %d inclusive", math.MaxInt16)
		}
		topic.ReplicationFactor = int16(n)
	}
	if t.has("partitions") {
		n := t.int("partitions")
		if n < 1 {
			return fmt.Errorf("The partitions must be greater than 0")
		}
		topic.NumPartitions = int32(n)
	}
	for i, brokers := range t.assignment {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), brokers
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
	}
	for _, key := range slices.Sorted(maps.Keys(t.configs)) {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = key, kmsg.StringPtr(t.configs[key])
		topic.Configs = append(topic.Configs, c)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(t, t.admin.raw)
	if err != nil {
		return err
	}
	for _, topic := range response.Topics {
		err := dial.Code(topic.ErrorCode, topic.ErrorMessage)
		if errors.Is(err, kerr.TopicAlreadyExists) && t.has("if-not-exists") {
			return nil
		}
		if err != nil {
			return err
		}
	}
	t.printf("Created topic %s.\n", name)
	return nil
}

func (t *topics) list() error {
	details, err := t.matching()
	if err != nil {
		return err
	}
	names := make([]string, len(details))
	for i, d := range details {
		names[i] = d.Topic
	}
	t.printf("%s\n", strings.Join(names, "\n"))
	return nil
}

func (t *topics) alter() error {
	details, err := t.existing()
	if err != nil || len(details) == 0 {
		return err
	}
	request := kmsg.NewPtrCreatePartitionsRequest()
	request.TimeoutMillis = 30_000
	for _, d := range details {
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = d.Topic, int32(t.int("partitions"))
		if t.assignment != nil {
			topic.Assignment = []kmsg.CreatePartitionsRequestTopicAssignment{} // even when none is left: the broker says so
		}
		for i := len(d.Partitions); i < len(t.assignment); i++ {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = t.assignment[i]
			topic.Assignment = append(topic.Assignment, a)
		}
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(t, t.admin.raw)
	if err != nil {
		return err
	}
	for _, topic := range response.Topics {
		if err := dial.Code(topic.ErrorCode, topic.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

func (t *topics) delete() error {
	details, err := t.existing()
	if err != nil || len(details) == 0 {
		return err
	}
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TimeoutMillis = 30_000
	for _, d := range details {
		topic := kmsg.NewDeleteTopicsRequestTopic()
		topic.Topic = kmsg.StringPtr(d.Topic)
		request.Topics = append(request.Topics, topic)
		request.TopicNames = append(request.TopicNames, d.Topic)
	}
	response, err := request.RequestWith(t, t.admin.raw)
	if err != nil {
		return err
	}
	for _, topic := range response.Topics {
		if err := dial.Code(topic.ErrorCode, topic.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// matching returns the topics that --topic and --exclude-internal let through, by name.
func (t *topics) matching() ([]kadm.TopicDetail, error) {
	return matchingTopics(t.call, t.admin, t.has("topic"), t.get("topic"), t.has("exclude-internal"))
}

// existing is matching, where a --topic that names nothing is an error unless --if-exists is given.
func (t *topics) existing() ([]kadm.TopicDetail, error) {
	details, err := t.matching()
	if err == nil && len(details) == 0 && t.get("topic") != "" && !t.has("if-exists") {
		return nil, fmt.Errorf("Topic '%s' does not exist as expected", t.get("topic"))
	}
	return details, err
}

// matchingTopics returns the topics of the cluster by name: those that an include list lets through, if there
// is one, and internal ones only if wanted.
func matchingTopics(c *call, admin *admin, filtered bool, include string, noInternal bool) ([]kadm.TopicDetail, error) {
	allowed := func(string) bool { return true }
	if filtered {
		match, err := includeList(include)
		if err != nil {
			return nil, err
		}
		allowed = match
	}
	all, err := admin.ListTopicsWithInternal(c)
	if err != nil {
		return nil, err
	}
	var details []kadm.TopicDetail
	for _, d := range all.Sorted() {
		if allowed(d.Topic) && !(noInternal && (d.IsInternal || kafka.IsInternalTopic(d.Topic))) {
			details = append(details, d)
		}
	}
	return details, nil
}

// includeList reads Kafka's include list: regular expressions with commas between, which must match whole
// names.
func includeList(list string) (func(topic string) bool, error) {
	expression := strings.ReplaceAll(javaTrim(list), ",", "|")
	expression = strings.ReplaceAll(expression, " ", "")
	expression = strings.Trim(expression, `"'`)
	r, err := regexp.Compile("^(?:" + expression + ")$")
	if err != nil {
		return nil, fmt.Errorf("%s is an invalid regex.", expression)
	}
	return r.MatchString, nil
}

// partition is a partition as DescribeTopicPartitions tells it.
type partition struct {
	id, leader                 int32 // leader is -1 when there is none
	replicas, isr              []int32
	elr, lastELR               []int32
	knowsELR                   bool // false when the broker is too old to tell (KIP-966)
	adding, removing, reassign []int32
	moving                     bool // a reassignment is going on
}

// replicationFactor leaves out replicas that are only there for a reassignment.
func (p *partition) replicationFactor() int {
	for _, id := range p.replicas {
		if p.moving && (slices.Contains(p.adding, id) || slices.Contains(p.removing, id)) {
			return len(p.reassign) - len(p.adding)
		}
	}
	return len(p.replicas)
}

func (t *topics) describe() error {
	var details []kadm.TopicDetail
	id, err := kafka.UUID{}, error(nil)
	if t.has("topic-id") {
		if id, err = kafka.ParseUUID(t.get("topic-id")); err != nil {
			return err
		}
	}
	if id != (kafka.UUID{}) {
		all, err := matchingTopics(t.call, t.admin, false, "", t.has("exclude-internal"))
		if err != nil {
			return err
		}
		for _, d := range all {
			if kafka.UUID(d.ID) == id {
				details = append(details, d)
			}
		}
		if len(details) == 0 && !t.has("if-exists") {
			return fmt.Errorf("TopicId '%s' does not exist as expected", id)
		}
	} else if details, err = t.existing(); err != nil {
		return err
	}
	if len(details) == 0 {
		return nil
	}
	names := make([]string, len(details))
	for i, d := range details {
		names[i] = d.Topic
	}
	partitions, err := t.partitions(details)
	if err != nil {
		return err
	}
	configs, err := t.admin.DescribeTopicConfigs(t, names...)
	if err != nil {
		return err
	}
	brokers, err := t.admin.ListBrokers(t)
	if err != nil {
		return err
	}
	live := brokers.NodeIDs()
	t.reassignments(details, partitions)
	for _, d := range details {
		config, err := configs.On(d.Topic, nil)
		if err == nil {
			err = config.Err
		}
		if err != nil {
			return err
		}
		t.print(d, config, partitions[d.Topic], live)
	}
	return nil
}

func (t *topics) print(d kadm.TopicDetail, config kadm.ResourceConfig, partitions []partition, live []int32) {
	var overrides []string
	minISR := 1
	for _, c := range config.Configs {
		value := "null"
		if c.Value != nil {
			value = *c.Value
		}
		if c.Key == "min.insync.replicas" {
			minISR, _ = strconv.Atoi(value)
		}
		if c.Source != kmsg.ConfigSourceDefaultConfig {
			overrides = append(overrides, c.Key+"="+value)
		}
	}
	report := t.has("unavailable-partitions") || t.has("under-replicated-partitions") || t.has("under-min-isr-partitions") || t.has("at-min-isr-partitions")
	if !report && (!t.has("topics-with-overrides") || len(overrides) > 0) && len(partitions) > 0 {
		t.printf("Topic: %s", d.Topic)
		if d.ID != (kadm.TopicID{}) {
			t.printf("\tTopicId: %s", kafka.UUID(d.ID))
		}
		t.printf("\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n", len(partitions), partitions[0].replicationFactor(), strings.Join(overrides, ","))
	}
	if t.has("topics-with-overrides") {
		return
	}
	for _, p := range partitions {
		show := !report ||
			t.has("under-replicated-partitions") && p.replicationFactor() > len(p.isr) ||
			t.has("unavailable-partitions") && (p.leader < 0 || !slices.Contains(live, p.leader)) ||
			t.has("under-min-isr-partitions") && (p.leader < 0 || len(p.isr) < minISR) ||
			t.has("at-min-isr-partitions") && len(p.isr) == minISR
		if !show {
			continue
		}
		leader := "none"
		if p.leader >= 0 {
			leader = strconv.Itoa(int(p.leader))
		}
		t.printf("\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s", d.Topic, p.id, leader, joinIDs(p.replicas), joinIDs(p.isr))
		if p.moving {
			t.printf("\tAdding Replicas: %s\tRemoving Replicas: %s", joinIDs(p.adding), joinIDs(p.removing))
		}
		elr, lastELR := "N/A", "N/A"
		if p.knowsELR {
			elr, lastELR = joinIDs(p.elr), joinIDs(p.lastELR)
		}
		t.printf("\tElr: %s\tLastKnownElr: %s\n", elr, lastELR)
	}
}

// partitions describes topics with DescribeTopicPartitions, page by page; a broker that has no such request
// leaves what Metadata has told already.
func (t *topics) partitions(details []kadm.TopicDetail) (map[string][]partition, error) {
	partitions := make(map[string][]partition, len(details))
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.ResponsePartitionLimit = 2000
	if t.has("partition-size-limit-per-response") {
		request.ResponsePartitionLimit = int32(t.int("partition-size-limit-per-response"))
	}
	for _, d := range details {
		topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
		topic.Topic = d.Topic
		request.Topics = append(request.Topics, topic)
	}
	for {
		response, err := request.RequestWith(t, t.admin.raw)
		if dial.Unsupported(err) {
			return fromMetadata(details), nil
		}
		if err != nil {
			return nil, err
		}
		for _, topic := range response.Topics {
			if err := dial.Code(topic.ErrorCode, nil); err != nil {
				return nil, err
			}
			name := ""
			if topic.Topic != nil {
				name = *topic.Topic
			}
			for _, p := range topic.Partitions {
				partitions[name] = append(partitions[name], partition{
					id: p.Partition, leader: p.LeaderID, replicas: p.Replicas, isr: p.ISR,
					elr: p.EligibleLeaderReplicas, lastELR: p.LastKnownELR, knowsELR: true,
				})
			}
		}
		next := response.NextCursor
		if next == nil {
			break
		}
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = next.Topic, next.Partition
		request.Cursor = &cursor
		request.Topics = slices.DeleteFunc(request.Topics, func(topic kmsg.DescribeTopicPartitionsRequestTopic) bool { return topic.Topic < next.Topic })
	}
	for _, of := range partitions {
		slices.SortFunc(of, func(a, b partition) int { return int(a.id - b.id) })
	}
	return partitions, nil
}

func fromMetadata(details []kadm.TopicDetail) map[string][]partition {
	partitions := make(map[string][]partition, len(details))
	for _, d := range details {
		for _, p := range d.Partitions.Sorted() {
			partitions[d.Topic] = append(partitions[d.Topic], partition{id: p.Partition, leader: p.Leader, replicas: p.Replicas, isr: p.ISR})
		}
	}
	return partitions
}

// reassignments notes the partitions that are on their way to other brokers. A cluster that does not tell is
// taken to move none, as Kafka's tool does.
func (t *topics) reassignments(details []kadm.TopicDetail, partitions map[string][]partition) {
	set := make(kadm.TopicsSet)
	for _, d := range details {
		for _, p := range partitions[d.Topic] {
			set.Add(d.Topic, p.id)
		}
	}
	moving, err := t.admin.ListPartitionReassignments(t, set)
	if err != nil {
		return
	}
	for topic, of := range moving {
		for i := range partitions[topic] {
			p := &partitions[topic][i]
			if m, ok := of[p.id]; ok {
				p.moving, p.reassign, p.adding, p.removing = true, m.Replicas, m.AddingReplicas, m.RemovingReplicas
			}
		}
	}
}

func joinIDs(ids []int32) string {
	var b bytes.Buffer
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, id)
	}
	return b.String()
}

package scripts

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// The JSON of kafka-log-dirs, with the keys in its order.
type (
	logDirsOf struct {
		Brokers []brokerLogDirs `json:"brokers"`
		Version int             `json:"version"`
	}
	brokerLogDirs struct {
		Broker  int32    `json:"broker"`
		LogDirs []logDir `json:"logDirs"`
	}
	logDir struct {
		Partitions []logDirPartition `json:"partitions"`
		Error      *string           `json:"error"` // the name of a Java class
		LogDir     string            `json:"logDir"`
	}
	logDirPartition struct {
		Partition string `json:"partition"`
		Size      int64  `json:"size"`
		OffsetLag int64  `json:"offsetLag"`
		IsFuture  bool   `json:"isFuture"`
	}
)

func runLogDirs(c *call) error {
	o := newOptions("This tool helps to query log directory usage on the specified brokers.",
		option{name: "bootstrap-server", kind: text, label: "The server(s) to use for bootstrapping", help: "REQUIRED: the brokers to ask first"},
		option{name: "command-config", kind: text, label: "Admin client property file", help: "A file of properties for the client."},
		option{name: "describe", help: "Describe the log directories."},
		option{name: "topic-list", kind: text, label: "Topic list", help: "Topics with commas between; all where it is left out"},
		option{name: "broker-list", kind: text, label: "Broker list", help: "Brokers with commas between; all where it is left out"},
	)
	v, err := o.parse(c.args)
	if err != nil {
		return err
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("bootstrap-server", "describe"); err != nil {
		return err
	}
	var topics []string
	for topic := range strings.SplitSeq(v.get("topic-list"), ",") {
		if topic != "" {
			topics = append(topics, topic)
		}
	}
	admin, err := c.admin(v)
	if err != nil {
		return err
	}
	defer admin.Close()
	details, err := admin.ListBrokers(c)
	if err != nil {
		return dial.Explain(err)
	}
	live := details.NodeIDs()
	slices.Sort(live)
	var brokers, missing []int32
	for word := range strings.SplitSeq(v.get("broker-list"), ",") {
		if word == "" {
			continue
		}
		id, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			return fmt.Errorf("For input string: \"%s\"", word)
		}
		if slices.Contains(live, int32(id)) {
			brokers = append(brokers, int32(id))
		} else {
			missing = append(missing, int32(id))
		}
	}
	if len(missing) > 0 {
		return terse("ERROR: The given brokers do not exist from --broker-list: %s. Current existent brokers: %s", joinIDs(missing), joinIDs(live))
	}
	if len(brokers) == 0 {
		brokers = live
	}
	slices.Sort(brokers)
	brokers = slices.Compact(brokers)

	c.printf("Querying brokers for log directories information\n")
	all := logDirsOf{Version: 1, Brokers: []brokerLogDirs{}}
	for _, id := range brokers {
		raw, err := admin.raw.Broker(int(id)).RetriableRequest(c, kmsg.NewPtrDescribeLogDirsRequest())
		if err != nil {
			return dial.Explain(err)
		}
		response := raw.(*kmsg.DescribeLogDirsResponse)
		if err := dial.Code(response.ErrorCode, nil); err != nil {
			return err
		}
		all.Brokers = append(all.Brokers, brokerLogDirs{Broker: id, LogDirs: logDirs(response, topics)})
	}
	c.printf("Received log directory information from brokers %s\n", joinIDs(brokers))
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	c.printf("%s\n", text)
	return nil
}

// logDirs returns the directories of one broker by path, each with its partitions by name.
func logDirs(response *kmsg.DescribeLogDirsResponse, topics []string) []logDir {
	dirs := []logDir{}
	for _, d := range response.Dirs {
		dir := logDir{LogDir: d.Dir, Partitions: []logDirPartition{}}
		if err := kerr.TypedErrorForCode(d.ErrorCode); err != nil {
			dir.Error = new(javaException(err))
		}
		slices.SortFunc(d.Topics, func(a, b kmsg.DescribeLogDirsResponseDirTopic) int { return strings.Compare(a.Topic, b.Topic) })
		for _, t := range d.Topics {
			if len(topics) > 0 && !slices.Contains(topics, t.Topic) {
				continue
			}
			slices.SortFunc(t.Partitions, func(a, b kmsg.DescribeLogDirsResponseDirTopicPartition) int {
				return cmp.Compare(a.Partition, b.Partition)
			})
			for _, p := range t.Partitions {
				dir.Partitions = append(dir.Partitions, logDirPartition{fmt.Sprintf("%s-%d", t.Topic, p.Partition), p.Size, p.OffsetLag, p.IsFuture})
			}
		}
		dirs = append(dirs, dir)
	}
	slices.SortFunc(dirs, func(a, b logDir) int { return strings.Compare(a.LogDir, b.LogDir) })
	return dirs
}

// javaError is an error as Java prints it: its class, then its message.
func javaError(err error) string {
	if code, ok := errors.AsType[*kerr.Error](err); ok {
		return javaException(code) + ": " + dial.Explain(err).Error()
	}
	return err.Error()
}

// javaException returns the class that Kafka's clients have for an error: KAFKA_STORAGE_ERROR is
// org.apache.kafka.common.errors.KafkaStorageException.
func javaException(err *kerr.Error) string {
	const classes = "org.apache.kafka.common.errors."
	switch err { // those that are not called as their code
	case kerr.RequestTimedOut:
		return classes + "TimeoutException"
	case kerr.NonEmptyGroup:
		return classes + "GroupNotEmptyException"
	}
	var b strings.Builder
	b.WriteString(classes)
	for word := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSuffix(err.Message, "_ERROR"), "_FAILED"), "_") {
		if word != "" {
			b.WriteString(word[:1] + strings.ToLower(word[1:]))
		}
	}
	return b.String() + "Exception"
}

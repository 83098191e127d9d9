package scripts

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// offsetTimes are the named values of --time, as ListOffsets has them.
var offsetTimes = map[string]int64{
	"latest": -1, "earliest": -2, "max-timestamp": -3, "earliest-local": -4, "latest-tiered": -5, "earliest-pending-upload": -6,
}

const offsetTimesList = "-1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload"

func runGetOffsets(c *call) error {
	err := getOffsets(c)
	var e *exit
	if err == nil || errors.As(err, &e) {
		return err
	}
	return terse("Error occurred: %s", dial.Explain(err))
}

func getOffsets(c *call) error {
	o := newOptions("An interactive shell for getting topic-partition offsets.",
		option{name: "bootstrap-server", kind: text, label: "HOST1:PORT1,...,HOST3:PORT3", help: "REQUIRED. The brokers to ask first."},
		option{name: "topic-partitions", kind: text, label: "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3", help: "Topics and their partitions, with commas between: a regular expression for the topic (any, where it is left out), then a partition, a range without its end (0-3), a lower bound (5-) or an upper one that is not included (-3)."},
		option{name: "topic", kind: text, label: "topic", help: "The topic; a regular expression. All topics where it is left out."},
		option{name: "partitions", kind: text, label: "partition ids", help: "Partitions with commas between. All where they are left out."},
		option{name: "time", kind: text, label: "<timestamp> / " + offsetTimesList, fallback: "latest", help: "Which offset: the first one at or after a time in milliseconds, or one of the names."},
		option{name: "command-config", kind: text, label: "config file", help: "A file of properties for the client."},
		option{name: "exclude-internal-topics", help: "Leave out internal topics."},
	)
	if len(c.args) == 0 {
		return o.misuse("%s", o.about)
	}
	v, err := o.parse(c.args)
	if err != nil {
		return err
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("bootstrap-server"); err != nil {
		return err
	}
	if v.has("topic-partitions") && (v.has("topic") || v.has("partitions")) {
		return fmt.Errorf("--topic-partitions cannot be used with --topic or --partitions")
	}
	at, named := offsetTimes[v.get("time")]
	if !named {
		if at, err = strconv.ParseInt(v.get("time"), 10, 64); err != nil {
			return fmt.Errorf("Malformed time argument %s. Please use %s, or a specified long format timestamp", v.get("time"), offsetTimesList)
		}
	}
	allowed, err := partitionFilter(v)
	if err != nil {
		return err
	}
	admin, err := c.admin(v)
	if err != nil {
		return err
	}
	defer admin.Close()
	topics, err := matchingTopics(c, admin, false, "", v.has("exclude-internal-topics"))
	if err != nil {
		return err
	}
	var wanted []kadm.PartitionDetail
	for _, topic := range topics {
		for _, p := range topic.Partitions.Sorted() {
			if allowed(topic.Topic, p.Partition) {
				wanted = append(wanted, p)
			}
		}
	}
	if len(wanted) == 0 {
		return fmt.Errorf("Could not match any topic-partitions with the specified filters")
	}
	offsets, err := listOffsets(c, admin.raw, wanted, at)
	if err != nil {
		return err
	}
	// Kafka sorts by the text topic-partition, so that partition 10 stands before 2.
	slices.SortFunc(offsets, func(a, b listedOffset) int {
		return cmp.Compare(fmt.Sprintf("%s-%d", a.topic, a.partition), fmt.Sprintf("%s-%d", b.topic, b.partition))
	})
	for _, l := range offsets {
		switch {
		case l.err != nil:
			fmt.Fprintf(c.err, "Skip getting offsets for topic-partition %s-%d due to error: %s\n", l.topic, l.partition, l.err)
		case l.offset >= 0:
			c.printf("%s:%d:%d\n", l.topic, l.partition, l.offset)
		}
	}
	return nil
}

type listedOffset struct {
	topic     string
	partition int32
	offset    int64 // -1 when there is none at that time
	err       error
}

// listTimeout is how long leaders that cannot answer yet are asked again, as default.api.timeout.ms of Kafka's
// clients.
const listTimeout = time.Minute

// listOffsets asks the leaders for the offset of each partition at a time, which may be one of the special
// ones. A leader that has just been elected may not know it yet, and is asked again.
func listOffsets(c *call, cl *kgo.Client, partitions []kadm.PartitionDetail, at int64) ([]listedOffset, error) {
	var offsets []listedOffset
	for deadline := time.Now().Add(listTimeout); ; {
		var later []kadm.PartitionDetail
		for _, l := range listOnce(c, cl, partitions, at) {
			if kerr.IsRetriable(l.err) && time.Now().Before(deadline) {
				later = append(later, kadm.PartitionDetail{Topic: l.topic, Partition: l.partition})
			} else {
				offsets = append(offsets, l)
			}
		}
		if partitions = later; len(partitions) == 0 {
			return offsets, nil
		}
		cl.ForceMetadataRefresh()
		select {
		case <-c.Done():
			return nil, c.Err()
		case <-time.After(100 * time.Millisecond): // retry.backoff.ms
		}
	}
}

func listOnce(c *call, cl *kgo.Client, partitions []kadm.PartitionDetail, at int64) []listedOffset {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	for _, p := range partitions {
		if n := len(request.Topics); n == 0 || request.Topics[n-1].Topic != p.Topic {
			topic := kmsg.NewListOffsetsRequestTopic()
			topic.Topic = p.Topic
			request.Topics = append(request.Topics, topic)
		}
		topic := &request.Topics[len(request.Topics)-1]
		of := kmsg.NewListOffsetsRequestTopicPartition()
		of.Partition, of.Timestamp, of.CurrentLeaderEpoch = p.Partition, at, -1
		topic.Partitions = append(topic.Partitions, of)
	}
	var offsets []listedOffset
	for _, shard := range cl.RequestSharded(c, request) { // one request for each leader
		if shard.Err != nil {
			asked := shard.Req.(*kmsg.ListOffsetsRequest)
			for _, topic := range asked.Topics {
				for _, p := range topic.Partitions {
					offsets = append(offsets, listedOffset{topic.Topic, p.Partition, -1, dial.Explain(shard.Err)})
				}
			}
			continue
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range topic.Partitions {
				offsets = append(offsets, listedOffset{topic.Topic, p.Partition, p.Offset, dial.Code(p.ErrorCode, nil)})
			}
		}
	}
	return offsets
}

var topicPartitionPattern = regexp.MustCompile(`^([^:,]*)(?::(?:([0-9]*)|(?:([0-9]*)-([0-9]*))))?$`)

// partitionFilter reads --topic-partitions, or --topic and --partitions.
func partitionFilter(v *values) (func(topic string, partition int32) bool, error) {
	type rule struct {
		topic    func(string) bool
		low, top int64 // top is not included
	}
	var rules []rule
	if v.has("topic-partitions") {
		for word := range strings.SplitSeq(v.get("topic-partitions"), ",") {
			m := topicPartitionPattern.FindStringSubmatch(word)
			if m == nil {
				return nil, fmt.Errorf("org.apache.kafka.tools.TerseException: Invalid rule specification: %s", word)
			}
			topic, err := includeList(cmp.Or(m[1], ".*"))
			if err != nil {
				return nil, err
			}
			r := rule{topic, 0, math.MaxInt32}
			if m[2] != "" {
				r.low, _ = strconv.ParseInt(m[2], 10, 32)
				r.top = r.low + 1
			}
			if m[3] != "" {
				r.low, _ = strconv.ParseInt(m[3], 10, 32)
			}
			if m[4] != "" {
				r.top, _ = strconv.ParseInt(m[4], 10, 32)
			}
			rules = append(rules, r)
		}
	} else {
		expression := ".*"
		if v.has("topic") {
			expression = v.get("topic")
		}
		topic, err := includeList(expression)
		if err != nil {
			return nil, err
		}
		if list := v.get("partitions"); list != "" {
			for word := range strings.SplitSeq(list, ",") {
				n, err := strconv.ParseInt(word, 10, 32)
				if err != nil {
					return nil, fmt.Errorf("--partitions expects a comma separated list of numeric partition ids, but received: %s", list)
				}
				rules = append(rules, rule{topic, n, n + 1})
			}
		} else {
			rules = append(rules, rule{topic, 0, math.MaxInt32})
		}
	}
	return func(topic string, partition int32) bool {
		for _, r := range rules {
			if r.topic(topic) && int64(partition) >= r.low && int64(partition) < r.top {
				return true
			}
		}
		return false
	}, nil
}

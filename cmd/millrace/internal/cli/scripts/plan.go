package scripts

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/kafka"
)

// Plan is the offset that each partition is reset to.
type Plan map[kafka.TopicPartition]int64

// Sorted returns the partitions by topic, then number.
func (p Plan) Sorted() []kafka.TopicPartition {
	return slices.SortedFunc(maps.Keys(p), comparePartitions)
}

// ParsePlans reads the plans of groups from the CSV that --export prints: topic,partition,offset where one group is named, otherwise
// group,topic,partition,offset. The latter does for one group as well.
func ParsePlans(text string, groups []string) (map[string]Plan, error) {
	plans := make(map[string]Plan)
	r := csv.NewReader(strings.NewReader(text))
	r.FieldsPerRecord = -1
	lines, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	short := len(groups) == 1 && len(lines) > 0 && len(lines[0]) == 3
	for i, fields := range lines {
		group := ""
		switch {
		case short && len(fields) == 3:
			group = groups[0]
		case !short && len(fields) == 4:
			group, fields = fields[0], fields[1:]
		default:
			return nil, fmt.Errorf("line %d has %d fields; it is topic,partition,offset for one --group, and group,topic,partition,offset for several", i+1, len(fields))
		}
		partition, err := strconv.ParseInt(javaTrim(fields[1]), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the partition in line %d is %q, which is no number", i+1, fields[1])
		}
		offset, err := strconv.ParseInt(javaTrim(fields[2]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the offset in line %d is %q, which is no number", i+1, fields[2])
		}
		if plans[group] == nil {
			plans[group] = make(Plan)
		}
		plans[group][kafka.TopicPartition{Topic: fields[0], Partition: int32(partition)}] = offset
	}
	return plans, nil
}

// csvText quotes a text as the writer of Kafka's tool does: when it is long, or has a character up to the comma.
func csvText(s string) string {
	if len(s) <= 24 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ',' }) {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

package scripts

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

func runDeleteRecords(c *call) error {
	o := newOptions("This tool helps to delete records of the given partitions down to the specified offset.",
		option{name: "bootstrap-server", kind: text, label: "server(s) to use for bootstrapping", help: "REQUIRED: The brokers to ask first."},
		option{name: "offset-json-file", kind: text, label: "Offset json file path", help: `REQUIRED: A JSON file with the first offset that stays in each partition: {"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version":1}`},
		option{name: "command-config", kind: text, label: "command config property file path", help: "A file of properties for the client."},
	)
	v, err := o.parse(c.args)
	if err != nil {
		return err
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("bootstrap-server", "offset-json-file"); err != nil {
		return err
	}
	data, err := os.ReadFile(v.get("offset-json-file"))
	if err != nil {
		return fmt.Errorf("Unable to read file %s", v.get("offset-json-file"))
	}
	offsets, err := parseDeletions(data)
	if err != nil {
		return err
	}
	admin, err := c.admin(v)
	if err != nil {
		return err
	}
	defer admin.Close()

	c.printf("Executing records delete operation\n")
	c.out.Flush()
	responses, err := admin.DeleteRecords(c, offsets)
	if err != nil {
		return dial.Explain(err)
	}
	c.printf("Records delete operation completed:\n")
	for _, r := range responses.Sorted() {
		if r.Err != nil {
			c.printf("partition: %s-%d\terror: %s\n", r.Topic, r.Partition, javaError(r.Err))
			continue
		}
		c.printf("partition: %s-%d\tlow_watermark: %d\n", r.Topic, r.Partition, r.LowWatermark)
	}
	return nil
}

// parseDeletions reads the offset file of kafka-delete-records, version 1:
//
//	{"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version": 1}
func parseDeletions(data []byte) (kadm.Offsets, error) {
	var file struct {
		Version    *int
		Partitions *[]struct {
			Topic     *string
			Partition *int32
			Offset    *int64
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("The input string is not a valid JSON")
	}
	if file.Version != nil && *file.Version != 1 {
		return nil, fmt.Errorf("Not supported version field value %d", *file.Version)
	}
	if file.Partitions == nil {
		return nil, fmt.Errorf("Missing partitions field")
	}
	offsets := make(kadm.Offsets)
	var twice []kafka.TopicPartition
	for i, p := range *file.Partitions {
		if p.Topic == nil || p.Partition == nil || p.Offset == nil {
			return nil, fmt.Errorf("entry %d of partitions needs a topic, a partition and an offset", i)
		}
		if _, ok := offsets.Lookup(*p.Topic, *p.Partition); ok {
			twice = append(twice, kafka.TopicPartition{Topic: *p.Topic, Partition: *p.Partition})
		}
		offsets.AddOffset(*p.Topic, *p.Partition, *p.Offset, -1)
	}
	if len(twice) > 0 {
		slices.SortFunc(twice, func(a, b kafka.TopicPartition) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
		var names []string
		for _, tp := range slices.Compact(twice) {
			names = append(names, fmt.Sprintf("%s-%d", tp.Topic, tp.Partition))
		}
		return nil, fmt.Errorf("Offset json file contains duplicate topic partitions: %s", strings.Join(names, ","))
	}
	return offsets, nil
}

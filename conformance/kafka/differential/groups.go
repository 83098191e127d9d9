package differential

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	rec "github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
)

// groupLog is where the coordinators store their groups: the topic has one partition and, in a run, one segment.
func (s *Side) groupLog() string {
	return filepath.Join(s.Dir, "__consumer_offsets-0", "00000000000000000000.log")
}

// groupBatches renders the batches of the coordinator's log behind a position that are about some groups, and returns
// where the log ends. Groups that nothing was stored of are the same as those that there are not.
func (s *Side) groupBatches(from int64, groups []string) (batches []string, end int64, err error) {
	f, err := os.Open(s.groupLog())
	if err != nil {
		return nil, from, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, from, err
	}
	raw := make([]byte, stat.Size()-from)
	if _, err := f.ReadAt(raw, from); err != nil {
		return nil, from, err
	}
	raw = raw[:batchesEnd(raw)]
	end = from + int64(len(raw))
	var d rec.Decompressor
	for len(raw) > 0 {
		b, rest, err := rec.Next(raw)
		if err != nil {
			return nil, from, err
		}
		raw = rest
		var records []string
		for r, err := range b.Records(&d) {
			if err != nil {
				return nil, from, err
			}
			if text := s.groupRecord(r, groups); text != "" {
				records = append(records, text)
			}
		}
		if len(records) > 0 {
			batches = append(batches, strings.Join(records, "; "))
		}
	}
	return batches, end, nil
}

// groupRecord renders a record of the coordinator, "" when it is about none of the groups.
func (s *Side) groupRecord(r rec.Record, groups []string) string {
	key, err := wire.DecodeCoordinatorKey(wire.GroupRecords, r.Key)
	if err != nil {
		return "a key that cannot be read: " + err.Error()
	}
	group := reflect.ValueOf(key).Elem().FieldByName("GroupID")
	if !group.IsValid() {
		group = reflect.ValueOf(key).Elem().FieldByName("Group")
	}
	if !group.IsValid() || !slices.Contains(groups, group.String()) {
		return ""
	}
	text := key.Info().Name + " " + s.shown(key, key.Info().MaxVersion)
	if r.Value == nil {
		return text + "gone"
	}
	value, version, err := wire.DecodeCoordinatorValue(wire.GroupRecords, key.Info().Type, r.Value)
	if err != nil {
		return text + "a value that cannot be read: " + err.Error()
	}
	var leaves []Leaf
	s.fields(&leaves, reflect.ValueOf(value).Elem(), definitions.Load().Message(value.Info().Name).Fields, version, "", "")
	for i := range leaves {
		l := &leaves[i]
		switch {
		case strings.HasSuffix(l.Path, "timestamp") && l.Value != "-1" && l.Value != "0":
			l.Value = "some time"
		case l.Path == "metadata_hash" && l.Value != "0":
			l.Value = "some hash" // each coordinator has a function of its own
		case l.Path == "version" && key.Info().Name == "ConsumerGroupRegularExpressionKey":
			l.Value = "some version" // of the metadata
		}
	}
	return fmt.Sprintf("%s= v%d %s", text, version, line(leaves))
}

// markGroups notes where the coordinator's logs end before a sequence.
func (r *Runner) markGroups() {
	for _, s := range []*Side{r.Kafka, r.Millrace} {
		_, s.groupsEnd, _ = s.groupBatches(s.groupsEnd, nil)
	}
}

// compareGroups compares what the two coordinators stored of the groups of a sequence, batch by batch.
func (r *Runner) compareGroups(q *Sequence) error {
	theirs, _, err := r.Kafka.groupBatches(r.Kafka.groupsEnd, q.Groups)
	ours, _, other := r.Millrace.groupBatches(r.Millrace.groupsEnd, q.Groups)
	if err := cmp.Or(err, other); err != nil {
		return fmt.Errorf("%s: the coordinators' logs: %w", q, err)
	}
	for i := range max(len(theirs), len(ours)) {
		x, y := missing, missing
		if i < len(theirs) {
			x = theirs[i]
		}
		if i < len(ours) {
			y = ours[i]
		}
		if x != y {
			// What follows would only repeat that one side is a batch ahead.
			r.note(Difference{API: "files", Path: "groups", Where: fmt.Sprintf("batch %d of %s", i, strings.Join(q.Groups, " ")), Kafka: x, Millrace: y}, q, "the groups", "")
			break
		}
	}
	return nil
}

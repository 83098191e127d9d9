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

// stored is a record of the coordinator's log: what it is about, and its value field by field.
type stored struct {
	group  string
	kind   string // the name of its key
	member string // whom it is about, "" for the group
	about  string // the key, and the version of the value
	gone   bool   // a tombstone
	value  []Leaf
}

func (r stored) String() string {
	if r.gone {
		return r.about + "gone"
	}
	return r.about + "= " + line(r.value)
}

// groupBatches reads the batches of the coordinator's log behind a position that are about some groups, and returns
// where the log ends. Groups that nothing was stored of are the same as those that there are not.
func (s *Side) groupBatches(from int64, groups []string) (batches [][]stored, end int64, err error) {
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
		var records []stored
		for r, err := range b.Records(&d) {
			if err != nil {
				return nil, from, err
			}
			if one, ours := s.groupRecord(r, groups); ours {
				records = append(records, one)
			}
		}
		batches = append(batches, ordered(records)...)
	}
	return batches, end, nil
}

// ordered takes out of a batch what is not decided by who writes it. What a regular expression was found to stand for is
// stored when it has been found, with the group's epoch that comes of it: in a batch of its own, or in one with the
// heartbeats that came meanwhile. And where the same is stored for each of several members, Apache Kafka goes through a
// hash table of their ids.
func ordered(batch []stored) (batches [][]stored) {
	found := func(r stored) bool { return r.kind == "ConsumerGroupRegularExpressionKey" && !r.gone }
	for len(batch) > 0 {
		n := 0
		for n < len(batch) && found(batch[n]) {
			n++
		}
		if n > 0 && n < len(batch) && batch[n].kind == "ConsumerGroupMetadataKey" {
			n++
		} else if n == 0 {
			for n < len(batch) && !found(batch[n]) {
				n++
			}
		}
		batches, batch = append(batches, byMember(batch[:n])), batch[n:]
	}
	return batches
}

// byMember sorts what is stored of several members one after the other, the same of each.
func byMember(batch []stored) []stored {
	var each [][]stored // what is stored of a member at one go
	for i, r := range batch {
		if i > 0 && r.member != "" && r.member == batch[i-1].member && r.gone == batch[i-1].gone {
			each[len(each)-1] = append(each[len(each)-1], r)
		} else {
			each = append(each, []stored{r})
		}
	}
	same := func(x, y []stored) bool {
		return x[0].member != "" && slices.EqualFunc(x, y, func(a, b stored) bool { return a.kind == b.kind && a.gone == b.gone })
	}
	for from := 0; from < len(each); {
		to := from + 1
		for to < len(each) && same(each[from], each[to]) {
			to++
		}
		slices.SortStableFunc(each[from:to], func(x, y []stored) int { return strings.Compare(x[0].member, y[0].member) })
		from = to
	}
	return slices.Concat(each...)
}

// groupRecord reads a record of the coordinator; false when it is about none of the groups.
func (s *Side) groupRecord(r rec.Record, groups []string) (stored, bool) {
	key, err := wire.DecodeCoordinatorKey(wire.GroupRecords, r.Key)
	if err != nil {
		return stored{about: "a key that cannot be read: " + err.Error()}, true
	}
	group := reflect.ValueOf(key).Elem().FieldByName("GroupID")
	if !group.IsValid() {
		group = reflect.ValueOf(key).Elem().FieldByName("Group")
	}
	if !group.IsValid() || !slices.Contains(groups, group.String()) {
		return stored{}, false
	}
	one := stored{group: group.String(), kind: key.Info().Name, about: key.Info().Name + " " + s.shown(key, key.Info().MaxVersion), gone: r.Value == nil}
	if member := reflect.ValueOf(key).Elem().FieldByName("MemberID"); member.IsValid() {
		one.member = s.memberSymbol(member.String())
	}
	if one.gone {
		return one, true
	}
	value, version, err := wire.DecodeCoordinatorValue(wire.GroupRecords, key.Info().Type, r.Value)
	if err != nil {
		one.about += "a value that cannot be read: " + err.Error()
		return one, true
	}
	one.about += fmt.Sprintf("v%d ", version)
	s.fields(&one.value, reflect.ValueOf(value).Elem(), definitions.Load().Message(value.Info().Name).Fields, version, "", "")
	for i := range one.value {
		l := &one.value[i]
		switch {
		case strings.HasSuffix(l.Path, "timestamp") && l.Value != "-1" && l.Value != "0":
			l.Value = "some time"
		case l.Path == "metadata_hash" && l.Value != "0":
			l.Value = "some hash" // each coordinator has a function of its own
		case l.Path == "version" && one.kind == "ConsumerGroupRegularExpressionKey":
			l.Value = "some version" // of the metadata
		}
	}
	return one, true
}

// markGroups notes where the coordinator's logs end before a sequence.
func (r *Runner) markGroups() {
	for _, s := range []*Side{r.Kafka, r.Millrace} {
		_, s.groupsEnd, _ = s.groupBatches(s.groupsEnd, nil)
	}
}

// compareGroups compares what the two coordinators stored of the groups of a sequence: batch by batch which records, and
// field by field what is in them.
func (r *Runner) compareGroups(q *Sequence) error {
	theirs, _, err := r.Kafka.groupBatches(r.Kafka.groupsEnd, q.Groups)
	ours, _, other := r.Millrace.groupBatches(r.Millrace.groupsEnd, q.Groups)
	if err := cmp.Or(err, other); err != nil {
		return fmt.Errorf("%s: the coordinators' logs: %w", q, err)
	}
	for i := range max(len(theirs), len(ours)) {
		where := fmt.Sprintf("batch %d, %s", i, batchGroup(theirs, ours, i))
		if i >= len(theirs) || i >= len(ours) || !slices.EqualFunc(theirs[i], ours[i], func(x, y stored) bool { return x.about == y.about && x.gone == y.gone }) {
			r.note(Difference{API: "files", Path: "groups", Where: where, Kafka: batchText(theirs, i), Millrace: batchText(ours, i)}, q, "the groups", "")
			if len(theirs) != len(ours) {
				break // what follows would only repeat that one side is a batch ahead
			}
			continue
		}
		for j, x := range theirs[i] {
			for _, d := range diffLeaves(x.value, ours[i][j].value) {
				d.API, d.Path, d.Where = "files", "groups."+x.kind+"."+d.Path, where+", "+x.about+d.Where
				r.note(d, q, "the groups", "")
			}
		}
	}
	return nil
}

// batchGroup is the group that a batch is about.
func batchGroup(theirs, ours [][]stored, i int) string {
	if i < len(theirs) {
		return theirs[i][0].group
	}
	return ours[i][0].group
}

func batchText(batches [][]stored, i int) string {
	if i >= len(batches) {
		return missing
	}
	var records []string
	for _, r := range batches[i] {
		records = append(records, r.String())
	}
	return strings.Join(records, "; ")
}

package scripts

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/millrace-io/millrace/kafka"
)

// Times of ListOffsets that are none.
const latest, earliest = -1, -2

// reset plans new offsets for groups that nobody is a member of, and commits them with --execute.
func (g *consumerGroups) reset() error {
	names, err := g.groupNames()
	if err != nil {
		return err
	}
	groups, err := g.described(names)
	if err != nil {
		return nestedError(err)
	}
	streams, err := g.streamsGroups()
	if err != nil {
		return nestedError(err)
	}
	plans := make(map[string]Plan, len(groups))
	for _, name := range names {
		group := groups[name]
		switch {
		case streams[name]:
			g.printError("Group '%s' is a streams group. Use kafka-streams-groups.sh to reset its offsets.", name)
			plans[name] = nil
		case group.err != nil && !errors.Is(group.err, kerr.GroupIDNotFound):
			return nestedError(group.err)
		case group.err != nil || group.state == "Empty" || group.state == "Dead":
			if plans[name], err = g.resetGroup(name); err != nil {
				return err
			}
		default:
			g.printError("Assignments can only be reset if the group '%s' is inactive, but the current state is %s.", name, group.state)
			plans[name] = nil
		}
	}
	if g.has("export") {
		g.export(plans)
	} else {
		g.printPlans(plans)
	}
	return nil
}

func (g *consumerGroups) streamsGroups() (map[string]bool, error) {
	c, cancel := g.bounded()
	defer cancel()
	listed, err := g.admin.listGroups(c, []string{"Streams"}, nil)
	names := make(map[string]bool)
	for _, group := range listed {
		if group.kind == "Streams" { // a broker that knows no types tells all groups
			names[group.name] = true
		}
	}
	return names, err
}

func (g *consumerGroups) resetGroup(group string) (Plan, error) {
	partitions, err := g.scope(group)
	if err != nil {
		return nil, err
	}
	if err := g.checkPartitions(partitions); err != nil {
		return nil, err
	}
	p, err := g.plan(group, partitions)
	if err != nil || !g.has("execute") || len(p) == 0 {
		return p, err
	}
	c, cancel := g.bounded()
	defer cancel()
	offsets := make(kadm.Offsets)
	for tp, offset := range p {
		offsets.AddOffset(tp.Topic, tp.Partition, offset, -1)
	}
	responses, err := g.admin.CommitOffsets(c, group, offsets)
	if err != nil {
		return nil, err
	}
	var failed []string
	for _, r := range responses.Sorted() {
		if r.Err != nil {
			failed, err = append(failed, fmt.Sprintf("%s-%d", r.Topic, r.Partition)), cmp.Or(err, r.Err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("Failed altering group offsets for the following partitions: [%s]: %w", strings.Join(failed, ", "), err)
	}
	return p, nil
}

// scope returns the partitions that are reset: those of --all-topics or --topic. --from-file names its own.
func (g *consumerGroups) scope(group string) ([]kafka.TopicPartition, error) {
	switch {
	case g.has("all-topics"):
		committed, err := g.committed(group)
		return slices.SortedFunc(maps.Keys(committed), comparePartitions), err
	case g.has("from-file") && !g.has("topic"):
		return nil, nil
	case !g.has("topic"):
		return nil, g.options.misuse("One of the reset scopes should be defined: --all-topics, --topic.")
	}
	var partitions []kafka.TopicPartition
	for _, word := range g.of["topic"] {
		read := g.partitionsOf
		if strings.Contains(word, ":") {
			read = g.parsePartitions
		}
		some, err := read(word)
		if err != nil {
			return nil, err
		}
		partitions = append(partitions, some...)
	}
	return partitions, nil
}

// parsePartitions reads a topic with some of its partitions: topic:0,1,2.
func (g *consumerGroups) parsePartitions(word string) ([]kafka.TopicPartition, error) {
	parts := javaSplit(word, ":")
	if len(parts) != 2 {
		return nil, g.options.misuse("Invalid topic arg '%s', expected topic name and partitions", word)
	}
	var partitions []kafka.TopicPartition
	for _, number := range javaSplit(parts[1], ",") {
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return nil, g.options.misuse("Invalid partition '%s' specified in topic arg '%s''", number, word)
		}
		partitions = append(partitions, kafka.TopicPartition{Topic: parts[0], Partition: int32(n)})
	}
	return partitions, nil
}

// javaSplit is Java's String.split: it drops empty strings at the end.
func javaSplit(s, separator string) []string {
	parts := strings.Split(s, separator)
	for len(parts) > 1 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

// partitionsOf returns all partitions of a topic.
func (g *consumerGroups) partitionsOf(topic string) ([]kafka.TopicPartition, error) {
	all, err := g.partitions([]kafka.TopicPartition{{Topic: topic}})
	return slices.SortedFunc(maps.Keys(all), comparePartitions), err
}

// partitions returns all partitions of the topics that are named; a topic that is not there is an error.
func (g *consumerGroups) partitions(of []kafka.TopicPartition) (map[kafka.TopicPartition]kadm.PartitionDetail, error) {
	var topics []string
	for _, tp := range of {
		topics = append(topics, tp.Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	if len(topics) == 0 {
		return nil, nil
	}
	c, cancel := g.bounded()
	defer cancel()
	details, err := g.admin.ListTopicsWithInternal(c, topics...)
	if err != nil {
		return nil, err
	}
	known := make(map[kafka.TopicPartition]kadm.PartitionDetail)
	for _, topic := range details.Sorted() {
		if topic.Err != nil {
			return nil, topic.Err
		}
		for _, p := range topic.Partitions {
			known[kafka.TopicPartition{Topic: topic.Topic, Partition: p.Partition}] = p
		}
	}
	return known, nil
}

// checkPartitions sees that partitions exist and have a leader.
func (g *consumerGroups) checkPartitions(partitions []kafka.TopicPartition) error {
	known, err := g.partitions(partitions)
	if err != nil {
		return nestedError(err)
	}
	var absent, leaderless []string
	for _, tp := range partitions {
		if p, ok := known[tp]; !ok {
			absent = append(absent, fmt.Sprintf("%s-%d", tp.Topic, tp.Partition))
		} else if p.Leader < 0 {
			leaderless = append(leaderless, fmt.Sprintf("%s-%d", tp.Topic, tp.Partition))
		}
	}
	switch {
	case len(absent) > 0:
		return fmt.Errorf("The partitions \"%s\" do not exist", strings.Join(absent, ","))
	case len(leaderless) > 0:
		return fmt.Errorf("The partitions \"%s\" have no leader", strings.Join(leaderless, ","))
	}
	return nil
}

// offsetsAt returns the offset of each partition at a time; -1 is none.
func (g *consumerGroups) offsetsAt(partitions []kafka.TopicPartition, at int64) (Plan, error) {
	offsets := make(Plan, len(partitions))
	if len(partitions) == 0 {
		return offsets, nil
	}
	partitions = slices.Clone(partitions)
	sortPartitions(partitions)
	details := make([]kadm.PartitionDetail, 0, len(partitions))
	for _, tp := range slices.Compact(partitions) {
		details = append(details, kadm.PartitionDetail{Topic: tp.Topic, Partition: tp.Partition})
	}
	c, cancel := g.bounded()
	defer cancel()
	listed, err := listOffsets(c, g.admin.raw, details, at)
	for _, l := range listed {
		err = cmp.Or(err, l.err)
		offsets[kafka.TopicPartition{Topic: l.topic, Partition: l.partition}] = l.offset
	}
	return offsets, err
}

// plan returns where a group's partitions are reset to.
func (g *consumerGroups) plan(group string, partitions []kafka.TopicPartition) (Plan, error) {
	switch {
	case g.has("to-offset"):
		wanted := make(Plan)
		for _, tp := range partitions {
			wanted[tp] = g.int("to-offset")
		}
		return g.withinLogs(wanted)
	case g.has("to-earliest"):
		return g.planAt(partitions, earliest)
	case g.has("to-latest"):
		return g.planAt(partitions, latest)
	case g.has("shift-by"):
		return g.planShift(group, partitions)
	case g.has("to-datetime"):
		t, err := parseDateTime(g.get("to-datetime"))
		if err != nil {
			return nil, err
		}
		return g.planTime(partitions, t)
	case g.has("by-duration"):
		d, err := parseDuration(g.get("by-duration"))
		if err != nil {
			return nil, err
		}
		return g.planTime(partitions, time.Now().Add(-d))
	case g.has("from-file"):
		return g.planFile(group)
	case g.has("to-current"):
		return g.planCurrent(group, partitions)
	}
	return nil, g.options.misuse("Option '[reset-offsets]' requires one of the following scenarios: [[%s]]", strings.Join(resetScenarios, "], ["))
}

func (g *consumerGroups) planAt(partitions []kafka.TopicPartition, at int64) (Plan, error) {
	p, err := g.offsetsAt(partitions, at)
	if err != nil {
		return nil, nestedError(err)
	}
	return p, nil
}

// withinLogs moves offsets that lie before the log or after it to its start or end.
func (g *consumerGroups) withinLogs(wanted Plan) (Plan, error) {
	starts, err := g.planAt(wanted.Sorted(), earliest)
	if err != nil {
		return nil, err
	}
	ends, err := g.planAt(wanted.Sorted(), latest)
	if err != nil {
		return nil, err
	}
	for _, tp := range wanted.Sorted() {
		offset, start, end := wanted[tp], starts[tp], ends[tp]
		const warning = "WARN New offset (%d) is %s offset for topic partition %s-%d. Value will be set to %d."
		switch {
		case offset > end:
			g.warn(warning, offset, "higher than latest", tp.Topic, tp.Partition, end)
			wanted[tp] = end
		case offset < start:
			g.warn(warning, offset, "lower than earliest", tp.Topic, tp.Partition, start)
			wanted[tp] = start
		}
	}
	return wanted, nil
}

func (g *consumerGroups) planShift(group string, partitions []kafka.TopicPartition) (Plan, error) {
	committed, err := g.committed(group)
	if err != nil {
		return nil, err
	}
	wanted := make(Plan)
	for _, tp := range partitions {
		now, ok := committed[tp]
		if !ok {
			return nil, g.options.misuse("Cannot shift offset for partition %s-%d since there is no current committed offset", tp.Topic, tp.Partition)
		}
		wanted[tp] = now.At + g.int("shift-by")
	}
	return g.withinLogs(wanted)
}

func (g *consumerGroups) planCurrent(group string, partitions []kafka.TopicPartition) (Plan, error) {
	committed, err := g.committed(group)
	if err != nil {
		return nil, err
	}
	without := slices.DeleteFunc(slices.Clone(partitions), func(tp kafka.TopicPartition) bool { _, ok := committed[tp]; return ok })
	p, err := g.planAt(without, latest)
	if err != nil {
		return nil, err
	}
	for _, tp := range partitions {
		if now, ok := committed[tp]; ok {
			p[tp] = now.At
		}
	}
	return p, nil
}

// planTime finds the first records of a time or later; a partition that has none is reset to its end.
func (g *consumerGroups) planTime(partitions []kafka.TopicPartition, at time.Time) (Plan, error) {
	p, err := g.planAt(partitions, at.UnixMilli())
	if err != nil {
		return nil, err
	}
	var without []kafka.TopicPartition
	for _, tp := range p.Sorted() {
		if p[tp] < 0 {
			g.printf("\nWarn: Partition %d from topic %s is empty. Falling back to latest known offset.\n", tp.Partition, tp.Topic)
			without = append(without, tp)
		}
	}
	ends, err := g.planAt(without, latest)
	maps.Copy(p, ends)
	return p, err
}

func (g *consumerGroups) planFile(group string) (Plan, error) {
	file := g.get("from-file")
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("java.io.IOException: Unable to read file %s", file)
	}
	plans, err := ParsePlans(string(data), g.of["group"])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range plans {
		for _, offset := range p {
			if offset < 0 {
				return nil, g.options.misuse("Invalid negative offset")
			}
		}
	}
	wanted, ok := plans[group]
	if !ok {
		g.printError("No reset plan for group %s found", group)
		return nil, nil
	}
	if err := g.topicsExist(wanted.Sorted()); err != nil {
		return nil, err
	}
	return g.withinLogs(wanted)
}

// topicsExist sees that there are the topics of partitions.
func (g *consumerGroups) topicsExist(partitions []kafka.TopicPartition) error {
	for _, tp := range partitions {
		if _, err := g.partitionsOf(tp.Topic); errors.Is(err, kerr.UnknownTopicOrPartition) {
			return fmt.Errorf("java.util.concurrent.ExecutionException: %s: Failed to fetch metadata for partition %s-%d because metadata for topic `%s` could not be found",
				javaException(kerr.UnknownTopicOrPartition), tp.Topic, tp.Partition, tp.Topic)
		} else if err != nil {
			return nestedError(err)
		}
	}
	return nil
}

func (g *consumerGroups) export(plans map[string]Plan) {
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		for _, tp := range plans[name].Sorted() {
			if len(g.of["group"]) != 1 {
				g.printf("%s,", csvText(name))
			}
			g.printf("%s,%d,%d\n", csvText(tp.Topic), tp.Partition, plans[name][tp])
		}
	}
	g.printf("\n")
}

func (g *consumerGroups) printPlans(plans map[string]Plan) {
	groupWidth, topicWidth := 15, 15
	for name, p := range plans {
		groupWidth = max(groupWidth, len(name))
		for tp := range p {
			topicWidth = max(topicWidth, len(tp.Topic))
		}
	}
	row := func(group, topic string, partition, offset any) {
		g.printf("\n%-*s %-*s %-10v %v", groupWidth, group, topicWidth, topic, partition, offset)
	}
	if len(plans) > 0 {
		row("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")
	}
	for _, name := range slices.Sorted(maps.Keys(plans)) {
		for _, tp := range plans[name].Sorted() {
			row(name, tp.Topic, tp.Partition, plans[name][tp])
		}
	}
	g.printf("\n")
}

// parseDateTime reads yyyy-MM-ddTHH:mm:ss.SSS with a zone or without one, which is UTC.
func parseDateTime(s string) (time.Time, error) {
	_, clock, ok := strings.Cut(s, "T")
	if !ok || clock == "" {
		return time.Time{}, errors.New("java.text.ParseException: Error parsing timestamp. It does not contain a 'T' according to ISO8601 format")
	}
	full := s
	if !strings.ContainsAny(clock, "+-Z") {
		full += "Z"
	}
	// Java takes fewer digits, too; to it the fraction is a number of milliseconds.
	if m := dateTimePattern.FindStringSubmatch(full); m != nil {
		var n [7]int
		for i := range n {
			n[i], _ = strconv.Atoi(m[i+1])
		}
		text := fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03d%s", n[0], n[1], n[2], n[3], n[4], n[5], n[6], m[8])
		for _, layout := range []string{"2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000Z0700", "2006-01-02T15:04:05.000Z07"} {
			if t, err := time.Parse(layout, text); err == nil {
				return t, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("java.text.ParseException: Unparseable date: \"%s\"", full)
}

var dateTimePattern = regexp.MustCompile(`^([0-9]{1,4})-([0-9]{1,2})-([0-9]{1,2})T([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})\.([0-9]{1,3})(Z|[-+][0-9:]+)$`)

var durationPattern = regexp.MustCompile(`(?i)^([-+]?)P(?:([-+]?[0-9]+)D)?(T(?:([-+]?[0-9]+)H)?(?:([-+]?[0-9]+)M)?(?:([-+]?[0-9]+)(?:[.,]([0-9]{0,9}))?S)?)?$`)

// parseDuration reads an ISO 8601 duration of days and less: P1DT2H3M4.5S.
func parseDuration(s string) (time.Duration, error) {
	bad := errors.New("Text cannot be parsed to a Duration")
	m := durationPattern.FindStringSubmatch(s)
	if m == nil || strings.EqualFold(m[3], "T") || m[2]+m[4]+m[5]+m[6] == "" {
		return 0, bad
	}
	var total float64 // only to see that it fits
	var d time.Duration
	for i, unit := range map[int]time.Duration{2: 24 * time.Hour, 4: time.Hour, 5: time.Minute, 6: time.Second} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i], 10, 64)
		if err != nil {
			return 0, bad
		}
		total += math.Abs(float64(n)) * float64(unit)
		d += time.Duration(n) * unit
	}
	if total > math.MaxInt64/2 {
		return 0, fmt.Errorf("the duration %s is longer than 146 years", s)
	}
	fraction, _ := strconv.Atoi((m[7] + "000000000")[:9])
	if strings.HasPrefix(m[6], "-") {
		fraction = -fraction
	}
	d += time.Duration(fraction)
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

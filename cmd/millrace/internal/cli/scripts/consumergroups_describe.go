package scripts

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// missing stands in a column that has no value.
const missing = "-"

// column returns what a column shows of a value that may be missing.
func column[T any](value *T) string {
	if value == nil {
		return missing
	}
	return fmt.Sprint(*value)
}

func (g *consumerGroups) describe() error {
	names, err := g.groupNames()
	if err != nil {
		return err
	}
	groups, err := g.described(names)
	if err != nil {
		return executionError(err)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if err := groups[name].err; err != nil {
			return executionError(err)
		}
	}
	show := g.describeOffsets
	switch {
	case g.has("members"):
		show = g.describeMembers
	case g.has("state"):
		show = g.describeState
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if err := show(groups[name]); err != nil {
			return err
		}
	}
	return nil
}

func (g *consumerGroups) described(names []string) (map[string]groupDescription, error) {
	c, cancel := g.bounded()
	defer cancel()
	var groups map[string]groupDescription
	err := dial.Settled(c, func() (err error) {
		groups, err = g.admin.describeGroups(c, names)
		return err
	})
	return groups, err
}

// hasRows says what there is to say of the state of a group, and reports whether any of its rows are shown.
func (g *consumerGroups) hasRows(group groupDescription, rows int) (bool, error) {
	switch group.state {
	case "Dead":
		g.printError("Consumer group '%s' does not exist.", group.name)
		return false, nil
	case "Empty":
		g.warn("\nConsumer group '%s' has no active members.", group.name)
	case "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling":
		g.warn("\nWarning: Consumer group '%s' is rebalancing.", group.name)
	case "Stable":
	default:
		return false, fmt.Errorf("Expected a valid consumer group state, but found '%s'.", group.state)
	}
	return rows > 0, nil
}

// assignedPartition is a row of --describe --offsets.
type assignedPartition struct {
	kafka.TopicPartition
	committed, end       *int64
	epoch                *int32
	consumer, host, name string // of the member; missing when nobody has the partition
}

func (p assignedPartition) lag() *int64 {
	if p.committed == nil || p.end == nil || *p.committed == -1 {
		return nil
	}
	lag := *p.end - *p.committed
	return &lag
}

func (g *consumerGroups) describeOffsets(group groupDescription) error {
	rows, err := g.assignments(group)
	if err != nil {
		return err
	}
	if shown, err := g.hasRows(group, len(rows)); !shown {
		return err
	}
	groupWidth, topicWidth, consumerWidth, hostWidth := max(15, len(group.name)), 15, 15, 15
	for _, r := range rows {
		topicWidth, consumerWidth, hostWidth = max(topicWidth, len(r.Topic)), max(consumerWidth, len(r.consumer)), max(hostWidth, len(r.host))
	}
	row := func(group, topic, partition, epoch, committed, end, lag, consumer, host, name string) {
		g.printf("\n%-*s %-*s %-10s ", groupWidth, group, topicWidth, topic, partition)
		if g.has("verbose") {
			g.printf("%-15s ", epoch)
		}
		g.printf("%-15s %-15s %-15s %-*s %-*s %s", committed, end, lag, consumerWidth, consumer, hostWidth, host, name)
	}
	row("GROUP", "TOPIC", "PARTITION", "LEADER-EPOCH", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID")
	for _, r := range rows {
		row(group.name, r.Topic, strconv.Itoa(int(r.Partition)), column(r.epoch), column(r.committed), column(r.end), column(r.lag()), r.consumer, r.host, r.name)
	}
	g.printf("\n")
	return nil
}

// assignments returns the partitions of the members, those with most first, and then the partitions that have
// offsets and nobody who reads them.
func (g *consumerGroups) assignments(group groupDescription) ([]assignedPartition, error) {
	committed, err := g.committed(group.name)
	if err != nil {
		return nil, err
	}
	members := slices.Clone(group.members)
	slices.SortStableFunc(members, func(a, b describedMember) int { return cmp.Compare(len(b.assigned), len(a.assigned)) })
	var rows []assignedPartition
	assigned := make(map[kafka.TopicPartition]bool)
	for _, m := range members {
		for _, tp := range m.assigned {
			assigned[tp] = true
			rows = append(rows, assignedPartition{TopicPartition: tp, consumer: m.id, host: m.host, name: m.client})
		}
	}
	for _, tp := range slices.SortedFunc(maps.Keys(committed), comparePartitions) {
		if !assigned[tp] {
			rows = append(rows, assignedPartition{TopicPartition: tp, consumer: missing, host: missing, name: missing})
		}
	}
	partitions := make([]kafka.TopicPartition, len(rows))
	for i, r := range rows {
		partitions[i] = r.TopicPartition
	}
	known, err := g.partitions(partitions)
	if err != nil {
		return nil, nestedError(err)
	}
	led := slices.DeleteFunc(partitions, func(tp kafka.TopicPartition) bool { p, ok := known[tp]; return ok && p.Leader < 0 })
	ends, err := g.offsetsAt(led, latest)
	if err != nil {
		return nil, nestedError(err)
	}
	for i := range rows {
		r := &rows[i]
		if o, ok := committed[r.TopicPartition]; ok {
			r.committed = &o.At
			if o.LeaderEpoch >= 0 {
				r.epoch = &o.LeaderEpoch
			}
		}
		if end, ok := ends[r.TopicPartition]; ok {
			r.end = &end
		}
	}
	return rows, nil
}

// committed returns the offsets that a group has committed.
func (g *consumerGroups) committed(group string) (map[kafka.TopicPartition]kadm.Offset, error) {
	c, cancel := g.bounded()
	defer cancel()
	var responses kadm.OffsetResponses
	err := dial.Settled(c, func() (err error) {
		responses, err = g.admin.FetchOffsets(c, group)
		return err
	})
	if err != nil {
		return nil, nestedError(err)
	}
	offsets := make(map[kafka.TopicPartition]kadm.Offset)
	for _, r := range responses.Sorted() {
		switch {
		case r.Err != nil: // Kafka's tool passes it over with a line in its log
			g.warn("WARN Skipping return offset for %s-%d due to error: %s", r.Topic, r.Partition, r.Err)
		case r.At >= 0:
			offsets[kafka.TopicPartition{Topic: r.Topic, Partition: r.Partition}] = r.Offset
		}
	}
	return offsets, nil
}

func (g *consumerGroups) describeMembers(group groupDescription) error {
	_, err := g.hasRows(group, len(group.members))
	if err != nil {
		return err
	}
	groupWidth, idWidth, instanceWidth, hostWidth, clientWidth, currentWidth, targetWidth := 15, 15, 17, 15, 15, 20, 20
	var instances, classic, upgraded bool
	for _, m := range group.members {
		groupWidth, idWidth, instanceWidth = max(groupWidth, len(group.name)), max(idWidth, len(m.id)), max(instanceWidth, len(m.instance))
		hostWidth, clientWidth = max(hostWidth, len(m.host)), max(clientWidth, len(m.client))
		currentWidth, targetWidth = max(currentWidth, len(assignment(m.assigned))), max(targetWidth, len(assignment(m.target)))
		instances = instances || m.instance != ""
		classic = classic || m.upgraded != nil && !*m.upgraded
		upgraded = upgraded || m.upgraded != nil && *m.upgraded
	}
	row := func(group, id, instance, host, client, partitions, epoch, current, targetEpoch, target, isUpgraded string) {
		g.printf("%-*s %-*s ", groupWidth, group, idWidth, id)
		if instances {
			g.printf("%-*s ", instanceWidth, instance)
		}
		g.printf("%-*s %-*s %-15s ", hostWidth, host, clientWidth, client, partitions)
		if g.has("verbose") {
			g.printf("%-15s %-*s %-15s %-*s", epoch, currentWidth, current, targetEpoch, targetWidth, target)
			if classic && upgraded { // the group is on its way from one protocol to the other
				g.printf(" %s", isUpgraded)
			}
		}
		g.printf("\n")
	}
	g.printf("\n")
	row("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT", "UPGRADED")
	for _, m := range group.members {
		row(group.name, m.id, m.instance, m.host, m.client, strconv.Itoa(len(m.assigned)),
			column(m.epoch), assignment(m.assigned), column(group.assignmentEpoch), assignment(m.target), column(m.upgraded))
	}
	return nil
}

// assignment shows partitions by topic: a:0,1;b:2.
func assignment(partitions []kafka.TopicPartition) string {
	if len(partitions) == 0 {
		return missing
	}
	var topics []string
	for i, tp := range partitions { // which are sorted
		if i == 0 || partitions[i-1].Topic != tp.Topic {
			topics = append(topics, fmt.Sprintf("%s:%d", tp.Topic, tp.Partition))
		} else {
			topics[len(topics)-1] += "," + strconv.Itoa(int(tp.Partition))
		}
	}
	slices.Sort(topics)
	return strings.Join(topics, ";")
}

func (g *consumerGroups) describeState(group groupDescription) error {
	if shown, err := g.hasRows(group, 1); !shown {
		return err
	}
	coordinator := fmt.Sprintf("%s:%d  (%d)", group.coordinator.Host, group.coordinator.Port, group.coordinator.NodeID)
	groupWidth, coordinatorWidth := max(15, len(group.name)), max(25, len(coordinator))
	row := func(group, coordinator, assignor, state, epoch, assignmentEpoch, members string) {
		g.printf("\n%-*s %-*s %-20s %-20s ", groupWidth, group, coordinatorWidth, coordinator, assignor, state)
		if g.has("verbose") {
			g.printf("%-15s %-25s ", epoch, assignmentEpoch)
		}
		g.printf("%s", members)
	}
	row("GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH", "#MEMBERS")
	row(group.name, coordinator, cmp.Or(group.assignor, missing), group.state, column(group.epoch), column(group.assignmentEpoch), strconv.Itoa(len(group.members)))
	g.printf("\n")
	return nil
}

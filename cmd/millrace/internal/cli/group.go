package cli

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

func groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "group",
		Short:   "List, describe, explain, reset and delete consumer groups",
		GroupID: clientGroup,
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	cmd.AddCommand(groupListCommand(), groupDescribeCommand(), groupMembersCommand(), groupExplainCommand(), groupResetCommand(), groupDeleteCommand())
	return cmd
}

func groupListCommand() *cobra.Command {
	var (
		c             connection
		out           outputFlag
		states, kinds []string
	)
	cmd := &cobra.Command{
		Use:     "list [REGEXP]",
		Aliases: []string{"ls"},
		Short:   "List groups",
		Example: `  millrace group list
  millrace group list '^billing-' --state stable`,
		Args:              arguments(0, 1, "at most one regular expression"),
		ValidArgsFunction: completeGroups(&c, 1),
	}
	c.flags(cmd)
	out.flag(cmd, "table")
	cmd.Flags().StringSliceVar(&states, "state", nil, "list groups in these `STATES` alone, with commas between, such as stable,empty")
	cmd.Flags().StringSliceVar(&kinds, "type", nil, "list groups of these `TYPES` alone: classic, consumer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		matches := regexp.MustCompile("")
		if len(args) > 0 {
			var err error
			if matches, err = regexp.Compile(args[0]); err != nil {
				return usagef("%q is no regular expression: %v", args[0], err)
			}
		}
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		all, err := cl.groups(cmd.Context())
		if err != nil {
			return err
		}
		t := newTable("GROUP", "TYPE", "STATE", "PROTOCOL", ">COORDINATOR")
		for _, g := range all {
			if !matches.MatchString(g.Group) || !anyFold(states, g.State) || !anyFold(kinds, g.Type) {
				continue
			}
			if out.json {
				if err := printJSON(cmd.OutOrStdout(), g); err != nil {
					return err
				}
				continue
			}
			t.add(g.Group, g.Type, g.State, cmp.Or(g.ProtocolType, "-"), g.Coordinator)
		}
		switch {
		case out.json:
		case len(t.rows) > 0:
			t.print(cmd.OutOrStdout())
		case len(all) > 0:
			cmd.PrintErrln("No group is like that.")
		default:
			cmd.PrintErrln("There are no groups yet; a consumer with a group id makes one.")
		}
		return nil
	}
	return cmd
}

// anyFold reports whether a word is in a list, in any case of letters; an empty list has every word.
func anyFold(list []string, word string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), word) })
}

// groupLine is a line of `group list --output json`.
type groupLine struct {
	Group        string `json:"group"`
	Type         string `json:"type"`
	State        string `json:"state"`
	ProtocolType string `json:"protocolType"`
	Coordinator  int32  `json:"coordinator"`
}

// groups lists the groups of the cluster by name. Each broker knows those that it coordinates.
func (c *cluster) groups(ctx context.Context) (list []groupLine, err error) {
	err = dial.Settled(ctx, func() (err error) {
		list, err = c.groupsNow(ctx)
		return err
	})
	return list, err
}

// groupsNow is groups, and an error while a coordinator reads its groups.
func (c *cluster) groupsNow(ctx context.Context) ([]groupLine, error) {
	var list []groupLine
	for _, shard := range c.client.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		if shard.Err != nil {
			return nil, dial.Explain(shard.Err)
		}
		response := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := dial.Code(response.ErrorCode, nil); err != nil {
			return nil, fmt.Errorf("the groups of broker %d: %w", shard.Meta.NodeID, err)
		}
		for _, g := range response.Groups {
			list = append(list, groupLine{g.Group, cmp.Or(g.GroupType, "classic"), g.GroupState, g.ProtocolType, shard.Meta.NodeID}) // before KIP-848 there was one type
		}
	}
	slices.SortFunc(list, func(a, b groupLine) int { return strings.Compare(a.Group, b.Group) })
	return list, nil
}

// findGroup finds one group, of whatever type.
func (c *cluster) findGroup(ctx context.Context, name string) (groupLine, error) {
	all, err := c.groups(ctx)
	if err != nil {
		return groupLine{}, err
	}
	if i := slices.IndexFunc(all, func(g groupLine) bool { return g.Group == name }); i >= 0 {
		return all[i], nil
	}
	return groupLine{}, fmt.Errorf("there is no group %s; `millrace group list` lists them", name)
}

// groupDescription is a line of `group describe --output json`.
type groupDescription struct {
	groupLine
	Assignor   string           `json:"assignor"`
	Epoch      *int32           `json:"epoch,omitempty"` // of groups of the consumer protocol
	Members    []groupMember    `json:"members"`
	Lag        int64            `json:"lag"`
	LagSeconds *float64         `json:"lagSeconds"` // null when it is not known of some partition
	Partitions []groupPartition `json:"partitions"`
}

// groupMember is a line of `group members --output json`.
type groupMember struct {
	Group      string             `json:"group"`
	Member     string             `json:"member"`
	Instance   *string            `json:"instance,omitempty"` // of a static member
	Client     string             `json:"client"`
	Host       string             `json:"host"`
	Epoch      *int32             `json:"epoch,omitempty"`
	Topics     []string           `json:"topics"` // that it reads
	Assignment map[string][]int32 `json:"assignment"`
}

// name is the instance id of a static member, the member id of any other.
func (m *groupMember) name() string {
	if m.Instance != nil {
		return *m.Instance
	}
	return m.Member
}

type groupPartition struct {
	Topic      string   `json:"topic"`
	Partition  int32    `json:"partition"`
	Offset     *int64   `json:"offset"` // null when nothing is committed
	End        *int64   `json:"end"`    // null when the leader did not tell
	Lag        *int64   `json:"lag"`
	LagSeconds *float64 `json:"lagSeconds"`
	Member     *string  `json:"member"`
	Metadata   string   `json:"metadata,omitempty"`
}

// describeGroup asks for a group and its members.
func (c *cluster) describeGroup(ctx context.Context, name string) (*groupDescription, error) {
	line, err := c.findGroup(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &groupDescription{groupLine: line, Members: []groupMember{}, Partitions: []groupPartition{}}
	err = dial.Settled(ctx, func() error {
		if line.Type == "consumer" {
			return c.describeConsumerGroup(ctx, d)
		}
		return c.describeClassicGroup(ctx, d)
	})
	if err != nil {
		return nil, fmt.Errorf("the group %s: %w", name, dial.Explain(err))
	}
	slices.SortFunc(d.Members, func(a, b groupMember) int {
		return cmp.Or(strings.Compare(a.name(), b.name()), strings.Compare(a.Member, b.Member))
	})
	return d, nil
}

func (c *cluster) describeConsumerGroup(ctx context.Context, d *groupDescription) error {
	all, err := c.admin.DescribeConsumerGroups(ctx, d.Group)
	if err != nil {
		return err
	}
	g := all[d.Group]
	if g.Err != nil {
		return g.Err
	}
	d.State, d.Assignor, d.Epoch = g.State, g.AssignorName, &g.Epoch
	for _, m := range g.Members {
		one := groupMember{Group: d.Group, Member: m.MemberID, Instance: m.InstanceID, Client: m.ClientID, Host: m.ClientHost, Epoch: &m.MemberEpoch, Topics: append([]string{}, m.SubscribedTopics...), Assignment: map[string][]int32{}}
		if r := m.SubscribedTopicRegex; r != nil && *r != "" { // Kafka tells of none as of an empty one
			one.Topics = append(one.Topics, "/"+*r+"/")
		}
		one.assign(m.Assignment)
		d.Members = append(d.Members, one)
	}
	return nil
}

func (c *cluster) describeClassicGroup(ctx context.Context, d *groupDescription) error {
	all, err := c.admin.DescribeGroups(ctx, d.Group)
	if err != nil {
		return err
	}
	g := all[d.Group]
	if g.Err != nil {
		return g.Err
	}
	d.State, d.Assignor = g.State, g.Protocol
	for _, m := range g.Members {
		one := groupMember{Group: d.Group, Member: m.MemberID, Instance: m.InstanceID, Client: m.ClientID, Host: m.ClientHost, Topics: []string{}, Assignment: map[string][]int32{}}
		if reads, ok := m.Join.AsConsumer(); ok {
			one.Topics = append(one.Topics, reads.Topics...)
			slices.Sort(one.Topics)
		}
		if has, ok := m.Assigned.AsConsumer(); ok {
			set := kadm.TopicsSet{}
			for _, t := range has.Topics {
				set.Add(t.Topic, t.Partitions...)
			}
			one.assign(set)
		}
		d.Members = append(d.Members, one)
	}
	return nil
}

// assign notes what a member has.
func (m *groupMember) assign(set kadm.TopicsSet) {
	for _, t := range set.Sorted() {
		if len(t.Partitions) > 0 {
			m.Assignment[t.Topic] = t.Partitions
		}
	}
}

func groupDescribeCommand() *cobra.Command {
	var (
		c   connection
		out outputFlag
	)
	cmd := &cobra.Command{
		Use:   "describe GROUP...",
		Short: "Show where groups are, and how far behind in records and in time",
		Long: `Describe shows where groups are in each partition, and how far they are behind: in records, and in time, which is the age
of the first record that is not committed.`,
		Example:           `  millrace group describe billing`,
		Args:              arguments(1, -1, "the name of a group"),
		ValidArgsFunction: completeGroups(&c, -1),
	}
	c.flags(cmd)
	out.flag(cmd, "table")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		var failures failures
		for i, name := range names {
			d, err := cl.describeGroup(cmd.Context(), name)
			if err == nil {
				err = cl.measure(cmd, &c, d)
			}
			if err != nil {
				failures.add("%w", err)
				continue
			}
			if out.json {
				if err := printJSON(cmd.OutOrStdout(), d); err != nil {
					return err
				}
				continue
			}
			if i > 0 {
				fmt.Fprintln(cmd.OutOrStdout())
			}
			d.print(cmd)
		}
		return failures.error()
	}
	return cmd
}

// measure finds out where a group is, in the partitions that it has committed or that its members have.
func (c *cluster) measure(cmd *cobra.Command, connection *connection, d *groupDescription) error {
	var committed kadm.OffsetResponses
	err := dial.Settled(cmd.Context(), func() (err error) {
		committed, err = c.admin.FetchOffsets(cmd.Context(), d.Group)
		return err
	})
	if err != nil {
		return fmt.Errorf("the offsets of the group %s: %w", d.Group, dial.Explain(err))
	}
	all, owner := kadm.TopicsSet{}, map[topicPartition]*string{}
	for _, m := range d.Members {
		for topic, partitions := range m.Assignment {
			for _, p := range partitions {
				name := m.name()
				owner[topicPartition{topic, p}] = &name
				all.Add(topic, p)
			}
		}
	}
	committed.Each(func(o kadm.OffsetResponse) { all.Add(o.Topic, o.Partition) })
	ends := kadm.ListedOffsets{}
	if len(all) > 0 {
		if ends, err = c.admin.ListEndOffsets(cmd.Context(), all.Topics()...); err != nil {
			return dial.Explain(err)
		}
	}
	behind := map[topicPartition]int64{}
	for _, t := range all.Sorted() {
		for _, p := range t.Partitions {
			at := topicPartition{t.Topic, p}
			line := groupPartition{Topic: t.Topic, Partition: p, Member: owner[at]}
			if o, ok := committed.Lookup(t.Topic, p); ok && o.Err == nil && o.At >= 0 {
				line.Offset, line.Metadata = &o.At, o.Metadata
			}
			if e, ok := ends.Lookup(t.Topic, p); ok && e.Err == nil {
				line.End = &e.Offset
			}
			if line.Offset != nil && line.End != nil {
				lag := max(0, *line.End-*line.Offset)
				if line.Lag = &lag; lag > 0 {
					behind[at] = *line.Offset
				}
			}
			d.Partitions = append(d.Partitions, line)
		}
	}
	since, err := connection.timestampsAt(cmd, behind)
	if err != nil {
		return err
	}
	d.age(since, time.Now())
	return nil
}

// age turns timestamps of the first records that are not committed into lag, and sums up.
func (d *groupDescription) age(since map[topicPartition]time.Time, now time.Time) {
	oldest, known := 0.0, true
	for i := range d.Partitions {
		p := &d.Partitions[i]
		if p.Lag == nil {
			continue
		}
		d.Lag += *p.Lag
		seconds := 0.0
		if *p.Lag > 0 {
			at, ok := since[topicPartition{p.Topic, p.Partition}]
			if !ok {
				known = false
				continue
			}
			seconds = max(0, now.Sub(at).Seconds())
		}
		p.LagSeconds = &seconds
		oldest = max(oldest, seconds)
	}
	if known {
		d.LagSeconds = &oldest
	}
}

func (d *groupDescription) print(cmd *cobra.Command) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%-11s %s\n%-11s %s\n%-11s %s\n%-11s %s\n%-11s %d\n%-11s %d\n", "Group", d.Group, "Type", d.Type, "State", d.State, "Assignor", cmp.Or(d.Assignor, "-"), "Coordinator", d.Coordinator, "Members", len(d.Members))
	if d.Epoch != nil {
		fmt.Fprintf(w, "%-11s %d\n", "Epoch", *d.Epoch)
	}
	behind := plural(d.Lag, "record")
	if d.LagSeconds != nil && d.Lag > 0 {
		behind += ", " + lagTime(d.LagSeconds)
	}
	fmt.Fprintf(w, "%-11s %s\n", "Lag", behind)
	if len(d.Partitions) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := newTable("TOPIC", ">PARTITION", ">OFFSET", ">END", ">LAG", ">LAG TIME", "MEMBER")
	for _, p := range d.Partitions {
		member := "-"
		if p.Member != nil {
			member = *p.Member
		}
		t.add(p.Topic, p.Partition, orDash(p.Offset), orDash(p.End), orDash(p.Lag), lagTime(p.LagSeconds), member)
	}
	t.print(w)
}

func orDash(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

// lagTime writes seconds as people read them: 0s, 1.5s, 2m3s.
func lagTime(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	d := time.Duration(*seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func groupMembersCommand() *cobra.Command {
	var (
		c   connection
		out outputFlag
	)
	cmd := &cobra.Command{
		Use:               "members GROUP",
		Short:             "List the members of a group and what they have",
		Args:              arguments(1, 1, "the name of a group"),
		ValidArgsFunction: completeGroups(&c, 1),
	}
	c.flags(cmd)
	out.flag(cmd, "table")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		d, err := cl.describeGroup(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		t := newTable("MEMBER", "INSTANCE", "CLIENT", "HOST", ">EPOCH", ">PARTITIONS", "ASSIGNMENT")
		for _, m := range d.Members {
			if out.json {
				if err := printJSON(cmd.OutOrStdout(), m); err != nil {
					return err
				}
				continue
			}
			epoch, instance, count := "-", "-", 0
			if m.Epoch != nil {
				epoch = strconv.Itoa(int(*m.Epoch))
			}
			if m.Instance != nil {
				instance = *m.Instance
			}
			var words []string
			for _, topic := range sortedKeys(m.Assignment) {
				count += len(m.Assignment[topic])
				words = append(words, topic+":"+joinIDs(m.Assignment[topic]))
			}
			t.add(m.Member, instance, m.Client, m.Host, epoch, count, cmp.Or(strings.Join(words, " "), "-"))
		}
		switch {
		case out.json:
		case len(t.rows) > 0:
			t.print(cmd.OutOrStdout())
		default:
			cmd.PrintErrf("The group %s has no members.\n", d.Group)
		}
		return nil
	}
	return cmd
}

// completeGroups completes names of groups, for at most so many arguments; -1 is any number.
func completeGroups(c *connection, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cl, done, ok := completing(cmd, c)
		if !ok {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer done()
		groups, err := cl.groups(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		for _, g := range groups {
			if !slices.Contains(args, g.Group) && strings.HasPrefix(g.Group, word) {
				names = append(names, g.Group)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

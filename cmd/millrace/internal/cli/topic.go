package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafka"
)

func topicCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "topic",
		Short:   "Create, list, describe, alter and delete topics",
		GroupID: clientGroup,
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	cmd.AddCommand(topicCreateCommand(), topicListCommand(), topicDescribeCommand(), topicAlterCommand(), topicDeleteCommand())
	return cmd
}

// requestTimeout is how long the controller may take to carry out what it decided.
const requestTimeoutMs = 30_000

// topicShape are the flags that say what a topic is like.
type topicShape struct {
	partitions int32
	replicas   int16
	assignment string
	configs    []string
}

func (s *topicShape) configFlag(cmd *cobra.Command, c *connection, help string) {
	cmd.Flags().StringArrayVarP(&s.configs, "config", "c", nil, help)
	cmd.RegisterFlagCompletionFunc("config", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return completeKeys(cmd, c, kmsg.ConfigResourceTypeTopic, word, "=")
	})
}

// parseAssignment reads the brokers of every partition: 1:2,2:3 has partition 0 on 1 and 2, partition 1 on 2 and 3.
func parseAssignment(text string) ([][]int32, error) {
	if text == "" {
		return nil, nil
	}
	var assignment [][]int32
	for partition := range strings.SplitSeq(text, ",") {
		var brokers []int32
		for word := range strings.SplitSeq(partition, ":") {
			id, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
			if err != nil || id < 0 {
				return nil, usagef("--assignment is %q; it is the brokers of each partition, such as 1:2,2:3", text)
			}
			brokers = append(brokers, int32(id))
		}
		assignment = append(assignment, brokers)
	}
	return assignment, nil
}

func topicCreateCommand() *cobra.Command {
	var (
		c           connection
		out         outputFlag
		shape       topicShape
		ifNotExists bool
		dryRun      bool
	)
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Example: `  millrace topic create orders --partitions 6
  millrace topic create prices --config cleanup.policy=compact --config retention.ms=86400000`,
		Args:              arguments(1, -1, "the name of a topic"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.flags(cmd)
	c.controllerFlag(cmd)
	out.flag(cmd, "table")
	f := cmd.Flags()
	f.Int32VarP(&shape.partitions, "partitions", "p", -1, "how many partitions (default the cluster's num.partitions)")
	f.Int16VarP(&shape.replicas, "replication-factor", "r", -1, "how many replicas of each partition (default the cluster's default.replication.factor)")
	f.Lookup("partitions").DefValue, f.Lookup("replication-factor").DefValue = "0", "0" // not shown: the help says it in words
	f.StringVar(&shape.assignment, "assignment", "", "the `BROKERS` of each partition by hand, such as 1:2,2:3 for two partitions of two replicas")
	shape.configFlag(cmd, &c, "a config of the topic, as `KEY=VALUE`; may be repeated")
	f.BoolVar(&ifNotExists, "if-not-exists", false, "a topic that exists is no error, and is left as it is")
	f.BoolVar(&dryRun, "dry-run", false, "have the cluster check everything, and create nothing")
	exclusive(cmd, "assignment", "partitions")
	exclusive(cmd, "assignment", "replication-factor")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		request := kmsg.NewPtrCreateTopicsRequest()
		request.TimeoutMillis, request.ValidateOnly = requestTimeoutMs, dryRun
		configs, err := keyValues("--config", shape.configs)
		if err != nil {
			return err
		}
		assignment, err := parseAssignment(shape.assignment)
		if err != nil {
			return err
		}
		for _, name := range names {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, shape.partitions, shape.replicas
			for i, brokers := range assignment {
				a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
				a.Partition, a.Replicas = int32(i), brokers
				topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
			}
			for _, key := range sortedKeys(configs) {
				setting := kmsg.NewCreateTopicsRequestTopicConfig()
				setting.Name, setting.Value = key, kmsg.StringPtr(configs[key])
				topic.Configs = append(topic.Configs, setting)
			}
			request.Topics = append(request.Topics, topic)
		}
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		responses, err := cl.request(cmd.Context(), request)
		if err != nil {
			return err
		}
		var failures failures
		for _, topic := range responses[0].(*kmsg.CreateTopicsResponse).Topics {
			err := dial.Code(topic.ErrorCode, topic.ErrorMessage)
			exists := errors.Is(err, kerr.TopicAlreadyExists)
			switch {
			case exists && ifNotExists:
				cmd.PrintErrf("Topic %s exists already; it was left as it is.\n", topic.Topic)
			case exists:
				failures.add("topic %s exists already; --if-not-exists leaves it as it is", topic.Topic)
			case err != nil:
				failures.add("topic %s was not created: %w", topic.Topic, cl.nearestConfig(cmd.Context(), err, kmsg.ConfigResourceTypeTopic, "", sortedKeys(configs)))
			case out.json:
				if err := printJSON(cmd.OutOrStdout(), createdTopic{topic.Topic, kafka.UUID(topic.TopicID).String(), topic.NumPartitions, topic.ReplicationFactor, dryRun}); err != nil {
					return err
				}
			default:
				did := "Created"
				if dryRun {
					did = "Would create"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s with %s of %s.\n", did, topic.Topic, plural(int64(topic.NumPartitions), "partition"), plural(int64(topic.ReplicationFactor), "replica"))
			}
		}
		return failures.error()
	}
	return cmd
}

// createdTopic is a line of `topic create --output json`.
type createdTopic struct {
	Topic             string `json:"topic"`
	ID                string `json:"id"`
	Partitions        int32  `json:"partitions"`
	ReplicationFactor int16  `json:"replicationFactor"`
	DryRun            bool   `json:"dryRun,omitempty"`
}

func topicListCommand() *cobra.Command {
	var (
		c        connection
		out      outputFlag
		internal bool
	)
	cmd := &cobra.Command{
		Use:     "list [REGEXP]",
		Aliases: []string{"ls"},
		Short:   "List topics",
		Example: `  millrace topic list
  millrace topic list '^orders-'`,
		Args:              arguments(0, 1, "at most one regular expression"),
		ValidArgsFunction: completeTopics(&c, 1),
	}
	c.flags(cmd)
	out.flag(cmd, "table")
	cmd.Flags().BoolVarP(&internal, "internal", "i", false, "list internal topics too")
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
		all, err := cl.admin.ListTopicsWithInternal(cmd.Context())
		if err != nil {
			return dial.Explain(err)
		}
		t := newTable("TOPIC", ">PARTITIONS", ">REPLICAS", "ID")
		for _, d := range all.Sorted() {
			if !matches.MatchString(d.Topic) || !internal && (d.IsInternal || kafka.IsInternalTopic(d.Topic)) {
				continue
			}
			line := topicLine{d.Topic, kafka.UUID(d.ID).String(), len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal}
			if out.json {
				if err := printJSON(cmd.OutOrStdout(), line); err != nil {
					return err
				}
				continue
			}
			t.add(line.Topic, line.Partitions, line.ReplicationFactor, line.ID)
		}
		switch {
		case out.json:
		case len(t.rows) > 0:
			t.print(cmd.OutOrStdout())
		case len(args) > 0:
			cmd.PrintErrf("No topic matches %s.\n", args[0])
		default:
			cmd.PrintErrln("There are no topics yet; `millrace topic create NAME` makes one.")
		}
		return nil
	}
	return cmd
}

// topicLine is a line of `topic list --output json`.
type topicLine struct {
	Topic             string `json:"topic"`
	ID                string `json:"id"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replicationFactor"`
	Internal          bool   `json:"internal"`
}

func topicDescribeCommand() *cobra.Command {
	var (
		c   connection
		out outputFlag
	)
	cmd := &cobra.Command{
		Use:               "describe TOPIC...",
		Short:             "Show the partitions of topics and the configs that were set",
		Args:              arguments(1, -1, "the name of a topic"),
		ValidArgsFunction: completeTopics(&c, -1),
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
			d, err := cl.describeTopic(cmd.Context(), name)
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

// topicDescription is a line of `topic describe --output json`.
type topicDescription struct {
	Topic             string                 `json:"topic"`
	ID                string                 `json:"id"`
	ReplicationFactor int                    `json:"replicationFactor"`
	Configs           map[string]*string     `json:"configs"` // that were set for the topic
	Partitions        []partitionDescription `json:"partitions"`
}

type partitionDescription struct {
	Partition   int32   `json:"partition"`
	Leader      *int32  `json:"leader"` // null when there is none
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	StartOffset *int64  `json:"startOffset"` // null when the leader did not tell
	EndOffset   *int64  `json:"endOffset"`
	Size        *int64  `json:"size"` // of the largest replica, in bytes
}

func (c *cluster) describeTopic(ctx context.Context, name string) (*topicDescription, error) {
	detail, err := c.topic(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &topicDescription{Topic: name, ID: kafka.UUID(detail.ID).String(), ReplicationFactor: detail.Partitions.NumReplicas(), Configs: map[string]*string{}}
	starts, err := c.admin.ListStartOffsets(ctx, name)
	if err != nil {
		return nil, dial.Explain(err)
	}
	ends, err := c.admin.ListEndOffsets(ctx, name)
	if err != nil {
		return nil, dial.Explain(err)
	}
	sizes := c.sizes(ctx, name, detail.Partitions.Numbers())
	known := func(o kadm.ListedOffset, ok bool) *int64 {
		if !ok || o.Err != nil {
			return nil
		}
		return &o.Offset
	}
	for _, p := range detail.Partitions.Sorted() {
		line := partitionDescription{Partition: p.Partition, Replicas: p.Replicas, ISR: p.ISR, Size: sizes[p.Partition]}
		if p.Leader >= 0 {
			line.Leader = &p.Leader
		}
		line.StartOffset, line.EndOffset = known(starts.Lookup(name, p.Partition)), known(ends.Lookup(name, p.Partition))
		d.Partitions = append(d.Partitions, line)
	}
	configs, err := c.entries(ctx, configEntity{kmsg.ConfigResourceTypeTopic, name}, false)
	if err != nil {
		return nil, err
	}
	for _, e := range configs {
		if e.Source == kmsg.ConfigSourceDynamicTopicConfig {
			d.Configs[e.Name] = e.Value
		}
	}
	return d, nil
}

// sizes returns the bytes of the largest replica of each partition, as far as the brokers tell.
func (c *cluster) sizes(ctx context.Context, topic string, partitions []int32) map[int32]*int64 {
	sizes := make(map[int32]*int64)
	set := make(kadm.TopicsSet)
	set.Add(topic, partitions...)
	all, err := c.admin.DescribeAllLogDirs(ctx, set)
	if err != nil {
		return sizes // it takes a permission of its own, and is not what was asked for first
	}
	all.Each(func(dir kadm.DescribedLogDir) {
		for _, p := range dir.Topics[topic] {
			if have := sizes[p.Partition]; have == nil || *have < p.Size {
				sizes[p.Partition] = &p.Size
			}
		}
	})
	return sizes
}

func (d *topicDescription) print(cmd *cobra.Command) {
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "%-11s %s\n%-11s %s\n%-11s %d\n%-11s %d\n", "Topic", d.Topic, "Id", d.ID, "Partitions", len(d.Partitions), "Replicas", d.ReplicationFactor)
	for i, key := range sortedKeys(d.Configs) {
		head := ""
		if i == 0 {
			head = "Configs"
		}
		fmt.Fprintf(w, "%-11s %s=%s\n", head, key, orNull(d.Configs[key]))
	}
	fmt.Fprintln(w)
	t := newTable(">PARTITION", ">LEADER", "REPLICAS", "IN SYNC", ">START", ">END", ">SIZE")
	for _, p := range d.Partitions {
		leader, start, end, bytes := "none", "-", "-", "-"
		if p.Leader != nil {
			leader = strconv.Itoa(int(*p.Leader))
		}
		if p.StartOffset != nil {
			start = strconv.FormatInt(*p.StartOffset, 10)
		}
		if p.EndOffset != nil {
			end = strconv.FormatInt(*p.EndOffset, 10)
		}
		if p.Size != nil {
			bytes = size(*p.Size)
		}
		t.add(p.Partition, leader, joinIDs(p.Replicas), joinIDs(p.ISR), start, end, bytes)
	}
	t.print(w)
}

func topicAlterCommand() *cobra.Command {
	var (
		c      connection
		shape  topicShape
		unset  []string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "alter TOPIC...",
		Short: "Give topics more partitions, and set or delete their configs",
		Long: `Alter gives topics more partitions, and sets or deletes their configs.

Partitions can be added, never taken away. More of them send the keys of a topic elsewhere than before: the records of
one key are then in two partitions, and no longer in one order.`,
		Example: `  millrace topic alter orders --partitions 12
  millrace topic alter orders --config retention.ms=3600000 --delete-config segment.bytes`,
		Args:              arguments(1, -1, "the name of a topic"),
		ValidArgsFunction: completeTopics(&c, -1),
	}
	c.flags(cmd)
	f := cmd.Flags()
	f.Int32VarP(&shape.partitions, "partitions", "p", 0, "how many partitions to have")
	f.StringVar(&shape.assignment, "assignment", "", "the `BROKERS` of each new partition by hand, such as 1:2,2:3")
	shape.configFlag(cmd, &c, "a config to set, as `KEY=VALUE`; may be repeated")
	f.StringArrayVar(&unset, "delete-config", nil, "the `KEY` of a config to put back to its default; may be repeated")
	f.BoolVar(&dryRun, "dry-run", false, "have the cluster check everything, and alter nothing")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		configs, err := keyValues("--config", shape.configs)
		if err != nil {
			return err
		}
		assignment, err := parseAssignment(shape.assignment)
		if err != nil {
			return err
		}
		more := cmd.Flags().Changed("partitions")
		switch {
		case !more && len(configs) == 0 && len(unset) == 0:
			return usagef("nothing to alter: say --partitions, --config or --delete-config")
		case assignment != nil && !more:
			return usagef("--assignment says where new partitions go; say how many there are to be with --partitions")
		}
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		var failures failures
		for _, name := range names {
			if err := cl.alterTopic(cmd, name, more, shape.partitions, assignment, configs, unset, dryRun); err != nil {
				failures.add("%w", err)
			}
		}
		return failures.error()
	}
	return cmd
}

func (c *cluster) alterTopic(cmd *cobra.Command, name string, more bool, partitions int32, assignment [][]int32, configs map[string]string, unset []string, dryRun bool) error {
	detail, err := c.topic(cmd.Context(), name)
	if err != nil {
		return err
	}
	did := "Altered"
	if dryRun {
		did = "Would alter"
	}
	if more {
		request := kmsg.NewPtrCreatePartitionsRequest()
		request.TimeoutMillis, request.ValidateOnly = requestTimeoutMs, dryRun
		topic := kmsg.NewCreatePartitionsRequestTopic()
		topic.Topic, topic.Count = name, partitions
		for _, brokers := range assignment {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = brokers
			topic.Assignment = append(topic.Assignment, a)
		}
		request.Topics = append(request.Topics, topic)
		responses, err := c.request(cmd.Context(), request)
		if err != nil {
			return err
		}
		for _, topic := range responses[0].(*kmsg.CreatePartitionsResponse).Topics {
			if err := dial.Code(topic.ErrorCode, topic.ErrorMessage); err != nil {
				return fmt.Errorf("topic %s: %w", name, err)
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s: %d partitions, there were %d.\n", did, name, partitions, len(detail.Partitions))
	}
	if len(configs)+len(unset) > 0 {
		if err := c.alterConfigs(cmd.Context(), configEntity{kmsg.ConfigResourceTypeTopic, name}, configs, unset, dryRun); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s topic %s: %s.\n", did, name, alterations(configs, unset))
	}
	return nil
}

func topicDeleteCommand() *cobra.Command {
	var (
		c        connection
		yes      bool
		ifExists bool
	)
	cmd := &cobra.Command{
		Use:     "delete TOPIC...",
		Aliases: []string{"rm"},
		Short:   "Delete topics and all their records",
		Long: `Delete deletes topics and all their records, for ever. At a terminal it asks first; in a script it does not.
Either all of the topics exist and are deleted, or none is.`,
		Args:              arguments(1, -1, "the name of a topic"),
		ValidArgsFunction: completeTopics(&c, -1),
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a topic that does not exist is no error")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		request := kmsg.NewPtrDeleteTopicsRequest()
		request.TimeoutMillis = requestTimeoutMs
		for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
			detail, err := cl.topic(cmd.Context(), name)
			if ifExists && errors.Is(err, kerr.UnknownTopicOrPartition) {
				continue
			}
			if err != nil {
				return err
			}
			topic := kmsg.NewDeleteTopicsRequestTopic()
			topic.Topic = kmsg.StringPtr(detail.Topic)
			request.Topics = append(request.Topics, topic)
			request.TopicNames = append(request.TopicNames, detail.Topic)
		}
		if len(request.Topics) == 0 {
			return nil
		}
		if !yes && interactive(cmd) {
			if ok, err := confirm(cmd, fmt.Sprintf("Delete %s and all records in it?", strings.Join(request.TopicNames, ", "))); err != nil || !ok {
				return errors.Join(err, exitCode(1))
			}
		}
		responses, err := cl.request(cmd.Context(), request)
		if err != nil {
			return err
		}
		var failures failures
		for _, topic := range responses[0].(*kmsg.DeleteTopicsResponse).Topics {
			name := orNull(topic.Topic)
			if err := dial.Code(topic.ErrorCode, topic.ErrorMessage); err != nil {
				failures.add("topic %s was not deleted: %w", name, err)
				continue
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Deleted topic %s.\n", name)
		}
		return failures.error()
	}
	return cmd
}

// topic looks a topic up; one that does not exist is an error with the nearest name, which is an
// UNKNOWN_TOPIC_OR_PARTITION still.
func (c *cluster) topic(ctx context.Context, name string) (kadm.TopicDetail, error) {
	all, err := c.admin.ListTopicsWithInternal(ctx)
	if err != nil {
		return kadm.TopicDetail{}, dial.Explain(err)
	}
	detail, ok := all[name]
	switch {
	case ok && detail.Err == nil:
		return detail, nil
	case ok:
		return detail, fmt.Errorf("topic %s: %w", name, dial.Explain(detail.Err))
	}
	return detail, &unknownTopic{name, config.Nearest(name, maps.Keys(all))}
}

// unknownTopic is the error of a topic that does not exist.
type unknownTopic struct{ name, near string }

func (u *unknownTopic) Error() string {
	if u.near != "" {
		return fmt.Sprintf("there is no topic %q; did you mean %s?", u.name, u.near)
	}
	return fmt.Sprintf("there is no topic %q; `millrace topic list` shows what there is", u.name)
}

func (u *unknownTopic) Unwrap() error { return kerr.UnknownTopicOrPartition }

// failures collects what went wrong while a command went on with the rest.
type failures []error

func (f *failures) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

// error returns one error of one sentence for each failure, and nil when there was none.
func (f failures) error() error { return errors.Join(f...) }

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

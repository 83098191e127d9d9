package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts"
	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// resetOptions are the flags of `millrace group reset`.
type resetOptions struct {
	connection
	out          outputFlag
	to, by, file string
	shift        int64
	execute      bool
}

const resetTargetHelp = "earliest, latest, an offset, -N for the last N records, or a time: 2026-11-25T10:00:00Z, 2026-11-25, or @ and milliseconds since 1970"

func groupResetCommand() *cobra.Command {
	var o resetOptions
	cmd := &cobra.Command{
		Use:   "reset GROUP [TOPIC[:PARTITIONS]...]",
		Short: "Set what a group reads next",
		Long: `Reset sets the offsets that a group goes on from: of the topics that are named, or else of all that it has committed
offsets of. It shows what it would do and changes nothing, until --execute is given. The group must have no members then.

Offsets before the start of a log or after its end become the start or the end.`,
		Example: `  millrace group reset billing --to earliest
  millrace group reset billing orders:0,2-4 --to 2026-11-25T10:00:00Z --execute
  millrace group reset billing --by -1h --execute
  millrace group reset billing orders --shift -100
  millrace group reset billing --from plan.csv --execute`,
		Args: arguments(1, -1, "the name of a group, and topics"),
		// The first word is a group, those after it are topics.
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completeGroups(&o.connection, 1)(cmd, args, word)
			}
			return completeTopics(&o.connection, -1)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return groupReset(cmd, o, args[0], args[1:]) },
	}
	o.flags(cmd)
	o.out.flag(cmd, "table")
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "the `POSITION` to go on from: "+resetTargetHelp)
	f.StringVar(&o.by, "by", "", "go on from so long ago, as a `DURATION` such as -1h or -90s")
	f.Int64Var(&o.shift, "shift", 0, "go on from so many records after the committed offset, or before it when negative")
	f.StringVar(&o.file, "from", "", "go on from the offsets in a `FILE`, whose lines are TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET")
	f.BoolVar(&o.execute, "execute", false, "do it")
	cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"earliest", "latest"}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"by", "shift"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return cmd
}

// resetTarget is where offsets are reset to: exactly one of the three.
type resetTarget struct {
	at    *position
	shift *int64
	file  scripts.Plan
}

// target reads the flags that say where to.
func (o resetOptions) target(cmd *cobra.Command, group string, topics []string) (resetTarget, error) {
	given := slices.DeleteFunc([]string{"to", "by", "shift", "from"}, func(name string) bool { return !cmd.Flags().Changed(name) })
	if len(given) != 1 {
		return resetTarget{}, usagef("%s takes exactly one of --to, --by, --shift and --from; it has %s", cmd.CommandPath(), plural(int64(len(given)), "of them"))
	}
	switch given[0] {
	case "to":
		at, err := parseResetTarget(o.to, time.Now())
		return resetTarget{at: &at}, err
	case "by":
		d, err := time.ParseDuration(o.by)
		if err != nil || d > 0 {
			return resetTarget{}, usagef("--by is %q; it counts back from now, such as -1h or -90s", o.by)
		}
		return resetTarget{at: &position{atTime, time.Now().Add(d).UnixMilli()}}, nil
	case "shift":
		return resetTarget{shift: &o.shift}, nil
	}
	if len(topics) > 0 {
		return resetTarget{}, usagef("--from names the topics itself; leave out %s", strings.Join(topics, ", "))
	}
	text, err := os.ReadFile(o.file)
	if err != nil {
		return resetTarget{}, fmt.Errorf("cannot read --from: %w", err)
	}
	plans, err := scripts.ParsePlans(string(text), []string{group})
	if err != nil {
		return resetTarget{}, fmt.Errorf("%s: %w", o.file, err)
	}
	if len(plans[group]) == 0 {
		return resetTarget{}, fmt.Errorf("%s has no line for group %s", o.file, group)
	}
	return resetTarget{file: plans[group]}, nil
}

// parseResetTarget reads a position, or a time without the @ that positions have before it.
func parseResetTarget(text string, now time.Time) (position, error) {
	at, err := parsePosition("--to", text, now)
	if err == nil {
		return at, nil
	}
	t, err := parseTime(text, now)
	if err != nil {
		return position{}, usagef("--to is %q; it is %s", text, resetTargetHelp)
	}
	return position{atTime, t.UnixMilli()}, nil
}

func groupReset(cmd *cobra.Command, o resetOptions, group string, topics []string) error {
	target, err := o.target(cmd, group, topics)
	if err != nil {
		return err
	}
	cl, err := o.open(cmd, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.checkReset(cmd, group, o.execute); err != nil {
		return err
	}
	var responses kadm.OffsetResponses
	err = dial.Settled(cmd.Context(), func() (err error) {
		responses, err = cl.admin.FetchOffsets(cmd.Context(), group)
		return err
	})
	if err != nil {
		return fmt.Errorf("the offsets of group %s: %w", group, dial.Explain(err))
	}
	r := groupResetter{cluster: cl, group: group, committed: scripts.Plan{}, plan: scripts.Plan{}, target: target}
	for _, offset := range responses.Sorted() {
		if offset.Err == nil && offset.At >= 0 {
			r.committed[kafka.TopicPartition{Topic: offset.Topic, Partition: offset.Partition}] = offset.At
		}
	}
	if err := r.makePlan(cmd.Context(), topics); err != nil {
		return err
	}
	if o.execute {
		if err := r.commit(cmd.Context()); err != nil {
			return err
		}
	}
	if err := r.print(cmd, o); err != nil {
		return err
	}
	if !o.execute {
		cmd.PrintErrln("Nothing was changed; --execute does it.")
	}
	return nil
}

// checkReset sees that a group has no members, which a plan does without.
func (c *cluster) checkReset(cmd *cobra.Command, group string, execute bool) error {
	all, err := c.groups(cmd.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(g groupLine) bool { return g.Group == group })
	if i < 0 { // a reset makes it
		return nil
	}
	state := all[i].State
	switch {
	case state == "Empty" || state == "Dead":
		return nil
	case execute:
		return fmt.Errorf("group %s has members (it is %s), and goes on from its own offsets; stop them, then reset it", group, state)
	}
	cmd.PrintErrf("Group %s has members (it is %s); it can be reset when they have stopped.\n", group, state)
	return nil
}

// groupResetter resets one group.
type groupResetter struct {
	*cluster
	group     string
	target    resetTarget
	committed scripts.Plan // what the group goes on from now
	plan      scripts.Plan // what it shall go on from
	ends      scripts.Plan
}

// makePlan fills the plan.
func (r *groupResetter) makePlan(ctx context.Context, words []string) error {
	scope, err := r.scope(ctx, words)
	if err != nil {
		return err
	}
	r.ends = scripts.Plan{}
	for _, topic := range sortedKeys(scope) {
		spans, err := r.spans(ctx, topic, scope[topic], false)
		if err != nil {
			return err
		}
		var at map[int32]int64
		if r.target.at != nil {
			if at, err = r.offsets(ctx, *r.target.at, topic, spans); err != nil {
				return err
			}
		}
		for p, s := range spans {
			tp := kafka.TopicPartition{Topic: topic, Partition: p}
			wanted := at[p]
			switch now, ok := r.committed[tp]; {
			case r.target.file != nil:
				wanted = r.target.file[tp]
			case r.target.shift != nil && !ok:
				return fmt.Errorf("group %s has no offset of partition %d of %s that could be shifted; --to sets one", r.group, p, topic)
			case r.target.shift != nil:
				wanted = now + *r.target.shift
			}
			r.plan[tp], r.ends[tp] = min(max(wanted, s.start), s.end), s.end
		}
	}
	return nil
}

// scope returns the partitions to reset by topic: those of the words, of the file, or that have offsets.
func (r *groupResetter) scope(ctx context.Context, words []string) (map[string][]int32, error) {
	scope := make(map[string][]int32)
	for _, word := range words {
		topic, list, _ := strings.Cut(word, ":")
		all, err := r.partitionsOf(ctx, topic)
		if err != nil {
			return nil, err
		}
		some, err := parsePartitions("what is after the topic", list, all)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", topic, err)
		}
		scope[topic] = append(scope[topic], some...)
	}
	if len(words) > 0 {
		return scope, nil
	}
	of := r.committed
	if r.target.file != nil {
		of = r.target.file
	}
	if len(of) == 0 {
		return nil, fmt.Errorf("group %s has committed no offsets; name the topics that it shall read", r.group)
	}
	for _, tp := range of.Sorted() {
		scope[tp.Topic] = append(scope[tp.Topic], tp.Partition)
	}
	for _, topic := range sortedKeys(scope) {
		all, err := r.partitionsOf(ctx, topic)
		if err != nil {
			return nil, err
		}
		for _, p := range scope[topic] {
			if !slices.Contains(all, p) {
				return nil, fmt.Errorf("topic %s has no partition %d; it has %s, from 0", topic, p, plural(int64(len(all)), "partition"))
			}
		}
	}
	return scope, nil
}

func (r *groupResetter) partitionsOf(ctx context.Context, topic string) ([]int32, error) {
	detail, err := r.topic(ctx, topic)
	return detail.Partitions.Numbers(), err
}

// commit commits the plan for the group.
func (r *groupResetter) commit(ctx context.Context) error {
	offsets := make(kadm.Offsets)
	for tp, offset := range r.plan {
		offsets.AddOffset(tp.Topic, tp.Partition, offset, -1)
	}
	responses, err := r.admin.CommitOffsets(ctx, r.group, offsets)
	if err != nil {
		return fmt.Errorf("group %s was not reset: %w", r.group, dial.Explain(err))
	}
	var failures failures
	for _, response := range responses.Sorted() {
		if response.Err != nil {
			failures.add("partition %d of %s was not reset: %w", response.Partition, response.Topic, dial.Explain(response.Err))
		}
	}
	return failures.error()
}

// resetLine is a line of `group reset --output json`.
type resetLine struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // before; null when there was none
	Offset    int64  `json:"offset"`
	Lag       int64  `json:"lag"` // of the new offset
	Executed  bool   `json:"executed"`
}

func (r *groupResetter) print(cmd *cobra.Command, o resetOptions) error {
	t := newTable("TOPIC", ">PARTITION", ">COMMITTED", ">NEW", ">LAG")
	for _, tp := range r.plan.Sorted() {
		line := resetLine{r.group, tp.Topic, tp.Partition, nil, r.plan[tp], r.ends[tp] - r.plan[tp], o.execute}
		before := "-"
		if now, ok := r.committed[tp]; ok {
			line.Committed, before = &now, fmt.Sprint(now)
		}
		if o.out.json {
			if err := printJSON(cmd.OutOrStdout(), line); err != nil {
				return err
			}
			continue
		}
		t.add(tp.Topic, tp.Partition, before, line.Offset, line.Lag)
	}
	if !o.out.json {
		t.print(cmd.OutOrStdout())
	}
	return nil
}

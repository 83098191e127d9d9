package scripts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp/syntax"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

func consumerGroupsOptions() *options {
	return newOptions("This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.",
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "REQUIRED: The brokers to ask first."},
		option{name: "command-config", kind: text, label: "command config property file", help: "A file of properties for the client."},
		option{name: "timeout", kind: long, label: "timeout (ms)", fallback: "5000", help: "How long each request may take, in milliseconds."},
		option{name: "group", kind: text, label: "consumer group", many: true, help: "The consumer group; may be repeated."},
		option{name: "all-groups", help: "All consumer groups."},
		option{name: "topic", kind: text, label: "topic", many: true, help: "A topic whose offsets are reset or deleted, or some partitions of it, as topic:0,1,2; may be repeated."},
		option{name: "all-topics", help: "All topics that the group has committed offsets of. For --reset-offsets."},
		option{name: "list", help: "List the consumer groups."},
		option{name: "state", kind: text, optional: true, help: "With --list, show the states of groups, and with a value only groups in these states, such as stable,empty. With --describe, show the state of the group."},
		option{name: "type", kind: text, optional: true, help: "With --list, show the types of groups, and with a value only groups of these types: classic, consumer."},
		option{name: "describe", help: "Describe groups: their offsets and lag, unless --members or --state is given."},
		option{name: "offsets", help: "With --describe, show every partition of the group with its offset and lag; this is the default."},
		option{name: "members", help: "With --describe, show the members of the group."},
		option{name: "verbose", help: "With --describe, show more: leader epochs, assignments, group epochs."},
		option{name: "delete", help: "Delete whole groups, which must be empty."},
		option{name: "delete-offsets", help: "Delete the offsets that a group has committed of topics."},
		option{name: "reset-offsets", help: "Reset the offsets of groups that are empty: to plan it (--dry-run, the default), to do it (--execute), or to print the plan as CSV (--export). It takes one of --to-datetime, --by-duration, --to-earliest, --to-latest, --shift-by, --from-file, --to-current, --to-offset, and one of --all-topics, --topic unless it is --from-file."},
		option{name: "dry-run", help: "Only show what --reset-offsets would do."},
		option{name: "execute", help: "Do what --reset-offsets plans."},
		option{name: "export", help: "Print the plan of --reset-offsets as CSV."},
		option{name: "to-offset", kind: long, label: "offset", many: true, help: "Reset to an offset."},
		option{name: "from-file", kind: text, label: "path to CSV file", many: true, help: "Reset to the offsets in a CSV file."},
		option{name: "to-datetime", kind: text, label: "datetime", many: true, help: "Reset to the first record of a time or later, as YYYY-MM-DDTHH:mm:SS.sss."},
		option{name: "by-duration", kind: text, label: "duration", help: "Reset to the first record of so long ago, as PnDTnHnMnS."},
		option{name: "to-earliest", help: "Reset to the first offset."},
		option{name: "to-latest", help: "Reset to the end."},
		option{name: "to-current", help: "Reset to the committed offset, or the end where there is none."},
		option{name: "shift-by", kind: long, label: "number-of-offsets", help: "Reset to so many offsets after the committed one, or before it when negative."},
		option{name: "validate-regex", kind: text, label: "regex", help: "See whether a regular expression is one that brokers take as a subscription (RE2)."},
	)
}

var consumerGroupsActions = []string{"list", "describe", "delete", "reset-offsets", "delete-offsets", "validate-regex"}

// resetScenarios are the options that say where offsets are reset to.
var resetScenarios = []string{"to-offset", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "shift-by", "from-file"}

func runConsumerGroups(c *call) error {
	v, err := consumerGroupsOptions().parse(c.args)
	if err == nil {
		err = cmp.Or(
			v.available([]string{"describe"}, "members", "verbose", "offsets"),
			v.available([]string{"describe", "list"}, "state"),
			v.available([]string{"list"}, "type"))
	}
	if e, ok := errors.AsType[*parseError](err); ok && e.class == notConverted { // Kafka's tool reads numbers late
		c.printf("\nError: Executing consumer group command failed due to %s\n", e.text)
		return nil
	}
	if err != nil {
		return uncaught(err)
	}
	if err := checkConsumerGroups(c, v); err != nil {
		return err
	}
	if v.has("validate-regex") {
		validateRegex(c, v.get("validate-regex"))
		return nil
	}
	g := &consumerGroups{call: c, values: v}
	err = g.run()
	if _, ends := errors.AsType[*exit](err); err == nil || ends {
		return err
	}
	g.printError("Executing consumer group command failed due to %s", dial.Explain(err)) // Kafka's tool ends with 0 all the same
	return nil
}

// checkConsumerGroups sees that the options fit together.
func checkConsumerGroups(c *call, v *values) error {
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("bootstrap-server"); err != nil {
		return err
	}
	misuse := v.options.misuse
	anyGroup := v.has("group") || v.has("all-groups")
	if v.has("describe") {
		shown := slices.DeleteFunc([]string{"members", "offsets", "state"}, func(name string) bool { return !v.has(name) })
		switch {
		case !anyGroup:
			return misuse("Option [describe] takes one of these options: [group], [all-groups]")
		case len(shown) > 1:
			return misuse("Option [describe] takes at most one of these options: [members], [offsets], [state]")
		case v.get("state") != "":
			return misuse("Option [describe] does not take a value for [state]")
		}
	}
	if v.has("delete") {
		switch {
		case !anyGroup:
			return misuse("Option [delete] takes one of these options: [group], [all-groups]")
		case v.has("topic"):
			return misuse("The consumer does not support topic-specific offset deletion from a consumer group.")
		}
	}
	if v.has("delete-offsets") && (!v.has("group") || !v.has("topic")) {
		return misuse("Option [delete-offsets] takes the following options: [group], [topic]")
	}
	if v.has("reset-offsets") {
		if err := checkReset(c, v, anyGroup); err != nil {
			return err
		}
	}
	if err := cmp.Or(v.exclude("group", "all-groups"), v.exclude("group", "list"), v.exclude("topic", "list", "describe")); err != nil {
		return err
	}
	actions := 0
	for _, action := range consumerGroupsActions {
		if v.has(action) {
			actions++
		}
	}
	if actions != 1 {
		return misuse("Command must include exactly one action: --%s", strings.Join(consumerGroupsActions, ", --"))
	}
	return nil
}

func checkReset(c *call, v *values, anyGroup bool) error {
	if v.has("dry-run") && v.has("execute") {
		return v.options.misuse("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
	}
	if !v.has("dry-run") && !v.has("execute") {
		fmt.Fprintln(c.err, "WARN: No action will be performed as the --execute option is missing.In a future major release, the default behavior of this command will be to prompt the user before executing the reset rather than doing a dry run. You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting.")
	}
	if !anyGroup {
		return v.options.misuse("Option [reset-offsets] takes one of these options: [group], [all-groups]")
	}
	for i, one := range resetScenarios {
		if err := v.exclude(one, resetScenarios[i+1:]...); err != nil {
			return err
		}
	}
	return nil
}

// validateRegex tells whether a subscription is one that brokers compile: both they and this use RE2.
func validateRegex(c *call, expression string) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		c.printf("The regular expression `%s` is invalid: %s.\n", expression, e.Code)
		return
	}
	named := make(map[string]bool)
	for _, name := range parsed.CapNames() {
		if name != "" && named[name] {
			c.printf("The regular expression `%s` is invalid: duplicate capture group name.\n", expression)
			return
		}
		named[name] = true
	}
	c.printf("The regular expression `%s` is valid.\n", expression)
}

// consumerGroups is one run of kafka-consumer-groups.
type consumerGroups struct {
	*call
	*values
	admin *admin
}

func (g *consumerGroups) run() (err error) {
	if g.admin, err = g.call.admin(g.values); err != nil {
		return err
	}
	defer g.admin.Close()
	for action, do := range map[string]func() error{
		"list": g.list, "describe": g.describe, "delete": g.delete, "reset-offsets": g.reset, "delete-offsets": g.deleteOffsets,
	} {
		if g.has(action) {
			return do()
		}
	}
	return nil
}

// bounded returns the call with the time that --timeout leaves one request.
func (g *consumerGroups) bounded() (*call, context.CancelFunc) {
	c := *g.call
	ctx, cancel := context.WithTimeout(g.call, time.Duration(g.int("timeout"))*time.Millisecond)
	c.Context = ctx
	return &c, cancel
}

// printError prints an error after which the tool goes on, or ends with 0: on stdout, as Kafka's.
func (g *consumerGroups) printError(format string, args ...any) {
	g.printf("\nError: "+format+"\n", args...)
}

// warn prints to stderr what Kafka prints there. What went to stdout before stands before it.
func (g *consumerGroups) warn(format string, args ...any) {
	g.out.Flush()
	io.WriteString(g.err, fmt.Sprintf(format, args...)+"\n")
}

// executionError is what Java's ExecutionException says of the error that it carries.
func executionError(err error) error { return errors.New(javaText(err)) }

// nestedError is the same in a RuntimeException.
func nestedError(err error) error {
	return errors.New("java.util.concurrent.ExecutionException: " + javaText(err))
}

// javaText is javaError; a request that --timeout ended has Java's class too.
func javaText(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "org.apache.kafka.common.errors.TimeoutException: the cluster did not answer within --timeout"
	}
	return javaError(err)
}

// groupNames are the groups that --group or --all-groups means.
func (g *consumerGroups) groupNames() ([]string, error) {
	if !g.has("all-groups") {
		names := slices.Clone(g.of["group"])
		slices.Sort(names)
		return slices.Compact(names), nil
	}
	return g.allNames()
}

// listed lists groups of consumers.
func (g *consumerGroups) listed(types, states []string) ([]listedGroup, error) {
	c, cancel := g.bounded()
	defer cancel()
	groups, err := g.admin.listGroups(c, types, states)
	return slices.DeleteFunc(groups, func(group listedGroup) bool {
		return !group.ofConsumers() || group.kind == "Share" || group.kind == "Streams"
	}), err
}

func (g *consumerGroups) list() error {
	if !g.has("type") && !g.has("state") {
		names, err := g.allNames()
		for _, name := range names {
			g.printf("%s\n", name)
		}
		return err
	}
	types, err := g.wordsOf("type", "types", []string{"Classic", "Consumer"})
	if err != nil {
		return err
	}
	states, err := g.wordsOf("state", "state", []string{"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning", "Reconciling"})
	if err != nil {
		return err
	}
	groups, err := g.listed(types, states)
	if err != nil {
		return executionError(err)
	}
	width := 15
	for _, group := range groups {
		width = max(width, len(group.name))
	}
	row := func(group listedGroup) {
		g.printf("%-*s", width+10, group.name)
		if g.has("type") {
			g.printf(" %-20s", group.kind)
		}
		if g.has("state") {
			g.printf(" %-20s", group.state)
		}
		g.printf("\n")
	}
	row(listedGroup{name: "GROUP", kind: "TYPE", state: "STATE"})
	for _, group := range groups {
		row(group)
	}
	return nil
}

func (g *consumerGroups) allNames() ([]string, error) {
	listed, err := g.listed([]string{"Classic", "Consumer"}, nil)
	if err != nil {
		return nil, nestedError(err)
	}
	var names []string
	for _, group := range listed {
		names = append(names, group.name)
	}
	return names, nil
}

// wordsOf reads the value of --type or --state, which are names of any case with commas between.
func (g *consumerGroups) wordsOf(option, plural string, valid []string) ([]string, error) {
	value := g.get(option)
	if strings.Trim(value, ",") == "" { // nothing between the commas is no word to Java
		return nil, nil
	}
	var words []string
	for _, word := range javaSplit(value, ",") {
		i := slices.IndexFunc(valid, func(v string) bool { return strings.EqualFold(v, javaTrim(word)) })
		if i < 0 {
			return nil, g.options.misuse("Invalid %s list '%s'. Valid %ss are: %s", plural, value, option, strings.Join(valid, ", "))
		}
		words = append(words, valid[i])
	}
	return words, nil
}

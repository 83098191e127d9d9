package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show and change the configs of topics, brokers and the cluster",
		Long: `Config shows and changes configs on a running cluster. They belong to

  topic NAME     one topic
  broker ID      one broker
  cluster        all brokers, where a broker has no value of its own`,
		Example: `  millrace config describe topic orders
  millrace config describe broker 1 log.retention.ms
  millrace config get topic orders retention.ms
  millrace config set topic orders retention.ms=3600000 cleanup.policy+=compact
  millrace config set cluster log.retention.ms=86400000
  millrace config delete topic orders retention.ms`,
		GroupID: clientGroup,
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	cmd.AddCommand(configDescribeCommand(), configGetCommand(), configSetCommand(), configDeleteCommand())
	return cmd
}

// configEntity is what has configs; the cluster's defaults are those of the broker without a name.
type configEntity struct {
	kind kmsg.ConfigResourceType
	name string
}

const entityUse = "(topic NAME | broker ID | cluster)"

func (e configEntity) String() string {
	switch {
	case e.kind == kmsg.ConfigResourceTypeTopic:
		return "topic " + e.name
	case e.name == "":
		return "the cluster"
	}
	return "broker " + e.name
}

// parseEntity takes the entity off the front of the arguments.
func parseEntity(cmd *cobra.Command, args []string) (e configEntity, rest []string, err error) {
	const what = "it is topic NAME, broker ID or cluster"
	if len(args) == 0 {
		return e, nil, usagef("%s needs to know whose configs are meant: %s", cmd.CommandPath(), what)
	}
	switch kind := args[0]; {
	case kind == "cluster":
		return configEntity{kmsg.ConfigResourceTypeBroker, ""}, args[1:], nil
	case kind != "topic" && kind != "broker":
		return e, nil, usagef("%q has no configs: %s", kind, what)
	case len(args) == 1:
		return e, nil, usagef("%s needs to know which %s is meant: %s", cmd.CommandPath(), kind, what)
	case kind == "broker":
		if _, err := strconv.ParseUint(args[1], 10, 31); err != nil {
			return e, nil, usagef("%q is no id of a broker, which is a number", args[1])
		}
		return configEntity{kmsg.ConfigResourceTypeBroker, args[1]}, args[2:], nil
	}
	return configEntity{kmsg.ConfigResourceTypeTopic, args[1]}, args[2:], nil
}

// completeEntity completes an entity, then keys.
func completeEntity(c *connection, after string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return []string{"topic", "broker", "cluster"}, cobra.ShellCompDirectiveNoFileComp
		}
		e, _, err := parseEntity(cmd, args)
		switch {
		case err == nil:
			return completeKeys(cmd, c, e.kind, word, after)
		case args[0] == "topic" && len(args) == 1:
			return completeTopics(c, -1)(cmd, nil, word)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func configDescribeCommand() *cobra.Command {
	var (
		c   connection
		out outputFlag
		all bool
	)
	cmd := &cobra.Command{
		Use:   "describe " + entityUse + " [KEY...]",
		Short: "Show configs, where each comes from, and what a key means",
		Long: `Describe shows the configs that were set somewhere, and with --all the defaults too. SOURCE says where the value comes
from: the topic, the broker, the cluster, the broker's properties file, or the default.

With keys it shows all about them: type, where else a value comes from, and what the key means.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeEntity(&c, ""),
	}
	c.flags(cmd)
	c.controllerFlag(cmd)
	out.flag(cmd, "table")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "show configs that are at their default too")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, keys, err := parseEntity(cmd, args)
		if err != nil {
			return err
		}
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		entries, err := cl.pick(cmd.Context(), e, keys, len(keys) > 0 || out.json)
		if err != nil {
			return err
		}
		if !all && len(keys) == 0 {
			entries = slices.DeleteFunc(entries, func(c configLine) bool { return c.Source == kmsg.ConfigSourceDefaultConfig.String() })
		}
		w := cmd.OutOrStdout()
		switch {
		case out.json:
			for _, line := range entries {
				if err := printJSON(w, line); err != nil {
					return err
				}
			}
		case len(keys) > 0:
			for i, line := range entries {
				if i > 0 {
					fmt.Fprintln(w)
				}
				line.explain(w)
			}
		case len(entries) == 0:
			cmd.PrintErrf("Nothing is set for %s; --all shows the defaults.\n", e)
		default:
			t := newTable("KEY", "VALUE", "SOURCE")
			for _, line := range entries {
				t.add(line.Key, line.shown(), sourceWords[line.Source])
			}
			t.print(w)
		}
		return nil
	}
	return cmd
}

func configGetCommand() *cobra.Command {
	var (
		c   connection
		out outputFlag
	)
	cmd := &cobra.Command{
		Use:   "get " + entityUse + " KEY...",
		Short: "Print the value of a key alone, for scripts; of several keys as KEY=VALUE",
		Example: `  millrace config get topic orders retention.ms
  millrace config get broker 1 log.dirs`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeEntity(&c, ""),
	}
	c.flags(cmd)
	c.controllerFlag(cmd)
	out.flag(cmd, "text")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, keys, err := parseEntity(cmd, args)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return usagef("%s needs a key; `millrace config describe --all` shows them", cmd.CommandPath())
		}
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		entries, err := cl.pick(cmd.Context(), e, keys, out.json)
		if err != nil {
			return err
		}
		var failures failures
		for _, line := range entries {
			switch {
			case line.Sensitive && !out.json:
				failures.add("%s is a secret, which no broker shows", line.Key)
			case out.json:
				if err := printJSON(cmd.OutOrStdout(), line); err != nil {
					return err
				}
			case len(keys) == 1:
				fmt.Fprintln(cmd.OutOrStdout(), orNull(line.Value))
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "%s=%s\n", line.Key, orNull(line.Value))
			}
		}
		return failures.error()
	}
	return cmd
}

func configSetCommand() *cobra.Command {
	var (
		c      connection
		file   string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "set " + entityUse + " KEY=VALUE...",
		Short: "Set configs",
		Long: `Set sets configs, all of them or none. KEY+=VALUE adds to a list, and KEY-=VALUE takes away from it.

What was set goes to the data of the cluster and outlives restarts; a broker's properties file stays as it is.`,
		Example: `  millrace config set topic orders retention.ms=3600000
  millrace config set topic orders cleanup.policy+=compact
  millrace config set broker 1 log.cleaner.threads=2`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeEntity(&c, "="),
	}
	c.flags(cmd)
	c.controllerFlag(cmd)
	cmd.Flags().StringVar(&file, "file", "", "a properties `FILE` of configs to set")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "have the cluster check everything, and set nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, words, err := parseEntity(cmd, args)
		if err != nil {
			return err
		}
		values, err := keyValues("the config", words)
		if err != nil {
			return err
		}
		if file != "" {
			p, err := dial.Load(file, "")
			if err != nil {
				return fmt.Errorf("cannot read --file: %w", err)
			}
			for key, value := range p {
				if _, twice := values[key]; twice {
					return usagef("%s stands in %s and on the command line", key, file)
				}
				values[key] = value
			}
		}
		if len(values) == 0 {
			return usagef("%s needs KEY=VALUE", cmd.CommandPath())
		}
		return alterEntity(cmd, &c, e, values, nil, dryRun)
	}
	return cmd
}

func configDeleteCommand() *cobra.Command {
	var (
		c      connection
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:               "delete " + entityUse + " KEY...",
		Aliases:           []string{"unset"},
		Short:             "Put configs back to where they come from otherwise",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: completeEntity(&c, ""),
	}
	c.flags(cmd)
	c.controllerFlag(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "have the cluster check everything, and delete nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		e, keys, err := parseEntity(cmd, args)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			return usagef("%s needs the key of a config", cmd.CommandPath())
		}
		return alterEntity(cmd, &c, e, nil, keys, dryRun)
	}
	return cmd
}

func alterEntity(cmd *cobra.Command, c *connection, e configEntity, values map[string]string, unset []string, dryRun bool) error {
	cl, err := c.open(cmd, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	if e.kind == kmsg.ConfigResourceTypeTopic && cl.controllers == nil {
		if _, err := cl.topic(cmd.Context(), e.name); err != nil {
			return err
		}
	}
	if err := cl.alterConfigs(cmd.Context(), e, values, unset, dryRun); err != nil {
		return err
	}
	did := "Altered"
	if dryRun {
		did = "Would alter"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s %s: %s.\n", did, e, alterations(values, unset))
	return nil
}

// alterations says what was altered in words.
func alterations(values map[string]string, unset []string) string {
	var words []string
	for _, key := range sortedKeys(values) {
		words = append(words, key+"="+values[key])
	}
	if len(unset) > 0 {
		words = append(words, "without "+strings.Join(unset, ", "))
	}
	return strings.Join(words, ", ")
}

// alterConfigs sets and deletes configs of an entity; a key that ends in + or - adds to a list or takes away.
func (c *cluster) alterConfigs(ctx context.Context, e configEntity, values map[string]string, unset []string, dryRun bool) error {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.ValidateOnly = dryRun
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = e.kind, e.name
	var keys []string
	add := func(key string, op kmsg.IncrementalAlterConfigOp, value *string) {
		change := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		change.Name, change.Op, change.Value = key, op, value
		resource.Configs = append(resource.Configs, change)
		keys = append(keys, key)
	}
	for _, key := range unset {
		add(key, kmsg.IncrementalAlterConfigOpDelete, nil)
	}
	for _, key := range sortedKeys(values) {
		value := values[key]
		if list, ok := strings.CutSuffix(key, "+"); ok {
			add(list, kmsg.IncrementalAlterConfigOpAppend, &value)
		} else if list, ok := strings.CutSuffix(key, "-"); ok {
			add(list, kmsg.IncrementalAlterConfigOpSubtract, &value)
		} else {
			add(key, kmsg.IncrementalAlterConfigOpSet, &value)
		}
	}
	request.Resources = append(request.Resources, resource)
	responses, err := c.request(ctx, request)
	if err != nil {
		return err
	}
	for _, response := range responses {
		for _, r := range response.(*kmsg.IncrementalAlterConfigsResponse).Resources {
			if err := dial.Code(r.ErrorCode, r.ErrorMessage); err != nil {
				return fmt.Errorf("%s is as it was: %w", e, c.nearestConfig(ctx, err, e.kind, e.name, keys))
			}
		}
	}
	return nil
}

// entries returns the configs of an entity by name, with what the keys mean if that is wanted.
func (c *cluster) entries(ctx context.Context, e configEntity, docs bool) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.IncludeSynonyms, request.IncludeDocumentation = true, docs
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = e.kind, e.name
	request.Resources = append(request.Resources, resource)
	responses, err := c.request(ctx, request)
	if err != nil {
		return nil, err
	}
	var entries []kmsg.DescribeConfigsResponseResourceConfig
	for _, response := range responses {
		for _, r := range response.(*kmsg.DescribeConfigsResponse).Resources {
			if err := dial.Code(r.ErrorCode, r.ErrorMessage); err != nil {
				return nil, fmt.Errorf("the configs of %s: %w", e, err)
			}
			entries = append(entries, r.Configs...)
		}
	}
	slices.SortFunc(entries, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return cmp.Compare(a.Name, b.Name) })
	return entries, nil
}

// pick returns the configs of an entity: those of the keys, in their order, or all.
func (c *cluster) pick(ctx context.Context, e configEntity, keys []string, docs bool) ([]configLine, error) {
	if e.kind == kmsg.ConfigResourceTypeTopic && c.controllers == nil {
		if _, err := c.topic(ctx, e.name); err != nil {
			return nil, err
		}
	}
	entries, err := c.entries(ctx, e, docs)
	if err != nil {
		return nil, err
	}
	lines := make([]configLine, len(entries))
	for i, entry := range entries {
		lines[i] = newConfigLine(entry)
	}
	if len(keys) == 0 {
		return lines, nil
	}
	var picked []configLine
	for _, key := range keys {
		i := slices.IndexFunc(lines, func(l configLine) bool { return l.Key == key })
		if i < 0 {
			near := config.Nearest(key, func(yield func(string) bool) {
				for _, l := range lines {
					if !yield(l.Key) {
						return
					}
				}
			})
			switch {
			case near != "":
				return nil, fmt.Errorf("%s has no config %q; did you mean %s?", e, key, near)
			case e.name == "" && e.kind == kmsg.ConfigResourceTypeBroker:
				return nil, fmt.Errorf("%s has no config %q: here are only those that were set for all brokers; `millrace config describe broker ID` shows what a broker uses", e, key)
			}
			return nil, fmt.Errorf("%s has no config %q; `millrace config describe --all` shows what there is", e, key)
		}
		picked = append(picked, lines[i])
	}
	return picked, nil
}

// configKeys returns the keys that an entity of a kind can have. It is for suggestions: what cannot be learned
// is left out.
func (c *cluster) configKeys(ctx context.Context, kind kmsg.ConfigResourceType, name string) []string {
	switch {
	case kind == kmsg.ConfigResourceTypeTopic && name == "" && c.controllers == nil: // any topic will do
		topics, err := c.admin.ListTopicsWithInternal(ctx)
		if err != nil || len(topics) == 0 {
			return nil
		}
		name = topics.Names()[0]
	case kind == kmsg.ConfigResourceTypeBroker && name == "" && c.controllers == nil:
		brokers, err := c.admin.ListBrokers(ctx)
		if err != nil || len(brokers) == 0 {
			return nil
		}
		name = strconv.Itoa(int(brokers[0].NodeID))
	}
	entries, err := c.entries(ctx, configEntity{kind, name}, false)
	if err != nil {
		return nil
	}
	var keys []string
	for _, entry := range entries {
		keys = append(keys, entry.Name)
	}
	return keys
}

// nearestConfig adds to the error of a key that does not exist the one that was meant.
func (c *cluster) nearestConfig(ctx context.Context, err error, kind kmsg.ConfigResourceType, name string, keys []string) error {
	if !errors.Is(err, kerr.InvalidConfig) && !errors.Is(err, kerr.InvalidRequest) || strings.Contains(err.Error(), "did you mean") {
		return err
	}
	known := c.configKeys(ctx, kind, name)
	for _, key := range keys {
		if len(known) == 0 || slices.Contains(known, key) || !strings.Contains(err.Error(), key) {
			continue
		}
		if near := config.Nearest(key, slices.Values(known)); near != "" {
			return fmt.Errorf("%w; did you mean %s?", err, near)
		}
	}
	return err
}

// configLine is a line of `config describe --output json`.
type configLine struct {
	Key       string          `json:"key"`
	Value     *string         `json:"value"` // null also when it is a secret
	Source    string          `json:"source"`
	Type      string          `json:"type"`
	Sensitive bool            `json:"sensitive"`
	ReadOnly  bool            `json:"readOnly"`
	Synonyms  []configSynonym `json:"synonyms"`
	Doc       string          `json:"doc,omitempty"`
}

type configSynonym struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"`
	Source string  `json:"source"`
}

func newConfigLine(entry kmsg.DescribeConfigsResponseResourceConfig) configLine {
	line := configLine{
		Key: entry.Name, Value: entry.Value, Source: entry.Source.String(), Type: strings.ToLower(entry.ConfigType.String()),
		Sensitive: entry.IsSensitive, ReadOnly: entry.ReadOnly, Synonyms: []configSynonym{},
	}
	if entry.Documentation != nil {
		line.Doc = *entry.Documentation
	}
	for _, s := range entry.ConfigSynonyms {
		line.Synonyms = append(line.Synonyms, configSynonym{s.Name, s.Value, s.Source.String()})
	}
	return line
}

// sourceWords say for people where a value comes from.
var sourceWords = map[string]string{
	kmsg.ConfigSourceDynamicTopicConfig.String():         "topic",
	kmsg.ConfigSourceDynamicBrokerConfig.String():        "broker",
	kmsg.ConfigSourceDynamicDefaultBrokerConfig.String(): "cluster",
	kmsg.ConfigSourceStaticBrokerConfig.String():         "file",
	kmsg.ConfigSourceDefaultConfig.String():              "default",
}

func (l configLine) shown() string {
	if l.Sensitive {
		return "(secret)"
	}
	return orNull(l.Value)
}

// explain prints all about a key.
func (l configLine) explain(w io.Writer) {
	fmt.Fprintf(w, "%s = %s\n\n", l.Key, l.shown())
	fmt.Fprintf(w, "  %-8s %s\n", "Type", l.Type)
	fmt.Fprintf(w, "  %-8s %s\n", "Source", cmp.Or(sourceWords[l.Source], l.Source))
	if l.ReadOnly {
		fmt.Fprintf(w, "  %-8s only in the properties file, with a restart\n", "Change")
	}
	for i, s := range l.Synonyms {
		head := ""
		if i == 0 {
			head = "From"
		}
		value := orNull(s.Value)
		if l.Sensitive {
			value = "(secret)"
		}
		fmt.Fprintf(w, "  %-8s %s=%s (%s)\n", head, s.Key, value, cmp.Or(sourceWords[s.Source], s.Source))
	}
	if l.Doc != "" {
		fmt.Fprintf(w, "\n%s\n", wrap(l.Doc, 100, "  "))
	}
}

// wrap breaks text into indented lines of a width.
func wrap(text string, width int, indent string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		switch {
		case column == 0:
			b.WriteString(indent)
		case column+1+len(word) > width:
			b.WriteString("\n" + indent)
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

package scripts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server"
	"github.com/millrace-io/millrace/server/offline"
)

// storageCommands are the commands of kafka-storage, with their options. Kafka parses them with argparse4j: an option has a
// long and a short form, and takes the next word or what stands behind an equals sign.
var storageCommands = []struct {
	name    string
	about   string
	options []storageOption
	run     func(*call, storageArguments) error
}{
	{"info", "Show what the log directories of a node are formatted as.", []storageOption{storageConfig}, storageInfo},
	{"format", "Format the log directories of a node.", []storageOption{storageConfig,
		{long: "cluster-id", short: 't', value: "CLUSTER_ID", required: true, help: "The id of the cluster."},
		{long: "add-scram", short: 'S', value: "ADD_SCRAM", help: "A SCRAM credential that the cluster begins with: SCRAM-SHA-256=[name=alice,password=alice-secret]. May be repeated."},
		{long: "ignore-formatted", short: 'g', help: "Leave directories that are formatted already as they are."},
		{long: "release-version", short: 'r', value: "RELEASE_VERSION", help: "The release whose features the cluster begins with."},
		{long: "feature", short: 'f', value: "FEATURE", help: "A feature and its level, feature=level. May be repeated."},
		{long: "standalone", short: 's', help: "Make the node the first voter of a quorum that keeps its voters in its log."},
		{long: "no-initial-controllers", short: 'N', help: "Format a node that joins such a quorum later."},
		{long: "initial-controllers", short: 'I', value: "INITIAL_CONTROLLERS", help: "The first voters of such a quorum, as id@host:port:directory."},
	}, storageFormat},
	{"version-mapping", "Show the levels of features that belong to a release.", []storageOption{
		{long: "release-version", short: 'r', value: "RELEASE_VERSION", help: "The release; the newest when there is none."},
	}, storageVersions},
	{"feature-dependencies", "Show what levels of features need of other features.", []storageOption{
		{long: "feature", short: 'f', value: "FEATURE", required: true, help: "A feature and its level, feature=level. May be repeated."},
	}, storageDependencies},
	{"random-uuid", "Print a new id.", nil, func(c *call, _ storageArguments) error {
		c.printf("%s\n", kafka.NewUUID())
		return nil
	}},
}

// storageOption is an option of a command; value names its argument, and is empty for one that takes none.
type storageOption struct {
	long     string
	short    byte
	value    string
	required bool
	help     string
}

var storageConfig = storageOption{long: "config", short: 'c', value: "CONFIG", required: true, help: "The properties file of the node."}

// storageArguments are the values of the options of a command line, by their long names.
type storageArguments map[string][]string

func (a storageArguments) has(name string) bool { return len(a[name]) > 0 }

// last is the value that counts of an option that was given more than once.
func (a storageArguments) last(name string) string {
	if all := a[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// optional is last, or nil where the option was not given.
func (a storageArguments) optional(name string) *string {
	if !a.has(name) {
		return nil
	}
	value := a.last(name)
	return &value
}

func runStorage(c *call) error {
	var names []string
	for _, command := range storageCommands {
		names = append(names, command.name)
	}
	usage := "usage: kafka-storage [-h] {" + strings.Join(names, ",") + "} ..."
	if len(c.args) == 0 {
		return terse("%s\nkafka-storage: error: too few arguments", usage)
	}
	if c.args[0] == "-h" || c.args[0] == "--help" {
		c.printf("%s\n\nThe Kafka storage tool.\n\n", usage)
		for _, command := range storageCommands {
			c.printf("  %-22s %s\n", command.name, command.about)
		}
		return nil
	}
	for _, command := range storageCommands {
		if command.name != c.args[0] {
			continue
		}
		usage := storageUsage(command.name, command.options)
		if slices.ContainsFunc(c.args[1:], func(word string) bool { return word == "-h" || word == "--help" }) {
			c.printf("%s\n\n%s\n", usage, command.about)
			for _, o := range command.options {
				c.printf("  %-40s %s\n", o.heads(), o.help)
			}
			return nil
		}
		a, err := parseStorage(c.args[1:], command.options)
		if err != nil {
			return terse("%s\nkafka-storage: error: %v", usage, err)
		}
		return command.run(c, a)
	}
	return terse("%s\nkafka-storage: error: invalid choice: '%s' (choose from '%s')", usage, c.args[0], strings.Join(names, "', '"))
}

// heads are the forms of an option.
func (o storageOption) heads() string {
	if o.value == "" {
		return fmt.Sprintf("--%s, -%c", o.long, o.short)
	}
	return fmt.Sprintf("--%s %s, -%c %s", o.long, o.value, o.short, o.value)
}

func storageUsage(command string, options []storageOption) string {
	usage := "usage: kafka-storage " + command + " [-h]"
	for _, o := range options {
		word := "--" + o.long
		if o.value != "" {
			word += " " + o.value
		}
		if !o.required {
			word = "[" + word + "]"
		}
		usage += " " + word
	}
	return usage
}

// parseStorage reads the options of a command.
func parseStorage(words []string, options []storageOption) (storageArguments, error) {
	a := storageArguments{}
	for i := 0; i < len(words); i++ {
		o, value, inline, err := matchStorage(words[i], options)
		if err != nil {
			return nil, err
		}
		switch {
		case o.value == "" && inline:
			return nil, fmt.Errorf("argument --%s/-%c: ignored explicit argument '%s'", o.long, o.short, value)
		case o.value == "":
			value = "true"
		case !inline && i+1 == len(words):
			return nil, fmt.Errorf("argument --%s/-%c: expected one argument", o.long, o.short)
		case !inline:
			i++
			value = words[i]
		}
		a[o.long] = append(a[o.long], value)
	}
	for _, o := range options {
		if o.required && !a.has(o.long) {
			return nil, fmt.Errorf("argument --%s/-%c is required", o.long, o.short)
		}
	}
	exclusive := []string{"standalone", "no-initial-controllers", "initial-controllers"}
	for i, one := range exclusive {
		for _, other := range exclusive[i+1:] {
			if a.has(one) && a.has(other) {
				return nil, fmt.Errorf("argument --%s: not allowed with argument --%s", other, one)
			}
		}
	}
	return a, nil
}

// matchStorage finds the option that a word is: by its long name, or the beginning of only one, or by its letter.
func matchStorage(word string, options []storageOption) (o storageOption, value string, inline bool, err error) {
	if long, ok := strings.CutPrefix(word, "--"); ok {
		long, value, inline = strings.Cut(long, "=")
		var matches []storageOption
		for _, o := range options {
			if o.long == long {
				return o, value, inline, nil
			}
			if strings.HasPrefix(o.long, long) && long != "" {
				matches = append(matches, o)
			}
		}
		if len(matches) == 1 {
			return matches[0], value, inline, nil
		}
		return o, "", false, fmt.Errorf("unrecognized arguments: '%s'", word)
	}
	if len(word) >= 2 && word[0] == '-' {
		for _, o := range options {
			if o.short == word[1] {
				return o, strings.TrimPrefix(word[2:], "="), len(word) > 2, nil
			}
		}
	}
	return o, "", false, fmt.Errorf("unrecognized arguments: '%s'", word)
}

// storageInfo prints what the directories are formatted as, and fails when something is wrong with them.
func storageInfo(c *call, a storageArguments) error {
	cfg, err := server.LoadConfig(a.last("config"))
	if err != nil {
		return terse("%v", err)
	}
	o := cfg.FormatOptions()
	dirs := o.Directories()
	slices.Sort(dirs)
	var found, problems []string
	var first *offline.Directory
	inspected := offline.Inspect(o)
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		switch {
		case err != nil:
			problems = append(problems, dir+" does not exist")
			continue
		case !info.IsDir():
			problems = append(problems, dir+" is not a directory")
			continue
		}
		found = append(found, dir)
		d := inspected[slices.IndexFunc(inspected, func(d offline.Directory) bool { return d.Path == dir })]
		switch {
		case errors.Is(d.Problem, offline.ErrUnformatted):
			problems = append(problems, dir+" is not formatted.")
		case d.Problem != nil && d.ClusterID == "":
			problems = append(problems, fmt.Sprintf("Error loading %s: %v", filepath.Join(dir, "meta.properties"), d.Problem))
		case first == nil:
			first = &d
		case first.ClusterID != d.ClusterID:
			problems = append(problems, "Mismatched cluster IDs between storage directories.")
		case first.NodeID != d.NodeID:
			problems = append(problems, "Mismatched node IDs between storage directories.")
		}
	}
	list := func(one, many string, lines []string) {
		if len(lines) == 0 {
			return
		}
		if len(lines) > 1 {
			one = many
		}
		c.printf("%s\n  %s\n\n", one, strings.Join(lines, "\n  "))
	}
	list("Found log directory:", "Found log directories:", found)
	if first != nil {
		id := ""
		if !first.DirectoryID.IsZero() {
			id = "directory.id=" + first.DirectoryID.String() + ", "
		}
		c.printf("Found metadata: {cluster.id=%s, %snode.id=%d, version=1}\n\n", first.ClusterID, id, first.NodeID)
	}
	list("Found problem:", "Found problems:", problems)
	if len(problems) > 0 {
		return &exit{code: 1}
	}
	return nil
}

// storageFormat formats a node's directories under Kafka's rules for who the first voters are.
func storageFormat(c *call, a storageArguments) error {
	cfg, err := server.LoadConfig(a.last("config"))
	if err != nil {
		return terse("%v", err)
	}
	o := cfg.FormatOptions()
	request := offline.FormatRequest{ClusterID: a.last("cluster-id"), IgnoreFormatted: a.has("ignore-formatted"),
		Standalone: a.has("standalone"), NoInitialControllers: a.has("no-initial-controllers"), Features: a["feature"], Credentials: a["add-scram"],
		InitialControllers: a.optional("initial-controllers"), Release: a.optional("release-version")}
	release, err := request.Complete(&o)
	if err != nil {
		return terse("%v", err)
	}
	if !o.IgnoreFormatted {
		for _, d := range offline.Inspect(o) {
			if d.Problem == nil && d.ClusterID == o.ClusterID {
				return terse("Log directory %s is already formatted. Use --ignore-formatted to ignore this directory and format the others.", d.Path)
			}
		}
	}
	formatted, err := offline.Format(o)
	if err != nil {
		return terse("%v", err)
	}
	if len(formatted) == 0 {
		c.printf("All of the log directories are already formatted.\n")
		return nil
	}
	c.printf("Bootstrap metadata: %s\n", bootstrapText(&o, release))
	for _, dir := range formatted {
		kind := "data directory"
		switch {
		case dir != filepath.Clean(o.MetadataLogDir):
		case o.StaticVoters:
			kind = "metadata directory"
		default:
			kind = "dynamic metadata voter directory"
		}
		c.printf("Formatting %s %s with metadata.version %s.\n", kind, dir, release.Name)
	}
	return nil
}

// bootstrapText is the records of the first snapshot as Kafka prints them.
func bootstrapText(o *offline.FormatOptions, release offline.Release) string {
	var records []string
	for _, f := range o.Features {
		records = append(records, fmt.Sprintf("FeatureLevelRecord(name='%s', featureLevel=%d)", f.Name, f.Level))
	}
	for _, credential := range o.Credentials {
		records = append(records, credential.String())
	}
	for i := range records {
		records[i] = "ApiMessageAndVersion(" + records[i] + " at version 0)"
	}
	return fmt.Sprintf("BootstrapMetadata(records=[%s], metadataVersionLevel=%d, source=format command)", strings.Join(records, ", "), release.Level)
}

// storageVersions prints the levels that belong to a release.
func storageVersions(c *call, a storageArguments) error {
	release := offline.LatestRelease()
	name := release.Name
	if a.has("release-version") {
		var err error
		name = a.last("release-version")
		if release, err = offline.FindRelease(name); err != nil {
			return terse("%v", err)
		}
	}
	c.printf("metadata.version=%d (%s)\n", release.Level, name)
	for _, f := range release.Features() {
		c.printf("%s\n", f)
	}
	return nil
}

// storageDependencies prints what levels of features need.
func storageDependencies(c *call, a storageArguments) error {
	for _, text := range a["feature"] {
		if !strings.Contains(text, "=") {
			return terse("Invalid feature format: %s. Expected format: 'feature=version' (e.g. 'group.version=1')", text)
		}
		f, err := offline.ParseFeature(text)
		if err != nil {
			return terse("%v", err)
		}
		needs, err := offline.FeatureDependencies(f)
		if err != nil {
			return terse("%v", err)
		}
		if len(needs) == 0 {
			c.printf("%s has no dependencies.\n", f)
			continue
		}
		c.printf("%s requires:\n", f)
		for _, need := range needs {
			c.printf("    %s\n", need)
		}
	}
	return nil
}

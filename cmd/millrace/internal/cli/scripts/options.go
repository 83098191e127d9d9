package scripts

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// option is one option of a tool, as Kafka declares it.
type option struct {
	name     string
	kind     kind
	label    string // what the argument is, for the usage
	fallback string // the default; "" is none
	help     string
	many     bool // several values may be given
	comma    bool // a value is a list with commas; implies many
	optional bool // the argument may be left out
}

// kind is the Java type of an option's argument.
type kind int8

const (
	flag    kind = iota // takes no argument
	text                // String
	integer             // Integer
	long                // Long
)

func (k kind) String() string { return [...]string{"", "String", "Integer", "Long"}[k] }

// options are all options of a tool; they parse a command line as Kafka's tools do, which use jopt-simple:
//
//   - --name value, --name=value, and -name as well;
//   - an option that takes an argument takes the next word, whatever it is;
//   - -- ends the options, and words that are no option are passed over;
//   - nothing is abbreviated.
type options struct {
	about string
	all   []option
}

// values are the options that a command line has.
type values struct {
	options *options
	given   []string // names in the order of the command line, repeated ones repeatedly
	of      map[string][]string
}

func newOptions(about string, all ...option) *options {
	all = append(all,
		option{name: "help", help: "Show this."},
		option{name: "version", help: "Show the version of Kafka whose tool this is."})
	slices.SortFunc(all, func(a, b option) int { return strings.Compare(a.name, b.name) })
	return &options{about: about, all: all}
}

func (o *options) lookup(name string) *option {
	i, ok := slices.BinarySearchFunc(o.all, name, func(a option, name string) int { return strings.Compare(a.name, name) })
	if !ok {
		return nil
	}
	return &o.all[i]
}

// parse reads a command line. Its errors are jopt-simple's sentences; how they are printed differs by tool.
func (o *options) parse(args []string) (*values, error) {
	v := &values{options: o, of: make(map[string][]string)}
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			break
		}
		if len(word) < 2 || word[0] != '-' {
			continue
		}
		body := strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
		name, value, inline := strings.Cut(body, "=")
		opt := o.lookup(name)
		if opt == nil {
			if !strings.HasPrefix(word, "--") {
				name = name[:1] // a cluster of short options, and there are none
			}
			return nil, parseErrorf("joptsimple.UnrecognizedOptionException", "%s is not a recognized option", name)
		}
		v.given = append(v.given, name)
		switch {
		case opt.kind == flag:
			v.of[name] = append(v.of[name], "")
			continue
		case inline:
		case opt.optional:
			if i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
				value = args[i]
			}
		case i+1 < len(args):
			i++
			value = args[i]
		default:
			return nil, parseErrorf("joptsimple.OptionMissingRequiredArgumentException", "Option %s requires an argument", name)
		}
		if opt.comma {
			v.of[name] = append(v.of[name], strings.Split(value, ",")...)
		} else {
			v.of[name] = append(v.of[name], value)
		}
	}
	for _, opt := range o.all {
		of := v.of[opt.name]
		if opt.kind != flag && !opt.many && !opt.comma && len(of) > 1 {
			return nil, parseErrorf("joptsimple.MultipleArgumentsForOptionException", "Found multiple arguments for option %s, but you asked for only one", opt.name)
		}
		for _, value := range of {
			bits := map[kind]int{integer: 32, long: 64}[opt.kind]
			if bits == 0 {
				continue
			}
			if _, err := strconv.ParseInt(value, 10, bits); err != nil {
				return nil, parseErrorf(notConverted, "Cannot parse argument '%s' of option %s", value, opt.name)
			}
		}
	}
	return v, nil
}

// parseError is what jopt-simple says of a command line that it cannot parse, and the class that it says it with.
type parseError struct{ class, text string }

// notConverted is the class of a parse error of a number.
const notConverted = "joptsimple.OptionArgumentConversionException"

func parseErrorf(class, format string, args ...any) error {
	return &parseError{class, fmt.Sprintf(format, args...)}
}

func (e *parseError) Error() string { return e.text }

// uncaught is how Java ends a tool that does not catch a parse error.
func uncaught(err error) error {
	if e, ok := errors.AsType[*parseError](err); ok {
		return terse("Exception in thread \"main\" %s: %s", e.class, e.text)
	}
	return err
}

// available sees that options which belong to others stand beside one of those.
func (v *values) available(to []string, names ...string) error {
	if slices.ContainsFunc(to, v.has) {
		return nil
	}
	for _, name := range names {
		if v.has(name) {
			return parseErrorf("joptsimple.UnavailableOptionException", "Option(s) [%s] are unavailable given other options on the command line", name)
		}
	}
	return nil
}

// helpOrVersion answers --help, --version and an empty command line, after which the tool ends.
func (v *values) helpOrVersion(args []string) error {
	switch {
	case len(args) == 0 || v.has("help"):
		return v.options.misuse("%s", v.options.about)
	case v.has("version"):
		return &exit{stdout: KafkaVersion}
	}
	return nil
}

func (v *values) has(name string) bool {
	_, ok := v.of[name]
	return ok
}

// get returns the value of an option, or its default.
func (v *values) get(name string) string {
	if of := v.of[name]; len(of) > 0 {
		return of[0]
	}
	return v.options.lookup(name).fallback
}

// int returns a value that parse has checked already.
func (v *values) int(name string) int64 {
	n, err := strconv.ParseInt(v.get(name), 10, 64)
	if err != nil {
		return math.MinInt64
	}
	return n
}

// require sees that options are given.
func (v *values) require(names ...string) error {
	for _, name := range names {
		if !v.has(name) {
			return v.options.misuse("Missing required argument \"[%s]\"", name)
		}
	}
	return nil
}

// exclude sees that an option does not stand beside others.
func (v *values) exclude(used string, others ...string) error {
	if !v.has(used) {
		return nil
	}
	for _, other := range others {
		if v.has(other) {
			return v.options.misuse("Option \"[%s]\" can't be used with option \"[%s]\"", used, other)
		}
	}
	return nil
}

// keyValues reads options of the form key=value; a key alone has the empty value.
func keyValues(words []string) map[string]string {
	m := make(map[string]string, len(words))
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		m[key] = value
	}
	return m
}

// printUsage writes the options in two columns of 80 together.
func (o *options) printUsage(w io.Writer) {
	const width, most = 80, 40
	heads := make([]string, len(o.all))
	left := len("Option")
	for i, opt := range o.all {
		head := "--" + opt.name
		if opt.kind != flag {
			argument := opt.kind.String()
			if opt.label != "" {
				argument += ": " + opt.label
			}
			if opt.optional {
				head += " [" + argument + "]"
			} else {
				head += " <" + argument + ">"
			}
		}
		heads[i] = head
		left = min(max(left, len(head)), most)
	}
	row := func(head, help string) {
		heads, helps := wrap(head, left, "  "), wrap(help, width-left-1, "  ")
		for i := range max(len(heads), len(helps)) {
			var a, b string
			if i < len(heads) {
				a = heads[i]
			}
			if i < len(helps) {
				b = helps[i]
			}
			fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%-*s %s", left, a, b), " "))
		}
	}
	row("Option", "Description")
	row("------", "-----------")
	for i, opt := range o.all {
		help := opt.help
		if opt.fallback != "" {
			help += " (default: " + opt.fallback + ")"
		}
		row(heads[i], help)
	}
}

// wrap breaks text into lines of a width; lines after the first begin with indent.
func wrap(s string, width int, indent string) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(s) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = indent + word
		}
		for len(line) > width {
			lines = append(lines, line[:width])
			line = indent + line[width:]
		}
	}
	return append(lines, line)
}

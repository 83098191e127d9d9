// Package scripts holds Kafka's command-line tools under their own names: Kafka's options, Kafka's output and
// exit codes, so that runbooks and the programs that read their output keep working.
//
// What goes to stdout is Kafka's to the letter, with one exception: where Kafka prints in the order of a hash
// map, the order here is by name. On stderr the first line is Kafka's; Java's stack traces are left out. The
// texts of --help are our own.
package scripts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// KafkaVersion is the version of Apache Kafka whose tools these are; --version prints it.
const KafkaVersion = "4.3.1"

// A Script is one of Kafka's tools.
type Script struct {
	Name  string // as in Kafka's bin/, without .sh
	About string // one line
	run   func(*call) error
}

// All returns the tools in the order of their names.
func All() []Script {
	return []Script{
		{"kafka-cluster", "Kafka's tool for the cluster's id, endpoints and registrations", runCluster},
		{"kafka-configs", "Kafka's tool to describe and alter configs", runConfigs},
		{"kafka-console-consumer", "Kafka's tool that prints the records of topics", runConsoleConsumer},
		{"kafka-console-producer", "Kafka's tool that sends the lines of stdin", runConsoleProducer},
		{"kafka-consumer-groups", "Kafka's tool to list, describe, reset and delete consumer groups", runConsumerGroups},
		{"kafka-delete-records", "Kafka's tool to delete records up to offsets", runDeleteRecords},
		{"kafka-dump-log", "Kafka's tool that prints the files of logs", runDumpLog},
		{"kafka-get-offsets", "Kafka's tool for the offsets of partitions", runGetOffsets},
		{"kafka-groups", "Kafka's tool that lists groups of all types", runGroups},
		{"kafka-log-dirs", "Kafka's tool for what lies in log directories, as JSON", runLogDirs},
		{"kafka-storage", "Kafka's tool that formats log directories", runStorage},
		{"kafka-topics", "Kafka's tool to create, list, describe, alter and delete topics", runTopics},
	}
}

// Run runs the tool and returns its exit code.
func (s Script) Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := bufio.NewWriterSize(stdout, 1<<16)
	c := &call{Context: ctx, args: args, in: stdin, out: out, err: stderr, prompt: Terminal(stdin) && Terminal(stdout)}
	err := s.run(c)
	if flushErr := out.Flush(); err == nil && flushErr != nil {
		err = flushErr
	}
	if err == nil {
		return 0
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{code: 1, stderr: err.Error()}
	}
	if e.stdout != "" {
		fmt.Fprintln(stdout, e.stdout)
	}
	if e.stderr != "" {
		fmt.Fprintln(stderr, e.stderr)
	}
	if e.usage != nil {
		e.usage.printUsage(stderr)
	}
	return e.code
}

// call is one run of a tool.
type call struct {
	context.Context
	args []string
	in   io.Reader
	out  *bufio.Writer // flushed when the tool ends, and before it waits
	err  io.Writer

	prompt bool // a person types at a terminal
}

func (c *call) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// exit ends a tool: what it says last, and its exit code.
type exit struct {
	code           int
	stdout, stderr string   // a line each, without its end; "" is none
	usage          *options // printed on stderr after the line
}

func (e *exit) Error() string { return e.stdout + e.stderr }

// misuse is an error of the command line that Kafka answers with the usage of the tool.
func (o *options) misuse(format string, args ...any) error {
	return &exit{code: 1, stderr: fmt.Sprintf(format, args...), usage: o}
}

// terse is an error of one line on stderr.
func terse(format string, args ...any) error {
	return &exit{code: 1, stderr: fmt.Sprintf(format, args...)}
}

// client opens a client for --bootstrap-server and --command-config.
func (c *call) client(bootstrap, file string, more ...kgo.Opt) (*kgo.Client, error) {
	p, err := dial.Load(file, bootstrap)
	if err != nil {
		return nil, err
	}
	return dial.Open(c, p, more...)
}

// admin opens a client as client does, and returns its administrative side.
func (c *call) admin(v *values) (*admin, error) {
	cl, err := c.client(v.get("bootstrap-server"), v.get("command-config"))
	if err != nil {
		return nil, err
	}
	return &admin{Client: kadm.NewClient(cl), raw: cl}, nil
}

// admin is a client for administration; requests that kadm does not have go out raw.
type admin struct {
	*kadm.Client
	raw *kgo.Client
}

// javaTrim is Java's String.trim: it cuts every character up to the space.
func javaTrim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

// splitAround splits at a separator with the white space around it, as Java's split("\\s*=\\s*").
func splitAround(s, separator string) []string {
	parts := strings.Split(s, separator)
	for i := range parts {
		if i > 0 {
			parts[i] = strings.TrimLeftFunc(parts[i], unicode.IsSpace)
		}
		if i < len(parts)-1 {
			parts[i] = strings.TrimRightFunc(parts[i], unicode.IsSpace)
		}
	}
	for len(parts) > 1 && parts[len(parts)-1] == "" { // split drops trailing empty strings
		parts = parts[:len(parts)-1]
	}
	return parts
}

// Terminal reports whether a stream is one that a person sits at.
func Terminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull) // the other character device that programs are often given
	return err != nil || !os.SameFile(info, null)
}

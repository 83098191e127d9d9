// Package cli holds the commands of the millrace binary, one file each, with the same shape inside: a
// function that makes the cobra command, then what it runs.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace-io/millrace/config"
)

// commands makes every command of the root, in the order of its help. A new command is a file and a line here.
var commands = []func() *cobra.Command{
	upCommand,
	serverCommand,
	storageCommand,
	logCommand,
	topicCommand,
	produceCommand,
	consumeCommand,
	groupCommand,
	configCommand,
	versionCommand,
}

// Groups of commands in the help.
const (
	nodeGroup   = "node"
	clientGroup = "client"
)

// Main runs what the arguments say and returns the exit code: 0; 1 when the command failed, which has been
// said on stderr in one sentence; 2 when the command line is wrong; 130 when Ctrl-C ended it.
//
// A binary called by the name of a Kafka script, with or without .sh, is that script: `kafka-topics.sh
// --list` runs `millrace kafka-topics --list`.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := Root()
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args[1:])
	if script := strings.TrimSuffix(filepath.Base(args[0]), ".sh"); isCommand(root, script) {
		root.SetArgs(append([]string{script}, args[1:]...))
	}

	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once

	err := root.ExecuteContext(ctx)
	var exit exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return int(exit)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return interrupted
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(stderr, "millrace:", line)
	}
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// endings are the signals that end a command in order. A terminal that closes is one of them, as it is to a JVM, unless
// the command was started not to care (nohup).
func endings() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// Root makes the command tree.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "millrace",
		Short: "A replicated commit log that speaks Kafka's protocol",
		Long: `Millrace is an event-streaming platform in one binary that speaks Apache Kafka's protocol.

  millrace up                        start a node on this machine, with nothing to configure
  millrace topic create greetings    make a topic
  millrace produce greetings         write lines to it
  millrace consume greetings -f      read them, and those to come

  millrace server FILE.properties    start a node from Kafka's own properties`,
		Version:       buildVersion(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 { // the flag is of a command that is misspelt
			return unknownCommand(cmd, words[0])
		}
		if near := nearestFlag(cmd, err); near != "" {
			return usagef("%w; did you mean --%s?", err, near)
		}
		return usagef("%s; `%s --help` lists the flags", flagError(err), cmd.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: nodeGroup, Title: "Run a node:"}, &cobra.Group{ID: clientGroup, Title: "Work with a cluster, this one or any other Kafka:"})
	for _, make := range commands {
		root.AddCommand(make())
	}
	addKafka(root)
	return root
}

// nearestFlag returns the flag that a misspelt one was meant to be, "" for none.
func nearestFlag(cmd *cobra.Command, err error) string {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return ""
	}
	return config.Nearest(unknown.GetSpecifiedName(), func(yield func(string) bool) {
		more := true
		cmd.Flags().VisitAll(func(f *pflag.Flag) { more = more && (f.Hidden || yield(f.Name)) })
	})
}

// flagError says what is wrong with a flag, without the words of Go where its value is no number.
func flagError(err error) string {
	text := err.Error()
	var wrong *strconv.NumError
	if !errors.As(err, &wrong) {
		return text
	}
	why := "it is a number"
	switch {
	case errors.Is(err, strconv.ErrRange):
		why = "the number is too large"
	case wrong.Func == "ParseBool":
		why = "it is true or false"
	case wrong.Func == "ParseInt" || wrong.Func == "ParseUint":
		why = "it is a whole number"
	}
	return strings.TrimSuffix(text, wrong.Error()) + why
}

// isCommand reports whether a name is one of a Kafka script that the binary has.
func isCommand(root *cobra.Command, script string) bool {
	if script == root.Name() {
		return false
	}
	for _, c := range root.Commands() {
		if c.Name() == script && strings.HasPrefix(script, "kafka-") {
			return true
		}
	}
	return false
}

// unknownCommand says so, with the nearest names.
func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		return usagef("%s has no command %q; did you mean %s?", cmd.CommandPath(), name, strings.Join(near, " or "))
	}
	return usagef("%s has no command %q; `%s --help` lists them", cmd.CommandPath(), name, cmd.CommandPath())
}

// group is the RunE of a command that only holds others, such as `millrace storage`.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// arguments checks the number of positional arguments and says what is missing in words.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s needs %s; `%s --help` shows how", cmd.CommandPath(), what, cmd.CommandPath())
		case most >= 0 && len(args) > most:
			return usagef("%s takes %s and nothing more, but was given %q", cmd.CommandPath(), what, args[most])
		}
		return nil
	}
}

// exclusive sees that of two flags at most one is given.
func exclusive(cmd *cobra.Command, one, other string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(one) && cmd.Flags().Changed(other) {
			return usagef("--%s and --%s do not go together; take one of them", one, other)
		}
		if before != nil {
			return before(cmd, args)
		}
		return nil
	}
}

// usageError is an error of the command line rather than of the work.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// interrupted is the exit code of a command that Ctrl-C ended before it was done.
const interrupted = 130

// exitCode ends the process with a code when everything has been said already.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

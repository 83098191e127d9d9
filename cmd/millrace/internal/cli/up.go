package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server"
)

// Where `up` listens when it is not told.
const (
	defaultListen = "127.0.0.1:9092"
	defaultHTTP   = "127.0.0.1:9644"
)

// upOptions are the flags of `millrace up`.
type upOptions struct {
	dataDir, listen, http, memory, logLevel string
}

func upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:     "up",
		GroupID: nodeGroup,
		Short:   "Start a node on this machine, with nothing to configure",
		Long: `Up starts a whole node on this machine, with nothing to configure. Its data stays in the data directory, so that
the next "millrace up" finds it again; Ctrl-C stops it.

It listens on loopback only, without encryption or authentication. A node that others reach is started with
"millrace server FILE.properties".`,
		Example: `  millrace up
  millrace up --listen 127.0.0.1:19092 --data-dir /tmp/scratch`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dataDir, "data-dir", "", "where the data is kept (default "+filepath.Join("$XDG_DATA_HOME", "millrace")+")")
	f.StringVar(&o.listen, "listen", defaultListen, "where Kafka clients connect, as HOST:PORT; port 0 takes a free one")
	f.StringVar(&o.http, "http", defaultHTTP, "where /metrics, /healthz, /readyz and /groups are, as HOST:PORT; \"off\" for nowhere")
	f.StringVar(&o.memory, "memory", "", "memory for requests and responses, such as 512MiB or 2GiB (default a quarter of the machine's, at most 1 GiB)")
	f.StringVar(&o.logLevel, "log-level", "warn", "what is logged on stderr: debug, info, warn or error")
	return cmd
}

func up(cmd *cobra.Command, o upOptions) error {
	level, err := parseLevel(o.logLevel)
	if err != nil {
		return err
	}
	dir, err := dataDir(o.dataDir)
	if err != nil {
		return err
	}
	properties, err := upProperties(o, dir)
	if err != nil {
		return err
	}
	cfg, err := server.NewConfig(properties)
	if err != nil {
		return err
	}
	cfg.Inert = nil // all the keys are ours, there is nobody to warn
	return run(cmd, cfg, newLogger(cmd.ErrOrStderr(), level), []server.Option{server.AutoFormat()}, func(s *server.Server) {
		greet(cmd.OutOrStdout(), s, dir)
	})
}

// upProperties says what `up` is in Kafka's own words: a combined node, alone, with internal topics of one
// replica, where Kafka's default of three could not be met.
func upProperties(o upOptions, dir string) (config.Properties, error) {
	p := config.PropertiesOf(
		"process.roles", "broker,controller",
		"node.id", "1",
		"listeners", "PLAINTEXT://"+o.listen,
		"log.dirs", dir,
		"offsets.topic.replication.factor", "1",
		"group.initial.rebalance.delay.ms", "0", // as in Kafka's own file for a start: a first consumer reads at once
		"transaction.state.log.replication.factor", "1",
		"transaction.state.log.min.isr", "1",
		"share.coordinator.state.topic.replication.factor", "1",
		"share.coordinator.state.topic.min.isr", "1",
	)
	if err := checkHostPort("--listen", o.listen); err != nil {
		return p, err
	}
	if o.http != "off" {
		if err := checkHostPort("--http", o.http); err != nil {
			return p, err
		}
		p.Set("http.listeners", "http://"+o.http)
	}
	if o.memory != "" {
		n, err := parseSize("--memory", o.memory)
		if err != nil {
			return p, err
		}
		p.Set("memory.budget.bytes", strconv.FormatInt(n, 10))
	}
	return p, nil
}

// dataDir returns where `up` keeps its data: in the user's data home, as the XDG base directories say.
func dataDir(flag string) (string, error) {
	if flag != "" {
		return filepath.Abs(flag)
	}
	home := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(home) { // also when it is not set; the specification wants relative ones ignored
		user, err := os.UserHomeDir()
		if err != nil {
			return "", usagef("no home directory is known to keep data in; say where with --data-dir DIR")
		}
		home = filepath.Join(user, ".local", "share")
		if runtime.GOOS == "darwin" {
			home = filepath.Join(user, "Library", "Application Support")
		}
	}
	return filepath.Join(home, "millrace"), nil
}

// checkHostPort checks the value of a flag that is HOST:PORT.
func checkHostPort(flag, value string) error {
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		return usagef("%s is %q; it is HOST:PORT, such as 127.0.0.1:9092", flag, value)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return usagef("%s is %q; the port is a number from 0 to 65535", flag, value)
	}
	if strings.ContainsAny(host, ", ") {
		return usagef("%s is %q; it takes one address", flag, value)
	}
	return nil
}

// parseSize reads bytes with a unit: 512MiB, 2G, 1073741824. Powers of 1024, whatever the spelling, as the
// sizes of memory are.
func parseSize(flag, value string) (int64, error) {
	digits := strings.TrimRight(value, "KMGTkmgtiIbB ")
	unit := strings.ToLower(strings.TrimSpace(value[len(digits):]))
	unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	shift, ok := map[string]uint{"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[unit]
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if !ok || err != nil || n <= 0 || n > (1<<62)>>shift {
		return 0, usagef("%s is %q; it is a number of bytes with a unit, such as 512MiB or 2GiB", flag, value)
	}
	return n << shift, nil
}

// greet prints what listens where and what to try first.
func greet(w io.Writer, s *server.Server, dir string) {
	listening := s.Addr("PLAINTEXT").String()
	address, open := reachable(listening)
	bootstrap := ""
	if address != defaultListen {
		bootstrap = " --bootstrap-server " + address
	}
	if open {
		listening += ", every address of this machine: without encryption or authentication, for all who reach it"
	}
	self := invocation()
	fmt.Fprintf(w, "Millrace %s is up.\n\n", buildVersion())
	fmt.Fprintf(w, "  Kafka clients  %s\n", listening)
	if h := s.HTTPAddr(); h != nil {
		base := url.URL{Scheme: "http", Host: h.String()}
		fmt.Fprintf(w, "  HTTP           %s/metrics, /healthz, /readyz\n", base.String())
	}
	fmt.Fprintf(w, "  Data           %s\n", dir)
	fmt.Fprintf(w, "  Cluster        %s\n\n", s.ClusterID())
	fmt.Fprintf(w, "Try, in another terminal:\n\n")
	fmt.Fprintf(w, "  %s topic create greetings%s\n", self, bootstrap)
	fmt.Fprintf(w, "  echo hello | %s produce greetings%s\n", self, bootstrap)
	fmt.Fprintf(w, "  %s consume greetings --follow%s\n\n", self, bootstrap)
	fmt.Fprintf(w, "Ctrl-C stops it.\n")
}

// reachable turns the address of a listener into one to connect to; open reports that it listens on all.
func reachable(listening string) (address string, open bool) {
	host, port, err := net.SplitHostPort(listening)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return listening, false
	}
	return net.JoinHostPort("127.0.0.1", port), true
}

// invocation is how this binary is called again from another terminal.
func invocation() string {
	const name = "millrace"
	self, err := os.Executable()
	if err != nil {
		return name
	}
	if strings.Contains(self, string(filepath.Separator)+"go-build") { // the temporary file of go run
		return "go run ./cmd/millrace"
	}
	found, err := exec.LookPath(name)
	if err != nil {
		return self
	}
	a, errA := os.Stat(found)
	b, errB := os.Stat(self)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return name
	}
	return self
}

// run starts a node, says that it is up, and stops it when the context of the command ends (Ctrl-C) or when
// the node fails.
func run(cmd *cobra.Command, cfg *server.Config, log logger, options []server.Option, ready func(*server.Server)) error {
	limitMemory(cfg.MemoryBudget)
	s, err := server.New(cfg, append(options, server.WithLogger(log))...)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	err = whileStarting(func() error { return s.Start(ctx) })
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C while starting: Start has put everything back
		}
		return err
	}
	ready(s)
	resting, stopResting := context.WithCancel(ctx)
	rested := make(chan struct{})
	go func() {
		defer close(rested)
		giveBackMemory(resting, memoryLook, s.Rest)
	}()
	defer func() {
		stopResting()
		<-rested
	}()
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case <-s.Failed():
	}
	failure := s.Err()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.Close(closing); failure == nil {
		return err
	}
	return failure
}

package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output collects what a command prints and tells who waits for it.
type output struct {
	mu     sync.Mutex
	buffer bytes.Buffer
	wrote  chan struct{}
}

func newOutput() *output { return &output{wrote: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.wrote <- struct{}{}:
	default:
	}
	return o.buffer.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buffer.String()
}

// await returns when the output holds the text.
func (o *output) await(t *testing.T, text string, ended <-chan error) {
	t.Helper()
	for deadline := time.After(30 * time.Second); !strings.Contains(o.String(), text); {
		select {
		case <-o.wrote:
		case err := <-ended:
			t.Fatalf("the command ended (%v) and printed %q", err, o)
		case <-deadline:
			t.Fatalf("printed %q", o)
		}
	}
}

// millrace runs a command to its end.
func millrace(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(append([]string{"millrace"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// start runs a command until the returned function stops it, as Ctrl-C would.
func start(t *testing.T, args ...string) (out *output, ended chan error, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, ended = newOutput(), make(chan error, 1)
	root := Root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(out)
	go func() { ended <- root.ExecuteContext(ctx) }()
	stop = func() error { cancel(); return <-ended }
	t.Cleanup(cancel)
	return out, ended, stop
}

func TestUpKeepsItsDataAndItsClusterBetweenRuns(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	cluster := func() string {
		out, ended, stop := start(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--memory", "64MiB")
		out.await(t, "Ctrl-C stops it.", ended)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Kafka clients  127.0.0.1:", "/metrics", dir, " topic create greetings --bootstrap-server 127.0.0.1:"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in\n%s", want, out)
			}
		}
		_, rest, _ := strings.Cut(out.String(), "Cluster        ")
		id, _, _ := strings.Cut(rest, "\n")
		return id
	}
	first := cluster()
	if second := cluster(); first == "" || first != second {
		t.Errorf("the cluster was %q and is %q", first, second)
	}
}

func TestUpSaysInOneSentenceWhatIsInItsWay(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	foreign := t.TempDir()
	os.WriteFile(filepath.Join(foreign, "meta.properties"), []byte("version=1\ncluster.id=other\nnode.id=7\n"), 0o644)
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o644)

	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--listen", taken.Addr().String()}, 1, "cannot listen on " + taken.Addr().String() + " (PLAINTEXT): the address is in use by another process"},
		{[]string{"--http", taken.Addr().String()}, 1, "cannot listen on " + taken.Addr().String() + " (http.listeners): the address is in use by another process"},
		{[]string{"--data-dir", foreign}, 1, foreign + " belongs to node 7, not to node 1"},
		{[]string{"--data-dir", file}, 1, "cannot make the directory " + file},
		{[]string{"--listen", "9092"}, 2, `--listen is "9092"; it is HOST:PORT`},
		{[]string{"--listen", "127.0.0.1:kafka"}, 2, "the port is a number from 0 to 65535"},
		{[]string{"--memory", "lots"}, 2, `--memory is "lots"; it is a number of bytes with a unit`},
		{[]string{"--memory", "1MiB"}, 1, "want a number of at least 16777216"},
		{[]string{"--log-level", "loud"}, 2, `--log-level is "loud"; it is one of debug, info, warn, error`},
		{[]string{"--lisen", "x"}, 2, "unknown flag: --lisen; did you mean --listen?"},
		{[]string{"--colour", "x"}, 2, "unknown flag: --colour; `millrace up --help` lists the flags"},
		{[]string{"-x"}, 2, "unknown shorthand flag: 'x' in -x; `millrace up --help` lists the flags"},
		{[]string{"now"}, 2, `millrace up takes no argument and nothing more, but was given "now"`},
	} {
		args := append([]string{"up", "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, c.args...)
		code, _, stderr := millrace(t, args...)
		if code != c.code || !strings.HasPrefix(stderr, "millrace: ") || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: code %d, want %d\n  said %q\n  want %s", c.args, code, c.code, stderr, c.want)
		}
	}
}

func TestTwoNodesCannotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	out, ended, stop := start(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "off")
	out.await(t, "Ctrl-C stops it.", ended)
	code, _, stderr := millrace(t, "up", "--data-dir", dir, "--listen", "127.0.0.1:0", "--http", "off")
	if code != 1 || !strings.Contains(stderr, dir+" is locked by another process") {
		t.Errorf("code %d, said %q", code, stderr)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAServerWantsItsDirectoriesFormatted(t *testing.T) {
	base := t.TempDir()
	file := filepath.Join(base, "server.properties")
	os.WriteFile(file, []byte("process.roles=broker,controller\nnode.id=5\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\ncontroller.quorum.voters=5@127.0.0.1:9093\nlog.dirs="+base+"/a,"+base+"/b\nnum.io.threads=8\n"), 0o644)

	code, _, stderr := millrace(t, "server", file)
	command := "millrace storage format --config " + file
	if code != 1 || !strings.Contains(stderr, command) {
		t.Fatalf("code %d, said %q", code, stderr)
	}
	if code, out, _ := millrace(t, "storage", "info", "--config", file); code != 1 || !strings.Contains(out, "not formatted") {
		t.Errorf("info: code %d, %q", code, out)
	}
	id := "MkU3OEVBNTcwNTJENDM2Qg"
	if code, out, stderr := millrace(t, "storage", "format", "--config", file, "--cluster-id", id); code != 0 || strings.Count(out, "Formatted ") != 2 {
		t.Fatalf("format: code %d, %q, %q", code, out, stderr)
	}
	if code, _, stderr := millrace(t, "storage", "format", "--config", file, "--cluster-id", id); code != 1 || !strings.Contains(stderr, "is formatted already") {
		t.Errorf("formatted twice: code %d, %q", code, stderr)
	}
	if code, out, _ := millrace(t, "storage", "format", "--config", file, "--cluster-id", id, "--ignore-formatted"); code != 0 || !strings.Contains(out, "formatted already") {
		t.Errorf("ignored: code %d, %q", code, out)
	}
	if code, _, stderr := millrace(t, "storage", "format", "--config", file, "--cluster-id", "other", "-g"); code != 1 || !strings.Contains(stderr, "belongs to the cluster "+id) {
		t.Errorf("another cluster: code %d, %q", code, stderr)
	}
	if code, out, _ := millrace(t, "storage", "info", "--config", file); code != 0 || strings.Count(out, id) != 2 {
		t.Errorf("info: code %d, %q", code, out)
	}

	out, ended, stop := start(t, "server", file, "--override", "http.listeners=127.0.0.1:0")
	out.await(t, "serving", ended)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if log := out.String(); !strings.Contains(log, "num.io.threads (sizes thread pools") || !strings.Contains(log, id) {
		t.Errorf("the log is\n%s", log)
	}
	if code, _, stderr := millrace(t, "server", file, "--override", "node.id=6", "--override", "controller.quorum.voters=6@127.0.0.1:9093"); code != 1 || !strings.Contains(stderr, "belongs to node 5, not to node 6") {
		t.Errorf("another node: code %d, %q", code, stderr)
	}
}

func TestCommandLines(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"serve"}, 2, `millrace has no command "serve"; did you mean server?`},
		{[]string{"storage", "formt"}, 2, `millrace storage has no command "formt"; did you mean format?`},
		{[]string{"server"}, 2, "millrace server needs the path of a properties file"},
		{[]string{"server", "/no/such/file"}, 1, "cannot read the configuration: open /no/such/file: no such file or directory"},
		{[]string{"storage", "info"}, 2, "millrace storage info needs --config FILE.properties"},
		{[]string{"topic", "create", "t", "--partitions", "x"}, 2, `invalid argument "x" for "-p, --partitions" flag: it is a whole number; `},
		{[]string{"topic", "create", "t", "--partitions", "99999999999"}, 2, "flag: the number is too large; "},
		{[]string{"produce", "t", "--rate", "x"}, 2, "flag: it is a number; "},
		{[]string{"produce", "t", "--idempotent=x"}, 2, "flag: it is true or false; "},
	} {
		if code, _, stderr := millrace(t, c.args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: code %d, want %d\n  said %q\n  want %s", c.args, code, c.code, stderr, c.want)
		}
	}
	if code, out, _ := millrace(t, "storage", "random-uuid"); code != 0 || len(strings.TrimSpace(out)) != 22 {
		t.Errorf("random-uuid: code %d, %q", code, out)
	}
	if code, out, _ := millrace(t, "version"); code != 0 || !strings.HasPrefix(out, "millrace ") {
		t.Errorf("version: code %d, %q", code, out)
	}
	if code, out, _ := millrace(t); code != 0 || !strings.Contains(out, "millrace up") {
		t.Errorf("no command: code %d, %q", code, out)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "512MiB": 512 << 20, "2g": 2 << 30, "2 GB": 2 << 30, "64k": 64 << 10, "1TiB": 1 << 40} {
		if got, err := parseSize("--memory", text); got != want || err != nil {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "MiB", "1.5G", "9999999999999T", "12q", "1kk"} {
		if got, err := parseSize("--memory", text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestDataDirFollowsTheXDGRules(t *testing.T) {
	t.Setenv("HOME", "/home/ada")
	t.Setenv("XDG_DATA_HOME", "")
	for _, c := range [][3]string{{"", "", "/home/ada/.local/share/millrace"}, {"", "/x", "/x/millrace"}, {"", "relative", "/home/ada/.local/share/millrace"}, {"/flag", "/x", "/flag"}} {
		t.Setenv("XDG_DATA_HOME", c[1])
		if got, err := dataDir(c[0]); got != c[2] || err != nil {
			t.Errorf("flag %q, XDG_DATA_HOME %q: %s, %v", c[0], c[1], got, err)
		}
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := newLogger(&out, slog.LevelInfo)
	log.Debug("unseen")
	log.With("broker", 1).WithGroup("dir").Warn("offline", "path", "/a b", "left", 0, slog.Group("", slog.String("why", "")))
	log.Info("plain")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%q", lines)
	}
	stamp := len("2026-11-24 04:13:07.201 ")
	if got := lines[0][stamp:]; got != `WARN  offline  broker=1 dir.path="/a b" dir.left=0 dir.why=""` {
		t.Errorf("%q", got)
	}
	if got := lines[1][stamp:]; got != "INFO  plain" {
		t.Errorf("%q", got)
	}
}

package tools

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
)

// result is how a tool ended and what it printed.
type result struct {
	code           int
	stdout, stderr string
}

// side runs a tool to its end.
type side interface {
	run(t testing.TB, stdin, tool string, args []string) result
}

// classes are the main classes of Kafka's tools.
var classes = map[string]string{
	"kafka-topics":           "org.apache.kafka.tools.TopicCommand",
	"kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
	"kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-configs":          "kafka.admin.ConfigCommand",
	"kafka-consumer-groups":  "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"kafka-groups":           "org.apache.kafka.tools.GroupsCommand",
	"kafka-get-offsets":      "org.apache.kafka.tools.GetOffsetShell",
	"kafka-delete-records":   "org.apache.kafka.tools.DeleteRecordsCommand",
	"kafka-log-dirs":         "org.apache.kafka.tools.LogDirsCommand",
	"kafka-cluster":          "org.apache.kafka.tools.ClusterTool",
}

//go:embed Calls.java
var callsSource []byte

// java is Kafka's tools in one process.
type java struct {
	in  *bufio.Writer
	out *bufio.Reader
	cmd *exec.Cmd
}

// callTimeout bounds one call of a tool.
const callTimeout = time.Minute

func startJava(t testing.TB) *java {
	t.Helper()
	source := filepath.Join(t.TempDir(), "Calls.java")
	if err := os.WriteFile(source, callsSource, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=off", "-cp", oracle.ClassPath(t, "tools"), source)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Java: %v", err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &java{bufio.NewWriter(in), bufio.NewReader(out), cmd}
}

func (j *java) run(t testing.TB, stdin, tool string, args []string) result {
	t.Helper()
	watch := time.AfterFunc(callTimeout, func() { j.cmd.Process.Kill() })
	defer watch.Stop()
	r, err := j.call(stdin, classes[tool], args)
	if err != nil {
		t.Fatalf("Kafka's %s %q did not end: %v", tool, args, err)
	}
	return r
}

func (j *java) call(stdin, class string, args []string) (r result, err error) {
	j.write(class)
	binary.Write(j.in, binary.BigEndian, int32(len(args)))
	for _, arg := range args {
		j.write(arg)
	}
	j.write(stdin)
	if err := j.in.Flush(); err != nil {
		return r, err
	}
	var code int32
	if err := binary.Read(j.out, binary.BigEndian, &code); err != nil {
		return r, err
	}
	r.code = int(code)
	if r.stdout, err = j.read(); err != nil {
		return r, err
	}
	r.stderr, err = j.read()
	return r, err
}

func (j *java) write(s string) {
	binary.Write(j.in, binary.BigEndian, int32(len(s)))
	j.in.WriteString(s)
}

func (j *java) read() (string, error) {
	var n int32
	if err := binary.Read(j.out, binary.BigEndian, &n); err != nil {
		return "", err
	}
	b := make([]byte, n)
	_, err := io.ReadFull(j.out, b)
	return string(b), err
}

// javaAlone is one of Kafka's tools in a process of its own.
type javaAlone struct{}

func (javaAlone) run(t testing.TB, stdin, tool string, args []string) (r result) {
	t.Helper()
	var err error
	r.stdout, r.stderr, err = oracle.Tool(t, stdin, tool, args...)
	r.code = exitCode(t, err, r)
	return r
}

// exitCode returns how a process ended that was not ended from outside.
func exitCode(t testing.TB, err error, r result) int {
	t.Helper()
	var exited *exec.ExitError
	switch {
	case errors.As(err, &exited) && exited.Exited():
		return exited.ExitCode()
	case err != nil:
		t.Fatalf("%v\n%s%s", err, r.stdout, r.stderr)
	}
	return 0
}

// ours is our binary under the names of the tools.
type ours struct{ bin string }

func linkOurs(t testing.TB) *ours {
	t.Helper()
	bin := t.TempDir()
	for tool := range classes {
		for _, name := range []string{tool, tool + ".sh"} {
			if err := os.Symlink(node.Binary(t), filepath.Join(bin, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &ours{bin}
}

func (o *ours) run(t testing.TB, stdin, tool string, args []string) result {
	t.Helper()
	name := tool
	if len(args)%2 == 0 { // both names are used
		name += ".sh"
	}
	var r result
	var err error
	r.stdout, r.stderr, err = process.RunInput(callTimeout, stdin, filepath.Join(o.bin, name), args...)
	r.code = exitCode(t, err, r)
	return r
}

func (r result) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s\n--- stderr\n%s", r.code, r.stdout, r.stderr)
}

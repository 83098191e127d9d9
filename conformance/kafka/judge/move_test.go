package judge

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/millrace-io/millrace/kafka"
)

// properties writes the properties of a server that a test started before, with other log directories.
func properties(t testing.TB, addr, controllerAddr string, more map[string]string, dirs ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "server.properties")
	if err := os.WriteFile(name, []byte(oracle.Properties(addr, controllerAddr, strings.Join(dirs, ","), more)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// storage runs `millrace storage` and wants it to succeed.
func storage(t testing.TB, args ...string) string {
	t.Helper()
	out, errOut, err := node.Run(t, "", append([]string{"storage"}, args...)...)
	if err != nil {
		t.Fatalf("millrace storage %s: %v\n%s%s", strings.Join(args, " "), err, out, errOut)
	}
	t.Logf("millrace storage %s:\n%s", args[0], out)
	return out
}

// logBytes reads every segment of every partition of directories, by its name in them.
func logBytes(t testing.TB, dirs ...string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, dir := range dirs {
		for _, name := range filesOf(t, dir, ".log") {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[filepath.Base(filepath.Dir(name))+"/"+filepath.Base(name)] = b
		}
	}
	return all
}

// begins wants every log to be what it was, with what was written since behind it.
func begins(t testing.TB, was, is map[string][]byte) {
	t.Helper()
	for name, before := range was {
		if !bytes.HasPrefix(is[name], before) {
			t.Errorf("%s does not begin with the %d bytes that it had; it has %d", name, len(before), len(is[name]))
		}
	}
}

// A cluster moves from Kafka to Millrace and back while idempotent producers go on writing at each stop: offsets, configs,
// ids and bytes are the same.
func TestThereAndBack(t *testing.T) {
	k := oracle.Start(t, nil)
	l := newLoad(t, k.Addr)
	l.write(t, 700<<10)
	stop(t, k)
	was := logBytes(t, k.Dir)

	ours := filepath.Join(t.TempDir(), "ours")
	file := properties(t, k.Addr, k.ControllerAddr, nil, ours)
	storage(t, "import", "--from", k.Dir, "-c", file)
	begins(t, was, logBytes(t, ours))
	begins(t, logBytes(t, ours), was)
	n := node.On(t, file, k.Addr, k.ControllerAddr, ours)
	l.write(t, 700<<10)
	l.verify(t)
	stop(t, n)
	nothingWrong(t, ours)
	is := logBytes(t, ours)
	begins(t, was, is)

	back := filepath.Join(t.TempDir(), "back")
	storage(t, "export", "-c", file, "--to", back)
	begins(t, is, logBytes(t, back))
	file = properties(t, k.Addr, k.ControllerAddr, nil, back)
	again := oracle.On(t, file, k.Addr, k.ControllerAddr, back)
	l.write(t, 100<<10)
	l.verify(t)
	stop(t, again)
	begins(t, is, logBytes(t, back))
}

// Several directories of a Kafka that was killed, whose quorum keeps its voters in its log, and which was formatted by an
// older release, become one directory, and then two others of a Kafka again.
func TestKilledKafkaWithSeveralDirectories(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	addr, controllerAddr := process.FreeAddr(t), process.FreeAddr(t)
	dynamic := map[string]string{"controller.quorum.voters": "", "controller.quorum.bootstrap.servers": controllerAddr}
	file := properties(t, addr, controllerAddr, dynamic, at("a"), at("b"))
	oracle.MustTool(t, "kafka-storage", "format", "--standalone", "-t", kafka.NewUUID().String(), "-c", file)
	k := oracle.On(t, file, addr, controllerAddr, at("a"))
	l := newLoad(t, addr)
	l.write(t, 300<<10)
	l.commit(t, "readers")
	l.transactions(t)

	ours := properties(t, addr, controllerAddr, dynamic, at("c"))
	if _, errOut, err := node.Run(t, "", "storage", "import", "--from", at("a")+","+at("b"), "-c", ours); err == nil || !strings.Contains(errOut, "another node uses it; stop it first") {
		t.Errorf("an import of a running Kafka ended with %v and said %q", err, errOut)
	}
	k.Kill()
	if _, errOut, err := node.Run(t, "", "storage", "import", "--from", at("a"), "-c", ours); err == nil || !strings.Contains(errOut, "name all directories of the node") {
		t.Errorf("an import of one directory of two ended with %v and said %q", err, errOut)
	}
	was := logBytes(t, at("a"), at("b"))
	if out := storage(t, "import", "--from", at("a")+","+at("b"), "--move", "-c", ours); strings.Count(out, "was not stopped in order") != 2 {
		t.Errorf("nothing is said of the unclean stop:\n%s", out)
	}
	if left := append(filesOf(t, at("a"), ".log"), filesOf(t, at("b"), ".log")...); len(left) > 0 {
		t.Errorf("a move left %v", left)
	}
	n := node.On(t, ours, addr, controllerAddr, at("c"))
	l.write(t, 300<<10)
	l.verify(t)
	stop(t, n)
	is := logBytes(t, at("c"))
	begins(t, was, is)
	nothingWrong(t, at("c"))

	storage(t, "export", "-c", ours, "--to", at("d")+","+at("e"))
	file = properties(t, addr, controllerAddr, dynamic, at("d"), at("e"))
	again := oracle.On(t, file, addr, controllerAddr, at("d"))
	l.write(t, 50<<10)
	l.verify(t)
	l.committed(t, "readers")
	stop(t, again)
	begins(t, is, logBytes(t, at("d"), at("e")))
}

// What a target must not be is refused before anything is written.
func TestImportRefuses(t *testing.T) {
	n := node.Start(t, nil) // a directory of ours is one that Kafka could have written
	newLoad(t, n.Addr).write(t, 1<<10)
	stop(t, n)
	full := filepath.Join(t.TempDir(), "full")
	if err := os.MkdirAll(filepath.Join(full, "orders-0"), 0o755); err != nil {
		t.Fatal(err)
	}
	for want, file := range map[string]string{
		"is not empty: it holds orders-0": properties(t, n.Addr, n.ControllerAddr, nil, full),
		"set node.id=1":                   properties(t, n.Addr, n.ControllerAddr, map[string]string{"node.id": "7", "controller.quorum.voters": "7@" + n.ControllerAddr}, filepath.Join(full, "other")),
	} {
		if _, errOut, err := node.Run(t, "", "storage", "import", "--from", n.Dir, "-c", file); err == nil || !strings.Contains(errOut, want) {
			t.Errorf("ended with %v and said %q, want %s", err, errOut, want)
		}
	}
}

package judge

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
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

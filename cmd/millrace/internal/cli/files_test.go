package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli"
	"github.com/millrace-io/millrace/server"
)

// command runs a command that talks to no cluster.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Main(append([]string{"millrace"}, args...), strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// nodeFile writes the properties of a node whose log directories are given.
func nodeFile(t *testing.T, dirs ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "server.properties")
	text := "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\n" +
		"controller.quorum.voters=1@127.0.0.1:9093\noffsets.topic.replication.factor=1\nlog.dirs=" + strings.Join(dirs, ",") + "\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// serve runs a node in the process for as long as the work takes, and stops it in order.
func serve(t *testing.T, file string, work func(cl *kgo.Client)) {
	t.Helper()
	cfg, err := server.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("PLAINTEXT").String()), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), kgo.DefaultProduceTopic("orders"),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	work(cl)
}

// Logs are looked into, moved out, moved in and served again.
func TestFilesOfAStoppedNode(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "data")
	file := nodeFile(t, dir)
	if code, _, stderr := command(t, "storage", "format", "-c", file); code != 0 {
		t.Fatal(stderr)
	}
	serve(t, file, func(cl *kgo.Client) {
		for i := range 10 {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Key: fmt.Appendf(nil, "k%d", i), Value: []byte("größe")}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		if code, _, stderr := command(t, "log", "check", dir); code != 1 || !strings.Contains(stderr, "another node uses it; stop it first") {
			t.Errorf("a check of a running node: code %d, %s", code, stderr)
		}
	})

	log := filepath.Join(dir, "orders-0", "00000000000000000000.log")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"log", "check", "-c", file}, []string{"Checked 2 logs", "nothing is wrong."}},
		{[]string{"log", "check", "--output", "json", filepath.Join(dir, "orders-0")}, []string{`"ok":true,"startOffset":0,"endOffset":10`}},
		{[]string{"log", "dump", filepath.Join(dir, "orders-0")}, []string{"POSITION", "RECORDS", "none"}},
		{[]string{"log", "dump", "-r", log}, []string{"OFFSET", "k7", "größe"}},
		{[]string{"log", "dump", "-r", "-o", "json", log}, []string{`"offset":9,`, `"key":"k9","value":"größe"`}},
		{[]string{"log", "dump", "-r", filepath.Join(dir, "__cluster_metadata-0")}, []string{`{"type":"TOPIC_RECORD","version":0,"data":{"name":"orders"`}},
		{[]string{"log", "dump", filepath.Join(dir, "orders-0", "00000000000000000010.snapshot")}, []string{"PRODUCER", "LAST SEQUENCE"}},
		{[]string{"kafka-dump-log", "--print-data-log", "--files", log}, []string{"Dumping " + log, "Log starting offset: 0", " key: k3 payload: größe"}},
		{[]string{"storage", "info", "-c", file}, []string{dir, "formatted"}},
	} {
		code, stdout, stderr := command(t, c.args...)
		if code != 0 || stderr != "" {
			t.Errorf("%v: code %d, said %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v printed\n%s\nwithout %q", c.args, stdout, want)
			}
		}
	}

	out, in := filepath.Join(base, "out"), filepath.Join(base, "in")
	if code, stdout, stderr := command(t, "storage", "export", "-c", file, "--to", out); code != 0 || !strings.Contains(stdout, "1 topics, 1 partitions") || !strings.Contains(stdout, "log.dirs="+out) {
		t.Fatalf("export: code %d\n%s%s", code, stdout, stderr)
	}
	moved := nodeFile(t, in)
	if code, stdout, stderr := command(t, "storage", "import", "--from", out, "-c", moved, "--move"); code != 0 || !strings.Contains(stdout, "millrace server "+moved) {
		t.Fatalf("import: code %d\n%s%s", code, stdout, stderr)
	}
	serve(t, moved, func(cl *kgo.Client) {
		if r, err := cl.ProduceSync(t.Context(), kgo.StringRecord("more")).First(); err != nil || r.Offset != 10 {
			t.Errorf("the next record has the offset %d, %v", r.Offset, err)
		}
		for seen := 0; seen < 11; {
			fetches := cl.PollFetches(t.Context())
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			seen += fetches.NumRecords()
		}
	})
}

// threeBatches returns the directory, the properties file and the log of a node that holds three batches of one size and was
// stopped.
func threeBatches(t *testing.T) (dir, file, log string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	file = nodeFile(t, dir)
	if code, _, stderr := command(t, "storage", "format", "-c", file); code != 0 {
		t.Fatal(stderr)
	}
	serve(t, file, func(cl *kgo.Client) {
		for range 3 {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord("value")).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	})
	return dir, file, filepath.Join(dir, "orders-0", "00000000000000000000.log")
}

// A flipped bit is found, with its file and position, by every command that looks.
func TestAFlippedBitIsFound(t *testing.T) {
	dir, file, log := threeBatches(t)
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	second := len(b) / 3
	b[second+70] ^= 4
	if err := os.WriteFile(log, b, 0o644); err != nil {
		t.Fatal(err)
	}
	where := fmt.Sprintf("damaged: %s, position %d, offset 1: ", log, second)
	if code, stdout, _ := command(t, "log", "check", "-c", file); code != 1 || !strings.Contains(stdout, where) || !strings.Contains(stdout, "something is wrong in 1 log.") {
		t.Errorf("check: code %d\n%s\nwant %s", code, stdout, where)
	}
	if code, stdout, _ := command(t, "log", "check", "-o", "json", dir); code != 1 || !strings.Contains(stdout, fmt.Sprintf(`"position":%d,"offset":1`, second)) {
		t.Errorf("check: code %d\n%s", code, stdout)
	}
	if _, stdout, _ := command(t, "log", "dump", log); !strings.Contains(stdout, "BAD CRC") {
		t.Errorf("dump printed\n%s", stdout)
	}
	if _, stdout, _ := command(t, "kafka-dump-log", "--files", log); !strings.Contains(stdout, "isvalid: false") {
		t.Errorf("kafka-dump-log printed\n%s", stdout)
	}
}

// What was on the disk and is not there any more is damage, not a torn tail, whether or not the last stop was clean.
func TestALostTailIsFound(t *testing.T) {
	dir, _, log := threeBatches(t)
	whole, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what, want string
		change     func() error
	}{
		{"a batch less", "damaged: " + log + ", offset 2: the log ends here; it was on the disk up to offset 2\n", func() error { return os.Truncate(log, int64(len(whole)/3*2)) }},
		{"half a batch less", fmt.Sprintf("damaged: %s, position %d, offset 2: ", log, len(whole)/3*2), func() error { return os.Truncate(log, int64(len(whole)-5)) }},
		{"the last batch changed", fmt.Sprintf("damaged: %s, position %d, offset 2: ", log, len(whole)/3*2), func() error {
			return os.WriteFile(log, append(bytes.Clone(whole[:len(whole)-1]), ^whole[len(whole)-1]), 0o644)
		}},
		{"the same after a crash", fmt.Sprintf("damaged: %s, position %d, offset 2: ", log, len(whole)/3*2), func() error { return os.Remove(filepath.Join(dir, ".kafka_cleanshutdown")) }},
		{"no directory", "damaged: " + filepath.Dir(log) + ": the directory of this log is missing\n", func() error { return os.RemoveAll(filepath.Dir(log)) }},
	} {
		if err := c.change(); err != nil {
			t.Fatal(err)
		}
		if code, stdout, _ := command(t, "log", "check", dir); code != 1 || !strings.Contains(stdout, c.want) {
			t.Errorf("%s: code %d\n%s\nwant %s", c.what, code, stdout, c.want)
		}
	}
}

// Records that the broker knows to be gone end a reader with a word about it, and all before them is printed.
func TestConsumeComesUponDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := nodeFile(t, dir)
	if code, _, stderr := command(t, "storage", "format", "-c", file); code != 0 {
		t.Fatal(stderr)
	}
	address := func(cl *kgo.Client) string { return cl.OptValue(kgo.SeedBrokers).([]string)[0] }
	serve(t, file, func(cl *kgo.Client) {
		for _, args := range [][]string{{"topic", "create", "orders", "--if-not-exists"}, {"config", "set", "topic", "orders", "segment.bytes=1048576"}} {
			if code, _, stderr := command(t, append(args, "-b", address(cl))...); code != 0 {
				t.Fatal(stderr)
			}
		}
		for _, value := range []string{"one", "two", "three"} {
			record := &kgo.Record{Key: []byte(value), Value: make([]byte, 600_000)}
			rand.New(rand.NewSource(1)).Read(record.Value) // nothing that compression makes small
			if err := cl.ProduceSync(t.Context(), record).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if err := os.Remove(filepath.Join(dir, "orders-0", "00000000000000000001.log")); err != nil {
		t.Fatal(err)
	}
	serve(t, file, func(cl *kgo.Client) {
		for _, args := range [][]string{{}, {"--follow"}, {"--group", "g"}} {
			code, stdout, stderr := command(t, append([]string{"consume", "orders", "-F", `%k\n`, "-b", address(cl)}, args...)...)
			if code != 1 || stdout != "one\n" || !strings.Contains(stderr, "corrupt") {
				t.Errorf("consume %v: code %d\n%s%s", args, code, stdout, stderr)
			}
		}
		if code, stdout, stderr := command(t, "consume", "orders", "-F", `%k\n`, "--from", "2", "-b", address(cl)); code != 0 || stdout != "three\n" {
			t.Errorf("consume behind it: code %d\n%s%s", code, stdout, stderr)
		}
	})
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(text, []byte("notes"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{2, "needs directories, or --config FILE.properties", []string{"log", "check"}},
		{1, "is neither the directory of a partition", []string{"log", "check", dir}},
		{1, "is a file; name the directory", []string{"log", "check", text}},
		{1, "no such file", []string{"log", "check", filepath.Join(dir, "missing")}},
		{1, "is none of .log, .checkpoint", []string{"log", "dump", text}},
		{1, "holds no .log file", []string{"log", "dump", dir}},
		{2, `--decode is "xml"`, []string{"log", "dump", "--decode", "xml", text}},
		{2, "needs --from KAFKA_LOG_DIR", []string{"storage", "import"}},
		{2, "needs --to DIR", []string{"storage", "export"}},
		{1, "is no log directory of a node", []string{"storage", "import", "--from", dir, "-c", nodeFile(t, filepath.Join(dir, "new"))}},
	} {
		code, _, stderr := command(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: code %d, want %d\nsaid %s\nwant %s", c.args, code, c.code, stderr, c.want)
		}
	}
}

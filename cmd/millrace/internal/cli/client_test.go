package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli"
	"github.com/millrace-io/millrace/kafkatest"
)

// shell runs commands against a cluster.
type shell struct {
	t       *testing.T
	cluster *kafkatest.Cluster
}

func newShell(t *testing.T, options ...kafkatest.Option) *shell {
	t.Helper()
	return &shell{t, kafkatest.Start(t, options...)}
}

// try runs a command with text on stdin and returns all that it says.
func (s *shell) try(stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	args = append(append([]string{"millrace"}, args...), "--bootstrap-server", s.cluster.Addrs()[0])
	code = cli.Main(args, strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// run is try for commands that succeed and say nothing on stderr.
func (s *shell) run(stdin string, args ...string) (stdout string) {
	s.t.Helper()
	code, stdout, stderr := s.try(stdin, args...)
	if code != 0 || stderr != "" {
		s.t.Fatalf("%v: code %d\nstdout %s\nstderr %s", args, code, stdout, stderr)
	}
	return stdout
}

// fails runs a command that ends with a code and says the text on stderr.
func (s *shell) fails(code int, text, stdin string, args ...string) {
	s.t.Helper()
	got, stdout, stderr := s.try(stdin, args...)
	if got != code || !strings.Contains(stderr, text) {
		s.t.Errorf("%v: code %d, want %d\nsaid %s\nwant %s\nstdout %s", args, got, code, stderr, text, stdout)
	}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "millrace: ") {
			s.t.Errorf("%v said %q", args, line)
		}
	}
}

func (s *shell) is(got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("printed\n%s\nwant\n%s", got, want)
	}
}

// decode reads the lines of --output json.
func decode[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	for line := range strings.Lines(text) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, one)
	}
	return all
}

func TestTopics(t *testing.T) {
	s := newShell(t)
	code, out, stderr := s.try("", "topic", "list")
	if code != 0 || out != "" || !strings.Contains(stderr, "`millrace topic create NAME` makes one") {
		t.Errorf("an empty list: code %d, %q, %q", code, out, stderr)
	}
	s.is(s.run("", "topic", "create", "orders", "-p", "3", "-c", "retention.ms=3600000", "-c", "segment.bytes=1048576"), "Created topic orders with 3 partitions of 1 replica.\n")
	s.is(s.run("", "topic", "create", "prices", "--dry-run"), "Would create topic prices with 1 partition of 1 replica.\n")
	s.is(s.run("", "topic", "create", "placed", "--assignment", "1,1"), "Created topic placed with 2 partitions of 1 replica.\n")

	s.fails(1, "topic orders exists already; --if-not-exists leaves it as it is", "", "topic", "create", "orders")
	if code, _, stderr := s.try("", "topic", "create", "orders", "--if-not-exists"); code != 0 || stderr != "Topic orders exists already; it was left as it is.\n" {
		t.Errorf("--if-not-exists: code %d, %q", code, stderr)
	}
	s.fails(1, "did you mean retention.ms?", "", "topic", "create", "x", "-c", "retension.ms=1")
	s.fails(1, "topic a/b was not created", "", "topic", "create", "a/b")
	s.fails(2, `--config is "retention.ms"; it is KEY=VALUE`, "", "topic", "create", "x", "-c", "retention.ms")
	s.fails(2, `--assignment is "1:x"`, "", "topic", "create", "x", "--assignment", "1:x")
	s.fails(2, "needs the name of a topic", "", "topic", "create")
	s.fails(2, "unknown flag: --partition; did you mean --partitions?", "", "topic", "create", "x", "--partition", "3")

	list := decode[struct {
		Topic, ID  string
		Partitions int
	}](t, s.run("", "topic", "list", "-o", "json"))
	if len(list) != 2 || list[0].Topic != "orders" || list[0].Partitions != 3 || len(list[0].ID) != 22 {
		t.Errorf("%+v", list)
	}
	id := list[0].ID
	s.is(s.run("", "topic", "list", "^ord"), "TOPIC   PARTITIONS  REPLICAS  ID\norders           3         1  "+id+"\n")
	s.fails(2, `"(" is no regular expression`, "", "topic", "list", "(")

	s.run("one\ntwo\n", "produce", "orders", "-p", "1")
	out = s.run("", "topic", "describe", "orders")
	for _, want := range []string{
		"Topic       orders\nId          " + id + "\nPartitions  3\nReplicas    1\nConfigs     retention.ms=3600000\n            segment.bytes=1048576\n\n",
		"PARTITION  LEADER  REPLICAS  IN SYNC  START  END  ",
		"        1       1  1         1            0    2  ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	described := decode[struct {
		Configs    map[string]string
		Partitions []struct {
			Leader, EndOffset, Size *int64
			ISR                     []int
		}
	}](t, s.run("", "topic", "describe", "orders", "-o", "json"))
	p := described[0].Partitions[1]
	if described[0].Configs["retention.ms"] != "3600000" || *p.Leader != 1 || *p.EndOffset != 2 || p.Size == nil || *p.Size == 0 || len(p.ISR) != 1 {
		t.Errorf("%+v", described)
	}
	s.fails(1, `there is no topic "oders"; did you mean orders?`, "", "topic", "describe", "oders")

	s.is(s.run("", "topic", "alter", "orders", "-p", "4", "--config", "retention.ms=1000", "--delete-config", "segment.bytes"),
		"Altered topic orders: 4 partitions, there were 3.\nAltered topic orders: retention.ms=1000, without segment.bytes.\n")
	s.is(s.run("", "topic", "alter", "orders", "-p", "9", "--dry-run"), "Would alter topic orders: 9 partitions, there were 4.\n")
	if got := decode[struct{ Partitions []any }](t, s.run("", "topic", "describe", "orders", "-o", "json")); len(got[0].Partitions) != 4 {
		t.Errorf("--dry-run altered the topic: it has %d partitions", len(got[0].Partitions))
	}
	s.fails(1, "topic orders: ", "", "topic", "alter", "orders", "-p", "2")
	s.fails(2, "nothing to alter", "", "topic", "alter", "orders")

	s.fails(1, `there is no topic "nosuch"`, "", "topic", "delete", "orders", "nosuch")
	s.is(s.run("", "topic", "delete", "orders", "nosuch", "--if-exists"), "Deleted topic orders.\n")
	s.is(s.run("", "topic", "delete", "placed"), "Deleted topic placed.\n")
	s.fails(2, "did you mean list?", "", "topic", "lst")
}

func TestRecordsComeOutAsTheyWentIn(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t")
	s.run("a:1\nb:\nNULL:3\n:x\nc:NULL", "produce", "t", "-K", ":", "--null", "NULL", "-H", "h=v", "-H", "i=")
	s.is(s.run("", "consume", "t", "-F", `%o %k=%v %K/%V (%h)\n`, "--null", "-"),
		"0 a=1 1/1 (h=v,i=)\n1 b= 1/0 (h=v,i=)\n2 -=3 -1/1 (h=v,i=)\n3 =x 0/1 (h=v,i=)\n4 c=- 1/-1 (h=v,i=)\n")

	s.run("", "topic", "create", "lines")
	s.run("one\n\nthree\r\nlast", "produce", "lines")
	s.is(s.run("", "consume", "lines"), "one\n\nthree\r\nlast\n")
	s.run("", "topic", "create", "zeroes")
	s.run("a\nb\x00c", "produce", "zeroes", "-d", `\0`, "-k", "key")
	s.is(s.run("", "consume", "zeroes", "-F", `%k{base64}:%v{hex};`), "a2V5:610a62;a2V5:63;")

	dir := t.TempDir()
	blob := filepath.Join(dir, "blob")
	os.WriteFile(blob, []byte("\xff\x00\n\xfe"), 0o644)
	text := filepath.Join(dir, "text")
	os.WriteFile(text, []byte("x\ny\n"), 0o644)
	s.run("", "topic", "create", "files")
	s.run("from stdin\n", "produce", "files", "-i", "files", blob, "-", text)
	s.run("from stdin\n", "produce", "files", text, "-")
	s.is(s.run("", "consume", "files", "-F", `%v{hex} `), "ff000afe 66726f6d20737464696e0a 780a790a 78 79 66726f6d20737464696e ")

	// What one prints as JSON the other reads.
	printed := s.run("", "consume", "t", "-o", "json") + s.run("", "consume", "files", "-o", "json")
	s.run("", "topic", "create", "copy")
	s.run(printed, "produce", "copy", "-i", "json")
	copied := s.run("", "consume", "copy", "-o", "json")
	plain := func(text string) (all []string) {
		for _, m := range decode[map[string]any](t, text) {
			delete(m, "topic")
			delete(m, "offset")
			all = append(all, fmt.Sprint(m))
		}
		return all
	}
	if a, b := strings.Join(plain(printed), "\n"), strings.Join(plain(copied), "\n"); a != b {
		t.Errorf("copied\n%s\nto\n%s", a, b)
	}
	if !strings.Contains(copied, `"valueBase64":"/wAK/g=="`) {
		t.Errorf("%s", copied)
	}
}

func TestProduceAsItIsTold(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t", "-p", "4")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		s.run(strings.Repeat(codec+"\n", 50), "produce", "t", "-p", "2", "-z", codec)
	}
	s.run("acks 1\n", "produce", "t", "-p", "2", "--acks", "1")
	s.run("acks 0\n", "produce", "t", "-p", "2", "--acks", "0")
	s.run("may be twice\n", "produce", "t", "-p", "2", "--idempotent=false")

	client := s.cluster.Client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	codecs, idempotent := map[string]uint8{}, map[string]bool{}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for n := 0; n < 253; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if r.Partition != 2 {
				t.Errorf("%s is in partition %d", r.Value, r.Partition)
			}
			codecs[string(r.Value)] = r.Attrs.CompressionType()
			idempotent[string(r.Value)] = r.ProducerID >= 0
		})
	}
	for i, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		if codecs[codec] != uint8(i) || !idempotent[codec] {
			t.Errorf("%s came with codec %d, idempotent %t", codec, codecs[codec], idempotent[codec])
		}
	}
	for _, value := range []string{"acks 1", "acks 0", "may be twice"} {
		if idempotent[value] {
			t.Errorf("%q was written by an idempotent producer", value)
		}
	}

	began := time.Now()
	out := decode[struct{ Read, Written, Lost, Bytes int64 }](t, s.run(strings.Repeat("x\n", 21), "produce", "t", "--rate", "100", "-o", "json"))
	if out[0].Read != 21 || out[0].Written != 21 || out[0].Lost != 0 || out[0].Bytes != 21 {
		t.Errorf("%+v", out)
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("21 records at 100 a second took %v", took)
	}
}

func TestProduceLosesNothingInSilence(t *testing.T) {
	s := newShell(t, kafkatest.Property("auto.create.topics.enable", "false"))
	s.run("", "topic", "create", "t", "-c", "max.message.bytes=1000")
	long := strings.Repeat("x", 2000)

	s.fails(1, "line 2 of stdin was not written to t: it is too large: max.message.bytes of the topic bounds it there", "a\n"+long+"\n", "produce", "t", "-X", "linger.ms=0")
	s.fails(1, "reading ended after line 3 of stdin; of 3 records up to there 2 are written", "b\n"+long+"\nc\n", "produce", "t", "--keep-going")
	s.fails(1, "line 2 of stdin: it is too long: a record has at most 600 bytes here", "d\n"+long+"\n", "produce", "t", "-X", "max.request.size=600")
	s.fails(1, `line 2 of stdin: it has no key: the separator ":" is not in it`, "k:e\nf\n", "produce", "t", "-K", ":")
	s.fails(1, "line 1 of stdin: it is no record in JSON", "{\"valeu\":\"x\"}\n", "produce", "t", "-i", "json")
	s.fails(1, "line 1 of stdin: something follows the JSON object", `{"value":"x"} {}`, "produce", "t", "-i", "json")
	s.fails(1, "open /no/such: no such file or directory", "", "produce", "t", "/no/such")
	s.fails(1, `there is no topic "tt"; did you mean t? `+"`millrace topic create tt` makes it", "x\n", "produce", "tt")
	s.fails(1, "there is no partition 1; topic t has 1 partition, from 0", "x\n", "produce", "t", "-p", "1")
	s.is(s.run("", "consume", "t"), "a\nb\nc\nd\ne\n")

	for _, c := range []struct {
		want string
		args []string
	}{
		{"--rate is -1", []string{"--rate", "-1"}},
		{`--input is "lins"`, []string{"-i", "lins"}},
		{"take one of them", []string{"-k", "a", "-K", ":"}},
		{"--key-separator is empty", []string{"-K", ""}},
		{`--delimiter is "ab"; it is one character`, []string{"-d", "ab"}},
		{`\q is no escape`, []string{"-d", `\q`}},
		{`--header is "h"; it is NAME=VALUE`, []string{"-H", "h"}},
		{"--idempotent needs --acks all", []string{"--idempotent", "--acks", "1"}},
		{"with --input json the objects say what they mean", []string{"-i", "json", "-K", ":"}},
	} {
		s.fails(2, c.want, "x\n", append([]string{"produce", "t"}, c.args...)...)
	}
	s.fails(1, `compression.type is "zip"; it is one of none, gzip, snappy, lz4, zstd`, "x\n", "produce", "t", "-z", "zip")
	s.fails(1, `acks is "2"`, "x\n", "produce", "t", "--acks", "2")
}

func TestProduceMakesTopicsWhereTheClusterDoes(t *testing.T) {
	s := newShell(t)
	s.run("x\n", "produce", "made")
	s.is(s.run("", "consume", "made"), "x\n")
}

func TestConsumeFromHereToThere(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t", "-p", "2")
	var lines [2]strings.Builder
	for i := range 10 {
		fmt.Fprintf(&lines[i%2], "{\"value\":\"%d\",\"key\":null,\"timestamp\":%d}\n", i, 1_700_000_000_000+i*1000)
	}
	for p := range lines {
		s.run(lines[p].String(), "produce", "t", "-i", "json", "-p", fmt.Sprint(p))
	}
	for _, c := range []struct{ args, want string }{
		{"-p 0", "0 2 4 6 8 "},
		{"-p 0-1 -n 3", ""},
		{"-p 0 --from 3", "6 8 "},
		{"-p 0 --from 1 --to 3", "2 4 "},
		{"-p 1 --from -2", "7 9 "},
		{"-p 1 --from -99", "1 3 5 7 9 "},
		{"-p 1 --to -2", "1 3 5 "},
		{"-p 1 --from @1700000003000", "3 5 7 9 "},
		{"-p 1 --from @1700000003001", "5 7 9 "},
		{"-p 0 --from @2023-11-14T22:13:26Z", "6 8 "},
		{"-p 0 --to @1700000004000", "0 2 "},
		{"-p 0 --from 5", ""},
		{"-p 0 --from 3 --to 1", ""},
		{"-p 0 --to 99", "0 2 4 6 8 "},
		{"-p 0 -n 2", "0 2 "},
		{"-p 0 -n 2 -f", "0 2 "},
		{"-p 0 --from 2 --to 4 -f", "4 6 "},
	} {
		got := s.run("", append([]string{"consume", "t", "-F", "%v "}, strings.Fields(c.args)...)...)
		if c.want == "" && strings.Contains(c.args, "-n 3") {
			if n := len(strings.Fields(got)); n != 3 {
				t.Errorf("%s printed %q", c.args, got)
			}
		} else if got != c.want {
			t.Errorf("%s printed %q, want %q", c.args, got, c.want)
		}
	}
	s.fails(1, "offset 6 lies beyond the end of partition 0, which is 5", "", "consume", "t", "--from", "6")
	s.fails(1, "there is no partition 2; the topic has 2 partitions, from 0", "", "consume", "t", "-p", "1-2")
	s.fails(1, `there is no topic "tt"; did you mean t?`, "", "consume", "tt")
	s.fails(1, `isolation.level is "x"`, "", "consume", "t", "--isolation", "x")
	for _, c := range [][]string{
		{`--from is "x"; it is start, end, an offset`, "--from", "x"}, {`--from is "@yesterday"`, "--from", "@yesterday"}, {`--to is "1.5"`, "--to", "1.5"},
		{`--partition is "1-"`, "-p", "1-"}, {"--count is -1", "-n", "-1"},
		{"the format has %y, which stands for nothing", "-F", "%y"}, {"ends in a lone %", "-F", "x%"}, {"a { that is not closed", "-F", "%v{hex"},
		{"%v takes {hex}, {base64} or {json}, not {octal}", "-F", "%v{octal}"}, {"%o takes no {hex}", "-F", "%o{hex}"}, {`\q is no escape`, "-F", `\q`},
		{"--format and --output do not go together", "-F", "%v", "-o", "json"}, {"it is text or json", "-o", "xml"},
	} {
		s.fails(2, c[0], "", append([]string{"consume", "t"}, c[1:]...)...)
	}
	s.is(s.run("", "consume", "t", "-p", "0", "-n", "1", "--isolation", "read_committed", "-F", `%t %p %e %T %T{rfc3339} %T{15:04}%% %v{json} %k{json}\x41\t\\`),
		"t 0 0 1700000000000 "+time.UnixMilli(1_700_000_000_000).Format("2006-01-02T15:04:05.000Z07:00")+" "+time.UnixMilli(1_700_000_000_000).Format("15:04")+`% "0" nullA`+"\t\\")
}

func TestConsumeSeesWhatIsGone(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t")
	s.run("0\n1\n2\n3\n", "produce", "t")
	file := filepath.Join(t.TempDir(), "offsets.json")
	os.WriteFile(file, []byte(`{"partitions":[{"topic":"t","partition":0,"offset":2}]}`), 0o644)
	s.run("", "kafka-delete-records", "--offset-json-file", file)
	code, out, stderr := s.try("", "consume", "t", "--from", "1")
	if code != 0 || out != "2\n3\n" || stderr != "millrace: partition 0 begins with offset 2: what was before is gone\n" {
		t.Errorf("code %d, %q, %q", code, out, stderr)
	}
}

// following runs a command in the background, which the returned function interrupts.
func (s *shell) following(args ...string) (out *lockedBuffer, stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	out = &lockedBuffer{wrote: make(chan struct{}, 1)}
	root := cli.Root()
	root.SetArgs(append(args, "--bootstrap-server", s.cluster.Addrs()[0]))
	root.SetOut(out)
	root.SetErr(out)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()
	s.t.Cleanup(cancel)
	return out, func() error { cancel(); return <-ended }
}

func TestConsumeFollows(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t", "-p", "3")
	s.run("old\n", "produce", "t")
	out, stop := s.following("consume", "t", "-f")
	out.await(t, "old\n")
	for _, word := range []string{"one", "two", "three"} {
		s.run(word+"\n", "produce", "t")
		out.await(t, word+"\n")
	}
	s.cluster.Restart()
	s.run("after\n", "produce", "t")
	out.await(t, "after\n")
	if err := stop(); err != context.Canceled {
		t.Errorf("interrupted, it ended with %v", err)
	}
}

func TestProduceSendsLinesAsTheyCome(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t")
	seen, stopConsume := s.following("consume", "t", "-f")
	in, typing := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	root := cli.Root()
	root.SetArgs([]string{"produce", "t", "--bootstrap-server", s.cluster.Addrs()[0]})
	root.SetIn(in)
	root.SetOut(io.Discard)
	root.SetErr(io.Discard)
	ended := make(chan error, 1)
	go func() { ended <- root.ExecuteContext(ctx) }()

	io.WriteString(typing, "one\ntw")
	seen.await(t, "one\n")
	io.WriteString(typing, "o\nthr")
	seen.await(t, "two\n")
	cancel() // Ctrl-C before the third line has ended
	if err := <-ended; err != context.Canceled {
		t.Errorf("interrupted, it ended with %v", err)
	}
	typing.Close()
	if err := stopConsume(); err != context.Canceled {
		t.Error(err)
	}
	s.is(s.run("", "consume", "t"), "one\ntwo\n")
}

func TestConfigs(t *testing.T) {
	s := newShell(t, kafkatest.Property("log.retention.hours", "5"))
	s.run("", "topic", "create", "t")
	s.is(s.run("", "config", "set", "topic", "t", "retention.ms=3600000", "cleanup.policy+=compact"), "Altered topic t: cleanup.policy+=compact, retention.ms=3600000.\n")
	s.is(s.run("", "config", "get", "topic", "t", "retention.ms"), "3600000\n")
	s.is(s.run("", "config", "get", "topic", "t", "retention.ms", "cleanup.policy"), "retention.ms=3600000\ncleanup.policy=delete,compact\n")
	out := s.run("", "config", "describe", "topic", "t")
	for _, want := range []string{"KEY ", "cleanup.policy ", "delete,compact  topic\n", "retention.ms "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "segment.bytes") {
		t.Errorf("a default is in\n%s", out)
	}
	if all := s.run("", "config", "describe", "topic", "t", "--all"); !strings.Contains(all, "segment.bytes ") || !strings.Contains(all, " default\n") {
		t.Errorf("--all printed\n%s", all)
	}
	out = s.run("", "config", "describe", "topic", "t", "retention.ms")
	for _, want := range []string{"retention.ms = 3600000\n", "  Type     long\n", "  Source   topic\n", "  From     retention.ms=3600000 (topic)\n", "How old "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	line := decode[struct {
		Key, Value, Source, Type, Doc string
		Synonyms                      []struct{ Key, Value, Source string }
	}](t, s.run("", "config", "get", "topic", "t", "retention.ms", "-o", "json"))[0]
	if line.Value != "3600000" || line.Source != "DYNAMIC_TOPIC_CONFIG" || line.Type != "long" || line.Doc == "" || len(line.Synonyms) == 0 || line.Synonyms[0].Source != "DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("%+v", line)
	}
	s.is(s.run("", "config", "set", "topic", "t", "cleanup.policy-=compact", "--dry-run"), "Would alter topic t: cleanup.policy-=compact.\n")
	s.is(s.run("", "config", "get", "topic", "t", "cleanup.policy"), "delete,compact\n")
	s.is(s.run("", "config", "delete", "topic", "t", "retention.ms"), "Altered topic t: without retention.ms.\n")
	s.is(s.run("", "config", "get", "topic", "t", "retention.ms"), "18000000\n")

	s.is(s.run("", "config", "set", "cluster", "log.retention.ms=7200000"), "Altered the cluster: log.retention.ms=7200000.\n")
	s.is(s.run("", "config", "describe", "cluster", "log.retention.ms", "-o", "json")[:48], `{"key":"log.retention.ms","value":"7200000","sou`)
	s.is(s.run("", "config", "set", "broker", "1", "log.retention.ms=7300000"), "Altered broker 1: log.retention.ms=7300000.\n")
	if out := s.run("", "config", "describe", "broker", "1", "log.retention.ms"); !strings.Contains(out, "Source   broker\n") || !strings.Contains(out, "           log.retention.ms=7200000 (cluster)\n") {
		t.Errorf("%s", out)
	}
	if out := s.run("", "config", "describe", "broker", "1"); !strings.Contains(out, "log.retention.hours") || !strings.Contains(out, "  file\n") {
		t.Errorf("%s", out)
	}
	file := filepath.Join(t.TempDir(), "topic.properties")
	os.WriteFile(file, []byte("segment.ms=60000\nflush.ms=7\n"), 0o644)
	s.is(s.run("", "config", "set", "topic", "t", "--file", file), "Altered topic t: flush.ms=7, segment.ms=60000.\n")

	s.fails(1, "did you mean retention.ms?", "", "config", "set", "topic", "t", "retension.ms=1")
	s.fails(1, "topic t is as it was: ", "", "config", "set", "topic", "t", "retention.ms=soon")
	s.fails(1, `topic t has no config "retenton.ms"; did you mean retention.ms?`, "", "config", "get", "topic", "t", "retenton.ms")
	s.fails(1, `there is no topic "tt"; did you mean t?`, "", "config", "describe", "topic", "tt")
	s.fails(2, `"topics" has no configs: it is topic NAME, broker ID or cluster`, "", "config", "describe", "topics", "t")
	s.fails(2, "needs to know which topic is meant", "", "config", "describe", "topic")
	s.fails(2, "needs to know whose configs are meant", "", "config", "get")
	s.fails(2, `"one" is no id of a broker`, "", "config", "get", "broker", "one", "log.dirs")
	s.fails(2, "needs a key", "", "config", "get", "topic", "t")
	s.fails(2, "needs KEY=VALUE", "", "config", "set", "topic", "t")
	s.fails(2, "the config names flush.ms twice", "", "config", "set", "topic", "t", "flush.ms=1", "flush.ms=2")
}

func TestConnections(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "t")
	dir := t.TempDir()
	file := filepath.Join(dir, "client.properties")
	os.WriteFile(file, []byte("bootstrap.servers="+s.cluster.Addrs()[0]+"\nbatch.size=5\nkey.serializer=x\nmy.own.thing=1\n"), 0o644)
	var out, errs bytes.Buffer
	code := cli.Main([]string{"millrace", "topic", "list", "--command-config", file}, strings.NewReader(""), &out, &errs)
	if code != 0 || !strings.Contains(out.String(), "\nt ") || errs.String() != "millrace: passed over, as they have no meaning here: batch.size, key.serializer, my.own.thing\n" {
		t.Errorf("code %d, %q, %q", code, out.String(), errs.String())
	}
	s.fails(2, `"securty.protocol" is no key of a Kafka client; did you mean security.protocol?`, "", "topic", "list", "-X", "securty.protocol=SSL")
	s.fails(2, `--property is "x"; it is KEY=VALUE`, "", "topic", "list", "-X", "x")
	s.fails(1, "cannot read --command-config: open /no/such: no such file or directory", "", "topic", "list", "--command-config", "/no/such")
	s.fails(1, `security.protocol is "TLS"; it is one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL`, "", "topic", "list", "-X", "security.protocol=TLS")
	s.fails(1, "SASL needs sasl.jaas.config", "", "topic", "list", "-X", "security.protocol=SASL_SSL")
	for _, command := range [][]string{{"topic", "list"}, {"topic", "create", "x"}, {"produce", "x"}, {"consume", "x"}, {"config", "get", "topic", "x", "retention.ms"}} {
		errs.Reset()
		code := cli.Main(append(append([]string{"millrace"}, command...), "-b", "127.0.0.1:1"), strings.NewReader(""), &out, &errs)
		if want := "millrace: no broker answers on 127.0.0.1:1 (connection refused): is it running? start one with `millrace up`, or say where it is with --bootstrap-server\n"; code != 1 || errs.String() != want {
			t.Errorf("%v: code %d, %q", command, code, errs.String())
		}
	}
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.run("", "topic", "create", "alpha", "beta")
	complete := func(args ...string) []string {
		var out, errs bytes.Buffer
		cli.Main(append([]string{"millrace", "__complete"}, args...), strings.NewReader(""), &out, &errs)
		return strings.Split(out.String(), "\n")
	}
	addr := s.cluster.Addrs()[0]
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"consume", "-b", addr, ""}, "alpha beta :4"},
		{[]string{"topic", "delete", "-b", addr, "alpha", ""}, "beta :4"},
		{[]string{"consume", "-b", addr, "alpha", ""}, ":4"},
		{[]string{"config", "get", ""}, "topic broker cluster :4"},
		{[]string{"config", "get", "-b", addr, "topic", ""}, "alpha beta :4"},
		{[]string{"config", "get", "-b", addr, "topic", "alpha", "retention."}, "retention.bytes retention.ms :4"},
		{[]string{"config", "set", "-b", addr, "broker", "1", "log.retention.h"}, "log.retention.hours= :6"},
		{[]string{"topic", "create", "x", "-b", addr, "--config", "retention.m"}, "retention.ms= :6"},
		{[]string{"consume", "-b", "127.0.0.1:1", ""}, ":4"},
		{[]string{"produce", "t", "-z", ""}, "none gzip snappy lz4 zstd :4"},
	} {
		if got := strings.TrimSpace(strings.Join(complete(c.args...), " ")); got != c.want {
			t.Errorf("%v completes to %q, want %q", c.args, got, c.want)
		}
	}
}

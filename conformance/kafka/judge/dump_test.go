package judge

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
)

// stop stops a server cleanly.
func stop(t testing.TB, p interface {
	Stop(testing.TB, time.Duration) error
}) {
	t.Helper()
	p.Stop(t, time.Minute) // Java exits with 143, we with 0
}

// filesOf lists the files of the partitions in a log directory, by their kind, without those of the metadata log.
func filesOf(t testing.TB, dir, suffix string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*-*", "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "__cluster_metadata") })
}

// metadataFiles lists the files of the metadata log.
func metadataFiles(t testing.TB, dir string) (names []string) {
	t.Helper()
	for _, suffix := range []string{"*.log", "*.checkpoint"} {
		some, err := filepath.Glob(filepath.Join(dir, "__cluster_metadata-0", suffix))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, some...)
	}
	return names
}

// kafkaDumps runs Kafka's kafka-dump-log and returns what it printed on both streams, and whether it came to its end.
func kafkaDumps(t testing.TB, args ...string) (out, errOut string, ok bool) {
	t.Helper()
	out, errOut, err := oracle.Tool(t, "", "kafka-dump-log", args...)
	return out, errOut, err == nil
}

// weDump runs ours.
func weDump(t testing.TB, args ...string) (out, errOut string, ok bool) {
	t.Helper()
	out, errOut, err := node.Run(t, "", append([]string{"kafka-dump-log"}, args...)...)
	return out, errOut, err == nil
}

// runs are the ways in which the files of a directory are dumped.
func runs(t testing.TB, dir string) [][]string {
	logs, offsets, times := filesOf(t, dir, ".log"), filesOf(t, dir, ".index"), filesOf(t, dir, ".timeindex")
	snapshots, txns := filesOf(t, dir, ".snapshot"), filesOf(t, dir, ".txnindex")
	indexes := append(offsets, times...)
	files := func(names ...string) string { return strings.Join(names, ",") }
	return [][]string{
		{"--print-data-log", "--files", files(slices.Concat(indexes, snapshots, logs, txns)...)},
		{"--cluster-metadata-decoder", "--files", files(metadataFiles(t, dir)...)},
		{"--index-sanity-check", "--deep-iteration", "--files", files(slices.Concat(indexes, metadataFiles(t, dir))...)},
		{"--verify-index-only", "--skip-record-metadata", "--print-data-log", "--max-bytes", "70000", "--files", files(slices.Concat(indexes, logs)...)},
	}
}

// sameDump runs both tools and wants the same of them, to the byte.
func sameDump(t testing.TB, args ...string) (out, errOut string) {
	t.Helper()
	out, errOut, ok := kafkaDumps(t, args...)
	ours, oursErr, oursOK := weDump(t, args...)
	if ok != oursOK {
		t.Errorf("kafka-dump-log %.200s: Kafka's came to its end: %t (%s), ours: %t (%s)", strings.Join(args, " "), ok, errOut, oursOK, oursErr)
	}
	if ours != out {
		t.Errorf("kafka-dump-log %.200s: the first line that differs: %s", strings.Join(args, " "), firstDifference(ours, out))
	}
	if oursErr, errOut := sorted(oursErr), sorted(errOut); ok && oursErr != errOut { // Kafka's tool goes through its files in the order of a hash
		t.Errorf("kafka-dump-log %.200s: on stderr, the first line that differs: %s", strings.Join(args, " "), firstDifference(oursErr, errOut))
	}
	return out, errOut
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func firstDifference(ours, kafkas string) string {
	a, b := strings.Split(ours, "\n"), strings.Split(kafkas, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "(no line)", "(no line)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			return "\n  ours:    " + x + "\n  Kafka's: " + y
		}
	}
	return "none"
}

// wrong is what kafka-dump-log prints when something is.
var wrong = regexp.MustCompile(`(?i)isvalid: false|invalid bytes|error at|skipping|mismatch|exception`)

// nothingWrong lets Kafka's tool read every file of a directory of ours, and compares ours with it on the way.
func nothingWrong(t testing.TB, dir string) (dumps []string) {
	t.Helper()
	for _, args := range runs(t, dir) {
		out, errOut := sameDump(t, args...)
		// A log that does not begin at 0 has "a gap" before its first record, as every later segment.
		errOut = regexp.MustCompile(`Non-consecutive offsets in .*\n(  -1 is followed by \d+\n)+`).ReplaceAllString(errOut, "")
		if found := wrong.FindString(out); found != "" || errOut != "" {
			t.Errorf("Kafka's kafka-dump-log %.200s finds something wrong: %s\n%s", strings.Join(args, " "), found, errOut)
		}
		dumps = append(dumps, out)
	}
	return dumps
}

// Kafka's kafka-dump-log reads our files and finds nothing wrong, and ours prints the same.
func TestKafkaReadsOurFiles(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8") // what Java prints is ASCII elsewhere
	n := node.Start(t, nil)
	l := newLoad(t, n.Addr)
	for epoch := range 3 { // each start is a new leader epoch
		if epoch > 0 {
			n.Restart(t)
		}
		l.write(t, 700<<10)
		stop(t, n)
	}
	dumps := nothingWrong(t, n.Dir)
	deep := dumps[0]
	for _, want := range []string{"compresscodec: none", "compresscodec: gzip", "compresscodec: snappy", "compresscodec: lz4", "compresscodec: zstd",
		"partitionLeaderEpoch: 0", "partitionLeaderEpoch: 2", "producerId: -1", "baseSequence: 0", "headerKeys: [h"} {
		if !strings.Contains(deep, want) {
			t.Errorf("the dump has no %q: the load did not make what was to be judged", want)
		}
	}
	records := 0
	for _, of := range l.written {
		records += len(of)
	}
	if got := strings.Count(deep, "\n| offset: "); got != records {
		t.Errorf("Kafka reads %d records; %d were written", got, records)
	}
	if len(filesOf(t, n.Dir, ".log")) < 3*partitions || len(filesOf(t, n.Dir, ".snapshot")) == 0 {
		t.Errorf("there are %d segments and %d snapshots of producers; the test wants several", len(filesOf(t, n.Dir, ".log")), len(filesOf(t, n.Dir, ".snapshot")))
	}
}

// A tool that could not find what is wrong would prove nothing: one bit is enough for both.
func TestBothToolsFindAFlippedBit(t *testing.T) {
	n := node.Start(t, nil)
	l := newLoad(t, n.Addr)
	l.write(t, 20<<10)
	stop(t, n)
	name := filesOf(t, n.Dir, ".log")[0]
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := sameDump(t, "--files", name); !strings.Contains(out, "isvalid: false") {
		t.Errorf("nothing was found:\n%s", out)
	}
	if err := os.Truncate(name, int64(len(b)-10)); err != nil {
		t.Fatal(err)
	}
	if out, _ := sameDump(t, "--files", name); !strings.Contains(out, "invalid bytes at the end of ") {
		t.Errorf("nothing was found:\n%s", out)
	}
}

// Ours prints of Kafka's files what Kafka's does.
func TestWeReadKafkasFiles(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	k := oracle.Start(t, nil)
	l := newLoad(t, k.Addr)
	l.write(t, 700<<10)
	stop(t, k)
	k.Restart(t)
	l.write(t, 100<<10)
	k.Kill() // the active segments have indexes that were never cut to size
	for _, args := range runs(t, k.Dir) {
		sameDump(t, args...)
	}
}

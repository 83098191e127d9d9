package clients

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 3

// client is one library. A reader reads all topics given; a writer writes one topic per codec, named by topicOf; begin
// starts a session.
type client struct {
	name   string
	codecs []string
	write  func(addr string, in *input, topics map[string]string) error // topic -> codec
	read   func(addr string, topics []string, in *input) (map[string][]digest, error)
	begin  func(addr string) (session, error)
}

// oneByOne makes a writer of several topics out of a writer of one.
func oneByOne(write func(addr, topic, codec string, in *input) error) func(addr string, in *input, topics map[string]string) error {
	return func(addr string, in *input, topics map[string]string) error {
		for _, topic := range slices.Sorted(maps.Keys(topics)) {
			if err := write(addr, topic, topics[topic], in); err != nil {
				return fmt.Errorf("%s: %w", topic, err)
			}
		}
		return nil
	}
}

func (d *driver) client(name string, codecs ...string) client {
	return client{name: name, codecs: codecs,
		write: func(addr string, in *input, topics map[string]string) error { return d.write(within, addr, in, topics) },
		read: func(addr string, topics []string, in *input) (map[string][]digest, error) {
			return d.read(within, addr, topics, in)
		}, begin: d.session}
}

func all(t *testing.T) []client {
	java := javaDriver(func() string { return oracle.ClassPath(t, "broker") })
	kafkajs := nodeDriver("kafkajs").client("kafkajs", "none", "gzip", "snappy")
	kafkajs.read = nil // it reads in groups only
	return []client{
		{"franz-go", allCodecs, oneByOne(franzWrite), franzRead, newFranzSession},
		{"sarama", allCodecs, oneByOne(saramaWrite), saramaRead, newSaramaSession},
		{"kafka-go", allCodecs, oneByOne(segmentioWrite), segmentioRead, newSegmentioSession},
		{"confluent-kafka-go", allCodecs, oneByOne(confluentWrite), confluentRead, newConfluentSession},
		{"kcat", allCodecs, oneByOne(kcatWrite), kcatRead, func(addr string) (session, error) { return kcatSession{addr}, nil }},
		java.client("java", allCodecs...),
		pythonDriver("confluent").client("confluent-kafka", allCodecs...),
		pythonDriver("aiokafka").client("aiokafka", allCodecs...),
		kafkajs,
	}
}

func topicOf(writer, codec string) string { return writer + "." + codec }

// server starts what the clients talk to and returns its address.
func server(t *testing.T) string {
	if os.Getenv("CLIENT_SERVER") == "kafka" {
		return oracle.Start(t, nil).Addr
	}
	return node.Start(t, nil).Addr
}

func create(t *testing.T, addr string, partitions int, topics []string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	created, err := kadm.NewClient(c).CreateTopics(t.Context(), int32(partitions), 1, nil, topics...)
	if err == nil {
		err = created.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestMatrix writes with every writer and every codec, and reads all of it with every reader.
func TestMatrix(t *testing.T) {
	in := newInput(t, "packages", packageIndex(t)[:number("CLIENT_RECORDS", 3000)], partitions)
	addr := server(t)
	clients := all(t)
	var topics []string
	for _, w := range clients {
		for _, codec := range w.codecs {
			topics = append(topics, topicOf(w.name, codec))
		}
	}
	create(t, addr, partitions, topics)
	for _, w := range clients {
		t.Run("write/"+w.name, func(t *testing.T) {
			codecs := make(map[string]string)
			for _, codec := range w.codecs {
				codecs[topicOf(w.name, codec)] = codec
			}
			if err := w.write(addr, in, codecs); err != nil {
				t.Fatal(err)
			}
		})
	}
	if t.Failed() {
		t.FailNow() // a reader would wait for records that are not there
	}
	for _, r := range clients {
		if r.read == nil {
			continue
		}
		t.Run("read/"+r.name, func(t *testing.T) {
			got, err := r.read(addr, topics, in)
			if err != nil {
				t.Fatal(err)
			}
			for _, topic := range topics {
				if !slices.Equal(got[topic], in.want) {
					t.Errorf("%s: %s read %v, want %v", topic, r.name, got[topic], in.want)
				}
			}
		})
	}
	// The console consumer takes one partition and starts a Java machine for it: one partition of one topic of each writer, the
	// codecs in turn, or of all topics when CLIENT_CONSOLE says all.
	t.Run("read/kafka-console-consumer", func(t *testing.T) {
		for i, w := range clients {
			for j, codec := range w.codecs {
				if j == i%len(w.codecs) || os.Getenv("CLIENT_CONSOLE") == "all" {
					consoleReads(t, addr, topicOf(w.name, codec), (i+j)%partitions, in)
				}
			}
		}
	})
}

// consoleReads requires that kafka-console-consumer prints the records of a partition.
func consoleReads(t *testing.T, addr, topic string, partition int, in *input) {
	t.Helper()
	var want strings.Builder
	n := 0
	for i := partition; i < len(in.records); i += in.partitions {
		fmt.Fprintf(&want, "%s\t%s\n", in.records[i].key, in.records[i].value)
		n++
	}
	out := oracle.MustTool(t, "kafka-console-consumer", "--bootstrap-server", addr, "--topic", topic, "--partition", fmt.Sprint(partition), "--offset", "earliest",
		"--max-messages", fmt.Sprint(n), "--timeout-ms", "60000", "--formatter-property", "print.key=true")
	if out != want.String() {
		t.Errorf("%s-%d: kafka-console-consumer printed %d bytes, want the %d that went in", topic, partition, len(out), want.Len())
	}
}

// TestBulk writes CLIENT_BYTES with each client and reads them with the same one, or with the first where it only writes.
func TestBulk(t *testing.T) {
	size := number("CLIENT_BYTES", 0)
	if size == 0 {
		t.Skip("CLIENT_BYTES says how many bytes each client writes and reads: a run for nights")
	}
	in := newInput(t, "bulk", repeated(packageIndex(t), size), partitions)
	addr := server(t)
	clients := all(t)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			topic := topicOf(c.name, "none")
			create(t, addr, partitions, []string{topic})
			began := time.Now()
			if err := c.write(addr, in, map[string]string{topic: "none"}); err != nil {
				t.Fatal(err)
			}
			wrote := time.Since(began)
			r := c
			if r.read == nil {
				r = clients[0]
			}
			began = time.Now()
			got, err := r.read(addr, []string{topic}, in)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got[topic], in.want) {
				t.Errorf("%s read %v, want %v", r.name, got[topic], in.want)
			}
			t.Logf("%d records, %d bytes: written by %s in %v, read by %s in %v", len(in.records), size, c.name, wrote.Round(time.Second), r.name, time.Since(began).Round(time.Second))
			if deleted, err := admin(t, addr).DeleteTopics(t.Context(), topic); err != nil || deleted.Error() != nil {
				t.Fatal(err, deleted.Error())
			}
		})
	}
}

// TestConsoleTools does the same with Kafka's console tools, which know lines and choose partitions themselves: their
// topics have one partition, and the records no line ends.
func TestConsoleTools(t *testing.T) {
	var records []record
	for _, r := range packageIndex(t)[:3000] {
		records = append(records, record{r.key, bytes.ReplaceAll(bytes.ReplaceAll(r.value, []byte("\n"), []byte("\x1f")), []byte("\t"), []byte(" "))})
	}
	in := newInput(t, "lines", records, 1)
	var lines strings.Builder
	for _, r := range records {
		fmt.Fprintf(&lines, "%s\t%s\n", r.key, r.value)
	}
	addr := server(t)
	var topics []string
	for _, codec := range allCodecs {
		topics = append(topics, topicOf("console", codec))
	}
	create(t, addr, 1, topics)
	for i, codec := range allCodecs {
		if out, errOut, err := oracle.Tool(t, lines.String(), "kafka-console-producer", "--bootstrap-server", addr, "--topic", topics[i], "--compression-codec", codec,
			"--reader-property", "parse.key=true"); err != nil {
			t.Fatal(must(out, errOut, err))
		}
	}
	for _, topic := range topics {
		consoleReads(t, addr, topic, 0, in)
	}
	for _, r := range all(t) {
		if r.read == nil {
			continue
		}
		got, err := r.read(addr, topics, in)
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			continue
		}
		for _, topic := range topics {
			if !slices.Equal(got[topic], in.want) {
				t.Errorf("%s: %s read %v, want %v", topic, r.name, got[topic], in.want)
			}
		}
	}
}

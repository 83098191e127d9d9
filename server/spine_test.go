package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafkatest"
	"github.com/millrace-io/millrace/server"
)

// node is a server on a real disk behind a real socket, that a test may stop and start.
type node struct {
	t          testing.TB
	properties []string
	server     *server.Server
}

func startNode(t testing.TB, properties ...string) *node {
	t.Helper()
	n := &node{t: t, properties: append([]string{
		"process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:0",
		"log.dirs", filepath.Join(t.TempDir(), "data"), "http.listeners", "127.0.0.1:0",
	}, properties...)}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	cfg, err := server.NewConfig(config.PropertiesOf(n.properties...))
	if err != nil {
		n.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	if n.server, err = server.New(cfg, server.AutoFormat(), server.WithLogger(log)); err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.server.Start(ctx); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) stop() {
	n.t.Helper()
	if n.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.server.Close(ctx); err != nil {
		n.t.Error(err)
	}
	n.server = nil
}

func (n *node) restart() { n.t.Helper(); n.stop(); n.start() }

func (n *node) client(options ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	return newClient(n.t, append([]kgo.Opt{kgo.SeedBrokers(n.server.Addr("PLAINTEXT").String())}, options...)...)
}

func newClient(t testing.TB, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// cluster is what the spine runs on: both kinds of node.
type cluster struct {
	client  func(...kgo.Opt) *kgo.Client
	restart func()
}

// leakless fails the test when it leaves a goroutine behind. It must be called before anything is started.
func leakless(t *testing.T) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func TestRoundTripOverTCP(t *testing.T) {
	leakless(t)
	n := startNode(t)
	roundTrip(t, cluster{n.client, n.restart})
}

func TestRoundTripInMemory(t *testing.T) {
	leakless(t)
	c := kafkatest.Start(t)
	roundTrip(t, cluster{c.Client, c.Restart})
}

var codecs = map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

const partitions, perPartition = 3, 150

// roundTrip is the main job of a broker: what was produced, with every codec, is what is read back, byte for byte
// and in order, now and after a restart.
func roundTrip(t *testing.T, c cluster) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	want := make(map[string][]*kgo.Record) // by topic
	for _, codec := range slices.Sorted(maps.Keys(codecs)) {
		topic := "round-trip-" + codec
		createTopic(t, ctx, c.client(), topic, partitions)
		want[topic] = produce(t, ctx, c, topic, codecs[codec], 0)
	}
	read := func() {
		t.Helper()
		for topic, records := range want {
			compare(t, records, consume(t, ctx, c, topic, len(records)))
		}
	}
	read()
	checkOffsets(t, ctx, c, "round-trip-zstd")

	c.restart()
	read()
	checkOffsets(t, ctx, c, "round-trip-zstd")
	for topic := range want { // and the log goes on where it was
		want[topic] = append(want[topic], produce(t, ctx, c, topic, kgo.NoCompression(), perPartition)...)
	}
	c.restart()
	read()
}

func createTopic(t testing.TB, ctx context.Context, client *kgo.Client, name string, partitions int32) {
	t.Helper()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, -1
	request := kmsg.NewPtrCreateTopicsRequest()
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("create topic %s: %v", name, err)
	}
}

// produce writes perPartition records to each partition and returns them as they were acknowledged.
func produce(t *testing.T, ctx context.Context, c cluster, topic string, codec kgo.CompressionCodec, base int64) []*kgo.Record {
	t.Helper()
	client := c.client(kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(time.Millisecond))
	dice := rand.New(rand.NewPCG(uint64(len(topic)), uint64(base)))
	var records []*kgo.Record
	for i := range perPartition * partitions {
		r := &kgo.Record{Topic: topic, Partition: int32(i % partitions), Timestamp: time.UnixMilli(1_700_000_000_000 + base*1000 + int64(i)),
			Value: bytes.Repeat([]byte{byte(dice.Uint32()), byte(i)}, dice.IntN(2000))}
		switch i % 4 {
		case 0:
			r.Key = fmt.Appendf(nil, "key-%d", i)
		case 1:
			r.Value = nil // a tombstone
			r.Key = []byte{}
		case 2:
			r.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte{0, 255}}, {Key: "", Value: nil}}
		}
		records = append(records, r)
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
	for _, r := range records {
		if r.Offset < base {
			t.Fatalf("%s-%d: acknowledged at %d, below %d", topic, r.Partition, r.Offset, base)
		}
	}
	return records
}

// consume reads n records of all partitions from their beginning.
func consume(t *testing.T, ctx context.Context, c cluster, topic string, n int) []*kgo.Record {
	t.Helper()
	assigned := make(map[int32]kgo.Offset)
	for p := range int32(partitions) {
		assigned[p] = kgo.NewOffset().AtStart()
	}
	client := c.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: assigned}), kgo.FetchMaxWait(100*time.Millisecond))
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("consume %s: %v after %d of %d records", topic, err, len(records), n)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// compare holds what came back against what was written: each partition in order, without a gap, byte for byte.
func compare(t *testing.T, want, got []*kgo.Record) {
	t.Helper()
	byPartition := func(records []*kgo.Record) (split [partitions][]*kgo.Record) {
		for _, r := range records {
			split[r.Partition] = append(split[r.Partition], r)
		}
		return split
	}
	wanted, gotten := byPartition(want), byPartition(got)
	for p := range wanted {
		slices.SortFunc(wanted[p], func(a, b *kgo.Record) int { return int(a.Offset - b.Offset) })
		if len(wanted[p]) != len(gotten[p]) {
			t.Fatalf("%s-%d: %d records, want %d", want[0].Topic, p, len(gotten[p]), len(wanted[p]))
		}
		for i, w := range wanted[p] {
			g := gotten[p][i]
			if g.Offset != int64(i) || w.Offset != g.Offset || fingerprint(w) != fingerprint(g) {
				t.Fatalf("%s-%d: record %d is\n%+v, want\n%+v", want[0].Topic, p, i, g, w)
			}
		}
	}
}

// fingerprint is all that a client sees of a record; null and empty differ.
func fingerprint(r *kgo.Record) string {
	h := sha256.New()
	fmt.Fprintf(h, "%v %d %x %v %d %x %d", r.Key == nil, len(r.Key), r.Key, r.Value == nil, len(r.Value), r.Value, r.Timestamp.UnixMilli())
	for _, header := range r.Headers {
		fmt.Fprintf(h, " %q %v %x", header.Key, header.Value == nil, header.Value)
	}
	return string(h.Sum(nil))
}

func checkOffsets(t *testing.T, ctx context.Context, c cluster, topic string) {
	t.Helper()
	for _, q := range []struct {
		what      string
		timestamp int64
		offset    int64
		found     int64 // the timestamp in the answer
	}{
		{"latest", -1, perPartition, -1},
		{"earliest", -2, 0, -1},
		{"largest timestamp", -3, perPartition - 1, 1_700_000_000_000 + (perPartition-1)*partitions},
		{"by time", 1_700_000_000_000 + 10*partitions, 10, 1_700_000_000_000 + 10*partitions},
		{"between two", 1_700_000_000_000 + 10*partitions + 1, 11, 1_700_000_000_000 + 11*partitions},
		{"after the end", 1_900_000_000_000, -1, -1},
	} {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Timestamp = q.timestamp
		part := kmsg.NewListOffsetsRequestTopic()
		part.Topic, part.Partitions = topic, append(part.Partitions, partition)
		request := kmsg.NewPtrListOffsetsRequest()
		request.ReplicaID, request.Topics = -1, append(request.Topics, part)
		response, err := request.RequestWith(ctx, c.client())
		if err != nil {
			t.Fatal(err)
		}
		got := response.Topics[0].Partitions[0]
		if got.ErrorCode != 0 || got.Offset != q.offset || got.Timestamp != q.found {
			t.Errorf("%s: error %d, offset %d, timestamp %d; want %d and %d", q.what, got.ErrorCode, got.Offset, got.Timestamp, q.offset, q.found)
		}
	}
}

func TestTopicsAreMadeByTheFirstWriter(t *testing.T) {
	leakless(t)
	c := kafkatest.Start(t, kafkatest.Property("num.partitions", "2"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := c.Client(kgo.AllowAutoTopicCreation())
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "fresh", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	request := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr("fresh")
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, client)
	if err != nil || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 2 {
		t.Fatalf("%+v, %v", response, err)
	}

	// Who asks for a topic is told of it at once: some clients take a topic that is not there yet for one without partitions.
	for i := range 20 {
		topic.Topic = kmsg.StringPtr(fmt.Sprint("asked-", i))
		request.Topics, request.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{topic, topic}, true
		response, err := request.RequestWith(ctx, client)
		if err != nil || len(response.Topics) != 1 || response.Topics[0].ErrorCode != 0 || len(response.Topics[0].Partitions) != 2 || response.Topics[0].Partitions[0].Leader < 0 {
			t.Fatalf("%+v, %v", response, err)
		}
	}

	// The topic of the groups has its own settings, whoever names it first.
	topic.Topic = kmsg.StringPtr("__consumer_offsets")
	request.Topics, request.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{topic}, true
	for {
		response, err := request.RequestWith(ctx, client)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(response.Topics[0].Partitions); n == 50 {
			break
		} else if n != 0 {
			t.Fatalf("the topic of the groups has %d partitions", n)
		}
		time.Sleep(10 * time.Millisecond)
	}
	configs, err := kadm.NewClient(client).DescribeTopicConfigs(ctx, "__consumer_offsets")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range configs[0].Configs {
		if one.Key == "cleanup.policy" && one.MaybeValue() != "compact" {
			t.Errorf("the topic of the groups has the cleanup.policy %s", one.MaybeValue())
		}
	}

	off := kafkatest.Start(t, kafkatest.Property("auto.create.topics.enable", "false"))
	short, cancelShort := context.WithTimeout(ctx, 2*time.Second)
	defer cancelShort()
	client = off.Client(kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	if err := client.ProduceSync(short, &kgo.Record{Topic: "fresh", Value: []byte("x")}).FirstErr(); err == nil {
		t.Error("a topic was made although auto.create.topics.enable is false")
	}
}

func TestWhatWasAcknowledgedSurvivesAPowerCut(t *testing.T) {
	leakless(t)
	c := kafkatest.Start(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.CreateTopic("cut", partitions)
	var want []*kgo.Record
	for seed := range uint64(5) {
		want = append(want, produce(t, ctx, cluster{client: c.Client}, "cut", kgo.Lz4Compression(), int64(seed)*perPartition)...)
		c.Crash(seed)
		compare(t, want, consume(t, ctx, cluster{client: c.Client}, "cut", len(want)))
	}
}

func TestClientsAreToldTheAddressTheyCameInOn(t *testing.T) {
	n := startNode(t, "listeners", "PLAINTEXT://:0")
	_, port, _ := net.SplitHostPort(n.server.Addr("PLAINTEXT").String())
	for _, host := range []string{"127.0.0.1", "127.0.0.2"} { // every address of 127/8 is this machine
		client := newClient(t, kgo.SeedBrokers(net.JoinHostPort(host, port)))
		response, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		if b := response.Brokers; len(b) != 1 || b[0].Host != host || fmt.Sprint(b[0].Port) != port {
			t.Errorf("a client of %s:%s was told %+v", host, port, b)
		}
	}
}

func TestOneOfSeveralDirectoriesMayBeMissing(t *testing.T) {
	leakless(t)
	base := t.TempDir()
	n := startNode(t, "log.dirs", base+"/a,"+base+"/b,"+base+"/c")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	createTopic(t, ctx, n.client(), "spread", 9)
	n.stop()
	used, err := filepath.Glob(filepath.Join(base, "c", "spread-*"))
	if err != nil || len(used) == 0 {
		t.Fatalf("no partition was put into the third directory: %v", err)
	}
	if err := os.Rename(base+"/c", base+"/unmounted"); err != nil {
		t.Fatal(err)
	}

	cfg, err := server.NewConfig(config.PropertiesOf(n.properties...))
	if err != nil {
		t.Fatal(err)
	}
	if n.server, err = server.New(cfg); err != nil { // without AutoFormat: as `millrace server` does
		t.Fatal(err)
	}
	if err := n.server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	response, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, n.client())
	if err != nil {
		t.Fatal(err)
	}
	offline := 0
	for _, p := range response.Topics[0].Partitions {
		if p.Leader < 0 {
			offline++
		}
	}
	if offline != len(used) {
		t.Errorf("%d partitions are offline; %d lie in the directory that is missing", offline, len(used))
	}
	if status, body := get(t, n, "/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, base+"/c") {
		t.Errorf("readyz: %d %s", status, body)
	}
}

func TestTheHTTPPortTellsTheTruth(t *testing.T) {
	leakless(t)
	n := startNode(t, "metrics.partitions", "true")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	createTopic(t, ctx, n.client(), "counted", partitions)
	produce(t, ctx, cluster{client: n.client}, "counted", kgo.NoCompression(), 0)
	for path, want := range map[string]string{"/healthz": "alive\n", "/readyz": "ready\n"} {
		if status, body := get(t, n, path); status != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	_, body := get(t, n, "/metrics")
	for _, want := range []string{
		fmt.Sprintf(`kafka_server_brokertopicmetrics_messagesin_total{topic="counted"} %d`, partitions*perPartition),
		fmt.Sprintf(`kafka_log_log_logendoffset{partition="2",topic="counted"} %d`, perPartition),
		`kafka_log_log_logstartoffset{partition="0",topic="counted"} 0`,
		"kafka_server_replicamanager_partitioncount 3",
		"kafka_server_replicamanager_leadercount 3",
		"kafka_server_replicamanager_offlinereplicacount 0",
		"kafka_server_kafkaserver_brokerstate 3",
		"kafka_controller_kafkacontroller_activecontrollercount 1",
		"kafka_controller_kafkacontroller_globalpartitioncount 3",
		"kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount 0",
		`kafka_network_requestmetrics_requests_total{request="Produce"}`,
		"process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(body)
	}
}

// get asks the node's HTTP port, on a connection of its own.
func get(t *testing.T, n *node, path string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://" + n.server.HTTPAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestAStartThatIsCutShortLeavesNothing(t *testing.T) {
	leakless(t)
	dir := t.TempDir()
	cfg, err := server.NewConfig(config.PropertiesOf("process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:0", "log.dirs", dir))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, err := server.New(cfg, server.AutoFormat())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx); err == nil {
		t.Error("it started")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	startNode(t, "log.dirs", dir) // nothing holds the directory
}

// BenchmarkStart is the start of an empty node on a real disk, from the configuration to the first answer that a
// client could get, and its clean stop.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		n := startNode(b, "http.listeners", "")
		n.stop()
	}
}

// BenchmarkStartInMemory is the price of kafkatest.Start.
func BenchmarkStartInMemory(b *testing.B) {
	for b.Loop() {
		kafkatest.Start(b).Server().Close(context.Background())
	}
}

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Every topic setting of Apache Kafka either has a test here of what it does to a topic that clients can see, on a
// running node and changed while it runs, or it names the capability that will act on it; then it is stored, validated
// and described.
var effects = map[string]func(t *testing.T, b *bench){
	"cleanup.policy":                  cleanupPolicy,
	"compression.gzip.level":          func(t *testing.T, b *bench) { compressionLevel(t, b, "gzip", "1", "9") },
	"compression.lz4.level":           func(t *testing.T, b *bench) { compressionLevel(t, b, "lz4", "1", "12") },
	"compression.type":                compressionType,
	"compression.zstd.level":          func(t *testing.T, b *bench) { compressionLevel(t, b, "zstd", "1", "19") },
	"durability":                      durability,
	"file.delete.delay.ms":            fileDeleteDelay,
	"flush.messages":                  func(t *testing.T, b *bench) { flush(t, b, "flush.messages", "1") },
	"flush.ms":                        func(t *testing.T, b *bench) { flush(t, b, "flush.ms", "1") },
	"index.interval.bytes":            indexInterval,
	"internal.segment.bytes":          func(t *testing.T, b *bench) { rollsAfter(t, b, 1, "internal.segment.bytes", "200") },
	"max.compaction.lag.ms":           maxCompactionLag,
	"max.decompressed.message.bytes":  maxDecompressed,
	"max.message.bytes":               maxMessage,
	"message.timestamp.after.max.ms":  func(t *testing.T, b *bench) { timestampBound(t, b, "message.timestamp.after.max.ms", +1) },
	"message.timestamp.before.max.ms": func(t *testing.T, b *bench) { timestampBound(t, b, "message.timestamp.before.max.ms", -1) },
	"message.timestamp.type":          timestampType,
	"min.insync.replicas":             minInsync,
	"preallocate":                     preallocate,
	"retention.bytes":                 retentionBytes,
	"retention.ms":                    retentionMs,
	"segment.bytes":                   segmentBytes,
	"segment.index.bytes": func(t *testing.T, b *bench) {
		rollsAfter(t, b, 2, "segment.index.bytes", "12", "index.interval.bytes", "0")
	},
	"segment.jitter.ms":              segmentJitter,
	"segment.ms":                     segmentMs,
	"unclean.leader.election.enable": uncleanElection,
}

func TestEveryTopicSettingHasAnEffectOrAnOwner(t *testing.T) {
	b := newBench(t, "log.retention.check.interval.ms", "20")
	table := topicTable()
	listed := map[string]bool{"durability": true} // Millrace's own
	for _, k := range kafkasTopicKeys(t) {
		listed[k.name] = true
		declared, ok := table.Lookup(k.name)
		if !ok {
			t.Errorf("%s: no room declares it", k.name)
			continue
		}
		is := "null"
		if declared.Default != nil {
			is = *declared.Default
		}
		if declared.Type.String() != k.typ || is != k.value {
			t.Errorf("%s is a %s with the default %q; Kafka's is a %s with %q", k.name, declared.Type, is, k.typ, k.value)
		}
		switch effect, tested := effects[k.name]; {
		case k.owner != "-" && declared.Owner != k.owner:
			t.Errorf("%s: its owner is said to be %q, not %q", k.name, declared.Owner, k.owner)
		case k.owner != "-" && tested:
			t.Errorf("%s has both an effect and an owner", k.name)
		case k.owner != "-":
			t.Run(k.name, func(t *testing.T) { isStored(t, b.on(t), k) })
		case declared.Owner != "":
			t.Errorf("%s waits for %s, but the list has it act", k.name, declared.Owner)
		case !tested:
			t.Errorf("%s has neither a test of its effect nor an owner", k.name)
		default:
			t.Run(k.name, func(t *testing.T) { effect(t, b.on(t)) })
		}
	}
	t.Run("durability", func(t *testing.T) { effects["durability"](t, b.on(t)) })
	for k := range table.All() {
		if !listed[k.Name] {
			t.Errorf("%s is neither Kafka's nor known here as ours", k.Name)
		}
	}
}

type topicKey struct{ name, typ, value, owner string }

func kafkasTopicKeys(t *testing.T) (keys []topicKey) {
	t.Helper()
	file, err := os.ReadFile("testdata/topic_keys.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if cells := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); !strings.HasPrefix(line, "#") {
			keys = append(keys, topicKey{cells[0], cells[1], cells[2], cells[3]})
		}
	}
	if len(keys) != 38 {
		t.Fatalf("%d keys; Kafka 4.4 has 37 and an internal one", len(keys))
	}
	return keys
}

// bench is a running node, its disk, and a client.
type bench struct {
	*testing.T
	node   *Server
	disk   *vfs.Mem
	client *kgo.Client
	now    time.Time
}

func newBench(t *testing.T, settings ...string) *bench {
	disk := vfs.NewMem()
	disk.SetCapacity(1 << 30)
	node := memoryNode(t, disk, append(settings, "auto.create.topics.enable", "false")...)
	return &bench{node: node, disk: disk, client: clientOf(t, node), now: time.Now().Truncate(time.Millisecond)}
}

func clientOf(t *testing.T, s *Server) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("PLAINTEXT").String()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(100<<20), kgo.BrokerMaxWriteBytes(101<<20), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// on is the bench in another test.
func (b *bench) on(t *testing.T) *bench {
	own := *b
	own.T = t
	return &own
}

// topic makes a topic of one partition and returns its name; the settings are alternating keys and values.
func (b *bench) topic(name string, settings ...string) string {
	b.Helper()
	if err := b.tryTopic(name, 1, settings...); err != nil {
		b.Fatal(err)
	}
	return name
}

func (b *bench) tryTopic(name string, partitions int32, settings ...string) error {
	request, topic := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(settings); i += 2 {
		config := kmsg.NewCreateTopicsRequestTopicConfig()
		config.Name, config.Value = settings[i], &settings[i+1]
		topic.Configs = append(topic.Configs, config)
	}
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(b.Context(), b.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
	}
	return err
}

// alter changes a setting of a topic while the node runs.
func (b *bench) alter(topic, key, value string) {
	b.Helper()
	if err := b.tryAlter(topic, key, value); err != nil {
		b.Fatalf("%s=%s: %v", key, value, err)
	}
}

func (b *bench) tryAlter(topic, key, value string) error {
	request, resource, config := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = key, &value
	resource.ResourceType, resource.ResourceName, resource.Configs = kmsg.ConfigResourceTypeTopic, topic, append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(b.Context(), b.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Resources[0].ErrorCode)
	}
	return err
}

// try writes one batch to partition 0.
func (b *bench) try(topic string, records ...*kgo.Record) error {
	for _, r := range records {
		r.Topic, r.Partition = topic, max(r.Partition, 0)
	}
	return b.client.ProduceSync(b.Context(), records...).FirstErr()
}

func (b *bench) produce(topic string, records ...*kgo.Record) {
	b.Helper()
	if err := b.try(topic, records...); err != nil {
		b.Fatalf("produce to %s: %v", topic, err)
	}
}

// aged is a record of 100 bytes that is so old.
func (b *bench) aged(age time.Duration) *kgo.Record {
	return &kgo.Record{Key: []byte("key"), Value: make([]byte, 100), Timestamp: b.now.Add(-age)}
}

// start returns the log start offset.
func (b *bench) start(topic string) int64 {
	b.Helper()
	request, asked, partition := kmsg.NewPtrListOffsetsRequest(), kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
	request.ReplicaID, partition.Timestamp = -1, -2
	asked.Topic, asked.Partitions = topic, append(asked.Partitions, partition)
	request.Topics = append(request.Topics, asked)
	response, err := request.RequestWith(b.Context(), b.client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		b.Fatal(err)
	}
	return response.Topics[0].Partitions[0].Offset
}

// until asks the node again and again until something is so, for a minute.
func (b *bench) until(what string, topic string, so func(start int64) bool) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); !so(b.start(topic)); {
		if time.Now().After(deadline) {
			b.Fatalf("%s never was so: the log of %s begins at %d and has the files %v", what, topic, b.start(topic), b.files(topic))
		}
	}
}

// files returns the names in the directory of partition 0.
func (b *bench) files(topic string) (names []string) {
	b.Helper()
	entries, err := b.disk.ReadDir("/data/" + topic + "-0")
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (b *bench) segments(topic string) (n int) {
	b.Helper()
	for _, name := range b.files(topic) {
		if strings.HasSuffix(name, ".log") {
			n++
		}
	}
	return n
}

// batch is a record batch as it is stored.
func (b *bench) batch(topic string) kmsg.RecordBatch {
	b.Helper()
	request, asked, partition := kmsg.NewPtrFetchRequest(), kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	request.Version = 12 // topics by name
	request.ReplicaID, request.MinBytes, request.MaxBytes, request.MaxWaitMillis = -1, 1, 1<<30, 10_000
	partition.PartitionMaxBytes = 1 << 30
	asked.Topic, asked.Partitions = topic, append(asked.Partitions, partition)
	request.Topics = append(request.Topics, asked)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.node.Addr("PLAINTEXT").String()), kgo.MaxVersions(fetchByName()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	response, err := request.RequestWith(b.Context(), client)
	if err == nil {
		err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		b.Fatal(err)
	}
	var batch kmsg.RecordBatch
	raw := response.Topics[0].Partitions[0].RecordBatches
	if err := batch.ReadFrom(raw[:min(len(raw), 12+int(uint32(raw[8])<<24|uint32(raw[9])<<16|uint32(raw[10])<<8|uint32(raw[11])))]); err != nil {
		b.Fatal(err)
	}
	return batch
}

func cleanupPolicy(t *testing.T, b *bench) {
	compacted := b.topic("cleanup", "cleanup.policy", "compact", "retention.ms", "1000")
	b.produce(compacted, b.aged(time.Hour))
	if err := b.try(compacted, &kgo.Record{Value: []byte("no key")}); !errors.Is(err, kerr.InvalidRecord) {
		t.Errorf("a record without a key in a compacted topic: %v", err)
	}
	for _, name := range []string{"cleanup-1", "cleanup-2"} { // two rounds of retention come and go
		deleted := b.topic(name, "cleanup.policy", "delete", "retention.ms", "1000")
		b.produce(deleted, b.aged(time.Hour))
		b.until("deletion by age", deleted, func(start int64) bool { return start == 1 })
	}
	if start := b.start(compacted); start != 0 {
		t.Errorf("cleanup.policy=compact deleted records by age: the log begins at %d", start)
	}
	b.alter(compacted, "cleanup.policy", "compact,delete")
	b.until("deletion by age", compacted, func(start int64) bool { return start == 1 })
}

func compressionType(t *testing.T, b *bench) {
	topic := b.topic("compression")
	b.produce(topic, b.aged(0))
	if codec := b.batch(topic).Attributes & 7; codec != 0 {
		t.Errorf("compression.type=producer stores codec %d where none came", codec)
	}
	for i, codec := range []string{"uncompressed", "gzip", "snappy", "lz4", "zstd"} {
		topic := b.topic("compression-"+codec, "compression.type", codec)
		b.produce(topic, b.aged(0))
		if stored := b.batch(topic).Attributes & 7; int(stored) != i {
			t.Errorf("compression.type=%s stores codec %d", codec, stored)
		}
	}
	b.alter(topic, "compression.type", "zstd")
	b.produce(topic, b.aged(0))
	request := kmsg.NewPtrDeleteRecordsRequest() // so that the second batch is the first that is left
	request.TimeoutMillis = 30_000
	request.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: 0, Offset: 1}}}}
	if _, err := request.RequestWith(t.Context(), b.client); err != nil {
		t.Fatal(err)
	}
	if size := b.fetchFrom(topic, 1); size&7 != 4 {
		t.Errorf("after the change codec %d is stored", size&7)
	}
}

// fetchFrom returns the attributes of the batch at an offset.
func (b *bench) fetchFrom(topic string, offset int64) int16 {
	b.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.node.Addr("PLAINTEXT").String()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(offset)}}))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	fetches := client.PollFetches(b.Context())
	if err := fetches.Err(); err != nil || fetches.NumRecords() == 0 || fetches.Records()[0].Offset != offset {
		b.Fatalf("fetch at %d: %v, %d records", offset, err, fetches.NumRecords())
	}
	return int16(fetches.Records()[0].Attrs.CompressionType())
}

// text is what compresses well, and better the more the codec tries.
func text(n int) []byte {
	var words bytes.Buffer
	for i := uint32(1); words.Len() < n; i = i*1664525 + 1013904223 {
		fmt.Fprintf(&words, "word%d ", i>>22)
	}
	return words.Bytes()[:n]
}

func compressionLevel(t *testing.T, b *bench, codec, low, high string) {
	key := "compression." + codec + ".level"
	size := func(name, level string) int32 {
		topic := b.topic(name, "compression.type", codec, key, level)
		b.produce(topic, &kgo.Record{Value: text(300_000)})
		return b.batch(topic).Length
	}
	least, most := size("level-"+codec+"-"+low, low), size("level-"+codec+"-"+high, high)
	if most >= least {
		t.Errorf("%s=%s stores %d bytes, %s=%s %d", key, low, least, key, high, most)
	}
}

func durability(t *testing.T, b *bench) {
	// After a power cut that takes everything which was not synced, what was acknowledged is there or not.
	kept := func(topic string) int {
		after := b.disk.CrashClone(vfs.CrashOptions{})
		again := (&bench{T: t, node: memoryNode(t, after), disk: after}).on(t)
		again.client = clientOf(t, again.node)
		request, asked, partition := kmsg.NewPtrListOffsetsRequest(), kmsg.NewListOffsetsRequestTopic(), kmsg.NewListOffsetsRequestTopicPartition()
		request.ReplicaID, partition.Timestamp = -1, -1
		asked.Topic, asked.Partitions = topic, append(asked.Partitions, partition)
		request.Topics = append(request.Topics, asked)
		response, err := request.RequestWith(t.Context(), again.client)
		if err == nil {
			err = kerr.ErrorForCode(response.Topics[0].Partitions[0].ErrorCode)
		}
		if err != nil {
			t.Fatal(err)
		}
		return int(response.Topics[0].Partitions[0].Offset)
	}
	topic := b.topic("durable", "durability", "cache")
	b.produce(topic, b.aged(0))
	if n := kept(topic); n != 0 {
		t.Errorf("durability=cache: %d records were synced before they were acknowledged", n)
	}
	b.alter(topic, "durability", "disk")
	b.produce(topic, b.aged(0))
	if n := kept(topic); n != 2 {
		t.Errorf("durability=disk: %d of 2 records are left of what was acknowledged", n)
	}
}

// flush waits for the sync of a log of class cache, which nothing else asks for within this test.
func flush(t *testing.T, _ *bench, key, value string) {
	b := newBench(t, "log.flush.scheduler.interval.ms", "20", "log.flush.interval.ms", "9223372036854775807").on(t) // on the other one logs that retention found idle are flushed
	topic := b.topic(strings.ReplaceAll(key, ".", "-"), "durability", "cache")
	synced := make(chan struct{}, 1000)
	b.disk.SetSyncHook(func(name string) {
		if strings.Contains(name, topic+"-0/") && strings.HasSuffix(name, ".log") {
			synced <- struct{}{}
		}
	})
	defer b.disk.SetSyncHook(nil)
	b.produce(topic, b.aged(0))
	if len(synced) > 0 {
		t.Fatal("the log is synced although nothing asks for it")
	}
	b.alter(topic, key, value)
	b.produce(topic, b.aged(0))
	select {
	case <-synced:
	case <-time.After(time.Minute):
		t.Errorf("%s=%s: the log is not flushed", key, value)
	}
}

func fileDeleteDelay(t *testing.T, b *bench) {
	later := b.topic("delete-later", "file.delete.delay.ms", "3600000", "retention.ms", "1000")
	now := b.topic("delete-now", "file.delete.delay.ms", "0", "retention.ms", "1000")
	for _, topic := range []string{later, now} {
		b.produce(topic, b.aged(time.Hour))
		b.until("deletion", topic, func(start int64) bool { return start == 1 })
	}
	deleted := func(name string) bool { return strings.HasSuffix(name, ".deleted") }
	b.until("the file is unlinked", now, func(int64) bool { return !slices.ContainsFunc(b.files(now), deleted) })
	if !slices.ContainsFunc(b.files(later), deleted) {
		t.Errorf("file.delete.delay.ms=3600000: the files are %v", b.files(later))
	}
	b.alter(later, "file.delete.delay.ms", "0")
	b.produce(later, b.aged(time.Hour))
	b.until("the next file is unlinked", later, func(start int64) bool {
		return start == 2 && !slices.Contains(b.files(later), "00000000000000000001.log.deleted")
	})
}

func indexInterval(t *testing.T, b *bench) {
	own := newBench(t).on(t) // it is stopped, so that its indexes have their final size
	dense, sparse := own.topic("dense", "index.interval.bytes", "1"), own.topic("sparse", "index.interval.bytes", "100000")
	for _, topic := range []string{dense, sparse} {
		for range 10 {
			own.produce(topic, own.aged(0))
		}
	}
	if err := own.node.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	size := func(topic string) int64 {
		info, err := own.disk.Stat(path.Join("/data", topic+"-0", "00000000000000000000.index"))
		if errors.Is(err, fs.ErrNotExist) {
			return 0
		}
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if size(dense) < 9*8 || size(sparse) != 0 {
		t.Errorf("the index of ten batches has %d bytes at every byte and %d at every 100,000", size(dense), size(sparse))
	}
}

// rollsAfter writes six batches and wants a new segment after every so many, and without the settings none.
func rollsAfter(t *testing.T, b *bench, batches int, settings ...string) {
	name := strings.ReplaceAll(settings[0], ".", "-")
	topic := b.topic(name)
	for range 6 {
		b.produce(topic, b.aged(0))
	}
	if n := b.segments(topic); n != 1 {
		t.Errorf("%d segments without %s", n, settings[0])
	}
	for i := 0; i < len(settings); i += 2 {
		b.alter(topic, settings[i], settings[i+1])
	}
	before := b.segments(topic)
	for range 6 {
		b.produce(topic, b.aged(0))
	}
	if got := b.segments(topic) - before; got < 6/batches-1 {
		t.Errorf("%v begins %d segments in six batches", settings, got)
	}
}

func segmentBytes(t *testing.T, b *bench) {
	topic := b.topic("segment-bytes")
	for range 3 {
		b.produce(topic, &kgo.Record{Value: make([]byte, 600_000)})
	}
	if n := b.segments(topic); n != 1 {
		t.Errorf("%d segments of 1 GiB each", n)
	}
	b.alter(topic, "segment.bytes", "1048576")
	for range 3 {
		b.produce(topic, &kgo.Record{Value: make([]byte, 600_000)})
	}
	if n := b.segments(topic); n != 4 {
		t.Errorf("%d segments after three batches that fill one each", n)
	}
	if err := b.tryAlter(topic, "segment.bytes", "1048575"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("segment.bytes below 1 MiB: %v", err)
	}
}

func segmentMs(t *testing.T, b *bench) {
	topic := b.topic("segment-ms")
	b.produce(topic, b.aged(20*time.Minute))
	b.produce(topic, b.aged(15*time.Minute))
	if n := b.segments(topic); n != 1 {
		t.Errorf("%d segments of 7 days each", n)
	}
	b.alter(topic, "segment.ms", "60000")
	b.produce(topic, b.aged(10*time.Minute))
	b.produce(topic, b.aged(5*time.Minute))
	if n := b.segments(topic); n != 3 {
		t.Errorf("%d segments after two that are over a minute younger", n)
	}
}

// segmentJitter: with all of an hour taken off at random, one of twenty partitions rolls in the first half of it; without,
// none does. That all twenty draw more than half an hour happens once in a million times.
func segmentJitter(t *testing.T, b *bench) {
	rolled := func(name string, settings ...string) (n int) {
		if err := b.tryTopic(name, 20, append(settings, "segment.ms", "3600000")...); err != nil {
			t.Fatal(err)
		}
		for p := range int32(20) {
			for _, age := range []time.Duration{40 * time.Minute, 10 * time.Minute} {
				r := b.aged(age)
				r.Partition = p
				b.produce(name, r)
			}
			entries, err := b.disk.ReadDir(fmt.Sprintf("/data/%s-%d", name, p))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if strings.HasSuffix(e.Name(), ".log") {
					n++
				}
			}
		}
		return n - 20
	}
	if n := rolled("no-jitter"); n != 0 {
		t.Errorf("%d segments rolled before their time", n)
	}
	if n := rolled("jitter", "segment.jitter.ms", "3600000"); n == 0 {
		t.Error("no segment rolled before segment.ms")
	}
}

func maxCompactionLag(t *testing.T, b *bench) {
	topic := b.topic("compaction-lag", "cleanup.policy", "compact")
	b.produce(topic, b.aged(20*time.Minute))
	b.produce(topic, b.aged(15*time.Minute))
	if n := b.segments(topic); n != 1 {
		t.Errorf("%d segments without a bound", n)
	}
	b.alter(topic, "max.compaction.lag.ms", "60000") // only what is not in the active segment can be compacted
	b.produce(topic, b.aged(10*time.Minute))
	if n := b.segments(topic); n != 2 {
		t.Errorf("%d segments where the first is over a minute old", n)
	}
}

func maxDecompressed(t *testing.T, b *bench) {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.node.Addr("PLAINTEXT").String()), kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topic := b.topic("decompressed")
	bomb := func() error {
		return client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: make([]byte, 500_000)}).FirstErr()
	}
	if err := bomb(); err != nil {
		t.Fatal(err)
	}
	b.alter(topic, "max.decompressed.message.bytes", "400000")
	if err := bomb(); !errors.As(err, new(*kerr.Error)) {
		t.Errorf("a record of 500,000 bytes where 400,000 are allowed: %v", err)
	}
	b.alter(topic, "max.decompressed.message.bytes", "600000")
	if err := bomb(); err != nil {
		t.Errorf("after the bound was raised: %v", err)
	}
}

func maxMessage(t *testing.T, b *bench) {
	topic := b.topic("max-message", "max.message.bytes", "1000")
	if err := b.try(topic, &kgo.Record{Value: make([]byte, 1000)}); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a batch above max.message.bytes: %v", err)
	}
	b.produce(topic, &kgo.Record{Value: make([]byte, 900)})
	b.alter(topic, "max.message.bytes", "2000")
	b.produce(topic, &kgo.Record{Value: make([]byte, 1000)})
}

// timestampBound: a record two hours off is refused by a bound of one hour, and taken by one of a day.
func timestampBound(t *testing.T, b *bench, key string, sign time.Duration) {
	topic := b.topic(strings.ReplaceAll(key, ".", "-"), key, "3600000")
	off := func() *kgo.Record { return b.aged(-sign * 2 * time.Hour) }
	if err := b.try(topic, off()); !errors.Is(err, kerr.InvalidTimestamp) {
		t.Errorf("a record two hours off: %v", err)
	}
	b.produce(topic, b.aged(-sign*30*time.Minute))
	b.alter(topic, key, "86400000")
	b.produce(topic, off())
}

func timestampType(t *testing.T, b *bench) {
	topic := b.topic("timestamp-type")
	b.produce(topic, b.aged(time.Hour))
	b.alter(topic, "message.timestamp.type", "LogAppendTime")
	r := b.aged(time.Hour)
	b.produce(topic, r)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.node.Addr("PLAINTEXT").String()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var read []*kgo.Record
	for len(read) < 2 {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		read = append(read, fetches.Records()...)
	}
	if !read[0].Timestamp.Equal(b.now.Add(-time.Hour)) || read[0].Attrs.TimestampType() != 0 {
		t.Errorf("CreateTime: %v, type %d", read[0].Timestamp, read[0].Attrs.TimestampType())
	}
	if read[1].Timestamp.Before(b.now) || read[1].Attrs.TimestampType() != 1 {
		t.Errorf("LogAppendTime: %v, type %d", read[1].Timestamp, read[1].Attrs.TimestampType())
	}
}

// minInsync: what counts is at most the number of replicas, so a single node takes acks=all whatever the number says;
// that a partition with too few in sync refuses is tested where there are several (TestStrictMinISR in replica).
func minInsync(t *testing.T, b *bench) {
	topic := b.topic("min-insync", "min.insync.replicas", "2")
	b.produce(topic, b.aged(0))
	if err := b.tryAlter(topic, "min.insync.replicas", "0"); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("min.insync.replicas=0: %v", err)
	}
	exists(t, "internal/replica/leader_test.go", "func TestStrictMinISR(")
}

// uncleanElection takes more than one node; the controller decides it (its transcript unclean.txt). Here the key is kept.
func uncleanElection(t *testing.T, b *bench) {
	isStored(t, b, topicKey{name: "unclean.leader.election.enable", typ: "boolean"})
	exists(t, "internal/controller/testdata/unclean.txt", "unclean-0 leader=2 epoch=1 replicas=[1 2] isr=[2] recovering")
}

// exists says that a test of a room is still what another one relies on.
func exists(t *testing.T, file, what string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(content, []byte(what)) {
		t.Errorf("%s does not have %q any more (%v)", file, what, err)
	}
}

func preallocate(t *testing.T, b *bench) {
	used := func() int64 {
		usage, err := b.disk.Usage("/data")
		if err != nil {
			t.Fatal(err)
		}
		return usage.Total - usage.Free
	}
	before := used()
	b.produce(b.topic("preallocate", "segment.bytes", "8388608"), b.aged(0))
	if grown := used() - before; grown > 4<<20 {
		t.Errorf("a segment takes %d bytes of the disk without preallocate", grown)
	}
	before = used()
	b.produce(b.topic("preallocated", "segment.bytes", "8388608", "preallocate", "true"), b.aged(0))
	if grown := used() - before; grown < 7<<20 {
		t.Errorf("preallocate takes %d bytes of the disk for a segment of 8 MiB", grown)
	}
}

func retentionBytes(t *testing.T, b *bench) {
	topic := b.topic("retention-bytes", "internal.segment.bytes", "300")
	for range 20 {
		b.produce(topic, b.aged(0))
	}
	if start := b.start(topic); start != 0 {
		t.Errorf("without a bound the log begins at %d", start)
	}
	b.alter(topic, "retention.bytes", "1000")
	b.until("the log is cut to size", topic, func(start int64) bool { return start > 10 && start < 20 })
}

func retentionMs(t *testing.T, b *bench) {
	topic := b.topic("retention-ms")
	b.produce(topic, b.aged(2*time.Hour))
	b.alter(topic, "segment.ms", "1000")
	b.produce(topic, b.aged(0))
	if start := b.start(topic); start != 0 {
		t.Errorf("within seven days the log begins at %d", start)
	}
	b.alter(topic, "retention.ms", "3600000")
	b.until("the old record is deleted, the new one is not", topic, func(start int64) bool { return start == 1 })
}

// isStored checks that a key without an effect yet is validated, kept and described.
func isStored(t *testing.T, b *bench, k topicKey) {
	good, bad := "5", "word"
	switch {
	case k.typ == "boolean":
		good, bad = "true", "maybe"
	case k.typ == "double":
		good, bad = "0.25", "1.5"
	case k.typ == "list":
		good, bad = "0:1", "0-1"
	}
	name := "stored-" + strings.ReplaceAll(k.name, ".", "-")
	if err := b.tryTopic(name, 1, k.name, bad); !errors.Is(err, kerr.InvalidConfig) {
		t.Errorf("%s=%s: %v", k.name, bad, err)
	}
	settings := []string{k.name, good}
	switch k.name { // what Kafka couples them with
	case "remote.storage.enable", "remote.log.copy.disable", "remote.log.delete.on.disable":
		settings = nil
	}
	topic := b.topic(name, settings...)
	request, resource := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName, resource.ConfigNames = kmsg.ConfigResourceTypeTopic, topic, []string{k.name}
	request.IncludeDocumentation = true
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(context.Background(), b.client)
	if err != nil || len(response.Resources[0].Configs) != 1 {
		t.Fatalf("describe: %v, %+v", err, response)
	}
	c := response.Resources[0].Configs[0]
	if settings != nil && (c.Value == nil || *c.Value != good || c.Source != kmsg.ConfigSourceDynamicTopicConfig) || c.Documentation == nil || *c.Documentation == "" {
		t.Errorf("%s is described as %+v", k.name, c)
	}
}

// fetchByName keeps a client at the last version of Fetch in which topics have names.
func fetchByName() *kversion.Versions {
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	return versions
}

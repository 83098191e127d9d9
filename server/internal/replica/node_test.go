package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// node is a manager with a cluster of one around it: a metadata log that holds whatever the test says.
type node struct {
	t       testing.TB
	m       *Manager
	fs      vfs.FS
	image   *metadata.Image
	offset  int64
	cluster *fakeCluster
	logs    *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fakeCluster remembers what the replicas told the cluster.
type fakeCluster struct {
	mu       sync.Mutex
	assigned map[kafka.TopicIDPartition]kafka.DirectoryID
	failed   []string
	left     int
	stalled  int
	resumed  int
}

func (c *fakeCluster) AssignDirectory(r kafka.TopicIDPartition, d kafka.DirectoryID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.assigned == nil {
		c.assigned = map[kafka.TopicIDPartition]kafka.DirectoryID{}
	}
	c.assigned[r] = d
}

func (c *fakeCluster) DirFailed(d Dir, remaining int, _ error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed, c.left = append(c.failed, d.Path), remaining
}

func (c *fakeCluster) SyncStalled(Dir, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled++
}

func (c *fakeCluster) SyncResumed(Dir, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resumed++
}

func (c *fakeCluster) stalls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stalled
}

func (c *fakeCluster) resumes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.resumed
}

func (c *fakeCluster) failures() ([]string, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.left
}

var (
	idT  = kafka.TopicID{15: 0x71, 6: 0x40}
	idU  = kafka.TopicID{15: 0x72, 6: 0x40}
	dir1 = Dir{Path: "d1", ID: kafka.DirectoryID{15: 101}}
	dir2 = Dir{Path: "d2", ID: kafka.DirectoryID{15: 102}}
)

// appendedFiles matches the files whose sync an acknowledgement may rest on: segments and the journal.
const appendedFiles = "*[0-9l].[0-9l]*"

// newNode makes a node over directories that exist, and loads them.
func newNode(t testing.TB, fsys vfs.FS, change func(*Options), dirs ...Dir) *node {
	t.Helper()
	if len(dirs) == 0 {
		dirs = []Dir{dir1}
	}
	n := &node{t: t, fs: fsys, image: metadata.Empty(), cluster: &fakeCluster{}, logs: &lockedBuffer{}}
	for _, d := range dirs {
		if err := fsys.MkdirAll(d.Path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsys.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	o := Options{
		NodeID: 1, FS: fsys, Dirs: dirs, Cluster: n.cluster, Broker: DefaultBrokerConfig(),
		Log: slog.New(slog.NewTextHandler(n.logs, nil)), TopicConfig: configOf, Budget: budget.New(16 << 20),
	}
	o.Broker.ReserveBytes, o.Broker.ScrubBytesPerSecond = 256<<10, 0
	if change != nil {
		change(&o)
	}
	n.m = New(o)
	n.m.heavyRounds = 0 // small appends are always held
	return n
}

func configOf(image *metadata.Image, topic string) (commitlog.Config, TopicConfig) {
	get := func(key string) string {
		if value, set := image.Config(kafka.ResourceTopic, topic)[key]; set || key != "cleanup.policy" {
			return value
		}
		return "delete" // of a list "" is a value, too
	}
	log, err := commitlog.ParseConfig(get)
	if err != nil {
		panic(err)
	}
	own, err := ParseTopicConfig(get)
	if err != nil {
		panic(err)
	}
	return log, own
}

func (n *node) load() *node {
	n.t.Helper()
	if err := n.m.Load(context.Background(), nil); err != nil {
		n.t.Fatal(err)
	}
	return n
}

// apply commits records and hands the manager what comes of them.
func (n *node) apply(records ...wire.Message) {
	n.t.Helper()
	d := metadata.NewDelta(n.image)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			n.t.Fatal(err)
		}
		n.offset++
	}
	n.image = d.Apply(n.offset, 1, 0)
	n.m.Apply(n.image, d)
}

// topicRecords make a topic of that many partitions, led by this node in epoch 0 and with settings "key", "value", ….
func topicRecords(name string, id kafka.TopicID, partitions int, settings ...string) []wire.Message {
	records := []wire.Message{&wire.TopicRecord{Name: name, TopicID: id}}
	for p := range partitions {
		records = append(records, partitionRecord(id, int32(p), 0, 1))
	}
	for i := 0; i < len(settings); i += 2 {
		records = append(records, &wire.ConfigRecord{ResourceType: int8(kafka.ResourceTopic), ResourceName: name, Name: settings[i], Value: &settings[i+1]})
	}
	return records
}

// partitionRecord is a partition with one replica for each node named, all in sync, led by the first.
func partitionRecord(id kafka.TopicID, partition, epoch int32, nodes ...int32) *wire.PartitionRecord {
	r := wire.NewPartitionRecord()
	r.PartitionID, r.TopicID, r.Replicas, r.Isr, r.Leader = partition, id, nodes, nodes, nodes[0]
	r.LeaderEpoch, r.PartitionEpoch = epoch, epoch
	for range nodes {
		r.Directories = append(r.Directories, kafka.UnassignedDirectory)
	}
	return r
}

// batch makes an uncompressed batch of records that hold the values.
func batchOf(values ...string) []byte { return batchAt(time.Now().UnixMilli(), values...) }

func batchAt(timestamp int64, values ...string) []byte {
	var records []byte
	for i, v := range values {
		var r []byte
		r = append(r, 0)                          // attributes
		r = binary.AppendVarint(r, 0)             // timestamp delta
		r = binary.AppendVarint(r, int64(i))      // offset delta
		r = binary.AppendVarint(r, -1)            // no key
		r = binary.AppendVarint(r, int64(len(v))) // value
		r = append(r, v...)                       //
		r = binary.AppendVarint(r, 0)             // no headers
		records = binary.AppendVarint(records, int64(len(r)))
		records = append(records, r...)
	}
	b := make([]byte, 61, 61+len(records))
	binary.BigEndian.PutUint32(b[8:], uint32(61-12+len(records)))
	b[16] = 2
	binary.BigEndian.PutUint32(b[23:], uint32(len(values)-1))
	binary.BigEndian.PutUint64(b[27:], uint64(timestamp))
	binary.BigEndian.PutUint64(b[35:], uint64(timestamp))
	binary.BigEndian.PutUint64(b[43:], math.MaxUint64) // no producer id
	binary.BigEndian.PutUint16(b[51:], math.MaxUint16)
	binary.BigEndian.PutUint32(b[53:], math.MaxUint32)
	binary.BigEndian.PutUint32(b[57:], uint32(len(values)))
	b = append(b, records...)
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// appendAsync appends one batch to one partition; the answer comes on the channel.
func (n *node) appendAsync(topic string, partition int32, acks int16, records []byte) <-chan AppendEntry {
	done := make(chan AppendEntry, 1)
	req := &AppendRequest{Acks: acks, Timeout: time.Minute, Version: 12, Done: func(r *AppendRequest) { done <- r.Entries[0] }}
	req.Entries = []AppendEntry{{Topic: topic, Partition: partition, Records: records}}
	n.m.Append(req)
	return done
}

// append appends and waits for the answer.
func (n *node) append(topic string, partition int32, acks int16, values ...string) AppendEntry {
	return <-n.appendAsync(topic, partition, acks, batchOf(values...))
}

// fetch is a request for partitions of topic t from the given offsets, number by number.
func fetchOf(topic string, offsets ...int64) *FetchRequest {
	req := &FetchRequest{Version: 12, ReplicaID: -1, MinBytes: 1, MaxBytes: 1 << 20, SessionEpoch: -1}
	for p, offset := range offsets {
		req.Partitions = append(req.Partitions, fetchPartition(topic, int32(p), offset))
	}
	return req
}

func fetchPartition(topic string, partition int32, offset int64) FetchPartition {
	return FetchPartition{Topic: topic, Partition: partition, FetchOffset: offset, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1, LogStartOffset: -1, MaxBytes: 1 << 20, HighWatermark: math.MaxInt64}
}

// fetchAsync starts a fetch; its channel is closed by Done.
func (n *node) fetchAsync(req *FetchRequest) <-chan struct{} {
	done := make(chan struct{})
	req.Done = func(*FetchRequest) { close(done) }
	n.m.Fetch(req)
	return done
}

// fetch waits for the answer, and gives its ranges up at the test's end.
func (n *node) fetch(req *FetchRequest) *FetchRequest {
	<-n.fetchAsync(req)
	return req
}

// values returns what the records of a response hold, and gives the range up.
func values(t testing.TB, r *FetchedPartition) []string {
	t.Helper()
	if r.Slice.Range == nil {
		return nil
	}
	defer r.Slice.Range.Release()
	b := make([]byte, r.Slice.Range.Len())
	if n, err := r.Slice.Range.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	var out []string
	for len(b) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(b[8:]))
		records := b[61:size]
		for len(records) > 0 {
			length, n := binary.Varint(records)
			r := records[n+1 : n+int(length)]
			records = records[n+int(length):]
			for range 2 {
				_, n = binary.Varint(r)
				r = r[n:]
			}
			_, n = binary.Varint(r) // no key
			r = r[n:]
			size, n := binary.Varint(r)
			out = append(out, string(r[n:n+int(size)]))
		}
		b = b[size:]
	}
	return out
}

// writeHeld writes into the files of the logs what these hold in memory, so that they are as long as the logs.
func (n *node) writeHeld() {
	for p := range n.m.topics.replicas() {
		p.log.WriteBack()
	}
}

func (n *node) close() {
	n.t.Helper()
	if err := n.m.Close(context.Background()); err != nil {
		n.t.Errorf("close: %v", err)
	}
}

func check(t testing.TB, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func removeTopic(id kafka.TopicID) wire.Message { return &wire.RemoveTopicRecord{TopicID: id} }

// delay makes an operation take that long.
func delay(d time.Duration) func(vfs.Op, string) { return func(vfs.Op, string) { time.Sleep(d) } }

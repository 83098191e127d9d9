package server_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// hotConn is a client that makes no garbage: what is allocated while it is at work, the server allocates.
type hotConn struct {
	net.Conn
	t    testing.TB
	in   *bufio.Reader
	head [64]byte
}

// Versions whose responses are looked into by position.
const (
	hotProduce = 13
	hotFetch   = 17
)

// hotTopic makes a topic and returns its id and a connection to the node.
func (n *node) hotTopic(name string, partitions int32) ([16]byte, *hotConn) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := n.client()
	createTopic(n.t, ctx, client, name, partitions)
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	resp, err := req.RequestWith(ctx, client)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		n.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", n.server.Addr("PLAINTEXT").String())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { conn.Close() })
	return resp.Topics[0].TopicID, &hotConn{Conn: conn, t: n.t, in: bufio.NewReaderSize(conn, 64<<10)}
}

// hotBatch is a batch of records of 1 KB, of at most so many bytes, but of one record at least.
func hotBatch(bytes int) []byte {
	var records []byte
	count := int32(0)
	for ; count == 0 || len(records)+1100 < bytes; count++ {
		r := kmsg.Record{OffsetDelta: count, Value: make([]byte, 1024)}
		r.Length = int32(len(r.AppendTo(nil)) - 1)
		records = r.AppendTo(records)
	}
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: count - 1, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: count, Records: records}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// hotFrames are Produce requests, pipelined: one for each partition in turn.
func hotFrames(id [16]byte, partitions int32, acks int16, batch []byte, requests int) []byte {
	var frames []byte
	for i := range requests {
		req := kmsg.NewPtrProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = hotProduce, acks, 30_000
		topic := kmsg.NewProduceRequestTopic()
		topic.TopicID = id
		partition := kmsg.NewProduceRequestTopicPartition()
		partition.Partition, partition.Records = int32(i)%partitions, batch
		topic.Partitions = append(topic.Partitions, partition)
		req.Topics = append(req.Topics, topic)
		frames = append(frames, kmsg.NewRequestFormatter(kmsg.FormatterClientID("hot")).AppendRequest(nil, req, int32(i))...)
	}
	return frames
}

// next reads the head of a response, up to n bytes, passes over the rest, and returns its size.
func (c *hotConn) next(n int) int {
	head := c.head[:n]
	if _, err := io.ReadFull(c.in, head); err != nil {
		c.t.Fatal(err)
	}
	size := 4 + int(binary.BigEndian.Uint32(head))
	if _, err := c.in.Discard(size - n); err != nil {
		c.t.Fatal(err)
	}
	return size
}

// produced sends pipelined requests and waits for their responses.
//
//	+------+-------------+------+--------+----+------------+-----------+-------+
//	| size | correlation | tags | topics | id | partitions | partition | error | ...
//	| 4    | 4           | 1    | 1      | 16 | 1          | 4         | 2     |
//	+------+-------------+------+--------+----+------------+-----------+-------+
func (c *hotConn) produced(frames []byte, requests int) {
	if _, err := c.Write(frames); err != nil {
		c.t.Fatal(err)
	}
	for range requests {
		c.next(33)
		if code := binary.BigEndian.Uint16(c.head[31:]); code != 0 {
			c.t.Fatalf("a produce request was answered with error %d", code)
		}
	}
}

// TestProduceAllocates holds goal 20 over the whole path, from socket to socket: a request makes at most five small
// things, whatever its class and size, and none of the size of what it carries.
func TestProduceAllocates(t *testing.T) {
	const pipelined, times = 20, 100
	for _, durability := range []string{"cache", "disk"} {
		n := startNode(t, "log.durability", durability)
		for size, name := range map[int]string{1: "one-record", 100_000: "100-KB"} {
			id, conn := n.hotTopic(name, 2)
			frames := hotFrames(id, 2, -1, hotBatch(size), pipelined)
			for range 10 {
				conn.produced(frames, pipelined)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range times {
				conn.produced(frames, pipelined)
			}
			runtime.ReadMemStats(&after)
			requests := float64(pipelined * times)
			things, bytes := float64(after.Mallocs-before.Mallocs)/requests, float64(after.TotalAlloc-before.TotalAlloc)/requests
			t.Logf("class %s, %s: %.2f allocations of %.0f bytes per request", durability, name, things, bytes)
			if !raceEnabled && (things > 5 || bytes > 4<<10) { // the detector allocates too
				t.Errorf("class %s, %s: %.2f allocations of %.0f bytes per request", durability, name, things, bytes)
			}
		}
		n.stop()
	}
}

// BenchmarkProduce is the path of produce requests from socket to socket, pipelined on one connection.
func BenchmarkProduce(b *testing.B) {
	const pipelined, partitions = 20, 8
	for _, durability := range []string{"cache", "disk"} {
		for _, size := range []int{1, 100_000} {
			batch := hotBatch(size)
			b.Run(fmt.Sprintf("%s/%dKB", durability, (len(batch)+999)/1000), func(b *testing.B) {
				n := startNode(b, "log.durability", durability, "log.segment.bytes", "67108864", "log.retention.bytes", "67108864", "log.retention.check.interval.ms", "1000", "log.segment.delete.delay.ms", "100")
				id, conn := n.hotTopic("hot", partitions)
				frames := hotFrames(id, partitions, 1, batch, pipelined)
				one := len(frames) / pipelined
				b.SetBytes(int64(one))
				b.ReportAllocs()
				b.ResetTimer()
				for left := b.N; left > 0; left -= pipelined {
					k := min(left, pipelined)
					conn.produced(frames[:k*one], k)
				}
				b.StopTimer()
				n.stop()
			})
		}
	}
}

// BenchmarkFetch reads a partition over and over, one request at a time.
func BenchmarkFetch(b *testing.B) {
	const batches = 64
	for _, most := range []int32{1, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("%dKB", (most+999)/1000), func(b *testing.B) {
			n := startNode(b, "log.durability", "cache")
			id, conn := n.hotTopic("hot", 1)
			batch := hotBatch(min(int(most), 100_000))
			conn.produced(hotFrames(id, 1, 1, batch, batches), batches)

			req := kmsg.NewPtrFetchRequest()
			req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = hotFetch, 1000, 1, most, -1
			topic := kmsg.NewFetchRequestTopic()
			topic.TopicID = id
			partition := kmsg.NewFetchRequestTopicPartition()
			partition.FetchOffset, partition.PartitionMaxBytes = 1, most
			topic.Partitions = append(topic.Partitions, partition)
			req.Topics = append(req.Topics, topic)
			frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("hot")).AppendRequest(nil, req, 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(frame); err != nil {
					b.Fatal(err)
				}
				size := conn.next(12)
				if size < len(batch) {
					b.Fatalf("the response has %d bytes, less than a batch", size)
				}
				b.SetBytes(int64(size))
			}
			n.stop()
		})
	}
}

// BenchmarkCommit is the path of offset commits from socket to socket: of committers that wait for their answer each, with
// a group and a connection of their own.
func BenchmarkCommit(b *testing.B) {
	const committers = 64
	n := startNode(b, "offsets.topic.replication.factor", "1")
	_, first := n.hotTopic("hot", 1)
	find := kmsg.NewPtrFindCoordinatorRequest() // which makes the topic that they are kept in
	find.CoordinatorKeys = []string{"committer"}
	if _, err := find.RequestWith(context.Background(), n.client()); err != nil {
		b.Fatal(err)
	}
	conns := make([]*hotConn, committers)
	frames := make([][]byte, committers)
	for i := range conns {
		conns[i] = first
		if i > 0 {
			conn, err := net.Dial("tcp", n.server.Addr("PLAINTEXT").String())
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
			conns[i] = &hotConn{Conn: conn, t: b, in: bufio.NewReaderSize(conn, 4<<10)}
		}
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, fmt.Sprint("committer", i), -1
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic, topic.Partitions = "hot", []kmsg.OffsetCommitRequestTopicPartition{{Offset: 1}}
		req.Topics = append(req.Topics, topic)
		frames[i] = kmsg.NewRequestFormatter(kmsg.FormatterClientID("hot")).AppendRequest(nil, req, int32(i))
		conns[i].commit(frames[i])
	}
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	var next atomic.Int64
	for i, c := range conns {
		all.Go(func() {
			for next.Add(1) <= int64(b.N) {
				c.commit(frames[i])
			}
		})
	}
	all.Wait()
	b.StopTimer()
	n.stop()
}

// commit sends a commit and waits for the answer, until it is taken: a coordinator may have to be loaded first.
//
//	+------+-------------+------+----------+--------+------+-----+------------+-----------+-------+
//	| size | correlation | tags | throttle | topics | name | hot | partitions | partition | error | ...
//	| 4    | 4           | 1    | 4        | 1      | 1    | 3   | 1          | 4         | 2     |
//	+------+-------------+------+----------+--------+------+-----+------------+-----------+-------+
func (c *hotConn) commit(frame []byte) {
	for {
		if _, err := c.Write(frame); err != nil {
			c.t.Error(err)
			return
		}
		c.next(25)
		switch code := binary.BigEndian.Uint16(c.head[23:]); code {
		case 0:
			return
		case 14, 15, 16: // the coordinator is not there yet
			time.Sleep(10 * time.Millisecond)
		default:
			c.t.Errorf("a commit was answered with error %d", code)
			return
		}
	}
}

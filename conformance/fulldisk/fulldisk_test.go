package fulldisk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

const reserve = 1 << 20

// disk mounts a file system of its own of so many bytes, gone with the test. Who may not mount has not seen the node on a
// full disk, so that is a failure.
func disk(t *testing.T, options string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if errors.Is(err, syscall.EPERM) {
			t.Fatal("mounting a file system needs root; without it: unshare --map-root-user --mount go test ./fulldisk")
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

type client struct {
	t *testing.T
	n *node.Node
	c *socket.Conn
}

func dial(t *testing.T, n *node.Node) *client {
	t.Helper()
	c, err := socket.Dial(n.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t, n, c}
}

func (c *client) call(request, response wire.Message, version int16) {
	c.t.Helper()
	if err := c.c.Call(request, response, version, 20*time.Second); err != nil {
		c.t.Fatalf("%s: %v\n%s", request.Info().Name, err, c.n.Output())
	}
}

func (c *client) create(topic string) kafka.ErrorCode {
	c.t.Helper()
	request := wire.NewCreateTopicsRequest()
	request.Topics = []wire.CreateTopicsRequestTopics{{Name: topic, NumPartitions: 1, ReplicationFactor: 1}}
	response := wire.NewCreateTopicsResponse()
	c.call(request, response, 7)
	return response.Topics[0].ErrorCode
}

func (c *client) remove(topic string) kafka.ErrorCode {
	c.t.Helper()
	request := wire.NewDeleteTopicsRequest()
	request.Topics = []wire.DeleteTopicsRequestTopics{{Name: &topic}}
	request.TimeoutMs = 10_000
	response := wire.NewDeleteTopicsResponse()
	c.call(request, response, 6)
	return response.Responses[0].ErrorCode
}

func (c *client) write(topic string) kafka.ErrorCode {
	c.t.Helper()
	b := record.NewBuilder(record.NewBuilderOptions())
	b.Append(record.Record{Timestamp: time.Now().UnixMilli(), Value: make([]byte, 200<<10)})
	request := wire.NewProduceRequest()
	request.Acks, request.TimeoutMs = -1, 10_000
	request.TopicData = []wire.ProduceRequestTopicData{{Name: topic, PartitionData: []wire.ProduceRequestPartitionData{{Records: b.Build(nil)}}}}
	response := wire.NewProduceResponse()
	c.call(request, response, 12)
	return response.Responses[0].PartitionResponses[0].ErrorCode
}

// count reads a topic from its beginning.
func (c *client) count(topic string) (n int64) {
	c.t.Helper()
	for {
		request := wire.NewFetchRequest()
		request.ReplicaID, request.MaxBytes, request.SessionEpoch = -1, 8<<20, -1
		one := wire.NewFetchRequestPartitions()
		one.FetchOffset, one.PartitionMaxBytes = n, 8<<20
		request.Topics = []wire.FetchRequestTopics{{Topic: topic, Partitions: []wire.FetchRequestPartitions{one}}}
		response := wire.NewFetchResponse()
		c.call(request, response, 12)
		p := response.Responses[0].Partitions[0]
		if p.ErrorCode != kafka.None {
			c.t.Fatalf("read %s at %d: %v\n%s", topic, n, p.ErrorCode, c.n.Output())
		}
		for rest := p.Records; len(rest) > 0; {
			b, behind, err := record.Next(rest)
			if err != nil {
				break
			}
			if err := b.CheckCRC(); err != nil {
				c.t.Fatal(err)
			}
			n, rest = b.NextOffset(), behind
		}
		if n >= p.HighWatermark {
			return n
		}
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

// TestFullDisk: writes are refused while there is still room for what a node must be able to do; reads, deletion,
// checkpoints and a restart go on with nothing left at all; and writing resumes by itself.
func TestFullDisk(t *testing.T) {
	dir := disk(t, "size=24m")
	n := node.Format(t, map[string]string{"log.dirs": filepath.Join(dir, "data"), "log.reserve.bytes": "1048576",
		"log.segment.delete.delay.ms": "1", "log.flush.offset.checkpoint.interval.ms": "100", "replica.high.watermark.checkpoint.interval.ms": "100"})
	n.Restart(t)
	c := dial(t, n)
	for _, topic := range []string{"kept", "deleted"} {
		if code := c.create(topic); code != kafka.None {
			t.Fatalf("create %s: %v", topic, code)
		}
	}
	for range 10 {
		if code := c.write("deleted"); code != kafka.None {
			t.Fatalf("write: %v", code)
		}
	}
	written := int64(0)
	code := kafka.None
	for code == kafka.None && written < 200 {
		if code = c.write("kept"); code == kafka.None {
			written++
		}
	}
	if code != kafka.KafkaStorageError || written < 20 {
		t.Fatalf("after %d records: %v, want KAFKA_STORAGE_ERROR when the disk is nearly full", written, code)
	}
	if left := free(t, dir); left < reserve/2 {
		t.Errorf("%d bytes are left when writes are refused: others need some, too", left)
	}
	if info, err := os.Stat(filepath.Join(dir, "data", "millrace-reserve")); err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 < reserve {
		t.Errorf("the reserve was touched: %v %v", info, err)
	}
	eventually(t, "the log says so", func() bool {
		return strings.Contains(n.Output(), "disk full: writes to this log directory are refused")
	})

	// Somebody else takes the rest.
	hog := filepath.Join(dir, "hog")
	if err := os.WriteFile(hog, make([]byte, free(t, dir)), 0o644); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if left := free(t, dir); left > 4096 {
		t.Fatalf("%d bytes are left", left)
	}
	if code := c.write("kept"); code != kafka.KafkaStorageError {
		t.Errorf("a write to a full disk: %v", code)
	}
	if got := c.count("kept"); got != written {
		t.Errorf("%d records can be read, %d were written", got, written)
	}

	// Checkpoints come to use the reserve now or later; that is taken, too, and then there is no room for new metadata.
	more, err := os.OpenFile(hog, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	eventually(t, "new topics are refused", func() bool {
		if _, err := more.Write(make([]byte, free(t, dir))); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		tried++
		return c.create(fmt.Sprintf("refused-%d", tried)) == kafka.KafkaStorageError
	})
	if err := more.Close(); err != nil { // an open file keeps its room when it is removed
		t.Fatal(err)
	}

	// Killed and started again, with not a byte left.
	n.Kill()
	n.Restart(t)
	c = dial(t, n)
	if got := c.count("kept"); got != written {
		t.Errorf("%d records can be read after a restart, %d were written", got, written)
	}
	if code := c.write("kept"); code != kafka.KafkaStorageError {
		t.Errorf("a write to a full disk after a restart: %v", code)
	}
	if code := c.create("refused"); code != kafka.KafkaStorageError {
		t.Errorf("create a topic on a full disk after a restart: %v", code)
	}
	// Deleting a topic makes room, and then writing goes on by itself.
	if code := c.remove("deleted"); code != kafka.None {
		t.Errorf("delete a topic on a full disk: %v\n%s", code, n.Output())
	}
	os.Remove(hog)
	eventually(t, "writing resumes", func() bool {
		if code := c.write("kept"); code == kafka.None {
			written++
			return true
		}
		return false
	})
	eventually(t, "the log says so", func() bool { return strings.Contains(n.Output(), "there is room on the disk again; writing resumes") })
	eventually(t, "topics can be created", func() bool { return c.create("created") == kafka.None })
	if got := c.count("kept"); got != written {
		t.Errorf("%d records can be read at the end, %d were written", got, written)
	}
	if err := n.Stop(t, 20*time.Second); err != nil {
		t.Errorf("stop: %v\n%s", err, n.Output())
	}
}

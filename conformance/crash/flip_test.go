package crash

import (
	"bufio"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// TestFlippedBit: one bit of a segment turns while the node is stopped. `millrace log check` finds it; the scrubber of
// the node that is started then finds it, says so in the log and in the metrics, and no client is given the bytes. What
// is whole is served, and nothing is cut away.
func TestFlippedBit(t *testing.T) {
	const records, damaged = 40, 17
	metrics := process.FreeAddr(t)
	n := node.Start(t, map[string]string{"http.listeners": "http://" + metrics, "log.scrub.interval.ms": "200", "log.reserve.bytes": "1048576"})
	c, err := socket.Dial(n.Addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := create(c, "flipped", 1, nil); err != nil {
		t.Fatal(err)
	}
	size := 0 // of a batch: all are alike
	for range records {
		b := record.NewBuilder(record.NewBuilderOptions())
		b.Append(record.Record{Timestamp: time.Now().UnixMilli(), Value: make([]byte, 1000)})
		batch := b.Build(nil)
		size = len(batch)
		request := wire.NewProduceRequest()
		request.Acks, request.TimeoutMs = -1, 10_000
		request.TopicData = []wire.ProduceRequestTopicData{{Name: "flipped", PartitionData: []wire.ProduceRequestPartitionData{{Records: batch}}}}
		response := wire.NewProduceResponse()
		if err := c.Call(request, response, 12, 20*time.Second); err != nil || response.Responses[0].PartitionResponses[0].ErrorCode != kafka.None {
			t.Fatalf("write: %v %+v", err, response)
		}
	}
	c.Close()
	if err := n.Stop(t, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	partition := filepath.Join(n.Dir, "flipped-0")
	if out, errOut, err := node.Run(t, "", "log", "check", partition); err != nil {
		t.Fatalf("log check of a log that is whole: %v\n%s%s", err, out, errOut)
	}

	name := filepath.Join(partition, "00000000000000000000.log")
	segment, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(segment) != records*size {
		t.Fatalf("the segment has %d bytes, want %d batches of %d", len(segment), records, size)
	}
	segment[damaged*size+size/2] ^= 1 << 3
	if err := os.WriteFile(name, segment, 0o644); err != nil {
		t.Fatal(err)
	}
	out, errOut, err := node.Run(t, "", "log", "check", partition)
	if err == nil || !strings.Contains(out+errOut, "00000000000000000000.log") {
		t.Errorf("log check of a log with a flipped bit: %v\n%s%s", err, out, errOut)
	}

	n.Restart(t)
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(n.Output(), "the scrubber found damage") || damage(t, metrics) == "0"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the scrubber did not find the bit in time; the metric says %s\n%s", damage(t, metrics), n.Output())
		}
	}
	if c, err = socket.Dial(n.Addr, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for offset, want := range map[int64]kafka.ErrorCode{0: kafka.None, damaged - 1: kafka.None, damaged: kafka.CorruptMessage, damaged + 1: kafka.None, records - 1: kafka.None} {
		code, batch := readOne(t, c, "flipped", offset, int32(size))
		if code != want {
			t.Errorf("fetch at offset %d: %v, want %v", offset, code, want)
		}
		if code == kafka.None && (len(batch) < size || record.Batch(batch[:size]).CheckCRC() != nil || record.Batch(batch).BaseOffset() != offset) {
			t.Errorf("fetch at offset %d: %d bytes that are not its batch", offset, len(batch))
		}
	}
	if err := n.Stop(t, 20*time.Second); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(name); err != nil || string(after) != string(segment) {
		t.Errorf("the damaged segment was changed: %v", err)
	}
}

// readOne fetches what begins at an offset, a batch at the most.
func readOne(t *testing.T, c *socket.Conn, topic string, offset int64, size int32) (kafka.ErrorCode, []byte) {
	t.Helper()
	request := wire.NewFetchRequest()
	request.ReplicaID, request.MaxBytes, request.SessionEpoch = -1, size, -1
	one := wire.NewFetchRequestPartitions()
	one.FetchOffset, one.PartitionMaxBytes = offset, size
	request.Topics = []wire.FetchRequestTopics{{Topic: topic, Partitions: []wire.FetchRequestPartitions{one}}}
	response := wire.NewFetchResponse()
	if err := c.Call(request, response, 12, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	p := response.Responses[0].Partitions[0]
	return p.ErrorCode, p.Records
}

// damage reads how many damaged places the node counts.
func damage(t *testing.T, addr string) string {
	t.Helper()
	response, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "millrace_log_directory_damage_total{"); ok {
			return value[strings.LastIndex(value, " ")+1:]
		}
	}
	t.Fatal(errors.Join(errors.New("the metrics do not count damage"), lines.Err()))
	return ""
}

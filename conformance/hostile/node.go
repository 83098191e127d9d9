package hostile

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
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

// budget is memory.budget.bytes of the node under attack, and growth how much its process may grow under it: the budget
// is for requests and answers, and garbage and the stacks of a crowd come on top.
const (
	budget = 64 << 20
	growth = budget + budget/2 + 64<<20
)

// victim is a node, with figures of its process and its metrics.
type victim struct {
	*node.Node
	t    *testing.T
	http string
	idle usage // before anything hostile was done to it
	logs int   // partitions that were made: the files of logs that were used may stay open for a while
}

// usage is what a process takes.
type usage struct {
	rss, peak int64 // bytes
	files     int
}

func start(t *testing.T, more map[string]string) *victim {
	t.Helper()
	v := &victim{t: t, http: process.FreeAddr(t)}
	settings := map[string]string{"memory.budget.bytes": fmt.Sprint(budget), "http.listeners": "http://" + v.http, "num.partitions": "1", "log.reserve.bytes": "1048576"}
	for key, value := range more {
		settings[key] = value
	}
	v.Node = node.Start(t, settings)
	v.idle = v.usage()
	return v
}

// usage reads what the process takes now.
func (v *victim) usage() usage {
	v.t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", v.Pid()))
	if err != nil {
		v.t.Fatalf("the node is gone: %v\n%s", err, v.Output())
	}
	defer f.Close()
	var u usage
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ":")
		kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch key {
		case "VmRSS":
			u.rss = kib << 10
		case "VmHWM":
			u.peak = kib << 10
		}
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.Pid()))
	if err != nil {
		v.t.Fatal(err)
	}
	u.files = len(files)
	return u
}

// metric reads one figure of /metrics; of one with labels, the sum.
func (v *victim) metric(name string) float64 {
	v.t.Helper()
	response, err := http.Get("http://" + v.http + "/metrics")
	if err != nil {
		v.t.Fatalf("%v\n%s", err, v.Output())
	}
	defer response.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if head, _, _ := strings.Cut(key, "{"); head == name {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				v.t.Fatalf("%s: %v", lines.Text(), err)
			}
			sum += n
		}
	}
	return sum
}

// over requires that the node lives, that it kept within its memory, and that all was given back: the connections, the
// memory of the budget, and descriptors but for files of logs.
func (v *victim) over(what string) {
	v.t.Helper()
	v.eventually("the connections gone and the memory given back after "+what, func() bool {
		return v.metric("kafka_server_socketservermetrics_connection_count") == 0 && v.metric("millrace_memory_used_bytes") == 0
	})
	u := v.usage()
	most := v.idle.rss + growth
	v.t.Logf("%s: %d MiB at the most (idle %d MiB), allowed %d MiB; %d files open (%d before)", what, u.peak>>20, v.idle.rss>>20, most>>20, u.files, v.idle.files)
	if u.peak > most {
		v.t.Errorf("%s: the process came to %d MiB, more than the %d MiB that its budget of %d MiB allows", what, u.peak>>20, most>>20, int64(budget)>>20)
	}
	if u.files > v.idle.files+64+v.logs {
		v.t.Errorf("%s: %d files are open, %d were before", what, u.files, v.idle.files)
	}
	if out := v.Output(); strings.Contains(out, "panic") {
		v.t.Errorf("%s: something panicked:\n%s", what, out)
	}
}

// eventually waits for what can only be asked for.
func (v *victim) eventually(what string, is func() bool) {
	v.t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatalf("not in time: %s (connections %v, memory %v)\n%s", what, v.metric("kafka_server_socketservermetrics_connection_count"), v.metric("millrace_memory_used_bytes"), v.Output())
		}
	}
}

func (v *victim) dial() *socket.Conn {
	v.t.Helper()
	c, err := socket.Dial(v.Addr, 10*time.Second)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { c.Close() })
	return c
}

// create makes a topic.
func (v *victim) create(name string, partitions int32) {
	v.t.Helper()
	c := v.dial()
	defer c.Close()
	v.logs += int(partitions)
	request := wire.NewCreateTopicsRequest()
	request.TimeoutMs = 60_000
	request.Topics = []wire.CreateTopicsRequestTopics{{Name: name, NumPartitions: partitions, ReplicationFactor: 1}}
	response := wire.NewCreateTopicsResponse()
	if err := c.Call(request, response, 7, time.Minute); err != nil || response.Topics[0].ErrorCode != kafka.None {
		v.t.Fatalf("create %s: %v, %+v", name, err, response)
	}
}

// records is a batch of one record.
func records(value []byte, codec record.Codec) []byte {
	o := record.NewBuilderOptions()
	o.Codec = codec
	b := record.NewBuilder(o)
	b.Append(record.Record{Timestamp: time.Now().UnixMilli(), Value: value})
	return b.Build(nil)
}

func produce(topic string, partition int32, batch []byte) *wire.ProduceRequest {
	request := wire.NewProduceRequest()
	request.Acks, request.TimeoutMs = -1, 30_000
	request.TopicData = []wire.ProduceRequestTopicData{{Name: topic, PartitionData: []wire.ProduceRequestPartitionData{{Index: partition, Records: batch}}}}
	return request
}

// fetch asks for partitions 0 to n-1 of a topic from their beginning.
func fetch(topic string, n int32, maxWait time.Duration, maxBytes int32) *wire.FetchRequest {
	request := wire.NewFetchRequest()
	request.ReplicaID, request.MaxWaitMs, request.MinBytes, request.MaxBytes, request.SessionEpoch = -1, int32(maxWait.Milliseconds()), 1, maxBytes, -1
	one := wire.FetchRequestTopics{Topic: topic}
	for p := range n {
		part := wire.NewFetchRequestPartitions()
		part.Partition, part.PartitionMaxBytes = p, maxBytes
		one.Partitions = append(one.Partitions, part)
	}
	request.Topics = []wire.FetchRequestTopics{one}
	return request
}

// bystander writes a record and reads it back, over and over, on a connection of its own, which it makes anew as
// clients do when it ends.
type bystander struct {
	v     *victim
	stop  chan struct{}
	ended chan struct{}
	took  []time.Duration
	lost  int // connections
	why   error
	err   error
}

func (v *victim) watch() *bystander {
	v.create("bystander", 1)
	c := v.dial()
	ready := &bystander{v: v}
	v.eventually("the bystander's topic served", func() bool { return ready.once(c) == nil })
	c.Close()
	v.idle = v.usage()
	b := &bystander{v: v, stop: make(chan struct{}), ended: make(chan struct{})}
	go b.run()
	v.t.Cleanup(func() {
		select {
		case <-b.stop:
		default:
			close(b.stop)
		}
		<-b.ended
	})
	return b
}

func (b *bystander) run() {
	defer close(b.ended)
	var c *socket.Conn
	defer func() {
		if c != nil {
			c.Close()
		}
	}()
	for n := int64(0); ; n++ {
		select {
		case <-b.stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		begun := time.Now()
		for done := false; !done; {
			var err error
			if c == nil {
				if c, err = socket.Dial(b.v.Addr, 10*time.Second); err != nil {
					b.err = err
					return
				}
			}
			if err = b.once(c); err == nil {
				done = true
			} else {
				c.Close()
				c = nil
				b.lost, b.why = b.lost+1, err
			}
			if time.Since(begun) > time.Minute {
				b.err = fmt.Errorf("not served for a minute: %w", err)
				return
			}
		}
		b.took = append(b.took, time.Since(begun))
	}
}

func (b *bystander) once(c *socket.Conn) error {
	written := wire.NewProduceResponse()
	if err := c.Call(produce("bystander", 0, records(make([]byte, 1000), record.CodecNone)), written, 12, 30*time.Second); err != nil {
		return err
	}
	p := &written.Responses[0].PartitionResponses[0]
	if p.ErrorCode != kafka.None {
		return p.ErrorCode
	}
	request := fetch("bystander", 1, 0, 1<<20)
	request.Topics[0].Partitions[0].FetchOffset = p.BaseOffset
	read := wire.NewFetchResponse()
	if err := c.Call(request, read, 12, 30*time.Second); err != nil {
		return err
	}
	if got := read.Responses[0].Partitions[0]; got.ErrorCode != kafka.None || len(got.Records) < 1000 {
		return fmt.Errorf("%v with %d bytes where a record was acknowledged", got.ErrorCode, len(got.Records))
	}
	return nil
}

// served requires that the bystander was served all the time, each time within the limit.
func (b *bystander) served(within time.Duration) {
	b.v.t.Helper()
	close(b.stop)
	<-b.ended
	if b.err != nil || len(b.took) == 0 {
		b.v.t.Fatalf("the bystander: %v after %d rounds\n%s", b.err, len(b.took), b.v.Output())
	}
	slices.Sort(b.took)
	longest := b.took[len(b.took)-1]
	b.v.t.Logf("the bystander wrote and read %d times, in %v (median), %v (max), and lost its connection %d times (%v)", len(b.took), b.took[len(b.took)/2].Round(time.Microsecond), longest.Round(time.Millisecond), b.lost, b.why)
	if longest > within {
		b.v.t.Errorf("the bystander waited %v for a round of writing and reading, want at most %v", longest, within)
	}
}

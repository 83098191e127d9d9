package crash

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// servingWithin is how long after its start a killed node may take until it acknowledges a record again. It is stated,
// and held: the median is a fraction of it.
const servingWithin = 5 * time.Second

// The topics, each a way of its own to have segments rolled, recovery points moved and files removed at the moment
// of a kill.
var topics = []struct {
	name       string
	partitions int32
	configs    map[string]string
}{
	{"plain", 3, nil},
	// 64 KiB a segment, since its index is full by then.
	{"rolling", 3, map[string]string{"index.interval.bytes": "512", "segment.index.bytes": "1024"}},
	{"short", 2, map[string]string{"index.interval.bytes": "512", "segment.index.bytes": "2048", "retention.bytes": "524288", "file.delete.delay.ms": "100"}},
	{"stamped", 1, map[string]string{"message.timestamp.type": "LogAppendTime", "compression.type": "lz4", "segment.bytes": "1048576"}},
}

// world is the node and all that is known of it, over all kills.
type world struct {
	node    *node.Node
	dice    *rand.Rand
	ledgers []*ledger
	writers []*writer
	probe   *writer
	made    []string // topics that were acknowledged as created
	serving []time.Duration
	early   int // kills while the node was starting
}

func kills() (n int, seed uint64) {
	n, seed = 10, uint64(time.Now().UnixNano())
	if v, err := strconv.Atoi(os.Getenv("KILLS")); err == nil {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = v
	}
	return n, seed
}

// TestKill kills the node KILLS times (10 unless told otherwise): under load at a random moment, and every third time once
// more while it recovers.
func TestKill(t *testing.T) {
	n, seed := kills()
	t.Logf("KILLS=%d SEED=%d", n, seed)
	w := newWorld(t, seed)
	for i := range n {
		whole := i%25 == 24 || i == n-1
		if !t.Run(fmt.Sprintf("kill-%d", i+1), func(t *testing.T) { w.cycle(t, i, whole) }) {
			t.Fatalf("SEED=%d", seed)
		}
	}
	t.Run("after all kills", func(t *testing.T) {
		w.start(t)
		w.verify(t, true)
		if err := w.node.Stop(t, 20*time.Second); err != nil {
			t.Errorf("the node did not stop in good order: %v", err)
		}
	})
	w.report(t, n)
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{dice: rand.New(rand.NewPCG(seed, 1))}
	base := t.TempDir()
	dirs := []string{filepath.Join(base, "a"), filepath.Join(base, "b"), filepath.Join(base, "c")}
	w.node = node.Format(t, map[string]string{
		"log.dirs": strings.Join(dirs, ","),
		"log.flush.offset.checkpoint.interval.ms":         "150",
		"replica.high.watermark.checkpoint.interval.ms":   "100",
		"log.flush.start.offset.checkpoint.interval.ms":   "150",
		"log.retention.check.interval.ms":                 "300",
		"metadata.log.max.record.bytes.between.snapshots": "4096",
		"log.reserve.bytes":                               "1048576",
		"auto.create.topics.enable":                       "false",
	})
	codecs := []record.Codec{record.CodecNone, record.CodecGzip, record.CodecSnappy, record.CodecLz4, record.CodecZstd}
	id := int32(0)
	for _, topic := range topics {
		for p := range topic.partitions {
			l := &ledger{topic: topic.name, partition: p, last: map[int32]int32{}, idempotent: map[int32]bool{}}
			w.ledgers = append(w.ledgers, l)
			for _, idempotent := range []bool{true, false} {
				id++
				w.writers = append(w.writers, newWriter(id, l, codecs[int(id)%len(codecs)], idempotent, seed))
			}
		}
	}
	// The probe has a partition of its own, since it writes before the others are verified.
	own := &ledger{topic: "probe", last: map[int32]int32{}, idempotent: map[int32]bool{}}
	w.ledgers = append(w.ledgers, own)
	w.probe = newWriter(id+1, own, record.CodecNone, true, seed)
	return w
}

// cycle starts the node, verifies it, writes, and kills it.
func (w *world) cycle(t *testing.T, i int, whole bool) {
	if i%3 == 2 {
		w.killEarly(t)
	}
	w.start(t)
	if i == 0 {
		w.createTopics(t)
	}
	if err := w.probe.write(w.node.Addr, 1); err != nil {
		t.Fatal(err)
	}
	if w.probe.acked == 0 {
		t.Fatal("the probe was not answered")
	}
	w.verify(t, whole)
	w.load(t, i)
}

// start starts the node and, once there are topics, measures how long it takes to acknowledge a record.
func (w *world) start(t *testing.T) {
	t.Helper()
	begun := time.Now()
	w.node.Restart(t)
	if w.probe.acked == 0 {
		return
	}
	for acked := w.probe.acked; w.probe.acked == acked; {
		if err := w.probe.write(w.node.Addr, 1); err != nil {
			t.Fatal(err)
		}
		if time.Since(begun) > servingWithin {
			t.Fatalf("no record was acknowledged within %v of the start:\n%s", servingWithin, w.node.Output())
		}
	}
	w.serving = append(w.serving, time.Since(begun))
}

// killEarly starts the node and kills it at some moment of its start.
func (w *world) killEarly(t *testing.T) {
	p := process.Start(t, "millrace, to be killed early", exec.Command(node.Binary(t), "server", w.node.Properties))
	time.Sleep(time.Duration(w.dice.IntN(int(120 * time.Millisecond)))) // the moment is the point
	p.Kill()
	w.early++
}

func (w *world) dial(t *testing.T) *socket.Conn {
	t.Helper()
	c, err := socket.Dial(w.node.Addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) createTopics(t *testing.T) {
	c := w.dial(t)
	for _, topic := range topics {
		if err := create(c, topic.name, topic.partitions, topic.configs); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(c, "probe", 1, nil); err != nil {
		t.Fatal(err)
	}
}

func create(c *socket.Conn, name string, partitions int32, configs map[string]string) error {
	request := wire.NewCreateTopicsRequest()
	request.TimeoutMs = 15_000
	topic := wire.CreateTopicsRequestTopics{Name: name, NumPartitions: partitions, ReplicationFactor: 1}
	for key, value := range configs {
		topic.Configs = append(topic.Configs, wire.CreateTopicsRequestConfigs{Name: key, Value: &value})
	}
	request.Topics = append(request.Topics, topic)
	response := wire.NewCreateTopicsResponse()
	if err := c.Call(request, response, 7, 20*time.Second); err != nil {
		return err
	}
	if code := response.Topics[0].ErrorCode; code != kafka.None {
		return refusal{fmt.Errorf("create topic %s: %w", name, code)}
	}
	return nil
}

// verify holds every partition, and the metadata, against what is known.
func (w *world) verify(t *testing.T, whole bool) {
	t.Helper()
	c := w.dial(t)
	for _, l := range w.ledgers {
		if err := l.verify(c, whole); err != nil {
			t.Errorf("%v", err)
		}
	}
	request := wire.NewMetadataRequest()
	for _, name := range w.made {
		request.Topics = append(request.Topics, wire.MetadataRequestTopics{Name: &name})
	}
	if len(request.Topics) > 0 {
		response := wire.NewMetadataResponse()
		if err := c.Call(request, response, 12, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		for _, topic := range response.Topics {
			if topic.ErrorCode != kafka.None {
				t.Errorf("topic %s was acknowledged as created, and is: %v", *topic.Name, topic.ErrorCode)
			}
		}
	}
	if t.Failed() {
		t.Fatalf("last output of the node:\n%s", w.node.Output())
	}
}

// load has all writers write, and topics be created, until the node is killed at a random moment.
func (w *world) load(t *testing.T, i int) {
	errs := make(chan error, len(w.writers)+1)
	var all sync.WaitGroup
	for _, one := range w.writers {
		all.Go(func() {
			if err := one.write(w.node.Addr, 1<<30); err != nil {
				errs <- err
			}
		})
	}
	c := w.dial(t)
	all.Go(func() {
		name := fmt.Sprintf("made-%d", i)
		switch err := create(c, name, 2, nil); err.(type) {
		case nil:
			w.made = append(w.made, name)
		case refusal:
			errs <- err
		}
	})
	time.Sleep(20*time.Millisecond + time.Duration(w.dice.IntN(int(500*time.Millisecond)))) // the moment is the point
	w.node.Kill()
	all.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.Fatalf("last output of the node:\n%s", w.node.Output())
	}
}

func (w *world) report(t *testing.T, n int) {
	acked, resent, idle := 0, 0, 0
	for _, one := range w.writers {
		acked, resent = acked+one.acked, resent+one.resent
		if one.acked == 0 {
			idle++
		}
	}
	slices.Sort(w.serving)
	t.Logf("%d kills under load and %d during a start: %d records acknowledged, %d batches sent again, %d topics made; serving again after %v (median), %v (max); stated: %v",
		n, w.early, acked, resent, len(w.made), w.serving[len(w.serving)/2].Round(time.Millisecond), w.serving[len(w.serving)-1].Round(time.Millisecond), servingWithin)
	if idle > 0 || resent == 0 {
		t.Errorf("%d writers were never answered, %d batches were sent again: the kills hit nothing", idle, resent)
	}
}

package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// crashRun writes with several producers, idempotent ones among them, to several partitions in two directories, with
// segments that roll, recovery points that move and a floor that is rewritten, and takes clones of the disk, as a power loss
// would leave it, at every sync point and after acknowledgements. Each clone comes with what was sent and what was
// acknowledged before it was taken.
type crashRun struct {
	t    testing.TB
	mem  *vfs.Mem
	n    *node
	dice *rand.Rand

	mu     sync.Mutex
	sent   map[int64][]sentBatch // by producer
	clones []crashClone
}

// sentBatch is one record of a producer, in a batch of its own.
type sentBatch struct {
	value     string
	partition int32
	sequence  int32 // within the partition
	offset    int64 // -1: not acknowledged yet
}

type crashClone struct {
	disk *vfs.Mem
	sent map[int64][]sentBatch
	what string
}

const (
	crashPartitions = 3
	crashBatches    = 10
)

// crashProducers are the producers by id; the negative ones are plain.
var crashProducers = []int64{-1, -2, 10, 11}

func crashRecords() []wire.Message {
	return topicRecords("t", idT, crashPartitions, "index.interval.bytes", "1", "segment.index.bytes", "24")
}

// crashNode is a node whose checkpoints are never long behind.
func crashNode(t testing.TB, disk *vfs.Mem) *node {
	return newNode(t, disk, func(o *Options) {
		o.Broker.OffsetCheckpointInterval, o.Broker.HighWatermarkCheckpointInterval = time.Millisecond, time.Millisecond
	}, dir1, dir2).load()
}

// bytes is the batch as its producer sends it.
func (b *sentBatch) bytes(producer int64) []byte {
	batch := batchOf(b.value)
	if producer >= 0 {
		binary.BigEndian.PutUint64(batch[43:], uint64(producer))
		binary.BigEndian.PutUint16(batch[51:], 0)
		binary.BigEndian.PutUint32(batch[53:], uint32(b.sequence))
		binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], castagnoli))
	}
	return batch
}

func (r *crashRun) clone(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := map[int64][]sentBatch{}
	for producer, batches := range r.sent {
		sent[producer] = slices.Clone(batches)
	}
	options := vfs.CrashOptions{}
	if r.dice.IntN(2) == 0 {
		options = vfs.CrashOptions{Rand: rand.New(rand.NewPCG(r.dice.Uint64(), 0))}
	}
	r.clones = append(r.clones, crashClone{r.mem.CrashClone(options), sent, what})
}

// run has producers write, and stops in the middle of things when the clones are taken.
func (r *crashRun) run(seed uint64, breakIt func(*Manager)) {
	r.dice = rand.New(rand.NewPCG(seed, 2))
	r.sent = map[int64][]sentBatch{}
	r.mem = vfs.NewMem()
	r.n = crashNode(r.t, r.mem)
	for _, d := range r.n.m.dirs {
		d.journal.limit = 4 * journalSector // so that it turns, and the logs are synced after it
	}
	if breakIt != nil {
		breakIt(r.n.m)
	}
	r.mem.SetSyncHook(func(name string) { r.clone("at the sync of " + name) })
	r.n.apply(crashRecords()...)
	var producers sync.WaitGroup
	for n, producer := range crashProducers {
		producers.Go(func() {
			for i := range crashBatches {
				b := sentBatch{value: fmt.Sprintf("%d/%d/%d", seed, n, i), partition: int32((n + i) % crashPartitions), sequence: int32(i / crashPartitions), offset: -1}
				r.mu.Lock()
				r.sent[producer] = append(r.sent[producer], b)
				r.mu.Unlock()
				e := <-r.n.appendAsync("t", b.partition, []int16{1, -1}[i%2], b.bytes(producer))
				if e.Err != nil {
					r.t.Errorf("append: %v", e.Err)
				}
				r.mu.Lock()
				r.sent[producer][i].offset = e.BaseOffset
				r.mu.Unlock()
				r.clone("after an acknowledgement")
			}
		})
	}
	producers.Wait()
	for _, d := range r.n.m.dirs {
		if err := d.compactFloor(); err != nil {
			r.t.Errorf("rewrite the floor: %v", err)
		}
	}
	r.n.close()
	r.clone("after the stop")
	r.mem.SetSyncHook(nil)
}

// read returns what a partition holds, from its first offset to its high watermark.
func (n *node) read(partition int32) (got []string, err error) {
	for {
		req := fetchOf("t", 0)
		req.Partitions[0].Partition, req.Partitions[0].FetchOffset = partition, int64(len(got))
		n.fetch(req)
		res := &req.Responses[0]
		if res.Err != nil {
			return nil, res.Err
		}
		if err := wholeBatches(res); err != nil {
			return nil, err
		}
		more := values(n.t, res)
		if got = append(got, more...); int64(len(got)) >= res.HighWatermark {
			return got, nil
		}
		if len(more) == 0 {
			return got, fmt.Errorf("%d records below the high watermark %d", len(got), res.HighWatermark)
		}
	}
}

// wholeBatches checks what a response holds, as a consumer does before it looks into it.
func wholeBatches(r *FetchedPartition) error {
	if r.Slice.Range == nil {
		return nil
	}
	rest := make([]byte, r.Slice.Range.Len())
	if n, err := r.Slice.Range.ReadAt(rest, 0); n < len(rest) {
		return err
	}
	for len(rest) > 0 {
		b, after, err := record.Next(rest)
		if err == nil {
			err = b.CheckCRC()
		}
		if err != nil {
			r.Slice.Range.Release()
			return err
		}
		rest = after
	}
	return nil
}

// lost starts a node on every clone, and returns a sentence for each thing that is not as it was promised.
func (r *crashRun) lost() (problems []string) {
	for i, c := range r.clones {
		n := crashNode(r.t, c.disk)
		n.apply(crashRecords()...)
		for _, problem := range c.judge(n) {
			problems = append(problems, fmt.Sprintf("clone %d (%s): %s", i, c.what, problem))
		}
		n.close()
	}
	return problems
}

// judge holds a node that recovered against what was acknowledged, and has the producers go on.
func (c *crashClone) judge(n *node) (problems []string) {
	tell := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for partition := range int32(crashPartitions) {
		got, err := n.read(partition)
		if err != nil {
			tell("partition %d: %v", partition, err)
			continue
		}
		for _, batches := range c.sent {
			for _, b := range batches {
				if b.partition == partition && b.offset >= 0 && (b.offset >= int64(len(got)) || got[b.offset] != b.value) {
					tell("%q was acknowledged at offset %d of partition %d and is not there", b.value, b.offset, partition)
				}
			}
		}
	}
	// Idempotent producers send everything again, as if no answer had reached them; they have fewer than five batches in a
	// partition. Then they go on, and so do the others.
	for producer, batches := range c.sent {
		for _, b := range batches {
			if producer < 0 {
				continue
			}
			e := <-n.appendAsync("t", b.partition, -1, b.bytes(producer))
			if e.Err != nil || b.offset >= 0 && e.BaseOffset != b.offset {
				tell("%q of producer %d again: offset %d, %v; it was acknowledged at %d", b.value, producer, e.BaseOffset, e.Err, b.offset)
			}
		}
	}
	for partition := range int32(crashPartitions) {
		if e := n.append("t", partition, -1, "after"); e.Err != nil {
			tell("append after it: %v", e.Err)
		}
		got, err := n.read(partition)
		if err != nil {
			tell("partition %d, read again: %v", partition, err)
		}
		times := map[string]int{}
		for _, value := range got {
			times[value]++
		}
		for producer, batches := range c.sent {
			for _, b := range batches {
				if b.partition == partition && (times[b.value] > 1 || producer >= 0 && times[b.value] < 1) {
					tell("%q of producer %d is there %d times", b.value, producer, times[b.value])
				}
			}
		}
	}
	return problems
}

func TestCrashLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(3) {
		r := &crashRun{t: t}
		r.run(seed, nil)
		if len(r.clones) < 100 {
			t.Errorf("seed %d: only %d crashes", seed, len(r.clones))
		}
		for _, problem := range r.lost() {
			t.Errorf("seed %d: %s", seed, problem)
		}
	}
}

// TestCrashFindsAcknowledgementsBeforeTheSync shows that the test above can fail: a node whose rounds do not sync must be
// found out.
func TestCrashFindsAcknowledgementsBeforeTheSync(t *testing.T) {
	r := &crashRun{t: t}
	r.run(7, func(m *Manager) {
		for _, d := range m.dirs {
			d.sync.syncs = func([]syncItem) error { return nil }
		}
	})
	if problems := r.lost(); len(problems) == 0 {
		t.Errorf("%d crashes of a node that acknowledges before it syncs, and nothing was lost", len(r.clones))
	}
}

// TestDamageIsNotCut: a bad batch below what was acknowledged takes the partition offline and stays what it is.
func TestDamageIsNotCut(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	for i := range 5 {
		check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
		check(t, "append", n.append("t", 1, -1, fmt.Sprint(i)).Err, nil)
	}
	time.Sleep(2 * floorSyncDelay) // the floor of the last round gets to the disk
	n.m.dirs[0].sync.close()
	// What the journal alone has, a start would repair.
	d := n.m.dirs[0]
	check(t, "sync the files", d.syncJournaled(slices.Collect(d.hosted())), nil)
	check(t, "end the journal", d.journal.close(true), nil)
	after := mem.CrashClone(vfs.CrashOptions{})
	n.close()

	name := "d1/t-0/00000000000000000000.log"
	data, err := vfs.ReadFile(after, name)
	if err != nil {
		t.Fatal(err)
	}
	one := len(data) / 5
	data[3*one+64] ^= 1 // in the record of the fourth batch
	if err := vfs.WriteFileAtomic(after, name, data); err != nil {
		t.Fatal(err)
	}
	for start := range 2 { // the second start must not forget
		n = newNode(t, after, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		req := n.fetch(fetchOf("t", 0, 0))
		if req.Responses[0].Err == nil {
			t.Errorf("start %d: the damaged partition was served: %v", start, values(t, &req.Responses[0]))
		}
		check(t, "the other partition", values(t, &req.Responses[1]), []string{"0", "1", "2", "3", "4"})
		check(t, "counted", n.m.Dirs()[0].Damage, 1)
		n.close()
		if got, _ := vfs.ReadFile(after, name); len(got) != len(data) {
			t.Fatalf("start %d: the damaged log was cut from %d to %d bytes", start, len(data), len(got))
		}
	}
}

// TestScrubber: a bit that flips in a segment of a running node is found, told, counted, and not served; all else is. When
// the bit is as it was, the next round finds that, too.
func TestScrubber(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, func(o *Options) { o.Broker.ScrubBytesPerSecond, o.Broker.ScrubInterval = 1<<30, time.Millisecond }).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 2)...)
	for i := range 5 {
		check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
		check(t, "append", n.append("t", 1, -1, fmt.Sprint(i)).Err, nil)
	}
	n.writeHeld()
	name := "d1/t-0/00000000000000000000.log"
	flip := func(at int64) {
		t.Helper()
		f, err := mem.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	scrubbed := func() { // a round that began after this call
		before := n.m.Dirs()[0].Scrubbed
		for n.m.Dirs()[0].Scrubbed < before+3*10*int64(len(batchOf("0"))) {
			time.Sleep(time.Millisecond)
		}
	}
	size := int64(len(batchOf("0")))
	// The header's base offset, length, epoch and magic lie outside of the checksum; the rest inside.
	for _, within := range []int64{0, 7, 9, 15, 16, 17, 21, 30, 50, 60, size - 1} {
		flip(3*size + within)
		scrubbed()
		if n.m.Dirs()[0].Damage == 0 {
			t.Fatalf("byte %d of the fourth batch was changed and nobody noticed", within)
		}
		req := n.fetch(fetchOf("t", 3, 0))
		check(t, fmt.Sprintf("the damaged batch, byte %d", within), kafka.CodeOf(req.Responses[0].Err), kafka.CorruptMessage)
		check(t, "the other partition", values(t, &req.Responses[1]), []string{"0", "1", "2", "3", "4"})
		req = n.fetch(fetchOf("t", 0))
		check(t, "before it", values(t, &req.Responses[0]), []string{"0", "1", "2"})
		flip(3*size + within)
		scrubbed()
		check(t, "repaired", values(t, &n.fetch(fetchOf("t", 3)).Responses[0]), []string{"3", "4"})
	}
	if log := n.logs.String(); !strings.Contains(log, "the scrubber found damage") || !strings.Contains(log, "00000000000000000000.log, position") {
		t.Errorf("the log does not say what and where:\n%s", log)
	}
	data, err := vfs.ReadFile(mem, name)
	check(t, "the file", fmt.Sprint(len(data), err), fmt.Sprint(5*size, nil))
}

// The scrubber keeps to its rate, whatever time it did not use before.
func TestScrubberPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pace{dir: &logDir{}, perSecond: 1 << 20}
		for range 3 {
			begun := time.Now()
			for range 64 {
				check(t, "wait", p.Wait(context.Background(), 64<<10), nil)
			}
			if took := time.Since(begun); took < 4*time.Second-paceCredit-time.Millisecond || took > 4*time.Second {
				t.Errorf("4 MiB at 1 MiB a second took %v", took)
			}
			time.Sleep(time.Hour)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		check(t, "after the end", p.Wait(ctx, 1<<20), context.Canceled)
	})
}

package replica

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// crashRun writes with several producers to several partitions, and takes clones of the disk, as a power loss would
// leave it, at every sync point and after acknowledgements. Each clone comes with what was acknowledged before it
// was taken.
type crashRun struct {
	t    testing.TB
	mem  *vfs.Mem
	n    *node
	dice *rand.Rand

	mu     sync.Mutex
	acked  map[string]ackedRecord // by value
	clones []crashClone
}

type ackedRecord struct {
	partition int32
	offset    int64
}

type crashClone struct {
	disk  *vfs.Mem
	acked map[string]ackedRecord
	what  string
}

const crashPartitions = 3

func crashRecords() []wire.Message { return topicRecords("t", idT, crashPartitions) }

func (r *crashRun) clone(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	acked := make(map[string]ackedRecord, len(r.acked))
	for v, a := range r.acked {
		acked[v] = a
	}
	options := vfs.CrashOptions{}
	if r.dice.IntN(2) == 0 {
		options = vfs.CrashOptions{Rand: rand.New(rand.NewPCG(r.dice.Uint64(), 0))}
	}
	r.clones = append(r.clones, crashClone{r.mem.CrashClone(options), acked, what})
}

// run has producers write, and stops in the middle of things when the clones are taken.
func (r *crashRun) run(seed uint64, breakIt func(*Manager)) {
	r.dice = rand.New(rand.NewPCG(seed, 2))
	r.acked = map[string]ackedRecord{}
	r.mem = vfs.NewMem()
	r.n = newNode(r.t, r.mem, nil).load()
	if breakIt != nil {
		breakIt(r.n.m)
	}
	r.mem.SetSyncHook(func(name string) { r.clone("at the sync of " + name) })
	r.n.apply(crashRecords()...)
	var producers sync.WaitGroup
	for p := range 4 {
		producers.Go(func() {
			for i := range 6 {
				partition := int32((p + i) % crashPartitions)
				value := fmt.Sprintf("%d/%d/%d", seed, p, i)
				e := r.n.append("t", partition, []int16{1, -1}[i%2], value)
				if e.Err != nil {
					r.t.Errorf("append: %v", e.Err)
				}
				r.mu.Lock()
				r.acked[value] = ackedRecord{partition, e.BaseOffset}
				r.mu.Unlock()
				r.clone("after an acknowledgement")
			}
		})
	}
	producers.Wait()
	r.n.close()
	r.clone("after the stop")
	r.mem.SetSyncHook(nil)
}

// lost starts a node on every clone, and returns a sentence for each clone that lost or changed what was acknowledged.
func (r *crashRun) lost() (problems []string) {
	for i, c := range r.clones {
		n := newNode(r.t, c.disk, nil)
		n.load()
		n.apply(crashRecords()...)
		for partition := range int32(crashPartitions) {
			req := fetchOf("t", 0)
			req.Partitions[0].Partition = partition
			n.fetch(req)
			res := &req.Responses[0]
			got := values(r.t, res)
			if res.Err != nil {
				problems = append(problems, fmt.Sprintf("clone %d (%s): partition %d: %v", i, c.what, partition, res.Err))
				continue
			}
			if int64(len(got)) != res.HighWatermark {
				problems = append(problems, fmt.Sprintf("clone %d (%s): partition %d has %d records below its high watermark %d", i, c.what, partition, len(got), res.HighWatermark))
			}
			for value, a := range c.acked {
				if a.partition != partition {
					continue
				}
				if a.offset >= int64(len(got)) || got[a.offset] != value {
					problems = append(problems, fmt.Sprintf("clone %d (%s): %q was acknowledged at offset %d of partition %d and is not there", i, c.what, value, a.offset, partition))
				}
			}
		}
		// It goes on where it was.
		for partition := range int32(crashPartitions) {
			if e := n.append("t", partition, -1, "after"); e.Err != nil {
				problems = append(problems, fmt.Sprintf("clone %d (%s): append after it: %v", i, c.what, e.Err))
			}
		}
		n.close()
	}
	return problems
}

func TestCrashLosesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(3) {
		r := &crashRun{t: t}
		r.run(seed, nil)
		if len(r.clones) < 40 {
			t.Errorf("seed %d: only %d crashes", seed, len(r.clones))
		}
		for _, problem := range r.lost() {
			t.Errorf("seed %d: %s", seed, problem)
		}
	}
}

// TestCrashFindsAcknowledgementsBeforeTheSync shows that the test above can fail: a node whose rounds do not sync, and
// a disk that lies about it, must be found out.
func TestCrashFindsAcknowledgementsBeforeTheSync(t *testing.T) {
	r := &crashRun{t: t}
	r.run(7, func(m *Manager) {
		m.dirs[0].sync.syncs = func([]syncItem) error { return nil }
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

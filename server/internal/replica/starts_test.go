package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// small makes segments of one record each.
func small(settings ...string) []wire.Message {
	return topicRecords("t", idT, 2, append([]string{"internal.segment.bytes", "100", "file.delete.delay.ms", "0"}, settings...)...)
}

// TestFirstSegmentMissing: retention lets no segment go before the new start is saved, so that a log that begins above its
// start lacks something. What it lacks is refused, across clean stops too, until somebody lets it go.
func TestFirstSegmentMissing(t *testing.T) {
	for _, c := range []struct {
		name  string
		prune bool // retention has taken the first two segments
		gone  int
		prep  func(disk *vfs.Mem) error
		told  bool
	}{
		{"the first", false, 1, nil, true},
		{"the first three", false, 3, nil, true},
		{"all but the last", false, 4, nil, true},
		{"the first that retention left", true, 3, nil, true},
		{"those that retention took", true, 0, nil, false},
		{"somebody gave up the starts", true, 3, func(disk *vfs.Mem) error { return disk.Remove("d1/" + startOffsetFile) }, false},
		{"another program has run since", false, 1, func(disk *vfs.Mem) error { return vfs.WriteFile(disk, "d1/"+manifestFile, nil) }, false},
		{"a floor of before starts were saved", false, 1, func(disk *vfs.Mem) error {
			data, err := vfs.ReadFile(disk, "d1/"+floorFile)
			data[floorStarts] = 0
			binary.BigEndian.PutUint32(data[28:], crc32.Checksum(data[:28], castagnoli))
			return errors.Join(err, vfs.WriteFile(disk, "d1/"+floorFile, data))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := vfs.NewMem()
			n := newNode(t, mem, nil).load()
			n.apply(small()...)
			for i := range 5 {
				check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
			}
			first := int64(0)
			if c.prune {
				first = 2
				n.deleteRecords(0, first)
				n.m.dirs[0].janitor.execute()
			}
			disk := killed(mem)
			n.close()
			for base := range c.gone {
				err := disk.Remove(fmt.Sprintf("d1/t-0/%020d.log", base))
				if err != nil && (int64(base) >= first || !c.prune) {
					t.Fatal(err)
				}
			}
			if c.prep != nil {
				if err := c.prep(disk); err != nil {
					t.Fatal(err)
				}
			}
			good := max(first, int64(c.gone))
			look := func(when string) {
				t.Helper()
				want := kafka.OffsetOutOfRange
				if c.told {
					want = kafka.CorruptMessage
				}
				for offset := first; offset < good; offset++ {
					check(t, when+": what is missing", kafka.CodeOf(n.fetch(fetchOf("t", offset)).Responses[0].Err), want)
				}
				res := n.fetch(fetchOf("t", good)).Responses[0]
				check(t, when+": what is there", values(t, &res)[0], fmt.Sprint(good))
				start := good
				if c.told {
					start = first
				}
				check(t, when+": the start", res.LogStartOffset, start)
			}
			n = newNode(t, disk, nil).load()
			n.apply(small()...)
			look("at the first start")
			damage := 0
			if c.told {
				damage = 1
			}
			check(t, "damage", n.m.Dirs()[0].Damage, damage)
			check(t, "told", strings.Count(n.logs.String(), "a part of a log is missing"), damage)
			again := killed(disk)
			n = restart(t, n, disk, nil)
			n.apply(small()...)
			look("after a clean stop")
			n.close()
			n = newNode(t, again, nil).load()
			n.apply(small()...)
			look("after another crash")
			n.deleteRecords(0, good)
			again = killed(again)
			n.close()
			n = newNode(t, again, nil).load()
			n.apply(small()...)
			check(t, "damage of what was let go", n.m.Dirs()[0].Damage, 0)
			check(t, "append", n.append("t", 0, -1, "5").BaseOffset, 5)
			n.close()
		})
	}
}

// deleteRecords deletes the records before an offset, and waits until that is saved.
func (n *node) deleteRecords(partition int32, offset int64) {
	n.t.Helper()
	done := make(chan error, 1)
	n.m.DeleteRecords("t", partition, offset, time.Minute, func(_ int64, err error) { done <- err })
	if err := <-done; err != nil {
		n.t.Fatal(err)
	}
}

// retentionRun appends to two logs and lets go of their records, by size and on demand, and clones the disk, as a power loss
// and as a kill would leave it, before each change of it.
type retentionRun struct {
	t    *testing.T
	mem  *vfs.Mem
	dice *rand.Rand // of run alone

	mu      sync.Mutex // the janitor works at its own times, too
	crashes *rand.Rand
	acked   [2]int   // records
	starts  [2]int64 // what DeleteRecords has answered
	clones  []retentionClone
}

type retentionClone struct {
	what   string
	disk   *vfs.Mem
	acked  [2]int
	starts [2]int64
}

func (r *retentionRun) clone(op vfs.Op, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what := fmt.Sprintf("before %s of %s", op, name)
	for i, disk := range []*vfs.Mem{
		r.mem.CrashClone(vfs.CrashOptions{}), r.mem.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(r.crashes.Uint64(), 0))}), killed(r.mem),
	} {
		r.clones = append(r.clones, retentionClone{fmt.Sprintf("%s (%d)", what, i), disk, r.acked, r.starts})
	}
}

var keepLittle = []string{"retention.bytes", "150"}

func (r *retentionRun) run(seed uint64, breakIt func(*Partition)) {
	r.dice, r.crashes = rand.New(rand.NewPCG(seed, 3)), rand.New(rand.NewPCG(seed, 4))
	r.mem = vfs.NewMem()
	fail := vfs.NewFail(r.mem)
	n := newNode(r.t, fail, nil).load()
	n.apply(small(keepLittle...)...)
	fail.Add(&vfs.Rule{Ops: vfs.OpRename | vfs.OpRemove | vfs.OpCreate | vfs.OpSync | vfs.OpSyncDir, Hook: r.clone})
	d := n.m.dirs[0]
	for i := range 8 {
		for p := range int32(2) {
			if e := n.append("t", p, -1, fmt.Sprint(p, "/", i)); e.Err != nil {
				r.t.Fatal(e.Err)
			}
			r.mu.Lock()
			r.acked[p]++
			r.mu.Unlock()
			if breakIt != nil {
				breakIt(n.m.topics.byName("t").partition(p))
			}
		}
		switch p := int32(r.dice.IntN(2)); r.dice.IntN(4) {
		case 0:
			start := n.m.topics.byName("t").partition(p).log.StartOffset()
			to := start + int64(r.dice.IntN(i+2-int(start)))
			n.deleteRecords(p, to)
			r.mu.Lock()
			r.starts[p] = to
			r.mu.Unlock()
		case 1:
			d.savePoints()
			d.savePoints()
		case 2:
			d.janitor.retain()
		default:
			d.janitor.retain()
			d.janitor.execute()
		}
	}
	fail.Clear()
	n.close()
}

// lost starts a node on every clone, and returns a sentence for each thing that is not as it should be.
func (r *retentionRun) lost() (problems []string) {
	for _, c := range r.clones {
		tell := func(format string, args ...any) {
			problems = append(problems, c.what+": "+fmt.Sprintf(format, args...))
		}
		n := newNode(r.t, c.disk, nil).load()
		n.apply(small(keepLittle...)...)
		if n.m.Dirs()[0].Damage != 0 || strings.Contains(n.logs.String(), "level=ERROR") {
			tell("damage is told:\n%s", n.logs)
		}
		for p := range int32(2) {
			log := n.m.topics.byName("t").partition(p).log
			if log == nil {
				continue // which was told
			}
			start := log.StartOffset()
			if start < c.starts[p] {
				tell("log %d begins at %d and was deleted before %d", p, start, c.starts[p])
			}
			if log.EndOffset() < int64(c.acked[p]) {
				tell("log %d ends at %d with %d acknowledged", p, log.EndOffset(), c.acked[p])
			}
			for offset := start; offset < log.EndOffset(); offset++ {
				req := fetchOf("t", offset)
				req.Partitions[0].Partition = p
				res := &n.fetch(req).Responses[0]
				if got := values(r.t, res); res.Err != nil || len(got) == 0 || got[0] != fmt.Sprint(p, "/", offset) {
					tell("log %d has %v at offset %d: %v", p, got, offset, res.Err)
				}
			}
			if e := n.append("t", p, -1, "goes on"); e.Err != nil {
				tell("append: %v", e.Err)
			}
		}
		n.m.dirs[0].janitor.retain()
		n.m.dirs[0].janitor.execute()
		n.close()
	}
	return problems
}

// TestRetentionAtEveryCrash: whatever moment of retention and of DeleteRecords a crash meets, no good log is called damaged, no
// deleted record comes back, and nothing else is gone.
func TestRetentionAtEveryCrash(t *testing.T) {
	for seed := range uint64(6) {
		r := &retentionRun{t: t}
		r.run(seed, nil)
		if len(r.clones) < 100 {
			t.Errorf("seed %d: only %d crashes", seed, len(r.clones))
		}
		for _, problem := range r.lost() {
			t.Errorf("seed %d: %s", seed, problem)
		}
	}
}

// TestCrashFindsSegmentsThatWentTooEarly: the test above finds what a log does that does not wait for its start to be saved.
func TestCrashFindsSegmentsThatWentTooEarly(t *testing.T) {
	for seed := range uint64(6) {
		r := &retentionRun{t: t}
		r.run(seed, func(p *Partition) {
			if _, err := p.log.StartSaved(math.MaxInt64, time.Now()); err != nil {
				t.Error(err)
			}
		})
		if len(r.lost()) > 0 {
			return
		}
	}
	t.Error("segments went before the start was saved, and nothing shows it")
}

// TestStartOfALogThatIsNotOpen: what was deleted of a log that cannot be opened for a while does not come back with it, though
// the starts of others are saved meanwhile.
func TestStartOfALogThatIsNotOpen(t *testing.T) {
	for name, harm := range map[string]func(disk *vfs.Mem) error{
		"damaged": func(disk *vfs.Mem) error { return disk.Rename("d1/t-0/00000000000000000000.log", "d1/elsewhere") },
		"missing": func(disk *vfs.Mem) error { return disk.Rename("d1/t-0", "d1/elsewhere") },
	} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		for range 2 {
			check(t, "append", n.append("t", 0, -1, "a").Err, nil)
			check(t, "append", n.append("t", 1, -1, "a").Err, nil)
		}
		n.deleteRecords(0, 1)
		n.writeHeld() // what the journal alone has of a log is written into it by the next start, or goes
		disk := killed(mem)
		n.close()
		if err := harm(disk); err != nil {
			t.Fatal(err)
		}
		n = newNode(t, disk, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		check(t, name, kafka.CodeOf(n.append("t", 0, -1, "x").Err), kafka.KafkaStorageError)
		n.deleteRecords(1, 1)
		n.close()
		to := "d1/t-0/00000000000000000000.log"
		if name == "missing" {
			to = "d1/t-0"
		}
		if err := disk.Rename("d1/elsewhere", to); err != nil {
			t.Fatal(err)
		}
		n = newNode(t, disk, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		for p := range 2 {
			res := n.fetch(fetchOf("t", 1, 1)).Responses[p]
			check(t, fmt.Sprint(name, ", restored: log ", p, " begins at"), res.LogStartOffset, 1)
		}
		check(t, name+", restored: damage", n.m.Dirs()[0].Damage, 0)
		n.close()
	}
}

// TestStartsOfApacheKafka: a log that Apache Kafka's retention left, whose start stands nowhere, begins where its first segment
// does, and from then on its start is known.
func TestStartsOfApacheKafka(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(small()...)
	for i := range 5 {
		check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
	}
	disk := killed(mem)
	n.close()
	var err error
	for _, name := range []string{"t-0/00000000000000000000.log", floorFile, startOffsetFile} {
		err = errors.Join(err, disk.Remove("d1/"+name))
	}
	if err != nil {
		t.Fatal(err)
	}
	n = newNode(t, disk, nil).load()
	n.apply(small()...)
	check(t, "damage", n.m.Dirs()[0].Damage, 0)
	starts, err := commitlog.ReadCheckpoint(disk, "d1/"+startOffsetFile)
	check(t, "saved", fmt.Sprint(starts, err), "[{t-0 1}] <nil>")
	disk = killed(disk)
	n.close()
	if err := disk.Remove("d1/t-0/00000000000000000001.log"); err != nil {
		t.Fatal(err)
	}
	n = newNode(t, disk, nil).load()
	n.apply(small()...)
	check(t, "damage of what goes now", n.m.Dirs()[0].Damage, 1)
	n.close()
}

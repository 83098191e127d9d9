package quorum

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// machine is a state machine that remembers the records it was given.
type machine struct {
	mu      sync.Mutex
	records []string // values, from the snapshot and from the log
	next    int64    // the offset after the last
	leader  []int32  // epochs in which this node led
}

func (m *machine) Apply(base int64, epoch int32, _ int64, records [][]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if base < m.next {
		return fmt.Errorf("batch at %d after %d", base, m.next)
	}
	for _, r := range records {
		m.records = append(m.records, string(r))
	}
	m.next = base + int64(len(records))
	return nil
}

func (m *machine) Restore(end int64, _ int32, _ int64, records iter.Seq2[[]byte, error]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records, m.next = nil, end
	for r, err := range records {
		if err != nil {
			return err
		}
		m.records = append(m.records, string(r))
	}
	return nil
}

func (m *machine) Snapshot() (int64, iter.Seq[[]byte]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	records := slices.Clone(m.records)
	return m.next - 1, func(yield func([]byte) bool) {
		for _, r := range records {
			if !yield([]byte(r)) {
				return
			}
		}
	}
}

func (m *machine) LeaderChanged(_, epoch int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leader = append(m.leader, epoch)
}

func (m *machine) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.records)
}

var directory = kafka.DirectoryID{1, 2, 3}

func format(t testing.TB, disk vfs.FS) {
	t.Helper()
	if err := Format(disk, "/meta", []wire.Message{&wire.FeatureLevelRecord{Name: "metadata.version", FeatureLevel: 33}}, []Voter{{ID: 1, DirectoryID: directory}}); err != nil {
		t.Fatal(err)
	}
	if err := disk.SyncDir("/"); err != nil { // whoever made the metadata.log.dir sees to its parent
		t.Fatal(err)
	}
}

func start(t testing.TB, disk vfs.FS, change func(*Options)) (*Node, *machine) {
	t.Helper()
	m := &machine{}
	o := Options{FS: disk, Dir: "/meta", NodeID: 1, DirectoryID: directory, StateMachine: m, Config: DefaultConfig(), Failed: func(err error) { t.Error(err) }}
	if change != nil {
		change(&o)
	}
	n, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(); err != nil {
		t.Fatal(err)
	}
	return n, m
}

func TestQuorumOfOneLeadsAtOnceAndEveryStartIsANewEpoch(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	var want []string
	formatted := 1 // record of the snapshot
	for epoch := int32(1); epoch <= 3; epoch++ {
		n, m := start(t, disk, nil)
		if leader, got := n.Leader(); leader != 1 || got != epoch || !slices.Equal(m.leader, []int32{epoch}) {
			t.Fatalf("start %d: node %d leads epoch %d, told %v", epoch, leader, got, m.leader)
		}
		if got := m.values()[formatted:]; !slices.Equal(got, want) {
			t.Fatalf("start %d: records %v, want %v", epoch, got, want)
		}
		for i := range 5 {
			before := n.EndOffset()
			values := [][]byte{fmt.Appendf(nil, "%d.%d.a", epoch, i), fmt.Appendf(nil, "%d.%d.b", epoch, i)}
			last, err := n.Propose(context.Background(), epoch, values)
			if err != nil || last != before+1 || n.HighWatermark() != before+2 {
				t.Fatalf("proposal at %d ended at %d, high watermark %d, %v", before, last, n.HighWatermark(), err)
			}
			want = append(want, string(values[0]), string(values[1]))
		}
		if _, err := n.Propose(context.Background(), epoch-1, [][]byte{{1}}); kafka.CodeOf(err) != kafka.NotController {
			t.Errorf("a proposal of an old epoch: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := n.ProposeAsync(epoch, [][]byte{{1}}, nil); kafka.CodeOf(err) != kafka.NotController {
			t.Errorf("a proposal to a closed node: %v", err)
		}
	}
}

func TestUnformattedDirectoryIsRefused(t *testing.T) {
	if _, err := Open(Options{FS: vfs.NewMem(), Dir: "/meta", NodeID: 1, StateMachine: &machine{}}); err == nil {
		t.Error("a directory without a snapshot was opened")
	}
}

func TestSnapshotsReplaceTheLogBehindThem(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	var want []string
	for epoch := int32(1); epoch <= 4; epoch++ {
		n, m := start(t, disk, func(o *Options) { o.Config.SnapshotMaxBytes = 200 })
		if got := m.values()[1:]; !slices.Equal(got, want) {
			t.Fatalf("epoch %d: records %v, want %v", epoch, got, want)
		}
		for i := range 20 {
			value := fmt.Appendf(nil, "%d.%d", epoch, i)
			if _, err := n.Propose(context.Background(), epoch, [][]byte{value}); err != nil {
				t.Fatal(err)
			}
			want = append(want, string(value))
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := listSnapshots(disk, Dir("/meta"))
	if err != nil || len(ids) < 3 || ids[0].end == 0 {
		t.Errorf("snapshots %v, %v: want several, all of which retention keeps", ids, err)
	}
}

// TestNothingProposedIsLostInACrash crashes after every sync point of a run and opens what the disk then holds: all that
// was answered must be there, in order, and what follows must be what was proposed.
func TestNothingProposedIsLostInACrash(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	var mu sync.Mutex
	var answered int
	type crash struct {
		disk     *vfs.Mem
		answered int
	}
	var crashes []crash
	dice := rand.New(rand.NewPCG(1, 2))
	capture := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, o := range []vfs.CrashOptions{{}, {Rand: dice}} {
			crashes = append(crashes, crash{disk.CrashClone(o), answered})
		}
	}
	disk.SetSyncHook(func(string) { capture() })
	n, _ := start(t, disk, func(o *Options) { o.Config.SnapshotMaxBytes = 300 })
	const total = 40
	for i := range total {
		if _, err := n.Propose(context.Background(), 1, [][]byte{fmt.Appendf(nil, "%d", i)}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		answered = i + 1
		mu.Unlock()
		if i%5 == 0 {
			capture()
		}
	}
	disk.SetSyncHook(nil)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for i, c := range crashes {
		n, m := start(t, c.disk, nil)
		got := m.values()[1:]
		if len(got) < c.answered || len(got) > total {
			t.Fatalf("crash %d: %d records, %d were answered", i, len(got), c.answered)
		}
		for j, v := range got {
			if v != fmt.Sprint(j) {
				t.Fatalf("crash %d: record %d is %q", i, j, v)
			}
		}
		if _, err := n.Propose(context.Background(), n.Describe().Epoch, [][]byte{[]byte("on")}); err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(crashes) < 2*total {
		t.Fatalf("only %d crashes were tried", len(crashes))
	}
}

func TestAFailedSyncStopsTheNode(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	fault := vfs.NewFail(disk)
	failed := make(chan error, 1)
	n, _ := start(t, fault, func(o *Options) { o.Failed = func(err error) { failed <- err } })
	fault.Add(&vfs.Rule{Ops: vfs.OpSync, Err: errors.New("injected")})
	if _, err := n.Propose(context.Background(), 1, [][]byte{{1}}); kafka.CodeOf(err) != kafka.NotController {
		t.Errorf("a proposal that could not be synced: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the node was not told")
	}
	n.Close()
}

func BenchmarkPropose(b *testing.B) {
	for _, waiters := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(waiters), func(b *testing.B) {
			dir := b.TempDir()
			if err := Format(vfs.OS, dir, nil, nil); err != nil {
				b.Fatal(err)
			}
			n, err := Open(Options{FS: vfs.OS, Dir: dir, NodeID: 1, StateMachine: &machine{}})
			if err == nil {
				err = n.Start()
			}
			if err != nil {
				b.Fatal(err)
			}
			value := make([]byte, 200)
			b.SetParallelism(max(1, waiters/2))
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := n.Propose(context.Background(), 1, [][]byte{value}); err != nil {
						b.Error(err)
					}
				}
			})
			n.Close()
		})
	}
}

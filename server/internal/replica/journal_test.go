package replica

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// appendAll appends one record to each of the first n partitions of "t" in one request.
func (n *node) appendAll(partitions int, value string) {
	n.t.Helper()
	done := make(chan struct{})
	req := &AppendRequest{Acks: -1, Timeout: time.Minute, Version: 12, Done: func(*AppendRequest) { close(done) }}
	for p := range partitions {
		req.Entries = append(req.Entries, AppendEntry{Topic: "t", Partition: int32(p), Records: batchOf(fmt.Sprint(value, "/", p))})
	}
	n.m.Append(req)
	<-done
	for i := range req.Entries {
		if err := req.Entries[i].Err; err != nil {
			n.t.Fatalf("partition %d: %v", i, err)
		}
	}
}

// wantAll compares what the first partitions hold.
func (n *node) wantAll(partitions int, rounds ...string) {
	n.t.Helper()
	for p := range partitions {
		var want []string
		for _, r := range rounds {
			want = append(want, fmt.Sprint(r, "/", p))
		}
		got, err := n.read(int32(p))
		if err != nil || !slices.Equal(got, want) {
			n.t.Errorf("partition %d: got %v, %v, want %v", p, got, err, want)
		}
	}
}

// rounds makes the names of n appends.
func rounds(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("round ", i))
	}
	return names
}

// TestManySmallAppendsAreOneSync: however many logs were appended to, the disk is asked once.
func TestManySmallAppendsAreOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 40
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, partitions)...)
		n.appendAll(partitions, "round 0") // new files: each is synced by itself
		time.Sleep(time.Second)
		var logs, journals, others atomic.Int32
		fail.Add(&vfs.Rule{Ops: vfs.OpSync | vfs.OpSyncDir, Hook: func(_ vfs.Op, name string) {
			switch {
			case strings.HasSuffix(name, ".log"):
				logs.Add(1)
			case strings.Contains(name, "journal"):
				journals.Add(1)
			default:
				others.Add(1)
			}
		}})
		before := n.m.Dirs()[0].SyncRounds
		n.appendAll(partitions, "round 1")
		n.appendAll(partitions, "round 2")
		made := int32(n.m.Dirs()[0].SyncRounds - before)
		if logs.Load() != 0 || journals.Load() != made || made < 2 || made > 4 {
			t.Errorf("%d rounds synced %d logs, and the journal %d times", made, logs.Load(), journals.Load())
		}
		check(t, "other syncs, but for the directory's of a new journal", others.Load(), 1)
		// A large append goes to its log alone.
		e := n.append("t", 0, -1, strings.Repeat("x", journalShare))
		check(t, "large", e.Err, nil)
		check(t, "logs synced for a large append", logs.Load(), 1)
		check(t, "the journal", journals.Load(), made)
	})
}

// TestJournalOutlivesTheLogs: a power loss takes what the logs were not synced for, and the start puts it back, whichever
// half it is in, however often the power fails again, and no matter what the halves hold of earlier runs.
func TestJournalOutlivesTheLogs(t *testing.T) {
	for _, many := range []int{1, 2, 5, 30} {
		synctest.Test(t, func(t *testing.T) {
			const partitions = 5
			mem := vfs.NewMem()
			n := newNode(t, mem, nil).load()
			n.m.dirs[0].journal.limit = 8 * journalSector // some rounds of five logs
			n.apply(topicRecords("t", idT, partitions)...)
			names := rounds(many + 1)
			for _, r := range names {
				n.appendAll(partitions, r)
				synctest.Wait() // for a drain, so that no round has to do without the journal
			}
			check(t, "frames", n.m.dirs[0].journal.frames.Load(), many)
			disk := mem.CrashClone(vfs.CrashOptions{})
			n.close()
			for start := range 2 {
				n = newNode(t, disk, nil).load()
				n.apply(topicRecords("t", idT, partitions)...)
				n.wantAll(partitions, names...)
				// When a drain comes last, it takes the newest records with it.
				if told := strings.Contains(n.logs.String(), "what the journal alone had"); told && start > 0 || !told && start == 0 && many < 4 {
					t.Errorf("%d rounds, start %d: told of a journal: %v\n%s", many, start, told, n.logs)
				}
				check(t, "damage", n.m.Dirs()[0].Damage, 0)
				again := disk.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(uint64(many), 0))})
				n.close()
				disk = again
			}
		})
	}
}

// TestARoundOfSeveralFrames: what many logs have to write is more than a frame, and is one sync all the same.
func TestARoundOfSeveralFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = journalMany + 8
		mem := vfs.NewMem()
		fail := vfs.NewFail(mem)
		n := newNode(t, fail, nil).load()
		n.apply(topicRecords("t", idT, partitions)...)
		n.appendAll(partitions, "small")
		var syncs atomic.Int32
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: func(vfs.Op, string) { syncs.Add(1) }})
		before := n.m.Dirs()[0].SyncRounds
		large := strings.Repeat("x", journalFrame/16)
		n.appendAll(partitions, large)
		made := n.m.Dirs()[0].SyncRounds - before
		if frames := n.m.dirs[0].journal.frames.Load(); frames < 3 || int64(syncs.Load()) > made {
			t.Errorf("%d rounds, %d frames, %d syncs", made, frames, syncs.Load())
		}
		disk := mem.CrashClone(vfs.CrashOptions{})
		n.close()
		n = newNode(t, disk, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, partitions)...)
		n.wantAll(partitions, "small", large)
	})
}

// TestJournalOfADeletedTopic: a topic that has the name of one that was deleted gets nothing of it.
func TestJournalOfADeletedTopic(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	n.appendAll(2, "old 0")
	n.appendAll(2, "old 1")
	n.apply(removeTopic(idT))
	n.apply(topicRecords("t", idU, 2)...)
	n.appendAll(2, "new")
	disk := mem.CrashClone(vfs.CrashOptions{})
	n.close()
	n = newNode(t, disk, nil).load()
	defer n.close()
	n.apply(topicRecords("t", idU, 2)...)
	n.wantAll(2, "new")
}

// crashed closes a node, and returns its disk as a crash before that would have left it, with the half of the journal that
// was written to.
func (n *node) crashed(mem *vfs.Mem) (disk *vfs.Mem, name string, data []byte) {
	n.t.Helper()
	disk, name = mem.CrashClone(vfs.CrashOptions{}), "d1/"+journalFiles[1]
	n.close()
	data, err := vfs.ReadFile(disk, name)
	if err != nil {
		n.t.Fatal(err)
	}
	return disk, name, data
}

// TestDamagedJournal: a frame that does not check, with others behind it, is told and counted; the log that lacks what it
// held is offline rather than shorter.
func TestDamagedJournal(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	for i := range 4 {
		check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
		check(t, "append", n.append("t", 1, -1, fmt.Sprint(i)).Err, nil)
	}
	disk, name, data := n.crashed(mem)
	frames, bad := parseJournal(data)
	check(t, "frames", fmt.Sprint(len(frames), bad), "6 0") // of each log all but the first append
	at := 2 * journalSector
	check(t, "whose", frames[2].entries[0].partition.Partition, 0)
	data[at+100] ^= 1
	if err := vfs.WriteFileAtomic(disk, name, data); err != nil {
		t.Fatal(err)
	}
	n = newNode(t, disk, nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 2)...)
	req := n.fetch(fetchOf("t", 0, 0))
	if req.Responses[0].Err == nil {
		t.Errorf("the log that lacks what the frame held was served: %v", values(t, &req.Responses[0]))
	}
	check(t, "the other", values(t, &req.Responses[1]), []string{"0", "1", "2", "3"})
	check(t, "damage", n.m.Dirs()[0].Damage, 2)
	if log := n.logs.String(); !strings.Contains(log, "frames of the journal do not check") {
		t.Errorf("the log does not say so:\n%s", log)
	}
}

// TestDamagedFirstFrame: that the first frame of a run is missing is told as well, though no floor and no later frame may tell what
// it held.
func TestDamagedFirstFrame(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	for i, p := range []int32{0, 1, 1, 0, 0} {
		check(t, "append", n.append("t", p, -1, fmt.Sprint(i)).Err, nil)
	}
	disk, name, data := n.crashed(mem)
	frames, _ := parseJournal(data)
	check(t, "the first", frames[0].entries[0].partition, "t-1")
	data[100] ^= 1
	if err := vfs.WriteFileAtomic(disk, name, data); err != nil {
		t.Fatal(err)
	}
	n = newNode(t, disk, nil).load()
	defer n.close()
	check(t, "damage", n.m.Dirs()[0].Damage, 1)
	check(t, "told", strings.Count(n.logs.String(), "frames of the journal do not check"), 1)
}

// TestJournalOfALogWithoutItsID: a log whose partition.metadata is gone, or cannot be read, gets what the journal alone has of it.
func TestJournalOfALogWithoutItsID(t *testing.T) {
	for name, harm := range map[string]func(disk *vfs.Mem, file string) error{
		"gone": func(disk *vfs.Mem, file string) error { return disk.Remove(file) },
		"torn": func(disk *vfs.Mem, file string) error { return vfs.WriteFileAtomic(disk, file, []byte("version: 0\n")) },
	} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1)...)
		for i := range 3 {
			check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
		}
		disk := mem.CrashClone(vfs.CrashOptions{})
		n.close()
		if err := harm(disk, "d1/t-0/"+commitlog.PartitionMetadataFile); err != nil {
			t.Fatal(err)
		}
		n = newNode(t, disk, nil).load()
		n.apply(topicRecords("t", idT, 1)...)
		res := n.fetch(fetchOf("t", 0)).Responses[0]
		check(t, name, fmt.Sprint(values(t, &res), res.Err), "[0 1 2] <nil>")
		n.close()
	}
}

// TestTornFrame: what a crash left of the last frame, or of a run's first, is no damage.
func TestTornFrame(t *testing.T) {
	frame := func(run uint64, sequence uint32) []byte {
		b := make([]byte, journalFrameHeader, journalSector)
		sealFrame(b, run, sequence, 0)
		return b[:journalSector]
	}
	whole := slices.Concat(frame(7, 0), frame(7, 1), frame(7, 2))
	for _, c := range []struct {
		what   string
		data   []byte
		frames int
		bad    int
	}{
		{"whole", whole, 3, 0},
		{"cut", whole[:2*journalSector+20], 2, 0},
		{"the last one torn", slices.Concat(whole[:2*journalSector], make([]byte, journalSector)), 2, 0},
		{"older frames behind", slices.Concat(frame(9, 0), whole[journalSector:]), 1, 0},
		{"the first one of a run torn", slices.Concat(make([]byte, journalSector), whole[journalSector:]), 2, 0},
		{"one in the middle", slices.Concat(whole[:journalSector], make([]byte, journalSector), whole[2*journalSector:]), 2, 1},
		{"nothing", nil, 0, 0},
	} {
		frames, bad := parseJournal(c.data)
		check(t, c.what, fmt.Sprint(len(frames), bad), fmt.Sprint(c.frames, c.bad))
	}
}

// TestJournalWithoutRoom: where the journal cannot grow, the logs are synced by themselves.
func TestJournalWithoutRoom(t *testing.T) {
	fail := vfs.NewFail(vfs.NewMem())
	n := newNode(t, fail, nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 3)...)
	n.appendAll(3, "round 0")
	fail.Add(&vfs.Rule{Ops: vfs.OpWrite | vfs.OpCreate, Path: "d1/millrace-journal.*", Err: syscall.ENOSPC})
	n.appendAll(3, "round 1")
	check(t, "frames", n.m.dirs[0].journal.frames.Load(), 0)
	fail.Clear()
	n.appendAll(3, "round 2")
	if n.m.dirs[0].journal.frames.Load() == 0 {
		t.Error("with room again the journal is not used")
	}
	n.wantAll(3, "round 0", "round 1", "round 2")
}

// TestDrainFails: a log that cannot be synced once the journal is full takes its directory offline, as in a round.
func TestDrainFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.m.dirs[0].journal.limit = 4 * journalSector
		n.apply(topicRecords("t", idT, 2)...)
		n.appendAll(2, "round 0")
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "d1/t-1/*.log", Err: syscall.EIO})
		for i := range 6 {
			if e := n.append("t", 0, -1, fmt.Sprint(i)); e.Err != nil && kafka.CodeOf(e.Err) != kafka.KafkaStorageError {
				t.Errorf("append: %v", e.Err)
			}
			if e := n.append("t", 1, -1, fmt.Sprint(i)); e.Err != nil && kafka.CodeOf(e.Err) != kafka.KafkaStorageError {
				t.Errorf("append: %v", e.Err)
			}
			synctest.Wait()
		}
		failed, _ := n.cluster.failures()
		check(t, "failed", failed, []string{"d1"})
	})
}

// TestCleanStopLeavesNoJournal: after it the logs are all there is, for Kafka too.
func TestCleanStopLeavesNoJournal(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	n.appendAll(2, "round 0")
	n.appendAll(2, "round 1")
	if n.m.dirs[0].journal.frames.Load() == 0 {
		t.Fatal("the journal was not used")
	}
	n.close()
	for _, name := range journalFiles {
		if _, err := mem.Stat("d1/" + name); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	disk := mem.CrashClone(vfs.CrashOptions{})
	n = newNode(t, disk, nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 2)...)
	n.wantAll(2, "round 0", "round 1")
}

// TestReplayJournal: a copy of the logs of a node that was killed is completed, and what it was copied from stays as it is.
func TestReplayJournal(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 1)...)
	n.append("t", 0, -1, "a")
	n.append("t", 0, -1, "b")
	disk := mem.CrashClone(vfs.CrashOptions{})
	n.close()
	one, log := len(batchOf("a")), "t-0/00000000000000000000.log"
	check(t, "copy", disk.MkdirAll("copy/t-0", 0o755), nil)
	for _, name := range []string{log, "t-0/partition.metadata"} {
		data, err := vfs.ReadFile(disk, "d1/"+name)
		check(t, "copy", err, nil)
		check(t, "copy", vfs.WriteFileAtomic(disk, "copy/"+name, data), nil)
	}
	check(t, "replay", ReplayJournal(disk, "d1", "copy"), nil)
	copied, _ := vfs.ReadFile(disk, "copy/"+log)
	check(t, "the copy", len(copied), 2*one)
	own, _ := vfs.ReadFile(disk, "d1/"+log)
	check(t, "the node's own", len(own), one)
	check(t, "nothing to do", ReplayJournal(disk, "copy", "copy"), nil)
}

func FuzzJournal(f *testing.F) {
	mem := vfs.NewMem()
	n := newNode(f, mem, nil).load()
	n.apply(topicRecords("t", idT, 3)...)
	for i := range 3 {
		n.appendAll(3, fmt.Sprint(i))
	}
	data, err := vfs.ReadFile(mem, "d1/"+journalFiles[1])
	if err != nil {
		f.Fatal(err)
	}
	n.close()
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		frames, _ := parseJournal(data)
		size := 0
		for _, frame := range frames {
			size += journalFrameHeader
			for _, e := range frame.entries {
				size += journalEntryHeader + len(e.partition.Topic) + len(e.bytes)
			}
		}
		if size > len(data) {
			t.Errorf("%d bytes came out of %d", size, len(data))
		}
	})
}

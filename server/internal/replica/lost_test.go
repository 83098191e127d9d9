package replica

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// wantLost holds that partition 0 is offline, said once, and that partition 1 and the directory go on.
func (n *node) wantLost(what string) {
	n.t.Helper()
	check(n.t, what+": fetch", kafka.CodeOf(n.fetch(fetchOf("t", 0)).Responses[0].Err), kafka.KafkaStorageError)
	check(n.t, what+": append", kafka.CodeOf(n.append("t", 0, -1, "lost").Err), kafka.KafkaStorageError)
	check(n.t, what+": the other", n.append("t", 1, -1, "goes on").Err, nil)
	dir := n.m.Dirs()[0]
	check(n.t, what+": the directory", fmt.Sprint(dir.Offline, dir.Damage), "false 1")
	if told := strings.Count(n.logs.String(), "level=ERROR"); told != 1 {
		n.t.Errorf("%s: told %d times:\n%s", what, told, n.logs)
	}
}

// TestDirectoryTakenAway: `rm -r` of a partition's directory takes that partition offline, whoever meets it first. The node
// goes on, the stop is not clean, and the next start has not forgotten. Deleting the topic ends it.
func TestDirectoryTakenAway(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, n *node, p *Partition){
		"a round of syncs": func(t *testing.T, n *node, p *Partition) {
			large := strings.Repeat("x", journalShare) // which the journal does not take
			check(t, "append", kafka.CodeOf(n.append("t", 0, -1, large).Err), kafka.KafkaStorageError)
		},
		"a drain of the journal": func(t *testing.T, n *node, p *Partition) {
			check(t, "drain", n.m.dirs[0].syncJournaled([]*Partition{p}), nil)
		},
		"a checkpoint": func(t *testing.T, n *node, p *Partition) {
			n.m.dirs[0].savePoints() // it is in use still
			n.m.dirs[0].savePoints()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fail := vfs.NewFail(vfs.NewMem())
				n := newNode(t, fail, func(o *Options) { o.Handles = 1 }).load() // so that files are closed when others are used
				n.apply(topicRecords("t", idT, 2)...)
				check(t, "append", n.append("t", 0, -1, "a").Err, nil)
				check(t, "append", n.append("t", 0, -1, "b").Err, nil) // in the journal
				p := n.m.topics.byName("t").partition(0)
				take := func() {
					if err := fail.RemoveAll("d1/t-0"); err != nil {
						t.Error(err)
					}
				}
				if name == "a round of syncs" { // between the write and the sync; the file is open
					fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "d1/t-0/*", Err: syscall.ENOENT, Hook: func(vfs.Op, string) { take() }})
				} else {
					take()
					check(t, "use another file", n.append("t", 1, -1, "x").Err, nil)
				}
				meet(t, n, p)
				n.wantLost(name)
				time.Sleep(time.Hour)
				n.wantLost(name + ", an hour later")
				fail.Clear()
				n.close()

				n = newNode(t, fail, nil).load()
				n.apply(topicRecords("t", idT, 2)...)
				n.wantLost(name + ", after a restart")
				n.apply(removeTopic(idT))
				n.apply(topicRecords("t", idU, 2)...)
				check(t, "a new topic of that name", n.append("t", 0, -1, "new").Err, nil)
				n.close()
			})
		})
	}
}

// TestDeleteWhatWasTakenAway: a topic can be deleted whose directory somebody removed before.
func TestDeleteWhatWasTakenAway(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	defer n.close()
	n.apply(append(topicRecords("t", idT, 1), topicRecords("u", idU, 1)...)...)
	check(t, "append", n.append("t", 0, -1, "a").Err, nil)
	if err := mem.RemoveAll("d1/t-0"); err != nil {
		t.Fatal(err)
	}
	n.apply(removeTopic(idT))
	check(t, "the other", n.append("u", 0, -1, "x").Err, nil)
}

// TestADiskThatFailsIsNoMissingFile: an error of the disk takes the directory offline.
func TestADiskThatFailsIsNoMissingFile(t *testing.T) {
	fail := vfs.NewFail(vfs.NewMem())
	n := newNode(t, fail, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "d1/t-0/*", Err: syscall.EIO})
	check(t, "append", kafka.CodeOf(n.append("t", 0, -1, "a").Err), kafka.KafkaStorageError)
	check(t, "the directory", n.m.Dirs()[0].Offline, true)
	fail.Clear()
	n.close()
}

// killed is the disk as a process leaves it that is killed at this moment: with all that was written.
func killed(disk *vfs.Mem) *vfs.Mem { return disk.CrashClone(vfs.CrashOptions{All: true}) }

// TestMissingAtTheStart: a log whose directory somebody removed while the node was down is offline after an unclean stop, as
// long as nobody restores it or deletes the topic; what never held a record, or was deleted, begins empty.
func TestMissingAtTheStart(t *testing.T) {
	for name, take := range map[string]func(disk vfs.FS) error{
		"the directory": func(disk vfs.FS) error { return disk.RemoveAll("d1/t-0") },
		"all that is in it": func(disk vfs.FS) error {
			return errors.Join(disk.RemoveAll("d1/t-0"), disk.MkdirAll("d1/t-0", 0o755))
		},
	} {
		for _, journaled := range []bool{false, true} { // whether the journal alone knows of it
			t.Run(fmt.Sprint(name, "/", journaled), func(t *testing.T) {
				mem := vfs.NewMem()
				n := newNode(t, mem, nil).load()
				n.apply(topicRecords("t", idT, 3)...) // 2 never holds a record
				check(t, "append", n.append("t", 0, -1, "a").Err, nil)
				check(t, "append", n.append("t", 1, -1, "a").Err, nil)
				if journaled {
					n = restart(t, n, mem, nil)
					n.apply(topicRecords("t", idT, 3)...)
					check(t, "append", n.append("t", 0, -1, "b").Err, nil)
					check(t, "append", n.append("t", 0, -1, "c").Err, nil)
				}
				disk := killed(mem)
				n.close()
				for _, err := range []error{take(disk), disk.RemoveAll("d1/t-2")} {
					if err != nil {
						t.Fatal(err)
					}
				}
				newNode(t, disk, nil).load().close() // a stop before any image came
				for start := range 3 {
					n = newNode(t, disk, nil).load()
					n.apply(topicRecords("t", idT, 3)...)
					n.wantLost(fmt.Sprint("start ", start))
					if start == 0 {
						check(t, "what never held a record", n.append("t", 2, -1, "new").BaseOffset, 0)
					}
					n.close()
				}
				n = newNode(t, disk, nil).load()
				n.apply(topicRecords("t", idT, 3)...)
				n.apply(removeTopic(idT))
				n.apply(topicRecords("t", idU, 1)...)
				check(t, "a new topic of that name", n.append("t", 0, -1, "new").BaseOffset, 0)
				again := killed(disk)
				n.close()
				n = newNode(t, again, nil).load()
				n.apply(topicRecords("t", idU, 1)...)
				check(t, "after a crash", n.append("t", 0, -1, "newer").BaseOffset, 1)
				check(t, "damage", n.m.Dirs()[0].Damage, 0)
				n.close()
			})
		}
	}
}

// TestMovedToAnotherDirectory: whoever moves a log to another directory of a stopped node has lost nothing.
func TestMovedToAnotherDirectory(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil, dir1, dir2).load()
	n.apply(topicRecords("t", idT, 1)...)
	check(t, "append", n.append("t", 0, -1, "a").Err, nil)
	disk := killed(mem)
	n.close()
	if err := disk.Rename("d1/t-0", "d2/t-0"); err != nil {
		t.Fatal(err)
	}
	for start := range 3 {
		n = newNode(t, disk, nil, dir1, dir2).load()
		n.apply(topicRecords("t", idT, 1)...)
		check(t, "append", n.append("t", 0, -1, "b").BaseOffset, 1+start)
		check(t, "damage", n.m.Dirs()[0].Damage+n.m.Dirs()[1].Damage, 0)
		disk = killed(disk)
		n.close()
	}
	// Nor does the first directory miss it once it has left the second.
	n = newNode(t, disk, nil, dir1, dir2).load()
	n.apply(topicRecords("t", idT, 1)...)
	n.apply(partitionRecord(idT, 0, 1, 2))
	for _, d := range n.m.dirs {
		d.sync.close() // rounds that were asked for have run
	}
	disk = killed(disk)
	n.close()
	n = newNode(t, disk, nil, dir1, dir2).load()
	n.apply(append(topicRecords("t", idT, 0), partitionRecord(idT, 0, 2, 1))...)
	check(t, "back again", n.append("t", 0, -1, "new").BaseOffset, 0)
	n.close()
}

// TestMissingAndNotPlaced: a log that the first image does not place here is not missed, then or when it comes back.
func TestMissingAndNotPlaced(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 1)...)
	check(t, "append", n.append("t", 0, -1, "a").Err, nil)
	disk := killed(mem)
	n.close()
	if err := disk.RemoveAll("d1/t-0"); err != nil {
		t.Fatal(err)
	}
	n = newNode(t, disk, nil).load()
	n.apply(append(topicRecords("t", idT, 0), partitionRecord(idT, 0, 1, 2))...)
	n.apply(partitionRecord(idT, 0, 2, 1))
	n.m.dirs[0].sync.close() // rounds that were asked for have run
	disk = killed(disk)
	n.close()
	n = newNode(t, disk, nil).load()
	n.apply(append(topicRecords("t", idT, 0), partitionRecord(idT, 0, 2, 1))...)
	check(t, "append", n.append("t", 0, -1, "new").BaseOffset, 0)
	check(t, "damage", n.m.Dirs()[0].Damage, 0)
	n.close()
}

// TestReplicaThatComesBack: a replica that moves away and comes back under the same topic id begins anew, whatever crash
// comes: neither the floor nor the journal holds anything against it.
func TestReplicaThatComesBack(t *testing.T) {
	for _, turns := range []bool{false, true} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		if turns {
			n.m.dirs[0].journal.limit = 2 * journalSector
		}
		n.apply(topicRecords("t", idT, 1)...)
		for i := range 5 {
			check(t, "append", n.append("t", 0, -1, fmt.Sprint("old ", i)).Err, nil)
		}
		n.apply(partitionRecord(idT, 0, 1, 2))
		disk := mem.CrashClone(vfs.CrashOptions{})
		n.apply(partitionRecord(idT, 0, 2, 1))
		check(t, "append", n.append("t", 0, -1, "new 0").BaseOffset, 0)
		check(t, "append", n.append("t", 0, -1, "new 1").BaseOffset, 1)
		if err := n.m.dirs[0].compactFloor(); err != nil {
			t.Fatal(err)
		}
		for what, disk := range map[string]*vfs.Mem{"killed": killed(mem), "power": mem.CrashClone(vfs.CrashOptions{})} {
			after := newNode(t, disk, nil).load()
			after.apply(append(topicRecords("t", idT, 0), partitionRecord(idT, 0, 2, 1))...)
			got, err := after.read(0)
			check(t, what, fmt.Sprint(got, err), "[new 0 new 1] <nil>")
			check(t, what+": damage", after.m.Dirs()[0].Damage, 0)
			after.close()
		}
		n.close()
		n = newNode(t, disk, nil).load()
		n.apply(append(topicRecords("t", idT, 0), partitionRecord(idT, 0, 1, 2))...)
		n.apply(partitionRecord(idT, 0, 2, 1))
		check(t, "back after a crash", n.append("t", 0, -1, "new").BaseOffset, 0)
		check(t, "damage", n.m.Dirs()[0].Damage, 0)
		n.close()
	}
}

// TestBadCheckpoints: a checkpoint that is no checkpoint is as good as none, but for that of log starts: without it, records
// that were deleted would come back.
func TestBadCheckpoints(t *testing.T) {
	for _, clean := range []bool{false, true} {
		for _, name := range []string{highWatermarkFile, recoveryPointFile, startOffsetFile} {
			t.Run(fmt.Sprint(name, "/", clean), func(t *testing.T) {
				mem := vfs.NewMem()
				n := newNode(t, mem, nil).load()
				n.apply(topicRecords("t", idT, 1)...)
				check(t, "append", n.append("t", 0, -1, "a").Err, nil)
				check(t, "append", n.append("t", 0, -1, "b").Err, nil)
				n.m.DeleteRecords("t", 0, 1, time.Second, func(int64, error) {})
				n.close()
				if !clean {
					if err := commitlog.RemoveCleanShutdown(mem, "d1"); err != nil {
						t.Fatal(err)
					}
				}
				if err := vfs.WriteFile(mem, "d1/"+name, []byte("0\n1\nt 0 \x00\x00\n")); err != nil {
					t.Fatal(err)
				}
				n = newNode(t, mem, nil)
				if name == startOffsetFile && !clean {
					err := n.m.Load(context.Background(), nil)
					if err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "remove the file") {
						t.Errorf("got %v", err)
					}
					n.close()
					if err := mem.Remove("d1/" + name); err != nil {
						t.Fatal(err)
					}
					n = newNode(t, mem, nil).load()
					n.apply(topicRecords("t", idT, 1)...)
					check(t, "without it", values(t, &n.fetch(fetchOf("t", 0)).Responses[0]), []string{"a", "b"})
					n.close()
					return
				}
				n.load()
				n.apply(topicRecords("t", idT, 1)...)
				res := n.fetch(fetchOf("t", 1)).Responses[0]
				check(t, "records", values(t, &res), []string{"b"})
				check(t, "offsets", fmt.Sprint(res.LogStartOffset, res.HighWatermark), "1 2")
				told := strings.Count(n.logs.String(), "a checkpoint cannot be read")
				if want := name == highWatermarkFile || name == recoveryPointFile && !clean; (told == 1) != want {
					t.Errorf("told %d times:\n%s", told, n.logs)
				}
				check(t, "append", n.append("t", 0, -1, "c").BaseOffset, 2)
				n.close()
			})
		}
	}
}

// TestSegmentMissingAtTheStart: a segment that somebody took away below the recovery point is missed by an unclean start, as
// far as nothing but compaction can have left the hole.
func TestSegmentMissingAtTheStart(t *testing.T) {
	for _, policy := range []string{"delete", "compact"} {
		records := topicRecords("t", idT, 1, "internal.segment.bytes", "100")
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(records...)
		for i := range 5 {
			check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
		}
		n.close()
		if err := commitlog.RemoveCleanShutdown(mem, "d1"); err != nil {
			t.Fatal(err)
		}
		if err := mem.Remove("d1/t-0/00000000000000000002.log"); err != nil {
			t.Fatal(err)
		}
		n = newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1, "internal.segment.bytes", "100", "cleanup.policy", policy)...)
		damage, told := n.m.Dirs()[0].Damage, strings.Count(n.logs.String(), "a part of a log is missing")
		if policy == "compact" {
			check(t, "damage of a compacted log", fmt.Sprint(damage, told), "0 0")
			n.close()
			continue
		}
		check(t, "damage", fmt.Sprint(damage, told), "1 1")
		check(t, "the hole", kafka.CodeOf(n.fetch(fetchOf("t", 2)).Responses[0].Err), kafka.CorruptMessage)
		check(t, "before it", values(t, &n.fetch(fetchOf("t", 0)).Responses[0])[0], "0")
		check(t, "behind it", values(t, &n.fetch(fetchOf("t", 3)).Responses[0])[0], "3")
		n.close()
	}
}

// TestDamagedStray: the damaged log of a topic that is no more keeps its bytes when a topic of that name is created, and one
// whose partition.metadata is gone as well is this topic's still, and offline.
func TestDamagedStray(t *testing.T) {
	for _, id := range []kafka.TopicID{idU, idT} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		check(t, "append", n.append("t", 0, -1, "a").Err, nil)
		n.close()
		data, err := vfs.ReadFile(mem, "d1/t-0/00000000000000000000.log")
		if err != nil {
			t.Fatal(err)
		}
		data[64] ^= 1
		err = errors.Join(vfs.WriteFile(mem, "d1/t-0/00000000000000000000.log", data), commitlog.RemoveCleanShutdown(mem, "d1"), mem.Remove("d1/"+recoveryPointFile))
		if id == idT {
			err = errors.Join(err, mem.Remove("d1/t-0/"+commitlog.PartitionMetadataFile), mem.Remove("d1/"+floorFile))
			err = errors.Join(err, commitlog.WriteCheckpoint(mem, "d1/"+recoveryPointFile, []commitlog.CheckpointEntry{{Partition: kafka.TopicPartition{Topic: "t"}, Offset: 2}}))
		} else {
			err = errors.Join(err, vfs.WriteFile(mem, "d1/"+floorFile, appendFloor(appendFloorHeader(nil), idT, 0, 1)))
		}
		if err != nil {
			t.Fatal(err)
		}
		n = newNode(t, mem, nil).load()
		n.apply(topicRecords("t", id, 2)...)
		check(t, "damage", n.m.Dirs()[0].Damage, 1)
		if e := n.append("t", 0, -1, "new"); id == idU {
			check(t, "the new topic", fmt.Sprint(e.BaseOffset, e.Err), "0 <nil>")
		} else {
			check(t, "the same topic", kafka.CodeOf(e.Err), kafka.KafkaStorageError)
		}
		n.close()
		kept := false
		entries, _ := mem.ReadDir("d1")
		for _, e := range entries {
			got, _ := vfs.ReadFile(mem, path.Join("d1", e.Name(), "00000000000000000000.log"))
			kept = kept || string(got) == string(data)
		}
		check(t, "its bytes are kept", kept, true)
	}
}

// TestTakenAwayBeforeTheStop: a stop that is the first to meet a missing directory says so and is no failure; the next start
// has not forgotten.
func TestTakenAwayBeforeTheStop(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	check(t, "append", n.append("t", 0, -1, "a").Err, nil)
	check(t, "append", n.append("t", 1, -1, "a").Err, nil)
	if err := mem.RemoveAll("d1/t-0"); err != nil {
		t.Fatal(err)
	}
	n.close()
	check(t, "told", strings.Count(n.logs.String(), "level=ERROR"), 1)
	n = newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	n.wantLost("after the stop")
	n.close()
}

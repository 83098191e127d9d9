package replica

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// restart stops a node cleanly and starts one on the same disk with the same topics.
func restart(t *testing.T, n *node, fsys vfs.FS, change func(*Options), dirs ...Dir) *node {
	t.Helper()
	n.m.SetBrokerEpoch(17)
	n.close()
	return newNode(t, fsys, change, dirs...).load()
}

func TestCleanRestart(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	check(t, "previous broker epoch of a new directory", n.m.PreviousBrokerEpoch(), -1)
	n.apply(topicRecords("t", idT, 3)...)
	n.append("t", 0, -1, "a", "b")
	n.append("t", 2, -1, "c")
	fail := vfs.NewFail(mem)
	n = restart(t, n, fail, nil)
	check(t, "previous broker epoch", n.m.PreviousBrokerEpoch(), 17)

	// Not a file of a partition is touched before somebody asks for it.
	var mu sync.Mutex
	var touched []string
	fail.Add(&vfs.Rule{Hook: func(op vfs.Op, name string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(path.Base(path.Dir(name))+"/", "t-") || strings.HasPrefix(path.Base(name), "t-") {
			touched = append(touched, fmt.Sprint(op, " ", name))
		}
	}})
	n.apply(topicRecords("t", idT, 3)...)
	for s := range n.m.Partitions() {
		check(t, "end", s.End, []int{2, 0, 1}[s.Partition])
		check(t, "high watermark", s.HighWatermark, s.End)
	}
	mu.Lock()
	check(t, "touched", touched, []string{})
	mu.Unlock()
	fail.Clear()
	req := n.fetch(fetchOf("t", 0, 0, 0))
	check(t, "records", told(t, req), "0:[a b] 1:[] 2:[c] ")
	check(t, "append", n.append("t", 0, -1, "d").BaseOffset, 2)
	n.close()
}

// TestKafkaFiles: what lies in a log directory after a clean stop is what Kafka expects there.
func TestKafkaFiles(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 2)...)
	n.append("t", 0, -1, "a", "b", "c")
	n.m.DeleteRecords("t", 0, 1, time.Second, func(int64, error) {})
	n.m.SetBrokerEpoch(5)
	n.close()
	for name, want := range map[string]string{
		"recovery-point-offset-checkpoint": "0\n2\nt 0 3\nt 1 0\n",
		"replication-offset-checkpoint":    "0\n2\nt 0 3\nt 1 0\n",
		"log-start-offset-checkpoint":      "0\n1\nt 0 1\n",
		".kafka_cleanshutdown":             `{"version":0,"brokerEpoch":5}`,
	} {
		got, err := vfs.ReadFile(mem, "d1/"+name)
		check(t, name, fmt.Sprint(string(got), err), want+"<nil>")
	}
}

// TestManifestIsOnlyBelievedWithItsMarker: without the marker, with another's, or with a flipped bit, logs are looked at.
func TestManifestIsOnlyBelievedWithItsMarker(t *testing.T) {
	for _, what := range []string{"no marker", "another broker epoch", "a flipped bit", "cut"} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1)...)
		n.append("t", 0, -1, "a")
		n.m.SetBrokerEpoch(17)
		n.close()
		name := "d1/" + manifestFile
		data, err := vfs.ReadFile(mem, name)
		if err != nil {
			t.Fatal(err)
		}
		switch what {
		case "no marker":
			err = commitlog.RemoveCleanShutdown(mem, "d1")
		case "another broker epoch":
			err = commitlog.WriteCleanShutdown(mem, "d1", 18)
		case "a flipped bit":
			data[len(data)-20] ^= 4
			err = vfs.WriteFileAtomic(mem, name, data)
		case "cut":
			err = vfs.WriteFileAtomic(mem, name, data[:len(data)-1])
		}
		if err != nil {
			t.Fatal(err)
		}
		n = newNode(t, mem, nil).load()
		check(t, what+": believed", n.m.dirs[0].fromManifest, false)
		n.apply(topicRecords("t", idT, 1)...)
		check(t, what, told(t, n.fetch(fetchOf("t", 0))), "0:[a] ")
		if _, err := mem.Stat(name); what != "no marker" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the manifest is still there after the start: %v", what, err)
		}
		n.close()
	}
}

func FuzzManifest(f *testing.F) {
	s := commitlog.Summary{StartOffset: 1, EndOffset: 9, LastEpoch: 2, Segments: 1, Size: 99, MaxTimestamp: 7, OldestTimestamp: 6}
	f.Add(appendManifest(nil, 3, []manifestEntry{{kafka.TopicPartition{Topic: "t"}, idT, s}, {kafka.TopicPartition{Topic: "t", Partition: 1}, idT, s}, {kafka.TopicPartition{Topic: "u"}, idU, s}}))
	f.Add(appendManifest(nil, 3, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parseManifest(data, 3)
		if err != nil {
			return
		}
		if again := appendManifest(nil, 3, entries); string(again) != string(data) && slices.IsSortedFunc(entries, func(a, b manifestEntry) int { return strings.Compare(a.partition.Topic, b.partition.Topic) }) {
			t.Errorf("%x was read as %v, which is written as %x", data, entries, again)
		}
	})
}

func TestManifestRoundTrip(t *testing.T) {
	s := commitlog.Summary{StartOffset: 1, EndOffset: 9, LastEpoch: -1, Segments: 3, Size: 99, MaxTimestamp: 7, OldestTimestamp: -1}
	want := []manifestEntry{{kafka.TopicPartition{Topic: "t", Partition: 0}, idT, s}, {kafka.TopicPartition{Topic: "t", Partition: 7}, idT, commitlog.Summary{}}, {kafka.TopicPartition{Topic: "u", Partition: 0}, idU, s}}
	got, err := parseManifest(appendManifest(nil, 12, want), 12)
	check(t, "read back", fmt.Sprint(got, err), fmt.Sprint(want, nil))
}

func FuzzFloor(f *testing.F) {
	f.Add(appendFloor(appendFloor(appendFloorHeader(nil), idT, 1, 5), idU, 2, 9))
	f.Add(appendFloor(appendFloorHeader(nil), idT, 1, -1-9))
	f.Fuzz(func(t *testing.T, data []byte) {
		parseFloors(data)
		for log, run := range parseEnded(data) {
			if run == 0 {
				t.Errorf("%v is ended by no run", log)
			}
		}
	})
}

// TestFloorEntries: the last good entry of a log holds; a bad one costs itself alone.
func TestFloorEntries(t *testing.T) {
	b := appendFloorHeader(nil)
	b = appendFloor(b, idT, 0, 5)
	b = appendFloor(b, idT, 1, 6)
	b = appendFloor(b, idT, 0, 7)
	b = appendFloor(b, idU, 0, 8)
	t0, t1, u0 := kafka.TopicIDPartition{TopicID: idT}, kafka.TopicIDPartition{TopicID: idT, Partition: 1}, kafka.TopicIDPartition{TopicID: idU}
	floors, bad, err := parseFloors(b)
	check(t, "whole", fmt.Sprint(floors[t0], floors[t1], floors[u0], bad, err), "7 6 8 0 <nil>")
	floors, bad, _ = parseFloors(b[:len(b)-3])
	_, known := floors[u0]
	check(t, "torn at the end", fmt.Sprint(floors[t0], known, bad), "7 false 0")
	b[floorHeaderSize+3*floorEntrySize+25] ^= 1
	floors, bad, _ = parseFloors(b)
	_, known = floors[u0]
	check(t, "the last one as a power loss leaves it", fmt.Sprint(floors[t0], known, bad), "7 false 0")
	b[floorHeaderSize+3*floorEntrySize+25] ^= 1
	b[floorHeaderSize+2*floorEntrySize+25] ^= 1
	floors, bad, _ = parseFloors(b)
	check(t, "a flipped bit", fmt.Sprint(floors[t0], floors[t1], floors[u0], bad), "5 6 8 1")
	b = appendFloor(b, idT, 0, -1-9)
	floors, _, _ = parseFloors(b)
	_, known = floors[t0]
	check(t, "ended", fmt.Sprint(known, parseEnded(b)[t0], len(parseEnded(b))), "false 9 1")
	b = appendFloor(b, idT, 0, 2)
	floors, _, _ = parseFloors(b)
	check(t, "back again", fmt.Sprint(floors[t0], parseEnded(b)[t0]), "2 9")
	b[9]++
	if _, _, err = parseFloors(b); err == nil {
		t.Error("an unknown version was read")
	}
}

func TestSeveralDirectories(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil, dir1, dir2).load()
	n.apply(topicRecords("t", idT, 5)...)
	counts := func(n *node) string {
		var s []string
		for _, d := range n.m.DescribeLogDirs(nil) {
			s = append(s, fmt.Sprint(d.Dir.Path, ":", len(d.Replicas)))
		}
		return strings.Join(s, " ")
	}
	check(t, "spread", counts(n), "d1:3 d2:2")
	check(t, "told the controller", len(n.cluster.assigned), 5)
	told := partitionRecord(idU, 0, 0, 1)
	told.Directories = []kafka.DirectoryID{dir1.ID}
	n.apply(topicRecords("u", idU, 0)[0], told)
	check(t, "where the controller says", counts(n), "d1:4 d2:2")
	check(t, "nothing new to tell", len(n.cluster.assigned), 5)
	n.append("t", 1, -1, "x")
	n = restart(t, n, mem, nil, dir1, dir2)
	n.apply(append(topicRecords("t", idT, 5), topicRecords("u", idU, 1)...)...)
	check(t, "after a restart", counts(n), "d1:4 d2:2")
	check(t, "records", values(t, &n.fetch(fetchOf("t", 0, 0)).Responses[1]), []string{"x"})

	// A directory that cannot be read takes only its own replicas offline.
	n.close()
	fail := vfs.NewFail(mem, &vfs.Rule{Ops: vfs.OpRead, Path: "d2/*", Err: syscall.EIO})
	n = newNode(t, fail, nil, dir1, dir2).load()
	failed, left := n.cluster.failures()
	check(t, "failed", fmt.Sprint(failed, left), "[d2] 1")
	records := topicRecords("t", idT, 2)
	records[1].(interface{ SetDefaults() }).SetDefaults()
	r0, r1 := partitionRecord(idT, 0, 0, 1), partitionRecord(idT, 1, 0, 1)
	r0.Directories, r1.Directories = []kafka.DirectoryID{dir1.ID}, []kafka.DirectoryID{dir2.ID}
	n.apply(records[0], r0, r1)
	check(t, "in the good one", n.append("t", 0, -1, "y").Err, nil)
	check(t, "in the bad one", kafka.CodeOf(n.append("t", 1, -1, "y").Err), kafka.KafkaStorageError)
	n.close()
}

func TestLoadRefusesALockedDirectory(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	other := newNode(t, mem, nil)
	err := other.m.Load(context.Background(), nil)
	if !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "in use by another broker") {
		t.Errorf("got %v", err)
	}
	n.close()
}

func TestLoadWithNothingLeft(t *testing.T) {
	fail := vfs.NewFail(vfs.NewMem())
	n := newNode(t, fail, nil)
	fail.Add(&vfs.Rule{Ops: vfs.OpLock, Err: syscall.EROFS})
	if err := n.m.Load(context.Background(), nil); err == nil || !errors.Is(err, syscall.EROFS) {
		t.Errorf("got %v", err)
	}
	_, left := n.cluster.failures()
	check(t, "directories left", left, 0)
}

// TestStrays: what the cluster does not place here is set aside, not deleted; another incarnation under the name of
// an old one begins empty.
func TestStrays(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(append(topicRecords("t", idT, 1), topicRecords("u", idU, 1)...)...)
	n.append("t", 0, -1, "old")
	n.append("u", 0, -1, "old")
	n = restart(t, n, mem, nil)
	again := kafka.TopicID{1, 2, 3}
	n.apply(topicRecords("t", again, 1)...)
	check(t, "a new incarnation", told(t, n.fetch(fetchOf("t", 0))), "0:[] ")
	check(t, "append", n.append("t", 0, -1, "new").BaseOffset, 0)
	entries, _ := mem.ReadDir("d1")
	strays := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), commitlog.StrayDirSuffix) {
			strays++
		}
	}
	check(t, "strays", strays, 2)
	if !strings.Contains(n.logs.String(), "was set aside") {
		t.Errorf("the log does not say so:\n%s", n.logs)
	}
	n.close()
}

func TestDeletedTopicGoesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 2)...)
		n.append("t", 0, -1, "x")
		n.apply(removeTopic(idT))
		check(t, "append", n.append("t", 0, -1, "x").Err, kafka.UnknownTopicOrPartition)
		dirs := func() (count int) {
			entries, _ := mem.ReadDir("d1")
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), "t-") {
					count++
				}
			}
			return count
		}
		check(t, "renamed", dirs(), 2)
		time.Sleep(59 * time.Second)
		check(t, "before file.delete.delay.ms", dirs(), 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		check(t, "after file.delete.delay.ms", dirs(), 0)
		// Under the same name at once again, and a stop before the first one's directory is gone.
		n.apply(topicRecords("t", idU, 1)...)
		check(t, "append", n.append("t", 0, -1, "y").Err, nil)
		n.apply(removeTopic(idU))
		n.m.SetBrokerEpoch(1)
		n.close()
		n = newNode(t, mem, nil).load()
		n.apply()
		time.Sleep(time.Minute)
		synctest.Wait()
		check(t, "what an earlier run left", dirs(), 0)
		n.close()
	})
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1, "internal.segment.bytes", "200", "retention.bytes", "400")...)
		for i := range 20 {
			check(t, "append", n.append("t", 0, -1, strings.Repeat("x", 50), fmt.Sprint(i)).Err, nil)
		}
		req := fetchOf("t", 0)
		req.MaxWait, req.MinBytes = time.Hour, 1<<20
		parked := n.fetchAsync(req)
		time.Sleep(6 * time.Minute)
		<-parked
		check(t, "the parked fetch hears of it", kafka.CodeOf(req.Responses[0].Err), kafka.OffsetOutOfRange)
		var s PartitionStats
		for s = range n.m.Partitions() {
		}
		if s.Start == 0 || s.Size > 600 {
			t.Errorf("retention left %+v\n%s", s, n.logs)
		}
		time.Sleep(6 * time.Minute)
		entries, _ := mem.ReadDir("d1/t-0")
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".deleted") {
				t.Errorf("%s is still there", e.Name())
			}
		}
		n.close()
	})
}

// TestDiskFull: writes are refused before the reserve is touched, reads and deletion go on, checkpoints and a restart
// still work when nothing at all is free, and writing resumes by itself.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reserve = 1 << 20
		withReserve := func(o *Options) { o.Broker.ReserveBytes = reserve }
		mem := vfs.NewMem()
		mem.SetCapacity(8 << 20)
		n := newNode(t, mem, withReserve).load()
		n.apply(append(topicRecords("t", idT, 1), topicRecords("u", idU, 1)...)...)
		value := strings.Repeat("x", 256<<10)
		var e AppendEntry
		written := 0
		for e = n.append("t", 0, -1, value); e.Err == nil; e = n.append("t", 0, -1, value) {
			written++
		}
		check(t, "full", kafka.CodeOf(e.Err), kafka.KafkaStorageError)
		check(t, "the directory is", fmt.Sprint(n.m.Dirs()[0].Offline, n.m.Dirs()[0].Full), "false true")
		usage, _ := mem.Usage("d1")
		if usage.Free < reserve/2 || written < 8 {
			t.Errorf("refused after %d writes with %d bytes free", written, usage.Free)
		}
		req := n.fetch(fetchOf("t", 0))
		check(t, "reads go on", req.Responses[0].HighWatermark, written)
		values(t, &req.Responses[0])
		check(t, "said once", strings.Count(n.logs.String(), "disk full"), 1)

		// Somebody else takes the rest, to the last byte.
		used := usage.Total - usage.Free
		mem.SetCapacity(used)
		n.m.DeleteRecords("t", 0, 1, time.Second, func(low int64, err error) { check(t, "deletion goes on", fmt.Sprint(low, err), "1 <nil>") })
		synctest.Wait()
		n = restart(t, n, mem, withReserve)
		n.apply(append(topicRecords("t", idT, 1), topicRecords("u", idU, 1)...)...)
		check(t, "full after a restart", kafka.CodeOf(n.append("u", 0, -1, "y").Err), kafka.KafkaStorageError)
		req = n.fetch(fetchOf("t", 1))
		check(t, "reads go on after a restart", req.Responses[0].HighWatermark, written)
		values(t, &req.Responses[0])

		n.apply(removeTopic(idT))
		mem.SetCapacity(8 << 20)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		check(t, "writing resumes", n.append("u", 0, -1, "y").Err, nil)
		if !strings.Contains(n.logs.String(), "writing resumes") {
			t.Errorf("the log does not say so:\n%s", n.logs)
		}
		n.close()
	})
}

// TestIdleNodeRests: where nothing happens, no timer is armed but those of the directory's janitor, so nothing runs.
func TestIdleNodeRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		n.apply(topicRecords("t", idT, 100)...)
		for p := range int32(100) {
			n.append("t", p, -1, "x")
		}
		time.Sleep(10 * time.Minute) // checkpoints are written, logs cool
		all := &vfs.Rule{Ops: vfs.OpWrite | vfs.OpSync | vfs.OpOpen | vfs.OpCreate | vfs.OpSyncDir}
		fail.Add(all)
		time.Sleep(time.Hour)
		check(t, "operations of the disk in an idle hour", fail.Hits(all), 0)
		for p := range n.m.topics.replicas() {
			check(t, "hot", p.log.Hot(), false)
		}
		fail.Clear()
		check(t, "it wakes", n.append("t", 5, -1, "y").BaseOffset, 1)
		n.close()
	})
}

// A log that is found damaged at its first use after a clean stop takes nobody along, and the broker's log says so once.
func TestDamageAtTheFirstUse(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(topicRecords("t", idT, 3)...)
	for partition := range int32(3) {
		check(t, "append", n.append("t", partition, -1, "a", "b").Err, nil)
	}
	n.close()
	if err := mem.RemoveAll("d1/t-0"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(mem, "d1/t-1/00000000000000000000.log", nil); err != nil {
		t.Fatal(err)
	}

	n = newNode(t, mem, nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 3)...)
	for range 2 {
		req := n.fetch(fetchOf("t", 0, 0, 0))
		for i := range 2 {
			check(t, fmt.Sprint("fetch of partition ", i), kafka.CodeOf(req.Responses[i].Err), kafka.KafkaStorageError)
			check(t, fmt.Sprint("append to partition ", i), kafka.CodeOf(n.append("t", int32(i), -1, "c").Err), kafka.KafkaStorageError)
		}
		check(t, "the one that is well", values(t, &req.Responses[2])[0], "a")
		check(t, "append to it", n.append("t", 2, -1, "c").Err, nil)
	}
	dir := n.m.Dirs()[0]
	check(t, "the directory", fmt.Sprint(dir.Offline, dir.Damage), "false 2")
	for _, partition := range []string{"t-0", "t-1"} {
		if told := strings.Count(n.logs.String(), "level=ERROR msg=\"a log is damaged below what was acknowledged"); told != 2 || !strings.Contains(n.logs.String(), "partition="+partition) {
			t.Errorf("of %s the log says, %d times:\n%s", partition, told, n.logs.String())
		}
	}
}

// A topic of the name of one that was deleted does not begin where that one stood, whatever crash comes: the
// checkpoints have logs by their names. Both orders of deletion and crash are tried.
func TestANameThatIsUsedAgain(t *testing.T) {
	for _, crashBetween := range []bool{false, true} {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1)...)
		n.apply(topicRecords("other", kafka.TopicID{15: 0x73, 6: 0x40}, 1)...)
		check(t, "append", n.append("t", 0, -1, "a", "b", "c").Err, nil)
		check(t, "append", n.append("other", 0, -1, "x").Err, nil)
		check(t, "append", n.append("other", 0, -1, "y").Err, nil)
		for topic, offset := range map[string]int64{"t": 3, "other": 1} {
			done := make(chan error, 1)
			n.m.DeleteRecords(topic, 0, offset, time.Minute, func(_ int64, err error) { done <- err })
			check(t, "delete records", <-done, nil)
		}
		begin := func(after *node) { // with the topics that there were
			after.image = n.image
			after.m.Apply(after.image, nil)
			n = after
		}
		begin(restart(t, n, mem, nil))
		n.apply(removeTopic(idT))
		if crashBetween {
			mem = mem.CrashClone(vfs.CrashOptions{})
			n.close()
			begin(newNode(t, mem, nil).load())
		}
		n.apply(topicRecords("t", idU, 1)...)
		check(t, "append", n.append("t", 0, -1, "new").Err, nil)

		mem = mem.CrashClone(vfs.CrashOptions{})
		n.close()
		begin(newNode(t, mem, nil).load())
		req := n.fetch(fetchOf("t", 0))
		check(t, fmt.Sprint("what the new topic has, crash between ", crashBetween), values(t, &req.Responses[0]), []string{"new"})
		req = n.fetch(fetchOf("other", 1))
		check(t, "the other topic", values(t, &req.Responses[0]), []string{"y"})
		check(t, "its start", req.Responses[0].LogStartOffset, int64(1))
		check(t, "damage", n.m.Dirs()[0].Damage, int64(0))
		n.close()
	}
}

package replica

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestAppendAllocates: a request on the hot path makes at most five small things, whatever its acks and class (goal 20).
func TestAppendAllocates(t *testing.T) {
	for _, durability := range []string{"cache", "disk"} {
		n := newNode(t, vfs.OS, nil, Dir{Path: t.TempDir(), ID: dir1.ID}).load()
		n.apply(topicRecords("t", idT, 1, "durability", durability)...)
		done := make(chan struct{}, 1)
		req := &AppendRequest{Acks: -1, Timeout: time.Minute, Version: 12, Done: func(*AppendRequest) { done <- struct{}{} }}
		req.Entries = make([]AppendEntry, 1)
		data := batchOf("0123456789")
		one := func() {
			clear(data[:8]) // the base offset, patched by the last append
			req.Entries[0].Topic, req.Entries[0].Records = "t", data
			n.m.Append(req)
			<-done
			if req.Entries[0].Err != nil {
				t.Fatal(req.Entries[0].Err)
			}
		}
		one()
		if got := testing.AllocsPerRun(200, one); got > 5 {
			t.Errorf("%s: %v allocations per request", durability, got)
		} else {
			t.Logf("%s: %v allocations per request", durability, got)
		}
		n.close()
	}
}

// TestPartitionMemory bounds what an idle replica takes on the heap, its log included (goal 13; metadata's share
// comes on top).
func TestPartitionMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("makes thousands of partitions")
	}
	const partitions = 4000
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	records := topicRecords("t", idT, partitions)
	n.apply(records...)
	n.m.SetBrokerEpoch(1)
	n.close()
	n = newNode(t, mem, nil)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := heap()
	n.load()
	n.apply(records...)
	image := n.image
	each := (heap() - before) / partitions
	runtime.KeepAlive(image)
	t.Logf("%d bytes for each idle partition, metadata included", each)
	if each > 1024 {
		t.Errorf("an idle partition takes %d bytes", each)
	}
	n.close()
}

func BenchmarkAppend(b *testing.B) {
	for _, durability := range []string{"cache", "disk"} {
		for _, size := range []int{1 << 10, 100 << 10} {
			b.Run(fmt.Sprintf("%s/%dKiB", durability, size>>10), func(b *testing.B) {
				n := newNode(b, vfs.OS, nil, Dir{Path: b.TempDir(), ID: dir1.ID}).load()
				n.apply(topicRecords("t", idT, 8, "durability", durability, "segment.bytes", "67108864", "retention.bytes", "67108864")...)
				value := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					data := batchOf(string(value))
					done := make(chan struct{}, 1)
					req := &AppendRequest{Acks: 1, Timeout: time.Minute, Version: 12, Done: func(*AppendRequest) { done <- struct{}{} }}
					req.Entries = make([]AppendEntry, 1)
					for i := int32(0); pb.Next(); i++ {
						clear(data[:8])
						req.Entries[0].Topic, req.Entries[0].Partition, req.Entries[0].Records = "t", i%8, data
						n.m.Append(req)
						<-done
						if err := req.Entries[0].Err; err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.StopTimer()
				n.close()
			})
		}
	}
}

// BenchmarkCreate makes partitions, and for comparison the directory and two files that a partition is.
func BenchmarkCreate(b *testing.B) {
	b.Run("partitions", func(b *testing.B) {
		n := newNode(b, vfs.OS, nil, Dir{Path: b.TempDir(), ID: dir1.ID}).load()
		records := topicRecords("t", idT, b.N)
		b.ResetTimer()
		n.apply(records...)
		b.StopTimer()
		n.close()
	})
	b.Run("files", func(b *testing.B) {
		dir := b.TempDir()
		for i := range b.N {
			d := fmt.Sprintf("%s/t-%d", dir, i)
			os.Mkdir(d, 0o755)
			os.WriteFile(d+"/00000000000000000000.log", nil, 0o644)
			os.WriteFile(d+"/partition.metadata", []byte("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA"), 0o644)
		}
	})
}

// BenchmarkStart starts after a clean stop with ten thousand partitions, to the first acknowledged record.
func BenchmarkStart(b *testing.B) {
	const partitions = 10000
	dir := Dir{Path: b.TempDir(), ID: dir1.ID}
	n := newNode(b, vfs.OS, nil, dir).load()
	records := topicRecords("t", idT, partitions)
	n.apply(records...)
	for b.Loop() {
		b.StopTimer()
		n.m.SetBrokerEpoch(1)
		n.close()
		n = newNode(b, vfs.OS, nil, dir)
		b.StartTimer()
		if err := n.m.Load(context.Background(), nil); err != nil {
			b.Fatal(err)
		}
		n.apply(records...)
		if e := n.append("t", 7, -1, "x"); e.Err != nil {
			b.Fatal(e.Err)
		}
	}
	b.StopTimer()
	if p, err := n.m.find("t", kafka.TopicID{}, 3); err != nil || p.log.Hot() {
		b.Error("a partition that nobody asked for woke up")
	}
	n.close()
}

package replica

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

func TestAppendAndFetch(t *testing.T) {
	for _, durability := range []string{"disk", "cache"} {
		for _, acks := range []int16{0, 1, -1} {
			t.Run(fmt.Sprintf("%s acks=%d", durability, acks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := newNode(t, vfs.NewMem(), nil).load()
					defer n.close()
					n.apply(topicRecords("t", idT, 2, "durability", durability)...)
					for i := range 3 {
						e := n.append("t", 1, acks, fmt.Sprint("a", i), fmt.Sprint("b", i))
						check(t, "error", e.Err, nil)
						check(t, "base offset", e.BaseOffset, 2*i)
						check(t, "log start offset", e.LogStartOffset, 0)
					}
					synctest.Wait() // with acks=0 the disk comes later
					req := n.fetch(fetchOf("t", 0, 2))
					check(t, "partitions", len(req.Responses), 2)
					check(t, "values of 0", values(t, &req.Responses[0]), []string{})
					r := &req.Responses[1]
					check(t, "high watermark", r.HighWatermark, 6)
					check(t, "last stable offset", r.LastStableOffset, 6)
					check(t, "values of 1", values(t, r), []string{"a1", "b1", "a2", "b2"})
				})
			})
		}
	}
}

func TestAppendErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1, "min.insync.replicas", "2")...)
		n.apply(topicRecords("u", idU, 0)...)
		n.apply(partitionRecord(idU, 0, 3, 7, 8)) // lives elsewhere
		r := partitionRecord(idU, 1, 4, 1, 7, 8)
		r.Isr = []int32{1}
		n.apply(r)
		n.apply(partitionRecord(idU, 2, 5, 7, 1)) // a follower here
		settings := topicRecords("u", idU, 0, "min.insync.replicas", "2")
		n.apply(settings[1:]...)

		check(t, "min ISR counts at most the replicas (KIP-966)", n.append("t", 0, -1, "x").Err, nil)
		check(t, "too few in sync", kafka.CodeOf(n.append("u", 1, -1, "x").Err), kafka.NotEnoughReplicas)
		check(t, "too few in sync, acks=1", n.append("u", 1, 1, "x").Err, nil)
		check(t, "no such topic", n.append("none", 0, 1, "x").Err, kafka.UnknownTopicOrPartition)
		check(t, "no such partition", n.append("t", 5, 1, "x").Err, kafka.UnknownTopicOrPartition)
		e := n.append("u", 0, 1, "x")
		check(t, "elsewhere", e.Err, kafka.NotLeaderOrFollower)
		check(t, "elsewhere, hint", e.Leader, LeaderHint{true, 7, 3})
		e = n.append("u", 2, 1, "x")
		check(t, "follower", e.Err, kafka.NotLeaderOrFollower)
		check(t, "follower, hint", e.Leader, LeaderHint{true, 7, 5})
		check(t, "internal topic", kafka.CodeOf(n.append(kafka.ConsumerOffsetsTopic, 0, 1, "x").Err), kafka.InvalidTopicException)

		var got AppendEntry
		req := &AppendRequest{Acks: 1, Timeout: time.Second, Version: 13, Done: func(r *AppendRequest) { got = r.Entries[0] }}
		req.Entries = []AppendEntry{{TopicID: kafka.TopicID{1}, Records: batchOf("x")}}
		n.m.Append(req)
		check(t, "no such id", got.Err, kafka.UnknownTopicID)
		check(t, "base offset with an error", got.BaseOffset, -1)
	})
}

// TestStrictMinISR: with fewer in-sync replicas than min.insync.replicas nothing more is committed.
func TestStrictMinISR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 0, "min.insync.replicas", "2")...)
		r := partitionRecord(idT, 0, 0, 1, 2)
		r.Isr = []int32{1}
		n.apply(r)
		check(t, "acks=1", n.append("t", 0, 1, "x").Err, nil)
		req := n.fetch(fetchOf("t", 0))
		check(t, "high watermark", req.Responses[0].HighWatermark, 0)
		check(t, "values", values(t, &req.Responses[0]), []string{})
		n.apply(topicRecords("t", idT, 0, "min.insync.replicas", "1")[1:]...)
		req = n.fetch(fetchOf("t", 0))
		check(t, "high watermark with a lower minimum", req.Responses[0].HighWatermark, 1)
		check(t, "values with a lower minimum", values(t, &req.Responses[0]), []string{"x"})
	})
}

// TestWaitsForTheDisk: nothing is acknowledged or shown before its sync returns; what the sync's end reaches is.
func TestWaitsForTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1)...)
		check(t, "first", n.append("t", 0, 1, "a").Err, nil)
		synctest.Wait()
		time.Sleep(time.Second)
		slow := &vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(300 * time.Millisecond)}
		fail.Add(slow)
		begun := time.Now()
		one, all := n.appendAsync("t", 0, 1, batchOf("b")), n.appendAsync("t", 0, -1, batchOf("c"))
		check(t, "acks=0 does not wait", n.append("t", 0, 0, "d").BaseOffset, 3)
		synctest.Wait()
		select {
		case <-one:
			t.Error("acks=1 was answered before the sync")
		case <-all:
			t.Error("acks=all was answered before the sync")
		default:
		}
		req := n.fetch(fetchOf("t", 0))
		check(t, "values before the sync", values(t, &req.Responses[0]), []string{"a"})
		check(t, "acks=1", (<-one).Err, nil)
		check(t, "acks=all", (<-all).Err, nil)
		if took := time.Since(begun); took < 300*time.Millisecond {
			t.Errorf("acknowledged after %v, before the sync", took)
		}
		fail.Clear()
	})
}

func TestAppendTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 2)...)
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(4 * time.Second)})
		begun := time.Now()
		answers := 0
		done := make(chan struct{}, 2)
		req := &AppendRequest{Acks: -1, Timeout: time.Second, Version: 12, Done: func(*AppendRequest) { answers++; done <- struct{}{} }}
		req.Entries = []AppendEntry{{Topic: "t", Records: batchOf("x")}, {Topic: "t", Partition: 1, Records: batchOf("y")}, {Topic: "none", Records: batchOf("z")}}
		n.m.Append(req)
		<-done
		check(t, "took", time.Since(begun), time.Second)
		check(t, "parked", req.Entries[0].Err, kafka.RequestTimedOut)
		check(t, "parked, offset", req.Entries[0].BaseOffset, 0)
		check(t, "also parked", req.Entries[1].Err, kafka.RequestTimedOut)
		check(t, "not parked", req.Entries[2].Err, kafka.UnknownTopicOrPartition)
		time.Sleep(10 * time.Second)
		check(t, "answers", answers, 1)

		// The same request again, answered in time: its timer must not fire for it.
		fail.Clear()
		for i := range req.Entries {
			req.Entries[i].Records = batchOf("again")
		}
		req.Timeout = time.Minute
		n.m.Append(req)
		<-done
		check(t, "again", req.Entries[0].Err, nil)
		time.Sleep(2 * time.Minute)
		check(t, "answers", answers, 2)
	})
}

// TestLeadershipEnds: who waits in a leadership that is over is told so.
func TestLeadershipEnds(t *testing.T) {
	for _, end := range []string{"moves", "deleted"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fail := vfs.NewFail(vfs.NewMem())
				n := newNode(t, fail, nil).load()
				defer n.close()
				n.apply(topicRecords("t", idT, 1)...)
				fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(time.Second)})
				parked := n.appendAsync("t", 0, -1, batchOf("x"))
				synctest.Wait()
				fetching := fetchOf("t", 0)
				fetching.MaxWait = time.Hour
				fetched := n.fetchAsync(fetching)
				want := error(kafka.NotLeaderOrFollower)
				if end == "moves" {
					n.apply(partitionRecord(idT, 0, 1, 2, 1))
				} else {
					want = kafka.UnknownTopicOrPartition
					n.apply(removeTopic(idT))
				}
				check(t, "append", (<-parked).Err, want)
				<-fetched
				if end == "deleted" {
					check(t, "fetch", fetching.Responses[0].Err, want)
				} else {
					check(t, "fetch from a follower is served", fetching.Responses[0].Err, nil)
				}
			})
		})
	}
}

// TestSyncFails: a failed sync is final. Nothing is acknowledged, the directory is offline, the other one goes on.
func TestSyncFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil, dir1, dir2).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 2)...)
		check(t, "partition 0", n.append("t", 0, -1, "a").Err, nil)
		check(t, "partition 1", n.append("t", 1, -1, "a").Err, nil)
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "d1/t-0/*.log", Err: syscall.EIO})
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "d1/millrace-journal.*", Err: syscall.EIO})
		waits := fetchOf("t", 1, 1)
		waits.MaxWait = time.Hour
		fetched := n.fetchAsync(waits)
		e := n.append("t", 0, -1, "b")
		check(t, "failed sync", kafka.CodeOf(e.Err), kafka.KafkaStorageError)
		<-fetched
		check(t, "parked fetch of the failed", kafka.CodeOf(waits.Responses[0].Err), kafka.KafkaStorageError)
		check(t, "parked fetch of the other", waits.Responses[1].Err, nil)
		fail.Clear()
		check(t, "append after it", kafka.CodeOf(n.append("t", 0, 0, "c").Err), kafka.KafkaStorageError)
		check(t, "the other directory", n.append("t", 1, -1, "b").Err, nil)
		synctest.Wait() // who waited is answered first
		failed, left := n.cluster.failures()
		check(t, "told the cluster", failed, []string{"d1"})
		check(t, "directories left", left, 1)
		infos := n.m.DescribeLogDirs(nil)
		check(t, "described", kafka.CodeOf(infos[0].Err), kafka.KafkaStorageError)
		check(t, "described", infos[1].Err, nil)
	})
}

// TestSyncStalls: a sync that hangs makes the node give up its leaderships, once, and is told of when it returns.
func TestSyncStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1)...)
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(8 * time.Second)})
		done := n.appendAsync("t", 0, 1, batchOf("x"))
		time.Sleep(4900 * time.Millisecond)
		check(t, "stalled before the limit", n.cluster.stalls(), 0)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		check(t, "stalled", n.cluster.stalls(), 1)
		check(t, "answer", (<-done).Err, nil)
		synctest.Wait()
		check(t, "resumed", n.cluster.resumes(), 1)
		fail.Clear()
	})
}

// TestAnAppendDoesNotWaitForASyncThatHangs: whichever file of the directory it is, a request is told in its own time that its
// records are not acknowledged.
func TestAnAppendDoesNotWaitForASyncThatHangs(t *testing.T) {
	for _, file := range []string{"*.log", "millrace-journal.*", floorFile + "*", recoveryPointFile + "*", highWatermarkFile + "*"} {
		t.Run(file, func(t *testing.T) {
			fail := vfs.NewFail(vfs.NewMem())
			n := newNode(t, fail, nil).load()
			defer n.close()
			n.apply(topicRecords("t", idT, 2)...)
			n.append("t", 0, 1, "a")
			n.append("t", 1, 1, "a")
			hangs, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: file, Hook: func(vfs.Op, string) {
				once.Do(func() { close(hangs) })
				<-goOn
			}})
			d := n.m.dirs[0]
			var others sync.WaitGroup
			defer others.Wait()
			defer close(goOn)
			n.appendAsync("t", 0, 1, batchOf("into the journal"))
			n.appendAsync("t", 1, 1, batchOf(strings.Repeat("too large for it", journalShare/16)))
			others.Go(d.saveHighs)
			others.Go(func() {
				for p := range d.hosted() {
					if _, err := p.log.PrepareCheckpoint(); err != nil {
						t.Error(err)
					}
				}
				if err := d.savePointsNow(); err != nil {
					t.Error(err)
				}
			})
			select {
			case <-hangs:
			case <-time.After(20 * time.Second):
				t.Fatalf("nobody syncs %s", file)
			}
			timer := make(chan struct{})
			go func() {
				d.sync.overdue()
				close(timer)
			}()
			answered := make(chan error, 1)
			go func() {
				<-timer
				request := &AppendRequest{Acks: 1, Timeout: 50 * time.Millisecond, Version: 12, Done: func(r *AppendRequest) { answered <- r.Entries[0].Err }}
				request.Entries = []AppendEntry{{Topic: "t", Partition: 1, Records: batchOf("c")}}
				n.m.Append(request)
			}()
			select {
			case err := <-answered:
				if err != nil && err != kafka.RequestTimedOut {
					t.Errorf("the append is answered with %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("the append waits for the sync of %s", file)
			}
		})
	}
}

// TestGroupCommit: one round covers all that came while the last one ran.
func TestGroupCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := vfs.NewFail(vfs.NewMem())
		n := newNode(t, fail, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 10)...)
		time.Sleep(time.Second)
		fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(time.Second)})
		before := n.m.Dirs()[0]
		begun := time.Now()
		var answers []<-chan AppendEntry
		for i := range 100 {
			answers = append(answers, n.appendAsync("t", int32(i%10), -1, batchOf("x")))
			synctest.Wait() // the first is being synced alone
		}
		for _, a := range answers {
			check(t, "answer", (<-a).Err, nil)
		}
		check(t, "took", time.Since(begun), 2*time.Second)
		check(t, "rounds", n.m.Dirs()[0].SyncRounds-before.SyncRounds, 2)
		fail.Clear()
	})
}

// TestCacheClassIsFlushedInTheBackground: by flush.messages, and before a recovery point is saved.
func TestCacheClassIsFlushedInTheBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1, "durability", "cache", "flush.messages", "3")...)
		p, _ := n.m.find("t", kafka.TopicID{}, 0)
		n.append("t", 0, 1, "a")
		n.append("t", 0, 1, "b")
		synctest.Wait()
		check(t, "flushed", p.log.Flushed(), 0)
		n.append("t", 0, 1, "c")
		synctest.Wait()
		check(t, "flushed by flush.messages", p.log.Flushed(), 3)
		n.append("t", 0, 1, "d")
		time.Sleep(2 * time.Minute)
		check(t, "flushed before the recovery point is saved", p.log.Flushed(), 4)
	})
}

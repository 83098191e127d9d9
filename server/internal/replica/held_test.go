package replica

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestHeldAppends: what is acknowledged stands in the journal, and in the log's file after a while, or when somebody reads it.
func TestHeldAppends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 2)...)
		size := func(partition int) int64 {
			info, err := mem.Stat(fmt.Sprintf("d1/t-%d/00000000000000000000.log", partition))
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		one := int64(len(batchOf("x")))
		for range 3 {
			for p := range int32(2) {
				check(t, "append", n.append("t", p, -1, "x").Err, nil)
			}
		}
		check(t, "written of a new log", size(0), one)
		check(t, "held in memory", n.m.Dirs()[0].Held > 4*one, true)
		check(t, "read", values(t, &n.fetch(fetchOf("t", 0)).Responses[0]), []string{"x", "x", "x"})
		check(t, "written once it was read", size(0), 3*one)
		check(t, "written of the other", size(1), one)
		time.Sleep(2 * time.Second)
		check(t, "written after a while", size(1), 3*one)
		check(t, "held in memory after a while", n.m.Dirs()[0].Held, int64(0))
	})
}

// TestHeldUnderLoadAlone: the files of a node with little to do are whole at once; those of a busy one lack what is held.
func TestHeldUnderLoadAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		defer n.close()
		n.m.heavyRounds = heavyRounds
		n.apply(topicRecords("t", idT, 1)...)
		lacks := func(value string, times int) (bytes int64) {
			for range times {
				check(t, "append", n.append("t", 0, -1, value).Err, nil)
			}
			info, err := mem.Stat("d1/t-0/00000000000000000000.log")
			if err != nil {
				t.Fatal(err)
			}
			for p := range n.m.topics.replicas() {
				bytes = p.log.Size() - info.Size()
			}
			return bytes
		}
		check(t, "little to do", lacks("x", 50), int64(0))
		if lacks(strings.Repeat("x", heavyRound), 2*heavyRounds) == 0 {
			t.Error("nothing is held under load")
		}
	})
}

// TestHeldAppendsOnAFullDisk: a disk that has no room for what is held, although it was promised, costs nothing that was
// acknowledged, and takes nothing offline: neither when a log is synced nor when a half of the journal is to be given free.
// Both go on once there is room.
func TestHeldAppendsOnAFullDisk(t *testing.T) {
	for _, first := range []string{"a sync", "a drain"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fail := vfs.NewFail(vfs.NewMem())
				n := newNode(t, fail, nil).load()
				defer n.close()
				n.apply(topicRecords("t", idT, 3)...)
				d := n.m.dirs[0]
				d.journal.limit = 64 << 10
				acked := 0
				for ; acked < 2; acked++ {
					check(t, "append", n.append("t", 0, -1, "x").Err, nil)
					check(t, "append", n.append("t", 1, -1, "x").Err, nil)
				}
				fail.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "d1/t-*/*.log", Err: syscall.ENOSPC})
				// A look at a disk that were full would find no room, either, and not take the directory for one that has some.
				fail.Add(&vfs.Rule{Ops: vfs.OpUsage, Err: syscall.ENOSPC})
				var waits <-chan AppendEntry
				if first == "a sync" {
					waits = n.appendAsync("t", 2, -1, batchOf("x")) // a new log is synced itself
				} else {
					var refused error
					for ; refused == nil && acked < 1000; acked++ { // until the half is full
						refused = n.append("t", 1, -1, "x").Err
						synctest.Wait()
					}
					acked--
					check(t, "append on a full disk", kafka.CodeOf(refused), kafka.KafkaStorageError)
					check(t, "the half is kept", d.journal.halves[0].draining.Load() || d.journal.halves[1].draining.Load(), true)
				}
				res := n.fetch(fetchOf("t", 0)).Responses[0]
				check(t, "a read of what cannot be written", kafka.CodeOf(res.Err), kafka.KafkaStorageError)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				check(t, "the directory is", fmt.Sprint(n.m.Dirs()[0].Offline, n.m.Dirs()[0].Full), "false true")
				select {
				case e := <-waits:
					t.Fatalf("answered on a full disk: %v", e.Err)
				default:
				}

				fail.Clear()
				if waits != nil {
					check(t, "answered once there is room", (<-waits).Err, nil)
				}
				time.Sleep(5 * time.Second)
				synctest.Wait()
				check(t, "the directory is", fmt.Sprint(n.m.Dirs()[0].Offline, n.m.Dirs()[0].Full), "false false")
				check(t, "a half that is not free", d.journal.halves[0].draining.Load() || d.journal.halves[1].draining.Load(), false)
				req := n.fetch(fetchOf("t", 0, 0))
				check(t, "records of the one", len(values(t, &req.Responses[0])), 2)
				check(t, "records of the other", len(values(t, &req.Responses[1])), acked)
			})
		})
	}
}

package replica

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestWriteStalls: a write to a log that hangs is told of as a sync that hangs is, once, also when both do; the other logs go on,
// and however busy one is, it does not count as hanging. All of it is over before retention would wait for the lock of the log,
// which holds the bubble's clock.
func TestWriteStalls(t *testing.T) {
	for _, name := range []string{"a write", "a write and a sync", "a write and then a sync"} {
		also, later := name != "a write", name == "a write and then a sync"
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fail := vfs.NewFail(vfs.NewMem())
				n := newNode(t, fail, func(o *Options) { o.Budget = nil }).load() // each append writes
				defer n.close()
				n.apply(topicRecords("t", idT, 2)...)
				busy := func(seconds int) {
					for range 10 * seconds {
						time.Sleep(100 * time.Millisecond)
						if !also {
							check(t, "the other log", n.append("t", 1, -1, "x").Err, nil)
						}
					}
					synctest.Wait()
				}
				fail.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "d1/t-1/*.log", Hook: delay(3 * time.Second)})
				for range 3 {
					check(t, "a log that is always written to", n.append("t", 1, -1, "x").Err, nil)
				}
				fail.Clear()
				check(t, "stalled while nothing hangs", n.cluster.stalls(), 0)
				check(t, "append", n.append("t", 0, -1, "x").Err, nil)
				fail.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "d1/t-0/*.log", Hook: delay(14 * time.Second)})
				done := make(chan AppendEntry)
				go func() { done <- n.append("t", 0, -1, "y") }()
				hang := func() {
					fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: delay(18 * time.Second), Times: 1})
					n.appendAsync("t", 1, 1, batchOf("z"))
				}
				if also && !later {
					hang()
				}
				busy(4)
				check(t, "stalled before the limit", n.cluster.stalls(), 0)
				busy(4)
				if later {
					hang()
				}
				check(t, "stalled", fmt.Sprint(n.cluster.stalls(), n.cluster.resumes()), "1 0")
				busy(6)
				check(t, "stalled still", fmt.Sprint(n.cluster.stalls(), n.cluster.resumes()), "1 0")
				busy(3)
				want := "1 1"
				if also {
					want = "1 0" // the sync hangs
				}
				check(t, "the write has returned", fmt.Sprint(n.cluster.stalls(), n.cluster.resumes()), want)
				check(t, "answer", (<-done).Err, nil)
				if busy(3); later {
					busy(8)
				}
				check(t, "all is well", fmt.Sprint(n.cluster.stalls(), n.cluster.resumes()), "1 1")
				fail.Clear()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				check(t, "a look at rest", n.m.dirs[0].stall.writes.looks.Load(), false)
			})
		})
	}
}

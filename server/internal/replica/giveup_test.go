package replica

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestAStopEndsTheCreationOfReplicas: a stop does not wait until the many replicas of a new topic are there. It is a clean stop,
// and the next start creates those that are missing.
func TestAStopEndsTheCreationOfReplicas(t *testing.T) {
	const partitions = 200
	for name, more := range map[string]bool{"a topic": false, "the first image": true} {
		t.Run(name, func(t *testing.T) {
			fail := vfs.NewFail(vfs.NewMem())
			n := newNode(t, fail, nil).load()
			records := topicRecords("u", idU, 1)
			if !more {
				n.apply(records...)
				check(t, "append", n.append("u", 0, -1, "a").Err, nil)
			}
			rule := &vfs.Rule{Ops: vfs.OpMkdir, Path: "t-*", Skip: 4, Hook: func(vfs.Op, string) { n.m.GiveUp() }}
			fail.Add(rule)
			records = topicRecords("t", idT, partitions)
			if more {
				records = append(records, topicRecords("u", idU, 1)...)
			}
			n.apply(records...)
			if hits := fail.Hits(rule); hits == 0 || hits > hostAtOnce {
				t.Errorf("%d replicas were created since the stop began", hits)
			}
			fail.Clear()
			n.apply(topicRecords("w", [16]byte{6: 0x40, 15: 9}, 8)...) // an image that comes still
			n.close()
			_, clean, err := commitlog.ReadCleanShutdown(fail, "d1")
			check(t, "the stop", fmt.Sprint(clean, err), "true <nil>")

			n = newNode(t, fail, nil).load()
			n.apply(append(topicRecords("t", idT, partitions), topicRecords("u", idU, 1)...)...)
			for p := range int32(partitions) {
				check(t, "append", n.append("t", p, -1, "x").Err, nil)
			}
			base := int64(0)
			if !more {
				base = 1
			}
			check(t, "what was there", n.append("u", 0, -1, "b").BaseOffset, base)
			check(t, "damage", n.m.Dirs()[0].Damage, 0)
			n.close()
		})
	}
}

package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestGapsAtAnUncleanStart: offsets that are missing above the recovery point are what Apache Kafka's compaction leaves, which
// stays as it is, in a compacted topic. In any other they are damage below the floor, and above it the end of what a crash left.
func TestGapsAtAnUncleanStart(t *testing.T) {
	segments := func(policy string) []string {
		return []string{"internal.segment.bytes", "100", "cleanup.policy", policy}
	}
	one := func(policy string) []string { return []string{"cleanup.policy", policy} }
	for _, c := range []struct {
		name     string
		settings func(string) []string
		gap      func(disk vfs.FS) error
	}{
		{"a segment is missing", segments, func(disk vfs.FS) error { return disk.Remove("d1/t-0/00000000000000000002.log") }},
		{"a segment is empty", segments, func(disk vfs.FS) error { return vfs.WriteFile(disk, "d1/t-0/00000000000000000002.log", nil) }},
		{"a batch is missing", one, func(disk vfs.FS) error {
			data, err := vfs.ReadFile(disk, "d1/t-0/00000000000000000000.log")
			size := len(data) / 5
			return errors.Join(err, vfs.WriteFile(disk, "d1/t-0/00000000000000000000.log", append(data[:2*size:2*size], data[3*size:]...)))
		}},
		{"an offset is wrong", one, func(disk vfs.FS) error {
			data, err := vfs.ReadFile(disk, "d1/t-0/00000000000000000000.log")
			binary.BigEndian.PutUint64(data[2*len(data)/5:], 2+1<<40)
			return errors.Join(err, vfs.WriteFile(disk, "d1/t-0/00000000000000000000.log", data))
		}},
	} {
		for _, policy := range []string{"delete", "compact", "compact,delete", "none", "stray"} {
			for _, floor := range []bool{false, true} {
				t.Run(fmt.Sprint(c.name, "/", policy, "/", floor), func(t *testing.T) {
					mem := vfs.NewMem()
					n := newNode(t, mem, nil).load()
					n.apply(topicRecords("t", idT, 1, c.settings("delete")...)...)
					for i := range 5 {
						check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
					}
					for range 2 {
						n.m.dirs[0].savePoints() // of which none is left below
					}
					disk := killed(mem)
					n.close()
					err := errors.Join(c.gap(disk), disk.Remove("d1/"+recoveryPointFile), removeJournal(disk, "d1"))
					floors := appendFloorHeader(nil)
					if floor {
						floors = appendFloor(floors, idT, 0, 5)
					}
					err = errors.Join(err, vfs.WriteFile(disk, "d1/"+floorFile, floors))
					if err != nil {
						t.Fatal(err)
					}
					var was []string
					wrong := c.name == "an offset is wrong"
					if policy == "none" || policy == "stray" {
						if wrong && !floor {
							return // no compaction leaves that: it is cut
						}
						was = contentsOf(t, disk, "d1/t-0")
					}
					n = newNode(t, disk, nil).load()
					if policy == "none" { // a stop before any image came decides nothing
						n.close()
						check(t, "its bytes", contentsOf(t, disk, "d1/t-0"), was)
						_, clean, err := commitlog.ReadCleanShutdown(disk, "d1")
						check(t, "clean", fmt.Sprint(clean, err), "false <nil>")
						return
					}
					if policy == "stray" {
						n.apply(topicRecords("u", idU, 1)...)
						n.close()
						entries, _ := disk.ReadDir("d1")
						for _, e := range entries {
							if strings.HasSuffix(e.Name(), commitlog.StrayDirSuffix) {
								check(t, "its bytes", contentsOf(t, disk, "d1/"+e.Name()), was)
							}
						}
						return
					}
					compacted := policy != "delete" && !wrong
					n.apply(topicRecords("t", idT, 1, c.settings(policy)...)...)
					again := killed(disk)
					for when, n := range map[string]*node{"at once": n, "after a crash": newNode(t, again, nil).load()} {
						if when != "at once" {
							n.apply(topicRecords("t", idT, 1, c.settings(policy)...)...)
						}
						switch {
						case compacted:
							res := n.fetch(fetchOf("t", 2)).Responses[0]
							check(t, when+": behind the gap", fmt.Sprint(values(t, &res)[0], " ", res.HighWatermark), "3 5")
							check(t, when+": damage", n.m.Dirs()[0].Damage, 0)
						case floor:
							check(t, when+": damage", n.m.Dirs()[0].Damage, 1)
							check(t, when+": fetch", kafka.CodeOf(n.fetch(fetchOf("t", 0)).Responses[0].Err), kafka.KafkaStorageError)
						default:
							res := n.fetch(fetchOf("t", 0)).Responses[0]
							check(t, when+": before the gap", fmt.Sprint(values(t, &res)[0], " ", res.HighWatermark), "0 2")
							check(t, when+": damage", n.m.Dirs()[0].Damage, 0)
							check(t, when+": the end", n.m.topics.byName("t").partition(0).log.EndOffset(), 2)
						}
						n.close()
					}
				})
			}
		}
	}
}

// contentsOf returns what the segments in a directory hold.
func contentsOf(t *testing.T, disk vfs.FS, dir string) (all []string) {
	t.Helper()
	entries, err := disk.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if data, err := vfs.ReadFile(disk, dir+"/"+e.Name()); err == nil && len(data) > 0 && strings.HasSuffix(e.Name(), ".log") {
			all = append(all, e.Name()+string(data))
		}
	}
	return all
}

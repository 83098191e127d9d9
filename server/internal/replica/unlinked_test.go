package replica

import (
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestUnlinkedWhileOpen: a segment that is appended to takes writes and syncs after somebody has unlinked its file, and all of it
// is gone once the file is closed. Whatever looks after the log takes the partition offline, and neither stop nor start forgets.
func TestUnlinkedWhileOpen(t *testing.T) {
	for name, meet := range map[string]func(t *testing.T, n *node){
		"retention": func(t *testing.T, n *node) { n.m.dirs[0].janitor.retain() },
		"a checkpoint": func(t *testing.T, n *node) {
			n.m.dirs[0].savePoints() // it is in use still
			n.m.dirs[0].savePoints()
		},
		"a roll": func(t *testing.T, n *node) {
			check(t, "append", kafka.CodeOf(n.append("t", 0, -1, strings.Repeat("x", 400)).Err), kafka.KafkaStorageError)
		},
		"the stop": nil,
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			n := newNode(t, mem, nil).load()
			n.apply(topicRecords("t", idT, 2, "internal.segment.bytes", "500")...)
			check(t, "append", n.append("t", 0, -1, "a").Err, nil)
			if err := mem.Remove("d1/t-0/00000000000000000000.log"); err != nil {
				t.Fatal(err)
			}
			check(t, "an append that nobody can know of", n.append("t", 0, -1, "b").Err, nil)
			disk := killed(mem) // before anybody has looked
			if meet != nil {
				meet(t, n)
				n.wantLost(name)
			}
			n.close()
			check(t, "told", strings.Count(n.logs.String(), "level=ERROR"), 1)
			for when, disk := range map[string]*vfs.Mem{"after a stop": mem, "after a kill": disk} {
				n = newNode(t, disk, nil).load()
				n.apply(topicRecords("t", idT, 2, "internal.segment.bytes", "500")...)
				n.wantLost(when)
				n.close()
			}
		})
	}
}

// TestSealedAndUnlinkedWhileOpen: a segment that is not appended to any more is read for as long as it is open, and that is what it
// held. A scrub finds that its file is gone, and reads are refused from then on, as they are after a start.
func TestSealedAndUnlinkedWhileOpen(t *testing.T) {
	mem := vfs.NewMem()
	n := newNode(t, mem, nil).load()
	n.apply(small()...)
	for i := range 4 {
		check(t, "append", n.append("t", 0, -1, fmt.Sprint(i)).Err, nil)
	}
	read := func(offset int64) string {
		res := &n.fetch(fetchOf("t", offset)).Responses[0]
		return fmt.Sprint(values(t, res), " ", kafka.CodeOf(res.Err))
	}
	check(t, "it is open", read(1), "[1] NONE")
	if err := mem.Remove("d1/t-0/00000000000000000001.log"); err != nil {
		t.Fatal(err)
	}
	check(t, "what it held", read(1), "[1] NONE")
	look := func(when string) {
		t.Helper()
		check(t, when+": before it", read(0), "[0] NONE")
		check(t, when+": what is gone", read(1), "[] CORRUPT_MESSAGE")
		check(t, when+": behind it", read(2), "[2] NONE")
		check(t, when+": damage", n.m.Dirs()[0].Damage, 1)
		check(t, when+": told", strings.Count(n.logs.String(), "level=ERROR"), 1)
	}
	d := n.m.dirs[0]
	d.manager.broker.ScrubBytesPerSecond = 1 << 30
	d.janitor.scrub()
	look("after a scrub")
	check(t, "append", n.append("t", 0, -1, "4").Err, nil)
	d.savePoints()
	d.savePoints()
	disk := killed(mem)
	n.close()
	n = newNode(t, disk, nil).load()
	n.apply(small()...)
	look("after a kill")
	n.deleteRecords(0, 2)
	check(t, "what was let go", read(1), "[] OFFSET_OUT_OF_RANGE")
	n.close()
}

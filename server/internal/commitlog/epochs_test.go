package commitlog

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// What assigning and cutting make of the epochs.
func TestEpochs(t *testing.T) {
	known := func() *epochs { return &epochs{entries: []EpochEntry{{2, 0}, {5, 10}, {7, 30}}} }
	for _, c := range []struct {
		name string
		do   func(e *epochs)
		want string
	}{
		{"a new epoch", func(e *epochs) { e.assign(8, 40) }, "[{2 0} {5 10} {7 30} {8 40}]"},
		{"a known epoch further on", func(e *epochs) { e.assign(7, 40) }, "[{2 0} {5 10} {7 30}]"},
		{"a known epoch further back", func(e *epochs) { e.assign(7, 25) }, "[{2 0} {5 10} {7 25}]"},
		{"an epoch where another began takes its place", func(e *epochs) { e.assign(9, 30) }, "[{2 0} {5 10} {9 30}]"},
		{"an older epoch drops the later ones", func(e *epochs) { e.assign(6, 35) }, "[{2 0} {5 10} {6 35}]"},
		{"a lower offset drops the later ones", func(e *epochs) { e.assign(8, 10) }, "[{2 0} {8 10}]"},
		{"cut where one begins", func(e *epochs) { e.truncateEnd(30) }, "[{2 0} {5 10}]"},
		{"cut behind where one begins", func(e *epochs) { e.truncateEnd(31) }, "[{2 0} {5 10} {7 30}]"},
		{"cut all", func(e *epochs) { e.truncateEnd(0) }, "[]"},
		{"the start inside an epoch", func(e *epochs) { e.truncateStart(15) }, "[{5 15} {7 30}]"},
		{"the start where one begins", func(e *epochs) { e.truncateStart(30) }, "[{7 30}]"},
		{"the start at the beginning", func(e *epochs) { e.truncateStart(0) }, "[{2 0} {5 10} {7 30}]"},
		{"the start behind all", func(e *epochs) { e.truncateStart(99) }, "[{7 99}]"},
	} {
		e := known()
		before := fmt.Sprint(e.entries)
		c.do(e)
		if have := fmt.Sprint(e.entries); have != c.want {
			t.Errorf("%s: %s, want %s", c.name, have, c.want)
		}
		if changed := fmt.Sprint(e.entries) != before; changed != e.changed {
			t.Errorf("%s: changed is %v", c.name, e.changed)
		}
	}
}

// OffsetForLeaderEpoch (KIP-279): the epoch asked for, or the one before it, and where it ended.
func TestEndOffsetForEpoch(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig())
	for _, epoch := range []int32{2, 2, 5, 7} {
		mustAppend(t, l, at(0, "v", "w"), epoch, t0)
	}
	for asked, want := range map[int32][2]int64{
		-1: {-1, -1}, 0: {0, 0}, 1: {1, 0}, 2: {2, 4}, 3: {2, 4}, 4: {2, 4}, 5: {5, 6}, 6: {5, 6}, 7: {7, 8}, 8: {-1, -1},
	} {
		if epoch, end := l.EndOffsetForEpoch(asked); int64(epoch) != want[0] || end != want[1] {
			t.Errorf("epoch %d: %d ends at %d, want %v", asked, epoch, end, want)
		}
	}
	// An epoch that wrote nothing yet ends the one before it.
	if err := l.AssignEpoch(9, l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[int32][2]int64{7: {7, 8}, 8: {7, 8}, 9: {9, 8}} {
		if epoch, end := l.EndOffsetForEpoch(asked); int64(epoch) != want[0] || end != want[1] {
			t.Errorf("epoch %d: %d ends at %d, want %v", asked, epoch, end, want)
		}
	}
	for offset, want := range map[int64]int32{0: 2, 3: 2, 4: 5, 6: 7, 7: 7, 8: 9} {
		if epoch := l.EpochAt(offset); epoch != want {
			t.Errorf("the epoch at %d is %d, want %d", offset, epoch, want)
		}
	}
}

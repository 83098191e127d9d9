package commitlog

import (
	"strings"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Where no record has a timestamp, the first has the greatest, -1, as in Kafka; one that has takes its place.
func TestMaxTimestampWithoutTimestamps(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig(func(c *Config) { c.SegmentBytes = 200 }))
	is := func(found bool, offset, timestamp int64) {
		t.Helper()
		at, ok, err := l.MaxTimestampOffset(l.EndOffset())
		if err != nil || ok != found || found && (at.Offset != offset || at.Timestamp != timestamp || at.Epoch != 1) {
			t.Errorf("the greatest timestamp: %+v %v %v, want offset %d with %d (%v)", at, ok, err, offset, timestamp, found)
		}
	}
	segments := func(n int) {
		t.Helper()
		if l.NumSegments() != n {
			t.Errorf("%d segments, want %d", l.NumSegments(), n)
		}
	}
	is(false, 0, 0)
	mustAppend(t, l, plain(-1, "a", "b"), 1, t0)
	mustFlush(t, l)
	is(true, 0, -1)
	mustAppend(t, l, plain(-1, strings.Repeat("c", 100)), 1, t0)
	mustFlush(t, l)
	segments(2)
	is(true, 0, -1)
	if err := l.AdvanceStart(1); err != nil {
		t.Fatal(err)
	}
	is(true, 1, -1)
	mustAppend(t, l, plain(0, "d"), 1, t0)
	is(true, 3, 0)
	mustFlush(t, l)
	if err := l.AdvanceStart(4); err != nil {
		t.Fatal(err)
	}
	is(false, 0, 0)
	mustAppend(t, l, plain(-1, "e"), 1, t0)
	is(true, 4, -1) // in a segment whose greatest timestamp lies below the start
	segments(1)
	mustClose(t, l)
}

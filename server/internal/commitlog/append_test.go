package commitlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// What is wrong with single records is told for each of them (KIP-467), and nothing of the batch is stored.
func TestRecordErrors(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig(func(c *Config) { c.Compact = true; c.TimestampBeforeMax = 1000 }))
	b := record.NewBuilder(record.NewBuilderOptions())
	for i, r := range []record.Record{
		{Key: []byte("k"), Timestamp: t0.UnixMilli()},
		{Timestamp: t0.UnixMilli()},                               // no key
		{Key: []byte("k"), Timestamp: t0.UnixMilli() - 1001},      // too old
		{Key: []byte("k"), Timestamp: t0.UnixMilli() + 4_000_000}, // too young
	} {
		r.Value = fmt.Append(nil, i)
		b.Append(r)
	}
	info, err := l.Append(b.Build(nil), AppendOptions{ProduceVersion: 12}, t0)
	if kafka.CodeOf(err) != kafka.InvalidTimestamp {
		t.Errorf("refused with %v", err)
	}
	var wrong []int32
	for _, e := range info.Errors {
		wrong = append(wrong, e.Index)
	}
	if !slices.Equal(wrong, []int32{1, 2, 3}) {
		t.Errorf("records %v are wrong", wrong)
	}
	if l.EndOffset() != 0 || info.FirstOffset != -1 {
		t.Errorf("the log ends at %d, %+v", l.EndOffset(), info)
	}
}

// A batch that does not fit into a segment is refused.
func TestBatchLargerThanSegment(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig(func(c *Config) { c.SegmentBytes = 100 }))
	if code := refusal(l, at(0, "a value that makes the batch longer than a segment")); code != kafka.RecordListTooLarge {
		t.Errorf("refused with %v", code)
	}
}

// A follower takes the leader's offsets and epochs, gaps too, but no offset again.
func TestAppendFollower(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig(func(c *Config) { c.Compact = true }))
	batch := func(offset int64, epoch int32, values ...string) []byte {
		b := record.Batch(at(0, values...).batch())
		b.SetBaseOffset(offset)
		b.SetLeaderEpoch(epoch)
		return b
	}
	two := append(batch(3, 1, "a", "b"), batch(7, 4, "c")...)
	torn := append(slices.Clone(two), batch(8, 4, "torn")[:40]...)
	info, err := l.AppendFollower(torn, t0)
	if err != nil || info.FirstOffset != 3 || info.LastOffset != 7 || info.Records != 3 || info.Bytes != len(two) {
		t.Fatalf("%+v, %v", info, err)
	}
	for _, offset := range []int64{0, 3, 7} {
		if _, err := l.AppendFollower(batch(offset, 4, "again"), t0); !errors.Is(err, ErrUnexpectedOffset) {
			t.Errorf("offset %d again: %v", offset, err)
		}
	}
	bad := batch(8, 4, "bad")
	bad[len(bad)-1]++
	if _, err := l.AppendFollower(bad, t0); kafka.CodeOf(err) != kafka.CorruptMessage {
		t.Errorf("a corrupt batch: %v", err)
	}
	// Index entries hold 32 bits: an offset further from the segment's base begins another.
	far := int64(math.MaxInt32) + 1
	for _, c := range []struct {
		offset int64
		segs   int
	}{{far - 1, 1}, {far, 2}} {
		if _, err := l.AppendFollower(batch(c.offset, 4, "far"), t0); err != nil || l.NumSegments() != c.segs {
			t.Errorf("offset %d: %d segments, %v", c.offset, l.NumSegments(), err)
		}
	}
	for epoch, end := range map[int32]int64{1: 7, 4: far + 1} {
		if found, at := l.EndOffsetForEpoch(epoch); found != epoch || at != end {
			t.Errorf("epoch %d ends at %d", epoch, at)
		}
	}
	mustClose(t, l)
	if r := Check(disk, testDir, CheckOptions{Compacted: true, Deep: true}); !r.OK() {
		t.Errorf("check: %v %v", r.Err, r.Findings)
	}
}

// Truncation cuts before the batch that holds the offset; what is appended then takes its place.
func TestTruncate(t *testing.T) {
	for _, c := range []struct {
		to, end int64
		epoch   int32
	}{{5, 5, 1}, {4, 4, 1}, {3, 2, 0}, {2, 2, 0}, {1, 0, -1}, {0, 0, -1}, {9, 5, 1}} {
		disk := vfs.NewMem()
		l := newTestLog(t, disk, testConfig(func(c *Config) { c.SegmentBytes = 150 }))
		mustAppend(t, l, at(0, "a", "b"), 0, t0)
		mustAppend(t, l, at(10, "c", "d"), 1, t0)
		mustAppend(t, l, at(20, "e"), 1, t0)
		if err := l.TruncateTo(c.to); err != nil {
			t.Fatal(err)
		}
		if l.EndOffset() != c.end || l.LastEpoch() != c.epoch || l.Flushed() > c.end {
			t.Errorf("to %d: it ends at %d (epoch %d), want %d (%d)", c.to, l.EndOffset(), l.LastEpoch(), c.end, c.epoch)
		}
		mustAppend(t, l, at(30, "new"), 2, t0)
		if rs := readAll(t, l, 0); rs[len(rs)-1].value != "new" || rs[len(rs)-1].offset != c.end {
			t.Errorf("to %d: read %v", c.to, rs)
		}
		mustClose(t, l)
		checkClean(t, disk)
	}
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig())
	mustAppend(t, l, idem(1, 0, 0, "a"), 3, t0)
	if err := l.TruncateFullyAndStartAt(77); err != nil {
		t.Fatal(err)
	}
	if l.StartOffset() != 77 || l.EndOffset() != 77 || l.Size() != 0 || len(l.Producers()) != 0 || l.LastEpoch() != -1 {
		t.Errorf("begun anew: %d to %d, %d bytes, %d producers, epoch %d", l.StartOffset(), l.EndOffset(), l.Size(), len(l.Producers()), l.LastEpoch())
	}
	if info := mustAppend(t, l, at(0, "b"), 4, t0); info.FirstOffset != 77 {
		t.Errorf("appended at %d", info.FirstOffset)
	}
	mustClose(t, l)
	checkClean(t, disk)
}

// legacy is a message of magic 0 or 1.
func legacy(magic int8, offset, ts int64, value string) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(magic), 0)
	if magic == 1 {
		b = binary.BigEndian.AppendUint64(b, uint64(ts))
	}
	b = binary.BigEndian.AppendUint32(b, math.MaxUint32) // no key
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	b = append(b, value...)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

// A log that begins with messages of the old formats is recovered, served as it is, searched by time and appended to.
func TestOldFormats(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig())
	mustClose(t, l)
	old := slices.Concat(legacy(0, 0, 0, "zero"), legacy(1, 1, t0.UnixMilli()+5, "one"), legacy(1, 2, t0.UnixMilli()+9, "two"))
	name := path.Join(testDir, segment.FileName(0, segment.LogSuffix))
	if err := vfs.WriteFile(disk, name, old); err != nil {
		t.Fatal(err)
	}
	l, err := Open(testOptions(disk, testConfig()), t0)
	if err != nil || l.EndOffset() != 3 {
		t.Fatalf("it ends at %d: %v", l.EndOffset(), err)
	}
	s, err := l.Read(1, 1000, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	if have := bytesOf(t, s); string(have) != string(old[len(legacy(0, 0, 0, "zero")):]) || s.NextOffset != 3 {
		t.Errorf("read %q, next %d", have, s.NextOffset)
	}
	for ts, want := range map[int64]int64{0: 1, t0.UnixMilli() + 6: 2} {
		if at, found, err := l.OffsetForTimestamp(ts, 3); err != nil || !found || at.Offset != want {
			t.Errorf("timestamp %d: %+v %v %v", ts, at, found, err)
		}
	}
	if at, found, err := l.MaxTimestampOffset(3); err != nil || !found || at.Offset != 2 {
		t.Errorf("the greatest timestamp: %+v %v %v", at, found, err)
	}
	if info := mustAppend(t, l, at(20, "new"), 1, t0); info.FirstOffset != 3 {
		t.Errorf("appended at %d", info.FirstOffset)
	}
	mustFlush(t, l)
	if err := l.Scrub(context.Background(), unlimited{}); err != nil {
		t.Error(err)
	}
	mustClose(t, l)
	checkClean(t, disk)
	// They are covered by a CRC of their own.
	flip(t, disk, name, 8*(len(old)-1))
	o := testOptions(disk, testConfig())
	o.Floor = 4
	if _, err := Open(o, t0); !errors.Is(err, ErrDamaged) {
		t.Errorf("a flipped bit: %v", err)
	}
}

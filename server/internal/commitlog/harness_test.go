package commitlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

const testDir = "/data/orders-0"

var (
	testPartition = kafka.TopicPartition{Topic: "orders", Partition: 0}
	testTopicID   = kafka.TopicID{1, 2, 3}
	t0            = time.UnixMilli(1_700_000_000_000)
)

func testConfig(change ...func(*Config)) Config {
	c := DefaultConfig()
	c.SegmentBytes = 1 << 20
	for _, f := range change {
		f(&c)
	}
	return c
}

func testOptions(fsys vfs.FS, c Config) Options {
	handles := segment.NewHandles(fsys, 16)
	handles.SetHolding(segment.Holding{Budget: budget.New(1 << 20), Limit: 1 << 20}) // most appends are held
	return Options{Dir: testDir, Partition: testPartition, TopicID: testTopicID, Config: c, StartOffset: -1, Handles: handles}
}

func newTestLog(t testing.TB, fsys vfs.FS, c Config) *Log {
	t.Helper()
	if err := errors.Join(fsys.MkdirAll("/data", 0o755), fsys.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	l, err := Create(testOptions(fsys, c))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// sent describes a batch as a producer sends it.
type sent struct {
	values   []string
	ts       int64 // of the first record; each further one is a millisecond younger
	codec    record.Codec
	pid      int64
	epoch    int16
	sequence int32
	txn      bool
}

// plain is a batch without producer.
func plain(ts int64, values ...string) sent {
	return sent{values: values, ts: ts, pid: -1, epoch: -1, sequence: -1}
}

// idem is a batch of an idempotent producer.
func idem(pid int64, epoch int16, sequence int32, values ...string) sent {
	return sent{values: values, ts: t0.UnixMilli(), pid: pid, epoch: epoch, sequence: sequence}
}

func (s sent) batch() []byte {
	o := record.NewBuilderOptions()
	o.Codec, o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = s.codec, s.pid, s.epoch, s.sequence, s.txn
	b := record.NewBuilder(o)
	for i, v := range s.values {
		ts := s.ts
		if ts >= 0 {
			ts += int64(i)
		}
		b.Append(record.Record{Timestamp: ts, Key: []byte("k"), Value: []byte(v)})
	}
	return b.Build(nil)
}

// marker is the control batch that ends a transaction.
func marker(pid int64, epoch int16, commit bool, coordinatorEpoch int32) []byte {
	o := record.NewBuilderOptions()
	o.ProducerID, o.ProducerEpoch, o.Transactional, o.Control = pid, epoch, true, true
	b := record.NewBuilder(o)
	key, value := make([]byte, 4), make([]byte, 6)
	if commit {
		key[3] = 1
	}
	binary.BigEndian.PutUint32(value[2:], uint32(coordinatorEpoch))
	b.Append(record.Record{Timestamp: t0.UnixMilli(), Key: key, Value: value})
	return b.Build(nil)
}

func mustAppend(t testing.TB, l *Log, s sent, epoch int32, now time.Time) AppendInfo {
	t.Helper()
	info, err := l.Append(s.batch(), AppendOptions{LeaderEpoch: epoch, ProduceVersion: 12, Hold: l.EndOffset()%4 != 0}, now)
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return info
}

func mustFlush(t testing.TB, l *Log) {
	t.Helper()
	if err := l.flushAll(); err != nil {
		t.Fatal(err)
	}
	if l.Flushed() != l.EndOffset() {
		t.Fatalf("flushed %d of %d", l.Flushed(), l.EndOffset())
	}
}

func mustClose(t testing.TB, l *Log) Summary {
	t.Helper()
	s, err := l.Close(t0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// got is a record as a reader sees it.
type got struct {
	offset int64
	ts     int64
	epoch  int32
	value  string
}

// readSlice decodes a slice and releases it.
func readSlice(t testing.TB, s Slice) []got {
	t.Helper()
	if s.Range == nil {
		return nil
	}
	return decode(t, bytesOf(t, s))
}

// bytesOf copies what a slice holds and releases it.
func bytesOf(t testing.TB, s Slice) []byte {
	t.Helper()
	defer s.Range.Release()
	buf := make([]byte, s.Range.Len())
	if n, err := s.Range.ReadAt(buf, 0); n < len(buf) {
		t.Fatalf("read %d of %d bytes: %v", n, len(buf), err)
	}
	return buf
}

func decode(t testing.TB, buf []byte) []got {
	t.Helper()
	var all []got
	for len(buf) > 0 {
		b, rest, err := record.Next(buf)
		if err != nil {
			t.Fatalf("a slice does not end with a whole batch: %v", err)
		}
		if err := b.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, got{r.Offset, r.Timestamp, b.LeaderEpoch(), string(r.Value)})
		}
		buf = rest
	}
	return all
}

// readAll reads from an offset to the log's end in small reads.
func readAll(t testing.TB, l *Log, from int64) []got {
	t.Helper()
	var all []got
	for from < l.EndOffset() {
		s, err := l.Read(from, 300, l.EndOffset(), true)
		if err != nil {
			t.Fatalf("read at %d: %v", from, err)
		}
		if s.Range == nil {
			t.Fatalf("nothing at offset %d of a log that ends at %d", from, l.EndOffset())
		}
		for _, r := range readSlice(t, s) {
			if r.offset >= from {
				all = append(all, r)
			}
		}
		if s.NextOffset <= from {
			t.Fatalf("a read at %d goes on at %d", from, s.NextOffset)
		}
		from = s.NextOffset
	}
	return all
}

func offsets(rs []got) string {
	if len(rs) == 0 {
		return "none"
	}
	return fmt.Sprintf("%d-%d", rs[0].offset, rs[len(rs)-1].offset)
}

// checkClean fails the test when Check finds anything in the log's directory.
func checkClean(t testing.TB, fsys vfs.FS) {
	t.Helper()
	if r := Check(fsys, testDir, CheckOptions{Deep: true, TopicID: testTopicID}); !r.OK() {
		t.Fatalf("check: %v %v", r.Err, r.Findings)
	}
}

package commitlog

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// at is a batch whose records are so many milliseconds older or younger than t0.
func at(ms int64, values ...string) sent { return plain(t0.UnixMilli()+ms, values...) }

// appendAt appends batches of one record each, whose timestamps are given in ms after t0.
func appendAt(t *testing.T, l *Log, ms ...int64) {
	t.Helper()
	for _, m := range ms {
		mustAppend(t, l, at(m, strings.Repeat("v", 50)), 1, t0)
	}
}

// refusal is the code that an append is refused with.
func refusal(l *Log, s sent) kafka.ErrorCode {
	_, err := l.Append(s.batch(), AppendOptions{LeaderEpoch: 1, ProduceVersion: 12}, t0)
	return kafka.CodeOf(err)
}

// stored is the first batch as it lies in the log.
func stored(t *testing.T, l *Log) record.Batch {
	t.Helper()
	s, err := l.Read(0, 1, l.EndOffset(), true)
	if err != nil {
		t.Fatal(err)
	}
	return bytesOf(t, s)
}

func segmentsAfter(ms ...int64) func(*testing.T, *Log, *vfs.Mem) any {
	return func(t *testing.T, l *Log, _ *vfs.Mem) any {
		appendAt(t, l, ms...)
		return l.NumSegments()
	}
}

func codecStored(t *testing.T, l *Log, _ *vfs.Mem) any {
	s := at(0, "packed", "or not")
	s.codec = record.CodecGzip
	mustAppend(t, l, s, 1, t0)
	return stored(t, l).Codec().String()
}

// sizeStored is the size of a batch that the log has packed.
func sizeStored(t *testing.T, l *Log, _ *vfs.Mem) any {
	var text strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&text, "%d and %d make %d; ", i, i*i%97, i+i*i%97)
	}
	mustAppend(t, l, at(0, text.String()), 1, t0)
	return len(stored(t, l))
}

// retained is how many of three segments, of ten seconds each, retention leaves a minute later.
func retained(t *testing.T, l *Log, _ *vfs.Mem) any {
	for _, ms := range []int64{0, 10_000, 20_000} {
		mustAppend(t, l, sent{values: []string{strings.Repeat("v", 600)}, ts: t0.UnixMilli() + ms, pid: -1, epoch: -1, sequence: -1}, 1, t0)
	}
	mustFlush(t, l)
	if _, err := l.Retain(t0.Add(time.Minute), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	return l.NumSegments()
}

var small = map[string]string{"internal.segment.bytes": "700", "message.timestamp.after.max.ms": "9000000"}

// effects are the topic settings that act in a log: for each, what it makes of the same deeds with one value and another.
// Where nil is wanted the sizes of the values are compared with each other.
var effects = []struct {
	key  string
	with map[string]string // what else must be set
	do   func(t *testing.T, l *Log, disk *vfs.Mem) any
	want map[string]any // by value
}{
	{"segment.bytes", map[string]string{"max.message.bytes": "2000000"}, func(t *testing.T, l *Log, _ *vfs.Mem) any {
		for range 3 {
			mustAppend(t, l, at(0, strings.Repeat("v", 600_000)), 1, t0)
		}
		return l.NumSegments()
	}, map[string]any{"1048576": 3, "1500000": 2, "1073741824": 1}},
	{"internal.segment.bytes", nil, segmentsAfter(0, 0, 0, 0), map[string]any{"300": 2, "130": 4, "": 1}},
	{"segment.ms", nil, segmentsAfter(0, 1000, 1001, 1002), map[string]any{"1000": 2, "999": 2, "1002": 1, "604800000": 1}},
	{"segment.jitter.ms", map[string]string{"segment.ms": "10000"}, segmentsAfter(0, 10_000), map[string]any{"0": 1, "10000": 2}},
	{"segment.index.bytes", map[string]string{"index.interval.bytes": "0"}, segmentsAfter(1, 2, 3, 4, 5, 6, 7, 8, 9), map[string]any{"48": 3, "10485760": 1}},
	{"index.interval.bytes", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any {
		appendAt(t, l, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		n, err := l.hot.active().Offsets.Count()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}, map[string]any{"0": 8, "200": 4, "4096": 0}},
	{"preallocate", map[string]string{"segment.bytes": "1048576"}, func(t *testing.T, l *Log, disk *vfs.Mem) any {
		u, err := disk.Usage("/")
		if err != nil {
			t.Fatal(err)
		}
		return u.Total-u.Free >= 1<<20
	}, map[string]any{"true": true, "false": false}},
	{"retention.ms", small, retained, map[string]any{"-1": 3, "60000": 3, "50000": 2, "45000": 1, "39999": 1, "0": 1}},
	{"retention.bytes", small, retained, map[string]any{"-1": 3, "100000": 3, "2000": 3, "1400": 3, "1300": 2, "700": 2, "600": 1, "0": 1}},
	{"file.delete.delay.ms", small, func(t *testing.T, l *Log, disk *vfs.Mem) any {
		retained(t, l, disk)
		c := l.Config()
		c.RetentionMs = 0
		l.SetConfig(c)
		for _, s := range []int{60, 70} {
			if _, err := l.Retain(t0.Add(time.Duration(s)*time.Second), l.EndOffset()); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := disk.ReadDir(testDir)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".log.deleted") {
				n++
			}
		}
		return n
	}, map[string]any{"60000": 3, "10001": 3, "10000": 0}},
	{"cleanup.policy", map[string]string{"retention.ms": "0", "internal.segment.bytes": "700", "message.timestamp.after.max.ms": "9000000"}, retained,
		map[string]any{"delete": 1, "compact": 3, "compact,delete": 1, "": 3}},
	{"cleanup.policy", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any {
		b := record.NewBuilder(record.NewBuilderOptions())
		b.Append(record.Record{Timestamp: t0.UnixMilli(), Value: []byte("no key")})
		_, err := l.Append(b.Build(nil), AppendOptions{ProduceVersion: 12}, t0)
		return kafka.CodeOf(err)
	}, map[string]any{"delete": kafka.None, "compact": kafka.InvalidRecord}},
	{"max.compaction.lag.ms", map[string]string{"cleanup.policy": "compact"}, segmentsAfter(0, 1001), map[string]any{"1000": 2, "9223372036854775807": 1}},
	{"max.message.bytes", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any { return refusal(l, at(0, strings.Repeat("v", 100))) },
		map[string]any{"100": kafka.MessageTooLarge, "1048588": kafka.None}},
	{"max.decompressed.message.bytes", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any {
		s := at(0, strings.Repeat("v", 1000))
		s.codec = record.CodecZstd
		return refusal(l, s) != kafka.None
	}, map[string]any{"500": true, "2147483639": false}},
	{"compression.type", nil, codecStored, map[string]any{"producer": "gzip", "uncompressed": "none", "gzip": "gzip", "snappy": "snappy", "lz4": "lz4", "zstd": "zstd"}},
	{"compression.gzip.level", map[string]string{"compression.type": "gzip"}, sizeStored, map[string]any{"1": nil, "9": nil}},
	{"compression.lz4.level", map[string]string{"compression.type": "lz4"}, sizeStored, map[string]any{"1": nil, "8": nil}},
	{"compression.zstd.level", map[string]string{"compression.type": "zstd"}, sizeStored, map[string]any{"1": nil, "19": nil}},
	{"message.timestamp.type", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any {
		info := mustAppend(t, l, at(-5000, "v"), 1, t0)
		return []int64{info.LogAppendTime, readAll(t, l, 0)[0].ts}
	}, map[string]any{"CreateTime": []int64{-1, t0.UnixMilli() - 5000}, "LogAppendTime": []int64{t0.UnixMilli(), t0.UnixMilli()}}},
	{"message.timestamp.before.max.ms", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any { return refusal(l, at(-5000, "v")) },
		map[string]any{"4999": kafka.InvalidTimestamp, "5000": kafka.None, "9223372036854775807": kafka.None}},
	{"message.timestamp.after.max.ms", nil, func(t *testing.T, l *Log, _ *vfs.Mem) any { return refusal(l, at(5000, "v")) },
		map[string]any{"4999": kafka.InvalidTimestamp, "5000": kafka.None, "3600000": kafka.None}},
}

// Every topic setting that acts in the log has an effect that can be seen.
func TestConfigEffects(t *testing.T) {
	for _, e := range effects {
		var sizes []int
		for _, value := range slices.Sorted(maps.Keys(e.want)) {
			t.Run(e.key+"="+value, func(t *testing.T) {
				set := maps.Clone(e.with)
				if set == nil {
					set = map[string]string{}
				}
				set[e.key] = value
				c, err := ParseConfig(func(key string) string {
					if v, ok := set[key]; ok || key == "cleanup.policy" && value == "" {
						return v
					}
					v, _ := topicTable.Effective(key)
					return v
				})
				if err != nil {
					t.Fatal(err)
				}
				disk := vfs.NewMem()
				disk.SetCapacity(64 << 20)
				l := newTestLog(t, disk, c)
				have := e.do(t, l, disk)
				if want := e.want[value]; want == nil {
					sizes = append(sizes, have.(int))
				} else if fmt.Sprint(have) != fmt.Sprint(want) {
					t.Errorf("%v, want %v", have, want)
				}
				mustClose(t, l)
				checkClean(t, disk)
			})
		}
		for i := 1; i < len(sizes); i++ {
			if sizes[i] >= sizes[i-1] {
				t.Errorf("%s: sizes %v do not fall as the level rises", e.key, sizes)
			}
		}
	}
}

// A setting that this room declares acts here, is compaction's, or is the flusher's.
func TestEveryTopicKeyHasAnEffect(t *testing.T) {
	elsewhere := map[string]string{"flush.messages": "package replica", "flush.ms": "package replica"}
	for _, key := range TopicKeys() {
		acts := false
		for i := range effects {
			acts = acts || effects[i].key == key.Name
		}
		if _, other := elsewhere[key.Name]; !acts && !other && key.Owner == "" {
			t.Errorf("%s: its effect is tested nowhere", key.Name)
		}
	}
}

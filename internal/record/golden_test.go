package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// golden is what Apache Kafka wrote, and how it reads it.
type golden struct {
	name    string
	bytes   []byte
	records []string
}

func goldens(t testing.TB) []golden {
	t.Helper()
	f, err := os.Open("testdata/kafka_batches.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []golden
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 10<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		col := strings.Split(lines.Text(), "\t")
		b, err := hex.DecodeString(col[1])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, golden{col[0], b, col[2:]})
	}
	if len(all) < 50 {
		t.Fatalf("only %d goldens", len(all))
	}
	return all
}

// show writes a record as Write.java does.
func show(r Record) string {
	null := func(b []byte) string {
		if b == nil {
			return "-"
		}
		return hex.EncodeToString(b)
	}
	value := null(r.Value)
	if len(r.Value) > 64 {
		value = fmt.Sprintf("#%d:%x", len(r.Value), crc32.ChecksumIEEE(r.Value))
	}
	s := fmt.Sprintf("%d %d %s %s", r.Offset, r.Timestamp, null(r.Key), value)
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %x=%s", h.Key, null(h.Value))
	}
	return s
}

func TestReadsWhatKafkaWrote(t *testing.T) {
	d := &Decompressor{}
	for _, g := range goldens(t) {
		t.Run(g.name, func(t *testing.T) {
			var got []string
			collect := func(r Record, err error) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, show(r))
			}
			for rest := g.bytes; len(rest) > 0; {
				b, after, err := Next(rest)
				if err == nil {
					if err := b.CheckCRC(); err != nil {
						t.Fatal(err)
					}
					for r, err := range b.Records(d) {
						collect(r, err)
					}
					checkTwin(t, b)
					rest = after
					continue
				}
				if !errors.Is(err, ErrMagic) {
					t.Fatal(err)
				}
				m, after, err := NextMessage(rest)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.CheckCRC(); err != nil {
					t.Fatal(err)
				}
				before := len(got)
				for r, err := range m.Records(d) {
					collect(r, err)
				}
				checkConverted(t, m, got[before:], d)
				rest = after
			}
			if strings.Join(got, "\n") != strings.Join(g.records, "\n") {
				t.Errorf("read\n%s\nKafka reads\n%s", strings.Join(got, "\n"), strings.Join(g.records, "\n"))
			}
		})
	}
}

// checkTwin compares every field of a header with what kmsg makes of it.
func checkTwin(t *testing.T, b Batch) {
	t.Helper()
	var twin kmsg.RecordBatch
	if err := twin.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	h, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	want := Header{
		BaseOffset: twin.FirstOffset, Length: int(twin.Length) + LogOverhead, LeaderEpoch: twin.PartitionLeaderEpoch, Magic: twin.Magic,
		CRC: uint32(twin.CRC), Attributes: twin.Attributes, LastOffsetDelta: twin.LastOffsetDelta,
		BaseTimestamp: twin.FirstTimestamp, MaxTimestamp: twin.MaxTimestamp,
		ProducerID: twin.ProducerID, ProducerEpoch: twin.ProducerEpoch, BaseSequence: twin.FirstSequence, Count: twin.NumRecords,
	}
	if h != want {
		t.Errorf("header %+v, kmsg reads %+v", h, want)
	}
	if !bytes.Equal(b.Payload(), twin.Records) {
		t.Error("the payloads differ")
	}
	if again := twin.AppendTo(nil); !bytes.Equal(again, b) {
		t.Errorf("kmsg writes\n%x for\n%x", again, []byte(b))
	}
}

// checkConverted turns an old message into a batch of today and expects the same records.
func checkConverted(t *testing.T, m Message, want []string, d *Decompressor) {
	t.Helper()
	out, err := m.Converted([]byte("before"), 5, d, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, rest, err := Next(out[len("before"):])
	if err != nil || len(rest) > 0 {
		t.Fatal(err, len(rest))
	}
	if err := b.CheckCRC(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, err := range b.Records(d) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, show(r))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || b.LastOffset() != m.Offset() || b.Codec() != m.Codec() || b.LogAppendTime() != m.LogAppendTime() || b.LeaderEpoch() != 5 {
		t.Errorf("converted to %v:\n%s\nwant\n%s", b, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestWritesAsKafka builds Kafka's uncompressed and control batches again, byte for byte.
func TestWritesAsKafka(t *testing.T) {
	built := 0
	for _, g := range goldens(t) {
		if strings.HasPrefix(g.name, "magic 0") || strings.HasPrefix(g.name, "magic 1") {
			continue
		}
		b := Batch(g.bytes)
		var got []byte
		if m, ok, err := b.Marker(nil); ok {
			got = AppendMarker(nil, b.BaseOffset(), b.LeaderEpoch(), m)
			if m.Commit != (g.name == "commit") || m.CoordinatorEpoch != map[string]int32{"commit": 17, "abort": 0}[g.name] {
				t.Errorf("%s: %+v", g.name, m)
			}
		} else if b.Control() {
			if err != nil {
				t.Fatal(err)
			}
			kind, value, err := b.ControlValue(nil)
			if err != nil || !strings.EqualFold(strings.ReplaceAll(kind.String(), "_", " "), g.name) {
				t.Errorf("%s: %v %v", g.name, kind, err)
			}
			got = AppendControl(nil, b.BaseOffset(), b.LeaderEpoch(), kind, value, b.BaseTimestamp())
		} else {
			o := BuilderOptions{
				Codec: b.Codec(), Level: LevelDefault, BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(),
				ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
				LogAppendTime: b.LogAppendTime(), AppendTime: b.MaxTimestamp(),
			}
			builder := NewBuilder(o)
			for r, err := range b.Records(nil) {
				if err != nil {
					t.Fatal(err)
				}
				builder.Append(r)
			}
			got = builder.Build(nil)
			if b.Codec() != CodecNone { // the compressors differ; what is inside does not
				plain := func(b Batch) []byte {
					out, err := Recompress(nil, b, CodecNone, 0, nil, nil)
					if err != nil {
						t.Fatal(err)
					}
					return out
				}
				if b.LogAppendTime() { // Kafka leaves the create time of the first record in the base timestamp
					continue
				}
				if !bytes.Equal(plain(b), plain(got)) {
					t.Errorf("%s: decompressed, built\n%x, Kafka built\n%x", g.name, plain(got), plain(b))
				}
				built++
				continue
			}
		}
		if b.LogAppendTime() {
			continue
		}
		built++
		if !bytes.Equal(got, g.bytes) {
			t.Errorf("%s: built\n%x, Kafka built\n%x", g.name, got, g.bytes)
		}
	}
	if built < 15 {
		t.Errorf("only %d batches were built", built)
	}
}

package record

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"
)

// validateCase is one batch as a producer may send it, for Kafka's validator and ours.
type validateCase struct {
	name    string
	version int16
	configs string
	now     int64
	sent    []byte
}

const caseNow = int64(1_700_000_000_000)

// raw describes a batch in which everything can be wrong.
type raw struct {
	payload   []byte // uncompressed
	codec     Codec
	compress  func([]byte) []byte // instead of codec's own
	count     int32
	lastDelta int32
	patch     func(b Batch) // before the CRC is computed
	after     func(b Batch) []byte
}

func (r raw) build(t testing.TB) []byte {
	t.Helper()
	payload := r.payload
	if r.compress != nil {
		payload = r.compress(payload)
	} else if r.codec != CodecNone {
		var err error
		if payload, err = NewCompressor().Append(nil, payload, r.codec, LevelDefault); err != nil {
			t.Fatal(err)
		}
	}
	h := Header{
		Length: HeaderLen + len(payload), LeaderEpoch: -1, Attributes: int16(r.codec), LastOffsetDelta: r.lastDelta,
		BaseTimestamp: caseNow, MaxTimestamp: caseNow, ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Count: r.count,
	}
	b := append(make([]byte, HeaderLen), payload...)
	h.put(b)
	if r.patch != nil {
		r.patch(b)
	}
	Batch(b).sign()
	if r.after != nil {
		return r.after(b)
	}
	return b
}

// rec is the bytes of one record: its fields as given, whatever they are.
func rec(fields ...any) []byte {
	var body []byte
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			body = appendVarlong(body, int64(f))
		case int64:
			body = appendVarlong(body, f)
		case string:
			body = append(body, f...)
		case []byte:
			body = append(body, f...)
		default:
			panic(f)
		}
	}
	return body
}

func sized(body []byte) []byte { return append(appendVarlong(nil, int64(len(body))), body...) }

// plain is a well-formed record.
func plain(tsDelta int64, offsetDelta int, key, value string) []byte {
	return sized(rec("\x00", tsDelta, offsetDelta, len(key), key, len(value), value, 0))
}

func noKey(tsDelta int64, offsetDelta int, value string) []byte {
	return sized(rec("\x00", tsDelta, offsetDelta, -1, len(value), value, 0))
}

func cat(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// validateCases are the defects that a batch can have, with every codec where it may matter.
func validateCases(t testing.TB) []validateCase {
	good := cat(plain(0, 0, "k0", "v0"), plain(5, 1, "k1", "v1"), plain(-3, 2, "k2", "v2"))
	goodRaw := raw{payload: good, count: 3, lastDelta: 2}
	var cases []validateCase
	add := func(name, configs string, r raw) {
		cases = append(cases, validateCase{name, 9, configs, caseNow, r.build(t)})
	}
	all := func(name, configs string, r raw) {
		for codec := CodecNone; codec <= CodecZstd; codec++ {
			r.codec = codec
			add(name+"/"+codec.String(), configs, r)
		}
	}
	with := func(r raw, change func(*raw)) raw { change(&r); return r }
	patched := func(f func(Batch)) raw { return with(goodRaw, func(r *raw) { r.patch = f }) }
	after := func(f func(Batch) []byte) raw { return with(goodRaw, func(r *raw) { r.after = f }) }
	put16 := func(at int, v int16) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint16(b[at:], uint16(v)) }
	}
	put32 := func(at int, v int32) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
	}
	put64 := func(at int, v int64) func(Batch) {
		return func(b Batch) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
	}
	both := func(fs ...func(Batch)) func(Batch) {
		return func(b Batch) {
			for _, f := range fs {
				f(b)
			}
		}
	}
	payload := func(count int32, parts ...[]byte) raw {
		return raw{payload: cat(parts...), count: count, lastDelta: count - 1}
	}

	all("good", "", goodRaw)
	all("good one record", "", payload(1, plain(0, 0, "k", "v")))
	all("good with headers", "", payload(1, sized(rec("\x00", 0, 0, 1, "k", 1, "v", 2, 1, "h", 1, "x", 0, -1))))
	all("null key and value", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 0))))
	all("lengths of -7 for key and value", "", payload(1, sized(rec("\x00", 0, 0, -7, -7, 0))))
	all("record attributes set", "", payload(1, sized(rec("\x5a", 0, 0, -1, -1, 0))))
	all("padded varints", "", payload(1, sized(rec("\x00", 0, []byte{0x80, 0x80, 0}, -1, -1, 0))))
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		large := payload(2, plain(0, 0, "k", strings.Repeat("0123456789", 20_000)), plain(1, 1, "k", "v"))
		add("record larger than a window/"+codec.String(), "", with(large, func(r *raw) { r.codec = codec }))
	}

	// What was sent.
	add("nothing", "", after(func(b Batch) []byte { return nil }))
	add("eleven bytes", "", after(func(b Batch) []byte { return b[:11] }))
	add("header only", "", after(func(b Batch) []byte { return b[:61] }))
	add("one byte missing", "", after(func(b Batch) []byte { return b[:len(b)-1] }))
	add("three bytes too many", "", after(func(b Batch) []byte { return append(b, 1, 2, 3) }))
	add("eleven bytes too many", "", after(func(b Batch) []byte { return append(b, make([]byte, 11)...) }))
	add("sixteen zeros too many", "", after(func(b Batch) []byte { return append(b, make([]byte, 16)...) }))
	add("start of a second batch", "", after(func(b Batch) []byte { return append(b, b[:40]...) }))
	add("two batches", "", after(func(b Batch) []byte { return append(b, b...) }))
	add("length of 13", "", after(func(b Batch) []byte { put32(offLength, 13)(b); return b }))
	add("length of -1", "", after(func(b Batch) []byte { put32(offLength, -1)(b); return b }))
	add("length of 14", "", after(func(b Batch) []byte { put32(offLength, 14)(b); return b[:26] }))
	add("length of 48", "", after(func(b Batch) []byte { put32(offLength, 48)(b); return b[:60] }))
	add("huge length", "", after(func(b Batch) []byte { put32(offLength, 1<<30)(b); return b }))
	for _, magic := range []byte{0, 1, 3, 0xff} {
		add(fmt.Sprintf("magic %d", magic), "", after(func(b Batch) []byte { b[offMagic] = magic; return b }))
	}
	add("bad crc", "", after(func(b Batch) []byte { b[offCRC]++; return b }))
	add("bit flipped in a record", "", after(func(b Batch) []byte { b[len(b)-3] ^= 1; return b }))
	add("base offset 1", "", patched(put64(offBaseOffset, 1)))
	add("base offset 1 and bad crc", "", after(func(b Batch) []byte { put64(offBaseOffset, 1)(b); b[offCRC]++; return b }))
	add("base offset -1", "", patched(put64(offBaseOffset, -1)))
	add("leader epoch 7", "", patched(put32(offLeaderEpoch, 7)))
	add("too large", "max.message.bytes=60", goodRaw)
	add("too large and bad crc", "max.message.bytes=60", after(func(b Batch) []byte { b[offCRC]++; return b }))
	add("just not too large", "max.message.bytes="+fmt.Sprint(HeaderLen+len(good)), goodRaw)
	for version := int16(3); version <= 8; version++ {
		cases = append(cases, validateCase{fmt.Sprintf("zstd in version %d", version), version, "", caseNow, with(goodRaw, func(r *raw) { r.codec = CodecZstd }).build(t)})
	}
	for codec := int16(5); codec <= 7; codec++ {
		add(fmt.Sprintf("codec %d", codec), "", patched(put16(offAttributes, codec)))
	}

	// The header.
	for bit := 3; bit < 16; bit++ {
		add(fmt.Sprintf("attribute bit %d", bit), "", patched(put16(offAttributes, int16(uint16(1)<<bit))))
	}
	add("attribute bit 6, wrong max timestamp", "", patched(both(put16(offAttributes, 0x40), put64(offMaxTimestamp, 0))))
	add("attribute bits 7 to 15, wrong max timestamp", "", patched(both(put16(offAttributes, -128), put64(offMaxTimestamp, 0))))
	all("log append time from the producer", "", with(goodRaw, func(r *raw) {
		r.patch = func(b Batch) { put16(offAttributes, b.Attributes()|8)(b); put64(offMaxTimestamp, caseNow-1)(b) }
	}))
	add("log append time from the producer, no timestamp", "", patched(both(put16(offAttributes, 8), put64(offMaxTimestamp, -1))))
	all("log append time wanted", "message.timestamp.type=LogAppendTime", goodRaw)
	add("log append time wanted and said", "message.timestamp.type=LogAppendTime", patched(put16(offAttributes, 8)))
	for _, n := range []int32{-1, 0, 1, 4} {
		all(fmt.Sprintf("count %d of 3", n), "", with(goodRaw, func(r *raw) { r.count = n }))
		all(fmt.Sprintf("last offset delta %d of 2", n), "", with(goodRaw, func(r *raw) { r.lastDelta = n }))
		all(fmt.Sprintf("count and last offset delta for %d records of 3", n), "", with(goodRaw, func(r *raw) { r.count, r.lastDelta = n, n-1 }))
	}
	add("last offset delta of the smallest number", "", patched(put32(offLastOffsetDelta, -1<<31)))
	add("no records", "", raw{count: 0, lastDelta: -1})
	all("no bytes for a record", "", raw{count: 1, lastDelta: 0})
	add("control", "", patched(put16(offAttributes, 0x20)))
	add("producer with a sequence", "", patched(both(put64(offProducerID, 7), put16(offProducerEpoch, 0), put32(offBaseSequence, 0))))
	add("producer without sequence", "", patched(both(put64(offProducerID, 7), put16(offProducerEpoch, 0), put32(offBaseSequence, -1))))
	add("producer -5 with sequence -5", "", patched(both(put64(offProducerID, -5), put32(offBaseSequence, -5))))
	all("wrong max timestamp", "", with(goodRaw, func(r *raw) { r.patch = put64(offMaxTimestamp, 12345) }))
	all("max timestamp none", "", with(goodRaw, func(r *raw) { r.patch = put64(offMaxTimestamp, -1) }))
	all("base timestamp none", "", with(goodRaw, func(r *raw) { r.patch = both(put64(offBaseTimestamp, -1), put64(offMaxTimestamp, -1)) }))

	// The records.
	all("record length too small", "", payload(2, cat(appendVarlong(nil, 5), plain(0, 0, "k", "v")[1:]), plain(0, 1, "k", "v")))
	all("record length too large", "", payload(1, cat(appendVarlong(nil, 100), plain(0, 0, "k", "v")[1:])))
	all("record length off by one, bytes there", "", payload(2, cat(appendVarlong(nil, 9), plain(0, 0, "k", "v")[1:]), plain(0, 1, "k", "v")))
	all("record length off by one the other way", "", payload(2, cat(appendVarlong(nil, 7), plain(0, 0, "k", "v")[1:]), plain(0, 1, "k", "v")))
	all("record length negative", "", payload(1, cat(appendVarlong(nil, -1), plain(0, 0, "k", "v")[1:])))
	all("record length zero", "", payload(1, []byte{0}))
	all("record length never ends", "", payload(1, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3}))
	all("offset delta never ends", "", payload(1, sized(rec("\x00", 0, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 1}, -1, -1, 0))))
	all("timestamp delta never ends", "", payload(1, sized(rec("\x00", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 0, -1, -1, 0))))
	all("key length beyond the record", "", payload(1, sized(rec("\x00", 0, 0, 100, -1, 0))))
	all("value length beyond the record", "", payload(1, sized(rec("\x00", 0, 0, -1, 100, 0))))
	all("key length huge", "", payload(1, sized(rec("\x00", 0, 0, 0x7fffffff, -1, 0))))
	all("headers negative", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, -1))))
	all("headers that are not there", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 1))))
	all("a billion headers", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 1_000_000_000))))
	all("header without a key", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 1, -1, -1))))
	all("header with a key that is no utf-8", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 1, 1, "\xff", -1))))
	all("bytes after the headers", "", payload(1, sized(rec("\x00", 0, 0, -1, -1, 0, "xyz"))))
	all("bytes after the records", "", raw{payload: append(cat(good), 0, 0), count: 3, lastDelta: 2})
	all("offset deltas all zero", "", payload(3, plain(0, 0, "a", "v"), plain(0, 0, "b", "v"), plain(0, 0, "c", "v")))
	all("offset deltas swapped", "", payload(2, plain(0, 1, "a", "v"), plain(0, 0, "b", "v")))
	all("offset deltas from 1", "", payload(2, plain(0, 1, "a", "v"), plain(0, 2, "b", "v")))
	all("offset delta negative", "", payload(1, plain(0, -1, "a", "v")))
	all("no key in a compacted topic", "cleanup.policy=compact", payload(4, noKey(0, 0, "v"), plain(0, 1, "k", "v"), noKey(0, 2, "v"), plain(0, 3, "k", "v")))
	all("keys in a compacted topic", "cleanup.policy=compact", goodRaw)
	all("empty key in a compacted topic", "cleanup.policy=compact", payload(1, plain(0, 0, "", "v")))
	all("no key in a topic that is compacted and deleted", "cleanup.policy=compact;delete", payload(1, noKey(0, 0, "v")))

	// Timestamps.
	bounds := "message.timestamp.before.max.ms=1000,message.timestamp.after.max.ms=2000"
	all("timestamps at the bounds", bounds, payload(2, plain(-1000, 0, "k", "v"), plain(2000, 1, "k", "v")))
	all("timestamps beyond the bounds", bounds, payload(4, plain(-1001, 0, "k", "v"), plain(2000, 1, "k", "v"), plain(2001, 2, "k", "v"), plain(0, 3, "k", "v")))
	all("timestamps beyond the bounds and no keys", bounds+",cleanup.policy=compact", payload(3, noKey(-1001, 0, "v"), plain(2001, 1, "k", "v"), noKey(0, 2, "v")))
	all("timestamps beyond the bounds, append time", bounds+",message.timestamp.type=LogAppendTime", payload(1, plain(-5000, 0, "k", "v")))
	all("no timestamp", bounds, payload(1, plain(-1-caseNow, 0, "k", "v")))
	all("timestamp -2", bounds, payload(1, plain(-2-caseNow, 0, "k", "v")))
	all("timestamp -2, no bounds", "", payload(1, plain(-2-caseNow, 0, "k", "v")))
	all("timestamp two hours ahead", "", payload(1, plain(7_200_000, 0, "k", "v")))
	all("timestamp that overflows", "", payload(1, plain(1<<63-1, 0, "k", "v")))

	// Compressed data.
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		r := goodRaw
		r.codec = codec
		r.compress = func([]byte) []byte { return []byte("this is not compressed data at all, is it?") }
		add("garbage/"+codec.String(), "", r)
		r.compress = func([]byte) []byte { return nil }
		add("nothing compressed/"+codec.String(), "", r)
		r.compress = func(b []byte) []byte {
			b, _ = NewCompressor().Append(nil, b, codec, LevelDefault)
			return b[:len(b)-1]
		}
		add("compressed data short by 1/"+codec.String(), "", r)
		r.compress = func(b []byte) []byte {
			b, _ = NewCompressor().Append(nil, b, codec, LevelDefault)
			return b[:len(b)/2]
		}
		add("compressed data cut in half/"+codec.String(), "", r)
		r.compress = func(b []byte) []byte {
			b, _ = NewCompressor().Append(nil, b, codec, LevelDefault)
			return append(b, 1, 2, 3, 4, 5)
		}
		add("compressed data and five bytes/"+codec.String(), "", r)
		r.compress = func(b []byte) []byte {
			c := NewCompressor()
			first, _ := c.Append(nil, b[:10], codec, LevelDefault)
			both, _ := c.Append(first, b[10:], codec, LevelDefault)
			return both
		}
		add("two frames/"+codec.String(), "", r)
	}
	add("snappy bare", "", with(goodRaw, func(r *raw) {
		r.codec = CodecSnappy
		r.compress = func(b []byte) []byte { return s2.EncodeSnappy(nil, b) }
	}))
	add("lz4 header checksum wrong", "", with(goodRaw, func(r *raw) {
		r.codec = CodecLz4
		r.compress = func(b []byte) []byte {
			b, _ = NewCompressor().Append(nil, b, CodecLz4, LevelDefault)
			b[6]++
			return b
		}
	}))
	all("record beyond max.decompressed.message.bytes", "max.decompressed.message.bytes=100", payload(2, plain(0, 0, "k", "v"), plain(0, 1, "k", strings.Repeat("x", 100))))
	all("records just within max.decompressed.message.bytes", "max.decompressed.message.bytes=100", payload(2, plain(0, 0, "k", strings.Repeat("x", 90)), plain(0, 1, "k", strings.Repeat("x", 90))))
	return cases
}

// TestWriteCases writes the cases for testdata/Validate.java to the file that RECORD_CASES names.
func TestWriteCases(t *testing.T) {
	name := os.Getenv("RECORD_CASES")
	if name == "" {
		t.Skip("RECORD_CASES is not set: nothing to write")
	}
	var out strings.Builder
	out.WriteString("# What Apache Kafka 4.4.0 makes of batches: see Validate.java for the columns.\n")
	seen := map[string]bool{}
	for _, c := range validateCases(t) {
		if seen[c.name] {
			t.Fatalf("two cases are called %q", c.name)
		}
		seen[c.name] = true
		fmt.Fprintf(&out, "%s\t%d\t%s\t%d\t%s\n", strings.ReplaceAll(c.name, ",", ";"), c.version, c.configs, c.now, hex.EncodeToString(c.sent))
	}
	if err := os.WriteFile(name, []byte(out.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// someRecords draws records of all shapes.
func someRecords(rnd *rand.Rand, n int) []Record {
	text := func(limit int) []byte {
		switch rnd.IntN(6) {
		case 0:
			return nil
		case 1:
			return []byte{}
		}
		b := make([]byte, rnd.IntN(limit))
		for i := range b {
			b[i] = byte('a' + rnd.IntN(4))
		}
		return b
	}
	records := make([]Record, n)
	for i := range records {
		r := Record{Timestamp: rnd.Int64N(1 << 41), Key: text(40), Value: text(2000), Attributes: int8(rnd.IntN(256) - 128)}
		if rnd.IntN(100) == 0 {
			r.Value = text(300_000)
		}
		for range rnd.IntN(4) {
			h := RecordHeader{Key: text(20), Value: text(20)}
			if h.Key == nil {
				h.Key = []byte{}
			}
			r.Headers = append(r.Headers, h)
		}
		records[i] = r
	}
	return records
}

func sameRecord(a, b Record) bool {
	same := func(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
	return a.Timestamp == b.Timestamp && a.Attributes == b.Attributes && same(a.Key, b.Key) && same(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b RecordHeader) bool { return same(a.Key, b.Key) && same(a.Value, b.Value) })
}

func TestRoundTripOfEveryCodec(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	d, c := &Decompressor{}, NewCompressor()
	levels := map[Codec][]int{
		CodecNone: {0}, CodecGzip: {LevelDefault, -1, 1, 9}, CodecSnappy: {0},
		CodecLz4: {LevelDefault, 1, 9, 17}, CodecZstd: {LevelDefault, -5, 1, 3, 9, 22},
	}
	var buf []byte
	for range 3 {
		records := someRecords(rnd, 1+rnd.IntN(150))
		for codec := CodecNone; codec <= CodecZstd; codec++ {
			for _, level := range levels[codec] {
				o := NewBuilderOptions()
				o.Codec, o.Level, o.Compressor, o.BaseOffset = codec, level, c, 1<<40
				builder := NewBuilder(o)
				for _, r := range records {
					builder.Append(r)
				}
				uncompressed := builder.Len()
				buf = builder.Build(buf[:0])
				b, rest, err := Next(buf)
				if err != nil || len(rest) > 0 {
					t.Fatal(err)
				}
				if err := b.CheckCRC(); err != nil {
					t.Fatal(err)
				}
				if codec == CodecNone && len(b) != uncompressed {
					t.Errorf("Len said %d, the batch has %d bytes", uncompressed, len(b))
				}
				i := 0
				for r, err := range b.Records(d) {
					if err != nil {
						t.Fatalf("%v level %d: %v", codec, level, err)
					}
					if !sameRecord(r, records[i]) || r.Offset != 1<<40+int64(i) {
						t.Fatalf("%v level %d, record %d: %+v, want %+v", codec, level, i, r, records[i])
					}
					i++
				}
				if i != len(records) {
					t.Fatalf("%d records of %d", i, len(records))
				}
				for to := CodecNone; to <= CodecZstd; to++ {
					out, err := Recompress([]byte("x"), b, to, LevelDefault, d, c)
					if err != nil {
						t.Fatal(err)
					}
					again, err := Recompress(nil, out[1:], CodecNone, 0, d, c)
					if err != nil {
						t.Fatal(err)
					}
					plain, err := Recompress(nil, b, CodecNone, 0, d, c)
					if err != nil || !bytes.Equal(again, plain) || Batch(out[1:]).Codec() != to || Batch(out[1:]).CheckCRC() != nil {
						t.Fatalf("%v to %v: %v", codec, to, err)
					}
				}
			}
		}
	}
}

func TestRecompressLeavesOutWhatABatchMadeAnewDoesNotHave(t *testing.T) {
	b := Batch(plainBatch(t))
	binary.BigEndian.PutUint16(b[offAttributes:], uint16(b.Attributes())|attrDeleteHorizon|0x200)
	b.sign()
	out, err := Recompress(nil, b, CodecGzip, LevelDefault, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := Batch(out).Attributes(); got != int16(CodecGzip) || Batch(out).CheckCRC() != nil {
		t.Fatalf("attributes %#x, want only the codec's", got)
	}
}

func TestNextAndParseHeaderTellWhatIsWrong(t *testing.T) {
	good := plainBatch(t)
	change := func(at int, bytes ...byte) []byte {
		b := slices.Clone(good)
		copy(b[at:], bytes)
		return b
	}
	for _, c := range []struct {
		name string
		buf  []byte
		want error
	}{
		{"good", good, nil},
		{"one byte", good[:1], ErrTorn},
		{"sixteen bytes", good[:16], ErrTorn},
		{"a header", good[:HeaderLen], ErrTorn},
		{"one byte short", good[:len(good)-1], ErrTorn},
		{"zeros, as a crash leaves them", make([]byte, 100), ErrCorrupt},
		{"negative offset", change(0, 0x80), ErrCorrupt},
		{"negative length", change(8, 0xff), ErrCorrupt},
		{"length below a header", change(8, 0, 0, 0, 48), ErrCorrupt},
		{"length 2 GiB", change(8, 0x7f, 0xff, 0xff, 0xff), ErrTorn},
		{"magic 0", change(16, 0), ErrMagic},
		{"magic 1", change(16, 1), ErrMagic},
		{"magic 3", change(16, 3), ErrCorrupt},
		{"magic -1", change(16, 0xff), ErrCorrupt},
	} {
		b, rest, err := Next(c.buf)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: Next says %v, want %v", c.name, err, c.want)
		}
		if err != nil && (b != nil || len(rest) != len(c.buf)) {
			t.Errorf("%s: with an error Next gave %d bytes and %d to go", c.name, len(b), len(rest))
		}
		if _, err := ParseHeader(c.buf); len(c.buf) < HeaderLen && err == nil || c.want != nil && c.want != ErrTorn && !errors.Is(err, c.want) {
			t.Errorf("%s: ParseHeader says %v, want %v", c.name, err, c.want)
		}
	}
	if b, rest, err := Next(nil); b != nil || rest != nil || err != nil {
		t.Errorf("nothing: %v %v %v", b, rest, err)
	}
	two := append(slices.Clone(good), good...)
	b, rest, err := Next(two)
	if err != nil || !bytes.Equal(b, good) || !bytes.Equal(rest, good) {
		t.Errorf("two batches: %v", err)
	}
	_ = append(b, 0xee) // must not reach into the second
	if rest[0] != good[0] {
		t.Error("a batch has capacity beyond its end")
	}
}

func plainBatch(t testing.TB) Batch {
	t.Helper()
	b := NewBuilder(NewBuilderOptions())
	b.Append(Record{Timestamp: 1000, Key: []byte("k"), Value: []byte("v")})
	b.Append(Record{Timestamp: 900, Key: []byte("k2")})
	return b.Build(nil)
}

func TestPatching(t *testing.T) {
	b := plainBatch(t)
	b.SetBaseOffset(1 << 50)
	b.SetLeaderEpoch(77)
	if err := b.CheckCRC(); err != nil {
		t.Errorf("offset and epoch lie outside of the CRC: %v", err)
	}
	if b.LastOffset() != 1<<50+1 || b.NextOffset() != 1<<50+2 || b.LeaderEpoch() != 77 {
		t.Errorf("%v", b)
	}
	b.SetMaxTimestamp(5000, true)
	if err := b.CheckCRC(); err != nil || !b.LogAppendTime() || b.MaxTimestamp() != 5000 {
		t.Errorf("append time: %v, %v", b, err)
	}
	for r, err := range b.Records(nil) {
		if err != nil || r.Timestamp != 5000 {
			t.Errorf("%+v %v", r, err)
		}
	}
	b.SetMaxTimestamp(1000, false)
	if err := b.CheckCRC(); err != nil || b.LogAppendTime() {
		t.Errorf("create time again: %v, %v", b, err)
	}
	for i := offAttributes; i < len(b); i++ {
		b[i] ^= 4
		if err := b.CheckCRC(); !errors.Is(err, ErrCRC) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		b[i] ^= 4
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct{ base, n, want int32 }{
		{0, 0, 0}, {5, 10, 15}, {math.MaxInt32, 0, math.MaxInt32}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 2, 5, 2},
	} {
		if got := AddSequence(c.base, c.n); got != c.want {
			t.Errorf("%d records after sequence %d: %d, want %d", c.n, c.base, got, c.want)
		}
	}
}

func TestHolesOfCompaction(t *testing.T) {
	b := NewBuilder(NewBuilderOptions())
	for _, delta := range []int32{2, 3, 9} {
		b.AppendAt(Record{OffsetDelta: delta, Timestamp: 5})
	}
	batch := Batch(b.Build(nil))
	var offsets []int64
	for r, err := range batch.Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, r.Offset)
	}
	if !slices.Equal(offsets, []int64{2, 3, 9}) || batch.LastOffset() != 9 || batch.Count() != 3 {
		t.Errorf("%v in %v", offsets, batch)
	}
}

func TestVarints(t *testing.T) {
	for _, v := range []int64{0, -1, 1, -2, 63, -64, 64, -65, 8191, 8192, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64} {
		enc := appendVarlong(nil, v)
		if len(enc) != varlongLen(v) {
			t.Errorf("%d takes %d bytes, not %d", v, len(enc), varlongLen(v))
		}
		if twin := binary.AppendVarint(nil, v); !bytes.Equal(twin, enc) {
			t.Errorf("%d is %x, encoding/binary writes %x", v, enc, twin)
		}
		if got, n := varlong(append(enc, 0xff)); got != v || n != len(enc) {
			t.Errorf("%d read as %d from %d bytes", v, got, n)
		}
		for cut := range enc {
			if _, n := varlong(enc[:cut]); n != 0 {
				t.Errorf("%d cut to %d bytes: %d", v, cut, n)
			}
		}
		if int64(int32(v)) == v {
			if got, n := varint(enc); int64(got) != v || n != len(enc) {
				t.Errorf("%d read as varint %d from %d bytes", v, got, n)
			}
		}
	}
	if _, n := varint([]byte{0x80, 0x80, 0x80, 0x80, 0x80, 0}); n != -1 {
		t.Error("six bytes are no varint")
	}
}

// TestDecompressedSizeIsCapped sends bombs: little that becomes much.
func TestDecompressedSizeIsCapped(t *testing.T) {
	zeros := make([]byte, 8<<20)
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		bomb, err := NewCompressor().Append(nil, zeros, codec, LevelDefault)
		if err != nil {
			t.Fatal(err)
		}
		d := &Decompressor{MaxBytes: 1 << 20}
		out, err := d.Append(nil, bomb, codec)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%v: %d bytes out of %d: %v", codec, len(out), len(bomb), err)
		}
		if len(out) > 2<<20 {
			t.Errorf("%v: %d bytes were made before it was noticed", codec, len(out))
		}
		d.MaxBytes = 0
		if out, err = d.Append(nil, bomb, codec); err != nil || !bytes.Equal(out, zeros) {
			t.Errorf("%v: afterwards %d bytes, %v", codec, len(out), err)
		}
	}
}

// TestBombsCostNoMemory validates a batch whose one record is huge when decompressed: a window is held of it.
func TestBombsCostNoMemory(t *testing.T) {
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		payload := sized(rec("\x00", 0, 0, -1, 32<<20, make([]byte, 32<<20), 0))
		bomb := raw{payload: payload, codec: codec, count: 1, lastDelta: 0}.build(t)
		o := caseOptions(t, "9", "", fmt.Sprint(caseNow))
		o.MaxBatchBytes = 0
		d := &Decompressor{}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := Validate(bomb, o, d)
		runtime.ReadMemStats(&after)
		if err != nil || v.Bytes != int64(len(payload)) {
			t.Fatal(codec, v.Bytes, err)
		}
		grew := after.TotalAlloc - before.TotalAlloc
		kept := cap(d.carry) + cap(d.lz4.block) + cap(d.snappy.block) + cap(d.window)
		if grew > 12<<20 || kept > 1<<20 {
			t.Errorf("%v: %d bytes allocated for a window, %d kept", codec, grew, kept)
		}
	}
}

func TestZstdOfLargeWindows(t *testing.T) {
	// A frame that claims a window of 64 MiB and holds one raw block of 5 bytes, as zstd's highest levels do for
	// whatever they are given.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 5<<3 | 1, 0, 0, 'h', 'e', 'l', 'l', 'o'}
	var pool Pool
	d := pool.Get()
	out, err := d.Append(nil, frame, CodecZstd)
	if err != nil || string(out) != "hello" {
		t.Errorf("%q, %v", out, err)
	}
	// One that says it holds 1 GiB.
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x40, 5<<3 | 1, 0, 0, 'h', 'e', 'l', 'l', 'o'}
	if _, err := d.Append(nil, claim, CodecZstd); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a claim of 1 GiB: %v", err)
	}
	pool.Put(d)
}

func TestXXH32(t *testing.T) {
	for text, want := range map[string]uint32{
		"":    0x02cc5d05,
		"a":   0x550d7456,
		"abc": 0x32d153ff,
		"Nobody inspects the spammish repetition": 0xe2293b2f,
	} {
		if got := xxh32([]byte(text)); got != want {
			t.Errorf("%q: %08x, want %08x", text, got, want)
		}
	}
}

func TestCodecNames(t *testing.T) {
	for codec := CodecNone; codec <= CodecZstd; codec++ {
		if got, err := ParseCodec(codec.String()); err != nil || got != codec {
			t.Errorf("%v: %v %v", codec, got, err)
		}
	}
	if c, err := ParseCodec("uncompressed"); c != CodecNone || err != nil {
		t.Error(c, err)
	}
	for _, name := range []string{"producer", "", "ZSTD", "brotli"} {
		if _, err := ParseCodec(name); err == nil || !strings.Contains(err.Error(), "zstd") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

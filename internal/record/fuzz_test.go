package record

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// seeds are all batches that the goldens know of, good and bad.
func seeds(f *testing.F) {
	for _, g := range goldens(f) {
		if len(g.bytes) < 10_000 {
			f.Add(g.bytes)
		}
	}
	for _, c := range validateCases(f) {
		if len(c.sent) < 10_000 {
			f.Add(c.sent)
		}
	}
}

// bounded runs what reads some bytes and fails if it allocates more than they may cost: a constant for windows and
// tables of the codecs, and a few times what the bytes can decompress to.
func bounded(t *testing.T, n int, read func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	read()
	runtime.ReadMemStats(&after)
	if grew := after.TotalAlloc - before.TotalAlloc; grew > uint64(40<<20+1000*n) {
		t.Errorf("%d bytes of input cost %d", n, grew)
	}
}

func FuzzNext(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, buf []byte) {
		for rest := buf; ; {
			b, after, err := Next(rest)
			if err != nil {
				known := errors.Is(err, ErrTorn) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrMagic)
				if !known || len(after) != len(rest) {
					t.Fatal(err)
				}
				return
			}
			if b == nil {
				return
			}
			if len(b) != b.Length() || len(b)+len(after) != len(rest) {
				t.Fatalf("%d of %d bytes, %d to go", len(b), len(rest), len(after))
			}
			h, err := ParseHeader(b)
			if err != nil || h.LastOffset() != b.LastOffset() || h.LastSequence() != b.LastSequence() {
				t.Fatal(err)
			}
			_ = h.String()
			rest = after
		}
	})
}

func FuzzRecords(f *testing.F) {
	seeds(f)
	d := &Decompressor{MaxBytes: 1 << 20}
	f.Fuzz(func(t *testing.T, buf []byte) {
		bounded(t, len(buf), func() {
			if b, _, err := Next(buf); err == nil && b != nil {
				n := 0
				for r, err := range b.Records(d) {
					if err != nil {
						break
					}
					n += len(r.Key) + len(r.Value) + minRecordBytes
				}
				if n > 1<<20 {
					t.Errorf("%d bytes of records where 1 MiB is the most", n)
				}
				_, _, _ = b.Marker(d)
			}
			_, _ = ParseMessageHeader(buf)
			if m, _, err := NextMessage(buf); err == nil && m != nil {
				for _, err := range m.Records(d) {
					if err != nil {
						break
					}
				}
				if out, err := m.Converted(nil, 0, d, nil); err == nil {
					for _, err := range Batch(out).Records(d) {
						if err != nil {
							t.Fatal("what was converted cannot be read:", err)
						}
					}
				}
			}
		})
	})
}

func FuzzValidate(f *testing.F) {
	seeds(f)
	d := &Decompressor{}
	f.Fuzz(func(t *testing.T, buf []byte) {
		// The CRC would keep the fuzzer out of the records.
		if length, found, err := split(buf); err == nil && found && length >= HeaderLen {
			Batch(buf[:length]).sign()
		}
		for _, o := range []ValidateOptions{
			{ProduceVersion: 9, Compacted: true, Now: caseNow, BeforeMaxMs: 1000, AfterMaxMs: 1000, MaxBytes: 1 << 20},
			{ProduceVersion: 9, LogAppendTime: true, Now: caseNow, BeforeMaxMs: 1 << 62, AfterMaxMs: 1 << 62, MaxBytes: 1 << 20, MaxRecordBytes: 5000},
		} {
			bounded(t, len(buf), func() {
				// A producer that says "log append time" where the topic has create time is believed about the
				// max timestamp, by Kafka too, though the records have others.
				believed := len(buf) >= HeaderLen && Batch(buf).LogAppendTime() && !o.LogAppendTime
				v, err := Validate(buf, &o, d)
				if err != nil {
					var invalid *InvalidError
					if !errors.As(err, &invalid) || kafka.CodeOf(err) == kafka.None {
						t.Fatalf("%T: %v", err, err)
					}
					return
				}
				// What passed must be readable to the end, and be what was said of it.
				b := v.Batch
				if v.Renumber {
					fixed, err := Renumbered(nil, b, b.Codec(), LevelDefault, d, nil)
					if err != nil {
						t.Fatal(err)
					}
					b = fixed
				}
				if err := b.CheckCRC(); err != nil {
					t.Fatal(err)
				}
				i := int32(0)
				most := NoTimestamp
				for r, err := range b.Records(d) {
					if err != nil {
						t.Fatal(err)
					}
					if r.OffsetDelta != i || o.Compacted && r.Key == nil {
						t.Fatalf("record %d: %+v", i, r)
					}
					most = max(most, r.Timestamp)
					i++
				}
				if i != v.Count || most != v.MaxTimestamp && !believed || b.MaxTimestamp() != v.MaxTimestamp {
					t.Fatalf("%d records, max timestamp %d: %+v", i, most, v)
				}
			})
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		b, err := NewCompressor().Append(nil, []byte(fmt.Sprint(caseNow, "hello hello hello hello", codec)), codec, LevelDefault)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int8(codec), b)
	}
	d := &Decompressor{MaxBytes: 1 << 20}
	f.Fuzz(func(t *testing.T, codec int8, buf []byte) {
		bounded(t, len(buf), func() {
			out, err := d.Append(nil, buf, Codec(codec&7))
			if err != nil && !errors.Is(err, ErrDecompress) && !errors.Is(err, ErrTooLarge) {
				t.Fatalf("%T: %v", err, err)
			}
			if len(out) > 1<<20 {
				t.Fatalf("%d bytes where 1 MiB is the most", len(out))
			}
		})
	})
}

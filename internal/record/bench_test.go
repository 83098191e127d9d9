package record

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// benchBatch is some 100 KB of JSON-like records of 1 KB, compressed.
func benchBatch(codec Codec, records int) Batch {
	rnd := rand.New(rand.NewPCG(1, 2))
	o := NewBuilderOptions()
	o.Codec = codec
	b := NewBuilder(o)
	for i := range records {
		value := make([]byte, 0, 1100)
		for len(value) < 1000 {
			value = fmt.Appendf(value, `{"id":%d,"user":"user-%d","amount":%.2f,"status":"%s","at":"2026-11-%02dT%02d:00:00Z"},`,
				rnd.IntN(1_000_000), rnd.IntN(5000), rnd.Float64()*1000, []string{"open", "paid", "shipped", "returned"}[rnd.IntN(4)], 1+rnd.IntN(28), rnd.IntN(24))
		}
		b.Append(Record{Timestamp: caseNow + int64(i), Key: fmt.Appendf(nil, "key-%d", i), Value: value})
	}
	return b.Build(nil)
}

func BenchmarkValidate(b *testing.B) {
	for codec := CodecNone; codec <= CodecZstd; codec++ {
		for _, records := range []int{100, 1000} {
			b.Run(fmt.Sprintf("%v/%dKB", codec, records), func(b *testing.B) {
				batch := benchBatch(codec, records)
				batch.SetMaxTimestamp(caseNow+int64(records-1), false)
				o := caseOptions(b, "9", "", fmt.Sprint(caseNow))
				o.MaxBatchBytes = 0
				var pool Pool
				d := pool.Get()
				v, err := Validate(batch, o, d)
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(v.Bytes)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Validate(batch, o, d); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkValidateSmall is of records of 100 bytes without a key, where the work is by record and not by byte.
func BenchmarkValidateSmall(b *testing.B) {
	builder := NewBuilder(NewBuilderOptions())
	for i := range 1000 {
		builder.Append(Record{Timestamp: caseNow + int64(i), Value: make([]byte, 100)})
	}
	batch := builder.Build(nil)
	o := caseOptions(b, "9", "", fmt.Sprint(caseNow))
	o.MaxBatchBytes = 0
	d := &Decompressor{}
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Validate(batch, o, d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	for codec := CodecNone; codec <= CodecZstd; codec++ {
		b.Run(codec.String(), func(b *testing.B) {
			batch := benchBatch(codec, 100)
			d := &Decompressor{}
			b.SetBytes(100_000)
			b.ReportAllocs()
			for b.Loop() {
				for _, err := range batch.Records(d) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkCheckCRC(b *testing.B) {
	batch := benchBatch(CodecNone, 100)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for b.Loop() {
		if err := batch.CheckCRC(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecompress(b *testing.B) {
	from := benchBatch(CodecNone, 100)
	for codec := CodecGzip; codec <= CodecZstd; codec++ {
		b.Run(codec.String(), func(b *testing.B) {
			d, c := &Decompressor{}, NewCompressor()
			var out []byte
			b.SetBytes(int64(len(from)))
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if out, err = Recompress(out[:0], from, codec, LevelDefault, d, c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestValidateMakesNoGarbage is goal 22's other half: nothing is allocated per batch, let alone per record.
func TestValidateMakesNoGarbage(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	for codec := CodecNone; codec <= CodecZstd; codec++ {
		batch := benchBatch(codec, 100)
		o := &ValidateOptions{Partition: kafka.TopicPartition{Topic: "t"}, ProduceVersion: 9, Now: caseNow, BeforeMaxMs: 1 << 62, AfterMaxMs: 1 << 62}
		d := &Decompressor{}
		allocs := testing.AllocsPerRun(50, func() {
			if _, err := Validate(batch, o, d); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 1 {
			t.Errorf("%v: %v allocations to validate a batch of 100 records", codec, allocs)
		}
	}
}

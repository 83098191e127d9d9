package commitlog

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/record"
)

// verdict is what validation leaves for the append.
type verdict struct {
	batches      []byte // as they are to be stored, but for offsets and epoch
	maxTimestamp int64
	records      int
	producer     bool // a batch has a producer id
	rebuilt      *[]byte
}

// release gives back the memory of rebuilt batches.
func (v *verdict) release() {
	if v.rebuilt != nil && cap(*v.rebuilt) <= 4<<20 {
		rebuilds.Put(v.rebuilt)
	}
	v.rebuilt = nil
}

var (
	decompressors record.Pool
	compressors   = sync.Pool{New: func() any { return record.NewCompressor() }}
	rebuilds      = sync.Pool{New: func() any { return new([]byte) }}
)

// validate judges what is to be appended, without any lock. Clients send one batch; others may send several.
func (l *Log) validate(records []byte, a *AppendOptions, c *Config, now time.Time, v *verdict) error {
	o := record.ValidateOptions{
		Partition: l.tp, Internal: a.Origin != Client, ProduceVersion: a.ProduceVersion,
		MaxBatchBytes: c.MaxMessageBytes, MaxRecordBytes: c.MaxDecompressedMessageBytes,
		Compacted: c.Compact, LogAppendTime: c.LogAppendTime, Now: now.UnixMilli(),
		BeforeMaxMs: c.TimestampBeforeMax, AfterMaxMs: c.TimestampAfterMax,
	}
	v.maxTimestamp = record.NoTimestamp
	d := decompressors.Get()
	defer decompressors.Put(d)
	if a.Origin == Client {
		valid, err := record.Validate(records, &o, d)
		if err != nil {
			return err
		}
		v.take(&valid)
		v.batches = valid.Batch
		return v.rebuild(&valid, c, d)
	}
	o.Compacted = false
	o.MaxBatchBytes = 0
	for rest := records; ; {
		b, after, err := record.Next(rest)
		if err != nil || b == nil {
			if len(v.batches) > 0 && err == nil {
				return nil
			}
			b, after = rest, nil // let the validator say what is wrong
		}
		valid, err := record.Validate(b, &o, d)
		if err != nil {
			return err
		}
		v.take(&valid)
		v.batches = records[:len(records)-len(after)]
		rest = after
	}
}

func (v *verdict) take(valid *record.Valid) {
	v.maxTimestamp = max(v.maxTimestamp, valid.MaxTimestamp)
	v.records += int(valid.Count)
	v.producer = v.producer || valid.Batch.ProducerID() >= 0
}

// rebuild makes the batch anew when its records must be stored otherwise than they came: by compression.type, or
// since the client numbered them wrongly.
func (v *verdict) rebuild(valid *record.Valid, c *Config, d *record.Decompressor) error {
	b := valid.Batch
	codec, level := b.Codec(), record.LevelDefault
	if c.Recompress {
		codec, level = c.Codec, c.Level
	}
	if codec == b.Codec() && !valid.Renumber {
		return nil
	}
	// Kafka's answer to both is UNKNOWN_SERVER_ERROR.
	if b.ProducerID() >= 0 && b.ProducerEpoch() < 0 {
		return fmt.Errorf("a batch of producer %d without an epoch cannot be built anew", b.ProducerID())
	}
	if valid.BeforeTime {
		return fmt.Errorf("a batch with a negative timestamp cannot be built anew")
	}
	compressor := compressors.Get().(*record.Compressor)
	defer compressors.Put(compressor)
	v.rebuilt = rebuilds.Get().(*[]byte)
	var err error
	if valid.Renumber {
		*v.rebuilt, err = record.Renumbered((*v.rebuilt)[:0], b, codec, level, d, compressor)
	} else {
		*v.rebuilt, err = record.Recompress((*v.rebuilt)[:0], b, codec, level, d, compressor)
	}
	if err != nil {
		v.release()
		return err
	}
	v.batches = *v.rebuilt
	if size := len(v.batches); c.MaxMessageBytes > 0 && size > int(c.MaxMessageBytes) {
		v.release()
		return tooLarge(size, c.MaxMessageBytes)
	}
	return nil
}

// markerOf reads the control record that ends a transaction:
//
//	key    0         2      4          value  0         2                   6
//	       +---------+------+                 +---------+-------------------+
//	       | version | type |                 | version | coordinator epoch |
//	       +---------+------+                 +---------+-------------------+
//
// type 0 aborts, 1 commits; others are of the quorum. All big-endian.
func markerOf(batch []byte, h *record.Header) endMarker {
	if !h.Control() || h.Count == 0 {
		return endMarker{}
	}
	for r, err := range record.Batch(batch).Records(nil) {
		if err != nil || len(r.Key) < 4 || len(r.Value) < 6 {
			return endMarker{}
		}
		kind := binary.BigEndian.Uint16(r.Key[2:])
		return endMarker{found: kind <= 1, commit: kind == 1, coordinatorEpoch: int32(binary.BigEndian.Uint32(r.Value[2:]))}
	}
	return endMarker{}
}

package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// BuilderOptions say what stands in the header of the batches that a Builder makes. NewBuilderOptions has the
// values that mean "none".
type BuilderOptions struct {
	Codec         Codec
	Level         int         // LevelDefault, or a level of the codec
	Compressor    *Compressor // nil: the Builder makes its own when it needs one
	BaseOffset    int64
	LeaderEpoch   int32
	ProducerID    int64
	ProducerEpoch int16
	BaseSequence  int32
	Transactional bool
	Control       bool
	LogAppendTime bool  // every record gets AppendTime
	AppendTime    int64 // milliseconds
}

// NewBuilderOptions returns options for plain records: no codec, no producer, no epoch.
func NewBuilderOptions() BuilderOptions {
	return BuilderOptions{
		Level: LevelDefault, LeaderEpoch: NoLeaderEpoch,
		ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence,
	}
}

// Builder makes a batch. It is not safe for concurrent use.
type Builder struct {
	opts          BuilderOptions
	payload       []byte // records, uncompressed
	count         int32
	lastDelta     int32
	baseTimestamp int64
	maxTimestamp  int64
}

// NewBuilder returns a Builder of one batch.
func NewBuilder(opts BuilderOptions) *Builder {
	b := &Builder{}
	b.Reset(opts)
	return b
}

// Reset begins a new batch and keeps the memory of the old one.
func (b *Builder) Reset(opts BuilderOptions) {
	if opts.Compressor == nil {
		opts.Compressor = b.opts.Compressor
	}
	*b = Builder{opts: opts, payload: b.payload[:0], lastDelta: -1, baseTimestamp: NoTimestamp, maxTimestamp: NoTimestamp}
}

// Append adds a record; its bytes are copied. Offset and OffsetDelta are not looked at: the offset is the one after
// the last. The timestamp of the first record is the batch's base timestamp.
func (b *Builder) Append(r Record) { b.appendAt(&r, b.lastDelta+1) }

// AppendAt adds a record that keeps its r.OffsetDelta, as compaction does, which leaves holes. Deltas must rise.
func (b *Builder) AppendAt(r Record) {
	if r.OffsetDelta <= b.lastDelta {
		panic(fmt.Sprintf("record: offset delta %d after %d", r.OffsetDelta, b.lastDelta))
	}
	b.appendAt(&r, r.OffsetDelta)
}

func (b *Builder) appendAt(r *Record, delta int32) {
	ts := r.Timestamp
	if b.opts.LogAppendTime {
		ts = b.opts.AppendTime
	}
	if b.count == 0 {
		b.baseTimestamp = ts
	}
	b.payload = appendRecord(b.payload, r, delta, ts-b.baseTimestamp)
	b.maxTimestamp = max(b.maxTimestamp, ts)
	b.lastDelta = delta
	b.count++
}

// Count is the number of records so far.
func (b *Builder) Count() int { return int(b.count) }

// Len is the size in bytes of the batch so far, uncompressed.
func (b *Builder) Len() int { return HeaderLen + len(b.payload) }

// Cap is the size of the batch up to which the Builder has memory.
func (b *Builder) Cap() int { return HeaderLen + cap(b.payload) }

// Build appends the batch to dst and returns it with dst before it. It can be called once per batch; a batch without
// records is legal only from compaction, and then carries no timestamp.
func (b *Builder) Build(dst []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, HeaderLen+len(b.payload))[:start+HeaderLen]
	codec := b.opts.Codec
	if codec == CodecNone || b.count == 0 {
		codec = CodecNone
		dst = append(dst, b.payload...)
	} else {
		if b.opts.Compressor == nil {
			b.opts.Compressor = NewCompressor()
		}
		out, err := b.opts.Compressor.Append(dst, b.payload, codec, b.opts.Level)
		if err != nil {
			panic(fmt.Sprintf("record: %v: %v", codec, err)) // an impossible codec or level: the caller's to check
		}
		dst = out
	}
	h := Header{
		BaseOffset: b.opts.BaseOffset, Length: len(dst) - start, LeaderEpoch: b.opts.LeaderEpoch,
		Attributes: int16(codec), LastOffsetDelta: b.lastDelta, BaseTimestamp: b.baseTimestamp, MaxTimestamp: b.maxTimestamp,
		ProducerID: b.opts.ProducerID, ProducerEpoch: b.opts.ProducerEpoch, BaseSequence: b.opts.BaseSequence, Count: b.count,
	}
	if b.opts.LogAppendTime {
		h.Attributes |= attrLogAppendTime
		h.MaxTimestamp = b.opts.AppendTime
	}
	if b.opts.Transactional {
		h.Attributes |= attrTransactional
	}
	if b.opts.Control {
		h.Attributes |= attrControl
	}
	h.put(dst[start:])
	Batch(dst[start:]).sign()
	return dst
}

// put writes the header over the first HeaderLen bytes of dst. The CRC is the one in h.
func (h *Header) put(dst []byte) {
	if h.Length-LogOverhead > math.MaxInt32 {
		panic("record: a batch beyond 2 GiB")
	}
	be := binary.BigEndian
	be.PutUint64(dst[offBaseOffset:], uint64(h.BaseOffset))
	be.PutUint32(dst[offLength:], uint32(h.Length-LogOverhead))
	be.PutUint32(dst[offLeaderEpoch:], uint32(h.LeaderEpoch))
	dst[offMagic] = 2
	be.PutUint32(dst[offCRC:], h.CRC)
	be.PutUint16(dst[offAttributes:], uint16(h.Attributes))
	be.PutUint32(dst[offLastOffsetDelta:], uint32(h.LastOffsetDelta))
	be.PutUint64(dst[offBaseTimestamp:], uint64(h.BaseTimestamp))
	be.PutUint64(dst[offMaxTimestamp:], uint64(h.MaxTimestamp))
	be.PutUint64(dst[offProducerID:], uint64(h.ProducerID))
	be.PutUint16(dst[offProducerEpoch:], uint16(h.ProducerEpoch))
	be.PutUint32(dst[offBaseSequence:], uint32(h.BaseSequence))
	be.PutUint32(dst[offCount:], uint32(h.Count))
}

// Recompress appends to dst the batch with its records compressed by another codec, or by the same one again, and
// returns it with dst before it. The records themselves are not looked at, and what the header says stays, but for
// attributes that a batch made anew does not have: a delete horizon, and those without a meaning. d and c may be nil. The errors are those of decompression.
func Recompress(dst []byte, b Batch, codec Codec, level int, d *Decompressor, c *Compressor) ([]byte, error) {
	if d == nil {
		d = &Decompressor{}
	}
	if c == nil {
		c = NewCompressor()
	}
	payload := b.Payload()
	if b.Codec() != CodecNone {
		var err error
		if c.scratch, err = d.Append(c.scratch[:0], payload, b.Codec()); err != nil {
			return dst, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		payload = c.scratch
		defer func() {
			if cap(c.scratch) > keepBytes {
				c.scratch = nil
			}
		}()
	}
	start := len(dst)
	dst = append(dst, b[:HeaderLen]...)
	out, err := c.Append(dst, payload, codec, level)
	if err != nil {
		return dst[:start], err
	}
	to := Batch(out[start:])
	binary.BigEndian.PutUint32(to[offLength:], uint32(len(to)-LogOverhead))
	binary.BigEndian.PutUint16(to[offAttributes:], uint16(b.Attributes()&attrKnown&^(attrDeleteHorizon|attrCodec)|int16(codec)))
	to.sign()
	return out, nil
}

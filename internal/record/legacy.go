package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
)

// Messages of magic 0 and 1, as logs from before Kafka 0.11 hold them (KIP-31, KIP-32). Nobody writes them any more
// (KIP-724); they are served as they are, since every client can read them. All integers are big-endian.
//
//	 0        8      12     16    17   18          26 (v0: 18)
//	+--------+------+-----+-----+----+-----------+---------+-----+-----------+-------+
//	| offset | size | CRC |magic|attr| timestamp | key len | key | value len | value |
//	| 8      | 4    | 4   | 1   | 1  | 8, v1 only| 4       |     | 4         |       |
//	+--------+------+-----+-----+----+-----------+---------+-----+-----------+-------+
//	                |<------------------------- size ------------------------------->|
//	                      |<------------- covered by the CRC (IEEE) ---------------->|
//
//	attr  bits 0-2 codec, bit 3 timestamp type (v1)
//
// A message with a codec is a wrapper: its value is compressed messages of the same layout, and its offset is that
// of the last one. Inside a wrapper of v1 offsets are relative, counted from that of the first message; inside one
// of v0 they are absolute. With log append time the wrapper's timestamp is that of all.
const (
	offLegacyCRC        = 12
	offLegacyAttributes = 17
	offLegacyTimestamp  = 18

	// minLegacyLen is the smallest size field of any format: a message of v0 with neither key nor value.
	minLegacyLen = 14
)

// Message is the bytes of one outer message of magic 0 or 1. It is a view, like Batch. Messages come from
// NextMessage.
type Message []byte

// NextMessage splits the first message of an old format off buf. An empty buf gives (nil, nil, nil). The errors are
// ErrTorn, a *CorruptError, or a *MagicError for a batch of magic 2, which is Next's to split.
func NextMessage(buf []byte) (m Message, rest []byte, err error) {
	if len(buf) == 0 {
		return nil, nil, nil
	}
	size, err := messageSize(buf)
	if err != nil {
		return nil, buf, err
	}
	if size > len(buf) {
		return nil, buf, fmt.Errorf("message at offset %d: %w: %d of %d bytes", Message(buf).Offset(), ErrTorn, len(buf), size)
	}
	m = Message(buf[:size:size])
	if _, _, ok := m.fields(); !ok {
		return nil, buf, corrupt(m.Offset(), "key and value of an old message do not fit its size")
	}
	return m, buf[size:], nil
}

func messageSize(buf []byte) (int, error) {
	if len(buf) <= offMagic {
		return 0, fmt.Errorf("%w: %d bytes, less than the start of a header", ErrTorn, len(buf))
	}
	offset, size, magic := Message(buf).Offset(), int32(binary.BigEndian.Uint32(buf[offLength:])), int8(buf[offMagic])
	switch {
	case offset < 0:
		return 0, corrupt(offset, "the offset is negative")
	case magic == 2:
		return 0, &MagicError{Offset: offset, Magic: magic}
	case magic != 0 && magic != 1:
		return 0, corrupt(offset, fmt.Sprintf("the magic is %d", magic))
	case size < minLegacyLen+8*int32(magic):
		return 0, corrupt(offset, fmt.Sprintf("the size field is %d, less than a message of magic %d has", size, magic))
	}
	return int(size) + LogOverhead, nil
}

// ParseMessageHeader decodes what can be known of a message of magic 0 or 1 from its first 26 bytes, in terms of a
// batch: BaseOffset is the message's offset, which for a wrapper is that of its last message, LastOffsetDelta is 0,
// MaxTimestamp is the timestamp of v1, and Count is -1. Its errors are those of NextMessage.
func ParseMessageHeader(buf []byte) (Header, error) {
	size, err := messageSize(buf)
	if err != nil {
		return Header{}, err
	}
	m := Message(buf)
	if len(buf) < offLegacyTimestamp+8*int(m.Magic()) {
		return Header{}, fmt.Errorf("message at offset %d: %w: %d bytes, less than a header", m.Offset(), ErrTorn, len(buf))
	}
	return Header{
		BaseOffset: m.Offset(), Length: size, LeaderEpoch: NoLeaderEpoch, Magic: m.Magic(), CRC: m.CRC(),
		Attributes:    int16(m.attributes() & (attrCodec | attrLogAppendTime)),
		BaseTimestamp: m.Timestamp(), MaxTimestamp: m.Timestamp(),
		ProducerID: NoProducerID, ProducerEpoch: NoProducerEpoch, BaseSequence: NoSequence, Count: -1,
	}, nil
}

// Offset is the message's offset; a wrapper's is that of the last message in it.
func (m Message) Offset() int64 { return int64(binary.BigEndian.Uint64(m)) }

// Magic is 0 or 1.
func (m Message) Magic() int8 { return int8(m[offMagic]) }

// CRC is the checksum that the message claims.
func (m Message) CRC() uint32 { return binary.BigEndian.Uint32(m[offLegacyCRC:]) }

func (m Message) attributes() byte { return m[offLegacyAttributes] }

// Codec is how a wrapper's messages are compressed; CodecNone for a message that is none.
func (m Message) Codec() Codec { return Codec(m.attributes() & attrCodec) }

// LogAppendTime reports whether the timestamp was given by the broker.
func (m Message) LogAppendTime() bool {
	return m.Magic() == 1 && m.attributes()&attrLogAppendTime != 0
}

// Timestamp is in milliseconds; -1 in magic 0, which has none.
func (m Message) Timestamp() int64 {
	if m.Magic() == 0 {
		return NoTimestamp
	}
	return int64(binary.BigEndian.Uint64(m[offLegacyTimestamp:]))
}

// SetOffset changes the offset, which the CRC does not cover.
func (m Message) SetOffset(offset int64) { binary.BigEndian.PutUint64(m, uint64(offset)) }

// SetTimestamp changes timestamp, timestamp type and CRC of a message of magic 1. Magic 0 has no timestamp: nothing
// happens.
func (m Message) SetTimestamp(ts int64, logAppendTime bool) {
	if m.Magic() == 0 || m.Timestamp() == ts && m.LogAppendTime() == logAppendTime {
		return
	}
	m[offLegacyAttributes] &^= attrLogAppendTime
	if logAppendTime {
		m[offLegacyAttributes] |= attrLogAppendTime
	}
	binary.BigEndian.PutUint64(m[offLegacyTimestamp:], uint64(ts))
	binary.BigEndian.PutUint32(m[offLegacyCRC:], m.computeCRC())
}

func (m Message) computeCRC() uint32 { return crc32.ChecksumIEEE(m[offMagic:]) }

// CheckCRC returns nil or an error that wraps ErrCRC. A wrapper's covers the messages in it.
func (m Message) CheckCRC() error {
	if want, got := m.CRC(), m.computeCRC(); want != got {
		return fmt.Errorf("message at offset %d: %w (stored %08x, computed %08x)", m.Offset(), ErrCRC, want, got)
	}
	return nil
}

// fields returns key and value; ok is false when they do not fill the message. As in Kafka, bytes beyond them are
// passed over.
func (m Message) fields() (key, value []byte, ok bool) {
	rest := m[offLegacyTimestamp+8*int(m.Magic()):]
	if key, rest, ok = legacyBytes(rest); ok {
		value, _, ok = legacyBytes(rest)
	}
	return key, value, ok
}

func legacyBytes(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, b, false
	}
	n := int(int32(binary.BigEndian.Uint32(b)))
	b = b[4:]
	if n < 0 {
		return nil, b, true
	}
	if n > len(b) {
		return nil, b, false
	}
	return b[:n:n], b[n:], true
}

// Records iterates over the message, or over those in a wrapper, with absolute offsets. The slices of a record are
// valid until the iteration goes on. d keeps the state of the decompressors; nil makes one.
func (m Message) Records(d *Decompressor) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for inner, err := range m.Messages(d) {
			if err != nil {
				yield(Record{}, err)
				return
			}
			key, value, _ := inner.fields()
			r := Record{Offset: inner.Offset(), Timestamp: inner.Timestamp(), Key: key, Value: value}
			if m.LogAppendTime() {
				r.Timestamp = m.Timestamp()
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Messages is Records as the messages that hold them: the message itself, or those in a wrapper with their offsets made
// absolute (the CRC does not cover them). A wrapper is decompressed twice when its offsets are relative, rather than
// held in memory.
func (m Message) Messages(d *Decompressor) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if d == nil {
			d = &Decompressor{}
		}
		fail := func(err error) { yield(nil, fmt.Errorf("message at offset %d: %w", m.Offset(), err)) }
		if m.Codec() == CodecNone {
			yield(m, nil)
			return
		}
		_, value, _ := m.fields()
		if value == nil || m.Codec() == CodecZstd {
			fail(malformed("a wrapper of %v without a value, or of a codec that it cannot have", m.Codec()))
			return
		}
		var base int64
		if m.Magic() == 1 && m.Offset() != 0 { // some producers left 0 there: then offsets count from 0
			last := int64(-1)
			for inner, err := range m.inner(d, value) {
				if err != nil {
					fail(err)
					return
				}
				last = inner.Offset()
			}
			if base = m.Offset() - last; base < 0 {
				fail(malformed("its offset is less than that of the last message in it, %d", last))
				return
			}
		}
		empty := true
		for inner, err := range m.inner(d, value) {
			if err != nil {
				fail(err)
				return
			}
			empty = false
			inner.SetOffset(base + inner.Offset())
			if !yield(inner, nil) {
				return
			}
		}
		if empty {
			fail(malformed("a wrapper around nothing"))
		}
	}
}

// inner iterates over the messages of a wrapper as they are.
func (m Message) inner(d *Decompressor, value []byte) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		src, err := d.open(value, m.Codec(), m.Magic())
		if err != nil {
			yield(nil, err)
			return
		}
		s := d.scanner(src)
		var buf []byte
		for {
			if err := s.more(); err == io.EOF {
				return
			}
			head, err := s.take(LogOverhead)
			if errors.Is(err, ErrRecord) {
				return // a torn last message: Kafka passes it over, and some producers wrote it
			}
			if err != nil {
				yield(nil, err)
				return
			}
			size := int(int32(binary.BigEndian.Uint32(head[offLength:])))
			if size < minLegacyLen {
				yield(nil, malformed("a message in it claims %d bytes", size))
				return
			}
			buf = append(buf[:0], head...)
			body, err := s.take(size)
			if errors.Is(err, ErrRecord) {
				return
			}
			if err != nil {
				yield(nil, err)
				return
			}
			buf = append(buf, body...)
			inner, _, err := NextMessage(buf)
			if err == nil && inner.Codec() != CodecNone {
				err = malformed("a wrapper inside a wrapper")
			}
			if !yield(inner, err) || err != nil {
				return
			}
		}
	}
}

// Converted appends to dst a batch of magic 2 that holds what the message holds: the same offsets, timestamps and
// codec. A codec that batches of now cannot have does not exist, so the only errors are those of reading.
func (m Message) Converted(dst []byte, leaderEpoch int32, d *Decompressor, c *Compressor) ([]byte, error) {
	o := NewBuilderOptions()
	o.Codec, o.Compressor, o.LeaderEpoch = m.Codec(), c, leaderEpoch
	o.LogAppendTime, o.AppendTime = m.LogAppendTime(), m.Timestamp()
	var b *Builder
	last := int64(-1)
	for r, err := range m.Records(d) {
		if err != nil {
			return dst, err
		}
		if b == nil {
			o.BaseOffset = r.Offset
			b = NewBuilder(o)
		}
		delta := r.Offset - o.BaseOffset
		if r.Offset <= last || delta != int64(int32(delta)) {
			return dst, fmt.Errorf("message at offset %d: %w", m.Offset(), malformed("offset %d after %d", r.Offset, last))
		}
		last = r.Offset
		r.OffsetDelta = int32(delta)
		b.AppendAt(r)
	}
	return b.Build(dst), nil
}

package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// A record batch of magic 2, the only one that is written (KIP-98). All integers are big-endian.
//
//	 0        8    12      16 17   21    23      27        35        43         51    53      57     61
//	+--------+----+-------+--+----+-----+-------+---------+---------+----------+-----+-------+------+---------
//	| base   |len |leader | 2|CRC | at- | last  | base    | max     | producer |pro- | base  |record| records
//	| offset |gth |epoch  |  |32C |trib.| offset| time-   | time-   | id       |ducer|sequen-|count | (one block
//	|        |    |       |  |    |     | delta | stamp   | stamp   |          |epoch|ce     |      | when comp.)
//	+--------+----+-------+--+----+-----+-------+---------+---------+----------+-----+-------+------+---------
//	              |<------------------------------- length --------------------------------------------------->
//	                              |<----------------------------- covered by the CRC ------------------------->
//
//	attributes  ...............|6|5|4|3|2 1 0|
//	                            | | | | codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd
//	                            | | | timestamp type: 0 create time, 1 log append time (max timestamp is everybody's)
//	                            | | transactional
//	                            | control batch
//	                            base timestamp is a delete horizon (KIP-534)
//
// Base offset and leader epoch lie outside the CRC: the leader assigns them in place.
const (
	// HeaderLen is the size of a batch without records.
	HeaderLen = 61
	// LogOverhead is what comes before the bytes that the length field counts: base offset and length.
	LogOverhead = 12

	offBaseOffset      = 0
	offLength          = 8
	offLeaderEpoch     = 12
	offMagic           = 16
	offCRC             = 17
	offAttributes      = 21
	offLastOffsetDelta = 23
	offBaseTimestamp   = 27
	offMaxTimestamp    = 35
	offProducerID      = 43
	offProducerEpoch   = 51
	offBaseSequence    = 53
	offCount           = 57
)

// Bits of a batch's attributes.
const (
	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
	attrDeleteHorizon = 0x40

	attrKnown = 0x7f
)

// Values that stand for "none" in a batch.
const (
	NoTimestamp     = int64(-1)
	NoProducerID    = int64(-1)
	NoProducerEpoch = int16(-1)
	NoSequence      = int32(-1)
	NoLeaderEpoch   = int32(-1)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Batch is the bytes of one whole batch of magic 2, from its base offset to its last record. It is a view: the
// methods read and patch the bytes in place. Batches come from Next and from Builder; the methods panic on fewer
// than HeaderLen bytes.
type Batch []byte

// BaseOffset is the offset of the first record the batch was made with.
func (b Batch) BaseOffset() int64 { return int64(binary.BigEndian.Uint64(b[offBaseOffset:])) }

// LastOffset is the offset of the last record the batch was made with; compaction may have taken it out.
func (b Batch) LastOffset() int64 { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset of the batch that follows.
func (b Batch) NextOffset() int64 { return b.LastOffset() + 1 }

// Length is the size of the batch in bytes as its header says, including the 12 bytes before the length field.
func (b Batch) Length() int { return int(int32(binary.BigEndian.Uint32(b[offLength:]))) + LogOverhead }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[offLeaderEpoch:])) }

// Magic is the version of the format: 2.
func (b Batch) Magic() int8 { return int8(b[offMagic]) }

// CRC is the checksum that the header claims.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[offCRC:]) }

// Attributes are the flags, as drawn above.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[offAttributes:])) }

// Codec is how the records are compressed. It may be a number that no codec has.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & attrCodec) }

// LogAppendTime reports whether all records have the batch's max timestamp, given by the leader.
func (b Batch) LogAppendTime() bool { return b.Attributes()&attrLogAppendTime != 0 }

// Transactional reports whether the batch is part of a transaction.
func (b Batch) Transactional() bool { return b.Attributes()&attrTransactional != 0 }

// Control reports whether the batch holds a control record, which clients do not see.
func (b Batch) Control() bool { return b.Attributes()&attrControl != 0 }

// HasDeleteHorizon reports whether the base timestamp is the time from which on compaction may drop the batch's
// tombstones or its marker (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&attrDeleteHorizon != 0 }

// LastOffsetDelta is LastOffset less BaseOffset.
func (b Batch) LastOffsetDelta() int32 {
	return int32(binary.BigEndian.Uint32(b[offLastOffsetDelta:]))
}

// BaseTimestamp is what the timestamp deltas of the records count from, in milliseconds.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[offBaseTimestamp:])) }

// MaxTimestamp is the largest timestamp of a record, in milliseconds; -1 when there is none.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[offMaxTimestamp:])) }

// ProducerID is the idempotent producer's id, or -1.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[offProducerID:])) }

// ProducerEpoch is the idempotent producer's epoch, or -1.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[offProducerEpoch:])) }

// BaseSequence is the sequence of the first record, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[offBaseSequence:])) }

// LastSequence is the sequence of the last record, or -1. Sequences wrap from 2^31-1 to 0.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base == NoSequence {
		return NoSequence
	}
	return AddSequence(base, b.LastOffsetDelta())
}

// Count is the number of records that the header claims. 0 is legal: compaction keeps an empty batch for the
// sake of its producer's last sequence.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[offCount:])) }

// Payload is what follows the header: the records, compressed as Codec says.
func (b Batch) Payload() []byte { return b[HeaderLen:] }

// SetBaseOffset gives the batch its place in the log. The CRC does not cover it.
func (b Batch) SetBaseOffset(offset int64) {
	binary.BigEndian.PutUint64(b[offBaseOffset:], uint64(offset))
}

// SetLeaderEpoch says which leader appended the batch. The CRC does not cover it.
func (b Batch) SetLeaderEpoch(epoch int32) {
	binary.BigEndian.PutUint32(b[offLeaderEpoch:], uint32(epoch))
}

// SetMaxTimestamp changes the max timestamp and the timestamp type, and the CRC with them; nothing is touched
// when both are so already. Attributes without a meaning do not survive a change, as in Kafka.
func (b Batch) SetMaxTimestamp(ts int64, logAppendTime bool) {
	if b.MaxTimestamp() == ts && b.LogAppendTime() == logAppendTime {
		return
	}
	attributes := b.Attributes() & attrKnown &^ attrLogAppendTime
	if logAppendTime {
		attributes |= attrLogAppendTime
	}
	binary.BigEndian.PutUint16(b[offAttributes:], uint16(attributes))
	binary.BigEndian.PutUint64(b[offMaxTimestamp:], uint64(ts))
	b.sign()
}

// sign writes the CRC of what the batch holds now.
func (b Batch) sign() { binary.BigEndian.PutUint32(b[offCRC:], b.computeCRC()) }

func (b Batch) computeCRC() uint32 { return crc32.Checksum(b[offAttributes:], castagnoli) }

// CheckCRC returns nil or an error that wraps ErrCRC.
func (b Batch) CheckCRC() error {
	if want, got := b.CRC(), b.computeCRC(); want != got {
		return fmt.Errorf("batch at offset %d: %w (stored %08x, computed %08x)", b.BaseOffset(), ErrCRC, want, got)
	}
	return nil
}

// String describes the batch in a line, for errors and dumps.
func (b Batch) String() string {
	if len(b) < HeaderLen {
		return fmt.Sprintf("batch of %d bytes", len(b))
	}
	h, _ := ParseHeader(b[:HeaderLen])
	return h.String()
}

// AddSequence returns the sequence n records after sequence.
func AddSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & 0x7fffffff)
}

// Next splits the first batch off buf, by its length field alone: the CRC is not looked at. An empty buf gives
// (nil, nil, nil). The errors: ErrTorn when the bytes end before the batch does, *MagicError for a batch that is
// not of magic 2, *CorruptError for a header that cannot be true. With an error, rest is buf.
func Next(buf []byte) (b Batch, rest []byte, err error) {
	if len(buf) == 0 {
		return nil, nil, nil
	}
	length, err := batchLength(buf)
	if err != nil {
		return nil, buf, err
	}
	if length > len(buf) {
		return nil, buf, fmt.Errorf("batch at offset %d: %w: %d of %d bytes", Batch(buf).BaseOffset(), ErrTorn, len(buf), length)
	}
	return Batch(buf[:length:length]), buf[length:], nil
}

// batchLength reads the head of a batch of magic 2: how long it claims to be.
func batchLength(buf []byte) (int, error) {
	if len(buf) < LogOverhead {
		return 0, fmt.Errorf("%w: %d bytes, less than the start of a header", ErrTorn, len(buf))
	}
	offset := Batch(buf).BaseOffset()
	if offset < 0 {
		return 0, corrupt(offset, "the base offset is negative")
	}
	length := int32(binary.BigEndian.Uint32(buf[offLength:]))
	if length < minLegacyLen {
		return 0, corrupt(offset, fmt.Sprintf("the length field is %d, less than any batch has", length))
	}
	if len(buf) <= offMagic {
		return 0, fmt.Errorf("batch at offset %d: %w: %d bytes, less than a header", offset, ErrTorn, len(buf))
	}
	if magic := int8(buf[offMagic]); magic != 2 {
		if magic < 0 || magic > 2 {
			return 0, corrupt(offset, fmt.Sprintf("the magic is %d", magic))
		}
		return 0, &MagicError{Offset: offset, Magic: magic}
	}
	if length < HeaderLen-LogOverhead {
		return 0, corrupt(offset, fmt.Sprintf("the length field is %d, less than the header's %d", length, HeaderLen-LogOverhead))
	}
	return int(length) + LogOverhead, nil
}

// Header is the decoded header of a batch, for those who read only headers from a file.
type Header struct {
	BaseOffset      int64
	Length          int // of the whole batch in bytes, with the 12 before the length field
	LeaderEpoch     int32
	Magic           int8
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // milliseconds
	MaxTimestamp    int64 // milliseconds
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32
}

// ParseHeader decodes the first HeaderLen bytes of a batch; more are ignored. Its errors are those of Next.
func ParseHeader(buf []byte) (Header, error) {
	length, err := batchLength(buf)
	if err != nil {
		return Header{}, err
	}
	if len(buf) < HeaderLen {
		return Header{}, fmt.Errorf("batch at offset %d: %w: %d bytes, less than a header", Batch(buf).BaseOffset(), ErrTorn, len(buf))
	}
	b := Batch(buf)
	return Header{
		BaseOffset: b.BaseOffset(), Length: length, LeaderEpoch: b.LeaderEpoch(), Magic: 2, CRC: b.CRC(), Attributes: b.Attributes(),
		LastOffsetDelta: b.LastOffsetDelta(), BaseTimestamp: b.BaseTimestamp(), MaxTimestamp: b.MaxTimestamp(),
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(), Count: b.Count(),
	}, nil
}

// LastOffset is the offset of the last record the batch was made with.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// NextOffset is the offset of the batch that follows.
func (h *Header) NextOffset() int64 { return h.LastOffset() + 1 }

// LastSequence is the sequence of the last record, or -1.
func (h *Header) LastSequence() int32 {
	if h.BaseSequence == NoSequence {
		return NoSequence
	}
	return AddSequence(h.BaseSequence, h.LastOffsetDelta)
}

// Codec is how the records are compressed.
func (h *Header) Codec() Codec { return Codec(h.Attributes & attrCodec) }

// LogAppendTime reports whether all records have the max timestamp.
func (h *Header) LogAppendTime() bool { return h.Attributes&attrLogAppendTime != 0 }

// Transactional reports whether the batch is part of a transaction.
func (h *Header) Transactional() bool { return h.Attributes&attrTransactional != 0 }

// Control reports whether the batch holds a control record.
func (h *Header) Control() bool { return h.Attributes&attrControl != 0 }

// HasDeleteHorizon reports whether the base timestamp is a delete horizon (KIP-534).
func (h *Header) HasDeleteHorizon() bool { return h.Attributes&attrDeleteHorizon != 0 }

// String describes the batch in a line.
func (h *Header) String() string {
	s := fmt.Sprintf("batch of offsets %d to %d (%d records, %d bytes, epoch %d, %s", h.BaseOffset, h.LastOffset(), h.Count, h.Length, h.LeaderEpoch, h.Codec())
	if h.ProducerID != NoProducerID {
		s += fmt.Sprintf(", producer %d epoch %d sequence %d", h.ProducerID, h.ProducerEpoch, h.BaseSequence)
	}
	if h.Transactional() {
		s += ", transactional"
	}
	if h.Control() {
		s += ", control"
	}
	return s + ")"
}

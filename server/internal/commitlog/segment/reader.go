package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/millrace-io/millrace/internal/record"
)

// Batch is the header of a batch in a file, of any magic. For the old formats (0 and 1) BaseOffset is the offset
// that the message carries, which is that of the last message inside when it is compressed; LeaderEpoch and the
// producer's fields are -1.
type Batch struct {
	record.Header
	Magic    int8
	Position int64 // where it begins in the file
}

// End is the position behind the batch.
func (b *Batch) End() int64 { return b.Position + int64(b.Length) }

// An old message (magic 0 and 1) has the same first fields, so a file can mix all three:
//
//	0        8    12    16  17   18          26
//	+--------+----+-----+---+----+-----------+-------------
//	| offset |len |CRC32| m |attr| timestamp | key, value     timestamp: magic 1 alone
//	+--------+----+-----+---+----+-----------+-------------
const (
	prefixLen    = 18 // enough to tell the formats apart
	minLegacyLen = 26 // a message of magic 0 with null key and null value
)

// parseBatch reads the header of the batch that begins at buf[0]; buf has as much of the file as there is, up to
// record.HeaderLen bytes.
func parseBatch(buf []byte, position int64) (Batch, error) {
	if len(buf) < prefixLen {
		return Batch{}, record.ErrTorn
	}
	if magic := int8(buf[16]); magic == 0 || magic == 1 {
		b := Batch{Magic: magic, Position: position, Header: record.Header{
			BaseOffset:    int64(binary.BigEndian.Uint64(buf)),
			Length:        record.LogOverhead + int(int32(binary.BigEndian.Uint32(buf[8:]))),
			LeaderEpoch:   record.NoLeaderEpoch,
			CRC:           binary.BigEndian.Uint32(buf[12:]),
			Attributes:    int16(buf[17]) & 0x0f,
			BaseTimestamp: record.NoTimestamp,
			MaxTimestamp:  record.NoTimestamp,
			ProducerID:    record.NoProducerID,
			ProducerEpoch: record.NoProducerEpoch,
			BaseSequence:  record.NoSequence,
			Count:         1,
		}}
		if b.Length < minLegacyLen || b.BaseOffset < 0 {
			return b, &record.CorruptError{Offset: b.BaseOffset, Reason: fmt.Sprintf("a message of magic %d claims %d bytes", magic, b.Length)}
		}
		if magic == 1 {
			if len(buf) < 26 {
				return b, record.ErrTorn
			}
			b.BaseTimestamp = int64(binary.BigEndian.Uint64(buf[18:]))
			b.MaxTimestamp = b.BaseTimestamp
		}
		return b, nil
	}
	h, err := record.ParseHeader(buf)
	return Batch{Header: h, Magic: 2, Position: position}, err
}

// CheckCRC verifies the checksum of a whole batch of any magic. The error wraps record.ErrCRC.
func CheckCRC(batch []byte) error {
	if len(batch) >= prefixLen && batch[16] < 2 {
		if stored, computed := binary.BigEndian.Uint32(batch[12:]), crc32.ChecksumIEEE(batch[16:]); stored != computed {
			return fmt.Errorf("%w: stored %#x, computed %#x", record.ErrCRC, stored, computed)
		}
		return nil
	}
	return record.Batch(batch).CheckCRC()
}

// Scanner walks over the batches of a file. It reads in windows, so that small batches cost no read each and the
// bytes of large ones are not read when only headers are wanted.
type Scanner struct {
	r       io.ReaderAt
	pos     int64 // of the next batch
	end     int64 // where the file, or the part of it that counts, ends
	window  int
	buf     []byte
	pooled  *[]byte // where buf came from
	bufPos  int64
	current Batch
	// claim is the index entry that led here, until the batch there has borne it out.
	claim   OffsetEntry
	claimed bool
	base    int64 // of the segment whose index it is
}

// Windows for the two ways of reading.
const (
	HeaderWindow = 4 << 10   // headers only
	BatchWindow  = 256 << 10 // whole batches
)

var scanBuffers = sync.Pool{New: func() any { b := make([]byte, 0, HeaderWindow); return &b }}

// NewScanner walks from position pos to end. window is HeaderWindow or BatchWindow.
func NewScanner(r io.ReaderAt, pos, end int64, window int) *Scanner {
	return &Scanner{r: r, pos: pos, end: end, window: window}
}

// seek goes on where an entry of a segment's offset index points. An entry that its batch does not bear out makes Next
// return a *CorruptIndexError.
func (s *Scanner) seek(e OffsetEntry, base int64) {
	s.pos = e.Position
	if e.Position != 0 || e.Offset != base { // else it stands for the beginning of the segment
		s.claim, s.claimed, s.base = e, true, base
	}
}

// Position is where the next batch begins.
func (s *Scanner) Position() int64 { return s.pos }

// Next returns the header of the next batch and steps over it. At the end it returns io.EOF. A batch that ends
// beyond the end of the file is record.ErrTorn, a header that cannot be true record.ErrCorrupt; the scanner stays
// where it was.
func (s *Scanner) Next() (Batch, error) {
	if s.claimed {
		s.claimed = false
		b, err := Batch{}, error(record.ErrTorn)
		if s.pos > 0 && s.pos < s.end {
			b, err = s.Next()
		}
		if IsBad(err) || err == nil && b.LastOffset() != s.claim.Offset {
			return b, &CorruptIndexError{Base: s.base, Reason: fmt.Sprintf("an entry says that a batch that ends at offset %d begins at position %d", s.claim.Offset, s.claim.Position)}
		}
		return b, err
	}
	if s.pos >= s.end {
		return Batch{}, io.EOF
	}
	head, err := s.at(s.pos, int(min(record.HeaderLen, s.end-s.pos)))
	if err != nil {
		return Batch{}, err
	}
	b, err := parseBatch(head, s.pos)
	if err != nil {
		return b, err
	}
	if b.End() > s.end {
		return b, record.ErrTorn
	}
	s.current, s.pos = b, b.End()
	return b, nil
}

// Bytes returns the bytes of the batch that Next returned last. They are valid until the next call.
func (s *Scanner) Bytes() ([]byte, error) { return s.at(s.current.Position, s.current.Length) }

// Close gives the buffer back.
func (s *Scanner) Close() {
	if s.pooled != nil && cap(s.buf) <= BatchWindow {
		*s.pooled = s.buf[:0]
		scanBuffers.Put(s.pooled)
	}
	s.buf, s.pooled = nil, nil
}

func (s *Scanner) at(pos int64, n int) ([]byte, error) {
	if off := pos - s.bufPos; off >= 0 && off+int64(n) <= int64(len(s.buf)) {
		return s.buf[off : off+int64(n)], nil
	}
	want := int(min(int64(max(n, s.window)), s.end-pos))
	if s.buf == nil {
		s.pooled = scanBuffers.Get().(*[]byte)
		s.buf = *s.pooled
	}
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.bufPos = s.buf[:want], pos
	got, err := s.r.ReadAt(s.buf, pos)
	s.buf = s.buf[:got]
	if got < n {
		if err == nil || err == io.EOF {
			err = record.ErrTorn // the file is shorter than its owner thought
		}
		return nil, err
	}
	return s.buf[:n], nil
}

// IsBad reports whether an error says that the bytes of a batch are wrong or missing, rather than that they could
// not be read.
func IsBad(err error) bool {
	return errors.Is(err, record.ErrTorn) || errors.Is(err, record.ErrCorrupt)
}

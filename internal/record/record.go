package record

import (
	"fmt"
	"io"
	"iter"
)

// A record inside a batch of magic 2. Varints are zigzag-coded (varint.go).
//
//	+--------+-----------+----------------+-------------+---------+-----+---------+-------+---------+-- per header ------------+
//	| length | attributes| timestamp delta| offset delta| key len | key | val len | value | headers | len  key  len  value    |
//	| varint | 1, unused | varlong        | varint      | varint  |     | varint  |       | varint  | varint    varint        |
//	+--------+-----------+----------------+-------------+---------+-----+---------+-------+---------+-------------------------+
//	         |<-------------------------------------- length -------------------------------------------------------------->|
//
// A negative length stands for null, for everything but a header's key. Deltas count from the batch's base
// timestamp and base offset.

// Record is one record of a batch.
type Record struct {
	Offset      int64
	OffsetDelta int32
	Timestamp   int64  // milliseconds; -1 none
	Attributes  int8   // no bit has a meaning yet
	Key, Value  []byte // nil is null
	Headers     []RecordHeader
}

// RecordHeader is a name and a value beside a record's value (KIP-82). Names may repeat.
type RecordHeader struct {
	Key   []byte // UTF-8
	Value []byte // nil is null
}

// minRecordBytes is the size of the smallest record, its length field included.
const minRecordBytes = 7

// Records iterates over the records of the batch, decompressing as it goes. The slices of a record are valid until
// the iteration goes on. At the first thing wrong it yields an error and ends; the classes are ErrRecord,
// ErrDecompress, ErrTooLarge and ErrCorrupt (more or fewer bytes than records). The CRC is not checked.
//
// d keeps the state of the decompressors; nil makes one for this iteration. Memory is bounded by the codec's window
// and the largest record.
func (b Batch) Records(d *Decompressor) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if d == nil {
			d = &Decompressor{}
		}
		fail := func(err error) { yield(Record{}, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)) }
		src, err := d.open(b.Payload(), b.Codec(), b.Magic())
		if err != nil {
			fail(err)
			return
		}
		s := d.scanner(src)
		baseOffset, baseTimestamp := b.BaseOffset(), b.BaseTimestamp()
		appendTime, isAppendTime := b.MaxTimestamp(), b.LogAppendTime()
		count := b.Count()
		if count < 0 {
			fail(malformed("the count of records is %d", count))
			return
		}
		var r Record
		for i := int32(0); i < count; i++ {
			body, err := s.record()
			if err == nil {
				d.header, err = r.parse(body, d.header)
			}
			if err != nil {
				fail(fmt.Errorf("record %d of %d: %w", i, count, err))
				return
			}
			r.Offset = baseOffset + int64(r.OffsetDelta)
			if r.Timestamp += baseTimestamp; isAppendTime {
				r.Timestamp = appendTime
			}
			if !yield(r, nil) {
				return
			}
		}
		if err := s.end(); err != nil {
			fail(err)
		}
	}
}

// parse reads the body of a record. The timestamp is left as its delta. Headers are put into scratch.
func (r *Record) parse(body []byte, scratch []RecordHeader) ([]RecordHeader, error) {
	f := fields{b: body}
	r.Attributes = f.int8()
	r.Timestamp = f.varlong()
	r.OffsetDelta = f.varint()
	r.Key = f.bytes()
	r.Value = f.bytes()
	n := f.varint()
	if f.bad || n < 0 || int(n) > len(f.b) {
		return scratch, malformed("its %d bytes do not hold its fields", len(body))
	}
	scratch = scratch[:0]
	for range n {
		h := RecordHeader{Key: f.bytes(), Value: f.bytes()}
		if f.bad || h.Key == nil {
			return scratch, malformed("a header has no key, or does not fit")
		}
		scratch = append(scratch, h)
	}
	if len(f.b) > 0 {
		return scratch, malformed("%d bytes follow its fields", len(f.b))
	}
	r.Headers = scratch
	return scratch, nil
}

// fields cuts a record's body into its fields. Once bad it stays so.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) int8() int8 {
	if len(f.b) == 0 {
		f.bad = true
		return 0
	}
	v := int8(f.b[0])
	f.b = f.b[1:]
	return v
}

func (f *fields) varint() int32 {
	v, n := varint(f.b)
	if n <= 0 {
		f.bad = true
		return 0
	}
	f.b = f.b[n:]
	return v
}

func (f *fields) varlong() int64 {
	v, n := varlong(f.b)
	if n <= 0 {
		f.bad = true
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes reads a length and what it counts; nil for a negative one.
func (f *fields) bytes() []byte {
	n := int(f.varint())
	switch {
	case f.bad || n < 0:
		return nil
	case n > len(f.b):
		f.bad = true
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

// AppendRecord appends a record as it stands in a batch. Its Offset and Timestamp are not looked at: the deltas
// are.
func appendRecord(dst []byte, r *Record, offsetDelta int32, timestampDelta int64) []byte {
	dst = appendVarlong(dst, int64(recordBodyLen(r, offsetDelta, timestampDelta)))
	dst = append(dst, byte(r.Attributes))
	dst = appendVarlong(dst, timestampDelta)
	dst = appendVarlong(dst, int64(offsetDelta))
	dst = appendBytes(dst, r.Key)
	dst = appendBytes(dst, r.Value)
	dst = appendVarlong(dst, int64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = appendVarlong(dst, int64(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

func appendBytes(dst, v []byte) []byte {
	if v == nil {
		return appendVarlong(dst, -1)
	}
	return append(appendVarlong(dst, int64(len(v))), v...)
}

func recordBodyLen(r *Record, offsetDelta int32, timestampDelta int64) int {
	n := 1 + varlongLen(timestampDelta) + varlongLen(int64(offsetDelta)) + bytesLen(r.Key) + bytesLen(r.Value) + varlongLen(int64(len(r.Headers)))
	for _, h := range r.Headers {
		n += varlongLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

func bytesLen(v []byte) int {
	if v == nil {
		return 1
	}
	return varlongLen(int64(len(v))) + len(v)
}

// scanner reads records from blocks of decompressed bytes. A record that lies in two blocks is put together in
// carry; all others are seen where they are.
type scanner struct {
	d    *Decompressor
	src  blocks
	cur  []byte // of the current block, what is unread
	read int64  // bytes of all blocks so far
	max  int64
	err  error // of src; sticky
}

func (d *Decompressor) scanner(src blocks) *scanner {
	d.scan = scanner{d: d, src: src, max: d.maxBytes()}
	return &d.scan
}

// more goes on to the next block once the current one is read.
func (s *scanner) more() error {
	for len(s.cur) == 0 && s.err == nil {
		if s.cur, s.err = s.src.next(); s.err == nil {
			if s.read += int64(len(s.cur)); s.read > s.max {
				s.err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, s.max)
			}
		}
	}
	return s.err
}

// short turns the end of the bytes into what it means inside a record.
func short(err error) error {
	if err == io.EOF {
		return malformed("the bytes end before the records do")
	}
	return err
}

// record returns the next record's body, valid until the next call.
func (s *scanner) record() ([]byte, error) {
	n, err := s.length()
	if err != nil {
		return nil, err
	}
	return s.take(n)
}

// length reads the length of a record.
func (s *scanner) length() (int, error) {
	n, err := s.varint()
	if err == nil && n < 0 {
		err = malformed("its length is %d", n)
	}
	return int(n), err
}

func (s *scanner) take(n int) ([]byte, error) {
	if n <= len(s.cur) {
		b := s.cur[:n]
		s.cur = s.cur[n:]
		return b, nil
	}
	carry := append(s.d.carry[:0], s.cur...)
	s.cur = nil
	for len(carry) < n {
		if err := s.more(); err != nil {
			return nil, short(err)
		}
		part := s.cur[:min(len(s.cur), n-len(carry))]
		carry = append(carry, part...)
		s.cur = s.cur[len(part):]
	}
	s.d.carry = carry
	return carry, nil
}

func (s *scanner) varint() (int32, error) {
	v, n := varint(s.cur)
	if n > 0 {
		s.cur = s.cur[n:]
		return v, nil
	}
	u, err := s.straddling(maxVarintLen)
	return int32(uint32(u)>>1) ^ -int32(u&1), err
}

func (s *scanner) varlong() (int64, error) {
	v, n := varlong(s.cur)
	if n > 0 {
		s.cur = s.cur[n:]
		return v, nil
	}
	u, err := s.straddling(maxVarlongLen)
	return int64(u>>1) ^ -int64(u&1), err
}

// straddling reads a varint, before the zigzag is undone, that may lie in two blocks.
func (s *scanner) straddling(maxLen int) (u uint64, err error) {
	for i := range maxLen {
		if err := s.more(); err != nil {
			return 0, short(err)
		}
		c := s.cur[0]
		s.cur = s.cur[1:]
		u |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			return u, nil
		}
	}
	return 0, malformed("a variable-length number is too long")
}

// skip passes over n bytes.
func (s *scanner) skip(n int) error {
	for n > len(s.cur) {
		n -= len(s.cur)
		s.cur = nil
		if err := s.more(); err != nil {
			return short(err)
		}
	}
	s.cur = s.cur[n:]
	return nil
}

// end makes sure that nothing follows.
func (s *scanner) end() error {
	switch err := s.more(); err {
	case io.EOF:
		return nil
	case nil:
		return malformed("bytes follow the last record")
	default:
		return err
	}
}

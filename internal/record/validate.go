package record

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/kafka"
)

// ValidateOptions say what a partition takes from a producer.
type ValidateOptions struct {
	Partition kafka.TopicPartition // for messages

	// Internal is for batches that a coordinator or the quorum makes: control batches and empty ones are
	// theirs to write, and base offset, count and sequence are not judged.
	Internal bool

	// ProduceVersion is the version of the Produce request, which decides about zstd (7, KIP-110). Ignored
	// when Internal.
	ProduceVersion int16

	MaxBatchBytes  int32 // max.message.bytes, as the batch is sent; 0 is no limit
	MaxRecordBytes int32 // max.decompressed.message.bytes, of one record of a compressed batch; 0 is no limit
	MaxBytes       int64 // of all records of a batch, decompressed; 0 is DefaultMaxBytes

	Compacted     bool // cleanup.policy has compact: records need keys
	LogAppendTime bool // message.timestamp.type
	Now           int64
	// BeforeMaxMs and AfterMaxMs are message.timestamp.before.max.ms and .after.max.ms: how far a timestamp may
	// lie in the past and the future.
	BeforeMaxMs, AfterMaxMs int64
}

// Valid is a batch that passed.
type Valid struct {
	// Batch is the first and only batch of what was sent; a torn rest is cut off, as Kafka does. Its max
	// timestamp and timestamp type are already what the log must store.
	Batch Batch

	// MaxTimestamp is the largest timestamp, -1 when no record has one, or Now with LogAppendTime. The offset that
	// goes with it in a time index is the batch's last.
	MaxTimestamp int64

	Count int32 // of records, offsets 0 to Count-1

	// Bytes is the size of the records decompressed.
	Bytes int64

	// Renumber says that the offset deltas of the records are not 0, 1, 2 …, which some old clients get wrong. The
	// log must store Renumbered(batch) instead.
	Renumber bool

	// BeforeTime says that a record's timestamp is negative, and is not NoTimestamp. Such a batch is stored as it is,
	// but cannot be built anew.
	BeforeTime bool
}

// InvalidError says why a batch was refused. It carries the protocol's code: kafka.CodeOf finds it.
type InvalidError struct {
	Code    kafka.ErrorCode
	Message string
	Records []RecordError // what is wrong with single records, by index (KIP-467); at most maxRecordErrors
}

// RecordError says what is wrong with one record of a batch.
type RecordError struct {
	Index   int32
	Message string
}

func (e *InvalidError) Error() string { return e.Message }

// Unwrap gives the code.
func (e *InvalidError) Unwrap() error { return e.Code }

// maxRecordErrors bounds what a batch of garbage may make us remember.
const maxRecordErrors = 10_000

// Validate judges what a producer sent for one partition as Kafka's broker does, in one pass over the records that
// keeps a window of them, and makes the batch's max timestamp and timestamp type true, in place. Offsets and leader
// epoch are left to the log. d keeps the state of the decompressors.
//
// The order of the checks is the order of the codes: of several defects the producer hears of the first.
//
//	what was sent: no batch, two, an old format            INVALID_RECORD
//	zstd in a Produce request below version 7              UNSUPPORTED_COMPRESSION_TYPE
//	a length field that no batch has, an unknown magic     CORRUPT_MESSAGE
//	base offset not 0                                      INVALID_RECORD
//	larger than max.message.bytes                          MESSAGE_TOO_LARGE
//	shorter than a header, CRC                             CORRUPT_MESSAGE
//	codec 5 to 7, data that does not decompress            UNKNOWN_SERVER_ERROR, as Kafka has no better one here
//	count, control batch, sequence                         INVALID_RECORD
//	bytes that are no records, too many or too few         INVALID_RECORD
//	records without key where keys are needed              INVALID_RECORD, with the records
//	timestamps out of bounds                               INVALID_TIMESTAMP, with the records
//
// It differs from Kafka 4.4 where that would store what no consumer can read. Inside compressed batches a record
// whose length is not that of its fields is refused. Offset deltas that are not 0, 1, 2 … are to be made so, which
// Kafka means to do as well, but stores them as they are when there is no compression and fails when there is.
//
// All errors are *InvalidError.
func Validate(sent []byte, o *ValidateOptions, d *Decompressor) (Valid, error) {
	if d == nil {
		d = &Decompressor{}
	}
	b, err := o.only(sent)
	if err != nil {
		return Valid{}, err
	}
	if err := o.header(b); err != nil {
		return Valid{}, err
	}
	v := Valid{Batch: b, MaxTimestamp: NoTimestamp, Count: b.Count()}
	if err := o.records(&v, d); err != nil {
		return Valid{}, err
	}
	if o.LogAppendTime {
		v.MaxTimestamp = o.Now
	}
	b.SetMaxTimestamp(v.MaxTimestamp, o.LogAppendTime)
	return v, nil
}

func (o *ValidateOptions) refuse(code kafka.ErrorCode, format string, args ...any) error {
	return &InvalidError{Code: code, Message: fmt.Sprintf(format, args...) + " (partition " + o.Partition.String() + ")"}
}

// only returns the one batch that was sent.
func (o *ValidateOptions) only(sent []byte) (Batch, error) {
	b, err := First(sent)
	if err != nil {
		return nil, o.refuse(kafka.CodeOf(err), "%v", err)
	}
	if b == nil {
		return nil, o.refuse(kafka.InvalidRecord, "the request holds no whole record batch")
	}
	if magic := b.Magic(); magic != 2 {
		return nil, o.refuse(kafka.InvalidRecord, "the record batch is of magic %d; only 2 can be produced", magic)
	}
	if !o.Internal && o.ProduceVersion < 7 && b.Codec() == CodecZstd {
		return nil, o.refuse(kafka.UnsupportedCompressionType, "zstd needs version 7 of Produce; this request is of version %d", o.ProduceVersion)
	}
	switch second, err := First(sent[len(b):]); {
	case err != nil:
		return nil, o.refuse(kafka.CodeOf(err), "%v", err)
	case second != nil:
		return nil, o.refuse(kafka.InvalidRecord, "the request holds more than one record batch")
	}
	return b, nil
}

// First returns the first batch of what was sent, of whatever format; nil when the bytes end before it does. The error,
// of a header that no batch has, is CORRUPT_MESSAGE.
func First(sent []byte) (Batch, error) {
	length, found, err := split(sent)
	if err != nil || !found {
		return nil, err
	}
	return Batch(sent[:length:length]), nil
}

// Sent judges what was sent as far as Kafka does before it looks at the partition: the first four lines of the table at
// Validate.
func (o *ValidateOptions) Sent(sent []byte) error {
	_, err := o.only(sent)
	return err
}

// split reads the length of the first batch; found is false when the bytes end before it does.
func split(buf []byte) (length int, found bool, err error) {
	if len(buf) < LogOverhead {
		return 0, false, nil
	}
	length = Batch(buf).Length() - LogOverhead
	if length < minLegacyLen {
		return 0, false, kafka.CorruptMessage.Errorf("the length of a record batch is given as %d bytes, less than any batch has", length)
	}
	if len(buf) <= offMagic {
		return 0, false, nil
	}
	if magic := int8(buf[offMagic]); magic < 0 || magic > 2 {
		return 0, false, kafka.CorruptMessage.Errorf("a record batch claims magic %d", magic)
	}
	length += LogOverhead
	return length, length <= len(buf), nil
}

// header judges everything that needs no look at the records.
func (o *ValidateOptions) header(b Batch) error {
	switch {
	case !o.Internal && b.BaseOffset() != 0:
		return o.refuse(kafka.InvalidRecord, "the base offset of the record batch is %d; producers send 0", b.BaseOffset())
	case o.MaxBatchBytes > 0 && len(b) > int(o.MaxBatchBytes):
		return o.refuse(kafka.MessageTooLarge, "the record batch has %d bytes; max.message.bytes allows %d", len(b), o.MaxBatchBytes)
	case len(b) < HeaderLen:
		return o.refuse(kafka.CorruptMessage, "the record batch has %d bytes, less than its header's %d", len(b), HeaderLen)
	}
	if err := b.CheckCRC(); err != nil {
		return o.refuse(kafka.CorruptMessage, "%v", err)
	}
	if !b.Codec().Known() {
		return o.refuse(kafka.UnknownServerError, "the record batch is compressed with %v, which does not exist", b.Codec())
	}
	if o.Internal {
		return nil
	}
	last, count := b.LastOffsetDelta(), b.Count()
	switch {
	case last < 0:
		return o.refuse(kafka.InvalidRecord, "the last offset delta of the record batch is %d", last)
	case count <= 0:
		return o.refuse(kafka.InvalidRecord, "the record batch claims to hold %d records", count)
	case int64(last)+1 != int64(count):
		return o.refuse(kafka.InvalidRecord, "the record batch has offsets 0 to %d but claims to hold %d records", last, count)
	case b.Control():
		return o.refuse(kafka.InvalidRecord, "clients cannot write control records")
	case b.ProducerID() > NoProducerID && b.BaseSequence() < 0:
		return o.refuse(kafka.InvalidRecord, "the record batch of producer %d has sequence %d", b.ProducerID(), b.BaseSequence())
	}
	return nil
}

// records looks at every record.
func (o *ValidateOptions) records(v *Valid, d *Decompressor) error {
	b := v.Batch
	if v.Count == 0 {
		return nil
	}
	maxBytes := d.MaxBytes
	d.MaxBytes = o.MaxBytes
	defer func() { d.MaxBytes = maxBytes }()
	src, err := d.open(b.Payload(), b.Codec(), 2)
	if err != nil {
		return o.broken(b, -1, err)
	}
	s := d.scanner(src)
	maxRecord := int32(0)
	if b.Codec() != CodecNone {
		maxRecord = o.MaxRecordBytes
	}
	base, appendTime, isAppendTime := b.BaseTimestamp(), b.MaxTimestamp(), b.LogAppendTime()
	var invalid *InvalidError
	maxTimestamp := v.MaxTimestamp
	// What can be wrong with a record as such, in most topics, is its time alone.
	onlyTime, now, before, after := !o.Compacted && !isAppendTime, o.Now, o.BeforeMaxMs, o.AfterMaxMs
	for i := int32(0); i < v.Count; i++ {
		rec, n := usual(s.cur)
		if n > 0 && (maxRecord <= 0 || n <= int(maxRecord)) {
			s.cur = s.cur[n:]
		} else if rec, err = s.glance(maxRecord); err != nil {
			return o.broken(b, i, err)
		}
		ts := base + rec.timestampDelta
		if isAppendTime {
			ts = appendTime
		}
		if age := now - ts; onlyTime && age <= before && -age <= after {
			// There is nothing to refuse.
		} else if problem, code := o.record(&rec, ts, isAppendTime); code != kafka.None {
			if invalid == nil {
				invalid = &InvalidError{Code: code}
			}
			if code == kafka.InvalidTimestamp {
				invalid.Code = code // among several kinds, this one is told
			}
			if len(invalid.Records) < maxRecordErrors {
				invalid.Records = append(invalid.Records, RecordError{i, problem})
			}
			continue
		}
		if rec.offsetDelta != i && !o.Internal {
			v.Renumber = true
		}
		maxTimestamp = max(maxTimestamp, ts)
		if ts < NoTimestamp {
			v.BeforeTime = true
		}
	}
	v.MaxTimestamp = maxTimestamp
	if err := s.end(); err != nil {
		return o.broken(b, v.Count, err)
	}
	v.Bytes = s.read
	if invalid == nil {
		return nil
	}
	first := invalid.Records[0]
	if invalid.Code == kafka.InvalidTimestamp {
		invalid.Message = fmt.Sprintf("%d of %d records are refused for their timestamps, the first (index %d): %s", len(invalid.Records), v.Count, first.Index, first.Message)
	} else {
		invalid.Message = fmt.Sprintf("%d of %d records are refused, the first (index %d): %s", len(invalid.Records), v.Count, first.Index, first.Message)
	}
	return invalid
}

// record judges one record.
func (o *ValidateOptions) record(rec *glance, ts int64, isAppendTime bool) (problem string, code kafka.ErrorCode) {
	if o.Compacted && !rec.hasKey {
		return "a compacted topic takes no record without a key", kafka.InvalidRecord
	}
	if !o.LogAppendTime && ts != NoTimestamp {
		if age := o.Now - ts; age > o.BeforeMaxMs || -age > o.AfterMaxMs {
			return fmt.Sprintf("timestamp %d lies outside of what is allowed now, %d to %d", ts, o.Now-o.BeforeMaxMs, o.Now+o.AfterMaxMs), kafka.InvalidTimestamp
		}
	} else if isAppendTime {
		return "a producer cannot say that timestamps are log append times", kafka.InvalidTimestamp
	}
	return "", kafka.None
}

// broken turns what is wrong with the bytes into a refusal.
func (o *ValidateOptions) broken(b Batch, i int32, err error) error {
	code := kafka.InvalidRecord
	if errors.Is(err, ErrDecompress) {
		code = kafka.UnknownServerError
	}
	if errors.Is(err, ErrTooLarge) {
		code = kafka.MessageTooLarge
	}
	if i < 0 || i == b.Count() {
		return o.refuse(code, "the record batch (%v): %v", b.Codec(), err)
	}
	return o.refuse(code, "the record batch (%v), record %d of %d: %v", b.Codec(), i, b.Count(), err)
}

// glance is what validation needs of a record.
type glance struct {
	timestampDelta int64
	offsetDelta    int32
	hasKey         bool
}

// wholeBytes is the largest record that is looked at as a whole; of larger ones only a window is held.
const wholeBytes = windowBytes

// usual is glance for a record as most are: it lies in cur as a whole, has no headers and no key or a short one, and its
// numbers take two bytes at the most. It returns how many bytes the record takes with its length, 0 for one that glance
// has to look at.
func usual(cur []byte) (g glance, n int) {
	length, at := short2(cur, 0)
	end := at + length
	if at == 0 || length < 0 || end > len(cur) {
		return g, 0
	}
	b := cur[:end]
	delta, at := short2(b, at+1) // behind the attributes
	if at == 0 {
		return g, 0
	}
	offset, at := short2(b, at)
	if at == 0 {
		return g, 0
	}
	key, at := short2(b, at)
	if at == 0 {
		return g, 0
	}
	value, at := short2(b, at+max(key, 0))
	if at == 0 {
		return g, 0
	}
	// Behind the value one zero is left: no headers.
	if at += max(value, 0); at+1 != end || b[at] != 0 {
		return g, 0
	}
	return glance{timestampDelta: int64(delta), offsetDelta: int32(offset), hasKey: key >= 0}, end
}

// glance passes over the next record. maxBytes > 0 limits its size.
func (s *scanner) glance(maxBytes int32) (glance, error) {
	n, err := s.length()
	if err != nil {
		return glance{}, err
	}
	if maxBytes > 0 && n > int(maxBytes) {
		return glance{}, malformed("it has %d bytes; max.decompressed.message.bytes allows %d", n, maxBytes)
	}
	if n > wholeBytes && n > len(s.cur) {
		return s.glanceLarge(n)
	}
	body, err := s.take(n)
	if err != nil {
		return glance{}, err
	}
	f := fields{b: body}
	var g glance
	f.int8()
	g.timestampDelta = f.varlong()
	g.offsetDelta = f.varint()
	g.hasKey = f.bytes() != nil
	f.bytes()
	headers := f.varint()
	if f.bad || headers < 0 || int(headers) > len(f.b) {
		return g, malformed("its %d bytes do not hold its fields", n)
	}
	for range headers {
		if key := f.bytes(); f.bad || key == nil {
			return g, malformed("a header has no key")
		}
		f.bytes()
	}
	if f.bad || len(f.b) > 0 {
		return g, malformed("its length is %d bytes, its fields take another", n)
	}
	return g, nil
}

// glanceLarge is glance for a record that does not fit in a window: it is read field by field.
func (s *scanner) glanceLarge(n int) (g glance, err error) {
	l := &largeRecord{s: s, left: n}
	l.skip(1)
	g.timestampDelta = l.varlong()
	g.offsetDelta = l.varint()
	key := l.varint()
	g.hasKey = key >= 0
	l.skip(key)
	l.skip(l.varint())
	headers := l.varint()
	if l.err == nil && headers < 0 {
		return g, malformed("it claims %d headers", headers)
	}
	for i := int32(0); i < headers && l.err == nil; i++ {
		key := l.varint()
		if l.err == nil && key < 0 {
			return g, malformed("a header has no key")
		}
		l.skip(key)
		l.skip(l.varint())
	}
	if l.err == nil && l.left != 0 {
		l.err = malformed("its length is %d bytes, its fields take %d", n, n-l.left)
	}
	return g, l.err
}

// largeRecord reads fields and counts what is left of the record. The first error sticks.
type largeRecord struct {
	s    *scanner
	left int
	err  error
}

func (l *largeRecord) count(before int64) {
	if l.left -= int(l.s.consumed() - before); l.left < 0 && l.err == nil {
		l.err = malformed("its fields do not fit its length")
	}
}

func (l *largeRecord) varint() (v int32) {
	if l.err == nil {
		at := l.s.consumed()
		v, l.err = l.s.varint()
		l.count(at)
	}
	return v
}

func (l *largeRecord) varlong() (v int64) {
	if l.err == nil {
		at := l.s.consumed()
		v, l.err = l.s.varlong()
		l.count(at)
	}
	return v
}

func (l *largeRecord) skip(n int32) {
	if l.err != nil || n <= 0 {
		return
	}
	if int(n) > l.left {
		l.err = malformed("its fields do not fit its length")
		return
	}
	l.err = l.s.skip(int(n))
	l.left -= int(n)
}

// consumed is how many decompressed bytes were passed.
func (s *scanner) consumed() int64 { return s.read - int64(len(s.cur)) }

// Renumbered appends the batch to dst with the offset deltas of its records made 0, 1, 2 … in the order in which
// they stand, and returns it with dst before it. d and c may be nil.
func Renumbered(dst []byte, b Batch, codec Codec, level int, d *Decompressor, c *Compressor) ([]byte, error) {
	to := NewBuilder(BuilderOptions{
		Codec: codec, Level: level, Compressor: c, BaseOffset: b.BaseOffset(), LeaderEpoch: b.LeaderEpoch(),
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), BaseSequence: b.BaseSequence(),
		Transactional: b.Transactional(), Control: b.Control(), LogAppendTime: b.LogAppendTime(), AppendTime: b.MaxTimestamp(),
	})
	for r, err := range b.Records(d) {
		if err != nil {
			return dst, err
		}
		to.Append(r)
	}
	start := len(dst)
	dst = to.Build(dst)
	Batch(dst[start:]).SetMaxTimestamp(b.MaxTimestamp(), b.LogAppendTime())
	return dst, nil
}

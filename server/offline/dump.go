package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Batch is a batch of a log file as a dump shows it: what its header claims, true or not. Of a message of the old
// formats (magic 0 and 1) LastOffset is the offset that it carries, and what those formats have not is -1.
type Batch struct {
	Magic         int8
	BaseOffset    int64
	LastOffset    int64
	Count         int32
	BaseSequence  int32
	LastSequence  int32
	ProducerID    int64
	ProducerEpoch int16
	LeaderEpoch   int32
	Transactional bool
	Control       bool
	DeleteHorizon int64 // ms; -1 none
	Position      int64 // in the file
	LogAppendTime bool
	MaxTimestamp  int64 // ms
	Size          int
	Codec         string
	CRC           uint32
	Valid         bool // the CRC matches
	timestampless bool // magic 0
	bytes         []byte
}

// TimestampType is Kafka's name for where the timestamps come from.
func (b *Batch) TimestampType() string {
	switch {
	case b.timestampless:
		return "NoTimestampType"
	case b.LogAppendTime:
		return "LogAppendTime"
	}
	return "CreateTime"
}

// Record is a record as a dump shows it. Key and Value are valid until the iteration goes on; nil is null.
type Record struct {
	Offset     int64
	Timestamp  int64
	Sequence   int32 // -1 in what no idempotent producer wrote
	Key, Value []byte
	HeaderKeys []string
	// Old are the checksum of a message of magic 0 or 1, and whether it matches; nil in a batch of now.
	Old *OldMessage
	// Control says what a control record is about, in Kafka's words; "" for a record of data.
	Control string
}

// OldMessage is what a message of magic 0 or 1 has of its own.
type OldMessage struct {
	CRC   uint32
	Valid bool
}

// DumpOptions say what of a file is read.
type DumpOptions struct {
	FS vfs.FS // nil for the machine's
	// MaxBytes bounds how much of a log is read; 0 is all of it.
	MaxBytes int64
}

func (o *DumpOptions) fs() vfs.FS {
	if o.FS == nil {
		return vfs.OS
	}
	return o.FS
}

// The head of a batch: what its length does not count, how much of it says its format, and the least that its length is.
const (
	logOverhead  = 12
	throughMagic = 17
	minBatch     = 14
)

// DumpBatches calls visit for every batch of a .log or .checkpoint file, valid or not, in the order of the file. It ends
// where no whole batch is left, and returns how many bytes follow there.
func DumpBatches(name string, o DumpOptions, visit func(*Batch) error) (trailing int64, err error) {
	f, err := o.fs().OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	end, err := f.Size()
	if err != nil {
		return 0, err
	}
	if o.MaxBytes > 0 {
		end = min(end, o.MaxBytes)
	}
	walk := batchWalk{file: f, name: name, end: end}
	for {
		b, err := walk.next()
		if err == io.EOF {
			return end - walk.at, nil
		}
		if err != nil {
			return 0, err
		}
		if err := visit(b); err != nil {
			return 0, err
		}
	}
}

// batchWalk steps from batch to batch by their lengths alone, as Kafka's tool does, so that a dump shows what a reader
// that checks would refuse.
type batchWalk struct {
	file io.ReaderAt
	name string
	at   int64
	end  int64
	buf  []byte
}

// next reads the next batch; io.EOF where no whole one is left. The batch is valid until the next call.
func (w *batchWalk) next() (*Batch, error) {
	var head [throughMagic]byte
	if w.end-w.at < throughMagic {
		return nil, io.EOF
	}
	if err := readFull(w.file, head[:], w.at); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", w.name, w.at, err)
	}
	size := int64(int32(binary.BigEndian.Uint32(head[8:])))
	if size < minBatch {
		return nil, fmt.Errorf("%s, position %d: %w: a batch claims %d bytes, less than the smallest has (%d)", w.name, w.at, ErrDamaged, size, minBatch)
	}
	if w.end-w.at-logOverhead < size {
		return nil, io.EOF
	}
	size += logOverhead
	if int64(cap(w.buf)) < size {
		w.buf = make([]byte, size)
	}
	w.buf = w.buf[:size]
	if err := readFull(w.file, w.buf, w.at); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", w.name, w.at, err)
	}
	b, err := newBatch(w.buf, w.at)
	if err != nil {
		return nil, fmt.Errorf("%s, position %d: %w: %v", w.name, w.at, ErrDamaged, err)
	}
	w.at += size
	return b, nil
}

// ErrDamaged is wrapped by errors that say that bytes of a file cannot be what they should be.
var ErrDamaged = errors.New("damaged")

func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF // the file became shorter while it was read
	}
	return err
}

func newBatch(bytes []byte, position int64) (*Batch, error) {
	if magic := int8(bytes[16]); magic == 0 || magic == 1 {
		m, _, err := record.NextMessage(bytes)
		if err != nil {
			return nil, err
		}
		return &Batch{Magic: magic, BaseOffset: -1, LastOffset: m.Offset(), Count: -1, BaseSequence: -1, LastSequence: -1, ProducerID: -1, ProducerEpoch: -1,
			LeaderEpoch: -1, DeleteHorizon: -1, Position: position, LogAppendTime: m.LogAppendTime(), MaxTimestamp: m.Timestamp(), Size: len(m),
			Codec: m.Codec().String(), CRC: m.CRC(), Valid: m.CheckCRC() == nil, timestampless: magic == 0, bytes: bytes}, nil
	}
	if len(bytes) < record.HeaderLen {
		return nil, fmt.Errorf("a batch of %d bytes, less than a header has (%d)", len(bytes), record.HeaderLen)
	}
	b := record.Batch(bytes)
	if !b.Codec().Known() {
		return nil, fmt.Errorf("a batch is compressed with %d, which is no codec", b.Codec())
	}
	d := &Batch{Magic: b.Magic(), BaseOffset: b.BaseOffset(), LastOffset: b.LastOffset(), Count: b.Count(), BaseSequence: b.BaseSequence(), LastSequence: b.LastSequence(),
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), LeaderEpoch: b.LeaderEpoch(), Transactional: b.Transactional(), Control: b.Control(),
		DeleteHorizon: -1, Position: position, LogAppendTime: b.LogAppendTime(), MaxTimestamp: b.MaxTimestamp(), Size: len(b), Codec: b.Codec().String(),
		CRC: b.CRC(), Valid: b.CheckCRC() == nil, bytes: bytes}
	if b.HasDeleteHorizon() {
		d.DeleteHorizon = b.BaseTimestamp()
	}
	return d, nil
}

// Records iterates over the records of the batch, decompressed; at the first that cannot be read it yields an error and
// ends.
func (b *Batch) Records() iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if b.Magic < 2 {
			b.oldRecords(yield)
			return
		}
		for r, err := range record.Batch(b.bytes).Records(nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			d := &Record{Offset: r.Offset, Timestamp: r.Timestamp, Sequence: -1, Key: r.Key, Value: r.Value, HeaderKeys: []string{}}
			if b.BaseSequence >= 0 {
				d.Sequence = record.AddSequence(b.BaseSequence, r.OffsetDelta)
			}
			for _, h := range r.Headers {
				d.HeaderKeys = append(d.HeaderKeys, string(h.Key))
			}
			if b.Control {
				if d.Control, err = controlText(b, &r); err != nil {
					yield(nil, fmt.Errorf("control record at offset %d: %w", r.Offset, err))
					return
				}
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (b *Batch) oldRecords(yield func(*Record, error) bool) {
	m := record.Message(b.bytes)
	for inner, err := range m.Messages(nil) {
		if err != nil {
			yield(nil, err)
			return
		}
		for r, err := range inner.Records(nil) {
			if err != nil {
				yield(nil, err)
				return
			}
			d := &Record{Offset: r.Offset, Timestamp: r.Timestamp, Sequence: -1, Key: r.Key, Value: r.Value, Old: &OldMessage{inner.CRC(), inner.CheckCRC() == nil}}
			if b.LogAppendTime {
				d.Timestamp = b.MaxTimestamp
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// OffsetEntry is an entry of an .index file: a batch ends at the offset and begins at the position. Found is the last
// offset of the batch that does begin there.
type OffsetEntry struct {
	Offset   int64
	Position int64
	Found    int64
}

// TimeEntry is an entry of a .timeindex file: no record up to the offset is younger than the timestamp.
type TimeEntry struct {
	Timestamp, Offset int64
	// Found is the last offset of the first batch that ends at Offset or behind it; -1 when there is none.
	Found int64
	// Greatest is the greatest timestamp of the records in that batch, when it ends at Offset.
	Greatest int64
}

// entriesOf reads the whole entries of an index file and the base offset in its name.
func entriesOf(fsys vfs.FS, name string, width int) (base int64, entries []byte, rest int64, err error) {
	base, _, _, ok := segment.ParseFileName(path.Base(name))
	if !ok {
		return 0, nil, 0, fmt.Errorf("%s does not have the name of an index: 20 digits and its kind", name)
	}
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		return 0, nil, 0, err
	}
	whole := len(b) - len(b)%width
	return base, b[:whole], int64(len(b) - whole), nil
}

// CheckOffsetIndex does what a start of Kafka does to see whether an .index must be rebuilt. empty says that there are
// no entries.
func CheckOffsetIndex(name string, o DumpOptions) (empty bool, err error) {
	base, b, rest, err := entriesOf(o.fs(), name, 8)
	if err != nil || len(b) == 0 {
		return true, err
	}
	if last := base + int64(int32(binary.BigEndian.Uint32(b[len(b)-8:]))); last < base {
		return false, fmt.Errorf("%w: %s: its last entry has the offset %d, less than the base offset %d", ErrDamaged, name, last, base)
	}
	return false, whole(name, rest, len(b), 8)
}

// CheckTimeIndex does the same with a .timeindex.
func CheckTimeIndex(name string, o DumpOptions) error {
	base, b, rest, err := entriesOf(o.fs(), name, 12)
	if err != nil {
		return err
	}
	if len(b) > 0 {
		last := b[len(b)-12:]
		if first, stamp := int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(last)); stamp < first {
			return fmt.Errorf("%w: %s: its last entry has the timestamp %d, less than %d of the first", ErrDamaged, name, stamp, first)
		}
		if offset := base + int64(int32(binary.BigEndian.Uint32(last[8:]))); offset < base {
			return fmt.Errorf("%w: %s: its last entry has the offset %d, less than the base offset %d", ErrDamaged, name, offset, base)
		}
	}
	return whole(name, rest, len(b), 12)
}

func whole(name string, rest int64, entries, width int) error {
	if rest != 0 {
		return fmt.Errorf("%w: %s: %d bytes are not a whole number of entries of %d", ErrDamaged, name, int64(entries)+rest, width)
	}
	return nil
}

// DumpOffsetIndex calls visit for every entry of an .index, and looks each up in the log beside it, in at most maxBatch
// bytes. Zeros at the end are not entries: Kafka makes the file as large as it may become. empty says that there are
// none at all.
func DumpOffsetIndex(name string, o DumpOptions, maxBatch int64, visit func(OffsetEntry)) (empty bool, err error) {
	base, b, _, err := entriesOf(o.fs(), name, 8)
	if err != nil || len(b) == 0 {
		return true, err
	}
	log, err := openBeside(o.fs(), name)
	if err != nil {
		return false, err
	}
	defer log.close()
	for i := 0; i < len(b); i += 8 {
		e := OffsetEntry{Offset: base + int64(int32(binary.BigEndian.Uint32(b[i:]))), Position: int64(int32(binary.BigEndian.Uint32(b[i+4:])))}
		if e.Offset == base && i > 0 {
			return false, nil
		}
		walk := log.from(e.Position)
		walk.end = min(walk.end, e.Position+maxBatch)
		found, err := walk.next()
		if err == io.EOF {
			return false, fmt.Errorf("%w: %s: the entry of offset %d points at position %d of the log, where no batch of up to %d bytes is", ErrDamaged, name, e.Offset, e.Position, maxBatch)
		}
		if err != nil {
			return false, err
		}
		e.Found = found.LastOffset
		visit(e)
	}
	return false, nil
}

// DumpTimeIndex calls visit for every entry of a .timeindex, and looks each up in the log and the .index beside it.
func DumpTimeIndex(name string, o DumpOptions, visit func(TimeEntry)) error {
	base, b, _, err := entriesOf(o.fs(), name, 12)
	if err != nil {
		return err
	}
	log, err := openBeside(o.fs(), name)
	if err != nil {
		return err
	}
	defer log.close()
	_, offsets, _, err := entriesOf(o.fs(), strings.TrimSuffix(name, segment.TimeIndexSuffix)+segment.IndexSuffix, 8)
	if err != nil {
		return err
	}
	for i := 0; i < len(b); i += 12 {
		e := TimeEntry{Timestamp: int64(binary.BigEndian.Uint64(b[i:])), Offset: base + int64(int32(binary.BigEndian.Uint32(b[i+8:]))), Found: -1, Greatest: record.NoTimestamp}
		if e.Offset == base && i > 0 {
			return nil
		}
		walk := log.from(positionOf(base, offsets, e.Offset))
		for e.Found < e.Offset {
			found, err := walk.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
			if found.LastOffset < e.Offset {
				continue
			}
			if e.Found = found.LastOffset; e.Found != e.Offset {
				break
			}
			for r, err := range found.Records() {
				if err != nil {
					return err
				}
				e.Greatest = max(e.Greatest, r.Timestamp)
			}
		}
		if e.Found < e.Offset {
			e.Found = -1
		}
		visit(e)
	}
	return nil
}

// positionOf looks an offset up in the entries of an .index.
func positionOf(base int64, entries []byte, offset int64) int64 {
	position := int64(0)
	for i := 0; i+8 <= len(entries); i += 8 {
		at := base + int64(int32(binary.BigEndian.Uint32(entries[i:])))
		if at > offset || at == base && i > 0 {
			break
		}
		position = int64(int32(binary.BigEndian.Uint32(entries[i+4:])))
	}
	return position
}

// besideLog is the log that an index belongs to.
type besideLog struct {
	file vfs.File
	size int64
}

func openBeside(fsys vfs.FS, index string) (*besideLog, error) {
	base, _, _ := strings.Cut(path.Base(index), ".")
	f, err := fsys.OpenFile(path.Join(path.Dir(index), base+segment.LogSuffix), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &besideLog{f, size}, nil
}

func (l *besideLog) from(position int64) *batchWalk {
	return &batchWalk{file: l.file, name: l.file.Name(), at: max(position, 0), end: l.size}
}

func (l *besideLog) close() { l.file.Close() }

// AbortedTxn is an entry of a .txnindex file.
type AbortedTxn = segment.AbortedTxn

// DumpTxnIndex reads a .txnindex.
func DumpTxnIndex(name string, o DumpOptions) (txns []AbortedTxn, err error) {
	b, err := vfs.ReadFile(o.fs(), name)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		t, err := segment.ParseAbortedTxn(b)
		if err != nil {
			return txns, fmt.Errorf("%s: entry %d: %w", name, len(txns), err)
		}
		txns = append(txns, t)
		b = b[segment.TxnEntryBytes:]
	}
	return txns, nil
}

// Producer is an entry of a .snapshot file: the last of what an idempotent producer wrote.
type Producer = commitlog.SnapshotEntry

// FirstSequence is the sequence of the first record of a producer's last batch.
func FirstSequence(p Producer) int32 { return record.AddSequence(p.LastSequence, -p.OffsetDelta) }

// DumpProducers reads a .snapshot.
func DumpProducers(name string, o DumpOptions) (producers []Producer, err error) {
	err = commitlog.ReadSnapshot(o.fs(), name, func(e commitlog.SnapshotEntry) error {
		producers = append(producers, e)
		return nil
	})
	return producers, err
}

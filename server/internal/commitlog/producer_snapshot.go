package commitlog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// A .snapshot file holds the producers as they were before the offset in its name. All integers are big-endian.
//
//	0         2      6       10
//	+---------+------+-------+---------+---------+--
//	| version | CRC  | count | entry 0 | entry 1 |        version 1; CRC-32C of everything behind it
//	+---------+------+-------+---------+---------+--
//
//	entry:
//	0             8       10         14        22           26          34            38           46
//	+-------------+-------+----------+---------+------------+-----------+-------------+------------+
//	| producer id | epoch | last     | last    | offset     | timestamp | coordinator | current    |
//	|             |       | sequence | offset  | delta      |           | epoch       | txn first  |
//	+-------------+-------+----------+---------+------------+-----------+-------------+------------+
//
// Of a producer's last five batches a snapshot holds only the last, as in Kafka; the others are found again in the log
// (history.go).
const (
	snapshotVersion     = 1
	snapshotHeaderBytes = 10
	snapshotEntryBytes  = 46
)

// ErrSnapshotCorrupt is wrapped by what reading a .snapshot returns when its bytes cannot be right.
var ErrSnapshotCorrupt = errors.New("corrupt producer snapshot")

// SnapshotEntry is one producer in a .snapshot.
type SnapshotEntry struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1: no data batch since the epoch began
	LastOffset       int64 // -1: no data batch since the epoch began
	OffsetDelta      int32 // last offset less first offset of the last batch
	Timestamp        int64 // ms
	CoordinatorEpoch int32
	TxnFirstOffset   int64 // of the transaction under way; -1 none
}

func (e *SnapshotEntry) put(b []byte) {
	be := binary.BigEndian
	be.PutUint64(b, uint64(e.ProducerID))
	be.PutUint16(b[8:], uint16(e.Epoch))
	be.PutUint32(b[10:], uint32(e.LastSequence))
	be.PutUint64(b[14:], uint64(e.LastOffset))
	be.PutUint32(b[22:], uint32(e.OffsetDelta))
	be.PutUint64(b[26:], uint64(e.Timestamp))
	be.PutUint32(b[34:], uint32(e.CoordinatorEpoch))
	be.PutUint64(b[38:], uint64(e.TxnFirstOffset))
}

func (e *SnapshotEntry) get(b []byte) {
	be := binary.BigEndian
	*e = SnapshotEntry{
		ProducerID: int64(be.Uint64(b)), Epoch: int16(be.Uint16(b[8:])), LastSequence: int32(be.Uint32(b[10:])),
		LastOffset: int64(be.Uint64(b[14:])), OffsetDelta: int32(be.Uint32(b[22:])), Timestamp: int64(be.Uint64(b[26:])),
		CoordinatorEpoch: int32(be.Uint32(b[34:])), TxnFirstOffset: int64(be.Uint64(b[38:])),
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ReadSnapshot reads a .snapshot and calls fn for every entry. The CRC is checked before the first call. Its errors
// wrap ErrSnapshotCorrupt, those of the file system, or what fn returned.
func ReadSnapshot(fsys vfs.FS, name string, fn func(SnapshotEntry) error) error {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s", ErrSnapshotCorrupt, name, fmt.Sprintf(format, args...))
	}
	var head [snapshotHeaderBytes]byte
	if size < snapshotHeaderBytes {
		return bad("%d bytes are less than its header", size)
	}
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return err
	}
	if v := binary.BigEndian.Uint16(head[:]); v != snapshotVersion {
		return bad("version %d is not known; %d is", v, snapshotVersion)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 6, size-6)); err != nil {
		return err
	}
	if stored := binary.BigEndian.Uint32(head[2:]); stored != sum.Sum32() {
		return bad("the CRC does not match: stored %#x, computed %#x", stored, sum.Sum32())
	}
	count := int64(int32(binary.BigEndian.Uint32(head[6:])))
	if count < 0 || count*snapshotEntryBytes != size-snapshotHeaderBytes {
		return bad("%d bytes do not hold the %d entries it claims", size, count)
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, snapshotHeaderBytes, size-snapshotHeaderBytes), 64<<10)
	var raw [snapshotEntryBytes]byte
	for range count {
		if _, err := io.ReadFull(r, raw[:]); err != nil {
			return err
		}
		var e SnapshotEntry
		e.get(raw[:])
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// writeSnapshot makes a .snapshot of the entries that each yields, count in number. Nothing of it is durable.
func writeSnapshot(fsys vfs.FS, name string, count int, each func(yield func(*SnapshotEntry) error) error) error {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	var head [snapshotHeaderBytes]byte
	binary.BigEndian.PutUint16(head[:], snapshotVersion)
	binary.BigEndian.PutUint32(head[6:], uint32(count))
	sum := crc32.Update(0, castagnoli, head[6:])
	page := make([]byte, 0, min(count*snapshotEntryBytes, 64<<10))
	at, n := int64(snapshotHeaderBytes), 0
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		sum = crc32.Update(sum, castagnoli, page)
		if _, err := f.WriteAt(page, at); err != nil {
			return err
		}
		at += int64(len(page))
		page = page[:0]
		return nil
	}
	err = each(func(e *SnapshotEntry) error {
		var raw [snapshotEntryBytes]byte
		e.put(raw[:])
		if len(page)+len(raw) > cap(page) {
			if err := flush(); err != nil {
				return err
			}
		}
		page = append(page, raw[:]...)
		n++
		return nil
	})
	if err == nil {
		err = flush()
	}
	if err == nil && n != count {
		panic(fmt.Sprintf("commitlog: %d producers became %d while they were written", count, n))
	}
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(head[2:], sum)
	_, err = f.WriteAt(head[:], 0)
	return err
}

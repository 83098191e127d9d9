package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// floorFile is the name of the durable floor in a log directory.
const floorFile = "millrace-durable-floor"

// The durable floor says how far each log of a directory was flushed before anything was acknowledged on the
// strength of it (DESIGN: damage is not a torn tail). After a crash, a bad batch below a log's floor was once
// good on the disk: that is damage and must be told. A bad batch above it may be a write that the crash tore.
//
// The file is a header and then entries of one size, appended by each round of group commit:
//
//	header   0       8         10        12                          28       32
//	         ┌───────┬─────────┬─────────┬───────────────────────────┬────────┐
//	         │ magic │ version │ size of │ zeros                     │ CRC-32C│
//	         │MRFLOOR│ = 1     │ entry=32│                           │ of 0–28│
//	         └───────┴─────────┴─────────┴───────────────────────────┴────────┘
//	entry    0                          16          20           28       32
//	         ┌──────────────────────────┬───────────┬────────────┬────────┐
//	         │ topic id                 │ partition │ flushed    │ CRC-32C│
//	         │                          │ int32     │ int64      │ of 0–28│
//	         └──────────────────────────┴───────────┴────────────┴────────┘
//
// The first of the zeros is 1 where log starts are saved before segments go (retain.go): with an older file a log that
// begins above its start is none that lacks something.
//
// All numbers are big-endian. Sixteen entries fill a sector, so an entry is never torn in two by a sector that was
// written and one that was not; each has a checksum of its own, and a bad one costs itself alone. For one replica
// the last good entry holds.
//
// An entry whose offset is negative ends a replica: it was deleted or moved away, and none of the entries before holds. It
// says -1-run: what the journal of small appends has of the replica in that run and in those before it is of no use
// either, for the replica may come back under the same id (journal.go).
const (
	floorMagic      = "MRFLOOR\x00"
	floorVersion    = 1
	floorHeaderSize = 32
	floorEntrySize  = 32
	floorStarts     = 12 // where the header says that starts are saved
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// floor is the journal of one directory. add and write are called by the syncer's round alone; mu keeps rounds
// and compaction apart.
type floor struct {
	fs   vfs.FS
	path string

	mu    sync.Mutex
	file  vfs.File
	size  int64
	batch []byte // the entries of the round under way
	// dirty is true when size is past what was synced.
	dirty atomic.Bool
	// compacted is the size after the last rewrite.
	compacted int64
	// torn is how many entries at the end of the file a crash left incomplete.
	torn int
	// savesStarts: the process that wrote the file saved the starts of logs before it let segments go.
	savesStarts bool
	// ended are the replicas that were ended while a run of the journal had bytes of them, with that run.
	ended map[kafka.TopicIDPartition]uint64
}

// openFloor reads the journal of a directory, and begins a new one in its place when begin is called. Entries that
// do not check are counted in bad, but for the last ones, which a crash leaves of a round that it tore.
func openFloor(fsys vfs.FS, dir string) (f *floor, floors map[kafka.TopicIDPartition]int64, bad int, err error) {
	f = &floor{fs: fsys, path: path.Join(dir, floorFile)}
	data, err := vfs.ReadFile(fsys, f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, map[kafka.TopicIDPartition]int64{}, 0, nil
	}
	if err != nil {
		return nil, nil, 0, err
	}
	floors, bad, err = parseFloors(data)
	f.ended = parseEnded(data)
	_, f.torn = eachFloor(data, func(kafka.TopicIDPartition, int64) {})
	f.savesStarts = len(data) >= floorHeaderSize && crc32.Checksum(data[:28], castagnoli) == binary.BigEndian.Uint32(data[28:]) && data[floorStarts] == 1
	return f, floors, bad, err
}

// ReadFloors returns how far the logs of a stopped node's directory are known to have been on the disk, by their topics' ids.
func ReadFloors(fsys vfs.FS, dir string) (map[kafka.TopicIDPartition]int64, error) {
	_, floors, _, err := openFloor(fsys, dir)
	return floors, err
}

// ReadRecoveryPoints returns the same by their names, as of the last checkpoint.
func ReadRecoveryPoints(fsys vfs.FS, dir string) (map[kafka.TopicPartition]int64, error) {
	entries, err := commitlog.ReadCheckpoint(fsys, path.Join(dir, recoveryPointFile))
	points := make(map[kafka.TopicPartition]int64, len(entries))
	for _, e := range entries {
		points[e.Partition] = e.Offset
	}
	return points, err
}

// parseFloors reads a journal. What is not a whole entry at the end is what a crash left of one.
func parseFloors(data []byte) (floors map[kafka.TopicIDPartition]int64, bad int, err error) {
	floors = map[kafka.TopicIDPartition]int64{}
	if len(data) < floorHeaderSize {
		return floors, 0, nil // a crash before the first sync
	}
	header := data[:floorHeaderSize]
	if string(header[:8]) == floorMagic {
		if v := binary.BigEndian.Uint16(header[8:]); v != floorVersion {
			return nil, 0, fmt.Errorf("%s has version %d and this build reads %d: start the version of Millrace that wrote it", floorFile, v, floorVersion)
		}
	} else {
		bad++ // the entries check themselves, and their size has never been another
	}
	lost, _ := eachFloor(data, func(log kafka.TopicIDPartition, flushed int64) {
		if floors[log] = flushed; flushed < 0 {
			delete(floors, log)
		}
	})
	return floors, bad + lost, nil
}

// parseEnded returns the replicas that a journal ends, with the last run that may have bytes of them.
func parseEnded(data []byte) map[kafka.TopicIDPartition]uint64 {
	ended := map[kafka.TopicIDPartition]uint64{}
	eachFloor(data, func(log kafka.TopicIDPartition, flushed int64) {
		if flushed < -1 {
			ended[log] = uint64(-1 - flushed)
		}
	})
	return ended
}

// eachFloor yields the entries that check, and counts those before them that do not.
// torn is how many do not at the end.
func eachFloor(data []byte, do func(log kafka.TopicIDPartition, flushed int64)) (bad, torn int) {
	if len(data) < floorHeaderSize {
		return 0, 0
	}
	for rest := data[floorHeaderSize:]; len(rest) >= floorEntrySize; rest = rest[floorEntrySize:] {
		e := rest[:floorEntrySize]
		if crc32.Checksum(e[:28], castagnoli) != binary.BigEndian.Uint32(e[28:]) {
			torn++
			continue
		}
		bad, torn = bad+torn, 0
		key := kafka.TopicIDPartition{TopicID: kafka.TopicID(e[:16]), Partition: int32(binary.BigEndian.Uint32(e[16:]))}
		do(key, int64(binary.BigEndian.Uint64(e[20:])))
	}
	return bad, torn
}

func appendFloorHeader(b []byte) []byte {
	at := len(b)
	b = append(b, floorMagic...)
	b = binary.BigEndian.AppendUint16(b, floorVersion)
	b = binary.BigEndian.AppendUint16(b, floorEntrySize)
	b = append(b, make([]byte, 16)...)
	b[at+floorStarts] = 1
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

func appendFloor(b []byte, id kafka.TopicID, partition int32, flushed int64) []byte {
	at := len(b)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(flushed))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// add notes a floor of the round under way.
func (f *floor) add(p *Partition, flushed int64) {
	f.batch = appendFloor(f.batch, p.topic.id, p.index, flushed)
}

// write appends the floors of the round to the journal. They are in the file when it returns, and on the disk with
// the next sync.
func (f *floor) write() error {
	if len(f.batch) == 0 {
		return nil
	}
	err := f.append(func([]byte) []byte { return f.batch })
	f.batch = f.batch[:0]
	return err
}

// append appends what add makes to the journal: made under mu, so that no entry of a replica follows the one that ends it.
func (f *floor) append(add func(b []byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := add(nil)
	if len(entries) == 0 {
		return nil
	}
	if _, err := f.file.WriteAt(entries, f.size); err != nil {
		return fmt.Errorf("write the durable floor: %w", err)
	}
	f.size += int64(len(entries))
	f.dirty.Store(true)
	return nil
}

// end ends replicas, durably.
func (f *floor) end(replicas []endedReplica) error {
	err := f.append(func(b []byte) []byte {
		for _, r := range replicas {
			b = appendFloor(b, r.log.TopicID, r.log.Partition, -1-int64(r.run))
			if r.run > 0 {
				if f.ended == nil {
					f.ended = map[kafka.TopicIDPartition]uint64{}
				}
				f.ended[r.log] = r.run
			}
		}
		return b
	})
	if err != nil {
		return err
	}
	return f.sync()
}

// runsAre says which run of the journal is the oldest that a start may find.
func (f *floor) runsAre(oldest uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.ended, func(_ kafka.TopicIDPartition, run uint64) bool { return run < oldest })
}

// unsynced waits for no sync: whoever asks may hold what appends need.
func (f *floor) unsynced() bool { return f.dirty.Load() }

// sync makes what was written so far durable.
func (f *floor) sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dirty.Load() || f.file == nil {
		return nil
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("sync the durable floor: %w", err)
	}
	f.dirty.Store(false)
	return nil
}

// rewrite replaces the journal by one that holds only the floors that are still of use: those above the recovery
// points that lie in their checkpoint. The directory must not be in the middle of a round's write; mu sees to it.
func (f *floor) rewrite(live func(b []byte) []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data := appendFloorHeader(nil)
	for log, run := range f.ended {
		data = appendFloor(data, log.TopicID, log.Partition, -1-int64(run))
	}
	data = live(data)
	tmp := f.path + ".tmp"
	file, err := f.fs.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if _, err = file.WriteAt(data, 0); err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = f.fs.Rename(tmp, f.path)
	}
	if err == nil {
		err = f.fs.SyncDir(path.Dir(f.path))
	}
	if err != nil {
		file.Close()
		return fmt.Errorf("rewrite the durable floor: %w", err)
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.size = file, int64(len(data))
	f.dirty.Store(false)
	f.compacted = f.size
	return nil
}

// floorGrowth is how many bytes, and how many times its size, the journal grows before it is rewritten.
const (
	floorGrowth       = 256 << 10
	floorGrowthFactor = 4
)

// grown reports whether the journal is worth rewriting.
func (f *floor) grown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.size > max(floorGrowth, floorGrowthFactor*f.compacted)
}

func (f *floor) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// journalFrameView is a frame as it was read.
type journalFrameView struct {
	run      uint64
	sequence uint32
	entries  []journalEntry
}

// journalEntry is a run of bytes of a log. The bytes are part of what was read.
type journalEntry struct {
	id             kafka.TopicID
	partition      kafka.TopicPartition
	base, position int64
	end            int64
	bytes          []byte
}

// ReplayJournal completes logs that were copied from the directory of a stopped node, from, to another one, into: with
// what the node's last process had made durable in its journal alone. The logs are durable on return. It is nothing to a
// directory without a journal.
func ReplayJournal(fsys vfs.FS, from, into string) error {
	_, _, err := replayJournal(fsys, from, into, slog.New(slog.DiscardHandler))
	return err
}

// JournalLacks tells, of the directory of a stopped node, what its next start will write into its logs: how many bytes the
// journal has that a file lacks, by the file's name. Nothing is changed.
func JournalLacks(fsys vfs.FS, dir string) (map[string]int64, error) {
	r, _, err := readJournal(fsys, dir, dir)
	if err != nil {
		return nil, err
	}
	lacks := map[string]int64{}
	for _, file := range r.files {
		f, err := r.open(file, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		n, err := r.differing(f, file, func(journalEntry) error { return nil })
		f.Close()
		if err != nil {
			return nil, err
		}
		if n > 0 {
			lacks[r.name(file)] = n
		}
	}
	return lacks, nil
}

// replayJournal writes what the journal in one directory has of logs into those in another, or the same. ends is where each log ends, at least: its floor. bad counts frames that do
// not check though others of their run follow.
func replayJournal(fsys vfs.FS, dir, into string, log *slog.Logger) (ends map[kafka.TopicIDPartition]int64, bad int, err error) {
	r, bad, err := readJournal(fsys, dir, into)
	if err != nil {
		return nil, bad, err
	}
	if bad > 0 {
		log.Warn("frames of the journal do not check; what they held is as the logs have it, and what these lack of it is called damage where the durable floor or a later frame tells", "dir", dir, "frames", bad)
	}
	written, err := r.apply()
	if err != nil {
		return nil, bad, fmt.Errorf("write the journal of %s into the logs: %w", dir, err)
	}
	if written > 0 {
		log.Info("wrote into the logs what the journal alone had of them", "dir", dir, "bytes", written, "segments", len(r.files))
	}
	return r.ends, bad, nil
}

// readJournal reads the journal in one directory for logs in another, or the same.
func readJournal(fsys vfs.FS, dir, into string) (r *replay, bad int, err error) {
	var frames, newest []journalFrameView // newest are those of the half that was written to last
	for _, name := range journalFiles {
		data, err := vfs.ReadFile(fsys, path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		more, lost := parseJournal(data)
		frames, bad = append(frames, more...), bad+lost
		if len(more) > 0 && (len(newest) == 0 || more[0].run > newest[0].run) {
			newest = more
		}
	}
	if len(newest) > 0 {
		// Before them there were others of the run. In the other half it may be that a new run was to begin there.
		bad += int(newest[0].sequence)
	}
	slices.SortStableFunc(frames, func(a, b journalFrameView) int {
		return cmp.Or(cmp.Compare(a.run, b.run), cmp.Compare(a.sequence, b.sequence))
	})
	data, err := vfs.ReadFile(fsys, path.Join(dir, floorFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, bad, err
	}
	ended := parseEnded(data)
	r = &replay{fs: fsys, dir: into, ids: map[kafka.TopicPartition]kafka.TopicID{}, runs: map[replayFile][]journalEntry{}, ends: map[kafka.TopicIDPartition]int64{}}
	for _, f := range frames {
		for _, e := range f.entries {
			if run, over := ended[kafka.TopicIDPartition{TopicID: e.id, Partition: e.partition.Partition}]; over && f.run <= run {
				continue
			}
			if err := r.take(e); err != nil {
				return nil, bad, err
			}
		}
	}
	return r, bad, nil
}

// parseJournal reads a half: the frames of its last run. Frames of an earlier run may follow, where the last one has not
// come by yet, or be all there is, when the crash tore its first frame: they hold what the logs have. bad counts the
// frames of the run that do not check and have others behind them; at the end that is a write that was torn.
func parseJournal(data []byte) (frames []journalFrameView, bad int) {
	for at := 0; at+journalFrameHeader <= len(data); {
		f, size, ok := parseFrame(data[at:])
		if n := len(frames); ok && n > 0 {
			last := &frames[n-1]
			if ok = f.run == last.run && f.sequence > last.sequence; ok {
				bad += int(f.sequence - last.sequence - 1)
			}
		}
		if !ok {
			at += journalSector
			continue
		}
		frames = append(frames, f)
		at += int(sectors(int64(size)))
	}
	return frames, bad
}

// parseFrame reads the frame at the beginning of b.
func parseFrame(b []byte) (f journalFrameView, size int, ok bool) {
	if len(b) < journalFrameHeader || string(b[:8]) != journalMagic {
		return f, 0, false
	}
	n := binary.BigEndian.Uint32(b[24:])
	if n > journalFrame || int(n) > len(b)-journalFrameHeader {
		return f, 0, false
	}
	b = b[:journalFrameHeader+int(n)]
	if frameSum(b) != binary.BigEndian.Uint32(b[28:]) {
		return f, 0, false
	}
	f.run, f.sequence = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])
	rest := b[journalFrameHeader:]
	for range binary.BigEndian.Uint32(b[20:]) {
		if len(rest) < journalEntryHeader {
			return f, 0, false
		}
		e := journalEntry{
			id: kafka.TopicID(rest[:16]), base: int64(binary.BigEndian.Uint64(rest[20:])),
			position: int64(binary.BigEndian.Uint64(rest[28:])), end: int64(binary.BigEndian.Uint64(rest[36:])),
		}
		length, name := int(binary.BigEndian.Uint32(rest[44:])), int(binary.BigEndian.Uint16(rest[48:]))
		partition := int32(binary.BigEndian.Uint32(rest[16:]))
		if rest = rest[journalEntryHeader:]; len(rest) < name || length > len(rest)-name {
			return f, 0, false
		}
		e.partition = kafka.TopicPartition{Topic: string(rest[:name]), Partition: partition}
		e.bytes, rest = rest[name:name+length], rest[name+length:]
		f.entries = append(f.entries, e)
	}
	return f, len(b), len(rest) == 0
}

// replay collects what is to be written, by file.
type replay struct {
	fs    vfs.FS
	dir   string
	ids   map[kafka.TopicPartition]kafka.TopicID // whose directory it is; zero when nobody's
	files []replayFile                           // in the order of their first entry
	runs  map[replayFile][]journalEntry
	ends  map[kafka.TopicIDPartition]int64
}

type replayFile struct {
	partition kafka.TopicPartition
	base      int64
}

// take takes an entry in, unless its log is not there any more.
func (r *replay) take(e journalEntry) error {
	id, known := r.ids[e.partition]
	if !known {
		var err error
		id, err = commitlog.ReadPartitionMetadata(r.fs, path.Join(r.dir, e.partition.String()))
		if errors.Is(err, commitlog.ErrIO) {
			return err
		}
		if err != nil {
			// Whose directory it is has been lost. The journal knows of nobody else: what was deleted has been ended.
			id = e.id
		}
		r.ids[e.partition] = id
	}
	if id != e.id {
		return nil
	}
	f := replayFile{e.partition, e.base}
	if r.runs[f] == nil {
		r.files = append(r.files, f)
	}
	r.runs[f] = append(r.runs[f], e)
	log := kafka.TopicIDPartition{TopicID: id, Partition: e.partition.Partition}
	r.ends[log] = max(r.ends[log], e.end)
	return nil
}

// apply writes what the files do not hold, and syncs them all: what they hold may be in the page cache only.
func (r *replay) apply() (written int64, err error) {
	errs, counts := make([]error, len(r.files)), make([]int64, len(r.files))
	inParallel(len(r.files), syncsAtOnce, func(i int) {
		counts[i], errs[i] = r.applyFile(r.files[i])
	})
	for _, n := range counts {
		written += n
	}
	return written, errors.Join(errs...)
}

func (r *replay) applyFile(file replayFile) (written int64, err error) {
	f, err := r.open(file, os.O_RDWR)
	if f == nil {
		return 0, err
	}
	defer f.Close()
	written, err = r.differing(f, file, func(e journalEntry) error {
		_, err := f.WriteAt(e.bytes, e.position)
		return err
	})
	if err != nil {
		return written, err
	}
	return written, f.Sync()
}

// open opens a file; nil when retention took it: a segment's name is durable before the journal holds bytes of it.
func (r *replay) open(file replayFile, flag int) (vfs.File, error) {
	f, err := r.fs.OpenFile(r.name(file), flag, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

func (r *replay) name(file replayFile) string {
	return path.Join(r.dir, file.partition.String(), segment.FileName(file.base, segment.LogSuffix))
}

// differing calls do for each run of bytes that the file has not, and returns how many bytes these are.
func (r *replay) differing(f vfs.File, file replayFile, do func(journalEntry) error) (n int64, err error) {
	var there []byte
	for _, e := range r.runs[file] {
		there = slices.Grow(there[:0], len(e.bytes))[:len(e.bytes)]
		read, err := f.ReadAt(there, e.position)
		if err != nil && err != io.EOF {
			return n, err
		}
		if read == len(e.bytes) && bytes.Equal(there, e.bytes) {
			continue
		}
		if err := do(e); err != nil {
			return n, err
		}
		n += int64(len(e.bytes))
	}
	return n, nil
}

// removeJournal removes the files of a journal, for good.
func removeJournal(fsys vfs.FS, dir string) error {
	removed := false
	for _, name := range journalFiles {
		err := fsys.Remove(path.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		removed = removed || err == nil
	}
	if !removed {
		return nil
	}
	return fsys.SyncDir(dir)
}

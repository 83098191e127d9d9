package replica

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// journal makes many small appends of a directory durable by one sync of one file, where a sync of each log would cost
// the disk as many flushes (DESIGN, D6). A round of group commit copies into it what its logs hold that is durable
// nowhere yet; the logs themselves reach the disk later and together. Small appends are not even written to their logs
// before that: these hold them in memory (segment.Holding).
//
// It has two halves, each a file. One is written until it is full; then the other is, while the logs that the first one
// vouches for are synced (drain), after which it counts for nothing. When both are in use the logs are synced one by
// one, as they are when there is much to write, when a log has new files, and when the journal has no room to grow.
//
// After a crash what a journal holds is written into the logs again before they are opened (journal_replay.go).
//
//	half     ┌───────────────┬──────┬───────────────┬──────┬ ─ ─
//	         │ frame         │ zeros│ frame         │ zeros│       each frame begins at a multiple of 512
//	         └───────────────┴──────┴───────────────┴──────┴ ─ ─
//	frame    0       8     16         20        24       28       32
//	         ┌───────┬─────┬──────────┬─────────┬────────┬────────┬ ─ ─ ─ ─
//	         │ magic │ run │ sequence │ number  │ bytes  │ CRC-32C│ entries
//	         │MRJRNL │     │ in the   │ of      │ of     │ of all │
//	         │\0\1   │     │ run      │ entries │ entries│ the    │
//	         │       │     │          │         │        │ rest   │
//	         └───────┴─────┴──────────┴─────────┴────────┴────────┴ ─ ─ ─ ─
//	entry    0          16          20          28         36         44       48       50
//	         ┌──────────┬───────────┬───────────┬──────────┬──────────┬────────┬────────┬───────┬───────┐
//	         │ topic id │ partition │ segment's │ position │ the log  │ number │ length │ name  │ bytes │
//	         │          │           │ base      │ in its   │ ends at, │ of     │ of     │ of the│       │
//	         │          │ int32     │ offset    │ file     │ flushed  │ bytes  │ name   │ topic │       │
//	         └──────────┴───────────┴───────────┴──────────┴──────────┴────────┴────────┴───────┴───────┘
//
// All numbers are big-endian. A run is one use of a half; its number is greater than that of every run before, so what an
// earlier run left behind in the file is not taken for a frame of this one. A frame never shares a sector with another,
// so that writing the next cannot harm it.
//
// Only the goroutine that runs a round writes.
type journal struct {
	dir    *logDir
	halves [2]half
	at     int
	run    uint64
	next   uint32 // sequence of the next frame
	uses   uint32 // counts runs: Partition.journaled names the last one that a partition is in
	frame  []byte // the one being filled, in an aligned buffer
	// above is a number that the floor's file has of an earlier process: every run's is greater.
	above uint64
	// runs are the last ones, the newest first: a start finds one of the last two that used each half.
	runs [4]uint64
	// barred are replicas that the run has bytes of from before they were deleted or moved away: should they come back,
	// they wait for the next run.
	barred map[kafka.TopicIDPartition]struct{}
	limit  int64 // of a half: journalHalf, but in tests
	// chosen and taken are how many logs and bytes the last round brought.
	chosen int
	taken  int64
	// frames counts what was written, for tests.
	frames atomic.Int64
}

// half is one of the two files.
type half struct {
	path string
	file vfs.File // nil until its first use
	used int64    // bytes that the run has written
	size int64    // of the file
	// parts are the partitions that the run vouches for.
	parts []*Partition
	// draining is true from when the half is full until its partitions are synced.
	draining atomic.Bool
}

const (
	journalMagic       = "MRJRNL\x00\x01"
	journalFrameHeader = 32
	journalEntryHeader = 50
	journalSector      = vfs.DirectSector

	// journalHalf is how large a half grows; twice that is what a start after a crash has to write at the most.
	journalHalf = 32 << 20
	// journalRound is how much of a round the journal takes, in frames of up to journalFrame, and journalShare how much of it
	// one log may take: to copy more costs as much as the sync that it saves. Where many logs would be synced they would
	// wait for each other, too; while they do, more comes, and rounds that are too large for the journal would get larger.
	journalRound    = 8 << 20
	journalFrame    = 1 << 20
	journalShare    = 32 << 10
	journalBigShare = 128 << 10
	journalMany     = 32
	// journalKept is how large a buffer is kept while nothing is written.
	journalKept = 16 << 10
	// drainsAtOnce bounds the syncs of a drain, which is in no hurry and must not be in the way of the rounds.
	drainsAtOnce = 4
)

// journalFiles are the names of the halves in a log directory.
var journalFiles = [2]string{"millrace-journal.0", "millrace-journal.1"}

func (j *journal) init(d *logDir) {
	j.dir, j.limit = d, journalHalf
	for i := range j.halves {
		j.halves[i].path = d.path(journalFiles[i])
	}
}

// choose marks the items of a round that the journal takes, and reports how many these are. They have room in it.
func (j *journal) choose(items []syncItem) (chosen int) {
	share, small := int64(journalShare), 0
	for i := range items {
		if n, ok := items[i].flush.Loose(); ok && n <= journalBigShare {
			small++
		}
	}
	if small >= journalMany {
		share = journalBigShare
	}
	total := int64(0)
	for i := range items {
		it := &items[i]
		n, ok := it.flush.Loose()
		if _, barred := j.barred[it.partition.key()]; barred {
			continue
		}
		if !ok || n == 0 || n > share {
			continue
		}
		if n += it.entryHeaders(); total+n > journalRound {
			break
		}
		total += n
		it.chosen = true
		chosen++
	}
	j.chosen, j.taken = chosen, total
	// A frame is never more than an item short of full.
	frames := 2 + total/(journalFrame-journalBigShare)
	if chosen > 0 && !j.makeRoom(total+frames*(journalFrameHeader+journalSector)) {
		for i := range items {
			items[i].chosen = false
		}
		return 0
	}
	return chosen
}

// entryHeaders is how many bytes the entries of an item take beside those of its log.
func (it *syncItem) entryHeaders() (n int64) {
	for range it.flush.LooseRuns {
		n += int64(journalEntryHeader + len(it.partition.topic.name))
	}
	return n
}

func sectors(n int64) int64 { return (n + journalSector - 1) &^ (journalSector - 1) }

// makeRoom sees to it that n bytes fit into the half in use: it turns to the other one if that is free.
func (j *journal) makeRoom(n int64) bool {
	h := &j.halves[j.at]
	if j.run == 0 || h.used+n > j.limit {
		other := &j.halves[1-j.at]
		if other.draining.Load() {
			return false
		}
		if j.run != 0 && !j.drain(h) {
			return false
		}
		j.at, h = 1-j.at, other
		j.run, j.next, j.uses = max(j.run+1, j.above+1, uint64(time.Now().UnixNano())), 0, j.uses+1
		h.used, h.parts = 0, h.parts[:0]
		copy(j.runs[1:], j.runs[:])
		j.runs[0] = j.run
		clear(j.barred)
		j.dir.floor.runsAre(j.runs[len(j.runs)-1])
	}
	if grows := h.used + n - h.size; grows > 0 {
		return j.dir.room.admit(int(grows)) == nil
	}
	return true
}

// drain begins to sync the logs that a full half vouches for.
func (j *journal) drain(h *half) bool {
	d := j.dir
	if !d.begin() {
		return false // the directory is closing: that syncs every log
	}
	h.draining.Store(true)
	go func() {
		defer d.tasks.Done()
		j.drained(h)
	}()
	return true
}

// drained syncs the logs that a half vouches for, and gives it free. Where there is no room for what these hold in memory,
// the half stays until there is.
func (j *journal) drained(h *half) {
	d := j.dir
	err := d.syncJournaled(h.parts)
	switch {
	case err == nil:
		clear(h.parts)
		h.draining.Store(false)
	case commitlog.IsHeld(err):
		d.room.ranFull(err)
		d.after(roomProbe, func() { j.drained(h) })
	default:
		d.fail(fmt.Errorf("sync what the journal holds: %w", err))
	}
}

// syncJournaled makes the logs themselves durable, with their floors: from then on nothing rests on the journal.
func (d *logDir) syncJournaled(parts []*Partition) error {
	floors := make([]int64, len(parts))
	for i, p := range parts {
		// What is flushed now lies in the file or in the journal, and the sync that follows covers both.
		floors[i] = p.log.Flushed()
	}
	for _, p := range parts {
		p.log.WriteBack()
	}
	errs := make([]error, len(parts))
	inParallel(len(parts), drainsAtOnce, func(i int) { errs[i] = parts[i].log.SyncFiles() })
	wake := newWakes()
	defer wake.run()
	for i, err := range errs {
		switch {
		case err == nil || parts[i].currentRole().gone:
		case d.isOfOneLog(err):
			parts[i].lose(err, wake) // its floor says what is missing
		default:
			return err
		}
	}
	err := d.floor.append(func(b []byte) []byte {
		for i, p := range parts {
			if !p.currentRole().gone {
				b = appendFloor(b, p.topic.id, p.index, floors[i])
			}
		}
		return b
	})
	if err != nil {
		return err
	}
	return d.floor.sync()
}

// endedReplica is a replica that was deleted or moved away; run is the last one of the journal that may have bytes of it, 0
// for none.
type endedReplica struct {
	log kafka.TopicIDPartition
	run uint64
}

// end makes the floor and the journal count for nothing for replicas that are no more.
func (j *journal) end(gone []goneReplica) error {
	ended := make([]endedReplica, 0, len(gone))
	for _, g := range gone {
		e := endedReplica{log: g.log}
		if g.partition != nil && g.partition.journaled != 0 {
			e.run = j.run
			if j.barred == nil {
				j.barred = map[kafka.TopicIDPartition]struct{}{}
			}
			j.barred[g.log] = struct{}{}
		}
		ended = append(ended, e)
	}
	return j.dir.floor.end(ended)
}

// write makes the chosen items of a round durable, with one sync. When the disk has no room for it, or a log cannot be
// read, the items are left to be synced one by one.
func (j *journal) write(items []syncItem) error {
	h := &j.halves[j.at]
	w := frameWriter{j: j, half: h, at: h.used, next: j.next}
	err := j.open(h)
	for i := range items {
		if it := &items[i]; it.chosen && err == nil {
			err = w.add(it)
		}
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil && w.next > j.next {
		err = h.file.Sync()
	}
	if err != nil {
		return j.refused(items, err)
	}
	j.frames.Add(int64(w.next - j.next))
	j.next, h.used = w.next, w.at
	h.size = max(h.size, h.used)
	for i := range items {
		if it := &items[i]; it.journaled {
			it.flush.Journaled()
			if p := it.partition; p.journaled != j.uses {
				p.journaled = j.uses
				h.parts = append(h.parts, p)
			}
		}
	}
	return nil
}

// frameWriter writes the frames of a round behind each other. What it wrote counts once the file is synced: after an error
// the next round writes over it.
type frameWriter struct {
	j       *journal
	half    *half
	at      int64
	next    uint32
	entries uint32
}

// add puts an item into the frame, or into the next one. An item that cannot be read is left out.
func (w *frameWriter) add(it *syncItem) error {
	j := w.j
	n, _ := it.flush.Loose()
	n += it.entryHeaders()
	if int64(len(j.frame))+n > journalFrame {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.entries == 0 {
		j.frame = j.frame[:0]
		j.grow(journalFrameHeader)
		j.frame = append(j.frame, zeros[:journalFrameHeader]...)
	}
	j.grow(int(n))
	begin, entries := len(j.frame), uint32(0)
	for part, run := range it.flush.LooseRuns {
		var err error
		if j.frame, err = appendJournalEntry(j.frame, it, part, run); err != nil {
			j.frame = j.frame[:begin]
			return nil
		}
		entries++
	}
	it.journaled = true
	w.entries += entries
	return nil
}

// grow makes room in the frame for n bytes more, and for the zeros behind it.
func (j *journal) grow(n int) {
	if n += len(j.frame) + journalSector; n > cap(j.frame) {
		j.frame = append(vfs.AlignedBuffer(min(max(n, 2*cap(j.frame)), journalFrame+journalSector)), j.frame...)
	}
}

// zeros are what stands in a frame's header before it is sealed, and behind a frame.
var zeros [journalSector]byte

// flush writes the frame, if there is something in it.
func (w *frameWriter) flush() error {
	if w.entries == 0 {
		return nil
	}
	frame := w.j.frame
	sealFrame(frame, w.j.run, w.next, w.entries)
	frame = append(frame, zeros[:sectors(int64(len(frame)))-int64(len(frame))]...)
	if _, err := w.half.file.WriteAt(frame, w.at); err != nil {
		return err
	}
	w.at += int64(len(frame))
	w.next++
	w.entries = 0
	return nil
}

// refused sees to a journal that could not be written: a full disk is nothing to it, since the logs have their room.
func (j *journal) refused(items []syncItem, err error) error {
	if !isFull(err) {
		return fmt.Errorf("write the journal of small appends: %w", err)
	}
	for i := range items {
		items[i].journaled = false
	}
	return nil
}

// open makes the file of a half at its first use.
func (j *journal) open(h *half) error {
	if h.file != nil {
		return nil
	}
	d := j.dir
	f, err := d.fs.OpenFile(h.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|vfs.Direct, 0o644)
	if err != nil {
		return err
	}
	if err := d.fs.SyncDir(d.Path); err != nil {
		f.Close()
		return err
	}
	h.file = f
	return nil
}

func appendJournalEntry(b []byte, it *syncItem, part int, run commitlog.Run) ([]byte, error) {
	t := it.partition.topic
	b = append(b, t.id[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(it.partition.index))
	b = binary.BigEndian.AppendUint64(b, uint64(run.Base))
	b = binary.BigEndian.AppendUint64(b, uint64(run.Position))
	b = binary.BigEndian.AppendUint64(b, uint64(it.flush.End()))
	b = binary.BigEndian.AppendUint32(b, uint32(run.Length))
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.name)))
	b = append(b, t.name...)
	at := len(b)
	b = b[:at+run.Length]
	return b, it.flush.ReadRun(part, run, b[at:])
}

// sealFrame fills in the header of a frame.
func sealFrame(b []byte, run uint64, sequence, entries uint32) {
	copy(b, journalMagic)
	binary.BigEndian.PutUint64(b[8:], run)
	binary.BigEndian.PutUint32(b[16:], sequence)
	binary.BigEndian.PutUint32(b[20:], entries)
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)-journalFrameHeader))
	binary.BigEndian.PutUint32(b[28:], frameSum(b))
}

// frameSum is the checksum of a frame: of all but itself.
func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:28], castagnoli), castagnoli, b[journalFrameHeader:])
}

// rest gives up what a directory at rest does not need.
func (j *journal) rest() {
	if !j.atRest() {
		j.frame = nil
	}
}

func (j *journal) atRest() bool { return cap(j.frame) <= journalKept }

// close gives the files up; with every log closed they are of no use, and go.
func (j *journal) close(remove bool) error {
	for i := range j.halves {
		h := &j.halves[i]
		if h.file == nil {
			continue
		}
		h.file.Close()
		h.file = nil
	}
	if !remove {
		return nil
	}
	return removeJournal(j.dir.fs, j.dir.Path)
}

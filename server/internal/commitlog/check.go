package commitlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"sort"
	"strings"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Severity says what a finding means.
type Severity int8

// The severities.
const (
	// Rebuilt is about a file that the next start makes anew from the batches, if the last stop was not clean.
	Rebuilt Severity = iota
	// Torn is about the end of the log: what a write leaves that did not complete, or damage of the last batch. A
	// start cuts it off above the durable floor.
	Torn
	// Damaged is about records.
	Damaged
)

// String is the severity in a word.
func (s Severity) String() string { return [...]string{"rebuilt", "torn", "damaged"}[s] }

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity
	File     string // within the directory
	Position int64  // in the file; -1: the whole file
	Offset   int64  // of the batch, -1 when it is about none
	Problem  string
}

// String is the finding in a line.
func (f Finding) String() string {
	s := fmt.Sprintf("%s: %s", f.Severity, f.File)
	if f.Position >= 0 {
		s += fmt.Sprintf(", position %d", f.Position)
	}
	if f.Offset >= 0 {
		s += fmt.Sprintf(", offset %d", f.Offset)
	}
	return s + ": " + f.Problem
}

// Report is what Check found in one directory.
type Report struct {
	Partition   kafka.TopicPartition
	Segments    int
	Batches     int64
	Records     int64
	Bytes       int64
	StartOffset int64 // of the first segment
	EndOffset   int64 // behind the last good batch
	Findings    []Finding
	Err         error // why not everything could be looked at
}

// OK reports whether everything was looked at and nothing is wrong.
func (r *Report) OK() bool { return r.Err == nil && len(r.Findings) == 0 }

// CheckOptions say how a log is verified.
type CheckOptions struct {
	Compacted bool          // gaps between offsets are what compaction leaves
	Deep      bool          // decompress and parse every record, too
	TopicID   kafka.TopicID // that partition.metadata must have; zero: any
	// Floor is the offset below which everything was on the disk once: what is bad or missing there is damage. 0: not known.
	Floor int64
	// Progress hears how many bytes of how many were read. May be nil.
	Progress func(read, total int64)
}

// Check verifies the log of a partition on the disk: every batch (CRC, length, offsets, epoch, and its records if
// Deep), every index entry against the batch that it points at, the aborted transactions, the producer snapshots and
// the small files. It changes nothing, and nobody may be writing to the log. Every finding is reported with its file
// and position.
func Check(fsys vfs.FS, dir string, o CheckOptions) Report {
	c := &checker{fs: fsys, dir: dir, o: o, txns: txns{}, inside: map[int64]struct{}{}}
	if tp, ok := ParseDirName(path.Base(dir)); ok {
		c.r.Partition = tp
	}
	if err := c.run(); err != nil {
		c.r.Err = err
	}
	return c.r
}

type checker struct {
	fs      vfs.FS
	dir     string
	o       CheckOptions
	r       Report
	handles *segment.Handles
	chain   chain
	txns    txns
	begins  bool               // txns has those that began before the log does
	inside  map[int64]struct{} // offsets inside a batch where the epoch file has an epoch begin
	total   int64
	d       record.Decompressor
}

func (c *checker) tell(s Severity, file string, position, offset int64, format string, args ...any) {
	c.r.Findings = append(c.r.Findings, Finding{s, file, position, offset, fmt.Sprintf(format, args...)})
}

func (c *checker) run() error {
	entries, err := c.fs.ReadDir(c.dir)
	if err != nil {
		return err
	}
	c.handles = segment.NewHandles(c.fs, 8)
	var logs, snapshots []int64
	beside := map[string]bool{}
	for _, e := range entries {
		offset, kind, state, ok := segment.ParseFileName(e.Name())
		switch {
		case !ok || state == segment.DeletedSuffix:
		case state != "":
			c.tell(Rebuilt, e.Name(), -1, -1, "compaction was interrupted; the next start finishes or forgets it")
		case kind == segment.LogSuffix:
			logs = append(logs, offset)
			if info, err := e.Info(); err == nil {
				c.total += info.Size()
			}
		case kind == segment.SnapshotSuffix:
			snapshots = append(snapshots, offset)
		default:
			beside[e.Name()] = true
		}
	}
	sort.Slice(logs, func(i, j int) bool { return logs[i] < logs[j] })
	if err := c.smallFiles(); err != nil {
		return err
	}
	if len(logs) == 0 {
		c.tell(Damaged, ".", -1, -1, "the directory holds no segment")
		return nil
	}
	c.r.StartOffset = logs[0]
	c.chain.next, c.chain.epoch, c.chain.gaps, c.chain.below = logs[0], record.NoLeaderEpoch, c.o.Compacted, math.MaxInt64
	if err := c.begun(snapshots, logs[0]); err != nil {
		return err
	}
	for i, base := range logs {
		if i > 0 && base != c.chain.next && (!c.o.Compacted || base < c.chain.next) {
			c.tell(Damaged, segment.FileName(base, segment.LogSuffix), -1, base, "the segment before it ends at offset %d", c.chain.next)
			c.chain.next = base
		}
		c.chain.next = max(c.chain.next, base)
		if err := c.segment(base, beside, i == len(logs)-1); err != nil {
			return err
		}
	}
	c.r.EndOffset = c.chain.next
	if c.r.EndOffset < c.o.Floor {
		c.tell(Damaged, segment.FileName(logs[len(logs)-1], segment.LogSuffix), -1, c.r.EndOffset, "the log ends here; it was on the disk up to offset %d", c.o.Floor-1)
	}
	for _, e := range c.chain.epochs {
		if _, inside := c.inside[e.Start]; inside {
			c.tell(Rebuilt, EpochFile, -1, e.Start, "epoch %d begins inside a batch", e.Epoch)
		}
		if e.Start > c.r.EndOffset {
			c.tell(Rebuilt, EpochFile, -1, e.Start, "epoch %d begins behind the log's end, %d", e.Epoch, c.r.EndOffset)
		}
	}
	for _, offset := range snapshots {
		if err := c.snapshot(offset); err != nil {
			return err
		}
	}
	for name := range beside {
		if offset, _, _, _ := segment.ParseFileName(name); sort.Search(len(logs), func(i int) bool { return logs[i] >= offset }) == len(logs) || !contains(logs, offset) {
			c.tell(Rebuilt, name, -1, -1, "an index without its segment")
		}
	}
	sort.SliceStable(c.r.Findings, func(i, j int) bool {
		a, b := &c.r.Findings[i], &c.r.Findings[j]
		if a.File != b.File {
			return a.File < b.File
		}
		return a.Position < b.Position
	})
	return nil
}

// begun takes in the transactions that began before the log does.
func (c *checker) begun(snapshots []int64, start int64) error {
	newest := int64(-1)
	for _, offset := range snapshots {
		if offset <= start {
			newest = max(newest, offset)
		}
	}
	if newest < 0 {
		c.begins = start == 0
		return nil
	}
	err := ReadSnapshot(c.fs, path.Join(c.dir, segment.FileName(newest, segment.SnapshotSuffix)), c.txns.restore)
	if errors.Is(err, ErrSnapshotCorrupt) {
		return nil // it is told with the other snapshots
	}
	c.begins = err == nil
	return err
}

func contains(sorted []int64, v int64) bool {
	i := sort.Search(len(sorted), func(i int) bool { return sorted[i] >= v })
	return i < len(sorted) && sorted[i] == v
}

func (c *checker) smallFiles() error {
	known, err := ReadEpochs(c.fs, path.Join(c.dir, EpochFile))
	if errors.Is(err, ErrIO) {
		return err
	}
	if err != nil {
		c.tell(Rebuilt, EpochFile, -1, -1, "%v", trimDir(err, c.dir))
	}
	c.chain.epochs = known
	id, err := ReadPartitionMetadata(c.fs, c.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, ErrIO):
		return err
	case err != nil:
		c.tell(Damaged, PartitionMetadataFile, -1, -1, "%v", trimDir(err, c.dir))
	case !c.o.TopicID.IsZero() && id != c.o.TopicID:
		c.tell(Damaged, PartitionMetadataFile, -1, -1, "the log belongs to topic id %s, not to %s", id, c.o.TopicID)
	}
	return nil
}

// trimDir leaves the directory out of a message whose finding names the file.
func trimDir(err error, dir string) string { return strings.ReplaceAll(err.Error(), dir+"/", "") }

// segment verifies one segment with its indexes.
func (c *checker) segment(base int64, beside map[string]bool, last bool) error {
	c.r.Segments++
	seg := segment.New(c.handles, c.dir, base)
	defer seg.Close()
	name := segment.FileName(base, segment.LogSuffix)
	f, err := seg.Log.Acquire()
	if err != nil {
		return err
	}
	defer seg.Log.Release()
	size, err := f.Size()
	if err != nil {
		return err
	}
	offsets, times, err := c.loadIndexes(seg, size, beside, last)
	if err != nil {
		return err
	}
	var aborted []AbortedTxn
	sc := segment.NewScanner(f, 0, size, segment.BatchWindow)
	defer sc.Close()
	greatest := int64(-1)
	for {
		b, err := sc.Next()
		if err == io.EOF {
			break
		}
		var bytes []byte
		if err == nil {
			bytes, err = sc.Bytes()
		}
		if err != nil {
			if !segment.IsBad(err) {
				return err
			}
			severity := Damaged
			if last && c.chain.next >= c.o.Floor {
				severity = Torn
			}
			c.tell(severity, name, sc.Position(), c.chain.next, "%v; %d bytes from here on cannot be read", err, size-sc.Position())
			break
		}
		c.r.Batches++
		c.epochsInside(&b)
		c.r.Bytes += int64(b.Length)
		c.r.Records += int64(b.Count)
		severity := Damaged
		if last && b.End() == size && b.LastOffset() >= c.o.Floor {
			severity = Torn
		}
		sound := true
		c.chain.problems(&b, bytes, func(problem string) {
			sound = false
			c.tell(severity, name, b.Position, b.BaseOffset, "%s", problem)
		})
		if sound {
			c.records(name, &b, bytes)
			if t, ok := c.txns.step(&b, bytes); ok {
				aborted = append(aborted, t)
			}
		}
		for len(offsets) > 0 && offsets[0].Position <= b.Position {
			if e := offsets[0]; e.Position != b.Position || e.Offset != b.LastOffset() {
				c.tell(Rebuilt, segment.FileName(base, segment.IndexSuffix), -1, e.Offset, "an entry says that a batch that ends at offset %d begins at position %d; there is one at %d that ends at %d", e.Offset, e.Position, b.Position, b.LastOffset())
			}
			offsets = offsets[1:]
		}
		for len(times) > 0 && times[0].Offset <= b.LastOffset() {
			if e := times[0]; e.Timestamp != b.MaxTimestamp || b.MaxTimestamp <= greatest || e.Offset != b.LastOffset() && !c.recordAt(bytes, e) {
				c.tell(Rebuilt, segment.FileName(base, segment.TimeIndexSuffix), -1, e.Offset, "an entry says that timestamp %d is the greatest up to offset %d; the batch there (offsets %d to %d) has %d, before it %d was reached", e.Timestamp, e.Offset, b.BaseOffset, b.LastOffset(), b.MaxTimestamp, greatest)
			}
			times = times[1:]
		}
		greatest = max(greatest, b.MaxTimestamp)
		if c.o.Progress != nil {
			c.o.Progress(c.r.Bytes, c.total)
		}
	}
	for _, e := range offsets {
		c.tell(Rebuilt, segment.FileName(base, segment.IndexSuffix), -1, e.Offset, "an entry points at position %d, where no batch begins", e.Position)
	}
	for _, e := range times {
		c.tell(Rebuilt, segment.FileName(base, segment.TimeIndexSuffix), -1, e.Offset, "an entry (timestamp %d) names an offset that no batch has", e.Timestamp)
	}
	return c.abortedIndex(seg, base, aborted, beside)
}

// epochsInside notes the entries of the epoch file that begin inside a batch. The first may, since the log's start may lie
// there.
func (c *checker) epochsInside(b *segment.Batch) {
	known := c.chain.epochs
	i := sort.Search(len(known), func(i int) bool { return known[i].Start > b.BaseOffset })
	if i > 0 && i < len(known) && known[i].Start <= b.LastOffset() {
		c.inside[known[i].Start] = struct{}{}
	}
}

// recordAt reports whether the record that a time entry names has its timestamp: older versions of Kafka named the
// record, not the last of its batch.
func (c *checker) recordAt(batch []byte, e segment.TimeEntry) bool {
	if len(batch) > 16 && batch[16] < 2 {
		return true
	}
	for r, err := range record.Batch(batch).Records(&c.d) {
		if err != nil || r.Offset > e.Offset {
			return false
		}
		if r.Offset == e.Offset {
			return r.Timestamp == e.Timestamp
		}
	}
	return false
}

// loadIndexes reads the two indexes and verifies that they are in order.
func (c *checker) loadIndexes(seg *segment.Segment, size int64, beside map[string]bool, last bool) (offsets []segment.OffsetEntry, times []segment.TimeEntry, err error) {
	for _, x := range []struct {
		suffix string
		width  int64
		verify func() error
	}{
		{segment.IndexSuffix, 8, func() error { return seg.Offsets.Verify(size) }},
		{segment.TimeIndexSuffix, 12, seg.Times.Verify},
	} {
		name := segment.FileName(seg.Base, x.suffix)
		if !beside[name] {
			if size > 0 && !last {
				c.tell(Rebuilt, name, -1, -1, "the index is missing")
			}
			continue
		}
		info, err := c.fs.Stat(path.Join(c.dir, name))
		if err != nil {
			return nil, nil, err
		}
		if info.Size()%x.width != 0 {
			c.tell(Rebuilt, name, info.Size()-info.Size()%x.width, -1, "%d bytes are not a whole number of entries of %d", info.Size(), x.width)
		}
		if err := x.verify(); errors.Is(err, segment.ErrIndexCorrupt) {
			c.tell(Rebuilt, name, -1, -1, "%s", trimDir(err, c.dir))
		} else if err != nil {
			return nil, nil, err
		}
		n := int64(0)
		if x.width == 8 {
			err = seg.Offsets.Each(func(_ int, e segment.OffsetEntry) bool { offsets = append(offsets, e); return true })
			n = int64(len(offsets))
		} else {
			err = seg.Times.Each(func(_ int, e segment.TimeEntry) bool { times = append(times, e); return true })
			n = int64(len(times))
		}
		if err != nil {
			return nil, nil, err
		}
		if empty := info.Size()/x.width - n; empty > 0 && !last {
			c.tell(Rebuilt, name, n*x.width, -1, "%d entries of zeros at the end of an index that is sealed", empty)
		}
	}
	return offsets, times, nil
}

// records looks into a batch.
func (c *checker) records(name string, b *segment.Batch, bytes []byte) {
	if !c.o.Deep || b.Magic < 2 {
		return
	}
	n, greatest := int32(0), record.NoTimestamp
	next := b.BaseOffset
	for r, err := range record.Batch(bytes).Records(&c.d) {
		if err != nil {
			c.tell(Damaged, name, b.Position, b.BaseOffset, "record %d: %v", n, err)
			return
		}
		if r.Offset < next || r.Offset > b.LastOffset() {
			c.tell(Damaged, name, b.Position, b.BaseOffset, "record %d has offset %d; its batch has %d to %d, and %d must follow", n, r.Offset, b.BaseOffset, b.LastOffset(), next)
		}
		next = r.Offset + 1
		greatest = max(greatest, r.Timestamp)
		n++
	}
	if !c.o.Compacted && n > 0 && greatest != b.MaxTimestamp {
		c.tell(Damaged, name, b.Position, b.BaseOffset, "the greatest timestamp of the records is %d, the batch says %d", greatest, b.MaxTimestamp)
	}
}

func (c *checker) abortedIndex(seg *segment.Segment, base int64, want []AbortedTxn, beside map[string]bool) error {
	name := segment.FileName(base, segment.TxnIndexSuffix)
	var have []AbortedTxn
	if beside[name] {
		if err := seg.Txns.Verify(); errors.Is(err, segment.ErrIndexCorrupt) {
			c.tell(Rebuilt, name, -1, -1, "%s", trimDir(err, c.dir))
		} else if err != nil {
			return err
		}
		var err error
		if have, err = seg.Txns.All(); err != nil && !errors.Is(err, segment.ErrIndexCorrupt) {
			return err
		}
	}
	for _, w := range want {
		for len(have) > 0 && have[0].LastOffset < w.LastOffset {
			c.tell(Rebuilt, name, -1, have[0].LastOffset, "an entry names an abort marker that is not there")
			have = have[1:]
		}
		if len(have) == 0 || have[0].LastOffset > w.LastOffset {
			if w.FirstOffset >= 0 {
				c.tell(Rebuilt, name, -1, w.LastOffset, "the transaction that producer %d began at offset %d and aborted here is missing", w.ProducerID, w.FirstOffset)
			}
			continue
		}
		h := have[0]
		have = have[1:]
		wrong := h.ProducerID != w.ProducerID || h.LastStableOffset > w.LastStableOffset || c.begins && h.LastStableOffset != w.LastStableOffset
		if wrong || w.FirstOffset >= 0 && h.FirstOffset != w.FirstOffset {
			c.tell(Rebuilt, name, -1, w.LastOffset, "an entry says %+v, the batches say %+v", h, w)
		}
	}
	for _, h := range have {
		c.tell(Rebuilt, name, -1, h.LastOffset, "an entry names an abort marker that is not there")
	}
	return nil
}

func (c *checker) snapshot(offset int64) error {
	name := segment.FileName(offset, segment.SnapshotSuffix)
	if offset > c.r.EndOffset {
		c.tell(Rebuilt, name, -1, -1, "it is of offset %d, behind the log's end, %d", offset, c.r.EndOffset)
	}
	seen := map[int64]bool{}
	err := ReadSnapshot(c.fs, path.Join(c.dir, name), func(e SnapshotEntry) error {
		if seen[e.ProducerID] {
			c.tell(Rebuilt, name, -1, -1, "producer %d is listed twice", e.ProducerID)
		}
		seen[e.ProducerID] = true
		if e.LastOffset >= offset {
			c.tell(Rebuilt, name, -1, e.LastOffset, "producer %d has a batch behind the snapshot", e.ProducerID)
		}
		return nil
	})
	if errors.Is(err, ErrSnapshotCorrupt) {
		c.tell(Rebuilt, name, -1, -1, "%s", trimDir(err, c.dir))
		return nil
	}
	return err
}

package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// manifestFile is the name of the manifest in a log directory.
const manifestFile = "millrace-manifest"

// The manifest is what a clean stop knows of every log of a directory, so that the next start touches no file of
// a partition before somebody asks for it. It is written before the clean-shutdown marker, names the same broker
// epoch, and is removed with it at the start: a manifest without its marker, or beside one that another broker
// left, is not believed.
//
//	header   0       8         10        12       16             24       28       32
//	         ┌───────┬─────────┬─────────┬────────┬──────────────┬────────┬────────┐
//	         │ magic │ version │ size of │ number │ broker epoch │ CRC-32C│ CRC-32C│
//	         │MRMANIF│ = 1     │ a log=52│ of     │ int64        │ of the │ of 0–28│
//	         │ \0    │ uint16  │ uint16  │ topics │              │ topics │        │
//	         └───────┴─────────┴─────────┴────────┴──────────────┴────────┴────────┘
//	topic    ┌────────────┬───────────────┬──────────┬────────────┬ ─ ─ ─ ─
//	         │ name length│ name          │ topic id │ number of  │ logs
//	         │ uint16     │               │ 16 bytes │ logs uint32│
//	         └────────────┴───────────────┴──────────┴────────────┴ ─ ─ ─ ─
//	log      ┌───────────┬───────┬───────┬───────┬──────────┬───────┬───────────┬───────────┐
//	         │ partition │ start │ end   │ last  │ number of│ size  │ greatest  │ timestamp │
//	         │           │ offset│ offset│ epoch │ segments │ bytes │ timestamp │ of seg. 0 │
//	         │ int32     │ int64 │ int64 │ int32 │ int32    │ int64 │ int64     │ int64     │
//	         └───────────┴───────┴───────┴───────┴──────────┴───────┴───────────┴───────────┘
//
// All numbers are big-endian.
const (
	manifestMagic      = "MRMANIF\x00"
	manifestVersion    = 1
	manifestHeaderSize = 32
	summarySize        = 52
)

// manifestEntry is one log of a manifest.
type manifestEntry struct {
	partition kafka.TopicPartition
	id        kafka.TopicID
	summary   commitlog.Summary
}

// appendManifest writes a manifest of entries that are sorted by topic.
func appendManifest(b []byte, brokerEpoch int64, entries []manifestEntry) []byte {
	b = append(b, make([]byte, manifestHeaderSize)...)
	topics := uint32(0)
	for i := 0; i < len(entries); {
		n := i
		for n < len(entries) && entries[n].id == entries[i].id && entries[n].partition.Topic == entries[i].partition.Topic {
			n++
		}
		name := entries[i].partition.Topic
		b = binary.BigEndian.AppendUint16(b, uint16(len(name)))
		b = append(b, name...)
		b = append(b, entries[i].id[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(n-i))
		for ; i < n; i++ {
			b = appendSummary(b, entries[i].partition.Partition, &entries[i].summary)
		}
		topics++
	}
	h := b[:0:manifestHeaderSize]
	h = append(h, manifestMagic...)
	h = binary.BigEndian.AppendUint16(h, manifestVersion)
	h = binary.BigEndian.AppendUint16(h, summarySize)
	h = binary.BigEndian.AppendUint32(h, topics)
	h = binary.BigEndian.AppendUint64(h, uint64(brokerEpoch))
	h = binary.BigEndian.AppendUint32(h, crc32.Checksum(b[manifestHeaderSize:], castagnoli))
	binary.BigEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
	return b
}

// readManifest reads the manifest that belongs to a clean-shutdown marker of that broker epoch.
func readManifest(fsys vfs.FS, dir string, brokerEpoch int64) ([]manifestEntry, error) {
	data, err := vfs.ReadFile(fsys, path.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	return parseManifest(data, brokerEpoch)
}

var errManifest = errors.New("the manifest does not check")

func parseManifest(data []byte, brokerEpoch int64) ([]manifestEntry, error) {
	if len(data) < manifestHeaderSize || string(data[:8]) != manifestMagic ||
		crc32.Checksum(data[:28], castagnoli) != binary.BigEndian.Uint32(data[28:]) ||
		crc32.Checksum(data[manifestHeaderSize:], castagnoli) != binary.BigEndian.Uint32(data[24:]) {
		return nil, errManifest
	}
	if v, size := binary.BigEndian.Uint16(data[8:]), binary.BigEndian.Uint16(data[10:]); v != manifestVersion || size != summarySize {
		return nil, fmt.Errorf("the manifest has version %d with %d bytes a log, not %d with %d", v, size, manifestVersion, summarySize)
	}
	if epoch := int64(binary.BigEndian.Uint64(data[16:])); epoch != brokerEpoch {
		return nil, fmt.Errorf("the manifest is of broker epoch %d and the clean-shutdown marker of %d", epoch, brokerEpoch)
	}
	entries := []manifestEntry{}
	rest := data[manifestHeaderSize:]
	for range binary.BigEndian.Uint32(data[12:]) {
		if len(rest) < 2 {
			return nil, errManifest
		}
		n := int(binary.BigEndian.Uint16(rest))
		if len(rest) < 2+n+20 {
			return nil, errManifest
		}
		name, id := string(rest[2:2+n]), kafka.TopicID(rest[2+n:2+n+16])
		logs := int(binary.BigEndian.Uint32(rest[2+n+16:]))
		if rest = rest[2+n+20:]; len(rest)/summarySize < logs {
			return nil, errManifest
		}
		for range logs {
			e := manifestEntry{id: id}
			e.partition.Topic = name
			e.partition.Partition, e.summary = parseSummary(rest)
			entries = append(entries, e)
			rest = rest[summarySize:]
		}
	}
	if len(rest) > 0 {
		return nil, errManifest
	}
	return entries, nil
}

// closeLogs closes every log of the directory and leaves what makes the next start clean.
func (d *logDir) closeLogs(now time.Time) error {
	var entries []manifestEntry
	var logs []*commitlog.Log
	var lost []byte // the floors of logs that files are missing of
	for p := range d.hosted() {
		if p.damage.Load() == damageLost {
			lost = appendFloor(lost, p.topic.id, p.index, p.log.Flushed())
			d.noteUnopened(p.key(), p.log.Flushed())
			p.log.Close(now) // it says why it failed, as the broker's log does
			continue
		}
		entries = append(entries, manifestEntry{partition: p.tp(), id: p.topic.id})
		logs = append(logs, p.log)
	}
	for tp, l := range d.manager.loaded { // no image came: they stay what they are
		if l.dir == d && l.log != nil {
			if l.log.Doubtful() {
				d.noteUnopened(kafka.TopicIDPartition{TopicID: l.id, Partition: tp.Partition}, l.log.Flushed())
			}
			entries = append(entries, manifestEntry{partition: tp, id: l.id})
			logs = append(logs, l.log)
		}
	}
	errs := make([]error, len(logs))
	inParallel(len(logs), syncsAtOnce, func(i int) { // each of them syncs
		if entries[i].summary, errs[i] = logs[i].Close(now); errs[i] != nil {
			errs[i] = fmt.Errorf("close %s: %w", entries[i].partition, errs[i])
		}
	})
	if d.offline.Load() {
		return nil // said when it happened
	}
	for i, err := range errs {
		if e := &entries[i]; err != nil && d.isOfOneLog(err) {
			d.log.Error(lostAdvice, "partition", e.partition, "dir", logs[i].Dir(), "err", err)
			lost = appendFloor(lost, e.id, e.partition.Partition, logs[i].Flushed())
			d.noteUnopened(kafka.TopicIDPartition{TopicID: e.id, Partition: e.partition.Partition}, logs[i].Flushed())
			errs[i] = nil
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := errors.Join(d.floor.append(func([]byte) []byte { return lost }), d.floor.sync()); err != nil { // before the journal goes, which may be all their floor
		return err
	}
	if err := d.journal.close(true); err != nil {
		return err
	}
	if n := d.countUnopened() + len(d.missing); n > 0 {
		d.log.Warn("the stop does not count as clean, since there are logs that could not be opened", "dir", d.Path, "logs", n)
		return nil
	}
	return d.room.withReserve(func() error { return d.markClean(entries) })
}

// markClean writes the checkpoints, the manifest and, when all of that is durable, the marker.
func (d *logDir) markClean(entries []manifestEntry) error {
	unplaced := d.unplaced()
	for _, save := range []func(...*Partition) error{d.saveHighsNow, d.savePointsNow, d.saveStartsNow} {
		if err := save(unplaced...); err != nil {
			return err
		}
	}
	sortManifest(entries)
	epoch := d.manager.brokerEpoch.Load()
	if err := vfs.WriteFileAtomic(d.fs, d.path(manifestFile), appendManifest(nil, epoch, entries)); err != nil {
		return err
	}
	return commitlog.WriteCleanShutdown(d.fs, d.Path, epoch)
}

// appendSummary writes one log.
func appendSummary(b []byte, partition int32, s *commitlog.Summary) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(partition))
	b = binary.BigEndian.AppendUint64(b, uint64(s.StartOffset))
	b = binary.BigEndian.AppendUint64(b, uint64(s.EndOffset))
	b = binary.BigEndian.AppendUint32(b, uint32(s.LastEpoch))
	b = binary.BigEndian.AppendUint32(b, uint32(s.Segments))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(s.MaxTimestamp))
	return binary.BigEndian.AppendUint64(b, uint64(s.OldestTimestamp))
}

// parseSummary reads one log.
func parseSummary(b []byte) (partition int32, s commitlog.Summary) {
	number := func(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }
	s = commitlog.Summary{
		StartOffset: number(4), EndOffset: number(12),
		LastEpoch: int32(binary.BigEndian.Uint32(b[20:])), Segments: int32(binary.BigEndian.Uint32(b[24:])),
		Size: number(28), MaxTimestamp: number(36), OldestTimestamp: number(44),
	}
	return int32(binary.BigEndian.Uint32(b)), s
}

// sortManifest brings the logs of a topic together.
func sortManifest(entries []manifestEntry) {
	slices.SortFunc(entries, func(a, b manifestEntry) int {
		if c := strings.Compare(a.partition.Topic, b.partition.Topic); c != 0 {
			return c
		}
		return int(a.partition.Partition - b.partition.Partition)
	})
}

package sim

import (
	"fmt"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// disk is a commitlog on a disk in memory. It stores what the memlog keeps the account of: after a crash only what is on
// the disk is left, and that is what was synced, and by chance some of the rest.
type disk struct {
	s   *shard
	mem *vfs.Mem
	log *commitlog.Log
}

// newDisk makes an empty one.
func newDisk(s *shard) *disk {
	d := &disk{s: s, mem: vfs.NewMem()}
	d.must("make the directory", d.mem.MkdirAll("data", 0o755))
	d.must("sync the directory above", d.mem.SyncDir("."))
	var err error
	d.log, err = commitlog.Create(d.options())
	d.must("create the log", err)
	// A new log is synced with what is first written to it. Whoever finds none after a crash makes it again; here it is there.
	d.must("sync the directory", d.mem.SyncDir("data"))
	d.must("sync the log's directory", d.mem.SyncDir(d.options().Dir))
	return d
}

func (d *disk) options() commitlog.Options {
	config := commitlog.DefaultConfig()
	config.SegmentBytes = d.s.w.segmentBytes
	return commitlog.Options{
		Dir: fmt.Sprintf("data/groups-%d", d.s.index), Partition: kafka.TopicPartition{Topic: "groups", Partition: d.s.index}, TopicID: groupsID, Config: config,
		StartOffset: -1, Handles: segment.NewHandles(d.mem, 16),
	}
}

// must fails the run: a disk that nothing is wrong with does what it is told.
func (d *disk) must(what string, err error) {
	if err != nil {
		d.s.w.fail("a sound disk does what it is told", "%s: %v", what, err)
	}
}

func (d *disk) append(batch record.Batch) {
	info, err := d.log.Append(append([]byte(nil), batch...), commitlog.AppendOptions{LeaderEpoch: d.s.epoch, Origin: commitlog.Coordinator}, d.s.w.clock())
	d.must("append", err)
	if err == nil && info.FirstOffset != batch.BaseOffset() {
		d.must("append", fmt.Errorf("at offset %d, not %d", info.FirstOffset, batch.BaseOffset()))
	}
}

// flush makes everything durable.
func (d *disk) flush() {
	if f, needed := d.log.BeginFlush(); needed {
		err := f.Sync()
		d.log.EndFlush(f, err)
		d.must("flush", err)
	}
}

// read returns batches as coordinator.Log has it.
func (d *disk) read(offset int64, buf []byte) ([]byte, error) {
	s, err := d.log.Read(offset, max(1, cap(buf)), d.log.EndOffset(), true)
	if err != nil || s.Range == nil {
		return nil, err
	}
	defer s.Range.Release()
	out := make([]byte, s.Range.Len())
	_, err = s.Range.ReadAt(out, 0)
	return out, err
}

// truncate cuts off what is not committed.
func (d *disk) truncate(to int64) {
	d.must("truncate", d.log.TruncateTo(to))
	d.flush()
}

// crash takes the power away and brings it back; it returns what is in the log then.
func (d *disk) crash() *memlog.Log {
	d.mem = d.mem.CrashClone(vfs.CrashOptions{Rand: d.s.w.dice})
	log, err := commitlog.Open(d.options(), d.s.w.clock())
	d.must("open the log after the crash", err)
	if err != nil {
		return &memlog.Log{}
	}
	d.log = log
	d.flush()
	found := &memlog.Log{}
	for offset := int64(0); offset < log.EndOffset(); {
		batches, err := d.read(offset, make([]byte, 0, 1<<20))
		d.must("read the log after the crash", err)
		if err != nil || len(batches) == 0 {
			break
		}
		for len(batches) > 0 {
			var b record.Batch
			if b, batches, err = record.Next(batches); err != nil {
				d.must("read the log after the crash", err)
				return found
			}
			found.Batches = append(found.Batches, b)
			offset = b.NextOffset()
		}
	}
	found.End = log.EndOffset()
	found.High = found.End
	return found
}

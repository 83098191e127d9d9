package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// lockFile is the file that keeps two brokers out of one directory.
const lockFile = ".lock"

// loadedLog is a log that Load found and no image has placed yet.
type loadedLog struct {
	dir  *logDir
	log  *commitlog.Log // nil when it could not be opened
	id   kafka.TopicID
	high int64
	// damagedID: there is a topic id, and it cannot be read.
	damagedID bool
}

// progress counts logs over all directories.
type progress struct {
	done, total atomic.Int64
	report      func(done, total int)
}

func (p *progress) found(n int) {
	p.total.Add(int64(n))
	p.tell()
}

func (p *progress) step() {
	p.done.Add(1)
	p.tell()
}

func (p *progress) tell() {
	if p.report != nil {
		p.report(int(p.done.Load()), int(p.total.Load()))
	}
}

// Load opens the log directories, all at a time, and recovers what an unclean stop left. report, which may be nil,
// hears of logs done and found so far, from several goroutines. A directory that fails goes offline with its
// partitions; the error says that another process holds one, that none is left, or that ctx ended.
func (m *Manager) Load(ctx context.Context, report func(done, total int)) error {
	m.loaded = map[kafka.TopicPartition]loadedLog{}
	p := &progress{report: report}
	found := make([]map[kafka.TopicPartition]loadedLog, len(m.dirs))
	errs := make([]error, len(m.dirs))
	var all sync.WaitGroup
	for i, d := range m.dirs {
		all.Go(func() { found[i], errs[i] = d.load(ctx, p) })
	}
	all.Wait()
	online := 0
	for i, d := range m.dirs {
		switch err := errs[i]; {
		case err == nil:
			online++
		case errors.Is(err, vfs.ErrLocked):
			return fmt.Errorf("log directory %s is in use by another broker: stop it, or give this one a directory of its own: %w", d.Path, err)
		case ctx.Err() != nil:
			return ctx.Err()
		default:
			d.fail(err)
		}
		for tp, l := range found[i] {
			if other, twice := m.loaded[tp]; twice {
				d.log.Warn("a partition lies in two directories; the first counts", "partition", tp, "kept", other.dir.Path, "set_aside", d.Path)
				d.setAside(tp, l)
				continue
			}
			m.loaded[tp] = l
		}
	}
	if online == 0 && len(m.dirs) > 0 {
		return errors.Join(append([]error{errors.New("no log directory could be opened")}, errs...)...)
	}
	return nil
}

// load opens one directory.
func (d *logDir) load(ctx context.Context, p *progress) (map[kafka.TopicPartition]loadedLog, error) {
	if !d.manager.locked {
		lock, err := d.fs.Lock(d.path(lockFile))
		if err != nil {
			return nil, err
		}
		d.lock = lock
	}
	if err := d.room.prepare(); err != nil {
		return nil, err
	}
	floor, floors, bad, err := openFloor(d.fs, d.Path)
	if err != nil {
		return nil, fmt.Errorf("read the durable floor of %s: %w", d.Path, err)
	}
	if bad > 0 {
		d.damage.Add(int64(bad))
		d.log.Warn("entries of the durable floor do not check and are left out; the floor of their logs may be lower than it was", "dir", d.Path, "entries", bad)
	}
	if floor.torn > 0 {
		d.log.Info("the last entries of the durable floor do not check, as a power loss leaves them; the floor of their logs may be lower than it was", "dir", d.Path, "entries", floor.torn)
	}
	d.startsSaved = floor.savesStarts
	found, starts, err := d.openLogs(ctx, floors, p)
	if err != nil {
		return nil, err
	}
	d.noteMissing(floors, found)
	// Before the floor has a log that began later than was known, as those of Apache Kafka may.
	if err := d.saveFoundStarts(found, starts); err != nil {
		return nil, err
	}
	// The floor begins anew with what was found, and with what was missed.
	err = d.room.withReserve(func() error {
		return floor.rewrite(func(b []byte) []byte {
			for tp, l := range found {
				if l.log != nil && l.log.Flushed() > l.log.StartOffset() {
					b = appendFloor(b, l.id, tp.Partition, l.log.Flushed())
				}
			}
			for log, floor := range d.missing {
				b = appendFloor(b, log.TopicID, log.Partition, floor)
			}
			return d.appendUnopened(b)
		})
	})
	if err == nil {
		err = removeJournal(d.fs, d.Path) // the logs have all of it, and the floors say so
	}
	if err != nil {
		return nil, err
	}
	for _, run := range floor.ended {
		d.journal.above = max(d.journal.above, run)
	}
	floor.ended = nil // with the journal
	d.floor = floor
	return found, nil
}

// noteMissing notes the logs that held records when they were last heard of and that have no directory now. After a
// start from a manifest there are none to look for: a log of it whose files are gone is missed at its first use.
func (d *logDir) noteMissing(floors map[kafka.TopicIDPartition]int64, found map[kafka.TopicPartition]loadedLog) {
	if d.fromManifest {
		return
	}
	d.missing = map[kafka.TopicIDPartition]int64{}
	for log, floor := range floors {
		if floor > 0 && !log.TopicID.IsZero() {
			d.missing[log] = floor
		}
	}
	for tp, l := range found {
		delete(d.missing, kafka.TopicIDPartition{TopicID: l.id, Partition: tp.Partition})
	}
}

// replay brings the logs up to what the journal has of them, and the floors with them.
func (d *logDir) replay(floors map[kafka.TopicIDPartition]int64) error {
	return d.room.withReserve(func() error {
		ends, bad, err := replayJournal(d.fs, d.Path, d.Path, d.log)
		if err != nil {
			return err
		}
		d.damage.Add(int64(bad))
		for log, end := range ends {
			floors[log] = max(floors[log], end)
		}
		return nil
	})
}

// openLogs opens the logs of the directory: cold from the manifest after a clean stop, each by itself otherwise. starts is
// where they began when that was last saved.
func (d *logDir) openLogs(ctx context.Context, floors map[kafka.TopicIDPartition]int64, p *progress) (found map[kafka.TopicPartition]loadedLog, starts map[kafka.TopicPartition]int64, err error) {
	epoch, clean, err := commitlog.ReadCleanShutdown(d.fs, d.Path)
	if err != nil {
		return nil, nil, err
	}
	d.clean, d.cleanEpoch = clean, epoch
	var entries []manifestEntry
	if clean {
		if entries, err = readManifest(d.fs, d.Path, epoch); err != nil {
			d.log.Info("no manifest to start from; each log is looked at", "dir", d.Path, "why", err)
			entries = nil
		}
	}
	// From here on a stop is unclean until the next Close says otherwise.
	err = d.fs.Remove(d.path(manifestFile))
	if err == nil && !clean {
		// A manifest without its marker was left by a clean stop, and another program, Apache Kafka, has run since.
		d.startsSaved = false
		err = d.fs.SyncDir(d.Path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	if clean {
		if err := commitlog.RemoveCleanShutdown(d.fs, d.Path); err != nil {
			return nil, nil, err
		}
	}
	highs, err := d.readCheckpoint(highWatermarkFile, "high watermarks begin at the start of their logs and rise with what is flushed")
	if err != nil {
		return nil, nil, err
	}
	if entries != nil {
		d.fromManifest = true
		found, starts = d.openCold(entries, highs, p)
		return found, starts, nil
	}
	if !clean {
		if err := d.replay(floors); err != nil {
			return nil, nil, err
		}
	}
	points, err := d.readCheckpoint(recoveryPointFile, "the logs of the directory are read from their beginning")
	if err != nil {
		return nil, nil, err
	}
	// This one has no stand-in. It alone says which records were deleted (DeleteRecords) that a segment still has; without
	// it they would be read again, and what was read cannot be taken back, whatever law or promise they were deleted for.
	// Kafka lets them come back. Here the directory stays offline until somebody has decided that.
	starts, err = d.readCheckpoint(startOffsetFile, "")
	if err != nil && !errors.Is(err, commitlog.ErrIO) {
		err = fmt.Errorf("%w: it says which records were deleted; put a copy in its place, or remove the file to let records come back that kafka-delete-records deleted and that are still in a segment", err)
	}
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.fs.Stat(d.path(startOffsetFile)); err != nil {
		d.startsSaved = false // somebody removed it
	}
	tps, err := d.list()
	if err != nil {
		return nil, nil, err
	}
	p.found(len(tps))
	found = make(map[kafka.TopicPartition]loadedLog, len(tps))
	var mu sync.Mutex
	var next atomic.Int32
	var failure error
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(tps) || ctx.Err() != nil {
				return
			}
			tp := tps[i]
			l, err := d.openLog(tp, points, starts, floors)
			l.high = highs[tp]
			mu.Lock()
			found[tp] = l
			if l.log == nil {
				log := kafka.TopicIDPartition{TopicID: l.id, Partition: tp.Partition}
				d.noteUnopened(log, max(floors[log], points[tp]))
				if start, known := starts[tp]; known {
					d.starts.keep(tp, start)
				}
			}
			if err != nil && failure == nil {
				failure = err
				next.Store(int32(len(tps)))
			}
			mu.Unlock()
			p.step()
		}
	}
	var helpers sync.WaitGroup
	for range max(1, d.manager.broker.RecoveryThreads) - 1 {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
	for _, offsets := range []map[kafka.TopicPartition]int64{points, starts} {
		for tp := range offsets {
			if _, there := found[tp]; !there {
				d.forgetName(tp)
			}
		}
	}
	d.startsFound = starts
	if failure == nil {
		failure = ctx.Err()
	}
	if failure == nil {
		failure = flushRecovered(found)
	}
	return found, starts, failure
}

// flushRecovered makes durable what recovery read: it may have come from the page cache, and the high watermark must
// not begin below what was shown before.
func flushRecovered(found map[kafka.TopicPartition]loadedLog) error {
	var logs []*commitlog.Log
	for _, l := range found {
		if l.log != nil && l.log.Flushed() < l.log.EndOffset() && !l.log.Doubtful() { // of which the end is not known yet
			logs = append(logs, l.log)
		}
	}
	errs := make([]error, len(logs))
	inParallel(len(logs), syncsAtOnce, func(i int) { errs[i] = flushOne(logs[i]) })
	return errors.Join(errs...)
}

func flushOne(l *commitlog.Log) error {
	f, ok := l.BeginFlush()
	if !ok {
		return nil
	}
	err := f.Sync()
	l.EndFlush(f, err)
	return err
}

// openCold makes the logs of a manifest, touching none of their files.
func (d *logDir) openCold(entries []manifestEntry, highs map[kafka.TopicPartition]int64, p *progress) (found map[kafka.TopicPartition]loadedLog, starts map[kafka.TopicPartition]int64) {
	p.found(len(entries))
	found, starts = make(map[kafka.TopicPartition]loadedLog, len(entries)), map[kafka.TopicPartition]int64{}
	for i := range entries {
		e := &entries[i]
		tp := e.partition
		log := commitlog.OpenCold(d.options(tp, e.id), e.summary)
		found[tp] = loadedLog{dir: d, log: log, id: e.id, high: highs[tp]}
		if start := e.summary.StartOffset; start > 0 {
			starts[tp] = start
		}
	}
	p.done.Add(int64(len(entries)))
	p.tell()
	return found, starts
}

// options is what every log of the directory is made of.
func (d *logDir) options(tp kafka.TopicPartition, id kafka.TopicID) commitlog.Options {
	m := d.manager
	config, _ := m.config(m.image.Load(), "")
	return commitlog.Options{
		FS: d.fs, Dir: d.path(tp.String()), Partition: tp, TopicID: id, Config: config,
		Handles: d.handles, Log: d.log, StartOffset: -1, SavesStart: true, Clean: d.clean, ProducerIDExpiration: m.broker.ProducerIDExpiration,
	}
}

// damageAdvice is what the broker's log says of a log that cannot be opened.
const damageAdvice = "a log is damaged below what was acknowledged; the partition is offline and nothing was cut. Restore its directory from a copy, or run `millrace log check` on it and decide what to give up"

// lostAdvice is what it says of a log whose files were taken away.
const lostAdvice = "files of a log were taken away and the partition is offline; the other partitions are served. Restore its directory from a copy and restart the node, or delete the topic"

// openLog opens one log. A damaged one is no error: it stays closed, its partition is offline and the log says what
// to do. An error is one of the disk.
func (d *logDir) openLog(tp kafka.TopicPartition, points, starts map[kafka.TopicPartition]int64, floors map[kafka.TopicIDPartition]int64) (loadedLog, error) {
	l := loadedLog{dir: d}
	id, err := commitlog.ReadPartitionMetadata(d.fs, d.path(tp.String()))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if errors.Is(err, commitlog.ErrIO) {
			return l, err
		}
	}
	if l.id = id; err != nil && !errors.Is(err, fs.ErrNotExist) && !d.tornMetadata(tp) {
		l.damagedID = true
		d.log.Error("the topic id of a log cannot be read; its directory will be set aside", "partition", tp, "err", err)
	}
	o := d.options(tp, id)
	o.RecoveryPoint, o.PolicyUnknown = points[tp], true
	floor, ours := floors[kafka.TopicIDPartition{TopicID: id, Partition: tp.Partition}]
	o.Floor, o.StartSaved = max(floor, o.RecoveryPoint), ours && d.startsSaved
	if start, ok := starts[tp]; ok {
		o.StartOffset = start
	}
	err = d.room.withReserve(func() (err error) {
		l.log, err = commitlog.Open(o, time.Now())
		return err
	})
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, commitlog.ErrDamaged):
		l.log = nil
		d.damage.Add(1)
		d.log.Error(damageAdvice, "partition", tp, "dir", o.Dir, "floor", o.Floor, "err", err)
		return l, nil
	}
	l.log = nil
	return l, fmt.Errorf("open %s: %w", o.Dir, err)
}

// tornMetadata reports whether a partition.metadata is shorter than what is written into it: a crash came before it was
// made durable, which is before anything in the log was acknowledged as being on the disk. The log then goes by its
// name, as those of old that have no such file.
func (d *logDir) tornMetadata(tp kafka.TopicPartition) bool {
	const whole = len("version: 0\ntopic_id: ") + 22
	data, err := vfs.ReadFile(d.fs, d.path(tp.String()+"/"+commitlog.PartitionMetadataFile))
	return err == nil && len(bytes.TrimRight(data, "\x00")) < whole
}

// list returns the partitions that have a directory here. What is being deleted is handed to the janitor.
func (d *logDir) list() ([]kafka.TopicPartition, error) {
	entries, err := d.fs.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	var tps []kafka.TopicPartition
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() {
			continue
		}
		switch tp, ok := commitlog.ParseDirName(name); {
		case strings.HasSuffix(name, commitlog.DeleteDirSuffix):
			d.janitor.doom(d.path(name), 0)
		case ok && tp.Topic != kafka.MetadataTopic:
			tps = append(tps, tp)
		}
	}
	return tps, nil
}

// noteUnopened remembers a log that could not be opened, and the floor that holds for it.
func (d *logDir) noteUnopened(log kafka.TopicIDPartition, floor int64) {
	d.unopenedMu.Lock()
	defer d.unopenedMu.Unlock()
	if d.unopened == nil {
		d.unopened = map[kafka.TopicIDPartition]int64{}
	}
	d.unopened[log] = floor
}

// floorUnopened returns the floor of one of them.
func (d *logDir) floorUnopened(log kafka.TopicIDPartition) int64 {
	d.unopenedMu.Lock()
	defer d.unopenedMu.Unlock()
	return d.unopened[log]
}

// forgetUnopened forgets one that was deleted.
func (d *logDir) forgetUnopened(log kafka.TopicIDPartition) {
	d.unopenedMu.Lock()
	defer d.unopenedMu.Unlock()
	delete(d.unopened, log)
}

func (d *logDir) countUnopened() int {
	d.unopenedMu.Lock()
	defer d.unopenedMu.Unlock()
	return len(d.unopened)
}

// appendUnopened writes their floors.
func (d *logDir) appendUnopened(b []byte) []byte {
	d.unopenedMu.Lock()
	defer d.unopenedMu.Unlock()
	for log, floor := range d.unopened {
		b = appendFloor(b, log.TopicID, log.Partition, floor)
	}
	return b
}

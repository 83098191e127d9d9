package replica

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// Kafka's checkpoint files in a log directory, each a text of `topic partition offset`.
const (
	recoveryPointFile = "recovery-point-offset-checkpoint"
	highWatermarkFile = "replication-offset-checkpoint"
	startOffsetFile   = "log-start-offset-checkpoint"
)

// checkpoint is one of those files: whether it is behind, and for how long it may be.
type checkpoint struct {
	name     string
	interval time.Duration
	behind   atomic.Bool
	mu       sync.Mutex // held while the file is written
	// gone are names that the file may have from logs that are no more. They must not be taken for those of a topic that
	// is called the same: it would begin where the old log did, and lack what the old one held. Guarded by goneMu.
	goneMu sync.Mutex
	gone   map[kafka.TopicPartition]struct{}
	// kept are offsets of logs that could not be opened: whoever restores one wants them. Guarded by goneMu.
	kept map[kafka.TopicPartition]int64
	// save writes it; a value of its own, since a method made into one anew for each append would be garbage.
	save func()
}

// moved notes that something changed; the first change arms the timer of the next save.
func (c *checkpoint) moved(d *logDir) {
	if !c.behind.Load() && c.behind.CompareAndSwap(false, true) {
		d.after(c.interval, c.save)
	}
}

// forget notes that the log of that name is no more.
func (c *checkpoint) forget(tp kafka.TopicPartition) {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	if c.gone == nil {
		c.gone = map[kafka.TopicPartition]struct{}{}
	}
	c.gone[tp] = struct{}{}
	delete(c.kept, tp)
}

// stillGone takes back that a name was left out.
func (c *checkpoint) stillGone(tp kafka.TopicPartition) {
	c.goneMu.Lock()
	_, kept := c.kept[tp]
	c.goneMu.Unlock()
	if !kept { // since then
		c.forget(tp)
	}
}

// keep has the file go on to have the offset of a log that could not be opened.
func (c *checkpoint) keep(tp kafka.TopicPartition, offset int64) {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	if c.kept == nil {
		c.kept = map[kafka.TopicPartition]int64{}
	}
	c.kept[tp] = offset
	delete(c.gone, tp)
}

// mayHave reports whether the file may have an older log of that name.
func (c *checkpoint) mayHave(tp kafka.TopicPartition) bool {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	_, gone := c.gone[tp]
	return gone
}

// takeGone returns the names that a save which begins now leaves out, and what it keeps.
func (c *checkpoint) takeGone() (gone map[kafka.TopicPartition]struct{}, kept []commitlog.CheckpointEntry) {
	c.goneMu.Lock()
	defer c.goneMu.Unlock()
	gone = c.gone
	c.gone = nil
	for tp, offset := range c.kept {
		kept = append(kept, commitlog.CheckpointEntry{Partition: tp, Offset: offset})
	}
	return gone, kept
}

// forgetName notes in the checkpoints that say where a log stands that the log of that name is no more.
func (d *logDir) forgetName(tp kafka.TopicPartition) {
	d.points.forget(tp)
	d.starts.forget(tp)
}

// freeNames makes sure that no checkpoint has older logs of the names of replicas that are about to be created.
func (d *logDir) freeNames(made []*Partition) error {
	var points, starts bool
	for _, p := range made {
		points = points || p.dir == d && d.points.mayHave(p.tp())
		starts = starts || p.dir == d && d.starts.mayHave(p.tp())
	}
	if points {
		if err := d.savePointsNow(d.unplaced()...); err != nil {
			return err
		}
	}
	if starts {
		return d.saveStartsNow(d.unplaced()...)
	}
	return nil
}

// unplaced are the logs that Load found and that no image has placed yet.
func (d *logDir) unplaced() []*Partition {
	var found []*Partition
	for tp, l := range d.manager.loaded {
		if l.dir == d && l.log != nil {
			p := &Partition{topic: &topic{name: tp.Topic, id: l.id}, index: tp.Partition, dir: d, log: l.log}
			p.high.Store(l.high)
			found = append(found, p)
		}
	}
	return found
}

func (d *logDir) highMoved()  { d.highs.moved(d) }
func (d *logDir) pointMoved() { d.points.moved(d) }

// saveHighs writes replication-offset-checkpoint.
func (d *logDir) saveHighs() {
	if err := d.saveHighsNow(); err != nil {
		d.notSaved(&d.highs, err)
	}
}

func (d *logDir) saveHighsNow(also ...*Partition) error {
	return d.save(&d.highs, also, func(p *Partition) (int64, bool) { return p.high.Load(), true })
}

// saveStarts writes log-start-offset-checkpoint: the logs whose start was moved. What lies below them goes then.
func (d *logDir) saveStarts() {
	if _, err := d.saveStartsAndFree(); err != nil {
		d.notSaved(&d.starts, err)
	}
}

func (d *logDir) saveStartsNow(also ...*Partition) error {
	_, err := d.saveStartsAndFree(also...)
	return err
}

// saveStartsAndFree writes log-start-offset-checkpoint, durably, and lets go of the segments below the starts that were not
// in it: one write for all the logs of the directory.
func (d *logDir) saveStartsAndFree(also ...*Partition) (freed int64, err error) {
	type moved struct {
		p     *Partition
		start int64
	}
	var due []moved
	err = d.save(&d.starts, also, func(p *Partition) (int64, bool) {
		unsaved, start := p.log.StartUnsaved(), p.log.StartOffset()
		if unsaved {
			due = append(due, moved{p, start})
		}
		return start, start > 0
	})
	if err != nil {
		return 0, err
	}
	for _, m := range due {
		freed += m.p.startSaved(m.start)
	}
	return freed, nil
}

// savePoints moves recovery points and writes recovery-point-offset-checkpoint. A log of class cache that is dirty
// is flushed on this occasion: the operating system has written most of it by now, and recovery gets shorter. What
// that round flushes is in the next save.
func (d *logDir) savePoints() {
	again, err := d.preparePoints()
	if err != nil {
		d.notSaved(&d.points, err)
		return
	}
	if err := d.savePointsNow(); err != nil {
		d.notSaved(&d.points, err)
		return
	}
	if d.floor.grown() {
		if err := d.room.withReserve(d.compactFloor); err != nil {
			d.notSaved(&d.points, err)
			return
		}
	}
	for p := range d.hosted() {
		if p.log.EndOffset() > p.log.Flushed() && p.damage.Load() != damageLost {
			d.sync.add(p)
			again = true
		}
	}
	d.sync.kick()
	if again {
		d.pointMoved()
	}
}

const (
	// pointBytes is how much a log grows before its recovery point is moved while it is in use. To move one costs
	// three syncs; to recover a megabyte costs a millisecond.
	pointBytes = 4 << 20
	// pointsIdle is how many logs that are not in use any more get their last recovery point in one go.
	pointsIdle = 256
)

// preparePoints moves the recovery points that are worth it, and reports whether it left some for the next time.
func (d *logDir) preparePoints() (again bool, err error) {
	idle := 0
	for p := range d.hosted() {
		if d.offline.Load() {
			return false, nil
		}
		if p.log.RecoveryPoint() >= p.log.Flushed() || p.damage.Load() == damageLost {
			continue
		}
		again = true
		size := p.log.Size()
		grown := size - p.pointSize.Load()
		if inUse := p.usedSincePoints.Swap(false); inUse && grown >= 0 && grown < pointBytes {
			continue
		} else if !inUse {
			if idle == pointsIdle {
				continue
			}
			idle++
		}
		if _, err := p.log.PrepareCheckpoint(); err != nil {
			if p.currentRole().gone {
				continue
			}
			if d.isOfOneLog(err) {
				wake := newWakes()
				p.lose(err, wake)
				wake.run()
				continue
			}
			return again, err
		}
		p.pointSize.Store(size)
	}
	return again, nil
}

func (d *logDir) savePointsNow(also ...*Partition) error {
	return d.save(&d.points, also, func(p *Partition) (int64, bool) { return p.log.RecoveryPoint(), true })
}

// compactFloor drops from the journal every entry but the last of each log.
func (d *logDir) compactFloor() error {
	return d.floor.rewrite(func(b []byte) []byte {
		for p := range d.hosted() {
			if flushed := p.log.Flushed(); flushed > p.log.StartOffset() {
				b = appendFloor(b, p.topic.id, p.index, flushed)
			}
		}
		return d.appendUnopened(b)
	})
}

// save writes one checkpoint file out of the replicas in the directory, and out of others.
func (d *logDir) save(c *checkpoint, also []*Partition, value func(p *Partition) (offset int64, listed bool)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.offline.Load() {
		return nil
	}
	c.behind.Store(false) // what changes from here on may be missing, and asks for another save
	gone, entries := c.takeGone()
	list := func(p *Partition) {
		if offset, listed := value(p); listed {
			entries = append(entries, commitlog.CheckpointEntry{Partition: p.tp(), Offset: offset})
		}
	}
	for p := range d.hosted() {
		list(p)
	}
	for _, p := range also {
		list(p)
	}
	err := d.room.withReserve(func() error { return commitlog.WriteCheckpoint(d.fs, d.path(c.name), entries) })
	if err != nil {
		for tp := range gone {
			c.stillGone(tp)
		}
	}
	return err
}

// notSaved sees to a checkpoint that could not be written: a full disk is waited for, the old file stays and is
// only older; any other error ends the directory.
func (d *logDir) notSaved(c *checkpoint, err error) {
	if isFull(err) {
		d.log.Warn("no room for a checkpoint; the old one stays and it is tried again", "file", d.path(c.name), "err", err)
		c.moved(d)
		return
	}
	d.fail(fmt.Errorf("write %s: %w", d.path(c.name), err))
}

// hosted yields the replicas in the directory whose logs are open.
func (d *logDir) hosted() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for p := range d.manager.topics.replicas() {
			if p.dir == d && p.log != nil && !yield(p) {
				return
			}
		}
	}
}

// readCheckpoint reads one checkpoint file; one that is missing is empty, and so is one that is no checkpoint, after a line
// that says without. To lack recovery points costs time, since everything is read that the floor tells of; to lack high
// watermarks costs nothing where a replica is the only one, whose watermark is what it has flushed.
func (d *logDir) readCheckpoint(name, without string) (map[kafka.TopicPartition]int64, error) {
	entries, err := commitlog.ReadCheckpoint(d.fs, d.path(name))
	if err != nil && !errors.Is(err, commitlog.ErrIO) && without != "" {
		d.log.Warn("a checkpoint cannot be read and is left out; "+without, "dir", d.Path, "err", err)
		entries, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets := make(map[kafka.TopicPartition]int64, len(entries))
	for _, e := range entries {
		offsets[e.Partition] = e.Offset
	}
	return offsets, nil
}

// saveFoundStarts makes the file of starts say where the logs begin that a start of the node has found, and be there: without
// it nobody can tell a log that lacks its first segments.
func (d *logDir) saveFoundStarts(found map[kafka.TopicPartition]loadedLog, recorded map[kafka.TopicPartition]int64) error {
	_, err := d.fs.Stat(d.path(startOffsetFile))
	same := err == nil
	var entries []commitlog.CheckpointEntry
	for tp, l := range found {
		start := recorded[tp]
		if l.log != nil {
			start = l.log.StartOffset()
			same = same && start == recorded[tp]
		}
		if start > 0 {
			entries = append(entries, commitlog.CheckpointEntry{Partition: tp, Offset: start})
		}
	}
	for tp, start := range recorded {
		if _, there := found[tp]; !there {
			entries = append(entries, commitlog.CheckpointEntry{Partition: tp, Offset: start})
		}
	}
	if same {
		return nil
	}
	return d.room.withReserve(func() error { return commitlog.WriteCheckpoint(d.fs, d.path(startOffsetFile), entries) })
}

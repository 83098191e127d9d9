package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// syncer brings the logs of one directory to the disk by group commit. One round takes every log that became dirty
// while the last round ran. What little some of them have goes to the journal, which is synced once for all; the
// others are synced themselves, all at a time, and the durable floor is written. Only then are watermarks moved and
// answers given. There is no goroutine while nothing is dirty.
//
// A round hands over before it answers: with more logs dirty by then, another goroutine starts the next round
// while this one encodes and sends what its own round released.
type syncer struct {
	dir *logDir

	mu sync.Mutex
	// dirty are the partitions to sync in the next round, each once (Partition.dirty).
	dirty, spare []*Partition
	// gone are replicas to end in the next round.
	gone []goneReplica
	// running is true while a goroutine runs rounds or is about to.
	running bool
	// floorDue asks for a round although no log is dirty, so that the last floor gets to the disk.
	floorDue bool
	closed   bool
	// active counts the goroutines that sync or still answer; ended is told when one goes.
	active int
	ended  sync.Cond

	// waits is true while dirty holds something that nobody was started for: kick looks here first.
	waits atomic.Bool
	// dirDue is true when a partition's directory was made or renamed and the log directory not synced since.
	dirDue atomic.Bool

	// Only the goroutine that runs a round touches what follows. syncs is syncAll, but in the test that shows what
	// a round without it would lose.
	syncs   func([]syncItem) error
	items   []syncItem
	byTimer bool // the round was asked for by floorDue
	// What the helpers of a round share. The functions are values of their own, so that starting one allocates
	// nothing.
	runner, helper func()
	helpers        sync.WaitGroup
	next           atomic.Int32
	journalNow     bool
	floorDueNow    bool
	dirDueNow      bool
	journalErr     error
	floorErr       error
	dirErr         error

	gather gather

	idle *time.Timer
	// Under mu: idle is armed; the journal's memory is due.
	armed, restDue bool
	// Counters, for metrics and tests.
	roundsDone, logsSynced atomic.Int64
}

// goneReplica is a replica that was deleted or moved away. partition is nil when this process never used it.
type goneReplica struct {
	log       kafka.TopicIDPartition
	partition *Partition
}

type syncItem struct {
	partition *Partition
	flush     commitlog.Flush
	err       error
	// chosen: the journal is to have it; journaled: it has, and the log's own files come later.
	chosen, journaled bool
	// gone: the log was deleted while its files were synced, and their errors mean nothing.
	gone bool
	// lost: files of the log were taken away, as err says. That is about this log alone.
	lost bool
	// full: there was no room for what the log holds in memory. It is tried again.
	full bool
}

func (s *syncer) init() {
	s.ended.L = &s.mu
	s.syncs, s.runner = s.syncAll, s.run
	s.helper = func() {
		defer s.helpers.Done()
		s.work()
	}
}

// syncsAtOnce bounds the fdatasync calls under way in one directory; each blocks a thread.
const syncsAtOnce = 16

// floorSyncDelay is how long the last floor of a burst may lie in the page cache only.
const floorSyncDelay = 50 * time.Millisecond

// add puts a partition on the list for the next round; kick, called after a request's last add, starts it.
func (s *syncer) add(p *Partition) {
	if p.dirty.Load() || p.dirty.Swap(true) {
		return
	}
	s.mu.Lock()
	s.dirty = append(s.dirty, p)
	s.mu.Unlock()
	s.waits.Store(true)
}

// again puts a partition on the list once there may be room on the disk.
func (s *syncer) again(p *Partition) {
	s.dir.after(roomProbe, func() {
		s.add(p)
		s.kick()
	})
}

// kick starts a round when something is dirty and none is running. A round that is running takes what was added
// meanwhile when it ends.
func (s *syncer) kick() {
	if !s.waits.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits.Store(false)
	s.start()
}

// end has the next round end a replica: what the floor and the journal have of it does not hold for one that comes back
// under the same id. p may be nil.
func (s *syncer) end(log kafka.TopicIDPartition, p *Partition) {
	if s.dir.offline.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = append(s.gone, goneReplica{log, p})
	s.floorDue = true
	s.start()
}

// start starts a goroutine for the next round, unless there is one or nothing to do. The caller holds mu.
func (s *syncer) start() {
	if s.running || s.closed || len(s.dirty) == 0 && !s.floorDue {
		return
	}
	s.running = true
	s.active++
	go s.runner()
}

// run runs one round, hands over to the next, and answers.
func (s *syncer) run() {
	s.gather.wait(&s.dir.journal)
	s.mu.Lock()
	round, gone := s.dirty, s.gone
	s.gone = nil
	s.dirty, s.spare = s.spare[:0], nil
	s.byTimer, s.floorDue = s.floorDue, false
	s.waits.Store(false)
	s.mu.Unlock()

	wake := newWakes()
	if len(gone) > 0 && !s.dir.offline.Load() {
		// Before anything of a replica that came back is acknowledged. The rounds before have let go of those that went.
		s.dir.stall.start()
		err := s.dir.journal.end(gone)
		s.dir.stall.stop()
		if err != nil {
			s.dir.fail(err)
		}
	}
	s.round(round, wake)
	clear(round)

	s.mu.Lock()
	s.spare = round[:0]
	s.running = false
	s.start()
	s.mu.Unlock()
	wake.run()

	s.mu.Lock()
	s.active--
	s.ended.Broadcast()
	s.mu.Unlock()
}

// round makes the dirty logs of the directory durable, and everything that an acknowledgement rests on.
func (s *syncer) round(round []*Partition, wake *wakes) {
	d := s.dir
	s.roundsDone.Add(1)
	d.stall.start()
	items := s.items[:0]
	for _, p := range round {
		// Cleared before the flush begins: what is appended from here on asks for another round.
		p.dirty.Store(false)
		if p.currentRole().gone {
			continue
		}
		if f, ok := p.log.BeginFlush(); ok {
			items = append(items, syncItem{partition: p, flush: f})
		}
	}
	s.logsSynced.Add(int64(len(items)))
	err := s.syncs(items)

	now := time.Now().UnixMilli()
	// An error of one file says what the disk is: nothing of this round counts, and the directory is over. A file that is
	// not there says nothing of the disk.
	for i := range items {
		it := &items[i]
		if err != nil {
			it.err, it.lost, it.full = err, false, false
		}
		flushed := it.partition.log.EndFlush(it.flush, it.err)
		if it.lost {
			it.partition.lose(commitlog.DamageOf(it.err), wake)
		}
		if it.full {
			d.room.ranFull(it.err)
			s.again(it.partition)
		}
		if it.err == nil && !it.gone {
			if !it.journaled { // the journal is a floor by itself
				d.floor.add(it.partition, flushed)
			}
			it.partition.flushedAt.Store(now)
			it.partition.usedSincePoints.Store(true)
		}
	}
	if err == nil {
		err = d.floor.write() // a write can hang, too, and while the floor is rewritten it waits for a sync
	}
	d.stall.stop()
	if err != nil {
		d.fail(err)
	} else if len(items) > 0 {
		for i := range items {
			items[i].partition.advance(wake)
		}
		d.pointMoved()
		s.later()
	}
	if len(items) == 0 {
		d.journal.rest()
	}
	clear(items)
	s.items = items[:0]
}

// syncAll issues the syncs of a round together: the journal's, the logs' that are not in it, the floor's of the round
// before, and the directory's when partitions were made in it. It returns the first error.
func (s *syncer) syncAll(items []syncItem) error {
	d := s.dir
	chosen := d.journal.choose(items)
	jobs := len(items) - chosen
	s.journalErr, s.floorErr, s.dirErr = nil, nil, nil
	// The floor is behind by a round, or by floorSyncDelay when the rounds have no need of it.
	if s.floorDueNow = (s.byTimer || jobs > 0) && d.floor.unsynced(); s.floorDueNow {
		jobs++
	}
	if s.journalNow = chosen > 0; s.journalNow {
		jobs++
	}
	if s.dirDueNow = s.dirDue.Swap(false); s.dirDueNow {
		jobs++
	}
	s.items = items
	s.next.Store(0)
	for range min(jobs, syncsAtOnce) - 1 {
		s.helpers.Add(1)
		go s.helper()
	}
	s.work()
	s.helpers.Wait()
	if s.dirErr != nil {
		s.dirDue.Store(true)
	}
	for i := range items {
		it := &items[i]
		if it.err == nil {
			continue
		}
		switch {
		case it.partition.currentRole().gone:
			it.err, it.gone = nil, true
		case d.isOfOneLog(it.err):
			it.lost = true
		case commitlog.IsHeld(it.err):
			it.full = true
		default:
			return it.err
		}
	}
	for _, err := range []error{s.journalErr, s.floorErr} {
		if err != nil {
			return err
		}
	}
	return s.dirErr
}

// work does jobs of the round until there are none: the journal first, since it takes longest, then the floor, the
// directory, and the logs.
func (s *syncer) work() {
	d := s.dir
	for {
		i := int(s.next.Add(1)) - 1
		if s.journalNow {
			if i == 0 {
				s.writeJournal()
				continue
			}
			i--
		}
		if s.floorDueNow {
			if i == 0 {
				s.floorErr = d.floor.sync()
				continue
			}
			i--
		}
		if s.dirDueNow {
			if i == 0 {
				s.dirErr = d.fs.SyncDir(d.Path)
				continue
			}
			i--
		}
		if i >= len(s.items) {
			return
		}
		if it := &s.items[i]; !it.chosen {
			it.err = it.flush.Sync()
		}
	}
}

// writeJournal writes what was chosen for the journal, and syncs by itself what the journal could not take.
func (s *syncer) writeJournal() {
	s.journalErr = s.dir.journal.write(s.items)
	for i := range s.items {
		if it := &s.items[i]; it.chosen && !it.journaled && s.journalErr == nil {
			it.err = it.flush.Sync()
		}
	}
}

// later arranges that the floor just written gets to the disk even when no other round needs it there, and that the
// journal gives up what it does not need at rest.
func (s *syncer) later() {
	atRest := s.dir.journal.atRest()
	if atRest && !s.dir.floor.unsynced() && !s.dirDue.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restDue = s.restDue || !atRest
	s.arm()
}

// arm sets the timer of what is put off. The caller holds mu.
func (s *syncer) arm() {
	if s.closed || s.armed {
		return
	}
	s.armed = true
	if s.idle == nil {
		s.idle = time.AfterFunc(floorSyncDelay, s.overdue)
		return
	}
	s.idle.Reset(floorSyncDelay)
}

// dirChanged notes that a partition's directory was made or renamed.
func (s *syncer) dirChanged() {
	s.dirDue.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.arm()
}

// overdue asks for a round of what was put off.
func (s *syncer) overdue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	if s.dir.floor.unsynced() || s.dirDue.Load() || s.restDue {
		s.floorDue, s.restDue = true, false
		s.start()
	}
}

// isOfOneLog reports whether an error says that files of one log are missing, and the directory itself is there: somebody
// took them away, and the disk has answered.
func (d *logDir) isOfOneLog(err error) bool {
	if commitlog.DamageOf(err) == nil {
		return false
	}
	_, err = d.fs.Stat(d.Path)
	return err == nil
}

// lose takes a partition offline whose files were taken away under it. The other partitions go on. wake gets those who
// wait for it.
func (p *Partition) lose(err error, wake *wakes) {
	switch p.damage.Swap(damageLost) {
	case damageLost:
		return
	case damageNone:
		p.dir.damage.Add(1)
		p.dir.log.Error(lostAdvice, "partition", p.tp(), "dir", p.log.Dir(), "err", err)
	}
	p.fail(kafka.KafkaStorageError, wake)
}

// close ends the rounds: what is dirty is synced by one more, and nothing is after that.
func (s *syncer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floorDue = true
	s.start()
	for s.active > 0 || s.running {
		s.ended.Wait()
	}
	s.closed = true
	if s.idle != nil {
		s.idle.Stop()
	}
}

// fail takes the directory offline, for good: a sync or a write failed, and what the disk holds since is not
// known. Its partitions answer KAFKA_STORAGE_ERROR; the other directories go on.
func (d *logDir) fail(cause error) {
	if d.offline.Swap(true) {
		return
	}
	d.log.Error("log directory failed and is offline; its partitions are not available on this node until it is repaired and the node restarted", "dir", d.Path, "err", cause)
	wake := newWakes()
	for p := range d.manager.topics.replicas() {
		if p.dir == d {
			p.fail(kafka.KafkaStorageError, wake)
		}
	}
	wake.run()
	remaining := 0
	for _, other := range d.manager.dirs {
		if !other.offline.Load() {
			remaining++
		}
	}
	if c := d.manager.cluster; c != nil {
		c.DirFailed(d.Dir, remaining, cause)
	}
}

package replica

import (
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// logDir is one log directory: its lock, its syncer, its checkpoints, its reserve, and whether it is online.
type logDir struct {
	Dir
	manager *Manager
	fs      vfs.FS
	log     *slog.Logger
	lock    io.Closer
	handles *segment.Handles

	// offline is set once, by fail, and never taken back.
	offline  atomic.Bool
	cordoned atomic.Bool
	// damage counts what recovery and the scrubber found bad.
	damage atomic.Int64
	// scrubbed counts the bytes that the scrubber has checked.
	scrubbed atomic.Int64
	// replicas counts the partitions placed here.
	replicas atomic.Int32

	sync    syncer
	stall   stallWatch
	floor   *floor
	journal journal
	room    room

	// What changed since it was last saved. The first change arms the timer of its checkpoint; a directory
	// where nothing moves has none.
	highs, points, starts checkpoint

	// startWaiters are the DeleteRecords that wait for their log start to be saved.
	startsMu     sync.Mutex
	startWaiters []startWaiter

	// clean says that the last stop was clean, with the broker epoch its marker held.
	clean      bool
	cleanEpoch int64
	// fromManifest says that the directory was not listed.
	fromManifest bool
	// startsSaved says that the starts of the logs were saved before any segment went, as long as the directory was in use.
	startsSaved bool
	// startsFound are the starts that were saved, until the first image says which logs are missing.
	startsFound map[kafka.TopicPartition]int64
	// unopened are the logs that could not be opened, with the floors that hold for them. While there are any, no
	// stop counts as clean: the next start must look at them again.
	unopenedMu sync.Mutex
	unopened   map[kafka.TopicIDPartition]int64

	// missing are the logs that the floor knows to have held records and that have no directory, until the first image says
	// what became of them. Only Load and Apply touch it.
	missing map[kafka.TopicIDPartition]int64

	// tasks are the timers' functions and background loops under way; closing refuses new ones.
	tasksMu sync.Mutex
	tasks   sync.WaitGroup
	timers  map[*time.Timer]struct{} // armed
	closing bool

	janitor janitor
}

// heldMost is how many bytes of small appends the logs of a directory hold in memory, or this share of the memory budget
// where that is less; and no more than half of the reserve, which is given up for them if the disk is full.
const (
	heldMost  = 8 << 20
	heldShare = 8
)

func newLogDir(m *Manager, dir Dir, handles *segment.Handles) *logDir {
	d := &logDir{Dir: dir, manager: m, fs: m.fs, log: m.log, handles: handles, timers: map[*time.Timer]struct{}{}}
	d.sync.dir = d
	d.sync.init()
	d.journal.init(d)
	d.stall.dir = d
	d.room.dir = d
	if m.budget != nil {
		handles.SetHolding(segment.Holding{
			Budget: m.budget, Limit: min(heldMost, m.broker.ReserveBytes/2, m.budget.Limit()/heldShare), Insist: d.room.withReserve, Later: d.after,
		})
	}
	d.janitor.init(d)
	d.highs.name, d.highs.interval = highWatermarkFile, m.broker.HighWatermarkCheckpointInterval
	d.points.name, d.points.interval = recoveryPointFile, m.broker.OffsetCheckpointInterval
	d.starts.name, d.starts.interval = startOffsetFile, m.broker.StartOffsetCheckpointInterval
	d.highs.save, d.points.save, d.starts.save = d.saveHighs, d.savePoints, d.saveStarts
	return d
}

// path returns the path of a file in the directory.
func (d *logDir) path(name string) string { return path.Join(d.Path, name) }

// begin counts a task in, unless the directory is closing; the task ends with tasks.Done.
func (d *logDir) begin() bool {
	d.tasksMu.Lock()
	defer d.tasksMu.Unlock()
	if d.closing {
		return false
	}
	d.tasks.Add(1)
	return true
}

// after runs f as a task when the delay is over, unless the directory closes first.
func (d *logDir) after(delay time.Duration, f func()) {
	d.tasksMu.Lock()
	defer d.tasksMu.Unlock()
	if d.closing {
		return
	}
	var t *time.Timer
	t = time.AfterFunc(delay, func() {
		d.tasksMu.Lock() // after has stored t
		delete(d.timers, t)
		closing := d.closing
		if !closing {
			d.tasks.Add(1)
		}
		d.tasksMu.Unlock()
		if !closing {
			defer d.tasks.Done()
			f()
		}
	})
	d.timers[t] = struct{}{}
}

// endTasks refuses new tasks, stops the timers and waits for what is under way.
func (d *logDir) endTasks() {
	d.tasksMu.Lock()
	d.closing = true
	for t := range d.timers {
		t.Stop()
	}
	d.timers = nil
	d.tasksMu.Unlock()
	d.tasks.Wait()
}

// inParallel does n jobs, so many at a time, on the caller's goroutine and helpers.
func inParallel(n, atOnce int, job func(i int)) {
	var next atomic.Int32
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			job(i)
		}
	}
	var helpers sync.WaitGroup
	for range min(n, atOnce) - 1 {
		helpers.Go(work)
	}
	work()
	helpers.Wait()
}

// place chooses the directory of a new replica: the one the image names when it is ours and online, otherwise
// the online, uncordoned one with the fewest replicas, the first of them by path. With every directory cordoned
// the least full of those is taken, since the controller placed the replica here knowing that.
func (m *Manager) place(assigned kafka.DirectoryID) (*logDir, error) {
	for _, d := range m.dirs {
		if d.ID == assigned {
			return d, nil
		}
	}
	var best *logDir
	better := func(d *logDir) bool {
		switch {
		case best == nil:
			return true
		case d.cordoned.Load() != best.cordoned.Load():
			return best.cordoned.Load()
		}
		return d.replicas.Load() < best.replicas.Load()
	}
	for _, d := range m.dirs {
		if !d.offline.Load() && better(d) {
			best = d
		}
	}
	if best == nil {
		return nil, fmt.Errorf("no log directory is online: %w", kafka.KafkaStorageError)
	}
	return best, nil
}

// cordon takes over from the image which directories take no new replicas (KIP-1066).
func (m *Manager) cordon(image *metadata.Image) {
	self := image.Broker(m.nodeID)
	if self == nil {
		return
	}
	for _, d := range m.dirs {
		cordoned := false
		for _, id := range self.CordonedDirs {
			cordoned = cordoned || id == d.ID
		}
		d.cordoned.Store(cordoned)
	}
}

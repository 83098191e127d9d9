package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// reserveFile is the name of the file whose only content is the room it takes.
const reserveFile = "millrace-reserve"

// room watches how much of the disk is left for a directory.
//
// The disk is looked at when a share of what was free has been written, not for each request. When less than a
// margin is free, writes are refused; reads and deletion go on. The reserve file is not touched by that: it is given
// up only when a checkpoint, a deletion or a start needs room and finds none, because somebody else filled the
// disk. Once there is room again the reserve is made anew and writing resumes. What logs hold in memory is never more than
// half of the reserve, which is given up for it, too.
type room struct {
	dir *logDir

	// allowance is how many bytes may be written before the next look.
	allowance atomic.Int64
	full      atomic.Bool

	mu sync.Mutex
	// given is true while the reserve file is given up.
	given bool
	// probing is true while a timer is armed that looks whether there is room again.
	probing bool
}

const (
	// roomProbe is how often a full disk is looked at.
	roomProbe = time.Second
	// roomMargin is what stays free where no reserve is configured.
	roomMargin = 1 << 20
	// roomLook is the most that is written between two looks.
	roomLook = 64 << 20
)

// isFull reports whether an error says that the disk, or our share of it, is full.
func isFull(err error) bool { return commitlog.IsFull(err) }

// admit is asked before n bytes are written.
func (r *room) admit(n int) error {
	if r.full.Load() {
		return r.dir.fullError()
	}
	if r.allowance.Add(-int64(n)) >= 0 {
		return nil
	}
	r.look()
	if r.full.Load() {
		return r.dir.fullError()
	}
	return nil
}

func (d *logDir) fullError() error {
	return kafka.KafkaStorageError.Errorf("the disk of log directory %s is full: free some room or shorten the retention of a topic; writing then resumes by itself", d.Path)
}

func (r *room) margin() int64 { return max(roomMargin, r.dir.manager.broker.ReserveBytes) }

// look measures the disk and grants the next allowance, or declares the disk full.
func (r *room) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.allowance.Load() >= 0 || r.full.Load() {
		return // somebody else looked just now
	}
	usage, err := r.dir.fs.Usage(r.dir.Path)
	if err != nil {
		r.allowance.Store(roomLook)
		return
	}
	if left := usage.Free - r.margin() - r.dir.handles.Held(); left > 0 {
		r.allowance.Store(min(left/2, roomLook))
		return
	}
	r.declareFull(usage.Free, nil)
}

// ranFull is told that a write found no room, whatever the last look said.
func (r *room) ranFull(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.declareFull(0, err)
}

// declareFull refuses writes from now on and begins to look for room. The caller holds mu.
func (r *room) declareFull(free int64, err error) {
	if r.full.Swap(true) {
		return
	}
	d := r.dir
	d.log.Error("disk full: writes to this log directory are refused until there is room; reads and deletion go on", "dir", d.Path, "free", free, "margin", r.margin(), "err", err)
	r.probeLater()
}

// probeLater arms the look for room. The caller holds mu.
func (r *room) probeLater() {
	if !r.probing {
		r.probing = true
		r.dir.after(roomProbe, r.probe)
	}
}

// probe resumes writing when twice the margin is free: with a single one it would stop again at once.
func (r *room) probe() {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dir
	r.probing = false
	if d.offline.Load() {
		return
	}
	usage, err := d.fs.Usage(d.Path)
	needed := 2*r.margin() + d.handles.Held()
	if r.given {
		needed += d.manager.broker.ReserveBytes
	}
	if err != nil || usage.Free < needed {
		r.probeLater()
		return
	}
	if r.given {
		if err := r.take(); err != nil {
			r.probeLater()
			return
		}
	}
	r.allowance.Store(min((usage.Free-r.margin())/2, roomLook))
	if r.full.Swap(false) {
		d.log.Info("there is room on the disk again; writing resumes", "dir", d.Path, "free", usage.Free)
	}
}

// prepare makes the reserve at a start, or gives up the one that is there when the disk is full already: what a
// start has to write comes first.
func (r *room) prepare() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.dir
	usage, err := d.fs.Usage(d.Path)
	if err != nil {
		return err
	}
	if usage.Free < r.margin() {
		if err := r.give(); err != nil {
			return err
		}
		r.declareFull(usage.Free, nil)
		return nil
	}
	r.allowance.Store(min((usage.Free-r.margin())/2, roomLook))
	if err := r.take(); err != nil && !isFull(err) {
		return fmt.Errorf("make the reserve of log directory %s: %w", d.Path, err)
	}
	return nil
}

// take makes the reserve file. Making it again is cheap: its blocks are there. The caller holds mu.
func (r *room) take() error {
	d := r.dir
	size := d.manager.broker.ReserveBytes
	if size == 0 {
		return nil
	}
	f, err := d.fs.OpenFile(d.path(reserveFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = f.Preallocate(0, size)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	r.given = err != nil
	return err
}

// give gives the reserve up. The caller holds mu.
func (r *room) give() error {
	d := r.dir
	err := d.fs.Remove(d.path(reserveFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.given = true
	return nil
}

// withReserve runs something that must work on a full disk: when it finds no room, the reserve is given up and it
// runs once more.
func (r *room) withReserve(f func() error) error {
	err := f()
	if !isFull(err) {
		return err
	}
	r.mu.Lock()
	r.declareFull(0, err)
	given := r.given
	if !given {
		if giveErr := r.give(); giveErr == nil {
			r.dir.log.Warn("the reserve of the log directory is in use", "dir", r.dir.Path)
		}
		r.probeLater()
	}
	r.mu.Unlock()
	if given {
		return err
	}
	return f()
}

package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// room sees to it that a full disk stops no node. Metadata is refused before a write finds no room; a reserve file,
// whose only content is the room it takes, is given up for what must be written all the same: the records of a start,
// and those of a topic that is deleted to make room. Once there is room again the reserve is made anew.
type room struct {
	fs  vfs.FS
	dir string
	log *slog.Logger

	mu    sync.Mutex
	given bool // the reserve is given up, or could not be made
	full  bool // something was refused, and that was logged
}

const (
	reserveFile = "millrace-quorum-reserve"
	reserveLen  = 1 << 20
	// roomLeast stays free beside a proposal: for those under way, and for what the file system needs itself.
	roomLeast = 128 << 10
	// roomGrowth is what must be free, the reserve apart, for records that are no remedy: new topics and partitions.
	roomGrowth = 512 << 10
	// roomProbe is how often a write that found no room all the same is tried again.
	roomProbe = 100 * time.Millisecond
)

// prepare makes the reserve, or gives up the one that is there when the disk is full: a start has to write.
func (r *room) prepare() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	usage, err := r.fs.Usage(r.dir)
	if err != nil {
		return err
	}
	if usage.Free < 2*roomLeast {
		r.given = true
		if err := r.fs.Remove(r.reserve()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.log.Warn("the disk of the metadata log is full; its reserve is given up so that the node can start", "dir", r.dir, "free", usage.Free)
		return nil
	}
	if err := r.take(); err != nil && !commitlog.IsFull(err) {
		return fmt.Errorf("make the reserve: %w", err)
	}
	return nil
}

func (r *room) reserve() string { return path.Join(r.dir, reserveFile) }

// take makes the reserve file, which is cheap where it is there. mu is held.
func (r *room) take() error {
	f, err := r.fs.OpenFile(r.reserve(), os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		err = f.Preallocate(0, reserveLen)
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}
	r.given = err != nil
	return err
}

// give gives the reserve up; false when that was done before. mu is held.
func (r *room) give() bool {
	if r.given {
		return false
	}
	r.given = true
	if err := r.fs.Remove(r.reserve()); err != nil {
		r.log.Error("the reserve of the metadata log cannot be given up", "dir", r.dir, "error", err)
		return false
	}
	r.log.Warn("the disk of the metadata log is full; its reserve is in use", "dir", r.dir)
	return true
}

// admit is asked before so many bytes of records are accepted. The error carries KAFKA_STORAGE_ERROR.
func (r *room) admit(bytes int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	need := int64(bytes) + roomLeast
	for {
		usage, err := r.fs.Usage(r.dir)
		if err != nil {
			return nil // then the write will say what is wrong
		}
		if usage.Free >= need {
			r.restore(usage.Free - need)
			return nil
		}
		if r.give() {
			continue
		}
		if !r.full {
			r.full = true
			r.log.Error("disk full: changes of the metadata are refused until there is room", "dir", r.dir, "free", usage.Free)
		}
		return r.refusal(usage.Free)
	}
}

// look makes the reserve again when there is room for it.
func (r *room) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if usage, err := r.fs.Usage(r.dir); err == nil {
		r.restore(usage.Free - roomLeast)
	}
}

// restore ends the refusals, and with them the time without a reserve, when more is free than it takes. mu is held.
func (r *room) restore(free int64) {
	if !r.given || free < reserveLen+roomGrowth || r.take() != nil {
		return
	}
	r.full = false
	r.log.Info("there is room on the disk of the metadata log again; its reserve is made anew", "dir", r.dir, "free", free)
}

// grow is asked before records are made that are no remedy for a full disk. The error carries KAFKA_STORAGE_ERROR.
func (r *room) grow() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	usage, err := r.fs.Usage(r.dir)
	if err != nil {
		return nil
	}
	free := usage.Free
	if r.given {
		free -= reserveLen // what was set free is for the remedies
	}
	if free < roomGrowth {
		return r.refusal(usage.Free)
	}
	return nil
}

func (r *room) refusal(free int64) error {
	return kafka.KafkaStorageError.Errorf("the disk of the metadata log in %s is full, with %d bytes free: free some room or delete a topic", r.dir, free)
}

// insist runs a write for which there was room when it was accepted. Where others took it since, the reserve is given
// up, and then, once wait is not nil, room is waited for until wait is closed.
func (r *room) insist(wait <-chan struct{}, write func() error) error {
	for {
		err := write()
		if !commitlog.IsFull(err) {
			return err
		}
		r.mu.Lock()
		given := r.give()
		if !given && !r.full {
			r.full = true
			r.log.Error("disk full: a change of the metadata waits for room", "dir", r.dir, "error", err)
		}
		r.mu.Unlock()
		if given {
			continue
		}
		if wait == nil {
			return err
		}
		timer := time.NewTimer(roomProbe)
		select {
		case <-timer.C:
		case <-wait:
			timer.Stop()
			return err
		}
	}
}

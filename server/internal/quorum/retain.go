package quorum

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// retainInterval is how often the age of snapshots is looked at.
const retainInterval = time.Minute

// retain deletes what metadata.max.retention.* do not keep: the oldest snapshot, and the log below the one that follows
// it. The newest snapshot and what lies behind it always stay, so a start finds a snapshot and every record since.
//
// The order makes every crash harmless: the snapshot that is to be the oldest is read before anything is touched, then
// Raft's file, then the log, then the old snapshot. It runs on the loop.
func (n *Node) retain(now time.Time) error {
	snapshots, err := n.storedSnapshots()
	if err != nil {
		n.log.Warn("the snapshots of the metadata cannot be looked through; old ones stay for now", "dir", n.dir, "error", err)
		return nil
	}
	for len(snapshots) >= 2 && n.expired(snapshots, now) {
		old, next := snapshots[0], snapshots[1]
		if _, err := readSnapshot(n.o.FS, n.dir, next.id.String()); err != nil {
			n.log.Error("a snapshot of the metadata is damaged; what came before it stays", "file", next.id.String(), "error", err)
			return nil
		}
		if err := n.deleteBefore(next.id, now); err != nil {
			return err
		}
		if err := n.o.FS.Remove(path.Join(n.dir, old.id.String())); err != nil {
			n.log.Warn("an old snapshot of the metadata could not be removed; it is tried again", "file", old.id.String(), "error", err)
			return nil
		}
		n.log.Info("deleted old metadata", "snapshot", old.id.String(), "log begins at", n.stored.StartOffset())
		snapshots = snapshots[1:]
	}
	return nil
}

// storedSnapshot is a snapshot as it lies in the directory.
type storedSnapshot struct {
	id   snapshotID
	size int64
}

// storedSnapshots returns the snapshots of the directory, the oldest first.
func (n *Node) storedSnapshots() ([]storedSnapshot, error) {
	ids, err := listSnapshots(n.o.FS, n.dir)
	if err != nil {
		return nil, err
	}
	slices.Reverse(ids)
	var all []storedSnapshot
	for _, id := range ids {
		info, err := n.o.FS.Stat(path.Join(n.dir, id.String()))
		if err != nil {
			return nil, err
		}
		all = append(all, storedSnapshot{id, info.Size()})
	}
	return all, nil
}

// expired reports whether the first of the snapshots need not be kept.
func (n *Node) expired(snapshots []storedSnapshot, now time.Time) bool {
	total := n.stored.Size()
	for _, s := range snapshots {
		total += s.size
	}
	if limit := n.o.Config.RetentionBytes; limit >= 0 && total > limit {
		return true
	}
	if n.o.Config.RetentionTime < 0 {
		return false
	}
	stamp, err := snapshotTime(n.o.FS, path.Join(n.dir, snapshots[0].id.String()))
	if err != nil {
		n.log.Warn("the age of a snapshot of the metadata is not known; it is kept", "file", snapshots[0].id.String(), "error", err)
		return false
	}
	return now.Sub(stamp) > n.o.Config.RetentionTime
}

// deleteBefore deletes the segments that lie wholly below a snapshot's end.
func (n *Node) deleteBefore(id snapshotID, now time.Time) error {
	if id.end <= n.stored.StartOffset() || id.end > n.stored.EndOffset() {
		return nil
	}
	from, index := n.state.offset, n.state.index
	err := n.eachBatch(from, func(b record.Batch) error {
		if b.NextOffset() > id.end {
			return io.EOF
		}
		from, index = b.NextOffset(), index+1
		return nil
	})
	if err != nil && err != io.EOF {
		return err
	}
	n.state.offset, n.state.index = from, index
	if _, err := n.file.WriteAt(n.state.append(nil), 0); err != nil {
		return err
	}
	if err := n.file.Sync(); err != nil {
		return err
	}
	if err := n.stored.AdvanceStart(id.end); err != nil {
		return err
	}
	_, err = n.stored.Retain(now, n.stored.EndOffset()) // unlinks the files at once: nobody else reads them
	return err
}

// snapshotTime reads out of the header of a snapshot when the last record that it covers was written.
func snapshotTime(fsys vfs.FS, name string) (time.Time, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10) // the header's batch also holds the voters
	n, err := f.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return time.Time{}, err
	}
	b, _, err := record.Next(buf[:n])
	if err == nil {
		err = b.CheckCRC()
	}
	if err != nil {
		return time.Time{}, err
	}
	var d record.Decompressor
	for r, err := range b.Records(&d) {
		if err != nil {
			return time.Time{}, err
		}
		if t, err := record.ParseControlKey(r.Key); err != nil || t != record.ControlSnapshotHeader {
			break
		}
		var m wire.SnapshotHeaderRecord
		if err := wire.Decode(&m, 0, r.Value); err != nil {
			return time.Time{}, err
		}
		return time.UnixMilli(m.LastContainedLogTimestamp), nil
	}
	return time.Time{}, &fs.PathError{Op: "read", Path: name, Err: errors.New("it does not begin with a snapshot's header")}
}

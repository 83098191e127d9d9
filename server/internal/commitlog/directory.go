package commitlog

import (
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// contents is what a partition's directory holds.
type contents struct {
	logs      []int64 // base offsets, ascending
	indexes   map[int64]bool
	snapshots []int64 // ascending
	retired   []int64 // base offsets of segments that were being deleted
}

// list reads the directory and finishes what a stop interrupted: it removes files that were being deleted and
// compaction output that is not complete, and puts complete output in the place of what it covers.
func (l *Log) list() (contents, error) {
	c := contents{indexes: map[int64]bool{}}
	entries, err := l.fs().ReadDir(l.Dir())
	if err != nil {
		return c, err
	}
	remove := func(name string) error {
		if err := l.fs().Remove(l.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	minCleaned := int64(math.MaxInt64)
	var swaps []int64
	var drop, beside []string
	for _, e := range entries {
		name := e.Name()
		offset, kind, state, ok := segment.ParseFileName(name)
		switch {
		case strings.HasPrefix(name, spillFile) || strings.HasSuffix(name, ".tmp"):
			drop = append(drop, name)
		case !ok:
		case state == segment.DeletedSuffix:
			if kind == segment.LogSuffix {
				c.retired = append(c.retired, offset)
			}
			drop = append(drop, name)
		case state == segment.CleanedSuffix:
			minCleaned = min(minCleaned, offset)
			drop = append(drop, name)
		case state == segment.SwapSuffix && kind == segment.LogSuffix:
			swaps = append(swaps, offset)
		case state == segment.SwapSuffix:
			drop = append(drop, name) // an index is rebuilt
		case kind == segment.LogSuffix:
			c.logs = append(c.logs, offset)
		case kind == segment.SnapshotSuffix:
			c.snapshots = append(c.snapshots, offset)
		default:
			c.indexes[offset] = c.indexes[offset] || kind == segment.IndexSuffix
			beside = append(beside, name)
		}
	}
	for _, name := range drop {
		if err := remove(name); err != nil {
			return c, err
		}
	}
	for _, base := range swaps {
		swap := segment.FileName(base, segment.LogSuffix) + segment.SwapSuffix
		if base >= minCleaned {
			// One segment was being split into several and not all of them are complete: the original is still there.
			if err := remove(swap); err != nil {
				return c, err
			}
			continue
		}
		next, err := endOfFile(l.fs(), l.path(swap), base)
		if err != nil {
			return c, err
		}
		kept := c.logs[:0]
		for _, old := range c.logs {
			if old < base || old >= next && old != base {
				kept = append(kept, old)
				continue
			}
			for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeIndexSuffix, segment.TxnIndexSuffix} {
				if err := remove(segment.FileName(old, suffix)); err != nil {
					return c, err
				}
			}
			delete(c.indexes, old)
		}
		c.logs = append(kept, base)
		if err := l.fs().Rename(l.path(swap), l.path(segment.FileName(base, segment.LogSuffix))); err != nil {
			return c, err
		}
		l.logger.Info("compaction that was interrupted is complete now", "partition", l.tp, "segment", base)
	}
	slices.Sort(c.logs)
	slices.Sort(c.snapshots)
	for _, name := range beside { // indexes whose segment is gone, as a crash leaves them
		offset, _, _, _ := segment.ParseFileName(name)
		if _, found := slices.BinarySearch(c.logs, offset); found {
			continue
		}
		if err := remove(name); err != nil {
			return c, err
		}
	}
	return c, nil
}

// endOfFile returns the offset behind the last whole batch of a file.
func endOfFile(fsys vfs.FS, name string, base int64) (int64, error) {
	next := base
	err := ScanFile(fsys, name, func(b segment.Batch, _ []byte) error {
		next = b.LastOffset() + 1
		return nil
	})
	var bad *BadBatch
	if err != nil && !errors.As(err, &bad) {
		return 0, err
	}
	return next, nil
}

package offline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Progress is how far an import or an export has come.
type Progress struct {
	Logs, LogsTotal   int
	Bytes, BytesTotal int64
}

// transfer copies or moves the directories of logs.
type transfer struct {
	ctx      context.Context
	fs       vfs.FS
	move     bool
	progress Progress
	report   func(Progress)
	buf      []byte
	sizes    map[string]int64 // of the directories that were measured
	done     int64            // sum of those that are through
}

// unfinished ends the name of a directory that is not copied whole yet.
const unfinished = ".millrace-copying"

// wanted says whether a file of a log is taken along. What is being deleted, and what was not finished, is not; nor are
// files of ours that Kafka does not have, which are made anew when they are missing.
func wanted(name string) bool {
	return !strings.HasSuffix(name, ".deleted") && !strings.HasSuffix(name, ".cleaned") && !strings.HasSuffix(name, ".part") && !strings.HasSuffix(name, ".tmp") &&
		name != "producers.spill" && !strings.HasPrefix(name, "millrace-")
}

// dir takes a directory of files along: it stands under its name when all of it is there and durable.
func (t *transfer) dir(from, to string) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	if err := t.take(from, to); err != nil {
		return err
	}
	t.done += t.sizes[from]
	t.progress.Logs++
	t.progress.Bytes = t.done
	t.tell(0)
	return nil
}

func (t *transfer) take(from, to string) error {
	if _, err := t.fs.Stat(to); err == nil { // an earlier run came so far
		return t.drop(from)
	}
	if t.move {
		err := t.fs.Rename(from, to)
		if err == nil {
			if err := t.fs.SyncDir(path.Dir(to)); err != nil {
				return err
			}
			return t.fs.SyncDir(path.Dir(from))
		}
		if !errors.Is(err, syscall.EXDEV) {
			return err
		}
	}
	partial := to + unfinished
	if err := t.fs.RemoveAll(partial); err != nil {
		return err
	}
	if err := t.fs.MkdirAll(partial, 0o755); err != nil {
		return err
	}
	entries, err := t.fs.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !wanted(e.Name()) {
			continue
		}
		if err := t.file(path.Join(from, e.Name()), path.Join(partial, e.Name())); err != nil {
			return err
		}
	}
	if err := t.fs.SyncDir(partial); err != nil {
		return err
	}
	if err := t.fs.Rename(partial, to); err != nil {
		return err
	}
	if err := t.fs.SyncDir(path.Dir(to)); err != nil {
		return err
	}
	return t.drop(from)
}

// drop removes what was moved.
func (t *transfer) drop(from string) error {
	if !t.move {
		return nil
	}
	if err := t.fs.RemoveAll(from); err != nil {
		return err
	}
	return t.fs.SyncDir(path.Dir(from))
}

const copyBytes = 1 << 20

// file copies one file durably. Blocks of zeros stay holes: Kafka makes its indexes as large as they may become.
func (t *transfer) file(from, to string) (err error) {
	in, err := t.fs.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	size, err := in.Size()
	if err != nil {
		return err
	}
	out, err := t.fs.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(size); err != nil {
		return err
	}
	if t.buf == nil {
		t.buf = make([]byte, copyBytes)
	}
	for at := int64(0); at < size; {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		n, err := in.ReadAt(t.buf[:min(copyBytes, size-at)], at)
		if n == 0 {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read %s: %w", from, err)
		}
		written, err := writeSparse(out, t.buf[:n], at)
		if err != nil {
			return err
		}
		at += int64(n)
		t.tell(written)
	}
	return out.Sync()
}

// blockBytes is what a hole is made of.
const blockBytes = 4 << 10

// writeSparse writes all blocks but those of zeros, and returns how much that was.
func writeSparse(out vfs.File, b []byte, at int64) (written int64, err error) {
	for len(b) > 0 {
		n := 0
		for n < len(b) && !zeros(b[n:min(n+blockBytes, len(b))]) {
			n = min(n+blockBytes, len(b))
		}
		if n > 0 {
			if _, err := out.WriteAt(b[:n], at); err != nil {
				return written, err
			}
			written += int64(n)
		}
		n = min(n+blockBytes, len(b)) // the block behind is one of zeros, or there is none
		b, at = b[n:], at+int64(n)
	}
	return written, nil
}

func zeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func (t *transfer) tell(bytes int64) {
	t.progress.Bytes = min(t.progress.Bytes+bytes, t.progress.BytesTotal)
	if t.report != nil {
		t.report(t.progress)
	}
}

// measure adds a directory of files to what there is to do, and returns the room that it needs on a disk, without holes.
func (t *transfer) measure(dir string) (room int64, err error) {
	entries, err := t.fs.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // moved by an earlier run
		return 0, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !wanted(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return 0, err
		}
		used := info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			used = min(used, st.Blocks*512)
		}
		room += used
	}
	if t.sizes == nil {
		t.sizes = map[string]int64{}
	}
	t.sizes[dir] = room
	t.progress.LogsTotal++
	t.progress.BytesTotal += room
	return room, nil
}

// enough sees that what goes to each directory fits, before anything is written.
func enough(fsys vfs.FS, needs map[string]int64) error {
	total := map[vfs.Usage]int64{} // of directories that seem to be on one disk
	names := map[vfs.Usage][]string{}
	for dir, need := range needs {
		u, err := fsys.Usage(dir)
		if err != nil {
			return err
		}
		total[u] += need
		names[u] = append(names[u], dir)
	}
	for u, need := range total {
		if need > u.Free {
			return fmt.Errorf("there is no room in %s: %d bytes are to go there, %d are free", strings.Join(names[u], ", "), need, u.Free)
		}
	}
	return nil
}

// empty sees that a target holds nothing yet but what a mount point has.
func empty(fsys vfs.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty: it holds %s; only an empty directory is written to", dir, e.Name())
		}
	}
	return nil
}

// lockStopped locks the directories of a node, which must be there: whoever runs on them holds the locks.
func lockStopped(fsys vfs.FS, dirs []string) (Locks, error) {
	for _, dir := range dirs {
		if info, err := fsys.Stat(dir); err != nil {
			return nil, err
		} else if !info.IsDir() {
			return nil, fmt.Errorf("%s is not a directory", dir)
		}
	}
	locks, err := Lock(fsys, dirs...)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w; stop it first", err)
	}
	return locks, err
}

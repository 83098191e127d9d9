// Package vfs owns the disk: the files and directories Millrace sees, on the real one, on a crashable one in
// memory and on one that fails as told.
//
// Three file systems implement FS:
//
//   - OS is the machine's: raw descriptors, pread, pwrite and fdatasync.
//   - Mem forgets what was not synced. CrashClone returns what a disk could hold after a power loss.
//   - Fail wraps another FS and lets a rule say which operation on which path fails, is short, is slow, lies
//     about a sync or flips a bit.
//
// Every error that a file system returns is an *fs.PathError (or wraps one), so that errors.Is finds
// fs.ErrNotExist, syscall.ENOSPC, syscall.EIO and their kin.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
)

// FS is a disk as Millrace sees it. Paths are slash paths as given to package os. All methods are safe for
// concurrent use.
type FS interface {
	// OpenFile opens a regular file with os.O_* flags, and Direct. O_APPEND is refused: positions are always given.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)

	// Remove deletes a file or an empty directory.
	Remove(name string) error

	// RemoveAll deletes a tree. A name that does not exist is no error.
	RemoveAll(name string) error

	// Rename moves oldName to newName, replacing a file that is there. It is atomic, and durable only after
	// SyncDir of both parents.
	Rename(oldName, newName string) error

	// MkdirAll makes a directory and those above it. One that exists is no error.
	MkdirAll(name string, perm fs.FileMode) error

	// ReadDir lists a directory, sorted by name.
	ReadDir(name string) ([]fs.DirEntry, error)

	Stat(name string) (fs.FileInfo, error)

	// SyncDir makes creates, renames and removes in the directory durable. It says nothing of what the files
	// hold: that is File.Sync.
	SyncDir(name string) error

	// Lock takes an exclusive advisory lock on a file, which it creates when missing, and holds it until the
	// Closer is closed or the process ends. The error wraps ErrLocked when another process, or another holder
	// in this one, has it.
	Lock(name string) (io.Closer, error)

	// Usage reports the file system that holds name.
	Usage(name string) (Usage, error)
}

// File is an open regular file. All methods are safe for concurrent use; calls after Close fail with an error
// that wraps fs.ErrClosed.
type File interface {
	// ReadAt fills p or returns an error; io.EOF when the file ends first.
	io.ReaderAt

	// WriteAt writes all of p or returns an error together with how much was written. A hole that it leaves
	// reads as zeros.
	io.WriterAt

	io.Closer

	// Name is the name that was given to OpenFile.
	Name() string

	// Size is the length of the file in bytes.
	Size() (int64, error)

	// Truncate sets the length. A longer file reads as zeros at its end.
	Truncate(size int64) error

	// Preallocate reserves disk blocks for a range without changing the file's size. A file system that
	// cannot do so is not an error; a full one is (syscall.ENOSPC).
	Preallocate(offset, length int64) error

	// WriteBack begins to bring to the disk what was written, and does not wait for it. It promises nothing, and takes no
	// error away from Sync; several files that it was begun for before they are synced cost less.
	WriteBack()

	// Sync makes the file's bytes and size durable (fdatasync). A Sync that failed is final: what was
	// written since the last good one may be gone even when a later Sync succeeds.
	Sync() error

	// Fd is the descriptor for sendfile, valid until Close; false when the file is not an OS file. It does
	// not keep the file open: its owner must not close it while the descriptor is in use.
	Fd() (uintptr, bool)
}

// Usage is the room on a file system, in bytes.
type Usage struct {
	Total int64
	Free  int64 // available to us: without what is reserved for root
}

// ErrLocked is wrapped by the error of Lock when somebody else holds the lock.
var ErrLocked = errors.New("locked by another process")

// ReadFile returns all that a file holds.
func ReadFile(fsys FS, name string) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	n, err := f.ReadAt(data, 0)
	if err == io.EOF { // truncated since Size
		err = nil
	}
	return data[:n], err
}

// WriteFile makes a file that holds data, or replaces what it held. Nothing of it is durable.
func WriteFile(fsys FS, name string, data []byte) error {
	return writeFile(fsys, name, data, false)
}

// WriteFileAtomic replaces a file so that after a crash it holds either what it held or data, and returns when
// the latter is certain: name.tmp is written, synced and renamed, and the directory is synced.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	err := writeFile(fsys, tmp, data, true)
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		fsys.Remove(tmp) // best effort: the error that matters is the first
		return err
	}
	return fsys.SyncDir(path.Dir(name))
}

func writeFile(fsys FS, name string, data []byte, sync bool) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// pathError wraps err with the operation and the path, unless it says so already.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

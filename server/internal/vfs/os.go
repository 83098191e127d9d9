//go:build unix

package vfs

import (
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS is the machine's file system. It works on raw descriptors: os.OpenFile offers every file to the network
// poller, which costs more than the open itself.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if flag&os.O_APPEND != 0 {
		return nil, pathError("open", name, syscall.EINVAL)
	}
	direct := flag&Direct != 0 && directFlag != 0
	flag &^= Direct
	open := func(flag int) (int, error) {
		return retryInt(func() (int, error) { return unix.Open(name, flag|unix.O_CLOEXEC, uint32(perm.Perm())) })
	}
	var fd int
	var err error
	if direct {
		fd, err = open(flag | directFlag)
		direct = err != syscall.EINVAL
	}
	if !direct {
		fd, err = open(flag)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	// A directory opens read-only without complaint, and only fails later, far from here.
	var st unix.Stat_t
	if flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		if err := retry(func() error { return unix.Fstat(fd, &st) }); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			unix.Close(fd)
			return nil, pathError("open", name, syscall.EISDIR)
		}
	}
	f := &osFile{fd: fd, name: name}
	f.direct.Store(direct)
	f.users.Store(1)
	return f, nil
}

func (osFS) Remove(name string) error    { return os.Remove(name) }
func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) Rename(oldName, newName string) error {
	err := retry(func() error { return unix.Rename(oldName, newName) })
	return pathError("rename", oldName+" to "+newName, err)
}

func (osFS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)        { return os.Stat(name) }

func (osFS) SyncDir(name string) error {
	fd, err := retryInt(func() (int, error) {
		return unix.Open(name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return pathError("open", name, err)
	}
	defer unix.Close(fd)
	err = retry(func() error { return unix.Fsync(fd) })
	if err == syscall.EINVAL || err == syscall.ENOTSUP {
		return nil // some network and FUSE file systems have nothing to sync in a directory
	}
	return pathError("sync", name, err)
}

func (osFS) Lock(name string) (io.Closer, error) {
	fd, err := retryInt(func() (int, error) {
		return unix.Open(name, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	})
	if err != nil {
		return nil, pathError("lock", name, err)
	}
	err = retry(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		err = lockRecords(fd)
	}
	if err != nil {
		unix.Close(fd)
		if err == syscall.EWOULDBLOCK || err == syscall.EACCES {
			err = ErrLocked
		}
		return nil, pathError("lock", name, err)
	}
	f := &osFile{fd: fd, name: name}
	f.users.Store(1)
	return f, nil
}

func (osFS) Usage(name string) (Usage, error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(name, &st) }); err != nil {
		return Usage{}, pathError("statfs", name, err)
	}
	return Usage{Total: int64(st.Blocks) * int64(st.Bsize), Free: int64(st.Bavail) * int64(st.Bsize)}, nil
}

// osFile is a descriptor that is closed when its last user lets go: a descriptor closed under a pread could by
// then name another file.
type osFile struct {
	fd   int
	name string

	// users counts the calls that are using fd, plus one until Close. At 0 fd is closed, and nobody gets in.
	users  atomic.Int32
	closed atomic.Bool
	// direct: writes go past the page cache.
	direct atomic.Bool
}

func (f *osFile) enter(op string) error {
	for {
		n := f.users.Load()
		if n == 0 || f.closed.Load() {
			return pathError(op, f.name, fs.ErrClosed)
		}
		if f.users.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (f *osFile) leave() error {
	if f.users.Add(-1) > 0 {
		return nil
	}
	return pathError("close", f.name, unix.Close(f.fd)) // never retried: on Linux the descriptor is gone even on EINTR
}

func (f *osFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	return f.leave()
}

func (f *osFile) Name() string { return f.name }

func (f *osFile) Fd() (uintptr, bool) { return uintptr(f.fd), !f.closed.Load() }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	if err := f.enter("read"); err != nil {
		return 0, err
	}
	defer f.leave()
	done := 0
	for done < len(p) {
		n, err := unix.Pread(f.fd, p[done:], off+int64(done))
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return done, pathError("read", f.name, err)
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	if err := f.enter("write"); err != nil {
		return 0, err
	}
	defer f.leave()
	done := 0
	for done < len(p) {
		n, err := unix.Pwrite(f.fd, p[done:], off+int64(done))
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EINVAL && f.direct.Swap(false) && undirect(f.fd) == nil:
			continue // the sectors of this disk are larger, say
		case err != nil:
			return done, pathError("write", f.name, err)
		case n == 0:
			return done, pathError("write", f.name, io.ErrShortWrite)
		}
		done += n
	}
	return done, nil
}

func (f *osFile) Size() (int64, error) {
	if err := f.enter("stat"); err != nil {
		return 0, err
	}
	defer f.leave()
	var st unix.Stat_t
	err := retry(func() error { return unix.Fstat(f.fd, &st) })
	return st.Size, pathError("stat", f.name, err)
}

func (f *osFile) Truncate(size int64) error {
	return f.do("truncate", func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *osFile) Preallocate(offset, length int64) error {
	if length == 0 {
		return nil
	}
	return f.do("fallocate", func() error { return preallocate(f.fd, offset, length) })
}

func (f *osFile) WriteBack() {
	f.do("sync_file_range", func() error { return writeBack(f.fd) })
}

func (f *osFile) Sync() error {
	return f.do("sync", func() error { return datasync(f.fd) })
}

func (f *osFile) do(op string, call func() error) error {
	if err := f.enter(op); err != nil {
		return err
	}
	defer f.leave()
	return pathError(op, f.name, retry(call))
}

// retry repeats a system call that a signal interrupted; the Go runtime sends itself signals to preempt
// goroutines, so this does happen.
func retry(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

func retryInt(call func() (int, error)) (int, error) {
	for {
		if n, err := call(); err != syscall.EINTR {
			return n, err
		}
	}
}

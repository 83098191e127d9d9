package vfs

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

func datasync(fd int) error { return unix.Fdatasync(fd) }

// writeBack does not wait for what it begins: to wait for it would take an error that only fdatasync may get.
func writeBack(fd int) error { return unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE) }

const directFlag = unix.O_DIRECT

// undirect has a descriptor use the page cache from now on.
func undirect(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags&^directFlag)
	}
	return err
}

func preallocate(fd int, offset, length int64) error {
	err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, offset, length)
	if err == syscall.EOPNOTSUPP || err == syscall.ENOSYS {
		return nil
	}
	return err
}

// lockRecords takes the lock that Apache Kafka takes: Java locks with fcntl, which flock does not see. An open
// file description lock meets both its own kind and Java's, and belongs to the descriptor, not the process.
func lockRecords(fd int) error {
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	if err == syscall.EAGAIN || err == syscall.EACCES {
		return syscall.EWOULDBLOCK
	}
	return nil // a file system without such locks still has the flock
}

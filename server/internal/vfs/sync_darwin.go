package vfs

import "golang.org/x/sys/unix"

// fullSync asks the drive itself to flush: fsync on this system stops at the drive's cache.
func fullSync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if err == unix.ENOTSUP || err == unix.EINVAL {
		return unix.Fsync(fd)
	}
	return err
}

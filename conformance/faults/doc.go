// Package faults is a disk that fails or hangs under a real process: system calls on files below a directory fail with
// EIO, or do not return until they are let go.
//
// A process is started behind a seccomp filter whose user notifications (seccomp(2), WAIT_KILLABLE since Linux 5.19) come
// to the test. So it is the kernel that answers the process, and the process is the one that users run: nothing in it knows
// of this. Unlike a device that is made to fail or a file system that is frozen it needs no rights at all, works on any file
// system, and tells a sync from a write.
package faults

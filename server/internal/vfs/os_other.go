//go:build unix && !linux

package vfs

// datasync asks for a full sync: these systems have no fdatasync that x/sys knows of.
func datasync(fd int) error { return fullSync(fd) }

// writeBack does nothing: there is no such call.
func writeBack(fd int) error { return nil }

// directFlag is nothing: there is no such flag, or it means something else.
const directFlag = 0

func undirect(int) error { return nil }

// preallocate does nothing where there is no fallocate that keeps the size.
func preallocate(fd int, offset, length int64) error { return nil }

// lockRecords takes no second lock: record locks of the process would be lost when any descriptor of the file
// is closed.
func lockRecords(fd int) error { return nil }

package faults

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is what the file system calls of one process meet. It is a healthy one at first.
type Disk struct {
	mu     sync.Mutex
	failed string // the directory where syncs and writes fail, or none
	// stalled is the directory where syncs hang, or none; held are those that do, and met is closed at the first.
	stalled string
	held    []uint64
	met     chan struct{}

	listener int // of the notifications
	err      error
	done     chan struct{}
}

// Under arranges that a command, once started, has this disk under it. The command must be started, and its process end,
// within the test.
func Under(t testing.TB, cmd *exec.Cmd) *Disk {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "faults"), os.NewFile(uintptr(pair[1]), "faults of the process")
	cmd.Env = append(cmd.Environ(), launch+"="+cmd.Path)
	cmd.Path, cmd.ExtraFiles = self, []*os.File{theirs}
	d := &Disk{listener: -1, done: make(chan struct{})}
	from, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.done)
		d.err = d.serve(from.(*net.UnixConn))
	}()
	t.Cleanup(func() { // after the one that ends the process
		theirs.Close()
		from.Close()
		<-d.done
		if d.err != nil {
			t.Errorf("the disk under %s: %v", cmd.Args[0], d.err)
		}
	})
	return d
}

// Fail makes every sync and write of files in the directory fail with EIO from now on, as a device does that is gone.
func (d *Disk) Fail(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = resolve(dir)
}

// Stall makes syncs of files in the directory hang until Resume. The channel is closed when one does.
func (d *Disk) Stall(dir string) (met <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalled, d.met = resolve(dir), make(chan struct{})
	return d.met
}

// Resume lets the syncs that hang go on to the file system, and hangs no more of them.
func (d *Disk) Resume() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs error
	for _, id := range d.held {
		errs = errors.Join(errs, d.answer(id, 0))
	}
	d.stalled, d.held = "", nil
	return errs
}

// resolve returns the path by which the kernel knows a directory.
func resolve(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// call is a system call that waits for an answer, as struct seccomp_notif of the kernel draws it.
type call struct {
	id    uint64
	pid   uint32
	flags uint32
	data  struct {
		nr          int32
		arch        uint32
		instruction uint64
		args        [6]uint64
	}
}

// answer is struct seccomp_notif_resp.
type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

const (
	// pass has the kernel go on with the call (SECCOMP_USER_NOTIF_FLAG_CONTINUE).
	pass = 1
	ok   = syscall.Errno(0)
)

// serve answers the calls of the process until it has ended.
func (d *Disk) serve(from *net.UnixConn) error {
	room := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := from.ReadMsgUnix(make([]byte, 1), room)
	if err != nil || n == 0 {
		if err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
			return nil // never started
		}
		return err
	}
	messages, err := unix.ParseSocketControlMessage(room[:n])
	if err != nil {
		return err
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.listener = fds[0]
	d.mu.Unlock()
	defer unix.Close(fds[0])
	for {
		ready := []unix.PollFd{{Fd: int32(fds[0]), Events: unix.POLLIN}}
		switch _, err := unix.Poll(ready, -1); {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("poll: %w", err)
		case ready[0].Revents&unix.POLLIN == 0:
			return nil // the last thread behind the filter is gone
		}
		c := call{}
		switch errno := ioctl(fds[0], unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&c)); errno {
		case ok:
			if err := d.meet(&c); err != nil {
				return err
			}
		case syscall.EINTR, syscall.ENOENT: // ENOENT: whose call it was has ended
		default:
			return fmt.Errorf("receive a call: %w", errno)
		}
	}
}

// meet decides what becomes of a call.
func (d *Disk) meet(c *call) error {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.pid, int32(c.data.args[0])))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // a descriptor that is not there is the kernel's to refuse
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	sync := c.data.nr == unix.SYS_FSYNC || c.data.nr == unix.SYS_FDATASYNC
	switch {
	case below(path, d.failed):
		return d.answer(c.id, syscall.EIO)
	case sync && below(path, d.stalled):
		if len(d.held) == 0 {
			close(d.met)
		}
		d.held = append(d.held, c.id)
		return nil
	}
	return d.answer(c.id, 0)
}

func below(path, dir string) bool {
	return dir != "" && (path == dir || strings.HasPrefix(path, dir+"/"))
}

// answer has a call fail, or lets it pass with no error. The lock is held.
func (d *Disk) answer(id uint64, errno syscall.Errno) error {
	a := answer{id: id, errno: -int32(errno)}
	if errno == 0 {
		a.flags = pass
	}
	if errno := ioctl(d.listener, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a)); errno != ok && errno != syscall.ENOENT && errno != syscall.EBADF {
		return fmt.Errorf("answer a call: %w", errno)
	}
	return nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) syscall.Errno {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	return errno
}

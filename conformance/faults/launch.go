package faults

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// launch is the variable that makes a test binary the launcher of the program it names.
const launch = "CONFORMANCE_FAULTS_LAUNCH"

// watched are the calls by which data and its syncs reach a file. Their first argument is a descriptor.
var watched = []uint32{unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE}

// A filter stays on the thread that set it and on what it executes. Go cannot run anything between fork and exec, so the
// test's own binary is started, and becomes the program here, before any test runs.
func init() {
	if program, is := os.LookupEnv(launch); is {
		fmt.Fprintln(os.Stderr, "start behind a seccomp filter:", become(program))
		os.Exit(125)
	}
}

// become sets the filter, hands its notifications to the test (descriptor 3) and executes the program.
func become(program string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the number of the call
	for i, nr := range watched {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nr, Jt: uint8(len(watched) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	all := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// A signal does not interrupt a call whose answer is being decided, but for one that kills: a sync that hangs in the
	// kernel does not return for less, either.
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&all)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(3, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.Close(int(listener))
	unix.Close(3)
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, launch+"=") {
			env = append(env, v)
		}
	}
	return syscall.Exec(program, os.Args, env)
}

// Package process runs the servers that conformance tests talk to, each a process of its own on loopback,
// and leaves none behind.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one started server. Its output is kept, and shown when the test fails.
type Process struct {
	Name string
	cmd  *exec.Cmd
	out  *tail
	done chan struct{}
	err  error
}

// Start runs the command and registers its end with the test.
func Start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, cmd: cmd, out: &tail{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	// The server dies with the test binary, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("last output of %s:\n%s", name, p.out)
		}
	})
	return p
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output returns the end of what the process printed.
func (p *Process) Output() string { return p.out.String() }

// Kill ends the process at once (SIGKILL) and waits until it is gone. It may be called twice.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop asks the process to end (SIGTERM), waits for at most the time given, and returns how it ended.
func (p *Process) Stop(t testing.TB, within time.Duration) error {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.Await(t, within)
}

// Await waits for the end of a process that was told to end, for at most the time given, and returns how it ended.
func (p *Process) Await(t testing.TB, within time.Duration) error {
	t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.cmd.Process.Signal(syscall.SIGQUIT) // both Go and Java print their threads
		<-time.After(time.Second)
		p.Kill()
		t.Fatalf("%s did not end within %v of being told to:\n%s", p.Name, within, p.out)
		return nil
	}
}

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// AwaitPort waits until the process accepts connections on the address.
func (p *Process) AwaitPort(t testing.TB, addr string, within time.Duration) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it listened on %s: %v\n%s", p.Name, addr, p.err, p.out)
		case <-time.After(5 * time.Millisecond): // a port has no event to wait for
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s after %v:\n%s", p.Name, addr, within, p.out)
		}
	}
}

// FreeAddr returns a loopback address that nobody listens on now, for servers that must be told their port.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Run runs a command to its end within a time limit and returns what it printed.
func Run(within time.Duration, name string, args ...string) (stdout, stderr string, err error) {
	return RunInput(within, "", name, args...)
}

// RunInput is Run with text on standard input.
func RunInput(within time.Duration, input, name string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errOut
	err = cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(err, fmt.Errorf("%s did not end within %v", name, within))
	}
	return out.String(), errOut.String(), err
}

// Pipe is Run for what is too much to hold: in is the command's standard input, and read takes what it prints while it
// runs. Either may be nil.
func Pipe(within time.Duration, in io.Reader, read func(io.Reader) error, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var errOut tail
	cmd.Stdin, cmd.Stderr = in, &errOut
	var out io.Reader
	if read != nil {
		var err error
		if out, err = cmd.StdoutPipe(); err != nil {
			return err
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var err error
	if read != nil {
		if err = read(out); err != nil {
			cancel() // or it would wait for somebody to read on
		}
	}
	// What read says comes first: it is why the command was ended.
	if err = errors.Join(err, cmd.Wait()); err != nil {
		if context.Cause(ctx) == context.DeadlineExceeded {
			err = errors.Join(err, fmt.Errorf("%s did not end within %v", name, within))
		}
		return fmt.Errorf("%w\n%s", err, errOut.String())
	}
	return nil
}

// tail keeps the last 64 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

func (o *tail) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	if over := len(o.buf) - 64<<10; over > 0 {
		o.buf = append(o.buf[:0], o.buf[over:]...)
	}
	return len(b), nil
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf)
}

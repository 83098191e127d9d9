package crash

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
)

// TestSignalsEndANodeInOrder: what a service manager, a terminal and a terminal that closes send stops the node cleanly, so
// that the next start has nothing to recover.
func TestSignalsEndANodeInOrder(t *testing.T) {
	// Under nohup this process ignores the last of them, and so would the node: what is caught here is not handed down.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			n := node.Start(t, nil)
			said(t, n.Process, "serving") // its port is open before
			if err := n.Signal(s); err != nil {
				t.Fatal(err)
			}
			if err := n.Await(t, time.Minute); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if _, err := os.Stat(filepath.Join(n.Dir, ".kafka_cleanshutdown")); err != nil {
				t.Errorf("the stop was not clean: %v\n%s", err, n.Output())
			}
		})
	}
}

// TestNohup: a node that was started not to care for its terminal serves on without it.
func TestNohup(t *testing.T) {
	n := node.Format(t, nil)
	n.Process = process.Start(t, "millrace", exec.Command("nohup", node.Binary(t), "server", n.Properties))
	said(t, n.Process, "serving")
	if err := n.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		n.AwaitPort(t, n.Addr, 30*time.Second)
	}
	if err := n.Stop(t, time.Minute); err != nil {
		t.Errorf("the stop was not clean: %v\n%s", err, n.Output())
	}
}

// TestASecondSignalEndsAtOnce: who has stopped a producer that waits for a node, and does not want to wait, says so again.
func TestASecondSignalEndsAtOnce(t *testing.T) {
	n := node.Start(t, nil)
	if _, errOut, err := node.Run(t, "", "topic", "create", "t", "--bootstrap-server", n.Addr); err != nil {
		t.Fatal(err, errOut)
	}
	lines, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	cmd := exec.Command(node.Binary(t), "produce", "t", "--bootstrap-server", n.Addr)
	cmd.Stdin = lines
	producer := process.Start(t, "producer", cmd)
	lines.Close()
	stopped := func() bool { // the node hangs: every thread of it is stopped
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.Pid()))
		return err == nil && strings.Contains(string(text), ") T ")
	}
	fmt.Fprintln(feed, "taken once the node was found")
	awaitEmpty(t, feed)
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !stopped() {
		time.Sleep(time.Millisecond)
	}
	fmt.Fprintln(feed, "never acknowledged")
	awaitEmpty(t, feed)
	if err := producer.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	said(t, producer, "Ctrl-C again")
	if err := producer.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	var how *exec.ExitError
	if err := producer.Await(t, time.Minute); !errors.As(err, &how) || how.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want by the signal", err)
	}
}

// said waits until a process has said something.
func said(t *testing.T, p *process.Process, what string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.Output(), what); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) || p.Exited() {
			t.Fatalf("%s does not say %q:\n%s", p.Name, what, p.Output())
		}
	}
}

// awaitEmpty waits until the reader of a pipe has taken all that was written.
func awaitEmpty(t *testing.T, pipe *os.File) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		waiting, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ)
		if err != nil {
			t.Fatal(err)
		}
		if waiting == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes wait in the pipe", waiting)
		}
	}
}

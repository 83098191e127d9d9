package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crowdVariable says, in the environment of this test's own binary, that it is a crowd: so many connections to an
// address that do nothing, until its standard input ends.
const crowdVariable = "MILLRACE_HOSTILE_CROWD"

func TestMain(m *testing.M) {
	if addr := os.Getenv(crowdVariable); addr != "" {
		beCrowd(addr)
		return
	}
	os.Exit(m.Run())
}

func beCrowd(addr string) {
	n, _ := strconv.Atoi(os.Args[len(os.Args)-1])
	conns := make([]net.Conn, n)
	var all sync.WaitGroup
	for worker := range 16 {
		all.Go(func() {
			for i := worker; i < n; i += 16 {
				c, err := net.Dial("tcp", addr)
				if err != nil {
					fmt.Println("failed:", err)
					os.Exit(1)
				}
				conns[i] = c
			}
		})
	}
	all.Wait()
	fmt.Println("connected")
	io.Copy(io.Discard, os.Stdin)
}

// crowd has a process of its own open connections, and returns what ends it.
func (v *victim) crowd(n int) (leave func()) {
	v.t.Helper()
	cmd := exec.Command(os.Args[0], strconv.Itoa(n))
	cmd.Env = append(os.Environ(), crowdVariable+"="+v.Addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	leave = sync.OnceFunc(func() {
		in.Close()
		cmd.Wait()
	})
	v.t.Cleanup(leave)
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "connected\n" {
		v.t.Fatalf("the crowd: %s", line)
	}
	return leave
}

// idleBytes is the most user memory that an idle connection may take.
const idleBytes = 16 << 10

// TestIdleConnections: ten thousand connections that do nothing.
func TestIdleConnections(t *testing.T) {
	const crowd = 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max < crowd+1000 {
		t.Fatalf("%d connections need as many descriptors; the limit is %d (ulimit -n)", crowd, limit.Max)
	}
	v := start(t, nil)
	b := v.watch()
	leave := v.crowd(crowd)
	v.eventually("all connections there", func() bool { return v.metric("kafka_server_socketservermetrics_connection_count") >= crowd })
	each := (v.usage().rss - v.idle.rss) / crowd
	t.Logf("%d idle connections take %d bytes each", crowd, each)
	if each > idleBytes {
		t.Errorf("an idle connection takes %d bytes, want at most %d", each, idleBytes)
	}
	b.served(5 * time.Second)
	leave()
	v.over("ten thousand idle connections")
}

// TestConnectionsOpenedAndDropped: thousands that come and go, some of them in the middle of a request.
func TestConnectionsOpenedAndDropped(t *testing.T) {
	v := start(t, nil)
	b := v.watch()
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 1000 {
				c, err := net.Dial("tcp", v.Addr)
				if err != nil {
					t.Error(err)
					return
				}
				switch (worker + i) % 4 {
				case 1:
					c.Write([]byte{0, 0})
				case 2:
					c.Write([]byte{0, 0, 1, 0, 0, 18})
				case 3:
					c.(*net.TCPConn).SetLinger(0) // a reset
				}
				c.Close()
			}
		})
	}
	all.Wait()
	b.served(5 * time.Second)
	v.over("eight thousand connections opened and dropped")
}

package speed

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/twmb/franz-go/pkg/kfake"
)

// contender starts a server for one run of one row. Those that are slow to get going stay for all rounds.
type contender struct {
	name  string
	stays bool
	start func(t testing.TB) server
}

// server is what is raced: an address to talk to and a process to measure.
type server struct {
	*process.Process
	addr string
}

// roomy are the settings of both brokers in a race: no segment is deleted or rolled by time while it runs.
func roomy(more map[string]string) map[string]string {
	settings := map[string]string{"log.retention.ms": "-1", "log.segment.delete.delay.ms": "1000"}
	for key, value := range more {
		settings[key] = value
	}
	return settings
}

func millrace(durability string) contender {
	return contender{name: durability, start: func(t testing.TB) server {
		n := node.Start(t, roomy(map[string]string{"log.durability": durability}))
		return server{n.Process, n.Addr}
	}}
}

var (
	cache = millrace("cache")
	disk  = millrace("disk")

	// floor is a server that checks the CRC, writes once, reads once, and keeps nothing.
	floor = contender{name: "kfloor", start: func(t testing.TB) server {
		addr := process.FreeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		p := process.Start(t, "kfloor", exec.Command(program(t, "KFLOOR"), "-port", port, "-dir", t.TempDir()))
		p.AwaitPort(t, addr, 10*time.Second)
		return server{p, addr}
	}}

	// fake is franz-go's broker in memory.
	fake = contender{name: "kfake", start: func(t testing.TB) server {
		addr := process.FreeAddr(t)
		_, port, _ := net.SplitHostPort(addr)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), fakePort+"="+port)
		p := process.Start(t, "kfake", cmd)
		p.AwaitPort(t, addr, 10*time.Second)
		return server{p, addr}
	}}

	// kafka is Apache Kafka as its users run it: G1, the compilers unbridled, acknowledging from the page cache. It
	// keeps running, since a young JVM is a slow one.
	kafka = contender{name: "kafka", stays: true, start: func(t testing.TB) server {
		k := oracle.StartOn(t, []string{"-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"}, roomy(nil))
		return server{k.Process, k.Addr}
	}}
)

// program returns the path of a program that the environment names.
func program(t testing.TB, variable string) string {
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s must name the program; see the package comment", variable)
	}
	return path
}

const fakePort = "SPEED_KFAKE_PORT"

// TestMain lets the test binary be kfake in a process of its own, and a crowd of idle clients in another.
func TestMain(m *testing.M) {
	if port := os.Getenv(fakePort); port != "" {
		serveFake(port)
		return
	}
	if addr := os.Getenv(crowdAddr); addr != "" {
		standAround(addr)
		return
	}
	os.Exit(m.Run())
}

func serveFake(port string) {
	n, err := strconv.Atoi(port)
	if err == nil {
		_, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(n))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
}

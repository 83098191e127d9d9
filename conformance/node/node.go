// Package node runs Millrace as its users do: the binary, built once, in a process of its own.
package node

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/process"
)

// binary builds the binary once for all tests of a package. Packages that run side by side each put the same file
// in the same place; another checkout has a place of its own.
var binary = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	// The product is built in its own module, with its own dependencies.
	out, errOut, err := process.Run(time.Minute, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/millrace-io/millrace")
	if err != nil {
		return "", fmt.Errorf("find the module of millrace: %v\n%s", err, errOut)
	}
	root := strings.TrimSpace(out)
	path := filepath.Join(cache, "millrace-conformance", "bin", fmt.Sprintf("%x", sha256.Sum256([]byte(root)))[:16], "millrace")
	partial := fmt.Sprintf("%s.%d", path, os.Getpid())
	out, errOut, err = process.Run(10*time.Minute, "go", "build", "-C", root, "-o", partial, "./cmd/millrace")
	if err != nil {
		return "", fmt.Errorf("build millrace: %v\n%s%s", err, out, errOut)
	}
	return path, os.Rename(partial, path)
})

// Binary returns the path of the built binary.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Run runs a millrace command to its end.
func Run(t testing.TB, input string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return process.RunInput(2*time.Minute, input, Binary(t), args...)
}

// Node is one combined broker and controller.
type Node struct {
	*process.Process
	Addr           string // of the broker listener
	ControllerAddr string // of the controller listener
	Dir            string // log.dirs
	Properties     string // the file it was started with
	ClusterID      string
}

// Start formats a fresh directory and starts a node on it, with the same properties file as the oracle's.
func Start(t testing.TB, more map[string]string) *Node {
	t.Helper()
	n := Format(t, more)
	n.Restart(t)
	return n
}

// Format writes a properties file and formats the directories of a node that is not started yet.
func Format(t testing.TB, more map[string]string) *Node {
	t.Helper()
	base := t.TempDir()
	n := &Node{Addr: process.FreeAddr(t), ControllerAddr: process.FreeAddr(t), Dir: filepath.Join(base, "data"), ClusterID: "4L6g3nShT-eMCtK--X86sw"}
	n.Properties = filepath.Join(base, "server.properties")
	if err := os.WriteFile(n.Properties, []byte(oracle.Properties(n.Addr, n.ControllerAddr, n.Dir, more)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, errOut, err := Run(t, "", "storage", "format", "-t", n.ClusterID, "-c", n.Properties); err != nil {
		t.Fatalf("format: %v\n%s%s", err, out, errOut)
	}
	return n
}

// On starts a node on a properties file and directory that exist already, as after an import.
func On(t testing.TB, properties, addr, controllerAddr, dir string) *Node {
	t.Helper()
	n := &Node{Addr: addr, ControllerAddr: controllerAddr, Dir: dir, Properties: properties}
	n.Restart(t)
	return n
}

// Restart starts the node again on its directory, after Stop or Kill.
func (n *Node) Restart(t testing.TB) {
	t.Helper()
	n.Process = process.Start(t, "millrace", exec.Command(Binary(t), "server", n.Properties))
	n.AwaitPort(t, n.Addr, 30*time.Second)
}

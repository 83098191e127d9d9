// Package millrace_test holds the house to its floor plan.
package millrace_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sort"
	"strings"
	"testing"
)

const module = "github.com/millrace-io/millrace"

// floors is the table of ARCHITECTURE.md. A room may import rooms on lower floors; on its own floor only
// its own parts (folders below it). A key ending in "/..." covers every folder below it.
var floors = map[string]int{
	"kafka": 0, "config": 0,

	"internal/record": 1, "internal/wire": 1, "internal/wire/...": 1,

	"server/internal/vfs": 2, "server/internal/peer": 2, "server/internal/budget": 2, "server/internal/quota": 2,

	"server/internal/commitlog": 3, "server/internal/commitlog/segment": 3, "server/internal/tier": 3,

	"server/internal/quorum": 4, "server/internal/metadata": 4,

	"server/internal/replica": 5, "server/internal/coordinator": 5, "server/internal/coordinator/memlog": 5, "server/internal/auth": 5,

	"server/internal/controller": 6, "server/internal/coordinator/group": 6, "server/internal/coordinator/group/...": 6, "server/internal/coordinator/group/assign": 5, "server/internal/coordinator/group/history": 5,
	"server/internal/coordinator/group/embedded": 5,
	"server/internal/coordinator/txn":            6, "server/internal/coordinator/share": 6, "server/internal/sharepartition": 6,

	"server/internal/listener": 7, "server/internal/api": 7,

	"server/internal/broker": 8, "server/internal/sim": 8,

	"server": 9, "server/offline": 9, "server/simulate": 9,

	"kafkatest": 10, "cmd/millrace": 10, "cmd/millrace/...": 10, "connect": 10, "connect/...": 10, "mirror": 10,
	"streams": 10, "streams/...": 10, "registry": 10, "registry/...": 10, "restproxy": 10, "console": 10,
}

// gates may lean on each other: api implements listener.Handler, so it names listener's types.
// The same holds of the node, whose offline work is a part of it.
var sameFloor = map[[2]string]bool{
	{"server/internal/api", "server/internal/listener"}: true,
	{"server", "server/offline"}:                        true,
	{"kafkatest", "server"}:                             true,
}

// generators write code of a room and are built by nobody else; they may read only the room's own parts.
func generator(room string) bool { return parent(room) != "" }

// guests may reach the node only where the floor plan says so: all others speak the Kafka protocol.
var guestsOfServer = []string{"cmd/millrace/...", "kafkatest"}

// heavy libraries and the rooms that may link them; everything else on floors 0 to 6 needs the standard
// library, golang.org/x/sys and what is named here.
var libraries = map[string][]string{
	"github.com/klauspost/compress":       {"internal/record"},
	"github.com/pierrec/lz4":              {"internal/record"},
	"go.etcd.io/raft":                     {"server/internal/quorum"},
	"google.golang.org/protobuf":          {"server/internal/quorum"},
	"github.com/google/btree":             {"server/internal/metadata", "server/internal/controller"},
	"golang.org/x/sys":                    {"server/internal/vfs", "server/internal/listener"},
	"github.com/twmb/franz-go":            {"kafkatest", "cmd/millrace/..."},
	"github.com/twmb/franz-go/pkg/kadm":   {"kafkatest", "cmd/millrace/..."},
	"github.com/twmb/franz-go/pkg/kmsg":   {"kafkatest", "cmd/millrace/..."},
	"github.com/spf13/cobra":              {"cmd/millrace/..."},
	"github.com/spf13/pflag":              {"cmd/millrace/..."},
	"github.com/prometheus/client_golang": {"server"},
	"github.com/prometheus/client_model":  {"server"},
}

type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestFloors(t *testing.T) {
	for _, p := range list(t) {
		room, ours := roomOf(p.ImportPath)
		if !ours || room == "" {
			continue
		}
		floor, known := floorOf(room)
		if !known && !generator(room) {
			t.Errorf("%s has no floor: give the room a place in floors_test.go and in ARCHITECTURE.md", room)
			continue
		}
		for _, imported := range append(p.Imports, p.TestImports...) {
			other, ours := roomOf(imported)
			if !ours {
				continue
			}
			otherFloor, _ := floorOf(other)
			switch {
			case generator(room) && strings.HasPrefix(other, parent(room)),
				otherFloor < floor,
				strings.HasPrefix(other, room+"/"),
				sameFloor[[2]string{room, other}]:
			default:
				t.Errorf("%s (floor %d) imports %s (floor %d): imports point down", room, floor, other, otherFloor)
			}
		}
		for _, imported := range p.XTestImports { // outside tests may also drive a whole cluster
			if other, ours := roomOf(imported); ours && other != room && other != "kafkatest" {
				if otherFloor, _ := floorOf(other); otherFloor > floor {
					t.Errorf("the tests of %s (floor %d) import %s (floor %d)", room, floor, other, otherFloor)
				}
			}
		}
		if floor == 10 && !matches(room, guestsOfServer) {
			for _, imported := range p.Imports {
				if other, ours := roomOf(imported); ours && (other == "server" || strings.HasPrefix(other, "server/")) {
					t.Errorf("%s imports %s: guests speak the Kafka protocol and nothing else", room, other)
				}
			}
		}
	}
}

func TestLibrariesStayInTheirRooms(t *testing.T) {
	for _, p := range list(t) {
		room, ours := roomOf(p.ImportPath)
		if !ours || room == "" || generator(room) {
			continue
		}
		for _, imported := range p.Imports {
			if _, ours := roomOf(imported); ours || standard(imported) {
				continue
			}
			if library := libraryOf(imported); !matches(room, libraries[library]) {
				t.Errorf("%s imports %s: a library has named rooms (libraries in floors_test.go) and a line of why in ARCHITECTURE.md", room, imported)
			}
		}
	}
}

func list(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []pkg
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func roomOf(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func floorOf(room string) (int, bool) {
	if floor, ok := floors[room]; ok {
		return floor, true
	}
	for key, floor := range floors {
		if prefix, wild := strings.CutSuffix(key, "/..."); wild && strings.HasPrefix(room, prefix+"/") {
			return floor, true
		}
	}
	return 0, false
}

// parent is the room whose generator this is, and "" for a room that is no generator.
func parent(room string) string {
	at := ""
	for element := range strings.SplitSeq(room, "/") {
		if strings.HasSuffix(element, "gen") {
			return strings.TrimSuffix(at, "/internal")
		}
		at = strings.TrimPrefix(at+"/"+element, "/")
	}
	return ""
}

func matches(room string, patterns []string) bool {
	for _, pattern := range patterns {
		if prefix, wild := strings.CutSuffix(pattern, "/..."); room == pattern || wild && (room == prefix || strings.HasPrefix(room, prefix+"/")) {
			return true
		}
	}
	return false
}

func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// libraryOf is the longest key of libraries that the import lies under.
func libraryOf(importPath string) string {
	keys := make([]string, 0, len(libraries))
	for key := range libraries {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(i, j int) bool { return len(keys[i]) > len(keys[j]) })
	for _, key := range keys {
		if importPath == key || strings.HasPrefix(importPath, key+"/") {
			return key
		}
	}
	return ""
}

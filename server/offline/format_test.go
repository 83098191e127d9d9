package offline

import (
	"errors"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

func write(t *testing.T, fsys vfs.FS, name, text string) {
	t.Helper()
	if err := fsys.MkdirAll(path.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(fsys, name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestReadProperties(t *testing.T) {
	id := kafka.NewUUID()
	for _, c := range []struct {
		text string
		want Properties
		err  string
	}{
		// as kafka-storage writes it
		{"#\n#Tue Nov 24 04:13:07 UTC 2026\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\ndirectory.id=" + id.String() + "\nnode.id=4\nversion=1\n", Properties{"MkU3OEVBNTcwNTJENDM2Qg", 4, id}, ""},
		// as Kafka left it before directories had ids, and before KRaft
		{"version=1\ncluster.id=c\nnode.id=0\n", Properties{ClusterID: "c"}, ""},
		{"version=0\ncluster.id=c\nbroker.id=3\n", Properties{ClusterID: "c", NodeID: 3}, ""},
		{"version=0\n", Properties{NodeID: -1}, ""},
		{"version=2\ncluster.id=c\nnode.id=0\n", Properties{}, `has the version "2"`},
		{"cluster.id=c\nnode.id=0\n", Properties{}, `has the version ""`},
		{"version=1\nnode.id=0\n", Properties{}, "lacks cluster.id or node.id"},
		{"version=1\ncluster.id=c\n", Properties{}, "lacks cluster.id or node.id"},
		{"version=1\ncluster.id=c\nnode.id=-3\n", Properties{}, "node.id=-3, which is not the number of a node"},
		{"version=1\ncluster.id=c\nnode.id=0\ndirectory.id=xyz\n", Properties{}, "is not an id"},
		{"version=1\ncluster.id=\\u00\n", Properties{}, "line 2"},
	} {
		disk := vfs.NewMem()
		write(t, disk, "/d/meta.properties", c.text)
		got, err := ReadProperties(disk, "/d")
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q:\n  got %+v, %v\n  want %+v, %s", c.text, got, err, c.want, c.err)
		}
	}
	if _, err := ReadProperties(vfs.NewMem(), "/d"); !errors.Is(err, ErrUnformatted) {
		t.Errorf("nothing: %v", err)
	}
}

func TestFormatThenInspect(t *testing.T) {
	disk := vfs.NewMem()
	o := FormatOptions{FS: disk, ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", NodeID: 3, LogDirs: []string{"/a", "/m/", "/b"}, MetadataLogDir: "/m", Controller: true}
	formatted, err := Format(o)
	if err != nil || strings.Join(formatted, " ") != "/a /b /m" {
		t.Fatalf("formatted %v, %v; the metadata's directory comes last", formatted, err)
	}
	ids := make(map[kafka.DirectoryID]bool)
	after := disk.CrashClone(vfs.CrashOptions{}) // formatted means durably so
	o.FS = after
	for _, d := range Inspect(o) {
		if d.Problem != nil || d.ClusterID != o.ClusterID || d.NodeID != 3 || d.DirectoryID.IsZero() || ids[d.DirectoryID] {
			t.Errorf("%+v", d)
		}
		ids[d.DirectoryID] = true
	}
	checkpoint := "/m/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint"
	if _, err := after.Stat(checkpoint); err != nil {
		t.Errorf("the metadata log does not begin with the formatter's snapshot: %v", err)
	}

	if _, err := Format(o); err == nil || !strings.Contains(err.Error(), "is formatted already") {
		t.Errorf("again: %v", err)
	}
	o.IgnoreFormatted = true
	o.LogDirs = append(o.LogDirs, "/c")
	if formatted, err := Format(o); err != nil || len(formatted) != 1 || formatted[0] != "/c" {
		t.Errorf("a new directory: %v, %v", formatted, err)
	}
	o.LogDirs = append(o.LogDirs, "/d")
	for _, foreign := range []struct {
		cluster string
		node    int32
		want    string
	}{{"other", 3, "belongs to the cluster MkU3OEVBNTcwNTJENDM2Qg, not to other"}, {o.ClusterID, 4, "belongs to node 3, not to node 4"}} {
		wrong := o
		wrong.ClusterID, wrong.NodeID = foreign.cluster, foreign.node
		if _, err := Format(wrong); err == nil || !strings.Contains(err.Error(), foreign.want) {
			t.Errorf("said %v, want %s", err, foreign.want)
		}
		if _, err := ReadProperties(after, "/d"); !errors.Is(err, ErrUnformatted) {
			t.Errorf("a format that was refused has formatted something: %v", err)
		}
	}
}

func TestADirectoryInUseIsNotFormatted(t *testing.T) {
	disk := vfs.NewMem()
	locks, err := Lock(disk, "/a")
	if err != nil {
		t.Fatal(err)
	}
	o := FormatOptions{FS: disk, ClusterID: "c", LogDirs: []string{"/a"}, MetadataLogDir: "/a"}
	if _, err := Format(o); !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), "/a is locked by another process") {
		t.Errorf("said %v", err)
	}
	if err := locks.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Format(o); err != nil {
		t.Error(err)
	}
}

// A format that fails at any point can be done again.
func TestAFormatThatFailsIsDoneAgain(t *testing.T) {
	for n := 0; ; n++ {
		disk := vfs.NewMem()
		rule := &vfs.Rule{Skip: n, Times: 1, Err: syscall.EIO}
		failing := vfs.NewFail(disk, rule)
		o := FormatOptions{FS: failing, ClusterID: "c", NodeID: 1, LogDirs: []string{"/x/a", "/x/b"}, MetadataLogDir: "/x/a", Controller: true, IgnoreFormatted: true}
		_, err := Format(o)
		if failing.Hits(rule) == 0 {
			return // every operation has failed once
		}
		o.FS = disk
		if _, again := Format(o); again != nil {
			t.Fatalf("operation %d failed (%v), and then %v", n, err, again)
		}
		for _, d := range Inspect(o) {
			if d.Problem != nil {
				t.Fatalf("operation %d failed (%v), and then %v", n, err, d.Problem)
			}
		}
	}
}

// A directory that the user may not write is no matter of locks.
func TestLockOfWhatCannotBeWritten(t *testing.T) {
	for _, cause := range []error{syscall.EACCES, syscall.EROFS} {
		disk := vfs.NewFail(vfs.NewMem(), &vfs.Rule{Ops: vfs.OpLock, Err: cause})
		if _, err := Lock(disk, "/a"); err == nil || !strings.HasPrefix(err.Error(), "/a cannot be written by this user: ") {
			t.Errorf("said %v", err)
		}
	}
}

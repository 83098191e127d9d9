package offline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// stoppedNode makes the directories of a stopped node, which look the same whoever stopped: two log directories with
// partitions in them, of which an import knows only the names. It returns what every file holds.
func stoppedNode(t *testing.T, disk vfs.FS, clean bool) (files map[string]string) {
	t.Helper()
	o := FormatOptions{FS: disk, ClusterID: "4L6g3nShT-eMCtK--X86sw", NodeID: 1, LogDirs: []string{"/k/a", "/k/b"}, MetadataLogDir: "/k/a", Controller: true, StaticVoters: true}
	if _, err := Format(o); err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for i, name := range []string{"/k/a/orders-0", "/k/b/orders-1", "/k/b/__consumer_offsets-7"} {
		for _, file := range []string{"00000000000000000000.log", "partition.metadata"} {
			text := fmt.Sprintf("%s of %d", file, i) + strings.Repeat("\x00", 3*blockBytes) + "end"
			if err := errors.Join(makeDir(disk, name), vfs.WriteFileAtomic(disk, path.Join(name, file), []byte(text))); err != nil {
				t.Fatal(err)
			}
			files[path.Join(path.Base(name), file)] = text
		}
		write(t, disk, path.Join(name, "00000000000000000000.log.deleted"), "gone")
	}
	write(t, disk, "/k/a/gone-0.00000000000000000000000000000000-delete/x", "gone")
	write(t, disk, "/k/a/cleaner-offset-checkpoint", "") // as Kafka leaves it
	for dir, tp := range map[string]kafka.TopicPartition{"/k/a": {Topic: "orders", Partition: 0}, "/k/b": {Topic: "orders", Partition: 1}} {
		if err := commitlog.WriteCheckpoint(disk, dir+"/recovery-point-offset-checkpoint", []commitlog.CheckpointEntry{{Partition: tp, Offset: 40 + int64(tp.Partition)}}); err != nil {
			t.Fatal(err)
		}
		if clean {
			if err := commitlog.WriteCleanShutdown(disk, dir, 7); err != nil {
				t.Fatal(err)
			}
		}
	}
	return files
}

func importOptions(disk vfs.FS, move bool, targets ...string) ImportOptions {
	return ImportOptions{From: []string{"/k/a", "/k/b"}, Move: move, FS: disk,
		Node: FormatOptions{NodeID: 1, LogDirs: targets, MetadataLogDir: targets[0], Controller: true, StaticVoters: true}}
}

// arrived wants everything to be in the targets, and the source to be whole or gone.
func arrived(t *testing.T, disk vfs.FS, files map[string]string, move bool, targets ...string) {
	t.Helper()
	for name, want := range files {
		found := 0
		for _, dir := range targets {
			if got, err := vfs.ReadFile(disk, path.Join(dir, name)); err == nil {
				if found++; string(got) != want {
					t.Errorf("%s/%s holds %.40q, want %.40q", dir, name, got, want)
				}
			}
		}
		if found != 1 {
			t.Errorf("%s is in %d of %v", name, found, targets)
		}
		for _, dir := range []string{"/k/a", "/k/b"} {
			if _, err := disk.Stat(path.Join(dir, name)); err == nil {
				found++
			}
		}
		if want := map[bool]int{true: 1, false: 2}[move]; found != want {
			t.Errorf("%s is in %d directories, want %d", name, found, want)
		}
	}
	var points []commitlog.CheckpointEntry
	for _, dir := range targets {
		p, err := ReadProperties(disk, dir)
		if err != nil || p.ClusterID != "4L6g3nShT-eMCtK--X86sw" || p.NodeID != 1 || p.DirectoryID.IsZero() {
			t.Errorf("%s: %+v, %v", dir, p, err)
		}
		entries, err := commitlog.ReadCheckpoint(disk, dir+"/recovery-point-offset-checkpoint")
		if err != nil {
			t.Error(err)
		}
		points = append(points, entries...)
		if _, err := disk.Stat(path.Join(dir, importFile)); err == nil {
			t.Errorf("%s still has the mark of an import", dir)
		}
	}
	if len(points) != 2 || points[0].Offset+points[1].Offset != 81 {
		t.Errorf("the recovery points are %v", points)
	}
	if _, err := ReadProperties(disk, "/k/a"); move != errors.Is(err, ErrUnformatted) {
		t.Errorf("what was imported from: %v", err)
	}
}

func TestImport(t *testing.T) {
	for _, move := range []bool{false, true} {
		for _, targets := range [][]string{{"/m/a"}, {"/m/a", "/m/b"}, {"/m/a", "/m/b", "/m/c"}} {
			disk := vfs.NewMem()
			files := stoppedNode(t, disk, true)
			moved, err := Import(context.Background(), importOptions(disk, move, targets...))
			if err != nil {
				t.Fatal(err)
			}
			arrived(t, disk.CrashClone(vfs.CrashOptions{}), files, move, targets...)
			if len(moved.Unclean) != 0 || moved.ClusterID != "4L6g3nShT-eMCtK--X86sw" || moved.NodeID != 1 {
				t.Errorf("%+v", moved)
			}
			for _, dir := range targets[:min(2, len(targets))] {
				if _, clean, err := commitlog.ReadCleanShutdown(disk, dir); err != nil || !clean {
					t.Errorf("%s is not known to be clean: %v", dir, err)
				}
			}
			if _, err := disk.Stat("/m/a/orders-0/00000000000000000000.log.deleted"); err == nil && !move {
				t.Error("a file that was being deleted was copied")
			}
		}
	}
}

// An import that fails at any operation, as one that is killed there, is done by running it again.
func TestAnImportThatFailsIsDoneAgain(t *testing.T) {
	for name, c := range map[string]struct {
		move    bool
		targets []string
		rename  error // of partitions between the disks
	}{
		"copy":                      {false, []string{"/m/a", "/m/b"}, nil},
		"copy into one":             {false, []string{"/m/a"}, nil},
		"move":                      {true, []string{"/m/a", "/m/b"}, nil},
		"move into one":             {true, []string{"/m/a"}, nil},
		"move to another disk":      {true, []string{"/m/a", "/m/b"}, syscall.EXDEV},
		"move to one on other disk": {true, []string{"/m/a"}, syscall.EXDEV},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				disk := vfs.NewMem()
				files := stoppedNode(t, disk, n%2 == 0)
				rule := &vfs.Rule{Skip: n, Times: 1, Err: syscall.EIO}
				rules := []*vfs.Rule{rule}
				if c.rename != nil {
					rules = append(rules, &vfs.Rule{Ops: vfs.OpRename, Path: "/k/*/*", Err: c.rename})
				}
				failing := vfs.NewFail(disk, rules...)
				_, err := Import(context.Background(), importOptions(failing, c.move, c.targets...))
				if failing.Hits(rule) == 0 {
					if err != nil || n < 50 {
						t.Fatalf("%d operations, and then %v", n, err)
					}
					return // every operation has failed once
				}
				clean := vfs.NewFail(disk, rules[1:]...)
				if _, again := Import(context.Background(), importOptions(clean, c.move, c.targets...)); again != nil {
					// An error of the very last steps may come after everything was done.
					if _, statErr := disk.Stat(path.Join(c.targets[0], importFile)); statErr == nil || !strings.Contains(again.Error(), "is not empty") && !c.move {
						t.Fatalf("operation %d failed (%v), and then %v", n, err, again)
					}
				}
				arrived(t, disk, files, c.move, c.targets...)
				if t.Failed() {
					t.Fatalf("operation %d failed: %v", n, err)
				}
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	for want, spoil := range map[string]func(disk *vfs.Mem, o *ImportOptions){
		"set node.id=1": func(_ *vfs.Mem, o *ImportOptions) { o.Node.NodeID = 2 },
		"/m/a is not empty: it holds orders-0": func(disk *vfs.Mem, _ *ImportOptions) {
			write(t, disk, "/m/a/orders-0/x", "")
		},
		"both to be imported from and to":       func(_ *vfs.Mem, o *ImportOptions) { o.Node.LogDirs, o.Node.MetadataLogDir = []string{"/k/a"}, "/k/a" },
		"name the metadata.log.dir of the node": func(_ *vfs.Mem, o *ImportOptions) { o.From = []string{"/k/b"} },
		"but /k/b to node 1 of other": func(disk *vfs.Mem, _ *ImportOptions) {
			write(t, disk, "/k/b/meta.properties", "version=1\ncluster.id=other\nnode.id=1\n")
		},
		"kept its metadata in ZooKeeper": func(disk *vfs.Mem, _ *ImportOptions) {
			write(t, disk, "/k/a/meta.properties", "version=0\nbroker.id=1\n")
		},
		"is no log directory of a node":     func(_ *vfs.Mem, o *ImportOptions) { o.From = append(o.From, "/k") },
		"orders-0 lies in /k/a and in /k/b": func(disk *vfs.Mem, _ *ImportOptions) { write(t, disk, "/k/b/orders-0/x", "") },
		"another node uses it; stop it first": func(disk *vfs.Mem, _ *ImportOptions) {
			if _, err := Lock(disk, "/k/b"); err != nil {
				t.Fatal(err)
			}
		},
		"cannot be taken over": func(disk *vfs.Mem, _ *ImportOptions) {
			write(t, disk, "/k/a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint", "damage")
		},
	} {
		disk := vfs.NewMem()
		stoppedNode(t, disk, true)
		o := importOptions(disk, false, "/m/a")
		spoil(disk, &o)
		_, err := Import(context.Background(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("said %v, want %s", err, want)
		}
		if _, err := disk.Stat("/m/a/" + importFile); err == nil {
			t.Errorf("%s: something was begun", want)
		}
	}
}

func TestImportWithoutRoom(t *testing.T) {
	disk := vfs.NewMem()
	stoppedNode(t, disk, true)
	if err := enough(disk, map[string]int64{"/k/a": 1 << 62}); err == nil || !strings.Contains(err.Error(), "there is no room in /k/a: 4611686018427387904 bytes are to go there") {
		t.Errorf("said %v", err)
	}
	if err := enough(disk, map[string]int64{"/k/a": 1}); err != nil {
		t.Error(err)
	}
}

// A directory with an import that was not finished is neither formatted nor served.
func TestAnUnfinishedImportIsSaid(t *testing.T) {
	disk := vfs.NewMem()
	stoppedNode(t, disk, true)
	failing := vfs.NewFail(disk, &vfs.Rule{Ops: vfs.OpCreate, Path: "partition.metadata", Err: syscall.EIO})
	if _, err := Import(context.Background(), importOptions(failing, false, "/m/a")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	o := FormatOptions{FS: disk, ClusterID: "c", NodeID: 1, LogDirs: []string{"/m/a"}, MetadataLogDir: "/m/a", IgnoreFormatted: true}
	if _, err := Format(o); !errors.Is(err, ErrImporting) || !strings.Contains(err.Error(), "run `millrace storage import` again") {
		t.Errorf("said %v", err)
	}
}

// What was exported can be imported: both look like a node of Kafka's.
func TestExport(t *testing.T) {
	disk := vfs.NewMem()
	files := stoppedNode(t, disk, true)
	write(t, disk, "/k/a/orders-0/producers.spill", "ours")
	write(t, disk, "/k/a/millrace-manifest", "ours")
	o := ExportOptions{FS: disk, To: []string{"/out"}, Node: FormatOptions{NodeID: 1, LogDirs: []string{"/k/a", "/k/b"}, MetadataLogDir: "/k/a", StaticVoters: true}}
	if _, err := Export(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	arrived(t, disk, files, false, "/out")
	for _, ours := range []string{"/out/orders-0/producers.spill", "/out/millrace-manifest"} {
		if _, err := disk.Stat(ours); err == nil {
			t.Errorf("%s was exported", ours)
		}
	}
	if _, err := Export(context.Background(), o); err == nil || !strings.Contains(err.Error(), "/out is not empty") {
		t.Errorf("again: %v", err)
	}
}

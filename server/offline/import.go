package offline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// ImportOptions say which node of Apache Kafka becomes which of ours.
type ImportOptions struct {
	From []string      // all log directories of a stopped Kafka node, and its metadata.log.dir
	Node FormatOptions // of the node that takes over: its number and its directories, which must be empty
	Move bool          // leave nothing behind, rather than copy

	FS       vfs.FS         // nil for the machine's
	Progress func(Progress) // may be nil
}

// Moved is what an import or an export has done.
type Moved struct {
	ClusterID  string
	NodeID     int32
	Topics     int
	Partitions int
	Bytes      int64
	Landings   []Landing
	// Unclean are the directories whose node was not stopped in order: logs are recovered at the next start.
	Unclean []string
	// LeftOut says what was not taken along, in words.
	LeftOut []string
	// Already says that an earlier run had done everything but to say so.
	Already bool
}

// Landing is where a directory went.
type Landing struct{ From, To string }

// importFile stands in the metadata directory from the first moment of an import to its end, so that one that was killed
// can be run again: JSON of importing.
const importFile = "millrace-import"

// importing is what a run of an import is about.
type importing struct {
	Version int      `json:"version"`
	From    []string `json:"from"`
	To      []string `json:"to"`
	Move    bool     `json:"move"`
	// Metadata is the one of From whose metadata log it was, since a move takes that away.
	Metadata string `json:"metadata"`
}

// ErrImporting is wrapped by the error for a directory that holds an import that was not finished.
var ErrImporting = errors.New("an import that was not finished")

// Import takes over the directories of a stopped node of Apache Kafka, those of the metadata log and of every partition as
// they are, also of topics whose features we do not serve. The node then has Kafka's cluster id, node number and directory ids.
//
// Nothing is written before all that can be known to be wrong has been looked at. The metadata directory gets its
// meta.properties last, so that a run that was killed can be done again: a copy begins anew, a move goes on.
func Import(ctx context.Context, o ImportOptions) (*Moved, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	for i := range o.From {
		o.From[i] = filepath.Clean(o.From[i])
	}
	if len(o.From) == 0 {
		return nil, errors.New("name the log directories of the Kafka node to import")
	}
	targets := o.Node.Directories()
	for _, dir := range targets {
		if slices.Contains(o.From, dir) {
			return nil, fmt.Errorf("%s is both to be imported from and to: give the node directories of its own", dir)
		}
	}
	sources, err := lockStopped(o.FS, o.From)
	if err != nil {
		return nil, err
	}
	defer sources.Close()
	locks, err := Lock(o.FS, targets...)
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	i := &importer{o: o, targets: targets, transfer: transfer{ctx: ctx, fs: o.FS, move: o.Move, report: o.Progress}}
	if done, err := i.resume(); done || err != nil {
		return &Moved{Already: true}, err
	}
	if err := i.plan(); err != nil {
		return nil, err
	}
	return i.run()
}

// importer is one run of an import.
type importer struct {
	o        ImportOptions
	targets  []string   // the metadata's last
	resumed  *importing // an earlier run of a move that is gone on with
	node     *stopped
	landings []landing
	transfer transfer
}

func (i *importer) marker() string { return path.Join(i.o.Node.metadataDir(), importFile) }

func (o *FormatOptions) metadataDir() string { return filepath.Clean(o.MetadataLogDir) }

// resume looks for an earlier run and makes the targets what this one needs. done says that the earlier one had finished.
func (i *importer) resume() (done bool, err error) {
	text, err := vfs.ReadFile(i.o.FS, i.marker())
	if errors.Is(err, fs.ErrNotExist) {
		for _, dir := range i.targets {
			if err := empty(i.o.FS, dir); err != nil {
				return false, err
			}
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var before importing
	if err := json.Unmarshal(text, &before); err != nil || before.Version != 1 || !slices.Contains(before.From, before.Metadata) {
		return false, fmt.Errorf("%s cannot be read; empty the directories of the node and import again", i.marker())
	}
	if _, err := ReadProperties(i.o.FS, i.o.Node.metadataDir()); err == nil {
		if before.Move {
			if err := i.clear(before.From); err != nil {
				return false, err
			}
		}
		return true, i.unmark()
	} else if !errors.Is(err, ErrImporting) {
		return false, err
	}
	if !slices.Equal(before.To, i.targets) {
		return false, fmt.Errorf("an import into %s was not finished; run it again for the same directories, or empty them", strings.Join(before.To, ", "))
	}
	if before.Move {
		if !i.o.Move || !slices.Equal(before.From, i.o.From) {
			return false, fmt.Errorf("an import that moved from %s was not finished, and some is here by now; run it again with --from %s --move", strings.Join(before.From, ","), strings.Join(before.From, ","))
		}
		i.resumed = &before
		return false, nil
	}
	for _, dir := range i.targets { // a copy begins anew: Kafka may have run in between
		entries, err := i.o.FS.ReadDir(dir)
		if err != nil {
			return false, err
		}
		for _, e := range entries {
			if name := path.Join(dir, e.Name()); e.Name() != lockFile && name != i.marker() {
				if err := i.o.FS.RemoveAll(name); err != nil {
					return false, err
				}
			}
		}
	}
	return false, nil
}

// plan reads everything that says what the node is, and finds what is wrong with it.
func (i *importer) plan() (err error) {
	if i.node, err = openStopped(i.o.FS, i.o.From); err != nil {
		return err
	}
	n := i.node
	if n.nodeID != i.o.Node.NodeID {
		return fmt.Errorf("%s belongs to node %d, but the properties file says node.id=%d; the metadata names the node by its number, so set node.id=%d", i.o.From[0], n.nodeID, i.o.Node.NodeID, n.nodeID)
	}
	var metadataFrom string
	switch {
	case n.metadata != nil:
		metadataFrom = n.metadata.path
	case i.resumed != nil: // it has been moved
		metadataFrom = i.o.Node.metadataDir()
		n.metadata = n.dirs[slices.Index(i.o.From, i.resumed.Metadata)]
	default:
		return fmt.Errorf("none of %s holds %s-0, the metadata log: name the metadata.log.dir of the node, too; a Kafka that kept its metadata in ZooKeeper must be moved to KRaft first",
			strings.Join(i.o.From, ", "), kafka.MetadataTopic)
	}
	if err := n.replay(i.o.FS, metadataFrom); err != nil {
		return err
	}
	if err := errors.Join(n.check(), n.twice()); err != nil {
		return err
	}
	i.landings = n.lay(i.o.Node.logDirs(), i.o.Node.metadataDir())
	return i.room()
}

func (o *FormatOptions) logDirs() (dirs []string) {
	for _, dir := range o.LogDirs {
		dirs = append(dirs, filepath.Clean(dir))
	}
	return dirs
}

// room measures what there is to do, and sees that a copy fits.
func (i *importer) room() error {
	needs := map[string]int64{}
	add := func(from, to string) error {
		need, err := i.transfer.measure(from)
		needs[to] += need
		return err
	}
	for _, l := range i.landings {
		for _, name := range l.from.logs {
			if err := add(path.Join(l.from.path, name), l.to); err != nil {
				return err
			}
		}
	}
	if err := add(quorum.Dir(i.node.metadata.path), i.o.Node.metadataDir()); err != nil {
		return err
	}
	if i.o.Move {
		return nil // mostly a change of names; a disk that another one is moved to says itself when it is full
	}
	return enough(i.o.FS, needs)
}

// run does it.
func (i *importer) run() (*Moved, error) {
	fsys, n := i.o.FS, i.node
	text, err := json.Marshal(importing{1, i.o.From, i.targets, i.o.Move, n.metadata.path})
	if err != nil {
		return nil, err
	}
	if i.resumed == nil {
		if err := vfs.WriteFileAtomic(fsys, i.marker(), text); err != nil {
			return nil, err
		}
	}
	moved := &Moved{ClusterID: n.clusterID, NodeID: n.nodeID, Topics: n.image.NumTopics(), Partitions: n.image.NumPartitions()}
	into := map[string][]*stoppedDir{}
	for _, l := range i.landings {
		into[l.to] = append(into[l.to], l.from)
		moved.Landings = append(moved.Landings, Landing{l.from.path, l.to})
		if !l.from.clean && l.from.holds {
			moved.Unclean = append(moved.Unclean, l.from.path)
		}
		for _, name := range l.from.logs {
			if err := i.transfer.dir(path.Join(l.from.path, name), path.Join(l.to, name)); err != nil {
				return nil, fmt.Errorf("import %s: %w", path.Join(l.from.path, name), err)
			}
		}
	}
	for to, from := range into {
		if err := writeCheckpoints(fsys, from, to); err != nil {
			return nil, err
		}
	}
	ids := n.directoryIDs(i.landings, i.targets, i.o.Node.metadataDir())
	if err := i.metadataLog(n.changes(i.landings, ids)); err != nil {
		return nil, fmt.Errorf("import the metadata log: %w", err)
	}
	for _, dir := range i.targets { // the metadata's is the last of them
		if err := WriteProperties(fsys, dir, Properties{ClusterID: n.clusterID, NodeID: n.nodeID, DirectoryID: ids[dir]}); err != nil {
			return nil, err
		}
	}
	if i.o.Move {
		if err := i.clear(i.o.From); err != nil {
			return nil, err
		}
	}
	moved.Bytes = i.transfer.progress.BytesTotal
	return moved, i.unmark()
}

// unmark ends the import: from now on the directories are those of a node like any other.
func (i *importer) unmark() error {
	if err := i.o.FS.Remove(i.marker()); err != nil {
		return err
	}
	return i.o.FS.SyncDir(i.o.Node.metadataDir())
}

// bootstrapFile is where Kafka's formatter left the first records before KIP-1170.
const bootstrapFile = "bootstrap.checkpoint"

// metadataLog takes the metadata log along, after all partitions, so that a move that goes on still finds it where it was.
// Where directories were joined the replicas in them must be told so before anybody leads them: then the log becomes one
// snapshot, with the ids of the directories as they are now.
func (i *importer) metadataLog(now map[kafka.DirectoryID]kafka.DirectoryID) error {
	m, to := i.node.metadata, i.o.Node.metadataDir()
	if len(now) > 0 {
		records, _ := i.node.kafkaRecords(now)
		return quorum.WriteStored(i.o.FS, to, i.node.stored, records)
	}
	if old := path.Join(m.path, bootstrapFile); i.transfer.exists(old) {
		if err := i.transfer.file(old, path.Join(to, bootstrapFile)); err != nil {
			return err
		}
	}
	return i.transfer.dir(quorum.Dir(m.path), quorum.Dir(to))
}

func (t *transfer) exists(name string) bool {
	_, err := t.fs.Stat(name)
	return err == nil
}

// clear takes from directories that were moved away what would let Kafka start on them with nothing.
func (i *importer) clear(from []string) error {
	for _, dir := range from {
		if err := i.o.FS.RemoveAll(quorum.Dir(dir)); err != nil {
			return err
		}
		for _, name := range append([]string{propertiesFile, bootstrapFile, commitlog.CleanShutdownFile}, checkpoints...) {
			if err := i.o.FS.Remove(path.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := i.o.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

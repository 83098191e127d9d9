package offline

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// ExportOptions say which node of ours becomes one of Apache Kafka.
type ExportOptions struct {
	Node FormatOptions // the node, which must be stopped
	To   []string      // empty directories, or ones that are not there yet: Kafka's log.dirs

	FS       vfs.FS         // nil for the machine's
	Progress func(Progress) // may be nil
}

// Export writes directories that Apache Kafka starts on with the node's properties and log.dirs set to them. Partitions are
// copied as they are; the metadata log becomes one snapshot that ends where the log does. What only Millrace has is left
// out. The node's own directories are not changed.
//
// meta.properties of the directory with the metadata comes last: a run that was killed leaves what Kafka does not start on.
func Export(ctx context.Context, o ExportOptions) (*Moved, error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if len(o.To) == 0 {
		return nil, errors.New("name the directory to export to")
	}
	sources := o.Node.Directories()
	for i := range o.To {
		o.To[i] = filepath.Clean(o.To[i])
		if slices.Contains(sources, o.To[i]) || slices.Contains(o.To[:i], o.To[i]) {
			return nil, fmt.Errorf("%s is to be exported to, and is named twice or is one of the node's own directories", o.To[i])
		}
	}
	locks, err := lockStopped(o.FS, sources)
	if err != nil {
		return nil, err
	}
	defer locks.Close()
	n, err := openStopped(o.FS, sources)
	if err != nil {
		return nil, err
	}
	if n.nodeID != o.Node.NodeID {
		return nil, fmt.Errorf("%s belongs to node %d, not to node %d, which the properties file is for", sources[0], n.nodeID, o.Node.NodeID)
	}
	if err := n.replay(o.FS, o.Node.metadataDir()); err != nil {
		return nil, err
	}
	if err := n.twice(); err != nil {
		return nil, err
	}
	targets, err := Lock(o.FS, o.To...)
	if err != nil {
		return nil, err
	}
	defer targets.Close()
	for _, dir := range o.To {
		if err := empty(o.FS, dir); err != nil {
			return nil, err
		}
	}
	e := &exporter{o: o, node: n, transfer: transfer{ctx: ctx, fs: o.FS, report: o.Progress}}
	return e.run()
}

// exporter is one run of an export.
type exporter struct {
	o        ExportOptions
	node     *stopped
	transfer transfer
}

func (e *exporter) run() (*Moved, error) {
	n, fsys := e.node, e.o.FS
	metadataTo := e.o.To[0] // Kafka's metadata.log.dir is the first of log.dirs, unless it is set
	landings := n.lay(e.o.To, metadataTo)
	needs := map[string]int64{}
	for _, l := range landings {
		for _, name := range l.from.logs {
			need, err := e.transfer.measure(path.Join(l.from.path, name))
			if err != nil {
				return nil, err
			}
			needs[l.to] += need
		}
	}
	if err := enough(fsys, needs); err != nil {
		return nil, err
	}
	moved := &Moved{ClusterID: n.clusterID, NodeID: n.nodeID, Topics: n.image.NumTopics(), Partitions: n.image.NumPartitions(), Bytes: e.transfer.progress.BytesTotal}
	into := map[string][]*stoppedDir{}
	for _, l := range landings {
		into[l.to] = append(into[l.to], l.from)
		moved.Landings = append(moved.Landings, Landing{l.from.path, l.to})
		if !l.from.clean && l.from.holds {
			moved.Unclean = append(moved.Unclean, l.from.path)
		}
		for _, name := range l.from.logs {
			if strings.HasSuffix(name, "-stray") {
				moved.LeftOut = append(moved.LeftOut, path.Join(l.from.path, name)+", which belongs to no topic")
				continue
			}
			if err := e.transfer.dir(path.Join(l.from.path, name), path.Join(l.to, name)); err != nil {
				return nil, fmt.Errorf("export %s: %w", path.Join(l.from.path, name), err)
			}
		}
	}
	for _, l := range landings {
		// What a node that was killed had acknowledged lies in its logs or in a journal, which Kafka does not know.
		if err := replica.ReplayJournal(fsys, l.from.path, l.to); err != nil {
			return nil, fmt.Errorf("complete the logs of %s: %w", l.from.path, err)
		}
	}
	for to, from := range into {
		if err := writeCheckpoints(fsys, from, to); err != nil {
			return nil, err
		}
	}
	ids := n.directoryIDs(landings, e.o.To, metadataTo)
	records, leftOut := n.kafkaRecords(n.changes(landings, ids))
	moved.LeftOut = append(moved.LeftOut, leftOut...)
	if err := quorum.WriteStored(fsys, metadataTo, n.stored, records); err != nil {
		return nil, err
	}
	for _, dir := range append(slices.Clone(e.o.To[1:]), metadataTo) {
		if err := WriteProperties(fsys, dir, Properties{ClusterID: n.clusterID, NodeID: n.nodeID, DirectoryID: ids[dir]}); err != nil {
			return nil, err
		}
	}
	return moved, nil
}

package offline

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// stopped is a node that does not run, as its directories tell of it: Kafka's or ours.
type stopped struct {
	clusterID string
	nodeID    int32
	dirs      []*stoppedDir
	metadata  *stoppedDir // the one that holds the metadata log
	image     *metadata.Image
	stored    *quorum.Stored
}

// stoppedDir is one of its directories.
type stoppedDir struct {
	path  string
	id    kafka.DirectoryID
	logs  []string // names of the directories of partitions, and of strays
	clean bool
	epoch int64 // of the broker that stopped cleanly
	// holds says that it is a log directory rather than one for the metadata alone: it has logs, or had before an import
	// that is gone on with moved them.
	holds bool
}

// checkpoints are Kafka's files in a log directory that say an offset of each partition.
var checkpoints = []string{"recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint", "cleaner-offset-checkpoint"}

// openStopped reads the directories of a node that is known to be stopped, since the caller holds their locks.
func openStopped(fsys vfs.FS, dirs []string) (*stopped, error) {
	s := &stopped{nodeID: kafka.NoNode}
	for _, dir := range dirs {
		p, err := ReadProperties(fsys, dir)
		if errors.Is(err, ErrUnformatted) {
			return nil, fmt.Errorf("%s is no log directory of a node: it has no %s", dir, propertiesFile)
		}
		if err != nil {
			return nil, err
		}
		if p.ClusterID == "" || p.NodeID < 0 {
			return nil, fmt.Errorf("%s was written by a Kafka that kept its metadata in ZooKeeper; move that cluster to KRaft first", dir)
		}
		if s.clusterID == "" {
			s.clusterID, s.nodeID = p.ClusterID, p.NodeID
		}
		if p.ClusterID != s.clusterID || p.NodeID != s.nodeID {
			return nil, fmt.Errorf("%s belongs to node %d of the cluster %s, but %s to node %d of %s: name the directories of one node", dirs[0], s.nodeID, s.clusterID, dir, p.NodeID, p.ClusterID)
		}
		d := &stoppedDir{path: dir, id: p.DirectoryID}
		if d.epoch, d.clean, err = commitlog.ReadCleanShutdown(fsys, dir); err != nil {
			return nil, err
		}
		if err := d.list(fsys); err != nil {
			return nil, err
		}
		_, err = fsys.Stat(path.Join(dir, checkpoints[0]))
		d.holds = err == nil || d.clean || len(d.logs) > 0
		if _, err := fsys.Stat(quorum.Dir(dir)); err == nil {
			if s.metadata != nil {
				return nil, fmt.Errorf("%s and %s both hold a metadata log", s.metadata.path, dir)
			}
			s.metadata = d
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s.dirs = append(s.dirs, d)
	}
	return s, nil
}

// list finds what a directory holds for partitions. What is being deleted, or is a copy under way between two directories,
// is left out.
func (d *stoppedDir) list(fsys vfs.FS) error {
	entries, err := fsys.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		tp, isLog := commitlog.ParseDirName(e.Name())
		if e.IsDir() && (isLog && tp.Topic != kafka.MetadataTopic || strings.HasSuffix(e.Name(), commitlog.StrayDirSuffix)) {
			d.logs = append(d.logs, e.Name())
		}
	}
	return nil
}

// replay reads the metadata log, which lies in the directory given.
func (s *stopped) replay(fsys vfs.FS, metadataLogDir string) (err error) {
	loader := metadata.NewLoader()
	if s.stored, err = quorum.ReadStored(fsys, metadataLogDir, loader); err != nil {
		return fmt.Errorf("the metadata log in %s cannot be taken over: %w", quorum.Dir(metadataLogDir), err)
	}
	s.image = loader.Image()
	return nil
}

// check says what of the node cannot be served by one node of this version.
func (s *stopped) check() error {
	supported := metadata.KafkaFeatures()
	features := s.image.Features()
	for _, name := range slices.Sorted(maps.Keys(features)) {
		level := features[name]
		if r, known := supported[name]; level != 0 && (!known || level > r.Max || level < r.Min) {
			return fmt.Errorf("the cluster has the feature %s at level %d; this version knows %s", name, level, knownLevels(known, r))
		}
	}
	if voters := s.voters(); len(voters) > 1 || len(voters) == 1 && voters[0] != s.nodeID {
		return fmt.Errorf("the metadata quorum has the voters %v; this version runs a quorum of one: move the cluster to a single controller, node %d, first", voters, s.nodeID)
	}
	for t := range s.image.Topics() {
		for number, p := range t.Partitions {
			if len(p.Replicas) != 1 || p.Replicas[0] != s.nodeID {
				return fmt.Errorf("%s-%d has replicas on the nodes %v; this version runs single nodes: move all partitions to node %d, with one replica each, first", t.Name, number, p.Replicas, s.nodeID)
			}
		}
	}
	return s.checkDirectories()
}

func knownLevels(known bool, r metadata.FeatureRange) string {
	if !known {
		return "no such feature"
	}
	return fmt.Sprintf("levels %d to %d", r.Min, r.Max)
}

// voters are the nodes that agree on the metadata, as far as the log says.
func (s *stopped) voters() (ids []int32) {
	switch {
	case s.stored.Voters != nil:
		for _, v := range s.stored.Voters.Voters {
			ids = append(ids, v.VoterID)
		}
	case s.stored.Leader != nil:
		for _, v := range s.stored.Leader.Voters {
			ids = append(ids, v.VoterID)
		}
	}
	return ids
}

// checkDirectories sees that no partition lies in a log directory that was not named.
func (s *stopped) checkDirectories() error {
	for t := range s.image.Topics() {
		for number, p := range t.Partitions {
			id, ok := p.Directory(s.nodeID)
			if ok && !reserved(id) && !slices.ContainsFunc(s.dirs, func(d *stoppedDir) bool { return d.id == id }) {
				return fmt.Errorf("%s-%d lies in the log directory with the id %s, which is not among those named: name all directories of the node", t.Name, number, id)
			}
		}
	}
	return nil
}

// reserved reports whether an id stands for something else than a directory.
func reserved(id kafka.DirectoryID) bool {
	return slices.Max(id[:15]) == 0 && id[15] < 100
}

// A landing is where one of the node's directories goes.
type landing struct {
	from *stoppedDir
	to   string
}

// lay decides where each directory goes: that with the metadata to where the metadata shall be, if logs may lie there,
// and the others each to one of their own as long as there are any, then to those with the least.
func (s *stopped) lay(logDirs []string, metadataLogDir string) []landing {
	holds := map[string]int{}
	var all []landing
	place := func(d *stoppedDir, to string) {
		all = append(all, landing{d, to})
		holds[to]++
	}
	if s.metadata != nil && slices.Contains(logDirs, metadataLogDir) {
		place(s.metadata, metadataLogDir)
	}
	for _, d := range s.dirs {
		if len(all) > 0 && all[0].from == d {
			continue
		}
		place(d, slices.MinFunc(logDirs, func(a, b string) int { return cmp.Compare(holds[a], holds[b]) }))
	}
	return all
}

// directoryIDs gives every target the id of the first directory that goes there, so that the replicas in it stay where the
// metadata says that they are; a target that gets none has a new one. A quorum that keeps its voters in its log names the
// directory of its metadata.
func (s *stopped) directoryIDs(landings []landing, targets []string, metadataLogDir string) map[string]kafka.DirectoryID {
	ids := map[string]kafka.DirectoryID{}
	used := map[kafka.DirectoryID]bool{}
	give := func(dir string, id kafka.DirectoryID) {
		if _, has := ids[dir]; !has && !id.IsZero() && !used[id] {
			ids[dir], used[id] = id, true
		}
	}
	if s.stored.Voters != nil && s.metadata != nil {
		give(metadataLogDir, s.metadata.id)
	}
	for _, l := range landings {
		give(l.to, l.from.id)
	}
	for _, dir := range targets {
		if _, has := ids[dir]; !has {
			ids[dir] = kafka.NewUUID()
		}
	}
	return ids
}

// changes are the directory ids that are others now, since directories were joined.
func (s *stopped) changes(landings []landing, ids map[string]kafka.DirectoryID) map[kafka.DirectoryID]kafka.DirectoryID {
	now := map[kafka.DirectoryID]kafka.DirectoryID{}
	for _, l := range landings {
		if id := ids[l.to]; id != l.from.id && l.from.holds {
			now[l.from.id] = id
		}
	}
	return now
}

// twice says which log lies in two of the directories.
func (s *stopped) twice() error {
	in := map[string]string{}
	for _, d := range s.dirs {
		for _, name := range d.logs {
			if other, ok := in[name]; ok {
				return fmt.Errorf("%s lies in %s and in %s; delete or move away the one that is not wanted", name, other, d.path)
			}
			in[name] = d.path
		}
	}
	return nil
}

// writeCheckpoints joins Kafka's checkpoints of the directories that go to one target. The marker of a clean stop stays
// only where all of them have one.
func writeCheckpoints(fsys vfs.FS, from []*stoppedDir, to string) error {
	from = slices.DeleteFunc(slices.Clone(from), func(d *stoppedDir) bool { return !d.holds })
	clean, epoch := true, int64(-1)
	for _, d := range from {
		clean, epoch = clean && d.clean, max(epoch, d.epoch)
	}
	for _, name := range checkpoints {
		var all []commitlog.CheckpointEntry
		found := false
		for _, d := range from {
			file := path.Join(d.path, name)
			if _, err := fsys.Stat(file); errors.Is(err, fs.ErrNotExist) {
				continue
			}
			found = true
			entries, err := commitlog.ReadCheckpoint(fsys, file)
			if err != nil {
				return err
			}
			all = append(all, entries...)
		}
		if !found {
			continue
		}
		if err := commitlog.WriteCheckpoint(fsys, path.Join(to, name), all); err != nil {
			return err
		}
	}
	if clean && len(from) > 0 {
		return commitlog.WriteCleanShutdown(fsys, to, epoch)
	}
	return nil
}

// kafkaRecords are the records of an image, but for what Kafka does not know; told says what was left out.
func (s *stopped) kafkaRecords(moved map[kafka.DirectoryID]kafka.DirectoryID) (records func(yield func([]byte) bool), told []string) {
	for r := range metadata.SnapshotRecords(s.image) {
		if m, ok := r.Message.(*wire.ConfigRecord); ok && ownKey(m.Name) {
			told = append(told, fmt.Sprintf("the setting %s=%s of %s, which Kafka does not have", m.Name, *m.Value, resourceText(m)))
		}
	}
	return func(yield func([]byte) bool) {
		var buffer []byte
		for r := range metadata.SnapshotRecords(s.image) {
			switch m := r.Message.(type) {
			case *wire.ConfigRecord:
				if ownKey(m.Name) {
					continue
				}
			case *wire.PartitionRecord:
				m.Directories = renamed(m.Directories, moved)
			case *wire.RegisterBrokerRecord:
				m.LogDirs = slices.Compact(slices.SortedFunc(slices.Values(renamed(m.LogDirs, moved)), func(a, b kafka.DirectoryID) int { return bytes.Compare(a[:], b[:]) }))
				if m.CordonedLogDirs != nil {
					m.CordonedLogDirs = renamed(m.CordonedLogDirs, moved)
				}
			}
			buffer = wire.AppendMetadataRecord(buffer[:0], r.Message, r.Version)
			if !yield(buffer) {
				return
			}
		}
	}, told
}

// renamed is a list of directories with those that moved under the ids of where they are now. The list that is given
// belongs to the image.
func renamed(ids []kafka.DirectoryID, moved map[kafka.DirectoryID]kafka.DirectoryID) []kafka.DirectoryID {
	ids = slices.Clone(ids)
	for i, id := range ids {
		if to, ok := moved[id]; ok {
			ids[i] = to
		}
	}
	return ids
}

// ownKey reports whether a setting of a topic or a broker is one of ours alone.
func ownKey(name string) bool { return name == "durability" || name == "log.durability" }

func resourceText(m *wire.ConfigRecord) string {
	kind := fmt.Sprintf("resource type %d", m.ResourceType)
	switch kafka.ResourceType(m.ResourceType) {
	case kafka.ResourceTopic:
		kind = "topic"
	case kafka.ResourceBroker:
		kind = "broker"
	}
	return kind + " " + m.ResourceName
}

package commitlog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Names of Kafka's small files.
const (
	PartitionMetadataFile = "partition.metadata"
	EpochFile             = "leader-epoch-checkpoint"
	CleanShutdownFile     = ".kafka_cleanshutdown"
	MetaPropertiesFile    = "meta.properties"
)

// CheckpointEntry is a line of one of Kafka's offset checkpoints: recovery-point-offset-checkpoint,
// replication-offset-checkpoint, log-start-offset-checkpoint, cleaner-offset-checkpoint.
type CheckpointEntry struct {
	Partition kafka.TopicPartition
	Offset    int64
}

// An offset checkpoint is text: a version, the number of entries, the entries.
//
//	0
//	2
//	orders 0 4711
//	orders 1 4802

// ReadCheckpoint reads an offset checkpoint. A missing file has no entries.
func ReadCheckpoint(fsys vfs.FS, name string) ([]CheckpointEntry, error) {
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err)
	}
	return ParseCheckpoint(name, text)
}

// ParseCheckpoint reads the text of an offset checkpoint; name is for errors.
func ParseCheckpoint(name string, text []byte) ([]CheckpointEntry, error) {
	var entries []CheckpointEntry
	err := parseTextCheckpoint(name, text, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return errors.New("want topic, partition and offset")
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil || partition < 0 {
			return fmt.Errorf("%q is no partition", fields[1])
		}
		offset, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil {
			return fmt.Errorf("%q is no offset", fields[2])
		}
		entries = append(entries, CheckpointEntry{kafka.TopicPartition{Topic: fields[0], Partition: int32(partition)}, offset})
		return nil
	})
	return entries, err
}

// WriteCheckpoint replaces an offset checkpoint; it returns when the new one is durable.
func WriteCheckpoint(fsys vfs.FS, name string, entries []CheckpointEntry) error {
	b := fmt.Appendf(nil, "0\n%d\n", len(entries))
	for _, e := range entries {
		b = append(b, e.Partition.Topic...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(e.Partition.Partition), 10)
		b = append(b, ' ')
		b = strconv.AppendInt(b, e.Offset, 10)
		b = append(b, '\n')
	}
	return ioError(vfs.WriteFileAtomic(fsys, name, b))
}

// parseTextCheckpoint reads the frame that all of Kafka's text checkpoints share.
func parseTextCheckpoint(name string, text []byte, entry func(line string) error) error {
	if len(text) == 0 {
		return nil // as Kafka makes the file before it has anything to write
	}
	number, left := 0, 0
	torn := len(text) > 0 && text[len(text)-1] != '\n'
	for len(text) > 0 {
		var raw []byte
		raw, text, _ = bytes.Cut(text, []byte("\n"))
		line := strings.TrimSuffix(string(raw), "\r")
		number++
		bad := func(err error) error { return fmt.Errorf("%s, line %d (%.80q): %w", name, number, line, err) }
		switch {
		case number == 1:
			if line != "0" {
				return bad(errors.New("the version is not 0"))
			}
		case number == 2:
			n, err := strconv.Atoi(line)
			if err != nil || n < 0 {
				return bad(errors.New("want the number of entries"))
			}
			left = n
		case left == 0:
			if strings.TrimSpace(line) != "" {
				return bad(errors.New("more entries than the second line says"))
			}
		default:
			if err := entry(line); err != nil {
				return bad(err)
			}
			left--
		}
	}
	switch {
	case number < 2:
		return fmt.Errorf("%s: it ends before the number of entries", name)
	case left > 0:
		return fmt.Errorf("%s: %d entries are missing at its end", name, left)
	case torn:
		return fmt.Errorf("%s: its last line has no end", name)
	}
	return nil
}

// EpochEntry says that a leader epoch began at an offset.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// ReadEpochs reads a leader-epoch-checkpoint, whose lines are `epoch start`. A missing file has no entries.
func ReadEpochs(fsys vfs.FS, name string) ([]EpochEntry, error) {
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ioError(err)
	}
	return ParseEpochs(name, text)
}

// ParseEpochs reads the text of a leader-epoch-checkpoint; name is for errors.
func ParseEpochs(name string, text []byte) ([]EpochEntry, error) {
	var entries []EpochEntry
	err := parseTextCheckpoint(name, text, func(line string) error {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return errors.New("want epoch and offset")
		}
		epoch, err := strconv.ParseInt(fields[0], 10, 32)
		if err != nil || epoch < 0 {
			return fmt.Errorf("%q is no epoch", fields[0])
		}
		start, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil || start < 0 {
			return fmt.Errorf("%q is no offset", fields[1])
		}
		if n := len(entries); n > 0 && (entries[n-1].Epoch >= int32(epoch) || entries[n-1].Start >= start) {
			return fmt.Errorf("it does not follow epoch %d at offset %d", entries[n-1].Epoch, entries[n-1].Start)
		}
		entries = append(entries, EpochEntry{int32(epoch), start})
		return nil
	})
	return entries, err
}

func appendEpochs(b []byte, entries []EpochEntry) []byte {
	b = fmt.Appendf(b, "0\n%d\n", len(entries))
	for _, e := range entries {
		b = fmt.Appendf(b, "%d %d\n", e.Epoch, e.Start)
	}
	return b
}

// ReadPartitionMetadata returns the topic id in the partition.metadata of a partition's directory. A missing file
// is fs.ErrNotExist.
func ReadPartitionMetadata(fsys vfs.FS, dir string) (kafka.TopicID, error) {
	name := path.Join(dir, PartitionMetadataFile)
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return kafka.TopicID{}, err
	}
	if err != nil {
		return kafka.TopicID{}, ioError(err)
	}
	return ParsePartitionMetadata(name, text)
}

// ParsePartitionMetadata reads the text of a partition.metadata:
//
//	version: 0
//	topic_id: dPqRfkNTQF-q-K5p7WqYCg
func ParsePartitionMetadata(name string, text []byte) (kafka.TopicID, error) {
	var id kafka.TopicID
	var hasVersion, hasID bool
	for line := range strings.Lines(string(text)) {
		key, value, found := strings.Cut(strings.TrimSpace(line), ":")
		value = strings.TrimSpace(value)
		switch {
		case !found && key == "":
		case key == "version":
			if value != "0" {
				return id, fmt.Errorf("%s: version %q is not known; this is version 0's format", name, value)
			}
			hasVersion = true
		case key == "topic_id":
			var err error
			if id, err = kafka.ParseUUID(value); err != nil {
				return id, fmt.Errorf("%s: %w", name, err)
			}
			if id.IsZero() {
				return id, fmt.Errorf("%s: the topic id is zero", name)
			}
			hasID = true
		default:
			return id, fmt.Errorf("%s: %.80q is not understood", name, line)
		}
	}
	if !hasVersion || !hasID {
		return id, fmt.Errorf("%s: it lacks its version or topic_id", name)
	}
	return id, nil
}

// WritePartitionMetadata replaces the partition.metadata of a directory; it returns when it is durable.
func WritePartitionMetadata(fsys vfs.FS, dir string, id kafka.TopicID) error {
	return ioError(vfs.WriteFileAtomic(fsys, path.Join(dir, PartitionMetadataFile), partitionMetadata(id)))
}

func partitionMetadata(id kafka.TopicID) []byte {
	return []byte("version: 0\ntopic_id: " + id.String())
}

// cleanShutdown is the content of .kafka_cleanshutdown: {"version":0,"brokerEpoch":7}
type cleanShutdown struct {
	Version     int   `json:"version"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

// ReadCleanShutdown looks for the marker that a clean stop leaves in a log directory. brokerEpoch is -1 when there
// is none, or when an old Kafka left it empty.
func ReadCleanShutdown(fsys vfs.FS, logDir string) (brokerEpoch int64, clean bool, err error) {
	name := path.Join(logDir, CleanShutdownFile)
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, false, nil
	}
	if err != nil {
		return -1, false, ioError(err)
	}
	c := cleanShutdown{BrokerEpoch: -1}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &c); err != nil || c.Version != 0 {
			// The marker is there, so the stop was clean; whose broker epoch it was cannot be proven.
			return -1, true, nil
		}
	}
	return c.BrokerEpoch, true, nil
}

// WriteCleanShutdown leaves the marker; it returns when it is durable. Everything that it vouches for must be
// durable before.
func WriteCleanShutdown(fsys vfs.FS, logDir string, brokerEpoch int64) error {
	text, err := json.Marshal(cleanShutdown{BrokerEpoch: brokerEpoch})
	if err != nil {
		return err
	}
	return ioError(vfs.WriteFileAtomic(fsys, path.Join(logDir, CleanShutdownFile), text))
}

// RemoveCleanShutdown takes the marker away, durably: from now on a stop is unclean until it is written again.
func RemoveCleanShutdown(fsys vfs.FS, logDir string) error {
	err := fsys.Remove(path.Join(logDir, CleanShutdownFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fsys.SyncDir(logDir)
	}
	return ioError(err)
}

// MetaProperties is the content of meta.properties, which says whose directory it is.
type MetaProperties struct {
	Version     int // 1; 0 has no directory id and names the node broker.id
	ClusterID   string
	NodeID      int32
	DirectoryID kafka.DirectoryID // zero when there is none
}

// ReadMetaProperties reads meta.properties from a log directory. A missing file is fs.ErrNotExist: the directory is
// not formatted.
func ReadMetaProperties(fsys vfs.FS, logDir string) (MetaProperties, error) {
	name := path.Join(logDir, MetaPropertiesFile)
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return MetaProperties{}, err
	}
	if err != nil {
		return MetaProperties{}, ioError(err)
	}
	return ParseMetaProperties(name, text)
}

// ParseMetaProperties reads the text of a meta.properties; name is for errors.
func ParseMetaProperties(name string, text []byte) (MetaProperties, error) {
	p, err := config.ParseProperties(bytes.NewReader(text))
	if err != nil {
		return MetaProperties{}, fmt.Errorf("%s: %w", name, err)
	}
	var m MetaProperties
	need := func(key string) (string, error) {
		v, ok := p.Get(key)
		if !ok || v == "" {
			return "", fmt.Errorf("%s: it lacks %s", name, key)
		}
		return strings.TrimSpace(v), nil
	}
	version, err := need("version")
	if err != nil {
		return m, err
	}
	if m.Version, err = strconv.Atoi(version); err != nil || m.Version < 0 || m.Version > 1 {
		return m, fmt.Errorf("%s: version %q is not known; 0 and 1 are", name, version)
	}
	node := "node.id"
	if m.Version == 0 {
		node = "broker.id"
	}
	id, err := need(node)
	if err != nil {
		return m, err
	}
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil {
		return m, fmt.Errorf("%s: %s=%s is no node id", name, node, id)
	}
	m.NodeID = int32(n)
	m.ClusterID, _ = p.Get("cluster.id")
	if m.Version == 1 {
		if m.ClusterID, err = need("cluster.id"); err != nil {
			return m, err
		}
	}
	if dir, ok := p.Get("directory.id"); ok {
		if m.DirectoryID, err = kafka.ParseUUID(strings.TrimSpace(dir)); err != nil {
			return m, fmt.Errorf("%s: directory.id: %w", name, err)
		}
	}
	return m, nil
}

// WriteMetaProperties replaces meta.properties in version 1; it returns when it is durable.
func WriteMetaProperties(fsys vfs.FS, logDir string, m MetaProperties) error {
	p := config.PropertiesOf("cluster.id", m.ClusterID, "directory.id", m.DirectoryID.String(), "node.id", strconv.Itoa(int(m.NodeID)), "version", "1")
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return err
	}
	return ioError(vfs.WriteFileAtomic(fsys, path.Join(logDir, MetaPropertiesFile), b.Bytes()))
}

package offline

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// propertiesFile says to which cluster and node a directory belongs:
//
//	version=1
//	cluster.id=MkU3OEVBNTcwNTJENDM2Qk
//	node.id=1
//	directory.id=3vHW6pFzSrWdVnLmXgqx1A
const propertiesFile = "meta.properties"

// lockFile is locked for as long as a process uses the directory, Kafka's name for it.
const lockFile = ".lock"

// Properties is what meta.properties says of a directory.
type Properties struct {
	ClusterID   string
	NodeID      int32
	DirectoryID kafka.DirectoryID // zero in a directory that Kafka formatted before KIP-858
}

// ErrUnformatted is wrapped by the error for a directory without meta.properties.
var ErrUnformatted = errors.New("not formatted")

// ReadProperties reads meta.properties of a directory. The error wraps ErrUnformatted when there is none, or ErrImporting
// when there is none yet, and is the file system's when the directory cannot be read.
func ReadProperties(fsys vfs.FS, dir string) (Properties, error) {
	p := Properties{NodeID: -1}
	name := path.Join(dir, propertiesFile)
	text, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := fsys.Stat(path.Join(dir, importFile)); err == nil {
			return p, fmt.Errorf("%s holds %w: run `millrace storage import` again", dir, ErrImporting)
		}
		return p, fmt.Errorf("%s is %w: it has no %s", dir, ErrUnformatted, propertiesFile)
	}
	if err != nil {
		return p, err
	}
	properties, err := config.ParseProperties(bytes.NewReader(text))
	if err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	version, _ := properties.Get("version")
	node, key := "", ""
	switch version {
	case "1":
		key = "node.id"
	case "0": // before KRaft; a broker.id may be missing there
		key = "broker.id"
	default:
		return p, fmt.Errorf("%s has the version %q; this version of Millrace reads 0 and 1", name, version)
	}
	node, _ = properties.Get(key)
	if node != "" {
		n, err := strconv.ParseInt(node, 10, 32)
		if err != nil || n < 0 {
			return p, fmt.Errorf("%s has %s=%s, which is not the number of a node", name, key, node)
		}
		p.NodeID = int32(n)
	}
	p.ClusterID, _ = properties.Get("cluster.id")
	if version == "1" && (p.ClusterID == "" || p.NodeID < 0) {
		return p, fmt.Errorf("%s lacks cluster.id or node.id", name)
	}
	if id, ok := properties.Get("directory.id"); ok {
		if p.DirectoryID, err = kafka.ParseUUID(id); err != nil {
			return p, fmt.Errorf("%s: directory.id: %w", name, err)
		}
	}
	return p, nil
}

// WriteProperties writes meta.properties, durably and at once.
func WriteProperties(fsys vfs.FS, dir string, p Properties) error {
	properties := config.PropertiesOf("version", "1", "cluster.id", p.ClusterID, "node.id", strconv.Itoa(int(p.NodeID)))
	if !p.DirectoryID.IsZero() {
		properties.Set("directory.id", p.DirectoryID.String())
	}
	var text bytes.Buffer
	if _, err := properties.WriteTo(&text); err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, path.Join(dir, propertiesFile), text.Bytes())
}

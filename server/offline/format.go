package offline

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// FormatOptions says what a node's directories are to be formatted as.
type FormatOptions struct {
	ClusterID string
	NodeID    int32
	// LogDirs and MetadataLogDir, which may be one of them.
	LogDirs        []string
	MetadataLogDir string
	// Controller says that the node has a vote, so that the metadata log begins in its directory.
	Controller bool
	// StaticVoters says that the voters stand in the configuration (controller.quorum.voters); otherwise the
	// node becomes the first voter of a quorum that keeps them in its log (KIP-853).
	StaticVoters bool
	// Endpoints are the controller's listeners, which a quorum that keeps its voters in its log writes there.
	Endpoints []Endpoint
	// VoterDirectoryID is the id that the metadata directory of the first voter gets; zero for a new one.
	VoterDirectoryID kafka.DirectoryID
	// Features are the levels that the cluster begins with, metadata.version first; nil for what this version serves.
	Features []FeatureLevel
	// Credentials are there from the first moment, so that the nodes themselves can log in with SCRAM.
	Credentials []Credential
	// IgnoreFormatted leaves directories that belong to this cluster and node already as they are.
	IgnoreFormatted bool

	// FS is the disk, nil for the machine's.
	FS vfs.FS
}

// Endpoint is where a controller listens.
type Endpoint struct {
	Name, Host string
	Port       uint16
}

// Directories returns every directory of the node once, the metadata's last.
func (o FormatOptions) Directories() []string {
	var dirs []string
	for _, dir := range append(slices.Clone(o.LogDirs), o.MetadataLogDir) {
		if dir = filepath.Clean(dir); dir != filepath.Clean(o.MetadataLogDir) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return append(dirs, filepath.Clean(o.MetadataLogDir))
}

// Format prepares the directories of a node and returns those that it formatted. Directories of another
// cluster or node are never touched. The metadata directory comes last, so that a format that was interrupted is
// done again rather than taken for whole.
func Format(o FormatOptions) (formatted []string, err error) {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.ClusterID == "" {
		return nil, errors.New("a cluster id is needed to format directories; millrace storage random-uuid draws one")
	}
	dirs := o.Directories()
	locks, err := Lock(o.FS, dirs...)
	if err != nil {
		return nil, err
	}
	defer locks.Close()

	var missing []string
	for _, dir := range dirs {
		p, err := ReadProperties(o.FS, dir)
		switch {
		case errors.Is(err, ErrUnformatted):
			missing = append(missing, dir)
			continue
		case err != nil:
			return nil, err
		}
		if err := p.Check(dir, o.ClusterID, o.NodeID); err != nil {
			return nil, err
		}
		if !o.IgnoreFormatted {
			return nil, fmt.Errorf("%s is formatted already; --ignore-formatted leaves such directories as they are", dir)
		}
	}
	for _, dir := range missing {
		p := Properties{ClusterID: o.ClusterID, NodeID: o.NodeID, DirectoryID: kafka.NewUUID()}
		if dir == dirs[len(dirs)-1] && o.Controller {
			if !o.VoterDirectoryID.IsZero() {
				p.DirectoryID = o.VoterDirectoryID
			}
			if err := formatMetadata(o, dir, p.DirectoryID); err != nil {
				return formatted, fmt.Errorf("cannot begin the metadata log in %s: %w", dir, err)
			}
		}
		if err := WriteProperties(o.FS, dir, p); err != nil {
			return formatted, err
		}
		formatted = append(formatted, dir)
	}
	return formatted, nil
}

// Check returns nil when a directory belongs to the cluster and the node, and otherwise says whose it is.
func (p Properties) Check(dir, clusterID string, nodeID int32) error {
	switch {
	case clusterID != "" && p.ClusterID != clusterID:
		return fmt.Errorf("%s belongs to the cluster %s, not to %s", dir, p.ClusterID, clusterID)
	case p.NodeID >= 0 && p.NodeID != nodeID:
		return fmt.Errorf("%s belongs to node %d, not to node %d", dir, p.NodeID, nodeID)
	}
	return nil
}

// Directory is what a directory turned out to be.
type Directory struct {
	Path string
	Properties
	Problem error // why the properties are not known; wraps ErrUnformatted when there are none
}

// Inspect says what the directories of a node are formatted as.
func Inspect(o FormatOptions) []Directory {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	var found []Directory
	for _, dir := range o.Directories() {
		p, err := ReadProperties(o.FS, dir)
		if err == nil {
			err = p.Check(dir, "", o.NodeID)
		}
		found = append(found, Directory{dir, p, err})
	}
	return found
}

// Locks are the locks of several directories.
type Locks []io.Closer

// Lock makes the directories where they are missing and locks each, or none of them. A directory that cannot
// be used at all (its disk failed) is an error, too: the caller decides whether it can do without.
func Lock(fsys vfs.FS, dirs ...string) (locks Locks, err error) {
	defer func() {
		if err != nil {
			locks.Close()
			locks = nil
		}
	}()
	for _, dir := range dirs {
		if err := makeDir(fsys, dir); err != nil {
			return locks, fmt.Errorf("cannot make the directory %s: %w", dir, err)
		}
		lock, err := fsys.Lock(path.Join(dir, lockFile))
		if errors.Is(err, vfs.ErrLocked) {
			return locks, fmt.Errorf("%s is %w: another node uses it", dir, vfs.ErrLocked)
		}
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return locks, fmt.Errorf("%s cannot be written by this user: %w", dir, err)
		}
		if err != nil {
			return locks, fmt.Errorf("cannot lock %s: %w", dir, err)
		}
		locks = append(locks, lock)
	}
	return locks, nil
}

// Close gives the locks back.
func (l Locks) Close() error {
	var all []error
	for _, lock := range l {
		all = append(all, lock.Close())
	}
	return errors.Join(all...)
}

// makeDir makes a directory durably: what is above it remembers it after a crash.
func makeDir(fsys vfs.FS, dir string) error {
	if info, err := fsys.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: errors.New("it is a file")}
		}
		return nil
	}
	var fresh []string
	for d := dir; ; d = path.Dir(d) {
		fresh = append(fresh, d)
		if _, err := fsys.Stat(path.Dir(d)); err == nil || path.Dir(d) == d {
			break
		}
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, d := range fresh {
		if err := fsys.SyncDir(path.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

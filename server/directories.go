package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/replica"
	"github.com/millrace-io/millrace/server/internal/vfs"
	"github.com/millrace-io/millrace/server/offline"
)

// claimed are the directories of a node that it holds the locks of.
type claimed struct {
	clusterID string
	logs      []replica.Dir // of log.dirs, those that are online
	metadata  kafka.DirectoryID
	// lost are the log directories that are missing or failed, each with why, in words.
	lost []string
}

// claimDirectories locks every directory of the node and checks whose it is. A log directory that is missing or
// fails goes without; the metadata's must be there.
func (s *Server) claimDirectories() (*claimed, error) {
	format := s.cfg.FormatOptions()
	format.FS = s.fs
	if s.autoFormat {
		if err := s.formatMissing(format); err != nil {
			return nil, err
		}
	}
	c := &claimed{}
	var unformatted []string
	ids := make(map[kafka.DirectoryID]string)
	owner := "" // the directory that clusterID was read from
	for _, dir := range format.Directories() {
		isMetadata := dir == s.cfg.MetadataLogDir
		p, err := s.claim(dir)
		switch {
		case errors.Is(err, offline.ErrUnformatted):
			unformatted = append(unformatted, dir)
			continue
		case errors.Is(err, vfs.ErrLocked), err != nil && isMetadata && !errors.Is(err, fs.ErrNotExist), errors.Is(err, errForeign):
			return nil, err
		case errors.Is(err, fs.ErrNotExist) && (isMetadata || len(s.cfg.LogDirs) == 1):
			unformatted = append(unformatted, dir)
			continue
		case err != nil:
			s.log.Error("a log directory is offline, and the partitions in it with it", "dir", dir, "error", err)
			c.lost = append(c.lost, fmt.Sprintf("the log directory %s is offline: %v", dir, err))
			continue
		}
		if c.clusterID == "" {
			c.clusterID, owner = p.ClusterID, dir
		}
		if p.ClusterID != c.clusterID {
			return nil, fmt.Errorf("%s belongs to the cluster %s, but %s to %s", owner, c.clusterID, dir, p.ClusterID)
		}
		if other, twice := ids[p.DirectoryID]; twice {
			return nil, fmt.Errorf("%s and %s have the same directory id %s: one is a copy of the other", other, dir, p.DirectoryID)
		}
		ids[p.DirectoryID] = dir
		if isMetadata {
			c.metadata = p.DirectoryID
		}
		if slices.Contains(s.cfg.LogDirs, dir) {
			c.logs = append(c.logs, replica.Dir{Path: dir, ID: p.DirectoryID})
		}
	}
	if len(unformatted) > 0 {
		return nil, s.unformattedError(unformatted, c.clusterID)
	}
	if s.cfg.Broker && len(c.logs) == 0 {
		return nil, fmt.Errorf("none of the log directories can be used: %s", strings.Join(c.lost, "; "))
	}
	// In the order of the configuration, whichever of them holds the metadata.
	slices.SortFunc(c.logs, func(a, b replica.Dir) int {
		return slices.Index(s.cfg.LogDirs, a.Path) - slices.Index(s.cfg.LogDirs, b.Path)
	})
	return c, nil
}

// errForeign marks the error for a directory that is somebody else's.
var errForeign = errors.New("not this node's directory")

// foreign is an error of class errForeign with a sentence of its own.
type foreign struct{ error }

func (foreign) Is(target error) bool { return target == errForeign }

// claim locks one directory and reads whose it is.
func (s *Server) claim(dir string) (offline.Properties, error) {
	if _, err := s.fs.Stat(dir); err != nil {
		return offline.Properties{}, err // a disk that is not mounted must not be made up for
	}
	lock, err := offline.Lock(s.fs, dir)
	if err != nil {
		return offline.Properties{}, err
	}
	s.onClose("the lock of "+dir, func(context.Context) error { return lock.Close() })
	p, err := offline.ReadProperties(s.fs, dir)
	if err != nil {
		return p, err
	}
	if err := p.Check(dir, "", s.cfg.NodeID); err != nil {
		return p, foreign{err}
	}
	if p.DirectoryID.IsZero() || p.NodeID < 0 { // formatted before KIP-858
		if p.NodeID = s.cfg.NodeID; p.DirectoryID.IsZero() {
			p.DirectoryID = kafka.NewUUID()
		}
		if err := offline.WriteProperties(s.fs, dir, p); err != nil {
			return p, err
		}
	}
	return p, nil
}

// formatMissing formats what is not formatted: for the cluster of the other directories, else for a new one.
func (s *Server) formatMissing(o offline.FormatOptions) error {
	o.IgnoreFormatted = true
	missing := false
	for _, d := range offline.Inspect(o) {
		switch {
		case errors.Is(d.Problem, offline.ErrUnformatted):
			missing = true
		case o.ClusterID == "":
			o.ClusterID = d.ClusterID
		}
	}
	if !missing {
		return nil
	}
	if o.ClusterID == "" {
		o.ClusterID = kafka.NewUUID().String()
	}
	formatted, err := offline.Format(o)
	for _, dir := range formatted {
		s.log.Info("formatted", "dir", dir, "cluster", o.ClusterID)
	}
	return err
}

// unformattedError says which directories are not formatted, and the command that formats them.
func (s *Server) unformattedError(dirs []string, clusterID string) error {
	file := s.cfg.Source
	if file == "" {
		file = "FILE.properties"
	}
	command := "millrace storage format --config " + file
	if !s.cfg.FormatOptions().StaticVoters {
		command += " --standalone" // the voters are to stand in the log, and there are no others to begin with
	}
	if clusterID != "" { // others are formatted: these must become the same cluster's
		command += " --cluster-id " + clusterID + " --ignore-formatted"
	}
	if len(dirs) == 1 {
		return fmt.Errorf("the directory %s is not formatted; this formats it: %s", dirs[0], command)
	}
	return fmt.Errorf("the directories %s are not formatted; this formats them: %s", strings.Join(dirs, ", "), command)
}

package offline

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// CheckOptions say how logs are verified.
type CheckOptions struct {
	// Deep decompresses and reads every record, too.
	Deep bool
	// Compacted says of all logs that gaps between their offsets are what compaction leaves. Where the metadata lies
	// beside the logs it is known of each.
	Compacted bool

	FS       vfs.FS         // nil for the machine's
	Progress func(Progress) // may be nil
}

// Checked is what was found in one log.
type Checked struct {
	Dir       string
	Segments  int
	Batches   int64
	Records   int64
	Bytes     int64
	StartsAt  int64
	EndsAt    int64
	Findings  []Finding
	CannotSay error // why not everything could be looked at
}

// OK reports whether everything was looked at and nothing is wrong.
func (c *Checked) OK() bool { return c.CannotSay == nil && len(c.Findings) == 0 }

// Finding is one thing that is wrong.
type Finding struct {
	// Severity is "rebuilt" for a file that the next start makes anew or completes, "torn" for an end that a start may cut off, and
	// "damaged" for records.
	Severity string
	Path     string
	Position int64 // in the file; -1 for the whole of it
	Offset   int64 // of the batch; -1 when it is about none
	Problem  string
}

// Check verifies logs on the disk and changes nothing: the directory of a partition, or a log directory with everything in
// it. It calls found for every log, good or not, in the order of the names. Nobody may be writing to them.
func Check(ctx context.Context, paths []string, o CheckOptions, found func(Checked)) error {
	if o.FS == nil {
		o.FS = vfs.OS
	}
	c := &checking{ctx: ctx, o: o, lacks: map[string]int64{}, floors: map[string]floors{}}
	defer func() { c.locks.Close() }()
	for _, dir := range paths {
		if err := c.find(filepath.Clean(dir)); err != nil {
			return err
		}
	}
	for _, l := range c.logs {
		if err := ctx.Err(); err != nil {
			return err
		}
		found(c.log(l))
	}
	for _, dir := range c.missing {
		found(Checked{Dir: dir, Findings: []Finding{{commitlog.Damaged.String(), dir, -1, -1, "the directory of this log is missing"}}})
	}
	return nil
}

// checking is one run of Check.
type checking struct {
	ctx      context.Context
	o        CheckOptions
	locks    Locks
	locked   map[string]bool
	image    *metadata.Image   // nil while no metadata was found
	lacks    map[string]int64  // bytes of a file that a journal has and the file has not
	floors   map[string]floors // by log directory
	logs     []string
	missing  []string
	progress Progress
	before   int64 // bytes of the logs that are through
}

// floors say how far the logs of a directory were on the disk.
type floors struct {
	byID   map[kafka.TopicIDPartition]int64
	byName map[kafka.TopicPartition]int64
}

// readFloors looks for what says how far logs were on the disk. Where that cannot be read a start makes do with less.
func (c *checking) readFloors(logDir string) {
	var f floors
	f.byID, _ = replica.ReadFloors(c.o.FS, logDir)
	f.byName, _ = replica.ReadRecoveryPoints(c.o.FS, logDir)
	c.floors[logDir] = f
}

// floor is how far a log was on the disk; 0 when nothing says so, or when a journal has its end.
func (c *checking) floor(dir string, tp kafka.TopicPartition) int64 {
	for file := range c.lacks {
		if path.Dir(file) == dir {
			return 0
		}
	}
	f := c.floors[path.Dir(dir)]
	id, err := commitlog.ReadPartitionMetadata(c.o.FS, dir)
	if err != nil {
		return f.byName[tp]
	}
	return max(f.byName[tp], f.byID[kafka.TopicIDPartition{TopicID: id, Partition: tp.Partition}])
}

// find adds the logs of a path.
func (c *checking) find(dir string) error {
	info, err := c.o.FS.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is a file; name the directory of a partition or a log directory", dir)
	}
	if _, ok := commitlog.ParseDirName(path.Base(dir)); ok {
		return c.add(dir, path.Dir(dir))
	}
	entries, err := c.o.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	before := len(c.logs)
	there := map[kafka.TopicPartition]bool{}
	for _, e := range entries {
		if tp, ok := commitlog.ParseDirName(e.Name()); ok && e.IsDir() {
			there[tp] = true
			if err := c.add(path.Join(dir, e.Name()), dir); err != nil {
				return err
			}
		}
	}
	for tp, point := range c.floors[dir].byName {
		if point > 0 && !there[tp] && c.image != nil && c.image.Topic(tp.Topic).Partition(tp.Partition) != nil {
			c.missing = append(c.missing, path.Join(dir, tp.String()))
		}
	}
	slices.Sort(c.missing)
	if len(c.logs) == before {
		if _, err := ReadProperties(c.o.FS, dir); err != nil {
			return fmt.Errorf("%s is neither the directory of a partition, whose name ends in its number, nor a log directory", dir)
		}
	}
	return nil
}

// add adds a log, whose log directory must not be in use.
func (c *checking) add(dir, logDir string) error {
	if c.locked == nil {
		c.locked = map[string]bool{}
	}
	if !c.locked[logDir] {
		c.locked[logDir] = true
		// A copy of a log has no lock, and none is left there.
		if _, err := c.o.FS.Stat(path.Join(logDir, lockFile)); err == nil {
			locks, err := lockStopped(c.o.FS, []string{logDir})
			if err != nil {
				return err
			}
			c.locks = append(c.locks, locks...)
		}
		c.readImage(logDir)
		c.readFloors(logDir)
		lacks, err := replica.JournalLacks(c.o.FS, logDir)
		if err != nil {
			return err
		}
		maps.Copy(c.lacks, lacks)
	}
	entries, err := c.o.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".log") {
			c.progress.BytesTotal += info.Size()
		}
	}
	c.progress.LogsTotal++
	c.logs = append(c.logs, dir)
	return nil
}

// readImage looks for the metadata, which says which logs are compacted and what their ids are. Without it less is known; a
// metadata log that cannot be read is found when its turn comes.
func (c *checking) readImage(logDir string) {
	loader := metadata.NewLoader()
	if _, err := quorum.ReadStored(c.o.FS, logDir, loader); err == nil {
		c.image = loader.Image()
	}
}

// log verifies one log.
func (c *checking) log(dir string) Checked {
	tp, _ := commitlog.ParseDirName(path.Base(dir))
	o := commitlog.CheckOptions{Compacted: c.o.Compacted, Deep: c.o.Deep, Progress: func(read, _ int64) { c.tell(c.before + read) }}
	if tp.Topic != kafka.MetadataTopic {
		o.Floor = c.floor(dir, tp)
	}
	if c.image != nil && tp.Topic != kafka.MetadataTopic {
		o.Compacted = o.Compacted || strings.Contains(c.image.Config(kafka.ResourceTopic, tp.Topic)["cleanup.policy"], "compact")
		if t := c.image.Topic(tp.Topic); t != nil {
			o.TopicID = t.ID
		}
	}
	r := commitlog.Check(c.o.FS, dir, o)
	checked := Checked{Dir: dir, Segments: r.Segments, Batches: r.Batches, Records: r.Records, Bytes: r.Bytes, StartsAt: r.StartOffset, EndsAt: r.EndOffset, CannotSay: r.Err}
	for _, f := range r.Findings {
		checked.Findings = append(checked.Findings, Finding{f.Severity.String(), path.Join(dir, f.File), f.Position, f.Offset, f.Problem})
	}
	for _, file := range slices.Sorted(maps.Keys(c.lacks)) {
		if path.Dir(file) == dir {
			checked.Findings = append(checked.Findings, Finding{commitlog.Rebuilt.String(), file, -1, -1,
				fmt.Sprintf("the node did not stop cleanly, and its journal has %d bytes that the file lacks: the next start writes them", c.lacks[file])})
		}
	}
	if tp.Topic == kafka.MetadataTopic && len(r.Findings) == 0 {
		_, err := quorum.ReadStored(c.o.FS, path.Dir(dir), metadata.NewLoader())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			checked.Findings = append(checked.Findings, Finding{commitlog.Damaged.String(), dir, -1, -1, err.Error()})
		}
	}
	c.before += r.Bytes
	c.progress.Logs++
	c.tell(c.before)
	return checked
}

func (c *checking) tell(bytes int64) {
	c.progress.Bytes = bytes
	if c.o.Progress != nil {
		c.o.Progress(c.progress)
	}
}

package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// snapshotID names a snapshot: it holds everything before the offset, the last of it in the epoch. Its file is
// <20 digits>-<10 digits>.checkpoint, batches as in a log whose offsets begin at 0:
//
//	control batch: SnapshotHeader | control batches: KRaftVersion, Voters (kraft.version 1) | data batches … | control
//	batch: SnapshotFooter
//
// A snapshot without its footer was cut off while it was written, and does not count.
type snapshotID struct {
	end   int64
	epoch int32
}

const snapshotSuffix = ".checkpoint"

func (id snapshotID) String() string {
	return fmt.Sprintf("%020d-%010d%s", id.end, id.epoch, snapshotSuffix)
}

func parseSnapshotName(name string) (snapshotID, bool) {
	stem, ok := strings.CutSuffix(name, snapshotSuffix)
	if !ok || len(stem) != 31 || stem[20] != '-' {
		return snapshotID{}, false
	}
	end, err1 := strconv.ParseInt(stem[:20], 10, 64)
	epoch, err2 := strconv.ParseInt(stem[21:], 10, 32)
	return snapshotID{end, int32(epoch)}, err1 == nil && err2 == nil
}

// listSnapshots returns the snapshots of a directory, newest first.
func listSnapshots(fsys vfs.FS, dir string) ([]snapshotID, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var ids []snapshotID
	for _, e := range entries {
		if id, ok := parseSnapshotName(e.Name()); ok {
			ids = append(ids, id)
		}
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].end > ids[j].end })
	return ids, nil
}

// snapshotContent is a snapshot that was read whole.
type snapshotContent struct {
	id        snapshotID
	timestamp int64    // of the last record it covers, ms
	records   [][]byte // framed
	kraft     int16    // kraft.version, 0 when it says none
	voters    *wire.VotersRecord

	passedOver error // why newer snapshots were not taken, nil when there are none
}

// readSnapshot reads and checks a snapshot file.
func readSnapshot(fsys vfs.FS, dir string, name string) (*snapshotContent, error) {
	b, err := vfs.ReadFile(fsys, path.Join(dir, name))
	if err != nil {
		return nil, err
	}
	content := &snapshotContent{timestamp: -1}
	content.id, _ = parseSnapshotName(name)
	var d record.Decompressor
	header, footer := false, false
	for len(b) > 0 {
		batch, rest, err := record.Next(b)
		if err == nil {
			err = batch.CheckCRC()
		}
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", path.Join(dir, name), err)
		}
		b = rest
		if batch.Control() {
			for r, err := range batch.Records(&d) {
				if err != nil {
					return nil, fmt.Errorf("snapshot %s: %w", path.Join(dir, name), err)
				}
				t, err := record.ParseControlKey(r.Key)
				if err != nil {
					return nil, fmt.Errorf("snapshot %s: %w", path.Join(dir, name), err)
				}
				switch t {
				case record.ControlSnapshotHeader:
					header = true
					var m wire.SnapshotHeaderRecord
					if wire.Decode(&m, 0, r.Value) == nil {
						content.timestamp = m.LastContainedLogTimestamp
					}
				case record.ControlSnapshotFooter:
					footer = true
				case record.ControlKRaftVersion:
					var m wire.KRaftVersionRecord
					if err := wire.Decode(&m, 0, r.Value); err != nil {
						return nil, err
					}
					content.kraft = m.KraftVersion
				case record.ControlVoters:
					content.voters = new(wire.VotersRecord)
					if err := wire.Decode(content.voters, 0, r.Value); err != nil {
						return nil, err
					}
				}
			}
			continue
		}
		for r, err := range batch.Records(&d) {
			if err != nil {
				return nil, fmt.Errorf("snapshot %s: %w", path.Join(dir, name), err)
			}
			content.records = append(content.records, append([]byte(nil), r.Value...))
		}
	}
	if !header || !footer {
		return nil, fmt.Errorf("snapshot %s is not complete: %w", path.Join(dir, name), errCutOff)
	}
	return content, nil
}

var errCutOff = errors.New("its header or its footer is missing")

// snapshotBatchBytes is about how large a data batch of a snapshot is.
const snapshotBatchBytes = 512 << 10

// writeSnapshot writes a snapshot: to a name that does not count, synced, renamed, and the directory synced.
func writeSnapshot(fsys vfs.FS, dir string, id snapshotID, timestamp int64, controls []record.Record, records iter.Seq[[]byte]) error {
	name := path.Join(dir, id.String())
	partial := name + ".part"
	f, err := fsys.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	w := &snapshotWriter{f: f, epoch: id.epoch}
	if timestamp < 0 {
		timestamp = 0
	}
	header := wire.SnapshotHeaderRecord{LastContainedLogTimestamp: timestamp}
	w.control(append([]record.Record{record.ControlRecord(record.ControlSnapshotHeader, header.AppendTo(nil, 0), timestamp)}, controls...)...)
	builder := record.NewBuilder(w.options(false))
	for value := range records {
		builder.Append(record.Record{Timestamp: timestamp, Value: value})
		if builder.Len() >= snapshotBatchBytes {
			w.batch(builder)
			builder.Reset(w.options(false))
		}
	}
	if builder.Count() > 0 {
		w.batch(builder)
	}
	w.control(record.ControlRecord(record.ControlSnapshotFooter, (&wire.SnapshotFooterRecord{}).AppendTo(nil, 0), timestamp))
	w.flush()
	if w.err == nil {
		w.err = f.Sync()
	}
	if err := f.Close(); w.err == nil {
		w.err = err
	}
	if w.err != nil {
		fsys.Remove(partial)
		return fmt.Errorf("write snapshot %s: %w", name, w.err)
	}
	if err := fsys.Rename(partial, name); err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}

// snapshotWriter puts batches together; the first error sticks.
type snapshotWriter struct {
	f      vfs.File
	epoch  int32
	offset int64
	at     int64
	buf    []byte
	err    error
}

func (w *snapshotWriter) options(control bool) record.BuilderOptions {
	o := record.NewBuilderOptions()
	o.BaseOffset, o.LeaderEpoch, o.Control = w.offset, w.epoch, control
	return o
}

func (w *snapshotWriter) control(records ...record.Record) {
	b := record.NewBuilder(w.options(true))
	for _, r := range records {
		b.Append(r)
	}
	w.batch(b)
}

func (w *snapshotWriter) batch(b *record.Builder) {
	w.offset += int64(b.Count())
	w.buf = b.Build(w.buf)
	if len(w.buf) >= snapshotBatchBytes {
		w.flush()
	}
}

func (w *snapshotWriter) flush() {
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.f.WriteAt(w.buf, w.at)
		w.at += int64(len(w.buf))
	}
	w.buf = w.buf[:0]
}

// Dir returns the directory of the metadata log inside a metadata.log.dir.
func Dir(metadataLogDir string) string { return path.Join(metadataLogDir, kafka.MetadataTopic+"-0") }

// Voter is a voter that a formatted directory begins with (KIP-853).
type Voter struct {
	ID          int32
	DirectoryID kafka.DirectoryID
	Endpoints   []VoterEndpoint
}

// VoterEndpoint is where a voter listens.
type VoterEndpoint struct {
	Name, Host string
	Port       uint16
}

// Format begins a metadata log in a metadata.log.dir: its first snapshot holds the records, as Kafka's formatter leaves
// them (KIP-1170). With voters the quorum keeps its voters in the log (kraft.version 1), without they stand in the
// configuration.
func Format(fsys vfs.FS, metadataLogDir string, records []wire.Message, voters []Voter) error {
	dir := Dir(metadataLogDir)
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var controls []record.Record
	if len(voters) > 0 {
		list := wire.VotersRecord{}
		for _, v := range voters {
			one := wire.VotersRecordVoters{VoterID: v.ID, VoterDirectoryID: v.DirectoryID}
			one.KraftVersionFeature.MaxSupportedVersion = 1
			for _, e := range v.Endpoints {
				one.Endpoints = append(one.Endpoints, wire.VotersRecordEndpoints{Name: e.Name, Host: e.Host, Port: e.Port})
			}
			list.Voters = append(list.Voters, one)
		}
		controls = voterControls(1, &list, 0)
	}
	if err := writeSnapshot(fsys, dir, snapshotID{0, 0}, 0, controls, func(yield func([]byte) bool) {
		for _, m := range records {
			if !yield(wire.AppendMetadataRecord(nil, m, m.Info().MinVersion)) {
				return
			}
		}
	}); err != nil {
		return err
	}
	return fsys.SyncDir(metadataLogDir)
}

// newestSnapshot reads the newest snapshot that is complete; nil when there is none.
func newestSnapshot(fsys vfs.FS, metadataLogDir string) (*snapshotContent, error) {
	dir := Dir(metadataLogDir)
	ids, err := listSnapshots(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var last error
	for _, id := range ids {
		content, err := readSnapshot(fsys, dir, id.String())
		if err == nil {
			content.passedOver = last
			return content, nil
		}
		last = errors.Join(last, err)
	}
	if last != nil {
		return nil, last
	}
	content, err := readSnapshot(fsys, metadataLogDir, "bootstrap"+snapshotSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"slices"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Stored is what the metadata log of a stopped node says beside its records.
type Stored struct {
	EndOffset int64 // behind the last whole batch
	Epoch     int32 // of that batch
	Timestamp int64 // of that batch, ms
	// KRaftVersion and Voters are of a quorum that keeps its voters in the log (1); otherwise they stand in the
	// configuration (0), and Leader says whom the last of them elected.
	KRaftVersion int16
	Voters       *wire.VotersRecord
	Leader       *wire.LeaderChangeMessage
}

// ErrNoMetadata says that a directory holds no metadata log.
var ErrNoMetadata = errors.New("no metadata log")

// ReadStored replays the newest snapshot of a stopped node's metadata log and what follows it into a state machine, and
// changes nothing. A batch that is cut off at the end of the log was never committed, and is passed over.
func ReadStored(fsys vfs.FS, metadataLogDir string, machine StateMachine) (*Stored, error) {
	content, err := newestSnapshot(fsys, metadataLogDir)
	if err != nil {
		return nil, err
	}
	if content == nil {
		return nil, fmt.Errorf("%s has %w: there is no snapshot", Dir(metadataLogDir), ErrNoMetadata)
	}
	s := &Stored{EndOffset: content.id.end, Epoch: content.id.epoch, Timestamp: content.timestamp, KRaftVersion: content.kraft, Voters: content.voters}
	if err := machine.Restore(s.EndOffset, s.Epoch, s.Timestamp, content.each()); err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", content.id, err)
	}
	segments, err := segmentsOf(fsys, Dir(metadataLogDir))
	if err != nil {
		return nil, err
	}
	var d record.Decompressor
	for i, name := range segments {
		err := commitlog.ScanFile(fsys, name, func(h segment.Batch, bytes []byte) error {
			if h.NextOffset() <= s.EndOffset {
				return nil
			}
			if err := segment.CheckCRC(bytes); err != nil {
				return &commitlog.BadBatch{File: name, Position: h.Position, Cause: err}
			}
			if h.BaseOffset != s.EndOffset {
				return fmt.Errorf("%s: the log goes on at offset %d, where %d follows", name, h.BaseOffset, s.EndOffset)
			}
			b := record.Batch(bytes)
			s.EndOffset, s.Epoch, s.Timestamp = b.NextOffset(), b.LeaderEpoch(), b.MaxTimestamp()
			if b.Control() {
				return s.control(b, &d)
			}
			values, err := valuesOf(b, &d)
			if err != nil {
				return err
			}
			return machine.Apply(b.BaseOffset(), b.LeaderEpoch(), b.MaxTimestamp(), values)
		})
		var bad *commitlog.BadBatch
		if errors.As(err, &bad) && i == len(segments)-1 {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the metadata log: %w", err)
		}
	}
	return s, nil
}

// segmentsOf lists the segments of a metadata log in order.
func segmentsOf(fsys vfs.FS, dir string) (names []string, err error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if _, kind, state, ok := segment.ParseFileName(e.Name()); ok && kind == segment.LogSuffix && state == "" {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(names)
	return names, nil
}

// control takes over what the control records of a batch say.
func (s *Stored) control(b record.Batch, d *record.Decompressor) error {
	for r, err := range b.Records(d) {
		if err != nil {
			return err
		}
		t, err := record.ParseControlKey(r.Key)
		if err != nil {
			return err
		}
		switch t {
		case record.ControlLeaderChange:
			m := wire.NewLeaderChangeMessage()
			if err := decodeVersioned(m, r.Value); err != nil {
				return err
			}
			s.Leader = m
		case record.ControlKRaftVersion:
			m := wire.NewKRaftVersionRecord()
			if err := decodeVersioned(m, r.Value); err != nil {
				return err
			}
			s.KRaftVersion = m.KraftVersion
		case record.ControlVoters:
			m := wire.NewVotersRecord()
			if err := decodeVersioned(m, r.Value); err != nil {
				return err
			}
			s.Voters = m
		}
	}
	return nil
}

// decodeVersioned reads the value of a control record, which begins with its version.
func decodeVersioned(m wire.Message, value []byte) error {
	version := wire.NewReader(value).Int16()
	return wire.Decode(m, version, value)
}

// each iterates over the records of a snapshot.
func (c *snapshotContent) each() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, r := range c.records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// valuesOf copies the values of a batch's records.
func valuesOf(b record.Batch, d *record.Decompressor) ([][]byte, error) {
	values := make([][]byte, 0, b.Count())
	for r, err := range b.Records(d) {
		if err != nil {
			return nil, err
		}
		values = append(values, append([]byte(nil), r.Value...))
	}
	return values, nil
}

// WriteStored begins a metadata log in a metadata.log.dir with a snapshot that ends where another one stood, and has its
// voters.
func WriteStored(fsys vfs.FS, metadataLogDir string, s *Stored, records iter.Seq[[]byte]) error {
	dir := Dir(metadataLogDir)
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := fsys.SyncDir(metadataLogDir); err != nil {
		return err
	}
	return writeSnapshot(fsys, dir, snapshotID{s.EndOffset, s.Epoch}, s.Timestamp, voterControls(s.KRaftVersion, s.Voters, s.Timestamp), records)
}

// voterControls are the control records of a snapshot of a quorum that keeps its voters in the log. They share a batch with
// the snapshot's header and must share its timestamp: Kafka refuses any other.
func voterControls(kraft int16, voters *wire.VotersRecord, timestamp int64) []record.Record {
	timestamp = max(timestamp, 0)
	if kraft < 1 || voters == nil {
		return nil
	}
	version := wire.KRaftVersionRecord{KraftVersion: kraft}
	return []record.Record{record.ControlRecord(record.ControlKRaftVersion, version.AppendTo(nil, 0), timestamp), record.ControlRecord(record.ControlVoters, voters.AppendTo(nil, 0), timestamp)}
}

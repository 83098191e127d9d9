package quorum

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// What a stopped node's log says is read without opening it, also when a write was cut off at its end.
func TestReadStored(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	n, m := start(t, disk, nil)
	for range 3 {
		if _, err := n.Propose(context.Background(), 1, [][]byte{[]byte("a"), []byte("b")}); err != nil {
			t.Fatal(err)
		}
	}
	end := n.EndOffset()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	name := Dir("/meta") + "/" + segment.FileName(0, segment.LogSuffix)
	log, err := vfs.ReadFile(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	for _, torn := range [][]byte{nil, log[:70]} {
		if err := vfs.WriteFile(disk, name, slices.Concat(log, torn)); err != nil {
			t.Fatal(err)
		}
		got := &machine{}
		s, err := ReadStored(disk, "/meta", got)
		if err != nil {
			t.Fatal(err)
		}
		if s.EndOffset != end || s.Epoch != 1 || s.KRaftVersion != 1 || len(s.Voters.Voters) != 1 || s.Leader == nil || s.Leader.LeaderID != 1 || !slices.Equal(got.values(), m.values()) {
			t.Errorf("read %+v and %v, want the end %d and %v", s, got.values(), end, m.values())
		}
		if s.Leader.Version != 0 {
			t.Errorf("the change of the leader has version %d; Kafka's tools read version 0 alone", s.Leader.Version)
		}
	}
	if _, err := ReadStored(disk, "/nothing", &machine{}); !errors.Is(err, ErrNoMetadata) {
		t.Errorf("nothing: %v", err)
	}
}

// Kafka refuses a control batch whose records do not share one timestamp.
func TestControlRecordsOfASnapshotShareATimestamp(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/meta", 0o755); err != nil {
		t.Fatal(err)
	}
	want := &Stored{EndOffset: 7, Epoch: 3, Timestamp: 99, KRaftVersion: 1, Voters: &wire.VotersRecord{Voters: []wire.VotersRecordVoters{{VoterID: 1, VoterDirectoryID: directory}}}}
	if err := WriteStored(disk, "/meta", want, slices.Values([][]byte{[]byte("x")})); err != nil {
		t.Fatal(err)
	}
	controls := 0
	if err := commitlog.ScanFile(disk, Dir("/meta")+"/00000000000000000007-0000000003.checkpoint", func(b segment.Batch, bytes []byte) error {
		for r, err := range record.Batch(bytes).Records(nil) {
			if err != nil {
				return err
			}
			if b.Control() {
				controls++
			}
			if r.Timestamp != 99 {
				t.Errorf("the record at offset %d has the timestamp %d", r.Offset, r.Timestamp)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if controls != 4 { // header, version, voters, footer
		t.Errorf("there are %d control records", controls)
	}
	m := &machine{}
	got, err := ReadStored(disk, "/meta", m)
	if err != nil || got.EndOffset != 7 || got.Epoch != 3 || got.Timestamp != 99 || got.KRaftVersion != 1 || !slices.Equal(m.values(), []string{"x"}) {
		t.Errorf("read %+v, %v, %v", got, m.values(), err)
	}
}

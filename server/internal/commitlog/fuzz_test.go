package commitlog

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// FuzzCheckpoint: what can be read of an offset checkpoint is the same when it is written and read again.
func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("0\n2\norders 0 4711\norders 1 0\n"))
	f.Add([]byte("0\n99999999\norders 0 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := ParseCheckpoint("f", text)
		if err != nil {
			return
		}
		disk := vfs.NewMem()
		if err := WriteCheckpoint(disk, "/c", entries); err != nil {
			t.Fatal(err)
		}
		if again, err := ReadCheckpoint(disk, "/c"); err != nil || !slices.Equal(again, entries) {
			t.Errorf("%q is read as %v, and after writing that as %v, %v", text, entries, again, err)
		}
	})
}

// FuzzEpochs: epochs and offsets ascend in whatever is read, and are the same when they are written and read again.
func FuzzEpochs(f *testing.F) {
	f.Add([]byte("0\n2\n1 0\n5 4711\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := ParseEpochs("f", text)
		if err != nil {
			return
		}
		for i := 1; i < len(entries); i++ {
			if entries[i].Epoch <= entries[i-1].Epoch || entries[i].Start <= entries[i-1].Start {
				t.Errorf("%q is read as %v", text, entries)
			}
		}
		if again, err := ParseEpochs("f", appendEpochs(nil, entries)); err != nil || !slices.Equal(again, entries) {
			t.Errorf("%q is read as %v, and after writing that as %v, %v", text, entries, again, err)
		}
	})
}

// FuzzPartitionMetadata: an id that is read is one, and is the same when it is written and read again.
func FuzzPartitionMetadata(f *testing.F) {
	f.Add([]byte("version: 0\ntopic_id: dPqRfkNTQF-q-K5p7WqYCg"))
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := ParsePartitionMetadata("f", text)
		if err != nil {
			return
		}
		if again, err := ParsePartitionMetadata("f", partitionMetadata(id)); err != nil || again != id || id.IsZero() {
			t.Errorf("%q is read as %v, and after writing that as %v, %v", text, id, again, err)
		}
	})
}

// FuzzMetaProperties: what is accepted names a node and, but for the oldest format, a cluster.
func FuzzMetaProperties(f *testing.F) {
	f.Add([]byte("version=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\nnode.id=1\ndirectory.id=dPqRfkNTQF-q-K5p7WqYCg\n"))
	f.Add([]byte("version=0\ncluster.id=4L6g3nShT-eMCtK--X86sw\nbroker.id=1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMetaProperties("f", text)
		if err == nil && (m.NodeID < 0 || m.ClusterID == "" && m.Version > 0 || m.Version < 0 || m.Version > 1) {
			t.Errorf("%q is accepted as %+v", text, m)
		}
	})
}

// FuzzSnapshot takes any bytes for a .snapshot. The input's CRC is put right, so that what lies behind it is reached.
func FuzzSnapshot(f *testing.F) {
	disk := vfs.NewMem()
	if err := writeSnapshot(disk, "/s", 1, func(yield func(*SnapshotEntry) error) error { return yield(&SnapshotEntry{ProducerID: 7}) }); err != nil {
		f.Fatal(err)
	}
	seed, err := vfs.ReadFile(disk, "/s")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 6 {
			binary.BigEndian.PutUint32(data[2:], crc32.Checksum(data[6:], castagnoli))
		}
		disk := vfs.NewMem()
		if err := vfs.WriteFile(disk, "/s", data); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := ReadSnapshot(disk, "/s", func(SnapshotEntry) error { n++; return nil })
		if err != nil && !errors.Is(err, ErrSnapshotCorrupt) || err != nil && n > 0 || err == nil && n*snapshotEntryBytes+snapshotHeaderBytes != len(data) {
			t.Errorf("%x gave %d entries and %v", data, n, err)
		}
	})
}

// FuzzCleanShutdown: any marker says that the stop was clean; whose it was is known or -1.
func FuzzCleanShutdown(f *testing.F) {
	f.Add([]byte(`{"version":0,"brokerEpoch":7}`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		disk := vfs.NewMem()
		if err := vfs.WriteFile(disk, "/"+CleanShutdownFile, text); err != nil {
			t.Fatal(err)
		}
		if _, clean, err := ReadCleanShutdown(disk, "/"); err != nil || !clean {
			t.Errorf("%q: clean %v, %v", text, clean, err)
		}
	})
}

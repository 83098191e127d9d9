package commitlog

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// A .snapshot has Kafka's bytes: version, CRC-32C, count, and for each producer id, epoch, last sequence, last offset,
// offset delta, timestamp, coordinator epoch and the first offset of its transaction.
func TestSnapshotBytes(t *testing.T) {
	disk := vfs.NewMem()
	want := SnapshotEntry{ProducerID: 4711, Epoch: 3, LastSequence: 9, LastOffset: 1234, OffsetDelta: 4, Timestamp: 1_700_000_000_000, CoordinatorEpoch: 7, TxnFirstOffset: -1}
	if err := writeSnapshot(disk, "/s", 1, func(yield func(*SnapshotEntry) error) error { e := want; return yield(&e) }); err != nil {
		t.Fatal(err)
	}
	data, err := vfs.ReadFile(disk, "/s")
	if err != nil {
		t.Fatal(err)
	}
	const bytes = "0001 CRC32C00 00000001  0000000000001267 0003 00000009 00000000000004d2 00000004 0000018bcfe56800 00000007 ffffffffffffffff"
	golden := strings.ReplaceAll(strings.ReplaceAll(bytes, " ", ""), "CRC32C00", hex.EncodeToString(data[2:6]))
	if have := hex.EncodeToString(data); have != golden {
		t.Errorf("%s, want %s", have, golden)
	}
	var read []SnapshotEntry
	if err := ReadSnapshot(disk, "/s", func(e SnapshotEntry) error { read = append(read, e); return nil }); err != nil || len(read) != 1 || read[0] != want {
		t.Errorf("read %+v, %v", read, err)
	}
}

// The text files are Kafka's, line by line.
func TestTextFiles(t *testing.T) {
	if have := string(appendEpochs(nil, []EpochEntry{{1, 0}, {5, 4711}})); have != "0\n2\n1 0\n5 4711\n" {
		t.Errorf("epochs: %q", have)
	}
	disk := vfs.NewMem()
	if err := WriteCheckpoint(disk, "/c", []CheckpointEntry{{testPartition, 4711}}); err != nil {
		t.Fatal(err)
	}
	if have, err := vfs.ReadFile(disk, "/c"); err != nil || string(have) != "0\n1\norders 0 4711\n" {
		t.Errorf("checkpoint: %q, %v", have, err)
	}
	for _, bad := range []string{"1\n0\n", "0\n", "0\nx\n", "0\n2\n1 0\n", "0\n1\n1 0\n2 5\n", "0\n1\n1 0", "0\n1\n-1 0\n", "0\n1\n1 -5\n", "0\n2\n5 0\n4 9\n", "0\n2\n1 9\n2 9\n", "0\n1\n1\n"} {
		if entries, err := ParseEpochs("f", []byte(bad)); err == nil {
			t.Errorf("%q gave %v", bad, entries)
		}
	}
}

package quorum

import (
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// FuzzSnapshot takes any bytes for a .checkpoint of the metadata. The CRCs of its batches are put right, so that what lies
// behind them is reached. A snapshot that is accepted has a header and a footer.
func FuzzSnapshot(f *testing.F) {
	disk := vfs.NewMem()
	format(f, disk)
	ids, err := listSnapshots(disk, Dir("/meta"))
	if err != nil || len(ids) != 1 {
		f.Fatal(ids, err)
	}
	seed, err := vfs.ReadFile(disk, Dir("/meta")+"/"+ids[0].String())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, data []byte) {
		for rest := data; len(rest) >= 61; {
			length := int64(binary.BigEndian.Uint32(rest[8:])) + 12
			if length < 61 || length > int64(len(rest)) {
				break
			}
			binary.BigEndian.PutUint32(rest[17:], crc32.Checksum(rest[21:length], castagnoli))
			rest = rest[length:]
		}
		disk := vfs.NewMem()
		name := snapshotID{end: 9, epoch: 1}.String()
		if err := vfs.WriteFile(disk, "/"+name, data); err != nil {
			t.Fatal(err)
		}
		if content, err := readSnapshot(disk, "/", name); err == nil && (content.id.end != 9 || len(data) < 2*61) {
			t.Errorf("%x is accepted as %+v", data, content)
		}
	})
}

// FuzzElection: a quorum-state that is read is the same when it is written and read again.
func FuzzElection(f *testing.F) {
	f.Add([]byte(`{"leaderId":1,"leaderEpoch":7,"votedId":1,"votedDirectoryId":"AAAAAAAAAAAAAAAAAAAAAA","data_version":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		disk := vfs.NewMem()
		if err := vfs.WriteFile(disk, "/"+electionFile, text); err != nil {
			t.Fatal(err)
		}
		e, err := readElection(disk, "/")
		if err != nil {
			return
		}
		var again election
		if b, err := json.Marshal(e); err != nil || json.Unmarshal(b, &again) != nil || again != e {
			t.Errorf("%q is read as %+v, and after writing that as %+v", text, e, again)
		}
	})
}

// FuzzRaftState: a state that is accepted is the same when it is written again.
func FuzzRaftState(f *testing.F) {
	f.Add(raftState{1, 2, 3}.append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, ok := parseRaftState(data); ok && string(s.append(nil)) != string(data[:raftStateLen]) {
			t.Errorf("%x is read as %+v", data, s)
		}
	})
}

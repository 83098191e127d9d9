package quorum

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// election is Raft's hard state as Kafka keeps it in quorum-state, a line of JSON.
type election struct {
	LeaderID         int32  `json:"leaderId"`
	LeaderEpoch      int32  `json:"leaderEpoch"`
	VotedID          int32  `json:"votedId"`
	VotedDirectoryID string `json:"votedDirectoryId"`
	DataVersion      int    `json:"data_version"`
}

const electionFile = "quorum-state"

// readElection reads quorum-state; a directory that has none has not voted.
func readElection(fsys vfs.FS, dir string) (election, error) {
	e := election{LeaderID: kafka.NoNode, VotedID: kafka.NoNode, VotedDirectoryID: kafka.UUID{}.String(), DataVersion: 1}
	name := path.Join(dir, electionFile)
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil {
		return e, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

func writeElection(fsys vfs.FS, dir string, e election) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, path.Join(dir, electionFile), b)
}

// raftState is what Raft must remember and Kafka's files have no place for. It is written in place after each sync of
// the log, and reaches the disk with the next one: a crash may leave it one group behind.
//
//	off  size
//	0    4    magic "mlq1"
//	4    8    offset of the first batch that the log is known to hold, with …
//	12   8    … its Raft index: the ordinal of the batch
//	20   8    durable floor: the log was committed up to here (exclusive)
//	28   4    CRC-32C of the bytes before
type raftState struct {
	offset int64
	index  uint64
	floor  int64
}

const (
	raftStateFile  = "millrace-quorum"
	raftStateMagic = "mlq1"
	raftStateLen   = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s raftState) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, raftStateMagic...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.offset))
	dst = binary.BigEndian.AppendUint64(dst, s.index)
	dst = binary.BigEndian.AppendUint64(dst, uint64(s.floor))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// parseRaftState reads the file. One that is missing, torn or damaged is as good as none: the batches are then counted
// from the snapshot on, which a quorum of one may do.
func parseRaftState(b []byte) (raftState, bool) {
	if len(b) < raftStateLen || string(b[:4]) != raftStateMagic || crc32.Checksum(b[:28], castagnoli) != binary.BigEndian.Uint32(b[28:]) {
		return raftState{}, false
	}
	return raftState{int64(binary.BigEndian.Uint64(b[4:])), binary.BigEndian.Uint64(b[12:]), int64(binary.BigEndian.Uint64(b[20:]))}, true
}

func openRaftState(fsys vfs.FS, dir string) (vfs.File, raftState, bool, error) {
	f, err := fsys.OpenFile(path.Join(dir, raftStateFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, raftState{}, false, err
	}
	b := make([]byte, raftStateLen)
	n, _ := f.ReadAt(b, 0)
	s, ok := parseRaftState(b[:n])
	return f, s, ok, nil
}

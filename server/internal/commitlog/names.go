package commitlog

import (
	"crypto/rand"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/kafka"
)

// Suffixes of the directory of a log that is no longer, or not yet, that of a replica.
const (
	DeleteDirSuffix = "-delete" // being deleted
	FutureDirSuffix = "-future" // target of a move between directories
	StrayDirSuffix  = "-stray"  // not placed on this node by the cluster
)

// maxDirName is the longest name a file system takes.
const maxDirName = 255

// DirName is the name of a log's directory.
func DirName(tp kafka.TopicPartition) string { return tp.String() }

// DeleteDirName is a fresh name for the directory of a log that is being deleted:
// <topic>-<partition>.<32 hex digits>-delete, the topic cut so that it fits in 255 bytes.
func DeleteDirName(tp kafka.TopicPartition) string { return suffixedName(tp, DeleteDirSuffix) }

// StrayDirName is a fresh name for the directory of a log that the cluster does not place here.
func StrayDirName(tp kafka.TopicPartition) string { return suffixedName(tp, StrayDirSuffix) }

func suffixedName(tp kafka.TopicPartition, suffix string) string {
	var id [16]byte
	rand.Read(id[:])
	end := "-" + strconv.Itoa(int(tp.Partition)) + "." + hex.EncodeToString(id[:]) + suffix
	return tp.Topic[:min(len(tp.Topic), maxDirName-len(end))] + end
}

// ParseDirName reads the name of a log's directory. ok is false for any other name, also for those with one of the
// suffixes above.
func ParseDirName(name string) (tp kafka.TopicPartition, ok bool) {
	for _, suffix := range []string{DeleteDirSuffix, FutureDirSuffix, StrayDirSuffix} {
		if base, found := strings.CutSuffix(name, suffix); found && isSuffixed(base) {
			return tp, false
		}
	}
	dash := strings.LastIndexByte(name, '-')
	if dash <= 0 || kafka.CheckTopicName(name[:dash]) != nil {
		return tp, false
	}
	digits := name[dash+1:]
	partition, err := strconv.ParseInt(digits, 10, 32)
	if err != nil || partition < 0 || strconv.FormatInt(partition, 10) != digits {
		return tp, false
	}
	return kafka.TopicPartition{Topic: name[:dash], Partition: int32(partition)}, true
}

// isSuffixed reports whether a name ends with a dot and 32 hex digits.
func isSuffixed(name string) bool {
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 || len(name)-dot-1 != 32 {
		return false
	}
	_, err := hex.DecodeString(name[dot+1:])
	return err == nil
}

package segment

import (
	"fmt"
	"strconv"
	"strings"
)

// The kinds of file that stand in a partition's directory under the name of an offset.
const (
	LogSuffix       = ".log"
	IndexSuffix     = ".index"
	TimeIndexSuffix = ".timeindex"
	TxnIndexSuffix  = ".txnindex"
	SnapshotSuffix  = ".snapshot"
)

// The suffixes of files on their way; they follow the kind.
const (
	DeletedSuffix = ".deleted" // renamed, to be unlinked after file.delete.delay.ms
	CleanedSuffix = ".cleaned" // output of a compaction that is still being written
	SwapSuffix    = ".swap"    // output of a compaction that is complete
)

// FileName returns the name of a file of the segment with that base offset: 20 digits and the suffix.
func FileName(base int64, suffix string) string { return fmt.Sprintf("%020d%s", base, suffix) }

// ParseFileName splits the name of a file into its offset, kind and, for a file on its way, state. ok is false for
// names of another form, such as leader-epoch-checkpoint.
func ParseFileName(name string) (offset int64, kind, state string, ok bool) {
	digits, rest, found := strings.Cut(name, ".")
	if !found || len(digits) != 20 {
		return 0, "", "", false
	}
	offset, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || offset < 0 {
		return 0, "", "", false
	}
	kind, state, found = strings.Cut(rest, ".")
	kind = "." + kind
	if found {
		state = "." + state
	}
	switch kind {
	case LogSuffix, IndexSuffix, TimeIndexSuffix, TxnIndexSuffix, SnapshotSuffix:
	default:
		return 0, "", "", false
	}
	switch state {
	case "", DeletedSuffix, CleanedSuffix, SwapSuffix:
		return offset, kind, state, true
	}
	return 0, "", "", false
}

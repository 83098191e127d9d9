package metadata

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/millrace-io/millrace/kafka"
)

// maxShared bounds the interner; a cluster has far fewer sets of replicas than partitions, and when it has more, a
// miss costs one small slice.
const maxShared = 1 << 14

// settled is the Unsettled of all partitions that have nothing of the kind. Nobody writes to it.
var settled = &Unsettled{}

// interner returns one slice for equal contents, so that a million partitions with the same replicas keep one list of
// them. What it returned must not be changed.
type interner struct {
	mu          sync.Mutex // deltas over images of one line may be made by several goroutines
	brokers     map[string][]int32
	directories map[string][]kafka.DirectoryID
}

func newInterner() *interner {
	return &interner{brokers: map[string][]int32{}, directories: map[string][]kafka.DirectoryID{}}
}

func (s *interner) ids(v []int32) []int32 {
	return intern(&s.mu, s.brokers, v)
}

func (s *interner) dirs(v []kafka.DirectoryID) []kafka.DirectoryID {
	return intern(&s.mu, s.directories, v)
}

func intern[T int32 | kafka.UUID](mu *sync.Mutex, known map[string][]T, v []T) []T {
	if len(v) == 0 {
		return nil
	}
	// The bytes of the elements in memory; only ever compared within this process.
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*int(unsafe.Sizeof(v[0])))
	mu.Lock()
	defer mu.Unlock()
	if same, ok := known[string(raw)]; ok {
		return same
	}
	if len(known) >= maxShared {
		clear(known)
	}
	own := slices.Clip(slices.Clone(v)) // a decoder's slice may have room to spare
	known[string(raw)] = own
	return own
}

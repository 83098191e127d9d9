package commitlog

import (
	"math"
	"sort"
)

// epochs remembers at which offset each leader epoch began. Invariant: epochs and offsets both ascend strictly.
// Entries are changed under Log.mu and Log.view and read under either; changed and saved belong to Log.view.
type epochs struct {
	entries []EpochEntry
	// changed says that the file does not have it all, saved what the latest epoch is that it has.
	changed bool
	saved   int32
}

// latest returns the last epoch, -1 when there is none.
func (e *epochs) latest() int32 {
	if n := len(e.entries); n > 0 {
		return e.entries[n-1].Epoch
	}
	return -1
}

// unsaved is where the first epoch began that the file does not have.
func (e *epochs) unsaved() int64 {
	for _, entry := range e.entries {
		if entry.Epoch > e.saved {
			return entry.Start
		}
	}
	return math.MaxInt64
}

// assign notes that an epoch begins at an offset. Entries that contradict it go: they were of a leader whose
// records did not last.
func (e *epochs) assign(epoch int32, start int64) bool {
	n := len(e.entries)
	if n > 0 && e.entries[n-1].Epoch == epoch && e.entries[n-1].Start <= start {
		return false
	}
	for n > 0 && (e.entries[n-1].Epoch >= epoch || e.entries[n-1].Start >= start) {
		n--
	}
	e.entries = append(e.entries[:n:n], EpochEntry{epoch, start})
	e.changed = true
	return true
}

// endOf answers OffsetForLeaderEpoch: the largest epoch not above the one asked for, and where it ended; -1 and -1
// when that is not known.
func (e *epochs) endOf(epoch int32, logEnd int64) (int32, int64) {
	if epoch == -1 {
		return -1, -1
	}
	if e.latest() == epoch {
		return epoch, logEnd
	}
	i := sort.Search(len(e.entries), func(i int) bool { return e.entries[i].Epoch > epoch })
	switch {
	case i == len(e.entries):
		return -1, -1 // an epoch we have not heard of
	case i == 0:
		return epoch, e.entries[0].Start // older than all we know
	}
	return e.entries[i-1].Epoch, e.entries[i].Start
}

// at returns the epoch of the record at an offset, -1 when it is older than all we know.
func (e *epochs) at(offset int64) int32 {
	i := sort.Search(len(e.entries), func(i int) bool { return e.entries[i].Start > offset })
	if i == 0 {
		return -1
	}
	return e.entries[i-1].Epoch
}

// truncateEnd forgets epochs that began at or behind the end of the log.
func (e *epochs) truncateEnd(end int64) {
	n := len(e.entries)
	for n > 0 && e.entries[n-1].Start >= end {
		n--
	}
	if n < len(e.entries) {
		e.entries, e.changed = e.entries[:n:n], true
	}
}

// truncateStart forgets what ended before the log's start; the epoch that the start lies in begins there now.
func (e *epochs) truncateStart(start int64) {
	i := sort.Search(len(e.entries), func(i int) bool { return e.entries[i].Start > start })
	if i == 0 || i == 1 && e.entries[0].Start == start {
		return
	}
	kept := append([]EpochEntry{{e.entries[i-1].Epoch, start}}, e.entries[i:]...)
	e.entries, e.changed = kept, true
}

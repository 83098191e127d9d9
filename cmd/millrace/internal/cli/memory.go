package cli

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// limitMemory tells the garbage collector what the process should stay within: the budget for requests and
// responses, and room for everything else. A limit set from outside (GOMEMLIMIT) stands.
func limitMemory(budget int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if budget > math.MaxInt64/2 {
		return
	}
	debug.SetMemoryLimit(budget + budget/2 + 128<<20)
}

// startingPercent is how much the heap may grow between two collections while a node starts: nearly all that it makes then
// it keeps, so that collecting finds little.
const startingPercent = 400

// whileStarting collects garbage rarely while a node starts.
func whileStarting(start func() error) error {
	usual := debug.SetGCPercent(startingPercent)
	defer debug.SetGCPercent(usual)
	if usual < 0 || usual > startingPercent { // set from outside (GOGC)
		debug.SetGCPercent(usual)
	}
	return start()
}

// memory is a look at the heap.
type memory struct {
	allocated int64 // ever
	spare     int64 // what a collection would give back to the machine
}

const (
	// memoryLook is how often the heap is looked at.
	memoryLook = 5 * time.Second
	// memoryQuiet is the most that a node at rest allocates between two looks.
	memoryQuiet = 2 << 20
	// memorySpare is how much there must be to be gained.
	memorySpare = 4 << 20
)

func lookAtMemory() memory {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(samples)
	of := func(i int) int64 { return int64(samples[i].Value.Uint64()) }
	garbage := max(0, of(2)-of(3))
	return memory{allocated: of(0), spare: of(1) + garbage}
}

// worthGiving reports whether so little happened since an earlier look, and so much is to be gained, that a collection is
// worth its time. kept is what the last one left over.
func (m memory) worthGiving(before memory, kept int64) bool {
	return m.allocated-before.allocated <= memoryQuiet && m.spare-kept >= memorySpare
}

// giveBackMemory gives the machine what a node at rest does not need: what it took to start, or to serve a burst. The Go
// runtime alone would keep twice of what is in use. rest makes the node let go what it keeps for its next requests, and
// returns how many bytes that is.
func giveBackMemory(ctx context.Context, look time.Duration, rest func() int64) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	last, kept := lookAtMemory(), int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := lookAtMemory()
		now.spare += rest()
		if now.worthGiving(last, kept) {
			debug.FreeOSMemory()
			now = lookAtMemory()
			kept = now.spare
		}
		last = now
	}
}

package coordinator

import (
	"sync"
	"time"
)

// LoadStats count the loads of partitions since the start.
type LoadStats struct {
	Count         int64
	Took, Longest time.Duration
}

// loadFigures are the LoadStats of a runtime.
type loadFigures struct {
	mu    sync.Mutex
	stats LoadStats
}

func (f *loadFigures) loaded(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stats.Count++
	f.stats.Took += took
	f.stats.Longest = max(f.stats.Longest, took)
}

// Loads returns the figures of the loads that have succeeded.
func (r *Runtime[M]) Loads() LoadStats {
	r.figures.mu.Lock()
	defer r.figures.mu.Unlock()
	return r.figures.stats
}

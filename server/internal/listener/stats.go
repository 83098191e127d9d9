package listener

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// statKeys is how many API keys are counted one by one; private ones share the last place.
const statKeys = 128

// latencyBuckets are powers of two of 64 µs: the i-th counts what took less than 64 µs << i, the last the rest.
const latencyBuckets = 18

type stats struct {
	accepted, refused, evicted atomic.Int64
	blocked                    atomic.Int64 // nanoseconds
	apis                       [statKeys]apiStats
}

type apiStats struct {
	requests, failed, bytesIn, bytesOut, nanoseconds atomic.Int64
	buckets                                          [latencyBuckets]atomic.Int64
}

func (s *stats) api(key wire.APIKey) *apiStats {
	if key < 0 || key >= statKeys {
		key = statKeys - 1
	}
	return &s.apis[key]
}

func (a *apiStats) observe(took time.Duration) {
	a.nanoseconds.Add(int64(took))
	a.buckets[min(bits.Len64(uint64(took/(64*time.Microsecond))), latencyBuckets-1)].Add(1)
}

// APIStats is what passed through a listener under one API key.
type APIStats struct {
	Key                                 wire.APIKey
	Requests, Failed, BytesIn, BytesOut int64
	// Latency is the time from the whole request to the handing over of its response, in all.
	Latency time.Duration
	// Buckets counts requests by latency; Bounds gives the upper bound of each, the last being unbounded.
	Buckets [latencyBuckets]int64
}

// Bounds returns the upper bounds of all latency buckets but the last.
func Bounds() []time.Duration {
	bounds := make([]time.Duration, latencyBuckets-1)
	for i := range bounds {
		bounds[i] = 64 * time.Microsecond << i
	}
	return bounds
}

// Stats is what a listener counts.
type Stats struct {
	// Accepted are the connections that were served, Refused those that max.connections.per.ip closed at once, and Evicted
	// those that had to make room for others.
	Accepted, Refused, Evicted int64
	Open                       int
	// Blocked is for how long nothing was accepted because of a limit.
	Blocked time.Duration
	APIs    []APIStats // those that were used
}

// Stats returns the counts of this moment.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	s := Stats{Accepted: l.stats.accepted.Load(), Refused: l.stats.refused.Load(), Evicted: l.stats.evicted.Load(), Blocked: time.Duration(l.stats.blocked.Load()), Open: len(l.conns)}
	l.mu.Unlock()
	for key := range l.stats.apis {
		a := &l.stats.apis[key]
		if a.requests.Load() == 0 {
			continue
		}
		one := APIStats{Key: wire.APIKey(key), Requests: a.requests.Load(), Failed: a.failed.Load(), BytesIn: a.bytesIn.Load(), BytesOut: a.bytesOut.Load(), Latency: time.Duration(a.nanoseconds.Load())}
		for i := range a.buckets {
			one.Buckets[i] = a.buckets[i].Load()
		}
		s.APIs = append(s.APIs, one)
	}
	return s
}

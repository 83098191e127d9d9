package replica

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestGatherPauses: rounds are spaced out for many logs with a little each, from clients that send on while they wait, on a
// machine that is busy with them; and for nobody else.
func TestGatherPauses(t *testing.T) {
	const round = 2 * time.Millisecond
	busy := int64(gatherRate*float64(runtime.GOMAXPROCS(0))*round.Seconds()) + 1
	for name, c := range map[string]struct {
		logs   int
		bytes  int64
		behind bool
		since  time.Duration
		want   time.Duration
	}{
		"at once":                             {100, busy, true, 0, gatherFor},
		"a while after the last one":          {100, busy, true, gatherFor / 4, gatherFor * 3 / 4},
		"long after it":                       {100, busy, true, gatherFor + 1, 0},
		"clients that wait for their answers": {100, busy, false, 0, 0},
		"few logs":                            {journalMany - 1, busy, true, 0, 0},
		"little traffic":                      {100, busy - 2, true, 0, 0},
		"large batches":                       {journalMany, max(journalMany*gatherShare, busy) + 1, true, 0, 0},
	} {
		g := gather{last: round}
		j := journal{chosen: c.logs, taken: c.bytes}
		check(t, name, g.pause(c.since, c.behind, &j), c.want)
	}
}

// TestRoundsAreSpacedOut: of requests that come behind others, and of no others.
func TestRoundsAreSpacedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, journalMany)...)
		took := func(behind bool) time.Duration {
			began, done := time.Now(), make(chan *AppendRequest, 1)
			req := &AppendRequest{Acks: -1, Timeout: time.Minute, Version: 12, Behind: behind, Done: func(r *AppendRequest) { done <- r }}
			for p := range int32(journalMany) {
				req.Entries = append(req.Entries, AppendEntry{Topic: "t", Partition: p, Records: batchOf("x")})
			}
			n.m.Append(req)
			for i := range (<-done).Entries {
				check(t, "append", req.Entries[i].Err, nil)
			}
			return time.Since(began)
		}
		took(true) // new logs are synced themselves
		took(true)
		check(t, "a client that waits", took(false), time.Duration(0))
		check(t, "one that does not", took(true), gatherFor)
		check(t, "one that waits, again", took(false), time.Duration(0))
	})
}

package replica

import (
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestGatherIsFor: pauses are meant for many logs with a little each, and worth a try on a machine that is busy with them.
func TestGatherIsFor(t *testing.T) {
	check(t, "many small ones", (&journal{chosen: 100, taken: 100 << 10}).isOfManySmall(), true)
	check(t, "few logs", (&journal{chosen: journalMany - 1, taken: 1}).isOfManySmall(), false)
	check(t, "large batches", (&journal{chosen: 100, taken: 100*gatherShare + 1}).isOfManySmall(), false)

	busy := gatherRate * int64(runtime.GOMAXPROCS(0))
	check(t, "busy", (&trial{meant: (busy + 3) / 4, bytes: busy, took: time.Second}).worth(), true)
	check(t, "not busy", (&trial{meant: busy - 1, bytes: busy - 1, took: time.Second}).worth(), false)
	check(t, "with others", (&trial{meant: busy/4 - 1, bytes: busy, took: time.Second}).worth(), false)
}

// TestGatherProvesItself: rounds are spaced out where as much comes as before, and not for long where less does; what comes
// is looked at again after a while.
func TestGatherProvesItself(t *testing.T) {
	const round = 2 * time.Millisecond
	// run lets rounds follow each other for some seconds and returns the share of them that paused, but for the first ones.
	// grows says that what comes is a matter of time, and not of the rounds.
	run := func(g *gather, now *time.Time, seconds int, grows bool) float64 {
		taken, rounds, paused := int64(200<<10), 0, 0
		for end := now.Add(time.Duration(seconds) * time.Second); now.Before(end); {
			pause := g.pause(*now, true, taken)
			if rounds++; rounds > 2*gatherTrial && pause > 0 {
				paused++
			}
			*now = now.Add(pause)
			g.last, g.began = now.Sub(g.began), *now
			*now = now.Add(round)
			if grows {
				taken = int64(float64(100<<20) * (g.last).Seconds())
			}
		}
		return float64(paused) / float64(rounds-2*gatherTrial)
	}
	now := time.Unix(1700000000, 0)
	g := &gather{began: now}
	if share := run(g, &now, 12, true); share < 0.9 {
		t.Errorf("where nothing is lost by it, %.2f of the rounds pause", share)
	}
	if run(g, &now, 6, false); g.phase == pausing {
		t.Error("rounds pause still although less comes")
	}
	if share := run(g, &now, 12, false); share > 0.05 {
		t.Errorf("where less comes, %.2f of the rounds pause", share)
	}
	if run(g, &now, 6, true); g.phase != pausing {
		t.Error("rounds do not pause although nothing is lost by it any more")
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
		n.m.dirs[0].sync.gather.phase, n.m.dirs[0].sync.gather.until = pausing, time.Now().Add(time.Hour)
		check(t, "a client that waits", took(false), time.Duration(0))
		check(t, "one that does not", took(true), gatherFor)
		check(t, "one that waits, again", took(false), time.Duration(0))
	})
}

package replica

import (
	"runtime"
	"sync/atomic"
	"time"
)

// gather spaces out the rounds of a directory while many logs get a few small batches each. A round costs its share for
// each log, and so do the batches: in the log, on the way to the disk, and in the client, which makes a batch of what it has
// as soon as there is room for one more request on the way. With fewer rounds there are fewer and larger batches, and all
// of them together cost less. It is for clients that send on while they wait for answers (Request.Behind); one that waits
// for each answer would only wait longer. And it is for traffic that keeps the machine busy, where what a round saves is
// time that others need; a few records are not held up.
//
// This is what commit_delay and commit_siblings are to PostgreSQL.
type gather struct {
	// came counts the requests since the last round began, behind those that were Behind.
	came, behind atomic.Int32
	// Only the goroutine that runs a round touches what follows.
	began time.Time
	last  time.Duration // between the beginnings of the last two rounds
}

const (
	// gatherFor is the least time between two rounds.
	gatherFor = 8 * time.Millisecond
	// gatherShare is how many bytes a log has in a round, on average, at the most: who sends large batches gains nothing.
	gatherShare = 16 << 10
	// gatherRate is from how many bytes per second and CPU on a machine counts as busy.
	gatherRate = 16 << 20
)

// note counts a request.
func (g *gather) note(req *AppendRequest) {
	g.came.Add(1)
	if req.Behind {
		g.behind.Add(1)
	}
}

// wait waits before a round if that is worth it.
func (g *gather) wait(j *journal) {
	behind := 2*g.behind.Swap(0) > g.came.Swap(0)
	if pause := g.pause(time.Since(g.began), behind, j); pause > 0 {
		time.Sleep(pause)
	}
	now := time.Now()
	g.last, g.began = now.Sub(g.began), now
}

// pause is for how long a round waits that could begin now, so long after the beginning of the last one. behind says whether
// most clients send on while they wait.
func (g *gather) pause(since time.Duration, behind bool, j *journal) time.Duration {
	busy := float64(j.taken) >= gatherRate*float64(runtime.GOMAXPROCS(0))*g.last.Seconds()
	if !behind || !busy || j.chosen < journalMany || j.taken > int64(j.chosen)*gatherShare {
		return 0
	}
	return max(gatherFor-since, 0)
}

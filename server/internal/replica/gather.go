package replica

import (
	"runtime"
	"sync/atomic"
	"time"
)

// gather spaces out the rounds of a directory while many logs get a few small batches each. A round costs its share for
// each log, and so do the batches: in the log, on the way to the disk, and in the client, which makes a batch of what it has
// as soon as there is room for one more request on the way. With fewer rounds there are fewer and larger batches, and all
// of them together cost less. This is what commit_delay and commit_siblings are to PostgreSQL. It also tells a directory
// under load from one with little to do (heavy).
//
// It is for clients that send on while they wait for answers (Request.Behind); one that waits for each answer would only
// wait longer. It is for traffic that keeps the machine busy, where what a round saves is time that others need; a few
// records are not held up. And it has to prove itself: clients whose requests do not grow while they wait send less with
// pauses, so from time to time some rounds without are compared with some with them.
type gather struct {
	// came counts the requests since the last round began, behind those that were Behind.
	came, behind atomic.Int32
	// heavy counts the rounds in a row that had much to write: then small appends are held in memory. Else they are written at
	// once, and whoever looks at the files of a node with little to do finds all of it there.
	heavy atomic.Int32
	// Only the goroutine that runs a round touches what follows.
	began time.Time
	last  time.Duration // between the beginnings of the last two rounds

	phase gatherPhase
	until time.Time // when the phase pausing or the phase apart ends
	plain trial     // without pauses
	with  trial     // with them
}

// gatherPhase is what gather does about rounds that pauses are meant for.
type gatherPhase int8

const (
	measuring gatherPhase = iota // none pauses, and what comes is measured
	trying                       // they pause, and what comes is measured
	pausing                      // they pause
	apart                        // none pauses: it did not prove itself
)

// trial is what came in some rounds, and how much of it in those that pauses are meant for: large requests and small ones
// take turns where a client sends what it has as soon as answers have come.
type trial struct {
	rounds       int
	bytes, meant int64
	took         time.Duration
}

func (t *trial) add(meant bool, bytes int64, took time.Duration) (over bool) {
	if meant {
		t.meant += bytes
	}
	t.rounds++
	t.bytes += bytes
	t.took += took
	return t.rounds == gatherTrial
}

// worth reports whether pauses are worth a try.
func (t *trial) worth() bool {
	return 4*t.meant >= t.bytes && float64(t.bytes) >= gatherRate*float64(runtime.GOMAXPROCS(0))*t.took.Seconds()
}

const (
	// gatherFor is the least time between two rounds.
	gatherFor = 8 * time.Millisecond
	// gatherShare is how many bytes a log has in a round, on average, at the most: who sends large batches gains nothing.
	gatherShare = 16 << 10
	// gatherRate is from how many bytes per second and CPU on a machine counts as busy.
	gatherRate = 16 << 20
	// heavyRound and heavyRate are from how many bytes, and bytes per second, on a round counts as heavy, heavyRounds how many
	// of these in a row it takes.
	heavyRound  = 16 << 10
	heavyRate   = 4 << 20
	heavyRounds = 8
	// gatherTrial is how many rounds are measured, gatherAgain how long the verdict holds.
	gatherTrial = 32
	gatherAgain = 5 * time.Second
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
	now := time.Now()
	if pause := g.pause(now, behind && j.isOfManySmall(), j.taken); pause > 0 {
		time.Sleep(pause)
		now = time.Now()
	}
	if !g.began.IsZero() {
		g.last = now.Sub(g.began)
	}
	g.began = now
	if j.taken >= heavyRound && float64(j.taken) >= heavyRate*g.last.Seconds() {
		g.heavy.Add(1)
	} else {
		g.heavy.Store(0)
	}
}

// isOfManySmall reports whether the last round had many logs with a little each.
func (j *journal) isOfManySmall() bool {
	return j.chosen >= journalMany && j.taken <= int64(j.chosen)*gatherShare
}

// pause is for how long a round waits that could begin now. meant says whether pauses are for it, and taken what the last
// round brought.
func (g *gather) pause(now time.Time, meant bool, taken int64) time.Duration {
	switch g.phase {
	case measuring:
		switch over := g.plain.add(meant, taken, g.last); {
		case over && g.plain.worth():
			g.phase, g.with = trying, trial{}
		case over:
			g.plain = trial{}
		}
	case trying:
		if g.with.add(meant, taken, g.last) {
			g.phase, g.until = apart, now.Add(gatherAgain)
			if g.proven() {
				g.phase = pausing
			}
		}
	case pausing, apart:
		if !now.Before(g.until) {
			g.phase, g.plain = measuring, trial{}
		}
	}
	if meant && (g.phase == trying || g.phase == pausing) {
		return max(gatherFor-now.Sub(g.began), 0)
	}
	return 0
}

// proven reports whether no less comes with pauses than without. Both are measured for a moment only, and a fifth less may
// be chance; where a client's requests do not grow it is a half or less.
func (g *gather) proven() bool {
	return 5*float64(g.with.bytes)*g.plain.took.Seconds() >= 4*float64(g.plain.bytes)*g.with.took.Seconds()
}

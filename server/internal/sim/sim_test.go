package sim

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// number reads a number from the environment.
func number(t *testing.T, key string, otherwise uint64) uint64 {
	text := os.Getenv(key)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", key, err)
	}
	return n
}

// TestSeeds runs SIM_SEEDS seeds from SIM_SEED on, and tells SIM_LAST events of one that fails; without them a few
// hundred, as far as some seconds carry.
func TestSeeds(t *testing.T) {
	first, seeds := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 0)
	remembered = int(number(t, "SIM_LAST", uint64(remembered)))
	limit := 24 * time.Hour
	if seeds == 0 {
		seeds, limit = 300, 6*time.Second
	}
	began := time.Now()
	var mu sync.Mutex
	var sum Report
	ran, failed := uint64(0), map[uint64]error{}
	next := func(done *Report, err error) (seed uint64, more bool) {
		mu.Lock()
		defer mu.Unlock()
		if done != nil {
			ran++
			sum.add(done)
			if err != nil {
				failed[done.Seed] = err
			}
			if ran%1000 == 0 {
				t.Logf("%d seeds after %v", ran, time.Since(began).Round(time.Second))
			}
		}
		if len(failed) > 0 || seeds == 0 || time.Since(began) > limit {
			return 0, false
		}
		first, seeds = first+1, seeds-1
		return first - 1, true
	}
	from := first
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for seed, more := next(nil, nil); more; {
				r, err := Run(seed, NoBug)
				if err == nil && (r.Events < minEvents || r.Crashes == 0 || r.LostLeaderships == 0 || r.Deaths == 0) {
					err = fmt.Errorf("seed %d did not do enough: %+v", seed, r)
				}
				seed, more = next(&r, err)
			}
		})
	}
	workers.Wait()
	for seed, err := range failed {
		t.Errorf("%v\nto see it again: SIM_SEED=%d SIM_SEEDS=1 go test -run TestSeeds ./server/internal/sim", err, seed)
	}
	if ran > 10 && (sum.Commits == 0 || sum.Reloads == 0) || ran > 100 && sum.Deletions == 0 {
		t.Errorf("no commit or deletion was acknowledged, or no reload compared: %+v", sum)
	}
	t.Logf("%d seeds from %d on: %d events, %d crashes, %d lost leaderships, %d deaths, %d acknowledged commits, %d groups deleted, %d reloads compared",
		ran, from, sum.Events, sum.Crashes, sum.LostLeaderships, sum.Deaths, sum.Commits, sum.Deletions, sum.Reloads)
}

func (r *Report) add(o *Report) {
	r.Events += o.Events
	r.Crashes += o.Crashes
	r.LostLeaderships += o.LostLeaderships
	r.Deaths += o.Deaths
	r.Commits += o.Commits
	r.Reloads += o.Reloads
	r.Deletions += o.Deletions
}

// TestSameSeedSameRun: a run is its seed, to the bit.
func TestSameSeedSameRun(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := uint64(1); seed <= 10; seed++ {
		a, errA := Run(seed, NoBug)
		b, errB := Run(seed, NoBug)
		if a != b || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("seed %d: %+v, %v; and then %+v, %v", seed, a, errA, b, errB)
		}
		seen[a.Hash] = true
	}
	if len(seen) != 10 {
		t.Errorf("10 seeds made %d transcripts", len(seen))
	}
}

// TestPlantedBugs: each is found within so many seeds, as the invariant that it breaks.
func TestPlantedBugs(t *testing.T) {
	for _, c := range []struct {
		name      string
		bug       Bug
		seeds     uint64
		invariant string
	}{
		{"answers before the commit", AnswersBeforeCommit, 3, "nothing is answered before it is committed"},
		{"a member stays after its session", KeepsTheDead, 20, "when everything has healed, every group is stable"},
		{"a commit of an old generation is taken", TakesOldCommits, 20, "no commit of an older generation is taken"},
		{"commits without a sync", LeavesUnsynced, 5, "what is committed stays"},
		{"a replaced static member commits", TakesReplaced, 60, "no commit of who is no member is taken"},
		{"offsets expire too early", ForgetsEarly, 60, "an acknowledged commit is never lost"},
		{"the offsets of a deleted topic stay", KeepsOffsets, 20, "a deleted topic has no offsets"},
		{"a regular expression misses a topic", HidesTopics, 120, "when everything has healed, every group is stable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= c.seeds; seed++ {
				_, err := Run(seed, c.bug)
				var f *Failure
				if errors.As(err, &f) {
					if f.Invariant != c.invariant {
						t.Errorf("found by another invariant: %v", f)
					}
					t.Logf("seed %d: %s: %s", seed, f.Invariant, f.What)
					return
				}
			}
			t.Errorf("not found in %d seeds", c.seeds)
		})
	}
}

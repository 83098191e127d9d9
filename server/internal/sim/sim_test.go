package sim

import (
	"errors"
	"fmt"
	"os"
	"strconv"
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

// TestSeeds runs SIM_SEEDS seeds from SIM_SEED on, and tells SIM_LAST events of one that fails; without them a few hundred, as far as some seconds carry.
func TestSeeds(t *testing.T) {
	first, seeds := number(t, "SIM_SEED", 1), number(t, "SIM_SEEDS", 0)
	remembered = int(number(t, "SIM_LAST", uint64(remembered)))
	limit := 8 * time.Second
	if seeds == 0 {
		seeds = 300
	} else {
		limit = 24 * time.Hour
	}
	began := time.Now()
	var sum Report
	n := uint64(0)
	for ; n < seeds && time.Since(began) < limit; n++ {
		r, err := Run(first+n, NoBug)
		if err != nil {
			t.Fatalf("%v\nto see it again: SIM_SEED=%d SIM_SEEDS=1 go test -run TestSeeds ./server/internal/sim", err, first+n)
		}
		if r.Events < minEvents || r.Crashes == 0 || r.LostLeaderships == 0 || r.Deaths == 0 {
			t.Fatalf("seed %d did not do enough: %+v", first+n, r)
		}
		sum.Events += r.Events
		sum.Crashes += r.Crashes
		sum.LostLeaderships += r.LostLeaderships
		sum.Deaths += r.Deaths
		sum.Commits += r.Commits
		sum.Reloads += r.Reloads
	}
	if n > 10 && (sum.Commits == 0 || sum.Reloads == 0) {
		t.Errorf("no commit was acknowledged, or no reload compared: %+v", sum)
	}
	t.Logf("%d seeds from %d on: %d events, %d crashes, %d lost leaderships, %d deaths, %d acknowledged commits, %d reloads compared",
		n, first, sum.Events, sum.Crashes, sum.LostLeaderships, sum.Deaths, sum.Commits, sum.Reloads)
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

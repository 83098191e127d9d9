package sim

import (
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"time"
)

// Report is what a run did.
type Report struct {
	Seed                             uint64
	Events                           int
	Crashes, LostLeaderships, Deaths int
	Commits                          int // acknowledged
	Reloads                          int // compared with the state before
	Deletions                        int // of groups, acknowledged
	Hash                             uint64
}

// Failure is a broken invariant.
type Failure struct {
	Seed            uint64
	Invariant, What string
	Last            []string // events, the newest last
}

// Error implements error: it tells how to see it again.
func (f *Failure) Error() string {
	return fmt.Sprintf("seed %d: %s: %s\nthe last events:\n  %s", f.Seed, f.Invariant, f.What, strings.Join(f.Last, "\n  "))
}

// remembered is how many events a failure tells.
var remembered = 60

// world is one run.
type world struct {
	seed uint64
	dice *rand.Rand
	bug  Bug

	now    time.Duration // since the beginning
	events events
	order  int

	last   []string
	hash   hash.Hash64
	failed *Failure
	report Report

	node
	ledger  ledger
	groups  []*theGroup
	asked   map[string]time.Duration // when somebody wanted a group's offsets, or the group, to be deleted
	owners  map[string]string        // of a partition in a classic generation
	open    []*open
	chaos   bool
	serial  int64 // of commits: each has an offset that no other has
	members []member
	stable  time.Duration // when everything was found stable after the chaos
}

// Run runs one seed, with a bug or none.
func Run(seed uint64, bug Bug) (Report, error) {
	w := &world{
		seed: seed, dice: rand.New(rand.NewPCG(seed, 0x6d696c6c72616365)), bug: bug, hash: fnv.New64a(),
		report: Report{Seed: seed}, owners: map[string]string{}, chaos: true,
	}
	w.ledger = newLedger(w)
	w.begin()
	for w.failed == nil && w.stable == 0 {
		e := heap.Pop(&w.events).(*event)
		w.now = max(w.now, e.at)
		e.do()
		w.check()
	}
	w.report.Hash = w.hash.Sum64()
	if w.failed != nil {
		return w.report, w.failed
	}
	return w.report, nil
}

// begun is the wall time at which every run begins.
var begun = time.UnixMilli(1_000_000_000)

func (w *world) clock() time.Time { return begun.Add(w.now) }

// say puts an event into the transcript.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf("%9.3fs "+format, append([]any{w.now.Seconds()}, args...)...)
	w.report.Events++
	w.hash.Write([]byte(line))
	if len(w.last) == remembered {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	w.last = append(w.last, line)
}

// fail notes the first invariant that is broken.
func (w *world) fail(invariant, format string, args ...any) {
	if w.failed == nil {
		w.failed = &Failure{Seed: w.seed, Invariant: invariant, What: fmt.Sprintf(format, args...), Last: append([]string(nil), w.last...)}
	}
}

// after lets something happen later.
func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

func (w *world) at(at time.Duration, do func()) {
	w.order++
	heap.Push(&w.events, &event{max(at, w.now), w.order, do})
}

// chance throws the dice.
func (w *world) chance(p float64) bool { return w.dice.Float64() < p }

// trouble is chance, but never when the chaos is over.
func (w *world) trouble(p float64) bool { return w.chance(p) && w.chaos }

func (w *world) between(low, high time.Duration) time.Duration {
	return low + time.Duration(w.dice.Int64N(int64(high-low)))
}

func pick[T any](w *world, list []T) T { return list[w.dice.IntN(len(list))] }

type event struct {
	at    time.Duration
	order int // of two at the same time the one that was planned first comes first
	do    func()
}

// events is a heap.
type events []*event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(*event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	return x
}

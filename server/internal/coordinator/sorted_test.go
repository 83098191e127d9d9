package coordinator

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSortedIsAMap compares a sorted map with one of the language, and what a journal makes of it with how it was.
func TestSortedIsAMap(t *testing.T) {
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		journal := &Journal{open: true}
		sorted, twin := NewSorted[int, int](journal, cmp.Compare[int]), map[int]int{}
		keys := 1 + random.IntN(1000)
		check := func(step int) {
			t.Helper()
			if sorted.Len() != len(twin) {
				t.Fatalf("seed %d, step %d: %d keys, want %d", seed, step, sorted.Len(), len(twin))
			}
			if got, want := slices.Collect(sorted.Keys()), slices.Sorted(maps.Keys(twin)); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: the keys are %d, want %d", seed, step, got, want)
			}
			for k, v := range sorted.All() {
				if found, ok := sorted.Get(k); !ok || found != v || twin[k] != v {
					t.Fatalf("seed %d, step %d: %d is %d and %d, want %d", seed, step, k, v, found, twin[k])
				}
			}
			for _, page := range sorted.pages {
				if len(page) == 0 || len(page) > pageKeys {
					t.Fatalf("seed %d, step %d: a page of %d keys", seed, step, len(page))
				}
			}
		}
		kept := maps.Clone(twin)
		for step := range 3000 {
			k := random.IntN(keys)
			switch grows := step/700%2 == 0; {
			case seed%4 == 0 && grows: // in order
				sorted.Set(step, step)
				twin[step] = step
			case grows || random.IntN(4) == 0:
				sorted.Set(k, step)
				twin[k] = step
			default:
				if seed%4 == 0 {
					k = random.IntN(step)
				}
				sorted.Delete(k)
				delete(twin, k)
			}
			if _, ok := sorted.Get(-1 - k); ok {
				t.Fatal("a key that was never set")
			}
			switch random.IntN(200) {
			case 0:
				journal.forget()
				kept = maps.Clone(twin)
			case 1:
				journal.rollback()
				twin = maps.Clone(kept)
				check(step)
			}
			if step%100 == 0 {
				check(step)
			}
		}
		check(3000)
	}
}

// TestSortedLeavesPagesFull that were filled in order, and keeps no room for many keys when few are left.
func TestSortedLeavesPagesFull(t *testing.T) {
	m := NewSorted[int, int](nil, cmp.Compare[int])
	for k := range 10 * pageKeys {
		m.Set(k, k)
	}
	if len(m.pages) != 10 {
		t.Errorf("%d pages for ten times the keys of one", len(m.pages))
	}
	for k := range 10 * pageKeys {
		if k%pageKeys != 7 {
			m.Delete(k)
		}
	}
	for _, page := range m.pages {
		if cap(page) > pageKeys/8 {
			t.Errorf("a page with %d keys has room for %d", len(page), cap(page))
		}
	}
}

package coordinator

import (
	"iter"
	"slices"
)

// Sorted is a Map whose keys are in order. It takes little more room than they do: a coordinator has many groups, and of
// what they hold most is one or two of a kind, for which a map of the language makes room for eight.
type Sorted[K, V any] struct {
	journal *Journal
	compare func(a, b K) int
	// pages hold the keys in order. Invariant: none is empty, or larger than pageKeys.
	pages [][]pair[K, V]
}

type pair[K, V any] struct {
	key   K
	value V
}

// pageKeys is how many keys are moved at most to make room for one.
const pageKeys = 64

// NewSorted returns an empty map in the order of compare.
func NewSorted[K, V any](j *Journal, compare func(a, b K) int) Sorted[K, V] {
	return Sorted[K, V]{journal: j, compare: compare}
}

// Get returns the value of a key, and whether there is one.
func (m *Sorted[K, V]) Get(k K) (V, bool) {
	page, i, found := m.find(k)
	if !found {
		var none V
		return none, false
	}
	return m.pages[page][i].value, true
}

// Len is the number of keys.
func (m *Sorted[K, V]) Len() int {
	n := 0
	for _, page := range m.pages {
		n += len(page)
	}
	return n
}

// All returns keys and values in order. The map must not be changed meanwhile.
func (m *Sorted[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, page := range m.pages {
			for i := range page {
				if !yield(page[i].key, page[i].value) {
					return
				}
			}
		}
	}
}

// Keys returns the keys in order. The map must not be changed meanwhile.
func (m *Sorted[K, V]) Keys() iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m.All() {
			if !yield(k) {
				return
			}
		}
	}
}

// Set sets the value of a key. The value must not be changed afterwards but through a journal.
func (m *Sorted[K, V]) Set(k K, v V) {
	old, had := m.put(k, v)
	if m.journal == nil || !m.journal.open {
		return
	}
	m.journal.Did(func() {
		if had {
			m.put(k, old)
		} else {
			m.drop(k)
		}
	})
}

// Delete takes a key away.
func (m *Sorted[K, V]) Delete(k K) {
	old, had := m.drop(k)
	if had && m.journal != nil && m.journal.open {
		m.journal.Did(func() { m.put(k, old) })
	}
}

// find returns where a key is, or where it belongs.
func (m *Sorted[K, V]) find(k K) (page, i int, found bool) {
	if len(m.pages) == 0 {
		return 0, 0, false
	}
	if len(m.pages) > 1 {
		page, found = slices.BinarySearchFunc(m.pages, k, func(p []pair[K, V], k K) int { return m.compare(p[0].key, k) })
		if found {
			return page, 0, true
		}
		page = max(0, page-1)
	}
	i, found = slices.BinarySearchFunc(m.pages[page], k, func(p pair[K, V], k K) int { return m.compare(p.key, k) })
	return page, i, found
}

func (m *Sorted[K, V]) put(k K, v V) (old V, had bool) {
	page, i, found := m.find(k)
	switch {
	case found:
		at := &m.pages[page][i]
		old, at.value = at.value, v
		return old, true
	case len(m.pages) == 0:
		m.pages = [][]pair[K, V]{{{k, v}}}
		return old, false
	case len(m.pages[page]) < pageKeys:
	case i == pageKeys: // most come in order: then pages are left full
		m.pages = slices.Insert(m.pages, page+1, []pair[K, V]{{k, v}})
		return old, false
	default:
		whole := m.pages[page]
		m.pages[page] = slices.Clone(whole[:pageKeys/2])
		m.pages = slices.Insert(m.pages, page+1, slices.Clone(whole[pageKeys/2:]))
		if i > pageKeys/2 {
			page, i = page+1, i-pageKeys/2
		}
	}
	list := m.pages[page]
	if len(list) == cap(list) { // by half of itself: most stay small
		list = append(make([]pair[K, V], 0, min(len(list)+len(list)/2+1, pageKeys)), list...)
	}
	m.pages[page] = slices.Insert(list, i, pair[K, V]{k, v})
	return old, false
}

func (m *Sorted[K, V]) drop(k K) (old V, had bool) {
	page, i, found := m.find(k)
	if !found {
		return old, false
	}
	list := m.pages[page]
	old = list[i].value
	list = slices.Delete(list, i, i+1)
	switch {
	case len(list) == 0:
		m.pages = slices.Delete(m.pages, page, page+1)
		return old, true
	case len(list) <= cap(list)/4:
		list = slices.Clone(list)
	}
	m.pages[page] = list
	return old, true
}

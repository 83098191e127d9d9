package coordinator

import (
	"iter"
	"maps"
)

// Journal remembers how to take back what was replayed since the last append. What a Machine changes in Replay it
// changes through it: by a Map, or by Did.
type Journal struct {
	undo []func()
	// open is false while a log is loaded: nothing of that is ever taken back.
	open bool
}

// Did notes how to take back a change that was made.
func (j *Journal) Did(undo func()) {
	if j.open {
		j.undo = append(j.undo, undo)
	}
}

// forget says that all changes hold.
func (j *Journal) forget() {
	clear(j.undo)
	j.undo = j.undo[:0]
}

// rollback takes all changes back.
func (j *Journal) rollback() { j.rollbackTo(0) }

// rollbackTo takes back all but the first n changes, the last one first.
func (j *Journal) rollbackTo(n int) {
	for i := len(j.undo) - 1; i >= n; i-- {
		j.undo[i]()
		j.undo[i] = nil
	}
	j.undo = j.undo[:n]
}

// Map is a map whose changes a journal takes back. The zero Map is empty and not journaled; NewMap makes one that is.
type Map[K comparable, V any] struct {
	journal *Journal
	m       map[K]V
}

// NewMap returns an empty map.
func NewMap[K comparable, V any](j *Journal) Map[K, V] { return Map[K, V]{journal: j} }

// Get returns the value of a key, and whether there is one.
func (m *Map[K, V]) Get(k K) (V, bool) {
	v, ok := m.m[k]
	return v, ok
}

// Len is the number of keys.
func (m *Map[K, V]) Len() int { return len(m.m) }

// All returns keys and values in no order: nothing of it may reach a record or a message unsorted.
func (m *Map[K, V]) All() iter.Seq2[K, V] { return maps.All(m.m) }

// Keys returns the keys in no order.
func (m *Map[K, V]) Keys() iter.Seq[K] { return maps.Keys(m.m) }

// Set sets the value of a key. The value must not be changed afterwards but through a journal.
func (m *Map[K, V]) Set(k K, v V) {
	old, had := m.m[k]
	m.Keep(k, v)
	m.did(k, old, had)
}

// Keep sets the value of a key for good: no journal takes it back. It is for what is not in the log.
func (m *Map[K, V]) Keep(k K, v V) {
	if m.m == nil {
		m.m = map[K]V{}
	}
	m.m[k] = v
}

// Delete takes a key away.
func (m *Map[K, V]) Delete(k K) {
	old, had := m.m[k]
	if !had {
		return
	}
	delete(m.m, k)
	m.did(k, old, had)
}

func (m *Map[K, V]) did(k K, old V, had bool) {
	if m.journal == nil || !m.journal.open {
		return
	}
	m.journal.Did(func() {
		if had {
			m.m[k] = old
		} else {
			delete(m.m, k)
		}
	})
}

package metadata

import (
	"iter"

	// The house's persistent ordered map: Clone is O(1) and writes copy only the path they touch, which is the whole
	// point of an image. Rewriting a B-tree with deletion would be four hundred lines of ours to prove.
	"github.com/google/btree"
)

// degree gives nodes of 31 to 63 items: shallow trees (three levels for a million topics), and a copied path of a
// few hundred bytes per level.
const degree = 32

// tree is an ordered map that is immutable once it is part of an image.
type tree[T any] struct{ b *btree.BTreeG[T] }

func newTree[T any](less func(a, b T) bool) tree[T] {
	// The free list would only keep dead nodes of old images alive; size 0 drops them.
	return tree[T]{btree.NewWithFreeListG(degree, less, btree.NewFreeListG[T](0))}
}

// edit returns a copy that can be changed without the original noticing. BTreeG.Clone writes to its receiver, which
// may be read and cloned by others at this moment; so it is given a copy of the header, and the shared nodes, which
// belong to neither context any more, are copied before they are written to.
func (t tree[T]) edit() tree[T] {
	header := *t.b
	return tree[T]{header.Clone()}
}

func (t tree[T]) get(key T) (T, bool) { return t.b.Get(key) }
func (t tree[T]) len() int            { return t.b.Len() }

func (t tree[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) { t.b.Ascend(yield) }
}

func (t tree[T]) from(key T) iter.Seq[T] {
	return func(yield func(T) bool) { t.b.AscendGreaterOrEqual(key, yield) }
}

// entry is an element of a tree whose key is not part of its value.
type entry[K, V any] struct {
	key   K
	value V
}

func newIndex[K, V any](compare func(a, b K) int) tree[entry[K, V]] {
	return newTree(func(a, b entry[K, V]) bool { return compare(a.key, b.key) < 0 })
}

func lookup[K, V any](t tree[entry[K, V]], key K) (V, bool) {
	e, ok := t.get(entry[K, V]{key: key})
	return e.value, ok
}

func put[K, V any](t tree[entry[K, V]], key K, value V) { t.b.ReplaceOrInsert(entry[K, V]{key, value}) }

func remove[K, V any](t tree[entry[K, V]], key K) bool {
	_, ok := t.b.Delete(entry[K, V]{key: key})
	return ok
}

package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashOptions say how kind the disk was to what had not been synced when the power went.
type CrashOptions struct {
	// Rand decides for each file and each change of names what reached the disk by chance. nil: nothing did.
	// The same disk and the same seed give the same clone.
	Rand *rand.Rand
	// All: everything did. So a process that is killed leaves the disk.
	All bool
}

// CrashClone returns a disk as it could be after a power loss at this moment: what was synced is always there.
// What was not, is there or not as the options say:
//
//   - of a file, none of the unsynced pages, all, the first so many with the last one torn, or any; and the
//     size that goes with them;
//   - of directories, none of the unsynced creates, renames and removes, all, the first so many, or any, as
//     long as no change is there without an earlier one of the same name. A rename is there as a whole or not.
//
// The clone has no open files, no locks, no hook, and the same capacity. The disk itself goes on unharmed.
// Cost: a slice header per 4 KiB page and a map entry per name; no data but the pages that were not synced.
func (m *Mem) CrashClone(opts CrashOptions) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &cloner{rand: opts.Rand, all: opts.All, to: NewMem(), after: map[*memNode]map[string]*memNode{}, clones: map[*memNode]*memNode{}}
	c.chooseNames(m.root)
	c.to.capacity.Store(m.capacity.Load())
	c.to.root = c.clone(m.root)
	return c.to
}

type cloner struct {
	rand   *rand.Rand
	all    bool
	to     *Mem
	after  map[*memNode]map[string]*memNode // the names in each directory after the crash
	clones map[*memNode]*memNode
}

// How much of a list of unsynced things reached the disk.
const (
	crashNone = iota
	crashAll
	crashPrefix
	crashAny
	crashModes
)

// chooseNames fills after for all directories that could be found again.
func (c *cloner) chooseNames(root *memNode) {
	var ops []*dirOp
	seen := map[*dirOp]bool{}
	var visit func(dir *memNode)
	visit = func(dir *memNode) {
		if c.after[dir] != nil {
			return
		}
		c.after[dir] = maps.Clone(dir.durable)
		for _, op := range dir.pending {
			if !op.done && !seen[op] {
				seen[op] = true
				ops = append(ops, op)
			}
			for _, p := range op.parts {
				if p.node != nil && p.node.dir {
					visit(p.node)
				}
			}
		}
		for _, child := range dir.durable {
			if child.dir {
				visit(child)
			}
		}
	}
	visit(root)
	if c.rand == nil && !c.all || len(ops) == 0 {
		return
	}
	slices.SortFunc(ops, func(a, b *dirOp) int { return int(a.seq - b.seq) })
	mode, prefix := crashAll, 0
	if !c.all {
		mode, prefix = c.rand.IntN(crashModes), c.rand.IntN(len(ops)+1)
	}
	var lost []*dirOp
	for i, op := range ops {
		take := mode == crashAll || mode == crashPrefix && i < prefix || mode == crashAny && c.rand.IntN(2) == 0
		if !take || slices.ContainsFunc(lost, op.touches) {
			lost = append(lost, op)
			continue
		}
		for _, p := range op.parts {
			if names := c.after[p.dir]; names != nil {
				set(names, p.name, p.node)
			}
		}
	}
}

func (c *cloner) clone(node *memNode) *memNode {
	if done := c.clones[node]; done != nil {
		return done
	}
	if !node.dir {
		file := c.cloneFile(node)
		c.clones[node] = file
		c.to.used.Add(file.held())
		return file
	}
	dir := newDir(node.perm)
	dir.modified = node.modified
	c.clones[node] = dir
	names := c.after[node]
	for _, name := range sortedNames(names) {
		child := c.clone(names[name])
		dir.names[name] = child
		dir.durable[name] = child
	}
	return dir
}

func (c *cloner) cloneFile(n *memNode) *memNode {
	n.mu.RLock()
	defer n.mu.RUnlock()
	to := &memNode{perm: n.perm, modified: n.modified, linked: true, size: n.synced, pages: slices.Clone(n.pages)}

	// First the disk as the last sync left it.
	dirty := slices.Sorted(maps.Keys(n.dirty))
	for _, i := range dirty {
		to.grow(i + 1)
		to.pages[i] = n.dirty[i]
	}
	// Then what reached it since.
	if (c.rand != nil || c.all) && (len(dirty) > 0 || n.size != n.synced) {
		c.chooseBytes(to, n, dirty)
	}
	to.pages = to.pages[:min(len(to.pages), int((to.size+memPageSize-1)/memPageSize))]
	to.synced = to.size
	return to
}

func (c *cloner) chooseBytes(to, n *memNode, dirty []int) {
	mode, prefix, torn := crashAll, 0, 0
	if !c.all {
		mode, prefix, torn = c.rand.IntN(crashModes), c.rand.IntN(len(dirty)+1), 1+c.rand.IntN(memPageSize-1)
	}
	switch mode {
	case crashNone:
		return
	case crashAll:
		to.size = n.size
	case crashPrefix:
		// The file ends where the last page that was written does, torn inside the one after it.
		end := n.size
		if prefix < len(dirty) {
			end = min(end, int64(dirty[prefix])*memPageSize+int64(torn))
		}
		switch {
		case n.size > n.synced:
			to.size = max(n.synced, end)
		case prefix == len(dirty):
			to.size = n.size
		}
	case crashAny:
		if c.rand.IntN(2) == 0 {
			to.size = n.size
		}
	}
	// A cut that did not reach the disk freed nothing: the pages from its end on are as they were.
	cut := len(n.pages)
	if n.size < n.synced && to.size != n.size {
		cut = int(n.size / memPageSize)
	} else if to.size == n.size {
		cut = len(to.pages)
	}
	for k, i := range dirty {
		live := n.page(i)
		switch {
		case i >= cut:
		case mode == crashAll, mode == crashPrefix && k < prefix, mode == crashAny && c.rand.IntN(2) == 0:
			to.pages[i] = slices.Clone(live)
		case mode == crashPrefix && k == prefix && len(live) > 0:
			page := make([]byte, memPageSize)
			copy(page, to.pages[i])
			at := copy(page[:torn], live)
			clear(page[at:torn])
			to.pages[i] = page
		}
	}
	// Bytes beyond the end must read as zeros if the file grows again.
	if in := int(to.size % memPageSize); in > 0 {
		if last := to.page(int(to.size / memPageSize)); len(last) > in {
			to.pages[to.size/memPageSize] = slices.Clone(last[:in])
		}
	}
}

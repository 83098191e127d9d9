package assign

// flow is a network of pipes whose greatest flow from a source to a sink is looked for, by Dinic's algorithm. Nodes are
// numbered; what it finds depends on nothing but the order in which the pipes were laid.
type flow struct {
	pipes []pipe
	from  [][]int // the pipes that begin at a node
	level []int   // how far a node is from the source, -1 when it cannot be reached
	next  []int   // the first pipe of a node that is not known to lead nowhere
}

// pipe has room for so much more. Pipes are laid in pairs, the one back right behind: what flows makes room there.
type pipe struct{ to, room int }

func newFlow(nodes int) *flow {
	return &flow{from: make([][]int, nodes), level: make([]int, nodes), next: make([]int, nodes)}
}

// lay lays a pipe and returns its number.
func (f *flow) lay(from, to, room int) int {
	n := len(f.pipes)
	f.pipes = append(f.pipes, pipe{to, room}, pipe{from, 0})
	f.from[from], f.from[to] = append(f.from[from], n), append(f.from[to], n+1)
	return n
}

// through is how much flows through a pipe.
func (f *flow) through(pipe int) int { return f.pipes[pipe+1].room }

// fill lets as much flow as can.
func (f *flow) fill(source, sink int) {
	for f.reach(source, sink) {
		clear(f.next)
		for f.push(source, sink, int(^uint(0)>>1)) > 0 {
		}
	}
}

// reach measures how far the nodes are from the source, and reports whether the sink can be reached.
func (f *flow) reach(source, sink int) bool {
	for i := range f.level {
		f.level[i] = -1
	}
	f.level[source] = 0
	for queue := []int{source}; len(queue) > 0; queue = queue[1:] {
		for _, n := range f.from[queue[0]] {
			if p := f.pipes[n]; p.room > 0 && f.level[p.to] < 0 {
				f.level[p.to] = f.level[queue[0]] + 1
				queue = append(queue, p.to)
			}
		}
	}
	return f.level[sink] >= 0
}

// push lets at most so much flow from a node to the sink, by one shortest way, and returns how much it was.
func (f *flow) push(node, sink, most int) int {
	if node == sink {
		return most
	}
	for ; f.next[node] < len(f.from[node]); f.next[node]++ {
		n := f.from[node][f.next[node]]
		p := f.pipes[n]
		if p.room == 0 || f.level[p.to] != f.level[node]+1 {
			continue
		}
		if pushed := f.push(p.to, sink, min(most, p.room)); pushed > 0 {
			f.pipes[n].room -= pushed
			f.pipes[n^1].room += pushed
			return pushed
		}
	}
	return 0
}

package replica

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// topic is what the partitions of one incarnation of a topic share: a partition then costs little more than its
// own positions.
type topic struct {
	name string
	id   kafka.TopicID

	settings atomic.Pointer[settings]

	// partitions holds the replicas on this node by partition number, nil where there is none here. Only Apply
	// and Load store a new slice; whoever reads keeps what it loaded.
	partitions atomic.Pointer[[]*Partition]

	messagesIn, bytesIn, bytesOut  atomic.Int64
	produceRequests, fetchRequests atomic.Int64
	failedProduce, failedFetch     atomic.Int64
}

// settings are a topic's effective configuration, never changed once stored.
type settings struct {
	log commitlog.Config
	TopicConfig
}

// partition returns the replica with that number, nil when it is not on this node.
func (t *topic) partition(n int32) *Partition {
	list := t.partitions.Load()
	if list == nil || n < 0 || int(n) >= len(*list) {
		return nil
	}
	return (*list)[n]
}

// put stores a replica, or with nil takes one away.
func (t *topic) put(n int32, p *Partition) {
	var old []*Partition
	if list := t.partitions.Load(); list != nil {
		old = *list
	}
	list := make([]*Partition, max(len(old), int(n)+1))
	copy(list, old)
	list[n] = p
	t.partitions.Store(&list)
}

// putAll stores several replicas at the price of one copy.
func (t *topic) putAll(replicas []*Partition) {
	var old []*Partition
	if list := t.partitions.Load(); list != nil {
		old = *list
	}
	size := len(old)
	for _, p := range replicas {
		size = max(size, int(p.index)+1)
	}
	list := make([]*Partition, size)
	copy(list, old)
	for _, p := range replicas {
		list[p.index] = p
	}
	t.partitions.Store(&list)
}

// all yields the replicas on this node by number.
func (t *topic) all() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		list := t.partitions.Load()
		if list == nil {
			return
		}
		for _, p := range *list {
			if p != nil && !yield(p) {
				return
			}
		}
	}
}

// directory finds topics by name and by id. It is cut into shards with a lock each, so that the hot path takes a
// lock that hardly anybody else wants at that moment.
type directory struct {
	seed  maphash.Seed
	names [shards]nameShard
	ids   [shards]idShard
}

const shards = 32

type nameShard struct {
	sync.RWMutex
	topics map[string]*topic
}

type idShard struct {
	sync.RWMutex
	topics map[kafka.TopicID]*topic
}

func newDirectory() *directory {
	d := &directory{seed: maphash.MakeSeed()}
	for i := range d.names {
		d.names[i].topics = map[string]*topic{}
		d.ids[i].topics = map[kafka.TopicID]*topic{}
	}
	return d
}

func (d *directory) byName(name string) *topic {
	s := &d.names[maphash.String(d.seed, name)%shards]
	s.RLock()
	t := s.topics[name]
	s.RUnlock()
	return t
}

func (d *directory) byNameBytes(name []byte) *topic {
	s := &d.names[maphash.Bytes(d.seed, name)%shards]
	s.RLock()
	t := s.topics[string(name)]
	s.RUnlock()
	return t
}

func (d *directory) byID(id kafka.TopicID) *topic {
	s := &d.ids[id[15]%shards]
	s.RLock()
	t := s.topics[id]
	s.RUnlock()
	return t
}

func (d *directory) add(t *topic) {
	s := &d.names[maphash.String(d.seed, t.name)%shards]
	s.Lock()
	s.topics[t.name] = t
	s.Unlock()
	i := &d.ids[t.id[15]%shards]
	i.Lock()
	i.topics[t.id] = t
	i.Unlock()
}

// remove takes a topic away. A later incarnation under the same name stays.
func (d *directory) remove(t *topic) {
	s := &d.names[maphash.String(d.seed, t.name)%shards]
	s.Lock()
	if s.topics[t.name] == t {
		delete(s.topics, t.name)
	}
	s.Unlock()
	i := &d.ids[t.id[15]%shards]
	i.Lock()
	delete(i.topics, t.id)
	i.Unlock()
}

// all returns the topics by name.
func (d *directory) all() []*topic {
	var list []*topic
	for i := range d.names {
		s := &d.names[i]
		s.RLock()
		for _, t := range s.topics {
			list = append(list, t)
		}
		s.RUnlock()
	}
	slices.SortFunc(list, func(a, b *topic) int { return strings.Compare(a.name, b.name) })
	return list
}

// replicas yields every replica on this node, by topic and number.
func (d *directory) replicas() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		for _, t := range d.all() {
			for p := range t.all() {
				if !yield(p) {
					return
				}
			}
		}
	}
}

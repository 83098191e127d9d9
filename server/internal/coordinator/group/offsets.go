package group

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// Offset is where a group is in a partition.
type Offset struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
	CommitMs    int64
	ExpireMs    int64 // -1: when the group's retention says so
	TopicID     kafka.TopicID
	// at is the offset of the record: of two commits the one behind the other holds, also when the one before was
	// part of a transaction that ended later.
	at int64
}

// isOf reports whether an offset is of a topic, as far as it is known: what older versions have stored has no id.
func (o *Offset) isOf(topic kafka.TopicID) bool {
	return o.TopicID == topic || o.TopicID == kafka.TopicID{}
}

// kept is an Offset in less room: there may be a million of them, and few have metadata or a time of their own to expire.
type kept struct {
	Offset, CommitMs, at int64
	TopicID              kafka.TopicID
	LeaderEpoch          int32
	more                 *more // nil: no metadata, and the group's retention
}

type more struct {
	metadata string
	expireMs int64
}

func (o *Offset) keep() kept {
	k := kept{Offset: o.Offset, CommitMs: o.CommitMs, at: o.at, TopicID: o.TopicID, LeaderEpoch: o.LeaderEpoch}
	if o.Metadata != "" || o.ExpireMs != -1 {
		k.more = &more{o.Metadata, o.ExpireMs}
	}
	return k
}

func (k *kept) offset() Offset {
	o := Offset{Offset: k.Offset, CommitMs: k.CommitMs, at: k.at, TopicID: k.TopicID, LeaderEpoch: k.LeaderEpoch, ExpireMs: -1}
	if k.more != nil {
		o.Metadata, o.ExpireMs = k.more.metadata, k.more.expireMs
	}
	return o
}

// partitions, topics and groups nest what is committed.
type (
	partitions struct {
		coordinator.Sorted[int32, kept]
	}
	topics struct {
		coordinator.Sorted[string, *partitions]
	}
)

// offsets are the committed offsets of a shard, and those of open transactions.
type offsets struct {
	journal *coordinator.Journal
	groups  coordinator.Map[string, *topics]
	open    coordinator.Map[int64, *pending] // by producer id
	// pendingIn counts, for a group's partition, the open transactions that have sent an offset of it.
	pendingIn coordinator.Map[place, int]
}

// place is a partition of a group.
type place struct {
	group, topic string
	partition    int32
}

// pending is what one transaction has sent: the last offset for each place.
type pending struct {
	coordinator.Map[place, Offset]
}

func newOffsets(j *coordinator.Journal) offsets {
	return offsets{
		journal: j, groups: coordinator.NewMap[string, *topics](j), open: coordinator.NewMap[int64, *pending](j),
		pendingIn: coordinator.NewMap[place, int](j),
	}
}

// put replays a commit. Within a transaction it waits for the end.
func (o *offsets) put(at, producerID int64, key *wire.OffsetCommitKey, v *wire.OffsetCommitValue) {
	where := place{key.Group, key.Topic, key.Partition}
	committed := Offset{
		Offset: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata, CommitMs: v.CommitTimestamp,
		ExpireMs: v.ExpireTimestamp, TopicID: v.TopicID, at: at,
	}
	if producerID == kafka.NoProducerID {
		o.set(where, committed)
		return
	}
	p, _ := o.open.Get(producerID)
	if p == nil {
		p = &pending{coordinator.NewMap[place, Offset](o.journal)}
		o.open.Set(producerID, p)
	}
	if _, sent := p.Get(where); !sent {
		n, _ := o.pendingIn.Get(where)
		o.pendingIn.Set(where, n+1)
	}
	p.Set(where, committed)
}

// end replays the end of a transaction.
func (o *offsets) end(producerID int64, commit bool) {
	p, _ := o.open.Get(producerID)
	if p == nil {
		return
	}
	for where, sent := range p.All() { // the order does not matter: each place comes once
		o.settle(where)
		if now, ok := o.get(where); commit && (!ok || now.at < sent.at) {
			o.set(where, sent)
		}
	}
	o.open.Delete(producerID)
}

func (o *offsets) settle(where place) {
	if n, _ := o.pendingIn.Get(where); n > 1 {
		o.pendingIn.Set(where, n-1)
	} else {
		o.pendingIn.Delete(where)
	}
}

// unstable reports whether an open transaction has sent an offset for a place.
func (o *offsets) unstable(where place) bool {
	_, open := o.pendingIn.Get(where)
	return open
}

// unstableGroup reports whether an open transaction has sent any offset of a group.
func (o *offsets) unstableGroup(group string) bool {
	for where := range o.pendingIn.Keys() {
		if where.group == group {
			return true
		}
	}
	return false
}

func (o *offsets) get(where place) (Offset, bool) {
	t, _ := o.groups.Get(where.group)
	if t == nil {
		return Offset{}, false
	}
	p, _ := t.Get(where.topic)
	if p == nil {
		return Offset{}, false
	}
	k, ok := p.Get(where.partition)
	return k.offset(), ok
}

func (o *offsets) set(where place, committed Offset) {
	t, _ := o.groups.Get(where.group)
	if t == nil {
		t = &topics{coordinator.NewSorted[string, *partitions](o.journal, cmp.Compare[string])}
		o.groups.Set(where.group, t)
	}
	p, _ := t.Get(where.topic)
	if p == nil {
		p = &partitions{coordinator.NewSorted[int32, kept](o.journal, cmp.Compare[int32])}
		t.Set(where.topic, p)
	}
	p.Set(where.partition, committed.keep())
}

// remove replays a tombstone: of what is committed, and of what open transactions have sent.
func (o *offsets) remove(group, topic string, partition int32) {
	where := place{group, topic, partition}
	if o.unstable(where) {
		for _, p := range o.open.All() {
			if _, sent := p.Get(where); sent {
				p.Delete(where)
				o.settle(where)
			}
		}
	}
	t, _ := o.groups.Get(group)
	if t == nil {
		return
	}
	p, _ := t.Get(topic)
	if p == nil {
		return
	}
	p.Delete(partition)
	if p.Len() == 0 {
		t.Delete(topic)
	}
	if t.Len() == 0 {
		o.groups.Delete(group)
	}
}

// of lists what a group has committed, by topic and partition. It must not be changed meanwhile.
func (o *offsets) of(group string) iter.Seq2[place, Offset] {
	return func(yield func(place, Offset) bool) {
		t, _ := o.groups.Get(group)
		if t == nil {
			return
		}
		for topic, p := range t.All() {
			for partition, committed := range p.All() {
				if !yield(place{group, topic, partition}, committed.offset()) {
					return
				}
			}
		}
	}
}

// places lists where a group has committed or an open transaction has sent an offset for it.
func (o *offsets) places(group string) []place {
	all := map[place]bool{}
	for where := range o.of(group) {
		all[where] = true
	}
	for where := range o.pendingIn.Keys() {
		if where.group == group {
			all[where] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), comparePlaces)
}

// find lists where any group has committed an offset of some topics, or an open transaction has sent one, that is of such
// a topic. There may be a million of them, of which few or none are found.
func (o *offsets) find(topics suspects, such func(name string, of kafka.TopicID) bool) []place {
	var found []place
	look := func(group, topic string, p *partitions) {
		for partition, committed := range p.All() {
			if such(topic, committed.TopicID) {
				found = append(found, place{group, topic, partition})
			}
		}
	}
	for group, read := range o.groups.All() {
		if len(topics) < read.Len() {
			for topic := range topics {
				if p, _ := read.Get(topic); p != nil {
					look(group, topic, p)
				}
			}
			continue
		}
		for topic, p := range read.All() {
			if topics[topic] != nil {
				look(group, topic, p)
			}
		}
	}
	for _, p := range o.open.All() {
		for where, sent := range p.All() {
			if topics[where.topic] != nil && such(where.topic, sent.TopicID) {
				found = append(found, where)
			}
		}
	}
	slices.SortFunc(found, comparePlaces)
	return slices.Compact(found)
}

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

// tombstone is the record that deletes an offset.
func (p place) tombstone() coordinator.Record {
	return coordinator.Record{Key: &wire.OffsetCommitKey{Group: p.group, Topic: p.topic, Partition: p.partition}}
}

// commitVersion is the version of stored offsets: 1 is the last that has a time of expiration of its own.
const commitVersion = 4

// record is a commit as it is stored.
func (p place) record(committed Offset) coordinator.Record {
	v := wire.NewOffsetCommitValue()
	v.Offset, v.LeaderEpoch, v.Metadata = committed.Offset, committed.LeaderEpoch, committed.Metadata
	v.CommitTimestamp, v.ExpireTimestamp, v.TopicID = committed.CommitMs, committed.ExpireMs, committed.TopicID
	version := int16(commitVersion)
	if committed.ExpireMs >= 0 {
		version = 1
	}
	return coordinator.Record{Key: &wire.OffsetCommitKey{Group: p.group, Topic: p.topic, Partition: p.partition}, Value: v, Version: version}
}

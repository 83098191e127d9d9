package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// check judges after every event.
func (w *world) check() {
	w.ledger.catchUp()
	w.checkOwners()
	w.checkOpen()
}

// checkOwners: of the members of a consumer group, as far as the coordinator counts them, no two take a partition for
// their own.
func (w *world) checkOwners() {
	type held struct {
		group string
		owned
	}
	holders := map[held]string{}
	for _, m := range w.members {
		c := m.connection()
		var id string
		var has []owned
		missed := int32(-1) // the generation of a static member of the classic protocol, which may have missed a later one
		switch m := m.(type) {
		case *consumerMember:
			id, has = m.id, m.owned
		case *classicMember:
			id, has = m.id, m.byID
			if m.instance != nil {
				missed = m.generation
			}
		}
		epoch, counts := w.ledger.members[memberKey(c.in.name, id)]
		if c.dead || !counts || missed >= 0 && missed < epoch {
			continue // fenced, and about to hear of it
		}
		for _, o := range has {
			key := held{c.in.name, o}
			if other, taken := holders[key]; taken {
				w.fail("a partition has one owner", "%s and %s of %s both own %s/%d", other, c.name, c.in.name, w.nameOf(o.topic), o.index)
			}
			holders[key] = c.name
		}
	}
}

// checkOpen: nobody waits for longer than a write and the group's own phases may take.
func (w *world) checkOpen() {
	w.open = slices.DeleteFunc(w.open, func(o *open) bool { return o.answered })
	if !w.up {
		return
	}
	for _, o := range w.open {
		if w.now-w.slept > o.due && w.now >= w.asleepUntil {
			w.fail("every request is answered in time", "%s is not answered", o.what)
		}
	}
}

// acknowledged: a commit is answered only when its record is committed.
func (w *world) acknowledged(where place, offset int64) {
	w.ledger.catchUp()
	w.report.Commits++
	if _, committed := w.ledger.at[offset]; !committed {
		w.fail("nothing is answered before it is committed", "%s: commit %d was acknowledged", where, offset)
	}
}

// reached: a member is told only of an epoch that is committed.
func (w *world) reached(g *theGroup, member string, epoch int32) {
	w.ledger.catchUp()
	g.newestID, g.newestEpoch = member, epoch
	if _, reached := w.ledger.reached[reachedKey(memberKey(g.name, member), epoch)]; !reached {
		w.fail("nothing is answered before it is committed", "%s of %s was told of epoch %d", member, g.name, epoch)
	}
}

// assigned: a partition has one owner in a generation, which is committed. A static member is its instance id, whatever
// its member id is.
func (w *world) assigned(g *theGroup, member, identity string, generation int32, partitions []string) {
	w.ledger.catchUp()
	g.newestID, g.newestEpoch = member, generation
	since, reached := w.ledger.reached[reachedKey(g.name, generation)]
	if !reached {
		since, reached = w.ledger.reached[reachedKey(memberKey(g.name, member), generation)]
	}
	if !reached {
		w.fail("nothing is answered before it is committed", "%s of %s got its assignment of generation %d", member, g.name, generation)
	}
	for _, of := range partitions {
		key := ownerKey(fmt.Sprintf("%s, deleted at %d,", g.name, since), generation, of)
		if other, taken := w.owners[key]; taken && other != identity {
			w.fail("a partition has one owner", "%s and %s both got %s of %s in generation %d", other, identity, of, g.name, generation)
		}
		w.owners[key] = identity
	}
}

// checkFetched: what is fetched is committed, and no older than what was committed when the request came.
func (w *world) checkFetched(group string, floor map[place]commit, r *wire.OffsetFetchResponseGroups) {
	w.ledger.catchUp()
	fetched := map[place]bool{}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			where := place{group, t.Name, p.PartitionIndex}
			fetched[where] = true
			at, committed := w.ledger.at[p.CommittedOffset]
			if !committed {
				w.fail("nothing is answered before it is committed", "%s: %d was fetched", where, p.CommittedOffset)
			}
			if f, known := floor[where]; known && at < f.at {
				w.fail("an acknowledged commit is never lost", "%s: %d was fetched, and %d had been committed", where, p.CommittedOffset, f.offset)
			}
		}
	}
	for where, f := range floor {
		if erased, was := w.ledger.erased[where]; !fetched[where] && !(was && erased > f.at) {
			w.fail("an acknowledged commit is never lost", "%s: nothing was fetched, and %d had been committed", where, f.offset)
		}
	}
}

// checkAsked judges the answer to who asked for offsets of topics by their ids: none is of a topic that had the name before.
func (w *world) checkAsked(asked []wire.OffsetFetchRequestGroupsTopics, r *wire.OffsetFetchResponseGroups) {
	w.ledger.catchUp()
	for i, t := range r.Topics {
		for _, p := range t.Partitions {
			if p.CommittedOffset != kafka.NoOffset && w.ledger.topicOf[p.CommittedOffset] != asked[i].TopicID {
				w.fail("a topic has its own offsets", "%d was fetched of %s %x, and is of %x", p.CommittedOffset, t.Name, asked[i].TopicID[15], w.ledger.topicOf[p.CommittedOffset][15])
			}
		}
	}
}

// checkForgotten: when a topic is deleted, so are its offsets, wherever the coordinator can write that.
func (w *world) checkForgotten(id kafka.TopicID) {
	if !w.up {
		return
	}
	for _, g := range w.groups {
		if w.of(g.name).log.Refuse != nil {
			continue
		}
		w.c.OffsetFetch(&wire.OffsetFetchRequestGroups{GroupID: g.name, MemberEpoch: -1}, false, func(r *wire.OffsetFetchResponseGroups, err error) {
			if err != nil {
				return
			}
			w.ledger.catchUp()
			for _, t := range r.Topics {
				for _, p := range t.Partitions {
					if w.ledger.topicOf[p.CommittedOffset] == id {
						w.fail("a deleted topic has no offsets", "%s is still at %d of %s/%d", g.name, p.CommittedOffset, t.Name, p.PartitionIndex)
					}
				}
			}
		})
	}
}

// checkDeleted: when the deletion of a group is answered, it is committed.
func (w *world) checkDeleted(g *theGroup, floor int64) {
	w.ledger.catchUp()
	w.report.Deletions++
	if w.ledger.deleted[g.name] < floor {
		w.fail("nothing is answered before it is committed", "the deletion of %s was acknowledged", g.name)
	}
}

// checkReload loads what is committed, or what the cleaner may leave of that, into a second coordinator, and compares. It
// can be done only for partitions in which nothing is in flight.
func (w *world) checkReload() {
	if !w.up || w.now < w.asleepUntil {
		return
	}
	still := func(s *shard) bool { return s.leads && s.log.Waiting() == 0 && s.log.Refuse == nil }
	second := w.coordinator(func(partition, _ int32) (coordinator.Log, error) {
		s := w.shards[partition]
		if !still(s) {
			return nil, kafka.NotLeaderOrFollower
		}
		log := &memlog.Log{Batches: slices.Clone(s.log.Batches), End: s.log.End, High: s.log.High, Direct: true}
		if w.chance(0.5) { // the cleaner may have been there
			if err := log.Compact(w.dice.Int64N(log.High+1), func([]byte) bool { return w.chance(0.5) }); err != nil {
				w.fail("what is committed can be read", "%v", err)
			}
		}
		return log, nil
	}, func(load func()) { load() })
	delta := metadata.NewDelta(metadata.Empty())
	w.replay(delta, w.records)
	second.Publish(delta.Apply(int64(len(w.records)), 1, 0), delta)
	defer second.End()
	compared := false
	for _, g := range w.groups {
		before, ready := look(w.c, g)
		if !ready || !still(w.of(g.name)) {
			continue
		}
		after, loaded := look(second, g)
		if !loaded {
			w.fail("a reload finds the state that was", "%s is not there after it", g.name)
			return
		}
		compared = true
		if !maps.Equal(before.offsets, after.offsets) {
			w.fail("a reload finds the state that was", "offsets of %s: %v, and after it %v", g.name, before.offsets, after.offsets)
		}
		// The members of a classic group are stored when it is stable. One that nobody knows to lead is called to join anew.
		called := before.kind == group.Classic && after.state == "PreparingRebalance" && w.ledger.leaderless[g.name]
		if (before.kind == group.Consumer || before.state == "Stable" && !called) && before.members != after.members {
			w.fail("a reload finds the state that was", "members of %s: %s, and after it %s", g.name, before.members, after.members)
		}
		want := map[string]int64{}
		for where, c := range w.ledger.positions(g.name) {
			want[fmt.Sprintf("%s/%d", where.topic, where.partition)] = c.offset
		}
		if !maps.Equal(want, before.offsets) {
			w.fail("an acknowledged commit is never lost", "%s: committed are %v, and the coordinator knows %v", g.name, want, before.offsets)
		}
	}
	if compared {
		w.report.Reloads++
	}
}

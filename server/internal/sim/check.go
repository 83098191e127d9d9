package sim

import (
	"fmt"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/coordinator"
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
		m, ok := m.(*consumerMember)
		if !ok || m.dead {
			continue
		}
		if _, counts := w.ledger.members[memberKey(m.in.name, m.id)]; !counts {
			continue // fenced, and about to hear of it
		}
		for _, o := range m.owned {
			key := held{m.in.name, o}
			if other, taken := holders[key]; taken {
				w.fail("a partition has one owner", "%s and %s of %s both own %s/%d", other, m.name, m.in.name, w.nameOf(o.topic), o.index)
			}
			holders[key] = m.name
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
	if !w.ledger.reached[reachedKey(memberKey(g.name, member), epoch)] {
		w.fail("nothing is answered before it is committed", "%s of %s was told of epoch %d", member, g.name, epoch)
	}
}

// assigned: a partition has one owner in a generation, which is committed.
func (w *world) assigned(g *theGroup, member string, generation int32, partitions []string) {
	w.ledger.catchUp()
	g.newestID, g.newestEpoch = member, generation
	if !w.ledger.reached[reachedKey(g.name, generation)] {
		w.fail("nothing is answered before it is committed", "%s of %s got its assignment of generation %d", member, g.name, generation)
	}
	for _, of := range partitions {
		key := ownerKey(g.name, generation, of)
		if other, taken := w.owners[key]; taken && other != member {
			w.fail("a partition has one owner", "%s and %s both got %s of %s in generation %d", other, member, of, g.name, generation)
		}
		w.owners[key] = member
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

// checkReload loads what is committed into a second coordinator, and compares. It can be done only while nothing is in
// flight.
func (w *world) checkReload() {
	if !w.up || !w.leads || w.now < w.asleepUntil || w.log.Waiting() > 0 || w.log.Refuse != nil {
		return
	}
	log := &memlog.Log{Batches: slices.Clone(w.log.Batches), End: w.log.End, High: w.log.High, Direct: true}
	second := w.coordinator(func(int32, int32) (coordinator.Log, error) { return log, nil }, func(load func()) { load() })
	delta := metadata.NewDelta(metadata.Empty())
	w.replay(delta, w.records)
	second.Publish(delta.Apply(int64(len(w.records)), 1, 0), delta)
	defer second.End()
	compared := false
	for _, g := range w.groups {
		before, ready := look(w.c, g)
		after, loaded := look(second, g)
		if !ready {
			return
		}
		if !loaded {
			w.fail("a reload finds the state that was", "%s is not there after it", g.name)
			return
		}
		compared = true
		if !maps.Equal(before.offsets, after.offsets) {
			w.fail("a reload finds the state that was", "offsets of %s: %v, and after it %v", g.name, before.offsets, after.offsets)
		}
		// The members of a classic group are stored when it is stable.
		if (g.consumer || before.state == "Stable") && before.members != after.members {
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

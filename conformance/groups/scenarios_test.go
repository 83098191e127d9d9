package groups

import (
	"slices"
	"testing"
	"time"
)

// each runs a scenario with one library after the other, each with a topic of its own.
func each(t *testing.T, libraries []string, scenario func(t *testing.T, addr, library string)) {
	addr := server(t)
	for _, library := range libraries {
		t.Run(library, func(t *testing.T) {
			t.Parallel()
			scenario(t, addr, library)
		})
	}
}

var both = []string{"franz-go", "confluent-kafka-go"}

// Two partitions and two consumers in one group: one each.
func TestTwoConsumersShareTwoPartitions(t *testing.T) {
	each(t, []string{"franz-go", "confluent-kafka-go", "sarama", "kafka-go"}, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "two."+library, 2)
		top.write(t, 50)
		g := newGroup(t, top, "two."+library, spec{assignor: "range"})
		a, b := library+"/a", library+"/b"
		g.join(t, a, b)
		g.shared(t, 1, a, b)
		top.write(t, 50)
		g.finish(t, a, b)
	})
}

// Two partitions, one producer, three consumers in two groups: each group gets all of it.
func TestTwoGroupsReadEachForItself(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "groups."+library, 2)
		one, two := newGroup(t, top, "one."+library, spec{assignor: "roundrobin"}), newGroup(t, top, "other."+library, spec{assignor: "range"})
		a, b, c := library+"/a", library+"/b", library+"/c"
		one.join(t, a, b)
		two.join(t, c)
		one.shared(t, 1, a, b)
		two.shared(t, 2, c)
		top.write(t, 100)
		one.finish(t, a, b)
		two.finish(t, c)
	})
}

// One polls, several work, and what is committed has no hole: a history says so if it has.
func TestWorkersCommitInOrder(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "workers."+library, 2)
		top.write(t, 300)
		g := newGroup(t, top, "workers."+library, spec{assignor: "range", workers: 4})
		a, b := library+"/a", library+"/b"
		g.join(t, a)
		g.await(t, "a first commit", func(h history) bool { return h.acknowledged(0)+h.acknowledged(1) > 0 })
		g.join(t, b) // takes a partition away in the middle of the work
		g.shared(t, 1, a, b)
		top.write(t, 100)
		g.finish(t, a, b)
	})
}

// With more consumers than partitions some have none, until one is needed.
func TestMoreConsumersThanPartitions(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "more."+library, 2)
		top.write(t, 20)
		g := newGroup(t, top, "more."+library, spec{assignor: "range"})
		members := []string{library + "/a", library + "/b", library + "/c"}
		g.join(t, members...)
		described := func(n int) func(history) bool {
			return func(h history) bool {
				groups, err := g.admin.DescribeGroups(t.Context(), g.id)
				return err == nil && groups[g.id].State == "Stable" && len(groups[g.id].Members) == n
			}
		}
		g.shared(t, 0, members...)
		g.await(t, "a group of three", described(3))
		g.shared(t, 0, members...)
		g.mu.Lock()
		owned := g.history.owned()
		g.mu.Unlock()
		busy := slices.IndexFunc(members, func(m string) bool { return len(owned[m]) > 0 })
		g.leave(t, members[busy])
		left := slices.Delete(slices.Clone(members), busy, busy+1)
		g.shared(t, 1, left...)
		top.write(t, 20)
		g.finish(t, left...)
	})
}

// A consumer dies without a word: after its session timeout, and not before, another has its partitions.
func TestTheDeadAreReplaced(t *testing.T) {
	const session = 3 * time.Second
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "dies."+library, 2)
		top.write(t, 50)
		g := newGroup(t, top, "dies."+library, spec{assignor: "range", session: session})
		a, b := library+"/a", library+"/b"
		g.join(t, a, b)
		g.shared(t, 1, a, b)
		g.readAll(t)
		died := time.Now()
		g.kill(t, a)
		top.write(t, 50)
		g.shared(t, 2, b)
		// Its last heartbeat was at most one interval before it died.
		if took := time.Since(died); took < session-g.spec.heartbeat-200*time.Millisecond {
			t.Errorf("its partition moved after %v, before its session of %v was over", took, session)
		}
		g.finish(t, b)
	})
}

// A new one joins and takes its share.
func TestTheNewGetTheirShare(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "new."+library, 6)
		top.write(t, 20)
		g := newGroup(t, top, "new."+library, spec{assignor: "roundrobin"})
		a, b, c := library+"/a", library+"/b", library+"/c"
		g.join(t, a)
		g.shared(t, 6, a)
		g.join(t, b)
		g.shared(t, 3, a, b)
		g.join(t, c)
		g.shared(t, 2, a, b, c)
		top.write(t, 20)
		g.finish(t, a, b, c)
	})
}

// With cooperative-sticky a member gives up what another gets, and goes on with the rest.
func TestCooperativeMembersGoOn(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "cooperative."+library, 6)
		top.write(t, 20)
		g := newGroup(t, top, "cooperative."+library, spec{assignor: "cooperative-sticky"})
		a, b := library+"/a", library+"/b"
		g.join(t, a)
		g.shared(t, 6, a)
		g.join(t, b)
		g.shared(t, 3, a, b)
		g.mu.Lock()
		given := map[string]int{}
		for _, e := range g.history {
			given[e.member+" "+e.kind] += len(e.partitions)
		}
		g.mu.Unlock()
		if given[a+" revoked"] != 3 || given[a+" assigned"] != 6 {
			t.Errorf("the first was given %d partitions and gave up %d, want 6 and 3", given[a+" assigned"], given[a+" revoked"])
		}
		top.write(t, 20)
		g.finish(t, a, b)
	})
}

// A static member that dies and comes back within its session has its partitions again, and nobody else notices.
func TestStaticMembersComeBack(t *testing.T) {
	each(t, both, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "static."+library, 4)
		top.write(t, 20)
		g := newGroup(t, top, "static."+library, spec{assignor: "range", session: 30 * time.Second})
		a, b := library+"/a", library+"/b"
		for _, name := range []string{a, b} {
			s := g.spec
			s.instance = name[len(name)-1:]
			g.joinAs(t, name, s)
		}
		g.shared(t, 2, a, b)
		g.readAll(t)
		g.mu.Lock()
		mine, moves := g.history.owned()[a], g.history.moves(b)
		g.mu.Unlock()
		g.kill(t, a)
		top.write(t, 20)
		s := g.spec
		s.instance = "a"
		g.joinAs(t, a, s)
		g.shared(t, 2, a, b)
		g.readAll(t)
		g.mu.Lock()
		again, after := g.history.owned()[a], g.history.moves(b)
		g.mu.Unlock()
		if !slices.Equal(mine, again) || moves != after {
			t.Errorf("it had %v and has %v; the other's assignment changed %d times, %d before", mine, again, after, moves)
		}
		g.finish(t, a, b)
	})
}

package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
)

// minEvents is how many events a run has at least.
const minEvents = 500

// healsWithin is how long after the chaos everything is stable at the latest: a member that died while it joined for the
// first time is waited for, and so is one that was told to give up partitions; then it takes two rebalances.
const healsWithin = 2 * time.Minute

// begin builds the world.
func (w *world) begin() {
	w.config = w.settings()
	w.segmentBytes = pick(w, []int64{16 << 10, 64 << 10, 1 << 20})
	w.topics, w.asked = map[string]kafka.TopicID{}, map[string]time.Duration{}
	w.records = []wire.Message{&wire.TopicRecord{Name: group.Topic, TopicID: groupsID}}
	onDisk := w.chance(0.5) || w.bug == LeavesUnsynced
	for i := range 1 + w.dice.IntN(3) {
		s := &shard{w: w, index: int32(i), log: &memlog.Log{}}
		w.shards = append(w.shards, s)
		if onDisk {
			s.disk = newDisk(s)
		}
		s.lead(true)
	}
	w.start()
	for i := range 1 + w.dice.IntN(3) {
		w.createTopic(fmt.Sprintf("t%d", i), 1+w.dice.IntN(4))
	}
	for i := range 1 + w.dice.IntN(3) {
		g := &theGroup{name: fmt.Sprintf("g%d", i), protocol: pick(w, []protocol{classic, consumer, either}), topics: []string{"t0", "t1", "t2"}[:1+w.dice.IntN(3)]}
		w.groups = append(w.groups, g)
		for range 1 + w.dice.IntN(3) {
			w.addMember(g)
		}
	}
	w.plan()
}

// plan plans the next trouble, or the end of it.
func (w *world) plan() {
	w.after(w.between(200*time.Millisecond, 4*time.Second), func() {
		r := w.report
		if r.Events >= minEvents && r.Crashes > 0 && r.LostLeaderships > 0 && r.Deaths > 0 {
			w.heal()
			return
		}
		w.disturb()
		w.plan()
	})
}

// living lists the members of a group that are not dead.
func (w *world) living(g *theGroup) []member {
	var list []member
	for _, m := range w.members {
		if c := m.connection(); c.in == g && !c.dead {
			list = append(list, m)
		}
	}
	return list
}

func (w *world) addMember(g *theGroup) {
	g.members++
	c := client{w: w, name: fmt.Sprintf("%s-m%d", g.name, g.members), in: g, topics: g.topics}
	if w.chance(0.2) {
		c.topics = g.topics[:1]
	}
	if w.chance(0.3) {
		instance := pick(w, []string{"i1", "i2"})
		c.instance = &instance
	}
	var m member
	if g.protocol == consumer || g.protocol == either && w.chance(0.5) {
		if w.chance(0.25) {
			c.regex = pick(w, regexes)
		}
		m = &consumerMember{client: c, id: c.name, whole: true}
	} else {
		if c.instance != nil {
			c.topics = g.topics // see resubscribe
		}
		m = &classicMember{client: c}
	}
	w.say("%s comes as %q, a %T, and reads %v", c.name, c.instanceID(), m, m.connection().reads())
	w.members = append(w.members, m)
	m.connection().later(w.between(time.Millisecond, time.Second), m.step)
}

// disturb does one thing.
func (w *world) disturb() {
	g := pick(w, w.groups)
	here := w.living(g)
	awake := w.up && w.now >= w.asleepUntil
	s := pick(w, w.shards)
	switch n := w.dice.IntN(100); {
	case n < 15 && len(here) > 0:
		c := pick(w, here).connection()
		w.say("%s dies", c.name)
		c.dead = true
		w.report.Deaths++
	case n < 20 && len(here) > 0:
		m := pick(w, here)
		w.say("%s leaves", m.connection().name)
		m.leave()
	case n < 30 && len(here) > 0:
		c := pick(w, here).connection()
		c.hungUntil = w.now + w.between(time.Second, 2*sessionTimeout)
		w.say("%s hangs until %.3fs", c.name, c.hungUntil.Seconds())
	case n < 33 && len(here) > 0:
		w.say("%s: all die", g.name)
		for _, m := range here {
			m.connection().dead = true
			w.report.Deaths++
		}
	case n < 50 && len(here) < 4:
		w.addMember(g)
	case n < 58 && awake:
		w.crash()
	case n < 66 && awake && s.leads:
		w.loseLeadership(s)
	case n < 72:
		w.refuse(s)
	case n < 78:
		w.say("syncs are slow")
		w.slow = true
		w.after(w.between(time.Second, 15*time.Second), func() { w.slow = false })
	case n < 84 && awake:
		w.changeTopics()
	case n < 88 && awake:
		d := w.between(time.Second, 3*sessionTimeout)
		w.say("the process sleeps for %v", d.Round(time.Millisecond))
		w.asleepUntil, w.slept = w.now+d, w.slept+d
	case n < 91:
		w.deleteGroup(&client{w: w, name: "admin", in: g})
	case n < 93:
		w.deleteOffsets(&client{w: w, name: "admin", in: g})
	case n < 96 && len(here) > 0:
		pick(w, here).resubscribe()
	default:
		if len(here) > 0 {
			w.fetch(&client{w: w, name: "admin", in: g})
		}
	}
	if w.chance(0.2) {
		w.checkReload()
	}
}

// refuse lets a log refuse appends for a while.
func (w *world) refuse(s *shard) {
	why := pick(w, []kafka.ErrorCode{kafka.NotEnoughReplicas, kafka.KafkaStorageError})
	w.say("appends to partition %d are refused: %v", s.index, why)
	s.log.Refuse = why
	w.after(w.between(100*time.Millisecond, 5*time.Second), func() { s.log.Refuse = nil })
}

func (w *world) changeTopics() {
	name := pick(w, []string{"t0", "t1", "t2"})
	_, there := w.topics[name]
	switch {
	case !there:
		w.createTopic(name, 1+w.dice.IntN(4))
		for _, g := range w.groups { // who comes upon the topic asks where to begin
			w.fetchByID(&client{w: w, name: "admin", in: g})
		}
	case w.partitionsOf(name) < 8 && w.chance(0.6):
		w.createTopic(name, 1+w.dice.IntN(2))
	default:
		w.deleteTopic(name)
	}
}

// heal ends the chaos; from then on it is looked again and again whether all is stable.
func (w *world) heal() {
	w.say("everything heals")
	w.chaos, w.slow = false, false
	for _, s := range w.shards {
		s.log.Refuse = nil
	}
	w.await(w.now + healsWithin + max(0, w.asleepUntil-w.now))
}

func (w *world) await(until time.Duration) {
	for _, g := range w.groups {
		if len(w.living(g)) == 0 {
			w.addMember(g)
		}
	}
	w.after(2*time.Second, func() {
		missing := w.unstable()
		if missing == "" {
			w.checkReload()
			w.stable = w.now
			w.say("all is stable")
			return
		}
		if w.now > until {
			w.fail("when everything has healed, every group is stable", "%s", missing)
			return
		}
		w.await(until)
	})
}

// unstable says what is not as it is to be in the end, nothing when all is.
func (w *world) unstable() string {
	if !w.up || w.now < w.asleepUntil || slices.ContainsFunc(w.shards, func(s *shard) bool { return !s.leads }) {
		return "the node is not up"
	}
	for _, g := range w.groups {
		v, ready := look(w.c, g)
		if !ready || v.state != "Stable" {
			return fmt.Sprintf("%s is %q: %s", g.name, v.state, v.members)
		}
		for where, offset := range v.offsets {
			topic, _ := parsePlace(where)
			if id, there := w.topics[topic]; there && w.ledger.topicOf[offset] != id {
				return fmt.Sprintf("%s is at %d of %s, which is of a topic that had the name before", g.name, offset, where)
			}
		}
		var have, want []string
		for _, m := range w.living(g) {
			if !m.settled() {
				return m.connection().name + " is not settled"
			}
			for _, of := range m.owns() { // what is left of a topic that is gone takes nothing from anybody
				if topic, _ := parsePlace(of); w.partitionsOf(topic) > 0 {
					have = append(have, of)
				}
			}
			for _, t := range m.connection().reads() {
				for p := range w.partitionsOf(t) {
					want = append(want, fmt.Sprintf("%s/%d", t, p))
				}
			}
		}
		slices.Sort(have)
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(have, want) {
			return fmt.Sprintf("%s reads %v and owns %v: %s", g.name, want, have, v.members)
		}
	}
	return ""
}

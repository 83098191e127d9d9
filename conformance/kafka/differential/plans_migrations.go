package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Groups that go from one protocol to the other while they have members (KIP-848). The moves are the same whatever
// group.consumer.migration.policy says: where it does not let a group go, requests are refused, and what follows is asked
// all the same.
//
// Apache Kafka goes through members in the order of hash tables, and those of the classic protocol have ids that the
// server makes up. So what is to be assigned is such that every order comes to the same, or static members are assigned by
// range, which sorts by the ids of instances.

// says is what a consumer of the classic protocol tells the coordinator: what it reads, and what it has.
func (s *Side) says(m *member) []byte {
	said := wire.NewConsumerProtocolSubscription()
	said.Topics = []string{m.topic}
	for _, t := range s.owned[m.name] {
		said.OwnedPartitions = append(said.OwnedPartitions, wire.ConsumerProtocolSubscriptionOwnedPartitions{Topic: m.topic, Partitions: t.Partitions})
	}
	return said.AppendTo([]byte{0, 1}, 1)
}

// hears notes what a member of the classic protocol was given.
func (s *Side) hears(m *member, r *wire.SyncGroupResponse) {
	s.owned[m.name] = nil
	if r.ErrorCode != kafka.None || len(r.Assignment) < 2 {
		return
	}
	given := wire.NewConsumerProtocolAssignment()
	given.Decode(wire.NewReader(r.Assignment[2:]), 1)
	for _, t := range given.AssignedPartitions {
		s.owned[m.name] = append(s.owned[m.name], wire.ConsumerGroupHeartbeatRequestTopicPartitions{TopicID: s.TopicIDs[t.Topic], Partitions: t.Partitions})
	}
}

// gives is what a leader of the classic protocol gives a member.
func gives(t *topic, partitions ...int32) string {
	a := &wire.ConsumerProtocolAssignment{AssignedPartitions: []wire.ConsumerProtocolAssignmentAssignedPartitions{{Topic: t.name, Partitions: partitions}}}
	return string(a.AppendTo([]byte{0, 1}, 1))
}

// speaks is a join of a member that says what it has.
func speaks(m *member) func(s *Side, r *wire.JoinGroupRequest) {
	return func(s *Side, r *wire.JoinGroupRequest) {
		r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: s.says(m)}, {Name: "cooperative-sticky", Metadata: s.says(m)}}
	}
}

// enter lets a member of the classic protocol join, and ask for what it is given; give is what it gives as a leader.
func (w *world) enter(m *member, give map[*member]string) {
	w.joinSaying(m, speaks(m))
	w.syncs(m, give)
}

// enterAgain is enter for a member that is there. It says what it has, unless it is an eager one, which has given up
// everything.
func (w *world) enterAgain(m *member, give map[*member]string) {
	change := speaks(m)
	if w.IntN(3) == 0 {
		change = func(s *Side, r *wire.JoinGroupRequest) {
			s.owned[m.name] = nil
			speaks(m)(s, r)
		}
	}
	version := w.at(wire.KeyJoinGroup)
	if m.instance != nil {
		version = max(version, 5)
	}
	w.joinAt(m, version, change)
	w.syncs(m, give)
}

func (w *world) syncs(m *member, give map[*member]string) {
	w.syncAs(m, give, nil).After = func(s *Side, answer wire.Message) { s.hears(m, answer.(*wire.SyncGroupResponse)) }
}

// upgrades reports whether a group with members may go to the consumer protocol.
func (w *world) upgrades() bool { return w.policy != "disabled" && w.policy != "downgrade" }

// see asks for everything that there is to know of a group, of whichever kind it is.
func (w *world) see(group string, t *topic) {
	w.describeConsumers(group)
	w.look(group, t)
}

// restarted is a member of the same instance id as one that there was.
func (w *world) restarted(m *member, id string) *member {
	return &member{group: m.group, name: w.name(), id: id, instance: m.instance, topic: m.topic}
}

// pair is a stable group of two members of the classic protocol.
func (w *world) pair(a, b *member, t *topic, ofA, ofB []int32) {
	w.enter(a, map[*member]string{a: gives(t, append(ofA, ofB...)...)})
	w.joinSaying(b, speaks(b)).Hold = true
	w.add(Step{What: "await the rebalance", Settle: inState(a.group, "PreparingRebalance")})
	w.joinAt(a, max(5, w.at(wire.KeyJoinGroup)), speaks(a))
	w.take(b)
	w.syncs(a, map[*member]string{a: gives(t, ofA...), b: gives(t, ofB...)})
	w.syncs(b, nil)
}

var migrationsValid = []move{
	func(w *world) { // a member of the consumer protocol joins one of the classic protocol, which then goes over, too
		t := w.makeRead(4)
		a := w.member(w.group(), t)
		w.enter(a, map[*member]string{a: gives(t, 0, 1, 2, 3)})
		w.commitAs(a.group, a, t, nil, 0)
		c := w.consumerOf(a.group, "c", t)
		w.consume(c, nil)
		w.see(a.group, t)
		w.commitAs(a.group, a, t, nil, 0, 1)
		w.beat(a, nil)
		w.syncAs(a, nil, nil)
		w.enterAgain(a, nil) // it is told what to give up
		w.see(a.group, t)
		w.beat(a, nil)
		w.owns(c)
		w.enterAgain(a, nil)
		w.beat(a, nil)
		w.owns(c)
		w.see(a.group, t)
		w.commitAs(a.group, a, t, nil, 0)
		w.commitIn(c, t, nil)
		w.leave(a)
		w.describeConsumers(a.group)
		b := w.consumerOf(a.group, "b", t)
		w.consume(b, nil)
		w.see(a.group, t)
		w.owns(c)
		w.owns(b)
		w.commitIn(b, t, nil)
		w.see(a.group, t)
		w.goes(c, -1)
		w.goes(b, -1)
		w.see(a.group, t)
	},
	func(w *world) { // a member of the classic protocol joins one of the consumer protocol, and is left alone
		t := w.makeRead(4)
		c := w.consumerOf(w.group(), "c", t)
		w.consume(c, nil)
		w.owns(c)
		w.commitIn(c, t, nil)
		a := w.member(c.group, t)
		w.enter(a, map[*member]string{a: gives(t, 0, 1, 2, 3)})
		w.see(c.group, t)
		w.commitAs(c.group, a, t, nil, 0)
		w.owns(c)
		w.owns(c)
		w.beat(a, nil)
		w.enterAgain(a, nil)
		w.beat(a, nil)
		w.commitAs(c.group, a, t, nil, 1)
		w.see(c.group, t)
		w.goes(c, -1)
		w.see(c.group, t)
		w.commitAs(c.group, a, t, nil, 0)
		w.beat(a, nil)
		w.enterAgain(a, map[*member]string{a: gives(t, 0, 1, 2, 3)})
		w.beat(a, nil)
		w.commitAs(c.group, a, t, nil, 0, 1)
		w.see(c.group, t)
		w.leave(a)
		w.see(c.group, t)
	},
	func(w *world) { // a static member is started again with the other protocol, and once more with the one that it had
		t := w.makeRead(4)
		a := w.static(w.groupApart("-restarted"), t)
		w.enter(a, map[*member]string{a: gives(t, 0, 1, 2, 3)})
		w.commitAs(a.group, a, t, nil, 0)
		c := w.restarted(a, "c")
		w.consume(c, nil)
		w.see(a.group, t)
		w.beat(a, nil)
		w.commitAs(a.group, a, t, nil, 0)
		w.owns(c)
		w.commitIn(c, t, nil)
		w.see(a.group, t)
		if w.IntN(2) == 0 {
			w.goes(c, -2)
		}
		b := w.restarted(a, "")
		w.enter(b, map[*member]string{b: gives(t, 0, 1, 2, 3)})
		w.see(a.group, t)
		w.consume(c, nil)
		w.commitIn(c, t, nil)
		w.beat(b, nil)
		w.commitAs(a.group, b, t, nil, 0)
		w.leave(b)
		w.see(a.group, t)
	},
	func(w *world) { // two of the classic protocol go over one by one, each as a new member
		t := w.makeRead(6)
		a := w.member(w.group(), t)
		b := w.member(a.group, t)
		w.pair(a, b, t, []int32{0, 1, 2}, []int32{3, 4, 5})
		w.commitAs(a.group, b, t, nil, 3, 4)
		c := w.consumerOf(a.group, "c", t)
		w.consume(c, nil)
		w.see(a.group, t)
		if !w.upgrades() {
			return // the two would wait for each other
		}
		for range 2 {
			for _, m := range []*member{a, b} {
				w.beat(m, nil)
				w.enterAgain(m, nil)
			}
			w.owns(c)
		}
		w.commitAs(a.group, b, t, nil, 3)
		w.see(a.group, t)
		w.leave(a)
		d := w.consumerOf(a.group, "d", t)
		w.consume(d, nil)
		w.beat(b, nil)
		w.enterAgain(b, nil)
		w.owns(c)
		w.owns(d)
		w.commitIn(d, t, nil)
		w.see(a.group, t)
		w.leave(b)
		e := w.consumerOf(a.group, "e", t)
		w.consume(e, nil)
		for _, m := range []*member{c, d, e} {
			w.owns(m)
		}
		w.see(a.group, t)
	},
	func(w *world) { // and back: two of the consumer protocol become two of the classic one
		t := w.makeRead(4)
		g := w.group()
		c, d := w.consumerOf(g, "c", t), w.consumerOf(g, "d", t)
		w.consume(c, nil)
		w.consume(d, nil)
		for range 2 {
			w.owns(c)
			w.owns(d)
		}
		w.commitIn(d, t, nil)
		w.goes(c, -1)
		a := w.member(g, t)
		w.enter(a, nil)
		w.see(g, t)
		w.owns(d)
		w.goes(d, -1)
		w.see(g, t)
		w.enterAgain(a, map[*member]string{a: gives(t, 0, 1, 2, 3)})
		w.beat(a, nil)
		w.commitAs(g, a, t, nil, 1)
		w.see(g, t)
	},
	func(w *world) { // who waits for a rebalance of the classic protocol when one of the other comes
		t := w.makeRead(6)
		a := w.static(w.group(), t)
		b := w.static(a.group, t)
		w.enter(a, map[*member]string{a: gives(t, 0, 1, 2, 3, 4, 5)})
		w.joinSaying(b, speaks(b)).Hold = true
		w.add(Step{What: "await the rebalance", Settle: inState(a.group, "PreparingRebalance")})
		c := w.consumerOf(a.group, "c", t)
		w.consume(c, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("range") })
		w.see(a.group, t)
		w.beat(a, nil)
		w.enterAgain(a, nil)
		w.take(b)
		w.commitAs(a.group, a, t, nil, 0)
		w.owns(c)
		w.see(a.group, t)
	},
	func(w *world) { // groups that nobody is in any more: the offsets stay
		g, t := w.group(), w.makeRead(2)
		a := w.member(g, t)
		w.enter(a, map[*member]string{a: gives(t, 0, 1)})
		w.commitAs(g, a, t, nil, 0, 1)
		w.leave(a)
		c := w.consumerOf(g, "c", t)
		w.consume(c, nil)
		w.see(g, t)
		w.commitIn(c, t, nil)
		w.goes(c, -1)
		w.see(g, t)
		b := w.member(g, t)
		w.enter(b, map[*member]string{b: gives(t, 0, 1)})
		w.see(g, t)
		w.commitAs(g, b, t, nil, 0)
		w.leave(b)
		w.see(g, t)
		w.deleteGroups(g)
		w.see(g, t)
	},
}

var migrationsBad = []move{
	func(w *world) { // groups of the classic protocol that cannot go over, and some that go and come back before anybody was called
		t := w.makeRead(2)
		const unsynced = "its leader did not say yet"
		for _, odd := range []struct {
			join func(s *Side, r *wire.JoinGroupRequest)
			give string
		}{
			{func(s *Side, r *wire.JoinGroupRequest) { r.ProtocolType = "connect" }, ""},
			{func(s *Side, r *wire.JoinGroupRequest) {
				r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: []byte{0}}}
			}, gives(t, 0)},
			{func(s *Side, r *wire.JoinGroupRequest) {
				r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: []byte{0, 1, 0, 0, 0, 9}}}
			}, gives(t, 0)},
			{nil, gives(t, 0, 1)[:12]},
			{nil, "\x00"},
			{nil, string((&wire.ConsumerProtocolAssignment{UserData: []byte("mine")}).AppendTo([]byte{0, 1}, 1))},
			{nil, unsynced},
		} {
			m := w.static(w.groupApart("-hasty"), t)
			w.joinSaying(m, func(s *Side, r *wire.JoinGroupRequest) {
				speaks(m)(s, r)
				if odd.join != nil {
					odd.join(s, r)
				}
			})
			if odd.give != unsynced {
				w.syncAs(m, map[*member]string{m: odd.give}, func(s *Side, r *wire.SyncGroupRequest) { r.ProtocolType = nil })
			}
			c := w.consumerOf(m.group, "c", t)
			w.consume(c, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("range") })
			w.consume(c, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 1 })
			w.goes(c, -1)
			w.see(m.group, t)
			w.beat(m, nil)
		}
	},
	func(w *world) { // who cannot join a group of the consumer protocol
		t := w.makeRead(4)
		c := w.consumerOf(w.group(), "c", t)
		w.consume(c, nil)
		for _, change := range []func(r *wire.JoinGroupRequest){
			func(r *wire.JoinGroupRequest) { r.ProtocolType = "connect" },
			func(r *wire.JoinGroupRequest) { r.ProtocolType = "" },
			func(r *wire.JoinGroupRequest) { r.Protocols = nil },
			func(r *wire.JoinGroupRequest) { r.Protocols[0].Metadata = []byte{0} },
			func(r *wire.JoinGroupRequest) { r.Protocols[0].Metadata = []byte{0, 1, 0, 0, 0, 9} },
			func(r *wire.JoinGroupRequest) { r.SessionTimeoutMs = 1 },
			func(r *wire.JoinGroupRequest) { r.GroupInstanceID, r.MemberID = ptr("nobody's"), "x" },
			func(r *wire.JoinGroupRequest) { r.MemberID = "c" }, // it can, and takes the place of the one that there was
		} {
			m := w.member(c.group, t)
			version := w.at(wire.KeyJoinGroup)
			w.joinAt(m, version, func(s *Side, r *wire.JoinGroupRequest) {
				speaks(m)(s, r)
				change(r)
				if version < 5 {
					r.GroupInstanceID = nil
				}
			})
			w.describeConsumers(c.group)
			w.leave(m)
		}
		w.see(c.group, t)
	},
	func(w *world) { // what a member of the classic protocol may not say in a group of the other
		t := w.makeRead(4)
		c := w.consumerOf(w.group(), "c", t)
		w.consume(c, nil)
		a := w.member(c.group, t)
		w.enter(a, nil)
		for _, generation := range []int32{0, -1, 2, 99} {
			w.beat(a, func(s *Side, r *wire.HeartbeatRequest) { r.GenerationID = generation })
			w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.GenerationID = generation })
			w.commitAs(c.group, a, t, func(s *Side, r *wire.OffsetCommitRequest) { r.GenerationIDOrMemberEpoch = generation }, 0)
			for _, m := range []*member{a, c} {
				w.fetchOffsets(c.group, t, func(s *Side, r *wire.OffsetFetchRequest) {
					for i := range r.Groups {
						r.Groups[i].MemberID, r.Groups[i].MemberEpoch = ptr(s.members[m.name]), generation
					}
				}, 0)
			}
		}
		for _, id := range []string{"", "nobody", "c"} {
			w.beat(a, func(s *Side, r *wire.HeartbeatRequest) { r.MemberID = id })
			w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.MemberID = id })
			w.commitAs(c.group, a, t, func(s *Side, r *wire.OffsetCommitRequest) { r.MemberID = id }, 0)
		}
		w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.ProtocolType = ptr("connect") })
		w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.ProtocolName = ptr("sticky") })
		w.consume(a, nil) // with the epoch that it has, and as somebody new
		w.consume(a, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 99 })
		w.see(c.group, t)
		w.leave(a, a, c)
		w.see(c.group, t)
	},
	func(w *world) { // who held an instance id before, in a group of the consumer protocol
		t := w.makeRead(2)
		c := w.consumerOf(w.group(), "c", t)
		w.consume(c, nil)
		m := w.static(c.group, t)
		w.enter(m, nil)
		again := &member{group: m.group, name: w.name(), instance: m.instance, topic: t.name}
		w.enter(again, nil)
		w.joinOfOthers(m, again)
		w.see(c.group, t)
		w.beat(m, nil)
		w.syncAs(m, nil, nil)
		w.commitAs(c.group, m, t, nil, 0)
		w.leave(m)
		w.leave(&member{group: m.group, name: "nobody", instance: m.instance})
		w.see(c.group, t)
	},
}

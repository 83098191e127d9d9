package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// consumerOf is a member of the consumer protocol. Its id is the same on both sides, and short: Apache Kafka's uniform
// assignor goes through the members in the order of a hash table, which for ids of one letter is that of the letters.
func (w *world) consumerOf(group, id string, t *topic) *member {
	return &member{group: group, name: w.name(), id: id, topic: t.name}
}

// consume is a heartbeat of a member: what it reads when it joins, and nothing but its epoch afterwards.
func (w *world) consume(m *member, change func(s *Side, r *wire.ConsumerGroupHeartbeatRequest)) *Step {
	version := w.at(wire.KeyConsumerGroupHeartbeat)
	step := w.request(m, "heartbeat", wire.KeyConsumerGroupHeartbeat, version, func(s *Side) wire.Message {
		if m.id != "" && s.members[m.name] == "" {
			s.members[m.name] = m.id
		}
		r := wire.NewConsumerGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.MemberEpoch, r.InstanceID = m.group, s.members[m.name], s.generations[m.name], m.instance
		if r.MemberEpoch == 0 {
			r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions = 60000, []string{m.topic}, []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		}
		if change != nil {
			change(s, r)
		}
		return r
	})
	step.After = func(s *Side, answer wire.Message) { s.heard(m, answer.(*wire.ConsumerGroupHeartbeatResponse)) }
	return step
}

// heard notes what a member was told.
func (s *Side) heard(m *member, r *wire.ConsumerGroupHeartbeatResponse) {
	if r.ErrorCode != kafka.None {
		return
	}
	if r.MemberID != nil {
		s.members[m.name] = *r.MemberID
	}
	s.generations[m.name] = max(r.MemberEpoch, 0)
	if r.Assignment != nil {
		s.owned[m.name] = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		for _, t := range r.Assignment.TopicPartitions {
			s.owned[m.name] = append(s.owned[m.name], wire.ConsumerGroupHeartbeatRequestTopicPartitions(t))
		}
	}
}

// owns is the heartbeat of a member that says what it has: what it was told to have.
func (w *world) owns(m *member) {
	w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.TopicPartitions = s.owned[m.name] })
}

// goes is the last heartbeat of a member: for good (-1) or, a static one, for now (-2).
func (w *world) goes(m *member, epoch int32) {
	w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
		*r = *wire.NewConsumerGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.MemberEpoch, r.InstanceID = m.group, s.members[m.name], epoch, m.instance
	})
}

// has beats, outside of what is compared, until a member was told to have something: what a regular expression stands for
// and what changes in a topic comes to a coordinator in its own time.
func (w *world) has(m *member, partitions int) {
	w.add(Step{What: "await the partitions of " + m.name, Settle: func(s *Side) (bool, error) {
		r := wire.NewConsumerGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.MemberEpoch, r.InstanceID, r.TopicPartitions = m.group, s.members[m.name], s.generations[m.name], m.instance, s.owned[m.name]
		answer, err := s.call(r, wire.KeyConsumerGroupHeartbeat, 1)
		if err != nil {
			return false, err
		}
		s.heard(m, answer.(*wire.ConsumerGroupHeartbeatResponse))
		n := 0
		for _, t := range s.owned[m.name] {
			n += len(t.Partitions)
		}
		return n == partitions, nil
	}})
}

func (w *world) describeConsumers(groups ...string) {
	w.add(Step{What: "describe consumer groups", Key: wire.KeyConsumerGroupDescribe, Version: w.at(wire.KeyConsumerGroupDescribe), Make: func(s *Side) wire.Message {
		r := wire.NewConsumerGroupDescribeRequest()
		r.GroupIDs, r.IncludeAuthorizedOperations = groups, len(groups)%2 == 0
		return r
	}})
}

// commitIn commits an offset as a member of the consumer protocol, in the epoch that it is in.
func (w *world) commitIn(m *member, t *topic, change func(s *Side, r *wire.OffsetCommitRequest)) {
	w.commitAs(m.group, m, t, change, 0)
}

// lookIn asks for everything that there is to know of a consumer group.
func (w *world) lookIn(group string, t *topic) {
	w.describeConsumers(group)
	w.listGroups(nil, []string{"consumer"})
	w.fetchOffsets(group, t, nil, 0)
}

// makeRead is makeTopic for consumer groups, whose coordinator learns of topics in its own time: a group of one comes and
// goes until it was given all of the topic.
func (w *world) makeRead(partitions int) *topic {
	t := w.makeTopic(partitions, nil)
	w.readable(t)
	return t
}

func (w *world) readable(t *topic) {
	group, partitions := w.name()+"-probe", len(t.partitions)
	w.add(Step{What: "await the coordinator to know " + t.name, Settle: func(s *Side) (bool, error) {
		r := wire.NewConsumerGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions = group, "probe", 60000, []string{t.name}, []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		answer, err := s.call(r, wire.KeyConsumerGroupHeartbeat, 1)
		if err != nil {
			return false, err
		}
		given := answer.(*wire.ConsumerGroupHeartbeatResponse).Assignment
		leave := wire.NewConsumerGroupHeartbeatRequest()
		leave.GroupID, leave.MemberID, leave.MemberEpoch = group, "probe", -1
		if _, err := s.call(leave, wire.KeyConsumerGroupHeartbeat, 1); err != nil {
			return false, err
		}
		remove := wire.NewDeleteGroupsRequest()
		remove.GroupsNames = []string{group}
		if _, err := s.call(remove, wire.KeyDeleteGroups, 2); err != nil {
			return false, err
		}
		return given != nil && len(given.TopicPartitions) == 1 && len(given.TopicPartitions[0].Partitions) == partitions, nil
	}})
}

// joined is a new group with one member that has everything.
func (w *world) joined() (*member, *topic) {
	t := w.makeRead(3)
	m := w.consumerOf(w.group(), "b", t)
	w.consume(m, nil)
	w.owns(m)
	return m, t
}

var consumersValid = []move{
	func(w *world) { // one member, from its join to the group's end
		m, t := w.joined()
		w.findCoordinator(0, m.group)
		w.consume(m, nil)
		w.commitIn(m, t, nil)
		w.lookIn(m.group, t)
		w.describeGroups(m.group)
		w.deleteOffsets(m.group, t.name, 0)
		w.deleteGroups(m.group)
		w.goes(m, -1)
		w.lookIn(m.group, t)
		w.deleteOffsets(m.group, t.name, 0)
		w.deleteGroups(m.group)
		w.lookIn(m.group, t)
	},
	func(w *world) { // a member without a name is given one, where the version has that
		t := w.makeRead(2)
		m := w.consumerOf(w.group(), "", t)
		w.consume(m, nil)
		w.owns(m)
		w.lookIn(m.group, t)
		w.goes(m, -1)
	},
	func(w *world) { // a second member comes, gets its share when the first gives it up, and goes
		a, t := w.joined()
		b := w.consumerOf(a.group, "c", t)
		w.consume(b, nil)
		w.describeConsumers(a.group)
		w.consume(a, nil)
		w.describeConsumers(a.group)
		w.consume(b, nil)
		w.consume(a, nil) // it has not given up yet
		w.commitIn(a, t, nil)
		w.owns(a)
		w.consume(b, nil)
		w.owns(b)
		w.lookIn(a.group, t)
		w.goes(b, -1)
		w.describeConsumers(a.group)
		w.consume(a, nil)
		w.owns(a)
		w.lookIn(a.group, t)
		w.goes(a, -1)
		w.describeConsumers(a.group)
	},
	func(w *world) { // three members, and an assignor that most of them ask for: of two with as many Apache Kafka takes now one, now the other
		t := w.makeRead(6) // as many for each, of two members and of three: who gets an odd one is not compared
		g := w.group()
		first, second := "range", "uniform"
		if w.IntN(2) == 0 {
			first, second = second, first
		}
		var members []*member
		for _, id := range []string{"a", "b", "c"} {
			m := w.consumerOf(g, id, t)
			members = append(members, m)
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &first })
			for range 2 {
				for _, m := range members {
					w.owns(m)
				}
			}
			w.describeConsumers(g)
		}
		for _, m := range members[:2] {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = &second })
			w.describeConsumers(g)
		}
		for range 3 {
			for _, m := range members {
				w.owns(m)
			}
		}
		w.goes(members[2], -1)
		for range 2 {
			for _, m := range members[:2] {
				w.owns(m)
			}
		}
		w.describeConsumers(g)
	},
	func(w *world) { // a member moves to another rack, which brings no other assignment about
		t := w.makeRead(2)
		m := w.consumerOf(w.group(), "a", t)
		for _, rack := range []string{"here", "there"} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.RackID = &rack })
			w.owns(m)
			w.describeConsumers(m.group)
		}
	},
	func(w *world) { // a static member leaves and returns, as itself and as another, and its old self is fenced
		t := w.makeRead(2)
		m := w.consumerOf(w.group(), "a", t)
		m.instance = ptr("instance of " + m.name)
		w.consume(m, nil)
		w.owns(m)
		w.goes(m, -2)
		w.describeConsumers(m.group)
		w.consume(m, nil)
		w.describeConsumers(m.group)
		w.commitIn(m, t, nil)
		w.goes(m, -2)
		again := &member{group: m.group, name: w.name(), id: "c", instance: m.instance, topic: t.name}
		w.consume(again, nil)
		w.describeConsumers(m.group)
		w.consume(m, nil)
		w.goes(m, -1)
		w.owns(again)
		w.commitIn(again, t, nil)
		w.lookIn(m.group, t)
		w.goes(again, -1)
		w.describeConsumers(m.group)
	},
	func(w *world) { // a static member among others: what it has waits for it
		t := w.makeRead(3)
		a := w.consumerOf(w.group(), "a", t)
		b := w.consumerOf(a.group, "b", t)
		b.instance = ptr("instance of " + b.name)
		for range 2 {
			w.consume(a, nil)
			w.owns(a)
			w.consume(b, nil)
			w.owns(b)
		}
		w.owns(a)
		w.owns(b)
		w.describeConsumers(a.group)
		w.goes(b, -2)
		w.consume(a, nil)
		w.owns(a)
		w.describeConsumers(a.group)
		again := &member{group: a.group, name: w.name(), id: "c", instance: b.instance, topic: t.name}
		w.consume(again, nil)
		w.owns(again)
		w.owns(a)
		w.describeConsumers(a.group)
	},
	func(w *world) { // a member reads something else, both, and then nothing
		m, t := w.joined()
		u := w.makeRead(2)
		for _, names := range [][]string{{u.name}, {t.name, u.name}, {u.name, u.name}, {t.name}} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = names })
			w.owns(m)
			w.owns(m)
			w.describeConsumers(m.group)
		}
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} })
		w.owns(m)
		w.describeConsumers(m.group)
	},
	func(w *world) { // topics that do not exist yet
		m := w.consumerOf(w.group(), "a", &topic{name: w.name() + "-later"})
		w.consume(m, nil)
		w.describeConsumers(m.group)
		w.consume(m, nil)
		w.makeNamed(m.topic, 2, nil)
		w.has(m, 2)
		w.owns(m)
		w.lookIn(m.group, &topic{name: m.topic})
	},
	func(w *world) { // a topic grows
		m, t := w.joined()
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: 5})
		w.add(Step{What: "await the partitions", Settle: served(t.name, 5)})
		t.partitions = append(t.partitions, make([]partition, 2)...)
		w.has(m, 5)
		w.owns(m)
		w.describeConsumers(m.group)
	},
	func(w *world) { // a regular expression, alone and beside a name
		t := w.makeRead(2)
		m := w.consumerOf(w.group(), "a", t)
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, ptr(t.name+"$")
		})
		w.last().Version = 1 // the first that knows regular expressions
		w.has(m, 2)
		w.owns(m)
		w.describeConsumers(m.group)
		u := w.makeRead(1)
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{u.name} })
		w.has(m, 3)
		w.owns(m)
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = ptr("") })
		w.last().Version = 1
		w.owns(m)
		w.owns(m)
		w.describeConsumers(m.group)
	},
	func(w *world) { // a member that has lost an answer, and one that begins anew
		m, t := w.joined()
		b := w.consumerOf(m.group, "d", t)
		w.consume(b, nil)
		w.consume(m, nil)
		w.owns(m)
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
			r.MemberEpoch, r.TopicPartitions = r.MemberEpoch-1, s.owned[m.name]
		})
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
			r.MemberEpoch, r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions = 0, 60000, []string{t.name}, []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		})
		w.consume(b, nil)
		w.describeConsumers(m.group)
	},
	func(w *world) { // all that a member says every time
		m, t := w.joined()
		for range 2 {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
				r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions, r.SubscribedTopicRegex, r.ServerAssignor = 60000, []string{t.name}, s.owned[m.name], ptr(""), ptr("uniform")
			})
		}
		w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMs = 30000 })
		w.owns(m)
		w.describeConsumers(m.group)
	},
	func(w *world) { // groups of both kinds, side by side
		m, t := w.joined()
		c, _ := w.alone()
		w.describeConsumers(m.group, c.group)
		w.describeGroups(m.group, c.group)
		w.listGroups(nil, nil)
		w.listGroups(nil, []string{"Classic"})
		w.listGroups([]string{"stable"}, []string{"CONSUMER"})
		w.goes(m, -1)
		w.leave(c)
		w.describeConsumers(m.group, c.group)
		w.lookIn(m.group, t)
	},
	func(w *world) { // settings of a group of its own
		m, t := w.joined()
		w.incremental(kafka.ResourceGroup, m.group, false, set("consumer.heartbeat.interval.ms", "7000"), set("consumer.session.timeout.ms", "50000"))
		w.add(Step{What: "await the config", Settle: configuredOn(kafka.ResourceGroup, m.group, "consumer.heartbeat.interval.ms", "7000")})
		w.consume(m, nil)
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceGroup, m.group))
		w.incremental(kafka.ResourceGroup, m.group, false, change{1, "consumer.heartbeat.interval.ms", nil}, change{1, "consumer.session.timeout.ms", nil})
		w.add(Step{What: "await its end", Settle: unlisted(32, m.group)})
		w.consume(m, nil)
		w.lookIn(m.group, t)
	},
}

var consumersBad = []move{
	func(w *world) { // wrong epochs, and members that there are not
		m, t := w.joined()
		for _, epoch := range []int32{1, 99, -3, -128} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = epoch })
			w.commitIn(m, t, func(s *Side, r *wire.OffsetCommitRequest) { r.GenerationIDOrMemberEpoch = epoch })
			w.fetchOffsets(m.group, t, func(s *Side, r *wire.OffsetFetchRequest) {
				for i := range r.Groups {
					r.Groups[i].MemberID, r.Groups[i].MemberEpoch = ptr(s.members[m.name]), epoch
				}
			}, 0)
		}
		for _, id := range []string{"", " ", "nobody"} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberID = id })
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberID, r.MemberEpoch = id, -1 })
			w.commitIn(m, t, func(s *Side, r *wire.OffsetCommitRequest) { r.MemberID = id })
		}
		w.commitAs(m.group, nil, t, nil, 0)
		w.lookIn(m.group, t)
	},
	func(w *world) { // no group
		t := w.topic()
		for _, g := range []string{"", " ", "no such group"} {
			m := &member{group: g, name: w.name(), id: "a", topic: t.name}
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 1 })
			w.goes(m, -1)
			w.goes(m, -2)
			if g != "no such group" {
				w.consume(m, nil)
			}
			w.describeConsumers(g)
			w.describeConsumers(g, g)
		}
	},
	func(w *world) { // what a member may not say when it joins
		t, version := w.makeRead(1+w.IntN(3)), int16(w.IntN(2))
		m := w.consumerOf(w.group(), "a", t)
		for _, spoil := range []func(r *wire.ConsumerGroupHeartbeatRequest){
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMs = -1 },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMs = -2 },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} },
			func(r *wire.ConsumerGroupHeartbeatRequest) {
				r.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{{Partitions: []int32{0}}}
			},
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.TopicPartitions = nil },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("no such") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr("") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.RackID = ptr(" ") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = ptr("[") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicRegex = ptr("a(?=b)") },
			func(r *wire.ConsumerGroupHeartbeatRequest) { r.MemberID = "" },
		} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { spoil(r) })
			w.last().Version = version // many a thing only version 1 can say
			w.describeConsumers(m.group)
			w.goes(m, -1)
		}
	},
	func(w *world) { // static members that are not, or are still there
		t := w.makeRead(2)
		m := w.consumerOf(w.group(), "a", t)
		w.consume(m, nil)
		w.goes(m, -2) // no instance
		b := w.consumerOf(m.group, "b", t)
		b.instance = ptr("instance of " + b.name)
		w.consume(b, nil)
		again := &member{group: b.group, name: w.name(), id: "c", instance: b.instance, topic: t.name}
		w.consume(again, nil)                                               // unreleased
		w.consume(b, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { // and so for itself
			r.MemberEpoch, r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions = 0, 60000, []string{t.name}, []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		})
		w.consume(again, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 1 })
		w.goes(again, -1)
		w.goes(again, -2)
		other := &member{group: b.group, name: b.name, id: b.id, instance: ptr("another instance"), topic: t.name}
		w.consume(other, nil)
		w.goes(other, -2)
		w.goes(b, -2)
		w.consume(b, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 2 })
		w.commitIn(b, t, nil)
		w.goes(b, -2)
		w.describeConsumers(b.group)
		w.goes(b, -1)
		w.describeConsumers(b.group)
	},
	func(w *world) { // the requests of the other protocol
		m, t := w.joined()
		w.beat(m, nil)
		w.syncAs(m, nil, nil)
		w.leave(&member{group: m.group, name: "nobody"})
		w.describeGroups(m.group)
		w.deleteGroups(m.group)
		w.deleteOffsets(m.group, t.name, 0)
		w.deleteOffsets(m.group, "nowhere", 0)
		c, _ := w.alone()
		w.describeConsumers(c.group)
		w.consume(&member{group: c.group, name: w.name(), id: "a", topic: t.name}, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 3 })
	},
	func(w *world) { // partitions that a member does not have
		m, t := w.joined()
		for _, owned := range [][]int32{{0, 1}, {77}, {}} {
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
				r.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{{TopicID: s.TopicIDs[t.name], Partitions: owned}, {TopicID: kafka.UUID{7}, Partitions: []int32{0}}}
			})
			w.consume(m, func(s *Side, r *wire.ConsumerGroupHeartbeatRequest) {
				r.MemberEpoch--
				r.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{{TopicID: s.TopicIDs[t.name], Partitions: owned}}
			})
		}
		w.describeConsumers(m.group)
	},
}

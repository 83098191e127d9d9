package differential

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// member is who joins a group. The sides give it ids of their own, which answers show by its name.
type member struct {
	group, name string
	id          string  // of a member that brings its own, of the consumer protocol
	instance    *string // of a static member
	topic       string
}

// group is the name of a new one.
func (w *world) group() string { return w.groupApart("") }

// groupApart is group for what the two sides are known to do differently: known.txt tells the group by its name's end.
func (w *world) groupApart(why string) string {
	name := w.name() + why
	w.seq.Groups = append(w.seq.Groups, name)
	return name
}

func (w *world) member(group string, t *topic) *member {
	return &member{group: group, name: w.name(), topic: t.name}
}

func (w *world) static(group string, t *topic) *member {
	m := w.member(group, t)
	m.instance = ptr("instance of " + m.name)
	return m
}

// subscription is what a consumer tells the leader: version, topics, no data of its own.
func subscription(topics ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(topics)))
	for _, t := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(t))), t...)
	}
	return binary.BigEndian.AppendUint32(b, 1<<32-1)
}

// request adds a request of a member, each of which has a connection of its own: an answer may have to wait for others.
func (w *world) request(m *member, what string, key wire.APIKey, version int16, build func(s *Side) wire.Message) *Step {
	w.add(Step{What: what + " " + m.name, Key: key, Version: version, Conn: m.name, Make: build})
	return w.last()
}

func (w *world) joinAt(m *member, version int16, change func(s *Side, r *wire.JoinGroupRequest)) *Step {
	step := w.request(m, "join", wire.KeyJoinGroup, version, func(s *Side) wire.Message {
		r := wire.NewJoinGroupRequest()
		r.GroupID, r.MemberID, r.ProtocolType = m.group, s.members[m.name], "consumer"
		r.SessionTimeoutMs, r.RebalanceTimeoutMs = 30000, 60000
		r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: subscription(m.topic)}, {Name: "roundrobin", Metadata: subscription(m.topic)}}
		if version >= 5 {
			r.GroupInstanceID = m.instance
		}
		if change != nil {
			change(s, r)
		}
		return r
	})
	step.After = func(s *Side, answer wire.Message) {
		r := answer.(*wire.JoinGroupResponse)
		if r.MemberID != "" && (r.ErrorCode == kafka.None || r.ErrorCode == kafka.MemberIDRequired) {
			s.members[m.name] = r.MemberID
		}
		if r.ErrorCode == kafka.None {
			s.generations[m.name] = r.GenerationID
		}
	}
	return step
}

// join is the whole join of a new member, the second step where the version has two. The last step is the one that
// the group answers when all have joined.
func (w *world) join(m *member) *Step { return w.joinSaying(m, nil) }

// joinSaying is join for who has something else to say.
func (w *world) joinSaying(m *member, change func(s *Side, r *wire.JoinGroupRequest)) *Step {
	version := w.at(wire.KeyJoinGroup)
	if m.instance != nil {
		version = max(version, 5)
		if w.seq.API == wire.KeyJoinGroup {
			version = max(w.seq.Version, 5)
		}
	}
	if version >= 4 && m.instance == nil {
		w.joinAt(m, version, change)
	}
	return w.joinAt(m, version, change)
}

func (w *world) syncAs(m *member, give map[*member]string, change func(s *Side, r *wire.SyncGroupRequest)) *Step {
	version := w.at(wire.KeySyncGroup)
	return w.request(m, "sync", wire.KeySyncGroup, version, func(s *Side) wire.Message {
		r := wire.NewSyncGroupRequest()
		r.GroupID, r.MemberID, r.GenerationID = m.group, s.members[m.name], s.generations[m.name]
		if version >= 3 {
			r.GroupInstanceID = m.instance
		}
		if version >= 5 {
			r.ProtocolType, r.ProtocolName = ptr("consumer"), ptr("range")
		}
		for to, what := range give {
			r.Assignments = append(r.Assignments, wire.SyncGroupRequestAssignments{MemberID: s.members[to.name], Assignment: []byte(what)})
		}
		if change != nil {
			change(s, r)
		}
		return r
	})
}

func (w *world) beat(m *member, change func(s *Side, r *wire.HeartbeatRequest)) {
	version := w.at(wire.KeyHeartbeat)
	w.request(m, "heartbeat", wire.KeyHeartbeat, version, func(s *Side) wire.Message {
		r := wire.NewHeartbeatRequest()
		r.GroupID, r.MemberID, r.GenerationID = m.group, s.members[m.name], s.generations[m.name]
		if version >= 3 {
			r.GroupInstanceID = m.instance
		}
		if change != nil {
			change(s, r)
		}
		return r
	})
}

// leave takes members away: in one request where the version can.
func (w *world) leave(members ...*member) {
	version := w.at(wire.KeyLeaveGroup)
	if version < 3 {
		for _, m := range members {
			w.request(m, "leave", wire.KeyLeaveGroup, version, func(s *Side) wire.Message {
				r := wire.NewLeaveGroupRequest()
				r.GroupID, r.MemberID = m.group, s.members[m.name]
				return r
			})
		}
		return
	}
	w.request(members[0], "leave", wire.KeyLeaveGroup, version, func(s *Side) wire.Message {
		r := wire.NewLeaveGroupRequest()
		r.GroupID = members[0].group
		for _, m := range members {
			r.Members = append(r.Members, wire.LeaveGroupRequestMembers{MemberID: s.members[m.name], GroupInstanceID: m.instance})
		}
		return r
	})
}

func (w *world) describeGroups(names ...string) {
	version := w.at(wire.KeyDescribeGroups)
	w.add(Step{What: "describe groups", Key: wire.KeyDescribeGroups, Version: version, Make: func(s *Side) wire.Message {
		r := wire.NewDescribeGroupsRequest()
		r.Groups, r.IncludeAuthorizedOperations = names, version >= 3 && len(names)%2 == 0
		return r
	}})
}

func (w *world) listGroups(states, types []string) {
	version := w.at(wire.KeyListGroups)
	w.add(Step{What: "list groups", Key: wire.KeyListGroups, Version: version, Make: func(s *Side) wire.Message {
		r := wire.NewListGroupsRequest()
		if version >= 4 {
			r.StatesFilter = states
		}
		if version >= 5 {
			r.TypesFilter = types
		}
		return r
	}})
}

func (w *world) deleteGroups(names ...string) {
	w.add(Step{What: "delete groups", Key: wire.KeyDeleteGroups, Version: w.at(wire.KeyDeleteGroups), Make: func(s *Side) wire.Message {
		r := wire.NewDeleteGroupsRequest()
		r.GroupsNames = names
		return r
	}})
}

// commitAs commits an offset of each of the partitions, as a member or as nobody (nil).
func (w *world) commitAs(group string, m *member, t *topic, change func(s *Side, r *wire.OffsetCommitRequest), partitions ...int32) {
	version := w.at(wire.KeyOffsetCommit)
	offset := int64(w.IntN(100))
	who := m
	if who == nil {
		who = &member{group: group}
	}
	w.request(who, "commit", wire.KeyOffsetCommit, version, func(s *Side) wire.Message {
		r := wire.NewOffsetCommitRequest()
		r.GroupID = group
		if m != nil {
			r.MemberID, r.GenerationIDOrMemberEpoch = s.members[m.name], s.generations[m.name]
			if version >= 7 {
				r.GroupInstanceID = m.instance
			}
		}
		one := wire.OffsetCommitRequestTopics{Name: t.name, TopicID: s.TopicIDs[t.name]}
		for i, p := range partitions {
			at := wire.NewOffsetCommitRequestPartitions()
			at.PartitionIndex, at.CommittedOffset, at.CommittedMetadata = p, offset+int64(i), ptr(fmt.Sprint("metadata ", i))
			if version >= 6 {
				at.CommittedLeaderEpoch = int32(i) - 1
			}
			one.Partitions = append(one.Partitions, at)
		}
		r.Topics = append(r.Topics, one)
		if change != nil {
			change(s, r)
		}
		return r
	})
}

// fetchOffsets asks for some partitions of a topic, or for all that is committed (nil).
func (w *world) fetchOffsets(group string, t *topic, change func(s *Side, r *wire.OffsetFetchRequest), partitions ...int32) {
	version := w.at(wire.KeyOffsetFetch)
	w.add(Step{What: "fetch offsets", Key: wire.KeyOffsetFetch, Version: version, Make: func(s *Side) wire.Message {
		r := wire.NewOffsetFetchRequest()
		r.RequireStable = version >= 7 && len(partitions) > 1
		if version >= 8 {
			one := wire.NewOffsetFetchRequestGroups()
			one.GroupID = group
			if t != nil {
				one.Topics = []wire.OffsetFetchRequestGroupsTopics{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionIndexes: partitions}}
			}
			r.Groups = append(r.Groups, one)
		} else {
			r.GroupID = group
			switch {
			case t != nil:
				r.Topics = []wire.OffsetFetchRequestTopics{{Name: t.name, PartitionIndexes: partitions}}
			case version < 2:
				r.Topics = []wire.OffsetFetchRequestTopics{}
			}
		}
		if change != nil {
			change(s, r)
		}
		return r
	}})
}

func (w *world) deleteOffsets(group, topic string, partitions ...int32) {
	w.add(Step{What: "delete offsets", Key: wire.KeyOffsetDelete, Version: 0, Make: func(s *Side) wire.Message {
		r := wire.NewOffsetDeleteRequest()
		r.GroupID = group
		one := wire.OffsetDeleteRequestTopics{Name: topic}
		for _, p := range partitions {
			one.Partitions = append(one.Partitions, wire.OffsetDeleteRequestPartitions{PartitionIndex: p})
		}
		r.Topics = append(r.Topics, one)
		return r
	}})
}

func (w *world) findCoordinator(kind int8, keys ...string) {
	version := w.at(wire.KeyFindCoordinator)
	w.add(Step{What: "find the coordinator", Key: wire.KeyFindCoordinator, Version: version, Make: func(s *Side) wire.Message {
		r := wire.NewFindCoordinatorRequest()
		if version >= 1 {
			r.KeyType = kind
		}
		if version >= 4 {
			r.CoordinatorKeys = keys
		} else {
			r.Key = keys[0]
		}
		return r
	}})
}

// inState waits until a group of the classic protocol is in a state.
func inState(group, state string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		r := wire.NewDescribeGroupsRequest()
		r.Groups = []string{group}
		answer, err := s.call(r, wire.KeyDescribeGroups, 5)
		if err != nil {
			return false, err
		}
		return answer.(*wire.DescribeGroupsResponse).Groups[0].GroupState == state, nil
	}
}

// alone is a new group with one member, stable.
func (w *world) alone() (*member, *topic) {
	t := w.topic()
	m := w.member(w.group(), t)
	w.join(m)
	w.syncAs(m, map[*member]string{m: "all"}, nil)
	return m, t
}

// look asks for everything that there is to know of a group.
func (w *world) look(group string, t *topic) {
	w.describeGroups(group)
	w.listGroups(nil, nil)
	w.fetchOffsets(group, t, nil, 0)
	w.fetchOffsets(group, nil, nil)
}

var groupsValid = []move{
	func(w *world) { // one member, from its join to the group's end
		m, t := w.alone()
		w.findCoordinator(0, m.group)
		w.beat(m, nil)
		w.commitAs(m.group, m, t, nil, 0)
		w.look(m.group, t)
		w.deleteOffsets(m.group, t.name, 0) // it is subscribed
		w.deleteGroups(m.group)
		w.leave(m)
		w.look(m.group, t)
		w.deleteGroups(m.group)
		w.look(m.group, t)
	},
	func(w *world) { // a second member comes and goes
		a, t := w.alone()
		b := w.member(a.group, t)
		w.join(b).Hold = true
		w.add(Step{What: "await the rebalance", Settle: inState(a.group, "PreparingRebalance")})
		w.beat(a, nil)
		w.commitAs(a.group, a, t, nil, 0)
		w.listGroups([]string{"PreparingRebalance"}, nil)
		w.joinAt(a, w.at(wire.KeyJoinGroup), nil)
		w.take(b)
		w.listGroups([]string{"completingrebalance", "Stable"}, []string{"classic"})
		w.beat(b, nil)
		w.commitAs(a.group, b, t, nil, 0)
		w.syncAs(a, map[*member]string{a: "half", b: "other half"}, nil)
		w.syncAs(b, nil, nil)
		w.beat(a, nil)
		w.beat(b, nil)
		w.look(a.group, t)
		w.leave(b)
		w.beat(a, nil)
		w.syncAs(a, nil, nil)
		w.joinAt(a, w.at(wire.KeyJoinGroup), nil)
		w.syncAs(a, map[*member]string{a: "all again"}, nil)
		w.syncAs(a, nil, nil) // once more: the same answer
		w.look(a.group, t)
		w.leave(a)
	},
	func(w *world) { // a third member comes while the leader is assigning to two
		a, t := w.alone()
		b, c := w.member(a.group, t), w.member(a.group, t)
		w.join(b).Hold = true
		w.add(Step{What: "await the rebalance", Settle: inState(a.group, "PreparingRebalance")})
		w.describeGroups(a.group)
		w.joinAt(a, w.at(wire.KeyJoinGroup), nil)
		w.take(b)
		w.describeGroups(a.group)
		w.join(c).Hold = true
		w.add(Step{What: "await another", Settle: inState(a.group, "PreparingRebalance")})
		w.describeGroups(a.group)
		w.syncAs(a, map[*member]string{a: "half", b: "other half"}, nil)
		w.joinAt(a, w.at(wire.KeyJoinGroup), nil).Hold = true
		w.joinAt(b, w.at(wire.KeyJoinGroup), nil)
		w.take(a)
		w.take(c)
		w.describeGroups(a.group)
		w.syncAs(a, map[*member]string{a: "a third", b: "another"}, nil)
		w.syncAs(c, nil, nil)
		w.beat(b, nil)
		w.look(a.group, t)
		w.leave(a, b, c)
	},
	func(w *world) { // a static member restarts, and its old self is fenced
		t := w.topic()
		m := w.static(w.group(), t)
		w.join(m)
		w.syncAs(m, map[*member]string{m: "all"}, nil)
		w.commitAs(m.group, m, t, nil, 0)
		again := &member{group: m.group, name: w.name(), instance: m.instance, topic: t.name}
		w.join(again)
		w.look(m.group, t)
		w.beat(m, nil)
		w.syncAs(m, nil, nil)
		w.commitAs(m.group, m, t, nil, 0)
		w.syncAs(again, map[*member]string{again: "all"}, nil)
		w.beat(again, nil)
		w.look(m.group, t)
		w.leave(m)
		w.leave(again)
		w.look(m.group, t)
	},
	func(w *world) { // a group that only keeps offsets
		g, t := w.group(), w.makeTopic(2, nil)
		w.findCoordinator(0, g)
		w.commitAs(g, nil, t, nil, 0, 1)
		w.look(g, t)
		w.fetchOffsets(g, t, nil, 1, 0)
		w.deleteOffsets(g, t.name, 1)
		w.deleteOffsets(g, t.name, 1)
		w.look(g, t)
		w.joinAndLeave(g, t)
		w.look(g, t)
		w.deleteGroups(g)
		w.look(g, t)
	},
}

func (w *world) joinAndLeave(group string, t *topic) {
	m := w.member(group, t)
	w.join(m)
	w.syncAs(m, nil, nil)
	w.beat(m, nil)
	w.leave(m)
}

// take awaits the answer of a member's request that was held.
func (w *world) take(m *member) {
	for i := len(w.seq.Steps) - 1; i >= 0; i-- {
		if held := w.seq.Steps[i]; held.Hold && held.Conn == m.name {
			held.Hold, held.Take, held.What = false, true, "the answer to "+held.What
			w.add(held)
			return
		}
	}
}

// joinOfOthers has who held an instance id before join again, and who holds it now by other names. It returns the version.
func (w *world) joinOfOthers(before, now *member) (version int16) {
	version = max(w.at(wire.KeyJoinGroup), 5)
	w.joinAt(before, version, nil)
	w.joinAt(before, version, func(s *Side, r *wire.JoinGroupRequest) { r.GroupInstanceID = nil })
	w.joinAt(now, version, func(s *Side, r *wire.JoinGroupRequest) { r.MemberID = "nobody" })
	w.joinAt(now, version, func(s *Side, r *wire.JoinGroupRequest) { r.GroupInstanceID = ptr("no such instance") })
	return version
}

var groupsBad = []move{
	func(w *world) { // no group, and no name
		t := w.topic()
		for _, g := range []string{"", "no such group"} {
			m := &member{group: g, name: w.name(), topic: t.name}
			if g == "" {
				w.joinAt(m, w.at(wire.KeyJoinGroup), nil)
			}
			w.joinAt(m, w.at(wire.KeyJoinGroup), func(s *Side, r *wire.JoinGroupRequest) { r.MemberID = "nobody" })
			w.syncAs(m, nil, nil)
			w.beat(m, nil)
			w.leave(m)
			w.deleteOffsets(g, t.name, 0)
			w.deleteOffsets(g, "nowhere", 0)
			w.commitAs(g, nil, t, func(s *Side, r *wire.OffsetCommitRequest) { r.GenerationIDOrMemberEpoch, r.MemberID = 3, "nobody" }, 0)
			w.look(g, t)
			w.deleteGroups(g, "another that there is not")
		}
	},
	func(w *world) { // wrong members and generations
		m, t := w.alone()
		for _, generation := range []int32{0, -1, 2, 99} {
			w.beat(m, func(s *Side, r *wire.HeartbeatRequest) { r.GenerationID = generation })
			w.syncAs(m, nil, func(s *Side, r *wire.SyncGroupRequest) { r.GenerationID = generation })
			w.commitAs(m.group, m, t, func(s *Side, r *wire.OffsetCommitRequest) { r.GenerationIDOrMemberEpoch = generation }, 0)
		}
		for _, id := range []string{"", "nobody"} {
			w.beat(m, func(s *Side, r *wire.HeartbeatRequest) { r.MemberID = id })
			w.syncAs(m, nil, func(s *Side, r *wire.SyncGroupRequest) { r.MemberID = id })
			w.commitAs(m.group, m, t, func(s *Side, r *wire.OffsetCommitRequest) { r.MemberID = id }, 0)
			w.leave(&member{group: m.group, name: id})
		}
		w.commitAs(m.group, nil, t, nil, 0)
		w.joinAt(m, w.at(wire.KeyJoinGroup), func(s *Side, r *wire.JoinGroupRequest) { r.MemberID = "nobody" })
		w.deleteGroups(m.group, "", m.group)
		w.deleteOffsets(m.group, t.name, 0, 99)
		w.deleteOffsets(m.group, "nowhere", 0)
		w.look(m.group, t)
	},
	func(w *world) { // what a member may not say of itself
		t := w.topic()
		m := w.member(w.group(), t)
		version := w.at(wire.KeyJoinGroup)
		for _, timeout := range []int32{0, -1, 5999, 1800001} {
			w.joinAt(m, version, func(s *Side, r *wire.JoinGroupRequest) { r.SessionTimeoutMs = timeout })
		}
		for _, change := range []func(r *wire.JoinGroupRequest){
			func(r *wire.JoinGroupRequest) { r.ProtocolType = "" },
			func(r *wire.JoinGroupRequest) { r.Protocols = nil },
		} {
			w.joinAt(m, version, func(s *Side, r *wire.JoinGroupRequest) { change(r) })
		}
		w.describeGroups(m.group, "no such group")
		a, _ := w.alone()
		b := w.member(a.group, t)
		for _, change := range []func(r *wire.JoinGroupRequest){
			func(r *wire.JoinGroupRequest) { r.ProtocolType = "connect" },
			func(r *wire.JoinGroupRequest) { r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "sticky"}} },
		} {
			w.joinAt(b, version, func(s *Side, r *wire.JoinGroupRequest) { change(r) })
		}
		w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.ProtocolType = ptr("connect") })
		w.syncAs(a, nil, func(s *Side, r *wire.SyncGroupRequest) { r.ProtocolName = ptr("sticky") })
		w.listGroups([]string{"NoSuchState"}, []string{"nosuchtype"})
		w.listGroups([]string{"stable", ""}, []string{"Consumer"})
		w.look(a.group, t)
		w.leave(a, a, b)
	},
	func(w *world) { // offsets of what there is not, and metadata without end
		g, t := w.group(), w.topic()
		w.commitAs(g, nil, t, nil, 0, 99, -1)
		w.commitAs(g, nil, &topic{name: "nowhere"}, nil, 0)
		w.commitAs(g, nil, t, nil, 0, 0)
		for _, size := range []int{4096, 4097} {
			w.commitAs(g, nil, t, func(s *Side, r *wire.OffsetCommitRequest) {
				r.Topics[0].Partitions[0].CommittedMetadata = ptr(string(make([]byte, size)))
			}, 0)
		}
		w.commitAs(g, nil, t, func(s *Side, r *wire.OffsetCommitRequest) {
			r.Topics[0].Partitions[0].CommittedOffset, r.Topics[0].Partitions[0].CommittedMetadata = -1, nil
		}, 0)
		w.commitAs(g, nil, t, func(s *Side, r *wire.OffsetCommitRequest) { r.Topics = nil }, 0)
		w.commitAs(g, nil, t, func(s *Side, r *wire.OffsetCommitRequest) { r.GenerationIDOrMemberEpoch, r.MemberID = 1, "" }, 0)
		w.fetchOffsets(g, t, nil, 99, -1, 0, 0)
		w.fetchOffsets(g, &topic{name: "nowhere"}, nil, 0)
		w.fetchOffsets("no such group", t, nil, 0)
		w.fetchOffsets(g, t, func(s *Side, r *wire.OffsetFetchRequest) {
			for i := range r.Groups {
				r.Groups[i].MemberID, r.Groups[i].MemberEpoch = ptr("nobody"), 3
			}
		}, 0)
		w.fetchOffsets(g, t, func(s *Side, r *wire.OffsetFetchRequest) { r.Groups = append(r.Groups, r.Groups...) }, 0)
		w.deleteOffsets(g, "nowhere", 0)
		w.deleteOffsets(g, t.name, 99, -1, 0, 0)
		w.deleteOffsets(g, t.name)
		w.look(g, t)
	},
	func(w *world) { // who held an instance id before, who never did, and who names one that is another's
		t := w.topic()
		m := w.static(w.group(), t)
		w.join(m)
		w.syncAs(m, map[*member]string{m: "all"}, nil)
		again := &member{group: m.group, name: w.name(), instance: m.instance, topic: t.name}
		w.join(again)
		w.syncAs(again, map[*member]string{again: "all"}, nil)
		version := w.joinOfOthers(m, again)
		w.look(m.group, t)
		w.joinAt(again, version, func(s *Side, r *wire.JoinGroupRequest) { r.GroupInstanceID = nil }) // its id says enough
		w.syncAs(again, map[*member]string{again: "all of it"}, nil)
		w.look(m.group, t)
	},
	func(w *world) { // ids that were given out: who leaves with one, and who comes with one as somebody else
		a, t := w.alone()
		version := max(w.at(wire.KeyJoinGroup), 5)
		b := w.member(a.group, t)
		w.joinAt(b, version, nil)
		w.leave(b)
		w.beat(a, nil)
		w.joinAt(b, version, nil)
		w.joinAt(a, version, nil)
		w.syncAs(a, map[*member]string{a: "all"}, nil)
		w.look(a.group, t)
		m := w.static(w.group(), t)
		w.join(m)
		w.syncAs(m, map[*member]string{m: "all"}, nil)
		c := w.member(m.group, t)
		w.joinAt(c, version, nil)
		for _, instance := range []*string{ptr("no such instance"), m.instance} {
			w.joinAt(c, version, func(s *Side, r *wire.JoinGroupRequest) { r.GroupInstanceID = instance })
			w.beat(c, func(s *Side, r *wire.HeartbeatRequest) { r.GenerationID = 1 })
		}
		w.leave(c)
		w.beat(m, nil)
		w.look(m.group, t)
	},
	func(w *world) { // members that do not say what they read
		t := w.makeRead(2)
		for _, metadata := range []string{"", "?", "\x00\x00\x00\x00\x00\x09"} {
			m := w.member(w.group(), t)
			say := func(s *Side, r *wire.JoinGroupRequest) {
				r.Protocols = []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: []byte(metadata)}}
			}
			w.joinSaying(m, say)
			w.deleteOffsets(m.group, t.name, 0)
			w.syncAs(m, map[*member]string{m: "all"}, nil)
			w.commitAs(m.group, m, t, nil, 0)
			w.deleteOffsets(m.group, t.name, 0)
			w.deleteOffsets(m.group, "nowhere", 0)
			w.consume(w.consumerOf(m.group, "c", t), nil)
			w.look(m.group, t)
			w.joinAt(m, w.at(wire.KeyJoinGroup), nil) // now it does
			w.deleteOffsets(m.group, t.name, 0)
			w.deleteOffsets(m.group, "nowhere", 0)
			w.look(m.group, t)
			w.leave(m)
			w.deleteOffsets(m.group, t.name, 0)
			w.look(m.group, t)
		}
	},
	func(w *world) { // offsets asked for by members that a consumer group has not, and by one that it has
		m, t := w.joined()
		w.commitIn(m, t, nil)
		ask := func(id *string, epoch int32) {
			w.fetchOffsets(m.group, t, func(s *Side, r *wire.OffsetFetchRequest) {
				for i := range r.Groups {
					r.Groups[i].MemberID, r.Groups[i].MemberEpoch = id, epoch
				}
			}, 0)
		}
		for _, id := range []*string{nil, ptr(""), ptr(" "), ptr("nobody"), ptr(m.id)} {
			for _, epoch := range []int32{-1, 0, 1, 2, 99} {
				ask(id, epoch)
			}
		}
		w.goes(m, -1)
		ask(ptr(m.id), 2) // of a group that is empty now
		ask(nil, -1)
		w.deleteGroups(m.group)
		ask(ptr(m.id), 2) // and of one that is gone
		w.look(m.group, t)
	},
	func(w *world) { // kinds of coordinators that there are not
		for _, kind := range []int8{3, -1, 127} {
			w.findCoordinator(kind, "x", "")
		}
		w.findCoordinator(2, "not a share key", "a:b:c")
		w.findCoordinator(0, "")
	},
}

// sweepGroups takes the groups of the sequence away, with those who are left in them.
func (w *world) sweepGroups() {
	groups := slices.Clone(w.seq.Groups)
	if len(groups) == 0 {
		return
	}
	w.add(Step{What: "compare the groups", Stored: (*Runner).compareGroups}, Step{What: "delete the groups", Settle: func(s *Side) (bool, error) {
		for _, g := range groups {
			if err := s.empty(g); err != nil {
				return false, err
			}
		}
		r := wire.NewDeleteGroupsRequest()
		r.GroupsNames = groups
		answer, err := s.call(r, wire.KeyDeleteGroups, 2)
		if err != nil {
			return false, err
		}
		for _, result := range answer.(*wire.DeleteGroupsResponse).Results {
			if result.ErrorCode != kafka.None && result.ErrorCode != kafka.GroupIDNotFound {
				return false, nil
			}
		}
		return true, nil
	}})
}

// empty makes everybody leave a group.
func (s *Side) empty(group string) error {
	d := wire.NewDescribeGroupsRequest()
	d.Groups = []string{group}
	answer, err := s.call(d, wire.KeyDescribeGroups, 5)
	if err != nil {
		return err
	}
	l := wire.NewLeaveGroupRequest()
	l.GroupID = group
	for _, m := range answer.(*wire.DescribeGroupsResponse).Groups[0].Members {
		l.Members = append(l.Members, wire.LeaveGroupRequestMembers{MemberID: m.MemberID, GroupInstanceID: m.GroupInstanceID})
	}
	if len(l.Members) > 0 {
		if _, err = s.call(l, wire.KeyLeaveGroup, 5); err != nil {
			return err
		}
	}
	c := wire.NewConsumerGroupDescribeRequest()
	c.GroupIDs = d.Groups
	if answer, err = s.call(c, wire.KeyConsumerGroupDescribe, 1); err != nil {
		return err
	}
	for _, m := range answer.(*wire.ConsumerGroupDescribeResponse).Groups[0].Members {
		h := wire.NewConsumerGroupHeartbeatRequest()
		h.GroupID, h.MemberID, h.MemberEpoch = group, m.MemberID, -1
		if _, err := s.call(h, wire.KeyConsumerGroupHeartbeat, 1); err != nil {
			return err
		}
	}
	return nil
}

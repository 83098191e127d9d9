package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// classicMember is a member of a classic group.
type classicMember struct {
	client
	id         string
	generation int32
	stable     bool
	owned      []string
	// byID is owned as it was meant: a topic may go, and another come by its name.
	byID []owned
	// seen are the partitions that the leader has shared out: when others are there, it calls for a rebalance.
	leads bool
	seen  string
	// changed says that it reads something else than it said when it joined.
	changed bool
}

func (m *classicMember) owns() []string { return m.owned }

// byID finds partitions of the topics that there are.
func (w *world) byID(partitions []string) (list []owned) {
	for _, of := range partitions {
		topic, partition := parsePlace(of)
		if id, there := w.topics[topic]; there {
			list = append(list, owned{id, partition})
		}
	}
	return list
}

// identity is what a member is known by in its group, over all its lives.
func (m *classicMember) identity(id string) string {
	if m.instance != nil {
		return *m.instance
	}
	return id
}

// resubscribe reads more, or less, from the next rebalance on, which it calls for. All lives of a static member read the
// same: as in Kafka, nobody shares the partitions out again when one comes back and reads something else.
func (m *classicMember) resubscribe() {
	if m.instance != nil {
		return
	}
	m.topics = m.in.topics[:1+m.w.dice.IntN(len(m.in.topics))]
	m.changed = true
	m.w.say("%s: reads %v from now on", m.name, m.topics)
}

func (m *classicMember) settled() bool {
	return m.stable && !m.changed && (!m.leads || m.seen == m.w.layout(m.in.topics))
}

// layout says how many partitions topics have.
func (w *world) layout(topics []string) string {
	var words []string
	for _, t := range topics {
		words = append(words, fmt.Sprintf("%s:%d", t, w.partitionsOf(t)))
	}
	return strings.Join(words, " ")
}

// rejoin gives everything up and joins.
func (m *classicMember) rejoin() {
	m.stable, m.leads, m.owned, m.byID = false, false, nil, nil
	m.step()
}

func (m *classicMember) soon() {
	m.later(m.w.between(50*time.Millisecond, 500*time.Millisecond), m.step)
}

func (m *classicMember) step() {
	switch {
	case !m.stable:
		m.join()
	case m.changed:
		m.rejoin()
	case m.leads && m.seen != m.w.layout(m.in.topics):
		m.w.say("%s: sees other partitions", m.name)
		m.rejoin()
	case len(m.owned) > 0 && m.w.chance(0.4):
		m.commit(m.id, m.generation, pick(m.w, m.owned), m.heard, m.soon)
	default:
		m.heartbeat()
	}
}

func (m *classicMember) join() {
	m.changed = false
	subscription := wire.NewConsumerProtocolSubscription()
	subscription.Topics = m.topics
	request := wire.JoinGroupRequest{
		GroupID: m.in.name, MemberID: m.id, GroupInstanceID: m.instance, ProtocolType: "consumer", SessionTimeoutMs: int32(sessionTimeout.Milliseconds()), RebalanceTimeoutMs: int32(rebalanceTimeout.Milliseconds()),
		Protocols: []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: subscription.AppendTo([]byte{0, 0}, 0)}},
	}
	m.ask(fmt.Sprintf("join as %q", m.id), 3*rebalanceTimeout, 2*rebalanceTimeout+writeTimeout, func(answer answer) {
		m.w.join(request, m.name, func(r *wire.JoinGroupResponse, err error) {
			answer(func() { m.joined(r, err) })
		})
	}, m.soon)
}

func (m *classicMember) joined(r *wire.JoinGroupResponse, err error) {
	m.w.say("%s: join: %v", m.name, kafka.CodeOf(err))
	switch kafka.CodeOf(err) {
	case kafka.None:
		m.id, m.generation = r.MemberID, r.GenerationID
		if m.instance != nil {
			m.in.holds(*m.instance, m.id)
		}
		m.sync(r)
		return
	case kafka.FencedInstanceID:
		m.replaced()
		return
	case kafka.MemberIDRequired:
		m.id = r.MemberID
	case kafka.UnknownMemberID, kafka.IllegalGeneration:
		m.id = ""
	default:
		m.judge("join", err, kafka.RebalanceInProgress)
	}
	m.soon()
}

// judge fails the run when a client is told what it cannot make anything of.
func (c *client) judge(what string, err error, expected ...kafka.ErrorCode) {
	if !retriable(err) && !slices.Contains(expected, kafka.CodeOf(err)) {
		c.w.fail("a client is told what it can act upon", "%s: %s: %v", c.name, what, err)
	}
}

func (m *classicMember) sync(joined *wire.JoinGroupResponse) {
	protocolType, protocol := "consumer", "range"
	request := &wire.SyncGroupRequest{GroupID: m.in.name, MemberID: m.id, GroupInstanceID: m.instance, GenerationID: m.generation, ProtocolType: &protocolType, ProtocolName: &protocol}
	m.leads = joined.Leader == m.id
	if m.leads {
		m.seen = m.w.layout(m.in.topics)
		request.Assignments = m.assign(joined.Members)
		if joined.SkipAssignment { // it does not know of which partitions the one before it has shared out
			m.seen = ""
		}
	}
	m.ask(fmt.Sprintf("sync in generation %d", m.generation), 3*rebalanceTimeout, rebalanceTimeout+writeTimeout, func(answer answer) {
		m.w.c.SyncGroup(request, func(r *wire.SyncGroupResponse, err error) {
			var owned []string
			if err == nil {
				owned = m.w.assignment(r.Assignment)
				m.w.assigned(m.in, request.MemberID, m.identity(request.MemberID), request.GenerationID, owned)
			}
			byID := m.w.byID(owned)
			answer(func() { m.synced(owned, byID, err) })
		})
	}, m.soon)
}

// assign gives each member a range of every topic that it reads.
func (m *classicMember) assign(members []wire.JoinGroupResponseMembers) []wire.SyncGroupRequestAssignments {
	given := map[string][]string{}
	for _, topic := range m.in.topics {
		var readers []string
		for _, o := range members {
			if slices.Contains(m.w.readsOf(o.Metadata), topic) {
				readers = append(readers, o.MemberID)
			}
		}
		slices.Sort(readers)
		partitions := int(m.w.partitionsOf(topic))
		for p := range partitions {
			if len(readers) > 0 {
				to := readers[p*len(readers)/partitions]
				given[to] = append(given[to], fmt.Sprintf("%s/%d", topic, p))
			}
		}
	}
	var list []wire.SyncGroupRequestAssignments
	for _, o := range members {
		list = append(list, wire.SyncGroupRequestAssignments{MemberID: o.MemberID, Assignment: assignmentOf(given[o.MemberID])})
	}
	return list
}

// assignmentOf writes an assignment as clients do.
func assignmentOf(partitions []string) []byte {
	a := wire.NewConsumerProtocolAssignment()
	for _, of := range partitions {
		topic, partition := parsePlace(of)
		if n := len(a.AssignedPartitions); n == 0 || a.AssignedPartitions[n-1].Topic != topic {
			a.AssignedPartitions = append(a.AssignedPartitions, wire.ConsumerProtocolAssignmentAssignedPartitions{Topic: topic})
		}
		last := &a.AssignedPartitions[len(a.AssignedPartitions)-1]
		last.Partitions = append(last.Partitions, partition)
	}
	return a.AppendTo([]byte{0, 0}, 0)
}

// assignment reads an assignment, which has come from another client or from the coordinator. No bytes are none.
func (w *world) assignment(bytes []byte) (partitions []string) {
	if len(bytes) == 0 {
		return nil
	}
	a := wire.NewConsumerProtocolAssignment()
	r := wire.NewReader(bytes[2:])
	a.Decode(r, int16(bytes[1]))
	if err := r.Err(); err != nil {
		w.fail("an assignment can be read", "%v", err)
	}
	for _, t := range a.AssignedPartitions {
		for _, p := range t.Partitions {
			partitions = append(partitions, fmt.Sprintf("%s/%d", t.Topic, p))
		}
	}
	return partitions
}

// readsOf are the topics in a member's metadata.
func (w *world) readsOf(metadata []byte) []string {
	s := wire.NewConsumerProtocolSubscription()
	r := wire.NewReader(metadata[2:])
	s.Decode(r, 0)
	if err := r.Err(); err != nil {
		w.fail("metadata is passed on as it is", "%v", err)
	}
	return s.Topics
}

func (m *classicMember) synced(partitions []string, byID []owned, err error) {
	m.w.say("%s: sync: %v %v", m.name, kafka.CodeOf(err), partitions)
	if err == nil {
		m.stable, m.owned, m.byID = true, partitions, byID
		m.later(heartbeatInterval, m.step)
		return
	}
	m.heard(err)
}

func (m *classicMember) heartbeat() {
	request := &wire.HeartbeatRequest{GroupID: m.in.name, MemberID: m.id, GroupInstanceID: m.instance, GenerationID: m.generation}
	m.ask(fmt.Sprintf("heartbeat in generation %d", m.generation), 0, sessionTimeout, func(answer answer) {
		m.w.c.Heartbeat(request, func(err error) { answer(func() { m.heard(err) }) })
	}, m.soon)
}

// heard goes on after a heartbeat or a commit.
func (m *classicMember) heard(err error) {
	switch kafka.CodeOf(err) {
	case kafka.None, kafka.UnknownTopicOrPartition:
		m.later(m.w.between(heartbeatInterval/4, heartbeatInterval), m.step)
		return
	case kafka.RebalanceInProgress:
		m.w.say("%s: is called to join", m.name)
		m.rejoin()
		return
	case kafka.FencedInstanceID:
		m.replaced()
		return
	case kafka.IllegalGeneration, kafka.UnknownMemberID, kafka.GroupIDNotFound:
		m.w.say("%s: is fenced: %v", m.name, kafka.CodeOf(err))
		if kafka.CodeOf(err) != kafka.IllegalGeneration {
			m.id = ""
		}
		m.rejoin()
		return
	}
	m.judge("heartbeat", err)
	m.soon()
}

func (m *classicMember) leave() {
	request := &wire.LeaveGroupRequest{GroupID: m.in.name, Members: []wire.LeaveGroupRequestMembers{{MemberID: m.id, GroupInstanceID: m.instance}}}
	m.stable, m.owned, m.byID, m.leads = false, nil, nil, false
	m.ask("leave", 0, writeTimeout, func(answer answer) {
		m.w.c.LeaveGroup(request, func(*wire.LeaveGroupResponse, error) { answer(func() {}) })
	}, func() {})
	m.dead = true
}

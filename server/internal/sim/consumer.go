package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// consumerMember is a member of a consumer group.
type consumerMember struct {
	client
	id    string
	epoch int32
	owned []owned
	// whole says that the next heartbeat tells everything, and is to be told everything: after a join, and when an
	// answer was missed.
	whole bool
	busy  bool // revoking
}

// owned is a partition that the member takes for its own.
type owned struct {
	topic kafka.TopicID
	index int32
}

// leaveEpoch is the member epoch of who leaves.
const leaveEpoch = -1

func (m *consumerMember) owns() []string {
	var list []string
	for _, o := range m.owned {
		list = append(list, fmt.Sprintf("%s/%d", m.w.nameOf(o.topic), o.index))
	}
	return list
}

// nameOf is the name of a topic, or its id when it is gone.
func (w *world) nameOf(id kafka.TopicID) string {
	for _, name := range w.sortedTopics() {
		if w.topics[name] == id {
			return name
		}
	}
	return fmt.Sprintf("?%x", id[15])
}

// resubscribe reads something else from the next heartbeat on.
func (m *consumerMember) resubscribe() {
	m.topics, m.regex = m.in.topics[:1+m.w.dice.IntN(len(m.in.topics))], ""
	if m.w.chance(0.5) {
		m.regex = pick(m.w, regexes)
	}
	m.whole = true
	m.w.say("%s: reads %v from now on", m.name, m.reads())
}

func (m *consumerMember) settled() bool { return m.epoch > 0 && !m.busy }

func (m *consumerMember) soon() {
	m.whole = true
	m.later(m.w.between(50*time.Millisecond, 500*time.Millisecond), m.step)
}

func (m *consumerMember) step() {
	if m.epoch > 0 && len(m.owned) > 0 && m.w.chance(0.3) {
		if o := pick(m.w, m.owned); m.w.partitionsOf(m.w.nameOf(o.topic)) > 0 {
			m.commit(m.id, m.epoch, fmt.Sprintf("%s/%d", m.w.nameOf(o.topic), o.index), m.committed, m.soon)
			return
		}
	}
	m.heartbeat()
}

func (m *consumerMember) committed(err error) {
	m.w.say("%s: commit: %v", m.name, kafka.CodeOf(err))
	switch kafka.CodeOf(err) {
	case kafka.None:
	case kafka.UnknownMemberID, kafka.GroupIDNotFound:
		m.fenced()
		return
	case kafka.FencedInstanceID:
		m.replaced()
		return
	default:
		m.judge("commit", err, kafka.StaleMemberEpoch, kafka.UnknownTopicOrPartition)
	}
	m.later(m.w.between(heartbeatInterval/8, heartbeatInterval/2), m.step)
}

// fenced gives everything up and joins again.
func (m *consumerMember) fenced() {
	m.owned, m.epoch, m.busy = nil, 0, false
	m.soon()
}

func (m *consumerMember) heartbeat() {
	request := wire.NewConsumerGroupHeartbeatRequest()
	request.GroupID, request.MemberID, request.MemberEpoch, request.InstanceID = m.in.name, m.id, m.epoch, m.instance
	if m.epoch == 0 || m.whole || m.repeated {
		regex := m.regex
		request.RebalanceTimeoutMs, request.SubscribedTopicNames, request.SubscribedTopicRegex = int32(rebalanceTimeout.Milliseconds()), m.topics, &regex
		if regex != "" {
			request.SubscribedTopicNames = []string{}
		}
	}
	request.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	for _, o := range m.owned {
		request.TopicPartitions = append(request.TopicPartitions, wire.ConsumerGroupHeartbeatRequestTopicPartitions{TopicID: o.topic, Partitions: []int32{o.index}})
	}
	m.whole, m.repeated = false, false
	m.ask(fmt.Sprintf("heartbeat in epoch %d with %v", m.epoch, m.owns()), 0, sessionTimeout, func(answer answer) {
		again := *request
		m.w.c.ConsumerGroupHeartbeat(&again, m.w.caller(m.name, 1), func(r *wire.ConsumerGroupHeartbeatResponse, err error) {
			if err == nil {
				m.w.reached(m.in, *r.MemberID, r.MemberEpoch)
			}
			answer(func() { m.heard(r, err) })
		})
	}, m.soon)
}

func (m *consumerMember) heard(r *wire.ConsumerGroupHeartbeatResponse, err error) {
	switch kafka.CodeOf(err) {
	case kafka.None:
	case kafka.UnknownMemberID, kafka.FencedMemberEpoch, kafka.GroupIDNotFound:
		m.w.say("%s: is fenced: %v", m.name, kafka.CodeOf(err))
		m.fenced()
		return
	case kafka.FencedInstanceID:
		m.replaced()
		return
	case kafka.UnreleasedInstanceID:
		if slices.ContainsFunc(m.w.living(m.in), func(o member) bool {
			c := o.connection()
			return c != &m.client && c.instance != nil && *c.instance == *m.instance
		}) {
			m.replaced()
			return
		}
		m.soon()
		return
	default:
		m.judge("heartbeat", err)
		m.soon()
		return
	}
	m.epoch = r.MemberEpoch
	if r.Assignment == nil {
		m.later(heartbeatInterval, m.step)
		return
	}
	var given []owned
	for _, t := range r.Assignment.TopicPartitions {
		for _, p := range t.Partitions {
			given = append(given, owned{t.TopicID, p})
		}
	}
	loses := slices.ContainsFunc(m.owned, func(o owned) bool { return !slices.Contains(given, o) })
	if !loses {
		m.owned = given
		m.w.say("%s: owns %v in epoch %d", m.name, m.owns(), m.epoch)
		m.later(heartbeatInterval, m.step)
		return
	}
	// It gives up what it loses, which takes a while: commits, and callbacks of the application.
	m.busy = true
	took := m.w.between(time.Millisecond, time.Second)
	if m.w.trouble(0.1) {
		took = m.w.between(rebalanceTimeout/2, 2*rebalanceTimeout)
	}
	epoch := m.epoch
	m.later(took, func() {
		if !m.busy || m.epoch != epoch {
			return
		}
		m.owned, m.busy = given, false
		m.w.say("%s: has given up; owns %v in epoch %d", m.name, m.owns(), m.epoch)
		m.step()
	})
}

func (m *consumerMember) leave() {
	request := wire.NewConsumerGroupHeartbeatRequest()
	request.GroupID, request.MemberID, request.MemberEpoch = m.in.name, m.id, leaveEpoch
	if m.instance != nil {
		request.InstanceID = m.instance
		if m.w.chance(0.7) {
			request.MemberEpoch = wentForNow
		}
	}
	m.owned = nil
	m.ask("leave", 0, writeTimeout, func(answer answer) {
		again := *request
		m.w.c.ConsumerGroupHeartbeat(&again, m.w.caller(m.name, 1), func(_ *wire.ConsumerGroupHeartbeatResponse, err error) {
			answer(func() {})
		})
	}, func() {})
	m.dead = true
}

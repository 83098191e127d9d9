package group

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
)

// TestMixedAtRandom is TestConsumersAtRandom for a group whose members speak the one protocol or the other, and change
// their minds, so that it goes up and down all the time. In every second history the classic members are cooperative.
func TestMixedAtRandom(t *testing.T) {
	runs := 60
	if testing.Short() {
		runs = 20
	}
	kinds := map[string]int{}
	for seed := range uint64(runs) {
		c := newMixedCrowd(t, seed)
		for i := 0; i < 200 && !t.Failed(); i++ {
			c.step()
			c.check()
			kinds[c.kind()]++
		}
		if !t.Failed() {
			c.settleMixed()
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s\n%s", seed, strings.Join(c.log, "\n"), c.described())
		}
	}
	if kinds[Classic] < runs || kinds[Consumer] < runs {
		t.Errorf("the histories are not mixed: %v", kinds)
	}
}

func newMixedCrowd(t *testing.T, seed uint64) *crowd {
	settings := map[string]string{"group.consumer.assignment.interval.ms": []string{"0", "1000"}[seed%2], "group.initial.rebalance.delay.ms": "0"}
	c := &crowd{world: newWorld(t, settings), rand: rand.New(rand.NewPCG(seed, 5)), topics: map[string]bool{}, mixed: true, cooperative: seed/2%2 == 1}
	for i := range 5 {
		one := &client{name: string(rune('a' + i))}
		if i < 2 {
			one.instance = &one.name
		}
		c.clients = append(c.clients, one)
	}
	c.create("ta")
	return c
}

func (c *crowd) kind() (kind string) {
	c.c.ListGroups(&wire.ListGroupsRequest{}, func(list []wire.ListGroupsResponseGroups, err error) {
		if len(list) == 1 {
			kind = list[0].GroupType
		}
	})
	return kind
}

// classicClient is what a member of the classic protocol knows beside what all do.
type classicClient struct {
	id         string
	generation int32
	// must is what it is to send next: join, sync or beat.
	must    string
	members []wire.JoinGroupResponseMembers // it leads, and is to assign
	leads   bool
}

// appear lets a client that was gone come as a new process, of either protocol.
func (c *crowd) appear(one *client) {
	c.ids++
	one.gone()
	one.joined, one.heard = true, c.now
	one.topics, one.regex = [][]string{{"ta"}, {"ta", "tb"}, {"tb", "u"}}[c.rand.IntN(3)], ""
	if c.rand.IntN(2) == 0 {
		one.id, one.epoch = fmt.Sprintf("%s%d", one.name, c.ids), 0
		c.send(one, true)
		return
	}
	one.classic = &classicClient{must: "join"}
	c.sendClassic(one)
}

// actClassic lets a classic member do something.
func (c *crowd) actClassic(one *client) {
	if one.waits || c.rand.IntN(25) > 0 {
		c.sendClassic(one)
		return
	}
	id := one.classic.id
	one.gone()
	c.note("%s is gone", one.name)
	if c.rand.IntN(3) > 0 && id != "" {
		c.note("%s leaves as %s", one.name, id)
		request := &wire.LeaveGroupRequest{GroupID: "g", Members: []wire.LeaveGroupRequestMembers{{MemberID: id, GroupInstanceID: one.instance}}}
		c.c.LeaveGroup(request, func(*wire.LeaveGroupResponse, error) {})
	}
}

// heardBack makes of an answer's handler one that counts only while the process is the same.
func (c *crowd) heardBack(one *client, what string, handle func(sent time.Time, err error)) func(err error) {
	life, sent, lost := one.life, c.now, !c.calm && c.rand.IntN(15) == 0
	one.waits = true
	return func(err error) {
		switch {
		case one.life != life:
			return
		case lost:
			c.note("%s misses the answer to %s", one.name, what)
			one.waits = false
			if one.classic.must != "beat" {
				c.rejoin(one)
			}
			return
		}
		one.waits = false
		c.note("%s: %s: %v", one.name, what, kafka.CodeOf(err))
		handle(sent, err)
	}
}

// rejoin is what a member does before it joins: an eager one gives up everything.
func (c *crowd) rejoin(one *client) {
	one.classic.must, one.classic.leads, one.classic.members = "join", false, nil
	if !c.cooperative {
		one.owned = nil
	}
}

// refused is what a classic member does about an error.
func (c *crowd) refused(one *client, err error) {
	switch kafka.CodeOf(err) {
	case kafka.RebalanceInProgress:
		c.rejoin(one)
	case kafka.IllegalGeneration:
		one.owned = nil // it has lost everything
		c.rejoin(one)
	case kafka.UnknownMemberID:
		one.owned, one.classic.id = nil, ""
		c.rejoin(one)
	case kafka.FencedInstanceID:
		one.gone()
	case kafka.CoordinatorNotAvailable, kafka.NotCoordinator, kafka.RequestTimedOut:
		if one.classic.must != "beat" {
			c.rejoin(one)
		}
	default:
		c.fail("nobody expects %v", err)
	}
}

// sendClassic sends what a classic member is to send next.
func (c *crowd) sendClassic(one *client) {
	if one.waits {
		return
	}
	m := one.classic
	switch m.must {
	case "join":
		request := &wire.JoinGroupRequest{GroupID: "g", MemberID: m.id, GroupInstanceID: one.instance, ProtocolType: "consumer",
			SessionTimeoutMs: int32(aSession.Milliseconds()), RebalanceTimeoutMs: int32(aRebalance.Milliseconds()),
			Protocols: []wire.JoinGroupRequestProtocols{{Name: "own", Metadata: c.subscription(one)}}}
		c.note("%s joins as %q, reads %v, owns %v", one.name, m.id, one.topics, c.say(one.owned))
		var r *wire.JoinGroupResponse
		back := c.heardBack(one, "join", func(sent time.Time, err error) {
			if r != nil && kafka.CodeOf(err) == kafka.MemberIDRequired {
				m.id = r.MemberID
				return
			}
			if err != nil {
				c.refused(one, err)
				return
			}
			m.id, m.generation, m.must, m.leads, m.members = r.MemberID, r.GenerationID, "sync", r.Leader == r.MemberID, r.Members
			one.heard, one.since = sent, sent
		})
		c.c.JoinGroup(request, Caller{ClientID: one.name, Version: 9}, func(response *wire.JoinGroupResponse, err error) { r = response; back(err) })
	case "sync":
		request := &wire.SyncGroupRequest{GroupID: "g", MemberID: m.id, GroupInstanceID: one.instance, GenerationID: m.generation}
		if m.leads {
			request.Assignments = c.lead(m.members)
		}
		c.note("%s syncs as %q in %d, leads %v", one.name, m.id, m.generation, m.leads)
		var r *wire.SyncGroupResponse
		back := c.heardBack(one, "sync", func(sent time.Time, err error) {
			if err != nil {
				c.refused(one, err)
				return
			}
			one.heard, one.since = sent, sent
			c.synced(one, r.Assignment)
		})
		c.c.SyncGroup(request, func(response *wire.SyncGroupResponse, err error) { r = response; back(err) })
	case "beat":
		back := c.heardBack(one, "heartbeat", func(sent time.Time, err error) {
			if code := kafka.CodeOf(err); code == kafka.None || code == kafka.RebalanceInProgress {
				one.heard = sent
			}
			if err != nil {
				c.refused(one, err)
				return
			}
			one.since = sent // a rebalance may begin right behind it
		})
		c.c.Heartbeat(&wire.HeartbeatRequest{GroupID: "g", MemberID: m.id, GroupInstanceID: one.instance, GenerationID: m.generation}, back)
	}
}

// synced is what a member does with its assignment. A cooperative one that has lost something gives it up and joins again.
func (c *crowd) synced(one *client, b []byte) {
	a, err := embedded.ReadAssignment(b)
	if err != nil {
		c.fail("%s cannot read its assignment %x: %v", one.name, b, err)
		return
	}
	before := one.owned
	one.owned, one.assigned = map[slot]bool{}, map[slot]bool{}
	for _, t := range a.AssignedPartitions {
		if topic := c.image.Topic(t.Topic); topic != nil {
			for _, p := range t.Partitions {
				one.owned[slot{topic.ID, p}], one.assigned[slot{topic.ID, p}] = true, true
			}
		}
	}
	c.note("%s owns %v", one.name, c.say(one.owned))
	one.classic.must = "beat"
	for s := range before {
		if !one.owned[s] {
			c.rejoin(one)
		}
	}
}

func (c *crowd) subscription(one *client) []byte {
	s := wire.NewConsumerProtocolSubscription()
	s.Topics = one.topics
	for _, topic := range c.slots(one.owned) {
		if t := c.image.TopicByID(topic.TopicID); t != nil {
			s.OwnedPartitions = append(s.OwnedPartitions, wire.ConsumerProtocolSubscriptionOwnedPartitions{Topic: t.Name, Partitions: topic.Partitions})
		}
	}
	return s.AppendTo(binary.BigEndian.AppendUint16(nil, 1), 1)
}

// lead assigns as the leader of a classic group does: round robin. What one owns that another is to have, nobody gets
// until it has been given up.
func (c *crowd) lead(members []wire.JoinGroupResponseMembers) (list []wire.SyncGroupRequestAssignments) {
	given := make([]map[string][]int32, len(members))
	owners := map[string]int{}
	readers := map[string][]int{}
	for i, m := range members {
		given[i] = map[string][]int32{}
		s, err := embedded.ReadSubscription(m.Metadata)
		if err != nil {
			c.fail("the leader cannot read %x: %v", m.Metadata, err)
			return nil
		}
		for _, t := range s.OwnedPartitions {
			for _, p := range t.Partitions {
				owners[fmt.Sprintf("%s/%d", t.Topic, p)] = i
			}
		}
		for _, t := range s.Topics {
			readers[t] = append(readers[t], i)
		}
	}
	n := 0
	for _, topic := range []string{"ta", "tb", "u"} {
		t := c.image.Topic(topic)
		if t == nil || len(readers[topic]) == 0 {
			continue
		}
		for p := range t.Partitions {
			to := readers[topic][n%len(readers[topic])]
			n++
			if owner, owned := owners[fmt.Sprintf("%s/%d", topic, p)]; owned && owner != to {
				continue
			}
			given[to][topic] = append(given[to][topic], int32(p))
		}
	}
	for i, m := range members {
		var topics []wire.ConsumerProtocolAssignmentAssignedPartitions
		for _, topic := range []string{"ta", "tb", "u"} {
			if len(given[i][topic]) > 0 {
				topics = append(topics, wire.ConsumerProtocolAssignmentAssignedPartitions{Topic: topic, Partitions: given[i][topic]})
			}
		}
		list = append(list, wire.SyncGroupRequestAssignments{MemberID: m.MemberID, Assignment: embedded.WriteAssignment(topics, 1)})
	}
	return list
}

// settleMixed lets everybody who is there do what they must until there is nothing to do. A classic leader looks whether
// there are other topics than it has assigned, and calls for a rebalance then: here they all do once.
func (c *crowd) settleMixed() {
	c.world.log.Refuse, c.calm = nil, true
	c.commit()
	for round := range 60 {
		c.pass(5 * time.Second)
		for _, one := range c.clients {
			switch {
			case !one.joined:
			case one.classic == nil:
				one.revoke()
				c.send(one, true)
			default:
				if round == 20 && !one.waits && one.classic.must == "beat" {
					c.rejoin(one)
				}
				c.sendClassic(one)
			}
			c.check()
		}
	}
	readers := map[slot]int{}
	for _, one := range c.clients {
		for s := range one.owned {
			readers[s]++
		}
	}
	for topic := range c.image.Topics() {
		if slices.Contains([]string{"ta", "tb", "u"}, topic.Name) && c.read(topic) {
			for i := range topic.Partitions {
				if s := (slot{topic.ID, int32(i)}); readers[s] != 1 {
					c.fail("%d members own %s", readers[s], c.topic(s.topic, []int32{s.index}))
				}
			}
		}
	}
	c.again()
}

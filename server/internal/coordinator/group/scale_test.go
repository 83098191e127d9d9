package group

import (
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// throng is a consumer group of many members, each of which does what it is told at once.
type throng struct {
	w       *world
	members []*throngMember
}

type throngMember struct {
	id    string
	epoch int32
	owns  []wire.ConsumerGroupHeartbeatRequestTopicPartitions
	says  bool // it has something new to say of what it owns
}

// newThrong makes a topic t of so many partitions.
func newThrong(t testing.TB, partitions int) *throng {
	w := newWorld(t, map[string]string{})
	id := kafka.TopicID{15: 2}
	records := []wire.Message{&wire.TopicRecord{Name: "t", TopicID: id}}
	for n := range int32(partitions) {
		records = append(records, w.partition(id, n))
	}
	w.apply(records...)
	return &throng{w: w}
}

// beat sends the heartbeat of a member.
func (c *throng) beat(m *throngMember) {
	r := wire.NewConsumerGroupHeartbeatRequest()
	r.GroupID, r.MemberID, r.MemberEpoch = "g", m.id, m.epoch
	if m.epoch == 0 {
		r.RebalanceTimeoutMs, r.SubscribedTopicNames, r.TopicPartitions = 60_000, []string{"t"}, []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	} else if m.says {
		r.TopicPartitions = m.owns
	}
	m.says = false
	c.w.c.ConsumerGroupHeartbeat(r, Caller{ClientID: "c", Host: "/h", Version: 1}, func(r *wire.ConsumerGroupHeartbeatResponse, err error) {
		if err != nil {
			c.w.t.Fatal(err)
		}
		m.epoch = r.MemberEpoch
		if r.Assignment != nil {
			m.owns, m.says = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}, true
			for _, t := range r.Assignment.TopicPartitions {
				m.owns = append(m.owns, wire.ConsumerGroupHeartbeatRequestTopicPartitions(t))
			}
		}
	})
}

func (c *throng) join(n int) {
	for i := range n {
		m := &throngMember{id: fmt.Sprintf("m%04d", i)}
		c.members = append(c.members, m)
		c.beat(m)
	}
}

// settle lets everybody beat until the group is stable, and returns how often that was.
func (c *throng) settle() (beats int) {
	for c.state() != "Stable" {
		c.w.advance(500 * time.Millisecond)
		for _, m := range c.members {
			c.beat(m)
			beats++
		}
	}
	return beats
}

func (c *throng) state() (state string) {
	c.w.c.ConsumerGroupDescribe("g", func(g wire.ConsumerGroupDescribeResponseGroups, err error) { state = g.GroupState })
	return state
}

// die lets the session of the first n members end while the others beat.
func (c *throng) die(n int) {
	c.members = c.members[n:]
	for range 45 {
		c.w.advance(time.Second)
		for _, m := range c.members {
			c.beat(m)
		}
	}
}

func BenchmarkAThousandJoin(b *testing.B) {
	for b.Loop() {
		c := newThrong(b, 1000)
		c.join(1000)
		c.settle()
	}
}

func BenchmarkTenOfAThousandDie(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := newThrong(b, 1000)
		c.join(1000)
		c.settle()
		b.StartTimer()
		c.die(10)
		c.settle()
	}
}

// BenchmarkHeartbeat is that of a member of a stable group to which nothing happens.
func BenchmarkHeartbeat(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := newThrong(b, 1000)
			c.join(n)
			c.settle()
			c.beat(c.members[0])
			b.ReportAllocs()
			for b.Loop() {
				c.beat(c.members[0])
			}
		})
	}
}

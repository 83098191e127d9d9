package speed

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// crew is a group of many members of the consumer protocol. Each of them does what Kafka's own client does: it beats when
// the coordinator has told it to, and at once when it has something to say of what it owns.
type crew struct {
	group, topic string
	partitions   int
	links        []*link

	mu      sync.Mutex
	changed *sync.Cond
	members []*crewMember
	failed  error
	beats   int
	running sync.WaitGroup
}

type crewMember struct {
	crew  *crew
	link  *link
	id    string
	stop  chan struct{}
	heard time.Time // when it was answered last

	// guarded by crew.mu
	epoch int32
	owns  []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic
	owes  bool          // it has not said yet that it owns just this
	late  time.Duration // by how much it puts off its next heartbeat
}

func newCrew(b *testing.B, addr, group, topic string, partitions int) *crew {
	c := &crew{group: group, topic: topic, partitions: partitions}
	c.changed = sync.NewCond(&c.mu)
	for range 32 {
		l, err := dial(addr)
		if err != nil {
			b.Fatal(err)
		}
		c.links = append(c.links, l)
	}
	return c
}

// join lets so many members in at once, and returns how long it is until the group is stable.
func (c *crew) join(b *testing.B, n int) time.Duration {
	began := time.Now()
	for i := range n {
		m := &crewMember{crew: c, link: c.links[i%len(c.links)], id: fmt.Sprintf("%s-%04d", c.group, i), stop: make(chan struct{})}
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		c.running.Go(m.run)
	}
	c.await(b)
	return time.Since(began)
}

// die lets n members fall silent, and returns how long it is from the end of the last session until the others
// have their partitions.
func (c *crew) die(b *testing.B, n int, session time.Duration) time.Duration {
	c.mu.Lock()
	var dead, alive []*crewMember
	for i, m := range c.members {
		if every := len(c.members) / n; i%every == every-1 {
			dead = append(dead, m)
		} else {
			alive = append(alive, m)
		}
	}
	c.members = alive
	c.mu.Unlock()
	var last time.Time
	for _, m := range dead {
		close(m.stop)
	}
	time.Sleep(100 * time.Millisecond) // what is under way comes in
	c.mu.Lock()
	for _, m := range dead {
		if m.heard.After(last) {
			last = m.heard
		}
	}
	c.mu.Unlock()
	c.await(b)
	return time.Since(last.Add(session))
}

// await waits until every partition has its owner, all have as many, are in one epoch, and nobody has anything to say.
func (c *crew) await(b *testing.B) {
	deadline := time.AfterFunc(3*time.Minute, func() {
		c.fail(fmt.Errorf("the group is not stable after three minutes"))
	})
	defer deadline.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.stable() && c.failed == nil {
		c.changed.Wait()
	}
	if c.failed != nil {
		b.Fatal(c.failed)
	}
}

func (c *crew) stable() bool {
	owned, fewest, most := 0, c.partitions, 0
	for _, m := range c.members {
		if m.owes || m.epoch != c.members[0].epoch || m.epoch == 0 {
			return false
		}
		n := 0
		for _, t := range m.owns {
			n += len(t.Partitions)
		}
		owned, fewest, most = owned+n, min(fewest, n), max(most, n)
	}
	return owned == c.partitions && most-fewest <= 1
}

// disperse lets everybody beat some time between now and the interval's end, as members do that have been there for long:
// they have all come together.
func (c *crew) disperse() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, m := range c.members {
		m.late = time.Duration(i*7919%len(c.members)) * interval / time.Duration(len(c.members))
	}
}

func (c *crew) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = err
	}
	c.changed.Broadcast()
}

// leave lets everybody go.
func (c *crew) leave() {
	for _, m := range c.members {
		close(m.stop)
	}
	c.running.Wait()
	var gone sync.WaitGroup
	for _, m := range c.members {
		gone.Go(func() {
			r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
			r.SetVersion(1)
			r.Group, r.MemberID, r.MemberEpoch = c.group, m.id, -1
			m.link.call(r)
		})
	}
	gone.Wait()
	for _, l := range c.links {
		l.close()
	}
}

// run beats until it is stopped.
func (m *crewMember) run() {
	for {
		wait, err := m.beat()
		if err != nil {
			m.crew.fail(err)
			return
		}
		select {
		case <-m.stop:
			return
		case <-time.After(wait):
		}
	}
}

// beat sends a heartbeat and returns when the next one is due.
func (m *crewMember) beat() (time.Duration, error) {
	c := m.crew
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.SetVersion(1)
	c.mu.Lock()
	r.Group, r.MemberID, r.MemberEpoch = c.group, m.id, m.epoch
	says := m.owes
	if m.epoch == 0 {
		r.RebalanceTimeoutMillis, r.SubscribedTopicNames, r.Topics = 300_000, []string{c.topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	} else if says {
		r.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		for _, t := range m.owns {
			one := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			one.TopicID, one.Partitions = t.TopicID, t.Partitions
			r.Topics = append(r.Topics, one)
		}
	}
	c.mu.Unlock()
	answered, err := m.link.call(r)
	if err != nil {
		return 0, err
	}
	response := answered.(*kmsg.ConsumerGroupHeartbeatResponse)
	switch err := kerr.ErrorForCode(response.ErrorCode); {
	case kerr.IsRetriable(err):
		return 50 * time.Millisecond, nil
	case err != nil:
		return 0, fmt.Errorf("%s in epoch %d: %w", m.id, r.MemberEpoch, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats++
	m.heard = time.Now()
	if says {
		m.owes = false
	}
	m.epoch = response.MemberEpoch
	if response.Assignment != nil {
		m.owns, m.owes = response.Assignment.Topics, true
	}
	if m.epoch == c.members[0].epoch && !m.owes {
		c.changed.Broadcast()
	}
	late := m.late
	m.late = 0
	if m.owes {
		return 0, nil
	}
	return late + time.Duration(response.HeartbeatIntervalMillis)*time.Millisecond, nil
}

package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// crowd is a group of the consumer protocol whose members, topics and log do anything in any order, as a seed says.
type crowd struct {
	*world
	rand    *rand.Rand
	clients []*client
	topics  map[string]bool
	ids     int // of members and topics, none twice
	epoch   int32
	calm    bool // no answer is lost any more
	// mixed: members of the classic protocol are there too (migrate_property_test.go), all of them cooperative or none.
	mixed, cooperative bool
	log                []string
}

// client is a member as it sees itself. It works on what it was given until it has given it up, and everybody believes
// it that it did when it says so.
type client struct {
	name, id string
	instance *string
	joined   bool
	epoch    int32
	topics   []string
	regex    string
	// owned is what it works on, assigned what it was told last.
	owned, assigned map[slot]bool
	waits           bool // for an answer
	classic         *classicClient
	life            int // of the process
	// unsure: an answer was lost, so that it must say everything. since is when the oldest thing happened that may have
	// begun a rebalance that it is to take part in.
	unsure bool
	since  time.Time
	heard  time.Time // of its last answer
}

type slot struct {
	topic kafka.TopicID
	index int32
}

// The timeouts that members know of.
const (
	aSession   = 45 * time.Second
	aRebalance = 60 * time.Second
)

// TestConsumersAtRandom looks, after every event of random histories, for a partition with two owners and for epochs that
// go back; that a coordinator that loads the log is in the state of the one that wrote it; and, at the end, that members
// who do their part all have theirs.
func TestConsumersAtRandom(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 20
	}
	for seed := range uint64(runs) {
		c := newCrowd(t, seed)
		for i := 0; i < 150 && !t.Failed(); i++ {
			c.step()
			c.check()
		}
		if !t.Failed() {
			c.settle()
		}
		if t.Failed() {
			t.Fatalf("seed %d:\n%s\n%s", seed, strings.Join(c.log, "\n"), c.described())
		}
	}
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	settings := map[string]string{"group.consumer.assignment.interval.ms": []string{"0", "1000", "15000"}[seed%3]}
	c := &crowd{world: newWorld(t, settings), rand: rand.New(rand.NewPCG(seed, 4)), topics: map[string]bool{}}
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

func (c *crowd) note(format string, args ...any) {
	c.log = append(c.log, fmt.Sprintf("%s ", c.now.Format("04:05.000"))+fmt.Sprintf(format, args...))
}

func (c *crowd) fail(format string, args ...any) {
	c.note("WRONG: "+format, args...)
	c.t.Fail()
}

// step lets one thing happen.
func (c *crowd) step() {
	one := c.clients[c.rand.IntN(len(c.clients))]
	switch n := c.rand.IntN(100); {
	case n < 60:
		c.act(one)
	case n < 75:
		c.pass(time.Duration(c.rand.IntN(3000)) * time.Millisecond)
	case n < 77:
		c.pass(time.Duration(c.rand.IntN(50)) * time.Second)
	case n < 82:
		c.change()
	case n < 86:
		c.note("the log refuses")
		c.world.log.Refuse = kafka.NotEnoughReplicas
	case n < 90:
		c.note("the log accepts")
		c.world.log.Refuse = nil
	case n < 93:
		c.note("commits wait")
		c.world.log.Direct = false
	case n < 97:
		c.commit()
	default:
		c.again()
	}
}

func (c *crowd) commit() {
	c.note("commits come")
	c.world.log.Direct = true
	c.world.log.Commit(c.world.log.Waiting())
}

// again lets another coordinator load the log. When nothing was on its way, it is as the one before.
func (c *crowd) again() {
	whole := c.world.log.Waiting() == 0
	before := ""
	if whole {
		before = c.described()
	}
	c.note("another coordinator")
	if c.rand.IntN(2) == 0 {
		c.note("the log was compacted")
		if err := c.world.log.Compact(c.rand.Int64N(c.world.log.High+1), func([]byte) bool { return c.rand.IntN(2) == 0 }); err != nil {
			c.t.Fatal(err)
		}
	}
	c.reload()
	c.world.log.Direct = true
	if after := c.described(); whole && before != after {
		c.fail("the state was\n%sand is loaded as\n%s", before, after)
	}
}

// described is the group as everybody can see it.
func (c *crowd) described() string {
	c.out.Reset()
	c.describeConsumers([]string{"g"}, nil)
	return c.out.String()
}

// pass lets time pass. A member that has not been heard of for too long, or that does not give up what it must, knows
// that others may have its partitions.
func (c *crowd) pass(d time.Duration) {
	c.note("%v pass", d)
	for _, one := range c.clients {
		end := c.now.Add(d)
		if one.joined && (end.Sub(one.heard) >= aSession || !one.since.IsZero() && end.Sub(one.since) >= aRebalance) {
			c.note("%s knows that it is too late", one.name)
			one.gone()
		}
	}
	c.advance(d)
}

func (one *client) gone() {
	one.joined, one.owned, one.assigned, one.unsure, one.since = false, nil, nil, false, time.Time{}
	if one.classic != nil {
		one.waits = false
	}
	one.classic = nil
	one.life++
}

// change changes the topics.
func (c *crowd) change() {
	name := []string{"ta", "tb", "u"}[c.rand.IntN(3)]
	topic := c.image.Topic(name)
	switch {
	case topic == nil:
		c.create(name)
	case c.rand.IntN(3) == 0:
		c.note("topic %s goes", name)
		c.apply(&wire.RemoveTopicRecord{TopicID: topic.ID})
	case len(topic.Partitions) < 8:
		c.note("topic %s grows", name)
		c.apply(c.partition(topic.ID, int32(len(topic.Partitions))))
	}
}

func (c *crowd) create(name string) {
	c.ids++
	id := kafka.TopicID{13: byte(c.ids >> 8), 14: byte(c.ids), 15: 200}
	c.note("topic %s comes", name)
	records := []wire.Message{&wire.TopicRecord{Name: name, TopicID: id}}
	for i := range 1 + c.rand.IntN(4) {
		records = append(records, c.partition(id, int32(i)))
	}
	c.apply(records...)
}

// act lets a member send something.
func (c *crowd) act(one *client) {
	switch {
	case one.classic != nil:
		c.actClassic(one)
		return
	case one.waits:
		return
	case !one.joined && c.mixed:
		c.appear(one)
		return
	}
	if !one.joined {
		c.ids++
		one.gone()
		one.id, one.epoch, one.joined, one.heard = fmt.Sprintf("%s%d", one.name, c.ids), 0, true, c.now
		c.subscribe(one)
		c.send(one, true)
		return
	}
	switch n := c.rand.IntN(20); {
	case n == 0: // it crashes, or goes for good or for now without waiting for an answer
		c.note("%s is gone", one.name)
		epoch := one.epoch
		one.gone()
		if epoch > 0 && c.rand.IntN(3) > 0 {
			leave := int32(-1)
			if one.instance != nil && c.rand.IntN(2) == 0 {
				leave = -2
			}
			request := wire.NewConsumerGroupHeartbeatRequest()
			request.GroupID, request.MemberID, request.MemberEpoch, request.InstanceID = "g", one.id, leave, one.instance
			c.note("%s leaves by %d", one.name, leave)
			c.c.ConsumerGroupHeartbeat(request, Caller{Version: 1}, func(*wire.ConsumerGroupHeartbeatResponse, error) {})
		}
	case n == 1:
		c.subscribe(one)
		c.send(one, true)
	case n < 8:
		c.send(one, one.unsure)
	case n < 12:
		c.send(one, true)
	default:
		one.revoke()
		c.send(one, true)
	}
}

func (c *crowd) subscribe(one *client) {
	one.topics, one.regex = nil, ""
	if c.mixed {
		one.topics = [][]string{{"ta"}, {"ta", "tb"}, {"tb", "u"}}[c.rand.IntN(3)]
		return
	}
	switch c.rand.IntN(4) {
	case 0:
		one.regex = []string{"t.*", ".*b|u"}[c.rand.IntN(2)]
	case 1:
		one.topics, one.regex = []string{"u"}, "t.*"
	default:
		one.topics = [][]string{{"ta"}, {"ta", "tb"}, {"tb", "u"}}[c.rand.IntN(3)]
	}
}

// revoke gives up what the member is not to have any more.
func (one *client) revoke() {
	for s := range one.owned {
		if !one.assigned[s] {
			delete(one.owned, s)
		}
	}
}

// send sends a heartbeat, one that says everything or as little as possible.
func (c *crowd) send(one *client, full bool) {
	request := wire.NewConsumerGroupHeartbeatRequest()
	request.GroupID, request.MemberID, request.MemberEpoch, request.InstanceID = "g", one.id, one.epoch, one.instance
	if full || one.epoch == 0 {
		request.RebalanceTimeoutMs = int32(aRebalance.Milliseconds())
		request.SubscribedTopicNames, request.SubscribedTopicRegex = append([]string{}, one.topics...), &one.regex
		request.TopicPartitions = c.slots(one.owned)
	}
	lost := !c.calm && c.rand.IntN(12) == 0
	if one.since.IsZero() {
		one.since = c.now // what is answered to this may be the beginning of a rebalance
	}
	c.note("%s beats as %s in epoch %d, reads %v %q, owns %v of %v, full %v", one.name, one.id, one.epoch, one.topics, one.regex, c.say(one.owned), c.say(one.assigned), full)
	one.waits = true
	life, sent := one.life, c.now
	c.c.ConsumerGroupHeartbeat(request, Caller{Version: 1}, func(r *wire.ConsumerGroupHeartbeatResponse, err error) {
		if one.life != life || !one.joined {
			if one.classic == nil {
				one.waits = false
			}
			return // it has gone since
		}
		one.waits = false
		if lost {
			c.note("%s misses the answer", one.name)
			one.unsure = true
			return
		}
		c.answer(one, r, err, sent)
	})
}

func (c *crowd) answer(one *client, r *wire.ConsumerGroupHeartbeatResponse, err error, sent time.Time) {
	if err != nil {
		c.note("%s is told %v", one.name, err)
		one.unsure = true
		switch kafka.CodeOf(err) {
		case kafka.UnknownMemberID, kafka.FencedMemberEpoch, kafka.UnreleasedInstanceID, kafka.FencedInstanceID, kafka.GroupIDNotFound:
			one.gone()
		case kafka.CoordinatorNotAvailable, kafka.NotCoordinator, kafka.RequestTimedOut:
		default:
			c.fail("nobody expects that")
		}
		return
	}
	if r.MemberEpoch < one.epoch {
		c.fail("the epoch of %s goes from %d to %d", one.name, one.epoch, r.MemberEpoch)
	}
	one.epoch, one.heard, one.unsure = r.MemberEpoch, sent, false
	if r.Assignment != nil {
		one.assigned = map[slot]bool{}
		if one.owned == nil {
			one.owned = map[slot]bool{}
		}
		for _, t := range r.Assignment.TopicPartitions {
			for _, p := range t.Partitions {
				one.assigned[slot{t.TopicID, p}] = true
				one.owned[slot{t.TopicID, p}] = true
			}
		}
	}
	if len(one.owned) == len(one.assigned) {
		one.since = time.Time{}
	}
	c.note("%s is in epoch %d, owns %v of %v", one.name, one.epoch, c.say(one.owned), c.say(one.assigned))
}

func (c *crowd) slots(set map[slot]bool) []wire.ConsumerGroupHeartbeatRequestTopicPartitions {
	list := []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	for s := range set {
		i := slices.IndexFunc(list, func(t wire.ConsumerGroupHeartbeatRequestTopicPartitions) bool { return t.TopicID == s.topic })
		if i < 0 {
			i = len(list)
			list = append(list, wire.ConsumerGroupHeartbeatRequestTopicPartitions{TopicID: s.topic})
		}
		list[i].Partitions = append(list[i].Partitions, s.index)
	}
	return list
}

func (c *crowd) say(set map[slot]bool) []string {
	words := []string{}
	for s := range set {
		words = append(words, c.topic(s.topic, []int32{s.index}))
	}
	slices.Sort(words)
	return words
}

// check looks at what must always be so.
func (c *crowd) check() {
	owners := map[slot]string{}
	for _, one := range c.clients {
		for s := range one.owned {
			if other, owned := owners[s]; owned {
				c.fail("%s and %s own %s", other, one.name, c.topic(s.topic, []int32{s.index}))
			}
			owners[s] = one.name
		}
	}
	c.c.ConsumerGroupDescribe("g", func(g wire.ConsumerGroupDescribeResponseGroups, err error) {
		if c.mixed {
			return // a classic group without members is forgotten with its generation
		}
		if err == nil && g.GroupEpoch < c.epoch {
			c.fail("the group's epoch goes from %d to %d", c.epoch, g.GroupEpoch)
		}
		c.epoch = max(c.epoch, g.GroupEpoch)
	})
}

// settle lets everybody who is there do what they must until there is nothing to do.
func (c *crowd) settle() {
	c.world.log.Refuse, c.calm = nil, true
	c.commit()
	for range 12 {
		c.pass(11 * time.Second)
		for _, one := range c.clients {
			if one.joined {
				one.revoke()
				c.send(one, true)
				c.check()
			}
		}
	}
	readers := map[slot]int{}
	for _, one := range c.clients {
		for s := range one.owned {
			readers[s]++
		}
	}
	for topic := range c.image.Topics() {
		if c.read(topic) {
			for i := range topic.Partitions {
				if s := (slot{topic.ID, int32(i)}); readers[s] != 1 {
					c.fail("%d members own %s", readers[s], c.topic(s.topic, []int32{s.index}))
				}
				delete(readers, slot{topic.ID, int32(i)})
			}
		}
	}
	if len(readers) > 0 {
		c.fail("members own what nobody reads: %v", readers)
	}
	c.again()
}

// read reports whether somebody reads a topic.
func (c *crowd) read(topic *metadata.Topic) bool {
	for _, one := range c.clients {
		matched := map[string]bool{"t.*": strings.HasPrefix(topic.Name, "t"), ".*b|u": topic.Name == "tb" || topic.Name == "u"}[one.regex]
		if one.joined && (matched || slices.Contains(one.topics, topic.Name)) {
			return true
		}
	}
	return false
}

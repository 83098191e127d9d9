package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func init() {
	commands["beat"] = (*world).beat
	commands["describeconsumers"] = (*world).describeConsumers
	commands["groupconfig"] = (*world).groupConfig
	commands["brokerconfig"] = (*world).brokerConfig
	commands["broker"] = (*world).broker
	commands["replicas"] = (*world).replicas
}

// broker ID rack=: registers a broker, or does so again.
func (w *world) broker(args []string, o options) {
	r := wire.NewRegisterBrokerRecord()
	r.BrokerID, r.BrokerEpoch = number(args[0]), w.offset
	if rack, ok := o["rack"]; ok {
		r.Rack = &rack
	}
	w.apply(r)
}

// replicas TOPIC LIST…: which brokers have the partitions from 0 on, as 1+2.
func (w *world) replicas(args []string, _ options) {
	var records []wire.Message
	for n, list := range args[1:] {
		p := wire.NewPartitionRecord()
		p.TopicID, p.PartitionID = w.image.Topic(args[0]).ID, int32(n)
		for _, id := range strings.Split(list, "+") {
			p.Replicas = append(p.Replicas, number(id))
		}
		p.Isr, p.Leader = p.Replicas, p.Replicas[0]
		records = append(records, p)
	}
	w.apply(records...)
}

func number(text string) int32 {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

// groupConfig GROUP key=value…: settings of the group's own.
func (w *world) groupConfig(args []string, o options) {
	for key, value := range o {
		w.apply(&wire.ConfigRecord{ResourceType: int8(kafka.ResourceGroup), ResourceName: args[0], Name: key, Value: &value})
	}
}

// brokerConfig BROKER key=value…: settings of one broker, or of all (-), changed while they run.
func (w *world) brokerConfig(args []string, o options) {
	for key, value := range o {
		w.apply(&wire.ConfigRecord{ResourceType: int8(kafka.ResourceBroker), ResourceName: strings.Trim(args[0], "-"), Name: key, Value: &value})
	}
}

// owned reads topic/0+1+2,u/3 as partitions by topic id.
func (w *world) owned(text string) []wire.ConsumerGroupHeartbeatRequestTopicPartitions {
	list := []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
	if text == "none" {
		return list
	}
	for _, one := range strings.Split(text, ",") {
		topic, numbers, _ := strings.Cut(one, "/")
		t := wire.ConsumerGroupHeartbeatRequestTopicPartitions{TopicID: w.image.Topic(topic).ID}
		for _, n := range strings.Split(numbers, "+") {
			t.Partitions = append(t.Partitions, number(n))
		}
		list = append(list, t)
	}
	return list
}

// beat LABEL GROUP [epoch=] [topics=t+u] [regex=] [hidden=t+u] [owns=t/0+1,u/0] [instance=] [rack=] [assignor=] [as=] [v=] [often]: the
// first one of a member, or one with epoch=0, joins. The hidden topics are those that the member may not know of.
func (w *world) beat(args []string, o options) {
	m := w.member(args[0])
	if m.id == "" {
		m.id, m.generation = args[0], 0
	}
	request := wire.NewConsumerGroupHeartbeatRequest()
	request.GroupID, request.MemberID, request.MemberEpoch = args[1], o.get("as", m.id), int32(o.number("epoch", int(m.generation)))
	if request.MemberEpoch == 0 {
		request.RebalanceTimeoutMs = o.millis("rebalance", "60s")
		request.TopicPartitions = w.owned("none")
		if regex, ok := o["regex"]; !ok || regex == "" {
			request.SubscribedTopicNames = strings.Split(o.get("topics", "t"), "+")
		}
	}
	if topics, ok := o["topics"]; ok {
		request.SubscribedTopicNames = strings.Split(topics, "+")
	}
	if regex, ok := o["regex"]; ok {
		request.SubscribedTopicRegex = &regex
	}
	caller := Caller{ClientID: args[0], Host: "/h", Version: int16(o.number("v", 1))}
	if hidden, ok := o["hidden"]; ok {
		caller.Describes = func(topic string) bool { return !slices.Contains(strings.Split(hidden, "+"), topic) }
	}
	if owns, ok := o["owns"]; ok {
		request.TopicPartitions = w.owned(owns)
	}
	if instance, ok := o["instance"]; ok {
		m.instance = &instance
	}
	request.InstanceID = m.instance
	if rack, ok := o["rack"]; ok {
		request.RackID = &rack
	}
	if assignor, ok := o["assignor"]; ok {
		request.ServerAssignor = &assignor
	}
	w.c.ConsumerGroupHeartbeat(request, caller, func(r *wire.ConsumerGroupHeartbeatResponse, err error) {
		if err != nil {
			if kafka.CodeOf(err) == kafka.GroupIDNotFound && request.MemberEpoch == 0 {
				w.say("%s: %v", args[0], err) // why it may not be upgraded
				return
			}
			w.say("%s: %v", args[0], kafka.CodeOf(err))
			return
		}
		m.id, m.generation = *r.MemberID, r.MemberEpoch
		often := ""
		if slices.Contains(args, "often") {
			often = fmt.Sprintf(", beats every %d ms", r.HeartbeatIntervalMs)
		}
		w.say("%s: epoch %d%s%s", args[0], r.MemberEpoch, w.assignment(r.Assignment), often)
	})
}

func (w *world) assignment(a *wire.ConsumerGroupHeartbeatResponseAssignment) string {
	if a == nil {
		return ""
	}
	words := []string{}
	for _, t := range a.TopicPartitions {
		words = append(words, w.topic(t.TopicID, t.Partitions))
	}
	if len(words) == 0 {
		return ", assigned nothing"
	}
	return ", assigned " + strings.Join(words, " ")
}

func (w *world) describeConsumers(args []string, _ options) {
	w.c.ConsumerGroupDescribe(args[0], func(g wire.ConsumerGroupDescribeResponseGroups, err error) {
		if err != nil {
			w.say("describe: %v", kafka.CodeOf(err))
			return
		}
		w.say("describe: %s %s, epoch %d, assigned in %d by %s", g.GroupID, g.GroupState, g.GroupEpoch, g.AssignmentEpoch, g.AssignorName)
		for _, m := range g.Members {
			has, wants := []string{}, []string{}
			for _, t := range m.Assignment.TopicPartitions {
				has = append(has, fmt.Sprintf("%s%v", t.TopicName, t.Partitions))
			}
			for _, t := range m.TargetAssignment.TopicPartitions {
				wants = append(wants, fmt.Sprintf("%s%v", t.TopicName, t.Partitions))
			}
			reads := fmt.Sprint(m.SubscribedTopicNames)
			if *m.SubscribedTopicRegex != "" {
				reads = fmt.Sprintf("%s and %q", reads, *m.SubscribedTopicRegex)
			}
			w.say("  %s epoch %d reads %s, has %v of %v%s", w.label(m.MemberID), m.MemberEpoch, reads, has, wants, map[int8]string{0: ", classic"}[m.MemberType])
		}
	})
}

// TestTimingBounds holds that a node does not start with times of consumer groups outside of their bounds.
func TestTheBufferLimitMayChange(t *testing.T) {
	w := newWorld(t, nil)
	set := func(broker, value string) {
		w.apply(&wire.ConfigRecord{ResourceType: int8(kafka.ResourceBroker), ResourceName: broker, Name: "group.coordinator.cached.buffer.max.bytes", Value: &value})
	}
	for _, step := range []struct {
		set  func()
		want int
	}{
		{func() {}, 1048588}, {func() { set("", "600000") }, 600000}, {func() { set("2", "700000") }, 600000}, {func() { set("1", "800000") }, 800000},
	} {
		step.set()
		if got := w.c.keptBytes(); got != step.want {
			t.Errorf("it is %d, want %d", got, step.want)
		}
	}
}

func TestTimingBounds(t *testing.T) {
	for _, settings := range []map[string]string{
		{"group.consumer.session.timeout.ms": "44999"}, {"group.consumer.session.timeout.ms": "60001"},
		{"group.consumer.heartbeat.interval.ms": "4999"}, {"group.consumer.heartbeat.interval.ms": "15001"},
		{"group.consumer.assignment.interval.ms": "15001"}, {"group.consumer.min.assignment.interval.ms": "1001"},
		{"group.consumer.min.session.timeout.ms": "60001", "group.consumer.session.timeout.ms": "60001"},
		{"group.consumer.min.session.timeout.ms": "1", "group.consumer.session.timeout.ms": "5000"},
	} {
		if _, err := ParseConfig(func(key string) string { return settings[key] }); err == nil {
			t.Errorf("%v was taken", settings)
		}
	}
	settings := map[string]string{"group.consumer.min.session.timeout.ms": "1000", "group.consumer.session.timeout.ms": "6000"}
	if _, err := ParseConfig(func(key string) string { return settings[key] }); err != nil {
		t.Error(err)
	}
}

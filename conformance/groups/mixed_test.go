package groups

import "testing"

// Members of several libraries share one classic group: all join, one dies, and one after the other leaves. Whoever leads
// it makes the assignment for all, so everyone reads what everyone wrote.
//
// kafka-go is in a group without the newer libraries: it says that its subscription is of version 1 and writes version 0,
// which librdkafka takes for a member without topics, and when it leads it refuses what is newer than 0.
func TestSeveralLibrariesInOneGroup(t *testing.T) {
	for assignor, members := range map[string][]string{
		"roundrobin": {"franz-go", "sarama", "kafka-go"},
		"range":      {"franz-go", "sarama", "confluent-kafka-go", "aiokafka", "confluent-kafka", "kafkajs", "java"},
	} {
		t.Run(assignor, func(t *testing.T) {
			t.Parallel()
			top := newTopic(t, server(t), "mixed", len(members))
			top.write(t, 20)
			g := newGroup(t, top, "mixed", spec{assignor: assignor})
			g.join(t, members...)
			g.shared(t, 1, members...)
			g.readAll(t)
			g.kill(t, members[1])
			left := append([]string{members[0]}, members[2:]...)
			g.shared(t, 1, left...)
			top.write(t, 20)
			g.readAll(t)
			for len(left) > 1 {
				g.leave(t, left[0]) // often the leader
				left = left[1:]
				g.shared(t, 1, left...)
			}
			top.write(t, 20)
			g.finish(t, left...)
		})
	}
}

// The clients that speak the consumer protocol, each alone: three members, of which one dies and one leaves.
func TestConsumerProtocol(t *testing.T) {
	each(t, []string{"franz-go", "confluent-kafka-go", "confluent-kafka", "java"}, func(t *testing.T, addr, library string) {
		top := newTopic(t, addr, "next."+library, 6)
		top.write(t, 20)
		g := newGroup(t, top, "next."+library, spec{protocol: "consumer", assignor: "range"})
		share(t, g, library+"/a", library+"/b", library+"/c")
	})
}

// And in one group, where each may ask for an assignor and the coordinator assigns.
func TestConsumerProtocolTogether(t *testing.T) {
	top := newTopic(t, server(t), "together", 6)
	top.write(t, 20)
	g := newGroup(t, top, "together", spec{protocol: "consumer", assignor: "uniform"})
	share(t, g, "franz-go", "java", "confluent-kafka-go")
}

// share lets three members join a consumer group on six partitions one after the other, the second die, and the first
// leave. What a member keeps it never gives up.
func share(t *testing.T, g *group, a, b, c string) {
	t.Helper()
	g.join(t, a)
	g.shared(t, 6, a)
	g.join(t, b)
	g.shared(t, 3, a, b)
	g.join(t, c)
	g.shared(t, 2, a, b, c)
	g.write(t, 20)
	g.readAll(t)
	described, err := g.admin.DescribeConsumerGroups(t.Context(), g.id)
	if d := described[g.id]; err != nil || d.Err != nil || d.State != "Stable" || len(d.Members) != 3 || d.AssignorName != g.spec.assignor {
		t.Errorf("described as %+v, %v", d, err)
	}
	g.kill(t, b)
	g.shared(t, 3, a, c)
	g.write(t, 20)
	g.readAll(t)
	g.leave(t, a)
	g.shared(t, 6, c)
	g.write(t, 20)
	g.finish(t, c)
}

package groups

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A group goes from the classic protocol to the consumer protocol, one member after the other, and back (KIP-848): the new
// one comes, and the old one leaves. All the time there is something to read. Nothing is lost, nobody has what another has,
// and the group is of the kind that its members make it.
func TestRollingMigration(t *testing.T) {
	for assignor, libraries := range map[string][]string{
		"range":              {"franz-go", "java", "confluent-kafka-go"},
		"cooperative-sticky": {"java", "franz-go"}, // librdkafka, when it leads, adds user data, and no group goes up that has any
		"roundrobin":         {"sarama", "franz-go"},
	} {
		t.Run(assignor, func(t *testing.T) {
			t.Parallel()
			next := map[string]string{"sarama": "java"} // who speaks the consumer protocol instead of one that does not
			top := newTopic(t, server(t), "rolling", 6)
			top.write(t, 20)
			g := newGroup(t, top, "rolling", spec{assignor: assignor})
			classic, consumer := g.spec, g.spec
			consumer.protocol, consumer.assignor = "consumer", "uniform"
			var members []string
			for _, library := range libraries {
				g.joinAs(t, library+"/old", classic)
				members = append(members, library+"/old")
			}
			g.shared(t, 1, members...)
			g.isOf(t, "classic")
			roll := func(to spec, name func(library string) string, kind string) {
				for i, library := range libraries {
					fresh, old := name(library), members[i]
					g.joinAs(t, fresh, to)
					members = append(members, fresh)
					g.write(t, 50)
					g.shared(t, 1, members...)
					g.isOf(t, "consumer")
					g.write(t, 50)
					g.leave(t, old)
					members[i] = fresh
					members = members[:len(libraries)]
					g.write(t, 50)
					g.shared(t, 1, members...)
				}
				g.isOf(t, kind)
				g.readAll(t)
			}
			roll(consumer, func(library string) string {
				if other := next[library]; other != "" {
					library = other
				}
				return library + "/new"
			}, "consumer")
			roll(classic, func(library string) string { return library + "/back" }, "classic")
			g.finish(t, members...)
		})
	}
}

// One of each kind: the last of the consumer protocol dies, and the classic member has everything once its session is over.
func TestTheLastOfTheConsumerProtocolDies(t *testing.T) {
	top := newTopic(t, server(t), "dies", 4)
	top.write(t, 20)
	g := newGroup(t, top, "dies", spec{assignor: "range"})
	consumer := g.spec
	consumer.protocol, consumer.assignor = "consumer", "uniform"
	g.joinAs(t, "java/new", consumer)
	g.shared(t, 4, "java/new")
	g.join(t, "franz-go/old")
	g.shared(t, 2, "java/new", "franz-go/old")
	g.isOf(t, "consumer")
	g.write(t, 20)
	g.readAll(t)
	g.kill(t, "java/new")
	g.shared(t, 4, "franz-go/old")
	g.isOf(t, "classic")
	g.write(t, 20)
	g.finish(t, "franz-go/old")
}

// isOf wants the group to be of a kind.
func (g *group) isOf(t *testing.T, kind string) {
	t.Helper()
	listed, err := kmsg.NewPtrListGroupsRequest().RequestWith(t.Context(), g.client)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range listed.Groups {
		if one.Group == g.id {
			if one.GroupType != kind {
				t.Errorf("%s is of the kind %q, not %q", g.id, one.GroupType, kind)
			}
			return
		}
	}
	t.Errorf("%s is not listed", g.id)
}

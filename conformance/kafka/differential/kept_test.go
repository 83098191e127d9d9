package differential

import (
	"maps"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
)

// TestNoTopicIsDeleted is the comparison of what both say where delete.topic.enable is false: to everything the same,
// before they look at what it is.
func TestNoTopicIsDeleted(t *testing.T) {
	own := maps.Clone(settings)
	own["delete.topic.enable"] = "false"
	r, _ := begin(t, own)
	const again = "-run TestNoTopicIsDeleted"
	first := drawn()
	before := &Sequence{API: wire.KeyDeleteTopics, Seed: first, Again: again}
	kept := newWorld(first, before).makeNamed("kept", 1, nil)
	run(t, r, before)
	info, _ := wire.Lookup(wire.KeyDeleteTopics)
	for version := info.MinVersion; version <= info.MaxVersion; version++ {
		for _, listener := range []string{"", controllerConn} {
			q := &Sequence{API: wire.KeyDeleteTopics, Version: version, Seed: first + 1 + uint64(version), Again: again}
			w := newWorld(q.Seed, q)
			w.listener = listener
			w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(kept.name) }) // its id
			for _, late := range []bool{false, true} {
				for _, byID := range []bool{false, true} {
					for _, names := range [][]string{{}, {kept.name}, {kept.name, kept.name}, {"nowhere"}, {"nowhere", kept.name, "not a name!", ""}, {"__cluster_metadata"}} {
						if w.deleteTopics(byID && version >= 6, names...); late {
							w.noTime()
						}
					}
				}
			}
			w.deleteTopics(false, kept.name)
			make := w.last().Make
			w.last().Make = func(s *Side) wire.Message { // by both, by neither, and by one and the other
				r := make(s).(*wire.DeleteTopicsRequest)
				id := s.TopicIDs[kept.name]
				r.Topics = append(r.Topics, wire.DeleteTopicsRequestTopics{Name: &kept.name, TopicID: id}, wire.DeleteTopicsRequestTopics{}, wire.DeleteTopicsRequestTopics{TopicID: id})
				return r
			}
			w.listOffsets(kept, 0, -1, -1)
			run(t, r, q)
		}
	}
	report(t, r)
}

package group

import (
	"maps"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// A topic that is deleted takes its offsets with it, and not those of another that has its name by then. While the log
// takes nothing, that waits. What is left over when a coordinator ends before it comes to it goes, at the latest, when a
// topic of that name is there again: nobody is to read on in that one from where he was in the old one.

// suspects are the names of topics of which there may be offsets that are to go, with the ids of those topics of the name
// that are known to be gone.
type suspects map[string]map[kafka.TopicID]bool

func (s suspects) name(topic string) map[kafka.TopicID]bool {
	if s[topic] == nil {
		s[topic] = map[kafka.TopicID]bool{}
	}
	return s[topic]
}

// topicsChanged notes that topics are gone and that others are born. What follows comes by a timer, since that comes
// again when its records cannot be stored.
func (s *Shard) topicsChanged(gone []*metadata.Topic, born []string, now time.Time) {
	for _, t := range gone {
		s.suspects.name(t.Name)[t.ID] = true
	}
	for _, name := range born {
		s.suspects.name(name)
	}
	s.timers.Set(coordinator.Timer{Kind: timerForget}, now)
}

// suspectAll notes all topics that are there and have offsets: one may be another than was deleted while nobody was there
// to forget.
func (s *Shard) suspectAll(now time.Time) {
	image := s.c.image.Load()
	for _, topics := range s.offsets.groups.All() {
		for name := range topics.Keys() {
			if image.Topic(name) != nil {
				s.suspects.name(name)
			}
		}
	}
	if len(s.suspects) > 0 {
		s.timers.Set(coordinator.Timer{Kind: timerForget}, now)
	}
}

// forget deletes the offsets of topics that are gone.
func (s *Shard) forget() coordinator.Result {
	suspects, image := s.suspects, s.c.image.Load()
	s.suspects = map[string]map[kafka.TopicID]bool{}
	res := coordinator.Result{Split: true, Undo: func() { // others may have come since
		for name, gone := range suspects {
			maps.Copy(s.suspects.name(name), gone)
		}
	}}
	here := make(map[string]kafka.TopicID, len(suspects))
	for name := range suspects {
		if t := image.Topic(name); t != nil {
			here[name] = t.ID
		}
	}
	for _, where := range s.offsets.find(suspects, func(name string, of kafka.TopicID) bool {
		gone := suspects[name]
		switch {
		case gone[of]:
			return true
		case of == kafka.TopicID{}: // what older versions have stored has no id
			return len(gone) > 0
		}
		id, there := here[name]
		return there && id != of
	}) {
		res.Records = append(res.Records, where.tombstone())
	}
	return res
}

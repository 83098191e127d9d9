package consumer

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// topicsOf lists the topics that exist of those that members read, by id. matches says what a regular expression stands
// for.
func topicsOf(image *metadata.Image, members []*Member, matches func(regex string) []string) []*metadata.Topic {
	var topics []*metadata.Topic
	seen, looked := map[string]bool{}, map[string]bool{"": true}
	add := func(names []string) {
		for _, name := range names {
			if !seen[name] {
				seen[name] = true
				if t := image.Topic(name); t != nil {
					topics = append(topics, t)
				}
			}
		}
	}
	for _, m := range members {
		add(m.Topics)
		if !looked[m.Regex] { // many members read the same
			looked[m.Regex] = true
			add(matches(m.Regex))
		}
	}
	slices.SortFunc(topics, func(a, b *metadata.Topic) int { return a.ID.Compare(b.ID) })
	return topics
}

// hashOf is a number that changes when something of the topics changes that an assignment rests on: which there are, how
// many partitions they have, and on which racks (KIP-1101). It is ours alone: another coordinator that finds a strange
// hash makes the assignment once more.
func hashOf(image *metadata.Image, topics []*metadata.Topic) int64 {
	if len(topics) == 0 {
		return 0
	}
	h := fnv.New64a()
	var scratch []byte
	for _, t := range topics {
		scratch = append(scratch[:0], t.ID[:]...)
		for _, p := range t.Partitions {
			racks := make([]string, 0, len(p.Replicas))
			for _, id := range p.Replicas {
				if b := image.Broker(id); b != nil && b.Rack != nil {
					racks = append(racks, *b.Rack)
				}
			}
			slices.Sort(racks)
			scratch = append(scratch, 1)
			for _, r := range racks {
				scratch = append(append(scratch, r...), 0)
			}
		}
		h.Write(scratch)
	}
	return int64(h.Sum64())
}

// saw notes that an image brings nothing new, so that nobody need look at it again.
func (g *Group) saw(image *metadata.Image) {
	if before := g.seen; before != image {
		g.seen = image
		g.env.Journal.Did(func() { g.seen = before }) // what the hash is compared with may be taken back
	}
}

// assignor is the one that most members ask for, of two with as many the one whose name comes first; the default when
// nobody asks.
func (g *Group) assignor(members []*Member) assign.Assignor {
	votes := map[string]int{}
	for _, m := range members {
		if m.Assignor != nil {
			votes[*m.Assignor]++
		}
	}
	best := g.env.Config.Assignors[0]
	most := 0
	for _, a := range g.env.Config.Assignors {
		if votes[a.Name()] > most {
			best, most = a, votes[a.Name()]
		}
	}
	return best
}

// retarget makes a new target for the members as they are now, and returns the records of what changed.
func (g *Group) retarget(members []*Member, epoch int32, now time.Time) (records []coordinator.Record, target map[string]assign.Partitions) {
	image := g.env.Image()
	spec, byRegex := &assign.Spec{}, map[string][]kafka.TopicID{}
	for _, t := range topicsOf(image, members, g.matches) {
		spec.Topics = append(spec.Topics, assign.Topic{ID: t.ID, Name: t.Name, Partitions: int32(len(t.Partitions))})
	}
	for _, m := range members {
		one := assign.Member{ID: m.ID}
		if m.Instance != nil {
			one.Instance = *m.Instance
		}
		if m.Rack != nil {
			one.Rack = *m.Rack
		}
		one.Topics = g.topicIDs(image, m, byRegex)
		one.Target, _ = g.target.Get(m.ID)
		spec.Members = append(spec.Members, one)
	}
	assignor := g.assignor(members)
	target = assignor.Assign(spec)
	g.env.Note(g.id, history.Event{Kind: history.Assigned, At: now, Epoch: epoch, Members: int32(len(members)), By: assignor.Name()})
	for _, m := range members {
		if old, had := g.target.Get(m.ID); !had || !old.Equal(target[m.ID]) {
			records = append(records, g.targetRecord(m.ID, target[m.ID]))
		}
	}
	return append(records, g.targetEpochRecord(epoch, now.UnixMilli())), target
}

// topicIDs lists the topics that a member reads, in the order of their ids. byRegex keeps what it found for regular
// expressions: many members read the same.
func (g *Group) topicIDs(image *metadata.Image, m *Member, byRegex map[string][]kafka.TopicID) []kafka.TopicID {
	find := func(names []string) (ids []kafka.TopicID) {
		for _, name := range names {
			if t := image.Topic(name); t != nil {
				ids = append(ids, t.ID)
			}
		}
		slices.SortFunc(ids, kafka.TopicID.Compare)
		return ids
	}
	named := find(m.Topics)
	if m.Regex == "" {
		return named
	}
	matched, found := byRegex[m.Regex]
	if !found {
		matched = find(g.matches(m.Regex))
		byRegex[m.Regex] = matched
	}
	if len(named) == 0 {
		return matched
	}
	both := slices.Concat(named, matched)
	slices.SortFunc(both, kafka.TopicID.Compare)
	return slices.Compact(both)
}

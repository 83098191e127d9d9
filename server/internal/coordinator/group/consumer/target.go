package consumer

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// topics lists the topics that exist of those that the group reads when old, one of its members, has become m, by id.
// Either may be nil. matches says what a regular expression stands for.
func (g *Group) topics(old, m *Member, matches func(regex string) []string) []*metadata.Topic {
	var topics []*metadata.Topic
	image, seen := g.env.Image(), map[string]bool{}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			if t := image.Topic(name); t != nil {
				topics = append(topics, t)
			}
		}
	}
	for name, n := range g.subscribed.All() {
		if n > 1 || old == nil || !old.names(name) {
			add(name)
		}
	}
	regexes := []string{}
	for regex, n := range g.readers.All() {
		if n > 1 || old == nil || old.Regex != regex {
			regexes = append(regexes, regex)
		}
	}
	if m != nil {
		for _, name := range m.Topics {
			add(name)
		}
		if m.Regex != "" {
			regexes = append(regexes, m.Regex)
		}
	}
	for _, regex := range regexes {
		for _, name := range matches(regex) {
			add(name)
		}
	}
	slices.SortFunc(topics, func(a, b *metadata.Topic) int { return a.ID.Compare(b.ID) })
	return topics
}

// topicsOf lists the topics that exist of those that some members read, by id.
func (g *Group) topicsOf(members []*Member) []*metadata.Topic {
	var topics []*metadata.Topic
	seen := map[string]bool{}
	for _, m := range members {
		for _, name := range slices.Concat(m.Topics, g.matches(m.Regex)) {
			if t := g.env.Image().Topic(name); t != nil && !seen[name] {
				seen[name] = true
				topics = append(topics, t)
			}
		}
	}
	slices.SortFunc(topics, func(a, b *metadata.Topic) int { return a.ID.Compare(b.ID) })
	return topics
}

// readsSame reports whether the group reads the same when old has become m; either may be nil.
func (g *Group) readsSame(old, m *Member) bool {
	none := &Member{}
	before, after := cmp.Or(old, none), cmp.Or(m, none)
	if before.sameSubscription(after) {
		return true
	}
	for _, name := range before.Topics {
		if n, _ := g.subscribed.Get(name); n == 1 && !after.names(name) {
			return false
		}
	}
	for _, name := range after.Topics {
		if n, _ := g.subscribed.Get(name); n == 0 {
			return false
		}
	}
	if before.Regex == after.Regex {
		return true
	}
	left, _ := g.readers.Get(before.Regex)
	found, _ := g.readers.Get(after.Regex)
	return (before.Regex == "" || left > 1) && (after.Regex == "" || found > 0)
}

// knowsHash reports whether the group's hash is known to be that of its topics now.
func (g *Group) knowsHash() bool {
	return g.seen.image == g.env.Image() && g.seen.hash == g.hash
}

// hashWith is the hash of the topics that the group reads when old has become m; either may be nil. It is looked for only
// when what the group reads, or the image, is another than the last time.
func (g *Group) hashWith(old, m *Member) int64 {
	image, same := g.env.Image(), g.readsSame(old, m)
	if same && g.knowsHash() {
		return g.hash
	}
	hash := hashOf(image, g.topics(old, m, g.matches))
	if same { // else it is of what may never come to be
		g.seen.image, g.seen.hash = image, hash
	}
	return hash
}

// hashWithout is the hash of the topics that the group reads without some of its members.
func (g *Group) hashWithout(gone []*Member) int64 {
	if len(gone) == 1 {
		return g.hashWith(gone[0], nil)
	}
	rest := slices.DeleteFunc(g.sortedMembers(), func(m *Member) bool { return slices.Contains(gone, m) })
	return hashOf(g.env.Image(), g.topicsOf(rest))
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
	var racks []string
	for _, t := range topics {
		scratch = append(scratch[:0], t.ID[:]...)
		for _, p := range t.Partitions {
			racks = appendRacks(racks[:0], image, p)
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

// appendRacks appends the racks that a partition has replicas on, in the order of the replicas.
func appendRacks(racks []string, image *metadata.Image, p *metadata.Partition) []string {
	for _, id := range p.Replicas {
		if b := image.Broker(id); b != nil && b.Rack != nil {
			racks = append(racks, *b.Rack)
		}
	}
	return racks
}

// assignor is the one that most members ask for; the default when nobody asks. Of two with as many it is the one that
// stands first in group.consumer.assignors. In Kafka it is another whenever one of those members is heard of, and the
// group is assigned anew each time.
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

// retarget makes a new target for members and the topics that they read, and returns the records of what changed.
func (g *Group) retarget(members []*Member, topics []*metadata.Topic, epoch int32, now time.Time) (records []coordinator.Record, target map[string]assign.Partitions) {
	image := g.env.Image()
	spec, byRegex := &assign.Spec{}, map[string][]kafka.TopicID{}
	located := slices.ContainsFunc(members, func(m *Member) bool { return m.Rack != nil })
	for _, t := range topics {
		topic := assign.Topic{ID: t.ID, Name: t.Name, Partitions: int32(len(t.Partitions))}
		if located {
			for _, p := range t.Partitions {
				topic.Racks = append(topic.Racks, appendRacks(nil, image, p))
			}
		}
		spec.Topics = append(spec.Topics, topic)
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

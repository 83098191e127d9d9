package assign

import (
	"slices"

	"github.com/millrace-io/millrace/kafka"
)

// Assignor is a way to share partitions out.
type Assignor interface {
	// Name is how members ask for it.
	Name() string
	// Assign returns what every member of the spec is to have. Each partition of a topic that somebody reads goes to
	// exactly one of those who read it.
	Assign(s *Spec) map[string]Partitions
}

// Spec is what an assignor decides on.
type Spec struct {
	// Members in the order of their ids.
	Members []Member
	// Topics are those that the members read and that exist, in the order of their ids.
	Topics []Topic
}

// Member is one member.
type Member struct {
	ID       string
	Instance string // empty for a dynamic member
	Rack     string // empty when not known
	// Topics are the ids that it reads, in order.
	Topics []kafka.TopicID
	// Target is what it was to have so far. Invariant: no partition is in the targets of two members.
	Target Partitions
}

// Topic is one topic.
type Topic struct {
	ID         kafka.TopicID
	Name       string
	Partitions int32
	// Racks are those that each partition has replicas on; nil when nobody needs to know.
	Racks [][]string
}

// reads reports whether a member reads a topic.
func (m *Member) reads(id kafka.TopicID) bool {
	_, found := slices.BinarySearchFunc(m.Topics, id, kafka.TopicID.Compare)
	return found
}

// All lists the assignors of this build by name.
func All() map[string]Assignor {
	return map[string]Assignor{"uniform": Uniform{}, "range": Range{}}
}

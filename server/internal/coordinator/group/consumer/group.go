package consumer

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Config is what the broker's configuration says to consumer groups.
type Config struct {
	// Assignors are those that members may ask for; the first is the default.
	Assignors []assign.Assignor
	MaxSize   int
	// RegexRefreshInterval is how old what a regular expression matches may become.
	RegexRefreshInterval time.Duration
}

// Timing is what the configuration says to one group: the broker's, or the group's own (ConfigResource GROUP).
type Timing struct {
	SessionTimeout, HeartbeatInterval, AssignmentInterval time.Duration
}

// Env is what the shard gives to its consumer groups.
type Env struct {
	Config  *Config
	Journal *coordinator.Journal
	Timers  *coordinator.Timers
	// TimerKinds is the first of the kinds of timers that belong to consumer groups.
	TimerKinds uint8
	Image      func() *metadata.Image
	// Timing returns the times of a group.
	Timing func(group string) Timing
	// Note is told of what happens in a group.
	Note func(group string, e history.Event)
	// Downgrade makes a classic group of one whose members that stay all speak the classic protocol, and returns what
	// comes of it; false when that may not be. They are called to join anew when the group is to rebalance, for a cause.
	Downgrade func(group string, epoch int32, stay []embedded.Member, tombstones []coordinator.Record, rebalance bool, cause history.Event, now time.Time) (coordinator.Result, bool)
	// NewTopics is the offset of the newest image that brought topics.
	NewTopics func() int64
	// resolving are the groups whose regular expressions are being resolved.
	resolving map[string]bool
}

// Group is one group.
type Group struct {
	env *Env
	id  string

	members coordinator.Sorted[string, *Member]
	// target is what each member is to have, as of targetEpoch.
	target coordinator.Sorted[string, assign.Partitions]
	// epoch and hash are of the members and of the topics that they read, as of the last change. Nothing is stored of the
	// first epoch, in which a group has neither members nor a target.
	epoch       int32
	hash        int64
	targetEpoch int32
	targetMs    int64 // when the target was made
	// static finds the member of an instance id, holder the member that has a partition and has not given it up.
	static coordinator.Sorted[string, string]
	holder coordinator.Sorted[partition, string]
	// regexes are the regular expressions that were resolved, readers counts the members that read one.
	regexes coordinator.Sorted[string, resolved]
	readers coordinator.Sorted[string, int]
	// subscribed counts the members that read a topic by its name.
	subscribed coordinator.Sorted[string, int]
	// seen is what the hash of the topics was when it was looked at last. While it is still the group's, and the image
	// the same, nobody need look again.
	seen struct {
		image *metadata.Image
		hash  int64
	}
	// gaps says that the group has just been upgraded, and that what its members have may not do for a target (migrate.go):
	// the heartbeat that it is upgraded for brings about another. Nothing of the group is stored before that.
	gaps bool
	// laggard is a member that was not settled when all were looked at last: while it is not, they need not be.
	laggard string
	// began is when the rebalance began that is under way; zero when none is, or nobody knows (note.go).
	began time.Time
}

type partition struct {
	topic kafka.TopicID
	index int32
}

func (p partition) compare(q partition) int {
	return cmp.Or(p.topic.Compare(q.topic), cmp.Compare(p.index, q.index))
}

// firstEpoch is that of a group before its first member, which takes it to the next one.
const firstEpoch = 1

// New returns an empty group.
func New(env *Env, id string) *Group {
	j := env.Journal
	return &Group{
		env: env, id: id, epoch: firstEpoch, targetEpoch: firstEpoch,
		members: coordinator.NewSorted[string, *Member](j, cmp.Compare[string]), target: coordinator.NewSorted[string, assign.Partitions](j, cmp.Compare[string]),
		static: coordinator.NewSorted[string, string](j, cmp.Compare[string]), holder: coordinator.NewSorted[partition, string](j, partition.compare),
		regexes: coordinator.NewSorted[string, resolved](j, cmp.Compare[string]), readers: coordinator.NewSorted[string, int](j, cmp.Compare[string]),
		subscribed: coordinator.NewSorted[string, int](j, cmp.Compare[string]),
	}
}

// Kind implements group.Group.
func (g *Group) Kind() string { return "consumer" }

// ProtocolType implements group.Group.
func (g *Group) ProtocolType() string { return "consumer" }

// State implements group.Group.
func (g *Group) State(time.Time) string {
	switch {
	case g.members.Len() == 0:
		return "Empty"
	case g.epoch > g.targetEpoch:
		return "Assigning"
	}
	for _, m := range g.members.All() {
		if !m.settled(g.targetEpoch) {
			return "Reconciling"
		}
	}
	return "Stable"
}

// Empty implements group.Group.
func (g *Group) Empty() bool { return g.members.Len() == 0 }

// Subscribed implements group.Group.
func (g *Group) Subscribed(topic string) bool {
	if n, _ := g.subscribed.Get(topic); n > 0 {
		return true
	}
	for regex := range g.readers.Keys() {
		if _, matched := slices.BinarySearch(g.matches(regex), topic); matched {
			return true
		}
	}
	return false
}

// CheckCommit implements group.Group.
func (g *Group) CheckCommit(memberID string, instance *string, epoch int32, transactional bool, version int16, partitions iter.Seq2[kafka.TopicID, int32]) error {
	if epoch < 0 && g.members.Len() == 0 {
		return nil
	}
	if transactional && epoch == -1 && memberID == "" && instance == nil {
		return nil // a producer that was not told whose offsets it sends
	}
	m, ok := g.members.Get(memberID)
	switch {
	case !ok:
		return kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, memberID)
	case !transactional && m.Classic == nil && version < 9:
		return kafka.UnsupportedVersion.Errorf("members of the consumer protocol commit by OffsetCommit version 9 and above, not %d", version)
	}
	if epoch < m.epoch {
		return g.checkOlder(m, epoch, partitions)
	}
	return g.checkEpoch(m, epoch)
}

// checkOlder reports whether a member may commit in an epoch that it has left: it may for what it had then and has had
// ever since (KIP-1251), so that its commits do not fail because it got something else meanwhile.
func (g *Group) checkOlder(m *Member, epoch int32, partitions iter.Seq2[kafka.TopicID, int32]) error {
	for topic, index := range partitions {
		if since, has := m.gotIn(topic, index); !has || epoch < since {
			return g.checkEpoch(m, epoch)
		}
	}
	return nil
}

func (g *Group) checkEpoch(m *Member, epoch int32) error {
	switch {
	case epoch == m.epoch:
	case m.Classic != nil:
		return kafka.IllegalGeneration.Errorf("the member %q of the group %q is in generation %d, not %d", m.ID, g.id, m.epoch, epoch)
	default:
		return kafka.StaleMemberEpoch.Errorf("the member %q of the group %q is in epoch %d, not %d", m.ID, g.id, m.epoch, epoch)
	}
	return nil
}

// CheckFetch implements group.Group.
func (g *Group) CheckFetch(memberID *string, epoch int32) error {
	if memberID == nil && epoch < 0 {
		return nil
	}
	id := ""
	if memberID != nil {
		id = *memberID
	}
	m, ok := g.members.Get(id)
	if !ok {
		return kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, id)
	}
	return g.checkEpoch(m, epoch)
}

// CheckOffsetDelete implements group.Group.
func (g *Group) CheckOffsetDelete() error { return nil }

// CheckDelete implements group.Group.
func (g *Group) CheckDelete() error {
	if g.members.Len() > 0 {
		return kafka.NonEmptyGroup.Errorf("the group %q has members", g.id)
	}
	return nil
}

// ExpiresSince implements group.Group.
func (g *Group) ExpiresSince(commitMs int64) (int64, bool) { return commitMs, true }

// sortedMembers lists the members by id.
func (g *Group) sortedMembers() []*Member {
	list := make([]*Member, 0, g.members.Len())
	for _, m := range g.members.All() {
		list = append(list, m)
	}
	return list
}

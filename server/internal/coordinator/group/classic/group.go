package classic

import (
	"iter"
	"slices"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// State is where a group is in its life.
type State uint8

// The states. There is no Dead: a group that is deleted is not found any more.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
)

// String returns Kafka's name of the state.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[s]
}

// Env is what the shard gives to its classic groups.
type Env struct {
	Config *Config
	Timers *coordinator.Timers
	// NewID makes the part of a member id that is like no other.
	NewID func() string
	// TimerKinds is the first of the kinds of timers that belong to classic groups.
	TimerKinds uint8
	Image      func() *metadata.Image
	// Note is told of what happens in a group.
	Note func(group string, e history.Event)
}

// Group is one group.
type Group struct {
	env *Env
	id  string

	state, before State
	// since is when the state began, in milliseconds; -1 when a record of an old version does not say.
	since        int64
	generation   int32
	protocolType string // empty until the first member came
	protocol     string // chosen for this generation, empty when none is
	leader       string // member id

	members []*member // in the order they came
	// pending are member ids that were given out and not used yet (KIP-394).
	pending map[string]bool
	// awaitingSync are the members that have not asked for their assignment in this generation.
	awaitingSync map[string]bool
	// topics are what the members read; nil when their metadata does not say.
	topics map[string]bool
	// converted: the group is a consumer group's, and nobody has assigned since: none of its members knows that it leads.
	// shared are the partitions that they have been given then (migrate.go).
	converted bool
	shared    layout
	// calledOff: the last rebalance began anew when the members had joined it already, and they have not been told since what
	// they have.
	calledOff bool

	// In an initial rebalance: whether somebody came since the delay began, and how much more there may be of it.
	joined    bool
	delay     time.Duration
	remaining time.Duration

	// Of the rebalance that is under way, or was last: when it began, and who came last to join and when (note.go).
	began    time.Time
	last     *member
	lastCame time.Time
}

// New returns an empty group that nothing is known of.
func New(env *Env, id string, now time.Time) *Group {
	return &Group{env: env, id: id, since: now.UnixMilli()}
}

// Kind implements group.Group.
func (g *Group) Kind() string { return "classic" }

// ProtocolType implements group.Group.
func (g *Group) ProtocolType() string { return g.protocolType }

// State implements group.Group.
func (g *Group) State(time.Time) string { return g.state.String() }

// Empty implements group.Group.
func (g *Group) Empty() bool { return g.state == Empty }

// Subscribed implements group.Group. Members whose metadata cannot be read are taken to read everything.
func (g *Group) Subscribed(topic string) bool {
	if g.topics == nil {
		return g.protocolType == embedded.ProtocolType && g.state != Empty
	}
	return g.topics[topic]
}

// CheckFetch implements group.Group: everybody may know.
func (g *Group) CheckFetch(*string, int32) error { return nil }

// CheckOffsetDelete implements group.Group: of consumers it is known what they read, of others not.
func (g *Group) CheckOffsetDelete() error {
	if g.state != Empty && g.protocolType != embedded.ProtocolType {
		return kafka.NonEmptyGroup.Errorf("the group %q has members", g.id)
	}
	return nil
}

// CheckDelete implements group.Group.
func (g *Group) CheckDelete() error {
	if g.state != Empty {
		return kafka.NonEmptyGroup.Errorf("the group %q has members", g.id)
	}
	return nil
}

// CheckCommit reports whether who names itself so may commit offsets (group.Group).
func (g *Group) CheckCommit(memberID string, instance *string, generation int32, transactional bool, _ int16, _ iter.Seq2[kafka.TopicID, int32]) error {
	switch {
	case generation < 0 && g.state == Empty:
		return nil // an administrator, or a consumer that manages its partitions itself
	case generation >= 0 || memberID != "" || instance != nil:
		if err := g.checkMember(memberID, instance); err != nil {
			return err
		}
		if generation != g.generation {
			return kafka.IllegalGeneration.Errorf("the group %q is in generation %d, not %d", g.id, g.generation, generation)
		}
	case !transactional: // old transactional producers do not say who they are
		return kafka.UnknownMemberID.Errorf("the group %q has members, and only they may commit offsets", g.id)
	}
	if !transactional && g.state == CompletingRebalance {
		return kafka.RebalanceInProgress.Errorf("the group %q is rebalancing", g.id)
	}
	return nil
}

// ExpiresSince implements group.Group: offsets of a group whose members are gone count from when they went, those of
// topics that nobody reads any more, and those of whoever is no member, from their commit.
func (g *Group) ExpiresSince(commitMs int64) (int64, bool) {
	switch {
	case g.protocolType == "":
		return commitMs, true
	case g.state == Empty && g.since >= 0:
		return g.since, true
	case g.state == Empty:
		return commitMs, true
	}
	return commitMs, g.protocolType == embedded.ProtocolType && g.topics != nil && g.state == Stable
}

// find returns a member, nil when there is none of that id.
func (g *Group) find(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// static returns the member of an instance id, nil when there is none.
func (g *Group) static(instance string) *member {
	for _, m := range g.members {
		if m.instance != nil && *m.instance == instance {
			return m
		}
	}
	return nil
}

// checkMember reports whether a member is who it says: an instance id belongs to the member that joined with it last.
func (g *Group) checkMember(id string, instance *string) error {
	if instance != nil {
		switch m := g.static(*instance); {
		case m == nil:
			return kafka.UnknownMemberID.Errorf("the group %q has no member of the instance id %q", g.id, *instance)
		case m.id != id:
			return kafka.FencedInstanceID.Errorf("the instance id %q of the group %q belongs to another member now", *instance, g.id)
		}
		return nil
	}
	if g.find(id) == nil {
		return kafka.UnknownMemberID.Errorf("the group %q has no member %q", g.id, id)
	}
	return nil
}

// move changes the state.
func (g *Group) move(to State, now time.Time) {
	g.before, g.state, g.since = g.state, to, now.UnixMilli()
}

// add takes a member in.
func (g *Group) add(m *member, protocolType string) {
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	delete(g.pending, m.id)
	g.members = append(g.members, m)
}

// remove lets a member go.
func (g *Group) remove(m *member) {
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.awaitingSync, m.id)
	g.env.Timers.Cancel(g.session(m.id))
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// joining counts the members that wait for the rebalance to begin.
func (g *Group) joining() int {
	n := 0
	for _, m := range g.members {
		if m.join != nil {
			n++
		}
	}
	return n
}

// rebalanceTimeout is the longest that any member needs.
func (g *Group) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// supports reports whether a member that joins with these protocols can be assigned to together with the others.
func (g *Group) supports(protocolType string, protocols []protocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p protocol) bool { return g.allSupport(p.name) })
}

func (g *Group) allSupport(name string) bool {
	return !slices.ContainsFunc(g.members, func(m *member) bool { return !m.supports(name) })
}

// choose elects the protocol that most members like best, among those that all support. Of two with as many votes the
// one that the first member likes better is taken.
func (g *Group) choose() string {
	votes := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.allSupport(p.name) {
				votes[p.name]++
				break
			}
		}
	}
	best := ""
	for _, p := range g.members[0].protocols {
		if votes[p.name] > votes[best] {
			best = p.name
		}
	}
	return best
}

// readTopics finds out what the members read in the protocol of this generation.
func (g *Group) readTopics() {
	g.topics = nil
	switch {
	case g.protocolType != embedded.ProtocolType:
		return
	case len(g.members) == 0:
		g.topics = map[string]bool{}
		return
	case g.protocol == "":
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		said, err := embedded.ReadSubscription(m.metadata(g.protocol))
		if err != nil {
			return
		}
		for _, name := range said.Topics {
			topics[name] = true
		}
	}
	g.topics = topics
}

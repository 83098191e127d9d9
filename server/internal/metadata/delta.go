package metadata

import (
	"bytes"
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Delta is an image in the making: a base, the records replayed over it, and what they touched. It is not safe for
// concurrent use, but any number of deltas may be made from one image at once.
//
// After Apply a Delta replays no more; it then says what changed between its base and its image.
type Delta struct {
	base *Image
	next Image // trees are the base's until first written to
	own  owned // which of them are not the base's any more

	applied *Image

	// What was touched. The values are read from base and next: something touched need not have changed.
	topics map[kafka.TopicID]*Topic // the delta's own copy, which it may change; nil when the topic was removed
	sets   touched
}

// owned says which parts of next have been copied.
type owned struct {
	topics, brokers, controllers, configs, features, quotas, acls, scram, tokens bool
}

type touched struct {
	configs     map[ConfigResource]struct{}
	brokers     map[int32]struct{}
	controllers map[int32]struct{}
	features    map[string]struct{}
	quotas      map[string]struct{}
	acls        map[kafka.UUID]struct{}
	scram       map[scramKey]struct{}
	tokens      map[string]struct{}
}

type scramKey struct {
	user      string
	mechanism int8
}

// NewDelta returns a delta without changes. It costs O(1).
func NewDelta(base *Image) *Delta { return &Delta{base: base, next: *base} }

// Base is the image that the delta began with.
func (d *Delta) Base() *Image { return d.base }

// Image is what Apply returned, nil before.
func (d *Delta) Image() *Image { return d.applied }

// Apply ends the delta and returns its image: offset, epoch and append time are those of the last record replayed.
// It costs O(1).
func (d *Delta) Apply(offset int64, epoch int32, timestampMs int64) *Image {
	image := d.next
	image.offset, image.epoch, image.timestampMs = offset, epoch, timestampMs
	d.applied = &image
	d.own = owned{} // the trees belong to the image now
	return d.applied
}

// Empty reports whether nothing was touched.
func (d *Delta) Empty() bool {
	s := &d.sets
	return len(d.topics)+len(s.configs)+len(s.brokers)+len(s.controllers)+len(s.features)+len(s.quotas)+len(s.acls)+
		len(s.scram)+len(s.tokens) == 0 &&
		d.next.nextProducerID == d.base.nextProducerID && d.next.zkMigrationState == d.base.zkMigrationState
}

// ReplayError says that a record cannot be true of the image it is replayed over, or is of a kind that is not known.
type ReplayError struct {
	Record  string // name of the record type
	Problem string
}

// Error names the record and the problem.
func (e *ReplayError) Error() string { return "replay of " + e.Record + ": " + e.Problem }

func refuse(m wire.Message, format string, args ...any) error {
	return &ReplayError{m.Info().Name, fmt.Sprintf(format, args...)}
}

// Replay gives one record its meaning. Slices, maps and pointers in it may be kept: the record must not be changed
// afterwards. Records that begin and end metadata transactions (KIP-868) mean nothing here: the Loader sees to them.
// The error is a *ReplayError; the delta is as before then.
func (d *Delta) Replay(m wire.Message) error {
	if d.applied != nil {
		panic("metadata: replay over a delta that was applied")
	}
	switch m := m.(type) {
	case *wire.TopicRecord:
		return d.replayTopic(m)
	case *wire.PartitionRecord:
		return d.replayPartition(m)
	case *wire.PartitionChangeRecord:
		return d.replayPartitionChange(m)
	case *wire.RemoveTopicRecord:
		return d.replayRemoveTopic(m)
	case *wire.ClearElrRecord:
		return d.replayClearELR(m)
	case *wire.RegisterBrokerRecord:
		return d.replayRegisterBroker(m)
	case *wire.BrokerRegistrationChangeRecord:
		return d.replayBrokerChange(m)
	case *wire.FenceBrokerRecord:
		return d.changeBroker(m, m.ID, m.Epoch, func(b *Broker) { b.Fenced = true })
	case *wire.UnfenceBrokerRecord:
		return d.changeBroker(m, m.ID, m.Epoch, func(b *Broker) { b.Fenced = false })
	case *wire.UnregisterBrokerRecord:
		return d.replayUnregisterBroker(m)
	case *wire.RegisterControllerRecord:
		return d.replayRegisterController(m)
	case *wire.UnregisterControllerRecord:
		return d.replayUnregisterController(m)
	case *wire.ConfigRecord:
		return d.replayConfig(m)
	case *wire.FeatureLevelRecord:
		return d.replayFeature(m)
	case *wire.ClientQuotaRecord:
		return d.replayQuota(m)
	case *wire.AccessControlEntryRecord:
		return d.replayACL(m)
	case *wire.RemoveAccessControlEntryRecord:
		return d.replayRemoveACL(m)
	case *wire.UserScramCredentialRecord:
		return d.replayScram(m)
	case *wire.RemoveUserScramCredentialRecord:
		return d.replayRemoveScram(m)
	case *wire.DelegationTokenRecord:
		return d.replayToken(m)
	case *wire.RemoveDelegationTokenRecord:
		return d.replayRemoveToken(m)
	case *wire.ProducerIdsRecord:
		d.next.nextProducerID = m.NextProducerID
		return nil
	case *wire.ZkMigrationStateRecord:
		d.next.zkMigrationState = m.ZkMigrationState
		return nil
	case *wire.NoOpRecord, *wire.BeginTransactionRecord, *wire.EndTransactionRecord, *wire.AbortTransactionRecord:
		return nil
	}
	return refuse(m, "record type %d is not one of the metadata log", m.Info().Type)
}

// ChangedTopics returns old and new state of the topics that changed, by name: old is nil for one that was created, new
// for one that was removed. A topic recreated under its name is two: first the removal, then the creation. A partition
// that did not change is the same pointer in both.
func (d *Delta) ChangedTopics() iter.Seq2[*Topic, *Topic] {
	type change struct{ old, new *Topic }
	var changes []change
	for id := range d.topics {
		c := change{d.base.TopicByID(id), d.result().TopicByID(id)}
		if c.old != c.new {
			changes = append(changes, c)
		}
	}
	either := func(c change) *Topic { return cmp.Or(c.new, c.old) }
	slices.SortFunc(changes, func(a, b change) int {
		x, y := either(a), either(b)
		order := strings.Compare(x.Name, y.Name)
		if order == 0 { // the removal first
			order = cmp.Compare(presence(a.new), presence(b.new))
		}
		return cmp.Or(order, bytes.Compare(x.ID[:], y.ID[:]))
	})
	return func(yield func(*Topic, *Topic) bool) {
		for _, c := range changes {
			if !yield(c.old, c.new) {
				return
			}
		}
	}
}

func presence(t *Topic) int {
	if t == nil {
		return 0
	}
	return 1
}

// ChangedConfigs returns the resources whose configs were touched, by type and name.
func (d *Delta) ChangedConfigs() iter.Seq[ConfigResource] {
	return slices.Values(slices.SortedFunc(maps.Keys(d.sets.configs), ConfigResource.compare))
}

// ChangedBrokers returns old and new registration of the brokers that changed, by id; nil where there was or is none.
func (d *Delta) ChangedBrokers() iter.Seq2[*Broker, *Broker] {
	return func(yield func(*Broker, *Broker) bool) {
		for _, id := range slices.Sorted(maps.Keys(d.sets.brokers)) {
			before, after := d.base.Broker(id), d.result().Broker(id)
			if before != after && !yield(before, after) {
				return
			}
		}
	}
}

// BrokersChanged reports whether any registration of a broker was touched.
func (d *Delta) BrokersChanged() bool { return len(d.sets.brokers) > 0 }

// ControllersChanged reports whether any registration of a controller was touched.
func (d *Delta) ControllersChanged() bool { return len(d.sets.controllers) > 0 }

// FeaturesChanged reports whether any feature level was touched.
func (d *Delta) FeaturesChanged() bool { return len(d.sets.features) > 0 }

// QuotasChanged reports whether any client quota was touched.
func (d *Delta) QuotasChanged() bool { return len(d.sets.quotas) > 0 }

// ACLsChanged reports whether any access control entry was touched.
func (d *Delta) ACLsChanged() bool { return len(d.sets.acls) > 0 }

// ChangedACLs returns the ids of the access control entries that were touched, in order.
func (d *Delta) ChangedACLs() iter.Seq[kafka.UUID] {
	return slices.Values(slices.SortedFunc(maps.Keys(d.sets.acls), func(a, b kafka.UUID) int { return bytes.Compare(a[:], b[:]) }))
}

// ScramChanged reports whether any SCRAM credential was touched.
func (d *Delta) ScramChanged() bool { return len(d.sets.scram) > 0 }

// TokensChanged reports whether any delegation token was touched.
func (d *Delta) TokensChanged() bool { return len(d.sets.tokens) > 0 }

func (d *Delta) result() *Image {
	if d.applied != nil {
		return d.applied
	}
	return &d.next
}

// Between returns an applied delta from one image to another that need not descend from it, such as one read from a
// snapshot. It costs O(n).
func Between(before, after *Image) *Delta {
	d := &Delta{base: before, next: *after, applied: after}
	s := &d.sets
	for _, image := range []*Image{before, after} {
		for t := range image.Topics() {
			mark(&d.topics, t.ID, nil)
		}
		for e := range image.configs.all() {
			touch(&s.configs, e.key)
		}
		for b := range image.Brokers() {
			touch(&s.brokers, b.ID)
		}
		for c := range image.Controllers() {
			touch(&s.controllers, c.ID)
		}
		for f := range image.features {
			touch(&s.features, f)
		}
		for q := range image.Quotas() {
			touch(&s.quotas, q.key)
		}
		for a := range image.ACLs() {
			touch(&s.acls, a.ID)
		}
		for c := range image.ScramCredentials() {
			touch(&s.scram, scramKey{c.User, c.Mechanism})
		}
		for t := range image.DelegationTokens() {
			touch(&s.tokens, t.ID)
		}
	}
	return d
}

// Then returns an applied delta that does what d did and then what later did, whose base must be the image of d. It
// costs what they touched.
func (d *Delta) Then(later *Delta) *Delta {
	if later.base != d.applied || later.applied == nil {
		panic("metadata: deltas that do not follow each other")
	}
	both := &Delta{base: d.base, next: *later.applied, applied: later.applied}
	for _, part := range []*Delta{d, later} {
		for id := range part.topics {
			mark(&both.topics, id, nil)
		}
		union(&both.sets.configs, part.sets.configs)
		union(&both.sets.brokers, part.sets.brokers)
		union(&both.sets.controllers, part.sets.controllers)
		union(&both.sets.features, part.sets.features)
		union(&both.sets.quotas, part.sets.quotas)
		union(&both.sets.acls, part.sets.acls)
		union(&both.sets.scram, part.sets.scram)
		union(&both.sets.tokens, part.sets.tokens)
	}
	return both
}

// The sets are made when first needed: most deltas touch one kind of thing.
func mark[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

func touch[K comparable](m *map[K]struct{}, key K) { mark(m, key, struct{}{}) }

func union[K comparable](into *map[K]struct{}, from map[K]struct{}) {
	for key := range from {
		touch(into, key)
	}
}

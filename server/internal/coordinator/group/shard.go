package group

import (
	"fmt"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Shard is the state of one partition of __consumer_offsets; it is a coordinator.Machine.
type Shard struct {
	c         *Coordinator
	partition int32
	journal   *coordinator.Journal
	timers    *coordinator.Timers

	groups   coordinator.Map[string, Group]
	offsets  offsets
	classic  classic.Env
	consumer consumer.Env

	// histories are of groups in which something happened since the shard was loaded.
	histories map[string]*history.Ring
	loaded    time.Time
	// suspects are topics of which offsets may have to go (forget.go).
	suspects suspects
}

// The kinds of timers of a shard. Those of the kinds of groups begin at theirs.
const (
	timerExpireOffsets uint8 = iota
	timerForget
	timerClassic
	timerConsumer = timerClassic + classic.Timers
	timerEnd      = timerConsumer + consumer.Timers
)

func newShard(c *Coordinator, s coordinator.Shard) *Shard {
	shard := &Shard{
		c: c, histories: map[string]*history.Ring{}, suspects: suspects{}, partition: s.Partition, journal: s.Journal, timers: s.Timers,
		groups: coordinator.NewMap[string, Group](s.Journal), offsets: newOffsets(s.Journal),
		classic: classic.Env{Config: &c.o.Config.Classic, Timers: s.Timers, NewID: c.o.NewID, TimerKinds: timerClassic, Image: c.image.Load},
		consumer: consumer.Env{Config: &c.o.Config.Consumer, Journal: s.Journal, Timers: s.Timers, TimerKinds: timerConsumer,
			Image: c.image.Load, Timing: c.timing, NewTopics: c.newTopics.Load},
	}
	shard.classic.Note, shard.consumer.Note = shard.note(Classic), shard.note(Consumer)
	shard.consumer.Downgrade = shard.downgrade
	return shard
}

// find returns a group, nil when there is none.
func (s *Shard) find(id string) Group {
	g, _ := s.groups.Get(id)
	return g
}

// Replay implements coordinator.Machine.
func (s *Shard) Replay(offset, producerID int64, r coordinator.Record) error {
	switch key := r.Key.(type) {
	case *wire.LegacyOffsetCommitKey:
		value, err := valueOf[*wire.LegacyOffsetCommitValue](r)
		if err != nil {
			return err
		}
		var as *wire.OffsetCommitValue
		if value != nil {
			as = wire.NewOffsetCommitValue()
			as.Offset, as.Metadata, as.CommitTimestamp = value.Offset, value.Metadata, value.CommitTimestamp
		}
		return s.replayOffset(offset, producerID, (*wire.OffsetCommitKey)(key), as)
	case *wire.OffsetCommitKey:
		value, err := valueOf[*wire.OffsetCommitValue](r)
		if err != nil {
			return err
		}
		return s.replayOffset(offset, producerID, key, value)
	case *wire.GroupMetadataKey:
		value, err := valueOf[*wire.GroupMetadataValue](r)
		if err != nil {
			return err
		}
		return s.replayClassic(key.Group, value)
	}
	if id, ok := consumer.GroupOf(r); ok {
		return s.replayConsumer(id, r)
	}
	return nil // of a kind of group that is not coordinated here
}

// valueOf returns the value of a record, nil for a tombstone.
func valueOf[V wire.Message](r coordinator.Record) (V, error) {
	var none V
	if r.Value == nil {
		return none, nil
	}
	v, ok := r.Value.(V)
	if !ok {
		return none, fmt.Errorf("the value %T does not belong to the key %T", r.Value, r.Key)
	}
	return v, nil
}

func (s *Shard) replayOffset(offset, producerID int64, key *wire.OffsetCommitKey, value *wire.OffsetCommitValue) error {
	if value == nil {
		s.offsets.remove(key.Group, key.Topic, key.Partition)
		return nil
	}
	// Who commits without being a member makes a group all the same: an empty classic one that speaks nothing.
	if s.find(key.Group) == nil {
		s.groups.Keep(key.Group, s.newClassic(key.Group))
	}
	s.offsets.put(offset, producerID, key, value)
	return nil
}

func (s *Shard) replayClassic(id string, value *wire.GroupMetadataValue) error {
	if value == nil {
		if g := s.find(id); g != nil && g.Kind() == Classic {
			s.groups.Delete(id)
		}
		return nil
	}
	g := s.newClassic(id)
	g.Restore(value)
	s.groups.Set(id, g)
	return nil
}

func (s *Shard) newClassic(id string) *classic.Group { return classic.New(&s.classic, id, s.c.o.Now()) }

// EndTxn implements coordinator.Machine: the offsets that a transaction has sent count from now on, or never.
func (s *Shard) EndTxn(_, producerID int64, commit bool) error {
	s.offsets.end(producerID, commit)
	return nil
}

// Loaded implements coordinator.Machine.
func (s *Shard) Loaded(now time.Time) {
	s.loaded = now
	s.timers.Set(coordinator.Timer{Kind: timerExpireOffsets}, now.Add(s.c.o.Config.OffsetsRetentionCheckInterval))
	s.suspectAll(now)
	for _, id := range s.sortedGroups() {
		switch g := s.find(id).(type) {
		case *classic.Group:
			g.Loaded(now)
		case *consumer.Group:
			g.Loaded(now)
		}
	}
}

// Expire implements coordinator.Machine.
func (s *Shard) Expire(t coordinator.Timer, now time.Time) coordinator.Result {
	switch {
	case t.Kind == timerExpireOffsets:
		return s.expireOffsets(t, now)
	case t.Kind == timerForget:
		return s.forget()
	case t.Kind < timerConsumer:
		if g, ok := s.find(t.Group).(*classic.Group); ok {
			return g.Expire(t, now)
		}
	case t.Kind < timerEnd:
		if g, ok := s.find(t.Group).(*consumer.Group); ok {
			return g.Expire(t, now)
		}
	}
	return coordinator.Result{}
}

// Unloaded implements coordinator.Machine.
func (s *Shard) Unloaded(why error) []func() {
	var told []func()
	for _, id := range s.sortedGroups() {
		if g, ok := s.find(id).(*classic.Group); ok {
			told = append(told, g.Unloaded(why)...)
		}
	}
	return told
}

// notFound is the answer to who asks for a group that there is not.
func notFound(id string) error {
	return kafka.GroupIDNotFound.Errorf("Group %s not found.", id)
}

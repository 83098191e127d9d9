package group

import (
	"errors"
	"strings"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Migration says which way a group with members may go between the classic and the consumer protocol (KIP-848). A group
// without members goes whichever way the next one wants.
type Migration string

// The policies of group.consumer.migration.policy.
const (
	bidirectional Migration = "bidirectional"
	upgradeOnly   Migration = "upgrade"
	downgradeOnly Migration = "downgrade"
	disabled      Migration = "disabled"
)

func parseMigration(text string) Migration {
	if text == "" {
		return bidirectional
	}
	return Migration(strings.ToLower(text))
}

func (m Migration) upgrades() bool   { return m == bidirectional || m == upgradeOnly }
func (m Migration) downgrades() bool { return m == bidirectional || m == downgradeOnly }

// upgrade makes a consumer group of a classic one with members, for a member of the consumer protocol that wants to join.
// The group is not in its place yet.
func (s *Shard) upgrade(id string, from *classic.Group) (*consumer.Group, []coordinator.Record, error) {
	refuse := func(why string) (*consumer.Group, []coordinator.Record, error) {
		return nil, nil, kafka.GroupIDNotFound.Errorf("Cannot upgrade classic group %s to consumer group because %s.", id, why)
	}
	members := from.Members()
	switch {
	case !s.c.o.Config.Migration.upgrades():
		return refuse("online upgrade is disabled")
	case from.ProtocolType() != embedded.ProtocolType:
		return refuse("the group does not use the consumer embedded protocol")
	case len(members) > s.c.o.Config.Consumer.MaxSize:
		return refuse("the group size exceeds the consumer group maximum size")
	}
	g, records, err := consumer.Upgrade(&s.consumer, id, from.Generation(), members, from.Rebalancing())
	switch {
	case errors.Is(err, consumer.ErrCustom):
		return refuse("an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade")
	case err != nil:
		return refuse("the embedded consumer protocol is malformed")
	}
	return g, append(from.Tombstones(), records...), nil
}

// upgraded puts a group in its place that was upgraded for a member, and calls the classic members that wait for answers
// of the group that it was.
func (s *Shard) upgraded(id string, from *classic.Group, to *consumer.Group, step *consumer.Step, by *history.Member, now time.Time) {
	s.consumer.Note(id, history.Event{Kind: history.Upgraded, At: now, Epoch: from.Generation(), Members: int32(len(from.Members())), Member: by})
	to.Adopted(now)
	step.Then = append(step.Then, from.Upgraded(now)...)
	step.Undo = s.swap(id, from, to, now)
}

// downgrade is consumer.Env.Downgrade.
func (s *Shard) downgrade(id string, epoch int32, stay []embedded.Member, tombstones []coordinator.Record, rebalance bool, cause history.Event, now time.Time) (coordinator.Result, bool) {
	if !s.c.o.Config.Migration.downgrades() || len(stay) > s.c.o.Config.Classic.MaxSize {
		return coordinator.Result{}, false
	}
	from, ok := s.find(id).(*consumer.Group)
	if !ok {
		return coordinator.Result{}, false
	}
	to, res, err := classic.Downgrade(&s.classic, id, epoch, stay, tombstones, rebalance, cause, now)
	if err != nil {
		return coordinator.Result{}, false // the group stays what it is, and its members work
	}
	res.Undo = s.swap(id, from, to, now)
	s.mayDrop(id, to, &res)
	return res, true
}

// convertible is a group that may become one of another kind. Resume sets the timers that have come meanwhile, and found
// another group in its place.
type convertible interface {
	Group
	Resume(now time.Time)
}

// swap puts another group in the place of one. It is how groups change their kind before their records are replayed, or
// instead: the new one is what it is already. undo sees to it that the old one goes on, in its place unless the journal has
// put it back there.
func (s *Shard) swap(id string, from convertible, to Group, now time.Time) (undo func()) {
	s.groups.Set(id, to)
	return func() {
		if s.find(id) == to {
			s.groups.Keep(id, from)
		}
		if s.find(id) == Group(from) {
			from.Resume(now)
		}
	}
}

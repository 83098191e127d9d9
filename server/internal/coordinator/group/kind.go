package group

import (
	"iter"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
)

// The kinds of groups, as ListGroups names them (KIP-848, 932, 1071).
const (
	Classic  = "classic"
	Consumer = "consumer"
	Share    = "share"
	Streams  = "streams"
)

// Group is what the groups of all kinds have in common. The errors carry Kafka's codes.
type Group interface {
	// Kind is one of the kinds above.
	Kind() string
	// ProtocolType is what the members speak: consumer, connect, …; empty while nobody has said.
	ProtocolType() string
	// State is the name of the state, as ListGroups tells it.
	State(now time.Time) string
	// Empty reports whether there are no members.
	Empty() bool
	// Subscribed reports whether a member reads a topic: its offsets can then be neither deleted nor expire. A group
	// whose subscriptions cannot be known says no.
	Subscribed(topic string) bool
	// CheckCommit reports whether who names itself so may commit offsets, by OffsetCommit of a version or, within a
	// transaction, by TxnOffsetCommit. epoch is the generation or member epoch, -1 without membership,
	// partitions what is committed.
	CheckCommit(memberID string, instance *string, epoch int32, transactional bool, version int16, partitions iter.Seq2[kafka.TopicID, int32]) error
	// CheckFetch reports whether a member may read the group's offsets: nil and a negative epoch are those of
	// everybody else, who always may.
	CheckFetch(memberID *string, epoch int32) error
	// CheckOffsetDelete and CheckDelete report whether single offsets, or the group, may be deleted.
	CheckOffsetDelete() error
	CheckDelete() error
	// ExpiresSince returns from when on the retention of an offset counts that was committed at commitMs, in
	// milliseconds, and whether the group's offsets expire at all now (KIP-211).
	ExpiresSince(commitMs int64) (sinceMs int64, expires bool)
	// Tombstones are the records that delete the group, without its offsets.
	Tombstones() []coordinator.Record
}

// Package history remembers what happened last in a group and why, and says it in sentences.
//
// It is kept in the memory of the coordinator: nothing of it is replayed, decides anything, or outlives the coordinator.
package history

import (
	"strings"
	"time"
)

// Kind is what happened.
type Kind uint8

// The kinds. Those of members first: each of them can be the cause of a rebalance.
const (
	None         Kind = iota
	Joined            // a member that was not there
	Rejoined          // a member asked for a rebalance, or says something else than before
	Resubscribed      // a member reads other topics than before
	Returned          // a static member came back, under another member id or the same
	LeftForNow        // a static member went and keeps its partitions until its session ends
	Left              // a member went
	Silent            // a member was not heard of for its session timeout
	NeverCame         // who was given a member id did not join with it
	LateToJoin        // a member did not join the rebalance in time
	LateToSync        // a member did not ask for its assignment in time
	LateToRevoke      // a member did not give up partitions in time

	TopicsChanged // there are other topics, partitions or racks for what the members read
	TooMany       // a loaded group has more members than it may have

	Began      // a rebalance began, for a Cause
	AllIn      // the members have joined, and the generation is known
	Assigned   // the coordinator has made an assignment
	Settled    // the leader of a classic group has assigned
	Reconciled // every member of a consumer group has what it is to have
	Emptied    // the last member is gone
	Upgraded   // the group has gone to the consumer protocol, with its classic members
	Downgraded // the group has gone back to the classic protocol
)

// IsOfMember reports whether an event of this kind is about one member.
func (k Kind) IsOfMember() bool { return k >= Joined && k <= LateToRevoke }

// hasReason reports whether an event of this kind may have a Reason, and no By.
func (k Kind) hasReason() bool { return k.IsOfMember() || k == Began }

// Member is who did it.
type Member struct {
	ID             string
	Instance       string // of a static member
	ClientID, Host string
}

// longestReason is how much of a reason is remembered; clients say no more.
const longestReason = 255

// Reason is what a member gives as its reason, as far as it is remembered.
func Reason(said *string) string {
	if said == nil {
		return ""
	}
	return strings.ToValidUTF8(strings.Clone((*said)[:min(len(*said), longestReason)]), "")
}

// Event is one thing that happened. What does not belong to its kind is zero.
type Event struct {
	Kind  Kind
	Cause Kind // of Began
	// Epoch is the generation, or the epoch of a consumer group, that it belongs to or leads to.
	Epoch int32
	// Members is how many there are in AllIn, Assigned, Settled, Reconciled, Upgraded and Downgraded. In an event of a member it is how many more did the
	// same right behind.
	Members int32
	At      time.Time
	// Took is how long a phase took or, of a member, for how long it was silent or late.
	Took time.Duration
	// Whole is, in Settled and Reconciled, how long it is since the rebalance began.
	Whole time.Duration
	// Member is who did it, who caused a rebalance, was the last to join, assigned, or was the last to settle.
	Member *Member
	// Waited is how long the last member to join let the others wait or, where more did the same, how long after the
	// first the last of them did.
	Waited time.Duration
	// By is the protocol or the assignor.
	By string
	// Reason is why, in the words of the member (KIP-800).
	Reason string
}

package history

import (
	"fmt"
	"time"
)

// names are the kinds for programs.
var names = [...]string{
	None: "none", Joined: "member-joined", Rejoined: "member-rejoined", Resubscribed: "subscription-changed", Returned: "static-member-returned",
	LeftForNow: "static-member-left", Left: "member-left", Silent: "member-timed-out", NeverCame: "member-never-came",
	LateToJoin: "join-timed-out", LateToSync: "sync-timed-out", LateToRevoke: "revoke-timed-out",
	TopicsChanged: "topics-changed", TooMany: "too-many-members",
	Began: "rebalance-began", AllIn: "join-phase-over", Assigned: "assigned", Settled: "stable", Reconciled: "reconciled", Emptied: "empty",
	Upgraded: "upgraded", Downgraded: "downgraded",
}

// String is the name of a kind for programs.
func (k Kind) String() string { return names[k] }

// String is who it is, in words.
func (m *Member) String() string {
	if m == nil {
		return "a member"
	}
	who := m.ID
	if m.Instance != "" {
		who = fmt.Sprintf("%s (static, as %s)", m.Instance, m.ID)
	}
	if m.ClientID == "" && m.Host == "" {
		return who
	}
	return fmt.Sprintf("%s (client %s at %s)", who, m.ClientID, m.Host)
}

// Sentence says what happened, without when.
func (e *Event) Sentence() string {
	switch e.Kind {
	case Began:
		return fmt.Sprintf("A rebalance towards %d began: %s.", e.Epoch, e.cause())
	case AllIn:
		return e.allIn()
	case Assigned:
		return fmt.Sprintf("The assignor %s has made the assignment of epoch %d for %s.", e.By, e.Epoch, members(e.Members))
	case Settled:
		return fmt.Sprintf("Generation %d is stable with %s, %s after the rebalance began; the leader %s took %s to assign.", e.Epoch, members(e.Members), round(e.Whole), e.Member, round(e.Took))
	case Reconciled:
		return fmt.Sprintf("Epoch %d is stable with %s, %s after the rebalance began; the last to get there was %s.", e.Epoch, members(e.Members), round(e.Whole), e.Member)
	case Emptied:
		return fmt.Sprintf("The last member is gone; the group is empty in %d.", e.Epoch)
	case Upgraded:
		return fmt.Sprintf("The group was upgraded to the consumer protocol, since %s speaks it; its %s of the classic protocol stay.", e.Member, members(e.Members))
	case Downgraded:
		return fmt.Sprintf("The group was downgraded to the classic protocol in %d: nobody speaks the consumer protocol any more, and %s of the classic protocol stayed.", e.Epoch, members(e.Members))
	case TopicsChanged:
		return "The topics that the members read, their partitions or racks have changed."
	}
	more := ""
	if e.Members > 0 {
		more = fmt.Sprintf(" So did %d more in the %s that followed.", e.Members, round(e.Waited))
	}
	return fmt.Sprintf("%s %s.%s", e.Member, e.did(), more)
}

// did is what a member did, and what it said.
func (e *Event) did() string {
	if e.Reason == "" {
		return e.deed()
	}
	return fmt.Sprintf("%s, saying %q", e.deed(), e.Reason)
}

func (e *Event) deed() string {
	switch e.Kind {
	case Joined:
		return "joined"
	case Rejoined:
		return "joined again and asks for a rebalance"
	case Resubscribed:
		return "has changed what it reads"
	case Returned:
		return "has come back"
	case LeftForNow:
		return "went for now, and keeps its partitions until its session ends"
	case Left:
		return "left"
	case Silent:
		return fmt.Sprintf("was silent for its session timeout of %s, and is taken for dead", round(e.Took))
	case NeverCame:
		return "was given a member id, and did not join with it in time"
	case LateToJoin:
		return fmt.Sprintf("did not join within %s, and was let go", round(e.Took))
	case LateToSync:
		return fmt.Sprintf("did not ask for its assignment within %s, and was let go", round(e.Took))
	case LateToRevoke:
		return fmt.Sprintf("did not give up the partitions it had to within its rebalance timeout of %s, and was let go", round(e.Took))
	}
	return e.Kind.String()
}

// cause is why a rebalance began.
func (e *Event) cause() string {
	switch e.Cause {
	case TopicsChanged:
		return "the topics that the members read have changed"
	case Upgraded:
		return "the group was upgraded to the consumer protocol"
	case Downgraded:
		return "the group was downgraded to the classic protocol"
	case TooMany:
		return "the group has more members than it may have"
	case Silent:
		return e.Member.String() + " was silent"
	case None:
		return "the coordinator decided so"
	}
	because := Event{Kind: e.Cause, Took: e.Took, Reason: e.Reason}
	return fmt.Sprintf("%s %s", e.Member, because.did())
}

func (e *Event) allIn() string {
	text := fmt.Sprintf("Generation %d has %s and assigns by %s; to join took %s", e.Epoch, members(e.Members), e.By, round(e.Took))
	if e.Member != nil {
		text += fmt.Sprintf(", and the last to come was %s after %s", e.Member, round(e.Waited))
	}
	return text + "."
}

func members(n int32) string {
	if n == 1 {
		return "1 member"
	}
	return fmt.Sprintf("%d members", n)
}

// round leaves of a duration what people read.
func round(d time.Duration) time.Duration {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

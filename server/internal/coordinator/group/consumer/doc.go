// Package consumer decides about one group of the consumer protocol (KIP-848): the coordinator assigns, and brings every
// member from what it has to what it is to have, one heartbeat at a time, without ever stopping the others.
//
//	group epoch        rises with every change of members, of what they read, or of those topics
//	target assignment  what everybody is to have; it is made for a group epoch, and then has that epoch
//	member epoch       the target that the member has reached, or is on its way to
//
// A member gives up first: it stays in its epoch until it says that it no longer owns what it is to lose. Then it goes to
// the target's epoch and gets what is free of its part; the rest it gets when the others have given it up.
//
//	   ┌──────────────── nothing to give up, and all of its part is free ────────────────┐
//	   │                                                                                 ▼
//	Stable ── something to give up ──▶ UnrevokedPartitions ── it has given up ──▶ UnreleasedPartitions
//	   ▲                                                                                 │
//	   └──────────────────────────── the others have given up ──────────────────────────┘
//
// Changes that come within the assignment interval of the last target share the next one (KIP-1263), which a timer makes.
//
// What a regular expression stands for is looked up outside of all locks, at most every ten seconds in a group, and is a
// record too; a new one stands for nothing until then. A partition keeps the epoch in which its member got it: commits of
// any epoch since then count (KIP-1251).
//
// Members of the classic protocol take part (classic.go): a group of theirs that a member of this protocol joins becomes
// one of this kind, and goes back when the last such member is gone (migrate.go). They make their steps by JoinGroup and
// SyncGroup, in which they say what they own and are told what they have; between, REBALANCE_IN_PROGRESS calls them.
//
// All of this is replayed from records, the same that Kafka writes; only deadlines are not.
package consumer

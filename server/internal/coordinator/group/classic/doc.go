// Package classic decides about one group of the classic protocol: members join, a leader among them assigns, all of
// them sync (JoinGroup 0-9, SyncGroup 0-5, Heartbeat 0-4, LeaveGroup 0-5).
//
//	          first member                  all have joined                    the leader's assignment
//	Empty ──────────────────▶ PreparingRebalance ──────────▶ CompletingRebalance ──────────▶ Stable
//	  ▲                        ▲    │  ▲                            │                           │
//	  └────── nobody came ─────┼────┘  └───── a member changes ─────┴───────────────────────────┘
//	                           └ a member joins, leaves, or is silent for too long
//
// What the members mean by their protocols is theirs: the coordinator counts which names all of them support, and
// looks into metadata only where the protocol type is consumer, to know the topics whose offsets are in use.
//
// The group's state lives in memory. What is stored, as Kafka stores it, is the outcome of a rebalance: the members with
// their assignments, once the leader has sent them, or an empty group. After a change of coordinator a group goes on as
// it was stored, and members that were rebalancing join again.
//
// A group whose protocol type is consumer goes over to the consumer protocol when a member joins by that, and comes back
// when no such member is left (migrate.go).
//
// Answers to JoinGroup and SyncGroup are kept with the member until the phase ends. Like every answer they are given
// when all that they tell is committed (package coordinator).
package classic

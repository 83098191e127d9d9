// Package group coordinates groups: who is a member, who reads what, and up to where.
//
// The state of one partition of __consumer_offsets is a Shard: its groups, of every kind, and their committed offsets.
// A kind of group is a room of its own (classic; consumer, which is KIP-848) that decides about one group and knows no
// other; this room finds the group, turns what was decided into records of the partition, and owns what all kinds have
// in common: offsets (offsets.go), deletion and expiration (delete.go, expire.go), listing (list.go).
//
//	api            a request, decoded and authorized
//	Coordinator    which partition is the group's? coordinator.Runtime decides it there, in order
//	Shard          finds the group, or makes one
//	classic, …     (group, request, now) -> records and answers, and what a history is told (explain.go)
//
// A group may change its kind: migrate.go makes one of the other kind of it, by what embedded knows of its members, and
// puts it in its place.
package group

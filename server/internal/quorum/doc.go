// Package quorum makes Raft run: it persists the metadata log, elects, commits, takes snapshots and hands on what is
// agreed.
//
// Agreement is go.etcd.io/raft's RawNode, a pure machine (DESIGN: metadata is one log). What surrounds it is Kafka's:
//
//	<dir>/__cluster_metadata-0/
//	  00000000000000000000.log …        v2 batches of Kafka's metadata records, in a log like any other
//	  <end offset>-<epoch>.checkpoint    snapshots, as Kafka writes them
//	  quorum-state                       JSON: leader, epoch, vote
//	  millrace-quorum                    what only Raft needs: see state.go
//	  millrace-quorum-reserve            room for the day when the disk is full: see room.go
//
// One Raft entry is one batch: its index is the ordinal of the batch, its term the batch's leader epoch. The empty entry
// that begins a term is stored as Kafka's LeaderChange control batch, so offsets are those of records and never
// those of Raft.
//
// The loop (node.go) takes proposals in groups: all that arrived while the last group was being synced share the
// next sync. Today a quorum has one voter; messages to others would leave in step, and nowhere else.
package quorum

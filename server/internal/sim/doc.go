// Package sim runs a node's coordinator of groups, its log and its clients in one goroutine, bit for bit from a seed, and
// checks after every event what must never be otherwise.
//
//	sim.go       the heap of events, the dice, the transcript
//	node.go      the coordinator and its log: crashes, lost leaderships, refused appends, late syncs, sleep
//	disk.go      the log as a commitlog on a disk in memory, which forgets in a crash what was not synced; every other run
//	             has one
//	client.go    a member's connection: what it sends arrives late, twice, or not at all, but in order
//	classic.go   a member of a classic group, with an assignor of its own; static ones take the places of others
//	consumer.go  a member of a consumer group (KIP-848), which may read by a regular expression
//	gate.go      what lies between a message and the coordinator
//	ledger.go    what is committed, replayed by a dumb twin of the coordinator
//	check.go     the invariants
//	chaos.go     what goes wrong, and how a run ends
//	bug.go       bugs that are planted on purpose, to see that they are found
//
// Groups speak the classic protocol, or the consumer protocol, or each member what it likes: then the group goes from one
// to the other and back. The groups' topic has one to three partitions; topics come, grow, go, and come again by the same
// name; groups and offsets are deleted, and offsets expire.
//
// What goes over one connection stays in order, as TCP keeps it: the consumer protocol rests on that.
//
// A run goes wrong for a while, then everything heals, and within a bounded time every group must be stable, with an
// owner for each partition that is read. It counts only when it did something: at least minEvents events, with a crash, a
// lost leadership and a member's death among them; chaos goes on until then.
package sim

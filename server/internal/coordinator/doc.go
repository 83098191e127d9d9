// Package coordinator runs replicated state machines over ordinary partitions: groups over __consumer_offsets,
// transactions over __transaction_state.
//
// A Machine is the state of one partition. A request is decided by a function of that state and of now, which returns
// records; state changes only by replaying records, the same way after a restart, after a change of leader and for a
// request that has just been decided.
//
// # The way of a request
//
//	Runtime.Do       find the shard: who leads this partition, and is it loaded?
//	decide           under the shard's lock, on the goroutine that brought the request: (state, now) -> Result
//	replay           at once, into the state that the next request sees; the journal remembers how to take it back
//	Log.Append       one batch for all requests that came while the last one was being written
//	flight.land      the batch is committed: everything that was decided up to it is answered, in order
//
// So requests are pipelined instead of waiting for a sync each. What a request saw may not be committed yet: its answer
// is therefore parked behind the newest batch, also when the request only read. No answer tells as done what could still
// be lost, and a read that nothing is in flight for is answered at once. A refusal waits as well, but stands whatever
// becomes of that batch: whoever is refused asks again, or joins again.
//
// An append that fails at once has changed nothing, and what was replayed for it is taken back. Anything worse, a lost
// leadership or a failed disk, ends the shard: who waits is told to look for the coordinator again, the state is
// dropped, and whoever leads next loads it from the log.
//
// # Time
//
// A Machine sets timers by name in its shard, and is asked what to do when one is due. Runtime.Tick does that, and
// returns when it wants to be called again: a goroutine turns the crank in production, an event heap in the simulator.
// Timers that are not replayed: after a load the machine sets them anew.
//
// # Locks
//
// A shard's mu is held while a request is decided and its batch is appended, never while an answer is given. Runtime.mu
// is a leaf: it guards the table of shards.
package coordinator

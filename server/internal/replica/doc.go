// Package replica holds the replicas on this node: who leads, what is acknowledged and when, how far readers may
// see, and how all of it reaches the disk.
//
// # Two positions
//
// Every log has two ends: what was appended, and what was flushed. The class of a topic (key durability) says which
// of them counts. In class disk, acks=1 waits for the leader's own flush and the high watermark counts flushed
// positions, so that acks=all, and everything a consumer ever sees, lies on the disk of every in-sync replica. In
// class cache it is the appended one that counts, as in Kafka, and the disk follows in the background: by
// flush.messages and flush.ms, and whenever recovery points are saved. A segment that was rolled waits for that, too.
// Kafka syncs it at once, which competes with the appends and gains nothing: no recovery point is saved any earlier,
// and by then the operating system has written most of it.
//
// # The way of a record
//
//	Manager.Append   find the partition; under its role's read lock: may it be written? then commitlog.Append
//	                 (in class disk small batches stay in memory for now: segment.Holding)
//	syncer.add       the log goes on its directory's list for the next round (class disk)
//	Partition.park   the entry goes on its partition's list of who waits, in memory that it brings along
//	syncer.round     what is small into the journal and one fdatasync, fdatasync of the other dirty logs at a time, the
//	                 floor, then the watermarks
//	wakes.run        whoever waited for what is now reached is answered, outside of all locks
//
// Nothing of this makes garbage. Append runs on the goroutine that read the request; a fetch that waits costs one
// timer and a place on the list of each of its partitions, and is answered by whoever moves the watermark.
//
// # Locks
//
// Three of a partition, never one inside another but in this order: mu (the role; held for reading across an append),
// waitMu (who waits), and those of the log. A directory's locks (syncer.mu, floor.mu, room.mu, janitor.mu) are leaves.
// Nothing is answered, and Cluster is not called, while a partition's lock is held.
//
// # What a crash can do
//
// A batch is good or bad by its CRC. What a bad batch means depends on what was promised about it, and that is what
// the durable floor records (floor.go draws it). A round of group commit does, in this order:
//
//  1. sync the journal with what is small (journal.go), the data of every other dirty log, and the floor entries that the
//     last round wrote;
//  2. note how far each log is flushed now that the journal does not vouch for;
//  3. move the watermarks and answer.
//
// So when anything is acknowledged, its data is synced, in its log or in the journal. Its floor is in the floor's file, in
// the page cache at least, and 50 ms later, or with the next round, on the disk; or the journal is its floor. A start
// writes what the journal has into the logs, and syncs them, before it opens them: from there on it is as if each log had
// been synced by itself.
//
//   - The process is killed: the page cache stays, so floors are whole, and so is the data with what the journal has of
//     it; what a log held in memory beyond that was not acknowledged. Every bad batch above the floor was never
//     acknowledged in class disk and is cut.
//   - The power fails: synced data stays. Of the floors the last round's entries may be missing or torn, which lowers
//     a floor; an entry never says more than was synced before it was written. Acknowledged data is whole all the
//     same, since its sync came first, and recovery takes in every good batch, above the floor as below. A torn write
//     is a bad batch above the floor: it is cut, and nothing that was acknowledged goes with it.
//   - A bit flips, in the data or by a disk that lies about its syncs: a bad batch below the floor. That is damage.
//     The partition goes offline, nothing is cut, and the log says what to do; the other partitions serve.
//   - A bit flips in the floors: one entry does not check and is left out, the entry before it holds, and a line in
//     the log says so. Floors are lower than they were, so less is called damage; nothing is called damage that is
//     not.
//   - A bit flips in the journal: a frame does not check and is left out. If the logs have what it held, as they have
//     of all but the last half second when the process alone ended, nothing is missing. Else a later frame of the same
//     log, or its floor, tells that something is: damage. That a frame is missing is told in any case.
//   - A crash in the middle of retention or of DeleteRecords: the new start of a log is saved, durably and in one write for the
//     logs of the directory, before a segment below it is renamed. So a log that begins above its saved start lacks
//     segments: reads of those are refused, and a line says so.
//   - Somebody takes files of a log away. While the node runs, whoever meets that (a round, a drain of the journal, a
//     checkpoint, an append, retention, which look whether the file that is appended to can still be found) takes that
//     partition offline, and the others go on: the disk has answered. After an unclean
//     stop a log that has a floor and no directory is offline, not empty, and a hole between segments is refused.
//   - Both at once: the power fails and, within what the last 50 ms acknowledged, a bit flips too. The lost floor
//     entry makes the flip look like a torn tail. This is what one node alone does not tell apart.
//
// A sync that fails is final: what the kernel has dropped since cannot be known, so the directory is offline until the
// node is restarted, and recovery judges.
//
// # Files of a log directory
//
// Beside Kafka's own (.lock, meta.properties, the checkpoints, .kafka_cleanshutdown) there are some of ours, which
// Kafka leaves alone: millrace-durable-floor; millrace-journal.0 and .1, while the node runs; millrace-manifest
// (manifest.go: what a clean stop knows of every log, so that a start touches none of them) and millrace-reserve
// (reserve.go: room for the day when the disk is full).
//
// # What comes next
//
// A follower is a reader that reports its position: role.followers holds what the leader knows of them, raise takes
// the least of those in sync, and read refuses nodes that are no replicas. Fetchers, ISR changes and the flushed
// position in a follower's Fetch are not here yet, so with more than one in-sync replica the watermark stands still.
// Whoever truncates a log, or writes other bytes to where a segment has some (compaction, a replica that moved in from
// another directory), has to end what the journal holds of it first: syncJournaled, and a new run of both halves. A replica
// that is deleted or moves away is ended by an entry of the floor (floor.go), so that it may come back under its id.
package replica

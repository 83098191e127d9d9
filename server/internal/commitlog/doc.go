// Package commitlog is the log of one partition: a directory of segments with its leader epochs and its producers,
// appended to, read, flushed, cut, recovered and verified. It starts no goroutine and owns no timer.
//
// A log is a row of segments (package segment). The last one, the active segment, is appended to. Four offsets say
// where it stands:
//
//	start ......... recovery point ......... flushed ......... end
//	  |                   |                     |               |
//	  first record        below: durable        below: data     offset of the next record
//	  that can be read    with indexes, epochs  durable
//	                      and snapshots
//
// Invariant: recovery point <= flushed <= end, start <= end. Records between flushed and end may be gone after a
// power loss; how far they may be shown or acknowledged is decided above (package replica).
//
// A partition's directory is byte-compatible with Kafka's:
//
//	00000000000000000000.log ...         segments, see package segment
//	00000000000000004711.snapshot        producers before offset 4711 (producer_snapshot.go)
//	leader-epoch-checkpoint              which epoch began where (epochs.go)
//	partition.metadata                   the topic's id (checkpoint.go)
//	producers.spill                      producers that do not fit in memory; rebuilt at every start (spill.go)
//
// # Hot and cold
//
// What a log needs to work (segment list, epochs, producers) hangs on one pointer. A log that is not used gives it
// up (Cool) and keeps a few numbers; the first touch reads it back. After a clean stop a log begins cold
// (OpenCold), so a node with many partitions starts without touching their files.
//
// # After a crash
//
// What lies below the recovery point is believed, with its indexes. What lies above is read batch by batch (recover.go):
// CRCs, and the chain (scrub.go), since the first 17 bytes of a batch lie outside of its CRC: offsets continue, from
// segment to segment too, lengths land on the next batch, epochs agree with the epoch file, which is made durable with
// the batches. A batch that fails ends the log there, if it lies above the durable floor: it is a write that the crash
// tore. Below the floor it is damage: nothing is cut, and the log does not open. Who truncates a log lowers its floor,
// and the recovery point of the checkpoint, before.
//
// Compaction leaves gaps between offsets, and so may a crash, and which it was depends on the topic's policy. Who opens a log
// without knowing that says so (Options.PolicyUnknown), and has it judged later (Judge).
//
// Indexes are rebuilt above the recovery point; below it, each entry that is used is compared with the batch that it
// leads to, and an index that contradicts its segment is rebuilt then (heal.go). What a killed process wrote and did not
// sync is synced before a new one relies on it. Producers and transaction indexes are replayed from the newest snapshot
// that can be believed (replay.go).
//
// # Locks
//
// Log.mu belongs to those who change the log, one at a time; it is held across writes to files, and across a sync only
// where retention makes the snapshots durable that replace what it deletes. Log.view guards what readers look at and is
// held for a few instructions. A reader takes view alone. Log.saving is held while the epoch file is written, before view.
package commitlog

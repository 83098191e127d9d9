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
// # Locks
//
// Log.mu belongs to those who change the log, one at a time; it is held across writes to files, never across a
// sync. Log.view guards what readers look at and is held for a few instructions. A reader takes view alone.
package commitlog

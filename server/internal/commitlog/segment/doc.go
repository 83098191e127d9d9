// Package segment owns one segment of a log: a file of record batches and its three indexes, as positions and
// bytes.
//
// Four files share a name, the 20 digits of the base offset (the offset of the first record):
//
//	00000000000000004711.log        record batches back to back
//	00000000000000004711.index      offset  -> position of a batch     (OffsetIndex)
//	00000000000000004711.timeindex  time    -> offset                  (TimeIndex)
//	00000000000000004711.txnindex   aborted transactions, if any       (TxnIndex)
//
// and a fifth stands beside some of them: 00000000000000004711.snapshot, the producers as they were before offset
// 4711. A suffix after that marks a file on its way: .deleted waits to be unlinked, .cleaned is compaction output
// that was never finished, .swap is compaction output that is complete and takes the place of what it covers.
//
// No file is held open for longer than it is used: Handles, one per log directory, keeps the most recently used
// ones. The indexes of a segment are written to their files late (when a page of entries is full, when the segment
// is sealed, when a checkpoint wants them), since recovery rebuilds what a crash took.
package segment

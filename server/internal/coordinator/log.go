package coordinator

// Log is one partition in one leadership of it. The replicas implement it, and so does the simulator.
type Log interface {
	// Bounds are the offsets of the first record and of the next one to come.
	Bounds() (start, end int64)
	// MaxBatchBytes is the size of the largest batch that Append takes now.
	MaxBatchBytes() int
	// Read returns whole batches that begin with the one that holds offset, in buf or in memory of its own: as many
	// as fit into cap(buf), but at least one. It returns none at the end of the log. Read sees all that was
	// appended, committed or not.
	Read(offset int64, buf []byte) ([]byte, error)
	// Append appends a batch. The log gives it base offset and leader epoch. An error means that nothing was
	// appended and that done is not called. Otherwise done is called exactly once, maybe before Append returns: with
	// nil when the batch is committed, with an error when this leadership ended before. There is no time limit.
	// The batch is not kept. Append does not call the shard, but done may be called by anybody.
	Append(batch []byte, done func(error)) (baseOffset int64, err error)
	// Await calls done as Append does, when everything before an offset is committed.
	Await(offset int64, done func(error))
}

package commitlog

import "github.com/millrace-io/millrace/server/internal/commitlog/segment"

// txns are the transactions under way at a point of the log: producer to first offset. It is what is needed to tell
// from the batches alone which transactions were aborted.
type txns map[int64]int64

// restore takes in what a snapshot says.
func (t txns) restore(e SnapshotEntry) error {
	if e.TxnFirstOffset >= 0 {
		t[e.ProducerID] = e.TxnFirstOffset
	}
	return nil
}

// step goes over a batch; bytes are needed of control batches alone. It returns the transaction that the batch aborts,
// if any; its first offset is -1 when it wrote nothing, or began before the walk did.
func (t txns) step(b *segment.Batch, bytes []byte) (aborted AbortedTxn, ok bool) {
	if b.ProducerID < 0 || !b.Transactional() {
		return aborted, false
	}
	first, open := t[b.ProducerID]
	if !b.Control() {
		if !open {
			t[b.ProducerID] = b.BaseOffset
		}
		return aborted, false
	}
	m := markerOf(bytes, &b.Header)
	if !m.found {
		return aborted, false
	}
	delete(t, b.ProducerID)
	if m.commit {
		return aborted, false
	}
	if !open {
		first = -1
	}
	aborted = AbortedTxn{ProducerID: b.ProducerID, FirstOffset: first, LastOffset: b.BaseOffset, LastStableOffset: b.BaseOffset + 1}
	for _, began := range t {
		aborted.LastStableOffset = min(aborted.LastStableOffset, began)
	}
	return aborted, true
}

package commitlog

import (
	"fmt"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// historyBytes is how far before a snapshot the log is looked through for the batches that the snapshot leaves out.
// What a producer may send again lies close to the end of the log: five batches of each of those that wrote at a time.
const historyBytes = 4 << 20

// history gives producers that came out of a snapshot the batches before their last one. A snapshot, in Kafka's
// format, holds only the last; but a producer that was not answered, since the node was killed or stopped, sends all that it
// had under way again, and the first of them must be known for the duplicate that it is. Kafka refuses it then as out
// of order, and the producer can only give up or begin anew under a new epoch, which writes what is there a second time.
//
// Only headers are read. What cannot be read is left out: whoever reads the log itself comes upon it.
func (l *Log) history(h *hot, before int64) error {
	if len(h.producers.resident) == 0 || before <= h.segs[0].Base {
		return nil
	}
	seen := map[int64][]batchMark{}
	note := func(b *segment.Batch, _ func() ([]byte, error)) error {
		if p := h.producers.resident[b.ProducerID]; p == nil || b.Control() || b.ProducerEpoch != p.epoch {
			return nil
		}
		marks := seen[b.ProducerID]
		if len(marks) == keptBatches {
			marks = append(marks[:0], marks[1:]...)
		}
		seen[b.ProducerID] = append(marks, markOf(&b.Header))
		return nil
	}
	first, from, err := l.historyFrom(h, before)
	for i := first; err == nil && i < len(h.segs) && h.segs[i].Base < before; i++ {
		err = eachHeaderIn(h.segs[i], max(from, h.segs[i].Base), before, note)
	}
	if segment.IsBad(err) {
		l.logger.Warn("the batches before a producer snapshot cannot be read; what producers send again of them is refused as out of order", "partition", l.tp, "before", before, "err", err)
		return nil
	}
	if err != nil {
		return ioError(fmt.Errorf("%s: look for the last batches of producers: %w", l.tp, err))
	}
	for id, marks := range seen {
		p := h.producers.resident[id]
		if last := p.last(); last != nil && last.lastOffset == marks[len(marks)-1].lastOffset {
			p.n = int8(copy(p.batches[:], marks))
		}
	}
	return nil
}

// historyFrom returns the segment and the offset where the last historyBytes before an offset begin.
func (l *Log) historyFrom(h *hot, before int64) (first int, from int64, err error) {
	first = find(h.segs, before-1)
	at, err := h.segs[first].Offsets.Lookup(before)
	if err != nil {
		return 0, 0, err
	}
	position := at.Position - historyBytes
	for position < 0 && first > 0 {
		first--
		position += h.segs[first].Size()
	}
	if at, err = h.segs[first].Offsets.LookupPosition(max(position, 0)); err != nil {
		return 0, 0, err
	}
	return first, at.Offset, nil
}

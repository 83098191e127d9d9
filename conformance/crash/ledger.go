package crash

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// entry is a record by its origin: which of its writer's records it is, counted from 0. The zero entry is none.
type entry struct {
	writer int32 // from 1 on
	n      int32
}

// value is what the record holds: its origin, and bytes that follow from it.
func (e entry) value() []byte {
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(e.writer)), uint32(e.n))
	h := fnv.New64a()
	h.Write(head)
	dice := h.Sum64()
	v := append(make([]byte, 0, len(head)+int(dice%400)), head...)
	for size := cap(v); len(v) < size; {
		dice = dice*6364136223846793005 + 1442695040888963407
		v = append(v, "the mill grinds "[dice>>60])
	}
	return v
}

// entryOf reads the origin of a record and holds its bytes against it.
func entryOf(value []byte) (entry, error) {
	if len(value) < 8 {
		return entry{}, fmt.Errorf("a value of %d bytes that nobody wrote", len(value))
	}
	e := entry{int32(binary.BigEndian.Uint32(value)), int32(binary.BigEndian.Uint32(value[4:]))}
	if string(e.value()) != string(value) {
		return e, fmt.Errorf("the bytes of record %d of writer %d were changed", e.n, e.writer)
	}
	return e, nil
}

// ledger is what must be true of one partition.
type ledger struct {
	topic     string
	partition int32

	mu sync.Mutex
	// known holds, by offset, what was acknowledged or read there.
	known []entry
	// acked is the offset behind the last that was acknowledged.
	acked int64
	// read is how far the partition was read, with the order checked; last is each writer's last record up to there.
	read int64
	last map[int32]int32
	// start is the greatest log start that was seen.
	start int64
	// idempotent says of each writer whether every record of it is there, and once.
	idempotent map[int32]bool
}

// acknowledged notes that records lie from an offset on.
func (l *ledger) acknowledged(base int64, writer, first int32, count int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range count {
		if err := l.note(base+int64(i), entry{writer, first + int32(i)}); err != nil {
			return fmt.Errorf("acknowledged: %w", err)
		}
	}
	l.acked = max(l.acked, base+int64(count))
	return nil
}

// note fills one place; it must not hold anything else. The lock is held.
func (l *ledger) note(offset int64, e entry) error {
	for int64(len(l.known)) <= offset {
		l.known = append(l.known, entry{})
	}
	if was := l.known[offset]; was != (entry{}) && was != e {
		return fmt.Errorf("%s-%d offset %d holds record %d of writer %d, where record %d of writer %d was", l.topic, l.partition, offset, e.n, e.writer, was.n, was.writer)
	}
	l.known[offset] = e
	return nil
}

// again is how many records before the last one that was read are read again after each kill.
const again = 2000

// verify reads the partition, from a little before where it was read to last or as a whole, and holds it against the
// ledger. Nobody may be writing.
func (l *ledger) verify(c *socket.Conn, whole bool) error {
	from := max(l.start, l.read-again)
	if whole {
		from = l.start
	}
	for {
		next, high, err := l.fetch(c, from)
		if err != nil {
			return fmt.Errorf("%s-%d from offset %d: %w", l.topic, l.partition, from, err)
		}
		if from = next; from >= high {
			break
		}
	}
	if l.acked > from {
		return fmt.Errorf("%s-%d ends at offset %d, and offsets up to %d were acknowledged: records are lost", l.topic, l.partition, from, l.acked-1)
	}
	if int64(len(l.known)) > from {
		return fmt.Errorf("%s-%d ends at offset %d, and offsets up to %d were shown to a reader", l.topic, l.partition, from, len(l.known)-1)
	}
	return nil
}

// fetch reads once, and returns where to go on and the high watermark.
func (l *ledger) fetch(c *socket.Conn, from int64) (next, high int64, err error) {
	request := wire.NewFetchRequest()
	request.ReplicaID, request.MaxWaitMs, request.MinBytes, request.MaxBytes, request.SessionEpoch = -1, 0, 0, 16<<20, -1
	one := wire.NewFetchRequestPartitions()
	one.Partition, one.FetchOffset, one.PartitionMaxBytes = l.partition, from, 8<<20
	request.Topics = []wire.FetchRequestTopics{{Topic: l.topic, Partitions: []wire.FetchRequestPartitions{one}}}
	response := wire.NewFetchResponse()
	if err := c.Call(request, response, 12, 30*time.Second); err != nil {
		return 0, 0, err
	}
	if response.ErrorCode != kafka.None || len(response.Responses) != 1 || len(response.Responses[0].Partitions) != 1 {
		return 0, 0, fmt.Errorf("the answer is %v with %d topics", response.ErrorCode, len(response.Responses))
	}
	p := &response.Responses[0].Partitions[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.ErrorCode == kafka.OffsetOutOfRange && from < l.acked {
		return l.restart(c)
	}
	if p.ErrorCode != kafka.None {
		return 0, 0, p.ErrorCode
	}
	if p.LogStartOffset < l.start {
		return 0, 0, fmt.Errorf("the log starts at %d and started at %d before", p.LogStartOffset, l.start)
	}
	l.start = p.LogStartOffset
	next = from
	for rest := p.Records; len(rest) > 0; {
		b, behind, err := record.Next(rest)
		if err != nil {
			break // the last batch may be cut by the limit of bytes
		}
		rest = behind
		if err := b.CheckCRC(); err != nil {
			return 0, 0, err
		}
		if b.NextOffset() <= from {
			continue
		}
		if b.BaseOffset() > next {
			return 0, 0, fmt.Errorf("a gap: offset %d comes where %d must", b.BaseOffset(), next)
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				return 0, 0, err
			}
			if r.Offset < next {
				continue // fetches begin with whole batches
			}
			if r.Offset != next {
				return 0, 0, fmt.Errorf("a gap: offset %d comes where %d must", r.Offset, next)
			}
			if err := l.take(r.Offset, r.Value); err != nil {
				return 0, 0, err
			}
			next++
		}
	}
	if next == from && from < p.HighWatermark {
		return 0, 0, fmt.Errorf("nothing to read below the high watermark %d", p.HighWatermark)
	}
	return next, p.HighWatermark, nil
}

// restart finds the log start after retention moved it past what is read. The lock is held.
func (l *ledger) restart(c *socket.Conn) (next, high int64, err error) {
	request := wire.NewListOffsetsRequest()
	request.ReplicaID = -1
	one := wire.NewListOffsetsRequestPartitions()
	one.PartitionIndex, one.Timestamp = l.partition, -2
	request.Topics = []wire.ListOffsetsRequestTopics{{Name: l.topic, Partitions: []wire.ListOffsetsRequestPartitions{one}}}
	response := wire.NewListOffsetsResponse()
	if err := c.Call(request, response, 6, 30*time.Second); err != nil {
		return 0, 0, err
	}
	p := &response.Topics[0].Partitions[0]
	switch {
	case p.ErrorCode != kafka.None:
		return 0, 0, p.ErrorCode
	case p.Offset <= l.start || p.Offset > l.acked:
		return 0, 0, fmt.Errorf("an offset that was acknowledged is out of range, and the log starts at %d (before: %d)", p.Offset, l.start)
	}
	l.start = p.Offset
	if l.read < l.start { // what lies between was let go of unread; its order cannot be checked any more
		for _, e := range l.known[l.read:l.start] {
			if e.writer != 0 {
				l.last[e.writer] = max(l.last[e.writer], e.n)
			}
		}
		l.read = l.start
	}
	return l.start, l.start + 1, nil
}

// take holds one record that was read against the ledger, and against the order of its writer. The lock is held.
func (l *ledger) take(offset int64, value []byte) error {
	e, err := entryOf(value)
	if err != nil {
		return fmt.Errorf("offset %d: %w", offset, err)
	}
	if err := l.note(offset, e); err != nil {
		return err
	}
	if offset < l.read {
		return nil
	}
	last, seen := l.last[e.writer]
	switch every := l.idempotent[e.writer]; {
	case seen && e.n <= last:
		return fmt.Errorf("offset %d: record %d of writer %d comes after record %d: it is there twice, or out of order", offset, e.n, e.writer, last)
	case every && seen && e.n != last+1, every && !seen && e.n != 0:
		return fmt.Errorf("offset %d: record %d of the idempotent writer %d comes after record %d: some are missing", offset, e.n, e.writer, last)
	}
	l.last[e.writer], l.read = e.n, offset+1
	return nil
}

package commitlog

import (
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
)

// keptBatches is how many of a producer's last batches are remembered: as many as an idempotent producer may have
// under way at once, so that each can be told to be a duplicate.
const keptBatches = 5

// batchMark is what is remembered of a batch.
type batchMark struct {
	lastSequence int32
	offsetDelta  int32 // last offset less first
	lastOffset   int64
	timestamp    int64 // max timestamp, ms
}

func markOf(h *record.Header) batchMark {
	return batchMark{lastSequence: h.LastSequence(), offsetDelta: h.LastOffsetDelta, lastOffset: h.LastOffset(), timestamp: h.MaxTimestamp}
}

func (m *batchMark) firstSequence() int32 {
	if m.lastSequence >= m.offsetDelta {
		return m.lastSequence - m.offsetDelta
	}
	return math.MaxInt32 - (m.offsetDelta - m.lastSequence) + 1
}

// producer is what the log knows of one producer id (KIP-98).
type producer struct {
	id               int64
	epoch            int16
	n                int8 // batches in use
	coordinatorEpoch int32
	timestamp        int64                  // of the last batch or marker, ms
	txnFirst         int64                  // first offset of the transaction under way; -1 none
	batches          [keptBatches]batchMark // oldest first

	prev, next *producer // the ring of those in memory, most recently used first
}

func (p *producer) last() *batchMark {
	if p.n == 0 {
		return nil
	}
	return &p.batches[p.n-1]
}

func (p *producer) add(m batchMark) {
	if p.n == keptBatches {
		copy(p.batches[:], p.batches[1:])
		p.n--
	}
	p.batches[p.n] = m
	p.n++
}

func (p *producer) entry() SnapshotEntry {
	e := SnapshotEntry{
		ProducerID: p.id, Epoch: p.epoch, LastSequence: record.NoSequence, LastOffset: -1,
		Timestamp: p.timestamp, CoordinatorEpoch: p.coordinatorEpoch, TxnFirstOffset: p.txnFirst,
	}
	if m := p.last(); m != nil {
		e.LastSequence, e.LastOffset, e.OffsetDelta = m.lastSequence, m.lastOffset, m.offsetDelta
	}
	return e
}

// txn is a transaction in this partition, under way or decided.
type txn struct {
	producerID  int64
	first, last int64 // last is its marker's offset; -1 while it is under way
}

// endMarker is the content of the control record that ends a transaction.
type endMarker struct {
	found            bool // false: a control batch without a marker, since compaction took it, or another control record
	commit           bool
	coordinatorEpoch int32
}

// producers is the table of a log's producers, with its transactions. It is used under Log.mu.
//
// At most limit producers are in memory; the least recently used of more lie in a file (spill.go). Time alone makes
// a producer be forgotten (transactions under way keep theirs).
type producers struct {
	limit    int
	resident map[int64]*producer
	ring     producer // sentinel
	spill    *spill   // nil until the first one had to leave memory
	newSpill func() *spill

	ongoing []txn // transactions under way; ascending by first
	oldest  int64 // no producer's timestamp is below
	changed bool  // since the last snapshot
}

func newProducers(limit int, newSpill func() *spill) *producers {
	p := &producers{limit: limit, newSpill: newSpill, oldest: math.MaxInt64}
	p.ring.prev, p.ring.next = &p.ring, &p.ring
	return p
}

func (ps *producers) count() int {
	n := len(ps.resident)
	if ps.spill != nil {
		n += ps.spill.used
	}
	return n
}

func (p *producer) unlink() { p.prev.next, p.next.prev = p.next, p.prev }

func (ps *producers) pushFront(p *producer) {
	p.prev, p.next = &ps.ring, ps.ring.next
	ps.ring.next.prev = p
	ps.ring.next = p
}

// get returns a producer, nil when it is not known.
func (ps *producers) get(id int64) (*producer, error) {
	if p := ps.resident[id]; p != nil {
		if ps.ring.next != p {
			p.unlink()
			ps.pushFront(p)
		}
		return p, nil
	}
	if ps.spill == nil || ps.spill.used == 0 {
		return nil, nil
	}
	p, err := ps.spill.take(id)
	if err != nil || p == nil {
		return nil, err
	}
	return p, ps.insert(p)
}

// insert puts a producer in memory, and another out of it if there are too many.
func (ps *producers) insert(p *producer) error {
	if ps.resident == nil {
		ps.resident = make(map[int64]*producer)
	}
	for len(ps.resident) >= ps.limit {
		cold := ps.ring.prev
		if ps.spill == nil {
			ps.spill = ps.newSpill()
		}
		if err := ps.spill.put(cold); err != nil {
			return fmt.Errorf("spill producer %d: %w", cold.id, err)
		}
		cold.unlink()
		delete(ps.resident, cold.id)
	}
	ps.resident[p.id] = p
	ps.pushFront(p)
	return nil
}

// check judges a batch that is about to be appended, before anything is written. It returns the batch that it
// repeats, if it is a duplicate.
func (ps *producers) check(h *record.Header, m endMarker, origin Origin, tp kafka.TopicPartition) (duplicate *batchMark, err error) {
	p, err := ps.get(h.ProducerID)
	if err != nil {
		return nil, ioError(err)
	}
	if p == nil || origin == replication {
		return nil, nil // the leader has judged, and any sequence of a producer that is not known is its first
	}
	if h.Control() {
		if !m.found {
			return nil, nil
		}
		if h.ProducerEpoch < p.epoch {
			return nil, staleEpoch(h, p, tp)
		}
		if m.coordinatorEpoch < p.coordinatorEpoch {
			return nil, kafka.TransactionCoordinatorFenced.Errorf("a marker for producer %d in %s comes from coordinator epoch %d, but %d was seen", h.ProducerID, tp, m.coordinatorEpoch, p.coordinatorEpoch)
		}
		return nil, nil
	}
	first := h.BaseSequence
	if origin == Client && h.ProducerEpoch == p.epoch {
		for i := range p.batches[:p.n] {
			if b := &p.batches[i]; b.firstSequence() == first && b.lastSequence == h.LastSequence() {
				return b, nil
			}
		}
	}
	if h.ProducerEpoch < p.epoch {
		return nil, staleEpoch(h, p, tp)
	}
	if origin == Client {
		switch {
		case h.ProducerEpoch != p.epoch:
			if first != 0 && p.epoch != record.NoProducerEpoch {
				return nil, kafka.OutOfOrderSequenceNumber.Errorf("producer %d begins epoch %d in %s with sequence %d; a new epoch begins with 0 (the epoch before was %d)", h.ProducerID, h.ProducerEpoch, tp, first, p.epoch)
			}
		default:
			last := record.NoSequence
			if m := p.last(); m != nil {
				last = m.lastSequence
			}
			if next := int64(last) + 1; int64(first) != next && !(first == 0 && last == math.MaxInt32) {
				return nil, kafka.OutOfOrderSequenceNumber.Errorf("producer %d sent sequence %d to %s, where %d was the last", h.ProducerID, first, tp, last)
			}
		}
	}
	if p.txnFirst >= 0 && !h.Transactional() {
		return nil, kafka.InvalidTxnState.Errorf("producer %d has a transaction under way in %s and sent a batch outside of it", h.ProducerID, tp)
	}
	return nil, nil
}

func staleEpoch(h *record.Header, p *producer, tp kafka.TopicPartition) error {
	return kafka.InvalidProducerEpoch.Errorf("producer %d wrote to %s with epoch %d, but epoch %d was seen", h.ProducerID, tp, h.ProducerEpoch, p.epoch)
}

// ended is a transaction that a marker decided.
type ended struct {
	txn
	aborted bool
	stable  int64 // the last stable offset after it, as far as this log knows
}

// apply takes in a batch that is in the log. It returns the transaction that the batch ended; its marker's offset is
// -1 when it ended none.
func (ps *producers) apply(h *record.Header, m endMarker) (ended, error) {
	none := ended{txn: txn{last: -1}}
	if h.Control() && !m.found {
		return none, nil
	}
	p, err := ps.get(h.ProducerID)
	if err != nil {
		return none, err
	}
	if p == nil {
		p = &producer{id: h.ProducerID, epoch: record.NoProducerEpoch, coordinatorEpoch: -1, timestamp: record.NoTimestamp, txnFirst: -1}
		if err := ps.insert(p); err != nil {
			return none, err
		}
	}
	ps.changed = true
	if p.epoch != h.ProducerEpoch {
		p.epoch, p.n = h.ProducerEpoch, 0
	}
	p.timestamp = h.MaxTimestamp
	ps.oldest = min(ps.oldest, p.timestamp)
	if !h.Control() {
		p.add(markOf(h))
		if h.Transactional() && p.txnFirst < 0 {
			p.txnFirst = h.BaseOffset
			ps.ongoing = append(ps.ongoing, txn{h.ProducerID, h.BaseOffset, -1})
		}
		return none, nil
	}
	p.coordinatorEpoch = m.coordinatorEpoch
	if p.txnFirst < 0 {
		return none, nil // a marker of a transaction that wrote nothing here
	}
	e := ended{txn: txn{h.ProducerID, p.txnFirst, h.BaseOffset}, aborted: !m.commit, stable: h.BaseOffset + 1}
	p.txnFirst = -1
	for i := range ps.ongoing {
		if ps.ongoing[i].first == e.first {
			ps.ongoing = append(ps.ongoing[:i], ps.ongoing[i+1:]...)
			break
		}
	}
	if len(ps.ongoing) > 0 {
		e.stable = ps.ongoing[0].first
	}
	return e, nil
}

// firstOngoing is the first offset of the transactions under way; -1 when there is none.
func (ps *producers) firstOngoing() int64 {
	if len(ps.ongoing) == 0 {
		return -1
	}
	return ps.ongoing[0].first
}

// restore puts a producer of a snapshot in the table.
func (ps *producers) restore(e SnapshotEntry) error {
	p := &producer{id: e.ProducerID, epoch: e.Epoch, coordinatorEpoch: e.CoordinatorEpoch, timestamp: e.Timestamp, txnFirst: e.TxnFirstOffset}
	if e.LastOffset >= 0 {
		p.add(batchMark{lastSequence: e.LastSequence, offsetDelta: e.OffsetDelta, lastOffset: e.LastOffset, timestamp: e.Timestamp})
	}
	if p.txnFirst >= 0 {
		at := sort.Search(len(ps.ongoing), func(i int) bool { return ps.ongoing[i].first > p.txnFirst })
		ps.ongoing = append(ps.ongoing, txn{})
		copy(ps.ongoing[at+1:], ps.ongoing[at:])
		ps.ongoing[at] = txn{e.ProducerID, p.txnFirst, -1}
	}
	ps.oldest = min(ps.oldest, p.timestamp)
	return ps.insert(p)
}

// expire forgets producers that were idle for too long.
func (ps *producers) expire(now time.Time, after time.Duration) error {
	limit := now.UnixMilli() - after.Milliseconds()
	if ps.oldest > limit {
		return nil
	}
	ps.oldest = math.MaxInt64
	for p := ps.ring.next; p != &ps.ring; {
		next := p.next
		if p.txnFirst < 0 && p.timestamp <= limit {
			p.unlink()
			delete(ps.resident, p.id)
			ps.changed = true
		} else if p.txnFirst < 0 {
			ps.oldest = min(ps.oldest, p.timestamp)
		}
		p = next
	}
	if ps.spill == nil {
		return nil
	}
	return ps.spill.filter(func(p *producer) bool {
		if p.txnFirst < 0 && p.timestamp <= limit {
			ps.changed = true
			return false
		}
		if p.txnFirst < 0 {
			ps.oldest = min(ps.oldest, p.timestamp)
		}
		return true
	})
}

// each calls fn for every producer: those in memory by id, then those in the file.
func (ps *producers) each(fn func(*producer) error) error {
	ids := make([]int64, 0, len(ps.resident))
	for id := range ps.resident {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	for _, id := range ids {
		if err := fn(ps.resident[id]); err != nil {
			return err
		}
	}
	if ps.spill == nil {
		return nil
	}
	return ps.spill.each(fn)
}

func (ps *producers) close() {
	if ps.spill != nil {
		ps.spill.close()
	}
}

// ProducerInfo is a producer as DescribeProducers shows it.
type ProducerInfo struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32
	LastTimestamp    int64 // ms
	CoordinatorEpoch int32 // -1: no transaction of it ended here
	TxnFirstOffset   int64 // -1: none under way
}

// Producers lists the producers that the log knows, by id as far as they are in memory.
func (l *Log) Producers() []ProducerInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err := l.wakeLocked()
	if err != nil {
		return nil
	}
	infos := make([]ProducerInfo, 0, h.producers.count())
	h.producers.each(func(p *producer) error {
		e := p.entry()
		infos = append(infos, ProducerInfo{e.ProducerID, e.Epoch, e.LastSequence, e.Timestamp, e.CoordinatorEpoch, e.TxnFirstOffset})
		return nil
	})
	return infos
}

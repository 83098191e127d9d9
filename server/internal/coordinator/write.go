package coordinator

import (
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// batch is the records that were decided and replayed, and are not appended yet.
type batch struct {
	builder *record.Builder // nil: empty
	start   int64           // the offset of its first record
	due     time.Time       // when it is appended at the latest; zero unless it lingers
	then    []func(error)
	undo    []func()
}

// kept is the memory of the last batch, for the next one.
type kept struct {
	builder *record.Builder
	bytes   []byte
}

// take begins a batch.
func (k *kept) take(o record.BuilderOptions) *record.Builder {
	b := k.builder
	if b == nil {
		return record.NewBuilder(o)
	}
	k.builder = nil
	b.Reset(o)
	return b
}

// put keeps the memory of a batch that was appended, unless it has grown beyond a limit.
func (k *kept) put(b *record.Builder, bytes []byte, limit int) {
	if *k = (kept{}); b.Cap() <= limit && cap(bytes) <= limit {
		k.builder, k.bytes = b, bytes
	}
}

// stored is a record as it will be stored.
type stored struct {
	Record
	key, value []byte
}

// recordOverhead is more than a record takes beside its key and value.
const recordOverhead = 40

func (r *stored) size() int { return len(r.key) + len(r.value) + recordOverhead }

// scratch is where records are encoded on their way into a batch.
type scratch struct {
	list  []stored
	bytes []byte
}

// scratchMax is how much of it is kept.
const scratchMax = 16 << 10

// store encodes records. They are good until clean.
func (s *scratch) store(records []Record) (list []stored, size int) {
	list, b := s.list[:0], s.bytes[:0]
	for _, r := range records {
		one, at := stored{Record: r}, len(b)
		b = wire.AppendCoordinatorKey(b, r.Key)
		one.key, at = b[at:len(b):len(b)], len(b)
		if r.Value != nil {
			b = wire.AppendCoordinatorValue(b, r.Value, r.Version)
			one.value = b[at:len(b):len(b)]
		}
		list = append(list, one)
		size += one.size()
	}
	s.list, s.bytes = list, b
	return list, size
}

// clean lets go of the records.
func (s *scratch) clean() {
	clear(s.list)
	if cap(s.bytes) > scratchMax {
		*s = scratch{}
	}
}

// run does what was decided. The caller holds mu, the shard is active.
func (s *shard[M]) run(res Result, now time.Time) {
	if err := s.write(res, now); err != nil {
		s.refuse(res, err)
		return
	}
	s.park(res)
	if res.Producer != nil || s.runtime.o.Linger == 0 {
		s.flush() // who is in the batch is told if it fails
	}
}

// write replays records and puts them into the batch. An error means that nothing of them is there, but for what was
// split.
func (s *shard[M]) write(res Result, now time.Time) error {
	limit := s.log.MaxBatchBytes() - record.HeaderLen
	records, size := s.scratch.store(res.Records)
	defer s.scratch.clean()
	var err error
	switch {
	case len(records) == 0:
	case size <= limit:
		err = s.add(records, size, &res, now)
	case res.Split:
		err = s.addSplit(records, limit, &res, now)
	default:
		err = kafka.RecordListTooLarge.Errorf("a change of %d records is %d bytes, more than a batch of %d may be", len(records), size, limit)
	}
	if err == nil && res.Marker != nil {
		err = s.mark(*res.Marker, now)
	}
	return err
}

// refuse answers what could not be written, and takes back what the machine did for it.
func (s *shard[M]) refuse(res Result, err error) {
	if res.Undo != nil {
		res.Undo()
	}
	for _, then := range res.Then {
		s.after = append(s.after, func() { then(answerFor(err)) })
	}
	if leadershipOver(err) {
		s.stop(answerFor(err))
	}
}

// park puts answers behind the newest batch; with nothing in flight they are due at once.
func (s *shard[M]) park(res Result) {
	if s.batch.builder != nil {
		s.batch.then = append(s.batch.then, res.Then...)
		if res.Undo != nil { // also where nothing was to be done: that rests on what was replayed for the batch
			s.batch.undo = append(s.batch.undo, res.Undo)
		}
		return
	}
	if len(res.Then) == 0 || s.flights.board(res.Then) {
		return
	}
	for _, then := range res.Then {
		s.after = append(s.after, func() { then(nil) })
	}
}

// add replays records and puts them into the batch. Those of a transaction begin one of their own.
func (s *shard[M]) add(records []stored, size int, res *Result, now time.Time) error {
	producer := res.Producer
	if s.batch.builder != nil && (producer != nil || s.batch.builder.Len()+size > s.log.MaxBatchBytes()) {
		// What was decided rests on what was replayed for that batch: it falls with it.
		if err := s.flush(); err != nil {
			return err
		}
	}
	id := int64(kafka.NoProducerID)
	if producer != nil {
		id = producer.ID
	}
	replayed := len(s.journal.undo)
	for i := 0; i < len(records) && !res.Kept; i++ {
		if err := s.machine.Replay(s.offset+int64(i), id, records[i].Record); err != nil {
			s.journal.rollbackTo(replayed)
			return err
		}
	}
	s.begin(producer, now)
	for i := range records {
		s.batch.builder.Append(record.Record{Key: records[i].key, Value: records[i].value, Timestamp: now.UnixMilli()})
	}
	s.offset += int64(len(records))
	return nil
}

// addSplit is add for a change that need not be atomic.
func (s *shard[M]) addSplit(records []stored, limit int, res *Result, now time.Time) error {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && (n == 0 || size+records[n].size() <= limit) {
			size += records[n].size()
			n++
		}
		if size > limit {
			return kafka.MessageTooLarge.Errorf("a record of %d bytes is larger than a batch of %d may be", size, limit)
		}
		if err := s.add(records[:n], size, res, now); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// begin makes a batch to put records into, unless there is one.
func (s *shard[M]) begin(producer *Producer, now time.Time) {
	if s.batch.builder != nil {
		return
	}
	o := record.NewBuilderOptions()
	o.Codec = s.runtime.o.Codec
	o.LeaderEpoch = s.epoch
	if producer != nil {
		o.ProducerID, o.ProducerEpoch, o.BaseSequence, o.Transactional = producer.ID, producer.Epoch, 0, true
	}
	s.batch.builder, s.batch.start = s.kept.take(o), s.offset
	if linger := s.runtime.o.Linger; linger > 0 {
		s.batch.due = now.Add(linger)
	}
}

// flush appends the batch. When that fails at once, nothing is in the log, and everything that was replayed for it is
// taken back: the state is what it was after the last batch.
func (s *shard[M]) flush() error {
	b := s.batch
	if b.builder == nil {
		return nil
	}
	s.batch = batch{}
	bytes := b.builder.Build(s.kept.bytes[:0])
	err := s.append(bytes, b.start, b.then)
	s.kept.put(b.builder, bytes, s.runtime.o.KeptBytes())
	if err != nil {
		s.journal.rollback()
		for i := len(b.undo) - 1; i >= 0; i-- {
			b.undo[i]()
		}
		s.offset = b.start
		for _, then := range b.then {
			s.after = append(s.after, func() { then(answerFor(err)) })
		}
		if leadershipOver(err) {
			s.stop(answerFor(err))
		}
		return err
	}
	s.journal.forget()
	return nil
}

// mark appends a transaction marker in a batch of its own, as it must be, and replays it.
func (s *shard[M]) mark(m Marker, now time.Time) error {
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.machine.EndTxn(s.offset, m.ID, m.Commit); err != nil {
		s.journal.rollback()
		return err
	}
	bytes := record.AppendMarker(nil, s.offset, s.epoch, record.Marker{
		ProducerID: m.ID, ProducerEpoch: m.Epoch, CoordinatorEpoch: m.CoordinatorEpoch, Commit: m.Commit, Timestamp: now.UnixMilli(),
	})
	start := s.offset
	s.offset++
	if err := s.append(bytes, start, nil); err != nil {
		s.journal.rollback()
		s.offset = start
		return err
	}
	s.journal.forget()
	return nil
}

// append hands a batch to the log and lets its answers wait until it has landed.
func (s *shard[M]) append(bytes []byte, start int64, then []func(error)) error {
	f := &flight{then: then, deadline: s.runtime.o.Now().Add(s.runtime.o.WriteTimeout)}
	s.flights.begin(f)
	base, err := s.log.Append(bytes, func(err error) { s.landed(f, err) })
	s.after = append(s.after, s.flights.began(f, err)...)
	if err == nil && base != start {
		// Somebody else writes to this log: the offsets that were replayed are wrong. The log is read again.
		s.runtime.o.Log.Error("a coordinator's batch got another offset than it counted on; its partition is loaded again", "partition", s.partition, "offset", base, "expected", start)
		s.stop(kafka.NotCoordinator.Errorf("partition %d is being loaded again", s.partition))
		s.after = append(s.after, func() { s.runtime.replace(s) })
	}
	return err
}

// landed is what the log calls when a batch is committed, or never will be: from any goroutine, maybe with mu held.
func (s *shard[M]) landed(f *flight, err error) {
	due, with := s.flights.land(f, err)
	for _, then := range due {
		then(with)
	}
	if err != nil {
		s.runtime.nudge() // the next look ends the shard
	}
}

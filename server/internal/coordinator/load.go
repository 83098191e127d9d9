package coordinator

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// load replays the log and makes the shard active. It runs on a goroutine of its own: while the shard is loading nobody
// else touches the machine. When the shard ends meanwhile, load stops soon and changes nothing any more.
func (s *shard[M]) load() {
	begun := s.runtime.o.Now()
	log, err := s.runtime.o.Open(s.partition, s.epoch)
	var end int64
	records := 0
	if err == nil {
		end, records, err = s.replay(log)
	}
	s.mu.Lock()
	defer s.leave()
	if s.state != loading {
		return
	}
	if err != nil {
		if kafka.CodeOf(err) == kafka.NotLeaderOrFollower {
			// The leadership has gone on already, and the word of it is on its way here: a broker that comes back finds itself
			// leading in its last epoch, until it has registered.
			s.runtime.o.Log.Debug("a coordinator did not load a partition that is not led in that epoch any more", "coordinator", s.runtime.o.Records, "partition", s.partition, "epoch", s.epoch, "error", err)
		} else {
			s.runtime.o.Log.Error("a coordinator could not load its partition; its groups or transactions are not served here", "coordinator", s.runtime.o.Records, "partition", s.partition, "epoch", s.epoch, "error", err)
		}
		s.stop(kafka.NotCoordinator.Errorf("the coordinator could not load partition %d: %v", s.partition, err))
		return
	}
	s.log, s.offset, s.state = log, end, active
	s.journal.open = true
	now := s.runtime.o.Now()
	s.runtime.figures.loaded(now.Sub(begun))
	// Answers wait until all that was loaded is committed, too.
	f := &flight{deadline: now.Add(s.runtime.o.WriteTimeout)}
	s.flights.begin(f)
	log.Await(end, func(err error) { s.landed(f, err) })
	s.after = append(s.after, s.flights.began(f, nil)...)
	s.machine.Loaded(now)
	for _, decide := range s.loadedThen {
		s.run(decide(s.machine, now), now)
	}
	s.loadedThen = nil
	if records > 0 {
		s.runtime.o.Log.Info("loaded a coordinator's partition", "coordinator", s.runtime.o.Records, "partition", s.partition, "epoch", s.epoch, "records", records, "took", now.Sub(begun))
	}
}

// abandoned reports whether the shard ended while it was loading.
func (s *shard[M]) abandoned() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != loading
}

var errAbandoned = errors.New("the leadership ended")

// replay reads the whole log into the machine.
func (s *shard[M]) replay(log Log) (end int64, records int, err error) {
	offset, end := log.Bounds()
	buf := make([]byte, 0, s.runtime.o.BufferBytes)
	d, r := &record.Decompressor{}, wire.NewCoordinatorReader(s.runtime.o.Records)
	for offset < end {
		if s.abandoned() {
			return 0, 0, errAbandoned
		}
		batches, err := log.Read(offset, buf)
		if err != nil {
			return 0, 0, fmt.Errorf("reading at offset %d: %w", offset, err)
		}
		if len(batches) == 0 { // all that is left was compacted away
			return end, records, nil
		}
		for len(batches) > 0 {
			var b record.Batch
			if b, batches, err = record.Next(batches); err != nil {
				return 0, 0, fmt.Errorf("the batch behind offset %d: %w", offset, err)
			}
			n, err := s.replayBatch(b, d, r)
			if err != nil {
				return 0, 0, err
			}
			records += n
			offset = b.NextOffset()
		}
	}
	return end, records, nil
}

// replayBatch replays one batch and returns how many records were in it.
func (s *shard[M]) replayBatch(b record.Batch, d *record.Decompressor, reader *wire.CoordinatorReader) (int, error) {
	if err := b.CheckCRC(); err != nil {
		return 0, err
	}
	if b.Control() {
		m, ok, err := b.Marker(d)
		if err != nil || !ok {
			return 0, err
		}
		return 1, s.machine.EndTxn(b.BaseOffset(), m.ProducerID, m.Commit)
	}
	producer := int64(kafka.NoProducerID)
	if b.Transactional() {
		producer = b.ProducerID()
	}
	n := 0
	for r, err := range b.Records(d) {
		if err != nil {
			return n, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		n++
		if err := s.replayStored(r, producer, reader); err != nil {
			return n, fmt.Errorf("record at offset %d: %w", r.Offset, err)
		}
	}
	return n, nil
}

// replayStored decodes and replays one record. Records of a kind that is not known here are passed over, as Kafka does:
// a newer version wrote them, and a newer version will read them.
func (s *shard[M]) replayStored(r record.Record, producer int64, reader *wire.CoordinatorReader) error {
	if r.Key == nil {
		s.runtime.o.Log.Warn("a record without a key in a coordinator's partition is passed over", "partition", s.partition, "offset", r.Offset)
		return nil
	}
	decoded := Record{}
	var err error
	if decoded.Key, err = reader.Key(r.Key); err != nil {
		var unknown *wire.UnknownRecordError
		if !errors.As(err, &unknown) {
			return err
		}
		s.runtime.o.Log.Warn("a record of an unknown type in a coordinator's partition is passed over; was it written by a newer version?", "partition", s.partition, "offset", r.Offset, "type", unknown.Type)
		return nil
	}
	if r.Value != nil {
		if decoded.Value, decoded.Version, err = reader.Value(decoded.Key.Info().Type, r.Value); err != nil {
			return err
		}
	}
	return s.machine.Replay(r.Offset, producer, decoded)
}

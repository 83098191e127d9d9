package replica

import (
	"errors"
	"fmt"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
)

// HighWatermark returns up to where consumers may read a partition, false unless this node leads it.
func (m *Manager) HighWatermark(topic string, partition int32) (high int64, leads bool) {
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		return 0, false
	}
	role := p.currentRole()
	if p.checkReader(&role, -1, true) != nil {
		return 0, false
	}
	return p.high.Load(), true
}

// TimestampAt returns the timestamp, in milliseconds, of the first record from an offset on that consumers may read;
// false when there is none. It reads one batch of the log.
func (m *Manager) TimestampAt(topic string, partition int32, offset int64) (ms int64, found bool, err error) {
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		return 0, false, err
	}
	role := p.currentRole()
	if err := p.checkReader(&role, -1, true); err != nil {
		return 0, false, err
	}
	p.touch()
	offset = max(offset, p.log.StartOffset()) // what lies before it nobody will ever read
	for {
		slice, err := p.log.Read(offset, 1, p.high.Load(), true)
		if err != nil {
			return 0, false, p.readFailed(err)
		}
		if slice.Range == nil {
			return 0, false, nil
		}
		batch := make([]byte, slice.Range.Len())
		_, err = slice.Range.ReadAt(batch, 0)
		slice.Range.Release()
		if err != nil {
			return 0, false, p.readFailed(err)
		}
		ms, found, err := timestampIn(batch, offset)
		if err != nil {
			return 0, false, fmt.Errorf("the timestamp of %s at offset %d: %w", p.tp(), offset, err)
		}
		if found || slice.NextOffset <= offset {
			return ms, found, nil
		}
		offset = slice.NextOffset // compaction has taken the rest of that batch
	}
}

// timestampIn finds the timestamp of the first record from an offset on in a batch.
func timestampIn(batch []byte, offset int64) (ms int64, found bool, err error) {
	b, _, err := record.Next(batch)
	var old *record.MagicError
	if errors.As(err, &old) {
		m, _, err := record.NextMessage(batch)
		if err != nil {
			return 0, false, err
		}
		return m.Timestamp(), m.Timestamp() >= 0, nil // version 0 has none
	}
	if err != nil {
		return 0, false, err
	}
	if b.LogAppendTime() { // all of its records have the same
		return b.MaxTimestamp(), true, nil
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			return 0, false, err
		}
		if r.Offset >= offset {
			return r.Timestamp, true, nil
		}
	}
	return 0, false, nil
}

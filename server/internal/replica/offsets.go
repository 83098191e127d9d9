package replica

import (
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// ListOffsets finds an offset by timestamp. Consumers see what is committed, with read_committed what is stable;
// followers and debugging consumers see all. A timestamp that no record has or passes is answered with -1.
func (m *Manager) ListOffsets(q OffsetQuery) (OffsetResult, error) {
	none := OffsetResult{Offset: -1, Timestamp: -1, LeaderEpoch: -1}
	p, err := m.find(q.Topic, q.TopicID, q.Partition)
	if err != nil {
		return none, err
	}
	role := p.currentRole()
	if err := p.checkReader(&role, q.CurrentLeaderEpoch, q.ReplicaID != debuggingReplica); err != nil {
		return none, err
	}
	p.touch()
	limit := p.log.EndOffset()
	if q.ReplicaID == consumerReplica {
		limit = p.high.Load()
		if q.Isolation == kafka.ReadCommitted {
			limit = p.lastStable(limit)
		}
	}
	switch q.Timestamp {
	case kafka.TimestampLatest:
		return OffsetResult{Offset: limit, Timestamp: -1, LeaderEpoch: role.epoch}, nil
	case kafka.TimestampEarliest, kafka.TimestampEarliestLocal: // without tiering the local log is all there is
		if err := p.tellEpoch(&role); err != nil {
			return none, err
		}
		start := p.log.StartOffset()
		return OffsetResult{Offset: start, Timestamp: -1, LeaderEpoch: p.log.EpochAt(start)}, nil
	case kafka.TimestampLatestTiered, kafka.TimestampEarliestPendingUpload:
		return none, nil // nothing is tiered, and nothing is to be
	case kafka.TimestampMax:
		at, found, err := p.log.MaxTimestampOffset(limit)
		return foundAt(at, found, none), p.readError(err)
	}
	if q.Timestamp < 0 {
		return none, nil
	}
	at, found, err := p.log.OffsetForTimestamp(q.Timestamp, limit)
	return foundAt(at, found, none), p.readError(err)
}

func foundAt(at commitlog.TimestampOffset, found bool, none OffsetResult) OffsetResult {
	if !found {
		return none
	}
	return OffsetResult{Offset: at.Offset, Timestamp: at.Timestamp, LeaderEpoch: at.Epoch}
}

// readError is readFailed for an error that may be nil.
func (p *Partition) readError(err error) error {
	if err == nil {
		return nil
	}
	return p.readFailed(err)
}

// OffsetForLeaderEpoch says where an epoch ended (KIP-320): the first offset behind it and the epoch it holds for,
// the largest known that is not larger than the one asked for. Both are -1 when that is not known. currentEpoch is
// -1 when not given. Only the leader answers, whoever asks.
func (m *Manager) OffsetForLeaderEpoch(topic string, partition, currentEpoch, epoch int32) (EpochEnd, error) {
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		return EpochEnd{-1, -1}, err
	}
	role := p.currentRole()
	if err := p.checkReader(&role, currentEpoch, true); err != nil {
		return EpochEnd{-1, -1}, err
	}
	return p.epochEnd(&role, epoch)
}

// DeleteRecords moves a log's start to the offset, -1 for the high watermark: nobody reads what lies before it any
// more, and segments that lie before it whole are deleted. done gets the new start of the log once that is saved,
// so that no crash brings the records back; maybe before DeleteRecords returns.
func (m *Manager) DeleteRecords(topic string, partition int32, offset int64, timeout time.Duration, done func(lowWatermark int64, err error)) {
	if kafka.IsInternalTopic(topic) {
		done(-1, kafka.InvalidTopicException.Errorf("Cannot delete records of internal topic %s", topic))
		return
	}
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		done(-1, err)
		return
	}
	wake := newWakes()
	start, err := p.deleteRecords(offset, wake)
	wake.run()
	if err != nil {
		done(-1, p.readFailed(err))
		return
	}
	p.dir.saveStartsFor(start, done)
}

// deleteRecords moves the start of the log in memory.
func (p *Partition) deleteRecords(offset int64, wake *wakes) (start int64, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch r := &p.role; {
	case r.gone:
		return -1, kafka.UnknownTopicOrPartition
	case !p.online():
		return -1, p.offlineError()
	case !r.leading:
		return -1, kafka.NotLeaderOrFollower
	}
	if c := &p.topic.settings.Load().log; c.Compact && !c.Delete {
		return -1, kafka.PolicyViolation.Errorf("records of partition %s can not be deleted due to the configured policy", p.tp())
	}
	high := p.high.Load()
	if offset == -1 {
		offset = high
	}
	if offset < 0 || offset > high {
		return -1, kafka.OffsetOutOfRange.Errorf("cannot delete the records of %s before offset %d: the high watermark is %d", p.tp(), offset, high)
	}
	if offset > p.log.StartOffset() {
		if err := p.log.AdvanceStart(offset); err != nil {
			return -1, err
		}
		p.unlinkLater()
		p.wakeFetches(wake)
	}
	return p.log.StartOffset(), nil
}

// saveStartsFor saves the log start offsets of the directory and calls done; requests that come while a save runs
// share the next.
func (d *logDir) saveStartsFor(start int64, done func(int64, error)) {
	d.startsMu.Lock()
	d.startWaiters = append(d.startWaiters, startWaiter{start, done})
	first := len(d.startWaiters) == 1
	d.startsMu.Unlock()
	if !first {
		return
	}
	go func() {
		if !d.begin() {
			answerStarts(d.takeStartWaiters(), kafka.NotLeaderOrFollower)
			return
		}
		defer d.tasks.Done()
		waiters := d.takeStartWaiters() // before the save looks: their starts are in it
		err := d.saveStartsNow()
		if err != nil {
			d.notSaved(&d.starts, err)
			err = kafka.KafkaStorageError.Errorf("the new log start could not be saved in %s", d.Path)
		}
		answerStarts(waiters, err)
	}()
}

type startWaiter struct {
	start int64
	done  func(lowWatermark int64, err error)
}

func (d *logDir) takeStartWaiters() []startWaiter {
	d.startsMu.Lock()
	defer d.startsMu.Unlock()
	waiters := d.startWaiters
	d.startWaiters = nil
	return waiters
}

func answerStarts(waiters []startWaiter, err error) {
	for _, w := range waiters {
		if err != nil {
			w.start = -1
		}
		w.done(w.start, err)
	}
}

package replica

import (
	"errors"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// Append appends to the partitions this node leads. It runs on the caller's goroutine, touches the records once,
// and parks the request when its acknowledgement has to wait for the disk or for other replicas.
func (m *Manager) Append(req *AppendRequest) {
	req.pending.Store(1)
	now := time.Now()
	wake := newWakes()
	for i := range req.Entries {
		e := &req.Entries[i]
		e.Err, e.RecordErrors, e.Leader = nil, nil, LeaderHint{}
		e.BaseOffset, e.LogAppendTime, e.LogStartOffset = -1, -1, -1
		e.waiter = ackWaiter{}
		m.appendEntry(req, e, now, wake)
	}
	for _, d := range m.dirs {
		d.sync.gather.note(req)
		d.sync.kick()
	}
	if req.pending.Load() > 1 { // something is parked
		req.arm()
	}
	if req.release() {
		req.Done(req)
	}
	wake.run()
}

// appendEntry appends the records for one partition, and parks the entry when it has to wait.
func (m *Manager) appendEntry(req *AppendRequest, e *AppendEntry, now time.Time, wake *wakes) {
	if !req.Internal && kafka.IsInternalTopic(e.Topic) {
		m.refuse(req, e, kafka.InvalidTopicException.Errorf("Cannot append to internal topic %s", e.Topic))
		return
	}
	p, err := m.find(e.Topic, e.TopicID, e.Partition)
	if err != nil {
		m.refuse(req, e, err)
		return
	}
	t := p.topic
	t.produceRequests.Add(1)
	info, err := p.append(req, e, now)
	if err != nil {
		t.failedProduce.Add(1)
		m.refuse(req, e, p.appendFailed(e, info, err))
		return
	}
	e.BaseOffset, e.LogAppendTime, e.LogStartOffset = info.FirstOffset, info.LogAppendTime, info.StartOffset
	if !info.Duplicate {
		t.messagesIn.Add(int64(info.Records))
		t.bytesIn.Add(int64(len(e.Records)))
	}
	p.await(req, e, info.Position)
	p.collect(wake)
}

// refuse answers an entry with an error. What is wrong with the records as they were sent comes first: Kafka looks at
// that before it looks at the partition, and then tells nothing of it.
func (m *Manager) refuse(req *AppendRequest, e *AppendEntry, err error) {
	e.Err, e.Leader = err, m.hint(e.Topic, e.Partition, err)
	if req.Origin != commitlog.Client {
		return
	}
	switch kafka.CodeOf(err) {
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID:
		return
	}
	o := record.ValidateOptions{Partition: kafka.TopicPartition{Topic: e.Topic, Partition: e.Partition}, ProduceVersion: req.Version}
	if sent := o.Sent(e.Records); sent != nil {
		e.Err, e.Leader, e.LogStartOffset, e.RecordErrors = sent, LeaderHint{}, -1, nil
	}
}

// append checks that this replica may take the records, and appends them. What the class promises is then put on
// the way: the log goes on the list for the next sync, or the high watermark moves at once.
func (p *Partition) append(req *AppendRequest, e *AppendEntry, now time.Time) (commitlog.AppendInfo, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	s := p.topic.settings.Load()
	switch r := &p.role; {
	case r.gone:
		return commitlog.AppendInfo{}, kafka.UnknownTopicOrPartition
	case !p.online():
		return commitlog.AppendInfo{}, p.offlineError()
	case !r.leading || req.led != nil && req.led.epoch != r.epoch:
		return commitlog.AppendInfo{}, kafka.NotLeaderOrFollower
	case req.Acks == -1 && r.isr < r.minISR(s):
		return commitlog.AppendInfo{}, kafka.NotEnoughReplicas.Errorf("%s has %d in-sync replicas, fewer than the %d that min.insync.replicas asks for", p.tp(), r.isr, r.minISR(s))
	}
	if err := p.dir.room.admit(len(e.Records)); err != nil {
		return commitlog.AppendInfo{}, err
	}
	if err := p.ensureEpoch(); err != nil {
		return commitlog.AppendInfo{}, err
	}
	p.touch()
	p.dir.stall.watchWrites()
	info, err := p.log.Append(e.Records, commitlog.AppendOptions{
		LeaderEpoch: p.role.epoch, Origin: req.Origin, ProduceVersion: req.Version, Hold: s.Durability == DurabilityDisk && p.dir.sync.gather.heavy.Load() >= p.dir.manager.heavyRounds,
	}, now)
	if err != nil {
		return info, err
	}
	switch {
	case s.Durability == DurabilityDisk:
		if p.log.Flushed() < info.Position {
			p.dir.sync.add(p)
		}
	default:
		p.raise()
		if p.log.EndOffset()-p.log.Flushed() >= s.log.FlushMessages {
			p.dir.sync.add(p)
		} else {
			p.dir.pointMoved()
		}
	}
	return info, nil
}

// await parks the entry when its acknowledgement has to wait.
func (p *Partition) await(req *AppendRequest, e *AppendEntry, position int64) {
	switch req.Acks {
	case 0:
		return
	case -1:
		if p.high.Load() >= position {
			return
		}
	default:
		if p.topic.settings.Load().Durability == DurabilityCache || p.log.Flushed() >= position {
			return
		}
	}
	e.waiter = ackWaiter{partition: p, owner: req, position: position, committed: req.Acks == -1}
	req.pending.Add(1)
	p.park(e)
	// The role may have changed between the append and the parking, and then nobody would come to answer.
	if r := p.currentRole(); !r.leading || r.gone || !p.online() {
		wake := newWakes()
		err := error(kafka.NotLeaderOrFollower)
		if r.gone {
			err = kafka.UnknownTopicOrPartition
		} else if !p.online() {
			err = p.offlineError()
		}
		p.fail(err, wake)
		wake.run()
	}
}

// appendFailed fills in what Kafka tells beside an error, and sees to a disk that is full or broken.
func (p *Partition) appendFailed(e *AppendEntry, info commitlog.AppendInfo, err error) error {
	e.RecordErrors = info.Errors
	switch {
	case isFull(err):
		p.dir.room.ranFull(err)
		return p.dir.fullError()
	case isIO(err):
		p.dir.fail(err)
		return p.offlineError()
	}
	if errors.Is(err, commitlog.ErrDamaged) && p.log.Err() != nil {
		wake := newWakes()
		p.lose(err, wake)
		wake.run()
		return p.offlineError()
	}
	p.tellDamage(err)
	switch kafka.CodeOf(err) {
	case kafka.UnknownTopicOrPartition, kafka.NotLeaderOrFollower, kafka.KafkaStorageError, kafka.MessageTooLarge,
		kafka.RecordListTooLarge, kafka.CorruptMessage:
	default:
		e.LogStartOffset = p.log.StartOffset()
	}
	return err
}

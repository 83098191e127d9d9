package replica

import (
	"math"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// Led is a partition in one leadership of this node: the log of a coordinator.
type Led struct {
	manager   *Manager
	partition *Partition
	epoch     int32
}

// Led returns a partition that this node leads in the given epoch. An error says that it does not.
func (m *Manager) Led(topic string, partition, epoch int32) (*Led, error) {
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		return nil, err
	}
	switch r := p.currentRole(); {
	case !p.online():
		return nil, p.offlineError()
	case r.gone || !r.leading || r.epoch != epoch:
		return nil, kafka.NotLeaderOrFollower.Errorf("this node does not lead %s in epoch %d", p.tp(), epoch)
	}
	return &Led{m, p, epoch}, nil
}

// Bounds are the offsets of the first record and of the next one to come.
func (l *Led) Bounds() (start, end int64) {
	return l.partition.log.StartOffset(), l.partition.log.EndOffset()
}

// MaxBatchBytes is what the topic's max.message.bytes says now.
func (l *Led) MaxBatchBytes() int {
	if n := l.partition.log.Config().MaxMessageBytes; n > 0 {
		return int(n)
	}
	return math.MaxInt32
}

// Read returns whole batches from the one that holds offset on: as many as fit into cap(buf), but at least one, and none
// at the end of the log. It sees what is not committed, too.
func (l *Led) Read(offset int64, buf []byte) ([]byte, error) {
	l.partition.touch()
	slice, err := l.partition.log.Read(offset, cap(buf), math.MaxInt64, true)
	if err != nil {
		return nil, l.partition.readFailed(err)
	}
	if slice.Range == nil {
		return nil, nil
	}
	defer slice.Range.Release()
	n := slice.Range.Len()
	if n > cap(buf) {
		buf = make([]byte, n)
	}
	_, err = slice.Range.ReadAt(buf[:n], 0)
	return buf[:n], err
}

// forever is a timeout that does not come: a coordinator has its own clock.
const forever = time.Duration(math.MaxInt64)

// Append appends a batch in this leadership and in no other. An error means that nothing was appended; otherwise done is
// called exactly once, maybe before Append returns: with nil when the batch is committed, with an error when the
// leadership ended before.
func (l *Led) Append(batch []byte, done func(error)) (baseOffset int64, err error) {
	req := l.request(done)
	req.Entries[0].Records = batch
	l.manager.Append(req)
	// Only Append itself sets the base offset; the error, once something was appended, belongs to whoever calls Done.
	if base := req.Entries[0].BaseOffset; base >= 0 {
		return base, nil
	}
	return -1, req.Entries[0].Err
}

// Await calls done as Append does, when everything before an offset is committed.
func (l *Led) Await(offset int64, done func(error)) {
	req := l.request(done)
	req.pending.Store(1)
	e := &req.Entries[0]
	e.BaseOffset = offset
	l.partition.await(req, e, offset)
	if req.pending.Load() > 1 {
		req.arm()
	}
	if req.release() {
		req.Done(req)
	}
}

// ledRequest is one append of a coordinator, in one piece of memory.
type ledRequest struct {
	AppendRequest
	entry [1]AppendEntry
	done  func(error)
}

// request is one append whose acknowledgement is told to done.
func (l *Led) request(done func(error)) *AppendRequest {
	tp := l.partition.tp()
	r := &ledRequest{
		AppendRequest: AppendRequest{Acks: -1, Timeout: forever, Internal: true, Origin: commitlog.Coordinator, led: l, Done: ledDone},
		entry:         [1]AppendEntry{{Topic: tp.Topic, Partition: tp.Partition, BaseOffset: -1}},
		done:          done,
	}
	r.Entries, r.Context = r.entry[:], r
	return &r.AppendRequest
}

// ledDone is AppendRequest.Done of a coordinator's append.
func ledDone(req *AppendRequest) {
	done := req.Context.(*ledRequest).done
	switch e := &req.Entries[0]; {
	case e.BaseOffset < 0: // nothing was appended, and Append says so
	case kafka.CodeOf(e.Err) == kafka.NotEnoughReplicasAfterAppend:
		done(nil) // it is committed, and what a client is promised beyond that is not a coordinator's
	default:
		done(e.Err)
	}
}

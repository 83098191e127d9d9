package replica

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// fetchState is what a FetchRequest keeps between its parts.
type fetchState struct {
	session *session
	create  bool // asks for a new session
	// items are the partitions to read: the request's, or the session's in buffer.
	items  []FetchPartition
	buffer []FetchPartition
	parked atomic.Pointer[parkedFetch]
}

// view says how far the reader sees.
func (req *FetchRequest) view() view {
	switch {
	case req.ReplicaID != consumerReplica:
		return viewAll
	case req.Isolation == kafka.ReadCommitted:
		return viewStable
	}
	return viewCommitted
}

// Replica ids that are no node's.
const (
	consumerReplica  = int32(-1)
	debuggingReplica = int32(-2) // a consumer for debugging: any replica answers it, and it sees all
)

// leaderOnly reports whether only the leader may answer: consumers that say where they are (version 11) may read
// from any replica (KIP-392).
func (req *FetchRequest) leaderOnly() bool {
	return req.ReplicaID >= 0 || req.ReplicaID == consumerReplica && req.Version < 11
}

// Fetch reads from the partitions of the request and of its session, at once when there is enough to answer with or
// nothing to wait for, otherwise when there is, or when MaxWait is over. A fetch that waits costs one timer and a
// place on the list of each of its partitions.
func (m *Manager) Fetch(req *FetchRequest) {
	req.Err, req.ResponseSessionID = nil, 0
	req.Responses = req.Responses[:0]
	req.parked.Store(nil)
	if err := m.sessions.begin(req, time.Now()); err != nil {
		req.Err = err
		req.Done(req)
		return
	}
	bytes, answer := m.readAll(req, false)
	if answer || req.MaxWait <= 0 || len(req.items) == 0 || bytes >= int64(m.minBytes(req)) {
		m.endFetch(req)
		return
	}
	m.parkFetch(req)
}

func (m *Manager) minBytes(req *FetchRequest) int32 { return min(req.MinBytes, m.maxBytes(req)) }

// maxBytes bounds the response: followers are trusted to ask for what they can take.
func (m *Manager) maxBytes(req *FetchRequest) int32 {
	if req.ReplicaID >= 0 {
		return req.MaxBytes
	}
	return min(req.MaxBytes, m.broker.FetchMaxBytes)
}

// parkFetch gives up what was read so far and waits for more.
func (m *Manager) parkFetch(req *FetchRequest) {
	f := &parkedFetch{manager: m, req: req, minBytes: m.minBytes(req), watchers: make([]watcher, 0, len(req.Responses))}
	for i := range req.Responses {
		r := &req.Responses[i]
		it := &req.items[r.item]
		if it.waited = !r.Unread; !it.waited {
			continue
		}
		p, err := m.find(r.Topic, r.TopicID, r.Partition)
		if err != nil { // went away this moment
			m.endFetch(req)
			return
		}
		f.watchers = append(f.watchers, watcher{
			fetch: f, partition: p, offset: it.FetchOffset, maxBytes: it.MaxBytes,
			epoch: p.currentRole().epoch, view: req.view(),
		})
	}
	req.releaseResponses()
	req.parked.Store(f)
	wait := req.MaxWait
	for i := range f.watchers {
		f.watchers[i].partition.watch(&f.watchers[i])
	}
	// From the first watch on the fetch may be over at any moment, and req somebody else's.
	f.timer.Store(time.AfterFunc(wait, f.expire))
	if f.over.Load() {
		f.end() // it ended while the lists were still being made
		return
	}
	f.wake() // for what came between the reading and the watching
}

// fetchable reports whether a parked fetch has enough to be answered with, or finds a partition that has changed
// so that it must be.
func (m *Manager) fetchable(f *parkedFetch) bool {
	var bytes int64
	for i := range f.watchers {
		w := &f.watchers[i]
		p := w.partition
		if r := p.currentRole(); r.gone || r.epoch != w.epoch || !p.online() {
			return true
		}
		if w.offset < p.log.StartOffset() {
			return true
		}
		limit := p.limit(w.view)
		if limit <= w.offset {
			continue
		}
		if f.minBytes <= 1 {
			return true
		}
		s, err := p.log.Read(w.offset, int(w.maxBytes), limit, true)
		if err != nil {
			return true
		}
		if s.Range != nil {
			bytes += min(int64(s.Range.Len()), int64(w.maxBytes))
			s.Range.Release()
		}
		if bytes >= int64(f.minBytes) {
			return true
		}
	}
	return false
}

// CancelFetch ends a fetch that waits, since its connection went away: Done is called, once as ever, and finds
// no partitions. It comes too late for a fetch that is answered already, and then does nothing; the request must
// not be used again before CancelFetch has returned.
func (m *Manager) CancelFetch(req *FetchRequest) {
	f := req.parked.Load()
	if f == nil || !f.over.CompareAndSwap(false, true) {
		return
	}
	f.end()
	req.Responses = req.Responses[:0]
	req.Done(req)
}

// finishFetch answers a fetch that waited with what there is now.
func (m *Manager) finishFetch(req *FetchRequest) {
	m.readAll(req, true)
	m.endFetch(req)
}

func (m *Manager) endFetch(req *FetchRequest) {
	m.sessions.end(req, time.Now())
	req.Done(req)
}

// releaseResponses gives up what was read.
func (req *FetchRequest) releaseResponses() {
	for i := range req.Responses {
		if r := &req.Responses[i]; r.Slice.Range != nil {
			r.Slice.Range.Release()
			r.Slice.Range = nil
		}
	}
	req.Responses = req.Responses[:0]
}

// readAll reads every partition in order into req.Responses, and returns how much there is, and whether it has to
// be answered however little that is: with an error or an end of an epoch. Partitions that cannot be read at all
// go to the end, those of unknown ids first, as in Kafka. They are no reason to answer while others can be read: a
// consumer of a topic that was deleted would otherwise ask again and again, and wait for nothing. One that the fetch has
// waited for counts as read, also when it is gone by now.
func (m *Manager) readAll(req *FetchRequest, waited bool) (bytes int64, answer bool) {
	left := int64(m.maxBytes(req))
	first := true // the first batch of the response is returned however large it is
	req.Responses = req.Responses[:0]
	var unknown, unreadable []FetchedPartition
	for i := range req.items {
		it := &req.items[i]
		req.Responses = append(req.Responses, FetchedPartition{
			Topic: it.Topic, TopicID: it.TopicID, Partition: it.Partition,
			HighWatermark: -1, LastStableOffset: -1, LogStartOffset: -1, Diverging: EpochEnd{-1, -1}, item: i,
		})
		r := &req.Responses[len(req.Responses)-1]
		p, err := m.readable(req, r)
		switch {
		case err != nil && waited && it.waited:
			r.Err = err
			continue
		case err != nil:
			r.Err, r.Unread = err, true
			if err == kafka.UnknownTopicID {
				unknown = append(unknown, *r)
			} else {
				unreadable = append(unreadable, *r)
			}
			req.Responses = req.Responses[:len(req.Responses)-1]
			continue
		}
		if p == nil {
			r.Err = kafka.NotLeaderOrFollower
		} else {
			p.topic.fetchRequests.Add(1)
			r.Err = p.read(req, it, r, int(min(left, int64(it.MaxBytes))), first)
		}
		if r.Err != nil {
			if p != nil {
				p.topic.failedFetch.Add(1)
			}
			r.HighWatermark, r.LastStableOffset, r.LogStartOffset = -1, -1, -1
			r.Leader = m.hint(r.Topic, r.Partition, r.Err)
			answer = true
			continue
		}
		if r.Diverging.Epoch >= 0 {
			answer = true
		}
		if r.Slice.Range != nil {
			n := int64(r.Slice.Range.Len())
			bytes += n
			left = max(0, left-n)
			first = false
		}
	}
	answer = answer || len(req.Responses) == 0
	req.Responses = append(append(req.Responses, unknown...), unreadable...)
	return bytes, answer
}

// readable looks a partition up. An error is one that Kafka finds before it reads: the topic is not known or not
// the caller's to read. A nil partition without an error is one that lives elsewhere.
func (m *Manager) readable(req *FetchRequest, r *FetchedPartition) (*Partition, error) {
	if r.Topic == "" && req.Version >= 13 {
		r.Topic = m.TopicNameByID(r.TopicID)
		if r.Topic == "" {
			return nil, kafka.UnknownTopicID
		}
	}
	if req.Authorize != nil && !req.Authorize(r.Topic) {
		return nil, kafka.TopicAuthorizationFailed
	}
	t := m.topics.byName(r.Topic)
	if t == nil || t.partition(r.Partition) == nil {
		if !m.inImage(r.Topic, r.Partition) {
			return nil, kafka.UnknownTopicOrPartition
		}
		return nil, nil
	}
	return t.partition(r.Partition), nil
}

// read reads one partition.
func (p *Partition) read(req *FetchRequest, it *FetchPartition, r *FetchedPartition, maxBytes int, first bool) error {
	if !it.TopicID.IsZero() && it.TopicID != p.topic.id {
		return kafka.InconsistentTopicID
	}
	role := p.currentRole()
	if err := p.checkReader(&role, max(it.CurrentLeaderEpoch, -1), req.leaderOnly()); err != nil {
		return err
	}
	if req.ReplicaID >= 0 && !role.follows(req.ReplicaID) {
		return kafka.NotLeaderOrFollower.Errorf("node %d is no replica of %s", req.ReplicaID, p.tp())
	}
	// The watermark before the bytes: what it says is then true of what follows.
	high := p.high.Load()
	r.HighWatermark, r.LogStartOffset = high, p.log.StartOffset()
	r.LastStableOffset = p.lastStable(high)
	if it.LastFetchedEpoch >= 0 {
		end, err := p.epochEnd(&role, it.LastFetchedEpoch)
		if err != nil {
			return err
		}
		if end.Epoch < 0 || end.Offset < 0 {
			return kafka.OffsetOutOfRange.Errorf("no end is known of the epoch %d that was fetched last from %s", it.LastFetchedEpoch, p.tp())
		}
		if end.Epoch < it.LastFetchedEpoch || end.Offset < it.FetchOffset {
			r.Diverging = end
			return nil
		}
	}
	limit := high
	switch req.view() {
	case viewStable:
		limit = r.LastStableOffset
	case viewAll:
		limit = p.log.EndOffset()
	}
	if maxBytes < 0 && it.FetchOffset >= r.LogStartOffset && it.FetchOffset < limit {
		return fmt.Errorf("read %s: at most %d bytes are asked for", p.tp(), maxBytes) // UNKNOWN_SERVER_ERROR, as in Kafka
	}
	p.touch()
	slice, err := p.log.Read(it.FetchOffset, maxBytes, limit, first)
	if err != nil {
		return p.readFailed(err)
	}
	r.Slice = slice
	if req.Isolation == kafka.ReadCommitted {
		r.Aborted = []commitlog.AbortedTxn{}
		if slice.Range != nil {
			aborted, err := p.log.AbortedTxns(it.FetchOffset, slice.NextOffset)
			if err != nil {
				slice.Range.Release()
				r.Slice = commitlog.Slice{}
				return p.readFailed(err)
			}
			r.Aborted = append(r.Aborted, aborted...)
		}
	}
	if slice.Range != nil {
		p.topic.bytesOut.Add(int64(slice.Range.Len()))
	}
	return nil
}

// checkReader is what every reader of a partition must pass: the epoch it believes in, -1 when it has none, the role, the
// disk.
func (p *Partition) checkReader(role *role, currentEpoch int32, leaderOnly bool) error {
	switch {
	case role.gone:
		return kafka.UnknownTopicOrPartition
	case !p.online():
		return p.offlineError()
	case currentEpoch != -1 && currentEpoch < role.epoch:
		return kafka.FencedLeaderEpoch
	case currentEpoch != -1 && currentEpoch > role.epoch:
		return kafka.UnknownLeaderEpoch
	case leaderOnly && !role.leading:
		return kafka.NotLeaderOrFollower
	}
	return nil
}

// readFailed classes an error of the log: one of the disk takes the directory offline, damage does not.
func (p *Partition) readFailed(err error) error {
	if isIO(err) {
		p.dir.fail(err)
		return p.offlineError()
	}
	p.tellDamage(err)
	return err
}

// tellDamage says in the broker's log, once, that the partition cannot be used because its log is damaged.
func (p *Partition) tellDamage(err error) {
	if !errors.Is(err, commitlog.ErrDamaged) || !p.damage.CompareAndSwap(damageNone, damageTold) {
		return
	}
	p.dir.damage.Add(1)
	p.dir.log.Error(damageAdvice, "partition", p.tp(), "dir", p.log.Dir(), "err", err)
}

// epochEnd says where an epoch ended in this log. The current epoch has not: its end is the log's.
func (p *Partition) epochEnd(role *role, epoch int32) (EpochEnd, error) {
	if err := p.tellEpoch(role); err != nil {
		return EpochEnd{-1, -1}, err
	}
	found, end := p.log.EndOffsetForEpoch(epoch)
	return EpochEnd{found, end}, nil
}

// tellEpoch tells the log of the leader epoch before it is asked about epochs.
func (p *Partition) tellEpoch(role *role) error {
	if !role.leading {
		return nil
	}
	p.mu.RLock()
	err := p.ensureEpoch()
	p.mu.RUnlock()
	return p.readError(err)
}

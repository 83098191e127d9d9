package replica

import (
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// Epochs of a fetch session with a meaning of their own (KIP-227).
const (
	sessionInitialEpoch = 0  // a full fetch that asks for a new session
	sessionFinalEpoch   = -1 // a full fetch outside of any session
)

// sessionEvictable is how long a session keeps its place: an idle one may be evicted after that time without use,
// and one that is in use may lose its place, after that time since its creation, to one with more partitions.
const sessionEvictable = 2 * time.Minute

// sessions is the cache of incremental fetch sessions: a client names only the partitions that changed in what it
// asks for, and is told only of those that changed in what there is (KIP-227).
type sessions struct {
	slots int
	// most is how many partitions all sessions may hold together; 0 for any number. A client pays a few bytes for each, and
	// the node keeps hundreds for as long as the session lasts.
	most int

	mu   sync.Mutex
	byID map[int32]*session
	// draw returns a random number for ids; a test makes it repeatable.
	draw func() int32
}

// session is the state of one client's fetching.
type session struct {
	id int32
	// privileged sessions belong to followers, and are not evicted for a consumer's sake.
	privileged bool
	usesIDs    bool
	created    time.Time

	// Guarded by sessions.mu.
	lastUsed time.Time
	size     int

	mu    sync.Mutex
	epoch int32 // of the next request
	// The partitions by key, and in the order in which they are read: a partition that returned records goes
	// to the end, so that none starves behind others that fill the response.
	partitions map[sessionKey]*sessionPartition
	head, tail *sessionPartition
}

// sessionKey names a partition within a session: by id where the session uses ids, by name otherwise.
type sessionKey struct {
	topic     string
	id        kafka.TopicID
	partition int32
}

// sessionPartition is one partition of a session: what was last asked, and what was last answered.
type sessionPartition struct {
	key        sessionKey
	request    FetchPartition
	high       int64 // -1: not answered yet, or with an error
	start      int64
	next, prev *sessionPartition
}

func newSessions(slots int) *sessions {
	return &sessions{slots: slots, byID: map[int32]*session{}, draw: rand.Int32}
}

func (s *session) keyOf(topic string, id kafka.TopicID, partition int32) sessionKey {
	if s.usesIDs {
		return sessionKey{id: id, partition: partition}
	}
	return sessionKey{topic: topic, partition: partition}
}

func (s *session) append(p *sessionPartition) {
	p.next, p.prev = nil, s.tail
	if s.tail == nil {
		s.head = p
	} else {
		s.tail.next = p
	}
	s.tail = p
}

func (s *session) unlink(p *sessionPartition) {
	if p.prev == nil {
		s.head = p.next
	} else {
		p.prev.next = p.next
	}
	if p.next == nil {
		s.tail = p.prev
	} else {
		p.next.prev = p.prev
	}
}

// set adds a partition to the session or changes what is asked of it.
func (s *session) set(request *FetchPartition) *sessionPartition {
	key := s.keyOf(request.Topic, request.TopicID, request.Partition)
	p := s.partitions[key]
	if p == nil {
		p = &sessionPartition{key: key, high: -1, start: -1}
		s.partitions[key] = p
		s.append(p)
	}
	p.request = *request
	return p
}

func nextSessionEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return 1
	}
	return epoch + 1
}

// begin finds the request's session and what is to be read for it: req.items. An error is one of the whole
// request.
func (c *sessions) begin(req *FetchRequest, now time.Time) error {
	req.session, req.create = nil, false
	req.items = req.Partitions
	if req.SessionEpoch == sessionInitialEpoch || req.SessionEpoch == sessionFinalEpoch {
		if req.SessionID != 0 {
			c.remove(req.SessionID) // a full fetch closes the session it names
		}
		req.create = req.SessionEpoch == sessionInitialEpoch
		return nil
	}
	c.mu.Lock()
	s := c.byID[req.SessionID]
	if s != nil {
		s.lastUsed = now
	}
	c.mu.Unlock()
	if s == nil {
		return kafka.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.epoch != req.SessionEpoch:
		return kafka.InvalidFetchSessionEpoch
	case s.usesIDs != (req.Version >= 13):
		return kafka.FetchSessionTopicIDError
	}
	for i := range req.Partitions {
		s.set(&req.Partitions[i])
	}
	for i := range req.Forgotten {
		f := &req.Forgotten[i]
		key := s.keyOf(f.Topic, f.TopicID, f.Partition)
		if p := s.partitions[key]; p != nil {
			delete(s.partitions, key)
			s.unlink(p)
		}
	}
	if len(s.partitions) == 0 {
		c.remove(s.id)
		return nil // answered outside of a session
	}
	if !c.resize(s) {
		return kafka.FetchSessionIDNotFound // the client goes on without a session
	}
	s.epoch = nextSessionEpoch(s.epoch)
	req.session = s
	req.buffer = req.buffer[:0]
	for p := s.head; p != nil; p = p.next {
		req.buffer = append(req.buffer, p.request)
	}
	req.items = req.buffer
	return nil
}

// end makes the answer what the session's client is to see of req.Responses: all of it outside of a session or
// with a new one, what changed with an old one.
func (c *sessions) end(req *FetchRequest, now time.Time) {
	req.ResponseSessionID = 0
	switch {
	case req.create:
		if s := c.create(req, now); s != nil {
			req.ResponseSessionID = s.id
		}
	case req.session != nil:
		req.session.filter(req)
	}
}

// filter drops from the answer what did not change since the last one.
func (s *session) filter(req *FetchRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != nextSessionEpoch(req.SessionEpoch) {
		// The client sent another request for the session meanwhile.
		req.releaseResponses()
		req.Err = kafka.InvalidFetchSessionEpoch
		return
	}
	kept := req.Responses[:0]
	for i := range req.Responses {
		r := &req.Responses[i]
		p := s.partitions[s.keyOf(r.Topic, r.TopicID, r.Partition)]
		if p == nil || p.changed(r) {
			if p != nil && r.Slice.Range != nil {
				s.unlink(p)
				s.append(p)
			}
			kept = append(kept, *r)
		}
	}
	clear(req.Responses[len(kept):])
	req.Responses = kept
	req.ResponseSessionID = s.id
}

// changed reports whether a partition has to be in the answer, and remembers what it says.
func (p *sessionPartition) changed(r *FetchedPartition) bool {
	changed := r.Slice.Range != nil || r.Diverging.Epoch >= 0 || r.HighWatermark != p.high || r.LogStartOffset != p.start || r.Err != nil
	p.high, p.start = r.HighWatermark, r.LogStartOffset
	if r.Err != nil {
		p.high = -1 // so that it is told when the error is over
	}
	if p.request.Topic == "" {
		p.request.Topic = r.Topic // the name of the id was not known before
	}
	return changed
}

// resize counts the partitions that a session holds now. One that grew beyond what there is room for is closed.
func (c *sessions) resize(s *session) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	grown := len(s.partitions) - s.size
	if grown > 0 && !c.room(grown) {
		delete(c.byID, s.id)
		return false
	}
	s.size += grown
	return true
}

// room reports whether so many more partitions may be held. The caller holds mu.
func (c *sessions) room(partitions int) bool {
	if c.most == 0 {
		return true
	}
	for _, s := range c.byID {
		partitions += s.size
	}
	return partitions <= c.most
}

// create makes a session of a full fetch, when there is a slot for it.
func (c *sessions) create(req *FetchRequest, now time.Time) *session {
	s := &session{
		privileged: req.ReplicaID >= 0, usesIDs: req.Version >= 13, created: now, lastUsed: now,
		epoch: nextSessionEpoch(sessionInitialEpoch), partitions: make(map[sessionKey]*sessionPartition, len(req.Partitions)),
	}
	c.mu.Lock()
	if !c.room(len(req.Partitions)) || len(c.byID) >= c.slots && !c.evict(s.privileged, len(req.Responses), now) {
		c.mu.Unlock()
		return nil
	}
	for s.id == 0 || c.byID[s.id] != nil {
		s.id = c.draw() & math.MaxInt32
	}
	s.size = len(req.Partitions)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.byID[s.id] = s
	c.mu.Unlock()
	for i := range req.Partitions {
		s.set(&req.Partitions[i])
	}
	for i := range req.Responses {
		r := &req.Responses[i]
		if p := s.partitions[s.keyOf(r.Topic, r.TopicID, r.Partition)]; p != nil {
			p.changed(r)
		}
	}
	return s
}

// evict makes room for a session of that many partitions: first by one that has not been used for a while, then
// by one that is worth less: a consumer's before a follower's, with fewer partitions before with more. A session
// that is younger than sessionEvictable is safe, but a consumer's not from a follower's. The caller holds mu.
func (c *sessions) evict(privileged bool, size int, now time.Time) bool {
	var stale, least *session
	for _, s := range c.byID {
		if stale == nil || before(s.lastUsed, stale.lastUsed, s.id, stale.id) {
			stale = s
		}
		old := now.Sub(s.created) > sessionEvictable
		if !old && !(privileged && !s.privileged) {
			continue
		}
		if least == nil || worth(s.privileged, s.size, s.id).less(worth(least.privileged, least.size, least.id)) {
			least = s
		}
	}
	if stale != nil && now.Sub(stale.lastUsed) > sessionEvictable {
		delete(c.byID, stale.id)
		return true
	}
	if least == nil || worth(privileged, size, 0).less(worth(least.privileged, least.size, least.id)) {
		return false
	}
	delete(c.byID, least.id)
	return true
}

func before(a, b time.Time, idA, idB int32) bool {
	if a.Equal(b) {
		return idA < idB
	}
	return a.Before(b)
}

// sessionWorth orders sessions by how much is lost when one is evicted.
type sessionWorth struct {
	privileged bool
	size       int
	id         int32
}

func worth(privileged bool, size int, id int32) sessionWorth {
	return sessionWorth{privileged, size, id}
}

func (a sessionWorth) less(b sessionWorth) bool {
	if a.privileged != b.privileged {
		return b.privileged
	}
	if a.size != b.size {
		return a.size < b.size
	}
	return a.id < b.id
}

func (c *sessions) remove(id int32) {
	c.mu.Lock()
	delete(c.byID, id)
	c.mu.Unlock()
}

// count returns how many sessions there are, and how many partitions they hold.
func (c *sessions) count() (sessions, partitions int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.byID {
		partitions += s.size
	}
	return len(c.byID), partitions
}

package api

import (
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// Produce, versions 3 to 13 (0 to 2 are advertised and refused). Topics go by name, from version 13 on by id.
//
// acks is 0 (no answer; an error closes the connection), 1 or -1. From version 8 on the answer says which records of a
// batch were refused (KIP-467), from version 10 on who leads instead (KIP-951). A partition that stands twice in a
// request counts once, with the records that come last, as in Kafka; where those are refused as they were sent, Kafka
// also stores the others and says so to nobody, which is not done here.
//
// The order of the checks is the order of the codes:
//
//	the whole request  a first batch that is none (CORRUPT_MESSAGE), of a transaction without a transactional id
//	                   (TRANSACTIONAL_ID_AUTHORIZATION_FAILED), of more than one producer (INVALID_PRODUCER_ID_MAPPING)
//	each partition     known, authorized, the records as sent (record.ValidateOptions.Sent), acks; then what replica
//	                   and commitlog say
//
// The path makes no garbage: the request is decoded into pooled memory, records are patched in the connection's own
// buffer, and the answer is encoded into a pooled one.

// produceCall is the memory of one request on its way.
type produceCall struct {
	t       *Table
	r       *listener.Request
	in      wire.Produce
	append  replica.AppendRequest
	topics  []produceTopic
	encoder wire.ProduceEncoder
	parts   [1]wire.Part
	frame   []byte
	release func()
	// whole is what refuses the request as a whole; told says that the answer gives messages.
	whole error
	told  bool
	// transaction is the producer of the transactional batches; mixed is true when they have more than one.
	transaction producer
	mixed       bool
}

// producer is a producer of a transaction.
type producer struct {
	id    int64
	epoch int16
}

// produceTopic is a topic of the answer: the next entries are its partitions.
type produceTopic struct {
	id         kafka.TopicID
	name       string
	partitions int
}

var produceCalls sync.Pool

// newProduceCall takes the memory of an earlier request, or new one with the functions that it is called back by.
func newProduceCall() *produceCall {
	if c, ok := produceCalls.Get().(*produceCall); ok {
		return c
	}
	c := &produceCall{}
	c.append.Done = func(*replica.AppendRequest) { c.answer() }
	c.release = c.recycle
	return c
}

func (t *Table) produce(r *listener.Request) {
	c := newProduceCall()
	c.t, c.r = t, r
	// A few bytes that name a partition must not cost hundreds.
	c.in.MaxPartitions = max(manyPartitions, len(r.Body)/record.HeaderLen)
	if err := c.in.Decode(r.Header.Version, r.Body); err != nil {
		c.recycle()
		r.Fail(err)
		return
	}
	a := &c.append
	a.Acks, a.Version, a.Timeout = c.in.Acks, r.Header.Version, time.Duration(c.in.TimeoutMs)*time.Millisecond
	a.Behind = r.Behind
	a.Entries, c.topics = a.Entries[:0], c.topics[:0]
	image := t.o.Image()
	c.whole, c.told, c.transaction, c.mixed = nil, false, producer{id: record.NoProducerID}, false
	for i := range c.in.Topics {
		topic := &c.in.Topics[i]
		name := ""
		if r.Header.Version >= 13 {
			name = t.o.Replicas.TopicNameByID(topic.TopicID)
		} else if name = t.o.Replicas.TopicName(topic.Name); name == "" {
			name = string(topic.Name)
		}
		c.topics = append(c.topics, produceTopic{topic.TopicID, name, len(topic.Partitions)})
		denied := t.o.Authorizer != nil && !(&call{Request: r, t: t}).allowed(OpWrite, ResTopic, name)
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			e := c.entry()
			e.Topic, e.TopicID, e.Partition, e.Records = name, topic.TopicID, p.Index, p.Records
			transaction := c.judgeFirst(e)
			switch {
			case name == "" && r.Header.Version >= 13:
				e.Err = kafka.UnknownTopicID
			case denied:
				e.Err = kafka.TopicAuthorizationFailed
			case transaction != nil:
				c.judgeTransaction(e, transaction, image)
			case a.Acks < -1 || a.Acks > 1:
				e.Err = c.afterSent(e, image, kafka.InvalidRequiredAcks)
			}
			if r.Header.Version < 7 && e.Err == nil && c.whole == nil && strangeCodec(e.Records) && image.Topic(name).Partition(p.Index) != nil {
				c.whole = kafka.UnknownServerError
			}
		}
	}
	if c.mixed && c.whole == nil {
		c.whole, c.told = kafka.InvalidProducerIDMapping.Errorf("the request has transactional records of more than one producer"), true
	}
	for i := range a.Entries {
		if c.whole != nil {
			a.Entries[i].Err = c.whole
		}
	}
	c.regroup()
	c.in.Reset()
	if refused(a.Entries) {
		c.appendAllowed()
		return
	}
	t.o.Replicas.Append(a)
}

// entry makes room for an entry of the request; what it had before is gone.
func (c *produceCall) entry() *replica.AppendEntry {
	c.append.Entries = append(c.append.Entries, replica.AppendEntry{BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1})
	return &c.append.Entries[len(c.append.Entries)-1]
}

// judgeFirst looks at the first batch of an entry for what refuses the whole request, and returns it when it is one of a
// transaction.
func (c *produceCall) judgeFirst(e *replica.AppendEntry) record.Batch {
	first, err := record.First(e.Records)
	switch {
	case c.whole != nil:
	case err != nil:
		c.whole, c.told = err, true
	case first == nil || first.Magic() != 2 || !first.Transactional():
	case c.in.TransactionalID == nil || !(&call{Request: c.r, t: c.t}).allowed(OpWrite, ResTxnID, string(c.in.TransactionalID)):
		c.whole = kafka.TransactionalIDAuthorizationFailed
	case len(first) < record.HeaderLen: // says too little of itself to be anybody's; its partition refuses it
	case first.ProducerID() > record.NoProducerID: // of nobody's transaction otherwise, and kept as any other
		return first
	}
	return nil
}

// judgeTransaction refuses a batch of a transaction, with what a broker says that finds no coordinator to ask: the client
// tries again.
func (c *produceCall) judgeTransaction(e *replica.AppendEntry, first record.Batch, image *metadata.Image) {
	e.Err = c.afterSent(e, image, kafka.NotEnoughReplicas.Errorf("transactions are not served by this broker"))
	if kafka.CodeOf(e.Err) != kafka.NotEnoughReplicas {
		return
	}
	c.told = true
	p := producer{first.ProducerID(), first.ProducerEpoch()}
	c.mixed = c.mixed || c.transaction.id != record.NoProducerID && c.transaction != p
	c.transaction = p
}

// strangeCodec reports whether the first batch is compressed with a codec that does not exist. Below version 7 Kafka
// looks at the codec, since zstd is not for those, and fails at such a one as a whole.
func strangeCodec(records []byte) bool {
	first, err := record.First(records)
	return err == nil && first != nil && first.Magic() == 2 && !first.Codec().Known()
}

// afterSent is what a partition answers to what is wrong beside it: the error, unless the partition is not known or the
// records are refused as they were sent.
func (c *produceCall) afterSent(e *replica.AppendEntry, image *metadata.Image, otherwise error) error {
	if image.Topic(e.Topic).Partition(e.Partition) == nil {
		return kafka.UnknownTopicOrPartition
	}
	o := record.ValidateOptions{ProduceVersion: c.r.Header.Version}
	if err := o.Sent(e.Records); err != nil {
		return err
	}
	return otherwise
}

func refused(entries []replica.AppendEntry) bool {
	for i := range entries {
		if entries[i].Err != nil {
			return true
		}
	}
	return false
}

// appendAllowed appends the entries that nothing was said against yet; the answer is put together again after. It is
// off the hot path.
func (c *produceCall) appendAllowed() {
	all := c.append.Entries
	allowed := &replica.AppendRequest{Acks: c.append.Acks, Version: c.append.Version, Timeout: c.append.Timeout}
	var places []int
	for i := range all {
		if all[i].Err == nil {
			allowed.Entries = append(allowed.Entries, replica.AppendEntry{Topic: all[i].Topic, TopicID: all[i].TopicID, Partition: all[i].Partition, Records: all[i].Records, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1})
			places = append(places, i)
		}
	}
	allowed.Done = func(done *replica.AppendRequest) {
		for i, place := range places {
			from, to := &done.Entries[i], &all[place]
			to.Err, to.BaseOffset, to.LogAppendTime, to.LogStartOffset, to.RecordErrors, to.Leader = from.Err, from.BaseOffset, from.LogAppendTime, from.LogStartOffset, from.RecordErrors, from.Leader
		}
		c.answer()
	}
	if len(allowed.Entries) == 0 {
		c.answer()
		return
	}
	c.t.o.Replicas.Append(allowed)
}

// regroup makes the answer what Kafka's is: each topic once, none without partitions, and of the entries for one partition
// the last. It is off the hot path but for a look at whether there is anything to do.
func (c *produceCall) regroup() {
	entries := c.append.Entries
	if !c.scattered() {
		return
	}
	type topicEntries struct {
		topic produceTopic
		last  map[int32]int // by partition
		order []int32
	}
	var topics []*topicEntries
	byName := make(map[produceTopic]*topicEntries)
	next := 0
	for _, topic := range c.topics {
		key := produceTopic{id: topic.id, name: topic.name}
		for range topic.partitions {
			t := byName[key]
			if t == nil {
				t = &topicEntries{topic: key, last: make(map[int32]int)}
				byName[key] = t
				topics = append(topics, t)
			}
			p := entries[next].Partition
			if _, seen := t.last[p]; !seen {
				t.order = append(t.order, p)
			}
			t.last[p] = next
			next++
		}
	}
	kept := make([]replica.AppendEntry, 0, len(entries))
	c.topics = c.topics[:0]
	for _, t := range topics {
		t.topic.partitions = len(t.order)
		c.topics = append(c.topics, t.topic)
		for _, p := range t.order {
			from := &entries[t.last[p]]
			kept = append(kept, replica.AppendEntry{Topic: from.Topic, TopicID: from.TopicID, Partition: from.Partition, Records: from.Records, Err: from.Err, BaseOffset: -1, LogAppendTime: -1, LogStartOffset: -1})
		}
	}
	c.append.Entries = kept
}

// scattered reports whether there is a topic without partitions, or one, or a partition, that stands there twice.
func (c *produceCall) scattered() bool {
	next := 0
	for i := range c.topics {
		t := &c.topics[i]
		if t.partitions == 0 {
			return true
		}
		if len(c.topics) <= 16 {
			for j := range i {
				if c.topics[j].id == t.id && c.topics[j].name == t.name {
					return true
				}
			}
		}
		if repeats(c.append.Entries[next : next+t.partitions]) {
			return true
		}
		next += t.partitions
	}
	if len(c.topics) <= 16 {
		return false
	}
	seen := make(map[produceTopic]struct{}, len(c.topics))
	for _, t := range c.topics {
		seen[produceTopic{id: t.id, name: t.name}] = struct{}{}
	}
	return len(seen) < len(c.topics)
}

// repeats reports whether two entries of a topic are for one partition.
func repeats(entries []replica.AppendEntry) bool {
	if len(entries) <= 16 {
		for i := range entries {
			for j := range i {
				if entries[i].Partition == entries[j].Partition {
					return true
				}
			}
		}
		return false
	}
	seen := make(map[int32]struct{}, len(entries))
	for i := range entries {
		seen[entries[i].Partition] = struct{}{}
	}
	return len(seen) < len(entries)
}

// answer encodes the results and completes the request.
func (c *produceCall) answer() {
	r, version := c.r, c.r.Header.Version
	if c.append.Acks == 0 {
		for i := range c.append.Entries {
			if err := c.append.Entries[i].Err; err != nil {
				c.recycle()
				r.Fail(err) // without an answer, this is how the producer learns of it
				return
			}
		}
		c.recycle()
		r.Complete(wire.Response{})
		return
	}
	c.encoder.Begin(c.frame[:0], version, r.Header.CorrelationID, len(c.topics))
	var leaders []int32
	next := 0
	for _, topic := range c.topics {
		c.encoder.Topic(topic.id, topic.name, topic.partitions)
		for range topic.partitions {
			e := &c.append.Entries[next]
			next++
			result := wire.ProduceResult{Index: e.Partition, BaseOffset: e.BaseOffset, LogAppendTimeMs: e.LogAppendTime, LogStartOffset: e.LogStartOffset, LeaderID: -1, LeaderEpoch: -1}
			if e.Err != nil {
				leaders = c.refuse(&result, e, leaders)
			}
			c.encoder.Partition(&result)
		}
	}
	c.frame = c.encoder.End(0, c.endpoints(leaders))
	c.parts[0] = wire.Part{Bytes: c.frame}
	r.Complete(wire.Response{Parts: c.parts[:], OnRelease: c.release})
}

// refuse fills in what went wrong. Kafka gives a message only where records were looked at one by one, and where the
// request is refused as a whole.
func (c *produceCall) refuse(result *wire.ProduceResult, e *replica.AppendEntry, leaders []int32) []int32 {
	result.Err = kafka.CodeOf(e.Err)
	if result.Err == kafka.UnknownServerError {
		c.t.o.Log.Error("a produce request failed", "topic", e.Topic, "partition", e.Partition, "err", e.Err)
	}
	for _, one := range e.RecordErrors {
		text := one.Message
		result.RecordErrors = append(result.RecordErrors, wire.ProduceResponseRecordErrors{BatchIndex: int32(one.Index), BatchIndexErrorMessage: &text})
	}
	if message := kafka.MessageOf(e.Err); message != nil && (len(e.RecordErrors) > 0 || c.told) {
		result.Message = *message
	}
	if e.Leader.Known {
		result.LeaderID, result.LeaderEpoch = e.Leader.Leader, e.Leader.Epoch
		leaders = append(leaders, e.Leader.Leader)
	}
	return leaders
}

// endpoints says how the leaders that were named can be reached (KIP-951).
func (c *produceCall) endpoints(leaders []int32) []wire.ProduceResponseNodeEndpoints {
	if len(leaders) == 0 {
		return nil
	}
	var out []wire.ProduceResponseNodeEndpoints
	(&call{Request: c.r, image: c.t.o.Image(), t: c.t}).eachEndpoint(leaders, func(id int32, host string, port int32, rack *string) {
		out = append(out, wire.ProduceResponseNodeEndpoints{NodeID: id, Host: host, Port: port, Rack: rack})
	})
	return out
}

// recycle forgets the request. Memory that a large one needed is not kept.
func (c *produceCall) recycle() {
	c.r, c.t, c.whole = nil, nil, nil
	if cap(c.append.Entries) > 4096 || cap(c.frame) > 256<<10 {
		return
	}
	clear(c.append.Entries)
	c.append.Entries = c.append.Entries[:0]
	clear(c.topics)
	c.topics = c.topics[:0]
	produceCalls.Put(c)
}

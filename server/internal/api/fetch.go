package api

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// Fetch, versions 4 to 18. Topics go by name, from version 13 on by id. Incremental sessions (KIP-227) from version 7
// on, leader epochs from version 9 on, diverging epochs from version 12 on, hints of the new leader from version 16
// on.
//
// Records are ranges of files from the log to the socket: nothing on the way looks at them.

// fetchCall is the memory of one request on its way.
type fetchCall struct {
	t       *Table
	r       *listener.Request
	in      wire.Fetch
	fetch   replica.FetchRequest
	encoder wire.FetchEncoder
	cancel  func()
	release func()
}

var fetchCalls sync.Pool

// newFetchCall takes the memory of an earlier request, or new one with the functions that it is called back by.
func newFetchCall() *fetchCall {
	if c, ok := fetchCalls.Get().(*fetchCall); ok {
		return c
	}
	c := &fetchCall{}
	c.fetch.Done = func(*replica.FetchRequest) { c.answer() }
	c.cancel = func() {
		if t := c.t; t != nil {
			t.o.Replicas.CancelFetch(&c.fetch)
		}
	}
	c.release = c.recycle
	return c
}

func (t *Table) fetch(r *listener.Request) {
	c := newFetchCall()
	c.t, c.r = t, r
	if err := c.in.Decode(r.Header.Version, r.Body); err != nil {
		c.recycle()
		r.Fail(err)
		return
	}
	in, f := &c.in, &c.fetch
	partitions := 0
	for i := range in.Topics {
		partitions += len(in.Topics[i].Partitions)
	}
	defer t.token(partitions)()
	f.Version, f.ReplicaID, f.ReplicaEpoch = r.Header.Version, in.ReplicaID, in.ReplicaEpoch
	f.MaxWait, f.MinBytes, f.MaxBytes = time.Duration(in.MaxWaitMs)*time.Millisecond, in.MinBytes, in.MaxBytes
	f.SessionID, f.SessionEpoch, f.ClientID, f.Rack = in.SessionID, in.SessionEpoch, r.Header.ClientID, string(in.RackID)
	f.Partitions, f.Forgotten = f.Partitions[:0], f.Forgotten[:0]
	f.Authorize = nil
	if t.o.Authorizer != nil {
		caller := &call{Request: r, t: t}
		f.Authorize = func(topic string) bool { return caller.allowed(OpRead, ResTopic, topic) }
	}
	if in.IsolationLevel < 0 || in.IsolationLevel > 1 {
		c.refuse(kafka.UnknownServerError) // Kafka's answer to a level that it has no name for
		return
	}
	f.Isolation = kafka.IsolationLevel(in.IsolationLevel)
	for i := range in.Topics {
		topic := &in.Topics[i]
		name := t.topicName(f.Version, topic.TopicID, topic.Name)
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			f.Partitions = append(f.Partitions, replica.FetchPartition{Topic: name, TopicID: topic.TopicID, Partition: p.Partition, CurrentLeaderEpoch: p.CurrentLeaderEpoch, FetchOffset: p.FetchOffset,
				LastFetchedEpoch: p.LastFetchedEpoch, LogStartOffset: p.LogStartOffset, MaxBytes: p.MaxBytes, HighWatermark: p.HighWatermark})
		}
	}
	if repeated(f.Partitions) {
		f.Partitions = lastOfEach(f.Partitions)
	}
	for i := range in.Forgotten {
		topic := &in.Forgotten[i]
		name := t.topicName(f.Version, topic.TopicID, topic.Name)
		for _, p := range topic.Partitions {
			f.Forgotten = append(f.Forgotten, replica.FetchForgotten{Topic: name, TopicID: topic.TopicID, Partition: p})
		}
	}
	c.in.Reset()
	r.OnClose(c.cancel)
	t.o.Replicas.Fetch(f)
}

// repeated reports whether a request asks for a partition more than once.
func repeated(asked []replica.FetchPartition) bool {
	if len(asked) <= 16 {
		for i := range asked {
			for j := range i {
				if asked[i].Partition == asked[j].Partition && fetchedPlace(&asked[i]) == fetchedPlace(&asked[j]) {
					return true
				}
			}
		}
		return false
	}
	seen := make(map[place]struct{}, len(asked))
	for i := range asked {
		seen[fetchedPlace(&asked[i])] = struct{}{}
	}
	return len(seen) < len(asked)
}

// lastOfEach lets the last of what is asked of a partition stand, where it was asked for first.
func lastOfEach(asked []replica.FetchPartition) []replica.FetchPartition {
	at := make(map[place]int, len(asked))
	var kept []replica.FetchPartition
	for i := range asked {
		where := fetchedPlace(&asked[i])
		if first, seen := at[where]; seen {
			kept[first] = asked[i]
			continue
		}
		at[where] = len(kept)
		kept = append(kept, asked[i])
	}
	return kept
}

// place is a partition as a request names it, by name or by id.
type place struct {
	topic     string
	id        kafka.TopicID
	partition int32
}

func fetchedPlace(p *replica.FetchPartition) place { return place{p.Topic, p.TopicID, p.Partition} }

// topicName is the name of a topic that a request names or gives the id of; "" for an id that nobody has.
func (t *Table) topicName(version int16, id kafka.TopicID, name []byte) string {
	if version >= 13 {
		return t.o.Replicas.TopicNameByID(id)
	}
	if shared := t.o.Replicas.TopicName(name); shared != "" {
		return shared
	}
	return string(name)
}

// refuse answers the request as a whole with an error, below version 13 every partition too: older clients may not
// look at the first. Kafka gives the session back as it was named.
func (c *fetchCall) refuse(code kafka.ErrorCode) {
	if c.r.Header.Version >= 13 {
		c.in.Topics = c.in.Topics[:0]
	}
	c.encoder.Begin(c.r.Header.Version, c.r.Header.CorrelationID, 0, code, c.in.SessionID, len(c.in.Topics))
	for i := range c.in.Topics {
		topic := &c.in.Topics[i]
		c.encoder.Topic(topic.TopicID, string(topic.Name), len(topic.Partitions))
		for j := range topic.Partitions {
			result := wire.NewFetchResult()
			result.Partition, result.Err, result.HighWatermark, result.Aborted = topic.Partitions[j].Partition, code, -1, noneAborted
			c.encoder.Partition(&result)
		}
	}
	c.in.Reset()
	c.complete(nil)
}

// answer encodes what was read and completes the request.
func (c *fetchCall) answer() {
	f, r := &c.fetch, c.r
	topics := 0
	for i := range f.Responses {
		if i == 0 || !sameTopic(&f.Responses[i-1], &f.Responses[i]) {
			topics++
		}
	}
	c.encoder.Begin(r.Header.Version, r.Header.CorrelationID, 0, kafka.CodeOf(f.Err), f.ResponseSessionID, topics)
	var leaders []int32
	for i := 0; i < len(f.Responses); {
		end := i + 1
		for end < len(f.Responses) && sameTopic(&f.Responses[i], &f.Responses[end]) {
			end++
		}
		c.encoder.Topic(f.Responses[i].TopicID, f.Responses[i].Topic, end-i)
		for ; i < end; i++ {
			leaders = c.partition(&f.Responses[i], leaders)
		}
	}
	c.complete(leaders)
}

// noneAborted is the list of aborted transactions of a partition that was not read; of one that was it is null unless
// read_committed asks for it.
var noneAborted = []wire.FetchResponseAbortedTransactions{}

func sameTopic(a, b *replica.FetchedPartition) bool {
	return a.TopicID == b.TopicID && a.Topic == b.Topic
}

func (c *fetchCall) partition(p *replica.FetchedPartition, leaders []int32) []int32 {
	result := wire.NewFetchResult()
	result.Partition, result.HighWatermark, result.LastStableOffset, result.LogStartOffset = p.Partition, p.HighWatermark, p.LastStableOffset, p.LogStartOffset
	if p.Err != nil {
		result.Err = kafka.CodeOf(p.Err)
		if result.Err == kafka.UnknownServerError {
			c.t.o.Log.Error("a fetch failed", "topic", p.Topic, "partition", p.Partition, "err", p.Err)
		}
	}
	if p.Aborted != nil {
		result.Aborted = make([]wire.FetchResponseAbortedTransactions, len(p.Aborted))
		for i, a := range p.Aborted {
			result.Aborted[i] = wire.FetchResponseAbortedTransactions{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset}
		}
	}
	if p.Unread {
		result.Aborted = noneAborted
	}
	if p.Slice.Range != nil {
		result.Records = p.Slice.Range
		p.Slice.Range = nil // the response releases it now
	}
	if c.r.Header.Version >= 12 && p.Diverging.Epoch >= 0 {
		result.DivergingEpoch.Epoch, result.DivergingEpoch.EndOffset = p.Diverging.Epoch, p.Diverging.Offset
	}
	if p.Leader.Known && c.r.Header.Version >= 16 {
		result.CurrentLeader.LeaderID, result.CurrentLeader.LeaderEpoch = p.Leader.Leader, p.Leader.Epoch
		if c.fetch.ReplicaID < 0 { // followers know where the others are
			leaders = append(leaders, p.Leader.Leader)
		}
	}
	c.encoder.Partition(&result)
	return leaders
}

func (c *fetchCall) complete(leaders []int32) {
	var endpoints []wire.FetchResponseNodeEndpoints
	if len(leaders) > 0 {
		(&call{Request: c.r, image: c.t.o.Image(), t: c.t}).eachEndpoint(leaders, func(id int32, host string, port int32, rack *string) {
			endpoints = append(endpoints, wire.FetchResponseNodeEndpoints{NodeID: id, Host: host, Port: port, Rack: rack})
		})
	}
	response := c.encoder.End(endpoints)
	response.OnRelease = c.release
	c.r.Complete(response)
}

func (c *fetchCall) recycle() {
	f := &c.fetch
	if cap(f.Partitions) > 4096 || cap(f.Responses) > 4096 || c.r.Cancelled() {
		return // a connection that goes away may cancel late, and must not find another's fetch
	}
	clear(f.Responses[:cap(f.Responses)])
	c.r = nil
	fetchCalls.Put(c)
}

// eachEndpoint names the endpoints of some brokers, each once.
func (c *call) eachEndpoint(ids []int32, f func(id int32, host string, port int32, rack *string)) {
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		if b := c.image.Broker(id); b != nil {
			if host, port, ok := c.endpoint(b); ok {
				f(id, host, port, b.Rack)
			}
		}
	}
}

package api

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// aBatch is a batch of one record; change spoils it.
func aBatch(o record.BuilderOptions, change func(raw []byte)) []byte {
	b := record.NewBuilder(o)
	b.Append(record.Record{Timestamp: 1_600_000_000_000, Value: []byte("v")})
	raw := b.Build(nil)
	if change != nil {
		change(raw)
	}
	return raw
}

var noProducer = record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}

// produceOf is a request of topics with partitions, as "a 0 1, b, a 1", in memory.
func produceOf(topics string) *produceCall {
	c := newProduceCall()
	c.topics, c.append.Entries = c.topics[:0], c.append.Entries[:0]
	n := int64(0)
	for _, t := range strings.Split(topics, ", ") {
		fields := strings.Fields(t)
		c.topics = append(c.topics, produceTopic{name: fields[0], partitions: len(fields) - 1})
		for _, p := range fields[1:] {
			e := c.entry()
			e.Topic = fields[0]
			fmt.Sscan(p, &e.Partition)
			e.Records = []byte{byte(n)}
			n++
		}
	}
	return c
}

// The answer names each topic once, none without partitions, and each partition once, with what came last.
func TestProduceRegroups(t *testing.T) {
	var many, once []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("t%d 0", i%20))
		if i < 20 {
			once = append(once, fmt.Sprintf("t%d 0=%d", i, i+20))
		}
	}
	for asked, want := range map[string]string{
		"a 0 1, b 5":             "a 0=0 1=1, b 5=2",
		"a, b 0":                 "b 0=0",
		"a":                      "",
		"a 0, b 0, a 1":          "a 0=0 1=2, b 0=1",
		"a 0 1 0":                "a 0=2 1=1",
		"a 0, b 1, a 0 2":        "a 0=2 2=3, b 1=1",
		strings.Join(many, ", "): strings.Join(once, ", "),
	} {
		c := produceOf(asked)
		c.regroup()
		var got []string
		next := 0
		for _, topic := range c.topics {
			line := topic.name
			for range topic.partitions {
				e := &c.append.Entries[next]
				next++
				line += fmt.Sprintf(" %d=%d", e.Partition, e.Records[0])
			}
			got = append(got, line)
		}
		if s := strings.Join(got, ", "); s != want || next != len(c.append.Entries) {
			t.Errorf("%s became %s, want %s", asked, s, want)
		}
	}
}

func TestProduceIsJudgedBeforeThePartitions(t *testing.T) {
	g := newGate(t)
	g.apply(aTopic("t", 1, 1)...)
	transactional := record.BuilderOptions{ProducerID: 7, ProducerEpoch: 0, BaseSequence: 0, Transactional: true}
	for _, test := range []struct {
		what      string
		records   []byte
		id        []byte
		partition int32
		whole     error
		one       kafka.ErrorCode
	}{
		{"a batch", aBatch(noProducer, nil), nil, 0, nil, kafka.None},
		{"a length that no batch has", aBatch(noProducer, func(raw []byte) { raw[8], raw[9], raw[10], raw[11] = 0, 0, 0, 3 }), nil, 0, kafka.CorruptMessage, kafka.None},
		{"a magic that there is not", aBatch(noProducer, func(raw []byte) { raw[16] = 9 }), nil, 0, kafka.CorruptMessage, kafka.None},
		{"no batch", nil, nil, 0, nil, kafka.None},
		{"a transaction without an id", aBatch(transactional, nil), nil, 0, kafka.TransactionalIDAuthorizationFailed, kafka.None},
		{"a transaction", aBatch(transactional, nil), []byte("x"), 0, nil, kafka.NotEnoughReplicas},
		{"a transaction on a partition that is not", aBatch(transactional, nil), []byte("x"), 9, nil, kafka.UnknownTopicOrPartition},
		{"two batches of a transaction", append(aBatch(transactional, nil), aBatch(transactional, nil)...), []byte("x"), 0, nil, kafka.InvalidRecord},
	} {
		c := newProduceCall()
		call := g.call(13)
		c.t, c.r = call.t, call.Request
		c.in.TransactionalID = test.id
		e := &replica.AppendEntry{Topic: "t", Partition: test.partition, Records: test.records}
		if first := c.judgeFirst(e); first != nil {
			c.judgeTransaction(e, first, g.image)
		}
		if kafka.CodeOf(c.whole) != kafka.CodeOf(test.whole) || kafka.CodeOf(e.Err) != test.one {
			t.Errorf("%s: the request %v, the partition %v; want %v, %v", test.what, c.whole, e.Err, test.whole, test.one)
		}
	}
}

// cut is the beginning of a batch, which claims to be all of it.
func cut(batch []byte, n int) []byte {
	batch = bytes.Clone(batch[:n:n])
	binary.BigEndian.PutUint32(batch[8:], uint32(n-record.LogOverhead))
	return batch
}

// Batches of a transaction: one producer to a request, and what is wrong beside it comes first.
func TestProduceOfATransaction(t *testing.T) {
	g := fetchGate(t)
	ask := g.serve(New(g.o))
	of := func(id int64, epoch int16) []byte {
		return aBatch(record.BuilderOptions{ProducerID: id, ProducerEpoch: epoch, BaseSequence: 0, Transactional: true}, nil)
	}
	plain := aBatch(noProducer, nil)
	for _, test := range []struct {
		what       string
		partitions []int32
		records    [][]byte
		want       string
	}{
		{"one producer", []int32{0, 1}, [][]byte{of(7, 0), of(7, 0)}, "NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS"},
		{"and a batch that is none of its", []int32{0, 1}, [][]byte{of(7, 0), plain}, "NOT_ENOUGH_REPLICAS NONE"},
		{"and one of nobody's", []int32{0, 1}, [][]byte{of(7, 0), aBatch(record.BuilderOptions{ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1, Transactional: true}, nil)}, "NOT_ENOUGH_REPLICAS NONE"},
		{"two producers", []int32{0, 1}, [][]byte{of(7, 0), of(8, 0)}, "INVALID_PRODUCER_ID_MAPPING INVALID_PRODUCER_ID_MAPPING"},
		{"a batch that ends before it names its producer", []int32{0, 1}, [][]byte{cut(of(7, 0), 26), of(7, 0)}, "CORRUPT_MESSAGE NOT_ENOUGH_REPLICAS"},
		{"a batch that ends within its header", []int32{0, 1}, [][]byte{cut(of(7, 0), 60), cut(plain, 60)}, "CORRUPT_MESSAGE CORRUPT_MESSAGE"},
		{"two epochs of one", []int32{0, 1}, [][]byte{of(7, 0), of(7, 1)}, "INVALID_PRODUCER_ID_MAPPING INVALID_PRODUCER_ID_MAPPING"},
		{"another on a partition that is not", []int32{0, 9}, [][]byte{of(7, 0), of(8, 0)}, "NOT_ENOUGH_REPLICAS UNKNOWN_TOPIC_OR_PARTITION"},
	} {
		for _, version := range []int16{3, 12, 13} {
			request, id := wire.NewProduceRequest(), "x"
			request.TransactionalID, request.Acks, request.TimeoutMs = &id, -1, 60_000
			topic := wire.ProduceRequestTopicData{Name: "t", TopicID: kafka.TopicID{6: 0x40, 15: 1}}
			for i, p := range test.partitions {
				topic.PartitionData = append(topic.PartitionData, wire.ProduceRequestPartitionData{Index: p, Records: test.records[i]})
			}
			nobody := topic
			nobody.Name, nobody.TopicID = "nobody", kafka.TopicID{15: 99}
			nobody.PartitionData = []wire.ProduceRequestPartitionData{{Records: of(9, 0)}}
			request.TopicData = []wire.ProduceRequestTopicData{topic, nobody}
			response := wire.NewProduceResponse()
			if err := ask(request, response, version); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range response.Responses[0].PartitionResponses {
				got = append(got, p.ErrorCode.String())
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("%s, version %d: %s, want %s", test.what, version, s, test.want)
			}
			unknown := kafka.UnknownTopicOrPartition
			if version >= 13 {
				unknown = kafka.UnknownTopicID
			}
			if strings.HasPrefix(test.want, "INVALID") {
				unknown = kafka.InvalidProducerIDMapping
			}
			if code := response.Responses[1].PartitionResponses[0].ErrorCode; code != unknown {
				t.Errorf("%s, version %d: a topic that is not: %v, want %v", test.what, version, code, unknown)
			}
		}
	}
}

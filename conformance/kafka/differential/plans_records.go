package differential

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func (w *world) someConfigs() map[string]string {
	switch w.IntN(6) {
	case 0:
		return map[string]string{"message.timestamp.type": "LogAppendTime"}
	case 1:
		return map[string]string{"compression.type": [...]string{"gzip", "lz4", "zstd", "uncompressed"}[w.IntN(4)]}
	case 2:
		return map[string]string{"max.message.bytes": "300"}
	case 3:
		return map[string]string{"cleanup.policy": "compact"}
	}
	return nil
}

// appendBatch is a produce request that succeeds on an ordinary topic.
func (w *world) appendBatch(t *topic) {
	p := t.part(w)
	b := w.batch(1 + w.IntN(3))
	if t.configs["cleanup.policy"] == "compact" {
		for i := range b.records {
			b.records[i].key = []byte{byte('a' + w.IntN(5))}
		}
	}
	w.produce(t, p, b, -1)
	part := &t.partitions[p]
	part.end += int64(len(b.records))
	for _, r := range b.records {
		part.stamps = append(part.stamps, r.timestamp)
	}
}

// produce sends one batch. The topic goes by id where the version has ids.
func (w *world) produce(t *topic, p int32, b *batch, acks int16) {
	w.produceTo(acks, func(s *Side) []wire.ProduceRequestTopicData {
		return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: b.bytes(s)}}}}
	})
}

func (w *world) produceTo(acks int16, topics func(s *Side) []wire.ProduceRequestTopicData) {
	w.add(Step{What: fmt.Sprintf("produce, acks %d", acks), Key: wire.KeyProduce, Version: w.at(wire.KeyProduce), Silent: acks == 0, Make: func(s *Side) wire.Message {
		r := wire.NewProduceRequest()
		r.Acks, r.TimeoutMs, r.TopicData = acks, 5000, topics(s)
		return r
	}})
}

var produceValid = []move{
	func(w *world) { w.appendBatch(w.topic()) },
	func(w *world) { w.produceOnce(1) },
	func(w *world) { // several partitions and topics in one request
		t := w.topic()
		var batches []*batch
		for range t.partitions {
			batches = append(batches, w.batch(1+w.IntN(4)))
		}
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			data := wire.ProduceRequestTopicData{Name: t.name, TopicID: s.TopicIDs[t.name]}
			for p, b := range batches {
				data.PartitionData = append(data.PartitionData, wire.ProduceRequestPartitionData{Index: int32(p), Records: b.bytes(s)})
			}
			return []wire.ProduceRequestTopicData{data}
		})
	},
	func(w *world) { // acks=0 has no answer; the next request shows what came of it
		t := w.makeTopic(1, nil)
		b := w.batch(1 + w.IntN(3))
		b.codec = 0 // one that every version takes: a refusal closes the connection
		w.produce(t, 0, b, 0)
		t.partitions[0].end = int64(len(b.records))
		w.add(Step{What: "await the unacknowledged", Settle: reached(t.name, t.partitions[0].end)})
		w.listOffsets(t, 0, kafka.TimestampEarliest, -1)
	},
	func(w *world) { // an idempotent producer: in order, the same again, in order
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		next := int32(0)
		for range 3 {
			b := w.batch(1 + w.IntN(3))
			b.producer, b.epoch, b.sequence = id, 0, next
			next += int32(len(b.records))
			w.produce(t, p, b, -1)
			if w.IntN(2) == 0 {
				w.produce(t, p, b, 1)
			}
		}
	},
	func(w *world) { // a new epoch begins at sequence 0
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		for epoch := range int16(2) {
			b := w.batch(2)
			b.producer, b.epoch, b.sequence = id, epoch, 0
			w.produce(t, p, b, -1)
		}
	},
	func(w *world) { // a producer nobody has seen may begin anywhere
		id := w.newProducer()
		b := w.batch(2)
		b.producer, b.epoch, b.sequence = id, int16(w.IntN(3)), int32(w.IntN(100))
		t := w.topic()
		w.produce(t, t.part(w), b, -1)
	},
	func(w *world) { // the sequence wraps
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		b := w.batch(3)
		b.producer, b.epoch, b.sequence = id, 0, 1<<31-2
		w.produce(t, p, b, -1)
		c := w.batch(1)
		c.producer, c.epoch, c.sequence = id, 0, 1
		w.produce(t, p, c, -1)
	},
	func(w *world) { // nothing at all; a topic without partitions
		t := w.topic()
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData { return nil })
		w.produceTo(1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name]}}
		})
	},
	func(w *world) { // several topics
		u := w.makeTopic(2, map[string]string{"message.timestamp.type": "LogAppendTime"})
		a, b := w.batch(2), w.batch(1)
		t := w.topic()
		p := t.part(w)
		if t == u {
			p = 0
		}
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{
				{Name: u.name, TopicID: s.TopicIDs[u.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: 1, Records: a.bytes(s)}}},
				{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: b.bytes(s)}}},
			}
		})
	},
	func(w *world) { // records without a timestamp, and with one that goes back
		b := w.batch(3)
		for i := range b.records {
			b.records[i].timestamp = [...]int64{-1, baseTime + 500, baseTime}[i]
		}
		if w.IntN(2) == 0 {
			for i := range b.records {
				b.records[i].timestamp = -1
			}
		}
		t := w.topic()
		w.produce(t, t.part(w), b, -1)
	},
	func(w *world) { // what a header says of the greatest timestamp and of the leader's epoch is made true
		b := w.batch(2)
		b.damage = func(raw []byte) {
			binary.BigEndian.PutUint64(raw[35:], uint64(baseTime)+99_999_999)
			binary.BigEndian.PutUint32(raw[12:], 17)
			sum(raw)
		}
		t := w.topic()
		w.produce(t, t.part(w), b, -1)
		w.listOffsets(t, 0, kafka.TimestampMax, -1)
	},
	func(w *world) { // segments roll by size
		t := w.makeTopic(1, map[string]string{"segment.bytes": "1048576", "index.interval.bytes": "100000"})
		for range 3 {
			b := w.batch(1)
			b.codec = 0
			b.records[0].value = make([]byte, 400_000+w.IntN(200_000))
			w.produce(t, 0, b, -1)
		}
		w.listOffsets(t, 0, kafka.TimestampEarliest, -1)
		w.fetch(t, 0, 1, nil)
	},
	func(w *world) { // and by the time of their records
		t := w.makeTopic(1, map[string]string{"segment.ms": "5000"})
		for i := range 4 {
			b := w.batch(1)
			b.records[0].timestamp = baseTime + int64(i*(2000+w.IntN(4000)))
			w.produce(t, 0, b, -1)
		}
	},
	func(w *world) { // every compression.type, from every codec
		t := w.makeTopic(1, map[string]string{"compression.type": [...]string{"gzip", "snappy", "lz4", "zstd", "uncompressed", "producer"}[w.IntN(6)]})
		for codec := range int16(5) {
			b := w.batch(2)
			b.codec = codec
			w.produce(t, 0, b, -1)
		}
	},
	func(w *world) { // idempotent batches that the server compresses, or stamps
		t := w.makeTopic(1, []map[string]string{{"compression.type": "lz4"}, {"compression.type": "gzip", "message.timestamp.type": "LogAppendTime"}, {"message.timestamp.type": "LogAppendTime"}}[w.IntN(3)])
		id := w.newProducer()
		for i := range int32(2) {
			b := w.batch(2)
			b.producer, b.epoch, b.sequence = id, 1, 2*i
			w.produce(t, 0, b, -1)
			w.produce(t, 0, b, -1)
		}
	},
	func(w *world) { // acks=1 asks nobody for in-sync replicas
		t := w.makeTopic(1, map[string]string{"min.insync.replicas": "2"})
		w.produce(t, 0, w.batch(1), 1)
	},
	func(w *world) { // a producer whose records were deleted is still known
		id := w.newProducer()
		t := w.makeTopic(1, nil)
		for i := range int32(2) {
			b := w.batch(1)
			b.producer, b.epoch, b.sequence = id, 0, i
			w.produce(t, 0, b, -1)
			w.deleteRecords(t.name, 0, -1)
		}
		w.describeProducers(t.name, 0)
		b := w.batch(1)
		b.producer, b.epoch, b.sequence = id, 0, 3
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // the last five batches of a producer, each again
		id := w.newProducer()
		t := w.makeTopic(1, nil)
		var batches []*batch
		for i := range int32(6) {
			b := w.batch(2)
			b.producer, b.epoch, b.sequence = id, 0, 2*i
			batches = append(batches, b)
			w.produce(t, 0, b, -1)
		}
		for _, b := range batches[1:] {
			w.produce(t, 0, b, -1)
		}
	},
}

func (w *world) produceOnce(acks int16) {
	t := w.topic()
	w.produce(t, t.part(w), w.batch(1+w.IntN(3)), acks)
}

// wrong is a bad produce of a batch that one thing is wrong with.
func wrong(spoil func(w *world, b *batch)) move {
	return func(w *world) {
		t := w.topic()
		b := w.batch(1 + w.IntN(3))
		spoil(w, b)
		w.produce(t, t.part(w), b, -1)
	}
}

var produceBad = []move{
	func(w *world) { // no such topic
		b := w.batch(1)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: "nowhere", TopicID: kafka.UUID{1, 2, 3}, PartitionData: []wire.ProduceRequestPartitionData{{Index: 0, Records: b.bytes(s)}}}}
		})
	},
	func(w *world) { w.produce(w.topic(), 99, w.batch(1), -1) },
	func(w *world) { w.produce(w.topic(), -1, w.batch(1), 1) },
	func(w *world) { // acks that mean nothing
		t := w.topic()
		w.produce(t, t.part(w), w.batch(1), [...]int16{2, -2, 7, 32767}[w.IntN(4)])
	},
	func(w *world) { // no records at all, which Apache Kafka's request handler does not survive
		t := w.topic()
		p := t.part(w)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p}}}}
		})
		w.last().Mute = true
	},
	func(w *world) { // empty records
		t := w.topic()
		p := t.part(w)
		records := []byte{}
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: records}}}}
		})
	},
	func(w *world) { // two batches where one belongs
		t := w.topic()
		p := t.part(w)
		a, b := w.batch(1), w.batch(1)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: append(a.bytes(s), b.bytes(s)...)}}}}
		})
	},
	wrong(func(w *world, b *batch) { b.damage = func(raw []byte) { raw[len(raw)-1] ^= 1 } }),                       // checksum
	wrong(func(w *world, b *batch) { b.damage = func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], 1<<20) } }), // length beyond the end
	wrong(func(w *world, b *batch) { b.damage = func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], 10) } }),    // length too small
	wrong(func(w *world, b *batch) {
		b.damage = func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], 0xffffffff) }
	}), // negative length
	wrong(func(w *world, b *batch) { b.magic = int8(w.IntN(2)) }),
	wrong(func(w *world, b *batch) { b.magic = 3 }),
	wrong(func(w *world, b *batch) { b.count = ptr(int32(len(b.records) + 1)) }),
	wrong(func(w *world, b *batch) { b.count = ptr(int32(0)) }),
	wrong(func(w *world, b *batch) { b.count = ptr(int32(-1)) }),
	wrong(func(w *world, b *batch) { b.lastDelta = ptr(int32(len(b.records) + 3)) }),
	wrong(func(w *world, b *batch) { b.lastDelta = ptr(int32(-1)) }),
	func(w *world) { // offsets that are not 0, 1, 2 …
		for _, codec := range []int16{0, 1} {
			t := w.makeApart(misnumbered, nil)
			b := w.batch(1 + w.IntN(3))
			b.codec = codec
			b.records[len(b.records)-1].offsetDelta = ptr(int32(7))
			w.produce(t, 0, b, -1)
		}
	},
	wrong(func(w *world, b *batch) { b.attributes |= 1 << 5 }), // a control batch
	wrong(func(w *world, b *batch) { b.codec = 0; b.damage = func(raw []byte) { raw[22] |= 6; sum(raw) } }),
	wrong(func(w *world, b *batch) { b.codec = 1; b.damage = func(raw []byte) { raw[70] ^= 0xff; sum(raw) } }),
	wrong(func(w *world, b *batch) { b.codec = 0; b.damage = func(raw []byte) { raw[61] ^= 0x40; sum(raw) } }), // a record's length
	wrong(func(w *world, b *batch) { b.records[0].timestamp = -5 }),
	wrong(func(w *world, b *batch) { b.records[0].timestamp = 9_000_000_000_000 }), // far in the future
	wrong(func(w *world, b *batch) { // too large for max.message.bytes
		b.codec = 0
		b.records[0].value = make([]byte, 1_100_000)
	}),
	func(w *world) { // a compacted topic wants keys
		t := w.makeTopic(1, map[string]string{"cleanup.policy": "compact"})
		b := w.batch(3)
		b.codec = 0
		b.records[1].key = nil
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // a gap in the sequence
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		for _, sequence := range []int32{0, 5} {
			b := w.batch(2)
			b.producer, b.epoch, b.sequence = id, 0, sequence
			w.produce(t, p, b, -1)
		}
	},
	func(w *world) { // an old epoch
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		for _, epoch := range []int16{3, 2} {
			b := w.batch(1)
			b.producer, b.epoch, b.sequence = id, epoch, 0
			w.produce(t, p, b, -1)
		}
	},
	func(w *world) { // a new epoch that does not begin at 0
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		for epoch := range int16(2) {
			b := w.batch(1)
			b.producer, b.epoch, b.sequence = id, epoch, int32(epoch)*4
			w.produce(t, p, b, -1)
		}
	},
	func(w *world) { // a duplicate older than the five that are kept
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		var first *batch
		for i := range int32(7) {
			b := w.batch(1)
			b.producer, b.epoch, b.sequence = id, 0, i
			if i == 0 {
				first = b
			}
			w.produce(t, p, b, -1)
		}
		w.produce(t, p, first, -1)
	},
	func(w *world) { // a producer id without a sequence
		id := w.newProducer()
		b := w.batch(1)
		b.producer, b.epoch, b.sequence = id, 0, -1
		t := w.topic()
		w.produce(t, t.part(w), b, -1)
	},
	func(w *world) { // the same partition twice
		t := w.topic()
		p := t.part(w)
		a, b := w.batch(1), w.batch(2)
		a.codec, b.codec = 0, 1
		w.produceTwice(t, p, a, b)
	},
	func(w *world) { // and the second time with two batches, where one belongs
		t := w.makeApart(twice, nil)
		a, b := w.batch(1), w.batch(2)
		a.codec, b.codec = 0, 1
		b.again = true
		w.produceTwice(t, 0, a, b)
	},
	func(w *world) { // a batch of a transaction, without a transactional id and with one
		t := w.makeTopic(1, nil)
		id := w.newProducer()
		b := w.batch(1)
		b.attributes |= 1 << 4
		b.producer, b.epoch, b.sequence = id, 0, 0
		w.produce(t, 0, b, -1)
		c := w.batch(1)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			id := s.TopicIDs[t.name]
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: id, PartitionData: []wire.ProduceRequestPartitionData{{Index: 0, Records: c.bytes(s)}, {Index: 9, Records: b.bytes(s)}}}}
		})
		u := w.makeApart(transactional, nil)
		w.produce(u, 0, b, -1)
		make := w.last().Make
		w.last().Make = func(s *Side) wire.Message {
			r := make(s).(*wire.ProduceRequest)
			r.TransactionalID = ptr("t-" + u.name)
			return r
		}
	},
	func(w *world) { // one partition's first batch is none: all partitions hear of it
		t := w.topic()
		a, b := w.batch(1), w.batch(1)
		spoil := [...]func(raw []byte){
			func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], 3) },
			func(raw []byte) { raw[16] = 9 },
			func(raw []byte) { raw[len(raw)-1] ^= 1 }, // this one is a batch
		}[w.IntN(3)]
		a.damage = spoil
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: 0, Records: a.bytes(s)}, {Index: 50, Records: b.bytes(s)}}}}
		})
	},
	func(w *world) { // a good partition beside a bad one
		t := w.makeTopic(2, map[string]string{"max.message.bytes": "200"})
		a, b := w.batch(1), w.batch(1)
		a.codec, a.records[0].value = 0, make([]byte, 300)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: 0, Records: a.bytes(s)}, {Index: 1, Records: b.bytes(s)}}}}
		})
	},
	func(w *world) { // too few in-sync replicas; and then something wrong with the records, too
		t := w.makeTopic(1, map[string]string{"min.insync.replicas": "2"})
		w.produce(t, 0, w.batch(1), -1)
		b := w.batch(1)
		b.again = true
		w.produce(t, 0, b, -1)
		c := w.batch(1)
		c.damage = func(raw []byte) { raw[len(raw)-1] ^= 1 }
		w.produce(t, 0, c, -1)
	},
	func(w *world) { // larger than a segment
		t := w.makeTopic(1, map[string]string{"segment.bytes": "1048576", "max.message.bytes": "3000000"})
		b := w.batch(1)
		b.codec = 0
		b.records[0].value = make([]byte, 1_100_000)
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // timestamps out of bounds, one of them and all
		t := w.makeTopic(1, []map[string]string{{"message.timestamp.before.max.ms": "1000"}, {"message.timestamp.after.max.ms": "1000"}}[w.IntN(2)])
		b := w.batch(3)
		b.records[1].timestamp = 8_000_000_000_000
		w.produce(t, 0, b, -1)
		w.produce(t, 0, w.batch(2), -1)
	},
	func(w *world) { // no keys and bad timestamps at once
		t := w.makeTopic(1, map[string]string{"cleanup.policy": "compact", "message.timestamp.before.max.ms": "1000"})
		b := w.batch(3)
		for i := range b.records {
			b.records[i].key = nil
		}
		b.records[0].key = []byte("k")
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // log append time is not for producers to say; where the server compresses it goes unnoticed
		for _, t := range []*topic{w.makeTopic(1, nil), w.makeApart(stamped, map[string]string{"compression.type": "gzip"})} {
			b := w.batch(3)
			b.codec = 0
			b.attributes |= 1 << 3
			w.produce(t, 0, b, -1)
		}
	},
	wrong(func(w *world, b *batch) { b.baseOffset = int64(1 + w.IntN(9)) }),
	wrong(func(w *world, b *batch) { b.baseOffset = -1 }),
	wrong(func(w *world, b *batch) { b.attributes |= 1 << 6 }), // a delete horizon
	wrong(func(w *world, b *batch) { b.attributes |= 1 << 9 }), // no bit that means anything
	wrong(func(w *world, b *batch) { b.records = nil }),        // a batch of nothing
	wrong(func(w *world, b *batch) { // a header without a key
		b.codec = 0
		b.records[0].headers = []kbinHeader{{nil, []byte("v")}}
	}),
	wrong(func(w *world, b *batch) { // bytes behind the records
		b.codec = 0
		b.tail = []byte{1, 2, 3}
	}),
	wrong(func(w *world, b *batch) { // fewer records than there are bytes for
		b.codec, b.count, b.lastDelta = int16(w.IntN(2)), ptr(int32(len(b.records)+2)), ptr(int32(len(b.records)+1))
	}),
	wrong(func(w *world, b *batch) { b.producer, b.epoch, b.sequence = 700, -1, 0 }), // a producer without an epoch
	wrong(func(w *world, b *batch) { b.epoch, b.sequence = 3, 7 }),                   // an epoch without a producer
	func(w *world) { // a batch that overlaps another
		id := w.newProducer()
		t := w.makeTopic(1, nil)
		for _, sequence := range []int32{0, 1, 3, 2} {
			b := w.batch(3)
			b.producer, b.epoch, b.sequence = id, 0, sequence
			w.produce(t, 0, b, -1)
		}
	},
	func(w *world) { // an internal topic; it stays, for the groups of other sequences are in it
		t := &topic{name: "__consumer_offsets"}
		w.add(Step{What: "await " + t.name, Settle: served(t.name, 1)})
		w.produce(t, 0, w.batch(1), 1)
		b := w.batch(1)
		b.again = true
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // acks that mean nothing, and what comes before that
		t := w.topic()
		p := t.part(w)
		w.produce(t, 77, w.batch(1), 3)
		b := w.batch(1)
		b.again = true
		w.produce(t, p, b, 3)
	},
	func(w *world) { // the nobody's topic id, or no name
		b := w.batch(1)
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{PartitionData: []wire.ProduceRequestPartitionData{{Index: 0, Records: b.bytes(s)}}}}
		})
	},
}

// The ends of the names of topics that makeApart makes.
const (
	misnumbered   = "misnumbered"
	twice         = "twice"
	transactional = "transactional"
	unswept       = "unswept"
	stamped       = "stamped"
	deleted       = "deleted"
)

func (w *world) produceTwice(t *topic, p int32, a, b *batch) {
	w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
		return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: a.bytes(s)}, {Index: p, Records: b.bytes(s)}}}}
	})
}

func fetchRequest() *wire.FetchRequest {
	f := wire.NewFetchRequest()
	f.MaxWaitMs, f.MinBytes, f.MaxBytes = 100, 0, 1<<20
	return f
}

// fetch reads one partition.
func (w *world) fetch(t *topic, p int32, offset int64, change func(f *wire.FetchRequest, one *wire.FetchRequestPartitions)) {
	w.add(Step{What: "fetch", Key: wire.KeyFetch, Version: w.at(wire.KeyFetch), Make: func(s *Side) wire.Message {
		f := fetchRequest()
		one := wire.NewFetchRequestPartitions()
		one.Partition, one.FetchOffset, one.PartitionMaxBytes = p, offset, 1<<20
		if change != nil {
			change(f, &one)
		}
		f.Topics = []wire.FetchRequestTopics{{Topic: t.name, TopicID: s.TopicIDs[t.name], Partitions: []wire.FetchRequestPartitions{one}}}
		return f
	}})
}

func (t *topic) offset(w *world, p int32) int64 {
	part := &t.partitions[p]
	return part.start + w.Int64N(part.end-part.start+1)
}

// limit is a number of bytes that is soon reached. Where the server compresses, the sizes of batches are its own.
func (w *world) limit(t *topic) int32 {
	n := int32(w.IntN(300))
	if t.recoded() {
		return 1 << 20
	}
	return n
}

// session walks through an incremental fetch session (KIP-227).
func (w *world) session(steps ...func(s *Side, f *wire.FetchRequest)) {
	for i, change := range steps {
		w.add(Step{What: "fetch in a session", Key: wire.KeyFetch, Version: max(w.at(wire.KeyFetch), 7), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.SessionID, f.SessionEpoch = s.SessionID, int32(i)
			change(s, f)
			return f
		}, After: func(s *Side, m wire.Message) {
			if i == 0 {
				s.SessionID = m.(*wire.FetchResponse).SessionID
			}
		}})
	}
}

// whole asks for every partition of a topic from an offset.
func whole(s *Side, t *topic, offset int64) []wire.FetchRequestTopics {
	id, known := s.TopicIDs[t.name]
	if !known {
		id = kafka.UUID{3, 3}
	}
	topic := wire.FetchRequestTopics{Topic: t.name, TopicID: id}
	for p := range t.partitions {
		one := wire.NewFetchRequestPartitions()
		one.Partition, one.FetchOffset, one.PartitionMaxBytes = int32(p), offset, 1<<20
		topic.Partitions = append(topic.Partitions, one)
	}
	return []wire.FetchRequestTopics{topic}
}

var fetchValid = []move{
	func(w *world) {
		t := w.topic()
		p := t.part(w)
		w.fetch(t, p, t.offset(w, p), nil)
	},
	func(w *world) {
		t := w.topic()
		p := t.part(w)
		w.fetch(t, p, 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.IsolationLevel = 1 })
	},
	func(w *world) { // limits, down to less than one batch
		t := w.topic()
		limit := w.limit(t)
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.PartitionMaxBytes = limit })
	},
	func(w *world) {
		t := w.topic()
		limit := w.limit(t)
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.MaxBytes = limit })
	},
	func(w *world) { // at the end, waiting in vain
		t := w.topic()
		p := t.part(w)
		w.fetch(t, p, t.partitions[p].end, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.MinBytes, f.MaxWaitMs = 1, 50 })
	},
	func(w *world) { // the leader epoch is the current one
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.CurrentLeaderEpoch = 0 })
	},
	func(w *world) { // a session: all, nothing new, something new
		t := w.topic()
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) {})
		w.appendBatch(t)
		version := w.seq.Version
		if w.seq.API != wire.KeyFetch || version < 7 {
			return
		}
		w.add(Step{What: "fetch what is new", Key: wire.KeyFetch, Version: version, Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.SessionID, f.SessionEpoch = s.SessionID, 2
			return f
		}})
	},
	func(w *world) { // a session that forgets
		t := w.topic()
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) {
				f.ForgottenTopicsData = []wire.FetchRequestForgottenTopicsData{{Topic: t.name, TopicID: s.TopicIDs[t.name], Partitions: []int32{0}}}
			},
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) })
	},
	func(w *world) { // a session that gets another topic, and another offset
		t, u := w.topic(), w.makeTopic(1, nil)
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, u, 0) },
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, u, 3) },
			func(s *Side, f *wire.FetchRequest) {})
	},
	func(w *world) { // a session that loses all it has, and one that is closed
		t := w.topic()
		forget := func(s *Side, f *wire.FetchRequest) {
			one := wire.FetchRequestForgottenTopicsData{Topic: t.name, TopicID: s.TopicIDs[t.name]}
			for p := range t.partitions {
				one.Partitions = append(one.Partitions, int32(p))
			}
			f.ForgottenTopicsData = []wire.FetchRequestForgottenTopicsData{one}
		}
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			forget,
			func(s *Side, f *wire.FetchRequest) {})
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) { f.SessionEpoch, f.Topics = -1, whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) {})
	},
	func(w *world) { // a session whose topic goes away, and comes again as another
		t := w.makeTopic(1, nil)
		w.appendBatch(t)
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) {})
		version := w.last().Version
		next := int32(2)
		more := func() {
			epoch := next
			next++
			w.add(Step{What: "fetch in a session", Key: wire.KeyFetch, Version: version, Make: func(s *Side) wire.Message {
				f := fetchRequest()
				f.SessionID, f.SessionEpoch = s.SessionID, epoch
				return f
			}})
		}
		w.deleteTopics(false, t.name)
		w.add(Step{What: "await the end of " + t.name, Settle: gone(t.name)})
		more()
		more()
		asked := t.name
		w.add(Step{What: "create " + t.name + " again", Key: wire.KeyCreateTopics, Version: w.at(wire.KeyCreateTopics), Make: func(s *Side) wire.Message {
			return createTopic(asked, 1, nil)
		}}, Step{What: "await " + t.name, Settle: served(t.name, 1)})
		t.partitions = []partition{{sequence: make(map[int]int32)}}
		more()
		w.appendBatch(t)
		more()
	},
	func(w *world) { // limits over several partitions, and what comes of the order
		t := w.makeTopic(3, nil)
		for p := range int32(3) {
			b := w.batch(1)
			b.codec, b.records[0].value = 0, make([]byte, 100)
			w.produce(t, p, b, -1)
		}
		limit := [...]int32{1, 150, 1 << 20}[w.IntN(3)]
		w.add(Step{What: "fetch little of much", Key: wire.KeyFetch, Version: w.at(wire.KeyFetch), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.MaxBytes, f.Topics = limit, whole(s, t, 0)
			return f
		}})
		w.session(
			func(s *Side, f *wire.FetchRequest) { f.MaxBytes, f.Topics = 1, whole(s, t, 0) },
			func(s *Side, f *wire.FetchRequest) { f.MaxBytes = 1 },
			func(s *Side, f *wire.FetchRequest) { f.MaxBytes = 1 })
	},
	func(w *world) { // the epoch of the last fetch: what it was, and an end that lies before
		t := w.topic()
		p := t.part(w)
		end := t.partitions[p].end
		w.fetch(t, p, end, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.LastFetchedEpoch = 0 })
		w.fetch(t, p, end+4, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.LastFetchedEpoch = 0 })
		w.fetch(t, p, 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.LastFetchedEpoch = -3 })
	},
	func(w *world) { // enough, and more than there is
		t := w.topic()
		minimum := int32(1 + w.IntN(1000))
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.MinBytes, f.MaxWaitMs = minimum, 30 })
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.MinBytes, f.MaxWaitMs = 1, -5 })
	},
	func(w *world) { // a consumer for debugging, and one in a rack
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) {
			f.ReplicaID, f.ReplicaState = -2, wire.FetchRequestReplicaState{ReplicaID: -2, ReplicaEpoch: -1}
		})
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.RackID = "r1" })
	},
	func(w *world) { // the same partition twice: the last counts
		t := w.topic()
		p := t.part(w)
		w.add(Step{What: "fetch twice", Key: wire.KeyFetch, Version: w.at(wire.KeyFetch), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.Topics = append(whole(s, t, 0), whole(s, t, 0)...)
			one := wire.NewFetchRequestPartitions()
			one.Partition, one.FetchOffset, one.PartitionMaxBytes = p, 1, 1<<20
			f.Topics[1].Partitions = append(f.Topics[1].Partitions, one)
			return f
		}})
	},
	func(w *world) { // several topics
		w.add(Step{What: "fetch everything", Key: wire.KeyFetch, Version: w.at(wire.KeyFetch), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			for _, t := range w.topics {
				f.Topics = append(f.Topics, whole(s, t, 0)...)
			}
			return f
		}})
	},
}

var fetchBad = []move{
	func(w *world) {
		t := w.topic()
		p := t.part(w)
		w.fetch(t, p, t.partitions[p].end+int64(1+w.IntN(50)), nil)
	},
	func(w *world) { t := w.topic(); w.fetch(t, t.part(w), -int64(1+w.IntN(5)), nil) },
	func(w *world) { w.fetch(w.topic(), 77, 0, nil) },
	func(w *world) { w.fetch(w.topic(), -1, 0, nil) },
	func(w *world) { w.fetch(&topic{name: "nowhere"}, 0, 0, nil) },
	func(w *world) {
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.CurrentLeaderEpoch = 12 })
	},
	func(w *world) { // an epoch that never was
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { one.LastFetchedEpoch = 9 })
	},
	func(w *world) { // sessions that are not
		t := w.topic()
		epoch := int32(1 + w.IntN(3))
		w.add(Step{What: "fetch in a strange session", Key: wire.KeyFetch, Version: max(w.at(wire.KeyFetch), 7), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.SessionID, f.SessionEpoch, f.Topics = 123456, epoch, whole(s, t, 0)
			return f
		}})
	},
	func(w *world) { // an epoch of the session that was, or will be
		t := w.topic()
		w.session(func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) })
		wrongEpoch := [...]int32{2, 7, -1}[w.IntN(3)]
		w.add(Step{What: "fetch out of turn", Key: wire.KeyFetch, Version: max(w.at(wire.KeyFetch), 7), Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.SessionID, f.SessionEpoch = s.SessionID, wrongEpoch
			return f
		}})
	},
	func(w *world) { // a follower that is none
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) {
			f.ReplicaID, f.ReplicaState = 5, wire.FetchRequestReplicaState{ReplicaID: 5, ReplicaEpoch: -1}
		})
	},
	func(w *world) { // one partition of a session is wrong, and then is not
		t := w.topic()
		p := t.part(w)
		at := func(offset int64) func(s *Side, f *wire.FetchRequest) {
			return func(s *Side, f *wire.FetchRequest) {
				one := wire.NewFetchRequestPartitions()
				one.Partition, one.FetchOffset, one.PartitionMaxBytes = p, offset, 1<<20
				f.Topics = []wire.FetchRequestTopics{{Topic: t.name, TopicID: s.TopicIDs[t.name], Partitions: []wire.FetchRequestPartitions{one}}}
			}
		}
		none := func(s *Side, f *wire.FetchRequest) {}
		w.session(func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) }, at(9999), none, at(0), none)
	},
	func(w *world) { // a session at another version: by name, by id
		t := w.topic()
		w.session(func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) })
		other := int16(13)
		if w.last().Version >= 13 {
			other = 12
		}
		w.add(Step{What: "fetch in a session of the other kind", Key: wire.KeyFetch, Version: other, Make: func(s *Side) wire.Message {
			f := fetchRequest()
			f.SessionID, f.SessionEpoch, f.Topics = s.SessionID, 1, whole(s, t, 0)
			return f
		}})
	},
	func(w *world) { // unknown topics and partitions in a session
		t := w.topic()
		w.session(
			func(s *Side, f *wire.FetchRequest) {
				f.Topics = append(whole(s, t, 0), whole(s, &topic{name: "nowhere", partitions: make([]partition, 1)}, 0)...)
				one := wire.NewFetchRequestPartitions()
				one.Partition, one.PartitionMaxBytes = 88, 1<<20
				f.Topics[0].Partitions = append(f.Topics[0].Partitions, one)
			},
			func(s *Side, f *wire.FetchRequest) {},
			func(s *Side, f *wire.FetchRequest) { f.Topics = whole(s, t, 0) })
	},
	func(w *world) { // what was deleted
		t := w.makeTopic(1, nil)
		w.appendBatch(t)
		w.deleteRecords(t.name, 0, -1)
		w.fetch(t, 0, 0, nil)
		t.partitions[0].start = t.partitions[0].end
	},
	func(w *world) { // an isolation level that is none
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.IsolationLevel = 5 })
	},
	func(w *world) {
		t := w.topic()
		w.fetch(t, t.part(w), 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) {
			f.MaxBytes, one.PartitionMaxBytes = -1, -1
		})
	},
}

func (w *world) listOffsets(t *topic, p int32, timestamp int64, epoch int32) {
	timestamp = w.askable(t.name, timestamp)
	isolation := int8(w.IntN(2))
	w.add(Step{What: "list offsets", Key: wire.KeyListOffsets, Version: w.at(wire.KeyListOffsets), Make: func(s *Side) wire.Message {
		r := wire.NewListOffsetsRequest()
		r.ReplicaID, r.IsolationLevel, r.TimeoutMs = -1, isolation, 1000
		one := wire.NewListOffsetsRequestPartitions()
		one.PartitionIndex, one.Timestamp, one.CurrentLeaderEpoch = p, timestamp, epoch
		r.Topics = []wire.ListOffsetsRequestTopics{{Name: t.name, Partitions: []wire.ListOffsetsRequestPartitions{one}}}
		return r
	}})
}

// askable leaves the greatest timestamp out where records were deleted, but for the topics that are there to show what
// comes of it.
func (w *world) askable(topic string, timestamp int64) int64 {
	if timestamp == kafka.TimestampMax && w.trimmed[topic] && !strings.HasSuffix(topic, deleted) {
		return kafka.TimestampLatest
	}
	return timestamp
}

// listAll asks for the offsets of every partition, each with one of the timestamps.
func (w *world) listAll(replica int32, timestamps ...int64) {
	isolation := int8(w.IntN(2))
	w.add(Step{What: "list many offsets", Key: wire.KeyListOffsets, Version: w.at(wire.KeyListOffsets), Make: func(s *Side) wire.Message {
		r := wire.NewListOffsetsRequest()
		r.ReplicaID, r.IsolationLevel = replica, isolation
		n := 0
		for _, t := range w.topics {
			topic := wire.ListOffsetsRequestTopics{Name: t.name}
			for p := range t.partitions {
				one := wire.NewListOffsetsRequestPartitions()
				one.PartitionIndex, one.Timestamp = int32(p), w.askable(t.name, timestamps[n%len(timestamps)])
				n++
				topic.Partitions = append(topic.Partitions, one)
			}
			r.Topics = append(r.Topics, topic)
		}
		return r
	}})
}

func listAt(timestamp int64) move {
	return func(w *world) { t := w.topic(); w.listOffsets(t, t.part(w), timestamp, -1) }
}

var listOffsetsValid = []move{
	listAt(kafka.TimestampLatest), listAt(kafka.TimestampEarliest), listAt(kafka.TimestampMax), listAt(kafka.TimestampEarliestLocal),
	listAt(kafka.TimestampLatestTiered), listAt(kafka.TimestampEarliestPendingUpload),
	listAt(0), listAt(baseTime), listAt(baseTime + 500_000), listAt(baseTime + 2_000_000),
	func(w *world) { // of a record
		t := w.topic()
		p := t.part(w)
		at := int64(baseTime)
		if stamps := t.partitions[p].stamps; len(stamps) > 0 {
			at = stamps[w.IntN(len(stamps))] + int64(w.IntN(3)) - 1
		}
		w.listOffsets(t, p, at, -1)
	},
	func(w *world) { t := w.topic(); w.listOffsets(t, t.part(w), kafka.TimestampLatest, 0) },
	func(w *world) { // many at once: topics, partitions, timestamps
		w.makeTopic(2, map[string]string{"message.timestamp.type": "LogAppendTime"})
		w.listAll(-1, kafka.TimestampLatest, kafka.TimestampEarliest, kafka.TimestampMax, baseTime+100)
	},
	func(w *world) { w.listAll(-2, kafka.TimestampLatest, baseTime, kafka.TimestampMax) }, // a consumer for debugging
	func(w *world) { // nothing
		w.add(Step{What: "list no offsets", Key: wire.KeyListOffsets, Version: w.at(wire.KeyListOffsets), Make: func(s *Side) wire.Message {
			r := wire.NewListOffsetsRequest()
			r.ReplicaID = -1
			r.Topics = []wire.ListOffsetsRequestTopics{{Name: w.topics[0].name}}
			return r
		}})
	},
	func(w *world) { // across segments
		t := w.makeTopic(1, map[string]string{"segment.ms": "1000"})
		for i := range 4 {
			b := w.batch(2)
			for j := range b.records {
				b.records[j].timestamp = baseTime + int64(i*1500+j*100)
			}
			w.produce(t, 0, b, -1)
		}
		for _, at := range []int64{0, 100, 101, 1500, 3050, 4600, 4601} {
			w.listOffsets(t, 0, baseTime+at, -1)
		}
		w.listOffsets(t, 0, kafka.TimestampMax, -1)
	},
	func(w *world) { // when the greatest timestamp is not the last record's; of records that were deleted
		t := w.makeApart(deleted, nil)
		for _, at := range []int64{500, 900, 300} {
			b := w.batch(2)
			b.records[0].timestamp, b.records[1].timestamp = baseTime+at, baseTime+at-50
			w.produce(t, 0, b, -1)
		}
		w.listOffsets(t, 0, kafka.TimestampMax, -1)
		w.listOffsets(t, 0, baseTime+600, -1)
		w.deleteRecords(t.name, 0, 3)
		w.listOffsets(t, 0, baseTime, -1)
		w.listOffsets(t, 0, kafka.TimestampMax, -1)
		w.listOffsets(t, 0, kafka.TimestampEarliest, -1)
		w.listOffsets(t, 0, kafka.TimestampEarliestLocal, -1)
		t.partitions[0].start, t.partitions[0].end = 3, 6
	},
	func(w *world) { // of an empty log, and of one that became it
		t := w.makeApart(deleted, nil)
		for _, at := range []int64{-1, -2, -3, -4, -5, -6, 0} {
			w.listOffsets(t, 0, at, -1)
		}
		w.produce(t, 0, w.batch(2), -1)
		w.deleteRecords(t.name, 0, -1)
		for _, at := range []int64{-1, -2, -3, -4, 0} {
			w.listOffsets(t, 0, at, -1)
		}
		t.partitions[0].start, t.partitions[0].end = 2, 2
	},
	func(w *world) {
		w.appendBatch(w.topic())
		t := w.topic()
		w.listOffsets(t, t.part(w), kafka.TimestampMax, -1)
	},
}

var listOffsetsBad = []move{
	func(w *world) { w.listOffsets(&topic{name: "nowhere"}, 0, -1, -1) },
	func(w *world) { w.listOffsets(w.topic(), 88, -1, -1) },
	func(w *world) { w.listOffsets(w.topic(), -1, -1, -1) },
	func(w *world) { t := w.topic(); w.listOffsets(t, t.part(w), -1, 3) },
	func(w *world) { t := w.topic(); w.listOffsets(t, t.part(w), -int64(7+w.IntN(4)), -1) },
	func(w *world) { // the same partition twice
		t := w.topic()
		p := t.part(w)
		w.add(Step{What: "list offsets twice", Key: wire.KeyListOffsets, Version: w.at(wire.KeyListOffsets), Make: func(s *Side) wire.Message {
			r := wire.NewListOffsetsRequest()
			r.ReplicaID = -1
			one := wire.NewListOffsetsRequestPartitions()
			one.PartitionIndex, one.Timestamp = p, -1
			other := one
			other.Timestamp = -2
			r.Topics = []wire.ListOffsetsRequestTopics{{Name: t.name, Partitions: []wire.ListOffsetsRequestPartitions{one, other}}}
			return r
		}})
	},
	func(w *world) { // and in two topics of one name, beside another partition
		t := w.topic()
		w.add(Step{What: "list offsets twice, apart", Key: wire.KeyListOffsets, Version: w.at(wire.KeyListOffsets), Make: func(s *Side) wire.Message {
			r := wire.NewListOffsetsRequest()
			r.ReplicaID = -1
			for i := range 2 {
				one := wire.NewListOffsetsRequestPartitions()
				one.Timestamp = -1
				other := one
				other.PartitionIndex = int32(40 + i)
				r.Topics = append(r.Topics, wire.ListOffsetsRequestTopics{Name: t.name, Partitions: []wire.ListOffsetsRequestPartitions{one, other}})
			}
			return r
		}})
	},
	func(w *world) { // a follower that is none, an isolation level that is none
		t := w.topic()
		for _, odd := range []func(r *wire.ListOffsetsRequest){
			func(r *wire.ListOffsetsRequest) { r.ReplicaID = 5 },
			func(r *wire.ListOffsetsRequest) { r.ReplicaID = -3 },
			func(r *wire.ListOffsetsRequest) { r.IsolationLevel = 7 },
		} {
			w.listOffsets(t, 0, -1, -1)
			make := w.last().Make
			w.last().Make = func(s *Side) wire.Message {
				r := make(s).(*wire.ListOffsetsRequest)
				odd(r)
				return r
			}
		}
	},
	func(w *world) { w.listOffsets(&topic{name: "not a name!"}, 0, -1, -1) },
	func(w *world) { w.listOffsets(&topic{name: ""}, 0, -1, 0) },
	func(w *world) { // an older epoch than there is
		t := w.topic()
		w.listOffsets(t, t.part(w), -1, -2)
	},
}

func (w *world) deleteRecords(name string, p int32, offset int64) {
	w.trimmed[name] = true
	w.add(Step{What: "delete records", Key: wire.KeyDeleteRecords, Version: w.at(wire.KeyDeleteRecords), Make: func(s *Side) wire.Message {
		r := wire.NewDeleteRecordsRequest()
		r.TimeoutMs = 5000
		r.Topics = []wire.DeleteRecordsRequestTopics{{Name: name, Partitions: []wire.DeleteRecordsRequestPartitions{{PartitionIndex: p, Offset: offset}}}}
		return r
	}})
}

var deleteRecordsValid = []move{
	func(w *world) { // up to an offset, and what a reader sees then
		t := w.topic()
		p := t.part(w)
		offset := t.offset(w, p)
		w.deleteRecords(t.name, p, offset)
		if t.configs["cleanup.policy"] != "compact" && t.configs["max.message.bytes"] == "" {
			t.partitions[p].start = max(offset, t.partitions[p].start)
		}
		w.listOffsets(t, p, kafka.TimestampEarliest, -1)
		w.fetch(t, p, 0, nil)
	},
	func(w *world) { // all that is there
		t := w.topic()
		p := t.part(w)
		w.deleteRecords(t.name, p, -1)
		w.listOffsets(t, p, kafka.TimestampEarliest, -1)
		w.appendBatch(t)
	},
	func(w *world) { t := w.topic(); w.deleteRecords(t.name, t.part(w), 0) },
	func(w *world) { // step by step, and back
		t := w.makeTopic(1, nil)
		for range 3 {
			w.produce(t, 0, w.batch(3), -1)
		}
		for _, offset := range []int64{2, 5, 3, 9} {
			w.deleteRecords(t.name, 0, offset)
			w.fetch(t, 0, offset, nil)
			w.epochs(t.name, 0, -1, 0)
		}
		t.partitions[0].start, t.partitions[0].end = 9, 9
		w.appendBatch(t)
	},
	func(w *world) { // whole segments
		t := w.makeApart(unswept, map[string]string{"segment.ms": "1000"})
		for i := range 3 {
			b := w.batch(2)
			b.codec = 0
			for j := range b.records {
				b.records[j].timestamp = baseTime + int64(i)*5000
			}
			w.produce(t, 0, b, -1)
		}
		w.deleteRecords(t.name, 0, 3)
		w.listOffsets(t, 0, kafka.TimestampEarliest, -1)
		w.listOffsets(t, 0, baseTime, -1)
		t.partitions[0].start, t.partitions[0].end = 3, 6
	},
	func(w *world) { // several partitions and topics
		t := w.makeTopic(2, nil)
		w.produce(t, 0, w.batch(3), -1)
		w.produce(t, 1, w.batch(1), -1)
		w.add(Step{What: "delete records of several", Key: wire.KeyDeleteRecords, Version: w.at(wire.KeyDeleteRecords), Make: func(s *Side) wire.Message {
			r := wire.NewDeleteRecordsRequest()
			r.TimeoutMs = 5000
			r.Topics = []wire.DeleteRecordsRequestTopics{
				{Name: t.name, Partitions: []wire.DeleteRecordsRequestPartitions{{PartitionIndex: 0, Offset: 1}, {PartitionIndex: 1, Offset: 5}, {PartitionIndex: 2, Offset: 0}}},
				{Name: "nowhere", Partitions: []wire.DeleteRecordsRequestPartitions{{PartitionIndex: 0, Offset: 1}}},
			}
			return r
		}})
		w.trimmed[t.name] = true
		t.partitions[0].start, t.partitions[0].end, t.partitions[1].end = 1, 3, 1
	},
	func(w *world) { // of nothing
		w.add(Step{What: "delete no records", Key: wire.KeyDeleteRecords, Version: w.at(wire.KeyDeleteRecords), Make: func(s *Side) wire.Message {
			r := wire.NewDeleteRecordsRequest()
			r.TimeoutMs = 5000
			return r
		}})
	},
}

var deleteRecordsBad = []move{
	func(w *world) { w.deleteRecords("nowhere", 0, 0) },
	func(w *world) { w.deleteRecords(w.topic().name, 55, 0) },
	func(w *world) { t := w.topic(); w.deleteRecords(t.name, t.part(w), 1_000_000) },
	func(w *world) { t := w.topic(); w.deleteRecords(t.name, t.part(w), -2-int64(w.IntN(5))) },
	func(w *world) {
		t := w.makeTopic(1, map[string]string{"cleanup.policy": "compact"})
		w.appendBatch(t)
		w.deleteRecords(t.name, 0, 1)
		w.deleteRecords(t.name, 0, 1000)
	},
	func(w *world) { // the same partition twice
		t := w.topic()
		p := t.part(w)
		w.add(Step{What: "delete records twice", Key: wire.KeyDeleteRecords, Version: w.at(wire.KeyDeleteRecords), Make: func(s *Side) wire.Message {
			r := wire.NewDeleteRecordsRequest()
			r.TimeoutMs = 5000
			r.Topics = []wire.DeleteRecordsRequestTopics{{Name: t.name, Partitions: []wire.DeleteRecordsRequestPartitions{{PartitionIndex: p, Offset: 0}, {PartitionIndex: p, Offset: 9999}}}}
			return r
		}})
	},
	func(w *world) { w.deleteRecords("not a name!", 0, 0); w.deleteRecords(w.topic().name, -1, 0) },
}

func (w *world) epochs(name string, p int32, current, epoch int32) {
	w.add(Step{What: "end of an epoch", Key: wire.KeyOffsetForLeaderEpoch, Version: w.at(wire.KeyOffsetForLeaderEpoch), Make: func(s *Side) wire.Message {
		r := wire.NewOffsetForLeaderEpochRequest()
		r.ReplicaID = -1
		one := wire.NewOffsetForLeaderEpochRequestPartitions()
		one.Partition, one.CurrentLeaderEpoch, one.LeaderEpoch = p, current, epoch
		r.Topics = []wire.OffsetForLeaderEpochRequestTopics{{Topic: name, Partitions: []wire.OffsetForLeaderEpochRequestPartitions{one}}}
		return r
	}})
}

var epochsValid = []move{
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), -1, 0) },
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), 0, 0) },
	func(w *world) { w.appendBatch(w.topic()); t := w.topic(); w.epochs(t.name, t.part(w), 0, 0) },
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), 0, int32(1+w.IntN(5))) },
	func(w *world) { t := w.makeTopic(1, nil); w.epochs(t.name, 0, -1, 0); w.epochs(t.name, 0, -1, 1) }, // of an empty log
	func(w *world) { // for a follower, and for a consumer for debugging
		t := w.topic()
		p := t.part(w)
		for _, replica := range []int32{-2, 1, 5} {
			w.epochs(t.name, p, 0, 0)
			make := w.last().Make
			w.last().Make = func(s *Side) wire.Message {
				r := make(s).(*wire.OffsetForLeaderEpochRequest)
				r.ReplicaID = replica
				return r
			}
		}
	},
	func(w *world) { // many at once, one of them twice
		w.add(Step{What: "ends of epochs", Key: wire.KeyOffsetForLeaderEpoch, Version: w.at(wire.KeyOffsetForLeaderEpoch), Make: func(s *Side) wire.Message {
			r := wire.NewOffsetForLeaderEpochRequest()
			r.ReplicaID = -1
			for _, t := range append(w.topics[:len(w.topics):len(w.topics)], &topic{name: "nowhere", partitions: make([]partition, 1)}) {
				one := wire.OffsetForLeaderEpochRequestTopics{Topic: t.name}
				for p := range t.partitions {
					ask := wire.NewOffsetForLeaderEpochRequestPartitions()
					ask.Partition = int32(p)
					one.Partitions = append(one.Partitions, ask)
				}
				r.Topics = append(r.Topics, one)
			}
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
			return r
		}})
	},
	func(w *world) { // behind what was deleted
		t := w.makeTopic(1, nil)
		w.produce(t, 0, w.batch(3), -1)
		w.deleteRecords(t.name, 0, 2)
		w.epochs(t.name, 0, 0, 0)
		w.listOffsets(t, 0, kafka.TimestampEarliest, 0)
		t.partitions[0].start, t.partitions[0].end = 2, 3
	},
}

var epochsBad = []move{
	func(w *world) { w.epochs("nowhere", 0, -1, 0) },
	func(w *world) { w.epochs(w.topic().name, 44, -1, 0) },
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), 9, 0) },
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), -1, -1) },
	func(w *world) { t := w.topic(); w.epochs(t.name, t.part(w), -1, -7) },
}

func (w *world) initProducer(change func(s *Side, r *wire.InitProducerIdRequest), After func(s *Side, m wire.Message)) {
	w.add(Step{What: "init producer id", Key: wire.KeyInitProducerId, Version: w.at(wire.KeyInitProducerId), After: After, Make: func(s *Side) wire.Message {
		r := wire.NewInitProducerIdRequest()
		r.TransactionTimeoutMs = 60000
		if change != nil {
			change(s, r)
		}
		return r
	}})
}

var initProducerValid = []move{
	func(w *world) { w.newProducer() },
	func(w *world) {
		id := w.newProducer()
		b := w.batch(1)
		b.producer, b.epoch, b.sequence = id, 0, 0
		t := w.topic()
		w.produce(t, t.part(w), b, -1)
	},
	func(w *world) { // the timeout means nothing without a transactional id
		w.producers++
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) { r.TransactionTimeoutMs = -1 }, func(s *Side, m wire.Message) {
			s.producers = append(s.producers, m.(*wire.InitProducerIdResponse).ProducerID)
		})
	},
	func(w *world) { // two producers to one partition
		a, b := w.newProducer(), w.newProducer()
		t := w.makeTopic(1, nil)
		for i := range int32(2) {
			for _, id := range []int{a, b} {
				one := w.batch(1)
				one.producer, one.epoch, one.sequence = id, 0, i
				w.produce(t, 0, one, -1)
			}
		}
		w.describeProducers(t.name, 0)
	},
}

var initProducerBad = []move{
	func(w *world) { // an id or an epoch, but no transactional id
		which := w.IntN(3)
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) {
			if which != 0 {
				r.ProducerID = 4000
			}
			if which != 1 {
				r.ProducerEpoch = 3
			}
		}, nil)
	},
	func(w *world) {
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) { r.TransactionalID = ptr("") }, nil)
	},
	func(w *world) { // a transactional id, with timeouts good and bad
		id := "t-" + w.name()
		timeout := [...]int32{60000, 0, -1, 900001, 900000}[w.IntN(5)]
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) { r.TransactionalID, r.TransactionTimeoutMs = &id, timeout }, nil)
	},
	func(w *world) { // a transactional id that brings its producer along, or half of it
		id := "t-" + w.name()
		half := w.IntN(2) == 0
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) {
			r.TransactionalID, r.ProducerID = &id, 5000
			if !half {
				r.ProducerEpoch = 2
			}
		}, nil)
	},
	func(w *world) { // an id and an epoch, but not those of anybody
		w.initProducer(func(s *Side, r *wire.InitProducerIdRequest) { r.ProducerID, r.ProducerEpoch = -2, -2 }, nil)
	},
}

func (w *world) describeProducers(name string, p int32) {
	w.add(Step{What: "describe producers", Key: wire.KeyDescribeProducers, Version: w.at(wire.KeyDescribeProducers), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeProducersRequest()
		r.Topics = []wire.DescribeProducersRequestTopics{{Name: name, PartitionIndexes: []int32{p}}}
		return r
	}})
}

var describeProducersValid = []move{
	func(w *world) { t := w.topic(); w.describeProducers(t.name, t.part(w)) },
	func(w *world) {
		id := w.newProducer()
		t := w.topic()
		p := t.part(w)
		b := w.batch(3)
		b.producer, b.epoch, b.sequence = id, 2, 0
		w.produce(t, p, b, -1)
		w.describeProducers(t.name, p)
	},
	func(w *world) { // several partitions and topics, one of which is not
		id := w.newProducer()
		t := w.makeTopic(2, nil)
		for i := range int32(3) {
			b := w.batch(1)
			b.producer, b.epoch, b.sequence = id, 0, i
			w.produce(t, 1, b, -1)
		}
		w.add(Step{What: "describe producers of several", Key: wire.KeyDescribeProducers, Version: w.at(wire.KeyDescribeProducers), Make: func(s *Side) wire.Message {
			r := wire.NewDescribeProducersRequest()
			r.Topics = []wire.DescribeProducersRequestTopics{{Name: t.name, PartitionIndexes: []int32{0, 1, 2}}, {Name: "nowhere", PartitionIndexes: []int32{0}}}
			return r
		}})
	},
	func(w *world) { w.describeProducersOf(nil) },
}

func (w *world) describeProducersOf(topics []wire.DescribeProducersRequestTopics) {
	w.add(Step{What: "describe producers", Key: wire.KeyDescribeProducers, Version: w.at(wire.KeyDescribeProducers), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeProducersRequest()
		r.Topics = topics
		return r
	}})
}

var describeProducersBad = []move{
	func(w *world) { w.describeProducers("nowhere", 0) },
	func(w *world) { w.describeProducers(w.topic().name, 66) },
	func(w *world) { w.describeProducers("not a name!", 0) },
	func(w *world) { w.describeProducers("", 0) },
	func(w *world) { w.describeProducers(w.topic().name, -1) },
	func(w *world) { // the same twice
		w.describeProducersOf([]wire.DescribeProducersRequestTopics{{Name: w.topic().name, PartitionIndexes: []int32{0, 0}}})
	},
}

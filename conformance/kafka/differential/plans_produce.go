package differential

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

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

func (w *world) produceRaw(t *topic, p int32, records []byte) {
	w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
		return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: records}}}}
	})
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
	func(w *world) { // messages as they were before there were batches, alone and several, plain and in a compressed one
		t := w.topic()
		p := t.part(w)
		for magic := range int8(2) {
			one, two := oldMessage(magic, 0, 0, []byte("key"), []byte("value")), oldMessage(magic, 0, 1, nil, make([]byte, 80))
			for _, set := range [][]byte{one, slices.Concat(one, two), oldMessage(magic, 0, 0, nil, nil), one[:len(one)-1]} {
				w.produceRaw(t, p, set)
			}
			for codec := range int16(3) {
				w.produceRaw(t, p, oldMessage(magic, codec+1, 1, nil, compress(slices.Concat(one, two), codec+1)))
			}
		}
	},
	func(w *world) { // versions that are no more
		for version := range int16(2) {
			w.produceOnce(-1)
			w.last().Future = 1 + version
		}
	},
	func(w *world) { // batches that end within their header, plain and of a transaction
		t := w.makeApart(headless, nil)
		for _, attributes := range []int16{0, 1 << 4} {
			for _, n := range []int{26, 42, 50, 60} {
				b := w.batch(1)
				b.codec, b.attributes, b.producer, b.epoch, b.sequence = 0, attributes, w.newProducer(), 0, 0
				b.damage = func(raw []byte) { binary.BigEndian.PutUint32(raw[8:], uint32(n-12)) }
				w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
					return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Records: b.bytes(s)[:n]}}}}
				})
				if attributes != 0 { // the answer of an older version has no room for a message, by which the two differ, too
					w.last().Version = max(w.last().Version, 8)
				}
				make := w.last().Make
				w.last().Make = func(s *Side) wire.Message {
					r := make(s).(*wire.ProduceRequest)
					r.TransactionalID = ptr("t-" + t.name)
					return r
				}
			}
		}
	},
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
	func(w *world) { // transactional batches of two producers; of none; and what is wrong beside the transaction
		t, u := w.makeApart(transactional, nil), w.makeTopic(1, nil)
		a, b, none := w.batch(1), w.batch(1), w.batch(1)
		for _, one := range []*batch{a, b, none} {
			one.codec, one.attributes = 0, 1<<4
		}
		a.producer, a.epoch, a.sequence = w.newProducer(), 0, 0
		b.producer, b.epoch, b.sequence = w.newProducer(), 0, 0
		for _, topics := range []func(s *Side) []wire.ProduceRequestTopicData{
			func(s *Side) []wire.ProduceRequestTopicData {
				return []wire.ProduceRequestTopicData{
					{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Records: a.bytes(s)}}},
					{Name: u.name, TopicID: s.TopicIDs[u.name], PartitionData: []wire.ProduceRequestPartitionData{{Records: b.bytes(s)}}},
				}
			},
			func(s *Side) []wire.ProduceRequestTopicData {
				return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Records: none.bytes(s)}}}}
			},
			func(s *Side) []wire.ProduceRequestTopicData {
				return []wire.ProduceRequestTopicData{{Name: "nowhere", TopicID: kafka.UUID{1}, PartitionData: []wire.ProduceRequestPartitionData{{Records: a.bytes(s)}}}}
			},
		} {
			w.produceTo(-1, topics)
			make := w.last().Make
			w.last().Make = func(s *Side) wire.Message {
				r := make(s).(*wire.ProduceRequest)
				r.TransactionalID = ptr("t-" + t.name)
				return r
			}
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

func (w *world) produceTwice(t *topic, p int32, a, b *batch) {
	w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
		return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: a.bytes(s)}, {Index: p, Records: b.bytes(s)}}}}
	})
}

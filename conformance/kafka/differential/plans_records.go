package differential

import (
	"encoding/binary"
	"fmt"

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
		w.produceOnce(0)
		t := w.topic()
		p := t.part(w)
		w.add(Step{What: "await the unacknowledged", Settle: func(s *Side) (bool, error) { return true, nil }})
		w.listOffsets(t, p, kafka.TimestampEarliest, -1)
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
	wrong(func(w *world, b *batch) { b.codec = 0; b.records[len(b.records)-1].offsetDelta = ptr(int32(7)) }),
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
		w.produceTo(-1, func(s *Side) []wire.ProduceRequestTopicData {
			return []wire.ProduceRequestTopicData{{Name: t.name, TopicID: s.TopicIDs[t.name], PartitionData: []wire.ProduceRequestPartitionData{{Index: p, Records: a.bytes(s)}, {Index: p, Records: b.bytes(s)}}}}
		})
	},
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
	topic := wire.FetchRequestTopics{Topic: t.name, TopicID: s.TopicIDs[t.name]}
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
}

func (w *world) deleteRecords(name string, p int32, offset int64) {
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
	},
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
}

var describeProducersBad = []move{
	func(w *world) { w.describeProducers("nowhere", 0) },
	func(w *world) { w.describeProducers(w.topic().name, 66) },
	func(w *world) { w.describeProducers("not a name!", 0) },
}

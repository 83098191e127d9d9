package differential

import (
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

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

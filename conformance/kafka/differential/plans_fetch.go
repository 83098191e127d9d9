package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

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
	func(w *world) { // that waits for records of a topic which is deleted meanwhile
		for isolation := range int8(2) {
			t := w.makeTopic(2, nil)
			w.produce(t, 0, w.batch(1), -1)
			w.fetch(t, 0, 1, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) {
				f.MaxWaitMs, f.MinBytes, f.IsolationLevel = 6000, 1<<20, isolation
			})
			w.last().Conn, w.last().Hold = "waiting", true
			w.fetch(t, 1, 0, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) { f.MinBytes = 1 }) // meanwhile that one is there
			w.add(Step{What: "delete " + t.name, Key: wire.KeyDeleteTopics, Version: w.at(wire.KeyDeleteTopics), Make: func(s *Side) wire.Message {
				r := wire.NewDeleteTopicsRequest()
				r.TopicNames, r.Topics, r.TimeoutMs = []string{t.name}, []wire.DeleteTopicsRequestTopics{{Name: &t.name}}, 15000
				return r
			}})
			w.take(&member{name: "waiting"})
			w.drop(t)
		}
	},
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
	func(w *world) { // versions that are no more
		for version := range int16(3) {
			w.fetch(w.topic(), 0, 0, nil)
			w.last().Future = 1 + version
		}
	},
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

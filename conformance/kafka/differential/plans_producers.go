package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
)

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

package differential

import (
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func (w *world) metadata(change func(s *Side, m *wire.MetadataRequest)) {
	w.add(Step{What: "metadata", Key: wire.KeyMetadata, Version: w.at(wire.KeyMetadata), Make: func(s *Side) wire.Message {
		m := wire.NewMetadataRequest()
		m.AllowAutoTopicCreation = false
		change(s, m)
		return m
	}})
}

// named asks for topics by name. Versions below 4 create what they ask for, so only topics that exist go there.
func named(names ...string) []wire.MetadataRequestTopics {
	topics := []wire.MetadataRequestTopics{}
	for _, name := range names {
		topics = append(topics, wire.MetadataRequestTopics{Name: &name})
	}
	return topics
}

var metadataValid = []move{
	func(w *world) {
		t := w.topic()
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(t.name) })
	},
	func(w *world) { w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = nil }) },
	func(w *world) { w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named() }) },
	func(w *world) {
		t := w.topic()
		w.metadata(func(s *Side, m *wire.MetadataRequest) {
			m.Topics = named(t.name)
			m.IncludeTopicAuthorizedOperations, m.IncludeClusterAuthorizedOperations = true, true
		})
	},
	func(w *world) { // by id
		t := w.topic()
		if w.seq.API == wire.KeyMetadata && w.seq.Version < 12 {
			w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(t.name, t.name) })
			return
		}
		w.add(Step{What: "metadata by id", Key: wire.KeyMetadata, Version: max(12, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.Topics = []wire.MetadataRequestTopics{{TopicID: s.TopicIDs[t.name]}}
			return m
		}})
	},
	func(w *world) { // several, one of them twice
		t, u := w.topic(), w.makeTopic(2, nil)
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(u.name, t.name, u.name) })
	},
	func(w *world) { // several by id, one of them twice, with what may be done with them
		t, u := w.topic(), w.makeTopic(1, nil)
		w.add(Step{What: "metadata by ids", Key: wire.KeyMetadata, Version: max(12, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.IncludeTopicAuthorizedOperations = true
			for _, name := range []string{t.name, u.name, t.name} {
				m.Topics = append(m.Topics, wire.MetadataRequestTopics{TopicID: s.TopicIDs[name]})
			}
			return m
		}})
	},
	func(w *world) { // created by being asked for
		name := w.name() + "-asked"
		w.topics = append(w.topics, &topic{name: name, partitions: make([]partition, 1)})
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics, m.AllowAutoTopicCreation = named(name), true })
		if w.seq.API != wire.KeyMetadata {
			w.add(Step{What: "make sure of " + name, Settle: func(s *Side) (bool, error) {
				_, err := s.call(createTopic(name, 1, nil), wire.KeyCreateTopics, 5)
				return err == nil, err
			}})
		}
		w.add(Step{What: "await " + name, Settle: served(name, 1)})
	},
}

var metadataBad = []move{
	func(w *world) {
		if w.seq.API == wire.KeyMetadata && w.seq.Version < 4 {
			w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named("not a name!") })
			return
		}
		w.add(Step{What: "metadata of nothing", Key: wire.KeyMetadata, Version: max(4, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.Topics, m.AllowAutoTopicCreation = named("nowhere"), false
			return m
		}})
	},
	func(w *world) {
		bad := [...]string{"", ".", "..", "a b", "ä", strings.Repeat("x", 250), "a/b"}[w.IntN(7)]
		create := w.IntN(2) == 0
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics, m.AllowAutoTopicCreation = named(bad), create })
	},
	func(w *world) { // a good topic beside one that is not, and one that cannot be
		t := w.topic()
		w.add(Step{What: "metadata of good and bad", Key: wire.KeyMetadata, Version: max(4, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.AllowAutoTopicCreation = false
			m.Topics = named("nowhere", t.name, "not a name!", "nowhere")
			return m
		}})
	},
	func(w *world) { // by name and by id in one request
		t := w.topic()
		w.add(Step{What: "metadata by name and id", Key: wire.KeyMetadata, Version: max(10, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.Topics = []wire.MetadataRequestTopics{{Name: &t.name}, {TopicID: s.TopicIDs[t.name]}, {TopicID: kafka.UUID{9, 9}}}
			return m
		}})
	},
	func(w *world) { // neither name nor id
		w.add(Step{What: "metadata of neither name nor id", Key: wire.KeyMetadata, Version: max(10, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.Topics = []wire.MetadataRequestTopics{{}}
			return m
		}})
	},
	func(w *world) { // internal topics are not created by being asked for
		w.metadata(func(s *Side, m *wire.MetadataRequest) {
			m.Topics, m.AllowAutoTopicCreation = named("__cluster_metadata"), false
		})
	},
	func(w *world) { // ids that nobody has, or that the version must not carry
		t := w.topic()
		w.add(Step{What: "metadata by a strange id", Key: wire.KeyMetadata, Version: max(10, w.at(wire.KeyMetadata)), Make: func(s *Side) wire.Message {
			m := wire.NewMetadataRequest()
			m.Topics = []wire.MetadataRequestTopics{{TopicID: kafka.UUID{9, 9}, Name: nil}}
			if w.seq.Seed%2 == 0 {
				m.Topics[0] = wire.MetadataRequestTopics{TopicID: s.TopicIDs[t.name], Name: &t.name}
			}
			return m
		}})
	},
}

// createTopics sends one request that may create several topics. Those that both sides create are swept at the end.
func (w *world) createTopics(validateOnly bool, topics ...wire.CreateTopicsRequestTopics) {
	for _, t := range topics {
		if kafka.CheckTopicName(t.Name) == nil && !strings.HasPrefix(t.Name, "__") {
			w.maybe(t.Name)
		}
	}
	w.add(Step{What: "create topics", Key: wire.KeyCreateTopics, Version: w.at(wire.KeyCreateTopics), Conn: w.on(wire.KeyCreateTopics), Make: func(s *Side) wire.Message {
		r := wire.NewCreateTopicsRequest()
		r.TimeoutMs, r.ValidateOnly, r.Topics = 15000, validateOnly, topics
		return r
	}})
	for _, t := range topics {
		w.add(Step{What: "learn the id of " + t.Name, Settle: learn(t.Name)})
	}
}

// maybe notes a topic that may come to exist, so that it is swept away. It is not used for records.
func (w *world) maybe(name string) {
	for _, known := range w.seq.Topics {
		if known == name {
			return
		}
	}
	w.seq.Topics = append(w.seq.Topics, name)
}

// learn notes the id of a topic if it has one.
func learn(name string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		m := wire.NewMetadataRequest()
		m.AllowAutoTopicCreation = false
		m.Topics = []wire.MetadataRequestTopics{{Name: &name}}
		reply, err := s.call(m, wire.KeyMetadata, 12)
		if err != nil {
			return false, err
		}
		if topic := reply.(*wire.MetadataResponse).Topics[0]; topic.ErrorCode == kafka.None {
			s.TopicIDs[name] = topic.TopicID
		}
		return true, nil
	}
}

func spec(name string, partitions int32, replication int16) wire.CreateTopicsRequestTopics {
	return wire.CreateTopicsRequestTopics{Name: name, NumPartitions: partitions, ReplicationFactor: replication}
}

func withConfig(t wire.CreateTopicsRequestTopics, kv ...string) wire.CreateTopicsRequestTopics {
	for i := 0; i < len(kv); i += 2 {
		c := wire.CreateTopicsRequestConfigs{Name: kv[i], Value: &kv[i+1]}
		t.Configs = append(t.Configs, c)
	}
	return t
}

func assigned(t wire.CreateTopicsRequestTopics, partitions ...[]int32) wire.CreateTopicsRequestTopics {
	for i, brokers := range partitions {
		t.Assignments = append(t.Assignments, wire.CreateTopicsRequestAssignments{PartitionIndex: int32(i), BrokerIDs: brokers})
	}
	return t
}

var createTopicsValid = []move{
	func(w *world) { w.createTopics(false, spec(w.name(), int32(1+w.IntN(4)), 1)) },
	func(w *world) { w.createTopics(true, spec(w.name(), 3, 1)) },
	func(w *world) { w.createTopics(false, spec(w.name(), 1, 1), spec(w.name(), 2, 1)) },
	func(w *world) { w.createTopics(false, spec(w.name(), -1, -1)) },
	func(w *world) { w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{1}, []int32{1})) },
	func(w *world) {
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "retention.ms", "12345678", "segment.bytes", "2097152"))
	},
	func(w *world) {
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "cleanup.policy", "compact,delete", "min.insync.replicas", "1", "compression.type", "zstd"))
	},
	func(w *world) { w.createTopics(true, withConfig(spec(w.name(), 1, 1), "cleanup.policy", "")) },
	func(w *world) { w.createTopics(false) },
	func(w *world) { // every setting, and how the answer shows it
		for _, kv := range w.goodTopicConfigs(4) {
			w.createTopics(w.IntN(2) == 0, withConfig(spec(w.name(), 1, 1), kv...))
		}
	},
	func(w *world) { // the same setting twice; a value with spaces
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "retention.ms", "1000", "retention.ms", "2000"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "retention.ms", " 1000 ", "cleanup.policy", " compact , delete "))
	},
	func(w *world) { // again, after it was deleted
		t := w.makeTopic(1, nil)
		w.deleteTopics(false, t.name)
		w.drop(t)
		w.createTopics(false, spec(t.name, 2, -1))
		w.createTopics(false, spec(t.name, 2, -1))
	},
	func(w *world) { w.createTopics(true, assigned(spec(w.name(), -1, -1), []int32{1})) },
	func(w *world) { // out of order
		t := assigned(spec(w.name(), -1, -1), []int32{1}, []int32{1}, []int32{1})
		t.Assignments[0].PartitionIndex, t.Assignments[2].PartitionIndex = 2, 0
		w.createTopics(false, t)
	},
	func(w *world) { // long names, odd ones
		w.createTopics(false, spec(w.name()+strings.Repeat("z", 230), 1, 1), spec(w.name()+"...", 1, 1), spec("-"+w.name(), 1, 1))
	},
}

// goodTopicConfigs are some settings with values that they can have.
func (w *world) goodTopicConfigs(n int) [][]string {
	good := [][]string{
		{"cleanup.policy", "compact"}, {"cleanup.policy", "delete"}, {"cleanup.policy", "delete,compact"}, {"compression.type", "gzip", "compression.gzip.level", "9"},
		{"compression.type", "zstd", "compression.zstd.level", "-131072"}, {"compression.lz4.level", "17"}, {"delete.retention.ms", "0"}, {"file.delete.delay.ms", "1"},
		{"flush.messages", "1"}, {"flush.ms", "0"}, {"index.interval.bytes", "0"}, {"max.message.bytes", "0"}, {"message.timestamp.before.max.ms", "0"},
		{"message.timestamp.after.max.ms", "0"}, {"message.timestamp.type", "LogAppendTime"}, {"min.cleanable.dirty.ratio", "0"}, {"min.cleanable.dirty.ratio", "1"},
		{"min.compaction.lag.ms", "5"}, {"max.compaction.lag.ms", "1"}, {"min.compaction.lag.ms", "7", "max.compaction.lag.ms", "7"}, {"min.insync.replicas", "3"},
		{"preallocate", "true"}, {"retention.bytes", "-1"}, {"retention.bytes", "0"}, {"retention.ms", "-1"}, {"retention.ms", "0"}, {"segment.bytes", "1048576"},
		{"segment.index.bytes", "4"}, {"segment.jitter.ms", "0"}, {"segment.ms", "1"}, {"unclean.leader.election.enable", "true"}, {"unclean.leader.election.enable", "TRUE"},
		{"local.retention.ms", "-2"}, {"local.retention.bytes", "-2"}, {"local.retention.ms", "1000"}, {"local.retention.bytes", "1000"}, {"remote.log.copy.disable", "false"},
		{"remote.log.delete.on.disable", "false"}, {"remote.storage.enable", "false"}, {"leader.replication.throttled.replicas", "*"},
		{"leader.replication.throttled.replicas", "0:1,1:1"}, {"follower.replication.throttled.replicas", "0:1"}, {"max.decompressed.message.bytes", "1000000"},
		{"errors.deadletterqueue.group.enable", "true"}, {"cleanup.policy", "compact", "retention.ms", "9"}, {"retention.ms", "9223372036854775807"}, {"segment.bytes", "2147483647"},
	}
	var some [][]string
	for range n {
		some = append(some, good[w.IntN(len(good))])
	}
	return some
}

var createTopicsBad = []move{
	func(w *world) { w.createTopics(false, spec(w.topic().name, 1, 1)) },
	func(w *world) { w.createTopics(true, spec(w.topic().name, 1, 1)) },
	func(w *world) {
		w.createTopics(false, spec([...]string{"", ".", "..", "a b", "ü", strings.Repeat("y", 250), "a/b", "a,b"}[w.IntN(8)], 1, 1))
	},
	func(w *world) { w.createTopics(false, spec(w.name(), int32(-w.IntN(3))-2, 1)) },
	func(w *world) { w.createTopics(false, spec(w.name(), 0, 1)) },
	func(w *world) { w.createTopics(false, spec(w.name(), 1, [...]int16{0, -2, 2, 3, 32767}[w.IntN(5)])) },
	func(w *world) { name := w.name(); w.createTopics(false, spec(name, 1, 1), spec(name, 2, 1)) },
	func(w *world) { // names that metrics cannot tell apart
		name := w.name()
		w.createTopics(false, spec(name+".x_y", 1, 1))
		w.createTopics(false, spec(name+"_x.y", 1, 1))
	},
	func(w *world) { w.createTopics(false, assigned(spec(w.name(), 1, 1), []int32{1})) },
	func(w *world) { w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{7})) },
	func(w *world) { w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{1, 1})) },
	func(w *world) { w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{})) },
	func(w *world) {
		t := assigned(spec(w.name(), -1, -1), []int32{1}, []int32{1})
		t.Assignments[1].PartitionIndex = int32(w.IntN(2) * 5)
		w.createTopics(false, t)
	},
	func(w *world) { w.createTopics(false, withConfig(spec(w.name(), 1, 1), "no.such.key", "1")) },
	func(w *world) { w.createTopics(false, withConfig(spec(w.name(), 1, 1), badTopicConfigs(w)...)) },
	func(w *world) {
		t := spec(w.name(), 1, 1)
		t.Configs = []wire.CreateTopicsRequestConfigs{{Name: "retention.ms", Value: nil}}
		w.createTopics(false, t)
	},
	func(w *world) { w.createTopics(false, spec("__consumer_offsets_x.y", 0, 1)) },
	func(w *world) { // one good, one bad
		w.createTopics(false, spec(w.name(), 1, 1), spec(w.name(), 1, 5))
	},
	func(w *world) { // far too many partitions
		w.createTopics(w.IntN(2) == 0, spec(w.name(), 10_001, 1))
		w.createTopics(true, spec(w.name(), 6000, 1), spec(w.name(), 6000, 1))
	},
	func(w *world) { w.createTopics(false, spec("__cluster_metadata", 1, 1)) },
	func(w *world) { // several things wrong at once: which one is told
		w.createTopics(false, withConfig(spec("a b", 0, 7), "no.such.key", "1"))
		w.createTopics(false, withConfig(spec(w.name(), 0, 7), "no.such.key", "1"))
		w.createTopics(false, withConfig(spec(w.topic().name, 1, 1), "no.such.key", "1"))
		w.createTopics(false, withConfig(spec(w.name(), -1, 0), "no.such.key", "1"))
	},
	func(w *world) { // assigned, and wrong besides
		w.createTopics(false, assigned(spec(w.name(), 3, -1), []int32{1}))
		w.createTopics(false, assigned(spec(w.name(), -1, 2), []int32{1}))
		w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{1}, []int32{}))
		w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{1}, []int32{1, 2}))
		w.createTopics(false, assigned(spec(w.name(), -1, -1), []int32{-1}))
	},
	func(w *world) { // settings that do not go together
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "min.compaction.lag.ms", "9", "max.compaction.lag.ms", "8"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "local.retention.ms", "100", "retention.ms", "10"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "local.retention.bytes", "100", "retention.bytes", "10"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "remote.log.copy.disable", "true"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "cleanup.policy", "none,delete"))
		w.createTopics(false, withConfig(spec(w.name(), 1, 1), "cleanup.policy", "delete,delete"))
	},
	func(w *world) { // every setting, wrong
		for range 4 {
			w.createTopics(w.IntN(2) == 0, withConfig(spec(w.name(), 1, 1), badTopicConfigs(w)...))
		}
	},
	func(w *world) { // a name twice, and another that is good
		name := w.name()
		w.createTopics(false, spec(name, 1, 1), spec(w.name(), 1, 1), spec(name, 1, 1))
		w.createTopics(false, spec("a b", 1, 1), spec("a b", 1, 1))
	},
	func(w *world) { // no time: nothing is looked at but whether it stands there twice
		name := w.name()
		for _, topics := range [][]wire.CreateTopicsRequestTopics{{spec(name, 1, 1)}, {spec(name, 1, 1), spec(name, 2, 1)}, {spec("a b", 1, 1)}, {spec(name, 1, 1), spec(w.name(), 1, 1), spec(name, 1, 1)},
			{spec("__cluster_metadata", 1, 1)}, {}} {
			w.createTopics(w.IntN(2) == 0, topics...)
			w.noTime()
		}
	},
}

// noTime gives the request that was added last no time to be done in.
func (w *world) noTime() {
	for i := range w.seq.Steps {
		step := &w.seq.Steps[len(w.seq.Steps)-1-i]
		if step.Make == nil {
			continue
		}
		make, ms := step.Make, int32(-w.IntN(2))
		step.Make = func(s *Side) wire.Message {
			m := make(s)
			switch r := m.(type) {
			case *wire.CreateTopicsRequest:
				r.TimeoutMs = ms
			case *wire.DeleteTopicsRequest:
				r.TimeoutMs = ms
			case *wire.CreatePartitionsRequest:
				r.TimeoutMs = ms
			case *wire.ElectLeadersRequest:
				r.TimeoutMs = ms
			}
			return m
		}
		return
	}
}

// badTopicConfigs is a key with a value that it cannot have.
func badTopicConfigs(w *world) []string {
	bad := [][]string{
		{"retention.ms", "soon"}, {"retention.ms", "-2"}, {"segment.bytes", "1"}, {"segment.bytes", "99999999999"}, {"cleanup.policy", "burn"},
		{"compression.type", "rar"}, {"min.insync.replicas", "0"}, {"max.message.bytes", "-1"}, {"message.timestamp.type", "Never"},
		{"unclean.leader.election.enable", "maybe"}, {"min.cleanable.dirty.ratio", "1.5"}, {"flush.messages", "0"}, {"segment.ms", "0"},
		{"compression.gzip.level", "0"}, {"compression.lz4.level", "18"}, {"compression.zstd.level", "99"}, {"index.interval.bytes", "-1"},
		{"segment.index.bytes", "3"}, {"file.delete.delay.ms", "-1"}, {"delete.retention.ms", "-1"}, {"preallocate", "2"},
		{"message.timestamp.before.max.ms", "-1"}, {"local.retention.ms", "-3"}, {"leader.replication.throttled.replicas", "x"},
		{"retention.bytes", ""}, {"segment.jitter.ms", "-1"}, {"min.compaction.lag.ms", "-1"}, {"max.compaction.lag.ms", "0"},
		{"remote.storage.enable", "true"}, {"local.retention.bytes", "-3"}, {"retention.bytes", "1.5"}, {"flush.ms", " "},
		{"compression.type", ""}, {"compression.type", "GZIP"}, {"compression.gzip.level", "10"}, {"compression.lz4.level", "0"}, {"compression.zstd.level", "-131073"},
		{"cleanup.policy", "compact,"}, {"cleanup.policy", "DELETE"}, {"flush.messages", "-1"}, {"flush.ms", "-1"}, {"index.interval.bytes", "2147483648"},
		{"message.timestamp.after.max.ms", "-1"}, {"message.timestamp.type", ""}, {"min.cleanable.dirty.ratio", "-0.1"}, {"min.cleanable.dirty.ratio", "half"},
		{"min.insync.replicas", "x"}, {"retention.ms", "9223372036854775808"}, {"segment.bytes", "1048575"}, {"segment.index.bytes", "-4"}, {"segment.ms", "-1"},
		{"follower.replication.throttled.replicas", "0:"}, {"leader.replication.throttled.replicas", "1:2,a:b"}, {"remote.storage.enable", "yes"},
		{"remote.log.delete.on.disable", "no"}, {"max.decompressed.message.bytes", "-1"}, {"errors.deadletterqueue.group.enable", "1"}, {"preallocate", ""},
		{"file.delete.delay.ms", ""}, {"delete.retention.ms", "1e3"}, {"max.message.bytes", "0x10"}, {"retention.ms", "+5"}, {"retention.ms", "1_000"},
	}
	return bad[w.IntN(len(bad))]
}

func (w *world) deleteTopics(byID bool, names ...string) {
	w.add(Step{What: "delete topics", Key: wire.KeyDeleteTopics, Version: w.at(wire.KeyDeleteTopics), Conn: w.on(wire.KeyDeleteTopics), Make: func(s *Side) wire.Message {
		r := wire.NewDeleteTopicsRequest()
		r.TopicNames, r.TimeoutMs = names, 15000
		for _, name := range names {
			if byID {
				id, ok := s.TopicIDs[name]
				if !ok {
					id = kafka.UUID{7, 7}
				}
				r.Topics = append(r.Topics, wire.DeleteTopicsRequestTopics{TopicID: id})
			} else {
				r.Topics = append(r.Topics, wire.DeleteTopicsRequestTopics{Name: &name})
			}
		}
		return r
	}})
}

// drop forgets a topic that was deleted.
func (w *world) drop(t *topic) {
	for i, other := range w.topics {
		if other == t {
			w.topics = append(w.topics[:i:i], w.topics[i+1:]...)
		}
	}
	w.add(Step{What: "await the end of " + t.name, Settle: gone(t.name)})
	if len(w.topics) == 0 {
		w.makeTopic(1, nil)
	}
}

var deleteTopicsValid = []move{
	func(w *world) {
		t := w.topic()
		w.deleteTopics(w.IntN(2) == 0 && w.at(wire.KeyDeleteTopics) >= 6, t.name)
		w.drop(t)
	},
	func(w *world) {
		t, u := w.makeTopic(1, nil), w.makeTopic(2, nil)
		w.deleteTopics(false, t.name, u.name)
		w.drop(t)
		w.drop(u)
	},
	func(w *world) { // and what clients see then
		t := w.topic()
		w.deleteTopics(false, t.name)
		w.drop(t)
		w.listOffsets(t, 0, kafka.TimestampLatest, -1)
		w.fetch(t, 0, 0, nil)
	},
	func(w *world) { w.deleteTopics(false) },
	func(w *world) { // with records in it, and created again: the old are gone
		t := w.makeTopic(1, nil)
		w.produce(t, 0, w.batch(2), -1)
		w.deleteTopics(false, t.name)
		w.drop(t)
		asked := t.name
		w.add(Step{What: "create " + t.name + " again", Key: wire.KeyCreateTopics, Version: w.at(wire.KeyCreateTopics), Make: func(s *Side) wire.Message {
			return createTopic(asked, 2, nil)
		}}, Step{What: "await " + t.name, Settle: served(t.name, 2)})
		w.listOffsets(t, 0, kafka.TimestampLatest, -1)
		w.fetch(t, 0, 0, nil)
		w.describeConfigs(nil, resource(kafka.ResourceTopic, t.name, "retention.ms"))
	},
	func(w *world) { // one that is, one that is not
		t := w.makeTopic(1, nil)
		w.deleteTopics(false, t.name, "nowhere")
		w.drop(t)
	},
}

var deleteTopicsBad = []move{
	func(w *world) { w.deleteTopics(false, "nowhere") },
	func(w *world) { w.deleteTopics(true, "nowhere") },
	func(w *world) { w.deleteTopics(false, "not a name!") },
	func(w *world) { w.deleteTopics(false, "") },
	func(w *world) { w.deleteTopics(false, "nowhere", "nowhere") },
	func(w *world) { // a topic twice: it stays
		t := w.makeTopic(1, nil)
		w.deleteTopics(false, t.name, t.name)
		w.listOffsets(t, 0, kafka.TimestampLatest, -1)
	},
	func(w *world) { // a topic by id twice, and by name and id apart
		t := w.makeTopic(1, nil)
		both := w.IntN(2) == 0
		w.add(Step{What: "delete a topic twice", Key: wire.KeyDeleteTopics, Version: 6, Conn: w.on(wire.KeyDeleteTopics), Make: func(s *Side) wire.Message {
			r := wire.NewDeleteTopicsRequest()
			r.TimeoutMs = 15000
			id := wire.DeleteTopicsRequestTopics{TopicID: s.TopicIDs[t.name]}
			r.Topics = []wire.DeleteTopicsRequestTopics{id, id}
			if both {
				r.Topics[1] = wire.DeleteTopicsRequestTopics{Name: &t.name}
			}
			return r
		}})
		w.listOffsets(t, 0, kafka.TimestampLatest, -1)
		if w.seq.Version < 6 {
			w.deleteTopics(false, "nowhere")
		}
	},
	func(w *world) { w.deleteTopics(false, "__cluster_metadata"); w.deleteTopics(false, "a b", "nowhere") },
	func(w *world) { // no time
		t := w.makeTopic(1, nil)
		for _, names := range [][]string{{t.name}, {t.name, t.name}, {t.name, "nowhere"}, {}} {
			for _, byID := range []bool{false, true} {
				if byID && w.at(wire.KeyDeleteTopics) < 6 {
					continue
				}
				w.deleteTopics(byID, names...)
				w.noTime()
			}
		}
		w.listOffsets(t, 0, kafka.TimestampLatest, -1)
	},
	func(w *world) { // a name and an id at once; neither
		t := w.topic()
		both := w.IntN(2) == 0
		w.add(Step{What: "delete a topic that is named oddly", Key: wire.KeyDeleteTopics, Version: 6, Conn: w.on(wire.KeyDeleteTopics), Make: func(s *Side) wire.Message {
			r := wire.NewDeleteTopicsRequest()
			r.TimeoutMs = 15000
			one := wire.DeleteTopicsRequestTopics{}
			if both {
				one = wire.DeleteTopicsRequestTopics{Name: &t.name, TopicID: s.TopicIDs[t.name]}
			}
			r.Topics = []wire.DeleteTopicsRequestTopics{one}
			return r
		}})
		if w.seq.Version < 6 {
			w.deleteTopics(false, "nowhere")
		}
	},
}

func (w *world) createPartitions(validateOnly bool, topics ...wire.CreatePartitionsRequestTopics) {
	w.add(Step{What: "create partitions", Key: wire.KeyCreatePartitions, Version: w.at(wire.KeyCreatePartitions), Conn: w.on(wire.KeyCreatePartitions), Make: func(s *Side) wire.Message {
		r := wire.NewCreatePartitionsRequest()
		r.TimeoutMs, r.ValidateOnly, r.Topics = 15000, validateOnly, topics
		return r
	}})
}

var createPartitionsValid = []move{
	func(w *world) {
		t := w.topic()
		n := len(t.partitions) + 1 + w.IntN(2)
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(n)})
		t.grow(n)
		w.add(Step{What: "await the partitions", Settle: served(t.name, n)})
		w.appendBatch(t)
	},
	func(w *world) {
		t := w.topic()
		w.createPartitions(true, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 2)})
	},
	func(w *world) {
		t := w.topic()
		n := len(t.partitions) + 1
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(n), Assignments: []wire.CreatePartitionsRequestAssignments{{BrokerIDs: []int32{1}}}})
		t.grow(n)
		w.add(Step{What: "await the partition", Settle: served(t.name, n)})
	},
	func(w *world) { // several topics, one of which is not
		t, u := w.makeTopic(1, nil), w.makeTopic(1, nil)
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: 2}, wire.CreatePartitionsRequestTopics{Name: "nowhere", Count: 2}, wire.CreatePartitionsRequestTopics{Name: u.name, Count: 3})
		t.grow(2)
		u.grow(3)
		w.add(Step{What: "await the partitions", Settle: served(t.name, 2)}, Step{What: "await the partitions", Settle: served(u.name, 3)})
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(t.name, u.name) })
	},
	func(w *world) { w.createPartitions(w.IntN(2) == 0) },
}

func (t *topic) grow(n int) {
	for len(t.partitions) < n {
		t.partitions = append(t.partitions, partition{})
	}
}

var createPartitionsBad = []move{
	func(w *world) {
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: "nowhere", Count: 3})
	},
	func(w *world) {
		t := w.topic()
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) - w.IntN(3))})
	},
	func(w *world) {
		w.createPartitions(w.IntN(2) == 0, wire.CreatePartitionsRequestTopics{Name: w.topic().name, Count: -int32(w.IntN(3))})
	},
	func(w *world) {
		t := w.topic()
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: 9}, wire.CreatePartitionsRequestTopics{Name: t.name, Count: 8})
	},
	func(w *world) {
		t := w.topic()
		brokers := [][]int32{{7}, {1, 1}, {}, {1, 2}}[w.IntN(4)]
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 1), Assignments: []wire.CreatePartitionsRequestAssignments{{BrokerIDs: brokers}}})
	},
	func(w *world) {
		t := w.topic()
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 3), Assignments: []wire.CreatePartitionsRequestAssignments{{BrokerIDs: []int32{1}}}})
	},
	func(w *world) { // more assignments than partitions
		t := w.topic()
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 1), Assignments: []wire.CreatePartitionsRequestAssignments{{BrokerIDs: []int32{1}}, {BrokerIDs: []int32{1}}}})
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 1), Assignments: []wire.CreatePartitionsRequestAssignments{}})
	},
	func(w *world) { // far too many
		w.createPartitions(w.IntN(2) == 0, wire.CreatePartitionsRequestTopics{Name: w.topic().name, Count: 20_000})
	},
	func(w *world) { // no time
		one := wire.CreatePartitionsRequestTopics{Name: w.topic().name, Count: 9}
		for _, topics := range [][]wire.CreatePartitionsRequestTopics{{one}, {one, one}, {{Name: "", Count: 3}, one}, {}} {
			w.createPartitions(w.IntN(2) == 0, topics...)
			w.noTime()
		}
	},
	func(w *world) { // names that are none
		w.createPartitions(false, wire.CreatePartitionsRequestTopics{Name: "", Count: 2}, wire.CreatePartitionsRequestTopics{Name: "a b", Count: 2}, wire.CreatePartitionsRequestTopics{Name: "__cluster_metadata", Count: 2})
	},
	func(w *world) { // a name twice, and one that is good
		t := w.topic()
		one := wire.CreatePartitionsRequestTopics{Name: "nowhere", Count: 9}
		w.createPartitions(true, one, wire.CreatePartitionsRequestTopics{Name: t.name, Count: int32(len(t.partitions) + 1)}, one)
	},
}

func (w *world) electLeaders(kind int8, name string, partitions ...int32) {
	w.add(Step{What: "elect leaders", Key: wire.KeyElectLeaders, Version: w.at(wire.KeyElectLeaders), Conn: w.on(wire.KeyElectLeaders), Make: func(s *Side) wire.Message {
		r := wire.NewElectLeadersRequest()
		r.ElectionType = kind
		r.TopicPartitions = []wire.ElectLeadersRequestTopicPartitions{{Topic: name, Partitions: partitions}}
		return r
	}})
}

var electLeadersValid = []move{
	func(w *world) { t := w.topic(); w.electLeaders(0, t.name, t.part(w)) },
	func(w *world) { t := w.topic(); w.electLeaders(1, t.name, t.part(w)) },
	func(w *world) { w.electLeaders(0, w.topic().name) },
}

var electLeadersBad = []move{
	func(w *world) { w.electLeaders(0, "nowhere", 0) },
	func(w *world) { w.electLeaders(0, w.topic().name, 0, 77, -1) },
	func(w *world) { w.electLeaders(int8(2+w.IntN(5)), w.topic().name, 0) },
	func(w *world) { w.electLeaders(-1, "nowhere", 0) },
	func(w *world) { w.electLeaders(1, "a b", 0, 0) },
	func(w *world) { w.electLeaders(int8(w.IntN(2)), w.topic().name, 0, 77); w.noTime() }, // no time
}

func (w *world) unregisterBroker(id int32) {
	w.add(Step{What: "unregister a broker", Key: wire.KeyUnregisterBroker, Version: w.at(wire.KeyUnregisterBroker), Conn: w.on(wire.KeyUnregisterBroker), Make: func(s *Side) wire.Message {
		return &wire.UnregisterBrokerRequest{BrokerID: id}
	}})
}

var unregisterBrokerValid = []move{func(w *world) { w.unregisterBroker(int32(100 + w.IntN(9))) }}

var unregisterBrokerBad = []move{func(w *world) { w.unregisterBroker(-1) }, func(w *world) { w.unregisterBroker(-1 << 31) }}

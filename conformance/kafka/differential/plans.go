package differential

import (
	"bytes"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
)

// move adds one or more steps to a plan.
type move func(w *world)

// book is what the runner knows to do with one API. Every move adds at least one request of the API; the
// valid ones are requests a client may well send, whatever the state makes of them, the bad ones must be refused.
type book struct {
	valid, bad []move
	policy     string // group.consumer.migration.policy, "" for the default
}

// books holds the APIs that run, by key. An API joins on the day that it is served.
var books = map[wire.APIKey]book{
	wire.KeyProduce:                 {valid: produceValid, bad: produceBad},
	wire.KeyFetch:                   {valid: fetchValid, bad: fetchBad},
	wire.KeyListOffsets:             {valid: listOffsetsValid, bad: listOffsetsBad},
	wire.KeyDeleteRecords:           {valid: deleteRecordsValid, bad: deleteRecordsBad},
	wire.KeyOffsetForLeaderEpoch:    {valid: epochsValid, bad: epochsBad},
	wire.KeyInitProducerId:          {valid: initProducerValid, bad: initProducerBad},
	wire.KeyDescribeProducers:       {valid: describeProducersValid, bad: describeProducersBad},
	wire.KeyMetadata:                {valid: metadataValid, bad: metadataBad},
	wire.KeyCreateTopics:            {valid: createTopicsValid, bad: createTopicsBad},
	wire.KeyDeleteTopics:            {valid: deleteTopicsValid, bad: deleteTopicsBad},
	wire.KeyCreatePartitions:        {valid: createPartitionsValid, bad: createPartitionsBad},
	wire.KeyDescribeConfigs:         {valid: describeConfigsValid, bad: describeConfigsBad},
	wire.KeyAlterConfigs:            {valid: alterConfigsValid, bad: alterConfigsBad},
	wire.KeyIncrementalAlterConfigs: {valid: incrementalValid, bad: incrementalBad},
	wire.KeyListConfigResources:     {valid: listConfigResourcesValid, bad: listConfigResourcesBad},
	wire.KeyDescribeLogDirs:         {valid: describeLogDirsValid, bad: describeLogDirsBad},
	wire.KeyDescribeCluster:         {valid: describeClusterValid, bad: describeClusterBad},
	wire.KeyDescribeTopicPartitions: {valid: describeTopicPartitionsValid, bad: describeTopicPartitionsBad},
	wire.KeyApiVersions:             {valid: apiVersionsValid, bad: apiVersionsBad},
	wire.KeyDescribeQuorum:          {valid: describeQuorumValid, bad: describeQuorumBad},
	wire.KeyElectLeaders:            {valid: electLeadersValid, bad: electLeadersBad},
	wire.KeyFindCoordinator:         {valid: groupsValid, bad: groupsBad},
	wire.KeyJoinGroup:               {valid: groupsValid, bad: groupsBad},
	wire.KeySyncGroup:               {valid: groupsValid, bad: groupsBad},
	wire.KeyHeartbeat:               {valid: groupsValid, bad: groupsBad},
	wire.KeyLeaveGroup:              {valid: groupsValid, bad: groupsBad},
	wire.KeyDescribeGroups:          {valid: groupsValid, bad: groupsBad},
	wire.KeyListGroups:              {valid: groupsValid, bad: groupsBad},
	wire.KeyDeleteGroups:            {valid: groupsValid, bad: groupsBad},
	wire.KeyOffsetCommit:            {valid: groupsValid, bad: groupsBad},
	wire.KeyOffsetFetch:             {valid: groupsValid, bad: groupsBad},
	wire.KeyOffsetDelete:            {valid: groupsValid, bad: groupsBad},
	wire.KeyConsumerGroupHeartbeat:  {valid: slices.Concat(consumersValid, migrationsValid), bad: slices.Concat(consumersBad, migrationsBad)},
	wire.KeyConsumerGroupDescribe:   {valid: slices.Concat(consumersValid, migrationsValid), bad: slices.Concat(consumersBad, migrationsBad)},
	wire.KeyUnregisterBroker:        {valid: unregisterBrokerValid, bad: unregisterBrokerBad},
	wire.KeyDescribeAcls:            {valid: describeACLsValid, bad: describeACLsBad},
	wire.KeyCreateAcls:              {valid: createACLsValid, bad: createACLsBad},
	wire.KeyDeleteAcls:              {valid: deleteACLsValid, bad: deleteACLsBad},
}

// keys returns the APIs of books in order.
func keys() []wire.APIKey { return slices.Sorted(maps.Keys(books)) }

// movesEach is how many moves a sequence makes.
const movesEach = 3

// plan makes the sequence of a seed. A bad sequence is bad requests amid valid ones. The moves are dealt in turn, so
// that sequences of consecutive seeds, of which every other one is bad, make them all.
func plan(key wire.APIKey, version int16, bad bool, seed uint64) *Sequence {
	return books[key].plan(key, version, bad, seed)
}

func (b book) plan(key wire.APIKey, version int16, bad bool, seed uint64) *Sequence {
	q := &Sequence{API: key, Version: version, Bad: bad, Seed: seed}
	w := newWorld(seed, q)
	w.policy = b.policy
	moves := b.valid
	if bad {
		moves = b.bad
	}
	w.makeTopic(1+w.IntN(3), w.someConfigs())
	for range 1 + w.IntN(3) {
		w.appendBatch(w.topic())
	}
	for i := range uint64(movesEach) {
		moves[(seed/2*movesEach+i)%uint64(len(moves))](w)
		if bad && w.IntN(5) == 0 {
			w.damaged(key)
		}
		if w.IntN(2) == 0 {
			w.filler()
		}
	}
	w.readBack()
	w.sweepGroups()
	w.sweep()
	w.lengthened(key)
	return q
}

// rounds is how many times the versions of an API are gone through: as often as asked, and until every move was made.
func rounds(key wire.APIKey, asked int) int { return max(asked, books[key].rounds(key)) }

// rounds is after how many times every move was made.
func (b book) rounds(key wire.APIKey) int {
	info, _ := wire.Lookup(key)
	versions := int(info.MaxVersion-info.MinVersion) + 1
	moves := max(len(b.valid), len(b.bad))
	return (moves + versions*movesEach - 1) / (versions * movesEach)
}

// filler is a request of another API, so that states meet.
func (w *world) filler() {
	switch w.IntN(6) {
	case 0, 1, 2:
		w.appendBatch(w.topic())
	case 3:
		listOffsetsValid[w.IntN(len(listOffsetsValid))](w)
	case 4:
		fetchValid[w.IntN(len(fetchValid))](w)
	case 5:
		metadataValid[0](w)
	}
}

// damaged takes a request of the API, cuts off the end of its body and sends that. What is cut off never
// reaches the end of the message; bytes changed in between would differ between the sides (ids), and so would
// what becomes of them.
func (w *world) damaged(key wire.APIKey) {
	// The request comes from a plan of its own, since what it would have changed does not happen.
	scratch := &world{Rand: w.Rand, listener: w.listener, trimmed: maps.Clone(w.trimmed), seq: &Sequence{API: w.seq.API, Version: w.seq.Version, Seed: w.seq.Seed}, topics: slices.Clone(w.topics), producers: w.producers, n: w.n + 1000}
	for i, t := range scratch.topics {
		scratch.topics[i] = &topic{name: t.name, configs: t.configs, partitions: slices.Clone(t.partitions)}
	}
	valid := books[key].valid
	valid[w.IntN(len(valid))](scratch)
	for _, step := range scratch.seq.Steps {
		if step.Key != key || step.Settle != nil || step.Stored != nil || step.Silent || step.Hold || step.Take {
			continue
		}
		cut := 1 + w.IntN(8)
		step.What += ", damaged"
		step.After = nil
		step.Mangle = func(body []byte) []byte { return body[:max(0, len(body)-cut)] }
		w.add(step)
		return
	}
}

// lengthened puts bytes behind the bodies of some requests of the API, which must not change what becomes of them.
func (w *world) lengthened(key wire.APIKey) {
	for i := range w.seq.Steps {
		step := &w.seq.Steps[i]
		if step.Key != key || step.Make == nil || step.Mangle != nil || step.Future > 0 || step.Take || w.IntN(8) > 0 {
			continue
		}
		more := bytes.Repeat([]byte{byte(w.IntN(3))}, 1+w.IntN(4))
		step.What += ", with bytes behind it"
		step.Mangle = func(body []byte) []byte { return append(body, more...) }
	}
}

// sweep deletes the topics of the sequence and waits until they are gone.
func (w *world) sweep() {
	if len(w.topics) == 0 {
		return
	}
	var names []string
	for _, t := range w.topics {
		names = append(names, t.name)
	}
	for _, name := range w.seq.Topics { // created by requests under test, perhaps
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	w.add(Step{What: "compare the files", Stored: (*Runner).compareFiles}, Step{What: "delete the topics", Settle: func(s *Side) (bool, error) {
		r := wire.NewDeleteTopicsRequest()
		r.TopicNames, r.TimeoutMs = names, 15000
		if _, err := s.call(r, wire.KeyDeleteTopics, 4); err != nil {
			return false, err
		}
		for _, name := range names {
			if ok, err := gone(name)(s); !ok || err != nil {
				return false, err
			}
		}
		return true, nil
	}})
}

// readBack fetches every partition of the sequence from its start: what both sides serve must be the same bytes.
func (w *world) readBack() {
	for _, t := range append(w.apart, w.topics...) {
		w.add(Step{What: "read back " + t.name, Key: wire.KeyFetch, Version: 12, Make: func(s *Side) wire.Message {
			f := fetchRequest()
			topic := wire.FetchRequestTopics{Topic: t.name}
			for p := range t.partitions {
				one := wire.NewFetchRequestPartitions()
				one.Partition, one.PartitionMaxBytes, one.FetchOffset = int32(p), 1<<20, t.partitions[p].start
				topic.Partitions = append(topic.Partitions, one)
			}
			f.Topics = []wire.FetchRequestTopics{topic}
			return f
		}})
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func ptr[T any](v T) *T { return &v }

package metadata

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// twin is an image without cleverness: maps of the records that would describe it, changed in place.
type twin struct {
	topics      map[kafka.TopicID]*twinTopic
	brokers     map[int32]wire.RegisterBrokerRecord
	controllers map[int32]wire.RegisterControllerRecord
	configs     map[ConfigResource]map[string]string
	features    map[string]int16
	quotas      map[string]*twinQuota
	acls        map[kafka.UUID]wire.AccessControlEntryRecord
	scram       map[string]wire.UserScramCredentialRecord
	tokens      map[string]wire.DelegationTokenRecord
	producerIDs int64
	zk          int8
}

type twinTopic struct {
	name       string
	partitions map[int32]wire.PartitionRecord
}

type twinQuota struct {
	entity []wire.ClientQuotaRecordEntity
	values map[string]float64
}

func newTwin() *twin {
	return &twin{map[kafka.TopicID]*twinTopic{}, map[int32]wire.RegisterBrokerRecord{}, map[int32]wire.RegisterControllerRecord{}, map[ConfigResource]map[string]string{},
		map[string]int16{}, map[string]*twinQuota{}, map[kafka.UUID]wire.AccessControlEntryRecord{}, map[string]wire.UserScramCredentialRecord{}, map[string]wire.DelegationTokenRecord{}, 0, 0}
}

func (w *twin) topic(name string) (kafka.TopicID, *twinTopic) {
	for id, t := range w.topics {
		if t.name == name {
			return id, t
		}
	}
	return kafka.TopicID{}, nil
}

// replay is the meaning of each record as Kafka documents it.
func (w *twin) replay(m wire.Message) {
	switch m := m.(type) {
	case *wire.TopicRecord:
		w.topics[m.TopicID] = &twinTopic{m.Name, map[int32]wire.PartitionRecord{}}
	case *wire.RemoveTopicRecord:
		delete(w.configs, ConfigResource{kafka.ResourceTopic, w.topics[m.TopicID].name})
		delete(w.topics, m.TopicID)
	case *wire.PartitionRecord:
		p := *m
		if len(p.Directories) == 0 {
			p.Directories = make([]kafka.UUID, len(p.Replicas))
		}
		w.topics[m.TopicID].partitions[m.PartitionID] = p
	case *wire.PartitionChangeRecord:
		p := w.topics[m.TopicID].partitions[m.PartitionID]
		w.topics[m.TopicID].partitions[m.PartitionID] = changed(p, m)
	case *wire.ClearElrRecord:
		for _, t := range w.topics {
			for n, p := range t.partitions {
				if (m.TopicName == "" || m.TopicName == t.name) && len(p.EligibleLeaderReplicas)+len(p.LastKnownElr) > 0 {
					p.EligibleLeaderReplicas, p.LastKnownElr = nil, nil
					p.PartitionEpoch++
					t.partitions[n] = p
				}
			}
		}
	case *wire.RegisterBrokerRecord:
		w.brokers[m.BrokerID] = *m
	case *wire.BrokerRegistrationChangeRecord:
		b := w.brokers[m.BrokerID]
		b.Fenced = b.Fenced && m.Fenced == 0 || m.Fenced == 1
		b.InControlledShutdown = b.InControlledShutdown || m.InControlledShutdown == 1
		if len(m.LogDirs) > 0 {
			b.LogDirs = m.LogDirs
		}
		if m.CordonedLogDirs != nil {
			b.CordonedLogDirs = m.CordonedLogDirs
		}
		w.brokers[m.BrokerID] = b
	case *wire.FenceBrokerRecord:
		b := w.brokers[m.ID]
		b.Fenced = true
		w.brokers[m.ID] = b
	case *wire.UnfenceBrokerRecord:
		b := w.brokers[m.ID]
		b.Fenced = false
		w.brokers[m.ID] = b
	case *wire.UnregisterBrokerRecord:
		delete(w.brokers, m.BrokerID)
	case *wire.RegisterControllerRecord:
		w.controllers[m.ControllerID] = *m
	case *wire.UnregisterControllerRecord:
		delete(w.controllers, m.ControllerID)
	case *wire.ConfigRecord:
		r := ConfigResource{kafka.ResourceType(m.ResourceType), m.ResourceName}
		if w.configs[r] == nil {
			w.configs[r] = map[string]string{}
		}
		if delete(w.configs[r], m.Name); m.Value != nil {
			w.configs[r][m.Name] = *m.Value
		}
		if len(w.configs[r]) == 0 {
			delete(w.configs, r)
		}
	case *wire.FeatureLevelRecord:
		if delete(w.features, m.Name); m.FeatureLevel > 0 {
			w.features[m.Name] = m.FeatureLevel
		}
	case *wire.ClientQuotaRecord:
		entity := slices.SortedFunc(slices.Values(m.Entity), func(a, b wire.ClientQuotaRecordEntity) int { return strings.Compare(a.EntityType, b.EntityType) })
		key := text(entity)
		if w.quotas[key] == nil {
			w.quotas[key] = &twinQuota{entity, map[string]float64{}}
		}
		if delete(w.quotas[key].values, m.Key); !m.Remove {
			w.quotas[key].values[m.Key] = m.Value
		}
		if len(w.quotas[key].values) == 0 {
			delete(w.quotas, key)
		}
	case *wire.AccessControlEntryRecord:
		w.acls[m.ID] = *m
	case *wire.RemoveAccessControlEntryRecord:
		delete(w.acls, m.ID)
	case *wire.UserScramCredentialRecord:
		w.scram[fmt.Sprint(m.Name, "/", m.Mechanism)] = *m
	case *wire.RemoveUserScramCredentialRecord:
		delete(w.scram, fmt.Sprint(m.Name, "/", m.Mechanism))
	case *wire.DelegationTokenRecord:
		w.tokens[m.TokenID] = *m
	case *wire.RemoveDelegationTokenRecord:
		delete(w.tokens, m.TokenID)
	case *wire.ProducerIdsRecord:
		w.producerIDs = m.NextProducerID
	case *wire.ZkMigrationStateRecord:
		w.zk = m.ZkMigrationState
	}
}

// changed is what a PartitionChangeRecord makes of a partition.
func changed(p wire.PartitionRecord, m *wire.PartitionChangeRecord) wire.PartitionRecord {
	before := map[int32]kafka.UUID{}
	for i, id := range p.Replicas {
		before[id] = p.Directories[i]
	}
	p.PartitionEpoch++
	if m.Replicas != nil {
		p.Replicas, p.Directories = m.Replicas, nil
		for _, id := range m.Replicas {
			dir, stays := before[id]
			if !stays {
				dir = kafka.UnassignedDirectory
			}
			p.Directories = append(p.Directories, dir)
		}
	}
	if len(m.Directories) > 0 {
		p.Directories = m.Directories
	}
	if m.Leader != -2 {
		p.Leader = m.Leader
		p.LeaderEpoch++
	}
	if m.LeaderRecoveryState >= 0 {
		p.LeaderRecoveryState = m.LeaderRecoveryState
	}
	for _, c := range []struct{ to, from *[]int32 }{{&p.Isr, &m.Isr}, {&p.RemovingReplicas, &m.RemovingReplicas}, {&p.AddingReplicas, &m.AddingReplicas},
		{&p.EligibleLeaderReplicas, &m.EligibleLeaderReplicas}, {&p.LastKnownElr, &m.LastKnownElr}} {
		if *c.from != nil {
			*c.to = *c.from
		}
	}
	return p
}

// lines returns the twin as the records that describe it, one a line, sorted.
func (w *twin) lines() []string {
	var all []string
	add := func(m wire.Message) { all = append(all, line(m)) }
	for id, t := range w.topics {
		add(&wire.TopicRecord{Name: t.name, TopicID: id})
		for _, p := range t.partitions {
			add(&p)
		}
	}
	for _, b := range w.brokers {
		slices.SortFunc(b.Features, func(x, y wire.RegisterBrokerRecordFeatures) int { return strings.Compare(x.Name, y.Name) })
		add(&b)
	}
	for _, c := range w.controllers {
		slices.SortFunc(c.Features, func(x, y wire.RegisterControllerRecordFeatures) int { return strings.Compare(x.Name, y.Name) })
		add(&c)
	}
	for r, values := range w.configs {
		for name, value := range values {
			add(&wire.ConfigRecord{ResourceType: int8(r.Type), ResourceName: r.Name, Name: name, Value: &value})
		}
	}
	for name, level := range w.features {
		add(&wire.FeatureLevelRecord{Name: name, FeatureLevel: level})
	}
	for _, q := range w.quotas {
		for key, value := range q.values {
			add(&wire.ClientQuotaRecord{Entity: q.entity, Key: key, Value: value})
		}
	}
	for _, a := range w.acls {
		add(&a)
	}
	for _, c := range w.scram {
		add(&c)
	}
	for _, t := range w.tokens {
		add(&t)
	}
	if w.producerIDs != 0 {
		add(&wire.ProducerIdsRecord{BrokerID: -1, BrokerEpoch: -1, NextProducerID: w.producerIDs})
	}
	if w.zk != 0 {
		add(&wire.ZkMigrationStateRecord{ZkMigrationState: w.zk})
	}
	slices.Sort(all)
	return all
}

// lines returns an image in the same form.
func lines(i *Image) []string {
	var all []string
	for r := range SnapshotRecords(i) {
		all = append(all, line(r.Message))
	}
	slices.Sort(all)
	return all
}

func line(m wire.Message) string { return m.Info().Name + " " + text(m) }

// text writes a value so that an empty list and none are the same, as they are in an image.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(b), "null", "[]")
}

// difference returns the first line that only one of two images has; "" when they are the same.
func difference(want, got []string) string {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			return "more than there should be: " + got[i]
		case i >= len(got):
			return "missing: " + want[i]
		case want[i] != got[i]:
			return "want " + want[i] + "\n got " + got[i]
		}
	}
	return ""
}

// author writes records that are true of its twin, of every type there is.
type author struct {
	*twin
	*rand.Rand
	next int64 // for names and ids that were never used
}

func (a *author) id() (id kafka.UUID) {
	a.next++
	binary.BigEndian.PutUint64(id[8:], uint64(a.next)<<8)
	binary.BigEndian.PutUint32(id[:], a.Uint32()) // ids do not come in the order of names
	return id
}

// one returns an element of a map, chosen by the dice alone.
func one[K comparable, V any](a *author, m map[K]V) (key K, ok bool) {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return key, false
	}
	slices.SortFunc(keys, func(x, y K) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
	return keys[a.IntN(len(keys))], true
}

func (a *author) ids(least int) []int32 {
	ids := make([]int32, least+a.IntN(3))
	for i, id := range a.Perm(6)[:len(ids)] {
		ids[i] = int32(id)
	}
	return ids
}

// maybe returns nil for "as it is", else a list that may be empty.
func (a *author) maybe() []int32 {
	if a.IntN(2) == 0 {
		return nil
	}
	return a.ids(0)
}

func (a *author) dirs(n int) []kafka.UUID {
	dirs := make([]kafka.UUID, n)
	for i := range dirs {
		dirs[i] = kafka.UUID{0: 9, 15: byte(a.IntN(4))}
	}
	return dirs
}

func (a *author) optional(s string) *string {
	if a.IntN(3) == 0 {
		return nil
	}
	return &s
}

// record returns a record that is true now, nil when the dice chose one that cannot be.
func (a *author) record() wire.Message {
	switch a.IntN(26) {
	case 0, 1:
		name := fmt.Sprintf("topic-%d", a.IntN(30))
		if _, exists := a.topic(name); exists == nil {
			return &wire.TopicRecord{Name: name, TopicID: a.id()}
		}
	case 2, 3, 4, 5:
		if id, ok := one(a, a.topics); ok {
			replicas := a.ids(1)
			p := &wire.PartitionRecord{PartitionID: int32(a.IntN(5)), TopicID: id, Replicas: replicas, Isr: replicas[:1], Leader: replicas[0], LeaderEpoch: int32(a.IntN(9)),
				PartitionEpoch: int32(a.IntN(9)), Directories: a.dirs(len(replicas)), LeaderRecoveryState: int8(a.IntN(2)), RemovingReplicas: a.maybe(), AddingReplicas: a.maybe(),
				EligibleLeaderReplicas: a.maybe(), LastKnownElr: a.maybe()}
			if a.IntN(4) == 0 {
				p.Directories = nil
			}
			return p
		}
	case 6, 7, 8, 9:
		if id, ok := one(a, a.topics); ok {
			if n, ok := one(a, a.topics[id].partitions); ok {
				m := wire.NewPartitionChangeRecord()
				m.TopicID, m.PartitionID = id, n
				m.Isr, m.RemovingReplicas, m.AddingReplicas, m.EligibleLeaderReplicas, m.LastKnownElr = a.maybe(), a.maybe(), a.maybe(), a.maybe(), a.maybe()
				m.Leader, m.LeaderRecoveryState = int32(a.IntN(8)-2), int8(a.IntN(3)-1)
				size := len(a.topics[id].partitions[n].Replicas)
				if a.IntN(3) == 0 {
					m.Replicas = a.ids(1)
					size = len(m.Replicas)
				}
				if a.IntN(3) == 0 {
					m.Directories = a.dirs(size)
				}
				return m
			}
		}
	case 10:
		if id, ok := one(a, a.topics); ok {
			return &wire.RemoveTopicRecord{TopicID: id}
		}
	case 11:
		if id, ok := one(a, a.topics); ok && a.IntN(3) > 0 {
			return &wire.ClearElrRecord{TopicName: a.topics[id].name}
		}
		return &wire.ClearElrRecord{}
	case 12:
		a.next++
		return &wire.RegisterBrokerRecord{BrokerID: int32(a.IntN(6)), BrokerEpoch: a.next, IncarnationID: a.id(), Rack: a.optional("r"), Fenced: a.IntN(2) == 0, IsMigratingZkBroker: a.IntN(5) == 0,
			InControlledShutdown: a.IntN(4) == 0, LogDirs: a.dirs(2), CordonedLogDirs: a.dirs(a.IntN(2)),
			EndPoints: []wire.RegisterBrokerRecordEndPoints{{Name: "PLAINTEXT", Host: "h", Port: uint16(a.IntN(1 << 16)), SecurityProtocol: int16(a.IntN(4))}},
			Features:  []wire.RegisterBrokerRecordFeatures{{Name: "z", MinSupportedVersion: 1, MaxSupportedVersion: 2}, {Name: "metadata.version", MinSupportedVersion: 7, MaxSupportedVersion: 33}}}
	case 13, 14, 15:
		if id, ok := one(a, a.brokers); ok {
			epoch := a.brokers[id].BrokerEpoch
			switch a.IntN(6) {
			case 0:
				return &wire.UnregisterBrokerRecord{BrokerID: id, BrokerEpoch: epoch}
			case 1:
				return &wire.FenceBrokerRecord{ID: id, Epoch: epoch}
			case 2:
				return &wire.UnfenceBrokerRecord{ID: id, Epoch: epoch}
			}
			return &wire.BrokerRegistrationChangeRecord{BrokerID: id, BrokerEpoch: epoch, Fenced: int8(a.IntN(3) - 1), InControlledShutdown: int8(a.IntN(2)), LogDirs: a.dirs(a.IntN(3)), CordonedLogDirs: a.dirs(a.IntN(2))}
		}
	case 16:
		id := int32(a.IntN(3))
		if _, registered := a.controllers[id]; registered && a.IntN(3) == 0 {
			return &wire.UnregisterControllerRecord{ControllerID: id}
		}
		return &wire.RegisterControllerRecord{ControllerID: id, IncarnationID: a.id(), ZkMigrationReady: a.IntN(2) == 0,
			EndPoints: []wire.RegisterControllerRecordEndPoints{{Name: "CONTROLLER", Host: "h", Port: 9093}},
			Features:  []wire.RegisterControllerRecordFeatures{{Name: "kraft.version", MaxSupportedVersion: 1}}}
	case 17, 18:
		types := []int8{2, 4, 8, 16, 32}
		m := &wire.ConfigRecord{ResourceType: types[a.IntN(len(types))], ResourceName: fmt.Sprintf("topic-%d", a.IntN(30)), Name: fmt.Sprintf("key.%d", a.IntN(4)), Value: a.optional("v" + fmt.Sprint(a.IntN(9)))}
		if a.IntN(4) == 0 {
			m.ResourceName = ""
		}
		return m
	case 19:
		return &wire.FeatureLevelRecord{Name: []string{"group.version", "share.version", MetadataVersionFeature}[a.IntN(3)], FeatureLevel: LatestMetadataVersion * int16(a.IntN(2))}
	case 20:
		entity := []wire.ClientQuotaRecordEntity{{EntityType: "user", EntityName: a.optional("alice")}, {EntityType: "client-id", EntityName: a.optional("c")}}
		return &wire.ClientQuotaRecord{Entity: entity[a.IntN(2):], Key: []string{"producer_byte_rate", "request_percentage"}[a.IntN(2)], Value: float64(a.IntN(100)) / 8, Remove: a.IntN(3) == 0}
	case 21:
		if id, ok := one(a, a.acls); ok && a.IntN(3) == 0 {
			return &wire.RemoveAccessControlEntryRecord{ID: id}
		}
		return &wire.AccessControlEntryRecord{ID: a.id(), ResourceType: 2, ResourceName: "t", PatternType: 3, Principal: "User:alice", Host: "*", Operation: int8(a.IntN(12)), PermissionType: 3}
	case 22:
		if key, ok := one(a, a.scram); ok && a.IntN(3) == 0 {
			return &wire.RemoveUserScramCredentialRecord{Name: a.scram[key].Name, Mechanism: a.scram[key].Mechanism}
		}
		return &wire.UserScramCredentialRecord{Name: fmt.Sprint("user-", a.IntN(4)), Mechanism: int8(1 + a.IntN(2)), Salt: []byte{1, byte(a.IntN(9))}, StoredKey: []byte{2}, ServerKey: []byte{3}, Iterations: 4096}
	case 23:
		if id, ok := one(a, a.tokens); ok && a.IntN(3) == 0 {
			return &wire.RemoveDelegationTokenRecord{TokenID: id}
		}
		return &wire.DelegationTokenRecord{Owner: "User:alice", Requester: "User:bob", Renewers: []string{"User:carol"}, IssueTimestamp: 1, MaxTimestamp: int64(a.IntN(99)), ExpirationTimestamp: 3, TokenID: fmt.Sprint("token-", a.IntN(5))}
	case 24:
		a.next++
		return &wire.ProducerIdsRecord{BrokerID: 1, BrokerEpoch: 2, NextProducerID: a.next * 1000}
	case 25:
		if a.IntN(4) == 0 {
			return &wire.ZkMigrationStateRecord{ZkMigrationState: int8(a.IntN(4))}
		}
		return &wire.NoOpRecord{}
	}
	return nil
}

// frame stores a record as the log does, in the newest version.
func frame(m wire.Message) []byte { return wire.AppendMetadataRecord(nil, m, m.Info().MaxVersion) }

func newAuthor(seed uint64) *author {
	return &author{twin: newTwin(), Rand: rand.New(rand.NewPCG(seed, 7))}
}

// write returns n framed records and has the twin replay each.
func (a *author) write(n int, seen map[int16]int) (values [][]byte) {
	for len(values) < n {
		if m := a.record(); m != nil {
			a.replay(m)
			values = append(values, frame(m))
			seen[m.Info().Type]++
		}
	}
	return values
}

// Whatever happened to a cluster, in whatever batches and however often it was snapshotted in between: the image says what the
// twin says, images that somebody kept are what they were, and publishers could follow.
func TestImageAgainstItsTwin(t *testing.T) {
	seen := map[int16]int{}
	seeds := uint64(30)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		againstTwin(t, seed, seen)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, m := range []wire.Message{&wire.BeginTransactionRecord{}, &wire.EndTransactionRecord{}, &wire.AbortTransactionRecord{}} {
		seen[m.Info().Type]++ // loader_test.go is about them
	}
	for number := range int16(128) {
		var unknown *wire.UnknownRecordError
		if _, _, err := wire.DecodeMetadataRecord([]byte{1, byte(number), 0}); !errors.As(err, &unknown) && seen[number] == 0 {
			t.Errorf("no record of the type %d was ever replayed", number)
		}
	}
}

func againstTwin(t *testing.T, seed uint64, seen map[int16]int) {
	a := newAuthor(seed)
	follower := &follower{t: t}
	loader := NewLoader(follower.publish)
	type memory struct {
		image *Image
		was   []string
	}
	var kept []memory
	offset := int64(0)
	for range 60 {
		batch := a.write(1+a.IntN(12), seen)
		if err := loader.Apply(offset, 3, offset+1000, batch); err != nil {
			t.Fatal(err)
		}
		offset += int64(len(batch))
		image := loader.Image()
		if image.Offset() != offset-1 || image.Epoch() != 3 || image.TimestampMs() != offset-int64(len(batch))+1000 {
			t.Fatalf("the image is that of offset %d, epoch %d, time %d", image.Offset(), image.Epoch(), image.TimestampMs())
		}
		want := a.lines()
		if d := difference(want, lines(image)); d != "" {
			t.Fatalf("after offset %d: %s", offset-1, d)
		}
		checkLookups(t, image)
		if a.IntN(4) == 0 {
			kept = append(kept, memory{image, want})
		}
		if a.IntN(3) == 0 {
			loader.Publish()
		}
		if a.IntN(10) == 0 { // a node that starts from a snapshot is where this one is
			last, records := loader.Snapshot()
			var copies [][]byte
			for r := range records {
				copies = append(copies, slices.Clone(r))
			}
			restored := loader
			if a.IntN(2) == 0 {
				restored = NewLoader()
			}
			if err := restored.Restore(last+1, 3, image.TimestampMs(), func(yield func([]byte, error) bool) {
				for _, r := range copies {
					if !yield(r, nil) {
						return
					}
				}
			}); err != nil {
				t.Fatal(err)
			}
			if d := difference(want, lines(restored.Image())); d != "" {
				t.Fatalf("from a snapshot at offset %d: %s", last, d)
			}
		}
	}
	loader.Publish()
	if follower.image != loader.Image() {
		t.Error("the publishers have not seen the last image")
	}
	for _, m := range kept {
		if d := difference(m.was, lines(m.image)); d != "" {
			t.Errorf("the image of offset %d has changed since: %s", m.image.Offset(), d)
		}
	}
}

// follower is a publisher that knows the state from deltas alone.
type follower struct {
	t     *testing.T
	image *Image
}

func (f *follower) publish(image *Image, d *Delta) {
	if f.image == nil {
		f.image = Empty()
	} else if d.Base() != f.image {
		f.t.Error("a delta begins with an image that was not published")
	}
	if d.Image() != image {
		f.t.Error("a delta ends with another image")
	}
	// The changed topics are those that differ, each once, the removal of a name before its creation.
	told := map[kafka.TopicID]bool{}
	last := ""
	for before, after := range d.ChangedTopics() {
		t := after
		if t == nil {
			t = before
		}
		if told[t.ID] || t.Name < last {
			f.t.Errorf("topic %s is told of twice or out of order", t.Name)
		}
		told[t.ID], last = true, t.Name
		if before != f.image.TopicByID(t.ID) || after != image.TopicByID(t.ID) {
			f.t.Errorf("topic %s: old and new are not those of the images", t.Name)
		}
	}
	for _, i := range []*Image{f.image, image} {
		for t := range i.Topics() {
			if f.image.TopicByID(t.ID) != image.TopicByID(t.ID) && !told[t.ID] {
				f.t.Errorf("nobody tells that topic %s changed", t.Name)
			}
		}
	}
	brokers := map[int32]bool{}
	for before, after := range d.ChangedBrokers() {
		b := after
		if b == nil {
			b = before
		}
		brokers[b.ID] = true
	}
	for id := range int32(6) {
		if f.image.Broker(id) != image.Broker(id) && !brokers[id] {
			f.t.Errorf("nobody tells that broker %d changed", id)
		}
	}
	configs := slices.Collect(d.ChangedConfigs())
	for _, i := range []*Image{f.image, image} {
		for e := range i.configs.all() {
			if text(f.image.Config(e.key.Type, e.key.Name)) != text(image.Config(e.key.Type, e.key.Name)) && !slices.Contains(configs, e.key) {
				f.t.Errorf("nobody tells that the configs of %v changed", e.key)
			}
		}
	}
	for what, c := range map[string]struct{ said, before, after any }{
		"features": {d.FeaturesChanged(), f.image.features, image.features},
		"quotas":   {d.QuotasChanged(), slices.Collect(f.image.Quotas()), slices.Collect(image.Quotas())},
		"ACLs":     {d.ACLsChanged(), slices.Collect(f.image.ACLs()), slices.Collect(image.ACLs())},
		"SCRAM":    {d.ScramChanged(), slices.Collect(f.image.ScramCredentials()), slices.Collect(image.ScramCredentials())},
		"tokens":   {d.TokensChanged(), slices.Collect(f.image.DelegationTokens()), slices.Collect(image.DelegationTokens())},
	} {
		if text(c.before) != text(c.after) && c.said != true {
			f.t.Errorf("nobody tells that the %s changed", what)
		}
	}
	f.image = image
}

// checkLookups holds every way to look a thing up against the others.
func checkLookups(t *testing.T, i *Image) {
	t.Helper()
	topics, partitions := 0, 0
	for topic := range i.Topics() {
		topics++
		partitions += len(topic.Partitions)
		if i.Topic(topic.Name) != topic || i.TopicByID(topic.ID) != topic {
			t.Errorf("topic %s is found under its name or its id alone", topic.Name)
		}
		for n, p := range topic.Partitions {
			if p == nil || i.Partition(topic.ID, int32(n)) != p || len(p.Directories) != len(p.Replicas) {
				t.Errorf("%s-%d is not found, or has no directories", topic.Name, n)
			}
		}
		for from := range i.TopicsFrom(topic.Name) {
			if from != topic {
				t.Errorf("the topics from %s on begin with %s", topic.Name, from.Name)
			}
			break
		}
	}
	if i.NumTopics() != topics || i.NumPartitions() != partitions {
		t.Errorf("%d topics and %d partitions are counted as %d and %d", topics, partitions, i.NumTopics(), i.NumPartitions())
	}
	brokers := 0
	for b := range i.Brokers() {
		if brokers++; i.Broker(b.ID) != b {
			t.Errorf("broker %d is not found", b.ID)
		}
	}
	if i.NumBrokers() != brokers {
		t.Errorf("%d brokers are counted as %d", brokers, i.NumBrokers())
	}
	for e := range i.configs.all() {
		if !slices.Contains(slices.Collect(i.ConfigResources(e.key.Type)), e.key.Name) || len(i.Config(e.key.Type, e.key.Name)) == 0 {
			t.Errorf("the configs of %v are not found", e.key)
		}
	}
	for q := range i.Quotas() {
		if i.Quota(q.Entity) != q {
			t.Errorf("the quota of %s is not found", text(q.Entity))
		}
	}
	for a := range i.ACLs() {
		if i.ACL(a.ID) != a {
			t.Errorf("ACL %s is not found", a.ID)
		}
	}
	for c := range i.ScramCredentials() {
		if i.ScramCredential(c.User, c.Mechanism) != c {
			t.Errorf("the credential of %s is not found", c.User)
		}
	}
	for token := range i.DelegationTokens() {
		if i.DelegationToken(token.ID) != token {
			t.Errorf("token %s is not found", token.ID)
		}
	}
}

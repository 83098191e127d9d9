package metadata

import (
	"iter"
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Versioned is a record and the version to write it in.
type Versioned struct {
	Message wire.Message
	Version int16
}

// SnapshotRecords returns records that, replayed over the empty image, give this one (but for offset, epoch and
// timestamp): features first, since they say how to read on, then brokers, controllers, topics, configs, quotas,
// producer ids, ACLs, credentials and tokens, as Kafka orders them. Their versions are those of the image's
// metadata.version.
//
// A record is valid until the next one: those of partitions share one value.
func SnapshotRecords(i *Image) iter.Seq[Versioned] {
	return func(yield func(Versioned) bool) {
		level := i.MetadataVersion()
		emit := func(m wire.Message) bool { return yield(Versioned{m, RecordVersion(m, level)}) }
		_ = i.emitFeatures(emit) && i.emitNodes(emit) && i.emitTopics(emit) && i.emitConfigs(emit) && i.emitQuotas(emit) &&
			i.emitProducerIDs(emit) && i.emitSecurity(emit)
	}
}

func (i *Image) emitFeatures(emit func(wire.Message) bool) bool {
	if level := i.MetadataVersion(); level != 0 && !emit(&wire.FeatureLevelRecord{Name: MetadataVersionFeature, FeatureLevel: level}) {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(i.features)) {
		if name != MetadataVersionFeature && !emit(&wire.FeatureLevelRecord{Name: name, FeatureLevel: i.features[name]}) {
			return false
		}
	}
	return i.zkMigrationState == 0 || emit(&wire.ZkMigrationStateRecord{ZkMigrationState: i.zkMigrationState})
}

func (i *Image) emitNodes(emit func(wire.Message) bool) bool {
	for b := range i.Brokers() {
		m := &wire.RegisterBrokerRecord{
			BrokerID: b.ID, IsMigratingZkBroker: b.migratingZk, IncarnationID: b.Incarnation, BrokerEpoch: b.Epoch, Rack: b.Rack,
			Fenced: b.Fenced, InControlledShutdown: b.InControlledShutdown, LogDirs: b.LogDirs, CordonedLogDirs: b.CordonedDirs,
		}
		for _, e := range b.Endpoints {
			m.EndPoints = append(m.EndPoints, wire.RegisterBrokerRecordEndPoints{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.Protocol})
		}
		for _, name := range slices.Sorted(maps.Keys(b.Features)) {
			f := b.Features[name]
			m.Features = append(m.Features, wire.RegisterBrokerRecordFeatures{Name: name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
		}
		if !emit(m) {
			return false
		}
	}
	for c := range i.Controllers() {
		m := &wire.RegisterControllerRecord{ControllerID: c.ID, IncarnationID: c.Incarnation, ZkMigrationReady: c.zkReady}
		for _, e := range c.Endpoints {
			m.EndPoints = append(m.EndPoints, wire.RegisterControllerRecordEndPoints{Name: e.Name, Host: e.Host, Port: e.Port, SecurityProtocol: e.Protocol})
		}
		for _, name := range slices.Sorted(maps.Keys(c.Features)) {
			f := c.Features[name]
			m.Features = append(m.Features, wire.RegisterControllerRecordFeatures{Name: name, MinSupportedVersion: f.Min, MaxSupportedVersion: f.Max})
		}
		if !emit(m) {
			return false
		}
	}
	return true
}

func (i *Image) emitTopics(emit func(wire.Message) bool) bool {
	var m wire.PartitionRecord
	partition := func(id kafka.TopicID, number int32, p *Partition) bool {
		m = wire.PartitionRecord{
			PartitionID: number, TopicID: id, Replicas: p.Replicas, Isr: p.ISR, RemovingReplicas: p.Removing, AddingReplicas: p.Adding,
			Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, Directories: p.Directories,
			LeaderRecoveryState: p.RecoveryState, EligibleLeaderReplicas: p.ELR, LastKnownElr: p.LastKnownELR,
		}
		return emit(&m)
	}
	for t := range i.Topics() {
		if !emit(&wire.TopicRecord{Name: t.Name, TopicID: t.ID}) {
			return false
		}
		for number, p := range t.Partitions {
			if !partition(t.ID, int32(number), p) {
				return false
			}
		}
		for _, number := range slices.Sorted(maps.Keys(t.ahead)) {
			if !partition(t.ID, number, t.ahead[number]) {
				return false
			}
		}
	}
	return true
}

func (i *Image) emitConfigs(emit func(wire.Message) bool) bool {
	for e := range i.configs.all() {
		for _, name := range slices.Sorted(maps.Keys(e.value)) {
			value := e.value[name]
			if !emit(&wire.ConfigRecord{ResourceType: int8(e.key.Type), ResourceName: e.key.Name, Name: name, Value: &value}) {
				return false
			}
		}
	}
	return true
}

func (i *Image) emitQuotas(emit func(wire.Message) bool) bool {
	for q := range i.Quotas() {
		entity := make([]wire.ClientQuotaRecordEntity, len(q.Entity))
		for n, part := range q.Entity {
			entity[n] = wire.ClientQuotaRecordEntity{EntityType: part.Type, EntityName: part.Name}
		}
		for _, key := range slices.Sorted(maps.Keys(q.Values)) {
			if !emit(&wire.ClientQuotaRecord{Entity: entity, Key: key, Value: q.Values[key]}) {
				return false
			}
		}
	}
	return true
}

func (i *Image) emitProducerIDs(emit func(wire.Message) bool) bool {
	return i.nextProducerID == 0 || emit(&wire.ProducerIdsRecord{BrokerID: kafka.NoNode, BrokerEpoch: -1, NextProducerID: i.nextProducerID})
}

func (i *Image) emitSecurity(emit func(wire.Message) bool) bool {
	for a := range i.ACLs() {
		if !emit(&wire.AccessControlEntryRecord{ID: a.ID, ResourceType: a.ResourceType, ResourceName: a.ResourceName, PatternType: a.PatternType,
			Principal: a.Principal, Host: a.Host, Operation: a.Operation, PermissionType: a.Permission}) {
			return false
		}
	}
	for c := range i.ScramCredentials() {
		if !emit(&wire.UserScramCredentialRecord{Name: c.User, Mechanism: c.Mechanism, Salt: c.Salt, StoredKey: c.StoredKey, ServerKey: c.ServerKey, Iterations: c.Iterations}) {
			return false
		}
	}
	for t := range i.DelegationTokens() {
		if !emit(&wire.DelegationTokenRecord{Owner: t.Owner, Requester: t.Requester, Renewers: t.Renewers, IssueTimestamp: t.IssueTimestamp,
			MaxTimestamp: t.MaxTimestamp, ExpirationTimestamp: t.ExpirationTimestamp, TokenID: t.ID}) {
			return false
		}
	}
	return true
}

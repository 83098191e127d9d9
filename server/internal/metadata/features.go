package metadata

import (
	"maps"
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
)

// Names of the features that the house asks about by name.
const (
	MetadataVersionFeature        = "metadata.version"
	KRaftVersionFeature           = "kraft.version"
	TransactionVersionFeature     = "transaction.version"
	GroupVersionFeature           = "group.version"
	ShareVersionFeature           = "share.version"
	StreamsVersionFeature         = "streams.version"
	EligibleLeaderReplicasFeature = "eligible.leader.replicas.version"
)

// Levels of metadata.version at which something in the metadata log changed.
const (
	MinMetadataVersion    int16 = 7  // 3.3-IV3, the first that Kafka 4 can open
	zkMigrationVersion    int16 = 8  // 3.4-IV0: RegisterBrokerRecord 2
	directoriesVersion    int16 = 17 // 3.7-IV2: replicas and brokers have directories (KIP-858)
	elrVersion            int16 = 23 // 4.0-IV1: eligible leader replicas (KIP-966)
	cordonedVersion       int16 = 30 // 4.3-IV0: cordoned directories (KIP-1066)
	LatestMetadataVersion int16 = 33 // 4.4-IV2
)

// feature is a feature of Apache Kafka 4.4.
type feature struct {
	name string
	// kafka are the levels that Kafka 4.4 has. Their records are understood here, whatever is served.
	kafka FeatureRange
	// served is the highest level that this build keeps what it promises of. 0 is a feature whose owner does not exist
	// yet: clients are not told of it, and a new cluster begins without it.
	served int16
}

var features = []feature{
	{MetadataVersionFeature, FeatureRange{MinMetadataVersion, LatestMetadataVersion}, LatestMetadataVersion},
	{KRaftVersionFeature, FeatureRange{0, 1}, 1},
	{EligibleLeaderReplicasFeature, FeatureRange{0, 1}, 1},
	{GroupVersionFeature, FeatureRange{0, 1}, 1},
	{TransactionVersionFeature, FeatureRange{0, 2}, 0}, // 2 with the coordinator of transactions (KIP-890)
	{ShareVersionFeature, FeatureRange{0, 2}, 0},       // 2 with the coordinator of share groups (KIP-932)
	{StreamsVersionFeature, FeatureRange{0, 1}, 0},     // 1 with streams groups (KIP-1071)
}

// KafkaFeatures are the levels whose metadata this build can live with. A broker registers them: a cluster that comes
// from Apache Kafka may have finalized any of them.
func KafkaFeatures() map[string]FeatureRange {
	ranges := make(map[string]FeatureRange, len(features))
	for _, f := range features {
		ranges[f.name] = f.kafka
	}
	return ranges
}

// ServedFeatures are the levels that this build keeps what they promise of: what clients are told, and what a cluster
// may be upgraded to.
func ServedFeatures() map[string]FeatureRange {
	ranges := make(map[string]FeatureRange, len(features))
	for _, f := range features {
		if f.served > 0 {
			ranges[f.name] = FeatureRange{f.kafka.Min, f.served}
		}
	}
	return ranges
}

// InitialFeatures are the levels that a new cluster begins with, as records: metadata.version first, then the others by
// name. The level of kraft.version is not among them; the quorum keeps it beside its voters.
func InitialFeatures() []*wire.FeatureLevelRecord {
	served := ServedFeatures()
	records := []*wire.FeatureLevelRecord{{Name: MetadataVersionFeature, FeatureLevel: served[MetadataVersionFeature].Max}}
	for _, name := range slices.Sorted(maps.Keys(served)) {
		if name != MetadataVersionFeature && name != KRaftVersionFeature {
			records = append(records, &wire.FeatureLevelRecord{Name: name, FeatureLevel: served[name].Max})
		}
	}
	return records
}

func (d *Delta) replayFeature(m *wire.FeatureLevelRecord) error {
	if m.FeatureLevel < 0 {
		return refuse(m, "feature %s at level %d", m.Name, m.FeatureLevel)
	}
	if m.Name == MetadataVersionFeature && m.FeatureLevel > LatestMetadataVersion {
		return refuse(m, "metadata.version %d is newer than %d, the newest that this version can read", m.FeatureLevel, LatestMetadataVersion)
	}
	if !d.own.features {
		d.own.features = true
		d.next.features = maps.Clone(d.next.features)
	}
	if m.FeatureLevel == 0 {
		delete(d.next.features, m.Name)
	} else {
		d.next.features[m.Name] = m.FeatureLevel
	}
	touch(&d.sets.features, m.Name)
	return nil
}

// RecordVersion returns the version in which a record is written at a metadata.version: the newest that every node
// which knows that metadata.version can read. 0 stands for a cluster whose metadata.version is not known; it is
// written for the latest, which loses nothing.
func RecordVersion(m wire.Message, metadataVersion int16) int16 {
	if metadataVersion == 0 {
		metadataVersion = LatestMetadataVersion
	}
	since := func(levels ...int16) (version int16) {
		for _, level := range levels {
			if metadataVersion >= level {
				version++
			}
		}
		return version
	}
	switch m.(type) {
	case *wire.RegisterBrokerRecord:
		return since(MinMetadataVersion, zkMigrationVersion, directoriesVersion, cordonedVersion)
	case *wire.BrokerRegistrationChangeRecord:
		return since(MinMetadataVersion, directoriesVersion, cordonedVersion)
	case *wire.PartitionRecord, *wire.PartitionChangeRecord:
		return since(directoriesVersion, elrVersion)
	}
	return 0
}

package metadata

import (
	"maps"

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

package controller

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// record is a metadata record and the version it is written in.
type record struct {
	message wire.Message
	version int16
}

// change is what a decider decided: records to write, and what to answer once they are committed.
type change struct {
	records  []record
	response wire.Message
	// touch is run when the change was accepted by the quorum: effects on liveness, which is no metadata.
	touch func()
}

// respond is a change that writes nothing.
func respond(response wire.Message) (change, error) { return change{response: response}, nil }

// Levels of metadata.version at which a record got a new version (reference: MetadataVersion of Kafka 4.4).
const (
	versionControlledShutdown = 7  // 3.3-IV3: broker records with inControlledShutdown
	versionMigration          = 8  // 3.4-IV0
	versionDirectories        = 17 // 3.7-IV2: directories of replicas (KIP-858)
	versionELR                = 23 // 4.0-IV1: eligible leader replicas (KIP-966)
	versionCordoned           = 30 // 4.3-IV0: cordoned directories (KIP-1066)
)

func (v *view) partitionVersion() int16 {
	switch mv := v.image.MetadataVersion(); {
	case mv >= versionELR:
		return 2
	case mv >= versionDirectories:
		return 1
	}
	return 0
}

func (v *view) registerVersion() int16 {
	switch mv := v.image.MetadataVersion(); {
	case mv >= versionCordoned:
		return 4
	case mv >= versionDirectories:
		return 3
	case mv >= versionMigration:
		return 2
	}
	return 1
}

func (v *view) registrationChangeVersion() int16 {
	switch mv := v.image.MetadataVersion(); {
	case mv >= versionCordoned:
		return 3
	case mv >= versionDirectories:
		return 2
	}
	return 1
}

// elr reports whether eligible leader replicas are kept (KIP-966).
func (v *view) elr() bool { return v.image.Feature(featureELR) > 0 }

// configRecord sets a config, or deletes it when the value is nil.
func configRecord(t kafka.ResourceType, resource, key string, value *string) record {
	return record{&wire.ConfigRecord{ResourceType: int8(t), ResourceName: resource, Name: key, Value: value}, 0}
}

package controller

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// The features that decisions depend on.
const (
	featureMetadata = metadata.MetadataVersionFeature
	featureKRaft    = metadata.KRaftVersionFeature
	featureELR      = metadata.EligibleLeaderReplicasFeature
)

// metadataChanges are the levels of metadata.version that brought new records or fields: a downgrade below one
// of them would lose what they say.
var metadataChanges = []int16{8, 11, 13, 14, 15, 16, 17, 18, 23, 30, 31, 32, 33}

// Types of an update of a feature (KIP-778).
const (
	upgrade         int8 = 1
	safeDowngrade   int8 = 2
	unsafeDowngrade int8 = 3
)

// updateFeatures decides UpdateFeatures: all updates hold, or none.
func (v *view) updateFeatures(r *wire.UpdateFeaturesRequest, version int16) (change, error) {
	response := &wire.UpdateFeaturesResponse{}
	wanted := make(map[string]int16)
	var order []string
	for _, u := range r.FeatureUpdates {
		kind := u.UpgradeType
		if version == 0 {
			kind = upgrade
			if u.AllowDowngrade {
				kind = safeDowngrade
			}
		}
		if err := v.checkUpdate(u.Feature, u.MaxVersionLevel, kind); err != nil {
			response.ErrorCode = kafka.CodeOf(err)
			message := "no feature was changed: " + err.Error()
			response.ErrorMessage = &message
			return respond(response)
		}
		if _, twice := wanted[u.Feature]; !twice {
			order = append(order, u.Feature)
		}
		wanted[u.Feature] = u.MaxVersionLevel
		if version < 2 {
			none := kafka.None.String()
			response.Results = append(response.Results, wire.UpdateFeaturesResponseResults{Feature: u.Feature, ErrorMessage: &none})
		}
	}
	var records []record
	for _, name := range order {
		level := wanted[name]
		if v.image.Feature(name) == level {
			continue
		}
		records = append(records, record{&wire.FeatureLevelRecord{Name: name, FeatureLevel: level}, 0})
		if name == featureELR {
			if level > 0 {
				after := *v
				after.image = v.imageWith(records)
				records = append(records, after.minISRForELR()...)
			} else {
				records = append(records, record{&wire.ClearElrRecord{}, 0})
			}
		}
	}
	if r.ValidateOnly {
		records = nil
	}
	return change{records: records, response: response}, nil
}

func (v *view) imageWith(records []record) *metadata.Image {
	delta := metadata.NewDelta(v.image)
	for _, r := range records {
		if err := delta.Replay(r.message); err != nil {
			panic("controller: " + err.Error())
		}
	}
	return delta.Apply(v.nextOffset, v.image.Epoch(), v.image.TimestampMs())
}

func (v *view) checkUpdate(name string, level int16, kind int8) error {
	invalid := func(format string, args ...any) error {
		return kafka.InvalidUpdateVersion.Errorf("%s cannot become %d: "+format, append([]any{name, level}, args...)...)
	}
	current := v.image.Feature(name)
	supported, known := v.features[name]
	switch {
	case kind != upgrade && kind != safeDowngrade && kind != unsafeDowngrade:
		return invalid("%d is no type of update", kind)
	case level < 0:
		return invalid("a level is not negative")
	case !known && (level != 0 || current == 0): // one that came from Apache Kafka may be turned off
		return invalid("controller %d does not know this feature", v.nodeID)
	case level != 0 && level < supported.Min || level > supported.Max || level == 0 && name == featureMetadata:
		return invalid("controller %d supports the levels %d to %d", v.nodeID, supported.Min, supported.Max)
	}
	for b := range v.image.Brokers() {
		if f, ok := b.Features[name]; level != 0 && name != featureKRaft && (!ok || level < f.Min || level > f.Max) {
			return invalid("broker %d does not support this level", b.ID)
		}
	}
	if level < current && kind == upgrade {
		return invalid("that is a downgrade from %d, which must be asked for", current)
	}
	if name == featureELR && level > 0 && v.image.MetadataVersion() < versionELR {
		return invalid("it needs %s %d, and the cluster is at %d", featureMetadata, versionELR, v.image.MetadataVersion())
	}
	if name == featureMetadata && level < current {
		for _, changed := range metadataChanges {
			if changed <= level || changed > current {
				continue
			}
			if kind == unsafeDowngrade {
				return invalid("unsafe downgrades from %d are not supported", current)
			}
			return invalid("the downgrade from %d could lose metadata (level %d brought new records)", current, changed)
		}
	}
	return nil
}

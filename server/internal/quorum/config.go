package quorum

import "github.com/millrace-io/millrace/config"

// BrokerKeys returns the settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "metadata.log.max.record.bytes.between.snapshots", Type: config.Long, Default: config.Value("20971520"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "After how many bytes of metadata records a snapshot is taken."},
		{Name: "metadata.log.max.snapshot.interval.ms", Type: config.Long, Default: config.Value("3600000"), Valid: config.AtLeast(0), Importance: config.High,
			Doc: "After how long a snapshot is taken when there are new metadata records; 0 for never."},
	}
}

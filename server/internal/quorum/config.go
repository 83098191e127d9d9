package quorum

import (
	"time"

	"github.com/millrace-io/millrace/config"
)

// Config says how the metadata log is kept.
type Config struct {
	// SnapshotMaxBytes and SnapshotMaxInterval say when a snapshot is due: after so many bytes of records, or so long
	// after the last one when there are new records. An interval of 0 stands for never.
	SnapshotMaxBytes    int64
	SnapshotMaxInterval time.Duration
	// RetentionBytes bounds log and snapshots together, RetentionTime the age of a snapshot that is not the newest;
	// less than 0 is no bound.
	RetentionBytes int64
	RetentionTime  time.Duration
	// SegmentBytes and SegmentTime say when the log begins a new segment: only whole segments can be deleted.
	SegmentBytes int64
	SegmentTime  time.Duration
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	table := config.NewTable(BrokerKeys()...)
	return ParseConfig(func(key string) int64 {
		value, _ := table.Effective(key)
		n, err := config.ParseInt64(value)
		if err != nil {
			panic("quorum: the default of " + key + ": " + err.Error())
		}
		return n
	})
}

// ParseConfig makes a Config of the numbers that the keys of this room are set to, or have by default.
func ParseConfig(number func(key string) int64) Config {
	millis := func(key string) time.Duration {
		n := number(key)
		if limit := int64(1<<63-1) / int64(time.Millisecond); n > limit {
			n = limit
		}
		return time.Duration(n) * time.Millisecond
	}
	return Config{
		SnapshotMaxBytes: number("metadata.log.max.record.bytes.between.snapshots"), SnapshotMaxInterval: millis("metadata.log.max.snapshot.interval.ms"),
		RetentionBytes: number("metadata.max.retention.bytes"), RetentionTime: millis("metadata.max.retention.ms"),
		SegmentBytes: number("metadata.log.segment.bytes"), SegmentTime: millis("metadata.log.segment.ms"),
	}
}

// BrokerKeys returns the settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "metadata.log.max.record.bytes.between.snapshots", Type: config.Long, Default: config.Value("20971520"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "After how many bytes of metadata records a snapshot is taken."},
		{Name: "metadata.log.max.snapshot.interval.ms", Type: config.Long, Default: config.Value("3600000"), Valid: config.AtLeast(0), Importance: config.High,
			Doc: "After how long a snapshot is taken when there are new metadata records; 0 for never."},
		{Name: "metadata.log.segment.bytes", Type: config.Int, Default: config.Value("1073741824"), Valid: config.AtLeast(8 << 20), Importance: config.High,
			Doc: "The size at which the metadata log begins a new segment. Only whole segments are deleted."},
		{Name: "metadata.log.segment.ms", Type: config.Long, Default: config.Value("604800000"), Importance: config.High,
			Doc: "The age at which the metadata log begins a new segment, even if it is not full."},
		{Name: "metadata.max.retention.bytes", Type: config.Long, Default: config.Value("104857600"), Importance: config.High,
			Doc: "How large the metadata log and its snapshots may grow together before the oldest snapshot is deleted with the log below the next; -1 is no limit."},
		{Name: "metadata.max.retention.ms", Type: config.Long, Default: config.Value("604800000"), Importance: config.High,
			Doc: "How old a snapshot of the metadata may grow, the newest excepted, before it is deleted with the log below the next; -1 is no limit."},
	}
}

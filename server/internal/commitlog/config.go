package commitlog

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/record"
)

// Config is what a topic's configuration says to its logs. It is comparable: logs of equal configuration share one.
type Config struct {
	SegmentBytes       int64
	SegmentMs          int64
	SegmentJitterMs    int64
	SegmentIndexBytes  int
	IndexIntervalBytes int
	Preallocate        bool

	RetentionMs     int64 // -1: no limit
	RetentionBytes  int64 // -1: no limit
	FileDeleteDelay time.Duration

	MaxMessageBytes             int32 // of a batch
	MaxDecompressedMessageBytes int32 // of one record of a compressed batch
	// Recompress is false for compression.type=producer; else batches are stored with Codec at Level.
	Recompress bool
	Codec      record.Codec
	Level      int

	LogAppendTime      bool
	TimestampBeforeMax int64 // ms that a timestamp may lie in the past
	TimestampAfterMax  int64 // ms that it may lie in the future
	FlushMessages      int64 // background flush when so many records are not flushed
	FlushMs            int64 // and after so many milliseconds
	Delete, Compact    bool  // cleanup.policy; both may hold, or neither: keep everything
	MaxCompactionLagMs int64 // shortens SegmentMs when Compact
	MinCompactionLagMs int64
	MinCleanableRatio  float64
	TombstoneRetention int64 // delete.retention.ms
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	c, err := ParseConfig(func(key string) string {
		v, _ := topicTable.Effective(key)
		return v
	})
	if err != nil {
		panic(err)
	}
	return c
}

// topicTable holds the keys and never changes.
var topicTable = config.NewTable(TopicKeys()...)

// ParseConfig makes a Config of the effective values of a topic, which get returns by key; "" stands for a key that
// is null or that get does not know, and means the default. The error names every key whose value is wrong.
func ParseConfig(get func(topicKey string) string) (Config, error) {
	var c Config
	var wrong []error
	value := func(name string) (*config.Key, string, bool) {
		key, ok := topicTable.Lookup(name)
		if !ok {
			panic("commitlog: no such key: " + name)
		}
		text := get(name)
		if text == "" && key.Type != config.List {
			if key.Default == nil {
				return key, "", false
			}
			text = *key.Default
		}
		if err := key.Check(text); err != nil {
			wrong = append(wrong, err)
			return key, "", false
		}
		return key, text, true
	}
	number := func(name string) int64 {
		key, text, ok := value(name)
		if !ok {
			return 0
		}
		n, err := key.Int64(text)
		if err != nil {
			wrong = append(wrong, err)
		}
		return n
	}
	boolean := func(name string) bool {
		key, text, ok := value(name)
		if !ok {
			return false
		}
		b, err := key.Bool(text)
		if err != nil {
			wrong = append(wrong, err)
		}
		return b
	}
	word := func(name string) string {
		key, text, ok := value(name)
		if !ok {
			return ""
		}
		return key.Canonical(text)
	}

	c.SegmentBytes = number("segment.bytes")
	if n := number("internal.segment.bytes"); n > 0 {
		c.SegmentBytes = n
	}
	c.SegmentMs = number("segment.ms")
	c.SegmentJitterMs = number("segment.jitter.ms")
	c.SegmentIndexBytes = int(number("segment.index.bytes"))
	c.IndexIntervalBytes = int(number("index.interval.bytes"))
	c.Preallocate = boolean("preallocate")
	c.RetentionMs = number("retention.ms")
	c.RetentionBytes = number("retention.bytes")
	c.FileDeleteDelay = milliseconds(number("file.delete.delay.ms"))
	c.MaxMessageBytes = int32(number("max.message.bytes"))
	c.MaxDecompressedMessageBytes = int32(number("max.decompressed.message.bytes"))
	if codec := word("compression.type"); codec != "producer" && codec != "" {
		var err error
		if c.Codec, err = record.ParseCodec(codec); err != nil {
			wrong = append(wrong, err)
		}
		c.Recompress = true
		c.Level = record.LevelDefault
		switch c.Codec {
		case record.CodecGzip:
			c.Level = int(number("compression.gzip.level"))
		case record.CodecLz4:
			c.Level = int(number("compression.lz4.level"))
		case record.CodecZstd:
			c.Level = int(number("compression.zstd.level"))
		}
	}
	c.LogAppendTime = word("message.timestamp.type") == "LogAppendTime"
	c.TimestampBeforeMax = number("message.timestamp.before.max.ms")
	c.TimestampAfterMax = number("message.timestamp.after.max.ms")
	c.FlushMessages = number("flush.messages")
	c.FlushMs = number("flush.ms")
	if key, text, ok := value("cleanup.policy"); ok {
		policies := key.List(text)
		c.Delete, c.Compact = slices.Contains(policies, "delete"), slices.Contains(policies, "compact")
	}
	c.MaxCompactionLagMs = number("max.compaction.lag.ms")
	c.MinCompactionLagMs = number("min.compaction.lag.ms")
	c.TombstoneRetention = number("delete.retention.ms")
	if key, text, ok := value("min.cleanable.dirty.ratio"); ok {
		c.MinCleanableRatio, _ = key.Float64(text)
	}
	if c.Compact && len(wrong) == 0 && c.MinCompactionLagMs > c.MaxCompactionLagMs {
		wrong = append(wrong, fmt.Errorf("min.compaction.lag.ms (%d) must not be greater than max.compaction.lag.ms (%d)", c.MinCompactionLagMs, c.MaxCompactionLagMs))
	}
	return c, errors.Join(wrong...)
}

// maxSegmentAge is how long a segment may take records, in ms of event time.
func (c *Config) maxSegmentAge() int64 {
	if c.Compact && c.MaxCompactionLagMs > 0 {
		return min(c.MaxCompactionLagMs, c.SegmentMs)
	}
	return c.SegmentMs
}

func milliseconds(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// compaction is who acts on the keys that only compaction reads.
const compaction = "compaction"

// TopicKeys returns the topic settings that act in a log, and those that compaction will act on.
func TopicKeys() []config.Key {
	syn := func(names ...string) []config.Synonym {
		var s []config.Synonym
		for _, n := range names {
			s = append(s, config.Synonym{Name: n})
		}
		return s
	}
	in := func(name string, factor int64) config.Synonym { return config.Synonym{Name: name, Factor: factor} }
	v := config.Value
	return []config.Key{
		{Name: "cleanup.policy", Type: config.List, Default: v("delete"), Valid: config.ListOf("compact", "delete"), Importance: config.Medium, Synonyms: syn("log.cleanup.policy"),
			Doc: "What happens to old records: delete removes whole segments by age and size, compact keeps the last record of each key, both do both. The empty list keeps everything."},
		{Name: "compression.gzip.level", Type: config.Int, Default: v("-1"), Valid: config.Either(config.Between(1, 9), config.Exactly(-1)), Importance: config.Medium, Synonyms: syn("compression.gzip.level"),
			Doc: "The level for compression.type=gzip; -1 is the codec's default."},
		{Name: "compression.lz4.level", Type: config.Int, Default: v("9"), Valid: config.Between(1, 17), Importance: config.Medium, Synonyms: syn("compression.lz4.level"),
			Doc: "The level for compression.type=lz4."},
		{Name: "compression.type", Type: config.String, Default: v("producer"), Valid: config.In("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"), Importance: config.Medium, Synonyms: syn("compression.type"),
			Doc: "How batches are stored: producer keeps what was sent; any other value costs a decompression and a compression of every batch that comes in another codec."},
		{Name: "compression.zstd.level", Type: config.Int, Default: v("3"), Valid: config.Between(-131072, 22), Importance: config.Medium, Synonyms: syn("compression.zstd.level"),
			Doc: "The level for compression.type=zstd."},
		{Name: "delete.retention.ms", Type: config.Long, Default: v("86400000"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.cleaner.delete.retention.ms"), Owner: compaction,
			Doc: "How long the tombstone of a key stays in a compacted topic, for readers that are behind."},
		{Name: "file.delete.delay.ms", Type: config.Long, Default: v("60000"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.segment.delete.delay.ms"),
			Doc: "How long a file that retention took out of a log stays on the disk."},
		{Name: "flush.messages", Type: config.Long, Default: v("9223372036854775807"), Valid: config.AtLeast(1), Importance: config.Medium, Synonyms: syn("log.flush.interval.messages"),
			Doc: "How many records may be unflushed in the background. It does not weaken durability=disk, which flushes before it acknowledges."},
		{Name: "flush.ms", Type: config.Long, Default: v("9223372036854775807"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
			Doc: "How long records may be unflushed in the background. It does not weaken durability=disk, which flushes before it acknowledges."},
		{Name: "index.interval.bytes", Type: config.Int, Default: v("4096"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.index.interval.bytes"),
			Doc: "How many bytes of a log lie between two entries of its offset index."},
		{Name: "internal.segment.bytes", Type: config.Int, Valid: config.AtLeast(1), Importance: config.Medium, Internal: true,
			Doc: "segment.bytes without its lower bound, for tests."},
		{Name: "max.compaction.lag.ms", Type: config.Long, Default: v("9223372036854775807"), Valid: config.AtLeast(1), Importance: config.Medium, Synonyms: syn("log.cleaner.max.compaction.lag.ms"),
			Doc: "How long a record may stay uncompacted. In a compacted topic it also bounds the age of the active segment."},
		{Name: "max.decompressed.message.bytes", Type: config.Int, Default: v("2147483639"), Valid: config.Between(1, 2147483639), Importance: config.Medium, Synonyms: syn("max.decompressed.message.bytes"),
			Doc: "The largest record of a compressed batch, decompressed."},
		{Name: "max.message.bytes", Type: config.Int, Default: v("1048588"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("message.max.bytes"),
			Doc: "The largest record batch, compressed if it is."},
		{Name: "message.timestamp.after.max.ms", Type: config.Long, Default: v("3600000"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.message.timestamp.after.max.ms"),
			Doc: "How far in the future of the broker's clock a record's timestamp may lie."},
		{Name: "message.timestamp.before.max.ms", Type: config.Long, Default: v("9223372036854775807"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.message.timestamp.before.max.ms"),
			Doc: "How far in the past of the broker's clock a record's timestamp may lie."},
		{Name: "message.timestamp.type", Type: config.String, Default: v("CreateTime"), Valid: config.In("CreateTime", "LogAppendTime"), Importance: config.Medium, Synonyms: syn("log.message.timestamp.type"),
			Doc: "Whose time a record carries: its producer's, or that of its arrival in the log."},
		{Name: "min.cleanable.dirty.ratio", Type: config.Double, Default: v("0.5"), Valid: config.BetweenFloats(0, 1), Importance: config.Medium, Synonyms: syn("log.cleaner.min.cleanable.ratio"), Owner: compaction,
			Doc: "How much of a compacted log must be uncompacted before it is worth compacting."},
		{Name: "min.compaction.lag.ms", Type: config.Long, Default: v("0"), Valid: config.AtLeast(0), Importance: config.Medium, Synonyms: syn("log.cleaner.min.compaction.lag.ms"), Owner: compaction,
			Doc: "How long a record stays uncompacted at least."},
		{Name: "preallocate", Type: config.Bool, Default: v("false"), Importance: config.Medium, Synonyms: syn("log.preallocate"),
			Doc: "Whether the disk blocks of a segment are reserved when it is made."},
		{Name: "retention.bytes", Type: config.Long, Default: v("-1"), Importance: config.Medium, Synonyms: syn("log.retention.bytes"),
			Doc: "How large a partition may grow before its oldest segments are deleted; -1 is no limit."},
		{Name: "retention.ms", Type: config.Long, Default: v("604800000"), Valid: config.AtLeast(-1), Importance: config.Medium,
			Synonyms: []config.Synonym{in("log.retention.ms", 1), in("log.retention.minutes", config.Minutes), in("log.retention.hours", config.Hours)},
			Doc:      "How old the youngest record of a segment may grow before the segment is deleted; -1 is no limit."},
		{Name: "segment.bytes", Type: config.Int, Default: v("1073741824"), Valid: config.AtLeast(1 << 20), Importance: config.Medium, Synonyms: syn("log.segment.bytes"),
			Doc: "The size at which a new segment is begun. Retention removes whole segments."},
		{Name: "segment.index.bytes", Type: config.Int, Default: v("10485760"), Valid: config.AtLeast(4), Importance: config.Medium, Synonyms: syn("log.index.size.max.bytes"),
			Doc: "The size of an index at which a new segment is begun."},
		{Name: "segment.jitter.ms", Type: config.Long, Default: v("0"), Valid: config.AtLeast(0), Importance: config.Medium,
			Synonyms: []config.Synonym{in("log.roll.jitter.ms", 1), in("log.roll.jitter.hours", config.Hours)},
			Doc:      "How much of segment.ms is taken off at random, so that not all partitions begin a segment at once."},
		{Name: "segment.ms", Type: config.Long, Default: v("604800000"), Valid: config.AtLeast(1), Importance: config.Medium,
			Synonyms: []config.Synonym{in("log.roll.ms", 1), in("log.roll.hours", config.Hours)},
			Doc:      "The age at which a new segment is begun, even if it is not full, so that retention can remove the old one."},
	}
}

// BrokerKeys returns the broker settings that give the topic settings of this room their defaults.
func BrokerKeys() []config.Key {
	var keys []config.Key
	high := map[string]bool{
		"compression.type": true, "log.flush.interval.messages": true, "log.flush.interval.ms": true,
		"log.retention.bytes": true, "log.retention.hours": true, "log.retention.minutes": true, "log.retention.ms": true,
		"log.roll.hours": true, "log.roll.jitter.hours": true, "log.roll.jitter.ms": true, "log.roll.ms": true,
		"log.segment.bytes": true, "log.segment.delete.delay.ms": true, "message.max.bytes": true,
	}
	// Of a family, the member in hours holds the default, and only the first can be changed while running.
	own := map[string]struct {
		typ   config.Type
		value *string
		valid config.Validator
	}{
		"log.retention.ms":      {config.Long, nil, nil},
		"log.retention.minutes": {config.Int, nil, nil},
		"log.retention.hours":   {config.Int, config.Value("168"), nil},
		"log.roll.ms":           {config.Long, nil, nil},
		"log.roll.hours":        {config.Int, config.Value("168"), config.AtLeast(1)},
		"log.roll.jitter.ms":    {config.Long, nil, nil},
		"log.roll.jitter.hours": {config.Int, config.Value("0"), config.AtLeast(0)},
		"log.flush.interval.ms": {config.Long, nil, nil},
	}
	for _, topic := range TopicKeys() {
		for i, s := range topic.Synonyms {
			if s.Name == "log.flush.scheduler.interval.ms" {
				continue // it acts in the room of the replicas, which declares it
			}
			key := topic
			key.Name = s.Name
			key.Importance = config.Medium
			if high[s.Name] {
				key.Importance = config.High
			}
			key.Update = config.ClusterWide
			if i > 0 {
				key.Update = config.ReadOnly
			}
			if o, ok := own[s.Name]; ok {
				key.Type, key.Default, key.Valid = o.typ, o.value, o.valid
			}
			key.Synonyms = nil
			if len(topic.Synonyms) > 1 {
				family := []config.Synonym{{Name: s.Name}}
				for j, other := range topic.Synonyms {
					if j > i {
						family = append(family, relative(other, s))
					}
				}
				key.Synonyms = family
			}
			key.Doc = "The default of the topic setting " + topic.Name + ". " + topic.Doc
			keys = append(keys, key)
		}
	}
	return keys
}

// relative expresses the unit of one member of a family in that of another.
func relative(of, to config.Synonym) config.Synonym {
	if to.Factor > 1 && of.Factor > 1 {
		of.Factor /= to.Factor
	}
	return of
}

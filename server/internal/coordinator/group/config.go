package group

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/assign"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Config is what the broker's configuration says to its groups.
type Config struct {
	Classic   classic.Config
	Consumer  consumer.Config
	Migration Migration
	// ConsumerTiming is that of groups that have no settings of their own. Those that have stay between two others.
	ConsumerTiming, ConsumerTimingMin, ConsumerTimingMax consumer.Timing

	OffsetMetadataMaxBytes        int
	OffsetsRetention              time.Duration
	OffsetsRetentionCheckInterval time.Duration
	OffsetsCommitTimeout          time.Duration
	OffsetsCodec                  record.Codec
	// AppendLinger is how long a batch waits for more; negative: while others already wait.
	AppendLinger time.Duration
	// KeptBytes is how large the buffers may be that a partition keeps for its next batch.
	KeptBytes int
	// Loaders is how many partitions are loaded at a time, LoadBufferBytes what is read at a time for each.
	Loaders         int
	LoadBufferBytes int
}

// ParseConfig reads the settings out of the broker's effective values, which get returns by key; what is not set is
// the default.
func ParseConfig(get func(key string) string) (Config, error) {
	table := config.NewTable(BrokerKeys()...)
	var wrong []error
	number := func(key string) int64 {
		text := get(key)
		if text == "" {
			k, _ := table.Lookup(key)
			text = *k.Default
		}
		n, err := config.ParseInt64(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", key, err))
		}
		return n
	}
	scaled := func(key string, unit time.Duration) time.Duration {
		return time.Duration(min(number(key), math.MaxInt64/int64(unit))) * unit
	}
	millis := func(key string) time.Duration { return scaled(key, time.Millisecond) }
	timing := func(which string) consumer.Timing {
		prefix := "group.consumer." + which
		return consumer.Timing{SessionTimeout: millis(prefix + "session.timeout.ms"), HeartbeatInterval: millis(prefix + "heartbeat.interval.ms"), AssignmentInterval: millis(prefix + "assignment.interval.ms")}
	}
	c := Config{
		Classic: classic.Config{
			MinSessionTimeout: millis("group.min.session.timeout.ms"), MaxSessionTimeout: millis("group.max.session.timeout.ms"),
			InitialRebalanceDelay: millis("group.initial.rebalance.delay.ms"), MaxSize: int(number("group.max.size")),
		},
		Consumer:       consumer.Config{MaxSize: int(number("group.consumer.max.size")), RegexRefreshInterval: millis("group.consumer.regex.refresh.interval.ms")},
		ConsumerTiming: timing(""), ConsumerTimingMin: timing("min."), ConsumerTimingMax: timing("max."),
		Migration:              parseMigration(get("group.consumer.migration.policy")),
		OffsetMetadataMaxBytes: int(number("offset.metadata.max.bytes")), OffsetsRetention: scaled("offsets.retention.minutes", time.Minute),
		OffsetsRetentionCheckInterval: millis("offsets.retention.check.interval.ms"), OffsetsCommitTimeout: millis("offsets.commit.timeout.ms"),
		OffsetsCodec: record.Codec(number("offsets.topic.compression.codec")), AppendLinger: millis("group.coordinator.append.linger.ms"),
		KeptBytes: int(number("group.coordinator.cached.buffer.max.bytes")), Loaders: int(number("group.coordinator.background.threads")),
		LoadBufferBytes: int(number("offsets.load.buffer.size")),
	}
	names := get("group.consumer.assignors")
	if names == "" {
		names = defaultAssignors
	}
	for _, name := range config.ParseList(names) {
		if a := assign.All()[name]; a != nil {
			c.Consumer.Assignors = append(c.Consumer.Assignors, a)
		}
	}
	if len(wrong) == 0 {
		wrong = append(wrong, c.checkTiming())
	}
	return c, errors.Join(wrong...)
}

// checkTiming reports whether the brokers' times of consumer groups lie between their bounds.
func (c *Config) checkTiming() error {
	t, low, high := &c.ConsumerTiming, &c.ConsumerTimingMin, &c.ConsumerTimingMax
	for _, k := range []struct {
		name           string
		is, from, upTo time.Duration
	}{
		{"session.timeout.ms", t.SessionTimeout, low.SessionTimeout, high.SessionTimeout},
		{"heartbeat.interval.ms", t.HeartbeatInterval, low.HeartbeatInterval, high.HeartbeatInterval},
		{"assignment.interval.ms", t.AssignmentInterval, low.AssignmentInterval, high.AssignmentInterval},
	} {
		switch {
		case k.from > k.upTo:
			return fmt.Errorf("group.consumer.min.%s is %d, more than group.consumer.max.%s, which is %d", k.name, k.from.Milliseconds(), k.name, k.upTo.Milliseconds())
		case k.is < k.from || k.is > k.upTo:
			return fmt.Errorf("group.consumer.%s is %d; it must be between %d (group.consumer.min.%s) and %d (group.consumer.max.%s)",
				k.name, k.is.Milliseconds(), k.from.Milliseconds(), k.name, k.upTo.Milliseconds(), k.name)
		}
	}
	if t.HeartbeatInterval >= t.SessionTimeout {
		return fmt.Errorf("group.consumer.heartbeat.interval.ms is %d; it must be less than group.consumer.session.timeout.ms, which is %d", t.HeartbeatInterval.Milliseconds(), t.SessionTimeout.Milliseconds())
	}
	return nil
}

// defaultAssignors are all that there are, the default one first.
const defaultAssignors = "uniform,range"

// timing is what the configuration says to one group: the group's own settings, within the bounds that the brokers have
// now, or the broker's.
func (c *Coordinator) timing(id string) consumer.Timing {
	image := c.image.Load()
	low, t, high := &c.o.Config.ConsumerTimingMin, c.o.Config.ConsumerTiming, &c.o.Config.ConsumerTimingMax
	set := func(values map[string]string, key string, to *time.Duration, from, upTo time.Duration) {
		if n, err := config.ParseInt64(values[key]); err == nil {
			*to = min(max(time.Duration(n)*time.Millisecond, from), upTo)
		}
	}
	for values := range c.dynamic(image) {
		set(values, "group.consumer.assignment.interval.ms", &t.AssignmentInterval, low.AssignmentInterval, high.AssignmentInterval)
	}
	own := image.Config(kafka.ResourceGroup, id)
	set(own, "consumer.session.timeout.ms", &t.SessionTimeout, low.SessionTimeout, high.SessionTimeout)
	set(own, "consumer.heartbeat.interval.ms", &t.HeartbeatInterval, low.HeartbeatInterval, high.HeartbeatInterval)
	set(own, "consumer.assignment.interval.ms", &t.AssignmentInterval, low.AssignmentInterval, high.AssignmentInterval)
	return t
}

// dynamic are the settings of this broker that may change while it runs: those of all brokers, and its own, which prevail.
func (c *Coordinator) dynamic(image *metadata.Image) iter.Seq[map[string]string] {
	return func(yield func(map[string]string) bool) {
		_ = yield(image.Config(kafka.ResourceBroker, "")) && yield(image.Config(kafka.ResourceBroker, strconv.Itoa(int(c.o.NodeID))))
	}
}

// keptBytes is group.coordinator.cached.buffer.max.bytes as it is now.
func (c *Coordinator) keptBytes() int {
	kept := c.o.Config.KeptBytes
	for values := range c.dynamic(c.image.Load()) {
		if value, set := values["group.coordinator.cached.buffer.max.bytes"]; set {
			if n, err := config.ParseInt64(value); err == nil {
				kept = int(n)
			}
		}
	}
	return kept
}

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	bound := func(name, value string, least int64) config.Key {
		return config.Key{Name: "group.consumer." + name, Type: config.Int, Default: config.Value(value), Valid: config.AtLeast(least), Importance: config.Medium,
			Doc: "A bound of what consumer groups may be told in place of the brokers' " + name[4:] + "."}
	}
	return []config.Key{
		{Name: "group.min.session.timeout.ms", Type: config.Int, Default: config.Value("6000"), Importance: config.Medium,
			Doc: "The shortest session timeout that a member of a classic group may ask for."},
		{Name: "group.max.session.timeout.ms", Type: config.Int, Default: config.Value("1800000"), Importance: config.Medium,
			Doc: "The longest session timeout that a member of a classic group may ask for."},
		{Name: "group.initial.rebalance.delay.ms", Type: config.Int, Default: config.Value("3000"), Importance: config.Medium,
			Doc: "How long a new classic group waits for more members before its first rebalance ends."},
		{Name: "group.max.size", Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How many members a classic group may have."},
		{Name: "group.consumer.assignors", Type: config.List, Default: config.Value(defaultAssignors), Valid: config.All(config.NonEmpty(), config.ListOf("uniform", "range")), Importance: config.Medium,
			Doc: "The assignors that members of consumer groups may ask for, the default one first."},
		{Name: "group.consumer.max.size", Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How many members a consumer group may have."},
		{Name: "group.consumer.session.timeout.ms", Type: config.Int, Default: config.Value("45000"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "For how long a member of a consumer group may be silent before it is taken for dead."},
		{Name: "group.consumer.heartbeat.interval.ms", Type: config.Int, Default: config.Value("5000"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How often members of a consumer group send heartbeats."},
		{Name: "group.consumer.assignment.interval.ms", Type: config.Int, Default: config.Value("1000"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How long lies at least between two assignments of a consumer group (KIP-1263)."},
		bound("min.session.timeout.ms", "45000", 1), bound("max.session.timeout.ms", "60000", 1),
		bound("min.heartbeat.interval.ms", "5000", 1), bound("max.heartbeat.interval.ms", "15000", 1),
		bound("min.assignment.interval.ms", "0", 0), bound("max.assignment.interval.ms", "15000", 0),
		{Name: "group.consumer.migration.policy", Type: config.String, Default: config.Value(string(bidirectional)), Importance: config.Medium,
			Valid: config.InFold(string(disabled), string(upgradeOnly), string(downgradeOnly), string(bidirectional)),
			Doc:   "Whether a group with members goes from the classic to the consumer protocol when a member joins by that (upgrade), and back when nobody speaks it any more (downgrade): bidirectional, upgrade, downgrade or disabled (KIP-848)."},
		{Name: "group.consumer.regex.refresh.interval.ms", Type: config.Int, Default: config.Value("600000"), Valid: config.AtLeast(10000), Importance: config.Medium, Internal: true,
			Doc: "How often regular expressions of consumer groups are matched against the topics though there are no new ones: who may see which topic changes too."},
		{Name: "group.coordinator.append.linger.ms", Type: config.Int, Default: config.Value("-1"), Valid: config.AtLeast(-1), Importance: config.Medium,
			Doc: "How long the coordinator collects records before it appends them; -1 for as long as other requests already wait."},
		{Name: "group.coordinator.cached.buffer.max.bytes", Type: config.Int, Default: config.Value("1048588"), Valid: config.AtLeast(524288), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How large the buffers of a batch may be that a partition of __consumer_offsets keeps for the next one."},
		{Name: "group.coordinator.background.threads", Type: config.Int, Default: config.Value("2"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How many partitions of __consumer_offsets are loaded at a time."},
		{Name: "offset.metadata.max.bytes", Type: config.Int, Default: config.Value("4096"), Importance: config.High,
			Doc: "The size of the largest text that may be committed with an offset."},
		{Name: "offsets.commit.timeout.ms", Type: config.Int, Default: config.Value("5000"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How long a change of a group waits to be committed before the client is told to try again."},
		{Name: "offsets.load.buffer.size", Type: config.Int, Default: config.Value("5242880"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How many bytes are read at a time when a partition of __consumer_offsets is loaded."},
		{Name: "offsets.retention.check.interval.ms", Type: config.Long, Default: config.Value("600000"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How often offsets are looked through for those whose retention is over."},
		{Name: "offsets.retention.minutes", Type: config.Int, Default: config.Value("10080"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "For how many minutes the offsets of a group without members are kept."},
		{Name: "offsets.topic.compression.codec", Type: config.Int, Default: config.Value("0"), Valid: config.Between(0, 4), Importance: config.High,
			Doc: "The codec of the coordinator's batches: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."},
		{Name: "offsets.topic.num.partitions", Type: config.Int, Default: config.Value("50"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How many partitions __consumer_offsets is created with. It must not change afterwards."},
		{Name: "offsets.topic.replication.factor", Type: config.Short, Default: config.Value("3"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How many replicas __consumer_offsets is created with. While there are fewer brokers it is not created."},
		{Name: "offsets.topic.segment.bytes", Type: config.Int, Default: config.Value("104857600"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "The segment size that __consumer_offsets is created with: small, so that it loads fast."},
	}
}

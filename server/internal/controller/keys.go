package controller

import (
	"math"
	"regexp"

	"github.com/millrace-io/millrace/config"
)

// TopicKeys are the topic keys whose capability comes later: their values are checked, stored and described.
// The other topic keys are declared where they act, in commitlog and replica.
func TopicKeys() []config.Key {
	const tiering, deadLetters = "tiered storage", "dead-letter queues of share groups"
	return []config.Key{
		{Name: "errors.deadletterqueue.group.enable", Type: config.Bool, Default: config.Value("false"), Importance: config.Medium, Owner: deadLetters,
			Doc: "Whether share groups may use this topic as their dead-letter queue."},
		{Name: "local.retention.bytes", Type: config.Long, Default: config.Value("-2"), Valid: config.AtLeast(-2), Importance: config.Medium, Owner: tiering,
			Synonyms: []config.Synonym{{Name: "log.local.retention.bytes"}},
			Doc:      "How many bytes of a partition stay on the broker's own disks when the topic is tiered. -2 stands for the value of retention.bytes; the value must not exceed that."},
		{Name: "local.retention.ms", Type: config.Long, Default: config.Value("-2"), Valid: config.AtLeast(-2), Importance: config.Medium, Owner: tiering,
			Synonyms: []config.Synonym{{Name: "log.local.retention.ms"}},
			Doc:      "For how many milliseconds segments stay on the broker's own disks when the topic is tiered. -2 stands for the value of retention.ms; the value must not exceed that."},
		{Name: "remote.copy.lag.bytes", Type: config.Long, Default: config.Value("-1"), Valid: config.AtLeast(-1), Importance: config.Medium, Owner: tiering,
			Synonyms: []config.Synonym{{Name: "log.remote.copy.lag.bytes"}},
			Doc:      "How many bytes must lie behind a segment before it is copied to remote storage. -1 sets no such condition."},
		{Name: "remote.copy.lag.ms", Type: config.Long, Default: config.Value("0"), Valid: config.AtLeast(-1), Importance: config.Medium, Owner: tiering,
			Synonyms: []config.Synonym{{Name: "log.remote.copy.lag.ms"}},
			Doc:      "How old in milliseconds a segment must be before it is copied to remote storage. -1 waits as long as the local retention lets it."},
		{Name: "remote.log.copy.disable", Type: config.Bool, Default: config.Value("false"), Importance: config.Medium, Owner: tiering,
			Doc: "Whether copying to remote storage rests for this topic; what lies there stays readable."},
		{Name: "remote.log.delete.on.disable", Type: config.Bool, Default: config.Value("false"), Importance: config.Medium, Owner: tiering,
			Doc: "Whether turning remote.storage.enable off also deletes what lies in remote storage. It must be set for that."},
		{Name: "remote.storage.enable", Type: config.Bool, Default: config.Value("false"), Importance: config.Medium, Owner: tiering,
			Doc: "Whether old segments of this topic move to remote storage. The brokers need remote.log.storage.system.enable for it."},
	}
}

// BrokerKeys are the broker keys that act in the controller, and those that give the keys of TopicKeys their
// defaults.
func BrokerKeys() []config.Key {
	const tiering = "tiered storage"
	return []config.Key{
		{Name: "broker.heartbeat.interval.ms", Type: config.Int, Default: config.Value("250"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How often in milliseconds a broker tells the controller that it lives."},
		{Name: "broker.session.timeout.ms", Type: config.Int, Default: config.Value("2000"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "For how many milliseconds a broker may be silent before the controller fences it and moves its leaderships."},
		{Name: "default.replication.factor", Type: config.Int, Default: config.Value("1"), Valid: config.Between(1, math.MaxInt16), Importance: config.Medium,
			Doc: "How many replicas the partitions of a topic get that is created without a word about it."},
		{Name: "delete.topic.enable", Type: config.Bool, Default: config.Value("true"), Importance: config.High,
			Doc: "Whether topics can be deleted."},
		{Name: "num.partitions", Type: config.Int, Default: config.Value("1"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How many partitions a topic gets that is created without a word about it."},
		{Name: "log.local.retention.bytes", Type: config.Long, Default: config.Value("-2"), Valid: config.AtLeast(-2), Importance: config.Medium, Update: config.ClusterWide, Owner: tiering,
			Doc: "The default of local.retention.bytes."},
		{Name: "log.local.retention.ms", Type: config.Long, Default: config.Value("-2"), Valid: config.AtLeast(-2), Importance: config.Medium, Update: config.ClusterWide, Owner: tiering,
			Doc: "The default of local.retention.ms."},
		{Name: "log.remote.copy.lag.bytes", Type: config.Long, Default: config.Value("-1"), Valid: config.AtLeast(-1), Importance: config.Medium, Update: config.ClusterWide, Owner: tiering,
			Doc: "The default of remote.copy.lag.bytes."},
		{Name: "log.remote.copy.lag.ms", Type: config.Long, Default: config.Value("0"), Valid: config.AtLeast(-1), Importance: config.Medium, Update: config.ClusterWide, Owner: tiering,
			Doc: "The default of remote.copy.lag.ms."},
	}
}

var durationPattern = regexp.MustCompile(`^by_duration:P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$`)

// GroupKeys are the keys of the group resource (KIP-848, 932, 1071, 1240).
func GroupKeys() []config.Key {
	const consumer, share, streams = "consumer groups", "share groups", "streams groups"
	// Behind a group's number stands the brokers' own.
	number := func(name, value string, low int64, owner, doc string) config.Key {
		return config.Key{Name: name, Type: config.Int, Default: config.Value(value), Valid: config.AtLeast(low), Importance: config.Medium, Owner: owner, Doc: doc,
			Synonyms: []config.Synonym{{Name: "group." + name}}}
	}
	flag := func(name, value, owner, doc string) config.Key {
		return config.Key{Name: name, Type: config.Bool, Default: config.Value(value), Importance: config.Medium, Owner: owner, Doc: doc}
	}
	offload := func(kind, owner string) config.Key {
		k := flag(kind+".assignor.offload.enable", "true", owner, "Whether assignments are computed off the coordinator's loop.")
		k.Internal, k.Synonyms = true, []config.Synonym{{Name: "group." + k.Name}}
		return k
	}
	internal := func(k config.Key) config.Key { k.Internal = true; return k }
	reset := config.Func("[latest, earliest, by_duration:PnDTnHnMn.nS]", func(value string) error {
		if durationPattern.MatchString(value) && value[len(value)-1] != 'P' && value[len(value)-1] != 'T' {
			return nil
		}
		return config.In("latest", "earliest", "by_duration:PnDTnHnMn.nS").Check(value)
	})
	tags := config.Func("distinct tags", func(value string) error { return config.Distinct().Check(value) })
	longNumber := number("streams.acceptable.recovery.lag", "10000", 0, streams, "How many records a task may lack and still count as caught up.")
	longNumber.Type = config.Long
	return []config.Key{
		number("consumer.assignment.interval.ms", "1000", 0, consumer, "How many milliseconds lie at least between two assignments of a consumer group."),
		offload("consumer", consumer),
		number("consumer.heartbeat.interval.ms", "5000", 1, consumer, "How often in milliseconds members of a consumer group send heartbeats."),
		number("consumer.session.timeout.ms", "45000", 1, consumer, "For how many milliseconds a member of a consumer group may be silent before it is taken for dead."),
		flag("errors.deadletterqueue.copy.record.enable", "false", share, "Whether the dead-letter queue gets the whole record, not its position alone."),
		{Name: "errors.deadletterqueue.topic.name", Type: config.String, Default: config.Value(""), Importance: config.Medium, Owner: share,
			Doc: "The topic that takes the records which a share group could not process; empty for none."},
		number("share.assignment.interval.ms", "1000", 0, share, "How many milliseconds lie at least between two assignments of a share group."),
		offload("share", share),
		{Name: "share.auto.offset.reset", Type: config.String, Default: config.Value("latest"), Valid: reset, Importance: config.Medium, Owner: share,
			Doc: "Where a share group begins in a partition that it never read: at the end, at the beginning, or so far back in time."},
		number("share.delivery.count.limit", "5", 2, share, "How often a record is delivered before it is given up."),
		number("share.heartbeat.interval.ms", "5000", 1, share, "How often in milliseconds members of a share group send heartbeats."),
		{Name: "share.isolation.level", Type: config.String, Default: config.Value("read_uncommitted"), Valid: config.In("read_committed", "read_uncommitted"), Importance: config.Medium, Owner: share,
			Doc: "Whether a share group sees records of transactions that are not committed."},
		number("share.partition.max.record.locks", "2000", 100, share, "How many records of a partition may be out with the members of a share group."),
		number("share.record.lock.duration.ms", "30000", 1000, share, "For how many milliseconds a member may hold a record before it is delivered again."),
		flag("share.renew.acknowledge.enable", "true", share, "Whether members may ask for more time with a record."),
		number("share.session.timeout.ms", "45000", 1, share, "For how many milliseconds a member of a share group may be silent before it is taken for dead."),
		internal(longNumber),
		number("streams.assignment.interval.ms", "1000", 0, streams, "How many milliseconds lie at least between two assignments of a streams group."),
		{Name: "streams.assignor.name", Type: config.String, Default: config.Value("sticky"), Importance: config.Medium, Owner: streams, Synonyms: []config.Synonym{{Name: "group.streams.assignors"}},
			Doc: "The task assignor of a streams group; the brokers' first one where it is not set."},
		offload("streams", streams),
		number("streams.heartbeat.interval.ms", "5000", 1, streams, "How often in milliseconds members of a streams group send heartbeats."),
		number("streams.initial.rebalance.delay.ms", "3000", 0, streams, "For how many milliseconds a new streams group waits for more members before its first assignment."),
		number("streams.num.standby.replicas", "0", 0, streams, "How many standby copies of a task's state are kept."),
		internal(number("streams.num.warmup.replicas", "2", 0, streams, "How many tasks may warm up elsewhere before they move.")),
		{Name: "streams.rack.aware.assignment.tags", Type: config.List, Default: config.Value(""), Valid: tags, Importance: config.Low, Owner: streams, Synonyms: []config.Synonym{{Name: "group.streams.rack.aware.assignment.tags"}},
			Doc: "The client tags over whose values standby tasks are spread."},
		number("streams.session.timeout.ms", "45000", 1, streams, "For how many milliseconds a member of a streams group may be silent before it is taken for dead."),
		internal(number("streams.task.offset.interval.ms", "60000", 1, streams, "How often in milliseconds members report the offsets of their tasks.")),
	}
}

// bound names the broker keys that bound a group's key, and Kafka's defaults of them.
type bound struct {
	minKey, maxKey string
	min, max       int64
}

var groupBounds = func() map[string]bound {
	b := map[string]bound{
		"share.delivery.count.limit":       {"group.share.min.delivery.count.limit", "group.share.max.delivery.count.limit", 2, 10},
		"share.partition.max.record.locks": {"group.share.min.partition.max.record.locks", "group.share.max.partition.max.record.locks", 100, 4000},
		"share.record.lock.duration.ms":    {"group.share.min.record.lock.duration.ms", "group.share.max.record.lock.duration.ms", 15000, 60000},
		"streams.num.standby.replicas":     {"", "group.streams.max.standby.replicas", 0, 2},
		"streams.num.warmup.replicas":      {"", "group.streams.max.warmup.replicas", 0, 20},
		"streams.task.offset.interval.ms":  {"group.streams.min.task.offset.interval.ms", "", 15000, math.MaxInt32},
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		b[kind+".session.timeout.ms"] = bound{"group." + kind + ".min.session.timeout.ms", "group." + kind + ".max.session.timeout.ms", 45000, 60000}
		b[kind+".heartbeat.interval.ms"] = bound{"group." + kind + ".min.heartbeat.interval.ms", "group." + kind + ".max.heartbeat.interval.ms", 5000, 15000}
		b[kind+".assignment.interval.ms"] = bound{"group." + kind + ".min.assignment.interval.ms", "group." + kind + ".max.assignment.interval.ms", 0, 15000}
	}
	return b
}()

// ClientMetricsKeys are the keys of the client-metrics resource (KIP-714).
func ClientMetricsKeys() []config.Key {
	const owner = "client telemetry"
	return []config.Key{
		{Name: "interval.ms", Type: config.Int, Default: config.Value("300000"), Importance: config.Medium, Owner: owner,
			Doc: "How often in milliseconds the clients push their metrics; 100 to 3600000."},
		{Name: "match", Type: config.List, Default: config.Value(""), Importance: config.Medium, Owner: owner,
			Doc: "Which clients the subscription is for: a list of NAME=REGEX, all of which must match; empty for all clients."},
		{Name: "metrics", Type: config.List, Default: config.Value(""), Importance: config.Medium, Owner: owner,
			Doc: "Prefixes of the names of the metrics that clients push; * for all, empty for none."},
	}
}

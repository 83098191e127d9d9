package replica

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Durability is the class of a topic: what an acknowledgement says about the disk (topic key "durability").
type Durability uint8

const (
	// DurabilityDisk acknowledges what lies on the disk of every replica that counts for the acknowledgement:
	// the leader's for acks=1, the in-sync replicas' for acks=all.
	DurabilityDisk Durability = iota
	// DurabilityCache acknowledges what was written, as Kafka does; the disk follows in its own time.
	DurabilityCache
)

// String returns the word of the configuration key.
func (d Durability) String() string {
	if d == DurabilityCache {
		return "cache"
	}
	return "disk"
}

// TopicConfig is what a topic's configuration says to its replicas; the log's part is commitlog.Config.
type TopicConfig struct {
	Durability Durability
	// MinISR is min.insync.replicas. What counts is at most the number of replicas (KIP-966).
	MinISR int32
}

// ParseTopicConfig reads the settings out of a topic's effective values, which get returns by key.
func ParseTopicConfig(get func(topicKey string) string) (TopicConfig, error) {
	c := TopicConfig{MinISR: 1}
	switch word := strings.TrimSpace(get("durability")); word {
	case "disk", "":
	case "cache":
		c.Durability = DurabilityCache
	default:
		return c, fmt.Errorf("durability is %q: want disk or cache", word)
	}
	if text := get("min.insync.replicas"); text != "" {
		n, err := config.ParseInt32(text)
		if err != nil {
			return c, fmt.Errorf("min.insync.replicas: %w", err)
		}
		c.MinISR = n
	}
	return c, nil
}

// BrokerConfig is what the broker's configuration says to its replicas.
type BrokerConfig struct {
	// HighWatermarkCheckpointInterval is how long a moved high watermark may be missing from
	// replication-offset-checkpoint.
	HighWatermarkCheckpointInterval time.Duration
	// OffsetCheckpointInterval is the same for recovery-point-offset-checkpoint, and how long a log of class
	// cache may stay dirty before it is flushed in the background.
	OffsetCheckpointInterval time.Duration
	// StartOffsetCheckpointInterval is the same for log-start-offset-checkpoint.
	StartOffsetCheckpointInterval time.Duration
	// FlushSchedulerInterval is how often flush.ms is looked at where it is set.
	FlushSchedulerInterval time.Duration
	RetentionCheckInterval time.Duration
	// RecoveryThreads is how many logs of one directory are opened at a time.
	RecoveryThreads int
	// SessionSlots is the number of incremental fetch sessions kept (KIP-227).
	SessionSlots int
	// SessionPartitions is how many partitions all sessions may hold together; 0 for any number.
	SessionPartitions int
	// FetchMaxBytes bounds a fetch response whatever the client asks for.
	FetchMaxBytes int32
	// SyncStallTimeout is how long a sync, or a write to a log, may hang before the node gives up its leaderships in the directory.
	SyncStallTimeout time.Duration
	// ReserveBytes is the size of the file that is kept in each directory for the day when the disk is full.
	ReserveBytes int64
	// ScrubBytesPerSecond bounds the background verification of a directory; 0 turns it off.
	ScrubBytesPerSecond int64
	// ScrubInterval is how long after the end of one verification the next begins.
	ScrubInterval time.Duration
	// ProducerIDExpiration is how long an idle producer is remembered.
	ProducerIDExpiration time.Duration
}

// DefaultBrokerConfig returns Kafka's defaults, and ours where Kafka has no such key.
func DefaultBrokerConfig() BrokerConfig {
	return BrokerConfig{
		HighWatermarkCheckpointInterval: 5 * time.Second,
		OffsetCheckpointInterval:        time.Minute,
		StartOffsetCheckpointInterval:   time.Minute,
		FlushSchedulerInterval:          math.MaxInt64,
		RetentionCheckInterval:          5 * time.Minute,
		RecoveryThreads:                 2,
		SessionSlots:                    1000,
		FetchMaxBytes:                   55 << 20,
		SyncStallTimeout:                5 * time.Second,
		ReserveBytes:                    16 << 20,
		ScrubBytesPerSecond:             4 << 20,
		ScrubInterval:                   7 * 24 * time.Hour,
		ProducerIDExpiration:            24 * time.Hour,
	}
}

// ParseBrokerConfig reads the settings out of the broker's effective values, which get returns by key ("" for
// a key that is not set).
func ParseBrokerConfig(get func(brokerKey string) string) (BrokerConfig, error) {
	c := DefaultBrokerConfig()
	var wrong []error
	number := func(key string, set func(int64)) {
		text := get(key)
		if text == "" {
			return
		}
		n, err := config.ParseInt64(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", key, err))
			return
		}
		set(n)
	}
	millis := func(key string, to *time.Duration) {
		number(key, func(n int64) { *to = time.Duration(min(n, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond })
	}
	millis("replica.high.watermark.checkpoint.interval.ms", &c.HighWatermarkCheckpointInterval)
	millis("log.flush.offset.checkpoint.interval.ms", &c.OffsetCheckpointInterval)
	millis("log.flush.start.offset.checkpoint.interval.ms", &c.StartOffsetCheckpointInterval)
	millis("log.flush.scheduler.interval.ms", &c.FlushSchedulerInterval)
	millis("log.retention.check.interval.ms", &c.RetentionCheckInterval)
	millis("log.sync.stall.timeout.ms", &c.SyncStallTimeout)
	millis("log.scrub.interval.ms", &c.ScrubInterval)
	millis("producer.id.expiration.ms", &c.ProducerIDExpiration)
	number("num.recovery.threads.per.data.dir", func(n int64) { c.RecoveryThreads = int(n) })
	number("max.incremental.fetch.session.cache.slots", func(n int64) { c.SessionSlots = int(n) })
	number("fetch.max.bytes", func(n int64) { c.FetchMaxBytes = int32(n) })
	number("log.reserve.bytes", func(n int64) { c.ReserveBytes = n })
	number("log.scrub.bytes.per.second", func(n int64) { c.ScrubBytesPerSecond = n })
	return c, errors.Join(wrong...)
}

// throttles is what the keys of throttled replication will act with.
const throttles = "replication throttles"

// TopicKeys returns the topic settings that act in this room.
func TopicKeys() []config.Key {
	return []config.Key{
		{Name: "durability", Type: config.String, Default: config.Value("disk"), Valid: config.In("disk", "cache"), Importance: config.High,
			Synonyms: []config.Synonym{{Name: "log.durability"}},
			Doc: "What an acknowledgement promises. disk: the records lie on the disk of every replica that counted for it (the leader's with acks=1, the in-sync replicas' with acks=all). " +
				"cache: the records were written and the operating system will bring them to the disk in its own time, as in Apache Kafka."},
		{Name: "min.insync.replicas", Type: config.Int, Default: config.Value("1"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How many in-sync replicas a partition needs to take writes with acks=all. A number above the number of replicas counts as the number of replicas."},
		{Name: "unclean.leader.election.enable", Type: config.Bool, Default: config.Value("false"), Importance: config.Medium,
			Doc: "Whether a replica that is not in sync may become leader when no other is left, although records are lost."},
		{Name: "leader.replication.throttled.replicas", Type: config.List, Default: config.Value(""), Valid: throttledReplicas, Importance: config.Medium, Owner: throttles,
			Doc: "The replicas whose replication the leader throttles: partition:broker pairs separated by commas, or * for all."},
		{Name: "follower.replication.throttled.replicas", Type: config.List, Default: config.Value(""), Valid: throttledReplicas, Importance: config.Medium, Owner: throttles,
			Doc: "The replicas whose replication the follower throttles: partition:broker pairs separated by commas, or * for all."},
	}
}

// throttledReplicas accepts "*", or pairs of numbers such as 0:101,1:102.
var throttledReplicas = config.Func("[partitionId]:[brokerId],[partitionId]:[brokerId],...", func(value string) error {
	if value == "*" {
		return nil
	}
	for _, pair := range config.ParseList(value) {
		partition, broker, ok := strings.Cut(pair, ":")
		_, errP := config.ParseInt32(partition)
		_, errB := config.ParseInt32(broker)
		if !ok || errP != nil || errB != nil {
			return errors.New("want * or a list of partition:broker, such as 0:101,1:102")
		}
	}
	return nil
})

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	rate := func(name, doc string) config.Key {
		return config.Key{Name: name, Type: config.Long, Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide, Owner: throttles, OnlySet: true, Doc: doc}
	}
	return []config.Key{
		{Name: "log.durability", Type: config.String, Default: config.Value("disk"), Valid: config.In("disk", "cache"), Importance: config.High, Update: config.ClusterWide,
			Doc: "The default of the topic setting durability."},
		rate("leader.replication.throttled.rate", "How many bytes a second the leaders here send to throttled replicas; taken, without an effect in this version."),
		rate("follower.replication.throttled.rate", "How many bytes a second the throttled replicas here fetch; taken, without an effect in this version."),
		rate("replica.alter.log.dirs.io.max.bytes.per.second", "How many bytes a second are copied from one log directory to another; taken, without an effect in this version."),
		{Name: "min.insync.replicas", Type: config.Int, Default: config.Value("1"), Valid: config.AtLeast(1), Importance: config.High, Update: config.ClusterWide,
			Doc: "The default of the topic setting min.insync.replicas."},
		{Name: "unclean.leader.election.enable", Type: config.Bool, Default: config.Value("false"), Importance: config.High, Update: config.ClusterWide,
			Doc: "The default of the topic setting unclean.leader.election.enable."},
		{Name: "replica.high.watermark.checkpoint.interval.ms", Type: config.Long, Default: config.Value("5000"), Importance: config.High,
			Doc: "How often high watermarks that moved are saved to the disk."},
		{Name: "log.flush.offset.checkpoint.interval.ms", Type: config.Int, Default: config.Value("60000"), Valid: config.AtLeast(0), Importance: config.High,
			Doc: "How often recovery points that moved are saved to the disk. A log of class cache that has been dirty for that long is flushed in the background."},
		{Name: "log.flush.scheduler.interval.ms", Type: config.Long, Default: config.Value("9223372036854775807"), Importance: config.High,
			Doc: "How often logs are looked through for records that have been unflushed for longer than flush.ms."},
		{Name: "log.flush.start.offset.checkpoint.interval.ms", Type: config.Int, Default: config.Value("60000"), Valid: config.AtLeast(0), Importance: config.High,
			Doc: "How often log start offsets that moved are saved to the disk."},
		{Name: "log.retention.check.interval.ms", Type: config.Long, Default: config.Value("300000"), Valid: config.AtLeast(1), Importance: config.Medium,
			Doc: "How often logs are looked through for segments that retention lets go of."},
		{Name: "num.recovery.threads.per.data.dir", Type: config.Int, Default: config.Value("2"), Valid: config.AtLeast(1), Importance: config.High, Update: config.ClusterWide,
			Doc: "How many logs of one directory are recovered at a time when the node starts."},
		{Name: "max.incremental.fetch.session.cache.slots", Type: config.Int, Default: config.Value("1000"), Valid: config.AtLeast(0), Importance: config.Medium,
			Doc: "How many incremental fetch sessions are kept (KIP-227)."},
		{Name: "fetch.max.bytes", Type: config.Int, Default: config.Value("57671680"), Valid: config.AtLeast(1024), Importance: config.Medium,
			Doc: "The most that one fetch returns, whatever the client asks for; at least one batch is always returned."},
		{Name: "producer.id.expiration.ms", Type: config.Int, Default: config.Value("86400000"), Valid: config.AtLeast(1), Importance: config.Low,
			Doc: "For how long a partition remembers an idempotent producer that writes nothing."},
		{Name: "log.sync.stall.timeout.ms", Type: config.Long, Default: config.Value("5000"), Valid: config.AtLeast(100), Importance: config.Medium,
			Doc: "How long a sync of the disk, or a write to a log, may hang before the node gives up the leadership of the partitions in that directory."},
		{Name: "log.reserve.bytes", Type: config.Long, Default: config.Value("16777216"), Valid: config.AtLeast(0), Importance: config.Medium,
			Doc: "The size of the file kept in each log directory so that checkpoints, deletion and a restart still work when the disk is full. Writes are refused before it is touched. It also stands for small appends of class disk that wait in memory, half as many bytes at the most, until they are written together; 0 keeps none, and none waits."},
		{Name: "log.scrub.interval.ms", Type: config.Long, Default: config.Value("604800000"), Valid: config.AtLeast(1), Importance: config.Low,
			Doc: "How long after the scrubber has read and checked all logs of a directory it begins again. The first time is ten minutes after the start, or after this interval when that is shorter. A key of Millrace."},
		{Name: "log.scrub.bytes.per.second", Type: config.Long, Default: config.Value("4194304"), Valid: config.AtLeast(0), Importance: config.Low,
			Doc: "How fast the logs of each directory are read in the background to find damage; 0 turns it off."},
	}
}

// Dir names one log directory.
type Dir struct {
	Path string
	ID   kafka.DirectoryID
}

// Cluster is what replicas ask of the rest of the cluster. Implementations return at once: they queue, retry and
// tell the controller in their own time.
type Cluster interface {
	// AssignDirectory says in which directory a replica on this node lies (AssignReplicasToDirs, KIP-858).
	AssignDirectory(replica kafka.TopicIDPartition, dir kafka.DirectoryID)
	// DirFailed says that a directory is offline for good, and how many others are left. With none left the
	// node must stop.
	DirFailed(dir Dir, remaining int, cause error)
	// SyncStalled says that a sync of the directory, or a write to a log in it, has been hanging for that long: the node should resign
	// the leadership of the partitions it holds there, since its heartbeats go on while its writes do not.
	SyncStalled(dir Dir, stalled time.Duration)
	// SyncResumed says that nothing hangs any more.
	SyncResumed(dir Dir, stalled time.Duration)
}

// Options is what a Manager is made of.
type Options struct {
	NodeID int32
	FS     vfs.FS
	Dirs   []Dir
	// Locked says that the caller holds the lock of every directory already; otherwise Load takes it.
	Locked bool
	// Cluster may be nil for a node on its own.
	Cluster Cluster
	Log     *slog.Logger
	// Budget pays for the small appends that logs hold in memory. nil: none is held.
	Budget *budget.Budget
	// Handles is how many files may be open at a time, over all directories. 0 stands for 1024.
	Handles int
	// TopicConfig returns the effective settings of a topic, from an image and the broker's own defaults. For
	// "" it returns the broker's defaults. It is called from Load and from Apply.
	TopicConfig func(image *metadata.Image, topic string) (commitlog.Config, TopicConfig)
	Broker      BrokerConfig
}

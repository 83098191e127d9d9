package server

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// The figures of groups that this node coordinates. Lag is that of partitions that this node leads, too.
var (
	groupCount        = desc("kafka_server_group_coordinator_metrics_group_count", "Groups that this node coordinates.", "protocol", "state")
	groupOffsets      = desc("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets.")
	offsetCommits     = desc("kafka_server_group_coordinator_metrics_offset_commit_total", "Offsets that were committed.")
	offsetExpirations = desc("kafka_server_group_coordinator_metrics_offset_expiration_total", "Offsets and groups that were deleted since their retention was over.")
	rebalancesBegan   = desc("kafka_server_group_coordinator_metrics_group_rebalance_total", "Rebalances that began.", "protocol")
	rebalanceSeconds  = desc("kafka_server_group_coordinator_metrics_group_completed_rebalance_seconds", "How long completed rebalances took, from their cause until everybody had its partitions.", "protocol")
	groupPartitions   = desc("kafka_server_group_coordinator_metrics_num_partitions", "Partitions of __consumer_offsets that this node coordinates.", "state")
	groupLoadSeconds  = desc("kafka_server_group_coordinator_metrics_partition_load_time_seconds", "How long loads of partitions of __consumer_offsets took.")
	groupLoadMax      = desc("kafka_server_group_coordinator_metrics_partition_load_time_max_seconds", "How long the longest of these loads took.")

	lagSum        = desc("kafka_consumergroup_lag_sum", "Records of a topic that a group has not committed yet.", "group", "topic")
	lagSecondsMax = desc("kafka_consumergroup_lag_seconds_max", "Age of the oldest record of a topic that a group has not committed yet; 0 when there is none.", "group", "topic")
	lag           = desc("kafka_consumergroup_lag", "Records of a partition that a group has not committed yet.", "group", "topic", "partition")
	lagSeconds    = desc("kafka_consumergroup_lag_seconds", "Age of the first record of a partition that a group has not committed yet; 0 when there is none.", "group", "topic", "partition")
	currentOffset = desc("kafka_consumergroup_current_offset", "Offset that a group has committed.", "group", "topic", "partition")
)

// The bounds of what one look at the lags does and keeps: log reads, which go on with the next look, and timestamps.
const (
	maxLagReads = 1000
	maxLagTimes = 100_000
)

// lagByPartition is up to how many committed offsets lag is told by partition without metrics.partitions: more than that
// is too much for most who ask every few seconds, and its sums by topic have to do.
const lagByPartition = 10_000

// lagTimes finds out since when records wait. A committed offset is looked up once, for as long as it stays.
type lagTimes struct {
	timestamp func(topic string, partition int32, offset int64) (ms int64, found bool, err error)

	mu    sync.Mutex
	known map[unread]int64
}

// unread is the first record that is not consumed.
type unread struct {
	topic     string
	partition int32
	offset    int64
}

// look is one look at all lags.
type look struct {
	times *lagTimes
	now   time.Time
	reads int
	seen  map[unread]int64
}

// begin begins a look; until its end nobody else looks.
func (l *lagTimes) begin(now time.Time) *look {
	l.mu.Lock()
	return &look{times: l, now: now, seen: map[unread]int64{}}
}

// end forgets what nobody waits at any more.
func (k *look) end() {
	k.times.known = k.seen
	k.times.mu.Unlock()
}

// age is how long a record has been waiting, in seconds; false when that is not known in this look.
func (k *look) age(at unread) (float64, bool) {
	ms, known := k.seen[at]
	if !known {
		ms, known = k.times.known[at]
	}
	if !known && k.reads < maxLagReads {
		k.reads++
		var err error
		ms, known, err = k.times.timestamp(at.topic, at.partition, at.offset)
		known = known && err == nil // one that went away, or whose disk has failed, which is told elsewhere
	}
	if !known {
		return 0, false
	}
	if len(k.seen) < maxLagTimes {
		k.seen[at] = ms
	}
	return max(0, k.now.Sub(time.UnixMilli(ms)).Seconds()), true
}

// topicLag is what a group is behind in a topic.
type topicLag struct {
	records int64
	seconds float64
	timed   bool
}

// collectGroups reads the figures of the groups.
func (f *figures) collectGroups(out chan<- prometheus.Metric, count func(*prometheus.Desc, int64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	groups := f.groups()
	if groups == nil {
		return
	}
	s := groups.Stats()
	for k, n := range s.Groups {
		gauge(groupCount, float64(n), k.Kind, k.State)
	}
	gauge(groupOffsets, float64(s.Offsets))
	count(offsetCommits, s.Commits)
	count(offsetExpirations, s.Expirations)
	for kind, r := range s.Rebalances {
		count(rebalancesBegan, r.Began, kind)
		out <- prometheus.MustNewConstSummary(rebalanceSeconds, uint64(r.Completed), r.Took.Seconds(), nil, kind)
	}
	gauge(groupPartitions, float64(s.Partitions-s.Loading), "active")
	gauge(groupPartitions, float64(s.Loading), "loading")
	out <- prometheus.MustNewConstSummary(groupLoadSeconds, uint64(s.Loads.Count), s.Loads.Took.Seconds(), nil)
	gauge(groupLoadMax, s.Loads.Longest.Seconds())
	f.collectLag(groups, f.partitions || s.Offsets <= lagByPartition, gauge)
}

// collectLag reads how far the groups are behind, by topic, and by partition if asked.
func (f *figures) collectLag(groups *group.Coordinator, byPartition bool, gauge func(*prometheus.Desc, float64, ...string)) {
	k := f.lags.begin(time.Now())
	defer k.end()
	topics := map[[2]string]*topicLag{}
	groups.EachCommitted(func(c group.Committed) {
		high, leads := f.highWatermark(c.Topic, c.Partition)
		if !leads {
			return
		}
		name := [2]string{c.Group, c.Topic}
		t := topics[name]
		if t == nil {
			t = &topicLag{}
			topics[name] = t
		}
		behind, seconds, timed := max(0, high-c.Offset), 0.0, true
		if behind > 0 {
			seconds, timed = k.age(unread{c.Topic, c.Partition, c.Offset})
		}
		t.records += behind
		if timed {
			t.seconds, t.timed = max(t.seconds, seconds), true
		}
		if !byPartition {
			return
		}
		n := strconv.Itoa(int(c.Partition))
		gauge(currentOffset, float64(c.Offset), c.Group, c.Topic, n)
		gauge(lag, float64(behind), c.Group, c.Topic, n)
		if timed {
			gauge(lagSeconds, seconds, c.Group, c.Topic, n)
		}
	})
	for name, t := range topics {
		gauge(lagSum, float64(t.records), name[0], name[1])
		if t.timed {
			gauge(lagSecondsMax, t.seconds, name[0], name[1])
		}
	}
}

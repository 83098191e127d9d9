package replica

import (
	"context"
	"iter"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Manager holds the replicas on this node.
type Manager struct{}

// New makes a manager; Load comes next.
func New(o Options) *Manager { panic(o) }

// Load opens the log directories, all at a time, and recovers what an unclean stop left. progress, which may be
// nil, hears of logs done and known so far, from several goroutines. A directory that fails goes offline with its
// partitions; the error says that none is left.
func (m *Manager) Load(ctx context.Context, progress func(done, total int)) error { panic(0) }

// SetBrokerEpoch tells the epoch that Close writes into the clean-shutdown marker.
func (m *Manager) SetBrokerEpoch(epoch int64) { panic(0) }

// PreviousBrokerEpoch returns the broker epoch of the clean-shutdown markers that Load found, -1 when the last
// stop was not clean: what BrokerRegistration tells the controller.
func (m *Manager) PreviousBrokerEpoch() int64 { panic(0) }

// OfflineDirs lists the directories that failed.
func (m *Manager) OfflineDirs() []Dir { panic(0) }

// Apply makes the replicas what the image says, in order, from one goroutine. The first call takes the whole
// image; directories of partitions that are not in it are set aside as strays.
func (m *Manager) Apply(image *metadata.Image, delta *metadata.Delta) { panic(0) }

// Append appends to the partitions this node leads. It runs on the caller's goroutine.
func (m *Manager) Append(req *AppendRequest) { panic(0) }

// Fetch reads, now or when there is something to read.
func (m *Manager) Fetch(req *FetchRequest) { panic(0) }

// CancelFetch ends a fetch that waits, since its connection went away. Done is still called, once.
func (m *Manager) CancelFetch(req *FetchRequest) { panic(0) }

// ListOffsets finds an offset by timestamp.
func (m *Manager) ListOffsets(q OffsetQuery) (OffsetResult, error) { panic(0) }

// OffsetForLeaderEpoch says where an epoch ended (KIP-320). currentEpoch is -1 when not given; replicaID -2 asks
// a follower, too.
func (m *Manager) OffsetForLeaderEpoch(topic string, partition, currentEpoch, epoch, replicaID int32) (EpochEnd, error) {
	panic(0)
}

// DeleteRecords moves a log's start to the offset, -1 for the high watermark. done is called once, maybe before
// DeleteRecords returns.
func (m *Manager) DeleteRecords(topic string, partition int32, offset int64, timeout time.Duration, done func(lowWatermark int64, err error)) {
	panic(0)
}

// DescribeLogDirs describes every directory with the replicas that wanted, unless nil, says yes to.
func (m *Manager) DescribeLogDirs(wanted func(topic string, partition int32) bool) []DirInfo {
	panic(0)
}

// DescribeProducers lists the producers known to a partition that this node leads.
func (m *Manager) DescribeProducers(topic string, partition int32) ([]commitlog.ProducerInfo, error) {
	panic(0)
}

// Partitions yields a snapshot of every partition on this node, for metrics.
func (m *Manager) Partitions() iter.Seq[PartitionStats] { panic(0) }

// Topics yields the counters of every topic on this node, for metrics.
func (m *Manager) Topics() iter.Seq[TopicStats] { panic(0) }

// Close stops cleanly: it answers what waits, flushes, and leaves what makes the next start a clean one.
func (m *Manager) Close(ctx context.Context) error { panic(0) }

type ackWaiter struct{ _ kafka.TopicPartition }
type fetchState struct{}

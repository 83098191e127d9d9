package replica

import (
	"cmp"
	"iter"
	"slices"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// DescribeLogDirs describes every directory, in the order of the configuration, with the replicas that wanted,
// unless nil, says yes to.
func (m *Manager) DescribeLogDirs(wanted func(topic string, partition int32) bool) []DirInfo {
	infos := make([]DirInfo, len(m.dirs))
	at := make(map[*logDir]*DirInfo, len(m.dirs))
	for i, d := range m.dirs {
		info := &infos[i]
		at[d] = info
		*info = DirInfo{Dir: d.Dir, TotalBytes: -1, UsableBytes: -1, Cordoned: d.cordoned.Load()}
		if d.offline.Load() {
			info.Err = kafka.KafkaStorageError
			continue
		}
		if usage, err := d.fs.Usage(d.Path); err == nil {
			info.TotalBytes, info.UsableBytes = usage.Total, usage.Free
		}
	}
	for p := range m.topics.replicas() {
		info := at[p.dir]
		if !p.online() || wanted != nil && !wanted(p.topic.name, p.index) {
			continue
		}
		info.Replicas = append(info.Replicas, DirReplica{
			Topic: p.topic.name, Partition: p.index, Size: p.log.Size(),
			OffsetLag: p.lag(),
		})
	}
	return infos
}

// lag is how far the end of this replica lies behind the high watermark.
func (p *Partition) lag() int64 { return max(0, p.high.Load()-p.log.EndOffset()) }

// DescribeProducers lists the producers known to a partition that this node leads.
func (m *Manager) DescribeProducers(topic string, partition int32) ([]commitlog.ProducerInfo, error) {
	p, err := m.find(topic, kafka.TopicID{}, partition)
	if err != nil {
		return nil, err
	}
	role := p.currentRole()
	if err := p.checkReader(&role, -1, true); err != nil {
		return nil, err
	}
	p.touch()
	return p.log.Producers(), nil
}

// Partitions yields a snapshot of every partition on this node by topic and number, for metrics.
func (m *Manager) Partitions() iter.Seq[PartitionStats] {
	return func(yield func(PartitionStats) bool) {
		for p := range m.topics.replicas() {
			if !yield(p.stats()) {
				return
			}
		}
	}
}

func (p *Partition) stats() PartitionStats {
	r := p.currentRole()
	s := PartitionStats{
		Topic: p.topic.name, Partition: p.index, Dir: p.dir.Path,
		Leader: r.leading, LeaderEpoch: r.epoch, Replicas: int(r.replicas), ISR: int(r.isr),
		UnderMinISR: r.leading && r.isr < r.minISR(p.topic.settings.Load()), HighWatermark: p.high.Load(),
		Online: p.usable(),
	}
	if p.log != nil {
		s.Start, s.End, s.Flushed = p.log.StartOffset(), p.log.EndOffset(), p.log.Flushed()
		s.Size, s.Segments = p.log.Size(), p.log.NumSegments()
	}
	return s
}

// Broken returns the partitions that are offline although their directory is not, by topic and number: their logs are
// damaged, or could not be created. It looks at every partition, for no longer than it takes to see a few flags.
func (m *Manager) Broken() (broken []kafka.TopicPartition) {
	for p := range m.topics.replicas() {
		if !p.usable() && !p.dir.offline.Load() {
			broken = append(broken, p.tp())
		}
	}
	slices.SortFunc(broken, func(a, b kafka.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return broken
}

// Topics yields the counters of every topic on this node by name, for metrics.
func (m *Manager) Topics() iter.Seq[TopicStats] {
	return func(yield func(TopicStats) bool) {
		for _, t := range m.topics.all() {
			s := TopicStats{
				Topic: t.name, MessagesIn: t.messagesIn.Load(), BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
				ProduceRequests: t.produceRequests.Load(), FetchRequests: t.fetchRequests.Load(),
				FailedProduce: t.failedProduce.Load(), FailedFetch: t.failedFetch.Load(),
			}
			if !yield(s) {
				return
			}
		}
	}
}

// DirStats is a log directory as metrics see it.
type DirStats struct {
	Path          string
	Offline, Full bool
	Replicas      int
	// SyncRounds counts the rounds of group commit, SyncedLogs the logs that were synced in them.
	SyncRounds, SyncedLogs int64
	// Damage counts what the scrubber and recovery found.
	Damage int64
	// Scrubbed counts the bytes that the scrubber has checked.
	Scrubbed int64
	// Held is the memory, in bytes, with appends that wait to be written to the files, while the journal vouches for them.
	Held int64
}

// Dirs returns the figures of every directory, in the order of the configuration.
func (m *Manager) Dirs() []DirStats {
	stats := make([]DirStats, len(m.dirs))
	for i, d := range m.dirs {
		stats[i] = DirStats{
			Path: d.Path, Offline: d.offline.Load(), Full: d.room.full.Load(), Replicas: int(d.replicas.Load()),
			SyncRounds: d.sync.roundsDone.Load(), SyncedLogs: d.sync.logsSynced.Load(), Damage: d.damage.Load(), Scrubbed: d.scrubbed.Load(),
			Held: d.handles.Held(),
		}
	}
	return stats
}

// FetchSessions returns how many incremental fetch sessions there are, and how many partitions they hold.
func (m *Manager) FetchSessions() (sessions, partitions int) { return m.sessions.count() }

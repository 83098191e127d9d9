package replica

import (
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
)

// Partition is one replica on this node. There may be a hundred thousand, nearly all of them idle: no maps, no
// channels, no timers here, and what only a busy partition needs lies behind a pointer.
type Partition struct {
	topic *topic
	dir   *logDir
	// log is nil when the partition could not be opened; it then answers KAFKA_STORAGE_ERROR.
	log   *commitlog.Log
	index int32

	// role says who leads. It changes under mu; an append holds mu for reading from its look at the role to the
	// end of its write, so that nothing is appended in an epoch that is over.
	mu   sync.RWMutex
	role role

	// epochInLog is the last leader epoch the log was told of; AssignEpoch is put off until the first append
	// or question, since a start must not touch every log. Guarded by epochMu.
	epochMu    sync.Mutex
	epochInLog atomic.Int32

	// high is the high watermark. Invariant: it only rises while this replica leads, and start <= high <= end.
	high atomic.Int64

	// waitMu guards waiting; somebodyWaits is true exactly while waiting is not nil.
	waitMu        sync.Mutex
	somebodyWaits atomic.Bool
	waiting       *waiting

	// dirty is true while the partition is on its directory's list for the next sync.
	dirty atomic.Bool
	// journaled is the last run of its directory's journal that vouches for the log. Only rounds use it.
	journaled uint32
	// damage is what is known to be wrong with the log.
	damage atomic.Int32
	// touched is set by use and taken back by the janitor: a log untouched between two of its rounds cools.
	touched atomic.Bool
	// usedSincePoints is the same for the recovery points, and pointSize the size of the log when its own was last
	// moved.
	usedSincePoints atomic.Bool
	pointSize       atomic.Int64
	// flushedAt is when the log was last flushed, in milliseconds; for flush.ms.
	flushedAt atomic.Int64
}

// The values of Partition.damage.
const (
	damageNone int32 = iota
	damageTold       // the broker's log has said that a part of it is refused
	damageLost       // the partition is offline, and the broker's log has said so
)

// touch notes that the log was used.
func (p *Partition) touch() {
	if !p.touched.Load() {
		p.touched.Store(true)
	}
}

// role is what the image says of a partition.
type role struct {
	leading bool
	// gone is true once the partition was deleted or moved away.
	gone           bool
	leader         int32
	epoch          int32
	partitionEpoch int32
	replicas       int32
	isr            int32
	// followers are the other replicas while this one leads; nil when there are none.
	followers []follower
}

// follower is what the leader knows of another replica. Positions are -1 until its first fetch.
type follower struct {
	node     int32
	inSync   bool
	appended int64
	flushed  int64
}

// tp returns the name of the partition.
func (p *Partition) tp() kafka.TopicPartition {
	return kafka.TopicPartition{Topic: p.topic.name, Partition: p.index}
}

// currentRole returns the role as it is now.
func (p *Partition) currentRole() role {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.role
}

// key names the partition by its topic's id.
func (p *Partition) key() kafka.TopicIDPartition {
	return kafka.TopicIDPartition{TopicID: p.topic.id, Partition: p.index}
}

// minISR is what min.insync.replicas comes to: never more than there are replicas (KIP-966).
func (r *role) minISR(s *settings) int32 { return min(s.MinISR, r.replicas) }

// follows reports whether a node is another replica of the partition.
func (r *role) follows(node int32) bool {
	for i := range r.followers {
		if r.followers[i].node == node {
			return true
		}
	}
	return false
}

// online reports whether the log can be used.
func (p *Partition) online() bool {
	return p.log != nil && !p.dir.offline.Load() && p.damage.Load() != damageLost
}

// usable reports whether clients can be served: online, and the log was not found damaged as a whole.
func (p *Partition) usable() bool { return p.online() && p.damage.Load() == damageNone }

// offlineError is the answer of a partition whose directory or log failed.
func (p *Partition) offlineError() error {
	if !p.dir.offline.Load() && (p.log == nil || p.damage.Load() == damageLost) {
		return kafka.KafkaStorageError.Errorf("partition %s is offline: its log in the directory %s is damaged or could not be made, see the log of the broker", p.tp(), p.dir.Path)
	}
	return kafka.KafkaStorageError.Errorf("partition %s is offline: the log directory %s failed, see the log of the broker", p.tp(), p.dir.Path)
}

// setRole makes a new role hold. It waits for appends under way. Whoever waits for an acknowledgement in a
// leadership that is over is told so; parked fetches look again.
func (p *Partition) setRole(r role, w *wakes) {
	p.mu.Lock()
	old := p.role
	p.role = r
	p.mu.Unlock()
	switch {
	case r.gone:
		p.fail(kafka.UnknownTopicOrPartition, w)
	case !r.leading:
		p.fail(kafka.NotLeaderOrFollower, w)
	case r.epoch != old.epoch:
		p.wakeFetches(w)
	}
	p.advance(w)
}

// ensureEpoch tells the log of the leader epoch before anything is appended in it, or asked of it. The caller
// holds mu for reading and leads.
func (p *Partition) ensureEpoch() error {
	epoch := p.role.epoch
	if p.epochInLog.Load() == epoch {
		return nil
	}
	p.epochMu.Lock()
	defer p.epochMu.Unlock()
	if p.epochInLog.Load() >= epoch {
		return nil
	}
	if p.log.LastEpoch() < epoch {
		if err := p.log.AssignEpoch(epoch, p.log.EndOffset()); err != nil {
			return err
		}
	}
	p.epochInLog.Store(epoch)
	return nil
}

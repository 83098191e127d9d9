package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Manager holds the replicas on this node.
//
// Load, Apply and Close are called in that order and never two at a time (GiveUp may be called at any time); everything else may be called by anybody
// between the first Apply and Close.
type Manager struct {
	nodeID int32
	fs     vfs.FS
	budget *budget.Budget
	// heavyRounds is the constant, but in tests.
	heavyRounds int32
	cluster     Cluster
	log         *slog.Logger
	locked      bool // Load takes no locks: the caller has them
	broker      BrokerConfig
	config      func(image *metadata.Image, topic string) (commitlog.Config, TopicConfig)

	dirs     []*logDir
	topics   *directory
	sessions *sessions

	// stopping: no replica is created any more.
	stopping atomic.Bool

	image       atomic.Pointer[metadata.Image]
	brokerEpoch atomic.Int64

	// Only Load, Apply and Close touch what follows.
	loaded   map[kafka.TopicPartition]loadedLog
	defaults *settings // of a topic without settings of its own
}

// defaultHandles is how many files may be open when the options do not say.
const defaultHandles = 1024

// New makes a manager; Load comes next.
func New(o Options) *Manager {
	m := &Manager{
		nodeID: o.NodeID, fs: o.FS, budget: o.Budget, heavyRounds: heavyRounds, cluster: o.Cluster, log: o.Log, locked: o.Locked, broker: o.Broker, config: o.TopicConfig,
		topics: newDirectory(), sessions: newSessions(o.Broker.SessionSlots),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	handles := o.Handles
	if handles == 0 {
		handles = defaultHandles
	}
	m.sessions.most = o.Broker.SessionPartitions
	m.image.Store(metadata.Empty())
	m.brokerEpoch.Store(-1)
	for _, dir := range o.Dirs {
		m.dirs = append(m.dirs, newLogDir(m, dir, segment.NewHandles(o.FS, max(1, handles/len(o.Dirs)))))
	}
	return m
}

// SetBrokerEpoch tells the epoch that Close writes into the clean-shutdown marker.
func (m *Manager) SetBrokerEpoch(epoch int64) { m.brokerEpoch.Store(epoch) }

// PreviousBrokerEpoch returns the broker epoch of the clean-shutdown markers that Load found, -1 unless every
// directory was stopped cleanly and by the same epoch: what BrokerRegistration tells the controller.
func (m *Manager) PreviousBrokerEpoch() int64 {
	epoch := int64(-1)
	for i, d := range m.dirs {
		if !d.clean || i > 0 && d.cleanEpoch != epoch {
			return -1
		}
		epoch = d.cleanEpoch
	}
	return epoch
}

// OnlineDirs lists the directories that work, OfflineDirs those that failed, in the order of the configuration.
func (m *Manager) OnlineDirs() []Dir { return m.listDirs(false) }

// OfflineDirs lists the directories that failed.
func (m *Manager) OfflineDirs() []Dir { return m.listDirs(true) }

func (m *Manager) listDirs(offline bool) []Dir {
	var list []Dir
	for _, d := range m.dirs {
		if d.offline.Load() == offline {
			list = append(list, d.Dir)
		}
	}
	return list
}

// TopicName returns the name as a string that is shared by all who ask, "" when no replica of such a topic is on
// this node: the hot path needs no string of its own for the bytes of a request.
func (m *Manager) TopicName(name []byte) string {
	if t := m.topics.byNameBytes(name); t != nil {
		return t.name
	}
	return ""
}

// find returns the replica of a partition on this node, by id when one is given.
func (m *Manager) find(name string, id kafka.TopicID, partition int32) (*Partition, error) {
	var t *topic
	if id.IsZero() {
		t = m.topics.byName(name)
	} else {
		t = m.topics.byID(id)
	}
	if t != nil {
		if p := t.partition(partition); p != nil {
			return p, nil
		}
	}
	// Not here: is it anywhere?
	var known *metadata.Topic
	if image := m.image.Load(); id.IsZero() {
		known = image.Topic(name)
	} else if known = image.TopicByID(id); known == nil {
		return nil, kafka.UnknownTopicID
	}
	if known.Partition(partition) == nil {
		return nil, kafka.UnknownTopicOrPartition
	}
	return nil, kafka.NotLeaderOrFollower
}

// inImage reports whether the cluster has such a partition.
func (m *Manager) inImage(name string, partition int32) bool {
	return m.image.Load().Topic(name).Partition(partition) != nil
}

// TopicNameByID returns the name of a topic id, "" when it has none. What has replicas here is found without a look at
// the image.
func (m *Manager) TopicNameByID(id kafka.TopicID) string {
	if t := m.topics.byID(id); t != nil {
		return t.name
	}
	if t := m.image.Load().TopicByID(id); t != nil {
		return t.Name
	}
	return ""
}

// hint says who leads, next to an error that means "not here" or "not in that epoch".
func (m *Manager) hint(name string, partition int32, err error) LeaderHint {
	switch kafka.CodeOf(err) {
	case kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch:
		if p := m.image.Load().Topic(name).Partition(partition); p != nil {
			return LeaderHint{Known: true, Leader: p.Leader, Epoch: p.LeaderEpoch}
		}
	}
	return LeaderHint{}
}

// GiveUp has an Apply that is creating replicas, many perhaps, leave the rest to the next start, because Close is to come.
func (m *Manager) GiveUp() { m.stopping.Store(true) }

// Close stops cleanly. What waits for the disk is flushed and answered, what waits for more is answered with what
// there is; then every log is closed, and the directories get what makes the next start a clean one: snapshots,
// checkpoints, the manifest, and last the clean-shutdown marker. ctx bounds the wait for the disk: when it ends
// first, the next start recovers.
func (m *Manager) Close(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- m.close() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errors.Join(errors.New("the log directories did not close in time; the next start will recover them"), ctx.Err())
	}
}

func (m *Manager) close() error {
	errs := make([]error, len(m.dirs))
	var all sync.WaitGroup
	for i, d := range m.dirs {
		all.Go(func() { errs[i] = d.close() })
	}
	all.Wait()
	return errors.Join(errs...)
}

// close stops one directory.
func (d *logDir) close() error {
	d.janitor.stop()
	d.endTasks()
	if d.floor == nil { // it was offline when the node started, or Load failed
		return d.unlock()
	}
	for p := range d.hosted() {
		if p.log.EndOffset() > p.log.Flushed() && !d.offline.Load() {
			d.sync.add(p)
		}
	}
	d.sync.close()
	wake := newWakes()
	for p := range d.manager.topics.replicas() {
		if p.dir == d {
			r := p.currentRole()
			r.leading = false
			p.setRole(r, wake)
		}
	}
	wake.run()
	err := d.closeLogs(time.Now())
	return errors.Join(err, d.journal.close(false), d.floor.close(), d.unlock())
}

func (d *logDir) unlock() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}

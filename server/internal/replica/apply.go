package replica

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Apply makes the replicas what the image says, in order, from one goroutine. The first call takes the whole
// image; logs that Load found and the image does not place here are set aside as strays.
func (m *Manager) Apply(image *metadata.Image, delta *metadata.Delta) {
	m.image.Store(image)
	m.cordon(image)
	wake := newWakes()
	defer wake.run()
	if m.loaded != nil || m.defaults == nil {
		m.defaults = m.settingsOf(image, "")
		for t := range image.Topics() {
			m.applyTopic(image, t, wake)
		}
		m.setStraysAside()
		m.loaded = nil
		for _, d := range m.dirs {
			for log := range d.missing { // deleted or moved away while the node was down
				d.sync.end(log, nil)
			}
			d.missing, d.startsFound = nil, nil
		}
		for _, d := range m.dirs {
			d.janitor.start()
		}
		return
	}
	brokerChanged := false
	for c := range delta.ChangedConfigs() {
		brokerChanged = brokerChanged || c.Type == kafka.ResourceBroker
	}
	if brokerChanged {
		m.defaults = m.settingsOf(image, "")
		for _, t := range m.topics.all() {
			m.configure(image, t, wake)
		}
	}
	for old, now := range delta.ChangedTopics() {
		if old != nil && (now == nil || now.ID != old.ID) {
			m.deleteTopic(old.ID, wake)
		}
		if now != nil {
			m.applyTopic(image, now, wake)
		}
	}
	for c := range delta.ChangedConfigs() {
		if c.Type == kafka.ResourceTopic {
			if t := m.topics.byName(c.Name); t != nil {
				m.configure(image, t, wake)
			}
		}
	}
}

// settingsOf returns the effective settings of a topic. Topics whose settings are the defaults share one
// value.
func (m *Manager) settingsOf(image *metadata.Image, name string) *settings {
	if name != "" && len(image.Config(kafka.ResourceTopic, name)) == 0 {
		return m.defaults
	}
	s := new(settings)
	s.log, s.TopicConfig = m.config(image, name)
	if m.defaults != nil && *s == *m.defaults {
		return m.defaults
	}
	return s
}

// configure takes over a topic's settings. When the class becomes disk, what was acknowledged from the cache is
// flushed now.
func (m *Manager) configure(image *metadata.Image, t *topic, wake *wakes) {
	s := m.settingsOf(image, t.name)
	old := t.settings.Swap(s)
	if old == s {
		return
	}
	for p := range t.all() {
		if p.log == nil {
			continue
		}
		p.log.SetConfig(s.log)
		if s.Durability == DurabilityDisk && p.log.Flushed() < p.log.EndOffset() {
			p.dir.sync.add(p)
			p.dir.sync.kick()
		}
		p.advance(wake) // min.insync.replicas or the class may let the watermark go on
	}
}

// applyTopic makes the replicas of one topic what the image says.
func (m *Manager) applyTopic(image *metadata.Image, now *metadata.Topic, wake *wakes) {
	t := m.topics.byID(now.ID)
	var fresh []*Partition
	for n, part := range now.Partitions {
		var p *Partition
		if t != nil {
			p = t.partition(int32(n))
		}
		switch mine := part.HasReplica(m.nodeID); {
		case !mine && p != nil:
			m.remove(p, wake)
		case !mine:
		case p != nil:
			if r := p.currentRole(); r.partitionEpoch != part.PartitionEpoch || r.epoch != part.LeaderEpoch {
				p.setRole(m.roleOf(part), wake)
			}
		default:
			if t == nil {
				t = &topic{name: now.Name, id: now.ID}
				t.settings.Store(m.settingsOf(image, now.Name))
			}
			fresh = append(fresh, &Partition{topic: t, index: int32(n)})
		}
	}
	if len(fresh) == 0 {
		return
	}
	m.host(fresh, now)
	t.putAll(fresh)
	if m.topics.byID(now.ID) == nil {
		m.topics.add(t)
	}
	for _, p := range fresh {
		part := now.Partitions[p.index]
		p.setRole(m.roleOf(part), wake)
		if dir, _ := part.Directory(m.nodeID); dir != p.dir.ID && p.log != nil && m.cluster != nil {
			m.cluster.AssignDirectory(kafka.TopicIDPartition{TopicID: now.ID, Partition: p.index}, p.dir.ID)
		}
	}
}

// roleOf says what the image makes of this node in a partition.
func (m *Manager) roleOf(part *metadata.Partition) role {
	r := role{
		leading: part.Leader == m.nodeID, leader: part.Leader, epoch: part.LeaderEpoch, partitionEpoch: part.PartitionEpoch,
		replicas: int32(len(part.Replicas)), isr: int32(len(part.ISR)),
	}
	if !r.leading {
		return r
	}
	for _, node := range part.Replicas {
		if node == m.nodeID {
			continue
		}
		f := follower{node: node, appended: -1, flushed: -1}
		for _, in := range part.ISR {
			f.inSync = f.inSync || in == node
		}
		r.followers = append(r.followers, f)
	}
	return r
}

// hostAtOnce is how many directories of partitions are made at a time.
const hostAtOnce = 4

// host gives new replicas their logs: those that Load found, otherwise new ones. A replica that gets none stays
// offline, with its directory.
func (m *Manager) host(fresh []*Partition, now *metadata.Topic) {
	var made []*Partition
	for _, p := range fresh {
		part := now.Partitions[p.index]
		if !m.adopt(p) && !m.miss(p) {
			assigned, _ := part.Directory(m.nodeID)
			d, err := m.place(assigned)
			if err != nil {
				d = m.dirs[0] // all of them are offline: any will say so
			}
			p.dir = d
			made = append(made, p)
			if l, ok := m.loaded[p.tp()]; ok && l.dir == d {
				d.setAside(p.tp(), l) // another incarnation's: its name is needed
				delete(m.loaded, p.tp())
			}
		}
		p.dir.replicas.Add(1)
		p.epochInLog.Store(-1)
	}
	if m.stopping.Load() {
		return // those without a log stay offline for as long as this goes on
	}
	for _, d := range m.dirs {
		if err := d.freeNames(made); err != nil {
			made = slices.DeleteFunc(made, func(p *Partition) bool { return p.dir == d && d.notCreated(p, err) })
		}
	}
	var left atomic.Int32
	inParallel(len(made), min(hostAtOnce, 1+len(made)/8), func(i int) {
		if m.stopping.Load() {
			left.Add(1)
			return
		}
		m.create(made[i])
	})
	if n := left.Load(); n > 0 {
		m.log.Info("the node stops before all replicas of a topic are created; its next start creates the others", "topic", now.Name, "left", n, "of", len(made))
	}
}

// miss reports whether a replica for which there is no log had one, in which records were acknowledged: somebody took it
// away. Then it is offline rather than empty.
func (m *Manager) miss(p *Partition) bool {
	for _, d := range m.dirs {
		if floor, known := d.missing[p.key()]; known {
			p.dir = d
			d.lack(p, floor)
			return true
		}
	}
	return false
}

// lack takes a replica offline whose log was taken away while the node was down.
func (d *logDir) lack(p *Partition, floor int64) {
	delete(d.missing, p.key())
	d.noteUnopened(p.key(), floor)
	if start, known := d.startsFound[p.tp()]; known {
		d.starts.keep(p.tp(), start)
	}
	d.damage.Add(1)
	d.log.Error(lostAdvice, "partition", p.tp(), "dir", d.path(p.tp().String()), "acknowledged_to", floor)
}

// adopt gives a replica the log that Load found for it.
func (m *Manager) adopt(p *Partition) bool {
	l, ok := m.loaded[p.tp()]
	if !ok {
		return false
	}
	if l.id.IsZero() && l.log == nil && !l.damagedID { // it goes by its name, damaged as it is
		l.id = p.topic.id
		key := kafka.TopicIDPartition{Partition: p.index}
		floor := max(l.dir.floorUnopened(key), l.dir.missing[p.key()])
		l.dir.forgetUnopened(key)
		l.dir.noteUnopened(p.key(), floor)
	}
	if floor := l.dir.missing[p.key()]; l.id.IsZero() && l.log != nil && floor > l.log.EndOffset() {
		delete(m.loaded, p.tp())
		p.dir = l.dir
		l.dir.lack(p, floor) // all that it held was taken away, and its partition.metadata
		return true
	}
	if l.id.IsZero() && l.log != nil && !l.damagedID {
		// A directory from before topics had ids (KIP-516), or one whose partition.metadata the last crash took
		// before anything was acknowledged: its name is what it goes by.
		if err := commitlog.WritePartitionMetadata(m.fs, l.log.Dir(), p.topic.id); err != nil {
			m.log.Error("the topic id could not be written", "partition", p.tp(), "err", err)
			return false
		}
		l.id = p.topic.id
	}
	if l.id != p.topic.id {
		return false // another incarnation of the topic: a stray
	}
	delete(m.loaded, p.tp())
	p.dir, p.log = l.dir, l.log
	for _, d := range m.dirs {
		if _, known := d.missing[p.key()]; known { // it goes by its name, or somebody moved it to another directory
			delete(d.missing, p.key())
			if d != p.dir {
				d.sync.end(p.key(), nil)
			}
		}
	}
	if p.log != nil {
		p.log.SetConfig(p.topic.settings.Load().log)
		p.judge()
	}
	if p.log != nil {
		if p.log.RefuseHoles() {
			p.dir.damage.Add(1)
		}
		p.high.Store(min(max(l.high, p.log.StartOffset()), p.log.EndOffset()))
	}
	return true
}

// judge decides what could not be while it was not known whether the topic is a compacted one.
func (p *Partition) judge() {
	d := p.dir
	if !p.log.Doubtful() {
		return
	}
	err := p.log.Judge()
	if errors.Is(err, commitlog.ErrDamaged) {
		d.damage.Add(1)
		d.log.Error(damageAdvice, "partition", p.tp(), "dir", p.log.Dir(), "floor", p.log.Flushed(), "err", err)
		d.noteUnopened(p.key(), p.log.Flushed())
		if start := p.log.StartOffset(); start > 0 {
			d.starts.keep(p.tp(), start)
		}
		p.log = nil
		return
	}
	if err == nil {
		err = flushOne(p.log)
	}
	if err != nil {
		d.fail(err)
	}
}

// create makes the directory of a new replica.
func (m *Manager) create(p *Partition) {
	d := p.dir
	if d.offline.Load() {
		return
	}
	o := d.options(p.tp(), p.topic.id)
	o.Config, o.Clean = p.topic.settings.Load().log, false
	err := d.room.withReserve(func() (err error) {
		p.log, err = commitlog.Create(o)
		return err
	})
	if err != nil {
		p.log = nil
		d.notCreated(p, err)
	}
}

// notCreated tells of a replica that could not be created: it stays offline. It returns true.
func (d *logDir) notCreated(p *Partition, err error) bool {
	d.log.Error("a replica could not be created and is offline", "partition", p.tp(), "dir", d.Path, "err", err)
	if !isFull(err) {
		d.fail(fmt.Errorf("create %s: %w", d.path(p.tp().String()), err))
	}
	return true
}

// deleteTopic deletes every replica of a topic on this node.
func (m *Manager) deleteTopic(id kafka.TopicID, wake *wakes) {
	t := m.topics.byID(id)
	if t == nil {
		return
	}
	for p := range t.all() {
		m.remove(p, wake)
	}
	m.topics.remove(t)
}

// remove deletes one replica: nobody finds it any more, whoever waits is answered, and its directory is renamed,
// to be deleted in a while.
func (m *Manager) remove(p *Partition, wake *wakes) {
	p.topic.put(p.index, nil)
	r := p.currentRole()
	r.leading, r.gone = false, true
	p.setRole(r, wake)
	d := p.dir
	d.replicas.Add(-1)
	if d.offline.Load() {
		return
	}
	d.forgetName(p.tp())
	d.sync.end(p.key(), p)
	var renamed string
	var err error
	if p.log != nil {
		renamed, err = p.log.Delete(time.Now())
	} else { // damaged, or never made
		renamed = d.path(commitlog.DeleteDirName(p.tp()))
		d.forgetUnopened(p.key())
		if err = d.fs.Rename(d.path(p.tp().String()), renamed); errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
	if err != nil {
		d.fail(fmt.Errorf("delete %s: %w", p.tp(), err))
		return
	}
	d.pointMoved()
	if renamed == "" {
		return // somebody took the directory away before
	}
	d.sync.dirChanged()
	d.janitor.doom(renamed, p.topic.settings.Load().log.FileDeleteDelay)
}

// setStraysAside renames the directories of logs that the image does not place on this node. They are kept: only
// the operator knows whether they are of use.
func (m *Manager) setStraysAside() {
	for tp, l := range m.loaded {
		l.dir.setAside(tp, l)
	}
}

// setAside renames one log's directory to a stray's.
func (d *logDir) setAside(tp kafka.TopicPartition, l loadedLog) {
	if d.offline.Load() {
		return
	}
	log := kafka.TopicIDPartition{TopicID: l.id, Partition: tp.Partition}
	if l.log == nil {
		d.forgetUnopened(log)
	} else if _, err := l.log.Close(time.Now()); err != nil {
		d.log.Warn("a stray log did not close cleanly", "partition", tp, "err", err)
	}
	from := d.path(tp.String())
	to := d.path(commitlog.StrayDirName(tp))
	if err := d.fs.Rename(from, to); err != nil {
		if d.isOfOneLog(err) {
			d.forgetName(tp) // there is nothing to set aside
			return
		}
		d.fail(fmt.Errorf("set %s aside: %w", from, err))
		return
	}
	d.forgetName(tp)
	if !l.id.IsZero() {
		d.sync.end(log, nil)
	}
	d.sync.dirChanged()
	d.log.Warn("a log that the cluster does not place on this node was set aside; delete the directory when nothing in it is needed", "partition", tp, "topic_id", l.id, "dir", to)
}

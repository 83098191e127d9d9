package controller

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Liveness (D10 of the design): Kafka's own defaults, 2 s and 9 s, cannot give a fast failover.
const (
	defaultSessionTimeoutMs    = 2000
	defaultHeartbeatIntervalMs = 250
	// defaultSuspectTimeout is the patience with a broker whose connection was closed.
	defaultSuspectTimeout = 500 * time.Millisecond
)

// registerBroker begins an incarnation of a broker: it gets an epoch (the offset of its record) and is fenced
// until its heartbeats show that it knows of its own registration (KIP-631).
//
// What the incarnation before it led is taken from it here. Whether it keeps its seat among the in-sync
// replicas: after a clean stop, which it proves with the epoch it had, always; after a crash in topics of class
// disk, when the replica's directory is still there; otherwise not, since the tail may be lost.
func (v *view) registerBroker(r *wire.BrokerRegistrationRequest, version int16) (change, error) {
	fail := func(err error) (change, error) {
		v.log.Warn("a broker was not registered", "broker", r.BrokerID, "reason", err)
		return respond(&wire.BrokerRegistrationResponse{ErrorCode: kafka.CodeOf(err), BrokerEpoch: -1})
	}
	if r.ClusterID != v.clusterID {
		return fail(kafka.InconsistentClusterID.Errorf("its cluster is %s, this is %s", r.ClusterID, v.clusterID))
	}
	old := v.image.Broker(r.BrokerID)
	if old != nil && old.Incarnation != r.IncarnationID && v.sessions.valid(r.BrokerID, v.now, v.sessionTimeout) &&
		// The broker of the controller's own node cannot still run when a new one starts beside a controller that
		// never heard of it: they are one process.
		(r.BrokerID != v.nodeID || v.sessions[r.BrokerID].heard) {
		return fail(kafka.DuplicateBrokerRegistration.Errorf("another process serves as broker %d", r.BrokerID))
	}
	if err := v.checkRegistration(r, version); err != nil {
		return fail(err)
	}
	registration := &wire.RegisterBrokerRecord{
		BrokerID: r.BrokerID, IncarnationID: r.IncarnationID, Rack: r.Rack, Fenced: true,
		LogDirs: slices.SortedFunc(slices.Values(r.LogDirs), compareIDs),
	}
	for _, l := range r.Listeners {
		registration.EndPoints = append(registration.EndPoints, wire.RegisterBrokerRecordEndPoints(l))
	}
	for _, f := range r.Features {
		registration.Features = append(registration.Features, wire.RegisterBrokerRecordFeatures(f))
	}
	var records []record
	switch {
	case old != nil && old.Incarnation == r.IncarnationID:
		// The answer to its first try was lost: the same incarnation keeps its epoch and its state.
		registration.BrokerEpoch, registration.Fenced, registration.InControlledShutdown = old.Epoch, old.Fenced, old.InControlledShutdown
	case old != nil:
		records = v.endIncarnation(old, r)
	}
	if old == nil || old.Incarnation != r.IncarnationID {
		registration.BrokerEpoch = v.nextOffset + int64(len(records)) // its own offset
	}
	records = append(records, record{registration, v.registerVersion()})
	return change{
		records:  records,
		response: &wire.BrokerRegistrationResponse{BrokerEpoch: registration.BrokerEpoch},
		touch: func() {
			if old == nil || old.Incarnation != r.IncarnationID {
				v.sessions.forget(r.BrokerID)
			}
		},
	}, nil
}

// checkRegistration holds a registration against the rules of its form and the finalized features.
func (v *view) checkRegistration(r *wire.BrokerRegistrationRequest, version int16) error {
	invalid := kafka.InvalidRegistration.Errorf
	if len(r.Listeners) == 0 {
		return invalid("it has no listener")
	}
	for _, l := range r.Listeners {
		if l.SecurityProtocol < 0 || l.SecurityProtocol > 3 {
			return invalid("listener %s has the unknown security protocol %d", l.Name, l.SecurityProtocol)
		}
	}
	if version >= 2 && v.image.MetadataVersion() >= versionDirectories {
		if len(r.LogDirs) == 0 {
			return invalid("it has no log directory")
		}
		for i, dir := range r.LogDirs {
			switch {
			case reserved(dir):
				return invalid("the directory id %s is reserved", dir)
			case slices.Contains(r.LogDirs[:i], dir):
				return invalid("it names the directory %s twice", dir)
			}
			for b := range v.image.Brokers() {
				if b.ID != r.BrokerID && slices.Contains(b.LogDirs, dir) {
					return invalid("the directory %s belongs to broker %d", dir, b.ID)
				}
			}
		}
	}
	ranges := make(map[string]metadata.FeatureRange)
	for _, f := range r.Features {
		ranges[f.Name] = metadata.FeatureRange{Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion}
	}
	if _, ok := ranges[featureMetadata]; !ok {
		return invalid("it does not say which levels of %s it supports", featureMetadata)
	}
	for name, level := range sorted(v.image.Features()) {
		if name == featureKRaft {
			continue
		}
		if f, ok := ranges[name]; !ok && level > 0 || ok && (level < f.Min || level > f.Max) {
			return kafka.UnsupportedVersion.Errorf("it does not support level %d of %s", level, name)
		}
	}
	return nil
}

// endIncarnation takes from a broker what its last incarnation had: its leaderships, and, where its tail may be
// lost, its seats.
func (v *view) endIncarnation(old *metadata.Broker, r *wire.BrokerRegistrationRequest) []record {
	clean := r.PreviousBrokerEpoch == old.Epoch
	return v.partitionsOf(old.ID, func(c *partitionChange, rules topicRules) bool {
		dir, known := c.Directory(old.ID)
		keeps := clean || !rules.cache
		if known && !reserved(dir) && !slices.Contains(r.LogDirs, dir) {
			keeps = false // the directory is gone, and the replica with it
		}
		if !keeps {
			c.lost = []int32{old.ID}
		}
		c.mayLead = v.mayLeadBut(c.Partition, old.ID, kafka.NoNode)
		return c.Leader == old.ID || !keeps && (slices.Contains(c.ISR, old.ID) || slices.Contains(c.ELR, old.ID))
	})
}

// heartbeat keeps a broker's session and moves it between fenced, unfenced and shutting down (KIP-631).
func (v *view) heartbeat(r *wire.BrokerHeartbeatRequest) (change, error) {
	if err := v.checkEpoch(r.BrokerID, r.BrokerEpoch); err != nil {
		return respond(&wire.BrokerHeartbeatResponse{ErrorCode: kafka.CodeOf(err), IsFenced: true})
	}
	b := v.image.Broker(r.BrokerID)
	caughtUp := r.CurrentMetadataOffset >= b.Epoch
	fenced, leaving, mayStop := b.Fenced, b.InControlledShutdown, false
	var records []record
	registration := &wire.BrokerRegistrationChangeRecord{}
	registration.SetDefaults()
	registration.BrokerID, registration.BrokerEpoch = b.ID, b.Epoch
	changed := false

	if offline := v.newlyOffline(b, r.OfflineLogDirs); len(offline) > 0 {
		registration.LogDirs = slices.DeleteFunc(slices.Clone(b.LogDirs), func(d kafka.DirectoryID) bool { return slices.Contains(offline, d) })
		changed = true
		records = append(records, v.directoriesFailed(b, offline)...)
	}
	if r.CordonedLogDirs != nil && v.image.MetadataVersion() >= versionCordoned {
		cordoned := slices.SortedFunc(slices.Values(r.CordonedLogDirs), compareIDs)
		if !slices.Equal(cordoned, b.CordonedDirs) && (len(cordoned) > 0 || len(b.CordonedDirs) > 0) {
			registration.CordonedLogDirs = append([]kafka.DirectoryID{}, cordoned...)
			changed = true
		}
	}
	switch {
	case b.Fenced && r.WantShutDown, !b.Fenced && r.WantFence && r.WantShutDown:
		mayStop = true
		if !b.Fenced {
			records = append(records, v.fence(b.ID).records...)
		}
		fenced, leaving = true, false
	case b.Fenced:
		if !r.WantFence && caughtUp {
			fenced = false
			records = append(records, v.unfence(b)...)
		}
	case r.WantFence:
		fenced, leaving = true, false
		records = append(records, v.fence(b.ID).records...)
	case b.InControlledShutdown || r.WantShutDown:
		if b.InControlledShutdown {
			mayStop = !v.leads(b.ID) && v.sessions.sawAll(v.image, b.ID)
		} else {
			// With nothing to hand over, or nobody to hand it to and to wait for, it may stop at once.
			mayStop = !v.leads(b.ID) || v.alone(b.ID)
		}
		if mayStop {
			fenced, leaving = true, false
			records = append(records, v.fence(b.ID).records...)
		} else if !b.InControlledShutdown {
			leaving = true
			registration.InControlledShutdown = 1
			changed = true
			records = append(records, v.handOver(b.ID)...)
		}
	}
	if changed {
		records = slices.Insert(records, 0, record{registration, v.registrationChangeVersion()})
	}
	entered := leaving && !b.InControlledShutdown
	return change{
		records:  records,
		response: &wire.BrokerHeartbeatResponse{IsCaughtUp: caughtUp, IsFenced: fenced, ShouldShutDown: mayStop},
		touch: func() {
			if mayStop || fenced && !b.Fenced {
				v.sessions.forget(b.ID)
				return
			}
			s := v.sessions.touch(b.ID, v.now)
			s.offset = r.CurrentMetadataOffset
			s.own = b.ID == v.nodeID
			if entered {
				s.leavesAt = v.nextOffset + int64(len(records)) - 1
			}
		},
	}, nil
}

// unregisterBroker forgets a broker; its replicas stay assigned, out of sync.
func (v *view) unregisterBroker(r *wire.UnregisterBrokerRequest) (change, error) {
	b := v.image.Broker(r.BrokerID)
	if b == nil {
		err := kafka.BrokerIDNotRegistered.Errorf("broker %d is not registered", r.BrokerID)
		return respond(&wire.UnregisterBrokerResponse{ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err)})
	}
	records := v.handOver(b.ID)
	records = append(records, record{&wire.UnregisterBrokerRecord{BrokerID: b.ID, BrokerEpoch: b.Epoch}, 0})
	return change{records: records, response: &wire.UnregisterBrokerResponse{}, touch: func() { v.sessions.forget(b.ID) }}, nil
}

// fence takes a broker out of service: it leads nothing and is in sync nowhere.
func (v *view) fence(id int32) change {
	records := v.handOver(id)
	return change{records: append(records, record{&wire.FenceBrokerRecord{ID: id, Epoch: v.image.Broker(id).Epoch}, 0})}
}

// handOver gives the leaderships of a broker away and takes it out of every ISR.
func (v *view) handOver(id int32) []record {
	return v.partitionsOf(id, func(c *partitionChange, _ topicRules) bool {
		if !slices.Contains(c.ISR, id) && c.Leader != id {
			return false
		}
		c.isr = notNil(without(slices.Clone(c.ISR), id))
		c.mayLead = v.mayLeadBut(c.Partition, id, kafka.NoNode)
		return true
	})
}

// unfence puts a broker into service. Partitions without a leader that it can lead get it; those that name it
// as their leader already (a controller died between taking them away and giving them back) get a new epoch,
// so that no incarnation ever appends in the epoch of the one before.
func (v *view) unfence(b *metadata.Broker) []record {
	records := v.partitionsOf(b.ID, func(c *partitionChange, _ topicRules) bool {
		c.mayLead = v.mayLeadBut(c.Partition, kafka.NoNode, b.ID)
		c.bump = c.Leader == b.ID
		return c.Leader == kafka.NoNode || c.bump
	})
	// The record that lets it serve is the last, so that it is not seen before all its epochs.
	return append(records, record{&wire.UnfenceBrokerRecord{ID: b.ID, Epoch: b.Epoch}, 0})
}

// partitionsOf makes the records for the partitions with a replica on a broker. want completes the change of
// one partition and says whether it is wanted.
func (v *view) partitionsOf(broker int32, want func(c *partitionChange, rules topicRules) bool) []record {
	var records []record
	var topic *metadata.Topic
	var rules topicRules
	elr, version := v.elr(), v.partitionVersion()
	for tp := range v.index.partitions(broker) {
		if topic == nil || topic.ID != tp.TopicID {
			topic = v.image.TopicByID(tp.TopicID)
			rules = v.rules(topic.Name)
		}
		c := partitionChange{Partition: topic.Partition(tp.Partition), topic: tp.TopicID, partition: tp.Partition,
			minISR: rules.minISR, elr: elr, version: version, recovery: -1}
		if rules.unclean {
			c.election = electUnclean
		}
		if !want(&c, rules) {
			continue
		}
		if r, changed := c.record(); changed {
			records = append(records, r)
		}
	}
	return records
}

// mayLeadBut judges replicas as they will be when one broker is gone and another is there; NoNode for neither.
func (v *view) mayLeadBut(p *metadata.Partition, gone, there int32) func(int32) bool {
	return func(id int32) bool {
		if id == gone || id != there && !v.active(id) {
			return false
		}
		dir, ok := p.Directory(id)
		return !ok || v.online(id, dir)
	}
}

// online reports whether a broker can serve a replica in a directory. A replica that has none yet can be served.
func (v *view) online(id int32, dir kafka.DirectoryID) bool {
	b := v.image.Broker(id)
	if b == nil || dir == kafka.LostDirectory {
		return false
	}
	return dir == kafka.MigratingDirectory || dir == kafka.UnassignedDirectory || len(b.LogDirs) == 0 || slices.Contains(b.LogDirs, dir)
}

// leads reports whether a broker leads a partition.
func (v *view) leads(id int32) bool {
	for tp := range v.index.partitions(id) {
		if v.image.Partition(tp.TopicID, tp.Partition).Leader == id {
			return true
		}
	}
	return false
}

// alone reports whether no other broker serves.
func (v *view) alone(id int32) bool {
	for b := range v.image.Brokers() {
		if b.ID != id && !b.Fenced {
			return false
		}
	}
	return true
}

// activation is what a new controller writes first.
func (v *view) activation() []record {
	var records []record
	for b := range v.image.Brokers() {
		if !b.Fenced {
			continue
		}
		// A controller that died in the middle of a long change may have left a fenced broker as a leader.
		records = append(records, v.partitionsOf(b.ID, func(c *partitionChange, _ topicRules) bool {
			c.mayLead = v.mayLeadBut(c.Partition, b.ID, kafka.NoNode)
			return c.Leader == b.ID
		})...)
	}
	return append(records, v.minISRForELR()...)
}

// sessions is who was heard of, and when. A broker without an entry has no session: it registered and sent no
// heartbeat yet, or it is fenced and silent.
type sessions map[int32]*session

type session struct {
	heard bool // false: taken over from the controller before, nothing came yet
	// own says that the broker lives in the controller's own process, and has been heard there. Its silence means
	// that this process is starved, never that the broker is dead while its judge lives: no silence ends the session.
	own      bool
	last     time.Time
	deadline time.Time // of a suspect; zero for others
	offset   int64     // of the metadata that the broker has applied
	leavesAt int64     // offset of the records that began its controlled shutdown, 0 for none
}

func newSessions(image *metadata.Image, now time.Time) sessions {
	s := make(sessions)
	for b := range image.Brokers() {
		if !b.Fenced {
			s[b.ID] = &session{last: now, offset: -1}
		}
	}
	return s
}

func (s sessions) touch(id int32, now time.Time) *session {
	e := s[id]
	if e == nil {
		e = &session{offset: -1}
		s[id] = e
	}
	e.heard, e.last, e.deadline = true, now, time.Time{}
	return e
}

func (s sessions) forget(id int32) { delete(s, id) }

func (s sessions) valid(id int32, now time.Time, timeout time.Duration) bool {
	e := s[id]
	return e != nil && (e.own || now.Before(e.expiry(timeout)))
}

func (e *session) expiry(timeout time.Duration) time.Time {
	t := e.last.Add(timeout)
	if !e.deadline.IsZero() && e.deadline.Before(t) {
		return e.deadline
	}
	return t
}

// next returns the first moment at which a session ends, zero when none can.
func (s sessions) next(timeout time.Duration) time.Time {
	var first time.Time
	for _, e := range s {
		if e.own {
			continue
		}
		if t := e.expiry(timeout); first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first
}

// lateness below which a loop counts as punctual.
const punctual = 100 * time.Millisecond

// slept extends all sessions when the loop itself woke late (D14): a machine that was paused has no right to
// call others silent.
func (s sessions) slept(late time.Duration) {
	if late < punctual {
		return
	}
	for _, e := range s {
		e.last = e.last.Add(late)
		if !e.deadline.IsZero() {
			e.deadline = e.deadline.Add(late)
		}
	}
}

// sawAll reports whether all other brokers have applied the records that took the leaderships away from one
// that shuts down: only then no client is sent to it any more.
func (s sessions) sawAll(image *metadata.Image, id int32) bool {
	e := s[id]
	if e == nil || e.leavesAt == 0 {
		return true
	}
	for b := range image.Brokers() {
		if other := s[b.ID]; b.ID != id && !b.Fenced && other != nil && other.offset < e.leavesAt {
			return false
		}
	}
	return true
}

// staleBroker returns a broker whose session ended and that is not fenced.
func (v *view) staleBroker() (int32, bool) {
	for _, id := range slices.Sorted(maps.Keys(v.sessions)) {
		if v.sessions.valid(id, v.now, v.sessionTimeout) {
			continue
		}
		if b := v.image.Broker(id); b != nil && !b.Fenced {
			return id, true
		}
		v.sessions.forget(id) // fenced already, or gone: nothing to judge
	}
	return 0, false
}

// reserved reports whether a directory id names no directory (KIP-858: the first hundred values).
func reserved(id kafka.DirectoryID) bool {
	for _, b := range id[:15] {
		if b != 0 {
			return false
		}
	}
	return id[15] < 100
}

func compareIDs(a, b kafka.UUID) int { return slices.Compare(a[:], b[:]) }

// sorted yields a map by key: its order reaches records and messages.
func sorted[K cmp.Ordered, V any](m map[K]V) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}

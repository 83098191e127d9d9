package quorum

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// StateMachine is told what is agreed, in the order of the log and from one goroutine. An error means that the node
// cannot go on.
type StateMachine interface {
	// Apply takes a committed batch of framed records; control batches do not come here.
	Apply(baseOffset int64, epoch int32, timestampMs int64, records [][]byte) error
	// Restore replaces everything by a snapshot that ends before endOffset.
	Restore(endOffset int64, epoch int32, timestampMs int64, records iter.Seq2[[]byte, error]) error
	// Snapshot returns the state after lastOffset as framed records; they may be iterated over beside Apply.
	Snapshot() (lastOffset int64, records iter.Seq[[]byte])
	// LeaderChanged says who leads, after all earlier records were applied.
	LeaderChanged(leader, epoch int32)
}

// Options say how to open a node's part of the quorum.
type Options struct {
	FS          vfs.FS
	Dir         string // metadata.log.dir
	NodeID      int32
	DirectoryID kafka.DirectoryID
	// StateMachine takes what is committed.
	StateMachine StateMachine
	Log          *slog.Logger
	// Config says how the log is kept; the zero value stands for DefaultConfig.
	Config Config
	// Failed is told, once and from a goroutine of the node, why it stopped: its disk or its state machine failed.
	Failed func(error)
}

// Node is this node's part of the quorum.
type Node struct {
	o   Options
	log *slog.Logger
	dir string

	mu       sync.Mutex
	wake     sync.Cond
	pending  []*proposal // to be given to Raft, in order
	end      int64       // the offset after the last record that was given an offset
	leader   int32
	epoch    int32
	accept   bool // this node leads epoch and its log takes proposals
	stopping bool
	failure  error
	due      bool  // a snapshot is wanted because of its age
	look     bool  // retention is to be looked at
	failed   int64 // bytes of log that a snapshot was to cover which could not be written

	high     atomic.Int64 // committed and applied up to here (exclusive)
	caughtUp atomic.Int64 // when that moved last, ms

	room   room
	quit   chan struct{} // closed by Close
	stored *commitlog.Log
	raft   *raft.RawNode
	memory *raft.MemoryStorage
	state  raftState
	file   vfs.File
	// inFlight are proposals that Raft has and that are not applied.
	inFlight  []*proposal
	voted     election
	kraft     int16
	voters    *wire.VotersRecord
	lastEpoch int32 // of the last batch in the log
	applied   applied
	change    record.Batch // the control batch of the current epoch

	sinceSnapshot int64 // bytes
	covered       int64 // the end of the newest snapshot
	snapshots     sync.WaitGroup
	snapshotting  atomic.Bool
	snapshotAt    atomic.Int64 // when the newest one was written, ms; of the start while there was none
	snapshotSize  atomic.Int64 // its bytes
	timers        []*time.Timer
	done          chan struct{}
	started       bool
}

// applied is the last batch that the state machine was given: where a snapshot of its state may end.
type applied struct {
	end   int64 // the offset after it
	epoch int32
	stamp int64 // ms
}

// proposal is a batch on its way.
type proposal struct {
	batch []byte
	last  int64
	done  func(lastOffset int64, err error)
}

// raftID is the id of this voter in Raft, which refuses 0 while Kafka allows node 0.
func raftID(node int32) uint64 { return uint64(node) + 1 }

// maxBatch bounds a batch of the metadata log.
const maxBatch = 8 << 20

// Open reads snapshot and log of the directory into the state machine and gets ready to take part.
func Open(o Options) (*Node, error) {
	if o.Config == (Config{}) {
		o.Config = DefaultConfig()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{o: o, log: o.Log, dir: Dir(o.Dir), leader: kafka.NoNode, done: make(chan struct{}), quit: make(chan struct{})}
	n.room = room{fs: o.FS, dir: n.dir, log: n.log}
	n.wake.L = &n.mu
	if err := n.open(); err != nil {
		n.closeFiles()
		return nil, fmt.Errorf("metadata log in %s: %w", n.dir, err)
	}
	return n, nil
}

func (n *Node) open() error {
	fsys := n.o.FS
	content, err := newestSnapshot(fsys, n.o.Dir)
	if err != nil {
		return err
	}
	if content == nil {
		return errors.New("there is no snapshot to begin with: the directory is not formatted; run `millrace storage format`")
	}
	if err := n.room.prepare(); err != nil {
		return err
	}
	n.kraft, n.voters = content.kraft, content.voters
	if err := n.o.StateMachine.Restore(content.id.end, content.id.epoch, content.timestamp, content.each()); err != nil {
		return err
	}
	n.high.Store(content.id.end)
	n.applied, n.covered = applied{content.id.end, content.id.epoch, content.timestamp}, content.id.end
	if content.passedOver != nil {
		n.log.Error("a newer snapshot of the metadata cannot be read; an older one and the log behind it are used", "snapshot", content.id.String(), "error", content.passedOver)
	}
	if n.voted, err = readElection(fsys, n.dir); err != nil {
		return err
	}
	var known bool
	if n.file, n.state, known, err = openRaftState(fsys, n.dir); err != nil {
		return err
	}
	if err := n.openLog(content, known); err != nil {
		return err
	}
	return n.openRaft(content)
}

// openLog opens the log over the snapshot. What a crash tore off its end was not committed.
func (n *Node) openLog(content *snapshotContent, known bool) error {
	config := commitlog.DefaultConfig()
	config.Delete, config.Compact, config.RetentionMs, config.RetentionBytes = false, false, -1, -1
	config.MaxMessageBytes = maxBatch + 1<<20
	config.SegmentBytes, config.SegmentMs, config.FileDeleteDelay = n.o.Config.SegmentBytes, max(n.o.Config.SegmentTime.Milliseconds(), 1), 0
	options := commitlog.Options{FS: n.o.FS, Dir: n.dir, Partition: kafka.TopicPartition{Topic: kafka.MetadataTopic}, TopicID: kafka.MetadataTopicID, Config: config,
		Handles: segment.NewHandles(n.o.FS, 16), Log: n.log, StartOffset: -1}
	if known {
		options.Floor = n.state.floor
	}
	var err error
	if n.stored, err = commitlog.Open(options, time.Now()); err != nil {
		return err
	}
	switch start, end := n.stored.StartOffset(), content.id.end; {
	case start > end:
		return fmt.Errorf("the log begins at offset %d, but the newest snapshot that can be read is %s: the records between them are lost; restore the snapshots from a copy of the directory", start, content.id)
	case n.stored.EndOffset() < end:
		// The log does not reach the snapshot, as after an import: it begins anew behind it.
		if n.stored.EndOffset() > start {
			n.log.Warn("the metadata log ends before its newest snapshot, and begins anew behind it", "log end", n.stored.EndOffset(), "snapshot", content.id.String())
		}
		if err := n.stored.TruncateFullyAndStartAt(end); err != nil {
			return err
		}
		known = false
	}
	if !known || n.state.offset < n.stored.StartOffset() || n.state.offset > content.id.end {
		n.state = raftState{offset: n.stored.StartOffset(), index: 1, floor: n.stored.EndOffset()}
	}
	n.end = n.stored.EndOffset()
	n.lastEpoch = content.id.epoch
	return nil
}

// openRaft gives Raft the batches of the log as entries and the state machine those behind the snapshot.
func (n *Node) openRaft(content *snapshotContent) error {
	n.memory = raft.NewMemoryStorage()
	index := n.state.index // of the next batch
	var d record.Decompressor
	var entries []*pb.Entry
	before, beforeTerm := index-1, uint64(max(content.id.epoch, 0))
	err := n.eachBatch(n.state.offset, func(b record.Batch) error {
		if err := b.CheckCRC(); err != nil {
			return err
		}
		n.lastEpoch = b.LeaderEpoch()
		if b.NextOffset() <= content.id.end { // the snapshot has it
			before, beforeTerm = index, uint64(b.LeaderEpoch())
			index++
			return nil
		}
		n.sinceSnapshot += int64(b.Length())
		if err := n.apply(b, &d); err != nil {
			return err
		}
		entries = append(entries, &pb.Entry{Term: ptr(uint64(b.LeaderEpoch())), Index: ptr(index)})
		index++
		return nil
	})
	if err != nil {
		return err
	}
	conf := &pb.ConfState{Voters: []uint64{raftID(n.o.NodeID)}}
	snapshot := &pb.Snapshot{Metadata: &pb.SnapshotMetadata{ConfState: conf, Index: ptr(before), Term: ptr(beforeTerm)}}
	if before > 0 {
		if err := n.memory.ApplySnapshot(snapshot); err != nil {
			return err
		}
	} else {
		// Raft takes no snapshot at index 0, but the voters it must know.
		n.state.index++
		for _, e := range entries {
			*e.Index++
		}
		index++
		snapshot.Metadata.Index = ptr(uint64(1))
		if err := n.memory.ApplySnapshot(snapshot); err != nil {
			return err
		}
		before = 1
	}
	if err := n.memory.Append(entries); err != nil {
		return err
	}
	applied := index - 1
	term := uint64(max(n.voted.LeaderEpoch, n.lastEpoch, 0))
	if err := n.memory.SetHardState(&pb.HardState{Term: ptr(term), Commit: ptr(applied)}); err != nil {
		return err
	}
	if applied > before {
		if err := n.memory.Compact(applied); err != nil {
			return err
		}
	}
	var err2 error
	n.raft, err2 = raft.NewRawNode(&raft.Config{ID: raftID(n.o.NodeID), ElectionTick: 10, HeartbeatTick: 1, Storage: n.memory, Applied: applied,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, MaxUncommittedEntriesSize: math.MaxInt64, CheckQuorum: true, PreVote: true, Logger: quietLogger{n.log}})
	return err2
}

func ptr[T any](v T) *T { return &v }

// eachBatch reads the log from an offset to its end.
func (n *Node) eachBatch(from int64, f func(record.Batch) error) error {
	var buf []byte
	for end := n.stored.EndOffset(); from < end; {
		slice, err := n.stored.Read(from, 1<<20, end, true)
		if err != nil {
			return err
		}
		if slice.Range == nil {
			return fmt.Errorf("nothing can be read at offset %d of %d", from, end)
		}
		buf = append(buf[:0], make([]byte, slice.Range.Len())...)
		got, err := slice.Range.ReadAt(buf, 0)
		slice.Range.Release()
		if got < len(buf) {
			return fmt.Errorf("read %d of %d bytes at offset %d: %w", got, len(buf), from, err)
		}
		for rest := buf; len(rest) > 0; {
			b, behind, err := record.Next(rest)
			if err != nil {
				return err
			}
			if err := f(b); err != nil {
				return err
			}
			from, rest = b.NextOffset(), behind
		}
	}
	return nil
}

// apply hands a committed batch on.
func (n *Node) apply(b record.Batch, d *record.Decompressor) error {
	if b.Control() {
		// The voters may stand in the log behind the snapshot, as in one that Kafka wrote.
		s := Stored{KRaftVersion: n.kraft, Voters: n.voters}
		if err := s.control(b, d); err != nil {
			return err
		}
		n.kraft, n.voters = s.KRaftVersion, s.Voters
	} else {
		values, err := valuesOf(b, d)
		if err != nil {
			return err
		}
		if err := n.o.StateMachine.Apply(b.BaseOffset(), b.LeaderEpoch(), b.MaxTimestamp(), values); err != nil {
			return err
		}
		n.applied = applied{b.NextOffset(), b.LeaderEpoch(), b.MaxTimestamp()}
	}
	n.high.Store(b.NextOffset())
	n.caughtUp.Store(time.Now().UnixMilli())
	return nil
}

// Start takes part: a quorum of one elects itself at once.
func (n *Node) Start() error {
	n.started = true
	if err := n.raft.Campaign(); err != nil {
		return err
	}
	// The election is done before Start returns, so that a node is of use as soon as it runs.
	if err := n.step(nil); err != nil {
		n.fail(err)
		close(n.done)
		return err
	}
	n.snapshotAt.Store(time.Now().UnixMilli())
	if n.o.Config.SnapshotMaxInterval > 0 {
		n.every(n.o.Config.SnapshotMaxInterval, func() { n.due = true })
	}
	n.every(retainInterval, func() { n.look = true })
	go n.loop()
	return nil
}

// every has the loop look at something again and again; what to look at is set with mu held.
func (n *Node) every(interval time.Duration, set func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(interval, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.stopping {
			return
		}
		set()
		n.wake.Signal()
		timer.Reset(interval)
	})
	n.timers = append(n.timers, timer)
}

// loop turns the crank: it sleeps until there are proposals, and gives all of them to one step.
func (n *Node) loop() {
	defer close(n.done)
	for {
		n.mu.Lock()
		for len(n.pending) == 0 && !n.stopping && !n.due && !n.look {
			n.wake.Wait()
		}
		group := n.pending
		n.pending = nil
		stopping, due, look := n.stopping, n.due, n.look
		n.due, n.look = false, false
		if look && n.failed > 0 {
			n.sinceSnapshot, n.failed, n.covered = n.sinceSnapshot+n.failed, 0, -1
		}
		n.mu.Unlock()
		if err := n.turn(group, due, look); err != nil {
			n.fail(err)
			return
		}
		if stopping && len(group) == 0 {
			return
		}
	}
}

// turn does what the loop was woken for.
func (n *Node) turn(group []*proposal, due, look bool) error {
	if len(group) > 0 {
		if err := n.step(group); err != nil {
			return err
		}
	}
	if (due || n.sinceSnapshot >= n.o.Config.SnapshotMaxBytes) && n.sinceSnapshot > 0 {
		n.takeSnapshot()
	}
	if look {
		n.room.look()
		return n.retain(time.Now())
	}
	return nil
}

// step gives proposals to Raft and does what it says: append and sync, apply, answer.
func (n *Node) step(group []*proposal) error {
	for _, p := range group {
		if err := n.raft.Propose(p.batch); err != nil {
			return fmt.Errorf("propose: %w", err)
		}
		n.inFlight = append(n.inFlight, p)
	}
	var d record.Decompressor
	for n.raft.HasReady() {
		ready := n.raft.Ready()
		if !raft.IsEmptyHardState(ready.HardState) {
			if err := n.memory.SetHardState(ready.HardState); err != nil {
				return err
			}
			if epoch := int32(ready.HardState.GetTerm()); epoch != n.voted.LeaderEpoch || n.voted.VotedID != n.o.NodeID {
				// The vote must be on the disk before anything of the epoch is.
				n.voted = election{LeaderID: n.o.NodeID, LeaderEpoch: epoch, VotedID: n.o.NodeID, VotedDirectoryID: n.o.DirectoryID.String(), DataVersion: 1}
				if err := n.insist(func() error { return writeElection(n.o.FS, n.dir, n.voted) }); err != nil {
					return err
				}
			}
		}
		if err := n.store(ready.Entries); err != nil {
			return err
		}
		var committed []record.Batch
		for _, e := range ready.CommittedEntries {
			committed = append(committed, record.Batch(e.GetData()))
		}
		n.raft.Advance(ready)
		for i, b := range committed {
			if len(b) == 0 {
				b = n.leaderChange(int32(ready.CommittedEntries[i].GetTerm()))
			}
			if err := n.commit(b, &d); err != nil {
				return err
			}
		}
		if last := len(ready.CommittedEntries); last > 0 {
			// Nobody asks for entries again: a voter that comes later begins with a snapshot.
			if err := n.memory.Compact(ready.CommittedEntries[last-1].GetIndex()); err != nil && !errors.Is(err, raft.ErrCompacted) {
				return err
			}
		}
	}
	return nil
}

// store appends entries to the log and syncs it, then moves the floor.
func (n *Node) store(entries []*pb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	now := time.Now()
	for _, e := range entries {
		batch := record.Batch(e.GetData())
		if len(batch) == 0 {
			batch = n.leaderChange(int32(e.GetTerm()))
		}
		if batch.BaseOffset() != n.stored.EndOffset() {
			return fmt.Errorf("a batch of offset %d was to be appended at %d", batch.BaseOffset(), n.stored.EndOffset())
		}
		if err := n.insist(func() error {
			_, err := n.stored.AppendFollower(batch, now)
			return err
		}); err != nil {
			return err
		}
		n.sinceSnapshot += int64(batch.Length())
		n.lastEpoch = batch.LeaderEpoch()
	}
	if flush, dirty := n.stored.BeginFlush(); dirty {
		err := flush.Sync()
		n.stored.EndFlush(flush, err)
		if err != nil {
			return err
		}
	}
	n.state.floor = n.stored.EndOffset()
	if err := n.insist(func() error {
		_, err := n.file.WriteAt(n.state.append(nil), 0)
		return err
	}); err != nil {
		return err
	}
	return n.memory.Append(entries)
}

// insist runs a write of what was accepted. A start that finds no room fails; a node that leads waits for room.
func (n *Node) insist(write func() error) error {
	n.mu.Lock()
	leads := n.accept
	n.mu.Unlock()
	if !leads {
		return n.room.insist(nil, write)
	}
	return n.room.insist(n.quit, write)
}

// Room reports whether there is room for records that are no remedy for a full disk, as new topics are not. The error
// carries KAFKA_STORAGE_ERROR.
func (n *Node) Room() error { return n.room.grow() }

// leaderChange is the batch that stands for the empty entry of a new term. It is made once per epoch: the offset it gets
// is the end of the log when the epoch begins.
func (n *Node) leaderChange(epoch int32) record.Batch {
	if n.change != nil && n.change.LeaderEpoch() == epoch {
		return n.change
	}
	me := wire.LeaderChangeMessageVoters{VoterID: n.o.NodeID, VoterDirectoryID: n.o.DirectoryID}
	m := wire.LeaderChangeMessage{LeaderID: n.o.NodeID, Voters: []wire.LeaderChangeMessageVoters{me},
		GrantingVoters: []wire.LeaderChangeMessageGrantingVoters{{VoterID: me.VoterID, VoterDirectoryID: me.VoterDirectoryID}}}
	// Version 0, which names no directories: Kafka writes no other, and its tools read no other.
	const version = 0
	n.mu.Lock()
	base := n.end
	n.end++
	n.mu.Unlock()
	n.change = record.Batch(record.AppendControl(nil, base, epoch, record.ControlLeaderChange, m.AppendTo(nil, version), time.Now().UnixMilli()))
	return n.change
}

// commit applies a batch and answers its proposal. The first one of an epoch makes its leader.
func (n *Node) commit(b record.Batch, d *record.Decompressor) error {
	if err := n.apply(b, d); err != nil {
		return err
	}
	if b.Control() {
		n.mu.Lock()
		n.leader, n.epoch, n.accept = n.o.NodeID, b.LeaderEpoch(), true
		n.mu.Unlock()
		n.o.StateMachine.LeaderChanged(n.o.NodeID, b.LeaderEpoch())
		return nil
	}
	if len(n.inFlight) == 0 || n.inFlight[0].last != b.LastOffset() {
		return fmt.Errorf("a batch up to offset %d was committed that was not proposed here", b.LastOffset())
	}
	p := n.inFlight[0]
	n.inFlight = n.inFlight[1:]
	p.done(p.last, nil)
	return nil
}

// fail stops the node: its disk or its state machine cannot be trusted any more.
func (n *Node) fail(err error) {
	n.mu.Lock()
	n.failure, n.accept = err, false
	pending := append(n.inFlight, n.pending...)
	n.pending, n.inFlight = nil, nil
	n.mu.Unlock()
	n.log.Error("the metadata quorum failed; the node must stop", "err", err)
	for _, p := range pending {
		p.done(-1, kafka.NotController.Errorf("the metadata log failed: %v", err))
	}
	if n.o.Failed != nil {
		n.o.Failed(err)
	}
}

// ProposeAsync appends framed records as one atomic batch of an epoch, and returns the offset of the last one. done is
// called once, from the node's goroutine, when they are committed and applied, or never will be. The error is
// NOT_CONTROLLER when this node does not lead the epoch, KAFKA_STORAGE_ERROR when the disk is full; then nothing was
// appended.
func (n *Node) ProposeAsync(epoch int32, records [][]byte, done func(lastOffset int64, err error)) (int64, error) {
	if len(records) == 0 {
		return -1, errors.New("quorum: a proposal without records")
	}
	now := time.Now().UnixMilli()
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.failure != nil:
		return -1, kafka.NotController.Errorf("the metadata log failed: %v", n.failure)
	case !n.accept || n.stopping || n.epoch != epoch:
		return -1, kafka.NotController.Errorf("node %d does not lead epoch %d of the metadata quorum", n.o.NodeID, epoch)
	}
	o := record.NewBuilderOptions()
	o.BaseOffset, o.LeaderEpoch = n.end, epoch
	b := record.NewBuilder(o)
	for _, value := range records {
		b.Append(record.Record{Timestamp: now, Value: value})
	}
	if b.Len() > maxBatch {
		return -1, kafka.RecordListTooLarge.Errorf("%d metadata records of %d bytes do not fit into one batch of %d", len(records), b.Len(), maxBatch)
	}
	if err := n.room.admit(b.Len()); err != nil {
		return -1, err
	}
	p := &proposal{batch: b.Build(nil), last: n.end + int64(len(records)) - 1, done: done}
	n.end = p.last + 1
	n.pending = append(n.pending, p)
	n.wake.Signal()
	return p.last, nil
}

// Propose is ProposeAsync and the wait for it.
func (n *Node) Propose(ctx context.Context, epoch int32, records [][]byte) (lastOffset int64, err error) {
	type result struct {
		offset int64
		err    error
	}
	done := make(chan result, 1)
	if _, err := n.ProposeAsync(epoch, records, func(offset int64, err error) { done <- result{offset, err} }); err != nil {
		return -1, err
	}
	select {
	case r := <-done:
		return r.offset, r.err
	case <-ctx.Done():
		return -1, ctx.Err()
	}
}

// Leader returns who leads and in which epoch; -1 when nobody does.
func (n *Node) Leader() (id, epoch int32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader, n.epoch
}

// HighWatermark is the offset up to which (exclusive) the log is committed and applied.
func (n *Node) HighWatermark() int64 { return n.high.Load() }

// EndOffset is the offset that the next record will get.
func (n *Node) EndOffset() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end
}

// KRaftVersion is the level of kraft.version: 1 when the log keeps its voters, 0 when the configuration does.
func (n *Node) KRaftVersion() int16 { return n.kraft }

// Replica is a voter or observer as DescribeQuorum shows it.
type Replica struct {
	ID          int32
	DirectoryID kafka.DirectoryID
	EndOffset   int64
	// LastFetch and LastCaughtUp are in milliseconds; a leader is caught up with itself now.
	LastFetchMs, LastCaughtUpMs int64
}

// Status is what DescribeQuorum shows.
type Status struct {
	Leader, Epoch     int32
	HighWatermark     int64
	KRaftVersion      int16
	Voters, Observers []Replica
}

// Describe returns the state of the quorum.
func (n *Node) Describe() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now().UnixMilli()
	s := Status{Leader: n.leader, Epoch: n.epoch, HighWatermark: n.high.Load(), KRaftVersion: n.kraft}
	me := Replica{ID: n.o.NodeID, EndOffset: n.end, LastFetchMs: now, LastCaughtUpMs: now}
	if n.kraft >= 1 {
		me.DirectoryID = n.o.DirectoryID
	}
	s.Voters = []Replica{me}
	return s
}

// takeSnapshot writes the state machine's state beside normal work. It runs on the loop.
func (n *Node) takeSnapshot() {
	if !n.snapshotting.CompareAndSwap(false, true) {
		return
	}
	last, records := n.o.StateMachine.Snapshot()
	covered := n.applied
	if last+1 != covered.end {
		// A metadata transaction is open: the state is that of an offset where no batch ends, perhaps. The next
		// batch tries again.
		n.snapshotting.Store(false)
		return
	}
	size, controls := n.sinceSnapshot, voterControls(n.kraft, n.voters, covered.stamp)
	n.sinceSnapshot = 0
	if covered.end <= n.covered { // there was nothing but changes of leader
		n.snapshotting.Store(false)
		return
	}
	n.covered = covered.end
	n.snapshots.Add(1)
	go func() {
		defer n.snapshots.Done()
		defer n.snapshotting.Store(false)
		began := time.Now()
		id := snapshotID{end: covered.end, epoch: covered.epoch}
		err := writeSnapshot(n.o.FS, n.dir, id, covered.stamp, controls, records)
		n.mu.Lock()
		defer n.mu.Unlock()
		if err != nil {
			n.failed += size // and so the next look at retention is the next try
			n.log.Error("a snapshot of the metadata could not be written; it is tried again", "in", retainInterval, "error", err)
			return
		}
		n.snapshotAt.Store(time.Now().UnixMilli())
		if info, err := n.o.FS.Stat(path.Join(n.dir, id.String())); err == nil {
			n.snapshotSize.Store(info.Size())
		}
		n.log.Debug("snapshot of the metadata", "file", id.String(), "log bytes since the last", size, "took", time.Since(began))
		n.look = true
		n.wake.Signal()
	}()
}

// SnapshotStats says how old the newest snapshot of this process is (or the process, while it has written none) and how
// large.
func (n *Node) SnapshotStats() (age time.Duration, bytes int64) {
	return time.Since(time.UnixMilli(n.snapshotAt.Load())), n.snapshotSize.Load()
}

// Close stops taking part. Proposals that were accepted are finished first.
func (n *Node) Close() error {
	n.mu.Lock()
	n.stopping = true
	n.wake.Signal()
	n.mu.Unlock()
	close(n.quit)
	if n.started {
		<-n.done
		for _, timer := range n.timers {
			timer.Stop()
		}
	}
	n.snapshots.Wait()
	n.mu.Lock()
	left := append(n.inFlight, n.pending...)
	n.pending, n.inFlight = nil, nil
	n.mu.Unlock()
	for _, p := range left {
		p.done(-1, kafka.NotController.Errorf("the node is stopping"))
	}
	return n.closeFiles()
}

func (n *Node) closeFiles() error {
	var errs []error
	if n.stored != nil {
		if _, err := n.stored.Close(time.Now()); commitlog.IsFull(err) {
			// What is missing are entries of indexes, which the next start makes anew.
			n.log.Warn("the disk of the metadata log is full; its indexes are made anew at the next start", "dir", n.dir, "error", err)
		} else {
			errs = append(errs, err)
		}
	}
	if n.file != nil {
		errs = append(errs, n.file.Sync(), n.file.Close())
	}
	return errors.Join(errs...)
}

// quietLogger hands Raft's lines to slog: what it calls info is detail for us.
type quietLogger struct{ log *slog.Logger }

func (q quietLogger) Debug(v ...any)                   {}
func (q quietLogger) Debugf(format string, v ...any)   {}
func (q quietLogger) Info(v ...any)                    { q.log.Debug(fmt.Sprint(v...)) }
func (q quietLogger) Infof(format string, v ...any)    { q.log.Debug(fmt.Sprintf(format, v...)) }
func (q quietLogger) Warning(v ...any)                 { q.log.Warn(fmt.Sprint(v...)) }
func (q quietLogger) Warningf(format string, v ...any) { q.log.Warn(fmt.Sprintf(format, v...)) }
func (q quietLogger) Error(v ...any)                   { q.log.Error(fmt.Sprint(v...)) }
func (q quietLogger) Errorf(format string, v ...any)   { q.log.Error(fmt.Sprintf(format, v...)) }
func (q quietLogger) Fatal(v ...any)                   { panic(fmt.Sprint(v...)) }
func (q quietLogger) Fatalf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }
func (q quietLogger) Panic(v ...any)                   { panic(fmt.Sprint(v...)) }
func (q quietLogger) Panicf(format string, v ...any)   { panic(fmt.Sprintf(format, v...)) }

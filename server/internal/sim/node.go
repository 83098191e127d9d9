package sim

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// node is the one node: its coordinator, which a crash ends, and what outlives that.
type node struct {
	c      *group.Coordinator
	life   int // how often it was started
	up     bool
	shards []*shard
	// segmentBytes is the size of their segments.
	segmentBytes int64
	// slow makes syncs take longer than answers may wait.
	slow        bool
	asleepUntil time.Duration
	slept       time.Duration // in all
	ticks       int           // only the newest planned tick counts
	config      group.Config
	// retention is how long offsets are kept, as those who wrote the configuration believe.
	retention time.Duration
	ids       int

	image   *metadata.Image
	records []wire.Message // all that the metadata is made of
	topics  map[string]kafka.TopicID
	made    byte // topics so far
}

// shard is one partition of the groups' topic, and its log.
type shard struct {
	w     *world
	index int32
	leads bool
	epoch int32
	log   *memlog.Log
	// disk stores the log, nil in runs without one: then a crash forgets whole batches only.
	disk    *disk
	syncing bool
	// taken are the batches that the ledger has taken in, and sum is of their bytes.
	taken int
	sum   uint32
}

// of is the shard of a group.
func (w *world) of(g string) *shard { return w.shards[group.PartitionOf(g, len(w.shards))] }

// The times of a run.
const (
	sessionTimeout    = 8 * time.Second
	rebalanceTimeout  = 10 * time.Second
	heartbeatInterval = 2 * time.Second
	writeTimeout      = 5 * time.Second
)

var groupsID = kafka.TopicID{15: 255}

// start starts the coordinator on what is in the log and in the metadata.
func (w *world) start() {
	w.life++
	life := w.life
	w.up = true
	w.c = w.coordinator(func(partition, epoch int32) (coordinator.Log, error) {
		s := w.shards[partition]
		if epoch != s.epoch || !s.leads {
			return nil, kafka.NotLeaderOrFollower
		}
		w.ledger.checkKept(s)
		w.say("partition %d is loaded: %d batches", partition, len(s.log.Batches))
		return &tap{s, s.log}, nil
	}, func(load func()) { // or looks at what regular expressions match
		w.after(w.between(time.Millisecond, 300*time.Millisecond), func() {
			if w.life == life && w.up {
				w.whenAwake(func() {
					if w.life == life && w.up {
						load()
						w.turn()
					}
				})
			}
		})
	})
	delta := metadata.NewDelta(metadata.Empty())
	w.replay(delta, w.records)
	w.image = delta.Apply(int64(len(w.records)), 1, 0)
	w.c.Publish(w.image, delta)
	w.turn()
}

func (w *world) coordinator(open func(int32, int32) (coordinator.Log, error), load func(func())) *group.Coordinator {
	return group.New(group.Options{
		NodeID: 1, Config: w.config, Now: w.clock, Open: open, Go: load, Log: slog.New(alarm{w}),
		NewID: func() string { w.ids++; return strconv.Itoa(w.ids) },
	})
}

// settings are the configuration of a run, some of it from the dice.
func (w *world) settings() group.Config {
	set := map[string]string{
		"group.initial.rebalance.delay.ms":     pick(w, []string{"0", "1000", "3000"}),
		"group.coordinator.append.linger.ms":   pick(w, []string{"-1", "0", "10"}),
		"group.consumer.session.timeout.ms":    millis(sessionTimeout),
		"group.consumer.heartbeat.interval.ms": millis(heartbeatInterval),
		// What bounds these would also bound a group's own; none has any here.
		"group.consumer.min.session.timeout.ms": "1", "group.consumer.max.session.timeout.ms": millis(time.Hour), "group.consumer.min.heartbeat.interval.ms": "1",
		"offsets.commit.timeout.ms":           millis(writeTimeout),
		"offsets.load.buffer.size":            pick(w, []string{"1", "1000", "100000"}),
		"offsets.retention.minutes":           pick(w, []string{"1", "10080"}),
		"offsets.retention.check.interval.ms": pick(w, []string{"3000", "20000"}),
	}
	minutes, err := strconv.Atoi(set["offsets.retention.minutes"])
	if err != nil {
		panic(err)
	}
	w.retention = time.Duration(minutes) * time.Minute
	if w.bug == ForgetsEarly {
		w.retention *= 2
	}
	if w.bug == KeepsTheDead {
		set["group.consumer.session.timeout.ms"] = millis(time.Hour)
	}
	config, err := group.ParseConfig(func(key string) string { return set[key] })
	if err != nil {
		panic(err)
	}
	return config
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// alarm is a logger that takes an error of the coordinator's own for what it is.
type alarm struct{ w *world }

func (alarm) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelError }
func (a alarm) WithAttrs([]slog.Attr) slog.Handler             { return a }
func (a alarm) WithGroup(string) slog.Handler                  { return a }
func (a alarm) Handle(_ context.Context, r slog.Record) error {
	said := r.Message
	stale := false
	r.Attrs(func(at slog.Attr) bool {
		err, isError := at.Value.Any().(error)
		stale = stale || isError && kafka.CodeOf(err) == kafka.NotLeaderOrFollower
		said += " " + at.String()
		return true
	})
	if !stale { // a load that came too late
		a.w.fail("the coordinator meets no error of its own", "%s", said)
	}
	return nil
}

// tap is a log as the coordinator sees it.
type tap struct {
	s *shard
	*memlog.Log
}

// Append implements coordinator.Log.
func (t *tap) Append(batch []byte, done func(error)) (int64, error) {
	if t.s.w.bug == AnswersBeforeCommit {
		base, err := t.Log.Append(batch, func(error) { t.s.w.ledger.catchUp() })
		if err == nil {
			done(nil)
			t.store()
		}
		return base, err
	}
	base, err := t.Log.Append(batch, t.committed(done))
	if err == nil {
		t.store()
	}
	return base, err
}

// store writes what was appended last to the disk.
func (t *tap) store() {
	if t.s.disk != nil {
		t.s.disk.append(t.Log.Batches[len(t.Log.Batches)-1])
	}
}

// Read implements coordinator.Log.
func (t *tap) Read(offset int64, buf []byte) ([]byte, error) {
	if t.s.disk != nil {
		return t.s.disk.read(offset, buf)
	}
	return t.Log.Read(offset, buf)
}

// Await implements coordinator.Log.
func (t *tap) Await(offset int64, done func(error)) { t.Log.Await(offset, t.committed(done)) }

func (t *tap) committed(done func(error)) func(error) {
	return func(err error) {
		t.s.w.ledger.catchUp()
		done(err)
	}
}

// turn turns the crank after whatever happened to the node: timers, and the disks.
func (w *world) turn() {
	if !w.up {
		return
	}
	next := w.c.Tick(w.clock())
	w.ticks++
	if mine := w.ticks; !next.IsZero() {
		w.at(next.Sub(begun), func() {
			w.whenAwake(func() {
				if w.ticks == mine {
					w.turn()
				}
			})
		})
	}
	for _, s := range w.shards {
		s.sync()
	}
}

// whenAwake does something at once, or when the process wakes.
func (w *world) whenAwake(do func()) {
	if w.now < w.asleepUntil {
		w.at(w.asleepUntil, func() { w.whenAwake(do) })
		return
	}
	do()
}

// sync lets the disk sync what was appended.
func (s *shard) sync() {
	w := s.w
	if s.syncing || s.log.Waiting() == 0 {
		return
	}
	s.syncing = true
	life, took := w.life, w.between(time.Millisecond, 30*time.Millisecond)
	if w.slow {
		took = w.between(time.Second, 9*time.Second)
	}
	log := s.log
	w.after(took, func() {
		w.whenAwake(func() {
			if w.life != life || s.log != log {
				return
			}
			s.syncing = false
			n := s.log.Waiting()
			if n > 1 && w.chance(0.3) {
				n = 1 + w.dice.IntN(n)
			}
			w.say("%d batches of partition %d are synced", n, s.index)
			if s.disk != nil && w.bug != LeavesUnsynced {
				s.disk.flush()
			}
			s.log.Commit(n)
			w.turn()
		})
	})
}

// crash ends the process. What was not synced is gone, but for what the disk had taken all the same.
func (w *world) crash() {
	w.say("the node crashes")
	w.report.Crashes++
	w.life++ // nobody hears of the answers of this one any more
	w.up, w.open, w.asleepUntil = false, nil, 0
	for _, s := range w.shards {
		s.leads = false
		waiting := s.log.Waiting()
		if s.disk != nil {
			s.log, s.syncing = s.disk.crash(), false
			w.ledger.checkKept(s)
		} else {
			s.next(w.dice.IntN(waiting + 1))
		}
		w.say("of partition %d, where %d batches were not synced, %d are there", s.index, waiting, len(s.log.Batches))
	}
	w.ledger.catchUp()
	w.after(w.between(100*time.Millisecond, 6*time.Second), func() {
		w.say("the node starts")
		for _, s := range w.shards {
			s.lead(true)
		}
		w.start()
	})
}

// next is the log as the next leader finds it, with so many of the batches that were in flight.
func (s *shard) next(keep int) {
	s.log.Lose(keep)
	s.log, s.syncing = s.log.Next(), false
	if s.disk != nil {
		s.disk.truncate(s.log.End)
	}
	s.w.ledger.catchUp()
}

// loseLeadership lets another node lead a partition, for a while.
func (w *world) loseLeadership(s *shard) {
	w.report.LostLeaderships++
	keep := w.dice.IntN(s.log.Waiting() + 1)
	w.say("the leadership of partition %d is lost; %d of %d batches in flight were committed", s.index, keep, s.log.Waiting())
	s.leads = false
	told := w.chance(0.5)
	publish := func() { w.publish(s.lead(false)) }
	if told { // by the metadata first, or by the log
		publish()
	}
	s.next(keep)
	w.turn()
	if !told {
		publish()
	}
	life := w.life
	w.after(w.between(10*time.Millisecond, 5*time.Second), func() {
		w.whenAwake(func() {
			if w.life == life {
				w.say("the leadership of partition %d is back", s.index)
				w.publish(s.lead(true))
			}
		})
	})
}

// lead says in the metadata who leads, in an epoch of its own, and returns what it said.
func (s *shard) lead(us bool) wire.Message {
	s.epoch++
	s.leads = us
	leader := int32(1)
	if !us {
		leader = 2
	}
	r := partitionRecord(groupsID, s.index, leader, s.epoch)
	s.w.records = append(s.w.records, r)
	return r
}

func partitionRecord(id kafka.TopicID, n, leader, epoch int32) *wire.PartitionRecord {
	p := wire.NewPartitionRecord()
	p.TopicID, p.PartitionID, p.Replicas, p.Isr, p.Leader, p.LeaderEpoch = id, n, []int32{1}, []int32{1}, leader, epoch
	return p
}

func (w *world) replay(d *metadata.Delta, records []wire.Message) {
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			panic(fmt.Sprintf("the simulator's own metadata: %v", err))
		}
	}
}

// change changes the metadata.
func (w *world) change(records ...wire.Message) {
	w.records = append(w.records, records...)
	w.publish(records...)
}

// publish tells the coordinator of records, if it runs.
func (w *world) publish(records ...wire.Message) {
	if !w.up {
		return
	}
	d := metadata.NewDelta(w.image)
	w.replay(d, records)
	w.image = d.Apply(int64(len(w.records)), 1, 0)
	if _, removal := records[0].(*wire.RemoveTopicRecord); removal && w.bug == KeepsOffsets {
		d = metadata.NewDelta(w.image) // nobody hears of it
	}
	w.c.Publish(w.image, d)
	w.turn()
}

// createTopic makes a topic, or lets it grow.
func (w *world) createTopic(name string, partitions int) {
	id, there := w.topics[name]
	var records []wire.Message
	have := 0
	if there {
		have = len(w.image.Topic(name).Partitions)
	} else {
		w.made++
		id = kafka.TopicID{0: 1, 15: w.made}
		w.topics[name] = id
		records = append(records, &wire.TopicRecord{Name: name, TopicID: id})
	}
	for p := have; p < have+partitions; p++ {
		records = append(records, partitionRecord(id, int32(p), 1, 0))
	}
	w.say("topic %s has %d partitions", name, have+partitions)
	w.change(records...)
}

func (w *world) deleteTopic(name string) {
	w.say("topic %s is deleted", name)
	id := w.topics[name]
	delete(w.topics, name)
	w.change(&wire.RemoveTopicRecord{TopicID: id})
	w.checkForgotten(id)
}

// partitionsOf counts the partitions of a topic, 0 when there is none.
func (w *world) partitionsOf(name string) int32 {
	if t := w.image.Topic(name); t != nil {
		return int32(len(t.Partitions))
	}
	return 0
}

func (w *world) sortedTopics() []string {
	var names []string
	for name := range w.topics {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

package group

import (
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"
	"unicode/utf16"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Topic is where groups are stored.
const Topic = "__consumer_offsets"

// Options are what a coordinator is made of.
type Options struct {
	NodeID int32
	Config Config
	// Open returns the log of a partition of Topic that this node leads in an epoch.
	Open func(partition, epoch int32) (coordinator.Log, error)
	Log  *slog.Logger
	// NewID makes the part of a member id that is like no other; nil is a random UUID.
	NewID func() string
	// Now is the clock; nil is time.Now. Go runs a load; nil is a goroutine.
	Now func() time.Time
	Go  func(load func())
}

// Coordinator coordinates the groups whose partitions of Topic this node leads. Requests may come from anywhere at any
// time, and are answered by done, from anywhere, outside of all locks. An error that is not in the response is of the
// whole request.
type Coordinator struct {
	o       Options
	runtime *coordinator.Runtime[*Shard]
	image   atomic.Pointer[metadata.Image]
	// newTopics is the offset of the newest image that brought topics.
	newTopics atomic.Int64
	figures   figures
}

// New makes a coordinator that leads nothing yet.
func New(o Options) *Coordinator {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = randomID
	}
	c := &Coordinator{o: o, figures: newFigures()}
	c.image.Store(metadata.Empty())
	c.runtime = coordinator.New(coordinator.Options[*Shard]{
		Records: wire.GroupRecords, Open: o.Open, New: func(s coordinator.Shard) *Shard { return newShard(c, s) },
		WriteTimeout: o.Config.OffsetsCommitTimeout, Linger: o.Config.AppendLinger, KeptBytes: c.keptBytes,
		Codec: o.Config.OffsetsCodec, Loaders: o.Config.Loaders, BufferBytes: o.Config.LoadBufferBytes, Log: o.Log, Now: o.Now, Go: o.Go,
	})
	return c
}

// Start begins to watch over sessions, until Close.
func (c *Coordinator) Start() { c.runtime.Start() }

// End ends all shards, for good, and tells everybody who waits to look for another coordinator.
func (c *Coordinator) End() { c.runtime.End() }

// Close is End, and stops what Start began.
func (c *Coordinator) Close() { c.runtime.Close() }

// Tick does what is due at now and returns when it wants to be called again. It is for whoever does not call Start.
func (c *Coordinator) Tick(now time.Time) time.Time { return c.runtime.Tick(now) }

// Publish takes a new image: partitions of Topic that this node leads from now on are loaded, others are given up, and
// the offsets of topics that are gone are deleted (forget.go). The replicas have the image already.
func (c *Coordinator) Publish(image *metadata.Image, delta *metadata.Delta) {
	c.image.Store(image)
	var gone []*metadata.Topic
	var born []string
	for before, after := range delta.ChangedTopics() {
		if before != nil && after == nil {
			gone = append(gone, before)
		}
		if before == nil {
			c.newTopics.Store(image.Offset())
			born = append(born, after.Name)
		}
		if name := nameOf(before, after); name == Topic {
			c.follow(before, after)
		}
	}
	if len(gone)+len(born) > 0 {
		c.runtime.All(func(s *Shard, now time.Time) coordinator.Result {
			s.topicsChanged(gone, born, now)
			return coordinator.Result{}
		})
	}
}

func nameOf(before, after *metadata.Topic) string {
	if after != nil {
		return after.Name
	}
	return before.Name
}

// follow leads and resigns as the image says.
func (c *Coordinator) follow(before, after *metadata.Topic) {
	if after == nil {
		for i, p := range before.Partitions {
			c.runtime.Resign(int32(i), p.LeaderEpoch)
		}
		return
	}
	for i, p := range after.Partitions {
		if p.Leader == c.o.NodeID {
			c.runtime.Lead(int32(i), p.LeaderEpoch)
		} else {
			c.runtime.Resign(int32(i), p.LeaderEpoch)
		}
	}
}

// randomID is a UUID as Java writes it.
func randomID() string {
	id := kafka.NewUUID()
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// topicID is the id of a topic, zero when there is none.
func (c *Coordinator) topicID(name string) kafka.TopicID {
	if t := c.image.Load().Topic(name); t != nil {
		return t.ID
	}
	return kafka.TopicID{}
}

// PartitionOf is the partition of Topic that a group belongs to, among so many: the amount of Java's hash of the name,
// since Kafka's partitions must be found again. The smallest number, which has no amount of its size, counts as 0.
func PartitionOf(group string, partitions int) int32 {
	h := int32(0)
	for _, r := range group {
		if r >= 1<<16 {
			first, second := utf16.EncodeRune(r)
			h, r = 31*h+first, second
		}
		h = 31*h + r
	}
	if h == math.MinInt32 {
		return 0
	}
	return max(h, -h) % int32(partitions)
}

// partitionOf is the partition of a group as the image has it.
func (c *Coordinator) partitionOf(group string) (int32, error) {
	t := c.image.Load().Topic(Topic)
	if t == nil || len(t.Partitions) == 0 {
		return 0, kafka.NotCoordinator.Errorf("%s does not exist yet", Topic)
	}
	return PartitionOf(group, len(t.Partitions)), nil
}

// run decides a request in the partition of a group. then is called when what was decided is committed.
func (c *Coordinator) run(group string, decide func(s *Shard, now time.Time) (res coordinator.Result, then func(error)), refuse func(error)) {
	partition, err := c.partitionOf(group)
	if err != nil {
		refuse(err)
		return
	}
	c.runtime.Do(partition, func(s *Shard, now time.Time) coordinator.Result {
		res, then := decide(s, now)
		if then != nil {
			res.Then = append(res.Then, then)
		}
		return res
	}, refuse)
}

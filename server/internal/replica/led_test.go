package replica

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// committed collects what done functions were told. Those of different rounds are told side by side.
type committed struct {
	mu   sync.Mutex
	told []string
}

func (c *committed) done(name string) func(error) {
	return func(err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.told = append(c.told, fmt.Sprintf("%s: %v", name, kafka.CodeOf(err)))
	}
}

// take returns what was told since the last time, in the order of the alphabet.
func (c *committed) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	told := slices.Sorted(slices.Values(c.told))
	c.told = nil
	return told
}

func TestALedPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const topic = "__consumer_offsets"
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords(topic, idT, 1)...)
		_, err := n.m.Led(topic, 0, 1)
		check(t, "another epoch", kafka.CodeOf(err), kafka.NotLeaderOrFollower)
		_, err = n.m.Led(topic, 1, 0)
		check(t, "no such partition", kafka.CodeOf(err), kafka.UnknownTopicOrPartition)
		led, err := n.m.Led(topic, 0, 0)
		if err != nil {
			t.Fatal(err)
		}

		var told committed
		for i, want := range []int64{0, 2} {
			base, err := led.Append(batchOf("a", "b"), told.done(fmt.Sprint("batch ", i)))
			check(t, "error", err, nil)
			check(t, "base offset", base, want)
		}
		led.Await(4, told.done("await 4"))
		synctest.Wait()
		check(t, "committed", told.take(), []string{"await 4: NONE", "batch 0: NONE", "batch 1: NONE"})
		led.Await(4, told.done("await 4"))
		check(t, "at once", told.take(), []string{"await 4: NONE"})

		start, end := led.Bounds()
		check(t, "bounds", []int64{start, end}, []int64{0, 4})
		b, err := led.Read(2, make([]byte, 0, 10)) // smaller than the batch
		check(t, "read error", err, nil)
		check(t, "read from", record.Batch(b).BaseOffset(), 2)
		b, err = led.Read(0, make([]byte, 0, 1000))
		check(t, "read error", err, nil)
		check(t, "read both", len(b), 2*record.Batch(b).Length())
		b, err = led.Read(4, make([]byte, 0, 1000))
		check(t, "read error", err, nil)
		check(t, "at the end", len(b), 0)

		check(t, "the largest batch", led.MaxBatchBytes(), 1048588)
		size := "5000"
		n.apply(&wire.ConfigRecord{ResourceType: int8(kafka.ResourceTopic), ResourceName: topic, Name: "max.message.bytes", Value: &size})
		check(t, "the largest batch as the topic says now", led.MaxBatchBytes(), 5000)

		// The same node leads again, in another epoch: the old leadership writes nothing any more, and who waits is told.
		led.Await(9, told.done("await 9"))
		n.apply(partitionRecord(idT, 0, 2, 1))
		_, err = led.Append(batchOf("c"), told.done("late"))
		check(t, "an append of an old leadership", kafka.CodeOf(err), kafka.NotLeaderOrFollower)
		n.apply(removeTopic(idT))
		check(t, "who waits is told", told.take(), []string{"await 9: UNKNOWN_TOPIC_OR_PARTITION"})
	})
}

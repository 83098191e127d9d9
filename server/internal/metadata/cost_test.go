package metadata

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// wide returns an image of n topics with a partition each.
func wide(t testing.TB, n int) *Image {
	t.Helper()
	d := NewDelta(Empty())
	for i := range n {
		for _, m := range []wire.Message{topic(fmt.Sprintf("topic-%07d", i), wideID(i)), partition(wideID(i), 0, 1)} {
			if err := d.Replay(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	return d.Apply(int64(2*n), 1, 1)
}

func wideID(i int) (id kafka.UUID) {
	binary.BigEndian.PutUint64(id[:], uint64(i)*0x9E3779B97F4A7C15|1) // scattered, as random ids are
	return id
}

// electLeaders changes the leader of k topics that lie all over an image of n.
func electLeaders(t testing.TB, image *Image, n, k int) *Image {
	d := NewDelta(image)
	for i := range k {
		m := wire.NewPartitionChangeRecord()
		m.TopicID, m.PartitionID, m.Leader = wideID(i*(n/k)), 0, 2
		if err := d.Replay(m); err != nil {
			t.Fatal(err)
		}
	}
	return d.Apply(image.Offset()+int64(k), 1, 1)
}

// A change of k things allocates for k paths through trees that are as deep as the logarithm of what there is: a hundred
// times the topics may cost a level more, not a hundred times the bytes.
func TestAChangeCostsWhatItTouches(t *testing.T) {
	const few, many = 500, 50_000
	bytes := func(image *Image, k int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		changed := electLeaders(t, image, image.NumTopics(), k)
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(changed)
		return after.TotalAlloc - before.TotalAlloc
	}
	narrow, broad := wide(t, few), wide(t, many)
	small, large, more := bytes(narrow, 10), bytes(broad, 10), bytes(broad, 100)
	if large > 4*small {
		t.Errorf("10 changes allocate %d bytes among %d topics and %d among %d", large, many, small, few)
	}
	if more > 20*large {
		t.Errorf("100 changes allocate %d bytes where 10 take %d", more, large)
	}
}

// Partitions that have the same replicas share one list of them: a partition of a wide cluster is small.
func TestPartitionsShareWhatTheyHaveInCommon(t *testing.T) {
	l := loaded(t, topic("orders", idA), partition(idA, 0, 1, 2), partition(idA, 1, 1, 2))
	p := l.Image().Topic("orders").Partitions
	if &p[0].Replicas[0] != &p[1].Replicas[0] || &p[0].Replicas[0] != &p[0].ISR[0] || p[0].Unsettled != p[1].Unsettled {
		t.Error("equal lists are held twice")
	}
}

func BenchmarkChange(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprintf("10 of %d topics", n), func(b *testing.B) {
			image := wide(b, n)
			b.ReportAllocs()
			for b.Loop() {
				electLeaders(b, image, n, 10)
			}
		})
	}
}

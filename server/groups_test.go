package server_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/kafkatest"
)

// reader is a member of a group that notes what it reads.
type reader struct {
	client *kgo.Client
	mu     sync.Mutex
	parts  map[int32]bool
	moved  chan struct{} // one token when the assignment has changed
}

func newReader(t *testing.T, c *kafkatest.Cluster, group string, options ...kgo.Opt) *reader {
	r := &reader{parts: map[int32]bool{}, moved: make(chan struct{}, 1)}
	change := func(to bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			r.mu.Lock()
			for _, p := range topics["t"] {
				if to {
					r.parts[p] = true
				} else {
					delete(r.parts, p)
				}
			}
			r.mu.Unlock()
			select {
			case r.moved <- struct{}{}:
			default:
			}
		}
	}
	r.client = c.Client(append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(change(true)), kgo.OnPartitionsRevoked(change(false)), kgo.OnPartitionsLost(change(false)),
		kgo.HeartbeatInterval(50 * time.Millisecond),
	}, options...)...)
	return r
}

// has returns the partitions that the reader owns now.
func (r *reader) has() []int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []int32
	for p := range r.parts {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// settle waits until the readers own all partitions between them, so many each at least.
func settle(t *testing.T, partitions, least int, readers ...*reader) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		seen, enough := map[int32]bool{}, true
		for _, r := range readers {
			parts := r.has()
			enough = enough && len(parts) >= least
			for _, p := range parts {
				if seen[p] {
					enough = false // not yet revoked
				}
				seen[p] = true
			}
		}
		if enough && len(seen) == partitions {
			return
		}
		select {
		case <-readers[0].moved:
		case <-readers[len(readers)-1].moved:
		case <-deadline:
			t.Fatalf("the group does not settle: %v", readers)
		}
	}
}

// read polls until so many records came, and commits them.
func (r *reader) read(t *testing.T, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := r.client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(values), n, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) { values = append(values, string(rec.Value)) })
	}
	if err := r.client.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	return values
}

func produceTo(t *testing.T, c *kgo.Client, partitions, n int, prefix string) {
	t.Helper()
	for p := range partitions {
		for i := range n {
			c.Produce(context.Background(), &kgo.Record{Topic: "t", Partition: int32(p), Value: fmt.Appendf(nil, "%s-%d-%d", prefix, p, i)}, nil)
		}
	}
	if err := c.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// Two members share a topic, one leaves, a third joins; what was committed is where the next one begins, also after a
// restart and after a power cut.
func TestAGroupSharesATopic(t *testing.T) {
	c := kafkatest.Start(t)
	c.CreateTopic("t", 4)
	producer := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produceTo(t, producer, 4, 5, "first")

	a, b := newReader(t, c, "g"), newReader(t, c, "g")
	settle(t, 4, 2, a, b)
	var all []string
	all = append(all, a.read(t, 10)...)
	all = append(all, b.read(t, 10)...)
	slices.Sort(all)
	if len(slices.Compact(all)) != 20 {
		t.Errorf("read %v", all)
	}
	b.client.Close() // leaves
	settle(t, 4, 4, a)
	produceTo(t, producer, 4, 2, "second")
	if got := a.read(t, 8); len(got) != 8 {
		t.Errorf("after the other left: %v", got)
	}
	a.client.Close()

	admin := kadm.NewClient(producer)
	check := func(when string) {
		t.Helper()
		offsets, err := admin.FetchOffsets(context.Background(), "g")
		if err != nil {
			t.Fatal(when, err)
		}
		for p := range int32(4) {
			if o, ok := offsets.Lookup("t", p); !ok || o.At != 7 {
				t.Errorf("%s: partition %d is at %d, want 7", when, p, o.At)
			}
		}
		described, err := admin.DescribeGroups(context.Background(), "g")
		if err != nil || described["g"].State != "Empty" {
			t.Errorf("%s: described as %+v, %v", when, described["g"], err)
		}
	}
	check("before")
	c.Restart()
	check("after a restart")
	c.Crash(1)
	check("after a power cut")
	produceTo(t, producer, 4, 1, "third")
	d := newReader(t, c, "g")
	got := d.read(t, 4)
	slices.Sort(got)
	if want := []string{"third-0-0", "third-1-0", "third-2-0", "third-3-0"}; !slices.Equal(got, want) {
		t.Errorf("went on with %v, want %v", got, want)
	}
}

// The same by the consumer protocol (KIP-848), whose assignments the coordinator makes, of topics by name and by
// regular expression.
func TestAGroupOfTheConsumerProtocolSharesATopic(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Property("group.consumer.heartbeat.interval.ms", "100"), kafkatest.Property("group.consumer.min.heartbeat.interval.ms", "100"), kafkatest.Property("group.consumer.assignment.interval.ms", "0"))
	c.CreateTopic("t", 4)
	producer := c.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	produceTo(t, producer, 4, 5, "first")
	join := func(group string, options ...kgo.Opt) *reader {
		return newReader(t, c, group, append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))...)
	}

	a, b := join("g"), join("g")
	settle(t, 4, 2, a, b)
	all := slices.Concat(a.read(t, 10), b.read(t, 10))
	slices.Sort(all)
	if len(slices.Compact(all)) != 20 {
		t.Errorf("read %v", all)
	}
	describe := func() kmsg.ConsumerGroupDescribeResponseGroup {
		t.Helper()
		request := kmsg.NewPtrConsumerGroupDescribeRequest()
		request.Groups = []string{"g"}
		response, err := request.RequestWith(context.Background(), producer)
		if err != nil || len(response.Groups) != 1 || response.Groups[0].ErrorCode != 0 {
			t.Fatalf("described as %+v, %v", response, err)
		}
		return response.Groups[0]
	}
	if g := describe(); g.AssignorName != "range" || len(g.Members) != 2 {
		t.Errorf("described as %+v", g)
	}
	b.client.Close() // leaves
	settle(t, 4, 4, a)

	// The members outlive the coordinator: the next one goes on where it was.
	epoch := describe().Epoch
	c.Restart()
	produceTo(t, producer, 4, 2, "second")
	if got := a.read(t, 8); len(got) != 8 {
		t.Errorf("after the other left: %v", got)
	}
	if g := describe(); g.Epoch != epoch || len(g.Members) != 1 {
		t.Errorf("in epoch %d before a restart, then %+v", epoch, g)
	}
	a.client.Close()

	r := join("by expression", kgo.ConsumeRegex(), kgo.ConsumeTopics("^t$"))
	settle(t, 4, 4, r)
	if got := r.read(t, 28); len(got) != 28 {
		t.Errorf("by a regular expression: %v", got)
	}
}

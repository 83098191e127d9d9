package judge

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/kafka"
)

// partitions is how many each topic of the load has.
const partitions = 2

// codecs are the topics of the load: one per codec, written by an idempotent producer, and one without idempotence.
var codecs = []struct {
	topic string
	codec kgo.CompressionCodec
	plain bool
}{
	{"none", kgo.NoCompression(), false},
	{"gzip", kgo.GzipCompression(), false},
	{"snappy", kgo.SnappyCompression(), false},
	{"lz4", kgo.Lz4Compression(), false},
	{"zstd", kgo.ZstdCompression(), false},
	{"plain", kgo.NoCompression(), true},
}

// load is producers that go on writing wherever the cluster lives, and what they were told: the record of every offset.
type load struct {
	addr    string
	rand    *rand.Rand
	clients []*kgo.Client
	written map[kafka.TopicPartition][]*kgo.Record
	ids     map[string]kafka.TopicID
	// producers are the id and the epoch that each topic's producer got in its first life, and must keep.
	producers map[string]producer
	offsets   kadm.Offsets // that were committed
}

type producer struct {
	id    int64
	epoch int16
}

// newLoad makes the topics, with segments as small as Kafka lets them be.
func newLoad(t testing.TB, addr string) *load {
	t.Helper()
	l := &load{addr: addr, rand: rand.New(rand.NewPCG(1, 2)), written: map[kafka.TopicPartition][]*kgo.Record{}, ids: map[string]kafka.TopicID{}, producers: map[string]producer{}}
	admin := l.admin(t)
	segment, interval, note := "1048576", "1000", "1"
	for _, c := range codecs {
		r, err := admin.CreateTopic(context.Background(), partitions, 1, map[string]*string{"segment.bytes": &segment, "index.interval.bytes": &interval, "min.insync.replicas": &note}, c.topic)
		if err != nil {
			t.Fatalf("create %s: %v", c.topic, err)
		}
		l.ids[c.topic] = kafka.TopicID(r.ID)
		options := []kgo.Opt{kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(c.codec), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(64 << 10),
			kgo.ProducerLinger(5 * time.Millisecond), kgo.RecordDeliveryTimeout(time.Minute), kgo.UnknownTopicRetries(-1), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond })}
		if c.plain {
			options = append(options, kgo.DisableIdempotentWrite())
		}
		client, err := kgo.NewClient(options...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		l.clients = append(l.clients, client)
	}
	return l
}

func (l *load) admin(t testing.TB) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(l.addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// write sends about n bytes to each partition and waits until all is acknowledged.
func (l *load) write(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	failed := make(chan error, 1)
	for i, c := range codecs {
		for p := range int32(partitions) {
			for size := 0; size < n; {
				r := l.record(c.topic, p)
				size += len(r.Key) + len(r.Value)
				l.clients[i].Produce(ctx, r, func(_ *kgo.Record, err error) {
					if err != nil {
						select {
						case failed <- err:
						default:
						}
					}
				})
				tp := kafka.TopicPartition{Topic: c.topic, Partition: p}
				l.written[tp] = append(l.written[tp], r)
			}
		}
	}
	for i, c := range codecs {
		if err := l.clients[i].Flush(ctx); err != nil {
			t.Fatalf("flush to %s: %v", c.topic, err)
		}
		if c.plain {
			continue
		}
		id, epoch, err := l.clients[i].ProducerID(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if first, known := l.producers[c.topic]; !known {
			l.producers[c.topic] = producer{id, epoch}
		} else if first != (producer{id, epoch}) {
			t.Errorf("the producer of %s was %+v and is %+v: it was taken for a new one", c.topic, first, producer{id, epoch})
		}
	}
	select {
	case err := <-failed:
		t.Fatalf("produce: %v", err)
	default:
	}
}

// record makes a record: keys and values that are null, empty, text and bytes, and headers.
func (l *load) record(topic string, partition int32) *kgo.Record {
	r := &kgo.Record{Topic: topic, Partition: partition, Timestamp: time.Now()}
	switch l.rand.IntN(4) {
	case 0:
	case 1:
		r.Key = []byte{}
	default:
		r.Key = fmt.Appendf(nil, "key-%d", l.rand.IntN(1000))
	}
	switch l.rand.IntN(20) {
	case 0:
	case 1:
		r.Value = []byte("größe ☕")
	default:
		r.Value = bytes.Repeat([]byte{byte('a' + l.rand.IntN(26))}, 10+l.rand.IntN(2000))
		for i := range r.Value {
			if l.rand.IntN(3) == 0 {
				r.Value[i] = byte('a' + l.rand.IntN(26)) // not too easy to compress
			}
		}
	}
	for range l.rand.IntN(3) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: fmt.Sprintf("h%d", l.rand.IntN(5)), Value: []byte("v")})
	}
	return r
}

// verify reads everything back: each record stands at the offset that was acknowledged, and nothing else is there.
func (l *load) verify(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	topics, err := l.admin(t).ListTopics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	starts := map[string]map[int32]kgo.Offset{}
	left := 0
	for tp, records := range l.written {
		if got := kafka.TopicID(topics[tp.Topic].ID); got != l.ids[tp.Topic] {
			t.Errorf("topic %s has the id %s; it was made with %s", tp.Topic, got, l.ids[tp.Topic])
		}
		if starts[tp.Topic] == nil {
			starts[tp.Topic] = map[int32]kgo.Offset{}
		}
		starts[tp.Topic][tp.Partition] = kgo.NewOffset().At(0)
		left += len(records)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.addr), kgo.ConsumePartitions(starts))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	seen := map[kafka.TopicPartition]int{}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("fetch, with %d records to go: %v", left, err)
		}
		fetches.EachRecord(func(got *kgo.Record) {
			tp := kafka.TopicPartition{Topic: got.Topic, Partition: got.Partition}
			n := seen[tp]
			seen[tp]++
			left--
			if n >= len(l.written[tp]) {
				t.Fatalf("%s has a record at offset %d; %d were written", tp, got.Offset, len(l.written[tp]))
			}
			want := l.written[tp][n]
			if got.Offset != int64(n) || got.Offset != want.Offset || !same(got, want) {
				t.Fatalf("%s, offset %d: read %d bytes under the key %q at offset %d, wrote %d bytes under %q at %d", tp, n, len(got.Value), got.Key, got.Offset, len(want.Value), want.Key, want.Offset)
			}
		})
	}
	ends, err := l.admin(t).ListEndOffsets(ctx, "none", "gzip", "snappy", "lz4", "zstd", "plain")
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(end kadm.ListedOffset) {
		if want := len(l.written[kafka.TopicPartition{Topic: end.Topic, Partition: end.Partition}]); end.Offset != int64(want) {
			t.Errorf("%s-%d ends at %d; %d records were written", end.Topic, end.Partition, end.Offset, want)
		}
	})
	configs, err := l.admin(t).DescribeTopicConfigs(ctx, "none")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		if c.Key == "segment.bytes" && c.MaybeValue() != "1048576" || c.Key == "index.interval.bytes" && c.MaybeValue() != "1000" {
			t.Errorf("the topic's %s is %s", c.Key, c.MaybeValue())
		}
	}
}

// commit commits offsets of a group, which only Kafka can do so far, and which must still be there when it serves again.
func (l *load) commit(t testing.TB, group string) {
	t.Helper()
	var offsets kadm.Offsets
	for tp, records := range l.written {
		offsets.AddOffset(tp.Topic, tp.Partition, int64(len(records)), -1)
	}
	if err := l.admin(t).CommitAllOffsets(context.Background(), group, offsets); err != nil {
		t.Fatal(err)
	}
	l.offsets = offsets
}

// committed wants the group's offsets to be those that were committed.
func (l *load) committed(t testing.TB, group string) {
	t.Helper()
	got, err := l.admin(t).FetchOffsets(context.Background(), group)
	if err != nil {
		t.Fatal(err)
	}
	l.offsets.Each(func(want kadm.Offset) {
		if o, ok := got.Lookup(want.Topic, want.Partition); !ok || o.At != want.At {
			t.Errorf("the group has the offset %d of %s-%d; %d was committed", o.At, want.Topic, want.Partition, want.At)
		}
	})
}

// transactions writes some that are committed and some that are aborted, which only Kafka can do so far.
func (l *load) transactions(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	if _, err := l.admin(t).CreateTopic(ctx, 1, 1, nil, "transactions"); err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(l.addr), kgo.TransactionalID("judge"), kgo.DefaultProduceTopic("transactions"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 10 {
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprint(i))).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)); err != nil {
			t.Fatal(err)
		}
	}
}

func same(a, b *kgo.Record) bool {
	return (a.Key == nil) == (b.Key == nil) && bytes.Equal(a.Key, b.Key) && (a.Value == nil) == (b.Value == nil) && bytes.Equal(a.Value, b.Value) &&
		a.Timestamp.UnixMilli() == b.Timestamp.UnixMilli() &&
		slices.EqualFunc(a.Headers, b.Headers, func(x, y kgo.RecordHeader) bool { return x.Key == y.Key && bytes.Equal(x.Value, y.Value) })
}

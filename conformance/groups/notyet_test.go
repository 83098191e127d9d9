package groups

import (
	"context"
	"testing"
	"time"

	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A consumer may come before its topic: it asks for it, which makes it, and reads what is written then. kafka-go takes a
// topic of which it is told nothing for one without partitions, and looks again only when their number changes.
func TestATopicThatIsNotThereYet(t *testing.T) {
	if againstKafka() {
		t.Skip("Apache Kafka tells of a topic as unknown while it makes it: now and then a consumer of this library waits for ever")
	}
	addr := server(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for _, topic := range []string{"not-there-yet-1", "not-there-yet-2", "not-there-yet-3"} {
		reader := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{addr}, GroupID: "early-" + topic, Topic: topic,
			StartOffset: segmentio.FirstOffset, WatchPartitionChanges: true, PartitionWatchInterval: 100 * time.Millisecond, MaxWait: 100 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond})
		read := make(chan error, 1)
		go func() {
			_, err := reader.ReadMessage(ctx)
			read <- err
		}()
		awaitGroup(t, ctx, kadm.NewClient(client), "early-"+topic)
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr(); err != nil {
			t.Error(err)
		}
		if err := <-read; err != nil {
			t.Errorf("%s: a consumer that came before its topic reads nothing of it: %v", topic, err)
		}
		reader.Close()
	}
}

// awaitGroup waits until a group has a member that was given something to do, be it nothing.
func awaitGroup(t *testing.T, ctx context.Context, admin *kadm.Client, group string) {
	t.Helper()
	for {
		groups, err := admin.DescribeGroups(ctx, group)
		if err == nil && groups[group].State == "Stable" {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the group %s has no member: %v", group, err)
		}
	}
}

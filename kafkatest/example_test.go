package kafkatest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/kafkatest"
)

// A test of code that talks to Kafka: a cluster of its own, which is ready when Start returns and gone with the test.
func ExampleStart() {
	TestOrders := func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.Property("num.partitions", "3"))
		c.CreateTopic("orders", 1, "cleanup.policy", "compact")

		client := c.Client(kgo.DefaultProduceTopic("orders"), kgo.ConsumeTopics("orders"))
		ctx := context.Background()
		if err := client.ProduceSync(ctx, kgo.KeyStringRecord("order-1", "two loaves")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		c.Crash(1) // what was acknowledged is still there
		for _, r := range client.PollFetches(ctx).Records() {
			fmt.Printf("%s: %s\n", r.Key, r.Value)
		}
	}
	run(TestOrders)
	// Output: order-1: two loaves
}

// run runs a test as `go test` would.
func run(test func(t *testing.T)) {
	testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "TestOrders", F: test}})
}

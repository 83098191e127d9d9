package kafkatest_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/millrace-io/millrace/kafkatest"
)

// Clusters are gone with their tests: what is left when all have run fails the package.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// through writes a record and reads it back.
func through(t *testing.T, client *kgo.Client, topic string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	value := fmt.Sprint("value ", t.Name())
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	client.AddConsumeTopics(topic)
	fetches := client.PollFetches(ctx)
	if err := fetches.Err(); err != nil || fetches.NumRecords() == 0 || string(fetches.Records()[fetches.NumRecords()-1].Value) != value {
		t.Fatalf("read %v, %v", fetches.Records(), err)
	}
}

func TestAClusterIsReachedInMemoryAndByItsPort(t *testing.T) {
	c := kafkatest.Start(t)
	c.CreateTopic("t", 1)
	through(t, c.Client(), "t")
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...)) // as a client that knows nothing of us
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	through(t, client, "t")
	if host, port, err := net.SplitHostPort(c.Addrs()[0]); err != nil || host != "127.0.0.1" || port == "0" {
		t.Errorf("the address is %s", c.Addrs())
	}
}

func TestClustersDoNotMeet(t *testing.T) {
	a, b := kafkatest.Start(t), kafkatest.Start(t)
	a.CreateTopic("t", 1)
	if a.Addrs()[0] == b.Addrs()[0] || a.Server().ClusterID() == b.Server().ClusterID() {
		t.Errorf("both are %s of cluster %s", a.Addrs(), a.Server().ClusterID())
	}
	b.CreateTopic("t", 1) // there is none of that name yet
	if _, err := b.Dialer()(t.Context(), "tcp", a.Addrs()[0]); err == nil {
		t.Error("the dialer of one cluster reaches the other")
	}
}

func TestPropertiesHold(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Property("num.partitions", "7"))
	c.CreateTopic("t", -1)
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{{Topic: kmsg.StringPtr("t")}}
	for range 2 { // and after a restart
		response, err := request.RequestWith(t.Context(), c.Client())
		if err != nil || len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 7 {
			t.Errorf("described as %+v, %v", response.Topics, err)
		}
		c.Restart()
	}
}

func TestARestartKeepsWhatWasWrittenAndTheAddress(t *testing.T) {
	c := kafkatest.Start(t)
	c.CreateTopic("t", 1)
	before, client := c.Addrs()[0], c.Client()
	through(t, client, "t")
	c.Restart()
	if c.Addrs()[0] != before {
		t.Errorf("the address was %s and is %s", before, c.Addrs()[0])
	}
	through(t, client, "t") // the same client finds it again
	for seed := range uint64(3) {
		c.Crash(seed)
		through(t, client, "t")
	}
}

// A cluster that cannot start fails the test, and says why.
func TestAClusterThatCannotStartFailsTheTest(t *testing.T) {
	for _, option := range []kafkatest.Option{kafkatest.Brokers(2), kafkatest.Property("num.partitions", "none"), kafkatest.Property("no.such.key", "1")} {
		fake := &fakeT{TB: t}
		done := make(chan struct{})
		go func() { // Fatalf ends its goroutine
			defer close(done)
			kafkatest.Start(fake, option)
		}()
		<-done
		if !strings.HasPrefix(fake.failure, "kafkatest: ") {
			t.Errorf("the test was failed with %q", fake.failure)
		}
	}
}

type fakeT struct {
	testing.TB
	failure string
}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// Time is faked inside a bubble, and an hour of retention passes in no time.
func TestAClusterInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kafkatest.Start(t, kafkatest.InMemory())
		c.CreateTopic("t", 1, "retention.ms", "1800000")
		client := c.Client()
		through(t, client, "t")
		time.Sleep(time.Hour) // no time outside
		offsets, err := kadm.NewClient(client).ListStartOffsets(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if start, _ := offsets.Lookup("t", 0); start.Offset != 1 {
			t.Errorf("after an hour the log begins at offset %d; retention.ms is half of that", start.Offset)
		}
	})
}

// Start is for every test: it must not cost more than the test.
func TestStartTakesMilliseconds(t *testing.T) {
	best := time.Hour
	for range 5 {
		begun := time.Now()
		kafkatest.Start(t)
		best = min(best, time.Since(begun))
	}
	if best > 100*time.Millisecond {
		t.Errorf("the fastest of five starts took %v", best)
	}
}

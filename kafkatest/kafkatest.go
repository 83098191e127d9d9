// Package kafkatest runs a real cluster inside a Go test: the same nodes as in production, on a disk in memory,
// ready in milliseconds and gone with the test.
//
//	func TestOrders(t *testing.T) {
//		c := kafkatest.Start(t)
//		c.CreateTopic("orders", 3)
//		client := c.Client(kgo.DefaultProduceTopic("orders"))
//		…
//	}
//
// Clients reach it through a loopback port (Addrs) or, faster, through Dialer; with InMemory also inside a
// testing/synctest bubble.
package kafkatest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server"
)

// Option changes the cluster that Start makes.
type Option func(*settings)

type settings struct {
	brokers    int
	inMemory   bool
	properties [][2]string
	logLevel   slog.Level
	log        bool
}

// Brokers sets the number of nodes; one is the default, and all that this version can run.
func Brokers(n int) Option { return func(s *settings) { s.brokers = n } }

// Property sets one of Kafka's broker properties on every node, such as num.partitions.
func Property(key, value string) Option {
	return func(s *settings) { s.properties = append(s.properties, [2]string{key, value}) }
}

// InMemory opens no port: the cluster is reached through Dialer alone, as Client does. In a testing/synctest bubble it must be
// so, since time stands still there while somebody waits for a socket.
func InMemory() Option { return func(s *settings) { s.inMemory = true } }

// Log has the nodes' own log lines from a level upwards in the output of the test.
func Log(level slog.Level) Option {
	return func(s *settings) { s.log, s.logLevel = true, level }
}

// Cluster is a running cluster.
type Cluster struct {
	t    testing.TB
	set  settings
	disk *server.Disk

	mu   sync.Mutex
	node *server.Server
	addr string
	log  *slog.Logger
}

// clientListener is the name of the one listener.
const clientListener = "PLAINTEXT"

// Start runs a cluster until the test ends. It fails the test when the cluster does not come up.
func Start(t testing.TB, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, set: settings{brokers: 1}, disk: server.NewMemoryDisk(), addr: "127.0.0.1:0", log: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&c.set)
	}
	if c.set.brokers != 1 {
		t.Fatalf("kafkatest: Brokers(%d): this version runs clusters of one node", c.set.brokers)
	}
	if c.set.log {
		c.log = slog.New(slog.NewTextHandler(&testWriter{t: t}, &slog.HandlerOptions{Level: c.set.logLevel}))
	}
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

// start brings the node up on the disk as it is.
func (c *Cluster) start() {
	c.t.Helper()
	properties := config.PropertiesOf(
		"process.roles", "broker,controller",
		"node.id", "1",
		"listeners", clientListener+"://"+c.addr,
		"log.dirs", "/data",
		"memory.budget.bytes", fmt.Sprint(256<<20),
		"log.scrub.bytes.per.second", "0",
		"log.reserve.bytes", "0",
		"offsets.topic.replication.factor", "1",
		"group.initial.rebalance.delay.ms", "0", // a test knows who belongs to its groups
	)
	for _, p := range c.set.properties {
		properties.Set(p[0], p[1])
	}
	cfg, err := server.NewConfig(properties)
	if err != nil {
		c.t.Fatalf("kafkatest: %v", err)
	}
	options := []server.Option{server.WithDisk(c.disk), server.AutoFormat(), server.WithLogger(c.log)}
	if c.set.inMemory {
		options = append(options, server.WithoutSockets())
	}
	node, err := server.New(cfg, options...)
	if err != nil {
		c.t.Fatalf("kafkatest: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := node.Start(ctx); err != nil {
		c.t.Fatalf("kafkatest: the node does not start: %v", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = node
	c.addr = node.Addr(clientListener).String() // the same one after a restart
}

// stop closes the node and waits until nothing of it is left.
func (c *Cluster) stop() {
	c.t.Helper()
	c.mu.Lock()
	node := c.node
	c.node = nil
	c.mu.Unlock()
	if node == nil {
		return
	}
	failure := node.Err()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := node.Close(ctx); err != nil && failure == nil {
		c.t.Errorf("kafkatest: the node does not stop cleanly: %v", err)
	}
	if failure != nil {
		c.t.Errorf("kafkatest: the node failed: %v", failure)
	}
}

// Restart stops the cluster cleanly and starts it again, on the same disk and at the same address.
func (c *Cluster) Restart() {
	c.t.Helper()
	c.stop()
	c.start()
}

// Crash cuts the power and starts the cluster again: of what was not synced the seed decides what survived.
func (c *Cluster) Crash(seed uint64) {
	c.t.Helper()
	after := c.disk.Crash(seed)
	c.stop() // on the disk of the past, which nobody sees again
	c.disk = after
	c.start()
}

// Server returns the node, for tests of the node itself.
func (c *Cluster) Server() *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// Addrs returns host:port of every node on loopback.
func (c *Cluster) Addrs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return []string{c.addr}
}

// Dialer returns a function that connects to the cluster inside the process, with the signature of
// net.Dialer.DialContext; the address is one of Addrs, or of what a client was told by the cluster.
func (c *Cluster) Dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c.mu.Lock()
		node, addr := c.node, c.addr
		c.mu.Unlock()
		if node == nil || address != addr {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("the cluster has no node at %s", address)}
		}
		return node.Dial(ctx, clientListener)
	}
}

// KafkaOpts returns what a franz-go client needs to reach the cluster.
func (c *Cluster) KafkaOpts() []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(c.Addrs()...), kgo.Dialer(c.Dialer())}
}

// Client makes a franz-go client of the cluster, closed with the test.
func (c *Cluster) Client(options ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	client, err := kgo.NewClient(append(c.KafkaOpts(), options...)...)
	if err != nil {
		c.t.Fatalf("kafkatest: %v", err)
	}
	c.t.Cleanup(client.Close)
	return client
}

// CreateTopic makes a topic and returns when it can be written to; configs are alternating keys and values. It
// fails the test when the topic cannot be made.
func (c *Cluster) CreateTopic(name string, partitions int32, configs ...string) {
	c.t.Helper()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, -1
	for i := 0; i+1 < len(configs); i += 2 {
		setting := kmsg.NewCreateTopicsRequestTopicConfig()
		setting.Name, setting.Value = configs[i], kmsg.StringPtr(configs[i+1])
		topic.Configs = append(topic.Configs, setting)
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 30_000
	request.Topics = append(request.Topics, topic)

	client, err := kgo.NewClient(c.KafkaOpts()...)
	if err != nil {
		c.t.Fatalf("kafkatest: %v", err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	response, err := request.RequestWith(ctx, client)
	if err == nil && len(response.Topics) == 1 {
		if err = kerr.ErrorForCode(response.Topics[0].ErrorCode); err != nil && response.Topics[0].ErrorMessage != nil {
			err = fmt.Errorf("%w: %s", err, *response.Topics[0].ErrorMessage)
		}
	}
	if err != nil {
		c.t.Fatalf("kafkatest: create topic %s: %v", name, err)
	}
}

// testWriter puts log lines into the output of a test, for as long as the test runs.
type testWriter struct {
	t  testing.TB
	mu sync.Mutex
}

func (w *testWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t.Context().Err() == nil { // after the test t.Log panics
		w.t.Logf("%s", bytes.TrimRight(line, "\n"))
	}
	return len(line), nil
}

package hostile

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// attack runs one attacker per connection, each until its connection ends or the time is over, and then has all of them
// gone.
func (v *victim) attack(attackers int, lasting time.Duration, one func(c *socket.Conn, over <-chan struct{})) {
	v.t.Helper()
	over := make(chan struct{})
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	for range attackers {
		all.Go(func() {
			c, err := socket.Dial(v.Addr, 10*time.Second)
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			c.SetDeadline(time.Now().Add(lasting + 10*time.Second))
			one(c, over)
		})
	}
	time.Sleep(lasting)
	close(over)
	mu.Lock()
	for _, c := range conns {
		c.Close()
	}
	mu.Unlock()
	all.Wait()
}

// filled makes a topic whose first partition holds so many mebibytes.
func (v *victim) filled(topic string, partitions int32, mib int) {
	v.t.Helper()
	v.create(topic, partitions)
	c := v.dial()
	defer c.Close()
	value := make([]byte, 900<<10)
	for range mib {
		response := wire.NewProduceResponse()
		if err := c.Call(produce(topic, 0, records(value, record.CodecNone)), response, 12, 30*time.Second); err != nil || response.Responses[0].PartitionResponses[0].ErrorCode != kafka.None {
			v.t.Fatalf("fill %s: %v %+v", topic, err, response)
		}
	}
}

// pipelined sends one request again and again and reads nothing.
func pipelined(request wire.Message, version int16, most int) func(c *socket.Conn, over <-chan struct{}) {
	return func(c *socket.Conn, over <-chan struct{}) {
		for range most {
			if c.Send(request, version) != nil {
				return
			}
		}
		<-over
	}
}

// TestSlowReaders: fetches of many megabytes, one after the other, whose answers nobody reads.
func TestSlowReaders(t *testing.T) {
	v := start(t, nil)
	v.filled("filled", 1, 32)
	b := v.watch()
	v.attack(200, 8*time.Second, pipelined(fetch("filled", 1, 0, 48<<20), 12, 1000))
	b.served(20 * time.Second)
	v.over("two hundred clients that fetch and never read")
}

// TestSlowWriters: requests that come byte by byte, and never to their end.
func TestSlowWriters(t *testing.T) {
	v := start(t, nil)
	b := v.watch()
	large := socket.Frame(produce("bystander", 0, records(make([]byte, 900<<10), record.CodecNone)), 12, 1)
	var n sync.Mutex
	kind := 0
	v.attack(1000, 8*time.Second, func(c *socket.Conn, over <-chan struct{}) {
		n.Lock()
		kind++
		begin := []int{0, 3, 100, 40 << 10}[kind%4] // how much comes at once
		n.Unlock()
		c.Write(large[:begin])
		for _, one := range large[begin:] {
			if _, err := c.Write([]byte{one}); err != nil {
				return
			}
			select {
			case <-over:
				return
			case <-time.After(time.Second):
			}
		}
	})
	b.served(20 * time.Second)
	v.over("a thousand clients that write a byte a second")
}

// TestMetadataOfEverything: small requests with large answers, pipelined, which nobody reads.
func TestMetadataOfEverything(t *testing.T) {
	v := start(t, nil)
	v.create("wide", 5000)
	v.create("too", 5000)
	b := v.watch()
	v.attack(200, 8*time.Second, pipelined(wire.NewMetadataRequest(), 12, 1000))
	b.served(time.Minute)
	v.over("two hundred clients that ask for everything and never read")
}

// TestWideFetches: fetches of ten thousand partitions that wait for what never comes, with and without a session.
func TestWideFetches(t *testing.T) {
	v := start(t, nil)
	v.create("wide", 5000)
	v.create("too", 5000)
	b := v.watch()
	// Those that nobody waits for wait on after their clients have gone, as in Kafka: for less than over allows.
	request := fetch("wide", 5000, 15*time.Second, 1<<20)
	request.Topics = append(request.Topics, fetch("too", 5000, 0, 1<<20).Topics...)
	v.attack(50, 6*time.Second, pipelined(request, 12, 100))
	request.MaxWaitMs, request.SessionEpoch = 0, 0 // a new session each time
	v.attack(20, 8*time.Second, func(c *socket.Conn, over <-chan struct{}) {
		for {
			select {
			case <-over:
				return
			default:
			}
			if c.Call(request, wire.NewFetchResponse(), 12, 20*time.Second) != nil {
				return
			}
		}
	})
	b.served(time.Minute)
	v.over("fetches of ten thousand partitions")
}

// TestBombs: batches of less than a mebibyte that claim to hold hundreds.
func TestBombs(t *testing.T) {
	v := start(t, nil)
	v.create("bombed", 1)
	type bomb struct {
		codec record.Codec
		batch []byte
	}
	var bombs []bomb
	for codec, size := range map[record.Codec]int{record.CodecGzip: 960 << 20, record.CodecSnappy: 18 << 20, record.CodecLz4: 230 << 20, record.CodecZstd: 1 << 30} {
		bombs = append(bombs, bomb{codec, records(make([]byte, size), codec)})
	}
	b := v.watch()
	for _, one := range bombs {
		begun := time.Now()
		c := v.dial()
		response := wire.NewProduceResponse()
		if err := c.Call(produce("bombed", 0, one.batch), response, 12, time.Minute); err != nil {
			t.Errorf("%v: %v", one.codec, err)
			continue
		}
		c.Close()
		p := &response.Responses[0].PartitionResponses[0]
		t.Logf("%v, %d bytes: %v after %v", one.codec, len(one.batch), p.ErrorCode, time.Since(begun).Round(time.Millisecond))
		if len(one.batch) > 1<<20 {
			t.Errorf("%v: the batch has %d bytes and is refused for that alone", one.codec, len(one.batch))
		}
	}
	b.served(20 * time.Second)
	v.over("decompression bombs")
}

// TestManyPartitionsInAProduce: a Produce of nothing but the heads of partitions.
func TestManyPartitionsInAProduce(t *testing.T) {
	v := start(t, nil)
	v.create("few", 1)
	b := v.watch()
	request := produce("few", 0, nil)
	part := request.TopicData[0].PartitionData[0]
	for len(request.TopicData[0].PartitionData) < 2_000_000 {
		request.TopicData[0].PartitionData = append(request.TopicData[0].PartitionData, part)
	}
	v.attack(10, 6*time.Second, pipelined(request, 12, 3))
	b.served(20 * time.Second)
	v.over("produces of two million partitions")
}

package speed

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// limit reports a figure of which less is better, and fails the benchmark when it is above what it must be.
func limit(b *testing.B, goal, what, unit string, v, must, excellent float64) {
	word := "fell short"
	if v <= excellent {
		word = "excellent"
	} else if v <= must {
		word = "pass"
	}
	fmt.Printf("goal %-3s %-55s %9.2f %-5s must ≤ %g, excellent ≤ %g: %s\n", goal, what, v, unit, must, excellent, word)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(v, unit)
	if v > must {
		b.Errorf("%s: %.2f %s, must be at most %g", what, v, unit, must)
	}
}

// BenchmarkFootprint measures what a node takes while it does nothing, and how long it takes to start.
func BenchmarkFootprint(b *testing.B) {
	b.Run("idle", idle)
	b.Run("start-empty", startEmpty)
	b.Run("start-10k", func(b *testing.B) { startWith(b, 10_000, 500, 150) })
	b.Run("start-100k", func(b *testing.B) { startWith(b, 100_000, 5000, 1500) })
	b.Run("start-crashed", startCrashed)
	b.Run("connections", connections)
	b.Run("groups", groups)
}

func connect(b *testing.B, n *node.Node, more ...kgo.Opt) *kgo.Client {
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.Addr), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.LeaderAck()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RetryBackoffFn(func(int) time.Duration { return time.Millisecond }), kgo.MetadataMinAge(10 * time.Millisecond)}, more...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return client
}

func create(b *testing.B, n *node.Node, topic string, partitions int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	admin := kadm.NewClient(connect(b, n, kgo.RequestTimeoutOverhead(2*time.Minute)))
	admin.SetTimeoutMillis(120_000)
	if r, err := admin.CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil || r.Err != nil {
		b.Fatalf("create %s with %d partitions: %v %v", topic, partitions, err, r.Err)
	}
}

// restart starts the node, which was stopped or killed, and returns the time until it has acknowledged a record.
func restart(b *testing.B, n *node.Node, topic string, partition int32) time.Duration {
	client := connect(b, n)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	began := time.Now()
	n.Restart(b)
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte("first")}).FirstErr(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func stop(b *testing.B, n *node.Node) {
	if err := n.Stop(b, time.Minute); err != nil {
		b.Fatalf("stop: %v\n%s", err, n.Output())
	}
}

const starts = 7

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// startEmpty starts a node that has nothing but one topic to write to.
func startEmpty(b *testing.B) {
	n := node.Start(b, nil)
	create(b, n, "t", 1)
	var took []float64
	for range starts {
		stop(b, n)
		took = append(took, milliseconds(restart(b, n, "t", 0)))
	}
	limit(b, "16", "start after a clean stop, to the first record", "ms", middle(took), 100, 30)
}

// startWith starts a node that has many idle partitions, and looks at the memory they take.
func startWith(b *testing.B, partitions int, must, excellent float64) {
	n := node.Start(b, nil)
	create(b, n, "t", 1)
	stop(b, n)
	n.Restart(b)
	bare := settled(b, n.Pid())
	began := time.Now()
	const each = 5000 // one request may make no more than 10,000 records
	for i := range partitions / each {
		create(b, n, fmt.Sprintf("many%d", i), each)
	}
	fmt.Printf("         %d partitions made in %.1f s\n", partitions, time.Since(began).Seconds())
	made := settled(b, n.Pid())
	var took []float64
	for range starts {
		stop(b, n)
		took = append(took, milliseconds(restart(b, n, "many0", 7)))
	}
	again := settled(b, n.Pid())
	share := func(rss int64) float64 { return float64(rss-bare) / float64(partitions) / 1024 }
	limit(b, "16", fmt.Sprintf("start with %d partitions, to the first record", partitions), "ms", middle(took), must, excellent)
	limit(b, "13", fmt.Sprintf("RSS for each of %d idle partitions, just made", partitions), "KiB", share(made), 2, 1)
	limit(b, "13", fmt.Sprintf("RSS for each of %d idle partitions, after a start", partitions), "KiB", share(again), 2, 1)
}

// startCrashed kills a node that has 1 GiB in its page cache only, and starts it again.
func startCrashed(b *testing.B) {
	n := node.Start(b, map[string]string{"log.durability": "cache", "log.flush.offset.checkpoint.interval.ms": "3600000", "log.flush.start.offset.checkpoint.interval.ms": "3600000"})
	create(b, n, "t", 1)
	client := connect(b, n, kgo.MaxBufferedBytes(64<<20), kgo.ProducerBatchMaxBytes(1_000_000))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	value := make([]byte, 10_000)
	var failed error
	for range 1 << 30 / len(value) {
		client.Produce(ctx, &kgo.Record{Topic: "t", Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err
			}
		})
	}
	if err := client.Flush(ctx); err != nil || failed != nil {
		b.Fatal(err, failed)
	}
	n.Kill()
	took := restart(b, n, "t", 0)
	limit(b, "17", "start after kill -9 with 1 GiB unflushed, GiB scanned", "s", took.Seconds(), 1.07, 0.43)
}

// idle looks at a node that nobody talks to.
func idle(b *testing.B) {
	n := node.Start(b, nil)
	rss := settled(b, n.Pid())
	const watched = 20 * time.Second
	before := cpuTime(b, n.Pid())
	time.Sleep(watched)
	share := (cpuTime(b, n.Pid()) - before).Seconds() / watched.Seconds()
	limit(b, "18", "CPU of an idle node", "%", 100*share, 0.5, 0.2)
	limit(b, "18", "RSS of an idle node", "MiB", float64(rss)/(1<<20), 40, 25)
}

// groups looks at what groups take that have one member of the consumer protocol, and an offset of each of the ten
// partitions that it has. What the heap has of that is held by TestAGroupTakesLittle of the coordinator.
func groups(b *testing.B) {
	const many, partitions = 10_000, 10
	session := fmt.Sprint((10 * time.Minute).Milliseconds()) // they are silent while they are looked at
	web := process.FreeAddr(b)
	n := node.Start(b, map[string]string{"group.consumer.session.timeout.ms": session, "group.consumer.max.session.timeout.ms": session, "http.listeners": "http://" + web})
	c := &coordinator{name: "millrace", addr: n.Addr}
	c.topic(b, "t", partitions)
	c.awaitReady(b)
	take := func(from, to int64) {
		var all sync.WaitGroup
		var next atomic.Int64
		next.Store(from)
		for range 32 {
			all.Go(func() {
				l, err := dial(n.Addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer l.close()
				for i := next.Add(1); i <= to; i = next.Add(1) {
					if err := l.take(fmt.Sprintf("group-%d", i), "t", partitions); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	take(0, 200) // some in every partition of __consumer_offsets, which then is in use
	// The resident memory is told beside the heap: just made, groups lie between what was garbage by the time that they were
	// made, and Go gives the machine back only what has become free as a whole.
	rss, heap := settled(b, n.Pid()), liveHeap(b, web)
	take(200, 200+many)
	each := func(now, before int64) float64 { return float64(now-before) / many / 1024 }
	fmt.Printf("         RSS for each of %d groups just made: %.2f KiB\n", many, each(settled(b, n.Pid()), rss))
	limit(b, "G", fmt.Sprintf("heap for each of %d groups with a member", many), "KiB", each(liveHeap(b, web), heap), 4, 2)
	stop(b, n)
	n.Restart(b)
	limit(b, "G", "RSS for each of them after a start", "KiB", each(settled(b, n.Pid()), rss), 4, 2)
}

// liveHeap asks a node that has settled how many bytes are in use on its heap.
func liveHeap(b *testing.B, web string) int64 {
	const figure = "go_memstats_heap_alloc_bytes "
	response, err := http.Get("http://" + web + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if text, is := strings.CutPrefix(lines.Text(), figure); is {
			bytes, err := strconv.ParseFloat(text, 64)
			if err != nil {
				b.Fatal(err)
			}
			return int64(bytes)
		}
	}
	b.Fatalf("the node says nothing of %s", figure)
	return 0
}

// take joins a group as its only member, and commits an offset of every partition.
func (l *link) take(group, topic string, partitions int) error {
	r := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	r.SetVersion(1)
	r.Group, r.MemberID, r.RebalanceTimeoutMillis = group, group+"-0123456789abcdef", 300_000
	r.SubscribedTopicNames, r.Topics = []string{topic}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	answered, err := l.call(r)
	if err != nil {
		return err
	}
	response := answered.(*kmsg.ConsumerGroupHeartbeatResponse)
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		return err
	}
	if a := response.Assignment; a == nil || len(a.Topics) != 1 || len(a.Topics[0].Partitions) != partitions {
		return fmt.Errorf("the member of %s has got %+v", group, a)
	}
	c := commit(group, topic, partitions, 1)
	c.SetVersion(9)
	c.MemberID, c.Generation = r.MemberID, response.MemberEpoch
	return l.commit(c)
}

const crowdAddr = "SPEED_CROWD_ADDR"

// crowd is how many clients stand around.
const crowd = 10_000

// connections looks at what idle connections take. They come from a process of their own, since a process may have no
// more than 20,000 descriptors on many machines.
func connections(b *testing.B) {
	n := node.Start(b, nil)
	before := settled(b, n.Pid())
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crowdAddr+"="+n.Addr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		in.Close()
		cmd.Wait()
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "here\n" {
		b.Fatalf("the clients did not get in: %q %v", line, err)
	}
	after := settled(b, n.Pid())
	limit(b, "19", fmt.Sprintf("RSS for each of %d idle connections", crowd), "KiB", float64(after-before)/crowd/1024, 16, 8)
}

// standAround connects many clients, each of which asks one question, and waits until it may go.
func standAround(addr string) {
	for range crowd {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			err = ask(conn)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println("here")
	io.Copy(io.Discard, os.Stdin)
}

// ask sends an ApiVersions request of version 0 and reads the answer.
func ask(conn net.Conn) error {
	request := []byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(size[:])))
	return err
}

// settled waits until a process no longer gives memory back, and returns its resident bytes. A node that is at rest gives
// back what it does not need within some ten seconds; four equal looks in a row are taken for the end.
func settled(b *testing.B, pid int) int64 {
	last, equal := int64(0), 0
	for range 36 {
		now := resident(b, pid)
		if now >= last-last/100 && now <= last+last/100 {
			equal++
		} else {
			equal = 0
		}
		if last = now; equal == 4 {
			break
		}
		time.Sleep(5 * time.Second)
	}
	return last
}

func resident(b *testing.B, pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// cpuTime is what all threads of a process have used, to the nanosecond.
func cpuTime(b *testing.B, pid int) time.Duration {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		b.Fatal(err)
	}
	var all time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread ended
		}
		ns, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		all += time.Duration(ns)
	}
	return all
}

package speed

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// session is the session timeout of both brokers here.
const session = 12 * time.Second

// interval is the interval of heartbeats that both say to a group at rest.
const interval = 5 * time.Second

// coordinator is what is raced.
type coordinator struct {
	name, addr string
	// stop ends it, in order or by SIGKILL, and returns what starts it again on its data.
	stop func(kill bool) (start func())
	pid  func() int
}

// startCoordinators starts Millrace as it comes, and Apache Kafka as its users run it.
func startCoordinators(b *testing.B) []*coordinator {
	timeout := fmt.Sprint(session.Milliseconds())
	settings := map[string]string{
		"group.consumer.session.timeout.ms": timeout, "group.consumer.min.session.timeout.ms": timeout,
		"log.retention.ms": "-1", "offsets.retention.minutes": "100000",
	}
	n := node.Start(b, settings)
	ours := &coordinator{name: "millrace", addr: n.Addr, pid: func() int { return n.Pid() }}
	ours.stop = func(kill bool) func() {
		if kill {
			n.Kill()
		} else {
			stop(b, n)
		}
		return func() { n.Restart(b) }
	}
	k := oracle.StartOn(b, []string{"-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"}, settings)
	theirs := &coordinator{name: "kafka", addr: k.Addr, pid: func() int { return k.Pid() }}
	theirs.stop = func(kill bool) func() {
		if kill {
			k.Kill()
		} else {
			k.Stop(b, time.Minute) // a JVM that is told to end says that it was
		}
		return func() { k.Restart(b) }
	}
	for _, c := range []*coordinator{ours, theirs} {
		c.awaitReady(b)
	}
	return []*coordinator{ours, theirs}
}

func (c *coordinator) admin(b *testing.B) *kadm.Client {
	client, err := kgo.NewClient(kgo.SeedBrokers(c.addr))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// awaitReady waits until groups are coordinated.
func (c *coordinator) awaitReady(b *testing.B) {
	admin := c.admin(b)
	deadline := time.Now().Add(time.Minute)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		_, err := admin.FetchOffsets(ctx, "nobody")
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("%s: %v", c.name, err)
		}
	}
}

func (c *coordinator) topic(b *testing.B, name string, partitions int32) {
	if err := makeTopic(context.Background(), c.admin(b), name, partitions); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGroups races the coordinators of groups, and judges what they must be. ROUNDS says how often (3), ROWS which.
func BenchmarkGroups(b *testing.B) {
	rounds := number(b, "ROUNDS", 3)
	wanted, err := regexp.Compile(os.Getenv("ROWS"))
	if err != nil {
		b.Fatalf("ROWS: %v", err)
	}
	for _, row := range []struct {
		name string
		run  func(b *testing.B, who []*coordinator, rounds int)
	}{
		{"rebalance", rebalance},
		{"commits", commits},
		{"reload", reload},
	} {
		if wanted.MatchString(row.name) {
			b.Run(row.name, func(b *testing.B) {
				b.ReportMetric(0, "ns/op")
				row.run(b, startCoordinators(b), rounds)
			})
		}
	}
}

// race lets them take turns, and returns the medians of a figure by name. The first round is to get going.
func race(who []*coordinator, rounds int, run func(c *coordinator, round int) float64) map[string]float64 {
	all, medians := map[string][]float64{}, map[string]float64{}
	for round := range rounds + 1 {
		for i := range who {
			c := who[(i+round)%len(who)]
			if v := run(c, round); round > 0 {
				all[c.name] = append(all[c.name], v)
			}
		}
	}
	for name, list := range all {
		medians[name] = middle(list)
	}
	return medians
}

// verdict prints a goal, and fails the benchmark when it does not hold.
func verdict(b *testing.B, what, unit string, m map[string]float64, must float64, atLeast bool) {
	ratio := m["millrace"] / m["kafka"]
	holds, word, sign := ratio <= must, "fell short", "≤"
	if atLeast {
		holds, sign = ratio >= must, "≥"
	}
	if holds {
		word = "holds"
	}
	fmt.Printf("%-62s millrace %10.2f, kafka %10.2f %s, ratio %.2f must %s %g: %s\n", what, m["millrace"], m["kafka"], unit, ratio, sign, must, word)
	if !holds {
		b.Errorf("%s: %.2f of Kafka's", what, ratio)
	}
}

const crowded = 1000

// rebalance lets a thousand members join, and ten of them die.
func rebalance(b *testing.B, who []*coordinator, rounds int) {
	deaths := map[string][]float64{}
	for _, c := range who {
		c.topic(b, "crowded", crowded)
	}
	joins := race(who, rounds, func(c *coordinator, round int) float64 {
		g := newCrew(b, c.addr, fmt.Sprintf("crew%d", round), "crowded", crowded)
		defer g.leave()
		joined := g.join(b, crowded)
		beats := g.beats
		g.disperse()
		time.Sleep(2*interval + 2*time.Second)
		died := g.die(b, 10, session)
		fmt.Printf("         %-9s round %d: joined in %.2f s with %d heartbeats; after the death of ten stable in %.2f s, %d\n", c.name, round, joined.Seconds(), beats, died.Seconds(), g.beats-beats)
		if round > 0 {
			deaths[c.name] = append(deaths[c.name], died.Seconds())
		}
		return joined.Seconds()
	})
	verdict(b, fmt.Sprintf("%d members join", crowded), "s", joins, 0.5, false)
	died := map[string]float64{}
	for name, list := range deaths {
		died[name] = middle(list)
	}
	verdict(b, "ten of them die, from the end of their sessions", "s", died, 0.5, false)
}

// commit makes a request that commits offsets of a topic's partitions as nobody's member.
func commit(group, topic string, partitions int, offset int64) *kmsg.OffsetCommitRequest {
	r := kmsg.NewPtrOffsetCommitRequest()
	r.SetVersion(8)
	r.Group, r.Generation = group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	for p := range partitions {
		one := kmsg.NewOffsetCommitRequestTopicPartition()
		one.Partition, one.Offset = int32(p), offset
		t.Partitions = append(t.Partitions, one)
	}
	r.Topics = append(r.Topics, t)
	return r
}

func (l *link) commit(r *kmsg.OffsetCommitRequest) error {
	answered, err := l.call(r)
	if err != nil {
		return err
	}
	for _, t := range answered.(*kmsg.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

// commits counts the commits of 64 committers, each with a group and a connection of its own.
func commits(b *testing.B, who []*coordinator, rounds int) {
	const committers = 64
	seconds := number(b, "SECONDS", 5)
	for _, c := range who {
		c.topic(b, "t", 1)
	}
	m := race(who, rounds, func(c *coordinator, round int) float64 {
		var done atomic.Int64
		var all sync.WaitGroup
		end := time.Now().Add(time.Duration(seconds) * time.Second)
		for i := range committers {
			all.Go(func() {
				l, err := dial(c.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer l.close()
				for offset := int64(0); time.Now().Before(end); offset++ {
					if err := l.commit(commit(fmt.Sprintf("committer%d", i), "t", 1, offset)); err != nil {
						b.Errorf("%s: %v", c.name, err)
						return
					}
					done.Add(1)
				}
			})
		}
		all.Wait()
		rate := float64(done.Load()) / float64(seconds)
		fmt.Printf("         %-9s round %d: %.0f commits a second\n", c.name, round, rate)
		return rate
	})
	verdict(b, fmt.Sprintf("commits by %d committers, class disk against the page cache", committers), "/s", m, 1, true)
}

// reload restarts them with 10,000 groups that have 100 offsets each: after a stop in order, and after none.
func reload(b *testing.B, who []*coordinator, rounds int) {
	const groups, each = 10_000, 100
	for _, c := range who {
		c.topic(b, "t", each)
		began := time.Now()
		var all sync.WaitGroup
		var next atomic.Int64
		for range 32 {
			all.Go(func() {
				l, err := dial(c.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer l.close()
				for n := next.Add(1); n <= groups; n = next.Add(1) {
					if err := l.commit(commit(fmt.Sprintf("group-%d", n), "t", each, n)); err != nil {
						b.Errorf("%s: %v", c.name, err)
						return
					}
				}
			})
		}
		all.Wait()
		fmt.Printf("         %-9s has %d groups with %d offsets each after %.1f s\n", c.name, groups, each, time.Since(began).Seconds())
	}
	for _, kill := range []bool{false, true} {
		what := fmt.Sprintf("restart with %d groups and %d offsets", groups, groups*each)
		if kill {
			what += " after kill -9"
		}
		ports := map[string][]float64{}
		m := race(who, rounds, func(c *coordinator, round int) float64 {
			start := c.stop(kill)
			began := time.Now()
			start()
			port := time.Since(began)
			c.loaded(b, 200, each) // one of every partition of __consumer_offsets, and more
			took := time.Since(began)
			fmt.Printf("         %-9s round %d: port open after %.2f s, groups loaded after %.2f s and %.2f s of CPU, RSS %d MiB\n",
				c.name, round, port.Seconds(), took.Seconds(), cpuTime(b, c.pid()).Seconds(), resident(b, c.pid())>>20)
			if round == rounds {
				c.loaded(b, groups, each)
			}
			if round > 0 {
				ports[c.name] = append(ports[c.name], (took - port).Seconds())
			}
			return took.Seconds()
		})
		verdict(b, what, "s", m, 1, false)
		after := map[string]float64{}
		for name, list := range ports {
			after[name] = middle(list)
		}
		verdict(b, "the same from when the port is open", "s", after, 1, false)
	}
}

// loaded asks for the offsets of groups until it gets them.
func (c *coordinator) loaded(b *testing.B, groups, each int) {
	began := time.Now()
	l, err := dial(c.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer l.close()
	for n := 1; n <= groups; n++ {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.SetVersion(7)
		r.Group = fmt.Sprintf("group-%d", n)
		for {
			answered, err := l.call(r)
			if err != nil {
				b.Fatal(err)
			}
			response := answered.(*kmsg.OffsetFetchResponse)
			if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
				if !kerr.IsRetriable(err) || time.Since(began) > 2*time.Minute {
					b.Fatalf("%s: %v", c.name, err)
				}
				time.Sleep(2 * time.Millisecond)
				continue
			}
			if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != each {
				b.Fatalf("%s: %s has lost offsets", c.name, r.Group)
			}
			break
		}
	}
}

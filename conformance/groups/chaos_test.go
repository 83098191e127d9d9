package groups

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// storm is a broker, groups of both protocols that read one topic through it, and what goes wrong with all of them.
type storm struct {
	broker broker
	dice   *rand.Rand
	top    *topic
	groups []*group
	// members are those that run, by group; stopped are those of them that hang, and until when.
	members map[*group][]string
	stopped map[string]time.Time
	joined  int
	done    map[string]int // what was done, and how often
}

// The session timeout of the members, and how long everything may take until it is in order again when all that went wrong
// is over: the dead have to be found out, and clients look for their coordinator.
const (
	stormSession  = 6 * time.Second
	stormPatience = 3 * time.Minute
)

// TestChaos kills and stops members, and the broker, while they read and commit: for CHAOS_SECONDS, 25 unless told
// otherwise, from the seed SEED. Every record is read, no acknowledged commit is ever gone, and no partition has two owners.
func TestChaos(t *testing.T) {
	seconds, seed := 25, uint64(time.Now().UnixNano())
	if n, err := strconv.Atoi(os.Getenv("CHAOS_SECONDS")); err == nil {
		seconds = n
	}
	if n, err := strconv.ParseUint(os.Getenv("SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("CHAOS_SECONDS=%d SEED=%d", seconds, seed)
	s := newStorm(t, seed)
	// Everything comes up in turn, in an order of its own each time: a short run has all of it as well.
	deck := []func(*testing.T){s.kill, s.kill, s.hang, s.hang, s.killBroker, s.killBroker, s.hangBroker, s.leave, s.write, s.write}
	for until := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(until); {
		s.dice.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		for _, next := range deck {
			time.Sleep(s.between(100*time.Millisecond, 1500*time.Millisecond)) // the moment is the point
			s.resume(time.Now())
			next(t)
		}
	}
	s.calm(t)
	t.Logf("%v, %d members, %d records a partition", s.done, s.joined, s.top.ends[0])
}

func newStorm(t *testing.T, seed uint64) *storm {
	more := maps.Clone(settings)
	more["group.consumer.session.timeout.ms"] = fmt.Sprint(stormSession.Milliseconds())
	b, addr := startBroker(t, more)
	s := &storm{broker: b, dice: rand.New(rand.NewPCG(seed, 3)), members: map[*group][]string{}, stopped: map[string]time.Time{}, done: map[string]int{}}
	s.top = newTopic(t, addr, "chaos", 8)
	s.top.write(t, 100)
	for _, with := range []struct {
		spec      spec
		libraries []string
	}{
		{spec{assignor: "range"}, []string{"franz-go", "confluent-kafka-go", "sarama"}},
		{spec{assignor: "uniform", protocol: "consumer"}, []string{"franz-go", "confluent-kafka-go", "java"}},
	} {
		with.spec.session = stormSession
		protocol := with.spec.protocol
		if protocol == "" {
			protocol = "classic"
		}
		g := newGroup(t, s.top, "chaos."+protocol, with.spec)
		g.patience = stormPatience
		s.groups = append(s.groups, g)
		for _, library := range with.libraries {
			s.join(t, g, library)
		}
	}
	for _, g := range s.groups {
		g.await(t, "a first commit", func(h history) bool {
			return slices.ContainsFunc(h, func(e event) bool { return e.kind == "committed" })
		})
	}
	return s
}

func (s *storm) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.dice.Int64N(int64(high-low)))
}

func (s *storm) count(what string) { s.done[what]++ }

func (s *storm) join(t *testing.T, g *group, library string) {
	s.joined++
	name := fmt.Sprintf("%s/%d", library, s.joined)
	g.join(t, name)
	s.members[g] = append(s.members[g], name)
}

// pick takes a member, to be replaced by another of its library.
func (s *storm) pick() (g *group, name, library string) {
	g = s.groups[s.dice.IntN(len(s.groups))]
	name = s.members[g][s.dice.IntN(len(s.members[g]))]
	library, _, _ = strings.Cut(name, "/")
	return g, name, library
}

func (s *storm) gone(g *group, name string) {
	s.members[g] = slices.DeleteFunc(s.members[g], func(m string) bool { return m == name })
	delete(s.stopped, name)
}

// kill kills a member, that hangs or not, and starts another.
func (s *storm) kill(t *testing.T) {
	g, name, library := s.pick()
	g.kill(t, name)
	s.count("members killed")
	s.gone(g, name)
	s.join(t, g, library)
}

// leave lets a member leave, when it can, and starts another.
func (s *storm) leave(t *testing.T) {
	g, name, library := s.pick()
	if _, hangs := s.stopped[name]; hangs {
		return
	}
	g.leave(t, name)
	s.count("members left")
	s.gone(g, name)
	s.join(t, g, library)
}

// hang stops a member, for less than its session or for more.
func (s *storm) hang(*testing.T) {
	g, name, _ := s.pick()
	if _, hangs := s.stopped[name]; hangs {
		return
	}
	g.hang(name)
	s.count("members hung")
	s.stopped[name] = time.Now().Add(s.between(500*time.Millisecond, 2*stormSession))
}

// resume lets members go on whose time is over.
func (s *storm) resume(now time.Time) {
	for _, g := range s.groups {
		for _, name := range s.members[g] {
			if until, hangs := s.stopped[name]; hangs && !now.Before(until) {
				delete(s.stopped, name)
				g.resume(name)
			}
		}
	}
}

// killBroker kills the broker and starts it again. What was acknowledged before is there.
func (s *storm) killBroker(t *testing.T) {
	s.broker.Kill()
	s.count("broker killed")
	var acknowledged []map[int]int64
	for _, g := range s.groups {
		acknowledged = append(acknowledged, g.acknowledged())
	}
	s.broker.Restart(t)
	for i, g := range s.groups {
		s.kept(t, g, acknowledged[i])
	}
}

// hangBroker stops the broker, for less than a session or for more: then nobody could say in time that he is there.
func (s *storm) hangBroker(t *testing.T) {
	s.broker.Signal(syscall.SIGSTOP)
	s.count("broker hung")
	if againstKafka() {
		for _, g := range s.groups {
			g.add(event{time: time.Now().UnixNano(), member: theBroker, kind: "hung"})
		}
	}
	time.Sleep(s.between(500*time.Millisecond, stormSession+3*time.Second)) // how long is the point
	s.broker.Signal(syscall.SIGCONT)
}

func (s *storm) write(t *testing.T) { s.top.write(t, 1+s.dice.IntN(30)) }

// kept wants the group's offsets to be at least what was acknowledged.
func (s *storm) kept(t *testing.T, g *group, acknowledged map[int]int64) {
	t.Helper()
	for deadline := time.Now().Add(stormPatience); ; {
		offsets, err := g.admin.FetchOffsets(t.Context(), g.id)
		if err == nil {
			err = offsets.Error()
		}
		if err == nil {
			for p, at := range acknowledged {
				if o, _ := offsets.Lookup(g.name, int32(p)); o.At < at {
					t.Errorf("%s: %d of partition %d was acknowledged, and after the broker was killed it is at %d", g.id, at, p, o.At)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: no offsets %v after the broker was started: %v", g.id, stormPatience, err)
		}
		<-time.After(20 * time.Millisecond) // a coordinator that loads has no event to wait for
	}
}

// calm lets everything come to rest, and judges.
func (s *storm) calm(t *testing.T) {
	s.resume(time.Now().Add(time.Hour))
	s.top.write(t, 20)
	for _, g := range s.groups {
		g.shared(t, 0, s.members[g]...)
		g.finish(t, s.members[g]...)
	}
	if err := s.broker.Stop(t, time.Minute); err != nil && !againstKafka() { // a JVM always ends so
		t.Errorf("the broker did not stop in good order: %v", err)
	}
}

package differential

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

var (
	per      = flag.Int("per", sequences(), "valid and bad sequences of each API and version; the full run takes 20")
	seed     = flag.Uint64("seed", firstSeed(), "seed of the first sequence; 0 draws one")
	only     = flag.String("api", "", "run this API alone")
	version  = flag.Int("version", -1, "run this version alone")
	kind     = flag.String("kind", "", "run the valid or the bad sequences alone")
	selfTest = flag.Bool("self", false, "compare Apache Kafka with a second Apache Kafka: the runner must find nothing")
	fail     = flag.Int("show", 60, "differences to print")
	trace    = flag.Bool("trace", false, "print every request with both answers, and what Apache Kafka printed")
)

// settings are those of both servers beside the defaults. The records of plans are years old, to tell their timestamps
// from those of a clock: nothing must delete them for it. Groups are assigned at once, in the request that asks for it, and
// none is looked through for what is to go while a run lasts: that comes to each server at a time of its own.
var settings = map[string]string{"log.retention.ms": "-1", "offsets.topic.num.partitions": "1", "group.consumer.assignment.interval.ms": "0",
	"group.consumer.assignor.offload.enable": "false", "offsets.retention.check.interval.ms": "86400000"}

// sequences is how many sequences a run takes where no flag says: SEQUENCES in the environment, or 2.
func sequences() int {
	if n, err := strconv.Atoi(os.Getenv("SEQUENCES")); err == nil {
		return n
	}
	return 2
}

// firstSeed is the seed where no flag gives one: DIFFERENTIAL_SEED in the environment, or one that is drawn.
func firstSeed() uint64 {
	n, _ := strconv.ParseUint(os.Getenv("DIFFERENTIAL_SEED"), 10, 64)
	return n
}

// TestDifferential is the whole comparison. It fails on a difference that known.txt does not name, and on an
// entry of known.txt that the run did not meet.
func TestDifferential(t *testing.T) {
	first := drawn()
	t.Logf("seed %d: go test ./kafka/differential -run TestDifferential -seed %d -per %d", first, first, *per)
	r, k := begin(t, settings)
	next, start := first, time.Now()
	all := !*selfTest && *only == "" && *version < 0 && *kind == ""
	next = pass(t, r, next)
	for again := 0; all && again < 2 && len(unmet(r)) > 0; again++ {
		for _, k := range unmet(r) {
			t.Logf("known.txt:%d was not met by chance; all once more", k.Line)
		}
		next = pass(t, r, next)
	}
	if *trace {
		t.Logf("Apache Kafka printed:\n%s", k.Output())
	}
	report(t, r)
	if all {
		for _, k := range unmet(r) {
			t.Errorf("known.txt:%d: nothing hit this entry: %s %s %s", k.Line, k.API, k.Path, k.Where)
		}
	}
	t.Logf("%d sequences, %d requests compared in %v", r.Sequences, r.Requests, time.Since(start).Round(time.Second))
}

// pass goes once through every API and version that was asked for, with the seeds from next on, and returns the seed
// behind them.
func pass(t *testing.T, r *Runner, next uint64) uint64 {
	for _, key := range keys() {
		if *only != "" && key.String() != *only {
			continue
		}
		info, _ := wire.Lookup(key)
		began, requests := time.Now(), r.Requests
		times := rounds(key, *per)
		if *version >= 0 {
			times = *per
		}
		for v := info.MinVersion; v <= info.MaxVersion; v++ {
			if *version >= 0 && v != int16(*version) {
				continue
			}
			for range times {
				for _, bad := range []bool{false, true} {
					if *kind != "" && bad != (*kind == "bad") {
						continue
					}
					run(t, r, plan(key, v, bad, next))
					next++
				}
			}
		}
		t.Logf("%-22s %6d requests in %5.1fs", key, r.Requests-requests, time.Since(began).Seconds())
	}
	return next
}

// unmet returns the entries of known.txt that the run did not meet yet. Some differences come only where versions and
// what is drawn meet: an entry has failed when several passes did not come upon it.
func unmet(r *Runner) []*Known {
	var entries []*Known
	for _, k := range r.Known {
		if k.Hits == 0 {
			entries = append(entries, k)
		}
	}
	return entries
}

// TestMigrations is the comparison of groups that go from one protocol to the other, where it is not as free as by
// default.
func TestMigrations(t *testing.T) {
	if *only != "" || *version >= 0 || *kind != "" {
		t.Skip("a part of TestDifferential was asked for")
	}
	first := drawn()
	for _, policy := range []string{"disabled", "upgrade", "downgrade"} {
		t.Run(policy, func(t *testing.T) {
			again := fmt.Sprintf("-run TestMigrations/%s -seed %d", policy, first)
			t.Logf("seed %d: go test ./kafka/differential %s", first, again)
			own := maps.Clone(settings)
			own["group.consumer.migration.policy"] = policy
			r, _ := begin(t, own)
			next, moves, key := first, book{migrationsValid, migrationsBad, policy}, wire.KeyConsumerGroupHeartbeat
			for range moves.rounds(key) {
				for version := range int16(2) {
					for _, bad := range []bool{false, true} {
						q := moves.plan(key, version, bad, next)
						q.Again = again
						run(t, r, q)
						next++
					}
				}
			}
			report(t, r)
			t.Logf("%d sequences, %d requests compared", r.Sequences, r.Requests)
		})
	}
}

// drawn is the seed to begin with.
func drawn() uint64 {
	if *seed == 0 {
		return rand.Uint64N(1 << 30)
	}
	return *seed
}

// begin starts the two servers.
func begin(t *testing.T, settings map[string]string) (*Runner, *oracle.Kafka) {
	known, err := loadKnown()
	if err != nil {
		t.Fatal(err)
	}
	k := oracle.Start(t, settings)
	r := &Runner{
		Kafka: &Side{Name: "Apache Kafka", Addr: k.Addr, ControllerAddr: k.ControllerAddr, Dir: k.Dir, ClusterID: k.ClusterID},
		Known: known, Codes: make(map[wire.APIKey]map[kafka.ErrorCode]int), Log: t.Logf,
	}
	if *trace {
		r.Trace = t.Logf
	}
	if *selfTest {
		other := oracle.Start(t, settings)
		r.Millrace = &Side{Name: "Apache Kafka again", Addr: other.Addr, ControllerAddr: other.ControllerAddr, Dir: other.Dir, ClusterID: other.ClusterID}
	} else {
		n := node.Start(t, settings)
		r.Millrace = &Side{Name: "Millrace", Addr: n.Addr, ControllerAddr: n.ControllerAddr, Dir: n.Dir, ClusterID: n.ClusterID}
	}
	t.Cleanup(r.Kafka.Close)
	t.Cleanup(r.Millrace.Close)
	for _, side := range []*Side{r.Kafka, r.Millrace} {
		side.begin(nil)
		awaitReady(t, side)
	}
	return r, k
}

// run runs a sequence; one that does not come to its end leaves the connections in no state to go on.
func run(t *testing.T, r *Runner, q *Sequence) {
	if err := r.Run(q); err != nil {
		t.Error(err)
		r.Kafka.Close()
		r.Millrace.Close()
	}
}

// awaitReady waits until a fresh server takes topics.
func awaitReady(t *testing.T, s *Side) {
	t.Helper()
	step := Step{What: "first topic", Settle: func(s *Side) (bool, error) {
		if _, err := s.call(createTopic("first", 1, nil), wire.KeyCreateTopics, 5); err != nil {
			s.Close()
			return false, nil
		}
		// A producer id needs a block of them from the controller, which takes a moment to come.
		reply, err := s.call(&wire.InitProducerIdRequest{TransactionTimeoutMs: 1, ProducerID: -1, ProducerEpoch: -1}, wire.KeyInitProducerId, 4)
		if err != nil || reply.(*wire.InitProducerIdResponse).ErrorCode != kafka.None {
			return false, err
		}
		// The first question for a coordinator makes the topic of the groups, and they are loaded when it is led.
		find := wire.NewFindCoordinatorRequest()
		find.CoordinatorKeys = []string{"g"}
		if reply, err = s.call(find, wire.KeyFindCoordinator, 4); err != nil || reply.(*wire.FindCoordinatorResponse).Coordinators[0].ErrorCode != kafka.None {
			return false, err
		}
		list, err := s.call(wire.NewListGroupsRequest(), wire.KeyListGroups, 4)
		if err != nil || list.(*wire.ListGroupsResponse).ErrorCode != kafka.None {
			return false, err
		}
		if ok, err := served("__consumer_offsets", 1)(s); !ok || err != nil {
			return false, err
		}
		commit := wire.NewOffsetCommitRequest()
		commit.GroupID, commit.Topics = "g", []wire.OffsetCommitRequestTopics{{Name: "first", Partitions: []wire.OffsetCommitRequestPartitions{{}}}}
		if reply, err = s.call(commit, wire.KeyOffsetCommit, 5); err != nil || reply.(*wire.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode != kafka.None {
			return false, err
		}
		remove := wire.NewDeleteGroupsRequest()
		remove.GroupsNames = []string{"g"}
		if _, err := s.call(remove, wire.KeyDeleteGroups, 2); err != nil {
			return false, err
		}
		return served("first", 1)(s)
	}}
	if err := settle(s, &step); err != nil {
		t.Fatalf("%s: %v", s.Name, err)
	}
}

func report(t *testing.T, r *Runner) {
	// Differences that say the same are shown once, with how often and where first.
	type class struct {
		api, path, kafka, millrace string
	}
	count := make(map[class]int)
	versions := make(map[class][]int16)
	first := make(map[class]Finding)
	var order []class
	for _, f := range r.Found {
		theirs, ours := apart(f.Kafka, f.Millrace)
		c := class{f.API, f.Path, clip(theirs), clip(ours)}
		if count[c] == 0 {
			order = append(order, c)
			first[c] = f
		}
		count[c]++
		if !slices.Contains(versions[c], f.Version) {
			versions[c] = append(versions[c], f.Version)
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return count[order[i]] > count[order[j]] })
	for i, c := range order {
		if i == *fail {
			t.Errorf("... and %d kinds of difference more", len(order)-i)
			break
		}
		f := first[c]
		t.Errorf("%d × %s v%v %s: Kafka %s, Millrace %s\n    first at [%s] in %s, step %s\n    of %s", count[c], c.api, versions[c], c.path, c.kafka, c.millrace, f.Where, f.Sequence.again(), f.Step, clip(f.Request))
	}
	for _, k := range r.Known {
		if *kind == "" && 0 < k.Hits && k.Hits < 3 {
			t.Logf("known.txt:%d was met %d times only", k.Line, k.Hits)
		}
	}
	for _, key := range keys() {
		if len(r.Codes[key]) == 0 {
			continue
		}
		var got, unseen []string
		for _, code := range possible[key] {
			if n := r.Codes[key][code]; n > 0 {
				got = append(got, fmt.Sprintf("%s×%d", code, n))
			} else {
				unseen = append(unseen, code.String())
			}
		}
		for code, n := range r.Codes[key] {
			if !slices.Contains(possible[key], code) {
				got = append(got, fmt.Sprintf("%s×%d (not listed)", code, n))
			}
		}
		t.Logf("%s provoked: %s; can also give: %s", key, strings.Join(got, " "), strings.Join(unseen, " "))
	}
}

// apart leaves out how two long texts begin alike.
func apart(x, y string) (string, string) {
	same := 0
	for same < min(len(x), len(y)) && x[same] == y[same] {
		same++
	}
	if same < 200 {
		return x, y
	}
	same -= 100
	return "..." + x[same:], "..." + y[same:]
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "..."
	}
	return s
}

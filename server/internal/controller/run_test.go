package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

func createRequest(name string, partitions int32, replicas int16) *wire.CreateTopicsRequest {
	return &wire.CreateTopicsRequest{Topics: []wire.CreateTopicsRequestTopics{{Name: name, NumPartitions: partitions, ReplicationFactor: replicas}}}
}

func codeOf(t *testing.T, m wire.Message) kafka.ErrorCode {
	t.Helper()
	return m.(*wire.CreateTopicsResponse).Topics[0].ErrorCode
}

// Requests are decided on what is on its way, and answered in order when it has arrived.
func TestDecisionsPipeline(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	first, waitFirst, err := k.c.submit(Caller{}, createRequest("t", 1, 1), 7)
	if err != nil {
		t.Fatal(err)
	}
	again, waitAgain, err := k.c.submit(Caller{}, createRequest("t", 1, 1), 7)
	if err != nil {
		t.Fatal(err)
	}
	if codeOf(t, first) != kafka.None || codeOf(t, again) != kafka.TopicAlreadyExists {
		t.Fatalf("the second creation does not see the first: %v, %v", codeOf(t, first), codeOf(t, again))
	}
	select {
	case <-waitAgain:
		t.Fatal("an answer left that rests on a record nobody has committed")
	default:
	}
	k.deliver()
	if err := <-waitFirst; err != nil {
		t.Fatal(err)
	}
	if err := <-waitAgain; err != nil {
		t.Fatal(err)
	}
}

// What was decided on lost records is answered with NOT_CONTROLLER, and forgotten.
func TestLostLeadershipForgets(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	_, wait, _ := k.c.submit(Caller{}, createRequest("t", 1, 1), 7)
	_, parked, _ := k.c.submit(Caller{}, createRequest("t", 1, 1), 7)
	k.lose()
	for _, w := range []<-chan error{wait, parked} {
		if err := <-w; kafka.CodeOf(err) != kafka.NotController {
			t.Errorf("got %v", err)
		}
	}
	if _, err := k.c.Handle(context.Background(), Caller{}, createRequest("t", 1, 1), 7); kafka.CodeOf(err) != kafka.NotController {
		t.Errorf("a controller that does not lead says %v", err)
	}
	k.elect()
	k.deliver()
	response, err := k.ask(createRequest("t", 1, 1))
	if err != nil || codeOf(t, response) != kafka.None {
		t.Errorf("the topic of the lost record is in the way: %v %v", response, err)
	}
}

// A proposal that fails while the leadership goes on takes all later ones with it; then the controller goes on
// from what is committed.
func TestFailedProposalFallsBack(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	var waits []<-chan error
	for _, name := range []string{"a", "b", "c"} {
		_, wait, err := k.c.submit(Caller{}, createRequest(name, 1, 1), 7)
		if err != nil {
			t.Fatal(err)
		}
		waits = append(waits, wait)
	}
	k.deliverOne()
	failed := k.log.waiting
	k.log.waiting = nil
	k.log.end = k.log.committed.Offset() + 1
	for _, b := range failed {
		b.done(0, errors.New("the disk is gone"))
	}
	for i, want := range []kafka.ErrorCode{kafka.None, kafka.NotController, kafka.NotController} {
		if err := <-waits[i]; kafka.CodeOf(err) != want {
			t.Errorf("request %d: %v, want %v", i, err, want)
		}
	}
	for name, want := range map[string]kafka.ErrorCode{"a": kafka.TopicAlreadyExists, "b": kafka.None} {
		response, err := k.ask(createRequest(name, 1, 1))
		if err != nil || codeOf(t, response) != want {
			t.Errorf("%s: %v %v, want %v", name, response, err, want)
		}
	}
}

func TestRefusedProposal(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	k.log.refuse = kafka.NotController
	if _, err := k.ask(createRequest("t", 1, 1)); kafka.CodeOf(err) != kafka.NotController {
		t.Errorf("got %v", err)
	}
}

// A caller that gives up is told that its request may still come true.
func TestHandleTimesOut(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := k.c.Handle(ctx, Caller{}, createRequest("t", 1, 1), 7); kafka.CodeOf(err) != kafka.RequestTimedOut {
		t.Errorf("got %v", err)
	}
	k.deliver()
	if k.log.committed.Topic("t") == nil {
		t.Error("the request was proposed, but its topic is not there")
	}
}

// The broker epoch is the offset of the registration, also where long changes precede it in several batches.
func TestBrokerEpochIsAnOffset(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	if _, err := k.ask(createRequest("t", 120, 1)); err != nil {
		t.Fatal(err)
	}
	before := k.log.end
	k.c.lead.sessions.forget(1)
	response, err := k.ask(k.registration(1, 1, ""))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := response.(*wire.BrokerRegistrationResponse).BrokerEpoch, before+120; got != want || k.log.end != want+1 {
		t.Errorf("the epoch is %d, the record lies at %d of %d", got, want, k.log.end)
	}
	if first := k.beat(1, false, false); first.IsFenced {
		t.Error("a broker that knows of its registration is not let in")
	}
	for i, p := range k.log.committed.Topic("t").Partitions {
		if p.Leader != 1 || p.LeaderEpoch != 2 {
			t.Fatalf("t-%d has leader %d in epoch %d", i, p.Leader, p.LeaderEpoch)
		}
	}
}

// A controller that dies between the batches of a long change leaves a cluster that the next one can go on from.
func TestDeathBetweenBatches(t *testing.T) {
	for delivered := range 4 {
		k := newCluster(t, 1, nil)
		k.combined(1)
		k.join(1, 1, "")
		if _, err := k.ask(createRequest("t", 120, 1)); err != nil {
			t.Fatal(err)
		}
		k.c.lead.sessions.forget(1)
		if _, _, err := k.c.submit(Caller{}, k.registration(1, 1, ""), 4); err != nil {
			t.Fatal(err)
		}
		for range min(delivered, len(k.log.waiting)) {
			k.deliverOne()
		}
		k.lose()
		k.boot()
		k.elect()
		k.deliver()
		k.join(1, 1, "")
		for i, p := range k.log.committed.Topic("t").Partitions {
			if p.Leader != 1 || p.LeaderEpoch < 2 || !slices.Equal(p.ISR, []int32{1}) {
				t.Fatalf("after %d batches: t-%d has leader %d in epoch %d, isr %v", delivered, i, p.Leader, p.LeaderEpoch, p.ISR)
			}
		}
	}
}

func TestDuplicateRegistration(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(2, 1, "")
	register := func() kafka.ErrorCode {
		response, err := k.ask(k.registration(2, 1, ""))
		if err != nil {
			t.Fatal(err)
		}
		return response.(*wire.BrokerRegistrationResponse).ErrorCode
	}
	if got := register(); got != kafka.DuplicateBrokerRegistration {
		t.Errorf("a second process took over a living broker's number: %v", got)
	}
	k.now = k.now.Add(3 * time.Second)
	if got := register(); got != kafka.None {
		t.Errorf("the number of a silent broker is not free: %v", got)
	}
	r := k.registration(3, 1, "")
	r.ClusterID = "other"
	bad := map[kafka.ErrorCode]*wire.BrokerRegistrationRequest{kafka.InconsistentClusterID: r}
	r = k.registration(3, 1, "")
	r.Features = r.Features[:1]
	bad[kafka.InvalidRegistration] = r
	r = k.registration(3, 1, "")
	for i := range r.Features {
		if r.Features[i].Name == featureMetadata {
			r.Features[i].MaxSupportedVersion = 20
		}
	}
	bad[kafka.UnsupportedVersion] = r
	for want, r := range bad {
		response, _ := k.ask(r)
		if got := response.(*wire.BrokerRegistrationResponse).ErrorCode; got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestSuspectIsFencedSooner(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	k.join(2, 1, "")
	k.c.Disconnected(2)
	for range 10 {
		k.now = k.now.Add(60 * time.Millisecond)
		k.c.Tick(k.now)
	}
	k.deliver()
	if k.log.committed.Broker(1).Fenced || !k.log.committed.Broker(2).Fenced {
		t.Error("after 600 ms the broker that hung up must be fenced, and the other one not")
	}
}

func TestPlacement(t *testing.T) {
	for seed := range uint64(20) {
		k := newCluster(t, seed, nil)
		for id := range int32(6) {
			k.join(id+1, 1, fmt.Sprintf("rack%d", id%3))
		}
		if _, err := k.ask(createRequest("t", 60, 3)); err != nil {
			t.Fatal(err)
		}
		leaders, held := make(map[int32]int), make(map[int32]int)
		for i, p := range k.log.committed.Topic("t").Partitions {
			racks := make(map[int32]bool)
			for _, r := range p.Replicas {
				racks[(r-1)%3] = true
				held[r]++
			}
			if len(racks) != 3 {
				t.Fatalf("seed %d: t-%d has replicas %v, which share a rack", seed, i, p.Replicas)
			}
			leaders[p.Leader]++
		}
		for id := range int32(6) {
			if n := leaders[id+1]; n < 5 || n > 15 {
				t.Errorf("seed %d: broker %d leads %d of 60 partitions", seed, id+1, n)
			}
			if n := held[id+1]; n < 25 || n > 35 {
				t.Errorf("seed %d: broker %d holds %d of 180 replicas", seed, id+1, n)
			}
		}
	}
}

// Random requests, deaths and lost leaderships leave the rules of partitions whole, and the index true.
func TestInvariantsHold(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			k := newCluster(t, seed, nil)
			dice := rand.New(rand.NewPCG(seed, 7))
			epochs := make(map[kafka.TopicIDPartition][2]int32)
			did := make(map[string]int)
			for step := range 400 {
				what := k.randomStep(dice)
				did[what]++
				if err := k.check(epochs); err != nil {
					t.Fatalf("seed %d, step %d, after %s: %v", seed, step, what, err)
				}
			}
			for _, what := range []string{"create", "restart", "kill", "isr", "lose"} {
				if did[what] == 0 {
					t.Errorf("the run never did %s", what)
				}
			}
		})
	}
}

func (k *cluster) randomStep(dice *rand.Rand) string {
	id := dice.Int32N(4) + 1
	b := k.log.committed.Broker(id)
	var topic *metadata.Topic
	if n := k.log.committed.NumTopics(); n > 0 {
		skip := dice.IntN(n)
		for t := range k.log.committed.Topics() {
			if topic = t; skip == 0 {
				break
			}
			skip--
		}
	}
	send := func(request wire.Message) {
		// Sometimes the leadership is lost with some of the batches.
		if dice.IntN(10) == 0 {
			k.c.submit(Caller{}, request, request.Info().MaxVersion)
			for range dice.IntN(len(k.log.waiting) + 1) {
				k.deliverOne()
			}
			k.elect()
			k.deliver()
			return
		}
		if _, err := k.ask(request); err != nil {
			k.t.Fatal(err)
		}
	}
	switch n := dice.IntN(20); {
	case n < 3:
		if b != nil {
			k.c.lead.sessions.forget(id)
		}
		r := k.registration(id, 1+dice.IntN(2), "")
		if b != nil && dice.IntN(2) == 0 {
			r.PreviousBrokerEpoch = b.Epoch
		}
		send(r)
		k.beat(id, false, false)
		return "restart"
	case n < 6 && b != nil:
		k.beat(id, false, false)
		return "heartbeat"
	case n < 8 && b != nil && k.c.lead.sessions[id] != nil:
		k.c.lead.sessions[id].last = k.now.Add(-time.Hour)
		k.c.Tick(k.now)
		k.deliver()
		return "kill"
	case n < 9 && b != nil:
		k.beat(id, false, true)
		return "stop"
	case n < 12:
		r := createRequest(fmt.Sprintf("t%d", dice.IntN(12)), dice.Int32N(4)+1, int16(dice.IntN(3)+1))
		for _, c := range [][2]string{{"min.insync.replicas", "2"}, {"durability", "cache"}, {"unclean.leader.election.enable", "true"}} {
			if dice.IntN(2) == 0 {
				r.Topics[0].Configs = append(r.Topics[0].Configs, wire.CreateTopicsRequestConfigs{Name: c[0], Value: &c[1]})
			}
		}
		send(r)
		return "create"
	case n < 13 && topic != nil:
		send(&wire.DeleteTopicsRequest{Topics: []wire.DeleteTopicsRequestTopics{{TopicID: topic.ID}}})
		return "delete"
	case n < 14 && topic != nil:
		send(&wire.CreatePartitionsRequest{Topics: []wire.CreatePartitionsRequestTopics{{Name: topic.Name, Count: int32(len(topic.Partitions)) + 1}}})
		return "grow"
	case n < 17 && topic != nil:
		i := dice.IntN(len(topic.Partitions))
		p := topic.Partitions[i]
		if p.Leader == kafka.NoNode {
			return "nothing"
		}
		leader := k.log.committed.Broker(p.Leader)
		asked := wire.AlterPartitionRequestPartitions{PartitionIndex: int32(i), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
		for _, r := range p.Replicas {
			member := k.log.committed.Broker(r)
			if r == p.Leader || member != nil && dice.IntN(3) > 0 {
				asked.NewIsrWithEpochs = append(asked.NewIsrWithEpochs, wire.AlterPartitionRequestNewIsrWithEpochs{BrokerID: r, BrokerEpoch: member.Epoch})
			}
		}
		send(&wire.AlterPartitionRequest{BrokerID: p.Leader, BrokerEpoch: leader.Epoch,
			Topics: []wire.AlterPartitionRequestTopics{{TopicID: topic.ID, Partitions: []wire.AlterPartitionRequestPartitions{asked}}}})
		return "isr"
	case n < 18:
		send(&wire.ElectLeadersRequest{ElectionType: int8(dice.IntN(2))})
		return "elect"
	case n < 19 && topic != nil && b != nil:
		send(&wire.AssignReplicasToDirsRequest{BrokerID: id, BrokerEpoch: b.Epoch, Directories: []wire.AssignReplicasToDirsRequestDirectories{{
			ID: directory(id, byte(dice.IntN(3))), Topics: []wire.AssignReplicasToDirsRequestTopics{{TopicID: topic.ID,
				Partitions: []wire.AssignReplicasToDirsRequestPartitions{{PartitionIndex: 0}}}}}}})
		return "assign"
	}
	k.elect()
	k.deliver()
	return "lose"
}

func (k *cluster) check(epochs map[kafka.TopicIDPartition][2]int32) error {
	image := k.log.committed
	for t := range image.Topics() {
		for i, p := range t.Partitions {
			wrong := func(format string, args ...any) error {
				return fmt.Errorf("%s-%d: %s; leader %d, replicas %v, isr %v, elr %v", t.Name, i, fmt.Sprintf(format, args...), p.Leader, p.Replicas, p.ISR, p.ELR)
			}
			for _, r := range slices.Concat(p.ISR, p.ELR) {
				if !p.HasReplica(r) {
					return wrong("%d is no replica", r)
				}
			}
			for _, r := range p.ELR {
				if slices.Contains(p.ISR, r) {
					return wrong("%d is in sync and eligible", r)
				}
			}
			if p.Leader != kafka.NoNode {
				if !slices.Contains(p.ISR, p.Leader) {
					return wrong("the leader is not in sync")
				}
				if b := image.Broker(p.Leader); b == nil || b.Fenced {
					return wrong("the leader is fenced")
				}
			}
			key := kafka.TopicIDPartition{TopicID: t.ID, Partition: int32(i)}
			if old := epochs[key]; p.LeaderEpoch < old[0] || p.PartitionEpoch < old[1] {
				return wrong("epochs went back from %v to %d, %d", old, p.LeaderEpoch, p.PartitionEpoch)
			}
			epochs[key] = [2]int32{p.LeaderEpoch, p.PartitionEpoch}
		}
	}
	l := k.c.lead
	if l == nil {
		return errors.New("nobody leads")
	}
	if l.image.Offset() != image.Offset() {
		return fmt.Errorf("the speculative image is at %d, the committed one at %d", l.image.Offset(), image.Offset())
	}
	fresh := newIndex(image)
	for id := range int32(5) {
		got, want := slices.Collect(l.index.partitions(id)), slices.Collect(fresh.partitions(id))
		if !slices.Equal(got, want) {
			return fmt.Errorf("the index of broker %d holds %v, not %v", id, got, want)
		}
	}
	return nil
}

// The same seed gives the same records.
func TestSameSeedSameRecords(t *testing.T) {
	run := func() []string {
		k := newCluster(t, 3, nil)
		dice := rand.New(rand.NewPCG(3, 7))
		var all []string
		for range 200 {
			k.log.last = nil
			k.randomStep(dice)
			for _, r := range k.log.last {
				all = append(all, string(wire.AppendMetadataRecord(nil, r.message, r.version)))
			}
		}
		return all
	}
	if a, b := run(), run(); !reflect.DeepEqual(a, b) || len(a) < 100 {
		t.Errorf("two runs of one seed differ (%d and %d records)", len(a), len(b))
	}
}

func TestKeysMatchKafka(t *testing.T) {
	if n := len(GroupKeys()); n != 27 {
		t.Errorf("%d group keys, Kafka has 27", n)
	}
	if n := len(ClientMetricsKeys()); n != 3 {
		t.Errorf("%d client-metrics keys, Kafka has 3", n)
	}
	for _, k := range slices.Concat(TopicKeys(), GroupKeys(), ClientMetricsKeys()) {
		if k.Owner == "" || k.Doc == "" {
			t.Errorf("%s: owner %q, doc %q", k.Name, k.Owner, k.Doc)
		}
	}
	for key := range groupBounds {
		if !slices.ContainsFunc(GroupKeys(), func(k config.Key) bool { return k.Name == key }) {
			t.Errorf("bounds for the unknown key %s", key)
		}
	}
}

func TestIndexOrder(t *testing.T) {
	k := newCluster(t, 9, nil)
	k.join(1, 1, "")
	for i := range 20 {
		if _, err := k.ask(createRequest(fmt.Sprint("t", i), 70, 1)); err != nil {
			t.Fatal(err)
		}
	}
	last := kafka.TopicIDPartition{Partition: -1}
	n := 0
	for tp := range k.c.lead.index.partitions(1) {
		if c := bytes.Compare(last.TopicID[:], tp.TopicID[:]); c > 0 || c == 0 && last.Partition >= tp.Partition {
			t.Fatalf("%v comes after %v", tp, last)
		}
		last = tp
		n++
	}
	if n != 1400 {
		t.Errorf("%d partitions, want 1400", n)
	}
}

// A broker with 100,000 partitions crashes and comes back.
func BenchmarkRestart100k(b *testing.B) {
	k := newCluster(b, 1, nil)
	k.c.maxBatch = 10_000
	k.join(1, 1, "")
	for i := range 100 {
		if _, err := k.ask(createRequest(fmt.Sprint("t", i), 1000, 1)); err != nil {
			b.Fatal(err)
		}
	}
	k.log.last = nil
	for b.Loop() {
		k.c.lead.sessions.forget(1)
		if _, err := k.ask(k.registration(1, 1, "")); err != nil {
			b.Fatal(err)
		}
		k.beat(1, false, false)
		k.log.last = nil
	}
}

// The loop fences by itself, on real (here: fake) time, and ends with Close.
func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &cluster{t: t, now: time.Now(), dice: rand.New(rand.NewPCG(1, 1))}
		k.log.committed = metadata.Empty()
		k.boot()
		k.c.clock = time.Now
		k.commitDirectly(&wire.FeatureLevelRecord{Name: featureMetadata, FeatureLevel: 33})
		k.c.Start()
		defer k.c.Close()
		k.log.epoch++
		k.c.LeaderChanged(k.node, k.log.epoch)
		k.join(1, 1, "")
		time.Sleep(1900 * time.Millisecond)
		synctest.Wait()
		k.deliver()
		if k.log.committed.Broker(1).Fenced {
			t.Fatal("fenced before its session ended")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		k.deliver()
		if !k.log.committed.Broker(1).Fenced {
			t.Error("a broker that is silent for two seconds is not fenced")
		}
	})
}

// The broker in the controller's own process is not fenced for its silence: what starves its heartbeats is the process
// that judges them. Another broker is, and counted; the own one too when it says itself that it goes.
func TestOwnBrokerIsNeverSilentForTooLong(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.combined(1)
	k.join(1, 1, "")
	k.run("wait 1h")
	if k.log.committed.Broker(1).Fenced || k.c.TimedOutHeartbeats() != 0 {
		t.Fatalf("a node fenced itself: %d times", k.c.TimedOutHeartbeats())
	}
	if next := k.c.Tick(k.now); !next.IsZero() {
		t.Errorf("with nobody to judge the controller wants to wake in %v", next.Sub(k.now))
	}
	k.join(2, 1, "")
	k.run("wait 3s")
	if !k.log.committed.Broker(2).Fenced || k.log.committed.Broker(1).Fenced || k.c.TimedOutHeartbeats() != 1 {
		t.Errorf("after silence: broker 1 fenced %v, broker 2 fenced %v, %d fencings", k.log.committed.Broker(1).Fenced, k.log.committed.Broker(2).Fenced, k.c.TimedOutHeartbeats())
	}
	k.beat(1, true, false)
	if !k.log.committed.Broker(1).Fenced {
		t.Error("a broker that wants to be fenced is not")
	}

	// A node that was a broker, too, and comes back as a controller alone is not waited for.
	k.beat(1, false, false)
	k.lose()
	k.combined(1)
	k.run("wait 3s")
	if !k.log.committed.Broker(1).Fenced {
		t.Error("a broker that this process does not run keeps its seat for ever")
	}
}

// A heartbeat does not wait for the commit of what others change, or a slow disk would make its broker silent. One
// that changes something, or says what is not committed, waits.
func TestHeartbeatsDoNotWaitForTheDisk(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	beat := &wire.BrokerHeartbeatRequest{BrokerID: 1, BrokerEpoch: k.log.committed.Broker(1).Epoch, CurrentMetadataOffset: k.log.committed.Offset()}
	submit := func(request wire.Message, version int16) <-chan error {
		t.Helper()
		_, wait, err := k.c.submit(Caller{}, request, version)
		if err != nil {
			t.Fatal(err)
		}
		return wait
	}
	submit(createRequest("t", 1, 1), 7)
	if submit(beat, 1) != nil {
		t.Error("a heartbeat waits for the creation of a topic")
	}
	fence := *beat
	fence.WantFence = true
	if submit(&fence, 1) == nil {
		t.Error("a broker is told that it is fenced before that is committed")
	}
	if submit(&fence, 1) == nil {
		t.Error("a broker is told again that it is fenced before that is committed")
	}
	stale := *beat
	stale.BrokerEpoch++
	if submit(&stale, 1) == nil {
		t.Error("a broker is turned away before all that its refusal rests on is committed")
	}
	k.deliver()
	if submit(&fence, 1) != nil {
		t.Error("nothing is under way, and a heartbeat waits")
	}
}

// While the disk is full nothing is created; what the quorum still takes goes on, and what it refuses changes nothing
// and ends no leadership.
func TestFullDiskRefusesWhatGrows(t *testing.T) {
	k := newCluster(t, 1, nil)
	k.join(1, 1, "")
	if response, err := k.ask(createRequest("old", 1, 1)); err != nil || codeOf(t, response) != kafka.None {
		t.Fatal(response, err)
	}
	full := kafka.KafkaStorageError.Errorf("the disk is full")
	k.log.full = full
	if response, err := k.ask(createRequest("new", 1, 1)); err != nil || codeOf(t, response) != kafka.KafkaStorageError {
		t.Errorf("create a topic: %v %v", response, err)
	}
	if response, err := k.ask(createRequest("old", 1, 1)); err != nil || codeOf(t, response) != kafka.TopicAlreadyExists {
		t.Errorf("create a topic that is there: %v %v", response, err)
	}
	more := wire.NewCreatePartitionsRequest()
	more.Topics = []wire.CreatePartitionsRequestTopics{{Name: "old", Count: 2}}
	if response, err := k.ask(more); err != nil || response.(*wire.CreatePartitionsResponse).Results[0].ErrorCode != kafka.KafkaStorageError {
		t.Errorf("add a partition: %v %v", response, err)
	}

	name := "old"
	remove := wire.NewDeleteTopicsRequest()
	remove.Topics = []wire.DeleteTopicsRequestTopics{{Name: &name}}
	k.log.refuse = full
	if _, _, err := k.c.submit(Caller{}, remove, 6); kafka.CodeOf(err) != kafka.KafkaStorageError {
		t.Errorf("a deletion that the quorum has no room for: %v", err)
	}
	k.run("wait 3s") // broker 1 cannot be fenced now
	k.log.refuse = nil
	if _, wait, err := k.c.submit(Caller{}, remove, 6); err != nil || wait == nil {
		t.Errorf("the deletion, with room: %v", err)
	}
	k.run("wait 1s")
	if k.log.committed.Topic("old") != nil || k.log.committed.Topic("new") != nil {
		t.Error("the topics are there")
	}
	if !k.log.committed.Broker(1).Fenced {
		t.Error("a broker that could not be fenced for want of room stays for ever")
	}

	// A leadership that cannot begin tries again.
	k.beat(1, false, false)
	k.log.full = nil
	if response, err := k.ask(createRequest("again", 1, 1)); err != nil || codeOf(t, response) != kafka.None {
		t.Errorf("create a topic, with room: %v %v", response, err)
	}
}

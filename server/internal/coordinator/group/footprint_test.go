package group

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// groupBytesMax is what one of 10,000 groups may take of the heap.
const groupBytesMax = 4 << 10

// herd is many groups in one coordinator, named as clients name them.
type herd struct {
	w      *world
	groups []*herdGroup
}

type herdGroup struct {
	id, member string
	generation int32
	epoch      int32
}

const herdTopic = "shop.orders.completed"

func newHerd(t testing.TB, groups int) *herd {
	h := &herd{w: newWorld(t, map[string]string{"group.initial.rebalance.delay.ms": "0"})}
	topic := kafka.TopicID{15: 2}
	records := []wire.Message{&wire.TopicRecord{Name: herdTopic, TopicID: topic}}
	for n := range int32(12) {
		records = append(records, h.w.partition(topic, n))
	}
	h.w.apply(records...)
	h.w.c.o.NewID = func() string { return kafka.NewUUID().String() }
	for i := range groups {
		h.groups = append(h.groups, &herdGroup{id: fmt.Sprintf("billing-%05d", i)})
	}
	return h
}

func (h *herd) caller(g *herdGroup) Caller {
	return Caller{ClientID: "consumer-" + g.id + "-1", Host: "/10.20.30.40", Version: 3}
}

// join lets the one member of each group join in the classic protocol and assign to itself.
func (h *herd) join() {
	t := h.w.t
	for _, g := range h.groups {
		request := &wire.JoinGroupRequest{GroupID: g.id, MemberID: g.member, ProtocolType: "consumer", SessionTimeoutMs: 45_000, RebalanceTimeoutMs: 300_000,
			Protocols: []wire.JoinGroupRequestProtocols{{Name: "range", Metadata: subscribe(nil, herdTopic)}, {Name: "cooperative-sticky", Metadata: subscribe(nil, herdTopic)}}}
		h.w.c.JoinGroup(request, h.caller(g), func(r *wire.JoinGroupResponse, err error) {
			if err != nil {
				t.Error(err)
				return
			}
			g.member, g.generation = r.MemberID, r.GenerationID
		})
	}
	h.w.advance(time.Second)
	for _, g := range h.groups {
		request := &wire.SyncGroupRequest{GroupID: g.id, MemberID: g.member, GenerationID: g.generation,
			Assignments: []wire.SyncGroupRequestAssignments{{MemberID: g.member, Assignment: make([]byte, 60)}}}
		h.w.c.SyncGroup(request, func(_ *wire.SyncGroupResponse, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// leave lets the member of each group go.
func (h *herd) leave() {
	for _, g := range h.groups {
		h.w.c.LeaveGroup(&wire.LeaveGroupRequest{GroupID: g.id, Members: []wire.LeaveGroupRequestMembers{{MemberID: g.member}}}, func(_ *wire.LeaveGroupResponse, err error) {
			if err != nil {
				h.w.t.Error(err)
			}
		})
		g.member, g.generation = "", -1
	}
}

// beat lets the one member of each group join in the consumer protocol, and take what it is given.
func (h *herd) beat() {
	for _, g := range h.groups {
		g.member = kafka.NewUUID().String()
		r := wire.NewConsumerGroupHeartbeatRequest()
		r.GroupID, r.MemberID, r.RebalanceTimeoutMs, r.SubscribedTopicNames = g.id, g.member, 300_000, []string{herdTopic}
		r.TopicPartitions = []wire.ConsumerGroupHeartbeatRequestTopicPartitions{}
		h.w.c.ConsumerGroupHeartbeat(r, h.caller(g), func(r *wire.ConsumerGroupHeartbeatResponse, err error) {
			if err != nil {
				h.w.t.Error(err)
				return
			}
			g.epoch = r.MemberEpoch
		})
	}
}

// commit commits the offsets of so many partitions for each group, by its member if it has one.
func (h *herd) commit(partitions int) {
	for _, g := range h.groups {
		r := &wire.OffsetCommitRequest{GroupID: g.id, GenerationIDOrMemberEpoch: -1, RetentionTimeMs: -1}
		if g.member != "" {
			r.MemberID, r.GenerationIDOrMemberEpoch = g.member, max(g.generation, g.epoch)
		}
		topic := wire.OffsetCommitRequestTopics{Name: herdTopic, TopicID: kafka.TopicID{15: 2}}
		for p := range int32(partitions) {
			none := ""
			topic.Partitions = append(topic.Partitions, wire.OffsetCommitRequestPartitions{PartitionIndex: p, CommittedOffset: 12345, CommittedLeaderEpoch: 3, CommittedMetadata: &none})
		}
		r.Topics = append(r.Topics, topic)
		h.w.c.OffsetCommit(r, 9, func(_ *wire.OffsetCommitResponse, err error) {
			if err != nil {
				h.w.t.Error(err)
			}
		})
	}
}

// heap is the live heap without the log, which in a broker is on disk.
func (h *herd) heap() int64 {
	size := 0
	for _, b := range h.w.log.Batches {
		size += len(b)
	}
	all := make([]byte, 0, size)
	for _, b := range h.w.log.Batches {
		all = append(all, b...)
	}
	h.w.log.Batches = nil
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	heap := int64(m.HeapAlloc) - int64(len(all))
	for len(all) > 0 {
		b, rest, err := record.Next(all)
		if err != nil {
			h.w.t.Fatal(err)
		}
		h.w.log.Batches, all = append(h.w.log.Batches, b), rest
	}
	return heap
}

// TestAGroupTakesLittle holds what one of many groups takes of the heap, as it is and after the coordinator has loaded it.
func TestAGroupTakesLittle(t *testing.T) {
	const groups = 2000
	for _, kind := range []struct {
		name string
		make func(h *herd)
	}{
		{"empty, 1 offset", func(h *herd) { h.commit(1) }},
		{"empty, 10 offsets", func(h *herd) { h.commit(10) }},
		{"classic, 1 member, 1 offset", func(h *herd) { h.join(); h.commit(1) }},
		{"classic, the same after twenty rebalances", func(h *herd) {
			for range 10 {
				h.join()
				h.leave()
			}
			h.join()
			h.commit(1)
		}},
		{"consumer, 1 member, 1 offset", func(h *herd) { h.beat(); h.commit(1) }},
	} {
		t.Run(kind.name, func(t *testing.T) {
			h := newHerd(t, groups)
			before := h.heap()
			kind.make(h)
			live := (h.heap() - before) / groups
			h.w.reload()
			loaded := (h.heap() - before) / groups
			t.Logf("%d bytes for a group, %d after a load", live, loaded)
			if live > groupBytesMax || loaded > groupBytesMax {
				t.Errorf("a group takes %d bytes, %d after a load; it may take %d", live, loaded, groupBytesMax)
			}
			runtime.KeepAlive(h)
		})
	}
}

// TestALoadMakesLittle holds that an offset is loaded with next to nothing made for it but the place where it is kept.
func TestALoadMakesLittle(t *testing.T) {
	const groups, each = 100, 100
	h := newHerd(t, groups)
	h.commit(each)
	if n := testing.AllocsPerRun(5, h.w.reload) / (groups * each); n > 0.5 {
		t.Errorf("%.2f allocations for an offset", n)
	} else {
		t.Logf("%.2f allocations for an offset", n)
	}
}

// BenchmarkLoad loads 10,000 groups with 100 offsets each.
func BenchmarkLoad(b *testing.B) {
	const groups, each, offsets = 10_000, 100, 1_000_000
	h := newHerd(b, groups)
	before := h.heap()
	h.commit(each)
	b.ReportAllocs()
	for b.Loop() {
		h.w.reload()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/offsets, "ns/offset")
	b.ReportMetric(float64(h.heap()-before)/offsets, "B/offset")
}

package differential

import (
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// TestEpochs is the comparison of what both say of leader epochs that are over, of which one node has some only when it was
// stopped and started again: who believes in an old one is fenced, and hears where it ended.
func TestEpochs(t *testing.T) {
	known, err := loadKnown()
	if err != nil {
		t.Fatal(err)
	}
	k, n := oracle.Start(t, settings), node.Start(t, settings)
	r := &Runner{
		Kafka:    &Side{Name: "Apache Kafka", Addr: k.Addr, ControllerAddr: k.ControllerAddr, Dir: k.Dir, ClusterID: k.ClusterID},
		Millrace: &Side{Name: "Millrace", Addr: n.Addr, ControllerAddr: n.ControllerAddr, Dir: n.Dir, ClusterID: n.ClusterID},
		Known:    known, Codes: make(map[wire.APIKey]map[kafka.ErrorCode]int), Log: t.Logf,
	}
	t.Cleanup(r.Kafka.Close)
	t.Cleanup(r.Millrace.Close)
	for _, side := range []*Side{r.Kafka, r.Millrace} {
		side.begin(nil)
		awaitReady(t, side)
	}
	const again = "-run TestEpochs"
	first := drawn()
	before := &Sequence{API: wire.KeyFetch, Version: 12, Seed: first, Again: again}
	w := newWorld(first, before)
	aged := w.makeNamed("aged", 1, nil)
	for range 3 {
		w.produce(aged, 0, w.batch(1), -1)
	}
	run(t, r, before)

	r.Kafka.Close()
	r.Millrace.Close()
	if err := k.Stop(t, time.Minute); err != nil {
		t.Logf("Apache Kafka stopped: %v", err) // with the status of a process that a signal ended
	}
	if err := n.Stop(t, time.Minute); err != nil {
		t.Fatal(err)
	}
	k.Restart(t)
	n.Restart(t)
	for i, version := range []int16{12, 16, 18} { // without ids; with the leader that there is; and with records of the new epoch
		q := &Sequence{API: wire.KeyFetch, Version: version, Seed: first + uint64(i) + 1, Again: again}
		w := newWorld(q.Seed, q)
		w.add(Step{What: "await the topic", Settle: served(aged.name, 1)})
		w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(aged.name) })
		if version == 18 {
			w.produce(aged, 0, w.batch(1), -1)
		}
		for current := int32(-1); current < 5; current++ {
			for _, timestamp := range []int64{kafka.TimestampLatest, kafka.TimestampEarliest, kafka.TimestampMax, baseTime} {
				w.listOffsets(aged, 0, timestamp, current)
			}
			for epoch := range int32(4) {
				w.epochs(aged.name, 0, current, epoch)
				for _, offset := range []int64{0, 3, 4, 9} {
					w.fetch(aged, 0, offset, func(f *wire.FetchRequest, one *wire.FetchRequestPartitions) {
						one.CurrentLeaderEpoch, one.LastFetchedEpoch = current, epoch
					})
				}
			}
		}
		run(t, r, q)
	}
	report(t, r)
	for _, key := range []wire.APIKey{wire.KeyFetch, wire.KeyListOffsets, wire.KeyOffsetForLeaderEpoch} {
		if r.Codes[key][kafka.FencedLeaderEpoch] == 0 {
			t.Errorf("%s never met FENCED_LEADER_EPOCH", key)
		}
	}
	t.Logf("%d requests compared", r.Requests)
}

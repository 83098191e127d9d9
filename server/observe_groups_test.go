package server

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// figure reads one figure of /metrics by name and labels.
func figure(t *testing.T, s *Server, what string) float64 {
	t.Helper()
	_, body := ask(t, s, "/metrics")
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(what) + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no %s in\n%s", what, body)
	}
	n, err := strconv.ParseFloat(found[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What a group has not read is told in records and in seconds, and what happened to it in sentences.
func TestGroupsAreSeenFromOutside(t *testing.T) {
	s := started(t, on(t, vfs.NewMem(), "offsets.topic.replication.factor", "1", "offsets.topic.num.partitions", "2", "group.initial.rebalance.delay.ms", "0"))
	b := (&bench{node: s, client: clientOf(t, s), now: time.Now()}).on(t)
	topic := b.topic("t")
	for _, age := range []time.Duration{4 * time.Hour, 3 * time.Hour, 2 * time.Hour} {
		b.produce(topic, b.aged(age), b.aged(age-30*time.Minute)) // two in a batch
	}
	wants(t, s, "/groups", 200, "[]")
	wants(t, s, "/groups/g/explain", 503, "does not exist yet")

	member, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("PLAINTEXT").String()), kgo.ClientID("shop"), kgo.ConsumerGroup("g"), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var records []*kgo.Record
	for len(records) < 6 && ctx.Err() == nil {
		records = append(records, member.PollRecords(ctx, 6).Records()...)
	}
	commit := func(n int) {
		t.Helper()
		if err := member.CommitRecords(ctx, records[:n]...); err != nil {
			t.Fatal(err)
		}
	}
	age := func(d time.Duration) {
		t.Helper()
		for _, what := range []string{`kafka_consumergroup_lag_seconds_max{group="g",topic="t"}`, `kafka_consumergroup_lag_seconds{group="g",partition="0",topic="t"}`} {
			if got := figure(t, s, what); got < d.Seconds() || got > (d+10*time.Minute).Seconds() {
				t.Errorf("%s is %v, want %v and a little", what, got, d.Seconds())
			}
		}
	}
	commit(3)
	for what, want := range map[string]float64{
		`kafka_consumergroup_lag_sum{group="g",topic="t"}`:                                                    3,
		`kafka_consumergroup_lag{group="g",partition="0",topic="t"}`:                                          3,
		`kafka_consumergroup_current_offset{group="g",partition="0",topic="t"}`:                               3,
		`kafka_server_group_coordinator_metrics_group_count{protocol="classic",state="Stable"}`:               1,
		`kafka_server_group_coordinator_metrics_offset_commit_total`:                                          1,
		`kafka_coordinator_group_groupmetadatamanager_numoffsets`:                                             1,
		`kafka_server_group_coordinator_metrics_group_rebalance_total{protocol="classic"}`:                    1,
		`kafka_server_group_coordinator_metrics_group_completed_rebalance_seconds_count{protocol="classic"}`:  1,
		`kafka_server_group_coordinator_metrics_num_partitions{state="active"}`:                               2,
		`kafka_server_group_coordinator_metrics_partition_load_time_seconds_count`:                            2,
		`kafka_server_group_coordinator_metrics_group_completed_rebalance_seconds_count{protocol="consumer"}`: 0,
	} {
		if got := figure(t, s, what); got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	age(150 * time.Minute) // the second of its batch
	commit(4)
	age(2 * time.Hour)
	commit(6)
	if got := figure(t, s, `kafka_consumergroup_lag_seconds_max{group="g",topic="t"}`); got != 0 {
		t.Errorf("%v seconds behind, and everything is read", got)
	}

	wants(t, s, "/groups", 200, `{"group":"g","type":"classic","protocolType":"consumer","state":"Stable"}`)
	wants(t, s, "/groups/h/explain", 404, `"code":"GROUP_ID_NOT_FOUND"`, `Group h not found.`)
	_, body := ask(t, s, "/groups/g/explain")
	var explained groupExplanation
	if err := json.Unmarshal([]byte(body), &explained); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range explained.Events {
		names = append(names, e.Event)
	}
	want := []string{"member-joined", "rebalance-began", "join-phase-over", "stable"}
	if len(names) != len(want) {
		t.Fatalf("%v happened, want %v", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Errorf("%v happened, want %v", names, want)
		}
	}
	if joined := explained.Events[0]; joined.Member == nil || joined.Member.ClientID != "shop" || joined.Member.Host != "/127.0.0.1" || joined.At.Before(b.now.Add(-time.Second)) {
		t.Errorf("%+v", joined)
	}
}

// Lag is told by partition as long as that is not too much; then by topic alone, unless metrics.partitions asks for it.
func TestLagByPartitionIsBounded(t *testing.T) {
	const partitions = 100
	for _, asked := range []string{"false", "true"} {
		s := started(t, on(t, vfs.NewMem(), "metrics.partitions", asked, "offsets.topic.replication.factor", "1", "offsets.topic.num.partitions", "1"))
		b := (&bench{node: s, client: clientOf(t, s), now: time.Now()}).on(t)
		if err := b.tryTopic("t", partitions); err != nil {
			t.Fatal(err)
		}
		commit := func(group int) {
			t.Helper()
			offsets := kadm.Offsets{}
			for p := range int32(partitions) {
				offsets.AddOffset("t", p, 0, -1)
			}
			if err := kadm.NewClient(b.client).CommitAllOffsets(t.Context(), fmt.Sprint("g", group), offsets); err != nil {
				t.Fatal(err)
			}
		}
		shown := func() (byPartition, byTopic int) {
			_, body := ask(t, s, "/metrics")
			return strings.Count(body, "\nkafka_consumergroup_lag{"), strings.Count(body, "\nkafka_consumergroup_lag_sum{")
		}
		groups := lagByPartition / partitions
		for group := range groups {
			commit(group)
		}
		if lags, sums := shown(); lags != lagByPartition || sums != groups {
			t.Errorf("metrics.partitions=%s: %d lags by partition and %d by topic, want %d and %d", asked, lags, sums, lagByPartition, groups)
		}
		commit(groups)
		want := map[string]int{"false": 0, "true": lagByPartition + partitions}[asked]
		if lags, sums := shown(); lags != want || sums != groups+1 {
			t.Errorf("metrics.partitions=%s: one group more, %d lags by partition and %d by topic, want %d and %d", asked, lags, sums, want, groups+1)
		}
	}
}

// A look reads the log for a bounded number of records, goes on with the next, and asks for none twice.
func TestLagIsLookedUpOnce(t *testing.T) {
	reads := 0
	l := &lagTimes{timestamp: func(_ string, _ int32, offset int64) (int64, bool, error) {
		reads++
		return 1000 * offset, true, nil
	}}
	look := func() (known int) {
		k := l.begin(time.UnixMilli(10_000_000))
		defer k.end()
		for offset := range int64(maxLagReads + 10) {
			if seconds, ok := k.age(unread{"t", 0, offset}); ok {
				if known++; seconds != float64(10_000-offset) {
					t.Errorf("the record at %d is %v seconds old", offset, seconds)
				}
			}
		}
		return known
	}
	for i, want := range []int{maxLagReads, maxLagReads + 10, maxLagReads + 10} {
		if got := look(); got != want || reads != want {
			t.Errorf("look %d: %d are known after %d reads, want %d", i, got, reads, want)
		}
	}
	l.begin(time.UnixMilli(0)).end()
	if len(l.known) != 0 {
		t.Errorf("%d are remembered that nobody waits at", len(l.known))
	}
}

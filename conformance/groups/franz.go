package groups

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// franz is a member with franz-go.
type franz struct {
	client *kgo.Client
	topic  string
}

func newFranz(s spec, t *teller) (consumer, error) {
	balancers := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(), "sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
		"uniform": kgo.StickyBalancer()}
	tell := func(moved func([]int32)) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			if len(topics[s.topic]) > 0 {
				moved(topics[s.topic])
			}
		}
	}
	options := []kgo.Opt{kgo.SeedBrokers(s.addr), kgo.ConsumerGroup(s.group), kgo.ConsumeTopics(s.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(s.session), kgo.HeartbeatInterval(s.heartbeat), kgo.Balancers(balancers[s.assignor]), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, client *kgo.Client, topics map[string][]int32) {
			if len(topics[s.topic]) > 0 {
				_, generation := client.GroupMetadata()
				t.assignedIn(generation, topics[s.topic])
			}
		}), kgo.OnPartitionsRevoked(tell(t.revoked)), kgo.OnPartitionsLost(tell(t.lost))}
	if s.protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	if s.instance != "" {
		options = append(options, kgo.InstanceID(s.instance))
	}
	client, err := kgo.NewClient(options...)
	return &franz{client, s.topic}, err
}

func (f *franz) poll(wait time.Duration) ([]message, error) {
	f.client.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	fetches := f.client.PollRecords(ctx, 20)
	var messages []message
	fetches.EachRecord(func(r *kgo.Record) { messages = append(messages, message{r.Partition, r.Offset}) })
	if fetches.IsClientClosed() {
		return nil, kgo.ErrClientClosed
	}
	return messages, nil // other errors are those of a broker that is away: it goes on trying
}

func (f *franz) commit(next map[int32]int64) (bool, error) {
	offsets := map[int32]kgo.EpochOffset{}
	for p, offset := range next {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var refused error
	f.client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{f.topic: offsets}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if refused = err; err != nil {
			return
		}
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					refused = err
				}
			}
		}
	})
	return true, refused
}

func (f *franz) close() error {
	f.client.AllowRebalance()
	f.client.CloseAllowingRebalance()
	return nil
}

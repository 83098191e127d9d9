package groups

import (
	"context"
	"errors"
	"sync"
	"time"

	segmentio "github.com/segmentio/kafka-go"
)

// segmentios is a member with kafka-go's ConsumerGroup, whose generations tell what is assigned.
type segmentios struct {
	spec    spec
	tell    *teller
	group   *segmentio.ConsumerGroup
	records chan segmentiosRecord
	current chan struct{} // closed when the record that poll returned is processed
	failed  chan error

	mu         sync.Mutex
	generation *segmentio.Generation
}

type segmentiosRecord struct {
	message
	processed chan struct{}
}

func newSegmentio(s spec, t *teller) (consumer, error) {
	balancers := map[string]segmentio.GroupBalancer{"range": segmentio.RangeGroupBalancer{}, "roundrobin": segmentio.RoundRobinGroupBalancer{}}
	group, err := segmentio.NewConsumerGroup(segmentio.ConsumerGroupConfig{ID: s.group, Brokers: []string{s.addr}, Topics: []string{s.topic}, GroupBalancers: []segmentio.GroupBalancer{balancers[s.assignor]},
		HeartbeatInterval: s.heartbeat, SessionTimeout: s.session, RebalanceTimeout: 30 * time.Second, StartOffset: segmentio.FirstOffset, JoinGroupBackoff: 200 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	m := &segmentios{spec: s, tell: t, group: group, records: make(chan segmentiosRecord), failed: make(chan error, 1)}
	go m.run()
	return m, nil
}

func (m *segmentios) run() {
	for {
		generation, err := m.group.Next(context.Background())
		if errors.Is(err, segmentio.ErrGroupClosed) {
			m.failed <- nil
			return
		}
		if err != nil { // it tries again
			m.tell.mu.Lock()
			m.tell.tell("refused", err)
			m.tell.mu.Unlock()
			continue
		}
		var partitions []int32
		for _, a := range generation.Assignments[m.spec.topic] {
			partitions = append(partitions, int32(a.ID))
		}
		m.mu.Lock()
		m.generation = generation
		m.mu.Unlock()
		m.tell.assignedIn(generation.ID, partitions)
		var readers sync.WaitGroup
		readers.Add(len(partitions))
		for _, a := range generation.Assignments[m.spec.topic] {
			generation.Start(func(ctx context.Context) {
				defer readers.Done()
				m.read(ctx, a)
			})
		}
		// It joins again when all that it started has ended.
		generation.Start(func(ctx context.Context) {
			<-ctx.Done()
			readers.Wait()
			m.tell.revoked(partitions)
		})
	}
}

// read reads a partition until the generation ends.
func (m *segmentios) read(ctx context.Context, a segmentio.PartitionAssignment) {
	r := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{m.spec.addr}, Topic: m.spec.topic, Partition: a.ID, MaxWait: 100 * time.Millisecond, ReadBackoffMax: 200 * time.Millisecond})
	defer r.Close()
	r.SetOffset(a.Offset)
	for ctx.Err() == nil {
		got, err := r.ReadMessage(ctx)
		if err != nil {
			continue // the end of the generation, or a broker that is away: it tries again
		}
		record := segmentiosRecord{message{int32(got.Partition), got.Offset}, make(chan struct{})}
		select {
		case m.records <- record:
			<-record.processed
		case <-ctx.Done():
		}
	}
}

func (m *segmentios) release() {
	if m.current != nil {
		close(m.current)
		m.current = nil
	}
}

func (m *segmentios) poll(wait time.Duration) ([]message, error) {
	m.release()
	select {
	case r := <-m.records:
		m.current = r.processed
		return []message{r.message}, nil
	case <-time.After(wait):
		return nil, nil
	}
}

func (m *segmentios) commit(next map[int32]int64) (bool, error) {
	m.mu.Lock()
	generation := m.generation
	m.mu.Unlock()
	offsets := map[int]int64{}
	for p, offset := range next {
		offsets[int(p)] = offset
	}
	return true, generation.CommitOffsets(map[string]map[int]int64{m.spec.topic: offsets})
}

func (m *segmentios) close() error {
	m.release()
	err := m.group.Close()
	return errors.Join(err, <-m.failed)
}

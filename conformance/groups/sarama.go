package groups

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// saramas is a member with sarama. It calls each record's handler, which here hands the record over and waits until it
// was processed: a session ends when none is.
type saramas struct {
	topic    string
	tell     *teller
	group    sarama.ConsumerGroup
	records  chan saramasRecord
	current  chan struct{} // closed when the record that poll returned is processed
	cancel   context.CancelFunc
	finished chan error

	mu      sync.Mutex
	session sarama.ConsumerGroupSession
}

type saramasRecord struct {
	message
	processed chan struct{}
}

func newSarama(s spec, t *teller) (consumer, error) {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.MaxWaitTime = 100 * time.Millisecond
	c.Consumer.Group.Session.Timeout, c.Consumer.Group.Heartbeat.Interval = s.session, s.heartbeat
	c.Consumer.Group.InstanceId = s.instance
	strategies := map[string]sarama.BalanceStrategy{"range": sarama.NewBalanceStrategyRange(), "roundrobin": sarama.NewBalanceStrategyRoundRobin(), "sticky": sarama.NewBalanceStrategySticky()}
	c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[s.assignor]}
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 100, 200*time.Millisecond
	group, err := sarama.NewConsumerGroup([]string{s.addr}, s.group, c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &saramas{topic: s.topic, tell: t, group: group, records: make(chan saramasRecord), cancel: cancel, finished: make(chan error, 1)}
	go func() {
		for ctx.Err() == nil {
			if err := group.Consume(ctx, []string{s.topic}, m); err != nil && ctx.Err() == nil {
				t.mu.Lock()
				t.tell("refused", err)
				t.mu.Unlock()
				select {
				case <-time.After(100 * time.Millisecond): // the broker is away
				case <-ctx.Done():
				}
			}
		}
		m.finished <- nil
	}()
	return m, nil
}

// Setup, Cleanup and ConsumeClaim are sarama's handler.
func (m *saramas) Setup(session sarama.ConsumerGroupSession) error {
	m.mu.Lock()
	m.session = session
	m.mu.Unlock()
	m.tell.assignedIn(session.GenerationID(), session.Claims()[m.topic])
	return nil
}

func (m *saramas) Cleanup(session sarama.ConsumerGroupSession) error {
	m.tell.revoked(session.Claims()[m.topic])
	m.mu.Lock()
	m.session = nil
	m.mu.Unlock()
	return nil
}

func (m *saramas) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for r := range claim.Messages() {
		record := saramasRecord{message{r.Partition, r.Offset}, make(chan struct{})}
		select {
		case m.records <- record:
			<-record.processed
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

func (m *saramas) release() {
	if m.current != nil {
		close(m.current)
		m.current = nil
	}
}

func (m *saramas) poll(wait time.Duration) ([]message, error) {
	m.release()
	select {
	case r := <-m.records:
		m.current = r.processed
		return []message{r.message}, nil
	case <-time.After(wait):
		return nil, nil
	}
}

// commit is never sure: sarama says nothing about a commit that went well.
func (m *saramas) commit(next map[int32]int64) (bool, error) {
	m.mu.Lock()
	session := m.session
	m.mu.Unlock()
	if session == nil {
		return false, nil
	}
	for p, offset := range next {
		session.MarkOffset(m.topic, p, offset, "")
	}
	session.Commit()
	return false, nil
}

func (m *saramas) close() error {
	m.release()
	m.cancel()
	<-m.finished
	return m.group.Close()
}

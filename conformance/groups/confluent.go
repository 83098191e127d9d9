package groups

import (
	"time"

	confluent "github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// librdkafka is a member with confluent-kafka-go.
type librdkafka struct {
	consumer *confluent.Consumer
	topic    string
}

func newConfluent(s spec, t *teller) (consumer, error) {
	config := confluent.ConfigMap{"bootstrap.servers": s.addr, "group.id": s.group, "enable.auto.commit": false, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500}
	if s.protocol == "consumer" {
		config["group.protocol"], config["group.remote.assignor"] = "consumer", s.assignor
	} else {
		config["session.timeout.ms"], config["heartbeat.interval.ms"] = int(s.session.Milliseconds()), int(s.heartbeat.Milliseconds())
		config["partition.assignment.strategy"] = s.assignor
	}
	if s.instance != "" {
		config["group.instance.id"] = s.instance
	}
	c, err := confluent.NewConsumer(&config)
	if err != nil {
		return nil, err
	}
	return &librdkafka{c, s.topic}, c.Subscribe(s.topic, func(c *confluent.Consumer, e confluent.Event) error {
		numbers := func(list []confluent.TopicPartition) (partitions []int32) {
			for _, tp := range list {
				partitions = append(partitions, tp.Partition)
			}
			return partitions
		}
		switch e := e.(type) {
		case confluent.AssignedPartitions:
			t.assigned(numbers(e.Partitions))
		case confluent.RevokedPartitions:
			if c.AssignmentLost() {
				t.lost(numbers(e.Partitions))
			} else {
				t.revoked(numbers(e.Partitions))
			}
		}
		return nil // the assignment follows by itself
	})
}

// poll returns one record: the assignment may change in the next call.
func (l *librdkafka) poll(wait time.Duration) ([]message, error) {
	switch e := l.consumer.Poll(int(wait.Milliseconds())).(type) {
	case *confluent.Message:
		if e.TopicPartition.Error != nil {
			return nil, e.TopicPartition.Error
		}
		return []message{{e.TopicPartition.Partition, int64(e.TopicPartition.Offset)}}, nil
	case confluent.Error: // others than these it gets over
		if e.IsFatal() {
			return nil, e
		}
	}
	return nil, nil
}

func (l *librdkafka) commit(next map[int32]int64) (bool, error) {
	var offsets []confluent.TopicPartition
	for p, offset := range next {
		offsets = append(offsets, confluent.TopicPartition{Topic: &l.topic, Partition: p, Offset: confluent.Offset(offset)})
	}
	committed, err := l.consumer.CommitOffsets(offsets)
	for _, tp := range committed {
		if err == nil {
			err = tp.Error
		}
	}
	return true, err
}

func (l *librdkafka) close() error { return l.consumer.Close() }

package clients

import (
	"context"
	"fmt"
	"time"

	"github.com/IBM/sarama"
	confluent "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

var allCodecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// stall bounds how long a client may go without any progress.
const stall = 60 * time.Second

func franzWrite(addr, topic, codec string, in *input) error {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(codecs[codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordDeliveryTimeout(stall))
	if err != nil {
		return err
	}
	defer c.Close()
	var failed error
	for i, r := range in.records {
		c.Produce(context.Background(), &kgo.Record{Topic: topic, Partition: int32(i % in.partitions), Key: r.key, Value: r.value}, func(_ *kgo.Record, err error) {
			if err != nil && failed == nil {
				failed = err
			}
		})
	}
	if err := c.Flush(context.Background()); err != nil {
		return err
	}
	return failed
}

func franzRead(addr string, topics []string, in *input) (map[string][]digest, error) {
	assign := make(map[string]map[int32]kgo.Offset)
	for _, topic := range topics {
		assign[topic] = make(map[int32]kgo.Offset)
		for p := range in.partitions {
			assign[topic][int32(p)] = kgo.NewOffset().AtStart()
		}
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(assign))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	seen := newTopicHashes(topics, in.partitions)
	for n := 0; n < len(topics)*len(in.records); {
		ctx, cancel := context.WithTimeout(context.Background(), stall)
		fetches := c.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records: %w", n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[r.Topic].add(int(r.Partition), r.Key, r.Value)
			n++
		})
	}
	return seen.digests(), nil
}

func saramaConfig() *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V4_0_0_0
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes, c.Producer.Return.Errors = true, true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	return c
}

func saramaWrite(addr, topic, codec string, in *input) error {
	c := saramaConfig()
	if err := c.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
		return err
	}
	producer, err := sarama.NewAsyncProducer([]string{addr}, c)
	if err != nil {
		return err
	}
	go func() {
		for i, r := range in.records {
			producer.Input() <- &sarama.ProducerMessage{Topic: topic, Partition: int32(i % in.partitions), Key: sarama.ByteEncoder(r.key), Value: sarama.ByteEncoder(r.value)}
		}
	}()
	defer producer.AsyncClose()
	for acked := 0; acked < len(in.records); {
		select {
		case <-producer.Successes():
			acked++
		case err := <-producer.Errors():
			return err
		case <-time.After(stall):
			return fmt.Errorf("%s: no acknowledgement after %d", topic, acked)
		}
	}
	return nil
}

func saramaRead(addr string, topics []string, in *input) (map[string][]digest, error) {
	consumer, err := sarama.NewConsumer([]string{addr}, saramaConfig())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	out := make(map[string][]digest)
	for _, topic := range topics {
		h := newHashes(in.partitions)
		for p := range in.partitions {
			pc, err := consumer.ConsumePartition(topic, int32(p), sarama.OffsetOldest)
			if err != nil {
				return nil, err
			}
			for h.counts[p] < in.want[p].count {
				select {
				case m := <-pc.Messages():
					h.add(p, m.Key, m.Value)
				case <-time.After(stall):
					pc.Close()
					return nil, fmt.Errorf("%s-%d: nothing after %d records", topic, p, h.counts[p])
				}
			}
			pc.AsyncClose()
			for range pc.Messages() { // what was on its way
			}
		}
		out[topic] = h.digests()
	}
	return out, nil
}

func segmentioWrite(addr, topic, codec string, in *input) error {
	codecs := map[string]segmentio.Compression{"gzip": segmentio.Gzip, "snappy": segmentio.Snappy, "lz4": segmentio.Lz4, "zstd": segmentio.Zstd}
	n := 0
	w := &segmentio.Writer{Addr: segmentio.TCP(addr), Topic: topic, RequiredAcks: segmentio.RequireAll, Compression: codecs[codec], BatchTimeout: 10 * time.Millisecond, BatchSize: 1000,
		Balancer: segmentio.BalancerFunc(func(m segmentio.Message, partitions ...int) int { n++; return (n - 1) % in.partitions })}
	defer w.Close()
	for begin := 0; begin < len(in.records); begin += 5000 {
		var messages []segmentio.Message
		for _, r := range in.records[begin:min(begin+5000, len(in.records))] {
			messages = append(messages, segmentio.Message{Key: r.key, Value: r.value})
		}
		ctx, cancel := context.WithTimeout(context.Background(), stall)
		err := w.WriteMessages(ctx, messages...)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

func segmentioRead(addr string, topics []string, in *input) (map[string][]digest, error) {
	out := make(map[string][]digest)
	for _, topic := range topics {
		h := newHashes(in.partitions)
		for p := range in.partitions {
			r := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{addr}, Topic: topic, Partition: p, MaxBytes: 10 << 20, MaxWait: 100 * time.Millisecond})
			for h.counts[p] < in.want[p].count {
				ctx, cancel := context.WithTimeout(context.Background(), stall)
				m, err := r.ReadMessage(ctx)
				cancel()
				if err != nil {
					r.Close()
					return nil, fmt.Errorf("%s-%d after %d records: %w", topic, p, h.counts[p], err)
				}
				h.add(p, m.Key, m.Value)
			}
			r.Close()
		}
		out[topic] = h.digests()
	}
	return out, nil
}

func confluentWrite(addr, topic, codec string, in *input) error {
	p, err := confluent.NewProducer(&confluent.ConfigMap{"bootstrap.servers": addr, "acks": "all", "enable.idempotence": true, "compression.codec": codec, "queue.buffering.max.messages": 1_000_000})
	if err != nil {
		return err
	}
	defer p.Close()
	go func() {
		for i, r := range in.records {
			message := &confluent.Message{TopicPartition: confluent.TopicPartition{Topic: &topic, Partition: int32(i % in.partitions)}, Key: r.key, Value: r.value}
			for p.Produce(message, nil) != nil { // the queue is full
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for acked := 0; acked < len(in.records); {
		select {
		case e := <-p.Events():
			switch e := e.(type) {
			case *confluent.Message:
				if e.TopicPartition.Error != nil {
					return e.TopicPartition.Error
				}
				acked++
			case confluent.Error:
				if e.IsFatal() {
					return e
				}
			}
		case <-time.After(stall):
			return fmt.Errorf("%s: no acknowledgement after %d", topic, acked)
		}
	}
	return nil
}

func confluentRead(addr string, topics []string, in *input) (map[string][]digest, error) {
	c, err := confluent.NewConsumer(&confluent.ConfigMap{"bootstrap.servers": addr, "group.id": "unused", "enable.auto.commit": false, "auto.offset.reset": "earliest"})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var assign []confluent.TopicPartition
	for _, topic := range topics {
		for p := range in.partitions {
			assign = append(assign, confluent.TopicPartition{Topic: &topic, Partition: int32(p), Offset: confluent.OffsetBeginning})
		}
	}
	if err := c.Assign(assign); err != nil {
		return nil, err
	}
	seen := newTopicHashes(topics, in.partitions)
	for n := range len(topics) * len(in.records) {
		m, err := c.ReadMessage(stall)
		if err != nil {
			return nil, fmt.Errorf("after %d records: %w", n, err)
		}
		seen[*m.TopicPartition.Topic].add(int(m.TopicPartition.Partition), m.Key, m.Value)
	}
	return seen.digests(), nil
}

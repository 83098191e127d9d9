package clients

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
	confluent "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/millrace-io/millrace/conformance/process"
	segmentio "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// largest is above every record that the tests send, so that it is the broker who refuses.
const largest = 8_000_000

type franzSession struct{ c *kgo.Client }

func newFranzSession(addr string) (session, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.AllowAutoTopicCreation(), kgo.ProducerBatchMaxBytes(largest),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MetadataMinAge(50*time.Millisecond), kgo.MetadataMaxAge(500*time.Millisecond))
	return franzSession{c}, err
}

func (s franzSession) put(topic string, partition int, r full) (int64, error) {
	record := &kgo.Record{Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(r.timestamp), Key: r.key, Value: r.value}
	for _, h := range r.headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.name, Value: h.value})
	}
	ctx, cancel := context.WithTimeout(context.Background(), stall) // its delivery timeout counts from the record's timestamp
	defer cancel()
	err := s.c.ProduceSync(ctx, record).FirstErr()
	if errors.Is(err, kerr.UnknownTopicID) {
		s.c.PurgeTopicsFromClient(topic) // it keeps to the topic that it knew, until it is told to forget it
	}
	return record.Offset, err
}

func (s franzSession) get(topic string, partition int) ([]full, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	ends, err := kadm.NewClient(s.c).ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	end, _ := ends.Lookup(topic, int32(partition))
	c, err := kgo.NewClient(kgo.SeedBrokers(s.c.OptValue(kgo.SeedBrokers).([]string)...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {int32(partition): kgo.NewOffset().AtStart()}}))
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var records []full
	for int64(len(records)) < end.Offset {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			f := full{offset: r.Offset, timestamp: r.Timestamp.UnixMilli(), key: r.Key, value: r.Value}
			for _, h := range r.Headers {
				f.headers = append(f.headers, header{h.Key, h.Value})
			}
			records = append(records, f)
		})
	}
	return records, nil
}

func (s franzSession) close() error { s.c.Close(); return nil }

type saramaSession struct {
	client   sarama.Client
	producer sarama.SyncProducer
}

func newSaramaSession(addr string) (session, error) {
	config := saramaConfig()
	config.Producer.Idempotent, config.Net.MaxOpenRequests = true, 1
	config.Producer.MaxMessageBytes = largest
	config.Producer.Retry.Max, config.Producer.Retry.Backoff = 50, 100*time.Millisecond
	config.Metadata.RefreshFrequency = 500 * time.Millisecond
	client, err := sarama.NewClient([]string{addr}, config)
	if err != nil {
		return nil, err
	}
	producer, err := sarama.NewSyncProducerFromClient(client)
	return saramaSession{client, producer}, err
}

// bytesOrNull keeps null and empty apart, as sarama's encoders do when they are nil.
func bytesOrNull(b []byte) sarama.Encoder {
	if b == nil {
		return nil
	}
	return sarama.ByteEncoder(b)
}

func (s saramaSession) put(topic string, partition int, r full) (int64, error) {
	m := &sarama.ProducerMessage{Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(r.timestamp), Key: bytesOrNull(r.key), Value: bytesOrNull(r.value)}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h.name), Value: h.value})
	}
	_, offset, err := s.producer.SendMessage(m)
	return offset, err
}

func (s saramaSession) get(topic string, partition int) ([]full, error) {
	if err := s.client.RefreshMetadata(topic); err != nil {
		return nil, err
	}
	end, err := s.client.GetOffset(topic, int32(partition), sarama.OffsetNewest)
	if err != nil || end == 0 {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(s.client)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	pc, err := consumer.ConsumePartition(topic, int32(partition), sarama.OffsetOldest)
	if err != nil {
		return nil, err
	}
	defer pc.Close()
	var records []full
	for int64(len(records)) < end {
		select {
		case m := <-pc.Messages():
			f := full{offset: m.Offset, timestamp: m.Timestamp.UnixMilli(), key: m.Key, value: m.Value}
			for _, h := range m.Headers {
				f.headers = append(f.headers, header{string(h.Key), h.Value})
			}
			records = append(records, f)
		case <-time.After(stall):
			return nil, fmt.Errorf("nothing after %d records", len(records))
		}
	}
	return records, nil
}

func (s saramaSession) close() error {
	return errors.Join(s.producer.Close(), s.client.Close())
}

type segmentioSession struct {
	addr string
	w    *segmentio.Writer
	to   *int // the partition of the next record
}

func newSegmentioSession(addr string) (session, error) {
	to := new(int)
	return segmentioSession{addr: addr, to: to, w: &segmentio.Writer{Addr: segmentio.TCP(addr), RequiredAcks: segmentio.RequireAll, BatchTimeout: time.Millisecond, BatchBytes: largest,
		AllowAutoTopicCreation: true, Transport: &segmentio.Transport{MetadataTTL: 500 * time.Millisecond},
		Balancer: segmentio.BalancerFunc(func(segmentio.Message, ...int) int { return *to })}}, nil
}

func (s segmentioSession) put(topic string, partition int, r full) (int64, error) {
	*s.to = partition
	m := segmentio.Message{Topic: topic, Time: time.UnixMilli(r.timestamp), Key: r.key, Value: r.value}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, segmentio.Header{Key: h.name, Value: h.value})
	}
	offset := int64(-1)
	s.w.Completion = func(messages []segmentio.Message, err error) {
		if err == nil {
			offset = messages[0].Offset
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	err := s.w.WriteMessages(ctx, m)
	var each segmentio.WriteErrors
	if errors.As(err, &each) {
		err = each[0]
	}
	return offset, err
}

func (s segmentioSession) get(topic string, partition int) ([]full, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stall)
	defer cancel()
	conn, err := segmentio.DialLeader(ctx, "tcp", s.addr, topic, partition)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	end, err := conn.ReadLastOffset()
	if err != nil || end == 0 {
		return nil, err
	}
	r := segmentio.NewReader(segmentio.ReaderConfig{Brokers: []string{s.addr}, Topic: topic, Partition: partition, MaxBytes: 2 * largest, MaxWait: 100 * time.Millisecond})
	defer r.Close()
	var records []full
	for int64(len(records)) < end {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return nil, err
		}
		f := full{offset: m.Offset, timestamp: m.Time.UnixMilli(), key: m.Key, value: m.Value}
		for _, h := range m.Headers {
			f.headers = append(f.headers, header{h.Key, h.Value})
		}
		records = append(records, f)
	}
	return records, nil
}

func (s segmentioSession) close() error { return s.w.Close() }

type confluentSession struct {
	addr string
	p    *confluent.Producer
}

func newConfluentSession(addr string) (session, error) {
	p, err := confluent.NewProducer(&confluent.ConfigMap{"bootstrap.servers": addr, "enable.idempotence": true, "message.timeout.ms": 30_000, "message.max.bytes": largest,
		"topic.metadata.refresh.interval.ms": 500, "topic.metadata.propagation.max.ms": 1000, "reconnect.backoff.max.ms": 200, "linger.ms": 0})
	return confluentSession{addr, p}, err
}

func (s confluentSession) put(topic string, partition int, r full) (int64, error) {
	m := &confluent.Message{TopicPartition: confluent.TopicPartition{Topic: &topic, Partition: int32(partition)}, Timestamp: time.UnixMilli(r.timestamp), Key: r.key, Value: r.value}
	for _, h := range r.headers {
		m.Headers = append(m.Headers, confluent.Header{Key: h.name, Value: h.value})
	}
	delivered := make(chan confluent.Event, 1)
	if err := s.p.Produce(m, delivered); err != nil {
		return 0, err
	}
	answer := (<-delivered).(*confluent.Message).TopicPartition // message.timeout.ms bounds it
	return int64(answer.Offset), answer.Error
}

func (s confluentSession) get(topic string, partition int) ([]full, error) {
	c, err := confluent.NewConsumer(&confluent.ConfigMap{"bootstrap.servers": s.addr, "group.id": "unused", "enable.auto.commit": false, "enable.partition.eof": true, "fetch.message.max.bytes": largest})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Assign([]confluent.TopicPartition{{Topic: &topic, Partition: int32(partition), Offset: confluent.OffsetBeginning}}); err != nil {
		return nil, err
	}
	var records []full
	for {
		switch e := c.Poll(int(stall.Milliseconds())).(type) {
		case nil:
			return nil, fmt.Errorf("nothing after %d records", len(records))
		case confluent.PartitionEOF:
			return records, nil
		case *confluent.Message:
			if e.TopicPartition.Error != nil {
				return nil, e.TopicPartition.Error
			}
			f := full{offset: int64(e.TopicPartition.Offset), timestamp: e.Timestamp.UnixMilli(), key: e.Key, value: e.Value}
			for _, h := range e.Headers {
				f.headers = append(f.headers, header{h.Key, h.Value})
			}
			records = append(records, f)
		case confluent.Error:
			return nil, e
		}
	}
}

func (s confluentSession) close() error { s.p.Close(); return nil }

// kcatSession runs kcat for each call. It only reads: as a producer it takes no timestamp, and one choice between null
// and empty for keys and values together.
type kcatSession struct{ addr string }

func (s kcatSession) put(string, int, full) (int64, error) { return 0, errors.ErrUnsupported }

// get takes the bytes from a format with lengths, and the headers, which no format delimits, from kcat's JSON.
func (s kcatSession) get(topic string, partition int) ([]full, error) {
	args := []string{"-C", "-b", s.addr, "-t", topic, "-p", strconv.Itoa(partition), "-o", "beginning", "-e", "-q"}
	var records []full
	err := process.Pipe(stall, nil, func(out io.Reader) error {
		for r := bufio.NewReader(out); ; {
			line, err := r.ReadString(' ')
			if err == io.EOF && line == "" {
				return nil
			}
			var f full
			var key, value int
			if _, err := fmt.Sscanf(line, "%d:%d:%d:%d", &f.offset, &f.timestamp, &key, &value); err != nil {
				return fmt.Errorf("kcat printed %.60q: %w", line, err)
			}
			for _, part := range []struct {
				length int
				to     *[]byte
			}{{key, &f.key}, {value, &f.value}} {
				if part.length >= 0 {
					*part.to = make([]byte, part.length)
					if _, err := io.ReadFull(r, *part.to); err != nil {
						return err
					}
				}
			}
			records = append(records, f)
		}
	}, "kcat", append(args, "-f", "%o:%T:%K:%S %k%s")...)
	if err != nil {
		return nil, err
	}
	out, errOut, err := process.Run(stall, "kcat", append(args, "-J")...)
	if err != nil {
		return nil, must(out, errOut, err)
	}
	for i, line := range strings.Split(strings.TrimSuffix(out, "\n"), "\n") {
		if line == "" {
			continue
		}
		var message struct{ Headers []*string }
		if err := json.NewDecoder(bytes.NewReader([]byte(line))).Decode(&message); err != nil {
			return nil, fmt.Errorf("kcat -J printed %.200q: %w", line, err)
		}
		for at := 0; at+1 < len(message.Headers); at += 2 {
			h := header{name: *message.Headers[at]}
			if value := message.Headers[at+1]; value != nil {
				h.value = []byte(*value)
			}
			records[i].headers = append(records[i].headers, h)
		}
	}
	return records, nil
}

func (s kcatSession) close() error { return nil }

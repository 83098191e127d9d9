package dial

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Producer translates the properties of a Kafka producer, on top of Options.
func (p Properties) Producer() ([]kgo.Opt, error) {
	options := []kgo.Opt{
		kgo.AllowAutoTopicCreation(), // as Kafka's producer asks for it; the broker decides
		kgo.UnknownTopicRetries(-1),  // a topic that is being created comes soon; the delivery timeout bounds it
		kgo.MaxBufferedRecords(math.MaxInt32),
	}

	idempotent := strings.ToLower(p.or("enable.idempotence", "true")) != "false"
	switch acks := p.or("acks", "all"); acks {
	case "all", "-1":
	case "1":
		options, idempotent = append(options, kgo.RequiredAcks(kgo.LeaderAck())), false
	case "0":
		options, idempotent = append(options, kgo.RequiredAcks(kgo.NoAck())), false
	default:
		return nil, fmt.Errorf("acks is %q; it is one of all, -1, 1, 0", acks)
	}
	if !idempotent {
		options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5))
	}

	codec, err := p.compression()
	if err != nil {
		return nil, err
	}
	options = append(options, kgo.ProducerBatchCompression(codec))

	for key, option := range map[string]func(time.Duration) kgo.ProducerOpt{
		"linger.ms":           kgo.ProducerLinger,
		"delivery.timeout.ms": kgo.RecordDeliveryTimeout,
		"request.timeout.ms":  kgo.ProduceRequestTimeout,
	} {
		d, given, err := p.Milliseconds(key)
		if err != nil {
			return nil, err
		}
		if !given && key == "delivery.timeout.ms" {
			d, given = 2*time.Minute, true // Kafka's default; ours would be for ever
		}
		if given && (d > 0 || key == "linger.ms") {
			options = append(options, option(d))
		}
	}
	for key, option := range map[string]func(int64) kgo.Opt{
		"max.request.size": func(n int64) kgo.Opt { return kgo.ProducerBatchMaxBytes(int32(min(n, math.MaxInt32))) },
		"buffer.memory":    func(n int64) kgo.Opt { return kgo.MaxBufferedBytes(int(n)) },
		"retries":          func(n int64) kgo.Opt { return kgo.RecordRetries(int(min(n, math.MaxInt32))) },
	} {
		n, given, err := p.number(key)
		if err != nil {
			return nil, err
		}
		if given && (n > 0 || key == "retries") {
			options = append(options, option(n))
		}
	}
	return options, nil
}

// compression reads compression.type and the level of that codec (KIP-390).
func (p Properties) compression() (kgo.CompressionCodec, error) {
	name := strings.ToLower(p.or("compression.type", "none"))
	var codec kgo.CompressionCodec
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		codec = kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		codec = kgo.Lz4Compression()
	case "zstd":
		codec = kgo.ZstdCompression()
	default:
		return codec, fmt.Errorf("compression.type is %q; it is one of none, gzip, snappy, lz4, zstd", name)
	}
	level, given, err := p.number("compression." + name + ".level")
	if given && err == nil {
		codec = codec.WithLevel(int(level))
	}
	return codec, err
}

func (p Properties) number(key string) (n int64, given bool, err error) {
	value, given := p[key]
	if !given {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		return 0, true, fmt.Errorf("%s is %q; it is a whole number", key, value)
	}
	return n, true, nil
}

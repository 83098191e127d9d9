package dial

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Consumer translates the properties of a Kafka consumer, on top of Options; membership of a group is Group's.
func (p Properties) Consumer() ([]kgo.Opt, error) {
	var options []kgo.Opt
	switch level := strings.ToLower(p.or("isolation.level", "read_uncommitted")); level {
	case "read_uncommitted":
	case "read_committed":
		options = append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	default:
		return nil, fmt.Errorf("isolation.level is %q; it is read_uncommitted or read_committed", level)
	}
	reset, err := p.reset()
	if err != nil {
		return nil, err
	}
	options = append(options, kgo.ConsumeResetOffset(reset))
	if strings.ToLower(p.or("allow.auto.create.topics", "true")) == "true" {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if strings.ToLower(p.or("check.crcs", "true")) == "false" {
		options = append(options, kgo.DisableFetchCRCValidation())
	}
	wait, given, err := p.Milliseconds("fetch.max.wait.ms")
	if err != nil {
		return nil, err
	}
	if !given {
		wait = 500 * time.Millisecond // Kafka's default: a partition that changed its leader is asked for again that soon
	}
	options = append(options, kgo.FetchMaxWait(wait))
	for key, option := range map[string]func(int32) kgo.Opt{
		"fetch.min.bytes":           func(n int32) kgo.Opt { return kgo.FetchMinBytes(n) },
		"fetch.max.bytes":           func(n int32) kgo.Opt { return kgo.FetchMaxBytes(n) },
		"max.partition.fetch.bytes": func(n int32) kgo.Opt { return kgo.FetchMaxPartitionBytes(n) },
	} {
		n, given, err := p.number(key)
		if err != nil {
			return nil, err
		}
		if given {
			options = append(options, option(int32(min(max(n, 1), math.MaxInt32))))
		}
	}
	return options, nil
}

// Group translates what a member of a consumer group needs; only records that the program marks are committed.
func (p Properties) Group(id string) ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.ConsumerGroup(id)}
	balancers := []kgo.GroupBalancer{}
	for name := range strings.SplitSeq(p.or("partition.assignment.strategy", "range"), ",") {
		name = strings.ToLower(strings.TrimSpace(name[strings.LastIndexByte(name, '.')+1:]))
		switch strings.TrimSuffix(name, "assignor") {
		case "range":
			balancers = append(balancers, kgo.RangeBalancer())
		case "roundrobin":
			balancers = append(balancers, kgo.RoundRobinBalancer())
		case "sticky":
			balancers = append(balancers, kgo.StickyBalancer())
		case "cooperativesticky":
			balancers = append(balancers, kgo.CooperativeStickyBalancer())
		default:
			return nil, fmt.Errorf("partition.assignment.strategy has %q; this client knows Range, RoundRobin, Sticky and CooperativeSticky", name)
		}
	}
	options = append(options, kgo.Balancers(balancers...))
	if instance := p["group.instance.id"]; instance != "" {
		options = append(options, kgo.InstanceID(instance))
	}
	if strings.ToLower(p.or("enable.auto.commit", "true")) == "false" {
		options = append(options, kgo.DisableAutoCommit())
	} else {
		options = append(options, kgo.AutoCommitMarks())
	}
	for key, option := range map[string]func(time.Duration) kgo.Opt{
		"session.timeout.ms":      func(d time.Duration) kgo.Opt { return kgo.SessionTimeout(d) },
		"heartbeat.interval.ms":   func(d time.Duration) kgo.Opt { return kgo.HeartbeatInterval(d) },
		"max.poll.interval.ms":    func(d time.Duration) kgo.Opt { return kgo.RebalanceTimeout(d) },
		"auto.commit.interval.ms": func(d time.Duration) kgo.Opt { return kgo.AutoCommitInterval(d) },
	} {
		d, given, err := p.Milliseconds(key)
		if err != nil {
			return nil, err
		}
		if given && d > 0 {
			options = append(options, option(d))
		}
	}
	return options, nil
}

// reset reads auto.offset.reset: earliest, latest, none, or by_duration: and an ISO 8601 duration (KIP-1106).
func (p Properties) reset() (kgo.Offset, error) {
	value := p.or("auto.offset.reset", "latest")
	switch strings.ToLower(value) {
	case "earliest":
		return kgo.NewOffset().AtStart(), nil
	case "latest":
		return kgo.NewOffset().AtEnd(), nil
	case "none":
		return kgo.NoResetOffset(), nil
	}
	if text, ok := strings.CutPrefix(strings.ToLower(value), "by_duration:"); ok {
		d, err := ISODuration(strings.ToUpper(text))
		if err != nil {
			return kgo.Offset{}, err
		}
		return kgo.NewOffset().AfterMilli(time.Now().Add(-d).UnixMilli()), nil
	}
	return kgo.Offset{}, fmt.Errorf("auto.offset.reset is %q; it is earliest, latest, none or by_duration:PnDTnHnMn.nS", value)
}

var isoDuration = regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// ISODuration reads a duration as Java's Duration.parse does, such as P1DT2H.
func ISODuration(s string) (time.Duration, error) {
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || s == "P" || strings.HasSuffix(s, "T") {
		return 0, fmt.Errorf("%q is no ISO 8601 duration, such as P1DT2H or PT30S", s)
	}
	var total float64
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			n, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return 0, err
			}
			total += n * float64(unit)
		}
	}
	if total > math.MaxInt64/2 {
		return 0, fmt.Errorf("the duration %q is too long", s)
	}
	return time.Duration(total), nil
}

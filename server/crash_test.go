package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// A whole node on the memory disk does what clients ask of it, one thing after the other: topics come, are altered and go,
// an idempotent producer writes, a group commits, and the node stops. At every sync, and after every answer, a clone of the
// disk is taken as a power cut would leave it: with nothing that was not synced, or with some of it, the last write torn. A
// node on the clone must then hold all that was answered, and of what was being asked either all or nothing.

// crashFacts are what clients can see of a node.
type crashFacts struct {
	Topics    map[string]string   // retention.ms by topic
	Records   map[string][]string // by partition, such as a-0, in the order of offsets from 0
	Committed int64               // of the group on a-0; -1 for nothing
}

func (f crashFacts) clone() crashFacts {
	c := crashFacts{maps.Clone(f.Topics), make(map[string][]string), f.Committed}
	for partition, values := range f.Records {
		c.Records[partition] = slices.Clone(values)
	}
	return c
}

// crashPoint is a clone of the disk, with what had been answered and, where something was being asked, what that would make.
type crashPoint struct {
	what          string
	disk          *vfs.Mem
	before, after crashFacts
	ids           map[string][16]byte
	producer      int64
}

// crashScript is a run of one node and the points that it left.
type crashScript struct {
	*testing.T
	settings []string
	disk     *vfs.Mem
	dice     *rand.Rand

	mu     sync.Mutex
	now    crashPoint
	points []crashPoint
}

const crashGroup = "g"

func (c *crashScript) point(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.now
	p.before, p.after, p.ids = p.before.clone(), p.after.clone(), maps.Clone(p.ids)
	var options vfs.CrashOptions
	if c.dice.IntN(2) == 0 {
		options.Rand = rand.New(rand.NewPCG(c.dice.Uint64(), 0))
	}
	p.what, p.disk = fmt.Sprintf("%s, %s", c.now.what, what), c.disk.CrashClone(options)
	c.points = append(c.points, p)
}

// step asks for something: change says what it makes of the facts, ask has it done.
func (c *crashScript) step(what string, change func(*crashFacts), ask func() error) {
	c.Helper()
	c.mu.Lock()
	c.now.what, c.now.after = what, c.now.before.clone()
	change(&c.now.after)
	c.mu.Unlock()
	if err := ask(); err != nil {
		c.Fatalf("%s: %v", what, err)
	}
	c.mu.Lock()
	c.now.before = c.now.after.clone()
	c.mu.Unlock()
	c.point("answered")
}

// crashClient asks one node.
type crashClient struct {
	t    *testing.T
	seed *kgo.Broker
}

func newCrashClient(t *testing.T, s *Server) crashClient {
	return crashClient{t, clientOf(t, s).SeedBrokers()[0]}
}

// asked sends a request, again while the node is not there yet.
func asked[R kmsg.Response](c crashClient, request kmsg.Request, code func(R) int16) (R, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	for {
		response, err := c.seed.RetriableRequest(ctx, request)
		if err != nil {
			return *new(R), err
		}
		err = kerr.ErrorForCode(code(response.(R)))
		if !kerr.IsRetriable(err) || ctx.Err() != nil || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID) {
			return response.(R), err
		}
	}
}

func (c crashClient) create(name string, partitions int32) (id [16]byte, err error) {
	request := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	request.Topics = append(request.Topics, topic)
	response, err := asked(c, request, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	if err == nil {
		id = response.Topics[0].TopicID
	}
	return id, err
}

func (c crashClient) remove(id [16]byte) error {
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: id}}
	_, err := asked(c, request, func(r *kmsg.DeleteTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	return err
}

func (c crashClient) retain(topic, ms string) error {
	request, resource, config := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = "retention.ms", &ms
	resource.ResourceType, resource.ResourceName, resource.Configs = kmsg.ConfigResourceTypeTopic, topic, append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	_, err := asked(c, request, func(r *kmsg.IncrementalAlterConfigsResponse) int16 { return r.Resources[0].ErrorCode })
	return err
}

func (c crashClient) producer() (int64, error) {
	response, err := asked(c, kmsg.NewPtrInitProducerIDRequest(), func(r *kmsg.InitProducerIDResponse) int16 { return r.ErrorCode })
	return response.ProducerID, err
}

// produce sends a record in a batch of its own, and returns its offset.
func (c crashClient) produce(id [16]byte, topic string, partition int32, producer int64, sequence int, value string) (int64, error) {
	record := kmsg.Record{Value: []byte(value)}
	record.Length = int32(len(record.AppendTo(nil)) - 1)
	now := time.Now().UnixMilli()
	raw := (&kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: now, MaxTimestamp: now, ProducerID: producer, FirstSequence: int32(sequence), NumRecords: 1, Records: record.AppendTo(nil)}).AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	request, of, to := kmsg.NewPtrProduceRequest(), kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	request.Acks, request.TimeoutMillis = -1, 30_000
	to.Partition, to.Records = partition, raw
	of.Topic, of.TopicID, of.Partitions = topic, id, append(of.Partitions, to)
	request.Topics = append(request.Topics, of)
	response, err := asked(c, request, func(r *kmsg.ProduceResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	if err != nil {
		return 0, err
	}
	return response.Topics[0].Partitions[0].BaseOffset, nil
}

// read returns the values of a partition; offsets must follow one another from 0.
func (c crashClient) read(id [16]byte, topic string, partition int32) (values []string, err error) {
	request, of, from := kmsg.NewPtrFetchRequest(), kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	request.MaxBytes, from.PartitionMaxBytes, from.Partition = 1<<20, 1<<20, partition
	of.Topic, of.TopicID, of.Partitions = topic, id, append(of.Partitions, from)
	request.Topics = append(request.Topics, of)
	response, err := asked(c, request, func(r *kmsg.FetchResponse) int16 {
		if len(r.Topics) == 0 {
			return r.ErrorCode
		}
		return r.Topics[0].Partitions[0].ErrorCode
	})
	if err != nil {
		return nil, err
	}
	for raw := response.Topics[0].Partitions[0].RecordBatches; len(raw) > 0; {
		n := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		var b kmsg.RecordBatch
		var r kmsg.Record
		if err := errors.Join(b.ReadFrom(raw[:n]), r.ReadFrom(raw[61:n])); err != nil {
			return nil, err
		}
		if b.FirstOffset != int64(len(values)) {
			return nil, fmt.Errorf("%s-%d has the offset %d behind %d records", topic, partition, b.FirstOffset, len(values))
		}
		values, raw = append(values, string(r.Value)), raw[n:]
	}
	return values, nil
}

// coordinator finds the coordinator of the group, for whom the topic of offsets is made where it is missing.
func (c crashClient) coordinator() error {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.CoordinatorKeys = []string{crashGroup}
	_, err := asked(c, request, func(r *kmsg.FindCoordinatorResponse) int16 { return r.Coordinators[0].ErrorCode })
	return err
}

func (c crashClient) commit(id [16]byte, topic string, offset int64) error {
	request, of, to := kmsg.NewPtrOffsetCommitRequest(), kmsg.NewOffsetCommitRequestTopic(), kmsg.NewOffsetCommitRequestTopicPartition()
	request.Group, request.Generation = crashGroup, -1
	to.Offset = offset
	of.Topic, of.TopicID, of.Partitions = topic, id, append(of.Partitions, to)
	request.Topics = append(request.Topics, of)
	_, err := asked(c, request, func(r *kmsg.OffsetCommitResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
	return err
}

func (c crashClient) committed(id [16]byte, topic string) (int64, error) {
	if err := c.coordinator(); err != nil {
		return 0, err
	}
	request, of, group := kmsg.NewPtrOffsetFetchRequest(), kmsg.NewOffsetFetchRequestGroupTopic(), kmsg.NewOffsetFetchRequestGroup()
	of.Topic, of.TopicID, of.Partitions = topic, id, []int32{0}
	group.Group, group.Topics = crashGroup, append(group.Topics, of)
	request.Groups = append(request.Groups, group)
	response, err := asked(c, request, func(r *kmsg.OffsetFetchResponse) int16 { return r.Groups[0].ErrorCode })
	if err != nil {
		return 0, err
	}
	return response.Groups[0].Topics[0].Partitions[0].Offset, nil
}

// facts looks at everything.
func (c crashClient) facts() (f crashFacts, ids map[string][16]byte, err error) {
	f, ids = crashFacts{Topics: make(map[string]string), Records: make(map[string][]string), Committed: -1}, make(map[string][16]byte)
	all, err := asked(c, kmsg.NewPtrMetadataRequest(), func(r *kmsg.MetadataResponse) int16 { return 0 })
	if err != nil {
		return f, ids, err
	}
	for _, topic := range all.Topics {
		name := *topic.Topic
		if topic.IsInternal {
			continue
		}
		ids[name] = topic.TopicID
		request := kmsg.NewPtrDescribeConfigsRequest()
		request.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: name, ConfigNames: []string{"retention.ms"}}}
		configs, err := asked(c, request, func(r *kmsg.DescribeConfigsResponse) int16 { return r.Resources[0].ErrorCode })
		if err != nil {
			return f, ids, err
		}
		f.Topics[name] = *configs.Resources[0].Configs[0].Value
		for _, p := range topic.Partitions {
			values, err := c.read(topic.TopicID, name, p.Partition)
			if err != nil {
				return f, ids, fmt.Errorf("%s-%d: %w", name, p.Partition, err)
			}
			if len(values) > 0 {
				f.Records[fmt.Sprintf("%s-%d", name, p.Partition)] = values
			}
		}
	}
	if _, ok := f.Topics["a"]; ok && len(f.Records["a-0"]) > 0 {
		f.Committed, err = c.committed(ids["a"], "a")
	}
	return f, ids, err
}

// run goes through the script and stops the node.
func (c *crashScript) run() {
	c.disk, c.dice = vfs.NewMem(), rand.New(rand.NewPCG(1, 2))
	s := c.server(c.disk)
	client := newCrashClient(c.T, s)
	c.now = crashPoint{before: crashFacts{Topics: map[string]string{}, Records: map[string][]string{}, Committed: -1}, ids: make(map[string][16]byte), producer: -1}
	c.disk.SetSyncHook(func(name string) { c.point("at the sync of " + name) })
	create := func(name string, partitions int32) {
		c.step("create "+name, func(f *crashFacts) { f.Topics[name] = "604800000" }, func() error {
			id, err := client.create(name, partitions)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.now.ids[name] = id
			return err
		})
	}
	produce := func(topic string, partition int32) {
		key := fmt.Sprintf("%s-%d", topic, partition)
		n := len(c.now.before.Records[key])
		value := fmt.Sprintf("%s/%d", key, n)
		c.step("produce "+value, func(f *crashFacts) { f.Records[key] = append(f.Records[key], value) }, func() error {
			_, err := client.produce(c.now.ids[topic], topic, partition, c.now.producer, n, value)
			return err
		})
	}
	create("a", 2)
	create("b", 1)
	c.step("a producer id", func(*crashFacts) {}, func() error {
		id, err := client.producer()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now.producer = id
		return err
	})
	c.step("the topic of offsets", func(*crashFacts) {}, client.coordinator)
	for range 3 {
		produce("a", 0)
		produce("a", 1)
		produce("b", 0)
	}
	for n := range int64(2) {
		c.step("commit", func(f *crashFacts) { f.Committed = n + 1 }, func() error { return client.commit(c.now.ids["a"], "a", n+1) })
		c.step("alter a", func(f *crashFacts) { f.Topics["a"] = strconv.FormatInt(n+1_000_000, 10) }, func() error { return client.retain("a", strconv.FormatInt(n+1_000_000, 10)) })
		produce("a", 0)
	}
	c.step("delete b", func(f *crashFacts) {
		delete(f.Topics, "b")
		delete(f.Records, "b-0")
	}, func() error {
		c.mu.Lock()
		id := c.now.ids["b"]
		delete(c.now.ids, "b")
		c.mu.Unlock()
		return client.remove(id)
	})
	create("c", 1)
	produce("c", 0)
	c.step("stop", func(*crashFacts) {}, func() error { return s.Close(c.Context()) })
	c.disk.SetSyncHook(nil)
}

func (c *crashScript) server(disk vfs.FS) *Server {
	return started(c.T, on(c.T, disk, append([]string{"offsets.topic.num.partitions", "1", "offsets.topic.replication.factor", "1", "auto.create.topics.enable", "false"}, c.settings...)...))
}

// check starts a node on a clone and returns what is wrong with it.
func (c *crashScript) check(p crashPoint) error {
	s := c.server(p.disk)
	defer s.Close(c.Context())
	client := newCrashClient(c.T, s)
	got, ids, err := client.facts()
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(got, p.before) && !reflect.DeepEqual(got, p.after) {
		return fmt.Errorf("there is\n  %+v\nafter\n  %+v\nand maybe\n  %+v", got, p.before, p.after)
	}
	for topic, id := range p.ids {
		if now, ok := ids[topic]; ok && now != id {
			return fmt.Errorf("the topic %s has another id", topic)
		}
	}
	if p.producer < 0 {
		return nil
	}
	if id, err := client.producer(); err != nil || id <= p.producer {
		return fmt.Errorf("the producer id %d is given after %d, %v", id, p.producer, err)
	}
	for key, values := range got.Records {
		topic, partition := key[:1], int32(key[2]-'0')
		last := len(values) - 1
		for sequence, value := range map[int]string{last: values[last], last + 1: "next"} { // the duplicate is told its offset, what follows is taken
			if offset, err := client.produce(ids[topic], topic, partition, p.producer, sequence, value); err != nil || offset != int64(sequence) {
				return fmt.Errorf("%s: sequence %d is at offset %d, %v", key, sequence, offset, err)
			}
		}
		if again, err := client.read(ids[topic], topic, partition); err != nil || !slices.Equal(again, append(slices.Clone(values), "next")) {
			return fmt.Errorf("%s holds %v, %v", key, again, err)
		}
	}
	return nil
}

// TestCrashOfANode checks some of the points; all of them, a hundred or more, with CRASH_POINTS=all.
func TestCrashOfANode(t *testing.T) {
	c := &crashScript{T: t}
	c.run()
	every := max(1, len(c.points)/crashSample)
	if os.Getenv("CRASH_POINTS") == "all" {
		every = 1
	}
	checked := 0
	for i := len(c.points) - 1; i >= 0; i -= every { // the last is the clean stop
		if err := c.check(c.points[i]); err != nil {
			t.Errorf("point %d, %s: %v", i, c.points[i].what, err)
		}
		checked++
	}
	t.Logf("%d of %d points", checked, len(c.points))
}

// crashSample is about how many points a plain run checks.
const crashSample = 24

// A node that acknowledges records before they are synced is found out by the same checks.
func TestCrashFindsANodeThatDoesNotSync(t *testing.T) {
	c := &crashScript{T: t, settings: []string{"log.durability", "cache"}}
	c.run()
	for i, p := range c.points {
		if err := c.check(p); err != nil {
			t.Logf("point %d of %d, %s: %v", i, len(c.points), p.what, err)
			return
		}
	}
	t.Error("no loss shows")
}

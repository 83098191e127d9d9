package differential

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kbin"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// Step is one request of a sequence.
type Step struct {
	What    string // in words, for the report
	Key     wire.APIKey
	Version int16
	Conn    string                     // "" is the broker listener
	Make    func(s *Side) wire.Message // built for each side
	Mangle  func(body []byte) []byte   // what is sent instead of the message's bytes; the same damage on both sides
	Future  int16                      // the version the header claims, when it is not Version
	Silent  bool                       // no answer is awaited (acks=0)
	Hold    bool                       // the answer is awaited by a later step, which has Take
	Take    bool                       // only the answer to what was held on the connection is awaited
	Mute    bool                       // Apache Kafka never answers this; known.txt says why
	After   func(s *Side, response wire.Message)
	Settle  func(s *Side) (bool, error)        // instead of a request: awaited on both sides, not compared
	Stored  func(r *Runner, q *Sequence) error // instead of a request: compares what both sides have stored
}

// Sequence is a list of steps that stands alone.
type Sequence struct {
	API     wire.APIKey
	Version int16
	Bad     bool // it is about requests that must be refused
	Seed    uint64
	Steps   []Step
	Topics  []string // those whose files are compared at the end
	Groups  []string // taken away at the end
	Recoded []string // those whose batches the server compresses itself
	Again   string   // how to run it once more, where that is not by its API, version and seed
}

func (q *Sequence) String() string {
	kind := "valid"
	if q.Bad {
		kind = "bad"
	}
	return fmt.Sprintf("%s v%d %s, seed %d", q.API, q.Version, kind, q.Seed)
}

// again is how to run the sequence alone.
func (q *Sequence) again() string {
	if q.Again != "" {
		return q.Again
	}
	kind := "valid"
	if q.Bad {
		kind = "bad"
	}
	return fmt.Sprintf("-api %s -version %d -kind %s -per 1 -seed %d", q.API, q.Version, kind, q.Seed)
}

// world is what a plan knows of the state that it will have made.
type world struct {
	*rand.Rand
	seq       *Sequence
	topics    []*topic
	apart     []*topic        // see makeApart
	trimmed   map[string]bool // topics that records were deleted from
	producers int             // ids handed out so far
	n         int             // for unique names
	policy    string          // of the book
	listener  string          // where requests of the sequence's own API go
}

type topic struct {
	name       string
	partitions []partition
	configs    map[string]string
}

// partition is the model of a log: good enough to aim requests at it.
type partition struct {
	start, end int64
	stamps     []int64 // timestamps of its records
	sequence   map[int]int32
}

func newWorld(seed uint64, q *Sequence) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 77)), seq: q, trimmed: make(map[string]bool)}
	if w.IntN(4) == 0 {
		w.listener = controllerConn
	}
	return w
}

func (w *world) add(steps ...Step) { w.seq.Steps = append(w.seq.Steps, steps...) }

// last is the step that was added last.
func (w *world) last() *Step { return &w.seq.Steps[len(w.seq.Steps)-1] }

// version is a random version of an API that both sides have.
func (w *world) version(key wire.APIKey) int16 {
	info, _ := wire.Lookup(key)
	return info.MinVersion + int16(w.IntN(int(info.MaxVersion-info.MinVersion)+1))
}

// controllerAPIs are those that clients may send to controllers as well (KIP-919).
var controllerAPIs = []wire.APIKey{wire.KeyApiVersions, wire.KeyCreateTopics, wire.KeyDeleteTopics, wire.KeyCreatePartitions, wire.KeyDescribeConfigs, wire.KeyAlterConfigs,
	wire.KeyIncrementalAlterConfigs, wire.KeyDescribeQuorum, wire.KeyElectLeaders, wire.KeyUnregisterBroker, wire.KeyDescribeAcls, wire.KeyCreateAcls, wire.KeyDeleteAcls}

// on is the connection that a request of an API goes to: of the sequence's own API perhaps the one to the controller.
func (w *world) on(key wire.APIKey) string {
	if key != w.seq.API || !slices.Contains(controllerAPIs, key) {
		return ""
	}
	return w.listener
}

// at is the version a step of this API takes: the sequence's own for the API it is about, otherwise any.
func (w *world) at(key wire.APIKey) int16 {
	if key == w.seq.API {
		return w.seq.Version
	}
	return w.version(key)
}

func (w *world) name() string {
	w.n++
	return fmt.Sprintf("s%x-%d", w.seq.Seed, w.n)
}

func (w *world) topic() *topic { return w.topics[w.IntN(len(w.topics))] }

func (t *topic) part(w *world) int32 { return int32(w.IntN(len(t.partitions))) }

// recoded reports whether the server compresses the topic's batches itself: then their sizes are a matter of the
// compressor, and only what they hold is compared.
func (t *topic) recoded() bool {
	codec := t.configs["compression.type"]
	return codec != "" && codec != "producer"
}

func (w *world) someConfigs() map[string]string {
	switch w.IntN(6) {
	case 0:
		return map[string]string{"message.timestamp.type": "LogAppendTime"}
	case 1:
		return map[string]string{"compression.type": [...]string{"gzip", "lz4", "zstd", "uncompressed"}[w.IntN(4)]}
	case 2:
		return map[string]string{"max.message.bytes": "300"}
	case 3:
		return map[string]string{"cleanup.policy": "compact"}
	}
	return nil
}

// makeTopic creates a topic on both sides and waits until they serve it.
func (w *world) makeTopic(partitions int, configs map[string]string) *topic {
	return w.makeNamed(w.name(), partitions, configs)
}

// makeApart is makeTopic for records that the two sides are known to store differently: known.txt tells the topic by
// its name's end, and no other move uses it.
func (w *world) makeApart(why string, configs map[string]string) *topic {
	t := w.makeNamed(w.name()+"-"+why, 1, configs)
	w.topics = w.topics[:len(w.topics)-1]
	w.apart = append(w.apart, t)
	return t
}

// The ends of the names of topics that makeApart makes.
const (
	misnumbered   = "misnumbered"
	twice         = "twice"
	transactional = "transactional"
	unswept       = "unswept"
	headless      = "headless"
	stamped       = "stamped"
	deleted       = "deleted"
)

func (w *world) makeNamed(name string, partitions int, configs map[string]string) *topic {
	t := &topic{name: name, partitions: make([]partition, partitions), configs: configs}
	for i := range t.partitions {
		t.partitions[i].sequence = make(map[int]int32)
	}
	w.topics = append(w.topics, t)
	w.seq.Topics = append(w.seq.Topics, t.name)
	if t.recoded() {
		w.seq.Recoded = append(w.seq.Recoded, t.name)
	}
	asked := maps.Clone(configs) // the plan may change what it thinks the topic has
	w.add(Step{What: "create " + t.name, Key: wire.KeyCreateTopics, Version: w.at(wire.KeyCreateTopics), Make: func(s *Side) wire.Message {
		return createTopic(t.name, int32(partitions), asked)
	}}, Step{What: "await " + t.name, Settle: served(t.name, partitions)})
	return t
}

func createTopic(name string, partitions int32, configs map[string]string) *wire.CreateTopicsRequest {
	r := wire.NewCreateTopicsRequest()
	r.TimeoutMs = 15000
	topic := wire.CreateTopicsRequestTopics{Name: name, NumPartitions: partitions, ReplicationFactor: 1}
	for _, key := range sortedKeys(configs) {
		value := configs[key]
		topic.Configs = append(topic.Configs, wire.CreateTopicsRequestConfigs{Name: key, Value: &value})
	}
	r.Topics = append(r.Topics, topic)
	return r
}

// served waits until the broker leads all partitions of a topic and answers for them, and learns its id.
func served(name string, partitions int) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		m := wire.NewMetadataRequest()
		m.AllowAutoTopicCreation = false
		m.Topics = []wire.MetadataRequestTopics{{Name: &name}}
		reply, err := s.call(m, wire.KeyMetadata, 12)
		if err != nil {
			return false, err
		}
		topic := reply.(*wire.MetadataResponse).Topics[0]
		if topic.ErrorCode != kafka.None || len(topic.Partitions) != partitions {
			return false, nil
		}
		s.TopicIDs[name] = topic.TopicID
		l := wire.NewListOffsetsRequest()
		l.ReplicaID = -1
		ask := wire.ListOffsetsRequestTopics{Name: name}
		for p := range partitions {
			one := wire.NewListOffsetsRequestPartitions()
			one.PartitionIndex, one.Timestamp = int32(p), kafka.TimestampLatest
			ask.Partitions = append(ask.Partitions, one)
		}
		l.Topics = append(l.Topics, ask)
		reply, err = s.call(l, wire.KeyListOffsets, 7)
		if err != nil {
			return false, err
		}
		for _, p := range reply.(*wire.ListOffsetsResponse).Topics[0].Partitions {
			if p.ErrorCode != kafka.None {
				return false, nil
			}
		}
		return true, nil
	}
}

// reached waits until the first partition of a topic has come to an offset.
func reached(name string, end int64) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		l := wire.NewListOffsetsRequest()
		l.ReplicaID = -1
		one := wire.NewListOffsetsRequestPartitions()
		one.Timestamp = kafka.TimestampLatest
		l.Topics = []wire.ListOffsetsRequestTopics{{Name: name, Partitions: []wire.ListOffsetsRequestPartitions{one}}}
		reply, err := s.call(l, wire.KeyListOffsets, 7)
		if err != nil {
			return false, err
		}
		return reply.(*wire.ListOffsetsResponse).Topics[0].Partitions[0].Offset >= end, nil
	}
}

// gone waits until the broker no longer knows a topic.
func gone(name string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		m := wire.NewMetadataRequest()
		m.AllowAutoTopicCreation = false
		m.Topics = []wire.MetadataRequestTopics{{Name: &name}}
		reply, err := s.call(m, wire.KeyMetadata, 12)
		if err != nil {
			return false, err
		}
		return reply.(*wire.MetadataResponse).Topics[0].ErrorCode == kafka.UnknownTopicOrPartition, nil
	}
}

// configured waits until the broker shows a topic's config with a value.
func configured(name, key, value string) func(s *Side) (bool, error) {
	return configuredOn(kafka.ResourceTopic, name, key, value)
}

// configuredOn is configured for any resource.
func configuredOn(kind kafka.ResourceType, name, key, value string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		shown, err := s.config(kind, name, key)
		return shown != nil && *shown == value, err
	}
}

// describedOn waits until a broker lists a setting, or does not.
func describedOn(name, key string, want bool) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		r := wire.NewDescribeConfigsRequest()
		r.Resources = []wire.DescribeConfigsRequestResources{{ResourceType: int8(kafka.ResourceBroker), ResourceName: name}}
		reply, err := s.call(r, wire.KeyDescribeConfigs, 4)
		if err != nil {
			return false, err
		}
		for _, c := range reply.(*wire.DescribeConfigsResponse).Results[0].Configs {
			if c.Name == key {
				// A key with a default is always listed.
				return want == (c.ConfigSource != 5), nil
			}
		}
		return !want, nil
	}
}

// unconfigured waits until the broker shows neither of two values for one of its settings.
func unconfigured(key, one, other string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		shown, err := s.config(kafka.ResourceBroker, "1", key)
		return err == nil && (shown == nil || *shown != one && *shown != other), err
	}
}

// config asks for a setting, nil when there is none.
func (s *Side) config(kind kafka.ResourceType, name, key string) (*string, error) {
	r := wire.NewDescribeConfigsRequest()
	r.Resources = []wire.DescribeConfigsRequestResources{{ResourceType: int8(kind), ResourceName: name, ConfigurationKeys: []string{key}}}
	reply, err := s.call(r, wire.KeyDescribeConfigs, 4)
	if err != nil {
		return nil, err
	}
	for _, result := range reply.(*wire.DescribeConfigsResponse).Results {
		for _, c := range result.Configs {
			if c.Name == key {
				return c.Value, nil
			}
		}
	}
	return nil, nil
}

// listed waits until a resource of a type has settings, unlisted until it has none.
func listed(kind int8, name string) func(s *Side) (bool, error) {
	return func(s *Side) (bool, error) {
		r := wire.NewListConfigResourcesRequest()
		r.ResourceTypes = []int8{kind}
		reply, err := s.call(r, wire.KeyListConfigResources, 1)
		if err != nil {
			return false, err
		}
		return slices.ContainsFunc(reply.(*wire.ListConfigResourcesResponse).ConfigResources, func(c wire.ListConfigResourcesResponseConfigResources) bool { return c.ResourceName == name }), nil
	}
}

func unlisted(kind int8, name string) func(s *Side) (bool, error) {
	is := listed(kind, name)
	return func(s *Side) (bool, error) {
		yes, err := is(s)
		return err == nil && !yes, err
	}
}

// newProducer asks for a producer id and returns its number.
func (w *world) newProducer() int {
	n := w.producers
	w.producers++
	w.add(Step{What: "a producer id", Key: wire.KeyInitProducerId, Version: w.at(wire.KeyInitProducerId), Make: func(s *Side) wire.Message {
		r := wire.NewInitProducerIdRequest()
		r.TransactionTimeoutMs = 60000
		return r
	}, After: func(s *Side, m wire.Message) {
		s.producers = append(s.producers, m.(*wire.InitProducerIdResponse).ProducerID)
	}})
	return n
}

// baseTime is where the clocks of plans begin, well below clockFrom.
const baseTime = 1_600_000_000_000

// batch describes a record batch; bytes makes it for a side.
type batch struct {
	records    []record
	codec      int16
	attributes int16 // beside the codec
	producer   int   // -1 none
	epoch      int16
	sequence   int32
	baseOffset int64
	magic      int8
	damage     func([]byte)
	tail       []byte // behind the records
	again      bool   // the batch stands there twice
	lastDelta  *int32
	count      *int32
}

type record struct {
	timestamp   int64
	key, value  []byte
	headers     []kbinHeader
	offsetDelta *int32
}

type kbinHeader struct{ key, value []byte }

func (w *world) batch(n int) *batch {
	b := &batch{producer: -1, epoch: -1, sequence: -1, magic: 2, codec: [...]int16{0, 0, 0, 1, 3, 4}[w.IntN(6)]}
	if codec := w.IntN(14); codec == 13 {
		b.codec = 2
	}
	for range n {
		r := record{timestamp: baseTime + int64(w.IntN(1_000_000)), value: w.bytes(40)}
		if w.IntN(2) == 0 {
			r.key = w.bytes(8)
		}
		for range w.IntN(3) {
			r.headers = append(r.headers, kbinHeader{[]byte("h"), w.bytes(5)})
		}
		b.records = append(b.records, r)
	}
	return b
}

func (w *world) bytes(limit int) []byte {
	if w.IntN(8) == 0 {
		return nil
	}
	b := make([]byte, w.IntN(limit+1))
	for i := range b {
		b[i] = "abcdefgh"[w.IntN(8)]
	}
	return b
}

func (b *batch) bytes(s *Side) []byte {
	var payload []byte
	base, last := int64(0), int64(-1)
	if len(b.records) > 0 {
		base = b.records[0].timestamp
	}
	for i, r := range b.records {
		last = max(last, r.timestamp)
		var body []byte
		body = append(body, 0)
		body = kbin.AppendVarlong(body, r.timestamp-base)
		delta := int32(i)
		if r.offsetDelta != nil {
			delta = *r.offsetDelta
		}
		body = kbin.AppendVarint(body, delta)
		body = appendVarBytes(body, r.key)
		body = appendVarBytes(body, r.value)
		body = kbin.AppendVarint(body, int32(len(r.headers)))
		for _, h := range r.headers {
			body = appendVarBytes(body, h.key)
			body = appendVarBytes(body, h.value)
		}
		payload = kbin.AppendVarint(payload, int32(len(body)))
		payload = append(payload, body...)
	}
	payload = compress(append(payload, b.tail...), b.codec)
	out := make([]byte, 61, 61+len(payload))
	out = append(out, payload...)
	binary.BigEndian.PutUint64(out, uint64(b.baseOffset))
	binary.BigEndian.PutUint32(out[8:], uint32(len(out)-12))
	binary.BigEndian.PutUint32(out[12:], 0xffffffff)
	out[16] = byte(b.magic)
	binary.BigEndian.PutUint16(out[21:], uint16(b.codec|b.attributes))
	delta, count := int32(len(b.records)-1), int32(len(b.records))
	if b.lastDelta != nil {
		delta = *b.lastDelta
	}
	if b.count != nil {
		count = *b.count
	}
	binary.BigEndian.PutUint32(out[23:], uint32(delta))
	binary.BigEndian.PutUint64(out[27:], uint64(base))
	binary.BigEndian.PutUint64(out[35:], uint64(last))
	producer := int64(-1)
	if b.producer >= 0 {
		producer = s.Producer(b.producer)
	}
	binary.BigEndian.PutUint64(out[43:], uint64(producer))
	binary.BigEndian.PutUint16(out[51:], uint16(b.epoch))
	binary.BigEndian.PutUint32(out[53:], uint32(b.sequence))
	binary.BigEndian.PutUint32(out[57:], uint32(count))
	binary.BigEndian.PutUint32(out[17:], crc32.Checksum(out[21:], crc32.MakeTable(crc32.Castagnoli)))
	if b.damage != nil {
		b.damage(out)
	}
	if b.again {
		out = append(out, out...)
	}
	return out
}

// sum puts the checksum right again, for damage that the checksum covers but that is about something else.
func sum(b []byte) {
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
}

// oldMessage is a message of magic 0 or 1: offset, size, checksum, magic, attributes, from magic 1 on a timestamp, key, value.
func oldMessage(magic int8, codec int16, offset int64, key, value []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(offset))
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(magic), byte(codec))
	if magic == 1 {
		b = binary.BigEndian.AppendUint64(b, baseTime)
	}
	for _, of := range [][]byte{key, value} {
		if of == nil {
			b = binary.BigEndian.AppendUint32(b, 1<<32-1)
		} else {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(of))), of...)
		}
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], crc32.ChecksumIEEE(b[16:]))
	return b
}

func appendVarBytes(dst, b []byte) []byte {
	if b == nil {
		return kbin.AppendVarint(dst, -1)
	}
	return append(kbin.AppendVarint(dst, int32(len(b))), b...)
}

func compress(b []byte, codec int16) []byte {
	var out bytes.Buffer
	switch codec {
	case 1:
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
	case 2:
		return snappy.Encode(nil, b)
	case 3:
		z := lz4.NewWriter(&out)
		z.Write(b)
		z.Close()
	case 4:
		z, _ := zstd.NewWriter(&out)
		z.Write(b)
		z.Close()
	default:
		return b
	}
	return out.Bytes()
}

func decompress(b []byte, codec int16) ([]byte, error) {
	switch codec {
	case 1:
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(z)
	case 2:
		return snappy.Decode(nil, b)
	case 3:
		return io.ReadAll(lz4.NewReader(bytes.NewReader(b)))
	case 4:
		z, err := zstd.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		return io.ReadAll(z)
	}
	return b, nil
}

// settleFor bounds the wait for one Settle step.
const settleFor = 15 * time.Second

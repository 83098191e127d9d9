package wire_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/kafka"
)

func stringOf(p *string) []byte {
	if p == nil {
		return nil
	}
	return []byte(*p)
}

// sameProduce wants a hot Produce to say what the generated request says.
func sameProduce(hot *wire.Produce, cold *wire.ProduceRequest) error {
	if !bytes.Equal(hot.TransactionalID, stringOf(cold.TransactionalID)) || (hot.TransactionalID == nil) != (cold.TransactionalID == nil) ||
		hot.Acks != cold.Acks || hot.TimeoutMs != cold.TimeoutMs || len(hot.Topics) != len(cold.TopicData) {
		return fmt.Errorf("%+v, want %+v", hot, cold)
	}
	for i, t := range hot.Topics {
		want := cold.TopicData[i]
		if t.TopicID != want.TopicID || string(t.Name) != want.Name || len(t.Partitions) != len(want.PartitionData) {
			return fmt.Errorf("topic %d: %+v, want %+v", i, t, want)
		}
		for j, p := range t.Partitions {
			want := want.PartitionData[j]
			if p.Index != want.Index || !bytes.Equal(p.Records, want.Records) || (p.Records == nil) != (want.Records == nil) {
				return fmt.Errorf("topic %d, partition %d: %+v, want %+v", i, j, p, want)
			}
		}
	}
	return nil
}

func sameFetch(hot *wire.Fetch, cold *wire.FetchRequest, version int16) error {
	replica, epoch := cold.ReplicaID, int64(-1)
	if version >= 15 {
		replica, epoch = cold.ReplicaState.ReplicaID, cold.ReplicaState.ReplicaEpoch
	}
	if hot.ReplicaID != replica || hot.ReplicaEpoch != epoch || hot.MaxWaitMs != cold.MaxWaitMs || hot.MinBytes != cold.MinBytes ||
		hot.MaxBytes != cold.MaxBytes || hot.IsolationLevel != cold.IsolationLevel || hot.SessionID != cold.SessionID ||
		hot.SessionEpoch != cold.SessionEpoch || string(hot.RackID) != cold.RackID || !bytes.Equal(hot.ClusterID, stringOf(cold.ClusterID)) ||
		len(hot.Topics) != len(cold.Topics) || len(hot.Forgotten) != len(cold.ForgottenTopicsData) {
		return fmt.Errorf("%+v, want %+v", hot, cold)
	}
	for i, t := range hot.Topics {
		want := cold.Topics[i]
		if t.TopicID != want.TopicID || string(t.Name) != want.Topic || len(t.Partitions) != len(want.Partitions) {
			return fmt.Errorf("topic %d: %+v, want %+v", i, t, want)
		}
		for j, p := range t.Partitions {
			w := want.Partitions[j]
			if p != (wire.FetchPartition{
				Partition: w.Partition, CurrentLeaderEpoch: w.CurrentLeaderEpoch, FetchOffset: w.FetchOffset, LastFetchedEpoch: w.LastFetchedEpoch,
				LogStartOffset: w.LogStartOffset, MaxBytes: w.PartitionMaxBytes, ReplicaDirectoryID: w.ReplicaDirectoryID, HighWatermark: w.HighWatermark,
			}) {
				return fmt.Errorf("topic %d, partition %d: %+v, want %+v", i, j, p, w)
			}
		}
	}
	for i, t := range hot.Forgotten {
		want := cold.ForgottenTopicsData[i]
		if t.TopicID != want.TopicID || string(t.Name) != want.Topic || fmt.Sprint(t.Partitions) != fmt.Sprint(want.Partitions) {
			return fmt.Errorf("forgotten %d: %+v, want %+v", i, t, want)
		}
	}
	return nil
}

// hotAndCold decodes the same bytes with both codecs, which must say the same, errors included.
func hotAndCold(produce *wire.Produce, fetch *wire.Fetch, key wire.APIKey, version int16, b []byte) error {
	cold := wire.NewRequest(key)
	coldErr := wire.DecodeRequest(cold, version, b)
	var hotErr, differ error
	charged := produce.ChargedBy
	if key == wire.KeyFetch {
		charged = fetch.ChargedBy
	}
	if n, limit := charged(version, b), wire.DecodeBytesPerByte*len(b)+wire.DecodeBytesFixed; n > limit {
		return fmt.Errorf("%d bytes cost %d, more than %d", len(b), n, limit)
	}
	if key == wire.KeyProduce {
		if hotErr = produce.Decode(version, b); hotErr == nil && coldErr == nil {
			differ = sameProduce(produce, cold.(*wire.ProduceRequest))
		}
	} else {
		if hotErr = fetch.Decode(version, b); hotErr == nil && coldErr == nil {
			differ = sameFetch(fetch, cold.(*wire.FetchRequest), version)
		}
	}
	if (hotErr == nil) != (coldErr == nil) {
		return fmt.Errorf("hot codec: %v; generated codec: %v", hotErr, coldErr)
	}
	return differ
}

// The hot decoders read what the generated ones read, in good requests and in damaged ones.
func TestHotRequests(t *testing.T) {
	var produce wire.Produce
	var fetch wire.Fetch
	for _, key := range []wire.APIKey{wire.KeyProduce, wire.KeyFetch} {
		schema := definitions.Load().API(int16(key)).Request
		for version := schema.Versions.Min; version <= schema.Versions.Max; version++ {
			refused := 0
			for seed := range uint64(300) {
				b := filled(schema, version, seed).AppendTo(nil, version)
				if err := hotAndCold(&produce, &fetch, key, version, b); err != nil {
					t.Fatalf("%s version %d, seed %d, %x: %v", schema.Name, version, seed, b, err)
				}
				b = definitions.NewRandom(seed).Damage(b)
				if err := hotAndCold(&produce, &fetch, key, version, b); err != nil {
					t.Fatalf("%s version %d, damaged, seed %d, %x: %v", schema.Name, version, seed, b, err)
				}
				if wire.DecodeRequest(wire.NewRequest(key), version, b) != nil {
					refused++
				}
			}
			if refused < 50 {
				t.Errorf("%s version %d: of 300 damaged requests only %d were refused", schema.Name, version, refused)
			}
		}
	}
}

// Many topics of the smallest size, and counts that are not true: the hot decoders hold the cost bound.
func TestHotCost(t *testing.T) {
	var produce wire.Produce
	var fetch wire.Fetch
	topics, wanted := wire.NewProduceRequest(), wire.NewFetchRequest()
	topics.TopicData = make([]wire.ProduceRequestTopicData, 20_000)
	wanted.Topics = make([]wire.FetchRequestTopics, 20_000)
	wanted.ForgottenTopicsData = make([]wire.FetchRequestForgottenTopicsData, 20_000)
	for version := range int16(19) {
		if info := topics.Info(); info.MinVersion <= version && version <= info.MaxVersion {
			if err := hotAndCold(&produce, &fetch, wire.KeyProduce, version, topics.AppendTo(nil, version)); err != nil {
				t.Errorf("Produce version %d: %v", version, err)
			}
		}
		if info := wanted.Info(); info.MinVersion <= version && version <= info.MaxVersion {
			if err := hotAndCold(&produce, &fetch, wire.KeyFetch, version, wanted.AppendTo(nil, version)); err != nil {
				t.Errorf("Fetch version %d: %v", version, err)
			}
		}
	}
}

// The hot encoders write what the generated ones write.
func TestHotProduceResponse(t *testing.T) {
	schema := definitions.Load().Message("ProduceResponse")
	var e wire.ProduceEncoder
	for version := schema.Versions.Min; version <= schema.Versions.Max; version++ {
		for seed := range uint64(100) {
			cold := filled(schema, version, seed).(*wire.ProduceResponse)
			for i := range cold.Responses {
				for j := range cold.Responses[i].PartitionResponses {
					// Hot results have no text that is empty and not null.
					if p := &cold.Responses[i].PartitionResponses[j]; p.ErrorMessage != nil && *p.ErrorMessage == "" {
						p.ErrorMessage = nil
					}
				}
			}
			r := wire.MessageResponse(wire.KeyProduce, version, 42, cold)
			want, _ := r.AppendTo(nil)
			got := encodeProduce(&e, []byte("before"), cold, version)
			if !bytes.Equal(got, append([]byte("before"), want...)) {
				t.Fatalf("version %d, seed %d: hot\n%x, generated\n%x", version, seed, got, want)
			}
		}
	}
}

func encodeProduce(e *wire.ProduceEncoder, dst []byte, m *wire.ProduceResponse, version int16) []byte {
	e.Begin(dst, version, 42, len(m.Responses))
	for i := range m.Responses {
		t := &m.Responses[i]
		e.Topic(t.TopicID, t.Name, len(t.PartitionResponses))
		for j := range t.PartitionResponses {
			p := &t.PartitionResponses[j]
			e.Partition(&wire.ProduceResult{
				Index: p.Index, Err: p.ErrorCode, BaseOffset: p.BaseOffset, LogAppendTimeMs: p.LogAppendTimeMs, LogStartOffset: p.LogStartOffset,
				RecordErrors: p.RecordErrors, Message: string(stringOf(p.ErrorMessage)), LeaderID: p.CurrentLeader.LeaderID, LeaderEpoch: p.CurrentLeader.LeaderEpoch,
			})
		}
	}
	return e.End(m.ThrottleTimeMs, m.NodeEndpoints)
}

func TestHotFetchResponse(t *testing.T) {
	schema := definitions.Load().Message("FetchResponse")
	var e wire.FetchEncoder
	for version := schema.Versions.Min; version <= schema.Versions.Max; version++ {
		for seed := range uint64(100) {
			cold := filled(schema, version, seed).(*wire.FetchResponse)
			for i := range cold.Responses {
				for j := range cold.Responses[i].Partitions {
					if p := &cold.Responses[i].Partitions[j]; p.Records == nil {
						p.Records = []byte{}
					}
				}
			}
			r := wire.MessageResponse(wire.KeyFetch, version, 42, cold)
			want, _ := r.AppendTo(nil)
			var ranges []*countedRange
			hot := encodeFetch(&e, cold, version, &ranges)
			got, err := hot.AppendTo(nil)
			if err != nil || !bytes.Equal(got, want) || hot.Size() != len(want) {
				t.Fatalf("version %d, seed %d: hot, of size %d,\n%x, generated\n%x; %v", version, seed, hot.Size(), got, want, err)
			}
			hot.Release()
			for _, r := range ranges {
				if r.released != 1 {
					t.Fatalf("version %d, seed %d: a range was released %d times", version, seed, r.released)
				}
			}
		}
	}
}

func encodeFetch(e *wire.FetchEncoder, m *wire.FetchResponse, version int16, ranges *[]*countedRange) wire.Response {
	e.Begin(version, 42, m.ThrottleTimeMs, m.ErrorCode, m.SessionID, len(m.Responses))
	for i := range m.Responses {
		t := &m.Responses[i]
		e.Topic(t.TopicID, t.Topic, len(t.Partitions))
		for j := range t.Partitions {
			p := &t.Partitions[j]
			result := wire.FetchResult{
				Partition: p.PartitionIndex, Err: p.ErrorCode, HighWatermark: p.HighWatermark, LastStableOffset: p.LastStableOffset,
				LogStartOffset: p.LogStartOffset, Aborted: p.AbortedTransactions, PreferredReadReplica: p.PreferredReadReplica,
				DivergingEpoch: p.DivergingEpoch, CurrentLeader: p.CurrentLeader, SnapshotID: p.SnapshotID,
			}
			if len(p.Records) > 0 {
				r := &countedRange{BytesRange: p.Records}
				*ranges = append(*ranges, r)
				result.Records = r
			}
			e.Partition(&result)
		}
	}
	return e.End(m.NodeEndpoints)
}

func TestFetchEncoderAbandons(t *testing.T) {
	var e wire.FetchEncoder
	records := &countedRange{BytesRange: []byte("records")}
	e.Begin(18, 1, 0, kafka.None, 0, 1)
	e.Topic(kafka.UUID{}, "", 2)
	result := wire.NewFetchResult()
	result.Records = records
	e.Partition(&result)
	e.Abandon()
	if records.released != 1 {
		t.Errorf("the range was released %d times", records.released)
	}
}

// Numbers stand before what they count, so an encoder that is given another number of things must not go on.
func TestEncodersCount(t *testing.T) {
	for name, f := range map[string]func(e *wire.FetchEncoder){
		"a partition too few":  func(e *wire.FetchEncoder) { e.Topic(kafka.UUID{}, "", 1); e.End(nil) },
		"a topic too few":      func(e *wire.FetchEncoder) { e.End(nil) },
		"a topic too many":     func(e *wire.FetchEncoder) { e.Topic(kafka.UUID{}, "", 0); e.Topic(kafka.UUID{}, "", 0) },
		"a partition too many": func(e *wire.FetchEncoder) { e.Topic(kafka.UUID{}, "", 0); e.Partition(&wire.FetchResult{}) },
	} {
		var e wire.FetchEncoder
		e.Begin(18, 1, 0, kafka.None, 0, 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s goes unnoticed", name)
				}
			}()
			f(&e)
		}()
	}
}

// manyPartitions returns requests and responses of 10 topics with 20 partitions each, for what must not allocate.
func manyPartitions() (*wire.ProduceRequest, *wire.FetchRequest, *wire.ProduceResponse, *wire.FetchResponse) {
	produce, fetch := wire.NewProduceRequest(), wire.NewFetchRequest()
	acks, data := wire.NewProduceResponse(), wire.NewFetchResponse()
	for topic := range 10 {
		name, id := fmt.Sprintf("topic-%d", topic), kafka.UUID{byte(topic)}
		p, f := wire.ProduceRequestTopicData{Name: name, TopicID: id}, wire.FetchRequestTopics{Topic: name, TopicID: id}
		a, d := wire.ProduceResponseResponses{Name: name, TopicID: id}, wire.FetchResponseResponses{Topic: name, TopicID: id}
		for partition := range int32(20) {
			p.PartitionData = append(p.PartitionData, wire.ProduceRequestPartitionData{Index: partition, Records: make([]byte, 100)})
			f.Partitions = append(f.Partitions, wire.NewFetchRequestPartitions())
			a.PartitionResponses = append(a.PartitionResponses, wire.NewProduceResponsePartitionResponses())
			d.Partitions = append(d.Partitions, wire.NewFetchResponsePartitions())
			d.Partitions[partition].Records = make([]byte, 100)
		}
		produce.TopicData, fetch.Topics = append(produce.TopicData, p), append(fetch.Topics, f)
		acks.Responses, data.Responses = append(acks.Responses, a), append(data.Responses, d)
	}
	return produce, fetch, acks, data
}

// fillFetch encodes a response whose ranges were made before, as those of a log are.
func fillFetch(e *wire.FetchEncoder, m *wire.FetchResponse, version int16, ranges []wire.Range) wire.Response {
	e.Begin(version, 42, 0, kafka.None, 0, len(m.Responses))
	next := 0
	result := wire.NewFetchResult()
	for i := range m.Responses {
		e.Topic(m.Responses[i].TopicID, m.Responses[i].Topic, len(m.Responses[i].Partitions))
		for j := range m.Responses[i].Partitions {
			result.Partition, result.Records = int32(j), ranges[next]
			next++
			e.Partition(&result)
		}
	}
	return e.End(nil)
}

func rangesOf(m *wire.FetchResponse) []wire.Range {
	var ranges []wire.Range
	for i := range m.Responses {
		for j := range m.Responses[i].Partitions {
			ranges = append(ranges, wire.BytesRange(m.Responses[i].Partitions[j].Records))
		}
	}
	return ranges
}

func TestHotCodecsAreNoGarbage(t *testing.T) {
	produce, fetch, acks, data := manyPartitions()
	var p wire.Produce
	var f wire.Fetch
	var pe wire.ProduceEncoder
	var fe wire.FetchEncoder
	var dst []byte
	ranges := rangesOf(data)
	for _, version := range []int16{9, 13} {
		b := produce.AppendTo(nil, version)
		if n := testing.AllocsPerRun(50, func() { p.Decode(version, b) }); n != 0 || len(p.Topics) != 10 {
			t.Errorf("Produce version %d: %v allocations to decode", version, n)
		}
		if n := testing.AllocsPerRun(50, func() { dst = encodeProduce(&pe, dst[:0], acks, version) }); n != 0 {
			t.Errorf("Produce version %d: %v allocations to encode", version, n)
		}
	}
	for _, version := range []int16{11, 18} {
		b := fetch.AppendTo(nil, version)
		if n := testing.AllocsPerRun(50, func() { f.Decode(version, b) }); n != 0 || len(f.Topics) != 10 {
			t.Errorf("Fetch version %d: %v allocations to decode", version, n)
		}
		if n := testing.AllocsPerRun(50, func() { r := fillFetch(&fe, data, version, ranges); r.Release() }); n != 0 {
			t.Errorf("Fetch version %d: %v allocations to encode", version, n)
		}
	}
}

// A request that was large once does not stay large, nor does it hold on to the frame that it aliased.
func TestHotRequestsGiveBack(t *testing.T) {
	large := wire.NewProduceRequest()
	large.TopicData = make([]wire.ProduceRequestTopicData, 10_000)
	var p wire.Produce
	if err := p.Decode(9, large.AppendTo(nil, 9)); err != nil || len(p.Topics) != 10_000 {
		t.Fatal(err)
	}
	p.Reset()
	if cap(p.Topics) != 0 {
		t.Errorf("room for %d topics is kept", cap(p.Topics))
	}
	small := wire.NewProduceRequest()
	small.TopicData = []wire.ProduceRequestTopicData{{Name: "t"}}
	if err := p.Decode(9, small.AppendTo(nil, 9)); err != nil {
		t.Fatal(err)
	}
	topics := p.Topics
	p.Reset()
	if !reflect.DeepEqual(topics[0], wire.ProduceTopic{}) {
		t.Errorf("%+v is held on to", topics[0])
	}
	var f wire.Fetch
	f.Reset()
	if f.ReplicaID != -1 || f.MaxBytes != math.MaxInt32 || f.SessionEpoch != -1 {
		t.Errorf("an empty Fetch is %+v", f)
	}
}

func BenchmarkProduceDecode(b *testing.B) {
	produce, _, _, _ := manyPartitions()
	body := produce.AppendTo(nil, 13)
	b.Run("hot", func(b *testing.B) {
		var p wire.Produce
		b.ReportAllocs()
		for b.Loop() {
			p.Decode(13, body)
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.Decode(new(wire.ProduceRequest), 13, body)
		}
	})
}

func BenchmarkProduceEncode(b *testing.B) {
	_, _, acks, _ := manyPartitions()
	var e wire.ProduceEncoder
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = encodeProduce(&e, dst[:0], acks, 13)
	}
}

func BenchmarkFetchDecode(b *testing.B) {
	_, fetch, _, _ := manyPartitions()
	body := fetch.AppendTo(nil, 18)
	b.Run("hot", func(b *testing.B) {
		var f wire.Fetch
		b.ReportAllocs()
		for b.Loop() {
			f.Decode(18, body)
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.Decode(new(wire.FetchRequest), 18, body)
		}
	})
}

func BenchmarkFetchEncode(b *testing.B) {
	_, _, _, data := manyPartitions()
	ranges := rangesOf(data)
	var e wire.FetchEncoder
	b.ReportAllocs()
	for b.Loop() {
		r := fillFetch(&e, data, 18, ranges)
		r.Release()
	}
}

func BenchmarkRequestHeader(b *testing.B) {
	frame := wire.AppendRequestHeader(nil, wire.RequestHeader{Key: wire.KeyFetch, Version: 18, ClientID: "client"})
	var h wire.RequestHeader
	b.ReportAllocs()
	for b.Loop() {
		h.Parse(frame)
	}
}

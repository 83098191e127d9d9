package wire_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/kafka"
)

// Stored records, which kmsg has not, against bytes and fields that Apache Kafka's own classes gave.
func TestAgreesWithApacheKafka(t *testing.T) {
	file, err := os.Open("testdata/apache-kafka.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := make(map[string]bool)
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		column := strings.Split(lines.Text(), "\t")
		schema := definitions.Load().Message(column[0])
		number, _ := strconv.Atoi(column[1])
		version := int16(number)
		want, err := hex.DecodeString(column[2])
		if schema == nil || err != nil {
			t.Fatalf("%s: bytes %v", column[0], err)
		}
		seen[fmt.Sprintf("%s %d", schema.Name, version)] = true
		m := wire.NewMessage(schema.Name)
		if err := wire.Decode(m, version, want); err != nil {
			t.Errorf("%s version %d: %v", schema.Name, version, err)
			continue
		}
		if got := m.AppendTo(nil, version); !bytes.Equal(got, want) {
			t.Errorf("%s version %d: written as\n%x, Apache Kafka writes\n%x", schema.Name, version, got, want)
		}
		var fields map[string]any
		number64 := json.NewDecoder(strings.NewReader(column[3]))
		number64.UseNumber()
		if err := number64.Decode(&fields); err != nil {
			t.Fatal(err)
		}
		if err := sameAsJSON(schema.Fields, reflect.ValueOf(m).Elem(), fields); err != nil {
			t.Errorf("%s version %d: %v", schema.Name, version, err)
		}
		checkRoundTrip(t, schema, m, version, want)
	}
	for _, schema := range definitions.Load().Messages {
		switch schema.Kind {
		case definitions.Request, definitions.Response, definitions.Described:
			continue
		}
		for v := schema.Versions.Min; v <= schema.Latest; v++ {
			if !seen[fmt.Sprintf("%s %d", schema.Name, v)] {
				t.Errorf("%s version %d has no line in testdata/apache-kafka.tsv", schema.Name, v)
			}
		}
	}
}

// sameAsJSON wants every member of a JSON object, whose names are in camel case, in the struct.
func sameAsJSON(fields []*definitions.Field, v reflect.Value, object map[string]any) error {
	left := len(object)
	for _, f := range fields {
		for name, want := range object {
			if strings.EqualFold(name, strings.ReplaceAll(f.Name, "_", "")) {
				left--
				if err := sameAsValue(f, v.FieldByName(f.GoName), want); err != nil {
					return fmt.Errorf("%s: %w", f.Name, err)
				}
			}
		}
	}
	if left > 0 {
		return fmt.Errorf("%d of the fields %v are not ours", left, object)
	}
	return nil
}

func sameAsValue(f *definitions.Field, v reflect.Value, want any) error {
	if want == nil {
		if !v.IsNil() {
			return fmt.Errorf("%v, Apache Kafka has null", v)
		}
		return nil
	}
	v = reflect.Indirect(v)
	if list, ok := want.([]any); ok {
		if v.Len() != len(list) {
			return fmt.Errorf("%d elements, Apache Kafka has %d", v.Len(), len(list))
		}
		for i := range list {
			element := *f
			element.Array = false
			if err := sameAsValue(&element, v.Index(i), list[i]); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	}
	if object, ok := want.(map[string]any); ok {
		return sameAsJSON(f.Fields, v, object)
	}
	var got string
	switch f.Type {
	case definitions.Bytes, definitions.Records:
		got = base64.StdEncoding.EncodeToString(v.Bytes())
	case definitions.UUID:
		got = v.Interface().(kafka.UUID).String()
	case definitions.Float64:
		number, _ := want.(json.Number).Float64()
		if v.Float() == number {
			return nil
		}
		got = fmt.Sprint(v)
	default:
		got = fmt.Sprint(plain(v))
	}
	if got != fmt.Sprint(want) {
		return fmt.Errorf("%s, Apache Kafka has %v", got, want)
	}
	return nil
}

// Records as they are stored, with what stands before their fields.
func TestStoredRecords(t *testing.T) {
	topic := &wire.TopicRecord{Name: "orders", TopicID: kafka.UUID{15: 7}}
	value := wire.AppendMetadataRecord(nil, topic, 0)
	if want := "010200" + "076f7264657273" + "00000000000000000000000000000007" + "00"; hex.EncodeToString(value) != want {
		t.Errorf("a TopicRecord is stored as %x, want %s", value, want)
	}
	m, version, err := wire.DecodeMetadataRecord(value)
	if err != nil || version != 0 || !reflect.DeepEqual(m, topic) {
		t.Errorf("read back: %v version %d, %v", m, version, err)
	}

	key := &wire.OffsetCommitKey{Group: "g", Topic: "t", Partition: 3}
	stored := wire.AppendCoordinatorKey(nil, key)
	if want := "0001" + "000167" + "000174" + "00000003"; hex.EncodeToString(stored) != want {
		t.Errorf("an OffsetCommitKey is stored as %x, want %s", stored, want)
	}
	k, err := wire.DecodeCoordinatorKey(wire.GroupRecords, stored)
	if err != nil || !reflect.DeepEqual(k, key) {
		t.Errorf("read back: %v, %v", k, err)
	}
	commit := &wire.OffsetCommitValue{Offset: 42, LeaderEpoch: 5, Metadata: "m", CommitTimestamp: 9, ExpireTimestamp: -1}
	stored = wire.AppendCoordinatorValue(nil, commit, 3)
	v, version, err := wire.DecodeCoordinatorValue(wire.GroupRecords, k.Info().Type, stored)
	if err != nil || version != 3 || !reflect.DeepEqual(v, commit) {
		t.Errorf("read back: %v version %d, %v", v, version, err)
	}

	segment := &wire.RemotePartitionDeleteMetadataRecord{BrokerID: 1}
	if m, _, err := wire.DecodeRemoteLogRecord(wire.AppendRemoteLogRecord(nil, segment, 0)); err != nil || !reflect.DeepEqual(m, segment) {
		t.Errorf("read back: %v, %v", m, err)
	}
}

// Behind the last field of a request anything may stand, as with Kafka's brokers; behind that of what is stored, nothing.
func TestBytesBehindARequest(t *testing.T) {
	var produce wire.Produce
	var fetch wire.Fetch
	for _, api := range wire.APIs() {
		schema := definitions.Load().API(int16(api.Key)).Request
		for version := api.MinVersion; version <= api.MaxVersion; version++ {
			want := filled(schema, version, 5).AppendTo(nil, version)
			b := append(bytes.Clone(want), 1, 0, 0)
			m := wire.NewRequest(api.Key)
			if err := wire.DecodeRequest(m, version, b); err != nil || !bytes.Equal(m.AppendTo(nil, version), want) {
				t.Errorf("%s version %d: %v", schema.Name, version, err)
			}
			if err := wire.Decode(m, version, b); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%s version %d, where nothing may be behind: %v", schema.Name, version, err)
			}
			var err error
			switch api.Key {
			case wire.KeyProduce:
				err = produce.Decode(version, b)
			case wire.KeyFetch:
				err = fetch.Decode(version, b)
			}
			if err != nil {
				t.Errorf("%s version %d, the hot decoder: %v", schema.Name, version, err)
			}
		}
	}
	all := new(wire.MetadataRequest) // as librdkafka 2.11 sends it
	if err := wire.DecodeRequest(all, 13, []byte{0, 0, 0, 0, 1, 0, 0}); err != nil || all.Topics != nil {
		t.Errorf("all topics: %v, %v", all.Topics, err)
	}
}

func TestStoredRecordsThatAreNot(t *testing.T) {
	var unknown *wire.UnknownRecordError
	metadata := func(b []byte) error { _, _, err := wire.DecodeMetadataRecord(b); return err }
	key := func(b []byte) error { _, err := wire.DecodeCoordinatorKey(wire.ShareRecords, b); return err }
	value := func(b []byte) error {
		_, _, err := wire.DecodeCoordinatorValue(wire.TransactionRecords, 0, b)
		return err
	}
	for _, c := range []struct {
		name    string
		decode  func([]byte) error
		bytes   string
		unknown bool
	}{
		{"nothing", metadata, "", false},
		{"another frame version", metadata, "020200", false},
		{"a type that does not exist", metadata, "010600", true},
		{"a type of more than 16 bits", metadata, "01ffffff0f00", false},
		{"a version that does not exist", metadata, "010201", false},
		{"bytes behind the end", metadata, "011400" + "0000", false},
		{"a key without a type", key, "00", false},
		{"a key of another type", key, "0009", true},
		{"a value of another version", value, "0002", false},
	} {
		b, _ := hex.DecodeString(c.bytes)
		err := c.decode(b)
		if err == nil || errors.As(err, &unknown) != c.unknown {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.unknown && !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v is not of class ErrMalformed", c.name, err)
		}
	}
}

package differential

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"reflect"
	"slices"
	"sort"
	"strings"

	rec "github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/kafka"
)

// Leaf is one field of an answer, as text. Path names the field without array positions; Where has what tells
// elements of arrays apart (names, partitions), in the order of the path.
type Leaf struct{ Path, Where, Value string }

// render flattens an answer, with what a side chose itself replaced by symbols.
func (s *Side) render(a Answer) []Leaf {
	switch {
	case a.Err != nil:
		return []Leaf{{Path: "!", Value: "broken answer: " + a.Err.Error()}}
	case a.Closed:
		return []Leaf{{Path: "!", Value: "connection closed"}}
	case a.Timeout:
		return []Leaf{{Path: "!", Value: "no answer"}}
	case a.None:
		return nil
	}
	schema := definitions.Load().Message(a.Response.Info().Name)
	var leaves []Leaf
	s.fields(&leaves, reflect.ValueOf(a.Response).Elem(), schema.Fields, a.Version, "", "")
	return leaves
}

// shown writes a message as one line.
func (s *Side) shown(m wire.Message, version int16) string {
	var leaves []Leaf
	s.fields(&leaves, reflect.ValueOf(m).Elem(), definitions.Load().Message(m.Info().Name).Fields, version, "", "")
	return line(leaves)
}

func line(leaves []Leaf) string {
	var b strings.Builder
	for _, l := range leaves {
		fmt.Fprintf(&b, "%s=%s ", l.Path, l.Value)
	}
	return b.String()
}

func (s *Side) fields(out *[]Leaf, v reflect.Value, fields []*definitions.Field, version int16, path, where string) {
	for _, f := range fields {
		if !f.Versions.Contains(version) {
			continue
		}
		s.field(out, v.FieldByName(f.GoName), f, version, strings.TrimPrefix(path+"."+f.Name, "."), where)
	}
}

func (s *Side) field(out *[]Leaf, v reflect.Value, f *definitions.Field, version int16, path, where string) {
	add := func(value string) { *out = append(*out, Leaf{path, where, value}) }
	switch {
	case f.Array && v.IsNil() && f.Nullable.Contains(version):
		add("null")
	case f.Array && f.Type == definitions.Struct:
		add(fmt.Sprintf("%d elements", v.Len()))
		type element struct {
			identity string
			value    reflect.Value
		}
		elements := make([]element, v.Len())
		for i := range elements {
			e := v.Index(i)
			if e.Kind() == reflect.Pointer {
				if e.IsNil() {
					elements[i] = element{"null", e}
					continue
				}
				e = e.Elem()
			}
			elements[i] = element{s.identity(e, f.Fields, version), e}
		}
		// Neither server promises an order between topics, partitions or configs; both keep it within a partition.
		sort.SliceStable(elements, func(i, j int) bool { return elements[i].identity < elements[j].identity })
		for _, e := range elements {
			if e.value.Kind() == reflect.Pointer {
				add("null element")
				continue
			}
			s.fields(out, e.value, f.Fields, version, path, strings.TrimPrefix(where+"/"+e.identity, "/"))
		}
	case f.Array:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = s.scalar(v.Index(i), f)
		}
		if f.Type == definitions.Int32 || f.Type == definitions.String {
			slices.Sort(parts)
		}
		add("[" + strings.Join(parts, " ") + "]")
	case v.Kind() == reflect.Pointer && v.IsNil():
		add("null")
	case f.Type == definitions.Struct:
		s.fields(out, reflect.Indirect(v), f.Fields, version, path, where)
	case f.Type == definitions.Records:
		add(s.batches(reflect.Indirect(v).Bytes(), s.isRecoded(where)))
	case ownPaths[path] != "":
		add(ownPaths[path])
	case path == "topics.partitions.leader_epoch" && strings.HasPrefix(where, `"__cluster_metadata"`):
		add("some epoch")
	case f.Name == "partition_size" && (s.isRecoded(where) || strings.Contains(where, `"__consumer_offsets"`)):
		add("some bytes")
	default:
		add(s.scalar(reflect.Indirect(v), f))
	}
}

// ownPaths are fields whose values are each server's own, with what is shown instead: how far the metadata log has come.
var ownPaths = map[string]string{
	"topics.partitions.high_watermark":                          "some offset", // of DescribeQuorum
	"topics.partitions.current_voters.log_end_offset":           "some offset",
	"topics.partitions.current_voters.last_fetch_timestamp":     "some time",
	"topics.partitions.current_voters.last_caught_up_timestamp": "some time",
	"topics.partitions.observers.log_end_offset":                "some offset",
	"topics.partitions.observers.last_fetch_timestamp":          "some time",
	"topics.partitions.observers.last_caught_up_timestamp":      "some time",
}

// isRecoded reports whether a place is about a topic whose batches the server compresses itself.
func (s *Side) isRecoded(where string) bool {
	for _, name := range strings.FieldsFunc(where, func(r rune) bool { return r == '/' || r == ':' }) {
		if s.recoded[strings.TrimPrefix(strings.Trim(name, `"`), "id of ")] {
			return true
		}
	}
	return false
}

// identities are the fields by which elements of arrays are told apart.
var identities = map[string]bool{
	"name": true, "topic": true, "topic_name": true, "topic_id": true, "partition_index": true, "partition": true, "index": true,
	"resource_type": true, "resource_name": true, "node_id": true, "broker_id": true, "api_key": true, "producer_id": true,
	"batch_index": true, "group_id": true, "member_id": true, "key": true, "replica_id": true, "host": false, "log_dir": false,
}

func (s *Side) identity(v reflect.Value, fields []*definitions.Field, version int16) string {
	var parts []string
	for _, f := range fields {
		if !identities[f.Name] || f.Array || !f.Versions.Contains(version) {
			continue
		}
		field := v.FieldByName(f.GoName)
		if field.Kind() == reflect.Pointer && field.IsNil() {
			continue
		}
		field = reflect.Indirect(field)
		if field.CanInt() && f.Name != "producer_id" {
			parts = append(parts, fmt.Sprintf("%06d", field.Int()))
		} else {
			parts = append(parts, s.scalar(field, f))
		}
	}
	return strings.Join(parts, ":")
}

func (s *Side) scalar(v reflect.Value, f *definitions.Field) string {
	switch f.Type {
	case definitions.UUID:
		id := v.Interface().(kafka.UUID)
		if id.IsZero() {
			return "no id"
		}
		for name, known := range s.TopicIDs {
			if known == id {
				return "id of " + name
			}
		}
		return "some id"
	case definitions.String:
		text := v.String()
		switch {
		case strings.HasSuffix(f.Name, "error_message") || f.Name == "documentation":
			return map[bool]string{true: "some text", false: `""`}[text != ""]
		case f.Name == "member_id" || f.Name == "leader":
			return s.memberSymbol(text)
		case f.Name == "log_dir":
			return strings.ReplaceAll(text, s.Dir, "DIR")
		}
		text = strings.ReplaceAll(text, s.Dir, "DIR")
		text = strings.ReplaceAll(text, s.ControllerAddr, "CONTROLLER")
		text = strings.ReplaceAll(text, s.Addr, "BROKER")
		return fmt.Sprintf("%q", text)
	case definitions.Bytes:
		return fmt.Sprintf("%x", v.Bytes())
	}
	if v.Type() == reflect.TypeFor[kafka.ErrorCode]() {
		return kafka.ErrorCode(v.Int()).String()
	}
	if v.CanInt() || v.CanUint() {
		n := number(v)
		switch f.Name {
		case "throttle_time_ms":
			return "0" // quotas have tests of their own
		case "producer_id":
			return s.producerSymbol(n)
		case "session_id":
			return map[bool]string{true: "a session", false: "0"}[n != 0]
		case "port":
			return s.portSymbol(n)
		case "log_append_time_ms", "last_timestamp", "last_fetch_timestamp", "last_caught_up_timestamp", "timestamp":
			if n > clockFrom {
				return "about now"
			}
		case "finalized_features_epoch", "total_bytes", "usable_bytes", "high_watermark_of_metadata":
			return map[bool]string{true: "some", false: "none"}[n >= 0]
		}
		return fmt.Sprint(n)
	}
	return fmt.Sprint(v.Interface())
}

func number(v reflect.Value) int64 {
	if v.CanUint() {
		return int64(v.Uint())
	}
	return v.Int()
}

// clockFrom is when the clock began, in milliseconds: plans use timestamps well below it, so what lies above was
// read off a clock.
const clockFrom = 1_700_000_000_000

func (s *Side) producerSymbol(id int64) string {
	if id < 0 {
		return fmt.Sprint(id)
	}
	if i := slices.Index(s.producers, id); i >= 0 {
		return fmt.Sprintf("producer %d", i)
	}
	if id >= 999_999_000 {
		return fmt.Sprintf("stranger %d", id-999_999_000)
	}
	return "some producer"
}

// memberSymbol names a member whose id the side made up.
func (s *Side) memberSymbol(id string) string {
	if len(id) < 22 {
		return fmt.Sprintf("%q", id) // the plan has chosen it
	}
	for name, known := range s.members {
		if known == id {
			return "member " + name
		}
	}
	if len(id) > 36 || len(id) == 22 {
		return "some member"
	}
	return fmt.Sprintf("%q", id)
}

func (s *Side) portSymbol(port int64) string {
	if strings.HasSuffix(s.Addr, fmt.Sprintf(":%d", port)) {
		return "BROKER"
	}
	if strings.HasSuffix(s.ControllerAddr, fmt.Sprintf(":%d", port)) {
		return "CONTROLLER"
	}
	return fmt.Sprint(port)
}

// batches renders record batches: every header field, the payload by its checksum, producer ids as symbols and
// times of a clock as such. Of batches that the server compressed itself the payload is what it holds. What a fetch cut
// off behind the last whole batch is left out, since no reader sees it: Apache Kafka fills its answer up with the
// beginning of the next batch, Millrace ends it.
func (s *Side) batches(b []byte, recoded bool) string {
	var out []string
	for len(b) >= rec.HeaderLen {
		size := int(int32(binary.BigEndian.Uint32(b[8:]))) + rec.LogOverhead
		if size < rec.HeaderLen || size > len(b) {
			break
		}
		out = append(out, s.batch(rec.Batch(b[:size]), recoded))
		b = b[size:]
	}
	return strings.Join(out, " ")
}

func (s *Side) batch(b rec.Batch, recoded bool) string {
	stamp := func(n int64) string {
		if n > clockFrom {
			return "now"
		}
		return fmt.Sprint(n)
	}
	payload := b.Payload()
	if recoded {
		plain, err := decompress(payload, int16(b.Codec()))
		if err != nil {
			return "a batch that does not decompress: " + err.Error()
		}
		payload = plain
	}
	return fmt.Sprintf("{offset %d epoch %d magic %d crc-ok %v attributes %d delta %d base-time %s max-time %s %s producer-epoch %d sequence %d count %d payload %d:%08x}",
		b.BaseOffset(), b.LeaderEpoch(), b.Magic(), b.CheckCRC() == nil, uint16(b[21])<<8|uint16(b[22]), b.LastOffsetDelta(), stamp(b.BaseTimestamp()), stamp(b.MaxTimestamp()),
		s.producerSymbol(b.ProducerID()), b.ProducerEpoch(), b.BaseSequence(), b.Count(), len(payload), crc32.ChecksumIEEE(payload))
}

// errorsIn collects the error codes that an answer holds, None aside.
func errorsIn(m wire.Message, version int16, found func(kafka.ErrorCode)) {
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() == reflect.Struct || v.Type().Elem().Kind() == reflect.Pointer {
				for i := range v.Len() {
					walk(v.Index(i))
				}
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).Type == reflect.TypeFor[kafka.ErrorCode]() {
					if code := kafka.ErrorCode(v.Field(i).Int()); code != kafka.None {
						found(code)
					}
					continue
				}
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(m))
}

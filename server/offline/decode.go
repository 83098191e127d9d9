package offline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
)

// A Decoder shows what a record holds, as Kafka's tool prints it: its key and its value, nil for what is not shown.
type Decoder func(r *Record) (key, value *string, err error)

// The decoders of records that Kafka stores for itself.
var (
	// OffsetsDecoder reads __consumer_offsets.
	OffsetsDecoder = coordinatorDecoder(wire.GroupRecords)
	// TransactionDecoder reads __transaction_state.
	TransactionDecoder = coordinatorDecoder(wire.TransactionRecords)
	// ShareDecoder reads __share_group_state.
	ShareDecoder = coordinatorDecoder(wire.ShareRecords)
)

// MetadataDecoder reads the metadata log and its snapshots.
func MetadataDecoder(r *Record) (key, value *string, err error) {
	m, version, err := wire.DecodeMetadataRecord(r.Value)
	if err != nil {
		return nil, ptr(fmt.Sprintf("Error at %d, skipping. %v", r.Offset, err)), nil
	}
	return nil, ptr(fmt.Sprintf(`{"type":"%s","version":%d,"data":%s}`, metadataType(m.Info().Name), version, messageJSON(m, version))), nil
}

// metadataType is the name of a record type as Kafka has it among the constants: TOPIC_RECORD for TopicRecord.
func metadataType(name string) string {
	var b strings.Builder
	for i, c := range name {
		if i > 0 && c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(c)
	}
	return strings.ToUpper(b.String())
}

// coordinatorDecoder reads a topic whose records have typed keys.
func coordinatorDecoder(topic wire.CoordinatorTopic) Decoder {
	return func(r *Record) (key, value *string, err error) {
		if r.Key == nil {
			//lint:ignore ST1005 the dump prints it, and this is how Kafka's says it
			return nil, nil, fmt.Errorf("Failed to decode message at offset %d using the specified decoder (message had a missing key)", r.Offset)
		}
		k, err := wire.DecodeCoordinatorKey(topic, r.Key)
		var unknown *wire.UnknownRecordError
		if errors.As(err, &unknown) {
			return ptr(fmt.Sprintf("Unknown record type %d at offset %d, skipping.", unknown.Type, r.Offset)), nil, nil
		}
		if err != nil {
			return ptr(fmt.Sprintf("Error at offset %d, skipping. %v", r.Offset, err)), nil, nil
		}
		number := k.Info().Type
		shown := ptr(fmt.Sprintf(`{"type":"%d","data":%s}`, number, messageJSON(k, k.Info().MaxVersion)))
		if r.Value == nil {
			return shown, ptr("<DELETE>"), nil
		}
		v, version, err := wire.DecodeCoordinatorValue(topic, number, r.Value)
		if err != nil {
			return ptr(fmt.Sprintf("Error at offset %d, skipping. %v", r.Offset, err)), nil, nil
		}
		w := &jsonWriter{version: version}
		if g, ok := v.(*wire.GroupMetadataValue); ok && g.ProtocolType == "consumer" {
			w.inside = consumerProtocol
		}
		w.message(v)
		return shown, ptr(fmt.Sprintf(`{"version":"%d","data":%s}`, version, w.String())), nil
	}
}

// consumerProtocol renders what the members of a classic group of consumers said in the messages of their own protocol,
// which stand in fields of bytes.
func consumerProtocol(w *jsonWriter, structure, field string, value []byte) bool {
	var m wire.Message
	switch field {
	case "subscription":
		m = wire.NewConsumerProtocolSubscription()
	case "assignment":
		m = wire.NewConsumerProtocolAssignment()
	default:
		return false
	}
	if len(value) < 2 {
		return false
	}
	version := int16(binary.BigEndian.Uint16(value))
	if wire.Decode(m, version, value[2:]) != nil {
		return false // bytes of another protocol stay bytes
	}
	w.WriteString(messageJSON(m, version))
	return true
}

// RemoteDecoder reads __remote_log_metadata.
func RemoteDecoder(r *Record) (key, value *string, err error) {
	m, _, err := wire.DecodeRemoteLogRecord(r.Value)
	if err != nil {
		return nil, ptr(fmt.Sprintf("Error at offset %d, skipping. %v", r.Offset, err)), nil
	}
	return nil, ptr(remoteText(m)), nil
}

// PlainDecoder shows keys and values each by one of Kafka's decoders for bytes: StringDecoder, IntegerDecoder,
// LongDecoder, named with or without their package.
func PlainDecoder(keyClass, valueClass string) (Decoder, error) {
	keys, err := plain(keyClass)
	if err != nil {
		return nil, err
	}
	values, err := plain(valueClass)
	if err != nil {
		return nil, err
	}
	return func(r *Record) (key, value *string, err error) {
		if r.Key != nil {
			if key, err = keys(r.Key); err != nil {
				return nil, nil, fmt.Errorf("key at offset %d: %w", r.Offset, err)
			}
		}
		if r.Value != nil {
			if value, err = values(r.Value); err != nil {
				return nil, nil, fmt.Errorf("value at offset %d: %w", r.Offset, err)
			}
		}
		return key, value, nil
	}, nil
}

func plain(class string) (func([]byte) (*string, error), error) {
	switch class[strings.LastIndexByte(class, '.')+1:] {
	case "StringDecoder":
		return func(b []byte) (*string, error) { return ptr(javaString(b)), nil }, nil
	case "IntegerDecoder":
		return number(4, func(b []byte) int64 { return int64(int32(binary.BigEndian.Uint32(b))) }), nil
	case "LongDecoder":
		return number(8, func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) }), nil
	}
	return nil, fmt.Errorf("there is no decoder %q; there are StringDecoder, IntegerDecoder and LongDecoder of org.apache.kafka.tools.api", class)
}

func number(size int, read func([]byte) int64) func([]byte) (*string, error) {
	return func(b []byte) (*string, error) {
		if len(b) < size {
			return nil, fmt.Errorf("%d bytes are not a number of %d", len(b), size)
		}
		return ptr(strconv.FormatInt(read(b), 10)), nil
	}
}

// javaString reads UTF-8 as Java does: each longest piece of a character that is cut off, and each byte that cannot
// begin one, becomes one U+FFFD.
func javaString(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			n = brokenRune(b)
		}
		s.WriteRune(r)
		b = b[n:]
	}
	return s.String()
}

// brokenRune returns how many bytes at the start of b are the beginning of a character that does not go on.
func brokenRune(b []byte) int {
	low, high, more := byte(0x80), byte(0xbf), 0
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		more = 1
	case c >= 0xe0 && c <= 0xef:
		if more = 2; c == 0xe0 {
			low = 0xa0
		} else if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		if more = 3; c == 0xf0 {
			low = 0x90
		} else if c == 0xf4 {
			high = 0x8f
		}
	}
	n := 1
	for n <= more && n < len(b) && b[n] >= low && b[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}

// controlText says what a control record is about, as Kafka's tool prints it.
func controlText(b *Batch, r *record.Record) (string, error) {
	t, err := record.ParseControlKey(r.Key)
	if err != nil {
		return "", err
	}
	var m wire.Message
	label := ""
	switch t {
	case record.ControlAbort, record.ControlCommit:
		marker, _, err := record.Batch(b.bytes).Marker(nil)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("endTxnMarker: %s coordinatorEpoch: %d", t, marker.CoordinatorEpoch), nil
	case record.ControlLeaderChange:
		label, m = "LeaderChange: ", wire.NewLeaderChangeMessage()
	case record.ControlSnapshotHeader:
		label, m = "SnapshotHeader ", wire.NewSnapshotHeaderRecord()
	case record.ControlSnapshotFooter:
		label, m = "SnapshotFooter ", wire.NewSnapshotFooterRecord()
	case record.ControlKRaftVersion:
		label, m = "KRaftVersion ", wire.NewKRaftVersionRecord()
	case record.ControlVoters:
		label, m = "KRaftVoters ", wire.NewVotersRecord()
	default:
		number := int16(math.MinInt16)
		if len(r.Key) >= 4 {
			number = int16(binary.BigEndian.Uint16(r.Key[2:]))
		}
		return fmt.Sprintf("controlType: %s(%d)", t, number), nil
	}
	if len(r.Value) < 2 {
		return "", fmt.Errorf("%w: its value has %d bytes", ErrDamaged, len(r.Value))
	}
	version := int16(binary.BigEndian.Uint16(r.Value)) // each of them begins with its version
	if err := wire.Decode(m, version, r.Value); err != nil {
		return "", err
	}
	return label + messageJSON(m, version), nil
}

func ptr[T any](v T) *T { return &v }

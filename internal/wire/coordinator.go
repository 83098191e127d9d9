package wire

import (
	"encoding/binary"
	"fmt"
)

// CoordinatorTopic names the records of one coordinator's topic.
type CoordinatorTopic uint8

// The topics whose records have typed keys and versioned values.
const (
	GroupRecords       CoordinatorTopic = iota // __consumer_offsets
	TransactionRecords                         // __transaction_state
	ShareRecords                               // __share_group_state
)

// String returns the family of records: group, transaction or share.
func (t CoordinatorTopic) String() string {
	return [...]string{"group", "transaction", "share"}[t]
}

func (t CoordinatorTopic) newKey(number int16) Message {
	return [...]func(int16) Message{newGroupKey, newTransactionKey, newShareKey}[t](number)
}

func (t CoordinatorTopic) newValue(number int16) Message {
	return [...]func(int16) Message{newGroupValue, newTransactionValue, newShareValue}[t](number)
}

// AppendCoordinatorKey appends the key of a coordinator's record as it is stored:
//
//	int16 record type | fields
func AppendCoordinatorKey(dst []byte, key Message) []byte {
	info := key.Info()
	return key.AppendTo(appendInt16(dst, info.Type), info.MaxVersion)
}

// AppendCoordinatorValue appends the value of a coordinator's record as it is stored:
//
//	int16 version | fields
func AppendCoordinatorValue(dst []byte, value Message, version int16) []byte {
	return value.AppendTo(appendInt16(dst, version), version)
}

// DecodeCoordinatorKey reads the key of a record of a coordinator's topic; its type is key.Info().Type. The error is an
// *UnknownRecordError, which Kafka's loaders skip, or of class ErrMalformed.
func DecodeCoordinatorKey(topic CoordinatorTopic, b []byte) (key Message, err error) {
	return (&CoordinatorReader{topic: topic}).Key(b)
}

// DecodeCoordinatorValue reads the value of a record whose key has the given type, and its version. A record without a
// value is a deletion, for the caller to see before. The error is an *UnknownRecordError or of class ErrMalformed.
func DecodeCoordinatorValue(topic CoordinatorTopic, number int16, b []byte) (value Message, version int16, err error) {
	return (&CoordinatorReader{topic: topic}).Value(number, b)
}

// CoordinatorReader decodes the records of a coordinator's topic one after the other, and makes little anew for each: a
// coordinator reads a million of them when it starts. The messages that it returns are its own, and good until the next
// of their type; what they point to may be kept. A text that came lately comes as the same string.
type CoordinatorReader struct {
	topic CoordinatorTopic
	r     Reader
	// keys and values are the messages by type; nil: each is a new one.
	keys, values map[int16]Message
}

// NewCoordinatorReader returns a reader of the records of a topic.
func NewCoordinatorReader(topic CoordinatorTopic) *CoordinatorReader {
	return &CoordinatorReader{topic: topic, r: Reader{texts: texts{}}, keys: map[int16]Message{}, values: map[int16]Message{}}
}

// Key is DecodeCoordinatorKey.
func (c *CoordinatorReader) Key(b []byte) (key Message, err error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%s key: %w: %s", c.topic, ErrMalformed, whatShort)
	}
	number := int16(binary.BigEndian.Uint16(b))
	if key = again(c.keys, number, c.topic.newKey); key == nil {
		return nil, &UnknownRecordError{c.topic.String(), number}
	}
	if err := c.decode(key, key.Info().MaxVersion, b[2:]); err != nil {
		return nil, err
	}
	return key, nil
}

// Value is DecodeCoordinatorValue.
func (c *CoordinatorReader) Value(number int16, b []byte) (value Message, version int16, err error) {
	if len(b) < 2 {
		return nil, 0, fmt.Errorf("%s value of type %d: %w: %s", c.topic, number, ErrMalformed, whatShort)
	}
	version = int16(binary.BigEndian.Uint16(b))
	if value = again(c.values, number, c.topic.newValue); value == nil {
		return nil, 0, &UnknownRecordError{c.topic.String(), number}
	}
	if err := c.decode(value, version, b[2:]); err != nil {
		return nil, 0, err
	}
	return value, version, nil
}

func (c *CoordinatorReader) decode(m Message, version int16, b []byte) error {
	c.r = Reader{rest: b, texts: c.r.texts}
	return c.r.message(m, version)
}

// again returns the message of a type that is used again, or a new one.
func again(kept map[int16]Message, number int16, make func(int16) Message) Message {
	m := kept[number]
	if m == nil {
		if m = make(number); m != nil && kept != nil {
			kept[number] = m
		}
	}
	return m
}

// texts are strings by what they are.
type texts map[string]string

// The bounds of texts: longer ones are not among them, and too many are forgotten.
const (
	textBytes = 256
	textCount = 1024
)

// of returns bytes as a string.
func (t texts) of(b []byte) string {
	if t == nil || len(b) > textBytes {
		return string(b)
	}
	s, known := t[string(b)]
	if !known {
		if len(t) >= textCount {
			clear(t)
		}
		s = string(b)
		t[s] = s
	}
	return s
}

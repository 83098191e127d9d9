package wire

import (
	"encoding/binary"
	"fmt"
)

// frameVersion is the version of the frame around a record of the metadata log or of __remote_log_metadata.
const frameVersion = 1

// UnknownRecordError says that a stored record is of a type that does not exist here; a newer version may know it.
type UnknownRecordError struct {
	Family string // metadata, remote, group, transaction, share
	Type   int16
}

// Error names the family and the type.
func (e *UnknownRecordError) Error() string {
	return fmt.Sprintf("no %s record has the type %d", e.Family, e.Type)
}

// AppendMetadataRecord appends a record of the metadata log as its value is stored:
//
//	uvarint frame version (1) | uvarint record type | uvarint record version | fields
func AppendMetadataRecord(dst []byte, m Message, version int16) []byte {
	dst = appendUvarint(dst, frameVersion)
	dst = appendUvarint(dst, int(m.Info().Type))
	dst = appendUvarint(dst, int(version))
	return m.AppendTo(dst, version)
}

// DecodeMetadataRecord reads the value of a record of the metadata log. The error is an *UnknownRecordError or of
// class ErrMalformed.
func DecodeMetadataRecord(value []byte) (m Message, version int16, err error) {
	return decodeTyped(value, "metadata", newMetadataRecord)
}

// AppendRemoteLogRecord appends a record of __remote_log_metadata (KIP-405) as its value is stored, in the same frame.
func AppendRemoteLogRecord(dst []byte, m Message, version int16) []byte {
	return AppendMetadataRecord(dst, m, version)
}

// DecodeRemoteLogRecord reads the value of a record of __remote_log_metadata. The error is an *UnknownRecordError or
// of class ErrMalformed.
func DecodeRemoteLogRecord(value []byte) (m Message, version int16, err error) {
	return decodeTyped(value, "remote", newRemoteRecord)
}

func decodeTyped(value []byte, family string, make func(int16) Message) (Message, int16, error) {
	r := Reader{rest: value}
	if frame := r.Uvarint(); r.err == nil && frame != frameVersion {
		r.Fail(fmt.Sprintf("frame version %d where only %d is known", frame, frameVersion))
	}
	number, version := r.Uvarint(), r.Uvarint()
	if r.err != nil {
		return nil, 0, fmt.Errorf("%s record: %w", family, r.err)
	}
	if number > uint32(NeverFlexible) || version > uint32(NeverFlexible) {
		return nil, 0, fmt.Errorf("%s record: %w: type %d, version %d", family, ErrMalformed, number, version)
	}
	m := make(int16(number))
	if m == nil {
		return nil, 0, &UnknownRecordError{family, int16(number)}
	}
	if err := Decode(m, int16(version), r.rest); err != nil {
		return nil, 0, err
	}
	return m, int16(version), nil
}

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
	if len(b) < 2 {
		return nil, fmt.Errorf("%s key: %w: %s", topic, ErrMalformed, whatShort)
	}
	number := int16(binary.BigEndian.Uint16(b))
	if key = topic.newKey(number); key == nil {
		return nil, &UnknownRecordError{topic.String(), number}
	}
	if err := Decode(key, key.Info().MaxVersion, b[2:]); err != nil {
		return nil, err
	}
	return key, nil
}

// DecodeCoordinatorValue reads the value of a record whose key has the given type, and its version. A record without a
// value is a deletion, for the caller to see before. The error is an *UnknownRecordError or of class ErrMalformed.
func DecodeCoordinatorValue(topic CoordinatorTopic, number int16, b []byte) (value Message, version int16, err error) {
	if len(b) < 2 {
		return nil, 0, fmt.Errorf("%s value of type %d: %w: %s", topic, number, ErrMalformed, whatShort)
	}
	version = int16(binary.BigEndian.Uint16(b))
	if value = topic.newValue(number); value == nil {
		return nil, 0, &UnknownRecordError{topic.String(), number}
	}
	if err := Decode(value, version, b[2:]); err != nil {
		return nil, 0, err
	}
	return value, version, nil
}

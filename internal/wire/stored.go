package wire

import "fmt"

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

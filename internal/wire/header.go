package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/millrace-io/millrace/kafka"
)

// RequestHeader stands before the fields of a request:
//
//	int16 API key | int16 version | int32 correlation id | nullable string client id | tagged fields
//
// The client id has a length of two bytes at every version. There are tagged fields only when the version of the
// request is flexible; none is known, and all are skipped.
type RequestHeader struct {
	Key           APIKey
	Version       int16
	CorrelationID int32  // the client's number of the request; its response carries it back
	ClientID      string // what the client calls itself; "" for null
	NullClientID  bool   // the client id was null
}

// UnsupportedError says that a request is well-formed as far as its header goes, but of an API or a version that
// does not exist. The listener answers an ApiVersions request of any version (see UnsupportedAPIVersions) and, as
// Kafka does, closes the connection for all others.
type UnsupportedError struct {
	// Header is complete for ApiVersions; otherwise it has no client id.
	Header RequestHeader
}

// Error says what was asked for and what there is.
func (e *UnsupportedError) Error() string {
	info, ok := Lookup(e.Header.Key)
	if !ok {
		return fmt.Sprintf("no API has the key %d", int16(e.Header.Key))
	}
	return fmt.Sprintf("%s has versions %d to %d, not %d", info.Name, info.MinVersion, info.MaxVersion, e.Header.Version)
}

// ParseRequestHeader reads the header of a request from its frame (without the size) and returns what follows it.
// The error is an *UnsupportedError or of class ErrMalformed.
func ParseRequestHeader(frame []byte) (RequestHeader, []byte, error) {
	var h RequestHeader
	body, err := h.Parse(frame)
	return h, body, err
}

// Parse is ParseRequestHeader into a header that is used again: as long as the client id stays the same, as it does
// on one connection, nothing is allocated.
func (h *RequestHeader) Parse(frame []byte) (body []byte, err error) {
	r := Reader{rest: frame}
	h.Key, h.Version, h.CorrelationID = APIKey(r.Int16()), r.Int16(), r.Int32()
	if r.err != nil {
		return nil, fmt.Errorf("request header: %w", r.err)
	}
	info, known := Lookup(h.Key)
	supported := known && info.MinVersion <= h.Version && h.Version <= info.MaxVersion
	if !supported && h.Key != KeyApiVersions {
		return nil, &UnsupportedError{RequestHeader{Key: h.Key, Version: h.Version, CorrelationID: h.CorrelationID}}
	}

	n := r.stringLen(false)
	h.NullClientID = n < 0
	if id := r.Take(max(n, 0)); string(id) != h.ClientID {
		h.ClientID = string(id)
	}
	if info.Flexible(h.Version) {
		r.SkipTags()
	}
	if r.err != nil {
		return nil, fmt.Errorf("header of %s version %d: %w", info.Name, h.Version, r.err)
	}
	if !supported {
		return nil, &UnsupportedError{*h}
	}
	return r.rest, nil
}

// AppendRequestHeader appends the header of a request.
func AppendRequestHeader(dst []byte, h RequestHeader) []byte {
	dst = appendInt16(dst, int16(h.Key))
	dst = appendInt16(dst, h.Version)
	dst = appendInt32(dst, h.CorrelationID)
	if h.NullClientID {
		dst = appendInt16(dst, -1)
	} else {
		dst = appendString(dst, h.ClientID, false)
	}
	if info, ok := Lookup(h.Key); ok && info.Flexible(h.Version) {
		dst = append(dst, 0)
	}
	return dst
}

// flexibleResponseHeader reports whether a response's header has tagged fields. That of ApiVersions never has: a
// client that does not know the broker's versions yet must be able to read it.
func flexibleResponseHeader(key APIKey, version int16) bool {
	info, ok := Lookup(key)
	return ok && key != KeyApiVersions && info.Flexible(version)
}

// AppendResponseHeader appends the header of a response:
//
//	int32 correlation id | tagged fields, when the version is flexible and the API is not ApiVersions
func AppendResponseHeader(dst []byte, key APIKey, version int16, correlationID int32) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexibleResponseHeader(key, version) {
		dst = append(dst, 0)
	}
	return dst
}

// ParseResponseHeader reads the header of a response from its frame (without the size) and returns what follows it.
// The caller knows the API and the version from the request that it sent.
func ParseResponseHeader(frame []byte, key APIKey, version int16) (correlationID int32, body []byte, err error) {
	r := Reader{rest: frame}
	correlationID = r.Int32()
	if flexibleResponseHeader(key, version) {
		r.SkipTags()
	}
	if r.err != nil {
		return 0, nil, fmt.Errorf("response header of %s version %d: %w", key, version, r.err)
	}
	return correlationID, r.rest, nil
}

// UnsupportedAPIVersions returns the answer to an ApiVersions request of a version that does not exist: a body of
// version 0 with UNSUPPORTED_VERSION and the versions of ApiVersions alone, from which the client picks one and asks
// again.
func UnsupportedAPIVersions(correlationID int32) Response {
	info, _ := Lookup(KeyApiVersions)
	body := ApiVersionsResponse{ErrorCode: kafka.UnsupportedVersion}
	body.ApiKeys = []ApiVersionsResponseApiKeys{{ApiKey: int16(info.Key), MinVersion: info.MinVersion, MaxVersion: info.MaxVersion}}
	return MessageResponse(KeyApiVersions, 0, correlationID, &body)
}

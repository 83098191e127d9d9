package wire

import (
	"encoding/binary"
	"math"

	"github.com/millrace-io/millrace/kafka"
)

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendInt8(dst []byte, v int8) []byte     { return append(dst, byte(v)) }
func appendInt16(dst []byte, v int16) []byte   { return binary.BigEndian.AppendUint16(dst, uint16(v)) }
func appendUint16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func appendInt32(dst []byte, v int32) []byte   { return binary.BigEndian.AppendUint32(dst, uint32(v)) }
func appendUint32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func appendInt64(dst []byte, v int64) []byte   { return binary.BigEndian.AppendUint64(dst, uint64(v)) }
func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}
func appendUUID(dst []byte, v kafka.UUID) []byte { return append(dst, v[:]...) }

func appendUvarint(dst []byte, v int) []byte { return binary.AppendUvarint(dst, uint64(v)) }

// appendLen appends the length of bytes or of an array; a null has the length -1.
func appendLen(dst []byte, n int, flex bool) []byte {
	if flex {
		return appendUvarint(dst, n+1)
	}
	return appendInt32(dst, int32(n))
}

// appendString cuts a string that is longer than any version can carry: only text made for people can be, since
// everything else came in through a decoder that refuses it.
func appendString(dst []byte, v string, flex bool) []byte {
	v = v[:min(len(v), maxString)]
	if flex {
		dst = appendUvarint(dst, len(v)+1)
	} else {
		dst = appendInt16(dst, int16(len(v)))
	}
	return append(dst, v...)
}

func appendStringPtr(dst []byte, v *string, flex, nullable bool) []byte {
	switch {
	case v != nil:
		return appendString(dst, *v, flex)
	case !nullable:
		return appendString(dst, "", flex)
	case flex:
		return append(dst, 0)
	}
	return append(dst, 0xff, 0xff)
}

// appendCount appends the number of elements of a slice, or of bytes.
func appendCount[T any](dst []byte, v []T, flex, nullable bool) []byte {
	if v == nil && nullable {
		return appendLen(dst, -1, flex)
	}
	return appendLen(dst, len(v), flex)
}

func appendBytes(dst, v []byte, flex, nullable bool) []byte {
	return append(appendCount(dst, v, flex, nullable), v...)
}

func appendInt8s(dst []byte, v []int8, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for _, e := range v {
		dst = append(dst, byte(e))
	}
	return dst
}

func appendInt16s(dst []byte, v []int16, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for _, e := range v {
		dst = appendInt16(dst, e)
	}
	return dst
}

func appendInt32s(dst []byte, v []int32, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for _, e := range v {
		dst = appendInt32(dst, e)
	}
	return dst
}

func appendInt64s(dst []byte, v []int64, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for _, e := range v {
		dst = appendInt64(dst, e)
	}
	return dst
}

func appendUUIDs(dst []byte, v []kafka.UUID, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for i := range v {
		dst = append(dst, v[i][:]...)
	}
	return dst
}

func appendStrings(dst []byte, v []string, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for _, e := range v {
		dst = appendString(dst, e, flex)
	}
	return dst
}

func appendArray[T any, P structure[T]](dst []byte, v []T, version int16, flex, nullable bool) []byte {
	dst = appendCount(dst, v, flex, nullable)
	for i := range v {
		dst = P(&v[i]).appendTo(dst, version)
	}
	return dst
}

// appendPtr is the inverse of decodePtr.
func appendPtr[T any, P structure[T]](dst []byte, v *T, version int16, tagged bool) []byte {
	switch {
	case v != nil:
		return P(v).appendTo(append(dst, 1), version)
	case tagged:
		return append(dst, 0)
	}
	return append(dst, 0xff)
}

// openTag appends a tag and leaves one byte for the size of its field. closeTag, given the position behind that
// byte, fills the size in and moves the field when the size needs more than the byte.
func openTag(dst []byte, tag int) []byte { return append(appendUvarint(dst, tag), 0) }

func closeTag(dst []byte, at int) []byte {
	size := len(dst) - at
	if size < 0x80 {
		dst[at-1] = byte(size)
		return dst
	}
	var coded [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(coded[:], uint64(size))
	dst = append(dst, coded[:n-1]...) // room; overwritten by the move
	copy(dst[at+n-1:], dst[at:at+size])
	copy(dst[at-1:], coded[:n])
	return dst
}

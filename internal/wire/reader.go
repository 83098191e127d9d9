package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/millrace-io/millrace/kafka"
)

// ErrMalformed is the class of every error that a decoder reports: the bytes are not what the schema says.
var ErrMalformed = errors.New("malformed message")

// Reader takes a message apart. It never reads past its bytes: the first thing that is wrong becomes Err, and from
// then on every read returns a zero value and there is nothing remaining, so that decoders need no checks of their
// own and loops that stop at Err end.
//
// The zero Reader is empty; NewReader and Reset give it bytes. Strings and bytes fields are copied; records fields
// alias the input, with their capacity cut to their length.
type Reader struct {
	rest []byte
	err  error

	// charged counts the bytes of memory that decoding asked for so far. It is the measure of the cost bound.
	charged int

	// texts, when there are any, are strings that came before: they are used again.
	texts texts
}

// NewReader returns a reader of b.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Reset makes r read b, and forget all else.
func (r *Reader) Reset(b []byte) { *r = Reader{rest: b} }

// Err returns the first thing that was wrong, of class ErrMalformed, or nil.
func (r *Reader) Err() error { return r.err }

// Remaining returns how many bytes are left to read. It is zero after an error.
func (r *Reader) Remaining() int { return len(r.rest) }

// Charged returns how many bytes of memory decoding has asked for so far.
func (r *Reader) Charged() int { return r.charged }

// Fail makes the reader stop with an error of class ErrMalformed, unless it has stopped already.
func (r *Reader) Fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s, %d bytes before its end", ErrMalformed, what, len(r.rest))
	}
	r.rest = nil
}

const (
	whatShort   = "it ends too early"
	whatNull    = "null where there must be a value"
	whatLength  = "a length beyond the end"
	whatCount   = "an array longer than what follows could hold"
	whatVarint  = "a variable-length number of more than 32 bits"
	whatString  = "a string of more than 32767 bytes"
	whatTags    = "more tagged fields than what follows could hold"
	whatTagSize = "a tagged field that is shorter than its size says"
)

// maxString is the longest string of the protocol, in bytes, at every version.
const maxString = math.MaxInt16

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if len(r.rest) < 1 {
		r.Fail(whatShort)
		return 0
	}
	v := int8(r.rest[0])
	r.rest = r.rest[1:]
	return v
}

// Bool reads one byte; all but 0 is true.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Uint16 reads two bytes, the high one first, as all numbers of fixed size are written.
func (r *Reader) Uint16() uint16 {
	if len(r.rest) < 2 {
		r.Fail(whatShort)
		return 0
	}
	v := binary.BigEndian.Uint16(r.rest)
	r.rest = r.rest[2:]
	return v
}

// Int16 reads two bytes.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if len(r.rest) < 4 {
		r.Fail(whatShort)
		return 0
	}
	v := binary.BigEndian.Uint32(r.rest)
	r.rest = r.rest[4:]
	return v
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if len(r.rest) < 8 {
		r.Fail(whatShort)
		return 0
	}
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return int64(v)
}

// Float64 reads eight bytes in IEEE 754 form.
func (r *Reader) Float64() float64 { return math.Float64frombits(uint64(r.Int64())) }

// UUID reads sixteen bytes.
func (r *Reader) UUID() (id kafka.UUID) {
	if len(r.rest) < len(id) {
		r.Fail(whatShort)
		return id
	}
	copy(id[:], r.rest)
	r.rest = r.rest[len(id):]
	return id
}

// Uvarint reads a number in groups of seven bits, low ones first, of at most five bytes and 32 bits.
func (r *Reader) Uvarint() uint32 {
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint32(v)
	}
	return r.longUvarint()
}

func (r *Reader) longUvarint() uint32 {
	v, n := binary.Uvarint(r.rest[:min(len(r.rest), 5)])
	switch {
	case n > 0 && v <= math.MaxUint32:
		r.rest = r.rest[n:]
		return uint32(v)
	case n == 0 && len(r.rest) < 5:
		r.Fail(whatShort)
	default:
		r.Fail(whatVarint)
	}
	return 0
}

// Take returns the next n bytes, which alias the input.
func (r *Reader) Take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.Fail(whatLength)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// nullity says what a null or an empty value becomes.
type nullity uint8

const (
	// never: no version has a null here. Null is an error, an empty array or bytes is nil.
	never nullity = iota
	// refused: other versions have a null here. Null is an error, empty is empty and not nil.
	refused
	// allowed: null is nil, empty is empty and not nil.
	allowed
)

func nullableIf(yes bool) nullity {
	if yes {
		return allowed
	}
	return refused
}

// stringLen reads the length of a string, -1 for a null.
func (r *Reader) stringLen(flex bool) int {
	if !flex {
		return max(-1, int(r.Int16()))
	}
	n := int(r.Uvarint()) - 1
	if n > maxString {
		r.Fail(whatString)
	}
	return n
}

// longLen reads the length of bytes or of an array, -1 for a null.
func (r *Reader) longLen(flex bool) int {
	if flex {
		return int(r.Uvarint()) - 1
	}
	return max(-1, int(r.Int32()))
}

// String reads a string: its length in two bytes, or as a varint one too large when flex is set.
func (r *Reader) String(flex bool) string {
	b := r.StringBytes(flex)
	r.charged += len(b)
	return r.texts.of(b)
}

// StringBytes reads a string as bytes that alias the input.
func (r *Reader) StringBytes(flex bool) []byte {
	n := r.stringLen(flex)
	if n < 0 {
		r.Fail(whatNull)
		return nil
	}
	return r.Take(n)
}

// NullableString reads a string that may be null.
func (r *Reader) NullableString(flex bool) *string { return r.stringPtr(flex, true) }

func (r *Reader) stringPtr(flex, nullable bool) *string {
	n := r.stringLen(flex)
	if n < 0 && (nullable || r.err != nil) {
		return nil
	}
	if n < 0 {
		r.Fail(whatNull)
		return nil
	}
	b := r.Take(n)
	if r.err != nil {
		return nil
	}
	r.charged += int(unsafe.Sizeof("")) + len(b)
	return new(r.texts.of(b))
}

// bytes reads a bytes field into memory of its own.
func (r *Reader) bytes(flex bool, null nullity) []byte {
	b := r.records(flex, null)
	if len(b) == 0 {
		return b
	}
	r.charged += len(b)
	return append(make([]byte, 0, len(b)), b...)
}

// records reads a bytes field in place.
func (r *Reader) records(flex bool, null nullity) []byte {
	n := r.longLen(flex)
	switch {
	case n > 0:
		return r.Take(n)
	case n < 0 && null != allowed:
		r.Fail(whatNull)
	case n == 0 && null != never && r.err == nil:
		return []byte{}
	}
	return nil
}

// arrayLen reads the number of elements of an array, -1 for a null or an error. No element takes less than
// minimum bytes, so a number that the rest of the input could not hold is refused before anything is made.
func (r *Reader) arrayLen(flex bool, null nullity, minimum int) int {
	n := r.longLen(flex)
	switch {
	case n < 0 && null != allowed:
		r.Fail(whatNull)
	case n > 0 && n > len(r.rest)/minimum:
		r.Fail(whatCount)
	}
	if r.err != nil {
		return -1
	}
	return n
}

// firstElements is how many elements an array is given room for on the strength of its count alone.
const firstElements = 16

// room returns s with room for one element more. The room doubles, from firstElements to the array's count, and
// is charged before it is made: an array costs what its elements' bytes pay for, not what its count claims.
func room[T any](r *Reader, s []T, count int) []T {
	if len(s) < cap(s) {
		return s
	}
	var element T
	size := min(count, max(firstElements, 2*cap(s)))
	r.charged += size * int(unsafe.Sizeof(element))
	return append(make([]T, 0, size), s...)
}

// fixedArray reads an array whose elements take the same number of bytes on the wire and in memory, so that its
// count can be believed as soon as the bytes are there.
func fixedArray[T any](r *Reader, flex bool, null nullity, get func(b []byte) T) []T {
	var element T
	size := int(unsafe.Sizeof(element))
	n := r.arrayLen(flex, null, size)
	if n < 0 || n == 0 && null == never {
		return nil
	}
	r.charged += n * size
	b := r.Take(n * size)
	s := make([]T, n)
	for i := range s {
		s[i] = get(b[i*size:])
	}
	return s
}

func (r *Reader) int8s(flex bool, null nullity) []int8 {
	return fixedArray(r, flex, null, func(b []byte) int8 { return int8(b[0]) })
}

func (r *Reader) int16s(flex bool, null nullity) []int16 {
	return fixedArray(r, flex, null, func(b []byte) int16 { return int16(binary.BigEndian.Uint16(b)) })
}

func (r *Reader) int32s(flex bool, null nullity) []int32 {
	return fixedArray(r, flex, null, func(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) })
}

func (r *Reader) int64s(flex bool, null nullity) []int64 {
	return fixedArray(r, flex, null, func(b []byte) int64 { return int64(binary.BigEndian.Uint64(b)) })
}

func (r *Reader) uuids(flex bool, null nullity) []kafka.UUID {
	return fixedArray(r, flex, null, func(b []byte) kafka.UUID { return kafka.UUID(b[:16]) })
}

func (r *Reader) strings(flex bool, null nullity) []string {
	minimum := 2
	if flex {
		minimum = 1
	}
	n := r.arrayLen(flex, null, minimum)
	if n < 0 || n == 0 && null == never {
		return nil
	}
	s := []string{}
	for range n {
		v := r.String(flex)
		if r.err != nil {
			return nil
		}
		s = append(room(r, s, n), v)
	}
	return s
}

// structure is what the generated code has for a struct inside a message.
type structure[T any] interface {
	*T
	decode(r *Reader, version int16)
	appendTo(dst []byte, version int16) []byte
}

// decodeArray reads an array of structs, each of which takes at least minimum bytes.
func decodeArray[T any, P structure[T]](r *Reader, version int16, flex bool, null nullity, minimum int) []T {
	n := r.arrayLen(flex, null, minimum)
	if n < 0 || n == 0 && null == never {
		return nil
	}
	s := []T{}
	for i := range n {
		s = room(r, s, n)[:i+1]
		if P(&s[i]).decode(r, version); r.err != nil {
			return nil
		}
	}
	return s
}

// decodePtr reads a struct that may be null: one byte that is negative for a null or, in a tagged field, zero for a
// null; and then the struct (KIP-893).
func decodePtr[T any, P structure[T]](r *Reader, version int16, tagged bool) *T {
	null := false
	if tagged {
		null = r.Uvarint() == 0
	} else {
		null = r.Int8() < 0
	}
	if null || r.err != nil {
		return nil
	}
	v := new(T)
	r.charged += int(unsafe.Sizeof(*v))
	P(v).decode(r, version)
	return v
}

// tags reads how many tagged fields follow. Each takes two bytes at least.
func (r *Reader) tags() int {
	n := int(r.Uvarint())
	if n > len(r.rest)/2 {
		r.Fail(whatTags)
		return 0
	}
	return n
}

// openTag reads a tag and the size of its field, and cuts the input to that field. closeTag takes what was behind.
func (r *Reader) openTag() (tag uint32, behind []byte) {
	tag = r.Uvarint()
	size := int(r.Uvarint())
	if size > len(r.rest) {
		r.Fail(whatLength)
		return 0, nil
	}
	behind = r.rest[size:]
	r.rest = r.rest[:size]
	return tag, behind
}

func (r *Reader) skipTag() { r.rest = nil }

func (r *Reader) closeTag(behind []byte) {
	if len(r.rest) > 0 {
		r.Fail(whatTagSize)
	}
	if r.err == nil {
		r.rest = behind
	}
}

// SkipTags reads past tagged fields that nobody knows. It stops at the first error.
func (r *Reader) SkipTags() {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		r.Uvarint()
		r.Take(int(r.Uvarint()))
	}
}

// Finish makes bytes that are left an error, and returns Err.
func (r *Reader) Finish() error {
	if len(r.rest) > 0 {
		r.Fail(fmt.Sprintf("%d bytes behind the last field", len(r.rest)))
	}
	return r.err
}

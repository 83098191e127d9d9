package record

import "math/bits"

// Varints are LEB128, least significant group first, of zigzag-coded integers: 0, -1, 1, -2 … are 0, 1, 2, 3 ….
// A varint is at most 5 bytes and stands for an int32, a varlong at most 10 and stands for an int64. As in
// Kafka, padded forms are legal, bits that do not fit are lost, and a fifth (tenth) byte with its top bit set
// is an error.
const (
	maxVarintLen  = 5
	maxVarlongLen = 10
)

// varint decodes an int32 from the start of b and returns how many bytes it took: 0 when b ends too soon, -1
// when it is too long.
func varint(b []byte) (int32, int) {
	if len(b) > 0 && b[0] < 0x80 { // most are one byte
		v := uint32(b[0])
		return int32(v>>1) ^ -int32(v&1), 1
	}
	var v uint32
	for i := 0; i < maxVarintLen; i++ {
		if i == len(b) {
			return 0, 0
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int32(v>>1) ^ -int32(v&1), i + 1
		}
	}
	return 0, -1
}

// short2 decodes a varint of one or two bytes that stands at a place in b and returns the place behind it: 0 when it is
// longer, or when not two bytes are left of b. It is small enough to be inlined.
func short2(b []byte, at int) (v, next int) {
	if at+1 >= len(b) {
		return 0, 0
	}
	v, next = int(b[at]), at+1
	if v >= 0x80 {
		v = v&0x7f | int(b[next])<<7
		next++
		if v >= 1<<14 {
			return 0, 0
		}
	}
	return v>>1 ^ -(v & 1), next
}

// varlong is varint for an int64.
func varlong(b []byte) (int64, int) {
	var v uint64
	for i := 0; i < maxVarlongLen; i++ {
		if i == len(b) {
			return 0, 0
		}
		v |= uint64(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return int64(v>>1) ^ -int64(v&1), i + 1
		}
	}
	return 0, -1
}

// appendVarlong appends an int64, which for the values of an int32 is also its varint.
func appendVarlong(dst []byte, v int64) []byte {
	u := uint64(v<<1) ^ uint64(v>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// varlongLen is the length of the shortest form.
func varlongLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

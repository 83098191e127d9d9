package wire

// The cost bound. A decoder that is given n bytes makes at most
//
//	DecodeBytesPerByte*n + DecodeBytesFixed   bytes of memory, as Reader.Charged counts them, and takes at most
//	DecodeStepsPerByte*n + DecodeStepsFixed   steps, a step being one field of one struct, or one tag,
//
// whatever the bytes say. It holds because
//
//   - a length is compared with what is left before anything is made or skipped,
//   - an array's count is compared with what is left divided by the fewest bytes that an element can take; an element
//     takes at least one byte, and a test refuses schemas in which that makes the constants below untrue,
//   - the room for an array's elements doubles as they are read, so that room is paid for by elements that were there,
//   - loops over elements and tags end at the first error, after which nothing is left to read,
//   - nesting is as deep as the schema, not as the bytes.
//
// The worst are elements that are small on the wire and large in memory: an empty string takes one byte there and
// sixteen here, up to three times over while its array grows.
//
// A listener that lends memory by these constants before it decodes can lend a request's n bytes times
// DecodeBytesPerByte in the worst case; what was really needed is Reader.Charged.
const (
	DecodeBytesPerByte = 72
	DecodeBytesFixed   = 64 << 10
	DecodeStepsPerByte = 2
	DecodeStepsFixed   = 256
)

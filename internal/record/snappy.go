package record

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
)

// Snappy comes in two forms. Java clients frame it as the xerial library does; integers are big-endian.
//
//	+------------------+---------+------------+   +--------+--------------+   +--------+-----
//	| 82 SNAPPY 00     | version | compatible |   | length | snappy block |   | length | ...
//	| 8                | 4 (1)   | 4 (1)      |   | 4      |              |   | 4      |
//	+------------------+---------+------------+   +--------+--------------+   +--------+-----
//
// Others write one bare snappy block, which begins with its decompressed length.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHeaderLen  = 16
	xerialBlockBytes = 32 << 10
)

// snappyBlocks reads the blocks of either form.
type snappyBlocks struct {
	src   []byte
	bare  bool
	block []byte
	limit int // largest block worth decompressing
}

func (s *snappyBlocks) reset(src []byte, limit int) error {
	s.src, s.limit = src, limit
	s.bare = !bytes.HasPrefix(src, xerialMagic)
	if len(src) == 0 {
		return fmt.Errorf("%w: no snappy data at all", ErrDecompress)
	}
	if s.bare {
		return nil
	}
	if len(src) < xerialHeaderLen {
		return fmt.Errorf("%w: snappy header cut", ErrDecompress)
	}
	if compatible := int32(binary.BigEndian.Uint32(src[12:])); compatible < 1 {
		return fmt.Errorf("%w: snappy framing of version %d", ErrDecompress, compatible)
	}
	s.src = src[xerialHeaderLen:]
	return nil
}

func (s *snappyBlocks) next() ([]byte, error) {
	for !s.bare && len(s.src) >= xerialHeaderLen && bytes.HasPrefix(s.src, xerialMagic) {
		s.src = s.src[xerialHeaderLen:] // streams written one after the other
	}
	if len(s.src) == 0 {
		return nil, io.EOF
	}
	block := s.src
	if !s.bare {
		if len(s.src) < 4 {
			return nil, fmt.Errorf("%w: snappy block cut in its length", ErrDecompress)
		}
		size := int64(int32(binary.BigEndian.Uint32(s.src)))
		if size < 0 || size > int64(len(s.src)-4) {
			return nil, fmt.Errorf("%w: snappy block of %d bytes", ErrDecompress, size)
		}
		block = s.src[4 : 4+size]
	}
	if s.bare {
		s.src = nil
	} else {
		s.src = s.src[4+len(block):]
	}
	n, err := s2.DecodedLen(block)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: snappy block: %v", ErrDecompress, err)
	case n > s.limit:
		return nil, fmt.Errorf("%w: snappy block of %d bytes", ErrTooLarge, n)
	case n > 64*len(block):
		// The shortest copy makes 64 bytes of 3, so this length is a lie: no memory for it.
		return nil, fmt.Errorf("%w: snappy block of %d bytes claims %d", ErrDecompress, len(block), n)
	}
	if cap(s.block) < n {
		s.block = make([]byte, max(n, xerialBlockBytes))
	}
	out, err := s2.Decode(s.block[:n], block)
	if err != nil {
		return nil, fmt.Errorf("%w: snappy block: %v", ErrDecompress, err)
	}
	return out, nil
}

// appendSnappy appends src in xerial's form, in blocks of 32 KiB.
func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = append(dst, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlockBytes)]
		src = src[len(block):]
		at := len(dst)
		room := s2.MaxEncodedLen(len(block))
		dst = slices.Grow(dst, 4+room)
		out := s2.EncodeSnappy(dst[at+4:at+4+room], block)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(out)))[:at+4+len(out)]
	}
	return dst
}

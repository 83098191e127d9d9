package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// An LZ4 frame as Kafka's clients write it. Integers are little-endian.
//
//	+----------+-----+----+----------------+----+ +------+-----------+-----------+     +------+--------+
//	| 04224D18 | FLG | BD | content size 8 | HC | | size | block     | xxh32 of  | ... |  0   | xxh32  |
//	| (LE)     |     |    | (when FLG 3)   |    | | 4    |           | the block |     | 4    | FLG 2  |
//	+----------+-----+----+----------------+----+ +------+-----------+-----------+     +------+--------+
//
//	FLG  bits 7-6 version 01, 5 blocks independent, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary
//	BD   bits 6-4 largest block: 4 64 KiB, 5 256 KiB, 6 1 MiB, 7 4 MiB
//	HC   second byte of xxh32 over FLG to the byte before HC. In messages of magic 0 the clients of old computed it
//	     over the frame's magic too, so it is not checked there (KAFKA-3160)
//	size top bit: the block is stored as it is
//
// What follows the end mark is ignored, as Kafka does.
const (
	lz4Magic      = 0x184D2204
	lz4Stored     = 1 << 31
	lz4BlockBytes = 64 << 10
)

// lz4Frame reads the blocks of a frame.
type lz4Frame struct {
	src           []byte
	block         []byte // what a block is decompressed into
	max           int
	blockChecksum bool
	done          bool
	skipHC        bool // magic 0
}

func (f *lz4Frame) reset(src []byte, magic int8) error {
	f.src, f.done, f.skipHC = src, false, magic < 1
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return fmt.Errorf("%w: no lz4 frame", ErrDecompress)
	}
	flg, bd := src[4], src[5]
	switch {
	case flg>>6 != 1:
		return fmt.Errorf("%w: lz4 frame of version %d", ErrDecompress, flg>>6)
	case flg&0x03 != 0:
		return fmt.Errorf("%w: lz4 frame with a dictionary or a reserved flag", ErrDecompress)
	case flg&0x20 == 0:
		return fmt.Errorf("%w: lz4 frame with linked blocks, which Kafka does not know", ErrDecompress)
	case bd&0x8f != 0 || bd>>4 < 4:
		return fmt.Errorf("%w: lz4 frame with block size %#x", ErrDecompress, bd)
	}
	f.max = 1 << (8 + 2*(bd>>4))
	f.blockChecksum = flg&0x10 != 0
	end := 6
	if flg&0x08 != 0 {
		end += 8
	}
	if len(src) <= end {
		return fmt.Errorf("%w: lz4 frame cut in its header", ErrDecompress)
	}
	if !f.skipHC && byte(xxh32(src[4:end])>>8) != src[end] {
		return fmt.Errorf("%w: checksum of the lz4 frame's header", ErrDecompress)
	}
	f.src = src[end+1:]
	return nil
}

func (f *lz4Frame) next() ([]byte, error) {
	if f.done {
		return nil, io.EOF
	}
	if len(f.src) < 4 {
		return nil, fmt.Errorf("%w: lz4 frame without an end mark", ErrDecompress)
	}
	size := binary.LittleEndian.Uint32(f.src)
	f.src = f.src[4:]
	if size == 0 {
		f.done = true
		return nil, io.EOF
	}
	stored := size&lz4Stored != 0
	size &^= lz4Stored
	if int64(size) > int64(f.max) || int64(size) > int64(len(f.src)) {
		return nil, fmt.Errorf("%w: lz4 block of %d bytes", ErrDecompress, size)
	}
	block := f.src[:size]
	f.src = f.src[size:]
	if f.blockChecksum {
		if len(f.src) < 4 {
			return nil, fmt.Errorf("%w: lz4 frame cut in a checksum", ErrDecompress)
		}
		if xxh32(block) != binary.LittleEndian.Uint32(f.src) {
			return nil, fmt.Errorf("%w: checksum of an lz4 block", ErrDecompress)
		}
		f.src = f.src[4:]
	}
	if stored {
		return block, nil
	}
	// A frame may claim blocks of 4 MiB and hold small ones, as some clients' always do. Room for a usual ratio comes
	// first, and four times as much whenever that was too little.
	for want := min(f.max, max(lz4BlockBytes, 4*int(size))); ; want = min(f.max, 4*want) {
		if cap(f.block) < want {
			f.block = make([]byte, want)
		}
		room := f.block[:min(f.max, cap(f.block))]
		n, err := lz4.UncompressBlock(block, room)
		if err == nil {
			return room[:n], nil
		}
		if len(room) == f.max {
			return nil, fmt.Errorf("%w: lz4 block: %v", ErrDecompress, err)
		}
		want = len(room)
	}
}

// appendLz4 appends src as a frame of independent blocks of 64 KiB. Level 9, Kafka's default, is the fast
// compressor; the others search harder.
func (c *Compressor) appendLz4(dst, src []byte, level int) ([]byte, error) {
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	head := [2]byte{0x60, 0x40}
	dst = append(dst, head[0], head[1], byte(xxh32(head[:])>>8))
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockBytes)]
		src = src[len(block):]
		at := len(dst)
		dst = slices.Grow(dst, 4+lz4.CompressBlockBound(len(block)))
		room := dst[at+4 : at+4+lz4.CompressBlockBound(len(block))]
		var n int
		var err error
		if level == lz4DefaultLevel {
			n, err = c.lz4.CompressBlock(block, room)
		} else {
			c.lz4HC.Level = lz4.CompressionLevel(1 << (8 + min(max(level, 1), 9)))
			n, err = c.lz4HC.CompressBlock(block, room)
		}
		if err != nil {
			return nil, err
		}
		size := uint32(n)
		if n == 0 || n >= len(block) {
			n = copy(room, block)
			size = uint32(n) | lz4Stored
		}
		dst = binary.LittleEndian.AppendUint32(dst, size)[:at+4+n]
	}
	return binary.LittleEndian.AppendUint32(dst, 0), nil
}

// xxh32 is the checksum of LZ4 frames, with seed 0.
func xxh32(b []byte) uint32 {
	const p1, p2, p3, p4, p5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
	n := len(b)
	var h uint32 = p5
	if n >= 16 {
		var seed uint32
		v := [4]uint32{seed + p1, seed + p2, seed, seed - p1}
		v[0] += p2
		for len(b) >= 16 {
			for i := range v {
				v[i] = bits.RotateLeft32(v[i]+binary.LittleEndian.Uint32(b[4*i:])*p2, 13) * p1
			}
			b = b[16:]
		}
		h = bits.RotateLeft32(v[0], 1) + bits.RotateLeft32(v[1], 7) + bits.RotateLeft32(v[2], 12) + bits.RotateLeft32(v[3], 18)
	}
	h += uint32(n)
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*p3, 17) * p4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}

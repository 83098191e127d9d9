package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A frame is what a connection carries, one after the other, in both directions:
//
//	int32 size | size bytes: a header and the fields of a request or response
const (
	// FrameHead is the number of bytes in front of a frame, which say its size.
	FrameHead = 4
	// MaxFrameDefault is the largest frame that is taken unless configured otherwise (socket.request.max.bytes).
	MaxFrameDefault = 100 << 20
	// MaxFrame is the largest frame that a size can express.
	MaxFrame = math.MaxInt32
)

// ErrFrameSize is the class of errors about a frame that is too large, or whose size makes no sense.
var ErrFrameSize = errors.New("invalid frame size")

// FrameSize reads the size of a frame from the FrameHead bytes before it. It refuses what is negative
// or larger than the limit.
func FrameSize(head []byte, limit int) (int, error) {
	size := int32(binary.BigEndian.Uint32(head[:FrameHead]))
	switch {
	case size < 0:
		return 0, fmt.Errorf("%w: %d is negative; is this a client of another protocol, or TLS to a listener without it?", ErrFrameSize, size)
	case int(size) > limit:
		return 0, fmt.Errorf("%w: %d is larger than the limit of %d (socket.request.max.bytes)", ErrFrameSize, size, limit)
	}
	return int(size), nil
}

// BeginFrame appends room for the size of a frame. EndFrame, given the length of dst before, fills it in.
func BeginFrame(dst []byte) []byte { return append(dst, 0, 0, 0, 0) }

// EndFrame writes the size of the frame that begins at a position of dst and ends at its end.
func EndFrame(dst []byte, at int) {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-FrameHead))
}

// SplitFrame returns the first whole frame in b, without its size, and what is behind it. The frame is nil when b
// does not hold a whole one yet.
func SplitFrame(b []byte, limit int) (frame, behind []byte, err error) {
	if len(b) < FrameHead {
		return nil, b, nil
	}
	size, err := FrameSize(b, limit)
	if err != nil || len(b)-FrameHead < size {
		return nil, b, err
	}
	end := FrameHead + size
	return b[FrameHead:end:end], b[end:], nil
}

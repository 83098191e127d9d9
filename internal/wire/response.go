package wire

import (
	"fmt"
	"io"
)

// Range is bytes that lie in a file, or in memory, and can be sent without being decoded or copied. It holds on to
// what it lies in until Release.
type Range interface {
	// Len returns the number of bytes.
	Len() int
	// ReadAt reads bytes at an offset within the range, as io.ReaderAt does.
	ReadAt(p []byte, off int64) (int, error)
	// File returns the open file and the position in it where the range begins, for sendfile; ok is false when
	// the range is not part of a file. The descriptor is valid until Release.
	File() (fd uintptr, pos int64, ok bool)
	// Intact returns an error when the file no longer holds the bytes that the range stood for. What left by File
	// before Intact returned nil was right; ReadAt asks by itself.
	Intact() error
	// Release gives the range up. It must be called exactly once, whether the range was sent or not.
	Release()
}

// Part is a piece of a response: bytes, or a range. Exactly one of the two is set.
type Part struct {
	Bytes []byte
	Range Range
}

// Len returns the number of bytes of the part.
func (p Part) Len() int {
	if p.Range != nil {
		return p.Range.Len()
	}
	return len(p.Bytes)
}

// Response is a whole frame, its size and header included, in the pieces in which it is to be sent. A response
// without parts stands for none: a Produce request with acks=0 has no answer.
//
// Whoever holds a response last calls Release, sent or not.
type Response struct {
	Parts []Part
	// OnRelease, if set, is called by Release after the ranges were released: then the parts and their bytes may
	// be used again.
	OnRelease func()
}

// BytesResponse returns a response that is one piece: a whole frame.
func BytesResponse(frame []byte) Response { return Response{Parts: []Part{{Bytes: frame}}} }

// smallResponse is how many bytes the answers to most requests of consumers take at the most.
const smallResponse = 112

// MessageResponse returns the frame of a response: size, header and body.
func MessageResponse(key APIKey, version int16, correlationID int32, body Message) Response {
	frame := AppendResponseHeader(BeginFrame(make([]byte, 0, smallResponse)), key, version, correlationID)
	frame = body.AppendTo(frame, version)
	EndFrame(frame, 0)
	return BytesResponse(frame)
}

// IsEmpty reports whether there is nothing to send.
func (r *Response) IsEmpty() bool { return len(r.Parts) == 0 }

// Size returns the number of bytes to be sent.
func (r *Response) Size() int {
	n := 0
	for i := range r.Parts {
		n += r.Parts[i].Len()
	}
	return n
}

// Release releases the ranges and calls OnRelease. A second call does nothing.
func (r *Response) Release() {
	for i := range r.Parts {
		if p := &r.Parts[i]; p.Range != nil {
			p.Range.Release()
			p.Range = nil
		}
	}
	r.Parts = nil
	if done := r.OnRelease; done != nil {
		r.OnRelease = nil
		done()
	}
}

// AppendTo appends the whole response to dst, reading the ranges into it: for transports that can do no better, and
// for tests. It releases nothing.
func (r *Response) AppendTo(dst []byte) ([]byte, error) {
	for i := range r.Parts {
		p := &r.Parts[i]
		if p.Range == nil {
			dst = append(dst, p.Bytes...)
			continue
		}
		at, n := len(dst), p.Range.Len()
		dst = append(dst, make([]byte, n)...)
		if got, err := p.Range.ReadAt(dst[at:], 0); got < n {
			return dst[:at], fmt.Errorf("read %d bytes of a range, %d came: %w", n, got, noEOF(err))
		}
	}
	return dst, nil
}

func noEOF(err error) error {
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// BytesRange is a range in memory.
type BytesRange []byte

// Len returns the number of bytes.
func (b BytesRange) Len() int { return len(b) }

// ReadAt reads bytes at an offset.
func (b BytesRange) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(b)) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// File says that the range is not part of a file.
func (b BytesRange) File() (fd uintptr, pos int64, ok bool) { return 0, 0, false }

// Intact returns nil.
func (b BytesRange) Intact() error { return nil }

// Release does nothing.
func (b BytesRange) Release() {}

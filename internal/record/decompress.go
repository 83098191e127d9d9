package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Memory of a Decompressor.
const (
	// windowBytes is how much is read at a time from a codec that streams.
	windowBytes = 64 << 10

	// zstdMaxWindow is the largest zstd window that is streamed. Levels up to 19 stay within it.
	zstdMaxWindow = 8 << 20

	// zstdMaxWhole bounds what a zstd frame of a larger window may hold: it is decompressed as a whole, one
	// frame at a time per Pool, since a window is memory that twelve bytes can claim.
	zstdMaxWhole = 64 << 20

	// keepBytes is the most that a buffer may have grown to and be kept between batches, and keepBlockBytes what a
	// block may: the largest batch of the usual max.message.bytes, at a usual ratio, should make no garbage.
	keepBytes      = 1 << 20
	keepBlockBytes = 4 << 20
)

// DefaultMaxBytes caps the decompressed size of a batch where nothing else is said.
const DefaultMaxBytes = 1 << 30

// Decompressor holds what streaming through batches needs: a window of decompressed bytes and the state of the
// codecs used so far. It is not safe for concurrent use, and serves one batch at a time. The zero value is ready.
type Decompressor struct {
	// MaxBytes caps the decompressed size of a batch; beyond it reading fails with ErrTooLarge. 0 is
	// DefaultMaxBytes.
	MaxBytes int64

	pool   *Pool
	plain  plainBytes
	gzip   *gzip.Reader
	gzipIn bytes.Reader
	zstd   *zstd.Decoder
	zstdIn bytes.Reader
	lz4    lz4Frame
	snappy snappyBlocks
	window []byte // of codecs that stream
	stream streamBlocks
	scan   scanner
	carry  []byte
	header []RecordHeader
}

// Pool lends Decompressors. It is safe for concurrent use; the zero value is ready.
type Pool struct {
	idle  sync.Pool
	whole sync.Mutex // held while a zstd frame is decompressed as a whole
}

// Get lends a Decompressor.
func (p *Pool) Get() *Decompressor {
	d, _ := p.idle.Get().(*Decompressor)
	if d == nil {
		d = &Decompressor{pool: p}
	}
	return d
}

// Put takes a Decompressor back. What it handed out is invalid from then on.
func (p *Pool) Put(d *Decompressor) {
	d.trim()
	p.idle.Put(d)
}

// trim drops what a large batch left behind, and all references to batches.
func (d *Decompressor) trim() {
	d.MaxBytes = 0
	d.plain, d.lz4.src, d.snappy.src = plainBytes{}, nil, nil
	d.gzipIn.Reset(nil)
	d.zstdIn.Reset(nil)
	d.scan = scanner{}
	d.header = d.header[:0]
	clear(d.header[:cap(d.header)])
	if cap(d.carry) > keepBytes {
		d.carry = nil
	}
	if cap(d.lz4.block) > keepBlockBytes {
		d.lz4.block = nil
	}
	if cap(d.snappy.block) > keepBlockBytes {
		d.snappy.block = nil
	}
	if cap(d.header) > 1024 {
		d.header = nil
	}
}

// blocks hands out decompressed bytes, some at a time: io.EOF at the end. What it handed out is valid until the
// next call.
type blocks interface{ next() ([]byte, error) }

// plainBytes is uncompressed data: one block.
type plainBytes struct{ b []byte }

func (p *plainBytes) next() ([]byte, error) {
	if len(p.b) == 0 {
		return nil, io.EOF
	}
	b := p.b
	p.b = nil
	return b, nil
}

// streamBlocks cuts a stream into blocks.
type streamBlocks struct {
	r      io.Reader
	window []byte
}

func (s *streamBlocks) next() ([]byte, error) {
	for {
		n, err := s.r.Read(s.window)
		switch {
		case n > 0:
			return s.window[:n], nil // an error comes again
		case err == io.EOF:
			return nil, io.EOF
		case errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded):
			return nil, fmt.Errorf("%w: %v", ErrTooLarge, err)
		case err != nil:
			return nil, fmt.Errorf("%w: %v", ErrDecompress, err)
		}
	}
}

// gzipMembers reads concatenated gzip members. Garbage after the first is ignored, as Java's reader does.
type gzipMembers struct{ d *Decompressor }

func (g gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := g.d.gzip.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if err != io.EOF {
			return 0, err
		}
		if g.d.gzipIn.Len() == 0 || g.d.gzip.Reset(&g.d.gzipIn) != nil {
			g.d.gzipIn.Reset(nil)
			return 0, io.EOF
		}
		g.d.gzip.Multistream(false)
	}
}

// open prepares to read a payload. magic is that of the batch: lz4 frames of magic 0 are special.
func (d *Decompressor) open(payload []byte, codec Codec, magic int8) (blocks, error) {
	switch codec {
	case CodecNone:
		d.plain.b = payload
		return &d.plain, nil
	case CodecGzip:
		d.gzipIn.Reset(payload)
		var err error
		if d.gzip == nil {
			d.gzip, err = gzip.NewReader(&d.gzipIn)
		} else {
			err = d.gzip.Reset(&d.gzipIn)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDecompress, err)
		}
		d.gzip.Multistream(false)
		return d.streamed(gzipMembers{d}), nil
	case CodecSnappy:
		limit := int(min(d.maxBytes(), math.MaxInt32))
		if err := d.snappy.reset(payload, limit); err != nil {
			return nil, err
		}
		return &d.snappy, nil
	case CodecLz4:
		if err := d.lz4.reset(payload, magic); err != nil {
			return nil, err
		}
		return &d.lz4, nil
	case CodecZstd:
		var head zstd.Header
		if err := head.Decode(payload); err == nil && !head.Skippable && head.WindowSize > zstdMaxWindow && !head.SingleSegment ||
			err == nil && head.SingleSegment && head.FrameContentSize > zstdMaxWindow {
			whole, err := d.zstdWhole(payload)
			d.plain.b = whole
			return &d.plain, err
		}
		d.zstdIn.Reset(payload)
		var err error
		if d.zstd == nil {
			d.zstd, err = zstd.NewReader(&d.zstdIn, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
				zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecoderMaxMemory(math.MaxInt64))
		} else {
			err = d.zstd.Reset(&d.zstdIn)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrDecompress, err)
		}
		return d.streamed(d.zstd), nil
	}
	return nil, fmt.Errorf("%w: %v", ErrDecompress, codec)
}

func (d *Decompressor) streamed(r io.Reader) blocks {
	if d.window == nil {
		d.window = make([]byte, windowBytes)
	}
	d.stream = streamBlocks{r, d.window}
	return &d.stream
}

func (d *Decompressor) zstdWhole(payload []byte) ([]byte, error) {
	if d.pool != nil {
		d.pool.whole.Lock()
		defer d.pool.whole.Unlock()
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderMaxMemory(uint64(min(d.maxBytes(), zstdMaxWhole))))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	whole, err := dec.DecodeAll(payload, nil)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) || errors.Is(err, zstd.ErrWindowSizeExceeded):
		return nil, fmt.Errorf("%w: zstd frame of a window beyond %d MiB: %v", ErrTooLarge, zstdMaxWindow>>20, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %v", ErrDecompress, err)
	}
	return whole, nil
}

func (d *Decompressor) maxBytes() int64 {
	if d.MaxBytes > 0 {
		return d.MaxBytes
	}
	return DefaultMaxBytes
}

// Append appends the decompressed payload to dst. It is for those who need it all; iterate where you can.
func (d *Decompressor) Append(dst, payload []byte, codec Codec) ([]byte, error) {
	src, err := d.open(payload, codec, 2)
	if err != nil {
		return dst, err
	}
	for total := int64(0); ; {
		block, err := src.next()
		if err == io.EOF {
			return dst, nil
		}
		if err != nil {
			return dst, err
		}
		if total += int64(len(block)); total > d.maxBytes() {
			return dst, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, d.maxBytes())
		}
		dst = append(dst, block...)
	}
}

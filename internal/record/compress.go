package record

import (
	"bytes"
	"fmt"
	"math"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// LevelDefault asks for a codec's default level, Kafka's: gzip -1, lz4 9, zstd 3.
const LevelDefault = math.MinInt32

const (
	gzipDefaultLevel = -1
	lz4DefaultLevel  = 9
	zstdDefaultLevel = 3
)

// Compressor compresses payloads. It keeps the encoders it has used, so it is worth keeping; it is not safe for
// concurrent use.
type Compressor struct {
	gzip      *gzip.Writer
	gzipLevel int
	zstd      *zstd.Encoder
	zstdLevel zstd.EncoderLevel
	lz4       lz4.Compressor
	lz4HC     lz4.CompressorHC
	scratch   []byte
}

// NewCompressor returns a Compressor; its encoders are made when they are needed.
func NewCompressor() *Compressor { return &Compressor{} }

// Append appends src to dst, compressed. Levels are those of compression.gzip.level (-1, 1 to 9),
// compression.lz4.level (1 to 17) and compression.zstd.level, which is mapped to the nearest of four; snappy has
// none.
func (c *Compressor) Append(dst, src []byte, codec Codec, level int) ([]byte, error) {
	switch codec {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		if level == LevelDefault {
			level = gzipDefaultLevel
		}
		out := bytes.NewBuffer(dst)
		if c.gzip == nil || c.gzipLevel != level {
			w, err := gzip.NewWriterLevel(out, level)
			if err != nil {
				return nil, err
			}
			c.gzip, c.gzipLevel = w, level
		} else {
			c.gzip.Reset(out)
		}
		if _, err := c.gzip.Write(src); err != nil {
			return nil, err
		}
		if err := c.gzip.Close(); err != nil {
			return nil, err
		}
		return out.Bytes(), nil
	case CodecSnappy:
		return appendSnappy(dst, src), nil
	case CodecLz4:
		if level == LevelDefault {
			level = lz4DefaultLevel
		}
		return c.appendLz4(dst, src, level)
	case CodecZstd:
		if level == LevelDefault {
			level = zstdDefaultLevel
		}
		if want := zstd.EncoderLevelFromZstd(level); c.zstd == nil || c.zstdLevel != want {
			enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(want), zstd.WithEncoderConcurrency(1),
				zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(zstdWindow))
			if err != nil {
				return nil, err
			}
			c.zstd, c.zstdLevel = enc, want
		}
		return c.zstd.EncodeAll(src, dst), nil
	}
	return nil, fmt.Errorf("%v cannot compress", codec)
}

// zstdWindow is what encoders look back: Kafka's level 3 uses as much.
const zstdWindow = 2 << 20

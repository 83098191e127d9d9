package record

import (
	"fmt"
	"strings"
)

// Codec is how the records of a batch are compressed: bits 0 to 2 of its attributes.
type Codec int8

// The codecs (zstd since KIP-110). 5 to 7 are no codec.
const (
	CodecNone   Codec = 0
	CodecGzip   Codec = 1
	CodecSnappy Codec = 2
	CodecLz4    Codec = 3
	CodecZstd   Codec = 4
)

var codecNames = [...]string{"none", "gzip", "snappy", "lz4", "zstd"}

// Known reports whether there is such a codec.
func (c Codec) Known() bool { return c >= 0 && int(c) < len(codecNames) }

// String is the codec's name in configurations.
func (c Codec) String() string {
	if !c.Known() {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return codecNames[c]
}

// ParseCodec reads a codec's name; "uncompressed", as compression.type has it, is CodecNone too. "producer" is no
// codec.
func ParseCodec(name string) (Codec, error) {
	for i, known := range codecNames {
		if name == known {
			return Codec(i), nil
		}
	}
	if name == "uncompressed" {
		return CodecNone, nil
	}
	return 0, fmt.Errorf("%q is no compression codec: want one of %s", name, strings.Join(codecNames[:], ", "))
}

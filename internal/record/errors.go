package record

import (
	"errors"
	"fmt"
)

// Classes of what can be wrong with bytes, for errors.Is.
var (
	// ErrTorn says that the bytes end before the batch does: the tail of a file, or of a fetch.
	ErrTorn = errors.New("torn batch")

	// ErrCorrupt says that the bytes cannot be what they claim to be.
	ErrCorrupt = errors.New("corrupt batch")

	// ErrCRC says that a checksum does not match. It is a kind of ErrCorrupt.
	ErrCRC = fmt.Errorf("%w: the CRC does not match", ErrCorrupt)

	// ErrMagic says that a batch is of magic 0 or 1, an old format: see Message.
	ErrMagic = errors.New("batch of an old format")

	// ErrRecord says that a record inside a batch is malformed.
	ErrRecord = errors.New("malformed record")

	// ErrDecompress says that a compressed payload is malformed.
	ErrDecompress = errors.New("malformed compressed data")

	// ErrTooLarge says that records are larger decompressed than the cap allows.
	ErrTooLarge = errors.New("too large when decompressed")
)

// CorruptError says what is wrong with a batch. It is an ErrCorrupt.
type CorruptError struct {
	Offset int64 // base offset that the batch claims
	Reason string
}

func corrupt(offset int64, reason string) error { return &CorruptError{offset, reason} }

func (e *CorruptError) Error() string {
	return fmt.Sprintf("batch at offset %d: %v: %s", e.Offset, ErrCorrupt, e.Reason)
}

// Unwrap makes it an ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// MagicError says that a batch is of an old format. It is an ErrMagic.
type MagicError struct {
	Offset int64
	Magic  int8 // 0 or 1
}

func (e *MagicError) Error() string {
	return fmt.Sprintf("batch at offset %d: %v (magic %d)", e.Offset, ErrMagic, e.Magic)
}

// Unwrap makes it an ErrMagic.
func (e *MagicError) Unwrap() error { return ErrMagic }

// malformed is an ErrRecord with a reason.
func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRecord, fmt.Sprintf(format, args...))
}

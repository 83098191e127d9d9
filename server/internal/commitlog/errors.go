package commitlog

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

var (
	// ErrIO classes errors of the disk: a failed read, write or sync. The log directory is not to be trusted. A
	// full disk is not among them.
	ErrIO = errors.New("log directory error")

	// ErrDamaged classes errors that say: records that were acknowledged as durable are not what they were. See
	// Damage.
	ErrDamaged = errors.New("log damaged")
)

// Damage says which part of a log is damaged. Nothing was cut. It is an ErrDamaged.
type Damage struct {
	Partition kafka.TopicPartition
	From, To  int64  // offsets [From, To) are bad or missing; To is the durable floor, or -1 when not known
	File      string // where
	Position  int64  // where in it
	Cause     error
}

// Error says what is wrong, where, and what to do.
func (d *Damage) Error() string {
	to := "on"
	if d.To >= 0 {
		to = fmt.Sprintf("to %d", d.To-1)
	}
	return fmt.Sprintf("%s is damaged from offset %d %s (%s, position %d: %v); these records were on the disk once, so nothing was cut: restore the file from a copy or another replica",
		d.Partition, d.From, to, d.File, d.Position, d.Cause)
}

// Unwrap makes it an ErrDamaged with a protocol code, and the cause.
func (d *Damage) Unwrap() []error { return []error{ErrDamaged, kafka.KafkaStorageError, d.Cause} }

// IsFull reports whether an error says that the disk is full: that refuses the write, no more.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// IsHeld reports whether an error says that there was no room for what is held in memory (AppendOptions.Hold). Nothing is
// lost by that: once there is room it can be written.
func IsHeld(err error) bool { return errors.Is(err, segment.ErrHeld) }

// classed gives an error of the file system its class and its code.
type classed struct {
	cause error
}

func (e *classed) Error() string { return e.cause.Error() }
func (e *classed) Unwrap() []error {
	switch {
	case IsFull(e.cause):
		return []error{kafka.KafkaStorageError, e.cause}
	case segment.IsBad(e.cause) || errors.Is(e.cause, segment.ErrIndexCorrupt) || isMissing(e.cause):
		return []error{ErrDamaged, kafka.KafkaStorageError, e.cause}
	}
	return []error{ErrIO, kafka.KafkaStorageError, e.cause}
}

// DamageOf returns err as an ErrDamaged when it says that files of a log were taken away, nil when it says anything else.
func DamageOf(err error) error {
	if !isMissing(err) {
		return nil
	}
	return ioError(err)
}

// isMissing reports whether an error says that a file or directory is not there: somebody took it away, and the log
// that it belongs to is damaged. The disk has answered, and other logs on it are well.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// ioError classes an error of reading or writing files: bytes that are wrong and files that are missing are damage, a
// full disk is neither that nor a failure, all else is ErrIO. nil stays nil.
func ioError(err error) error {
	if err == nil || errors.Is(err, ErrIO) || errors.Is(err, ErrDamaged) {
		return err
	}
	return &classed{err}
}

func tooLarge(size int, limit int32) error {
	return kafka.MessageTooLarge.Errorf("the record batch has %d bytes as it would be stored; max.message.bytes allows %d", size, limit)
}

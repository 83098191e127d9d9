package commitlog

import (
	"fmt"
	"io"
	"os"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// BadBatch says where the batches of a file cease to be readable.
type BadBatch struct {
	File     string
	Position int64
	Cause    error
}

func (e *BadBatch) Error() string {
	return fmt.Sprintf("%s: position %d: %v", e.File, e.Position, e.Cause)
}

// Unwrap gives the cause.
func (e *BadBatch) Unwrap() error { return e.Cause }

// ScanFile calls fn for every batch of a .log file, a metadata snapshot (.checkpoint) or any other file of batches,
// with its bytes, which are valid until fn returns. No CRC is checked: segment.CheckCRC does. When a batch cannot be
// told from its bytes the error is a *BadBatch.
func ScanFile(fsys vfs.FS, name string, fn func(b segment.Batch, bytes []byte) error) error {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	sc := segment.NewScanner(f, 0, size, segment.BatchWindow)
	defer sc.Close()
	for {
		b, err := sc.Next()
		if err == io.EOF {
			return nil
		}
		var bytes []byte
		if err == nil {
			bytes, err = sc.Bytes()
		}
		if err != nil {
			if segment.IsBad(err) {
				return &BadBatch{name, sc.Position(), err}
			}
			return err
		}
		if err := fn(b, bytes); err != nil {
			return err
		}
	}
}

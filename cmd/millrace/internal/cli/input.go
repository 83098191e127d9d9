package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

// input makes records of what a person gives to `millrace produce`: the lines of files, or whole files.
type input struct {
	files     []string // "-" is stdin
	stdin     io.Reader
	delimiter byte // ends a line
	whole     bool // each file is one record
	most      int  // bytes of a line or file; more cannot be a record

	parse func(text []byte) (*kgo.Record, error)

	open   io.ReadCloser
	in     *bufio.Reader
	name   string // of the open file
	number int    // of the line in it
}

// place is where a record came from.
type place struct {
	file string
	line int // from 1; 0 is the whole file
}

func (p place) String() string {
	if p.line == 0 {
		return p.file
	}
	return fmt.Sprintf("line %d of %s", p.line, p.file)
}

// next returns the next record and where it stood; at the end of all files io.EOF.
func (i *input) next() (*kgo.Record, place, error) {
	for {
		if i.in == nil {
			if len(i.files) == 0 {
				return nil, place{}, io.EOF
			}
			if err := i.openNext(); err != nil {
				return nil, place{}, err
			}
		}
		text, err := i.text()
		at := place{i.name, i.number}
		if i.whole || err == io.EOF {
			i.Close()
		}
		if err == io.EOF {
			continue
		}
		if err != nil {
			return nil, at, fmt.Errorf("%s: %w", at, err)
		}
		record, err := i.parse(text)
		if err != nil {
			return nil, at, fmt.Errorf("%s: %w", at, err)
		}
		return record, at, nil
	}
}

// ready reports whether the next record can be had without waiting for more input.
func (i *input) ready() bool {
	if i.in == nil || i.whole {
		return false
	}
	buffered, err := i.in.Peek(i.in.Buffered())
	return err == nil && bytes.IndexByte(buffered, i.delimiter) >= 0
}

func (i *input) openNext() error {
	name := i.files[0]
	i.files, i.number = i.files[1:], 0
	if name == "-" {
		i.name, i.open = "stdin", io.NopCloser(i.stdin)
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		i.name, i.open = name, f
	}
	i.in = bufio.NewReaderSize(i.open, 1<<16)
	return nil
}

// Close closes the file that is open.
func (i *input) Close() {
	if i.open != nil {
		i.open.Close()
	}
	i.open, i.in = nil, nil
}

// errTooLong is the error of a line that no record can hold. It is found before the whole of it is in memory.
var errTooLong = errors.New("it is too long")

func (i *input) tooLong() error {
	return fmt.Errorf("%w: a record has at most %d bytes here; --property max.request.size=BYTES allows more, and so must max.message.bytes of the topic", errTooLong, i.most)
}

// text returns the next line without its delimiter, or the whole file. The slice is the caller's.
func (i *input) text() ([]byte, error) {
	if i.whole {
		text, err := io.ReadAll(io.LimitReader(i.in, int64(i.most)+1))
		if err == nil && len(text) > i.most {
			err = i.tooLong()
		}
		return text, err
	}
	var text []byte
	for {
		part, err := i.in.ReadSlice(i.delimiter)
		if len(text) == 0 {
			if err == io.EOF && len(part) == 0 {
				return nil, io.EOF
			}
			i.number++
		}
		if len(text)+len(part) > i.most+1 {
			return nil, i.tooLong()
		}
		text = append(text, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(text, []byte{i.delimiter}), nil
		case err == io.EOF: // the last line need not end
			return text, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// fields makes records of text: a key before the separator, if there is one, and a value after it. A key or
// value that reads as null is null, where null can be written.
type fields struct {
	separator []byte  // nil when there are no keys in the text
	null      *string // nil when null cannot be written
}

func (f fields) parse(text []byte) (*kgo.Record, error) {
	record := &kgo.Record{Value: text}
	if f.separator != nil {
		key, value, found := bytes.Cut(text, f.separator)
		if !found {
			return nil, fmt.Errorf("it has no key: the separator %q is not in it", f.separator)
		}
		record.Key, record.Value = f.field(key), value
	}
	record.Value = f.field(record.Value)
	return record, nil
}

func (f fields) field(b []byte) []byte {
	if f.null != nil && string(b) == *f.null {
		return nil
	}
	if b == nil {
		return []byte{} // an empty line is an empty value, not null
	}
	return b
}

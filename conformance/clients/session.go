package clients

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// header and full are a record with all that Kafka keeps of it. Nil bytes are null.
type header struct {
	name  string
	value []byte
}

type full struct {
	offset     int64
	timestamp  int64 // milliseconds
	key, value []byte
	headers    []header
}

func (r full) equal(other full) bool {
	return r.offset == other.offset && r.timestamp == other.timestamp && same(r.key, other.key) && same(r.value, other.value) &&
		slices.EqualFunc(r.headers, other.headers, func(a, b header) bool { return a.name == b.name && same(a.value, b.value) })
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// String renders what a session's lines have of a record.
func (r full) String() string {
	words := []string{strconv.FormatInt(r.timestamp, 10), word(r.key), word(r.value)}
	for _, h := range r.headers {
		words = append(words, word([]byte(h.name))+":"+word(h.value))
	}
	return strings.Join(words, " ")
}

// word is bytes as a word of a line: null, or x and their hexadecimal digits.
func word(b []byte) string {
	if b == nil {
		return "null"
	}
	return "x" + hex.EncodeToString(b)
}

func unword(s string) ([]byte, error) {
	if s == "null" {
		return nil, nil
	}
	digits, ok := strings.CutPrefix(s, "x")
	if !ok {
		return nil, fmt.Errorf("%.40q is neither null nor x with digits", s)
	}
	b, err := hex.DecodeString(digits)
	if b == nil {
		b = []byte{}
	}
	return b, err
}

// parseFull reads OFFSET TIMESTAMP KEY VALUE [NAME:VALUE...].
func parseFull(words []string) (r full, err error) {
	if len(words) < 4 {
		return r, fmt.Errorf("%d words where a record has four or more", len(words))
	}
	parse := func(s string) (b []byte) {
		var failed error
		b, failed = unword(s)
		err = errors.Join(err, failed)
		return b
	}
	r.offset, err = strconv.ParseInt(words[0], 10, 64)
	var failed error
	r.timestamp, failed = strconv.ParseInt(words[1], 10, 64)
	err = errors.Join(err, failed)
	r.key, r.value = parse(words[2]), parse(words[3])
	for _, w := range words[4:] {
		name, value, _ := strings.Cut(w, ":")
		r.headers = append(r.headers, header{string(parse(name)), parse(value)})
	}
	return r, err
}

// session is one client that stays connected and does single things. Its producer is idempotent where the library
// has that, waits for all replicas, does not compress, and learns new metadata within a second.
type session interface {
	// put writes one record, waits for its acknowledgement and returns its offset.
	put(topic string, partition int, r full) (int64, error)
	// get reads what a partition holds now, from its beginning to its end.
	get(topic string, partition int) ([]full, error)
	close() error
}

// driverSession is a session with a driver: a line to it, lines from it.
type driverSession struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errOut bytes.Buffer
	alarm  *time.Timer
}

func (d *driver) session(addr string) (session, error) {
	line, err := d.line("session", addr)
	if err != nil {
		return nil, err
	}
	s := &driverSession{cmd: exec.Command(line[0], line[1:]...)}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.cmd.Stderr = &s.errOut
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	// A driver that does not answer is ended, and whoever waits for its line gets the end of it.
	s.alarm = time.AfterFunc(2*stall, func() { s.cmd.Process.Kill() })
	return s, nil
}

func (s *driverSession) ask(each func(words []string) error, words ...string) (string, error) {
	s.alarm.Reset(2 * stall)
	if _, err := fmt.Fprintln(s.in, strings.Join(words, " ")); err != nil {
		return "", fmt.Errorf("the driver is gone: %w", err)
	}
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.cmd.Wait() // so that errOut is complete
			return "", fmt.Errorf("the driver ended, or was ended after %v, within %q: %w\n%s", 2*stall, words[:2], err, s.errOut.String())
		}
		kind, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch kind {
		case "ok":
			return rest, nil
		case "error":
			return "", errors.New(rest)
		case "record":
			if err := each(strings.Fields(rest)); err != nil {
				return "", err
			}
		default:
			return "", fmt.Errorf("the driver said %.100q", line)
		}
	}
}

func (s *driverSession) put(topic string, partition int, r full) (int64, error) {
	answer, err := s.ask(nil, "put", topic, strconv.Itoa(partition), r.String())
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(answer, 10, 64)
}

func (s *driverSession) get(topic string, partition int) ([]full, error) {
	var records []full
	_, err := s.ask(func(words []string) error {
		r, err := parseFull(words)
		records = append(records, r)
		return err
	}, "get", topic, strconv.Itoa(partition))
	return records, err
}

func (s *driverSession) close() error {
	defer s.alarm.Stop()
	s.in.Close() // a driver ends with its input
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the driver ended badly: %w\n%s", err, s.errOut.String())
	}
	return nil
}

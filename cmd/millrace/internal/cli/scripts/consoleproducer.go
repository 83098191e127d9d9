package scripts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

const lineReaderClass = "org.apache.kafka.tools.LineMessageReader"

// consoleReaderHelp is the help of --reader-property and of its older name.
const consoleReaderHelp = "How a line is read, as key=value; may be repeated: parse.key=false, parse.headers=false, ignore.error=false, key.separator=\\t, headers.delimiter=\\t, headers.separator=, headers.key.separator=: null.marker. A whole line is: h1:v1,h2:v2 TAB key TAB value."

func consoleProducerOptions() *options {
	return newOptions("This tool helps to read data from standard input and publish it to Kafka.",
		option{name: "topic", kind: text, label: "topic", help: "REQUIRED: The topic to send to."},
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "REQUIRED: The brokers to ask first, as HOST1:PORT1,HOST2:PORT2."},
		option{name: "sync", help: "Wait for each record before the next is sent."},
		option{name: "compression-codec", kind: text, label: "compression-codec", optional: true, help: "none, gzip, snappy, lz4 or zstd; gzip where no value is given."},
		option{name: "batch-size", kind: integer, label: "size", fallback: "16384", help: "batch.size of the producer, in bytes."},
		option{name: "message-send-max-retries", kind: integer, fallback: "3", help: "retries of the producer."},
		option{name: "retry-backoff-ms", kind: long, fallback: "100", help: "retry.backoff.ms of the producer."},
		option{name: "timeout", kind: long, label: "timeout_ms", fallback: "1000", help: "linger.ms of the producer: how long a record waits for others."},
		option{name: "request-required-acks", kind: text, label: "request required acks", fallback: "-1", help: "acks of the producer."},
		option{name: "request-timeout-ms", kind: integer, label: "request timeout ms", fallback: "1500", help: "How long a broker may take to get a request acknowledged."},
		option{name: "metadata-expiry-ms", kind: long, label: "metadata expiration interval", fallback: "300000", help: "metadata.max.age.ms of the producer."},
		option{name: "max-block-ms", kind: long, label: "max block on send", fallback: "60000", help: "max.block.ms of the producer."},
		option{name: "max-memory-bytes", kind: long, label: "total memory in bytes", fallback: "33554432", help: "buffer.memory of the producer."},
		option{name: "max-partition-memory-bytes", kind: integer, label: "memory in bytes per partition", fallback: "16384", help: "(Deprecated) As --batch-size."},
		option{name: "line-reader", kind: text, label: "reader_class", fallback: lineReaderClass, help: "The class that reads lines; only Kafka's own is here."},
		option{name: "socket-buffer-size", kind: integer, label: "size", fallback: "102400", help: "send.buffer.bytes of the producer; the system's choice is kept."},
		option{name: "property", kind: text, label: "prop", many: true, help: "(DEPRECATED) As --reader-property."},
		option{name: "reader-property", kind: text, label: "prop", many: true, help: consoleReaderHelp},
		option{name: "reader-config", kind: text, label: "config file", help: "A file of such properties; --reader-property goes before it."},
		option{name: "producer-property", kind: text, label: "producer_prop", many: true, help: "(DEPRECATED) As --command-property."},
		option{name: "command-property", kind: text, label: "producer_prop", many: true, help: "A property of the producer, as key=value; may be repeated."},
		option{name: "producer.config", kind: text, label: "config file", help: "(DEPRECATED) As --command-config."},
		option{name: "command-config", kind: text, label: "config file", help: "A file of properties of the producer; --command-property goes before it."},
	)
}

func runConsoleProducer(c *call) error {
	o := consoleProducerOptions()
	v, err := o.parse(c.args)
	if err != nil {
		return o.misuse("%s", err)
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("topic"); err != nil {
		return err
	}
	if !v.has("bootstrap-server") {
		return o.misuse("Error while validating the bootstrap address\n")
	}
	names := make(map[string]string)
	pairs := [][2]string{{"producer-property", "command-property"}, {"producer.config", "command-config"}, {"property", "reader-property"}}
	for _, pair := range pairs {
		if v.has(pair[0]) && v.has(pair[1]) {
			return o.misuse("Options --%s and --%s cannot be specified together.", pair[1], pair[0])
		}
	}
	for _, pair := range pairs {
		names[pair[1]] = pair[1]
		if v.has(pair[0]) {
			c.printf("Warning: --%s is deprecated and will be removed in a future version. Use --%s instead.\n", pair[0], pair[1])
			names[pair[1]] = pair[0]
		}
	}
	if class := v.get("line-reader"); class != lineReaderClass {
		return terse("java.lang.ClassNotFoundException: %s\nThe line reader of this tool is %s.", class, lineReaderClass)
	}
	readerProperties, err := dial.Load(v.get("reader-config"), "")
	if err != nil {
		return err
	}
	maps.Copy(readerProperties, keyValues(v.of[names["reader-property"]]))
	reader, err := newLineReader(readerProperties)
	if err != nil {
		return terse("org.apache.kafka.common.KafkaException: %s", err)
	}

	cl, err := c.producer(v, names)
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := c.produceLines(cl, v.get("topic"), v.has("sync"), reader); err != nil {
		return err
	}
	return nil
}

// producer makes the client from the options, which stand above the properties only where they are given.
func (c *call) producer(v *values, names map[string]string) (*kgo.Client, error) {
	p, err := dial.LoadUnder(v.get(names["command-config"]), keyValues(v.of[names["command-property"]]))
	if err != nil {
		return nil, err
	}
	p["bootstrap.servers"] = v.get("bootstrap-server")
	p["compression.type"] = "none"
	if v.has("compression-codec") {
		if p["compression.type"] = v.get("compression-codec"); p["compression.type"] == "" {
			p["compression.type"] = "gzip"
		}
	}
	if p["client.id"] == "" {
		p["client.id"] = "console-producer"
	}
	for option, key := range map[string]string{
		"timeout": "linger.ms", "request-required-acks": "acks", "request-timeout-ms": "request.timeout.ms",
		"message-send-max-retries": "retries", "retry-backoff-ms": "retry.backoff.ms", "max-memory-bytes": "buffer.memory",
		"metadata-expiry-ms": "metadata.max.age.ms",
	} {
		if _, given := p[key]; v.has(option) || !given {
			p[key] = v.get(option)
		}
	}
	if p["acks"] == "" {
		p["acks"] = "all"
	}
	for _, key := range []struct{ name, allowed string }{{"compression.type", "none, gzip, snappy, lz4, zstd"}, {"acks", "all, -1, 0, 1"}} {
		if !slices.Contains(strings.Split(key.allowed, ", "), p[key.name]) {
			return nil, terse("org.apache.kafka.common.config.ConfigException: Invalid value %s for configuration %s: String must be one of: %s", p[key.name], key.name, key.allowed)
		}
	}
	options, err := p.Producer()
	if err != nil {
		return nil, err
	}
	return dial.Open(c, p, options...)
}

// produceLines sends the lines of stdin until its end. As with Kafka's tool, a record that fails in the
// background is told of on stderr and does not change the exit code.
func (c *call) produceLines(cl *kgo.Client, topic string, sync bool, reader *lineReader) error {
	lines := newLines(c.in)
	failed := func(r *kgo.Record, err error) {
		if err == nil {
			return
		}
		key := "null"
		if r.Key != nil {
			key = fmt.Sprintf("%d bytes", len(r.Key))
		}
		fmt.Fprintf(c.err, "Error when sending message to topic %s with key: %s, value: %d bytes with error: %s\n", r.Topic, key, len(r.Value), javaError(err))
	}
	// Records that were read before the end or an interrupt are still sent.
	defer cl.Flush(context.WithoutCancel(c))
	for c.Err() == nil {
		if c.prompt {
			c.printf(">")
			c.out.Flush()
		}
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		record, err := reader.record(line)
		if err != nil {
			return terse("org.apache.kafka.common.KafkaException: %s", err)
		}
		record.Topic = topic
		if !sync {
			cl.Produce(context.WithoutCancel(c), record, failed)
			continue
		}
		if err := cl.ProduceSync(c, record).FirstErr(); err != nil {
			return terse("%s", javaError(err))
		}
	}
	return nil
}

// lineSource cuts a stream into lines that end as Java's readLine has it: \n, \r or \r\n.
type lineSource struct {
	in   *bufio.Reader
	skip bool // the line before ended with \r: a \n that follows belongs to it
}

func newLines(in io.Reader) *lineSource { return &lineSource{in: bufio.NewReaderSize(in, 1<<16)} }

// next returns the next line without its end; the slice is the caller's. At the end it returns io.EOF.
func (l *lineSource) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.in.ReadSlice('\n')
		if l.skip && len(part) > 0 {
			l.skip = false
			if part[0] == '\n' {
				continue
			}
		}
		if i := bytes.IndexByte(part, '\r'); i >= 0 {
			line = append(line, part[:i]...)
			l.skip = true
			if rest := part[i+1:]; len(rest) > 0 { // give back what follows
				l.in = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(rest)), l.in), 1<<16)
			}
			return notNil(line), nil
		}
		switch {
		case err == nil:
			return notNil(append(line, part[:len(part)-1]...)), nil
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
		case errors.Is(err, io.EOF) && len(line)+len(part) > 0:
			return append(line, part...), nil
		default:
			return nil, err
		}
	}
}

// notNil keeps an empty line apart from null.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// lineReader makes records of lines, as Kafka's LineMessageReader:
//
//	h1:v1,h2:v2 <headers.delimiter> key <key.separator> value
type lineReader struct {
	parseKey, parseHeaders, ignoreErrors bool
	keySeparator, headersDelimiter       string
	headersSeparator                     *regexp.Regexp
	headersKeySeparator                  string
	null                                 *string // a field that equals it is null
	line                                 int
}

func newLineReader(p map[string]string) (*lineReader, error) {
	get := func(key, otherwise string) string {
		if v, ok := p[key]; ok {
			return v
		}
		return otherwise
	}
	isTrue := func(key string) bool { return strings.EqualFold(javaTrim(get(key, "")), "true") }
	r := &lineReader{
		parseKey: isTrue("parse.key"), parseHeaders: isTrue("parse.headers"), ignoreErrors: isTrue("ignore.error"),
		keySeparator: get("key.separator", "\t"), headersDelimiter: get("headers.delimiter", "\t"),
		headersKeySeparator: get("headers.key.separator", ":"),
	}
	separator := get("headers.separator", ",")
	switch {
	case r.headersDelimiter == separator:
		return nil, errors.New("headers.delimiter and headers.separator may not be equal")
	case r.headersDelimiter == r.headersKeySeparator:
		return nil, errors.New("headers.delimiter and headers.key.separator may not be equal")
	case separator == r.headersKeySeparator:
		return nil, errors.New("headers.separator and headers.key.separator may not be equal")
	}
	if marker, ok := p["null.marker"]; ok {
		r.null = &marker
		for _, taken := range []struct{ name, value string }{
			{"key.separator", r.keySeparator}, {"headers.separator", separator},
			{"headers.delimiter", r.headersDelimiter}, {"headers.key.separator", r.headersKeySeparator},
		} {
			if taken.value == marker {
				return nil, fmt.Errorf("null.marker and %s may not be equal", taken.name)
			}
		}
	}
	var err error
	if r.headersSeparator, err = regexp.Compile(separator); err != nil {
		return nil, fmt.Errorf("headers.separator: %w", err)
	}
	return r, nil
}

// record reads one line.
func (r *lineReader) record(line []byte) (*kgo.Record, error) {
	r.line++
	s := string(line)
	headers, rest, hasHeaders, err := r.cut(r.parseHeaders, s, s, r.headersDelimiter, "headers delimiter")
	if err != nil {
		return nil, err
	}
	key, value, hasKey, err := r.cut(r.parseKey, s, rest, r.keySeparator, "key separator")
	if err != nil {
		return nil, err
	}
	record := &kgo.Record{Value: r.field(value)}
	if hasKey {
		record.Key = r.field(key)
	}
	if hasHeaders && !r.isNull(headers) {
		if record.Headers, err = r.headers(headers); err != nil {
			return nil, err
		}
	}
	return record, nil
}

// cut takes a field off the front of what is left of a line.
func (r *lineReader) cut(enabled bool, line, rest, separator, what string) (field, after string, found bool, err error) {
	if !enabled {
		return "", rest, false, nil
	}
	field, after, found = strings.Cut(rest, separator)
	if found {
		return field, after, true, nil
	}
	if r.ignoreErrors {
		return "", rest, false, nil
	}
	return "", "", false, fmt.Errorf("No %s found on line number %d: '%s'", what, r.line, line)
}

func (r *lineReader) isNull(s string) bool { return r.null != nil && *r.null == s }

func (r *lineReader) field(s string) []byte {
	if r.isNull(s) {
		return nil
	}
	return []byte(s)
}

func (r *lineReader) headers(s string) ([]kgo.RecordHeader, error) {
	pairs := r.headersSeparator.Split(s, -1)
	for len(pairs) > 1 && pairs[len(pairs)-1] == "" { // as Java's split
		pairs = pairs[:len(pairs)-1]
	}
	var headers []kgo.RecordHeader
	for _, pair := range pairs {
		key, value, found := strings.Cut(pair, r.headersKeySeparator)
		switch {
		case !found && r.ignoreErrors:
			headers = append(headers, kgo.RecordHeader{Key: pair})
			continue
		case !found:
			return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", pair, r.line)
		case r.isNull(key):
			return nil, fmt.Errorf("Header keys should not be equal to the null marker '%s' as they can't be null", *r.null)
		}
		headers = append(headers, kgo.RecordHeader{Key: key, Value: r.field(value)})
	}
	return headers, nil
}

package scripts

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

const defaultFormatterClass = "org.apache.kafka.tools.consumer.DefaultMessageFormatter"

const consoleFormatterHelp = "How a record is printed, as key=value; may be repeated: print.timestamp, print.key, print.offset, print.epoch, print.partition, print.headers, print.value (true or false), key.separator, line.separator, headers.separator, null.literal, key.deserializer, value.deserializer, headers.deserializer (Java class names)."

func consoleConsumerOptions() *options {
	return newOptions("This tool helps to read data from Kafka topics and outputs it to standard output.",
		option{name: "topic", kind: text, label: "topic", help: "The topic to consume from."},
		option{name: "include", kind: text, label: "Java regex (String)", help: "A regular expression of the topics to consume from."},
		option{name: "partition", kind: integer, label: "partition", help: "The partition to consume from, from its end where --offset does not say otherwise."},
		option{name: "offset", kind: text, label: "consume offset", fallback: "latest", help: "Where to begin: an offset, earliest or latest."},
		option{name: "consumer-property", kind: text, label: "consumer_prop", many: true, help: "(DEPRECATED) As --command-property."},
		option{name: "command-property", kind: text, label: "consumer_prop", many: true, help: "A property of the consumer, as key=value; may be repeated."},
		option{name: "consumer.config", kind: text, label: "config file", help: "(DEPRECATED) As --command-config."},
		option{name: "command-config", kind: text, label: "config file", help: "A file of properties of the consumer; --command-property goes before it."},
		option{name: "formatter", kind: text, label: "class", fallback: defaultFormatterClass, help: "The class that prints records: DefaultMessageFormatter, LoggingMessageFormatter or NoOpMessageFormatter."},
		option{name: "property", kind: text, label: "prop", many: true, help: "(DEPRECATED) As --formatter-property."},
		option{name: "formatter-property", kind: text, label: "prop", many: true, help: consoleFormatterHelp},
		option{name: "formatter-config", kind: text, label: "config file", help: "A file of such properties; --formatter-property goes before it."},
		option{name: "from-beginning", help: "Begin at the earliest record rather than at the end, where the group has no offset yet."},
		option{name: "max-messages", kind: integer, label: "num_messages", help: "End after so many records; go on for ever where it is left out."},
		option{name: "timeout-ms", kind: long, label: "timeout_ms", help: "End when no record came for so long."},
		option{name: "skip-message-on-error", help: "Go on after a record that cannot be printed."},
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "REQUIRED: The brokers to ask first."},
		option{name: "key-deserializer", kind: text, label: "deserializer for keys", help: "The class that reads keys."},
		option{name: "value-deserializer", kind: text, label: "deserializer for values", help: "The class that reads values."},
		option{name: "enable-systest-events", help: "Print shutdown_complete at the end."},
		option{name: "isolation-level", kind: text, fallback: "read_uncommitted", help: "read_committed leaves out records of transactions that are open or aborted."},
		option{name: "group", kind: text, label: "consumer group id", help: "The consumer group to be a member of."},
	)
}

// consoleConsumer is one run of kafka-console-consumer.
type consoleConsumer struct {
	*call
	*values
	format  func(r *kgo.Record) error
	options []kgo.Opt
	props   dial.Properties
	group   string
	count   int
}

func runConsoleConsumer(c *call) error {
	o := consoleConsumerOptions()
	v, err := o.parse(c.args)
	if err != nil {
		return o.misuse("%s", err)
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	s := &consoleConsumer{call: c, values: v}
	if err := s.check(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	return s.consume()
}

func (s *consoleConsumer) check() error {
	o := s.values.options
	if s.has("topic") == s.has("include") {
		return o.misuse("Exactly one of the following arguments is required: [topic], [include]")
	}
	switch {
	case s.has("partition") && !s.has("topic"):
		return o.misuse("The topic is required when partition is specified.")
	case s.has("partition") && s.has("from-beginning") && s.has("offset"):
		return o.misuse("Options from-beginning and offset cannot be specified together.")
	case !s.has("partition") && s.has("offset"):
		return o.misuse("The partition is required when offset is specified.")
	}
	return s.require("bootstrap-server")
}

// prepare reads the properties and says where to begin.
func (s *consoleConsumer) prepare() error {
	o := s.values.options
	for _, pair := range [][2]string{{"consumer-property", "command-property"}, {"consumer.config", "command-config"}} {
		if s.has(pair[0]) && s.has(pair[1]) {
			return o.misuse("Options --%s and --%s cannot be specified together.", pair[0], pair[1])
		}
	}
	property, err := s.deprecated(s.values, "consumer-property", "command-property")
	if err != nil {
		return o.misuse("%s", err)
	}
	file, err := s.deprecated(s.values, "consumer.config", "command-config")
	if err != nil {
		return o.misuse("%s", err)
	}
	p, err := dial.Load(s.get(file), "")
	if err != nil {
		return err
	}
	extra := keyValues(s.of[property])

	var groups []string
	for _, id := range []struct {
		given bool
		name  string
	}{{s.has("group"), s.get("group")}, {p["group.id"] != "", p["group.id"]}, {extra["group.id"] != "", extra["group.id"]}} {
		if id.given && !slices.Contains(groups, id.name) {
			groups = append(groups, id.name)
		}
	}
	if len(groups) > 1 {
		return o.misuse("The group ids provided in different places (directly using '--group', via '--consumer-property', or via '--consumer.config') do not match. Detected group ids: '%s'", strings.Join(groups, "', '"))
	}
	if len(groups) == 1 {
		s.group = groups[0]
		if s.has("partition") {
			return o.misuse("Options group and partition cannot be specified together.")
		}
	}

	if p, err = dial.LoadUnder(s.get(file), extra); err != nil {
		return err
	}
	if reset, given := p["auto.offset.reset"]; given {
		if s.has("from-beginning") && reset != "earliest" {
			return terse("Can't simultaneously specify --from-beginning and 'auto.offset.reset=%s', please remove one option", reset)
		}
	} else if s.has("from-beginning") {
		p["auto.offset.reset"] = "earliest"
	}
	p["bootstrap.servers"] = s.get("bootstrap-server")
	if p["client.id"] == "" {
		p["client.id"] = "console-consumer"
	}
	if _, given := p["isolation.level"]; s.has("isolation-level") || !given {
		p["isolation.level"] = s.get("isolation-level")
	}
	s.props = p

	start, err := s.start()
	if err != nil {
		return err
	}
	if s.options, err = p.Consumer(); err != nil {
		return err
	}
	switch {
	case s.has("partition"):
		s.options = append(s.options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.get("topic"): {int32(s.int("partition")): start}}))
	case s.has("topic"):
		s.options = append(s.options, kgo.ConsumeTopics(s.get("topic")))
	default:
		s.options = append(s.options, kgo.ConsumeRegex(), kgo.ConsumeTopics("^(?:"+s.get("include")+")$"))
		if !strings.EqualFold(p["exclude.internal.topics"], "false") {
			s.options = append(s.options, kgo.ConsumeExcludeTopics("^__(consumer_offsets|transaction_state|share_group_state)$"))
		}
	}
	// Without a group of the user's there is nothing to commit and nobody to share with: the partitions are
	// read directly, where Kafka's tool joins a group of a random name.
	if s.group != "" {
		membership, err := p.Group(s.group)
		if err != nil {
			return err
		}
		s.options = append(s.options, membership...)
	}

	of, err := s.deprecatedFormatter()
	if err != nil {
		return err
	}
	properties, err := dial.Load(s.get("formatter-config"), "")
	if err != nil {
		return err
	}
	for option, key := range map[string]string{"key-deserializer": "key.deserializer", "value-deserializer": "value.deserializer"} {
		if class := s.get(option); class != "" {
			properties[key] = class
		}
	}
	maps.Copy(properties, keyValues(s.of[of]))
	if s.format, err = s.formatter(s.get("formatter"), properties); err != nil {
		return o.misuse("%s", err)
	}
	return nil
}

func (s *consoleConsumer) deprecatedFormatter() (string, error) {
	name, err := s.deprecated(s.values, "property", "formatter-property")
	if err != nil {
		return "", s.values.options.misuse("%s", err)
	}
	return name, nil
}

// start is where --partition begins.
func (s *consoleConsumer) start() (kgo.Offset, error) {
	if !s.has("offset") {
		if s.has("from-beginning") {
			return kgo.NewOffset().AtStart(), nil
		}
		return kgo.NewOffset().AtEnd(), nil
	}
	switch text := s.get("offset"); strings.ToLower(text) {
	case "earliest":
		return kgo.NewOffset().AtStart(), nil
	case "latest":
		return kgo.NewOffset().AtEnd(), nil
	default:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return kgo.Offset{}, s.values.options.misuse("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", text)
		}
		return kgo.NewOffset().At(n), nil
	}
}

// consume prints records until there are enough of them, none comes for too long, or it is interrupted.
func (s *consoleConsumer) consume() error {
	cl, err := dial.Open(s, s.props, s.options...)
	if err != nil {
		return err
	}
	err = s.poll(cl)
	if s.group != "" && s.props["enable.auto.commit"] != "false" {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(s), 10*time.Second)
		if err := cl.CommitMarkedOffsets(leaving); err != nil {
			fmt.Fprintf(s.err, "the offsets of group %s could not be committed: %s\n", s.group, dial.Explain(err))
		}
		cancel()
	}
	cl.Close()
	if flushErr := s.out.Flush(); flushErr != nil && err == nil {
		fmt.Fprintln(s.err, "Unable to write to standard out, closing consumer.")
	}
	fmt.Fprintf(s.err, "Processed a total of %d messages\n", s.count)
	if s.has("enable-systest-events") {
		s.printf("shutdown_complete\n")
	}
	return err
}

func (s *consoleConsumer) poll(cl *kgo.Client) error {
	most := math.MaxInt
	if s.has("max-messages") && s.int("max-messages") != -1 {
		most = int(s.int("max-messages"))
	}
	timeout := time.Duration(-1)
	if s.has("timeout-ms") && s.int("timeout-ms") >= 0 {
		timeout = time.Duration(s.int("timeout-ms")) * time.Millisecond
	}
	last := time.Now()
	for s.count < most {
		ctx, cancel := context.Context(s), context.CancelFunc(func() {})
		if timeout >= 0 {
			ctx, cancel = context.WithDeadline(s, last.Add(timeout))
		}
		fetches := cl.PollRecords(ctx, most-s.count)
		cancel()
		if s.Err() != nil {
			return &exit{code: 130} // as a process that Ctrl-C ended
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.DeadlineExceeded) {
				continue
			}
			fmt.Fprintf(s.err, "Error processing message, terminating consumer process: \n%s\n", javaError(e.Err))
			return nil
		}
		for records := fetches.RecordIter(); !records.Done(); {
			r := records.Next()
			s.count++
			if err := s.format(r); err != nil {
				if !s.has("skip-message-on-error") {
					return terse("Unknown error when running consumer: %s", err)
				}
				fmt.Fprintf(s.err, "Error processing message, skipping this message: %s\n", err)
			}
			if s.group != "" {
				cl.MarkCommitRecords(r)
			}
			last = time.Now()
		}
		if err := s.out.Flush(); err != nil { // nobody reads any more
			fmt.Fprintln(s.err, "Unable to write to standard out, closing consumer.")
			return nil
		}
		if timeout >= 0 && time.Since(last) >= timeout {
			fmt.Fprintf(s.err, "Error processing message, terminating consumer process: \norg.apache.kafka.common.errors.TimeoutException\n")
			return nil
		}
	}
	return nil
}

// deprecated settles an option and its older name: they do not go together, and the older one is told to be
// deprecated. It returns the name whose values count.
func (c *call) deprecated(v *values, older, newer string) (string, error) {
	switch {
	case !v.has(older):
		return newer, nil
	case v.has(newer):
		return "", &bothNames{older, newer}
	}
	c.printf("Option --%s is deprecated and will be removed in a future version. Use --%s instead.\n", older, newer)
	return older, nil
}

// bothNames is the error of giving an option by its older and its newer name; which the caller words.
type bothNames struct{ older, newer string }

func (e *bothNames) Error() string {
	return fmt.Sprintf("Options --%s and --%s cannot be specified together.", e.older, e.newer)
}

// formatter returns what prints a record, by the name of Kafka's class.
func (s *consoleConsumer) formatter(class string, p map[string]string) (func(*kgo.Record) error, error) {
	short := class[strings.LastIndexByte(class, '.')+1:]
	if !strings.HasPrefix(class, "org.apache.kafka.tools.consumer.") && !strings.HasPrefix(class, "kafka.tools.") {
		short = ""
	}
	switch short {
	case "NoOpMessageFormatter":
		return func(*kgo.Record) error { return nil }, nil
	case "DefaultMessageFormatter":
		return s.defaultFormatter(p)
	case "LoggingMessageFormatter":
		inner, err := s.defaultFormatter(p)
		return func(r *kgo.Record) error {
			if err := inner(r); err != nil {
				return err
			}
			_, err := fmt.Fprintf(s.err, "%s:%d, key:%s, value:%s\n", timestampType(r), r.Timestamp.UnixMilli(), r.Key, r.Value)
			return err
		}, err
	}
	return nil, errors.New(class) // as Java's ClassNotFoundException
}

func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "CreateTime"
	case 1:
		return "LogAppendTime"
	}
	return "NoTimestampType"
}

// defaultFormatter is Kafka's DefaultMessageFormatter:
//
//	CreateTime:1795496228994 TAB Partition:0 TAB Offset:0 TAB Delivery:NOT_PRESENT TAB Epoch:NOT_PRESENT TAB h1:v1,h2:v2 TAB key TAB value NL
func (s *consoleConsumer) defaultFormatter(p map[string]string) (func(*kgo.Record) error, error) {
	shows := func(key string, otherwise bool) bool {
		v, given := p[key]
		if !given {
			return otherwise
		}
		return strings.EqualFold(javaTrim(v), "true")
	}
	or := func(key, otherwise string) string {
		if v, given := p[key]; given {
			return v
		}
		return otherwise
	}
	separator, end := or("key.separator", "\t"), or("line.separator", "\n")
	headersSeparator, null := or("headers.separator", ","), or("null.literal", "null")
	decode := make(map[string]func([]byte) ([]byte, error))
	for _, part := range []string{"key", "value", "headers"} {
		d, err := deserializer(p[part+".deserializer"])
		if err != nil {
			return nil, err
		}
		decode[part] = func(b []byte) ([]byte, error) {
			if b == nil {
				return []byte(null), nil
			}
			return d(b)
		}
	}
	type column func(b []byte, r *kgo.Record) ([]byte, error)
	var columns []column
	add := func(key string, otherwise bool, c column) {
		if shows(key, otherwise) {
			columns = append(columns, c)
		}
	}
	add("print.timestamp", false, func(b []byte, r *kgo.Record) ([]byte, error) {
		if kind := timestampType(r); kind != "NoTimestampType" {
			return fmt.Appendf(b, "%s:%d", kind, r.Timestamp.UnixMilli()), nil
		}
		return append(b, "NO_TIMESTAMP"...), nil
	})
	add("print.partition", false, func(b []byte, r *kgo.Record) ([]byte, error) {
		return fmt.Appendf(b, "Partition:%d", r.Partition), nil
	})
	add("print.offset", false, func(b []byte, r *kgo.Record) ([]byte, error) { return fmt.Appendf(b, "Offset:%d", r.Offset), nil })
	add("print.delivery", false, func(b []byte, _ *kgo.Record) ([]byte, error) { return append(b, "Delivery:NOT_PRESENT"...), nil })
	add("print.epoch", false, func(b []byte, _ *kgo.Record) ([]byte, error) { return append(b, "Epoch:NOT_PRESENT"...), nil })
	add("print.headers", false, func(b []byte, r *kgo.Record) ([]byte, error) {
		if len(r.Headers) == 0 {
			return append(b, "NO_HEADERS"...), nil
		}
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, headersSeparator...)
			}
			value, err := decode["headers"](h.Value)
			if err != nil {
				return nil, err
			}
			b = append(append(append(b, h.Key...), ':'), value...)
		}
		return b, nil
	})
	add("print.key", false, func(b []byte, r *kgo.Record) ([]byte, error) {
		key, err := decode["key"](r.Key)
		return append(b, key...), err
	})
	add("print.value", true, func(b []byte, r *kgo.Record) ([]byte, error) {
		value, err := decode["value"](r.Value)
		return append(b, value...), err
	})
	var buffer []byte
	return func(r *kgo.Record) (err error) {
		buffer = buffer[:0]
		for i, c := range columns {
			if i > 0 {
				buffer = append(buffer, separator...)
			}
			if buffer, err = c(buffer, r); err != nil {
				return err
			}
		}
		if len(columns) > 0 {
			buffer = append(buffer, end...)
		}
		_, err = s.out.Write(buffer)
		return err
	}, nil
}

// deserializer returns what turns bytes into text, by the name of Kafka's class; none leaves them as they are.
func deserializer(class string) (func([]byte) ([]byte, error), error) {
	asIs := func(b []byte) ([]byte, error) { return b, nil }
	if class == "" {
		return asIs, nil
	}
	name, known := strings.CutPrefix(class, "org.apache.kafka.common.serialization.")
	name, isDeserializer := strings.CutSuffix(name, "Deserializer")
	if !known || !isDeserializer {
		return nil, fmt.Errorf("%s is no deserializer of this tool, which has those of org.apache.kafka.common.serialization", class)
	}
	sized := func(size int, read func([]byte) string) func([]byte) ([]byte, error) {
		return func(b []byte) ([]byte, error) {
			if len(b) != size {
				return nil, fmt.Errorf("org.apache.kafka.common.errors.SerializationException: Size of data received by %sDeserializer is not %d", name, size)
			}
			return []byte(read(b)), nil
		}
	}
	switch name {
	case "String", "Bytes", "ByteArray", "ByteBuffer":
		return asIs, nil
	case "Long":
		return sized(8, func(b []byte) string { return strconv.FormatInt(int64(binary.BigEndian.Uint64(b)), 10) }), nil
	case "Integer":
		return sized(4, func(b []byte) string { return strconv.Itoa(int(int32(binary.BigEndian.Uint32(b)))) }), nil
	case "Short":
		return sized(2, func(b []byte) string { return strconv.Itoa(int(int16(binary.BigEndian.Uint16(b)))) }), nil
	case "Double":
		return sized(8, func(b []byte) string { return javaFloat(math.Float64frombits(binary.BigEndian.Uint64(b)), 64) }), nil
	case "Float":
		return sized(4, func(b []byte) string { return javaFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(b))), 32) }), nil
	case "Boolean":
		return sized(1, func(b []byte) string { return strconv.FormatBool(b[0] == 1) }), nil
	case "UUID":
		return func(b []byte) ([]byte, error) { // its text, which the serializer writes
			if len(b) != 36 {
				return nil, fmt.Errorf("org.apache.kafka.common.errors.SerializationException: Error parsing data into UUID")
			}
			return b, nil
		}, nil
	}
	return nil, fmt.Errorf("%s is no deserializer of this tool", class)
}

// javaFloat prints a number as Java's Double.toString: 3.0, 1.0E10.
func javaFloat(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ReplaceAll(strconv.FormatFloat(f, 'f', -1, bits), "Inf", "Infinity"), "+")
	case f == 0:
		if math.Signbit(f) {
			return "-0.0"
		}
		return "0.0"
	}
	if a := math.Abs(f); a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}

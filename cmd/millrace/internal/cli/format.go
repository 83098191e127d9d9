package cli

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

const formatHelp = `In a format, these stand for parts of a record:

  %t  topic           %k  key             %K  length of the key, -1 for null
  %p  partition       %v  value, also %s  %V  length of the value, -1 for null; also %S
  %o  offset          %h  headers, as name=value with commas between
  %T  timestamp, in milliseconds since 1970
  %e  leader epoch    %%  a percent sign

%k, %v and %h may be followed by {hex}, {base64} or {json}; %T by {rfc3339} or by a layout of Go's, such as
{2006-01-02 15:04:05}. \n, \t, \r, \0, \\ and \xHH are the characters that they are elsewhere.`

// part writes one part of a record.
type part func(b []byte, r *kgo.Record) []byte

// parseFormat reads a format into the parts that write it, one after the other. Null is what stands for a
// null key or value.
func parseFormat(format, null string) ([]part, error) {
	var parts []part
	literal := []byte{}
	flush := func() {
		if len(literal) > 0 {
			text := literal
			parts = append(parts, func(b []byte, _ *kgo.Record) []byte { return append(b, text...) })
			literal = []byte{}
		}
	}
	for rest := format; rest != ""; {
		switch {
		case rest[0] == '\\':
			text, n, err := unescape(rest)
			if err != nil {
				return nil, err
			}
			literal, rest = append(literal, text...), rest[n:]
		case rest[0] != '%':
			literal, rest = append(literal, rest[0]), rest[1:]
		case len(rest) == 1:
			return nil, usagef("the format %q ends in a lone %%; write %%%% for a percent sign", format)
		case rest[1] == '%':
			literal, rest = append(literal, '%'), rest[2:]
		default:
			verb, how := rest[1], ""
			rest = rest[2:]
			if strings.HasPrefix(rest, "{") {
				end := strings.IndexByte(rest, '}')
				if end < 0 {
					return nil, usagef("the format %q has a { that is not closed", format)
				}
				how, rest = rest[1:end], rest[end+1:]
			}
			p, err := formatPart(verb, how, null)
			if err != nil {
				return nil, err
			}
			flush()
			parts = append(parts, p)
		}
	}
	flush()
	return parts, nil
}

// formatPart returns what writes %verb{how}.
func formatPart(verb byte, how, null string) (part, error) {
	if how != "" && !strings.ContainsRune("kvshT", rune(verb)) {
		return nil, usagef("%%%c takes no {%s}", verb, how)
	}
	number := func(n func(r *kgo.Record) int64) part {
		return func(b []byte, r *kgo.Record) []byte { return strconv.AppendInt(b, n(r), 10) }
	}
	length := func(b []byte) int64 {
		if b == nil {
			return -1
		}
		return int64(len(b))
	}
	switch verb {
	case 't':
		return func(b []byte, r *kgo.Record) []byte { return append(b, r.Topic...) }, nil
	case 'p':
		return number(func(r *kgo.Record) int64 { return int64(r.Partition) }), nil
	case 'o':
		return number(func(r *kgo.Record) int64 { return r.Offset }), nil
	case 'e':
		return number(func(r *kgo.Record) int64 { return int64(r.LeaderEpoch) }), nil
	case 'K':
		return number(func(r *kgo.Record) int64 { return length(r.Key) }), nil
	case 'V', 'S':
		return number(func(r *kgo.Record) int64 { return length(r.Value) }), nil
	case 'T':
		switch {
		case how == "":
			return number(func(r *kgo.Record) int64 { return r.Timestamp.UnixMilli() }), nil
		case how == "rfc3339":
			how = "2006-01-02T15:04:05.000Z07:00"
		}
		return func(b []byte, r *kgo.Record) []byte { return r.Timestamp.AppendFormat(b, how) }, nil
	case 'k', 'v', 's', 'h':
		encode, err := encoding(verb, how, null)
		if err != nil {
			return nil, err
		}
		switch verb {
		case 'k':
			return func(b []byte, r *kgo.Record) []byte { return encode(b, r.Key) }, nil
		case 'h':
			return func(b []byte, r *kgo.Record) []byte {
				for i, h := range r.Headers {
					if i > 0 {
						b = append(b, ',')
					}
					b = encode(append(append(b, h.Key...), '='), h.Value)
				}
				return b
			}, nil
		}
		return func(b []byte, r *kgo.Record) []byte { return encode(b, r.Value) }, nil
	}
	return nil, usagef("the format has %%%c, which stands for nothing; `millrace consume --help` lists what does", verb)
}

// encoding returns how bytes are written.
func encoding(verb byte, how, null string) (func(b, field []byte) []byte, error) {
	var encode func(b, field []byte) []byte
	switch how {
	case "":
		encode = func(b, field []byte) []byte { return append(b, field...) }
	case "hex":
		encode = hex.AppendEncode
	case "base64":
		encode = base64.StdEncoding.AppendEncode
	case "json":
		return func(b, field []byte) []byte {
			if field == nil {
				return append(b, "null"...)
			}
			return append(b, quoteJSON(string(field))...)
		}, nil
	default:
		return nil, usagef("%%%c takes {hex}, {base64} or {json}, not {%s}", verb, how)
	}
	return func(b, field []byte) []byte {
		if field == nil {
			return append(b, null...)
		}
		return encode(b, field)
	}, nil
}

// quoteJSON writes a JSON string; bytes that are not UTF-8 become the replacement character.
func quoteJSON(s string) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string can always be encoded
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// unescape reads the escape that text begins with, and returns how long it is.
func unescape(text string) (b []byte, n int, err error) {
	if len(text) < 2 {
		return nil, 0, usagef("%q ends in a lone \\; write \\\\ for a backslash", text)
	}
	if c := strings.IndexByte(`ntr0\`, text[1]); c >= 0 {
		return []byte{"\n\t\r\x00\\"[c]}, 2, nil
	}
	if text[1] == 'x' && len(text) >= 4 {
		if v, err := strconv.ParseUint(text[2:4], 16, 8); err == nil {
			return []byte{byte(v)}, 4, nil
		}
	}
	return nil, 0, usagef("\\%c is no escape; there are \\n, \\t, \\r, \\0, \\\\ and \\xHH", text[1])
}

// unescapeAll reads a text with escapes in it, as separators on the command line are written.
func unescapeAll(text string) ([]byte, error) {
	var b []byte
	for text != "" {
		if text[0] != '\\' {
			b, text = append(b, text[0]), text[1:]
			continue
		}
		c, n, err := unescape(text)
		if err != nil {
			return nil, err
		}
		b, text = append(b, c...), text[n:]
	}
	return b, nil
}

// jsonRecord is a record as `consume --output json` prints it and `produce --input json` reads it. Bytes that
// are not UTF-8 stand as base64 in a field of their own.
type jsonRecord struct {
	Topic         string       `json:"topic,omitempty"`
	Partition     *int32       `json:"partition,omitempty"`
	Offset        *int64       `json:"offset,omitempty"`
	Timestamp     *int64       `json:"timestamp,omitempty"` // milliseconds since 1970
	TimestampType string       `json:"timestampType,omitempty"`
	Headers       []jsonHeader `json:"headers,omitempty"`
	Key           *string      `json:"key"`
	KeyBase64     *string      `json:"keyBase64,omitempty"`
	Value         *string      `json:"value"`
	ValueBase64   *string      `json:"valueBase64,omitempty"`
}

type jsonHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"valueBase64,omitempty"`
}

// jsonBytes returns bytes as text, or as base64 where they are not UTF-8; both are nil for null.
func jsonBytes(b []byte) (text, base64Text *string) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// bytesOf is the other way round.
func bytesOf(field string, text, base64Text *string) ([]byte, error) {
	switch {
	case text != nil && base64Text != nil:
		return nil, fmt.Errorf("it has both %s and %sBase64", field, field)
	case text != nil:
		return []byte(*text), nil
	case base64Text != nil:
		b, err := base64.StdEncoding.DecodeString(*base64Text)
		if err != nil {
			return nil, fmt.Errorf("%sBase64: %w", field, err)
		}
		return b, nil
	}
	return nil, nil
}

func newJSONRecord(r *kgo.Record) jsonRecord {
	ms := r.Timestamp.UnixMilli()
	j := jsonRecord{Topic: r.Topic, Partition: &r.Partition, Offset: &r.Offset, Timestamp: &ms}
	switch r.Attrs.TimestampType() {
	case 0:
		j.TimestampType = "CreateTime"
	case 1:
		j.TimestampType = "LogAppendTime"
	default:
		j.Timestamp = nil
	}
	j.Key, j.KeyBase64 = jsonBytes(r.Key)
	j.Value, j.ValueBase64 = jsonBytes(r.Value)
	for _, h := range r.Headers {
		header := jsonHeader{Key: h.Key}
		header.Value, header.ValueBase64 = jsonBytes(h.Value)
		j.Headers = append(j.Headers, header)
	}
	return j
}

// parseJSONRecord reads a line that newJSONRecord wrote, or a shorter one written by hand.
func parseJSONRecord(line []byte) (*kgo.Record, error) {
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.DisallowUnknownFields()
	var j jsonRecord
	if err := d.Decode(&j); err != nil {
		return nil, fmt.Errorf("it is no record in JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("something follows the JSON object")
	}
	r := new(kgo.Record)
	var err error
	if r.Key, err = bytesOf("key", j.Key, j.KeyBase64); err != nil {
		return nil, err
	}
	if r.Value, err = bytesOf("value", j.Value, j.ValueBase64); err != nil {
		return nil, err
	}
	if j.Timestamp != nil {
		r.Timestamp = time.UnixMilli(*j.Timestamp)
	}
	for _, h := range j.Headers {
		value, err := bytesOf("value", h.Value, h.ValueBase64)
		if err != nil {
			return nil, fmt.Errorf("the header %s: %w", h.Key, err)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: value})
	}
	return r, nil
}

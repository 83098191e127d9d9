package config

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Property is one line of a properties file.
type Property struct {
	Key, Value string
	Line       int // where it stands, from 1; 0 when it was set by a program
}

// Properties are the contents of a Java properties file in the order of the file. A key that stands twice
// counts where it stands last.
type Properties struct {
	list  []Property
	index map[string]int
}

// PropertiesOf makes properties of alternating keys and values.
func PropertiesOf(keysAndValues ...string) Properties {
	var p Properties
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		p.Set(keysAndValues[i], keysAndValues[i+1])
	}
	return p
}

// Get returns the value of a key.
func (p Properties) Get(key string) (string, bool) {
	if i, ok := p.index[key]; ok {
		return p.list[i].Value, true
	}
	return "", false
}

// Set sets a key, in its place or at the end.
func (p *Properties) Set(key, value string) { p.put(Property{Key: key, Value: value}) }

func (p *Properties) put(property Property) {
	if i, ok := p.index[property.Key]; ok {
		p.list[i] = property
		return
	}
	if p.index == nil {
		p.index = make(map[string]int)
	}
	p.index[property.Key] = len(p.list)
	p.list = append(p.list, property)
}

// All returns the properties in order; do not modify.
func (p Properties) All() []Property { return p.list }

// Len returns the number of properties.
func (p Properties) Len() int { return len(p.list) }

// Map returns the properties as a fresh map.
func (p Properties) Map() map[string]string {
	m := make(map[string]string, len(p.list))
	for _, property := range p.list {
		m[property.Key] = property.Value
	}
	return m
}

// maxProperties bounds the size of a properties file in bytes; the largest in the field have some hundred KiB.
const maxProperties = 16 << 20

// ParseProperties reads the format of java.util.Properties:
//
//	# comment            ! comment
//	key=value            key:value            key value
//	long.key = first, \
//	           second    (blanks at the start of a continuation do not count)
//	\u00e9, \t, \n, \r, \f, and a backslash before any other character for the character itself
//
// The file is UTF-8; a file that is not is taken for Latin-1, which is what Java reads.
func ParseProperties(r io.Reader) (Properties, error) {
	var p Properties
	data, err := io.ReadAll(io.LimitReader(r, maxProperties+1))
	if err != nil {
		return p, err
	}
	if len(data) > maxProperties {
		return p, fmt.Errorf("more than %d bytes are no properties file", maxProperties)
	}
	text := string(data)
	if !utf8.ValidString(text) {
		runes := make([]rune, len(data))
		for i, c := range data {
			runes[i] = rune(c)
		}
		text = string(runes)
	}
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text)
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		start := i + 1
		for continued(line) {
			line = line[:len(line)-1]
			if i+1 == len(lines) {
				break
			}
			i++
			line += strings.TrimLeft(lines[i], " \t\f")
		}
		key, value, err := splitProperty(line)
		if err != nil {
			return p, fmt.Errorf("line %d: %w", start, err)
		}
		p.put(Property{key, value, start})
	}
	return p, nil
}

// continued reports whether the line ends in an odd number of backslashes.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func splitProperty(line string) (key, value string, err error) {
	end := len(line)
	for i := 0; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			end = i
			break
		}
	}
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	if key, err = unescape(line[:end]); err == nil {
		value, err = unescape(rest)
	}
	return key, value, err
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			break
		}
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			r, err := hexEscape(s, i+1)
			if err != nil {
				return "", err
			}
			i += 4
			if utf16.IsSurrogate(r) && strings.HasPrefix(s[i+1:], `\u`) {
				if low, err := hexEscape(s, i+3); err == nil {
					if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
						r = pair
						i += 6
					}
				}
			}
			b.WriteRune(r)
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

func hexEscape(s string, at int) (rune, error) {
	if at+4 > len(s) {
		return 0, fmt.Errorf(`\u needs four hexadecimal digits`)
	}
	n, err := strconv.ParseUint(s[at:at+4], 16, 16)
	if err != nil {
		return 0, fmt.Errorf(`\u%s: \u needs four hexadecimal digits`, s[at:at+4])
	}
	return rune(n), nil
}

// WriteTo writes the properties so that both ParseProperties and Java read them back: one key=value a line,
// in order, with every character beyond ASCII as \uXXXX.
func (p Properties) WriteTo(w io.Writer) (int64, error) {
	var n int64
	buffered := bufio.NewWriter(w)
	for _, property := range p.list {
		m, _ := buffered.WriteString(escape(property.Key, true) + "=" + escape(property.Value, false) + "\n")
		n += int64(m)
	}
	return n, buffered.Flush()
}

func escape(s string, isKey bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == ' ' && (isKey || i == 0):
			b.WriteString(`\ `)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == '\\', r == '=', r == ':', r == '#', r == '!':
			if r == '\\' || isKey || i == 0 {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		case r < ' ' || r > '~':
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04X`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

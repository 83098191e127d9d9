package definitions

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed *.def
var files embed.FS

// A Set is everything that a number of definition files describe.
type Set struct {
	APIs     []*API     // by key
	Messages []*Message // requests and responses by key, then records by file
	byName   map[string]*Message
}

// Message returns the message of that name, or nil.
func (s *Set) Message(name string) *Message { return s.byName[name] }

// API returns the API of that key, or nil.
func (s *Set) API(key int16) *API {
	for _, a := range s.APIs {
		if a.Key == key {
			return a
		}
	}
	return nil
}

// Load returns the definitions of this package, parsed once. Callers must not change what it returns.
var Load = sync.OnceValue(func() *Set {
	set, err := Read(files)
	if err != nil {
		panic(err) // the files are part of the program, and a test reads them
	}
	return set
})

// Read parses all .def files of a directory.
func Read(dir fs.FS) (*Set, error) {
	names, err := fs.Glob(dir, "*.def")
	if err != nil {
		return nil, err
	}
	set := &Set{byName: make(map[string]*Message)}
	var records []*Message
	for _, name := range names {
		text, err := fs.ReadFile(dir, name)
		if err != nil {
			return nil, err
		}
		api, messages, err := Parse(name, string(text))
		if err != nil {
			return nil, err
		}
		if api != nil {
			set.APIs = append(set.APIs, api)
		}
		records = append(records, messages...)
	}
	slices.SortFunc(set.APIs, func(a, b *API) int { return int(a.Key) - int(b.Key) })
	for i, a := range set.APIs {
		if i > 0 && set.APIs[i-1].Key == a.Key {
			return nil, fmt.Errorf("%s and %s have the same API key %d", set.APIs[i-1].Name, a.Name, a.Key)
		}
		set.Messages = append(set.Messages, a.Request, a.Response)
	}
	set.Messages = append(set.Messages, records...)

	types := make(map[string]bool)
	for _, m := range set.Messages {
		set.byName[m.Name] = m
		names := []string{m.Name}
		for _, s := range m.Structs() {
			names = append(names, s.GoStruct)
		}
		for _, n := range names {
			if types[n] {
				return nil, fmt.Errorf("two types are named %s", n)
			}
			types[n] = true
		}
	}
	return set, nil
}

// Parse reads one file. It returns the API and no messages, or no API and the messages of a file of records.
// An error names the file and the line.
func Parse(name, text string) (*API, []*Message, error) {
	p := &parser{}
	for i, line := range strings.Split(text, "\n") {
		if at := strings.IndexByte(line, '#'); at >= 0 {
			line = line[:at]
		}
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		indent := len(line) - len(strings.TrimLeft(line, " "))
		if err := p.line(indent, words); err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	if err := p.finish(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return p.api, p.messages, nil
}

type parser struct {
	api      *API
	family   string
	messages []*Message

	message *Message // the one whose fields are being read; nil in the head of an API
	open    []*Field // open[i] is the last field read at depth i+1
}

func (p *parser) line(indent int, words []string) error {
	if indent > 0 {
		switch {
		case p.message != nil:
			return p.field(indent, words)
		case p.api != nil:
			return p.property(words)
		}
		return errors.New("an indented line belongs to nothing")
	}
	p.open = p.open[:0]
	switch Kind(words[0]) {
	case "api":
		if p.api != nil || len(p.messages) > 0 || len(words) != 3 {
			return errors.New("want one \"api KEY NAME\" in a file, and no records beside it")
		}
		key, err := number(words[1])
		if err != nil {
			return err
		}
		p.api = &API{Key: key, Name: words[2], Versions: noVersions, Unstable: -1, FlexibleFrom: NeverFlexible}
	case Request, Response:
		return p.half(Kind(words[0]), words)
	case "family":
		if len(words) != 2 {
			return errors.New("want \"family NAME\"")
		}
		p.family = words[1]
	case Record, Key, Value, Unframed, Described:
		return p.record(words)
	default:
		return fmt.Errorf("%q opens no block", words[0])
	}
	return nil
}

// property reads a line of an API's head.
func (p *parser) property(words []string) (err error) {
	a, args := p.api, words[1:]
	if len(args) == 0 {
		return fmt.Errorf("%s says nothing", words[0])
	}
	switch words[0] {
	case "versions":
		a.Versions, err = versions(args[0], Versions{0, NeverFlexible})
	case "unstable":
		a.Unstable, err = number(args[0])
	case "flexible":
		a.FlexibleFrom, err = flexible(args[0])
	case "listeners":
		for _, w := range args {
			switch w {
			case "broker":
				a.Broker = true
			case "controller":
				a.Controller = true
			default:
				return fmt.Errorf("no listener is called %q", w)
			}
		}
	case "flags":
		for _, w := range args {
			switch w {
			case "forwarded":
				a.Forwarded = true
			case "cluster-action":
				a.ClusterAction = true
			default:
				return fmt.Errorf("no flag is called %q", w)
			}
		}
	default:
		return fmt.Errorf("an API has no property %q", words[0])
	}
	return err
}

// half opens an API's request or response.
func (p *parser) half(kind Kind, words []string) error {
	a := p.api
	if a == nil || len(words) != 1 || a.Versions.Empty() {
		return fmt.Errorf("%s must stand alone, after an api and its versions", kind)
	}
	m := &Message{Kind: kind, Number: a.Key, Versions: a.Versions, Latest: max(a.Versions.Max, a.Unstable), FlexibleFrom: a.FlexibleFrom}
	if kind == Request {
		m.Name, a.Request = a.Name+"Request", m
	} else {
		m.Name, a.Response = a.Name+"Response", m
	}
	p.message = m
	return nil
}

// record opens a stored record: KIND NAME [type N] versions A-B flexible C+.
func (p *parser) record(words []string) (err error) {
	if p.api != nil || len(words) < 2 || len(words)%2 != 0 {
		return errors.New("want \"KIND NAME [type N] versions A-B flexible C+\" in a file without an api")
	}
	m := &Message{Name: words[1], Kind: Kind(words[0]), Number: -1, Family: p.family, Versions: noVersions}
	for i := 2; i < len(words) && err == nil; i += 2 {
		switch words[i] {
		case "type":
			m.Number, err = number(words[i+1])
		case "versions":
			m.Versions, err = versions(words[i+1], Versions{0, NeverFlexible})
		case "flexible":
			m.FlexibleFrom, err = flexible(words[i+1])
		default:
			err = fmt.Errorf("a record has no property %q", words[i])
		}
	}
	if err == nil && m.Versions.Empty() {
		err = fmt.Errorf("%s has no versions", m.Name)
	}
	m.Latest = m.Versions.Max
	p.message = m
	p.messages = append(p.messages, m)
	return err
}

func (p *parser) field(indent int, words []string) error {
	depth := indent / 2
	if indent%2 != 0 || depth > len(p.open)+1 {
		return errors.New("fields are indented by two spaces for each level")
	}
	if len(words) < 2 {
		return errors.New("a field needs a name and a type")
	}
	p.open = p.open[:depth-1]
	within, siblings := p.message.All(), &p.message.Fields
	if depth > 1 {
		parent := p.open[depth-2]
		if parent.Type != Struct {
			return fmt.Errorf("%s is nested in %s, which is no struct", words[0], parent.Name)
		}
		within, siblings = parent.Versions, &parent.Fields
	}

	f := &Field{Name: words[0], GoName: GoName(words[0]), Versions: within, Nullable: noVersions, Tag: -1}
	typ, array := strings.CutPrefix(words[1], "[]")
	typ, nullable := strings.CutSuffix(typ, "?")
	f.Type, f.Array = Type(typ), array
	rest := words[2:]
	if len(rest) > 0 && rest[0][0] >= '0' && rest[0][0] <= '9' {
		var err error
		if f.Versions, err = versions(rest[0], within); err != nil {
			return err
		}
		rest = rest[1:]
	}
	if nullable {
		f.Nullable = f.Versions
	}
	for len(rest) > 0 {
		if len(rest) < 2 {
			return fmt.Errorf("%q says nothing", rest[0])
		}
		var err error
		switch word := rest[1]; rest[0] {
		case "null":
			f.Nullable, err = versions(word, f.Versions)
		case "tag":
			var tag int16
			tag, err = number(word)
			f.Tag = int(tag)
		case "=":
			f.Default = word
		default:
			err = fmt.Errorf("a field has no property %q", rest[0])
		}
		if err != nil {
			return err
		}
		rest = rest[2:]
	}
	for _, s := range *siblings {
		if s.Name == f.Name {
			return fmt.Errorf("two fields are called %s", f.Name)
		}
	}
	*siblings = append(*siblings, f)
	p.open = append(p.open, f)
	return p.check(f)
}

// check refuses what no codec could do.
func (p *parser) check(f *Field) error {
	switch f.Type {
	case String, Bytes, Records, Struct:
	default:
		if f.Type.FixedSize() == 0 {
			return fmt.Errorf("there is no type %q", f.Type)
		}
		if f.IsNullable() && !f.Array {
			return fmt.Errorf("%s cannot be null: %s has no room for it", f.Name, f.Type)
		}
	}
	if f.Versions.Empty() {
		return fmt.Errorf("%s exists in no version of what it is nested in", f.Name)
	}
	if f.Tag >= 0 && p.message.FlexibleFrom > f.Versions.Min {
		return fmt.Errorf("%s is tagged in version %d, which is not flexible", f.Name, f.Versions.Min)
	}
	if f.Tag >= 0 && f.IsNullable() && f.Default != "null" && !f.Array && f.Type != Struct {
		return fmt.Errorf("%s is tagged, nullable and not null by default: only arrays and structs can be", f.Name)
	}
	if f.Default == "null" && !f.IsNullable() && f.Type != Records {
		return fmt.Errorf("%s cannot be null, so that cannot be its default", f.Name)
	}
	return nil
}

func (p *parser) finish() error {
	if p.api != nil {
		if p.api.Request == nil || p.api.Response == nil {
			return fmt.Errorf("%s needs a request and a response", p.api.Name)
		}
		nameStructs(p.api.Request)
		nameStructs(p.api.Response)
	}
	for _, m := range p.messages {
		nameStructs(m)
	}
	for _, m := range append(p.messages, p.halves()...) {
		for _, s := range m.Structs() {
			if len(s.Fields) == 0 {
				return fmt.Errorf("%s.%s is a struct without fields", m.Name, s.Name)
			}
		}
	}
	return nil
}

func (p *parser) halves() []*Message {
	if p.api == nil {
		return nil
	}
	return []*Message{p.api.Request, p.api.Response}
}

func number(word string) (int16, error) {
	n, err := strconv.ParseInt(word, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is not a number of 16 bits", word)
	}
	return int16(n), nil
}

// versions reads 3+, 3-12 or 3, cut to what they lie within.
func versions(word string, within Versions) (Versions, error) {
	low, high, isRange := strings.Cut(word, "-")
	low, open := strings.CutSuffix(low, "+")
	first, err := number(low)
	if err != nil {
		return noVersions, err
	}
	last := first
	switch {
	case open:
		last = within.Max
	case isRange:
		if last, err = number(high); err != nil {
			return noVersions, err
		}
	}
	return Versions{max(first, within.Min), min(last, within.Max)}, nil
}

// flexible reads 9+ or none.
func flexible(word string) (int16, error) {
	if word == "none" {
		return NeverFlexible, nil
	}
	low, ok := strings.CutSuffix(word, "+")
	if !ok {
		return 0, fmt.Errorf("%q is neither none nor like 9+", word)
	}
	return number(low)
}

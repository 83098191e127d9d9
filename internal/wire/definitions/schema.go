package definitions

import (
	"fmt"
	"slices"
	"strings"
)

// Type is the type of a field, or of an array's elements, as the language spells it.
type Type string

// The types of the language. A records field is bytes that hold record batches.
const (
	Bool    Type = "bool"
	Int8    Type = "int8"
	Int16   Type = "int16"
	Int32   Type = "int32"
	Int64   Type = "int64"
	Uint16  Type = "uint16"
	Uint32  Type = "uint32"
	Float64 Type = "float64"
	String  Type = "string"
	UUID    Type = "uuid"
	Bytes   Type = "bytes"
	Records Type = "records"
	Struct  Type = "struct"
)

// FixedSize returns the bytes a value takes on the wire at every version, or 0 when that depends on the value.
func (t Type) FixedSize() int {
	switch t {
	case Bool, Int8:
		return 1
	case Int16, Uint16:
		return 2
	case Int32, Uint32:
		return 4
	case Int64, Float64:
		return 8
	case UUID:
		return 16
	}
	return 0
}

// NeverFlexible is the FlexibleFrom of a message that has no flexible version.
const NeverFlexible int16 = 32767

// Versions is a closed range of versions. It is empty when Max < Min.
type Versions struct{ Min, Max int16 }

// Contains reports whether v lies in the range.
func (r Versions) Contains(v int16) bool { return r.Min <= v && v <= r.Max }

// Empty reports whether the range holds no version.
func (r Versions) Empty() bool { return r.Max < r.Min }

// String returns the range as "3-13".
func (r Versions) String() string { return fmt.Sprintf("%d-%d", r.Min, r.Max) }

var noVersions = Versions{0, -1}

// A Field is one field of a message or of a struct in it.
type Field struct {
	Name     string   // in snake case, as the language spells it
	GoName   string   // the field of the generated struct
	Type     Type     // of the field, or of its elements when Array
	Array    bool     // it is an array of Type
	Versions Versions // those that have the field; never empty, within those of what it is nested in
	Nullable Versions // those in which it may be null; may be empty, within Versions
	Tag      int      // its tag, or -1 when it is not a tagged field
	Default  string   // "" for the zero value, "null", or a literal
	Fields   []*Field // of a struct, in wire order
	GoStruct string   // the generated type of a struct
}

// IsNullable reports whether the field may be null in any version.
func (f *Field) IsNullable() bool { return !f.Nullable.Empty() }

// Kind says how a message is framed and what its Number means.
type Kind string

// The kinds of messages.
const (
	Request   Kind = "request"   // Number is the API key
	Response  Kind = "response"  // Number is the API key
	Record    Kind = "record"    // Number is the record type in its family
	Key       Kind = "key"       // Number is the record type in its family
	Value     Kind = "value"     // Number is the record type in its family
	Unframed  Kind = "message"   // no number
	Described Kind = "described" // no number, and no generated codec
)

// A Message is one request, response or stored record.
type Message struct {
	Name         string // of the generated type: ProduceRequest, TopicRecord
	Kind         Kind
	Number       int16    // see Kind; -1 when there is none
	Family       string   // of a record: metadata, group, transaction, share, remote; otherwise empty
	Versions     Versions // the stable ones
	Latest       int16    // the newest described version: Versions.Max or an unstable one
	FlexibleFrom int16    // the first flexible version or NeverFlexible
	Fields       []*Field
}

// All returns the versions that are described, unstable ones included.
func (m *Message) All() Versions { return Versions{m.Versions.Min, m.Latest} }

// Flexible reports whether a version of the message has compact lengths and tagged fields.
func (m *Message) Flexible(version int16) bool { return version >= m.FlexibleFrom }

// Structs returns the struct fields of the message, outer before inner.
func (m *Message) Structs() []*Field { return structs(nil, m.Fields) }

func structs(list []*Field, fields []*Field) []*Field {
	for _, f := range fields {
		if f.Type == Struct {
			list = structs(append(list, f), f.Fields)
		}
	}
	return list
}

// An API is one API key: its request and response and what the version table says of it.
type API struct {
	Key           int16
	Name          string
	Versions      Versions // the stable ones
	Unstable      int16    // the newest version where that is not stable, otherwise -1
	FlexibleFrom  int16    // the first flexible version or NeverFlexible
	Broker        bool     // answered on a broker's listeners
	Controller    bool     // answered on a controller's listeners
	Forwarded     bool     // a broker hands it to the active controller
	ClusterAction bool     // the caller must be a node of the cluster
	Request       *Message
	Response      *Message
}

// GoName spells a snake case name as the generated code does: each word begins with a capital, and the words
// id and ids are ID and IDs.
func GoName(snake string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(snake, "_") {
		switch word {
		case "":
		case "id":
			b.WriteString("ID")
		case "ids":
			b.WriteString("IDs")
		default:
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// nameStructs gives each struct its Go type: the message's name and the field's. Fields of one message that
// share a name have the names of what they are nested in put before it, one level after the other, until all
// are different.
func nameStructs(m *Message) {
	type placed struct {
		field *Field
		path  []string // Go names from the outermost to the field itself
	}
	var all []placed
	var walk func(fields []*Field, path []string)
	walk = func(fields []*Field, path []string) {
		for _, f := range fields {
			if f.Type == Struct {
				own := append(slices.Clone(path), f.GoName)
				all = append(all, placed{f, own})
				walk(f.Fields, own)
			}
		}
	}
	walk(m.Fields, nil)

	depth := make(map[*Field]int)
	for {
		byName := make(map[string][]placed)
		for _, p := range all {
			from := max(0, len(p.path)-1-depth[p.field])
			p.field.GoStruct = m.Name + strings.Join(p.path[from:], "")
			byName[p.field.GoStruct] = append(byName[p.field.GoStruct], p)
		}
		if len(byName) == len(all) {
			return
		}
		for _, same := range byName {
			if len(same) > 1 {
				for _, p := range same {
					depth[p.field]++
				}
			}
		}
	}
}

// MinSize returns the fewest bytes that the fields of a message, or of a struct in it, take at a version.
func MinSize(m *Message, fields []*Field, version int16) int {
	size := 0
	for _, f := range fields {
		switch {
		case f.Tag >= 0 || !f.Versions.Contains(version):
		case f.Array || f.Type == Bytes || f.Type == Records:
			size += 4
			if m.Flexible(version) {
				size -= 3
			}
		case f.Type == String:
			size += 2
			if m.Flexible(version) {
				size--
			}
		case f.Type == Struct && f.IsNullable():
			size++
		case f.Type == Struct:
			size += MinSize(m, f.Fields, version)
		default:
			size += f.Type.FixedSize()
		}
	}
	if m.Flexible(version) {
		size++ // the number of tagged fields
	}
	return size
}

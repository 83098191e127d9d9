package golang

import (
	"github.com/millrace-io/millrace/internal/wire/definitions"
)

// apis writes the keys, the version table and what makes messages from keys.
func (s *source) apis(set *definitions.Set) {
	s.line("// The API keys.")
	s.line("const (")
	for _, a := range set.APIs {
		s.line("Key%s APIKey = %d", a.Name, a.Key)
	}
	s.line(")\n")

	s.line("var apis = [...]APIInfo{")
	for _, a := range set.APIs {
		s.line("{Key%s, %q, %d, %d, %d, %d, %t, %t, %t, %t},", a.Name, a.Name, a.Versions.Min, a.Versions.Max,
			max(a.Versions.Max, a.Unstable), a.FlexibleFrom, a.Broker, a.Controller, a.Forwarded, a.ClusterAction)
	}
	s.line("}\n")

	s.line("// indexOf returns where a key stands in the version table, or -1.")
	s.line("func indexOf(key APIKey) int {")
	s.line("switch key {")
	for i, a := range set.APIs {
		s.line("case Key%s: return %d", a.Name, i)
	}
	s.line("}")
	s.line("return -1")
	s.line("}\n")

	for _, half := range []string{"Request", "Response"} {
		s.line("// New%s returns an empty %s of an API, with its defaults set; nil for an unknown key.", half, half)
		s.line("func New%s(key APIKey) Message {", half)
		s.line("switch key {")
		for _, a := range set.APIs {
			s.line("case Key%s: return New%s%s()", a.Name, a.Name, half)
		}
		s.line("}")
		s.line("return nil")
		s.line("}\n")
	}
}

// records writes what makes stored records from their types, family by family.
func (s *source) records(set *definitions.Set) {
	type group struct {
		family string
		kind   definitions.Kind
	}
	for _, g := range []group{
		{"metadata", definitions.Record}, {"remote", definitions.Record},
		{"group", definitions.Key}, {"group", definitions.Value},
		{"transaction", definitions.Key}, {"transaction", definitions.Value},
		{"share", definitions.Key}, {"share", definitions.Value},
	} {
		name := "new" + definitions.GoName(g.family) + definitions.GoName(string(g.kind))
		s.line("// %s returns an empty %s of the family %s, with its defaults set; nil for an unknown type.", name, g.kind, g.family)
		s.line("func %s(number int16) Message {", name)
		s.line("switch number {")
		for _, m := range set.Messages {
			if m.Family == g.family && m.Kind == g.kind {
				s.line("case %d: return New%s()", m.Number, m.Name)
			}
		}
		s.line("}")
		s.line("return nil")
		s.line("}\n")
	}
	s.line("// NewMessage returns an empty message by the name of its type, with its defaults set; nil for an unknown name.")
	s.line("func NewMessage(name string) Message {")
	s.line("switch name {")
	for _, m := range set.Messages {
		if m.Kind != definitions.Described {
			s.line("case %q: return New%s()", m.Name, m.Name)
		}
	}
	s.line("}")
	s.line("return nil")
	s.line("}")
}

package config

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Type is how a value is parsed. The numbers are those of DescribeConfigs (KIP-569).
type Type int8

// The types of Kafka's configuration keys.
const (
	Bool     Type = 1 // "true" or "false", in any case
	String   Type = 2
	Int      Type = 3 // 32 bits
	Short    Type = 4 // 16 bits
	Long     Type = 5 // 64 bits
	Double   Type = 6
	List     Type = 7 // separated by commas; the empty string is the empty list
	Class    Type = 8 // the name of a Java class; ours name built-in behaviour
	Password Type = 9 // never shown
)

// String returns the name of the type in lower case, as documentation writes it.
func (t Type) String() string {
	switch t {
	case Bool:
		return "boolean"
	case String:
		return "string"
	case Int:
		return "int"
	case Short:
		return "short"
	case Long:
		return "long"
	case Double:
		return "double"
	case List:
		return "list"
	case Class:
		return "class"
	case Password:
		return "password"
	}
	return "unknown"
}

// Importance ranks keys for readers of the documentation.
type Importance int8

// The ranks, highest first.
const (
	High Importance = iota
	Medium
	Low
)

// String returns the rank in lower case.
func (i Importance) String() string { return [...]string{"high", "medium", "low"}[i] }

// Update says how a broker key may be changed on a running cluster (KIP-226).
type Update int8

// The ways of changing a broker key.
const (
	ReadOnly    Update = iota // only by a restart
	PerBroker                 // dynamically, for one broker
	PerListener               // dynamically, for one listener of one broker: as listener.name.NAME.KEY
	ClusterWide               // dynamically, for one broker or as the default of all
)

// String returns the mode as Kafka's documentation writes it.
func (u Update) String() string {
	return [...]string{"read-only", "per-broker", "per-listener", "cluster-wide"}[u]
}

// Synonym names a broker key that gives a key its default, and what turns its value into the unit of the key.
type Synonym struct {
	Name string
	// Factor multiplies the synonym's value: 3,600,000 where hours become milliseconds. Zero and one leave
	// it alone. A negative value means "no limit" in every unit and becomes -1.
	Factor int64
}

// The factors that bring a synonym's unit to milliseconds.
const (
	Hours   = 3_600_000
	Minutes = 60_000
)

// Key describes one configuration key.
type Key struct {
	Name string
	Type Type
	// Default is the text of the default value; nil stands for null.
	Default *string
	// Required keys have no default and must be set.
	Required bool
	// Valid bounds the value beyond what its type says; nil accepts whatever parses.
	Valid      Validator
	Doc        string
	Importance Importance
	Update     Update
	// Sensitive values are never returned or logged. Keys of type Password always are.
	Sensitive bool
	// Synonyms are the broker keys that give this key its default, the first that is set wins. A broker key
	// that belongs to a family (log.retention.ms, .minutes, .hours) lists the family, itself first.
	Synonyms []Synonym
	// Owner is empty when the key acts. Otherwise it names the capability that will act on it later, or why none
	// will: the value is checked, stored and described, and has no effect yet.
	Owner string
	// Internal keys are Kafka's own testing aids: accepted, but left out of documentation, and described only where a
	// layer sets them.
	Internal bool
	// OnlySet keys, such as those of a single listener, are described only where a layer sets them.
	OnlySet bool
}

// Value returns a pointer to s, for Key.Default.
func Value(s string) *string { return &s }

// Hidden reports whether values of the key must not be shown.
func (k *Key) Hidden() bool { return k.Sensitive || k.Type == Password }

// Check parses a value and checks its range. The error is a sentence that names the key, the value and what
// is allowed.
func (k *Key) Check(value string) error {
	err := checkType(k.Type, value)
	if err == nil && k.Valid != nil {
		err = k.Valid.Check(trim(value))
	}
	if err == nil {
		return nil
	}
	if k.Hidden() {
		return fmt.Errorf("the value of %s is not valid: %w", k.Name, err)
	}
	return fmt.Errorf("%q is not a valid value of %s: %w", value, k.Name, err)
}

// Canonical returns the value as Kafka shows it after parsing: trimmed, booleans in lower case, lists without
// blanks around their commas and of given words each once (KIP-1161), numbers without a leading plus. A value that does not
// parse is returned as it is.
func (k *Key) Canonical(value string) string {
	if _, words := k.Valid.(wordList); words {
		var once []string
		for _, word := range ParseList(trim(value)) {
			if !slices.Contains(once, word) {
				once = append(once, word)
			}
		}
		return strings.Join(once, ",")
	}
	return canonical(k.Type, value)
}

// Table is an immutable set of keys, ordered by name.
type Table struct {
	keys   []*Key
	byName map[string]*Key
}

// NewTable makes a table. A name declared twice is a mistake in the program and panics, as does a default
// that its own key does not accept.
func NewTable(keys ...Key) *Table {
	t := &Table{byName: make(map[string]*Key, len(keys))}
	for i := range keys {
		k := &keys[i]
		if t.byName[k.Name] != nil {
			panic("config: " + k.Name + " is declared twice")
		}
		if k.Default != nil {
			if err := k.Check(*k.Default); err != nil {
				panic("config: the default: " + err.Error())
			}
		}
		t.byName[k.Name] = k
		t.keys = append(t.keys, k)
	}
	slices.SortFunc(t.keys, func(a, b *Key) int { return strings.Compare(a.Name, b.Name) })
	return t
}

// Join makes one table of several; the keys are shared, and their names must differ.
func Join(tables ...*Table) *Table {
	var keys []Key
	for _, t := range tables {
		for _, k := range t.keys {
			keys = append(keys, *k)
		}
	}
	return NewTable(keys...)
}

// Lookup returns the key of that name.
func (t *Table) Lookup(name string) (*Key, bool) {
	k, ok := t.byName[name]
	return k, ok
}

// Len returns the number of keys.
func (t *Table) Len() int { return len(t.keys) }

// All yields the keys by name.
func (t *Table) All() iter.Seq[*Key] { return slices.Values(t.keys) }

// Check checks a value of the key of that name; an unknown name is an error with the nearest one.
func (t *Table) Check(name, value string) error {
	k, ok := t.Lookup(name)
	if !ok {
		return t.Unknown(name)
	}
	return k.Check(value)
}

// Unknown is the error for a name that the table does not hold.
func (t *Table) Unknown(name string) error {
	if near := t.Nearest(name); near != "" {
		return fmt.Errorf("unknown key %q; did you mean %s?", name, near)
	}
	return fmt.Errorf("unknown key %q", name)
}

// Nearest returns the name that a mistyped one was most likely meant to be, or "" when none is near: at most
// a third of the letters may differ.
func (t *Table) Nearest(name string) string {
	return Nearest(strings.ReplaceAll(trim(name), "_", "."), func(yield func(string) bool) {
		for _, k := range t.keys {
			if !k.Internal && !yield(k.Name) {
				return
			}
		}
	})
}

// Nearest is Table.Nearest among other names; the case of letters does not count.
func Nearest(name string, among iter.Seq[string]) string {
	best, bestDistance := "", max(2, len(name)/3)+1
	folded := strings.ToLower(name)
	for candidate := range among {
		if d := distance(folded, strings.ToLower(candidate), bestDistance); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// distance is the number of letters to insert, drop, change or swap with their neighbour to make a of b
// (optimal string alignment); it stops counting at limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least >= limit {
			return limit
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit)
}

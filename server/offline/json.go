package offline

import (
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/millrace-io/millrace/kafka"
)

// jsonWriter renders messages of the protocol as Kafka's own converters do: the fields that a version has, in the
// order of the wire and in camel case; a tagged field only when it is not its default; bytes in base64, ids in their own
// text.
type jsonWriter struct {
	strings.Builder
	version int16
	// inside may render a bytes field that holds a message of its own, and says whether it did; nil for none.
	inside func(w *jsonWriter, structure, field string, value []byte) bool
}

// messageJSON renders a whole message.
func messageJSON(m wire.Message, version int16) string {
	w := &jsonWriter{version: version}
	w.message(m)
	return w.String()
}

func (w *jsonWriter) message(m wire.Message) {
	schema := definitions.Load().Message(m.Info().Name)
	w.fields(schema.Name, schema.Fields, reflect.ValueOf(m).Elem())
}

// fields renders the fields of a message, or of a struct in it, as an object.
func (w *jsonWriter) fields(structure string, fields []*definitions.Field, v reflect.Value) {
	w.WriteByte('{')
	first := true
	for _, f := range shownOrder(structure, fields) {
		value := v.FieldByName(f.GoName)
		if !f.Versions.Contains(w.version) || f.Tag >= 0 && isDefault(f, value) {
			continue
		}
		if !first {
			w.WriteByte(',')
		}
		first = false
		w.WriteString(`"` + jsonName(f.Name) + `":`)
		w.field(structure, f, value)
	}
	w.WriteByte('}')
}

// shownBehind are the tagged fields that Kafka shows among the others, each behind the one it belongs to. On the wire, and
// in our schemas, they come last.
var shownBehind = map[string]string{
	"PartitionRecord.leader_recovery_state":      "leader",
	"PartitionChangeRecord.directories":          "leader_recovery_state",
	"TransactionLogValue.next_producer_id":       "producer_id",
	"TransactionLogValue.previous_producer_id":   "producer_id",
	"TransactionLogValue.next_producer_epoch":    "producer_epoch",
	"ShareSnapshotValue.delivery_complete_count": "start_offset",
	"ShareUpdateValue.delivery_complete_count":   "start_offset",
}

// shownOrder is the order in which Kafka shows the fields of a struct.
func shownOrder(structure string, fields []*definitions.Field) []*definitions.Field {
	var order []*definitions.Field
	for _, f := range fields {
		behind := slices.IndexFunc(order, func(o *definitions.Field) bool { return o.Name == shownBehind[structure+"."+f.Name] }) + 1
		if behind == 0 {
			behind = len(order)
		}
		for behind < len(order) && shownBehind[structure+"."+order[behind].Name] == order[behind-1].Name { // those that came before it
			behind++
		}
		order = slices.Insert(order, behind, f)
	}
	return order
}

func (w *jsonWriter) field(structure string, f *definitions.Field, v reflect.Value) {
	isNil := (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil()
	switch {
	case isNil && f.Nullable.Contains(w.version):
		w.WriteString("null")
	case f.Array:
		w.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				w.WriteByte(',')
			}
			w.value(structure, f, reflect.Indirect(v.Index(i)))
		}
		w.WriteByte(']')
	case v.Kind() == reflect.Pointer && v.IsNil(): // a version without null has an empty value instead
		w.value(structure, f, reflect.Zero(v.Type().Elem()))
	default:
		w.value(structure, f, reflect.Indirect(v))
	}
}

// value renders a value that is there.
func (w *jsonWriter) value(structure string, f *definitions.Field, v reflect.Value) {
	switch f.Type {
	case definitions.Struct:
		w.fields(f.GoStruct, f.Fields, v)
	case definitions.Bool:
		w.WriteString(strconv.FormatBool(v.Bool()))
	case definitions.Uint16, definitions.Uint32:
		w.WriteString(strconv.FormatUint(v.Uint(), 10))
	case definitions.Float64:
		w.float(v.Float())
	case definitions.String:
		w.text(v.String())
	case definitions.UUID:
		w.WriteString(`"` + v.Interface().(kafka.UUID).String() + `"`)
	case definitions.Bytes, definitions.Records:
		if w.inside == nil || !w.inside(w, structure, f.Name, v.Bytes()) {
			w.WriteString(`"` + base64.StdEncoding.EncodeToString(v.Bytes()) + `"`)
		}
	default:
		w.WriteString(strconv.FormatInt(v.Int(), 10))
	}
}

// float is Java's Double.toString, which JSON of the infinite and of no number puts in quotes.
func (w *jsonWriter) float(f float64) {
	s := javaDouble(f)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		s = `"` + s + `"`
	}
	w.WriteString(s)
}

// javaDouble prints a number as Java does: plainly from a thousandth up to ten millions, otherwise with an exponent, and
// always with a digit behind the point.
func javaDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, 64)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, 64), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent) // FormatFloat has written it
	return mantissa + "E" + strconv.Itoa(n)
}

// text is a string in JSON: only what must be escaped is.
func (w *jsonWriter) text(s string) {
	w.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.WriteByte('\\')
			w.WriteRune(r)
		case r == '\b':
			w.WriteString(`\b`)
		case r == '\f':
			w.WriteString(`\f`)
		case r == '\n':
			w.WriteString(`\n`)
		case r == '\r':
			w.WriteString(`\r`)
		case r == '\t':
			w.WriteString(`\t`)
		case r < 0x20:
			w.WriteString(`\u00` + strings.ToUpper(strconv.FormatUint(uint64(r)+0x100, 16)[1:]))
		default:
			w.WriteRune(r)
		}
	}
	w.WriteByte('"')
}

// jsonName is a field's name in camel case.
func jsonName(snake string) string {
	if name, ok := strings.CutPrefix(snake, "kraft_"); ok { // Kafka spells it KRaft
		return "kRaft" + definitions.GoName(name)
	}
	var b strings.Builder
	for i, word := range strings.Split(snake, "_") {
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		b.WriteString(word)
	}
	return b.String()
}

// isDefault reports whether a field has the value that stands for one which was not written.
func isDefault(f *definitions.Field, v reflect.Value) bool {
	switch {
	case f.Default == "null":
		return (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil()
	case f.Type == definitions.Struct && !f.Array:
		if v.Kind() == reflect.Pointer && v.IsNil() {
			return false // null is another value than one of defaults
		}
		return !slices.ContainsFunc(f.Fields, func(inner *definitions.Field) bool {
			return !isDefault(inner, reflect.Indirect(v).FieldByName(inner.GoName))
		})
	case v.Kind() == reflect.Slice:
		return v.Len() == 0 && (!f.IsNullable() || !v.IsNil()) // null is another value than empty
	case f.Default == "":
		return v.IsZero()
	case f.Type == definitions.Bool:
		return strconv.FormatBool(v.Bool()) == f.Default
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10) == f.Default
	}
	return false
}

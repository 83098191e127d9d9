package definitions

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
)

// Random makes messages and damages bytes, for tests, fuzzers and the differential runner. The same seed gives the same
// sequence.
type Random struct {
	*rand.Rand
	// Elements is the most elements of an array, and Bytes the most bytes of a string or bytes field.
	Elements, Bytes int
}

// NewRandom returns a Random of small messages: arrays of at most 3 elements, strings of at most 12 bytes.
func NewRandom(seed uint64) *Random {
	return &Random{Rand: rand.New(rand.NewPCG(seed, 0x6d696c6c)), Elements: 3, Bytes: 12}
}

// Fill sets the fields that a version has to random values that are valid on the wire, edges more often than what lies
// between. message points to a struct made by the generator from the schema, with its defaults set.
func (r *Random) Fill(message any, schema *Message, version int16) {
	r.fields(reflect.ValueOf(message).Elem(), schema.Fields, version)
}

func (r *Random) fields(v reflect.Value, fields []*Field, version int16) {
	for _, f := range fields {
		to := v.FieldByName(f.GoName)
		if !to.IsValid() {
			panic(fmt.Sprintf("%s has no field %s: is the generated code up to date?", v.Type(), f.GoName))
		}
		switch {
		case !f.Versions.Contains(version):
		case f.Tag >= 0 && r.IntN(3) == 0: // stays at its default, and off the wire
		case f.Nullable.Contains(version) && r.IntN(4) == 0:
			to.SetZero()
		default:
			r.value(to, f, version)
		}
	}
}

func (r *Random) value(to reflect.Value, f *Field, version int16) {
	if f.Array {
		n := r.IntN(r.Elements + 1)
		if n == 0 && !f.IsNullable() {
			to.SetZero()
			return
		}
		to.Set(reflect.MakeSlice(to.Type(), n, n))
		for i := range n {
			r.single(to.Index(i), f, version)
		}
		return
	}
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	r.single(to, f, version)
}

func (r *Random) single(to reflect.Value, f *Field, version int16) {
	switch f.Type {
	case Struct:
		setDefaults(to, f.Fields)
		r.fields(to, f.Fields, version)
	case Bool:
		to.SetBool(r.IntN(2) == 0)
	case Int8, Int16, Int32, Int64:
		to.SetInt(r.edge(f.Type.FixedSize() * 8))
	case Uint16, Uint32:
		to.SetUint(r.Uint64() >> (64 - f.Type.FixedSize()*8))
	case Float64:
		to.SetFloat(math.Round(r.NormFloat64()*1e6) / 1e3)
	case String:
		to.SetString(r.text())
	case UUID:
		if r.IntN(4) > 0 {
			for i := range to.Len() {
				to.Index(i).SetUint(r.Uint64() >> 56)
			}
		}
	case Bytes, Records:
		n := r.IntN(r.Bytes + 1)
		if n == 0 && !f.IsNullable() {
			to.SetZero()
			return
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint64())
		}
		to.SetBytes(b)
	}
}

// edge returns a number of so many bits: small, at the edge of a size, or any.
func (r *Random) edge(bits int) int64 {
	switch r.IntN(8) {
	case 0:
		return 0
	case 1:
		return -1
	case 2:
		return math.MaxInt64 >> (64 - bits)
	case 3:
		return math.MinInt64 >> (64 - bits)
	case 4:
		return int64(r.IntN(100))
	}
	return int64(r.Uint64()) >> (64 - bits)
}

const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.äß€µ"

func (r *Random) text() string {
	letters := []rune(alphabet)
	s := ""
	for n := r.IntN(r.Bytes + 1); len(s) < n; {
		s += string(letters[r.IntN(len(letters))])
	}
	return s
}

// setDefaults sets what the schema says a struct begins with; the generated constructors do the same.
func setDefaults(v reflect.Value, fields []*Field) {
	for _, f := range fields {
		to := v.FieldByName(f.GoName)
		switch {
		case f.Type == Struct && !f.Array && to.Kind() == reflect.Struct:
			setDefaults(to, f.Fields)
		case f.Tag >= 0 && f.IsNullable() && f.Default == "" && f.Array:
			to.Set(reflect.MakeSlice(to.Type(), 0, 0))
		case f.Tag >= 0 && f.IsNullable() && f.Default == "":
			to.Set(reflect.New(to.Type().Elem()))
		case f.Default == "" || f.Default == "null":
		case to.CanInt():
			n, _ := strconv.ParseInt(f.Default, 10, 64)
			to.SetInt(n)
		case to.Kind() == reflect.Bool:
			to.SetBool(f.Default == "true")
		}
	}
}

// Damage returns a copy of b that was cut, extended, or had bytes, lengths or bits of it changed, in one to four places.
func (r *Random) Damage(b []byte) []byte {
	b = append([]byte(nil), b...)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			return append(b, byte(r.Uint64()))
		}
		at := r.IntN(len(b))
		switch r.IntN(7) {
		case 0:
			b = b[:at]
		case 1:
			b = append(b, byte(r.Uint64()))
		case 2:
			b[at] ^= 1 << r.IntN(8)
		case 3:
			b[at] = [...]byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		case 4: // a count or a length of up to 2^31
			if at+4 <= len(b) {
				binary.BigEndian.PutUint32(b[at:], math.MaxInt32>>r.IntN(31))
			}
		case 5: // the same as a varint
			huge := binary.AppendUvarint(nil, uint64(math.MaxUint32>>r.IntN(32)))
			b = append(append(b[:at:at], huge...), b[min(len(b), at+1):]...)
		case 6:
			b = append(b[:at:at], b[min(len(b), at+1+r.IntN(8)):]...)
		}
	}
	return b
}

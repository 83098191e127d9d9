package wire_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// twin is a message of kmsg, the codec that ours must agree with byte for byte.
type twin interface {
	AppendTo(dst []byte) []byte
	ReadFrom(src []byte) error
}

func twinOf(schema *definitions.Message, version int16) twin {
	switch schema.Kind {
	case definitions.Request:
		m := kmsg.RequestForKey(schema.Number)
		if version > m.MaxVersion() {
			return nil // InitProducerId 6, which is not stable
		}
		m.SetVersion(version)
		return m
	case definitions.Response:
		m := kmsg.ResponseForKey(schema.Number)
		if version > m.MaxVersion() {
			return nil
		}
		m.SetVersion(version)
		return m
	}
	return nil
}

// filled returns a message with random fields, the same for the same seed.
func filled(schema *definitions.Message, version int16, seed uint64) wire.Message {
	m := wire.NewMessage(schema.Name)
	definitions.NewRandom(seed).Fill(m, schema, version)
	return m
}

const fillings = 20

// Our bytes, read and written by kmsg, are the same bytes; read again by us they are the same message. Where both
// call a field the same, kmsg finds the same value in it.
func TestAgreesWithKmsg(t *testing.T) {
	named, all, vectors := 0, 0, 0
	for _, schema := range definitions.Load().Messages {
		for version := schema.Versions.Min; version <= schema.Latest; version++ {
			for seed := range uint64(fillings) {
				theirs := twinOf(schema, version)
				if theirs == nil {
					break
				}
				vectors++
				ours := filled(schema, version, seed)
				want := ours.AppendTo(nil, version)
				if err := theirs.ReadFrom(want); err != nil {
					t.Fatalf("%s version %d seed %d: kmsg cannot read %x: %v", schema.Name, version, seed, want, err)
				}
				if got := theirs.AppendTo(nil); !bytes.Equal(got, want) {
					t.Fatalf("%s version %d seed %d: kmsg writes\n%x where we write\n%x", schema.Name, version, seed, got, want)
				}
				n, of, err := sameFields(schema.Fields, version, reflect.ValueOf(ours).Elem(), reflect.ValueOf(theirs).Elem())
				if err != nil {
					t.Fatalf("%s version %d seed %d: %v", schema.Name, version, seed, err)
				}
				named, all = named+n, all+of
				checkRoundTrip(t, schema, ours, version, want)
			}
		}
	}
	if vectors < 10_000 || named < all*6/10 {
		t.Errorf("%d messages were compared, and %d of %d fields by name; want more", vectors, named, all)
	}
}

// checkRoundTrip reads a message's bytes and wants the message back, and the same bytes again.
func checkRoundTrip(t *testing.T, schema *definitions.Message, m wire.Message, version int16, b []byte) {
	t.Helper()
	again := wire.NewMessage(schema.Name)
	if err := wire.Decode(again, version, b); err != nil {
		t.Fatalf("%s version %d: cannot read back %x: %v", schema.Name, version, b, err)
	}
	if got := again.AppendTo(nil, version); !bytes.Equal(got, b) {
		t.Fatalf("%s version %d: written again it is\n%x, was\n%x", schema.Name, version, got, b)
	}
	if !reflect.DeepEqual(m, again) {
		t.Fatalf("%s version %d: read back as\n%s\nwas\n%s", schema.Name, version, show(again), show(m))
	}
	for cut := range b {
		if err := wire.Decode(again, version, b[:cut]); err == nil {
			t.Fatalf("%s version %d: the first %d of %d bytes are taken for a message", schema.Name, version, cut, len(b))
		}
	}
}

func show(m wire.Message) string { return fmt.Sprintf("%#v", m) }

// sameFields compares the fields that a version has and that both call the same, but for case. It returns how many it
// compared and how many there are on our side.
func sameFields(fields []*definitions.Field, version int16, ours, theirs reflect.Value) (compared, all int, err error) {
	for _, f := range fields {
		if !f.Versions.Contains(version) {
			continue
		}
		all++
		other := theirs.FieldByNameFunc(func(name string) bool { return strings.EqualFold(name, f.GoName) })
		if !other.IsValid() {
			continue
		}
		n, of, err := sameValue(f, version, ours.FieldByName(f.GoName), other)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", f.Name, err)
		}
		compared, all = compared+1+n, all+of
	}
	return compared, all, nil
}

func sameValue(f *definitions.Field, version int16, ours, theirs reflect.Value) (compared, all int, err error) {
	null := func(v reflect.Value) bool { return v.Kind() == reflect.Pointer && v.IsNil() }
	switch {
	case null(ours) && (null(theirs) || f.Type == definitions.String && theirs.IsZero()):
		return 0, 0, nil
	case null(ours) || null(theirs):
		return 0, 0, fmt.Errorf("ours is %v, kmsg's %v", ours, theirs)
	}
	ours, theirs = reflect.Indirect(ours), reflect.Indirect(theirs)
	switch {
	case f.Array && ours.Len() != theirs.Len():
		return 0, 0, fmt.Errorf("%d elements, kmsg has %d", ours.Len(), theirs.Len())
	case f.Array && f.Type == definitions.Struct:
		for i := range ours.Len() {
			n, of, err := sameFields(f.Fields, version, ours.Index(i), theirs.Index(i))
			if err != nil {
				return 0, 0, fmt.Errorf("%d: %w", i, err)
			}
			compared, all = compared+n, all+of
		}
		return compared, all, nil
	case f.Type == definitions.Struct:
		return sameFields(f.Fields, version, ours, theirs)
	case f.Array && ours.Len() == 0 || fmt.Sprint(plain(ours)) == fmt.Sprint(plain(theirs)):
		return 0, 0, nil
	}
	return 0, 0, fmt.Errorf("%v, kmsg has %v", ours, theirs)
}

// plain undresses a value of its type, since types print themselves.
func plain(v reflect.Value) any {
	switch {
	case v.Kind() == reflect.Slice:
		var list []any
		for i := range v.Len() {
			list = append(list, plain(v.Index(i)))
		}
		return list
	case v.Kind() == reflect.Array:
		return v.Convert(reflect.TypeFor[[16]byte]()).Interface()
	case v.CanInt():
		return v.Int()
	case v.CanUint():
		return v.Uint()
	}
	return v.Interface()
}

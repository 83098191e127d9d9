package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
)

// eachCodec calls f with every message that has a generated codec, at every version.
func eachCodec(f func(schema *definitions.Message, version int16)) {
	for _, schema := range definitions.Load().Messages {
		if schema.Kind == definitions.Described {
			continue
		}
		for version := schema.Versions.Min; version <= schema.Latest; version++ {
			f(schema, version)
		}
	}
}

// The constants of the cost bound follow from the schemas: for each array of structs, what one element costs at most
// over the fewest bytes that it takes.
func TestCostFollowsFromSchemas(t *testing.T) {
	var worstMemory, worstSteps float64
	var memoryAt, stepsAt string
	eachCodec(func(schema *definitions.Message, version int16) {
		var visit func(typ reflect.Type, fields []*definitions.Field)
		visit = func(typ reflect.Type, fields []*definitions.Field) {
			for _, f := range fields {
				if f.Type != definitions.Struct || !f.Versions.Contains(version) {
					continue
				}
				member, _ := typ.FieldByName(f.GoName)
				inner := member.Type
				for inner.Kind() != reflect.Struct {
					inner = inner.Elem()
				}
				visit(inner, f.Fields)
				if !f.Array {
					continue
				}
				least := definitions.MinSize(schema, f.Fields, version)
				if least == 0 {
					t.Errorf("an element of %s in %s version %d takes no bytes", f.Name, schema.Name, version)
					continue
				}
				pointers, steps := cost(inner, f.Fields, version)
				// The sizes of the room, 16, 32, 64 and so on up to the count, add up to less than three times the last.
				memory := float64(3*int(inner.Size())+pointers)/float64(least) + 1
				if memory > worstMemory {
					worstMemory, memoryAt = memory, fmt.Sprintf("%s.%s version %d", schema.Name, f.Name, version)
				}
				if s := float64(steps) / float64(least); s > worstSteps {
					worstSteps, stepsAt = s, fmt.Sprintf("%s.%s version %d", schema.Name, f.Name, version)
				}
			}
		}
		visit(reflect.TypeOf(wire.NewMessage(schema.Name)).Elem(), schema.Fields)
	})
	t.Logf("memory %.1f bytes per byte (%s), %.1f steps per byte (%s)", worstMemory, memoryAt, worstSteps, stepsAt)
	if worstMemory > wire.DecodeBytesPerByte {
		t.Errorf("%s costs %.1f bytes per byte, more than DecodeBytesPerByte = %d", memoryAt, worstMemory, wire.DecodeBytesPerByte)
	}
	if worstSteps > wire.DecodeStepsPerByte {
		t.Errorf("%s costs %.1f steps per byte, more than DecodeStepsPerByte = %d", stepsAt, worstSteps, wire.DecodeStepsPerByte)
	}
}

// cost returns the bytes behind the pointers of a struct when none is null and all are empty, and its steps.
func cost(typ reflect.Type, fields []*definitions.Field, version int16) (pointers, steps int) {
	for _, f := range fields {
		if !f.Versions.Contains(version) {
			continue
		}
		steps++
		member, _ := typ.FieldByName(f.GoName)
		inner := member.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
			pointers += int(inner.Size())
		}
		if f.Type == definitions.Struct && !f.Array {
			p, s := cost(inner, f.Fields, version)
			pointers, steps = pointers+p, steps+s
		}
	}
	return pointers, steps + 1 // the number of tags
}

// decodeCost decodes and holds the bound, in what the reader counts and in what the allocator and the clock say.
func decodeCost(t *testing.T, schema *definitions.Message, version int16, b []byte) {
	t.Helper()
	m := wire.NewMessage(schema.Name)
	var before, after runtime.MemStats
	large := len(b) >= 1<<14
	if large {
		runtime.ReadMemStats(&before)
	}
	start := time.Now()
	r := wire.NewReader(b)
	m.Decode(r, version)
	took := time.Since(start)
	limit := wire.DecodeBytesPerByte*len(b) + wire.DecodeBytesFixed
	if r.Charged() > limit {
		t.Errorf("%s version %d: %d bytes cost %d, more than %d: %.32x…", schema.Name, version, len(b), r.Charged(), limit, b)
	}
	if !large {
		return
	}
	runtime.ReadMemStats(&after)
	// The allocator rounds up, small strings to 8 or 16 bytes; others may run beside the test.
	if made := after.TotalAlloc - before.TotalAlloc; made > uint64(2*limit+1<<20) {
		t.Errorf("%s version %d: %d bytes made %d bytes of memory, more than twice %d", schema.Name, version, len(b), made, limit)
	}
	// A step takes some nanoseconds; the slack is for a busy machine. What this finds is a loop that nothing bounds.
	if most := time.Duration(len(b)*wire.DecodeStepsPerByte)*250 + 500*time.Millisecond; took > most {
		t.Errorf("%s version %d: %d bytes took %v, more than %v", schema.Name, version, len(b), took, most)
	}
}

// Bytes that mean harm: counts and lengths of up to 2^32, tags without end, arrays in arrays.
func TestCostOfHostileBytes(t *testing.T) {
	var hostile [][]byte
	for _, fill := range []byte{0x00, 0x01, 0x02, 0x7f, 0x80, 0xff} {
		hostile = append(hostile, bytes.Repeat([]byte{fill}, 1000))
	}
	for _, count := range []uint64{1 << 10, 1 << 25, 1 << 31, 1<<32 - 1} {
		hostile = append(hostile,
			bytes.Repeat(binary.AppendUvarint(nil, count), 200),
			append(binary.AppendUvarint(nil, count), make([]byte, 1000)...),
			bytes.Repeat(binary.BigEndian.AppendUint32(nil, uint32(count)), 200),
			append(binary.BigEndian.AppendUint32(nil, uint32(count)), make([]byte, 1000)...))
	}
	eachCodec(func(schema *definitions.Message, version int16) {
		for _, b := range hostile {
			decodeCost(t, schema, version, b)
		}
		whole := filled(schema, version, 1).AppendTo(nil, version)
		for at := range whole { // the same in the place of any byte of a message that is good
			for _, b := range hostile[6:] {
				decodeCost(t, schema, version, append(whole[:at:at], b[:min(len(b), 64)]...))
			}
		}
	})
}

// The worst that is well-formed: each array of structs full of the smallest elements, with pointers to nothing in them.
func TestCostOfSmallElements(t *testing.T) {
	eachCodec(func(schema *definitions.Message, version int16) {
		if version != schema.Latest && version != schema.Versions.Min {
			return
		}
		for _, target := range schema.Structs() {
			if !target.Array || !target.Versions.Contains(version) {
				continue
			}
			m := wire.NewMessage(schema.Name)
			swell(reflect.ValueOf(m).Elem(), schema.Fields, version, target, 4000)
			b := m.AppendTo(nil, version)
			if err := wire.Decode(wire.NewMessage(schema.Name), version, b); err != nil {
				t.Fatalf("%s version %d, %s: %v", schema.Name, version, target.Name, err)
			}
			decodeCost(t, schema, version, b)
		}
	})
}

// swell gives the target n elements and whatever it is nested in one, and lets no pointer be null.
func swell(v reflect.Value, fields []*definitions.Field, version int16, target *definitions.Field, n int) {
	for _, f := range fields {
		to := v.FieldByName(f.GoName)
		if !f.Versions.Contains(version) {
			continue
		}
		count := 0
		if f == target {
			count = n
		} else if contains(f, target) {
			count = 1
		}
		switch {
		case f.Type == definitions.Struct && f.Array:
			if count > 0 {
				to.Set(reflect.MakeSlice(to.Type(), count, count))
			}
			for i := range count {
				swell(to.Index(i), f.Fields, version, target, n)
			}
		case f.Type == definitions.Struct && to.Kind() == reflect.Pointer:
			to.Set(reflect.New(to.Type().Elem()))
			swell(to.Elem(), f.Fields, version, target, n)
		case f.Type == definitions.Struct:
			swell(to, f.Fields, version, target, n)
		case to.Kind() == reflect.Pointer:
			to.Set(reflect.New(to.Type().Elem()))
		}
	}
}

func contains(f, target *definitions.Field) bool {
	for _, inner := range f.Fields {
		if inner == target || contains(inner, target) {
			return true
		}
	}
	return false
}

// The bombs of which kmsg dies: a tag section and an array that claim to be long.
func TestBombs(t *testing.T) {
	start := time.Now()
	tags := binary.AppendUvarint([]byte{0, 0, 1, 0, 0, 0, 0, 1}, 1<<32-1)
	if err := wire.Decode(new(wire.ProduceRequest), 9, tags); err == nil {
		t.Error("2^32 tags in 13 bytes are taken")
	}
	var p wire.Produce
	if err := p.Decode(9, tags); err == nil {
		t.Error("2^32 tags in 13 bytes are taken by the hot codec")
	}
	if _, _, err := wire.ParseRequestHeader(append([]byte{0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff}, 0xff, 0xff, 0xff, 0xff, 0x0f)); err == nil {
		t.Error("2^32 tags in a header are taken")
	}
	array := append([]byte{0, 0, 1, 0, 0, 0, 0}, binary.AppendUvarint(nil, 1<<20)...)
	r := wire.NewReader(append(array, make([]byte, 1<<20)...))
	new(wire.ProduceRequest).Decode(r, 9)
	if r.Err() == nil || r.Charged() > 10_000 {
		t.Errorf("an array that claims 2^20 elements costs %d bytes, error %v", r.Charged(), r.Err())
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("bombs took %v", took)
	}
}

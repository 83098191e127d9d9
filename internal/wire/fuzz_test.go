package wire_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
)

// codecs lists every generated codec at every version, so that two bytes of a fuzzer's input can pick one.
func codecs() (list []struct {
	schema  *definitions.Message
	version int16
}) {
	eachCodec(func(schema *definitions.Message, version int16) {
		list = append(list, struct {
			schema  *definitions.Message
			version int16
		}{schema, version})
	})
	return list
}

// FuzzDecode takes any bytes for any message: the first two pick it and its version. What can be read costs no more than
// it may, and is the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	all := codecs()
	for i, c := range all {
		f.Add(append(binary.BigEndian.AppendUint16(nil, uint16(i)), filled(c.schema, c.version, 3).AppendTo(nil, c.version)...))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) < 2 {
			return
		}
		c := all[int(binary.BigEndian.Uint16(input))%len(all)]
		b := input[2:]
		m := wire.NewMessage(c.schema.Name)
		r := wire.NewReader(b)
		m.Decode(r, c.version)
		if limit := wire.DecodeBytesPerByte*len(b) + wire.DecodeBytesFixed; r.Charged() > limit {
			t.Fatalf("%s version %d: %d bytes cost %d, more than %d", c.schema.Name, c.version, len(b), r.Charged(), limit)
		}
		if err := wire.DecodeRequest(wire.NewMessage(c.schema.Name), c.version, b); (err == nil) != (r.Err() == nil) {
			t.Fatalf("%s version %d: %x is %v, as a request %v", c.schema.Name, c.version, b, r.Err(), err)
		}
		if r.Finish() != nil {
			return
		}
		written := m.AppendTo(nil, c.version)
		again := wire.NewMessage(c.schema.Name)
		if err := wire.Decode(again, c.version, written); err != nil {
			t.Fatalf("%s version %d: reads %x, writes %x, and cannot read that: %v", c.schema.Name, c.version, b, written, err)
		}
		// Bytes, not values, are compared: a NaN is not equal to itself.
		if rewritten := again.AppendTo(nil, c.version); !bytes.Equal(rewritten, written) {
			t.Fatalf("%s version %d: written %x, then %x", c.schema.Name, c.version, written, rewritten)
		}
	})
}

// FuzzHot takes any bytes for a Produce or Fetch request: both codecs must say the same of it, in memory used before.
func FuzzHot(f *testing.F) {
	for _, name := range []string{"ProduceRequest", "FetchRequest"} {
		schema := definitions.Load().Message(name)
		for version := schema.Versions.Min; version <= schema.Latest; version++ {
			f.Add(schema.Number == int16(wire.KeyFetch), byte(version), filled(schema, version, 3).AppendTo(nil, version))
		}
	}
	var produce wire.Produce
	var fetch wire.Fetch
	f.Fuzz(func(t *testing.T, isFetch bool, version byte, b []byte) {
		key := wire.KeyProduce
		if isFetch {
			key = wire.KeyFetch
		}
		info, _ := wire.Lookup(key)
		v := info.MinVersion + int16(version)%(info.MaxVersion-info.MinVersion+1)
		if err := hotAndCold(&produce, &fetch, key, v, b); err != nil {
			t.Fatalf("%s version %d, %x: %v", key, v, b, err)
		}
	})
}

// FuzzHeader takes any bytes for a stream of frames, and each frame for a request: what a header says is what it is
// written as.
func FuzzHeader(f *testing.F) {
	for _, a := range wire.APIs() {
		frame := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: a.Key, Version: a.MaxVersion, CorrelationID: 1, ClientID: "c"})
		wire.EndFrame(frame, 0)
		f.Add(append(frame, 0, 0))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		for {
			frame, behind, err := wire.SplitFrame(stream, 1<<20)
			if err != nil || frame == nil {
				return
			}
			stream = behind
			h, body, err := wire.ParseRequestHeader(frame)
			if err != nil {
				continue
			}
			again, rest, err := wire.ParseRequestHeader(append(wire.AppendRequestHeader(nil, h), body...))
			if err != nil || again != h || !bytes.Equal(rest, body) {
				t.Fatalf("%x: header %+v is read back as %+v, %v", frame, h, again, err)
			}
			wire.ParseResponseHeader(frame, h.Key, h.Version)
		}
	})
}

// FuzzStored takes any bytes for a stored record of any kind, frame included.
func FuzzStored(f *testing.F) {
	f.Add(byte(0), wire.AppendMetadataRecord(nil, &wire.TopicRecord{Name: "t"}, 0))
	f.Add(byte(1), wire.AppendRemoteLogRecord(nil, &wire.RemotePartitionDeleteMetadataRecord{}, 0))
	f.Add(byte(2), wire.AppendCoordinatorKey(nil, &wire.OffsetCommitKey{Group: "g"}))
	f.Add(byte(3), wire.AppendCoordinatorValue(nil, &wire.OffsetCommitValue{}, 3))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		topic := wire.CoordinatorTopic(kind / 4 % 3)
		decode := func(b []byte) (m wire.Message, version int16, err error) {
			switch kind % 4 {
			case 0:
				return wire.DecodeMetadataRecord(b)
			case 1:
				return wire.DecodeRemoteLogRecord(b)
			case 2:
				m, err = wire.DecodeCoordinatorKey(topic, b)
				return m, 0, err
			}
			return wire.DecodeCoordinatorValue(topic, int16(kind/16), b)
		}
		m, version, err := decode(b)
		if kind%4 >= 2 { // who reads one after the other reads the same
			reader := wire.NewCoordinatorReader(topic)
			for range 2 {
				var again wire.Message
				var failed error
				if kind%4 == 2 {
					again, failed = reader.Key(b)
				} else {
					again, _, failed = reader.Value(int16(kind/16), b)
				}
				if (failed == nil) != (err == nil) || !reflect.DeepEqual(again, m) && err == nil {
					t.Fatalf("%x is %+v, %v, and then %+v, %v", b, m, err, again, failed)
				}
			}
		}
		if err != nil {
			return
		}
		var written []byte
		switch kind % 4 {
		case 0:
			written = wire.AppendMetadataRecord(nil, m, version)
		case 1:
			written = wire.AppendRemoteLogRecord(nil, m, version)
		case 2:
			written = wire.AppendCoordinatorKey(nil, m)
		case 3:
			written = wire.AppendCoordinatorValue(nil, m, version)
		}
		again, _, err := decode(written)
		if err != nil || reflect.TypeOf(again) != reflect.TypeOf(m) {
			t.Fatalf("%x is a %s, written as %x, read back as %T: %v", b, m.Info().Name, written, again, err)
		}
	})
}

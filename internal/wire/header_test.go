package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequestHeader(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        wire.RequestHeader
	}{
		{"not flexible", "0000 0003 00000007 0002 6162", wire.RequestHeader{Key: wire.KeyProduce, Version: 3, CorrelationID: 7, ClientID: "ab"}},
		{"null client id", "0003 0001 ffffffff ffff", wire.RequestHeader{Key: wire.KeyMetadata, Version: 1, CorrelationID: -1, NullClientID: true}},
		{"flexible", "0012 0003 00000001 0000 00", wire.RequestHeader{Key: wire.KeyApiVersions, Version: 3, CorrelationID: 1}},
		{"SaslHandshake is never flexible", "0011 0001 00000001 0001 78", wire.RequestHeader{Key: wire.KeySaslHandshake, Version: 1, CorrelationID: 1, ClientID: "x"}},
	} {
		body := []byte{0xca, 0xfe}
		b := fromHex(t, c.bytes)
		got, rest, err := wire.ParseRequestHeader(append(b[:len(b):len(b)], body...))
		if err != nil || got != c.want || !bytes.Equal(rest, body) {
			t.Errorf("%s: %+v, body %x, %v; want %+v", c.name, got, rest, err, c.want)
		}
		if again := wire.AppendRequestHeader(nil, got); !bytes.Equal(again, b) {
			t.Errorf("%s: written as %x, was %x", c.name, again, b)
		}
	}

	tagged := fromHex(t, "0012 0003 00000001 0001 78 02 05 02 aabb 7f 00")
	if h, rest, err := wire.ParseRequestHeader(tagged); err != nil || len(rest) != 0 || h.ClientID != "x" {
		t.Errorf("tags nobody knows: %+v, body %x, %v", h, rest, err)
	}
}

func TestRequestHeaderIsUnsupported(t *testing.T) {
	for _, c := range []struct {
		name, bytes string
		want        wire.RequestHeader
	}{
		{"a key that does not exist", "7fff 0000 00000005 0001 78", wire.RequestHeader{Key: 0x7fff, CorrelationID: 5}},
		{"a key that Kafka removed", "0004 0007 00000005 0001 78", wire.RequestHeader{Key: 4, Version: 7, CorrelationID: 5}},
		{"a negative key", "ffff 0000 00000005", wire.RequestHeader{Key: -1, CorrelationID: 5}},
		{"Produce 2, which is advertised and not there", "0000 0002 00000005 0001 78", wire.RequestHeader{Version: 2, CorrelationID: 5}},
		{"an unstable version", "0016 0006 00000005 0001 78 00", wire.RequestHeader{Key: wire.KeyInitProducerId, Version: 6, CorrelationID: 5}},
		{"ApiVersions of the future, in full", "0012 0063 00000005 0001 78 00", wire.RequestHeader{Key: wire.KeyApiVersions, Version: 99, CorrelationID: 5, ClientID: "x"}},
		{"ApiVersions of a negative version", "0012 ffff 00000005 0001 78", wire.RequestHeader{Key: wire.KeyApiVersions, Version: -1, CorrelationID: 5, ClientID: "x"}},
	} {
		_, _, err := wire.ParseRequestHeader(fromHex(t, c.bytes))
		var unsupported *wire.UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Header != c.want {
			t.Errorf("%s: %v, %+v; want %+v", c.name, err, unsupported, c.want)
		}
	}
	for _, short := range []string{"", "00", "0000 0003 000000", "0012 0003 00000001 0005 61", "0012 0003 00000001 0001 61", "0012 0003 00000001 0001 61 01 00 02 00"} {
		if _, _, err := wire.ParseRequestHeader(fromHex(t, short)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("header %q: %v, want ErrMalformed", short, err)
		}
	}
}

func TestRequestHeaderOfOneConnectionIsNoGarbage(t *testing.T) {
	frame := fromHex(t, "0000 0009 00000007 0008 7264 6b616661 2d31 00")
	var h wire.RequestHeader
	if n := testing.AllocsPerRun(100, func() { h.Parse(frame) }); n != 0 || h.ClientID != "rdkafa-1" {
		t.Errorf("%v allocations for %+v", n, h)
	}
}

func TestResponseHeader(t *testing.T) {
	for _, c := range []struct {
		key     wire.APIKey
		version int16
		want    string
	}{
		{wire.KeyProduce, 8, "00000007"},
		{wire.KeyProduce, 9, "0000000700"},
		{wire.KeyApiVersions, 5, "00000007"},
		{wire.KeyOffsetDelete, 0, "00000007"},
	} {
		b := wire.AppendResponseHeader(nil, c.key, c.version, 7)
		if hex.EncodeToString(b) != c.want {
			t.Errorf("%s version %d: header %x, want %s", c.key, c.version, b, c.want)
		}
		id, body, err := wire.ParseResponseHeader(append(b, 1), c.key, c.version)
		if id != 7 || len(body) != 1 || err != nil {
			t.Errorf("%s version %d: read back %d, body %x, %v", c.key, c.version, id, body, err)
		}
	}
	if _, _, err := wire.ParseResponseHeader([]byte{0, 0, 0}, wire.KeyProduce, 9); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("three bytes: %v", err)
	}
}

func TestUnsupportedAPIVersions(t *testing.T) {
	r := wire.UnsupportedAPIVersions(7)
	got, err := r.AppendTo(nil)
	// size, correlation id, error 35, one key: 18, versions 0 to 5
	if want := "00000010" + "00000007" + "0023" + "00000001" + "0012" + "0000" + "0005"; err != nil || hex.EncodeToString(got) != want {
		t.Errorf("%x, %v; want %s", got, err, want)
	}
}

func TestVersionTable(t *testing.T) {
	brokers := 0
	for _, a := range wire.APIs() {
		got, ok := wire.Lookup(a.Key)
		request, response := wire.NewRequest(a.Key), wire.NewResponse(a.Key)
		if !ok || got != a || a.Key.String() != a.Name {
			t.Errorf("%s is looked up as %+v", a.Name, got)
		}
		for _, m := range []wire.Message{request, response} {
			if i := m.Info(); i.Type != int16(a.Key) || i.MinVersion != a.MinVersion || i.MaxVersion != a.MaxVersion || i.Latest != a.UnstableMax || i.FlexibleFrom != a.FlexibleFrom {
				t.Errorf("%s: %+v does not agree with %+v", i.Name, i, a)
			}
		}
		if a.Broker {
			brokers++
		}
	}
	if brokers != 79 {
		t.Errorf("%d APIs are answered by brokers, want 79", brokers)
	}
	if _, ok := wire.Lookup(95); ok || wire.NewRequest(95) != nil || wire.NewResponse(-1) != nil || wire.APIKey(95).String() != "API key 95" {
		t.Error("an unknown key is known")
	}
	if i, _ := wire.Lookup(wire.KeyInitProducerId); i.MaxVersion != 5 || i.UnstableMax != 6 {
		t.Errorf("InitProducerId: %+v", i)
	}
}

func TestFrames(t *testing.T) {
	frame := wire.BeginFrame([]byte("before"))
	frame = append(frame, "body"...)
	wire.EndFrame(frame, 6)
	if string(frame) != "before\x00\x00\x00\x04body" {
		t.Fatalf("frame %q", frame)
	}
	stream := append(frame[6:], 0, 0, 0)
	got, behind, err := wire.SplitFrame(stream, 4)
	if string(got) != "body" || len(behind) != 3 || err != nil {
		t.Errorf("split into %q and %x, %v", got, behind, err)
	}
	for _, half := range [][]byte{nil, {0, 0}, {0, 0, 0, 4, 1, 2, 3}} {
		if got, behind, err := wire.SplitFrame(half, 4); got != nil || len(behind) != len(half) || err != nil {
			t.Errorf("half a frame %x: %x, %x, %v", half, got, behind, err)
		}
	}
	for _, bad := range [][]byte{{0, 0, 0, 5}, {0xff, 0xff, 0xff, 0xff}, []byte("GET / HTTP")} {
		if _, _, err := wire.SplitFrame(bad, 4); !errors.Is(err, wire.ErrFrameSize) {
			t.Errorf("size %x: %v", bad, err)
		}
	}
}

// countedRange is a range of which a test sees how often it was released.
type countedRange struct {
	wire.BytesRange
	released int
}

func (r *countedRange) Release() { r.released++ }

func TestResponseReleases(t *testing.T) {
	records, done := &countedRange{BytesRange: []byte("records")}, 0
	r := wire.Response{Parts: []wire.Part{{Bytes: []byte("head")}, {Range: records}}, OnRelease: func() { done++ }}
	b, err := r.AppendTo(nil)
	if string(b) != "headrecords" || r.Size() != len(b) || err != nil || r.IsEmpty() {
		t.Errorf("%q of size %d, %v", b, r.Size(), err)
	}
	r.Release()
	r.Release()
	if records.released != 1 || done != 1 || !r.IsEmpty() || r.Size() != 0 {
		t.Errorf("released %d times, done %d times, size %d", records.released, done, r.Size())
	}
	short := wire.Response{Parts: []wire.Part{{Range: lyingRange{records}}}}
	if _, err := short.AppendTo(nil); err == nil {
		t.Error("a range that holds less than it says goes unnoticed")
	}
}

// lyingRange says that it has more bytes than there are.
type lyingRange struct{ *countedRange }

func (r lyingRange) Len() int { return r.countedRange.Len() + 1 }

func TestMessageResponse(t *testing.T) {
	r := wire.MessageResponse(wire.KeyFindCoordinator, 3, 9, &wire.FindCoordinatorResponse{ErrorCode: kafka.CoordinatorNotAvailable, NodeID: -1, Port: -1})
	b, _ := r.AppendTo(nil)
	if want := "00000016 00000009 00 00000000 000f 00 ffffffff 01 ffffffff 00"; !bytes.Equal(b, fromHex(t, want)) {
		t.Errorf("%x, want %s", b, want)
	}
}

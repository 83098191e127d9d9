package hostile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// sent writes bytes on a connection of their own and returns what came of it: an answer, the connection's end, or
// nothing in time.
func (v *victim) sent(b []byte, within time.Duration) string {
	v.t.Helper()
	c, err := net.Dial("tcp", v.Addr)
	if err != nil {
		v.t.Fatalf("%v\n%s", err, v.Output())
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(within))
	c.Write(b) // it may have been cut off while this was written
	var head [4]byte
	switch _, err := io.ReadFull(c, head[:]); {
	case err == nil:
		return "an answer"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing"
	}
	return "the end"
}

func frame(key wire.APIKey, version int16, body ...byte) []byte {
	b := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: key, Version: version, CorrelationID: 1, ClientID: "hostile"})
	b = append(b, body...)
	wire.EndFrame(b, 0)
	return b
}

func size(n uint32, behind ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, n), behind...)
}

// TestBrokenFrames: what cannot be a request ends its connection; what may still become one is waited for.
func TestBrokenFrames(t *testing.T) {
	v := start(t, nil)
	b := v.watch()
	whole := frame(wire.KeyApiVersions, 3, 9, 'h', 'o', 's', 't', 'i', 'l', 'e', '!', 2, '1', 0)
	cases := []struct {
		name string
		sent []byte
		want string
	}{
		{"half a size", []byte{0, 0}, "nothing"},
		{"half a frame", whole[:len(whole)/2], "nothing"},
		{"a size of nothing", size(0), "the end"},
		{"a size of less than a header", size(3, 0, 18, 0), "the end"},
		{"a negative size", size(0xffffffff, whole[4:]...), "the end"},
		{"the largest size", size(0x7fffffff, whole[4:]...), "the end"},
		{"a size beyond socket.request.max.bytes", size(100<<20+1, whole[4:]...), "the end"},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "the end"},
		{"TLS", []byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, "the end"},
		{"an unknown API", frame(5432, 0), "the end"},
		{"a negative API", frame(-1, 0), "the end"},
		{"an unknown version", frame(wire.KeyMetadata, 99), "the end"},
		{"a future ApiVersions", frame(wire.KeyApiVersions, 99), "an answer"},
		{"garbage behind a header", frame(wire.KeyMetadata, 12, bytes.Repeat([]byte{0xff}, 100)...), "the end"},
		{"bytes behind a body", frame(wire.KeyApiVersions, 0, 1, 2, 3), "an answer"},
		{"a client id that claims too much", size(12, 0, 18, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 'x', 'y'), "the end"},
		{"a whole request", whole, "an answer"},
	}
	for _, c := range cases {
		within := 10 * time.Second
		if c.want == "nothing" {
			within = 300 * time.Millisecond
		}
		if got := v.sent(c.sent, within); got != c.want {
			t.Errorf("%s: %s comes of it, want %s", c.name, got, c.want)
		}
	}
	b.served(5 * time.Second)
	v.over("broken frames")
}

// TestTruncatedBodies: every API at every version with a body of defaults, with bodies that end too early, and with random
// ones. Each is answered or ends its connection, at once.
func TestTruncatedBodies(t *testing.T) {
	v := start(t, nil)
	b := v.watch()
	dice := rand.New(rand.NewPCG(1, 2))
	requests, answers := 0, 0
	for _, api := range wire.APIs() {
		for version := api.MinVersion; version <= api.MaxVersion; version++ {
			body := wire.NewRequest(api.Key).AppendTo(nil, version)
			bodies := [][]byte{body, nil, bytes.Repeat([]byte{0xff}, 64), bytes.Repeat([]byte{0x7f}, 64), bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{0}, 64)}
			for cut := range min(len(body), 12) {
				bodies = append(bodies, body[:cut])
			}
			for range 6 {
				random := make([]byte, dice.IntN(200))
				for i := range random {
					random[i] = byte(dice.Uint32() >> (8 * dice.IntN(3))) // small numbers get further than large ones
				}
				bodies = append(bodies, random)
			}
			for _, body := range bodies {
				requests++
				within, waits := 20*time.Second, false
				if api.Key == wire.KeyProduce || api.Key == wire.KeyFetch { // no answer may be asked for, or one that comes late
					within, waits = 100*time.Millisecond, true
				}
				switch v.sent(frame(api.Key, version, body...), within) {
				case "an answer":
					answers++
				case "nothing":
					if !waits {
						t.Errorf("%v version %d: neither an answer nor the end comes of % x", api.Key, version, body)
					}
				}
			}
		}
	}
	t.Logf("%d requests, of which %d were answered", requests, answers)
	if answers == 0 {
		t.Error("nothing was answered, not even whole bodies")
	}
	b.served(5 * time.Second)
	v.over("truncated bodies")
}

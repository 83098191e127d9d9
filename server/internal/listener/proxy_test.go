package listener

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
)

// v2 writes a header of version 2.
func v2(command, family byte, rest ...byte) []byte {
	header := append([]byte(proxySignature), command, family)
	return append(binary.BigEndian.AppendUint16(header, uint16(len(rest))), rest...)
}

var (
	over4 = []byte{192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x23, 0x84} // 192.0.2.1:56324 to 198.51.100.7:9092
	over6 = append(append(bytes.Repeat([]byte{0x20, 1}, 8), bytes.Repeat([]byte{0x20, 2}, 8)...), 0xdc, 0x04, 0x23, 0x84)
)

func TestProxyHeaders(t *testing.T) {
	for _, c := range []struct {
		what           string
		header         []byte
		client, dialed string
		wrong          string
	}{
		{"version 1", []byte("PROXY TCP4 192.0.2.1 198.51.100.7 56324 9092\r\n"), "192.0.2.1:56324", "198.51.100.7:9092", ""},
		{"version 1 over IPv6", []byte("PROXY TCP6 2001:db8::1 2001:db8::2 1 9092\r\n"), "[2001:db8::1]:1", "[2001:db8::2]:9092", ""},
		{"version 1 of nobody", []byte("PROXY UNKNOWN what ever\r\n"), "invalid AddrPort", "invalid AddrPort", ""},
		{"version 2", v2(0x21, 0x11, over4...), "192.0.2.1:56324", "198.51.100.7:9092", ""},
		{"version 2 with more", v2(0x21, 0x11, append(bytes.Clone(over4), 2, 0, 1, 'x')...), "192.0.2.1:56324", "198.51.100.7:9092", ""},
		{"version 2 over IPv6", v2(0x21, 0x21, over6...), "[2001:2001:2001:2001:2001:2001:2001:2001]:56324", "[2002:2002:2002:2002:2002:2002:2002:2002]:9092", ""},
		{"the proxy itself", v2(0x20, 0x00), "invalid AddrPort", "invalid AddrPort", ""},
		{"a unix socket", v2(0x21, 0x31, make([]byte, 216)...), "invalid AddrPort", "invalid AddrPort", ""},
		{"a Kafka request", append([]byte{0, 0, 0, 20}, make([]byte, 20)...), "", "", "does not begin with a PROXY protocol header"},
		{"nothing", nil, "", "", "does not begin with a PROXY protocol header"},
		{"another version", v2(0x31, 0x11, over4...), "", "", "version 3 and command 1"},
		{"another command", v2(0x22, 0x11, over4...), "", "", "version 2 and command 2"},
		{"too short", v2(0x21, 0x11, over4[:11]...), "", "", "11 bytes of addresses"},
		{"cut off", v2(0x21, 0x11, over4...)[:20], "", "", "in the PROXY protocol header"},
		{"a line without end", append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 200)...), "", "", "more than 107 bytes"},
		{"a line of another kind", []byte("PROXY UDP4 192.0.2.1 198.51.100.7 56324 9092\r\n"), "", "", "is not understood"},
		{"no addresses", []byte("PROXY TCP4 here there 1 2\r\n"), "", "", "is not understood"},
	} {
		r := bytes.NewReader(append(bytes.Clone(c.header), "next"...))
		if c.wrong != "" {
			r = bytes.NewReader(c.header)
		}
		p, err := readProxy(r)
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%s: said %v, want %s", c.what, err, c.wrong)
			}
			continue
		}
		if err != nil || p.client.String() != c.client || p.dialed.String() != c.dialed {
			t.Errorf("%s: %v to %v, %v", c.what, p.client, p.dialed, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "next" {
			t.Errorf("%s: what follows is %q", c.what, rest)
		}
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.7 56324 9092\r\n"))
	f.Add(v2(0x21, 0x11, over4...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		if p, err := readProxy(r); err == nil && p.client.IsValid() != p.dialed.IsValid() {
			t.Errorf("half of the ends: %v", p)
		}
	})
}

// Behind a load balancer a request carries the client's ends, a client counts as itself, and what comes without a header, or as
// one too many, is closed.
func TestConnectionsThroughAProxy(t *testing.T) {
	ends := make(chan [2]net.Addr, 10)
	quotas := NewQuotas()
	quotas.Set(Limits{Ceiling: Ceiling{NoLimit, NoLimit}, PerIP: 1})
	n := start(t, Config{Proxy: true, Quotas: quotas}, func(r *Request) {
		ends <- [2]net.Addr{r.Conn.Remote, r.Conn.Local}
		echo(r)
	})
	first := n.dial()
	first.send(v2(0x21, 0x11, over4...), metadata(1))
	first.next()
	if got := <-ends; got[0].String() != "192.0.2.1:56324" || got[1].String() != "198.51.100.7:9092" {
		t.Errorf("the ends are %v", got)
	}
	second := n.dial()
	second.send([]byte("PROXY TCP4 192.0.2.9 198.51.100.7 1 9092\r\n"), metadata(2)) // another client of the same proxy
	second.next()
	if got := <-ends; got[0].String() != "192.0.2.9:1" {
		t.Errorf("the ends are %v", got)
	}
	for _, opening := range [][]byte{v2(0x21, 0x11, over4...), metadata(3)} {
		c := n.dial()
		c.send(opening, metadata(4))
		c.wantClosed()
	}
	for _, reason := range []string{"max.connections.per.ip", "does not begin with a PROXY protocol header"} {
		eventually(t, "a line that says "+reason, func() bool { return strings.Contains(n.log.String(), reason) })
	}
	inside := n.pipe() // has no proxy
	inside.send(metadata(5))
	inside.next()
}

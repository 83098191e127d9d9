package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"
)

// The PROXY protocol, by which a load balancer says on whose behalf it connects. Version 1 is a line,
//
//	PROXY TCP4 192.0.2.1 198.51.100.7 56324 9092\r\n      or TCP6, or UNKNOWN and anything
//
// and version 2 is binary:
//
//	off  size
//	0    12   signature "\r\n\r\n\x00\r\nQUIT\n"
//	12   1    version 2 in the upper half; 0 LOCAL (the proxy itself, a health check) or 1 PROXY in the lower
//	13   1    family and transport: 0x11 TCP over IPv4, 0x21 TCP over IPv6, anything else is passed over
//	14   2    length of what follows
//	16        source address, destination address (4 or 16 each), source port, destination port (2 each), TLVs
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyLine      = "PROXY "
	// proxyLineMax is the longest line of version 1.
	proxyLineMax = 107
	// proxyWait is how long a connection may take to say who it is.
	proxyWait = 10 * time.Second
)

var errNoProxy = errors.New("it does not begin with a PROXY protocol header, which this listener asks for (proxy.protocol.listeners); only the load balancer may connect here")

// proxied are the ends of a connection as the proxy tells them; not valid when it speaks for itself.
type proxied struct{ client, dialed netip.AddrPort }

// readProxy reads a header and no byte more.
func readProxy(r io.Reader) (proxied, error) {
	head := make([]byte, 12, proxyLineMax) // both versions are longer
	if _, err := io.ReadFull(r, head); err != nil {
		return proxied{}, fmt.Errorf("%w: %w", errNoProxy, err)
	}
	switch {
	case string(head) == proxySignature:
		return readProxyV2(r)
	case bytes.HasPrefix(head, []byte(proxyLine)):
		return readProxyV1(r, head)
	}
	return proxied{}, errNoProxy
}

func readProxyV1(r io.Reader, line []byte) (proxied, error) {
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == proxyLineMax {
			return proxied{}, fmt.Errorf("the PROXY protocol line has more than %d bytes", proxyLineMax)
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return proxied{}, fmt.Errorf("in the PROXY protocol line: %w", err)
		}
	}
	words := strings.Split(string(line[len(proxyLine):len(line)-2]), " ")
	if words[0] == "UNKNOWN" {
		return proxied{}, nil
	}
	if len(words) != 5 || words[0] != "TCP4" && words[0] != "TCP6" {
		return proxied{}, fmt.Errorf("the PROXY protocol line %q is not understood", line)
	}
	client, err1 := netip.ParseAddrPort(net.JoinHostPort(words[1], words[3]))
	dialed, err2 := netip.ParseAddrPort(net.JoinHostPort(words[2], words[4]))
	if err := errors.Join(err1, err2); err != nil {
		return proxied{}, fmt.Errorf("the PROXY protocol line %q is not understood", line)
	}
	return proxied{client, dialed}, nil
}

func readProxyV2(r io.Reader) (proxied, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return proxied{}, fmt.Errorf("in the PROXY protocol header: %w", err)
	}
	command, family := head[0], head[1]
	if command>>4 != 2 || command&15 > 1 {
		return proxied{}, fmt.Errorf("the PROXY protocol header has version %d and command %d, which is not understood", command>>4, command&15)
	}
	rest := make([]byte, binary.BigEndian.Uint16(head[2:])) // 64 KiB at most
	if _, err := io.ReadFull(r, rest); err != nil {
		return proxied{}, fmt.Errorf("in the PROXY protocol header: %w", err)
	}
	size := 0
	switch {
	case command&15 == 0:
	case family == 0x11:
		size = 4
	case family == 0x21:
		size = 16
	}
	if size == 0 {
		return proxied{}, nil
	}
	if len(rest) < 2*size+4 {
		return proxied{}, fmt.Errorf("the PROXY protocol header has %d bytes of addresses, too few for two of its family", len(rest))
	}
	end := func(address, port int) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(rest[address : address+size])
		return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(rest[port:]))
	}
	return proxied{end(0, 2*size), end(size, 2*size+2)}, nil
}

// introduce reads who is behind the proxy that has connected, and counts the connection as that address's. Connections
// inside the process have no proxy.
func (c *Conn) introduce() error {
	if !c.l.cfg.Proxy || c.raw == nil {
		return nil
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(proxyWait)); err != nil {
		return err
	}
	p, err := readProxy(c.nc)
	if err == nil {
		err = c.nc.SetReadDeadline(time.Time{})
	}
	if err != nil || !p.client.IsValid() {
		return err
	}
	c.Remote, c.Local = net.TCPAddrFromAddrPort(p.client), net.TCPAddrFromAddrPort(p.dialed)
	if err := c.l.cfg.Quotas.move(c.ip, p.client.Addr()); err != nil {
		c.l.stats.refused.Add(1)
		return err
	}
	c.ip = p.client.Addr()
	return nil
}

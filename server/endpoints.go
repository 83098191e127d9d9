package server

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// Listener is one place where a node takes connections: an entry of `listeners`, with what the other keys
// say about it.
type Listener struct {
	Name string // upper case, such as PLAINTEXT or CONTROLLER
	Host string // what to bind; empty binds every interface
	Port int    // 0 takes a free port
	// Controller says that the listener is one of controller.listener.names: it takes the requests of the
	// quorum and of tools with --bootstrap-controller, not those of clients.
	Controller bool
	// Protocol is the security protocol that listener.security.protocol.map gives the name.
	Protocol string
	// Advertise is what clients and other nodes are told. Hidden listeners are not told of at all: they are
	// missing in an advertised.listeners that is set.
	Advertise Advertised
	Hidden    bool
	// Proxy says that connections begin with a PROXY protocol header (proxy.protocol.listeners).
	Proxy bool
}

// Advertised is an address to tell, or Auto: each client is then told the address that its own connection
// came in on, and other nodes the host name and the port that was bound (D10).
type Advertised struct {
	Auto bool
	Host string
	Port int
}

// Address returns host:port to bind.
func (l Listener) Address() string { return net.JoinHostPort(l.Host, strconv.Itoa(l.Port)) }

// String writes the listener as it stands in a properties file.
func (l Listener) String() string { return l.Name + "://" + l.Address() }

// endpoint is NAME://host:port taken apart.
type endpoint struct {
	name, host string
	port       int
}

// parseEndpoints reads a list such as `PLAINTEXT://:9092,CONTROLLER://[::1]:9093`. The error is a sentence
// about the key.
func parseEndpoints(key, list string) ([]endpoint, error) {
	var out []endpoint
	for _, item := range splitList(list) {
		e, err := parseEndpoint(item)
		if err != nil {
			return nil, fmt.Errorf("%s has the entry %q: %w", key, item, err)
		}
		for _, other := range out {
			if other.name == e.name {
				return nil, fmt.Errorf("%s names the listener %s twice; each needs a name of its own", key, e.name)
			}
			if other.port == e.port && e.port != 0 && sameHost(other.host, e.host) {
				return nil, fmt.Errorf("%s gives %s and %s the same port %d; each needs a port of its own", key, other.name, e.name, e.port)
			}
		}
		out = append(out, e)
	}
	return out, nil
}

func parseEndpoint(s string) (endpoint, error) {
	name, address, ok := strings.Cut(s, "://")
	if !ok || name == "" {
		return endpoint{}, fmt.Errorf("want NAME://host:port, such as PLAINTEXT://127.0.0.1:9092")
	}
	for _, c := range name {
		if c != '_' && c != '-' && c != '.' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return endpoint{}, fmt.Errorf("a listener's name has letters, digits, '_', '-' and '.' only")
		}
	}
	host, port, err := splitHostPort(address)
	if err != nil {
		return endpoint{}, err
	}
	return endpoint{strings.ToUpper(name), host, port}, nil
}

// listenerNames are the names in a value of listeners, which need not be right.
func listenerNames(list string) []string {
	names := []string{"PLAINTEXT"} // the default's
	for _, item := range splitList(list) {
		if name, _, ok := strings.Cut(item, "://"); ok {
			names = append(names, strings.ToUpper(name))
		}
	}
	return names
}

// splitHostPort reads host:port, where the host may be empty and an IPv6 address stands in brackets.
func splitHostPort(address string) (host string, port int, err error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not host:port", address)
	}
	port, err = strconv.Atoi(digits)
	if err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("the port %q is not a number from 0 to 65535", digits)
	}
	return host, port, nil
}

// sameHost reports whether two hosts to bind can clash on one port. Two different literal addresses cannot.
func sameHost(a, b string) bool { return a == b || wildcard(a) || wildcard(b) }

// wildcard reports whether a host stands for every interface.
func wildcard(host string) bool {
	return host == "" || host == "0.0.0.0" || host == "::"
}

// splitList reads a comma-separated list, without the empty entries.
func splitList(s string) []string {
	var out []string
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// Voter is one entry of controller.quorum.voters.
type Voter struct {
	ID   int32
	Host string
	Port int
}

// parseVoters reads `1@host:port,2@host:port`.
func parseVoters(key, list string) ([]Voter, error) {
	var out []Voter
	for _, item := range splitList(list) {
		id, address, ok := strings.Cut(item, "@")
		n, err := strconv.ParseInt(id, 10, 32)
		if !ok || err != nil || n < 0 {
			return nil, fmt.Errorf("%s has the entry %q: want id@host:port, such as 1@127.0.0.1:9093", key, item)
		}
		host, port, err := splitHostPort(address)
		if err != nil {
			return nil, fmt.Errorf("%s has the entry %q: %w", key, item, err)
		}
		out = append(out, Voter{int32(n), host, port})
	}
	return out, nil
}

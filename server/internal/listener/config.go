package listener

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/millrace-io/millrace/config"
)

const (
	maxConnections    = "max.connections"
	maxCreationRate   = "max.connection.creation.rate"
	maxPerIP          = "max.connections.per.ip"
	maxPerIPOverrides = "max.connections.per.ip.overrides"
)

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "socket.request.max.bytes", Type: config.Int, Default: config.Value("104857600"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "The largest request that is taken."},
		{Name: "connections.max.idle.ms", Type: config.Long, Default: config.Value("600000"), Importance: config.Medium,
			Doc: "How long a connection may be idle before it is closed."},
		{Name: maxConnections, Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How many connections there may be at a time, and how many each listener takes. A listener that has no place accepts nothing until one is free; the brokers' own listener takes its connections nevertheless, and then the connection of another listener that was used least recently is closed."},
		{Name: maxCreationRate, Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How many connections are accepted in a second on average, by all listeners and by each. The brokers' own listener is held to its own rate only."},
		{Name: maxPerIP, Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How many connections there may be at a time from one address; further ones are closed. It can be 0 where max.connections.per.ip.overrides says who may connect."},
		{Name: maxPerIPOverrides, Type: config.String, Default: config.Value(""), Importance: config.Medium, Update: config.ClusterWide,
			Valid: config.Func("address:number, …", func(value string) error {
				_, err := parseOverrides(value)
				return err
			}),
			Doc: "How many connections there may be from some addresses or host names, in place of max.connections.per.ip: 10.0.0.7:100,build.example.com:500. A name is looked up when the setting is read."},
		{Name: "proxy.protocol.listeners", Type: config.List, Default: config.Value(""), Importance: config.Medium,
			Doc: "The listeners whose connections come through a load balancer that begins each with a PROXY protocol header, version 1 or 2: the client's address is taken from it, and the address that the client connected to is what advertised.listeners=auto tells. A connection without one is closed. A key of Millrace."},
	}
}

// KeysOf returns the settings that one listener may have for itself. Where they are not set, those of the broker hold.
func KeysOf(name string) []config.Key {
	var keys []config.Key
	for _, k := range BrokerKeys() {
		if k.Name == maxConnections || k.Name == maxCreationRate {
			k.Synonyms = []config.Synonym{{Name: keyOf(name, k.Name)}, {Name: k.Name}}
			k.Name, k.Default, k.OnlySet = k.Synonyms[0].Name, nil, true
			keys = append(keys, k)
		}
	}
	return keys
}

// BaseKey returns the key that a setting of one listener is about.
func BaseKey(name string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(name, "listener.name.")
	if !ok {
		return "", false
	}
	_, key, ok = strings.Cut(rest, ".")
	return key, ok
}

func keyOf(listener, key string) string {
	return "listener.name." + strings.ToLower(listener) + "." + key
}

// ParseLimits reads the limits of connections for the listeners of these names; get returns a key's value, which was checked,
// and whether it is set. An address that cannot be found out is left out and joined to the error, beside which the limits hold.
func ParseLimits(get func(key string) (string, bool), listeners []string, addresses func(host string) ([]netip.Addr, error)) (Limits, error) {
	number := func(key string, otherwise int) int {
		value, ok := get(key)
		if !ok {
			return otherwise
		}
		n, err := config.ParseInt32(value)
		if err != nil {
			return otherwise
		}
		return int(n)
	}
	limits := Limits{Ceiling: Ceiling{number(maxConnections, NoLimit), number(maxCreationRate, NoLimit)}, PerIP: number(maxPerIP, NoLimit),
		IPs: make(map[netip.Addr]int), Listeners: make(map[string]Ceiling)}
	for _, l := range listeners {
		limits.Listeners[l] = Ceiling{number(keyOf(l, maxConnections), limits.Connections), number(keyOf(l, maxCreationRate), limits.Rate)}
	}
	text, _ := get(maxPerIPOverrides)
	overrides, err := parseOverrides(text)
	all := []error{err}
	for _, o := range overrides {
		ips, err := addresses(o.host)
		if err != nil {
			all = append(all, fmt.Errorf("%s: the address of %q is not known, and its limit does not hold: %w", maxPerIPOverrides, o.host, err))
		}
		for _, ip := range ips {
			limits.IPs[ip.Unmap()] = o.most
		}
	}
	return limits, errors.Join(all...)
}

// CheckLimits judges what single values do not tell: whether anybody may connect.
func CheckLimits(get func(key string) (string, bool)) error {
	most, _ := get(maxPerIP)
	overrides, _ := get(maxPerIPOverrides)
	if n, err := config.ParseInt32(most); err == nil && n == 0 && strings.TrimSpace(overrides) == "" {
		return fmt.Errorf("%s is 0, which needs %s: otherwise nobody can connect", maxPerIP, maxPerIPOverrides)
	}
	return nil
}

// Address returns the address that a host is given as, instead of by its name.
func Address(host string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return ip, err == nil
}

// override is one entry of max.connections.per.ip.overrides.
type override struct {
	host string
	most int
}

// parseOverrides reads a list such as `10.0.0.7:100,::1:5,example.com:10`: the number stands behind the last colon.
func parseOverrides(text string) ([]override, error) {
	var all []override
	for _, entry := range config.ParseList(text) {
		i := strings.LastIndexByte(entry, ':')
		if i <= 0 {
			return all, fmt.Errorf("the entry %q is not address:number", entry)
		}
		host, number := strings.TrimSpace(entry[:i]), strings.TrimSpace(entry[i+1:])
		most, err := config.ParseInt32(number)
		if err != nil || most < 0 {
			return all, fmt.Errorf("the entry %q has %q for a number of connections", entry, number)
		}
		if strings.ContainsFunc(host, func(r rune) bool {
			return !strings.ContainsRune("-%._:[]", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		}) {
			return all, fmt.Errorf("the entry %q has %q for an address or a host name", entry, host)
		}
		all = append(all, override{host, int(most)})
	}
	return all, nil
}

package server

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/offline"
)

// Config is what a node is told: Kafka's own properties, checked and joined. Make one with NewConfig or
// LoadConfig; it does not change after that.
type Config struct {
	NodeID             int32
	Broker, Controller bool // process.roles; at least one of them

	Listeners []Listener // in the order of the key `listeners`
	// InterBroker names the listener that brokers use among themselves; empty for a controller alone.
	InterBroker string

	// Voters are those of controller.quorum.voters. Where the key is not set, the voters stand in the metadata
	// log (KIP-853), to begin with this node alone.
	Voters []Voter

	LogDirs        []string // cleaned paths, at least one
	MetadataLogDir string   // one of LogDirs, or another directory

	HTTP         string // host:port of metrics and health; empty for none
	MemoryBudget int64  // bytes
	Metrics      struct{ Partitions bool }

	// Source is the file the configuration was read from, for messages; empty when there is none.
	Source string
	// Inert are the keys that were accepted without an effect, by name.
	Inert []string

	values values
}

// LoadConfig reads a properties file. Each override is key=value and replaces what stands in the file.
func LoadConfig(path string, overrides ...string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	properties, err := config.ParseProperties(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, o := range overrides {
		key, value, ok := strings.Cut(o, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, fmt.Errorf("the override %q is not key=value", o)
		}
		properties.Set(key, strings.TrimSpace(value))
	}
	c, err := NewConfig(properties)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	c.Source = path
	return c, nil
}

// NewConfig checks the properties and joins them with the defaults. An error is one sentence: the key, its
// value, and what is allowed.
func NewConfig(properties config.Properties) (*Config, error) {
	properties, err := properties.Expand()
	if err != nil {
		return nil, err
	}
	bound, _ := properties.Get("listeners")
	table := brokerTable(listenerNames(bound)...)
	inert, err := checkKeys(table, properties)
	if err != nil {
		return nil, err
	}
	c := &Config{Inert: inert, values: values{table, properties.Map()}}
	if err := listener.CheckLimits(c.values.lookup); err != nil {
		return nil, err
	}
	for _, read := range []func() error{c.readNode, c.readListeners, c.readQuorum, c.readDirectories, c.readOwn} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Static returns the properties as they were set, and of node.id and its older name broker.id each with the other. The
// caller may change what it gets.
func (c *Config) Static() map[string]string {
	static := maps.Clone(c.values.set)
	static["node.id"] = strconv.Itoa(int(c.NodeID))
	static["broker.id"] = static["node.id"]
	return static
}

// protected reports whether a listener is the brokers' own and has others beside it, which make room for it (KIP-402).
func (c *Config) protected(l Listener) bool {
	return l.Name == c.InterBroker && slices.ContainsFunc(c.Listeners, func(o Listener) bool { return o.Name != l.Name && !o.Controller })
}

// FormatOptions says what `millrace storage format` has to format for this node; the cluster id is missing.
func (c *Config) FormatOptions() offline.FormatOptions {
	o := offline.FormatOptions{NodeID: c.NodeID, LogDirs: slices.Clone(c.LogDirs), MetadataLogDir: c.MetadataLogDir,
		Controller: c.Controller, StaticVoters: len(c.Voters) > 0}
	for _, l := range c.Listeners {
		if l.Controller {
			o.Endpoints = append(o.Endpoints, offline.Endpoint{Name: l.Name, Host: cmp.Or(l.Advertise.Host, l.Host, "localhost"), Port: uint16(cmp.Or(l.Advertise.Port, l.Port))})
		}
	}
	return o
}

// readNode reads who the node is.
func (c *Config) readNode() error {
	for _, role := range c.values.list("process.roles") {
		switch role {
		case "broker":
			c.Broker = true
		case "controller":
			c.Controller = true
		}
	}
	if !c.Broker && !c.Controller {
		return errors.New("process.roles is not set; it says what the node is: broker,controller for a node of its own")
	}
	id, idSet := c.values.set["node.id"]
	old, oldSet := c.values.set["broker.id"]
	switch {
	case idSet && oldSet && strings.TrimSpace(id) != strings.TrimSpace(old):
		return fmt.Errorf("node.id is %s and broker.id is %s; they are two names of one number, set only node.id", id, old)
	case !idSet && !oldSet:
		return errors.New("node.id is not set; each node of a cluster needs a number of its own")
	case !idSet:
		c.values.set["node.id"] = old
	}
	n := c.values.int("node.id")
	if n < 0 {
		return fmt.Errorf("broker.id is %d; a node's number is given in the configuration and is at least 0", n)
	}
	c.NodeID = int32(n)
	return nil
}

// readListeners reads where the node listens, under Kafka's own rules for controllers (KIP-631).
func (c *Config) readListeners() error {
	protocols, err := c.securityProtocols()
	if err != nil {
		return err
	}
	bound, err := parseEndpoints("listeners", c.values.text("listeners"))
	if err != nil {
		return err
	}
	if len(bound) == 0 {
		return errors.New("listeners is empty; a node listens somewhere, such as PLAINTEXT://:9092")
	}
	controllers := c.values.list("controller.listener.names")
	for i := range controllers {
		controllers[i] = strings.ToUpper(controllers[i])
	}
	told, auto, err := c.advertised()
	if err != nil {
		return err
	}
	for _, e := range bound {
		l := Listener{Name: e.name, Host: e.host, Port: e.port, Controller: slices.Contains(controllers, e.name), Protocol: protocols[e.name]}
		if l.Protocol == "" && l.Controller {
			l.Protocol = "PLAINTEXT" // Kafka's default for a controller's listener that no map names
		}
		switch l.Protocol {
		case "PLAINTEXT":
		case "":
			return fmt.Errorf("listeners has %s, whose security protocol listener.security.protocol.map does not give", l)
		default:
			return fmt.Errorf("listeners has %s with the security protocol %s, which this version cannot serve; PLAINTEXT it can", l, l.Protocol)
		}
		if l.Advertise = told[l.Name]; auto {
			l.Advertise.Auto = true
		} else if l.Advertise == (Advertised{}) {
			// Kafka tells of a controller's listener that is bound when nothing else is said.
			l.Hidden, l.Advertise.Auto = !l.Controller, l.Controller
		}
		c.Listeners = append(c.Listeners, l)
	}
	for _, name := range c.values.list("proxy.protocol.listeners") {
		i := slices.IndexFunc(c.Listeners, func(l Listener) bool { return strings.EqualFold(l.Name, name) })
		if i < 0 {
			return fmt.Errorf("proxy.protocol.listeners has %s, which is not among the listeners (%s)", name, c.values.text("listeners"))
		}
		c.Listeners[i].Proxy = true
	}
	for name := range told {
		if !slices.ContainsFunc(c.Listeners, func(l Listener) bool { return l.Name == name }) {
			return fmt.Errorf("advertised.listeners has %s, which is not among the listeners (%s)", name, c.values.text("listeners"))
		}
	}
	return c.checkRoles(controllers)
}

// checkRoles holds the listeners against what the node is.
func (c *Config) checkRoles(controllers []string) error {
	var ofController, ofBroker []string
	for _, l := range c.Listeners {
		if l.Controller {
			ofController = append(ofController, l.Name)
		} else {
			ofBroker = append(ofBroker, l.Name)
		}
	}
	switch {
	case c.Broker && len(ofBroker) == 0:
		return fmt.Errorf("a broker needs a listener that is not among controller.listener.names, but listeners is %s", c.values.text("listeners"))
	case !c.Broker && len(ofBroker) > 0:
		return fmt.Errorf("listeners has %s, which is not among controller.listener.names; a node that is a controller alone has no other listeners", ofBroker[0])
	case !c.Broker && len(ofController) == 0:
		return errors.New("controller.listener.names is not set; it says which of the listeners are the controller's")
	case !c.Controller && len(ofController) > 0:
		return fmt.Errorf("listeners has %s, which is among controller.listener.names; a node that is a broker alone has no such listener", ofController[0])
	case c.Controller && len(controllers) > 0 && len(ofController) == 0:
		return fmt.Errorf("controller.listener.names is %s, but none of them is among the listeners", strings.Join(controllers, ","))
	}
	if !c.Broker {
		return nil
	}
	name, named := c.values.set["inter.broker.listener.name"]
	if _, both := c.values.set["security.inter.broker.protocol"]; both && named {
		return errors.New("inter.broker.listener.name and security.inter.broker.protocol are both set; set only one of them")
	}
	if !named {
		name = c.values.text("security.inter.broker.protocol")
	}
	name = strings.ToUpper(strings.TrimSpace(name))
	if !named && len(ofBroker) == 1 {
		name = ofBroker[0]
	}
	if !slices.Contains(ofBroker, name) {
		return fmt.Errorf("inter.broker.listener.name is %s, which is not among the broker's listeners (%s)", name, strings.Join(ofBroker, ", "))
	}
	for _, l := range c.Listeners {
		if l.Name == name && l.Hidden {
			return fmt.Errorf("the brokers' own listener %s is missing in advertised.listeners", name)
		}
	}
	c.InterBroker = name
	return nil
}

// securityProtocols reads listener.security.protocol.map.
func (c *Config) securityProtocols() (map[string]string, error) {
	const key = "listener.security.protocol.map"
	protocols := make(map[string]string)
	for _, item := range splitList(c.values.text(key)) {
		name, protocol, ok := strings.Cut(item, ":")
		name, protocol = strings.ToUpper(strings.TrimSpace(name)), strings.ToUpper(strings.TrimSpace(protocol))
		if !ok || name == "" || !slices.Contains([]string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}, protocol) {
			return nil, fmt.Errorf("%s has the entry %q: want NAME:PROTOCOL, where the protocol is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL", key, item)
		}
		if _, twice := protocols[name]; twice {
			return nil, fmt.Errorf("%s names the listener %s twice", key, name)
		}
		protocols[name] = protocol
	}
	return protocols, nil
}

// advertised reads advertised.listeners; auto is true where nothing is set.
func (c *Config) advertised() (told map[string]Advertised, auto bool, err error) {
	const key = "advertised.listeners"
	value := strings.TrimSpace(c.values.text(key))
	if value == "" || strings.EqualFold(value, "auto") {
		return nil, true, nil
	}
	// One address may be told for several listeners, as behind a proxy: so ports are not compared here.
	told = make(map[string]Advertised)
	for _, item := range splitList(value) {
		e, err := parseEndpoint(item)
		if err != nil {
			return nil, false, fmt.Errorf("%s has the entry %q: %w", key, item, err)
		}
		if wildcard(e.host) && e.host != "" {
			return nil, false, fmt.Errorf("%s has %q, an address that no client can connect to; name the host, or set %s to auto", key, item, key)
		}
		if _, twice := told[e.name]; twice {
			return nil, false, fmt.Errorf("%s names the listener %s twice", key, e.name)
		}
		told[e.name] = Advertised{Auto: e.host == "", Host: e.host, Port: e.port}
	}
	return told, false, nil
}

// readQuorum reads who agrees on the metadata.
func (c *Config) readQuorum() error {
	const key = "controller.quorum.voters"
	voters, err := parseVoters(key, c.values.text(key))
	if err != nil {
		return err
	}
	for i, v := range voters {
		if slices.ContainsFunc(voters[:i], func(other Voter) bool { return other.ID == v.ID }) {
			return fmt.Errorf("%s names the node %d twice", key, v.ID)
		}
	}
	servers := c.values.list("controller.quorum.bootstrap.servers")
	for _, s := range servers {
		if _, _, err := splitHostPort(s); err != nil {
			return fmt.Errorf("controller.quorum.bootstrap.servers has the entry %q: %w", s, err)
		}
	}
	mine := slices.ContainsFunc(voters, func(v Voter) bool { return v.ID == c.NodeID })
	switch {
	case !c.Controller:
		return errors.New("process.roles is broker, whose controllers are other nodes; this version runs single nodes, set process.roles=broker,controller")
	case len(voters) > 0 && !mine:
		return fmt.Errorf("%s is %s, in which the node %d is missing although it is a controller", key, c.values.text(key), c.NodeID)
	case len(voters) > 1:
		return fmt.Errorf("%s names %d voters; this version runs a quorum of one", key, len(voters))
	case len(servers) > 1:
		return fmt.Errorf("controller.quorum.bootstrap.servers names %d servers; this version runs a quorum of one", len(servers))
	}
	c.Voters = voters
	return nil
}

// readDirectories reads where the data lies.
func (c *Config) readDirectories() error {
	key, list := "log.dirs", c.values.list("log.dirs")
	if _, set := c.values.lookup(key); set && len(list) == 0 {
		return errors.New("log.dirs is empty; it is a list of directories, and where it is not set log.dir holds")
	} else if !set {
		key, list = "log.dir", c.values.list("log.dir")
	}
	for _, dir := range list {
		dir = filepath.Clean(dir)
		if slices.Contains(c.LogDirs, dir) {
			return fmt.Errorf("%s names the directory %s twice", key, dir)
		}
		c.LogDirs = append(c.LogDirs, dir)
	}
	if len(c.LogDirs) == 0 {
		return fmt.Errorf("%s names no directory; a node keeps its data in at least one", key)
	}
	c.MetadataLogDir = c.LogDirs[0]
	if dir := strings.TrimSpace(c.values.text("metadata.log.dir")); dir != "" {
		c.MetadataLogDir = filepath.Clean(dir)
	}
	return nil
}

// readOwn reads the keys that Kafka does not have.
func (c *Config) readOwn() error {
	list := c.values.list("http.listeners")
	if len(list) > 1 {
		return fmt.Errorf("http.listeners is %s; it takes one address", c.values.text("http.listeners"))
	}
	if len(list) == 1 {
		scheme, address, ok := strings.Cut(list[0], "://")
		if !ok {
			scheme, address = "http", list[0]
		}
		if !strings.EqualFold(scheme, "http") {
			return fmt.Errorf("http.listeners is %s; this version serves http:// only", list[0])
		}
		if _, _, err := splitHostPort(address); err != nil {
			return fmt.Errorf("http.listeners is %s: %w", list[0], err)
		}
		c.HTTP = address
	}
	c.Metrics.Partitions = c.values.bool("metrics.partitions")
	if c.MemoryBudget = c.values.int("memory.budget.bytes"); c.MemoryBudget == 0 {
		c.MemoryBudget = defaultBudget()
	}
	return nil
}

// defaultBudget is a quarter of the memory that the process may use, at least 64 MiB and at most 1 GiB.
func defaultBudget() int64 {
	memory := int64(math.MaxInt64)
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
				if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
					memory = kib << 10
				}
				break
			}
		}
	}
	if b, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil { // a container's limit; "max" for none
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			memory = min(memory, n)
		}
	}
	return min(max(memory/4, 64<<20), 1<<30)
}

// values answers for a key with what was set, else with its default. Everything in it was checked.
type values struct {
	table *config.Table
	set   map[string]string
}

// lookup returns the effective value of a broker key, its older synonyms counted in; false when it is null.
func (v values) lookup(key string) (string, bool) {
	if _, ok := v.table.Lookup(key); !ok {
		panic("server: no room declares the key " + key)
	}
	return v.table.Effective(key, config.Layer{Source: config.SourceStaticBroker, Values: v.set})
}

func (v values) text(key string) string {
	s, _ := v.lookup(key)
	return s
}

func (v values) list(key string) []string { return splitList(v.text(key)) }

// int returns a number of any width; 0 when it is null.
func (v values) int(key string) int64 {
	s, ok := v.lookup(key)
	if !ok {
		return 0
	}
	n, err := config.ParseInt64(s)
	if err != nil {
		panic("server: " + key + " was not checked: " + err.Error())
	}
	return n
}

func (v values) bool(key string) bool {
	b, err := config.ParseBool(v.text(key))
	if err != nil {
		panic("server: " + key + " was not checked: " + err.Error())
	}
	return b
}

// millis returns a number of milliseconds as a duration; the largest for what a duration cannot hold.
func (v values) millis(key string) time.Duration {
	n := v.int(key)
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

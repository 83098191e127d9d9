package server

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/api"
	"github.com/millrace-io/millrace/server/internal/broker"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// keys are the broker keys that act in the node itself; every room declares its own beside its options.
func keys() []config.Key {
	return []config.Key{
		{Name: "node.id", Type: config.Int, Required: true, Valid: config.AtLeast(0), Importance: config.High,
			Doc: "The number of this node in its cluster."},
		{Name: "broker.id", Type: config.Int, Default: config.Value("-1"), Importance: config.High,
			Doc: "The older name of node.id; where both are set they must agree."},
		{Name: "process.roles", Type: config.List, Required: true, Valid: config.All(config.NonEmpty(), config.ListOf("broker", "controller")), Importance: config.High,
			Doc: "What this node is: a broker, a controller, or both."},
		{Name: "listeners", Type: config.List, Default: config.Value("PLAINTEXT://:9092"), Update: config.PerBroker, Importance: config.High,
			Doc: "Where the node listens, as NAME://host:port; an empty host is every interface."},
		{Name: "advertised.listeners", Type: config.List, Default: config.Value("auto"), Importance: config.High,
			Doc: "What clients and other nodes are told, as NAME://host:port. \"auto\" tells each client the address that its own connection came in on."},
		{Name: "listener.security.protocol.map", Type: config.String, Update: config.PerBroker, Importance: config.Low,
			Default: config.Value("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
			Doc:     "The security protocol of each listener name, as NAME:PROTOCOL."},
		{Name: "controller.listener.names", Type: config.List, Importance: config.High,
			Doc: "The names of the listeners of the controllers, the first of which nodes use among themselves. A single node that is both broker and controller needs none."},
		{Name: "inter.broker.listener.name", Type: config.String, Importance: config.Medium,
			Doc: "The listener that brokers use among themselves."},
		{Name: "security.inter.broker.protocol", Type: config.String, Default: config.Value("PLAINTEXT"), Importance: config.Medium,
			Valid: config.In("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
			Doc:   "The security protocol that brokers use among themselves where inter.broker.listener.name does not name a listener."},
		{Name: "controller.quorum.voters", Type: config.List, Default: config.Value(""), Importance: config.High,
			Doc: "The voters of a quorum that never changes, as id@host:port."},
		{Name: "controller.quorum.bootstrap.servers", Type: config.List, Default: config.Value(""), Importance: config.High,
			Doc: "Where a node finds the quorum whose voters stand in the metadata log (KIP-853), as host:port."},
		{Name: "log.dir", Type: config.List, Default: config.Value("/tmp/kafka-logs"), Importance: config.High,
			Doc: "The log directory, where log.dirs is not set."},
		{Name: "log.dirs", Type: config.List, Importance: config.High,
			Doc: "The log directories. One that fails goes offline with the partitions in it; the others serve on."},
		{Name: "metadata.log.dir", Type: config.String, Importance: config.High,
			Doc: "The directory of the metadata log; by default the first of log.dirs."},

		{Name: config.ProvidersKey, Type: config.List, Default: config.Value(""), Importance: config.Low,
			Doc: "The names under which values refer to files, directories and the environment, as in ${env:NAME}; config.providers.NAME.class says which it is: FileConfigProvider, DirectoryConfigProvider or EnvVarConfigProvider."},

		{Name: "http.listeners", Type: config.List, Default: config.Value(""), Importance: config.Medium,
			Doc: "Where /metrics, /healthz and /readyz are, as http://host:port; nowhere where it is empty. A key of Millrace."},
		{Name: "metrics.partitions", Type: config.Bool, Default: config.Value("false"), Importance: config.Low,
			Doc: "Whether /metrics has the figures of every partition beside those of every topic; the lags of groups it has of every partition anyway, up to 10000 committed offsets. A key of Millrace."},
		{Name: "memory.budget.bytes", Type: config.Long, Valid: config.AtLeast(16 << 20), Importance: config.Medium,
			Doc: "Memory for requests and responses in flight; by default a quarter of the machine's, at most 1 GiB. A key of Millrace."},
	}
}

// brokerTable joins the broker keys of every room, and those of the listeners of these names. A key that two rooms name is
// described by the one on the higher floor.
func brokerTable(listeners ...string) *config.Table {
	var ofListeners []config.Key
	for _, name := range listeners {
		ofListeners = append(ofListeners, listener.KeysOf(name)...)
	}
	return join(ofListeners, keys(), broker.BrokerKeys(), api.BrokerKeys(), listener.BrokerKeys(), controller.BrokerKeys(), group.BrokerKeys(), replica.BrokerKeys(), quorum.BrokerKeys(), commitlog.BrokerKeys())
}

// topicTable joins the topic keys of every room.
func topicTable() *config.Table {
	return join(controller.TopicKeys(), replica.TopicKeys(), commitlog.TopicKeys())
}

// join makes one table of the rooms' keys, the highest floor first.
func join(rooms ...[]config.Key) *config.Table {
	var all []config.Key
	seen := make(map[string]bool)
	for _, room := range rooms {
		for _, k := range room {
			if !seen[k.Name] {
				seen[k.Name] = true
				all = append(all, k)
			}
		}
	}
	return config.NewTable(all...)
}

// kafkaKeys is the list of all keys that Kafka knows, read only when a file has one that no room declares.
//
//go:embed kafka_keys.tsv
var kafkaKeys string

// fates says in words why a key of Kafka does nothing here.
var fates = map[string]string{
	"-":              "has no counterpart here",
	"threads":        "sizes thread pools; goroutines need none",
	"java":           "belongs to the JVM",
	"zookeeper":      "belonged to ZooKeeper",
	"removed":        "was removed from Kafka itself",
	"clusters":       "acts with several nodes",
	"groups":         "acts with consumer groups",
	"transactions":   "acts with transactions",
	"share-groups":   "acts with share groups",
	"streams-groups": "acts with streams groups",
	"tiering":        "acts with tiered storage",
	"compaction":     "acts with compaction",
	"quotas":         "acts with quotas",
	"security":       "acts with encryption and authentication",
	"telemetry":      "acts with client telemetry",
}

// refused is the fate of keys that are an error when set, since a node that ignored them would let through
// what they are there to stop.
const refused = "refused"

// knownKeys parses kafka_keys.tsv.
func knownKeys() *config.Table {
	types := map[string]config.Type{"boolean": config.Bool, "int": config.Int, "short": config.Short, "long": config.Long,
		"double": config.Double, "list": config.List, "class": config.Class, "password": config.Password}
	var known []config.Key
	for line := range strings.Lines(kafkaKeys) {
		if line[0] == '#' {
			continue
		}
		cells := strings.Split(strings.TrimSpace(line), "\t")
		k := config.Key{Name: cells[0], Type: config.String, Owner: cells[2]}
		if t, ok := types[cells[1]]; ok {
			k.Type = t
		}
		known = append(known, k)
	}
	return config.NewTable(known...)
}

// prefixes of keys that belong to plug-ins or to one listener.
var prefixes = []string{"listener.name.", "remote.log.metadata.", "rlmm.config.", "rsm.config."}

// checkKeys judges the properties against the keys that act and, for the rest, against those that Kafka knows.
// It returns what was accepted without effect, and the error of the first line that is wrong.
func checkKeys(acting *config.Table, properties config.Properties) (inert []string, err error) {
	var known *config.Table
	for _, p := range properties.All() {
		if k, ok := acting.Lookup(p.Key); ok {
			if err := k.Check(p.Value); err != nil {
				return nil, lineError(p, err)
			}
			if k.Owner != "" {
				inert = append(inert, p.Key)
			}
			continue
		}
		if known == nil {
			known = knownKeys()
		}
		k, ok := known.Lookup(p.Key)
		switch {
		case ok && k.Owner == refused:
			if strings.TrimSpace(p.Value) == "" {
				continue
			}
			return nil, lineError(p, fmt.Errorf("%s cannot be obeyed: it names Java code, and a node that ignored it would let through what it is there to stop; remove it", p.Key))
		case ok:
			if err := k.Check(p.Value); err != nil {
				return nil, lineError(p, err)
			}
			inert = append(inert, p.Key)
		case slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(p.Key, prefix) }):
			inert = append(inert, p.Key)
		default:
			return nil, lineError(p, nearest(p.Key, acting, known))
		}
	}
	return inert, nil
}

// nearest is the error for a name that nobody knows, with the name that was most likely meant.
func nearest(name string, acting, known *config.Table) error {
	var all []config.Key
	for k := range acting.All() {
		all = append(all, *k)
	}
	for k := range known.All() {
		if _, twice := acting.Lookup(k.Name); !twice {
			all = append(all, *k)
		}
	}
	return config.NewTable(all...).Unknown(name)
}

// inertWarning is the one line that says what was accepted without effect, grouped by why.
func inertWarning(inert []string) string {
	known := knownKeys()
	byFate := make(map[string][]string)
	for _, name := range inert {
		fate := "-"
		if k, ok := known.Lookup(name); ok {
			fate = k.Owner
		}
		byFate[fate] = append(byFate[fate], name)
	}
	var order []string
	for fate := range byFate {
		order = append(order, fate)
	}
	slices.Sort(order)
	var b strings.Builder
	b.WriteString("accepted, without an effect in this version: ")
	for i, fate := range order {
		if i > 0 {
			b.WriteString("; ")
		}
		slices.Sort(byFate[fate])
		fmt.Fprintf(&b, "%s (%s)", strings.Join(byFate[fate], ", "), fates[fate])
	}
	return b.String()
}

// lineError puts where a property stands before what is wrong with it.
func lineError(p config.Property, err error) error {
	if p.Line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", p.Line, err)
}

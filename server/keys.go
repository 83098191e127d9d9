package server

import (
	"fmt"
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

// brokerTable joins the broker keys of every room, those of the listeners of these names, and those of Kafka that do not act.
// A key that two rooms name is described by the one on the higher floor.
func brokerTable(listeners ...string) *config.Table {
	return join(append(brokerKeys(listeners...), inertKeys())...)
}

// brokerKeys are those of every room, and those of the listeners of these names.
func brokerKeys(listeners ...string) [][]config.Key {
	var ofListeners []config.Key
	for _, name := range listeners {
		ofListeners = append(ofListeners, listener.KeysOf(name)...)
	}
	return [][]config.Key{ofListeners, keys(), broker.BrokerKeys(), api.BrokerKeys(), listener.BrokerKeys(), controller.BrokerKeys(), group.BrokerKeys(), replica.BrokerKeys(), quorum.BrokerKeys(), commitlog.BrokerKeys()}
}

// topicTable joins the topic keys of every room.
func topicTable() *config.Table {
	return join(controller.TopicKeys(), replica.TopicKeys(), commitlog.TopicKeys())
}

// join makes one table of the rooms' keys, the highest floor first.
func join(rooms ...[]config.Key) *config.Table {
	n := 0
	for _, room := range rooms {
		n += len(room)
	}
	all, seen := make([]config.Key, 0, n), make(map[string]bool, n)
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

// checkKeys judges the properties against the keys of the table and, for the rest, against those that stand in files although
// no broker declares them. It returns what was accepted without effect, and the error of the first line that is wrong.
func checkKeys(table *config.Table, properties config.Properties) (inert []string, err error) {
	var stray map[string]string
	for _, p := range properties.All() {
		k, declared := table.Lookup(p.Key)
		if declared && k.Owner == refused {
			if strings.TrimSpace(p.Value) == "" {
				continue
			}
			return nil, lineError(p, fmt.Errorf("%s cannot be obeyed: it %s; remove it", p.Key, reason(refused)))
		}
		if declared {
			if err := k.Check(p.Value); err != nil {
				return nil, lineError(p, err)
			}
			if k.Owner != "" {
				inert = append(inert, p.Key)
			}
			continue
		}
		if stray == nil {
			stray = strayKeys()
		}
		_, known := stray[p.Key]
		if _, prefixed := prefixOf(p.Key); !known && !prefixed {
			return nil, lineError(p, nearest(p.Key, table, stray))
		}
		inert = append(inert, p.Key)
	}
	return inert, nil
}

// nearest is the error for a name that nobody knows, with the name that was most likely meant.
func nearest(name string, table *config.Table, stray map[string]string) error {
	var all []config.Key
	for k := range table.All() {
		all = append(all, *k)
	}
	for name := range stray {
		all = append(all, config.Key{Name: name})
	}
	return config.NewTable(all...).Unknown(name)
}

// lineError puts where a property stands before what is wrong with it.
func lineError(p config.Property, err error) error {
	if p.Line == 0 {
		return err
	}
	return fmt.Errorf("line %d: %w", p.Line, err)
}

package server

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/api"
	"github.com/millrace-io/millrace/server/internal/broker"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// node is the rooms of a running node.
type node struct {
	budget     *budget.Budget
	dirs       *claimed
	quorum     *quorum.Node
	loader     *metadata.Loader
	controller *controller.Controller
	replicas   *replica.Manager // nil without the role of a broker
	broker     *broker.Broker   // nil without the role of a broker
	groups     *group.Coordinator
	configs    *broker.Configs
	requests   *requestFigures

	topicKeys, brokerKeys *config.Table
	nodeID                int32
	static                map[string]string

	log   *slog.Logger
	names []string // of the listeners
	limits
	// Connections to the broker and to the controller are counted apart, as in Kafka.
	ofBroker, ofController *listener.Quotas

	mu        sync.Mutex
	listeners []*listener.Listener // none before the node serves
}

// bringUp wires the rooms, from the disk upwards:
//
//	sockets bound ▸ directories claimed ▸ quorum elects ▸ controller decides ▸ logs recovered ▸ broker unfenced ▸ sockets served
//
// What is started registers what undoes it, so that Close and a start that fails take the same way back.
// Sockets are bound first, since an address in use should be known before anything is touched, and served last:
// a client that connects early waits, and then finds a node that is ready.
func (s *Server) bringUp(ctx context.Context) (err error) {
	n := &node{log: s.log, ofBroker: listener.NewQuotas(), ofController: listener.NewQuotas()}
	for _, l := range s.cfg.Listeners {
		n.names = append(n.names, l.Name)
	}
	if err := s.bindSockets(); err != nil {
		return err
	}
	s.at("its directories are being looked at")
	if n.dirs, err = s.claimDirectories(); err != nil {
		return err
	}
	s.clusterID = n.dirs.clusterID
	n.budget = budget.New(s.cfg.MemoryBudget)
	s.node = n
	if err := s.observe(n); err != nil {
		return err
	}
	if err := s.startQuorum(n); err != nil {
		return err
	}
	if s.cfg.Broker {
		if err := s.startBroker(ctx, n); err != nil {
			return err
		}
	}
	s.serve(n)
	return nil
}

// startQuorum opens the metadata log, elects, and lets the controller decide.
func (s *Server) startQuorum(n *node) (err error) {
	if !s.cfg.Controller {
		return errors.New("process.roles is broker alone: this version runs the controller in the same process; use process.roles=broker,controller")
	}
	s.at("the metadata log is being read")
	if s.cfg.Broker {
		n.broker = s.newBroker(n)
		// The broker comes last: it answers those who changed something, and by then that holds.
		n.loader = metadata.NewLoader(n.limitConnections, n.broker.Publish)
	} else {
		n.loader = metadata.NewLoader(n.limitConnections)
	}
	machine := &machine{Loader: n.loader, node: n}
	n.nodeID, n.static = s.cfg.NodeID, s.cfg.Static()
	n.addresses.follower = follow(n.lookUp)
	s.onClose("the limits of connections", func(context.Context) error {
		n.addresses.close()
		return nil
	})
	n.topicKeys, n.brokerKeys = topicTable(), s.cfg.values.table
	n.quorum, err = quorum.Open(quorum.Options{FS: s.fs, Dir: s.cfg.MetadataLogDir, NodeID: s.cfg.NodeID, DirectoryID: n.dirs.metadata, StateMachine: machine, Log: s.log,
		Config: quorum.ParseConfig(s.cfg.values.int),
		Failed: func(err error) { s.fail(&metadataFailed{err}) }})
	if err != nil {
		return err
	}
	s.onClose("the metadata quorum", func(context.Context) error { return n.quorum.Close() })
	n.controller = controller.New(controller.Options{NodeID: s.cfg.NodeID, ClusterID: s.clusterID, Quorum: n.quorum, TopicConfigs: n.topicKeys, BrokerConfigs: n.brokerKeys, Static: s.cfg.Static(), Log: s.log})
	publishing, stopPublishing := context.WithCancel(context.Background())
	published := make(chan struct{})
	go func() {
		defer close(published)
		n.loader.Run(publishing)
	}()
	s.onClose("the metadata loader", func(context.Context) error {
		stopPublishing()
		<-published
		return nil
	})
	n.controller.Publish(n.loader.Image(), nil)
	n.controller.Start()
	s.onClose("the controller", func(context.Context) error {
		n.controller.Close()
		return nil
	})
	s.at("the quorum elects a leader")
	return n.quorum.Start()
}

// machine is what the quorum tells of commits: the loader makes images of them, and the controller has each image
// before whoever waits for its records is answered.
type machine struct {
	*metadata.Loader
	node *node
}

// Apply implements quorum.StateMachine.
func (m *machine) Apply(baseOffset int64, epoch int32, timestampMs int64, records [][]byte) error {
	if err := m.Loader.Apply(baseOffset, epoch, timestampMs, records); err != nil {
		return err
	}
	if c := m.node.controller; c != nil {
		c.Publish(m.Loader.Image(), nil)
	}
	return nil
}

// LeaderChanged implements quorum.StateMachine.
func (m *machine) LeaderChanged(leader, epoch int32) {
	if c := m.node.controller; c != nil {
		c.LeaderChanged(leader, epoch)
	}
}

// newBroker makes the broker. What it registers stands in the configuration, but for what recovery finds.
func (s *Server) newBroker(n *node) *broker.Broker {
	v := s.cfg.values
	return broker.New(broker.Options{
		NodeID: s.cfg.NodeID, ClusterID: s.clusterID, Incarnation: kafka.NewUUID(), Rack: v.text("broker.rack"),
		Endpoints: s.endpoints(false), Features: metadata.KafkaFeatures(),
		Controller: lateController{n}, Committed: func() int64 { return n.quorum.HighWatermark() - 1 }, Log: s.log, Failed: s.fail,
		MetadataDir: n.dirs.metadata,
		Config: broker.Config{
			HeartbeatInterval:   v.millis("broker.heartbeat.interval.ms"),
			RegistrationTimeout: v.millis("initial.broker.registration.timeout.ms"),
			ControlledShutdown:  v.bool("controlled.shutdown.enable"),
			ForwardTimeout:      v.millis("request.timeout.ms"),
		},
	})
}

// lateController is the node's controller, which is made after the broker that is published to.
type lateController struct{ n *node }

func (l lateController) Handle(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	return l.n.controller.Handle(ctx, caller, request, version)
}

// startBroker recovers the logs and lives: it returns when the controller sends clients here.
func (s *Server) startBroker(ctx context.Context, n *node) error {
	settings, err := replica.ParseBrokerConfig(func(key string) string {
		value, _ := n.brokerKeys.Effective(key, n.layers(n.loader.Image())...) // what was set while it ran holds from the next start on
		return value
	})
	if err != nil {
		return err
	}
	settings.SessionPartitions = int(s.cfg.MemoryBudget / sessionShare)
	n.configs = &broker.Configs{NodeID: s.cfg.NodeID, Topics: n.topicKeys, Static: s.cfg.Static(), Log: s.log}
	n.replicas = replica.New(replica.Options{
		NodeID: s.cfg.NodeID, FS: s.fs, Dirs: n.dirs.logs, Locked: true, Cluster: n.broker, Log: s.log, Budget: n.budget, Handles: handleLimit(),
		TopicConfig: n.configs.OfTopic, Broker: settings,
	})
	s.onClose("the logs", n.replicas.Close)
	s.onClose("the broker", func(context.Context) error {
		n.broker.Close()
		return nil
	})
	s.at("logs are being recovered")
	last := time.Now()
	if err := n.replicas.Load(ctx, func(done, total int) {
		s.at("logs are being recovered: %d of %d", done, total)
		if time.Since(last) > 2*time.Second {
			last = time.Now()
			s.log.Info("recovering logs", "done", done, "of", total)
		}
	}); err != nil {
		return err
	}
	online := n.replicas.OnlineDirs()
	if len(online) == 0 {
		return errors.New("none of the log directories can be used")
	}
	if err := s.startGroups(n); err != nil {
		return err
	}
	recovered := broker.Recovered{Replicas: n.replicas, Coordinators: []broker.Coordinator{n.groups}, PreviousEpoch: n.replicas.PreviousBrokerEpoch()}
	for _, d := range online {
		recovered.Online = append(recovered.Online, d.ID)
	}
	s.onClose(theCreation, func(context.Context) error {
		n.replicas.GiveUp()
		return nil
	})
	n.broker.Loaded(recovered)
	s.at("the broker registers with the controller")
	n.broker.Start()
	select {
	case <-n.broker.Ready():
		return nil
	case <-s.failed:
		return s.Err()
	case <-ctx.Done():
		return fmt.Errorf("the broker was not let in by the controller in time: %w", ctx.Err())
	}
}

// theCreation is undone when nobody can ask for new replicas any more, and before anything that waits for those under way.
const theCreation = "the creation of logs"

// startGroups makes the coordinator of groups, over the partitions that this node leads.
func (s *Server) startGroups(n *node) error {
	settings, err := group.ParseConfig(s.cfg.values.text)
	if err != nil {
		return err
	}
	n.groups = group.New(group.Options{
		NodeID: s.cfg.NodeID, Config: settings, Log: s.log,
		Open: func(partition, epoch int32) (coordinator.Log, error) {
			return n.replicas.Led(group.Topic, partition, epoch)
		},
	})
	n.groups.Start()
	s.onClose("the coordinator of groups", func(context.Context) error {
		n.groups.Close()
		return nil
	})
	return nil
}

// sessionShare is for how many bytes of the memory budget fetch sessions may hold one partition: at some 300 bytes for each
// they come to a seventh of it.
const sessionShare = 2048

// handleLimit is how many files of logs may be open at a time. Half of the descriptors that the process may have are
// for connections, which come first, and for what little else is open.
func handleLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return int(min(max(limit.Cur/2, 192)-128, 100_000))
}

// metadataFailed says that the metadata log failed, and with it what this node has of the quorum.
type metadataFailed struct{ cause error }

func (e *metadataFailed) Error() string { return "the metadata log failed: " + e.cause.Error() }

func (e *metadataFailed) Unwrap() error { return e.cause }

// leaveTimeout bounds a controlled shutdown: it hands over what can be handed over.
const leaveTimeout = 5 * time.Second

// layers are where this node's settings come from, the most specific first.
func (n *node) layers(image *metadata.Image) []config.Layer {
	return (&broker.Configs{NodeID: n.nodeID, Static: n.static}).Layers(image)
}

// serve lets clients in.
func (s *Server) serve(n *node) {
	options := api.Options{NodeID: s.cfg.NodeID, ClusterID: s.clusterID, Image: n.loader.Image, Quorum: n.quorum, Features: metadata.ServedFeatures(),
		ControllerEndpoints: s.endpoints(true), TopicConfigs: n.topicKeys, BrokerConfigs: n.brokerKeys,
		GroupConfigs: config.NewTable(controller.GroupKeys()...), ClientMetricsConfigs: config.NewTable(controller.ClientMetricsKeys()...), Static: s.cfg.Static(), Log: s.log,
		AutoAdvertised: func(name string) bool { return s.autoAdvertised(name) }}
	ofController := options
	ofController.Forwarder = direct{n.controller}
	v := s.cfg.values
	n.lookUp(context.Background())
	for _, k := range s.sockets {
		var gate *api.Table
		quotas := n.ofBroker
		if k.cfg.Controller {
			gate, quotas = api.NewController(ofController), n.ofController
		} else {
			options.Image, options.Forwarder, options.Replicas, options.ProducerID, options.Groups = n.broker.Image, n.broker, n.replicas, n.broker.ProducerID, n.groups
			gate = api.New(options)
		}
		l := listener.New(listener.Config{Name: k.cfg.Name, Controller: k.cfg.Controller, Proxy: k.cfg.Proxy, MaxRequestBytes: int(v.int("socket.request.max.bytes")), IdleTimeout: v.millis("connections.max.idle.ms"),
			Quotas: quotas, Protected: s.cfg.protected(k.cfg), Budget: n.budget, Observe: n.requests.observe, Log: s.log}, gate)
		n.mu.Lock()
		n.listeners = append(n.listeners, l)
		n.mu.Unlock()
		s.onClose("the connections of "+k.cfg.Name, l.Close)
		for _, accept := range []net.Listener{k.tcp, k.memory} {
			go func() {
				if err := l.Serve(accept); err != nil {
					s.fail(fmt.Errorf("the listener %s has ended: %w", k.cfg.Name, err))
				}
			}()
		}
		s.log.Info("listening", "listener", k.cfg.Name, "address", k.tcp.Addr())
	}
	if n.groups != nil { // members that wait are sent on before connections are closed under them
		s.onClose("the members of groups", func(context.Context) error {
			n.groups.End()
			return nil
		})
	}
	if n.broker != nil { // the first step of a clean stop, while clients are still answered
		s.onClose("the leaderships of the broker", func(ctx context.Context) error {
			if failed := new(metadataFailed); errors.As(s.Err(), &failed) {
				return nil // no controller is heard of any more, this node's own or another: there is nobody to agree
			}
			leaving, cancel := context.WithTimeout(ctx, leaveTimeout)
			defer cancel()
			return n.broker.Leave(leaving)
		})
	}
}

// direct is api.Forwarder on the controller itself.
type direct struct{ *controller.Controller }

func (d direct) Forward(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error) {
	return d.Handle(ctx, caller, request, version)
}

// autoAdvertised reports whether clients of a listener are told the address that they came in on.
func (s *Server) autoAdvertised(name string) bool {
	for _, k := range s.sockets {
		if k.cfg.Name == name {
			return k.cfg.Advertise.Host == ""
		}
	}
	return false
}

// observe opens the HTTP port, if there is to be one.
func (s *Server) observe(n *node) error {
	n.requests = &requestFigures{}
	if s.cfg.HTTP == "" {
		return nil
	}
	l, err := bind("http.listeners", s.cfg.HTTP)
	if err != nil {
		return err
	}
	groups := func() *group.Coordinator {
		if s.phaseNow() != serving {
			return nil
		}
		return n.groups
	}
	s.observer = newObserver(l, newRegistry(s.figures(n, groups)), s.Err, s.Unready, s.impaired, groups, s.log)
	s.onClose("the HTTP port", closing(s.observer))
	return nil
}

// figures says where the figures of a node come from; those of a room that has not started are zero.
func (s *Server) figures(n *node, groups func() *group.Coordinator) figures {
	return figures{
		nodeID: s.cfg.NodeID, partitions: s.cfg.Metrics.Partitions, started: time.Now(), requests: n.requests, groups: groups,
		highWatermark: func(topic string, partition int32) (int64, bool) { return n.replicas.HighWatermark(topic, partition) },
		lags: &lagTimes{timestamp: func(topic string, partition int32, offset int64) (int64, bool, error) {
			return n.replicas.TimestampAt(topic, partition, offset)
		}},
		topics: func() iter.Seq[replica.TopicStats] {
			if s.phaseNow() != serving || n.replicas == nil {
				return func(func(replica.TopicStats) bool) {}
			}
			return n.replicas.Topics()
		},
		replicas: func() iter.Seq[replica.PartitionStats] {
			if s.phaseNow() != serving || n.replicas == nil {
				return func(func(replica.PartitionStats) bool) {}
			}
			return n.replicas.Partitions()
		},
		offlineDirs: func() int {
			if s.phaseNow() != serving || n.replicas == nil {
				return len(n.dirs.lost)
			}
			return len(n.dirs.lost) + len(n.replicas.OfflineDirs())
		},
		image: func() *metadata.Image {
			if s.phaseNow() != serving {
				return nil
			}
			return n.loader.Image()
		},
		state: func() broker.State {
			if s.phaseNow() != serving || n.broker == nil {
				return broker.Starting
			}
			return n.broker.State()
		},
		controller: func() (int32, int32) {
			if s.phaseNow() != serving {
				return kafka.NoNode, kafka.NoEpoch
			}
			return n.controller.Leader()
		},
		timedOut: func() int64 {
			if s.phaseNow() != serving {
				return 0
			}
			return n.controller.TimedOutHeartbeats()
		},
		memory: func() (int64, int64) { return n.budget.InUse(), n.budget.Limit() },
		listeners: func() []*listener.Listener {
			if s.phaseNow() != serving {
				return nil
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			return slices.Clone(n.listeners)
		},
		dirs: func() []replica.DirStats {
			if s.phaseNow() != serving || n.replicas == nil {
				return nil
			}
			return n.replicas.Dirs()
		},
		sessions: func() (int, int) {
			if s.phaseNow() != serving || n.replicas == nil {
				return 0, 0
			}
			return n.replicas.FetchSessions()
		},
		snapshot: func() (time.Duration, int64) {
			if s.phaseNow() != serving {
				return 0, 0
			}
			return n.quorum.SnapshotStats()
		},
	}
}

func (s *Server) phaseNow() phase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase
}

// unready says why clients should not be sent to a node that serves.
func (n *node) unready() []string {
	why := append([]string(nil), n.dirs.lost...)
	if n.broker != nil {
		why = append(why, n.broker.Unready()...)
	}
	if n.replicas != nil {
		for _, d := range n.replicas.Dirs() {
			switch {
			case d.Offline:
				why = append(why, fmt.Sprintf("the log directory %s has failed and is offline", d.Path))
			case d.Full:
				why = append(why, fmt.Sprintf("the disk of the log directory %s is full: writes are refused until there is room", d.Path))
			}
		}
	}
	if leader, _ := n.quorum.Leader(); leader == kafka.NoNode {
		why = append(why, "the metadata quorum has no leader")
	}
	return why
}

// namedBroken is how many partitions that are offline readiness names.
const namedBroken = 20

// impaired says which partitions this node should serve and cannot. The others are served, so clients are sent here all the
// same: for these there is no other place to be sent to.
func (s *Server) impaired() (what []string) {
	if s.phaseNow() != serving || s.node.replicas == nil {
		return nil
	}
	broken := s.node.replicas.Broken()
	for i, p := range broken {
		if i == namedBroken {
			what = append(what, fmt.Sprintf("and %d more partitions", len(broken)-i))
			break
		}
		what = append(what, fmt.Sprintf("the partition %s is offline: its log is damaged or could not be created, the log of the broker says which", p))
	}
	return what
}

// bindSockets takes every address of the configuration, and begins to serve HTTP.
func (s *Server) bindSockets() error {
	for _, cfg := range s.cfg.Listeners {
		tcp, err := s.socketOf(cfg)
		if err != nil {
			return err
		}
		k := &socket{cfg: cfg, tcp: tcp, memory: newMemoryListener(tcp.Addr())}
		s.sockets = append(s.sockets, k)
		s.onClose("the listener "+cfg.Name, func(context.Context) error {
			k.memory.Close()
			if err := k.tcp.Close(); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	return nil
}

// socketOf takes the address of a listener.
func (s *Server) socketOf(cfg Listener) (net.Listener, error) {
	if !s.noSockets {
		return bind(cfg.Name, cfg.Address())
	}
	ip := net.ParseIP(cfg.Host)
	if ip == nil || ip.IsUnspecified() {
		ip = net.IPv4(127, 0, 0, 1)
	}
	port := cfg.Port
	if port == 0 {
		port = 9092 + len(s.sockets) // nobody else has it: it is not taken
	}
	return newMemoryListener(&net.TCPAddr{IP: ip, Port: port}), nil
}

// endpoints is what the broker registers: for each listener that is advertised the address to tell. An automatic
// one is the host that was bound, or the name of this machine where every interface was.
func (s *Server) endpoints(ofController bool) []metadata.Endpoint {
	var all []metadata.Endpoint
	for _, k := range s.sockets {
		if k.cfg.Controller != ofController || k.cfg.Hidden {
			continue
		}
		e := metadata.Endpoint{Name: k.cfg.Name, Host: k.cfg.Advertise.Host, Port: uint16(k.cfg.Advertise.Port), Protocol: protocolIDs[k.cfg.Protocol]}
		if e.Host == "" {
			if e.Host = k.cfg.Host; wildcard(e.Host) {
				e.Host = hostname()
			}
		}
		if e.Port == 0 {
			e.Port = boundPort(k.tcp)
		}
		all = append(all, e)
	}
	return all
}

// protocolIDs are the numbers of the security protocols in registrations.
var protocolIDs = map[string]int16{"PLAINTEXT": 0, "SSL": 1, "SASL_PLAINTEXT": 2, "SASL_SSL": 3}

// hostname is the name of this machine, for others to find it by.
func hostname() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "localhost"
}

func boundPort(l net.Listener) uint16 {
	_, port, _ := net.SplitHostPort(l.Addr().String())
	n, _ := strconv.ParseUint(port, 10, 16)
	return uint16(n)
}

package api

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// Forwarder carries a request to the active controller in the name of its caller; the broker implements it, and on a
// controller the controller itself does.
type Forwarder interface {
	// Forward returns the controller's answer. An error carries the code to answer with instead.
	Forward(ctx context.Context, caller controller.Caller, request wire.Message, version int16) (wire.Message, error)
}

// Authorizer says what a caller may do. Without one everything is allowed.
type Authorizer interface {
	Allowed(caller controller.Caller, operation ACLOperation, resource ACLResource, name string) bool
}

// Options is what the gates stand on.
type Options struct {
	NodeID    int32
	ClusterID string
	// Image returns the metadata as all rooms of this node have it.
	Image     func() *metadata.Image
	Forwarder Forwarder
	Quorum    *quorum.Node
	// Features are the levels that this build supports.
	Features map[string]metadata.FeatureRange

	// ControllerEndpoints are the listeners of this node as a controller.
	ControllerEndpoints []metadata.Endpoint

	// Replicas and ProducerID are a broker's.
	Replicas   *replica.Manager
	ProducerID func(ctx context.Context) (int64, error)
	Groups     *group.Coordinator

	TopicConfigs, BrokerConfigs, GroupConfigs, ClientMetricsConfigs *config.Table
	// Static is the properties file.
	Static map[string]string
	// AutoAdvertised says that a listener tells each client the address it came in on (advertised.listeners=auto).
	AutoAdvertised func(listener string) bool

	Authorizer Authorizer
	Log        *slog.Logger
}

// Table routes the requests of a listener; it is a listener.Handler.
type Table struct {
	o        Options
	ofBroker bool
	handlers [wire.KeyUnregisterController + 1]handler
	versions []wire.ApiVersionsResponseApiKeys // what ApiVersions lists
	reach    reach
	creating creations
	// creatingGroups is true while the topic of the groups is asked for.
	creatingGroups atomic.Bool
	wide           chan struct{} // holds a token for each request about many partitions that is at work
}

// manyPartitions is from how many partitions on a request waits for a token, and a Produce must have something for each.
const manyPartitions = 1024

// token waits until few enough requests about many partitions are at work. A client asks for the metadata of everything in
// a few bytes, again and again; half of the processors answer such clients and the others are there for the rest, the
// node's own heartbeats among them. The caller gives the token back by calling what it gets.
func (t *Table) token(partitions int) (back func()) {
	if partitions < manyPartitions {
		return func() {}
	}
	t.wide <- struct{}{}
	return func() { <-t.wide }
}

// handler runs a request to its completion, or sees to that it will be complete.
type handler func(t *Table, r *listener.Request)

// call is a request on its way through a handler.
type call struct {
	*listener.Request
	context.Context
	image *metadata.Image
	t     *Table
	// back gives back the token of a request about many partitions, when it is answered.
	back func()
}

// caller is who asks, for those who decide or authorize.
func (c *call) caller() controller.Caller {
	return controller.Caller{Principal: c.Conn.Principal, ClientID: c.Header.ClientID, Host: host(c.Conn.Remote), Listener: c.Conn.Listener, ViaBroker: c.t.ofBroker, Broker: c.t.o.NodeID}
}

// version is the version of the request.
func (c *call) version() int16 { return c.Header.Version }

// answer makes a handler of a function that answers at once.
func answer[M any, P interface {
	*M
	wire.Message
}](f func(c *call, request P) wire.Message) handler {
	return func(t *Table, r *listener.Request) {
		request := P(new(M))
		if err := wire.DecodeRequest(request, r.Header.Version, r.Body); err != nil {
			r.Fail(err)
			return
		}
		respond(r, f(&call{Request: r, Context: context.Background(), image: t.o.Image(), t: t}, request))
	}
}

// blocking makes a handler of a function that may take its time: it runs on a goroutine of its own, and its context
// ends when the client goes away.
func blocking[M any, P interface {
	*M
	wire.Message
}](f func(c *call, request P) wire.Message) handler {
	return func(t *Table, r *listener.Request) {
		request := P(new(M))
		if err := wire.DecodeRequest(request, r.Header.Version, r.Body); err != nil {
			r.Fail(err)
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		r.OnClose(cancel)
		c := &call{Request: r, Context: ctx, image: t.o.Image(), t: t, back: func() {}}
		go func() {
			defer cancel()
			defer func() { c.back() }()
			defer func() {
				if p := recover(); p != nil {
					t.o.Log.Error("a request ended in a panic; its connection is closed", "api", r.Header.Key, "version", r.Header.Version, "panic", p)
					r.Fail(fmt.Errorf("%s version %d ended in a panic: %v", r.Header.Key, r.Header.Version, p))
				}
			}()
			respond(r, f(c, request))
		}()
	}
}

// deferred makes a handler of a function that answers when it can: before it returns, or later from any goroutine.
func deferred[M any, P interface {
	*M
	wire.Message
}](f func(c *call, request P, respond func(wire.Message))) handler {
	return func(t *Table, r *listener.Request) {
		request := P(new(M))
		if err := wire.DecodeRequest(request, r.Header.Version, r.Body); err != nil {
			r.Fail(err)
			return
		}
		c := &call{Request: r, Context: context.Background(), image: t.o.Image(), t: t}
		f(c, request, func(response wire.Message) { respond(r, response) })
	}
}

// respond completes a request with a message; nil closes the connection.
func respond(r *listener.Request, response wire.Message) {
	if response == nil {
		r.Fail(fmt.Errorf("%s version %d holds a value that does not exist", r.Header.Key, r.Header.Version))
		return
	}
	r.Complete(wire.MessageResponse(r.Header.Key, r.Header.Version, r.Header.CorrelationID, response))
}

// New returns the gate of a broker's listeners.
func New(o Options) *Table {
	t := &Table{o: o, ofBroker: true}
	for key, h := range brokerHandlers() {
		t.handlers[key] = h
	}
	return t.ready()
}

// NewController returns the gate of a controller's listeners.
func NewController(o Options) *Table {
	t := &Table{o: o}
	for key, h := range controllerHandlers() {
		t.handlers[key] = h
	}
	return t.ready()
}

func (t *Table) ready() *Table {
	t.wide = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	if t.o.Log == nil {
		t.o.Log = slog.New(slog.DiscardHandler)
	}
	for _, info := range wire.APIs() {
		if t.handlers[info.Key] == nil {
			continue
		}
		low := info.MinVersion
		if info.Key == wire.KeyProduce {
			low = 0 // librdkafka takes a broker that does not list it for one without compression
		}
		t.versions = append(t.versions, wire.ApiVersionsResponseApiKeys{ApiKey: int16(info.Key), MinVersion: low, MaxVersion: info.MaxVersion})
	}
	slices.SortFunc(t.versions, func(a, b wire.ApiVersionsResponseApiKeys) int { return int(a.ApiKey) - int(b.ApiKey) })
	t.reach.log = t.o.Log
	return t
}

// brokerHandlers lists what a broker answers.
func brokerHandlers() map[wire.APIKey]handler {
	return map[wire.APIKey]handler{
		wire.KeyProduce:                 (*Table).produce,
		wire.KeyFetch:                   (*Table).fetch,
		wire.KeyListOffsets:             answer(listOffsets),
		wire.KeyMetadata:                blocking(describeMetadata),
		wire.KeyApiVersions:             answer(apiVersions),
		wire.KeyCreateTopics:            blocking(createTopics),
		wire.KeyDeleteTopics:            blocking(deleteTopics),
		wire.KeyCreatePartitions:        blocking(createPartitions),
		wire.KeyDeleteRecords:           blocking(deleteRecords),
		wire.KeyInitProducerId:          blocking(initProducerID),
		wire.KeyOffsetForLeaderEpoch:    answer(offsetForLeaderEpoch),
		wire.KeyFindCoordinator:         answer(findCoordinator),
		wire.KeyJoinGroup:               deferred(joinGroup),
		wire.KeySyncGroup:               deferred(syncGroup),
		wire.KeyHeartbeat:               deferred(heartbeat),
		wire.KeyLeaveGroup:              deferred(leaveGroup),
		wire.KeyDescribeGroups:          deferred(describeGroups),
		wire.KeyListGroups:              deferred(listGroups),
		wire.KeyDeleteGroups:            deferred(deleteGroups),
		wire.KeyOffsetCommit:            deferred(offsetCommit),
		wire.KeyOffsetFetch:             deferred(offsetFetch),
		wire.KeyOffsetDelete:            deferred(offsetDelete),
		wire.KeyConsumerGroupHeartbeat:  deferred(consumerGroupHeartbeat),
		wire.KeyConsumerGroupDescribe:   deferred(consumerGroupDescribe),
		wire.KeyDescribeConfigs:         answer(describeConfigs),
		wire.KeyAlterConfigs:            blocking(alterConfigs),
		wire.KeyIncrementalAlterConfigs: blocking(incrementalAlterConfigs),
		wire.KeyListConfigResources:     answer(listConfigResources),
		wire.KeyDescribeLogDirs:         answer(describeLogDirs),
		wire.KeyDescribeCluster:         answer(describeCluster),
		wire.KeyDescribeTopicPartitions: answer(describeTopicPartitions),
		wire.KeyDescribeProducers:       answer(describeProducers),
		wire.KeyDescribeQuorum:          answer(describeQuorum),
		wire.KeyElectLeaders:            blocking(electLeaders),
		wire.KeyUpdateFeatures:          blocking(updateFeatures),
		wire.KeyUnregisterBroker:        blocking(unregisterBroker),
		wire.KeyDescribeAcls:            answer(describeACLs),
		wire.KeyCreateAcls:              answer(createACLs),
		wire.KeyDeleteAcls:              answer(deleteACLs),
	}
}

// controllerHandlers lists what a controller answers (KIP-919 among it).
func controllerHandlers() map[wire.APIKey]handler {
	return map[wire.APIKey]handler{
		wire.KeyApiVersions:             answer(apiVersions),
		wire.KeyCreateTopics:            blocking(createTopics),
		wire.KeyDeleteTopics:            blocking(deleteTopics),
		wire.KeyCreatePartitions:        blocking(createPartitions),
		wire.KeyDescribeConfigs:         answer(describeConfigs),
		wire.KeyAlterConfigs:            blocking(alterConfigs),
		wire.KeyIncrementalAlterConfigs: blocking(incrementalAlterConfigs),
		wire.KeyDescribeCluster:         answer(describeCluster),
		wire.KeyDescribeQuorum:          answer(describeQuorum),
		wire.KeyElectLeaders:            blocking(electLeaders),
		wire.KeyUpdateFeatures:          blocking(updateFeatures),
		wire.KeyUnregisterBroker:        blocking(unregisterBroker),
		wire.KeyDescribeAcls:            answer(describeACLs),
		wire.KeyCreateAcls:              answer(createACLs),
		wire.KeyDeleteAcls:              answer(deleteACLs),
		wire.KeyBrokerRegistration:      blocking(brokerRegistration),
		wire.KeyBrokerHeartbeat:         blocking(brokerHeartbeat),
		wire.KeyAllocateProducerIds:     blocking(allocateProducerIDs),
		wire.KeyAlterPartition:          blocking(alterPartition),
		wire.KeyAssignReplicasToDirs:    blocking(assignReplicasToDirs),
	}
}

// unanswered says why a request ends its connection: a client may have come to the wrong listener, or for what no listener
// of this version answers.
func (t *Table) unanswered(key wire.APIKey, listener string) error {
	if brokerHandlers()[key] == nil && controllerHandlers()[key] == nil {
		return kafka.UnsupportedVersion.Errorf("%s is not served in this version", key)
	}
	return kafka.UnsupportedVersion.Errorf("%s is not answered on the listener %s", key, listener)
}

// Handle implements listener.Handler.
func (t *Table) Handle(r *listener.Request) {
	key := r.Header.Key
	if key < 0 || int(key) >= len(t.handlers) || t.handlers[key] == nil {
		r.Fail(t.unanswered(key, r.Conn.Listener))
		return
	}
	if !r.Conn.Worked && !asksTheWay(key) {
		t.reach.sawWork(r.Conn, r.Header.ClientID)
	}
	t.handlers[key](t, r)
}

package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/budget"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/controller"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// gate is node 1 of a cluster whose metadata is what the test says.
type gate struct {
	t      *testing.T
	o      Options
	image  *metadata.Image
	offset int64
	log    bytes.Buffer
}

var (
	topicKeys = config.NewTable(
		config.Key{Name: "cleanup.policy", Type: config.List, Default: config.Value("delete"), Synonyms: []config.Synonym{{Name: "log.cleanup.policy"}}, Doc: "What happens to old records."},
		config.Key{Name: "retention.ms", Type: config.Long, Default: config.Value("604800000"), Doc: "How long records are kept.",
			Synonyms: []config.Synonym{{Name: "log.retention.ms"}, {Name: "log.retention.hours", Factor: config.Hours}}},
	)
	brokerKeys = config.NewTable(
		config.Key{Name: "log.cleanup.policy", Type: config.List, Default: config.Value("delete"), Update: config.ClusterWide},
		config.Key{Name: "log.retention.ms", Type: config.Long, Update: config.ClusterWide},
		config.Key{Name: "log.retention.hours", Type: config.Int, Default: config.Value("168")},
		config.Key{Name: "delete.topic.enable", Type: config.Bool, Default: config.Value("true")},
		config.Key{Name: "num.partitions", Type: config.Int, Default: config.Value("1")},
		config.Key{Name: "ssl.key.password", Type: config.Password, Update: config.PerBroker},
		config.Key{Name: "testing.aid", Type: config.Int, Default: config.Value("1"), Internal: true},
	)
	groupKeys   = config.NewTable(config.Key{Name: "consumer.session.timeout.ms", Type: config.Int, Default: config.Value("45000")})
	metricsKeys = config.NewTable(
		config.Key{Name: "interval.ms", Type: config.Int, Default: config.Value("300000")},
		config.Key{Name: "match", Type: config.List, Default: config.Value("")},
	)
)

func newGate(t *testing.T) *gate {
	g := &gate{t: t, image: metadata.Empty()}
	g.o = Options{
		NodeID: 1, ClusterID: "a-cluster", Image: func() *metadata.Image { return g.image },
		TopicConfigs: topicKeys, BrokerConfigs: brokerKeys, GroupConfigs: groupKeys, ClientMetricsConfigs: metricsKeys,
		Static: map[string]string{"num.partitions": "3", "ssl.key.password": "secret"},
		Log:    slog.New(slog.NewTextHandler(&g.log, nil)),
	}
	return g
}

// apply commits records, and returns what changed.
func (g *gate) apply(records ...wire.Message) *metadata.Delta {
	g.t.Helper()
	d := metadata.NewDelta(g.image)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			g.t.Fatal(err)
		}
		g.offset++
	}
	g.image = d.Apply(g.offset, 1, 0)
	return d
}

// call is one of a client of a broker's listener, callOn of any.
func (g *gate) call(version int16) *call { return g.callOn(New(g.o), version) }

func (g *gate) callOn(table *Table, version int16) *call {
	name := "PLAINTEXT"
	if !table.ofBroker {
		name = "CONTROLLER"
	}
	conn := &listener.Conn{Listener: name, Principal: "User:ANONYMOUS", Local: address("10.0.0.1:9092"), Remote: address("10.0.0.99:50000")}
	return &call{Request: &listener.Request{Header: wire.RequestHeader{Version: version, ClientID: "tester"}, Conn: conn}, Context: context.Background(), image: g.image, t: table}
}

// serve answers on a socket, as a listener of a broker or a controller hands requests over.
func (g *gate) serve(table *Table) (ask func(request, response wire.Message, version int16) error) {
	g.t.Helper()
	name := "PLAINTEXT"
	if !table.ofBroker {
		name = "CONTROLLER"
	}
	l := listener.New(listener.Config{Name: name, Controller: !table.ofBroker, Budget: budget.New(64 << 20)}, table)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(socket) }()
	conn, err := net.Dial("tcp", socket.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		conn.Close()
		if err := errors.Join(l.Close(context.Background()), <-served); err != nil {
			g.t.Error(err)
		}
	})
	return func(request, response wire.Message, version int16) error {
		key := wire.APIKey(request.Info().Type)
		frame := wire.AppendRequestHeader(wire.BeginFrame(nil), wire.RequestHeader{Key: key, Version: version, CorrelationID: 7, ClientID: "tester"})
		frame = request.AppendTo(frame, version)
		wire.EndFrame(frame, 0)
		if _, err := conn.Write(frame); err != nil {
			return err
		}
		var head [wire.FrameHead]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return err
		}
		frame = make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return err
		}
		_, body, err := wire.ParseResponseHeader(frame, key, version)
		if err != nil {
			return err
		}
		return wire.Decode(response, version, body)
	}
}

func address(s string) net.Addr {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		panic(err)
	}
	return a
}

// aBroker is a registration of a broker with an endpoint on PLAINTEXT.
func aBroker(id int32, host string, fenced bool) *wire.RegisterBrokerRecord {
	r := wire.NewRegisterBrokerRecord()
	r.BrokerID, r.BrokerEpoch, r.Fenced = id, int64(id), fenced
	r.EndPoints = []wire.RegisterBrokerRecordEndPoints{{Name: "PLAINTEXT", Host: host, Port: 9092}, {Name: "INSIDE", Host: "inside-" + host, Port: 9094}}
	return r
}

func aTopic(name string, id byte, partitions int, leaders ...int32) []wire.Message {
	topic := kafka.TopicID{6: 0x40, 15: id}
	records := []wire.Message{&wire.TopicRecord{Name: name, TopicID: topic}}
	for p := range partitions {
		r := wire.NewPartitionRecord()
		r.PartitionID, r.TopicID, r.Replicas, r.Isr = int32(p), topic, []int32{1}, []int32{1}
		r.LeaderEpoch, r.PartitionEpoch = 0, 0
		if len(leaders) > p {
			r.Replicas, r.Isr = []int32{leaders[p]}, []int32{leaders[p]}
		}
		r.Leader = r.Replicas[0]
		r.Directories = []kafka.DirectoryID{kafka.UnassignedDirectory}
		records = append(records, r)
	}
	return records
}

func aConfig(kind kafka.ResourceType, resource, key, value string) *wire.ConfigRecord {
	return &wire.ConfigRecord{ResourceType: int8(kind), ResourceName: resource, Name: key, Value: &value}
}

// replicas gives the gate a log directory, with what the records say in it.
func (g *gate) replicas(records ...wire.Message) {
	g.t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("/data", 0o755); err != nil {
		g.t.Fatal(err)
	}
	broker := replica.DefaultBrokerConfig()
	broker.ReserveBytes, broker.ScrubBytesPerSecond = 0, 0
	m := replica.New(replica.Options{
		NodeID: 1, FS: fs, Dirs: []replica.Dir{{Path: "/data", ID: kafka.DirectoryID{15: 9}}}, Cluster: nobody{}, Broker: broker, Log: slog.New(slog.DiscardHandler),
		TopicConfig: func(*metadata.Image, string) (commitlog.Config, replica.TopicConfig) {
			get := func(key string) string {
				if key == "cleanup.policy" {
					return "delete"
				}
				return ""
			}
			log, err := commitlog.ParseConfig(get)
			if err != nil {
				g.t.Error(err)
			}
			own, err := replica.ParseTopicConfig(get)
			if err != nil {
				g.t.Error(err)
			}
			return log, own
		},
	})
	if err := m.Load(context.Background(), nil); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			g.t.Error(err)
		}
	})
	m.Apply(g.image, g.apply(records...))
	g.o.Replicas = m
}

// nobody hears what replicas tell the cluster.
type nobody struct{}

func (nobody) AssignDirectory(kafka.TopicIDPartition, kafka.DirectoryID) {}
func (nobody) DirFailed(replica.Dir, int, error)                         {}
func (nobody) SyncStalled(replica.Dir, time.Duration)                    {}
func (nobody) SyncResumed(replica.Dir, time.Duration)                    {}

// acls allows what it holds.
type acls map[string]bool

func (a acls) Allowed(_ controller.Caller, _ ACLOperation, _ ACLResource, name string) bool {
	return a[name]
}

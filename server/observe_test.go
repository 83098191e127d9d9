package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// on makes a server with an HTTP port on any disk, without starting it.
func on(t *testing.T, disk vfs.FS, keysAndValues ...string) *Server {
	t.Helper()
	properties := config.PropertiesOf("process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:0", "http.listeners", "127.0.0.1:0",
		"log.dirs", "/a,/b", "metadata.log.dir", "/a", "memory.budget.bytes", "67108864", "log.reserve.bytes", "0", "log.scrub.bytes.per.second", "0")
	for i := 0; i < len(keysAndValues); i += 2 {
		properties.Set(keysAndValues[i], keysAndValues[i+1])
	}
	cfg, err := NewConfig(properties)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, AutoFormat())
	if err != nil {
		t.Fatal(err)
	}
	s.fs = disk
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func started(t *testing.T, s *Server) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask gets a path of the HTTP port.
func ask(t *testing.T, s *Server, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + s.HTTPAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// wants checks status and content of an answer.
func wants(t *testing.T, s *Server, path string, status int, content ...string) {
	t.Helper()
	got, body := ask(t, s, path)
	for _, c := range content {
		if got != status || !strings.Contains(body, c) {
			t.Errorf("%s: %d %q, want %d with %q", path, got, body, status, c)
		}
	}
}

func TestANodeThatStartsIsAliveAndNotReady(t *testing.T) {
	disk := vfs.NewFail(vfs.NewMem())
	reached, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	disk.Add(&vfs.Rule{Ops: vfs.OpRead, Path: "*.checkpoint", Hook: func(vfs.Op, string) {
		once.Do(func() { close(reached) })
		<-release
	}})
	s := on(t, disk)
	done := make(chan error, 1)
	go func() { done <- s.Start(t.Context()) }()
	<-reached
	wants(t, s, "/healthz", 200, "alive")
	wants(t, s, "/readyz", 503, "the node is starting: the metadata log is being read")
	wants(t, s, "/metrics", 200, "millrace_uptime_seconds") // what there is
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wants(t, s, "/readyz", 200, "ready")
}

func TestADirectoryThatFailsIsNamed(t *testing.T) {
	disk := vfs.NewFail(vfs.NewMem())
	s := started(t, on(t, disk))
	b := (&bench{node: s, client: clientOf(t, s)}).on(t)
	if err := b.tryTopic("t", 4); err != nil { // some of them in each directory
		t.Fatal(err)
	}
	for _, file := range []string{"/b/t-*/*.log", "/b/millrace-journal.*"} {
		disk.Add(&vfs.Rule{Ops: vfs.OpSync, Path: file, Err: errors.New("the medium is gone")})
	}
	refused := 0
	for p := range int32(4) {
		if err := b.try("t", &kgo.Record{Partition: p, Value: []byte("v")}); errors.Is(err, kerr.KafkaStorageError) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused == 0 || refused == 4 {
		t.Fatalf("%d of 4 partitions lie in the directory that fails", refused)
	}
	wants(t, s, "/healthz", 200, "alive")
	wants(t, s, "/readyz", 503, "the log directory /b has failed and is offline")
	wants(t, s, "/metrics", 200, `kafka_log_logmanager_logdirectoryoffline{log_directory="/b"} 1`, `kafka_log_logmanager_logdirectoryoffline{log_directory="/a"} 0`,
		"kafka_log_logmanager_offlinelogdirectorycount 1")
}

// A partition whose log is damaged is counted and named; the node is ready for the others.
func TestADamagedPartitionIsNamed(t *testing.T) {
	disk := vfs.NewMem()
	run := func() (*Server, *bench) {
		s := started(t, on(t, disk, "log.dirs", "/a"))
		return s, (&bench{node: s, disk: disk, client: clientOf(t, s)}).on(t)
	}
	s, b := run()
	if err := b.tryTopic("t", 3); err != nil {
		t.Fatal(err)
	}
	for p := range int32(3) {
		if err := b.try("t", &kgo.Record{Partition: p, Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, body := ask(t, s, "/readyz"); body != "ready\n" {
		t.Errorf("all is well, and it says %q", body)
	}
	wants(t, s, "/metrics", 200, "kafka_server_replicamanager_offlinereplicacount 0")
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := disk.RemoveAll("/a/t-1"); err != nil {
		t.Fatal(err)
	}

	s, b = run()
	for p := range int32(3) { // after a clean stop a log is looked at when it is used
		if err := b.try("t", &kgo.Record{Partition: p, Value: []byte("v")}); errors.Is(err, kerr.KafkaStorageError) != (p == 1) {
			t.Errorf("a write to partition %d: %v", p, err)
		}
	}
	wants(t, s, "/readyz", 200, "ready\nthe partition t-1 is offline: its log is damaged")
	wants(t, s, "/metrics", 200, "kafka_server_replicamanager_offlinereplicacount 1", "kafka_server_replicamanager_partitioncount 3", "kafka_server_replicamanager_leadercount 2")
	if _, body := ask(t, s, "/readyz"); strings.Contains(body, "t-0") || strings.Contains(body, "t-2") {
		t.Errorf("partitions that are well are named: %q", body)
	}
}

func TestAFullDiskIsSaidAndPasses(t *testing.T) {
	disk := vfs.NewMem()
	s := started(t, on(t, disk, "log.dirs", "/a"))
	b := (&bench{node: s, disk: disk, client: clientOf(t, s)}).on(t)
	topic := b.topic("t")
	b.produce(topic, &kgo.Record{Value: []byte("v")})
	disk.SetCapacity(1)
	if err := b.try(topic, &kgo.Record{Value: make([]byte, 500_000)}); !errors.Is(err, kerr.KafkaStorageError) {
		t.Fatalf("a write to a full disk: %v", err)
	}
	wants(t, s, "/readyz", 503, "the disk of the log directory /a is full: writes are refused until there is room")
	wants(t, s, "/metrics", 200, `millrace_log_directory_full{log_directory="/a"} 1`)
	disk.SetCapacity(1 << 30)
	b.until("there is room again", topic, func(int64) bool { return len(s.Unready()) == 0 })
	b.produce(topic, &kgo.Record{Value: []byte("v")})
	wants(t, s, "/readyz", 200, "ready")
}

func TestFiguresAreByTopicAndByPartitionOnDemand(t *testing.T) {
	const byPartition = `kafka_log_log_logendoffset{partition="0",topic="t"} 1`
	for _, partitions := range []string{"false", "true"} {
		s := started(t, on(t, vfs.NewMem(), "metrics.partitions", partitions))
		b := (&bench{node: s, client: clientOf(t, s)}).on(t)
		b.produce(b.topic("t"), &kgo.Record{Value: []byte("v")})
		wants(t, s, "/metrics", 200, `kafka_server_brokertopicmetrics_messagesin_total{topic="t"} 1`, "kafka_server_replicamanager_partitioncount 1",
			`kafka_network_requestmetrics_requests_total{request="Produce"} 1`, `kafka_network_requestmetrics_totaltime_seconds_count{request="Produce"} 1`,
			`kafka_server_socketservermetrics_incoming_byte_total{listener="PLAINTEXT"}`, `kafka_server_socketservermetrics_connection_count{listener="PLAINTEXT"}`,
			"kafka_server_snapshotemitter_latestsnapshotgeneratedagems", "kafka_server_fetchsessioncache_numincrementalfetchsessions 0", `millrace_log_directory_sync_rounds_total{log_directory="/a"}`)
		if _, body := ask(t, s, "/metrics"); strings.Contains(body, byPartition) != (partitions == "true") {
			t.Errorf("metrics.partitions=%s:\n%s", partitions, body)
		}
	}
}

func TestThereIsNoHTTPPortUnlessItIsAskedFor(t *testing.T) {
	s := started(t, on(t, vfs.NewMem(), "http.listeners", ""))
	if s.HTTPAddr() != nil {
		t.Errorf("HTTP is served at %v", s.HTTPAddr())
	}
}

// A metadata directory that fails takes the node with it, and the reason is said once, in a line.
func TestAFailedMetadataDirectoryEndsTheNode(t *testing.T) {
	disk := vfs.NewFail(vfs.NewMem())
	s := on(t, disk)
	var said bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelError}))
	started(t, s)
	b := (&bench{node: s, client: clientOf(t, s)}).on(t)
	disk.Add(&vfs.Rule{Ops: vfs.OpSync, Path: "/a/__cluster_metadata-0/*.log", Err: errors.New("the medium is gone")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go kmsg.NewPtrCreateTopicsRequest().RequestWith(ctx, b.client) // any change of the metadata
	go b.tryTopic("t", 1)
	select {
	case <-s.Failed():
	case <-ctx.Done():
		t.Fatal("the node goes on")
	}
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "the metadata log failed: ") || !strings.Contains(err.Error(), "the medium is gone") || !strings.Contains(err.Error(), "/a/__cluster_metadata-0") {
		t.Errorf("said %v", err)
	}
	wants(t, s, "/healthz", 503, "the metadata log failed")
	if err := s.Close(context.Background()); err != nil && strings.Contains(err.Error(), "the leaderships of the broker") {
		t.Errorf("a controller that is dead was asked for leave: %v", err)
	}
	if n := strings.Count(said.String(), "the metadata quorum failed"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
}

// Behind a load balancer with the PROXY protocol, advertised.listeners=auto tells the address that the client connected to.
func TestTheAdvertisedAddressBehindAProxy(t *testing.T) {
	s := started(t, on(t, vfs.NewMem(), "proxy.protocol.listeners", "PLAINTEXT"))
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("PLAINTEXT").String()), kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			_, err = io.WriteString(c, "PROXY TCP4 192.0.2.1 198.51.100.7 40000 9094\r\n")
		}
		return c, err
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	response, err := client.SeedBrokers()[0].Request(t.Context(), kmsg.NewPtrMetadataRequest())
	if err != nil {
		t.Fatal(err)
	}
	if brokers := response.(*kmsg.MetadataResponse).Brokers; len(brokers) != 1 || brokers[0].Host != "198.51.100.7" || brokers[0].Port != 9094 {
		t.Errorf("told %+v", brokers)
	}
}

// max.connections and max.connections.per.ip act at once when they are altered, and from the start when they were.
func TestLimitsOfConnectionsChangeWhileTheNodeRuns(t *testing.T) {
	disk := vfs.NewMem()
	s := started(t, on(t, disk))
	admin := clientOf(t, s)
	alter := func(key, value string) error {
		request, resource, config := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = key, &value
		resource.ResourceType, resource.Configs = kmsg.ConfigResourceTypeBroker, append(resource.Configs, config)
		request.Resources = append(request.Resources, resource)
		response, err := request.RequestWith(t.Context(), admin) // on the connection that is open
		if err == nil {
			err = kerr.ErrorForCode(response.Resources[0].ErrorCode)
		}
		return err
	}
	setKey := func(key, value string) {
		t.Helper()
		if err := alter(key, value); err != nil {
			t.Fatal(err)
		}
	}
	set := func(value string) {
		t.Helper()
		setKey("max.connections.per.ip", value)
	}
	taken := func(s *Server) bool {
		t.Helper()
		c, err := net.Dial("tcp", s.Addr("PLAINTEXT").String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// ApiVersions 0 of a client without a name; a connection that is refused ends without an answer.
		if _, err := c.Write([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255}); err != nil {
			return false
		}
		_, err = io.ReadFull(c, make([]byte, 8))
		return err == nil
	}
	for key, value := range map[string]string{"max.connections.per.ip": "0", "listener.name.plaintext.max.connections": "-1", "max.connections.per.ip.overrides": "x"} {
		if err := alter(key, value); !errors.Is(err, kerr.InvalidRequest) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
	set("1000")
	if !taken(s) {
		t.Error("a connection is refused below the limit")
	}
	setKey("listener.name.plaintext.max.connections", "1000") // is described where it is set, with what stands behind it
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.IncludeSynonyms = true
	describe.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "1"}}
	described, err := describe.RequestWith(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	shown := ""
	for _, c := range described.Resources[0].Configs {
		if strings.HasPrefix(c.Name, "listener.name.") {
			shown += fmt.Sprintf("%s=%s %v", c.Name, *c.Value, c.ReadOnly)
			for _, s := range c.ConfigSynonyms {
				shown += fmt.Sprintf(" %s:%s=%s", s.Source, s.Name, *s.Value)
			}
		}
	}
	if want := "listener.name.plaintext.max.connections=1000 false DYNAMIC_DEFAULT_BROKER_CONFIG:listener.name.plaintext.max.connections=1000 DEFAULT_CONFIG:max.connections=2147483647"; shown != want {
		t.Errorf("described as %s\nwant %s", shown, want)
	}
	set("1")
	if taken(s) {
		t.Error("a connection beyond the limit is served")
	}
	set("1000")
	if !taken(s) {
		t.Error("a connection is refused after the limit was raised")
	}
	set("1000")
	setKey("max.connections.per.ip.overrides", "127.0.0.1:0")
	admin.Close()
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := started(t, on(t, disk)); taken(again) {
		t.Error("after a restart the limit is forgotten")
	}
}

// Names in limits of connections are looked up, and the metadata goes on meanwhile.
func TestASlowNameServerHoldsUpNoMetadata(t *testing.T) {
	asked, answered := make(chan struct{}), make(chan struct{})
	defer func(was func(context.Context, string) ([]netip.Addr, error)) { resolve = was }(resolve)
	resolve = func(context.Context, string) ([]netip.Addr, error) {
		close(asked)
		<-answered
		return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
	}
	s := started(t, on(t, vfs.NewMem()))
	release := sync.OnceFunc(func() { close(answered) })
	t.Cleanup(release) // before the node is closed
	admin := kadm.NewClient(clientOf(t, s))
	value := "slow.example:7"
	if _, err := admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.connections.per.ip.overrides", Value: &value}}); err != nil {
		t.Fatal(err)
	}
	<-asked
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		topics, err := admin.ListTopics(t.Context(), "t")
		if err != nil {
			t.Fatal(err)
		}
		if topics["t"].Err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not know of a topic while a name is looked up: %v", topics["t"].Err)
		}
	}
	if known := s.node.known("slow.example"); known != nil {
		t.Errorf("%v is known before it is found", known)
	}
	release()
	for deadline := time.Now().Add(20 * time.Second); len(s.node.known("slow.example")) != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the address that was found is not taken over")
		}
		runtime.Gosched()
	}
}

func (n *node) known(host string) []netip.Addr {
	n.limiting.Lock()
	defer n.limiting.Unlock()
	return n.addresses.known[host]
}

// A controller alone serves its listener (KIP-919), and no other.
func TestAControllerAlone(t *testing.T) {
	s := started(t, on(t, vfs.NewMem(), "process.roles", "controller", "listeners", "CONTROLLER://127.0.0.1:0", "controller.listener.names", "CONTROLLER", "controller.quorum.voters", "1@127.0.0.1:9093"))
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr("CONTROLLER").String()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrDescribeClusterRequest()
	request.Version, request.EndpointType = 1, 2 // controllers
	seed := client.SeedBrokers()[0]
	response, err := seed.Request(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if d := response.(*kmsg.DescribeClusterResponse); d.ErrorCode != 0 || d.ClusterID != s.ClusterID() || d.ControllerID != 1 {
		t.Errorf("described as %+v", d)
	}
	quorum := kmsg.NewPtrDescribeQuorumRequest()
	quorum.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	if response, err = seed.Request(t.Context(), quorum); err != nil {
		t.Fatal(err)
	}
	if p := response.(*kmsg.DescribeQuorumResponse).Topics[0].Partitions[0]; p.LeaderID != 1 || len(p.CurrentVoters) != 1 {
		t.Errorf("the quorum is %+v", p)
	}
	wants(t, s, "/readyz", 200, "ready")
}

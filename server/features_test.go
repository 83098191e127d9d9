package server

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/vfs"
	"github.com/millrace-io/millrace/server/offline"
)

// served are the features whose promises a node without coordinators keeps. Whoever serves the next one changes its
// line in metadata/features.go, and this.
var served = map[string][3]int16{ // least and highest level, and the level of a new cluster
	"metadata.version":                 {7, 33, 33},
	"kraft.version":                    {0, 1, 1},
	"eligible.leader.replicas.version": {0, 1, 1}, "group.version": {0, 1, 1},
}

// memoryNode starts a node on a disk in memory, formatted or not.
func memoryNode(t *testing.T, disk *vfs.Mem, keysAndValues ...string) *Server {
	t.Helper()
	properties := config.PropertiesOf("process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:0",
		"log.dirs", "/data", "memory.budget.bytes", "67108864", "log.reserve.bytes", "0", "log.scrub.bytes.per.second", "0")
	for i := 0; i < len(keysAndValues); i += 2 {
		properties.Set(keysAndValues[i], keysAndValues[i+1])
	}
	cfg, err := NewConfig(properties)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, WithDisk(&Disk{disk}), AutoFormat())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// features asks a listener what ApiVersions says of features: supported range and finalized level, by name.
func features(t *testing.T, s *Server, listener string) map[string][3]int16 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Addr(listener).String()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	request := kmsg.NewPtrApiVersionsRequest()
	request.Version = 4 // from here on a feature may be told of that may be off
	request.ClientSoftwareName, request.ClientSoftwareVersion = "test", "1"
	response, err := request.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if response.FinalizedFeaturesEpoch < 0 {
		t.Errorf("the epoch of the features is %d", response.FinalizedFeaturesEpoch)
	}
	told := make(map[string][3]int16)
	for _, f := range response.SupportedFeatures {
		told[f.Name] = [3]int16{f.MinVersion, f.MaxVersion, 0}
	}
	for _, f := range response.FinalizedFeatures {
		range_, supported := told[f.Name]
		if !supported || f.MinVersionLevel != f.MaxVersionLevel {
			t.Errorf("%s is finalized at %d to %d, supported: %v", f.Name, f.MinVersionLevel, f.MaxVersionLevel, supported)
		}
		range_[2] = f.MaxVersionLevel
		told[f.Name] = range_
	}
	return told
}

func TestFeaturesAreToldOfWhenTheyAreTrue(t *testing.T) {
	s := memoryNode(t, vfs.NewMem(), "listeners", "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0", "controller.listener.names", "CONTROLLER")
	for _, listener := range []string{"PLAINTEXT", "CONTROLLER"} {
		if told := features(t, s, listener); !maps.Equal(told, served) {
			t.Errorf("%s tells of %v, want %v", listener, told, served)
		}
	}
}

// A cluster that Apache Kafka made has levels finalized that nothing here serves yet: the node runs on it, and does not
// send clients to coordinators that are not there.
func TestAClusterOfApacheKafkaKeepsItsFeatures(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("/data", 0o755); err != nil {
		t.Fatal(err)
	}
	id := kafka.NewUUID()
	ofKafka := map[string]int16{"eligible.leader.replicas.version": 1, "group.version": 1, "share.version": 2, "streams.version": 1, "transaction.version": 2}
	records := []wire.Message{&wire.FeatureLevelRecord{Name: "metadata.version", FeatureLevel: 33}}
	for name, level := range ofKafka {
		records = append(records, &wire.FeatureLevelRecord{Name: name, FeatureLevel: level})
	}
	if err := quorum.Format(disk, "/data", records, []quorum.Voter{{ID: 1, DirectoryID: id}}); err != nil {
		t.Fatal(err)
	}
	if err := offline.WriteProperties(disk, "/data", offline.Properties{ClusterID: kafka.NewUUID().String(), NodeID: 1, DirectoryID: id}); err != nil {
		t.Fatal(err)
	}
	s := memoryNode(t, disk)
	if told := features(t, s, "PLAINTEXT"); !maps.Equal(told, served) {
		t.Errorf("told of %v, want %v", told, served)
	}
	for name, level := range ofKafka {
		if kept := s.node.loader.Image().Feature(name); kept != level {
			t.Errorf("%s is at %d in the metadata, want %d as Kafka left it", name, kept, level)
		}
	}
}

package judge

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/internal/wire/definitions"
)

// stored makes one record of every type and version of a family, with random fields.
func stored(random *definitions.Random, family string, each func(key, value []byte)) {
	set := definitions.Load()
	for _, schema := range set.Messages {
		if schema.Family != family || schema.Name == "UnregisterControllerRecord" { // Kafka's tools are older than that one
			continue
		}
		make := func(schema *definitions.Message, version int16) wire.Message {
			m := wire.NewMessage(schema.Name)
			random.Fill(m, schema, version)
			tame(random, m)
			return m
		}
		switch schema.Kind {
		case definitions.Record:
			for v := schema.Versions.Min; v <= schema.Versions.Max; v++ {
				if m := make(schema, v); family == "remote" {
					each(nil, wire.AppendRemoteLogRecord(nil, m, v))
				} else {
					each(nil, wire.AppendMetadataRecord(nil, m, v))
				}
			}
		case definitions.Key:
			key := wire.AppendCoordinatorKey(nil, make(schema, schema.Versions.Max))
			each(key, nil) // a deletion
			for _, value := range set.Messages {
				if value.Kind != definitions.Value || value.Family != family || value.Number != schema.Number {
					continue
				}
				for v := value.Versions.Min; v <= value.Versions.Max; v++ {
					each(key, wire.AppendCoordinatorValue(nil, make(value, v), v))
				}
			}
		}
	}
}

// tame makes of a record what Kafka's tool can show: those of remote segments must make sense, and the newest fields it does
// not know.
func tame(random *definitions.Random, m wire.Message) {
	n := random.Int64N(1 << 40)
	switch m := m.(type) {
	case *wire.StreamsGroupMetadataValue:
		m.StoredDescriptionTopologyEpoch, m.FailedDescriptionTopologyEpoch = -1, -1
	case *wire.RemoteLogSegmentMetadataRecord:
		m.StartOffset, m.EndOffset, m.BrokerID, m.SegmentSizeInBytes, m.RemoteLogSegmentState = n, n+5, 1, 100, int8(random.IntN(4))
		m.MaxTimestampMs, m.EventTimestampMs = n, n
		m.SegmentLeaderEpochs = []wire.RemoteLogSegmentMetadataRecordSegmentLeaderEpochs{{LeaderEpoch: 0, Offset: n}, {LeaderEpoch: 2, Offset: n + 1}}
	case *wire.RemoteLogSegmentMetadataSnapshotRecord:
		m.StartOffset, m.EndOffset, m.BrokerID, m.SegmentSizeInBytes, m.RemoteLogSegmentState = n, n+5, 1, 100, int8(random.IntN(4))
		m.MaxTimestampMs, m.EventTimestampMs = n, n
		m.SegmentLeaderEpochs = []wire.RemoteLogSegmentMetadataSnapshotRecordSegmentLeaderEpochs{{LeaderEpoch: 7, Offset: n}}
	case *wire.RemoteLogSegmentMetadataUpdateRecord:
		m.RemoteLogSegmentState, m.EventTimestampMs = int8(1+random.IntN(3)), n
	case *wire.RemotePartitionDeleteMetadataRecord:
		m.RemotePartitionDeleteState = int8(random.IntN(3))
	}
}

// The decoders of both tools show every record that Kafka stores in the same words, whatever its fields hold.
func TestDecodersShowTheSame(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8")
	random := definitions.NewRandom(4)
	for _, c := range []struct{ family, option string }{
		{"metadata", "--cluster-metadata-decoder"},
		{"group", "--offsets-decoder"},
		{"transaction", "--transaction-log-decoder"},
		{"share", "--share-group-state-decoder"},
		{"remote", "--remote-log-metadata-decoder"},
	} {
		t.Run(c.family, func(t *testing.T) {
			builder := record.NewBuilder(record.NewBuilderOptions())
			for range 10 {
				stored(random, c.family, func(key, value []byte) {
					builder.Append(record.Record{Timestamp: 1, Key: key, Value: value})
				})
			}
			if c.family == "group" { // a classic group of consumers, whose members speak a protocol of their own
				subscription := wire.NewConsumerProtocolSubscription()
				subscription.Topics = []string{"orders"}
				assignment := wire.NewConsumerProtocolAssignment()
				assignment.AssignedPartitions = []wire.ConsumerProtocolAssignmentAssignedPartitions{{Topic: "orders", Partitions: []int32{0, 2}}}
				group := wire.NewGroupMetadataValue()
				group.ProtocolType = "consumer"
				group.Members = []wire.GroupMetadataValueMembers{{MemberID: "m", ClientID: "c", ClientHost: "/h", Subscription: subscription.AppendTo([]byte{0, 1}, 1), Assignment: assignment.AppendTo([]byte{0, 0}, 0)},
					{MemberID: "n", Subscription: []byte("another protocol"), Assignment: []byte{}}}
				key := wire.NewGroupMetadataKey()
				key.Group = "g"
				builder.Append(record.Record{Key: wire.AppendCoordinatorKey(nil, key), Value: wire.AppendCoordinatorValue(nil, group, 3)})
				builder.Append(record.Record{Key: []byte{0, 99, 1, 2}, Value: []byte{0, 0}}) // of a type that does not exist
			}
			name := filepath.Join(t.TempDir(), "00000000000000000000.log")
			if err := os.WriteFile(name, builder.Build(nil), 0o644); err != nil {
				t.Fatal(err)
			}
			out, _ := sameDump(t, c.option, "--files", name)
			if n := strings.Count(out, "payload: "); n < 10 {
				t.Errorf("only %d records were shown", n)
			}
		})
	}
}

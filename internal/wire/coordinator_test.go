package wire_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
)

// TestACoordinatorReaderReadsWhatIsThere, record after record, and leaves alone what it has given away.
func TestACoordinatorReaderReadsWhatIsThere(t *testing.T) {
	reader := wire.NewCoordinatorReader(wire.GroupRecords)
	var names [][]string
	for i := range 3000 {
		long := strings.Repeat("l", i%400)
		keys := []wire.Message{
			&wire.OffsetCommitKey{Group: fmt.Sprint("g", i/100), Topic: "t", Partition: int32(i)},
			&wire.ConsumerGroupMemberMetadataKey{GroupID: fmt.Sprint("g", i), MemberID: long},
		}
		rack := fmt.Sprint("rack", i%3)
		values := []wire.Message{
			&wire.OffsetCommitValue{Offset: int64(i), LeaderEpoch: int32(i % 2), Metadata: long[:len(long)/2], CommitTimestamp: 7, ExpireTimestamp: -1},
			&wire.ConsumerGroupMemberMetadataValue{ClientID: "c", ClientHost: "/h", RackID: &rack, SubscribedTopicNames: []string{"t", fmt.Sprint("t", i%7)}},
		}
		if i%2 == 0 {
			values[1].(*wire.ConsumerGroupMemberMetadataValue).RackID = nil
		}
		for n := range keys {
			key, err := reader.Key(wire.AppendCoordinatorKey(nil, keys[n]))
			if err != nil || !reflect.DeepEqual(key, keys[n]) {
				t.Fatalf("read %+v, %v; want %+v", key, err, keys[n])
			}
			version := values[n].Info().MaxVersion
			value, got, err := reader.Value(key.Info().Type, wire.AppendCoordinatorValue(nil, values[n], version))
			if err != nil || got != version || !reflect.DeepEqual(value, values[n]) {
				t.Fatalf("read %+v in version %d, %v; want %+v", value, got, err, values[n])
			}
			if m, is := value.(*wire.ConsumerGroupMemberMetadataValue); is {
				names = append(names, m.SubscribedTopicNames)
			}
		}
		if _, err := reader.Key([]byte{0, 1, 0}); err == nil {
			t.Fatal("a key that ends too early")
		}
	}
	for i, list := range names {
		if want := []string{"t", fmt.Sprint("t", i%7)}; !reflect.DeepEqual(list, want) {
			t.Fatalf("what was given away is %q, want %q", list, want)
		}
	}
}

// TestACoordinatorReaderMakesNothing for the record of an offset whose group and topic came before.
func TestACoordinatorReaderMakesNothing(t *testing.T) {
	reader := wire.NewCoordinatorReader(wire.GroupRecords)
	key := wire.AppendCoordinatorKey(nil, &wire.OffsetCommitKey{Group: "group", Topic: "topic", Partition: 3})
	value := wire.AppendCoordinatorValue(nil, &wire.OffsetCommitValue{Offset: 4}, 4)
	if n := testing.AllocsPerRun(100, func() {
		k, err := reader.Key(key)
		if err == nil {
			_, _, err = reader.Value(k.Info().Type, value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a record", n)
	}
}

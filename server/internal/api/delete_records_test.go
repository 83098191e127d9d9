package api

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
)

func TestDeleteRecordsTakesTheLastOffset(t *testing.T) {
	partition := func(p int32, offset int64) wire.DeleteRecordsRequestPartitions {
		return wire.DeleteRecordsRequestPartitions{PartitionIndex: p, Offset: offset}
	}
	got := lastOffsets([]wire.DeleteRecordsRequestTopics{
		{Name: "a", Partitions: []wire.DeleteRecordsRequestPartitions{partition(0, 1), partition(1, 2), partition(0, 3)}},
		{Name: "none"},
		{Name: "b", Partitions: []wire.DeleteRecordsRequestPartitions{partition(0, 4)}},
		{Name: "a", Partitions: []wire.DeleteRecordsRequestPartitions{partition(1, 5)}},
	})
	if s := fmt.Sprint(got); s != "[{a [{0 3} {1 5}]} {b [{0 4}]}]" {
		t.Error(s)
	}
}

package api

import (
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DeleteRecords, versions 0 to 2 (KIP-107): moves the start of logs to an offset, -1 for the high watermark. The answer
// comes when the new starts are saved.
func deleteRecords(c *call, request *wire.DeleteRecordsRequest) wire.Message {
	response := wire.NewDeleteRecordsResponse()
	var waiting sync.WaitGroup
	timeout := time.Duration(request.TimeoutMs) * time.Millisecond
	for _, t := range lastOffsets(request.Topics) {
		partitions := make([]wire.DeleteRecordsResponsePartitions, len(t.Partitions))
		response.Topics = append(response.Topics, wire.DeleteRecordsResponseTopics{Name: t.Name, Partitions: partitions})
		allowed := c.allowed(OpDelete, ResTopic, t.Name)
		for i, p := range t.Partitions {
			one := &partitions[i]
			one.PartitionIndex, one.LowWatermark = p.PartitionIndex, -1
			switch {
			case !allowed:
				one.ErrorCode = kafka.TopicAuthorizationFailed
				continue
			case c.image.Topic(t.Name).Partition(p.PartitionIndex) == nil:
				one.ErrorCode = kafka.UnknownTopicOrPartition
				continue
			}
			waiting.Add(1)
			c.t.o.Replicas.DeleteRecords(t.Name, p.PartitionIndex, p.Offset, timeout, func(low int64, err error) {
				defer waiting.Done()
				one.LowWatermark, one.ErrorCode = low, c.t.code(err, "delete records", t.Name, p.PartitionIndex)
			})
		}
	}
	waiting.Wait()
	return response
}

// lastOffsets names each topic and each partition once; of several offsets for one the last counts.
func lastOffsets(topics []wire.DeleteRecordsRequestTopics) []wire.DeleteRecordsRequestTopics {
	var kept []wire.DeleteRecordsRequestTopics
	places := make(map[string]int)
	at := make(map[kafka.TopicPartition]int)
	for _, t := range topics {
		for _, p := range t.Partitions {
			place, known := places[t.Name]
			if !known {
				place = len(kept)
				places[t.Name] = place
				kept = append(kept, wire.DeleteRecordsRequestTopics{Name: t.Name})
			}
			to, tp := &kept[place], kafka.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}
			if i, seen := at[tp]; seen {
				to.Partitions[i] = p
				continue
			}
			at[tp] = len(to.Partitions)
			to.Partitions = append(to.Partitions, p)
		}
	}
	return kept
}

package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DescribeLogDirs, versions 1 to 5: the log directories of this broker with the sizes of their replicas. No topics at all
// (null) means every one; total and usable bytes from version 4 on (KIP-827).
func describeLogDirs(c *call, request *wire.DescribeLogDirsRequest) wire.Message {
	response := wire.NewDescribeLogDirsResponse()
	if !c.allowed(OpDescribe, ResCluster, clusterName) {
		response.ErrorCode = kafka.ClusterAuthorizationFailed
		return response
	}
	wanted := func(string, int32) bool { return true }
	if request.Topics != nil {
		asked := make(map[kafka.TopicPartition]bool)
		for _, t := range request.Topics {
			for _, p := range t.Partitions {
				asked[kafka.TopicPartition{Topic: t.Topic, Partition: p}] = true
			}
		}
		wanted = func(topic string, partition int32) bool {
			return asked[kafka.TopicPartition{Topic: topic, Partition: partition}]
		}
	}
	for _, dir := range c.t.o.Replicas.DescribeLogDirs(wanted) {
		result := wire.NewDescribeLogDirsResponseResults()
		result.LogDir, result.TotalBytes, result.UsableBytes, result.IsCordoned = dir.Dir.Path, dir.TotalBytes, dir.UsableBytes, dir.Cordoned
		if dir.Err != nil {
			result.ErrorCode = kafka.CodeOf(dir.Err)
		}
		places := make(map[string]int)
		for _, r := range dir.Replicas {
			place, known := places[r.Topic]
			if !known {
				place = len(result.Topics)
				places[r.Topic] = place
				result.Topics = append(result.Topics, wire.DescribeLogDirsResponseTopics{Name: r.Topic})
			}
			t := &result.Topics[place]
			t.Partitions = append(t.Partitions, wire.DescribeLogDirsResponsePartitions{PartitionIndex: r.Partition, PartitionSize: r.Size, OffsetLag: r.OffsetLag, IsFutureKey: r.Future})
		}
		response.Results = append(response.Results, result)
	}
	return response
}

package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/quorum"
)

// DescribeQuorum, versions 0 to 2 (KIP-836): who votes on the metadata and how far each is. The only partition there is
// is __cluster_metadata-0, and a request that names more than that gets nothing, as from Kafka.
func describeQuorum(c *call, request *wire.DescribeQuorumRequest) wire.Message {
	response := wire.NewDescribeQuorumResponse()
	response.ErrorMessage = new(string)
	if !c.allowed(OpDescribe, ResCluster, clusterName) {
		response.ErrorCode = kafka.ClusterAuthorizationFailed
		return response
	}
	alone := len(request.Topics) == 1 && request.Topics[0].TopicName == kafka.MetadataTopic && len(request.Topics[0].Partitions) == 1 && request.Topics[0].Partitions[0].PartitionIndex == 0
	for _, t := range request.Topics {
		topic := wire.DescribeQuorumResponseTopics{TopicName: t.TopicName}
		for _, p := range t.Partitions {
			one := wire.DescribeQuorumResponsePartitions{PartitionIndex: p.PartitionIndex}
			if !alone || c.t.o.Quorum == nil {
				err := kafka.UnknownTopicOrPartition.Errorf("%s-%d has no quorum, or was not asked for alone", t.TopicName, p.PartitionIndex)
				one.ErrorCode, one.ErrorMessage = kafka.CodeOf(err), kafka.MessageOf(err)
			} else {
				one.ErrorMessage = new(string)
				describeMetadataPartition(c.t.o.Quorum.Describe(), &one)
			}
			topic.Partitions = append(topic.Partitions, one)
		}
		response.Topics = append(response.Topics, topic)
	}
	if !alone {
		return response
	}
	node := wire.DescribeQuorumResponseNodes{NodeID: c.t.o.NodeID}
	for _, e := range c.t.o.ControllerEndpoints {
		node.Listeners = append(node.Listeners, wire.DescribeQuorumResponseListeners{Name: e.Name, Host: e.Host, Port: e.Port})
	}
	response.Nodes = append(response.Nodes, node)
	return response
}

func describeMetadataPartition(s quorum.Status, to *wire.DescribeQuorumResponsePartitions) {
	to.LeaderID, to.LeaderEpoch, to.HighWatermark = s.Leader, s.Epoch, s.HighWatermark
	for _, r := range s.Voters {
		to.CurrentVoters = append(to.CurrentVoters, wire.DescribeQuorumResponseCurrentVoters{ReplicaID: r.ID, ReplicaDirectoryID: r.DirectoryID, LogEndOffset: r.EndOffset,
			LastFetchTimestamp: r.LastFetchMs, LastCaughtUpTimestamp: r.LastCaughtUpMs})
	}
	for _, r := range s.Observers {
		to.Observers = append(to.Observers, wire.DescribeQuorumResponseObservers{ReplicaID: r.ID, ReplicaDirectoryID: r.DirectoryID, LogEndOffset: r.EndOffset,
			LastFetchTimestamp: r.LastFetchMs, LastCaughtUpTimestamp: r.LastCaughtUpMs})
	}
}

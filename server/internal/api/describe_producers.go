package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// DescribeProducers, version 0 (KIP-664): the producers that partitions remember, asked of their leader.
func describeProducers(c *call, request *wire.DescribeProducersRequest) wire.Message {
	response := wire.NewDescribeProducersResponse()
	for _, t := range request.Topics {
		topic := wire.DescribeProducersResponseTopics{Name: t.Name}
		for _, index := range t.PartitionIndexes {
			one := wire.DescribeProducersResponsePartitions{PartitionIndex: index}
			var err error
			switch {
			case !c.allowed(OpRead, ResTopic, t.Name):
				err = kafka.TopicAuthorizationFailed
			case kafka.CheckTopicName(t.Name) != nil:
				err = kafka.InvalidTopicException.Errorf("%v", kafka.CheckTopicName(t.Name))
			case c.image.Topic(t.Name) == nil:
				err = kafka.UnknownTopicOrPartition.Errorf("there is no topic %q", t.Name)
			case c.image.Topic(t.Name).Partition(index) == nil:
				err = kafka.UnknownTopicOrPartition
			default:
				producers, e := c.t.o.Replicas.DescribeProducers(t.Name, index)
				err = e
				for _, p := range producers {
					one.ActiveProducers = append(one.ActiveProducers, wire.DescribeProducersResponseActiveProducers{ProducerID: p.ProducerID, ProducerEpoch: int32(p.Epoch),
						LastSequence: p.LastSequence, LastTimestamp: p.LastTimestamp, CoordinatorEpoch: p.CoordinatorEpoch, CurrentTxnStartOffset: p.TxnFirstOffset})
				}
			}
			one.ErrorCode, one.ErrorMessage = kafka.CodeOf(err), kafka.MessageOf(err)
			topic.Partitions = append(topic.Partitions, one)
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

package api

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
)

// FindCoordinator, versions 0 to 6: which broker coordinates a group; several at once from version 4 on (KIP-699). The
// topic that groups are stored in is created when the first client asks: it is told that there is no coordinator yet,
// and asks again.

// The types of keys.
const (
	keyGroup       int8 = 0
	keyTransaction int8 = 1
	keyShare       int8 = 2
)

func findCoordinator(c *call, request *wire.FindCoordinatorRequest) wire.Message {
	response := wire.NewFindCoordinatorResponse()
	if c.version() < 4 {
		one := c.coordinatorOf(request.KeyType, request.Key)
		response.NodeID, response.Host, response.Port, response.ErrorCode = one.NodeID, one.Host, one.Port, one.ErrorCode
		message := one.ErrorCode.String()
		if *one.ErrorMessage != "" {
			message = *one.ErrorMessage
		}
		response.ErrorMessage = &message
		return response
	}
	for _, key := range request.CoordinatorKeys {
		response.Coordinators = append(response.Coordinators, c.coordinatorOf(request.KeyType, key))
	}
	return response
}

func (c *call) coordinatorOf(keyType int8, key string) wire.FindCoordinatorResponseCoordinators {
	none := ""
	one := wire.FindCoordinatorResponseCoordinators{Key: key, NodeID: kafka.NoNode, Port: -1, ErrorMessage: &none}
	switch keyType {
	case keyGroup:
		if !c.allowed(OpDescribe, ResGroup, key) {
			one.ErrorCode = kafka.GroupAuthorizationFailed
			return one
		}
	case keyTransaction:
		if !c.allowed(OpDescribe, ResTxnID, key) {
			one.ErrorCode = kafka.TransactionalIDAuthorizationFailed
			return one
		}
		message := "no broker of this version coordinates transactions: a transactional.id, exactly-once processing and what else needs them is not served yet"
		one.ErrorCode, one.ErrorMessage = kafka.UnsupportedVersion, &message
		return one
	case keyShare:
		one.ErrorCode = kafka.InvalidRequest // no key is one of a share group: there are none in this version
		return one
	default:
		message := fmt.Sprintf("%d is not a type of keys that have a coordinator: 0 is groups, 1 transactions", keyType)
		one.ErrorCode, one.ErrorMessage = kafka.InvalidRequest, &message
		return one
	}
	one.ErrorCode = kafka.CoordinatorNotAvailable
	t := c.image.Topic(group.Topic)
	if t == nil || len(t.Partitions) == 0 {
		c.t.createGroupTopic(c)
		return one
	}
	leader := c.image.Broker(t.Partitions[group.PartitionOf(key, len(t.Partitions))].Leader)
	if leader == nil || leader.Fenced {
		return one
	}
	if host, port, ok := c.endpoint(leader); ok {
		one.NodeID, one.Host, one.Port, one.ErrorCode = leader.ID, host, port, kafka.None
	}
	return one
}

// createGroupTopic asks the controller for the topic of the groups, one request at a time, and does not wait.
func (t *Table) createGroupTopic(c *call) {
	if !t.creatingGroups.CompareAndSwap(false, true) {
		return
	}
	compact, producer, segment := "compact", "producer", t.setting("offsets.topic.segment.bytes")
	request := wire.NewCreateTopicsRequest()
	request.TimeoutMs = 30_000
	request.Topics = []wire.CreateTopicsRequestTopics{{
		Name: group.Topic, NumPartitions: int32(t.number("offsets.topic.num.partitions")), ReplicationFactor: int16(t.number("offsets.topic.replication.factor")),
		Configs: []wire.CreateTopicsRequestConfigs{
			{Name: "cleanup.policy", Value: &compact}, {Name: "compression.type", Value: &producer}, {Name: "segment.bytes", Value: &segment},
		},
	}}
	caller := c.caller()
	go func() {
		defer t.creatingGroups.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		response, err := t.o.Forwarder.Forward(ctx, caller, request, 7)
		if err != nil {
			t.o.Log.Warn("the topic of the groups could not be created", "topic", group.Topic, "err", err)
			return
		}
		for _, one := range response.(*wire.CreateTopicsResponse).Topics {
			switch one.ErrorCode {
			case kafka.None:
				t.o.Log.Info("created the topic of the groups", "topic", group.Topic, "partitions", request.Topics[0].NumPartitions, "replicas", request.Topics[0].ReplicationFactor)
			case kafka.TopicAlreadyExists:
			default:
				message := one.ErrorCode.String()
				if one.ErrorMessage != nil {
					message = *one.ErrorMessage
				}
				t.o.Log.Error("the topic of the groups cannot be created, so no group works; is offsets.topic.replication.factor larger than the number of brokers?",
					"topic", group.Topic, "replicas", request.Topics[0].ReplicationFactor, "err", message)
			}
		}
	}()
}

// setting is the effective value of a broker's setting, number one that is a whole number.
func (t *Table) setting(key string) string {
	value, _ := t.o.BrokerConfigs.Effective(key, config.Layer{Source: config.SourceStaticBroker, Values: t.o.Static})
	return value
}

func (t *Table) number(key string) int64 {
	n, err := strconv.ParseInt(t.setting(key), 10, 64)
	if err != nil {
		panic("api: the setting " + key + " was not checked at start: " + err.Error())
	}
	return n
}

package controller

import (
	"math/rand/v2"
	"time"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// view is what a decider sees of the cluster.
type view struct {
	*settings
	// image is the committed state plus the controller's own records that are on their way.
	image *metadata.Image
	// index knows which partitions of that image have a replica on a broker.
	index *index
	// sessions is who was heard of when.
	sessions sessions
	now      time.Time
	rand     *rand.Rand
	// nextOffset is the offset that the next proposed record will get.
	nextOffset int64
	// room is asked before something is made that takes room for good.
	room func() error
}

// decide calls the decider of a request. An error is answered in the form that the response has for it.
func (v *view) decide(caller Caller, request wire.Message, version int16) (change, error) {
	switch r := request.(type) {
	case *wire.CreateTopicsRequest:
		return v.createTopics(r)
	case *wire.DeleteTopicsRequest:
		return v.deleteTopics(r, version)
	case *wire.CreatePartitionsRequest:
		return v.createPartitions(r)
	case *wire.AlterConfigsRequest:
		return v.alterConfigs(caller, r)
	case *wire.IncrementalAlterConfigsRequest:
		return v.incrementalAlterConfigs(caller, r)
	case *wire.BrokerRegistrationRequest:
		return v.registerBroker(r, version)
	case *wire.BrokerHeartbeatRequest:
		return v.heartbeat(r)
	case *wire.UnregisterBrokerRequest:
		return v.unregisterBroker(r)
	case *wire.AllocateProducerIdsRequest:
		return v.allocateProducerIDs(r)
	case *wire.AlterPartitionRequest:
		return v.alterPartition(r, version)
	case *wire.AssignReplicasToDirsRequest:
		return v.assignReplicas(r)
	case *wire.ElectLeadersRequest:
		return v.electLeaders(r, version)
	case *wire.UpdateFeaturesRequest:
		return v.updateFeatures(r, version)
	}
	return change{}, kafka.InvalidRequest.Errorf("%s is not answered by the controller", request.Info().Name)
}

// brokerLayers are the layers that give a topic its values beside its own, as the controller sees them.
func (v *view) brokerLayers() []config.Layer {
	return []config.Layer{
		{Source: config.SourceDynamicDefaultBroker, Values: v.image.Config(kafka.ResourceBroker, "")},
		{Source: config.SourceStaticBroker, Values: v.static},
	}
}

// topicValue returns the effective value of a topic's key; "" when it is null or not declared.
func (v *view) topicValue(topic, key string) string {
	layers := append([]config.Layer{{Source: config.SourceTopic, Values: v.image.Config(kafka.ResourceTopic, topic)}}, v.brokerLayers()...)
	value, _ := v.topic.Effective(key, layers...)
	return value
}

// topicRules are the settings of a topic that decide who may lead its partitions.
type topicRules struct {
	minISR  int
	unclean bool
	// cache is true of topics of class cache: a replica whose broker died may have lost its tail.
	cache bool
}

func (v *view) rules(topic string) topicRules {
	rules := topicRules{minISR: 1, cache: v.topicValue(topic, "durability") == "cache"}
	if n, err := config.ParseInt32(v.topicValue(topic, "min.insync.replicas")); err == nil {
		rules.minISR = int(n)
	}
	rules.unclean, _ = config.ParseBool(v.topicValue(topic, "unclean.leader.election.enable"))
	return rules
}

// checkEpoch holds a broker's request against its registration.
func (v *view) checkEpoch(id int32, epoch int64) error {
	b := v.image.Broker(id)
	switch {
	case b == nil:
		return kafka.StaleBrokerEpoch.Errorf("broker %d is not registered", id)
	case b.Epoch != epoch:
		return kafka.StaleBrokerEpoch.Errorf("broker %d has the epoch %d, not %d", id, b.Epoch, epoch)
	}
	return nil
}

// active reports whether a broker may lead and be in sync: not fenced and not shutting down.
func (v *view) active(id int32) bool {
	b := v.image.Broker(id)
	return b != nil && !b.Fenced && !b.InControlledShutdown
}

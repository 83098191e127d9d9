package api

import (
	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator/group"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Metadata, versions 0 to 13: the brokers, and topics with their partitions and leaders.
//
//	topics         null (in version 0: none) asks for all, otherwise by name; from version 12 on by id, and then names
//	               beside ids are not looked at
//	auto creation  a topic that is asked for by name and does not exist is created when the request (always before
//	               version 4) and auto.create.topics.enable allow it. Kafka's answer does not wait and says
//	               UNKNOWN_TOPIC_OR_PARTITION; there are clients that take this for a topic without partitions, and
//	               never look again when it is there a moment later. So the answer waits, for a second at the most,
//	               and has the topic. Of the internal topics that of the groups is created so, too, without a wait.
//	version 0      tells only of replicas whose brokers are there, since its clients cannot do with others

func describeMetadata(c *call, request *wire.MetadataRequest) wire.Message {
	partitions := len(request.Topics)
	if request.Topics == nil {
		partitions = c.image.NumPartitions()
	}
	c.back = c.t.token(partitions)
	response := wire.NewMetadataResponse()
	byID := false
	for _, t := range request.Topics {
		if c.version() < 12 && (t.Name == nil || !t.TopicID.IsZero()) {
			return refuseMetadata(request, kafka.InvalidRequest)
		}
		byID = byID || !t.TopicID.IsZero()
	}
	for _, t := range request.Topics {
		if t.Name == nil && !byID {
			return refuseMetadata(request, kafka.UnknownServerError) // neither a name nor an id: as Kafka does
		}
	}
	for b := range c.image.Brokers() {
		if b.Fenced {
			continue
		}
		if host, port, ok := c.endpoint(b); ok {
			response.Brokers = append(response.Brokers, wire.MetadataResponseBrokers{NodeID: b.ID, Host: host, Port: port, Rack: b.Rack})
			response.ControllerID = b.ID // any broker takes what is for the controller, and forwards it
			if b.ID == c.t.o.NodeID {
				c.t.reach.sawMetadata(c.Conn, c.Header.ClientID, joinHostPort(host, port))
			}
		}
	}
	response.ClusterID = &c.t.o.ClusterID
	response.ClusterAuthorizedOperations = c.authorizedOperations(request.IncludeClusterAuthorizedOperations, ResCluster, clusterName)
	if request.Topics == nil || c.version() == 0 && len(request.Topics) == 0 {
		for t := range c.image.Topics() {
			if c.allowed(OpDescribe, ResTopic, t.Name) {
				response.Topics = append(response.Topics, c.topicMetadata(t, request))
			}
		}
		return response
	}
	var create []string
	seen := make(map[wireTopic]bool) // a topic asked for twice is told of once
	for _, t := range request.Topics {
		asked := wireTopic{id: t.TopicID}
		if !byID {
			asked.name = *t.Name
		}
		if seen[asked] || byID && t.TopicID.IsZero() {
			continue
		}
		seen[asked] = true
		if byID {
			response.Topics = append(response.Topics, c.topicByID(t.TopicID, request))
		} else {
			response.Topics = append(response.Topics, c.topicByName(asked.name, request, &create))
		}
	}
	if len(create) > 0 {
		c.autoCreate(create)
		made := create // they stand in the answer in this order, each once
		for i := range response.Topics {
			to := &response.Topics[i]
			if len(made) == 0 || *to.Name != made[0] {
				continue
			}
			made = made[1:]
			if t := c.image.Topic(*to.Name); t != nil {
				*to = c.topicMetadata(t, request)
			}
		}
	}
	return response
}

// wireTopic is a topic as a request names it.
type wireTopic struct {
	name string
	id   kafka.TopicID
}

// refuseMetadata is the answer to a request that is wrong as a whole: only the topics that it names can say so.
func refuseMetadata(request *wire.MetadataRequest, code kafka.ErrorCode) wire.Message {
	response := wire.NewMetadataResponse()
	response.ErrorCode = code
	for _, t := range request.Topics {
		name := ""
		if t.Name != nil {
			name = *t.Name
		}
		one := wire.NewMetadataResponseTopics()
		one.ErrorCode, one.Name, one.TopicID = code, &name, t.TopicID
		response.Topics = append(response.Topics, one)
	}
	return response
}

func (c *call) topicByID(id kafka.TopicID, request *wire.MetadataRequest) wire.MetadataResponseTopics {
	if t := c.image.TopicByID(id); t != nil && c.allowed(OpDescribe, ResTopic, t.Name) {
		return c.topicMetadata(t, request)
	}
	one := wire.NewMetadataResponseTopics()
	one.ErrorCode, one.TopicID = kafka.UnknownTopicID, id
	return one
}

func (c *call) topicByName(name string, request *wire.MetadataRequest, create *[]string) wire.MetadataResponseTopics {
	one := wire.NewMetadataResponseTopics()
	one.Name, one.IsInternal = &name, kafka.IsInternalTopic(name)
	if !c.allowed(OpDescribe, ResTopic, name) {
		one.ErrorCode = kafka.TopicAuthorizationFailed
		return one
	}
	if t := c.image.Topic(name); t != nil {
		return c.topicMetadata(t, request)
	}
	mayCreate := (request.AllowAutoTopicCreation || c.version() < 4) && c.t.flag("auto.create.topics.enable") && (!one.IsInternal || name == group.Topic)
	switch {
	case kafka.CheckTopicName(name) != nil:
		one.ErrorCode = kafka.InvalidTopicException
	case mayCreate && !c.allowed(OpCreate, ResCluster, clusterName) && !c.allowed(OpCreate, ResTopic, name):
		one.ErrorCode = kafka.TopicAuthorizationFailed
	default:
		one.ErrorCode = kafka.UnknownTopicOrPartition
		switch {
		case mayCreate && name == group.Topic: // with settings of its own
			c.t.createGroupTopic(c)
		case mayCreate:
			*create = append(*create, name)
		}
	}
	return one
}

func (c *call) topicMetadata(t *metadata.Topic, request *wire.MetadataRequest) wire.MetadataResponseTopics {
	one := wire.NewMetadataResponseTopics()
	one.Name, one.TopicID, one.IsInternal = &t.Name, t.ID, kafka.IsInternalTopic(t.Name)
	one.TopicAuthorizedOperations = c.authorizedOperations(request.IncludeTopicAuthorizedOperations, ResTopic, t.Name)
	one.Partitions = make([]wire.MetadataResponsePartitions, len(t.Partitions))
	for i, p := range t.Partitions {
		to := &one.Partitions[i]
		to.PartitionIndex, to.LeaderID, to.LeaderEpoch = int32(i), p.Leader, p.LeaderEpoch
		to.ReplicaNodes, to.IsrNodes = p.Replicas, p.ISR
		if c.version() == 0 {
			to.ReplicaNodes, to.IsrNodes = c.reachable(p.Replicas), c.reachable(p.ISR)
		}
		to.OfflineReplicas = c.offline(p)
		to.ErrorCode = c.partitionError(p, to)
		if to.ErrorCode == kafka.LeaderNotAvailable || to.ErrorCode == kafka.ListenerNotFound {
			to.LeaderID = kafka.NoNode
		}
	}
	return one
}

// partitionError says what is wrong with a partition as clients see it.
func (c *call) partitionError(p *metadata.Partition, shown *wire.MetadataResponsePartitions) kafka.ErrorCode {
	leader := c.image.Broker(p.Leader)
	switch {
	case p.Leader == kafka.NoNode || leader == nil || leader.Fenced:
		return kafka.LeaderNotAvailable
	case !c.isReachable(p.Leader):
		if c.version() >= 6 {
			return kafka.ListenerNotFound
		}
		return kafka.LeaderNotAvailable
	case c.version() == 0 && (len(shown.ReplicaNodes) < len(p.Replicas) || len(shown.IsrNodes) < len(p.ISR)):
		return kafka.ReplicaNotAvailable
	}
	return kafka.None
}

func (c *call) isReachable(id int32) bool {
	b := c.image.Broker(id)
	if b == nil || b.Fenced {
		return false
	}
	_, _, ok := c.endpoint(b)
	return ok
}

func (c *call) reachable(ids []int32) []int32 {
	out := make([]int32, 0, len(ids))
	for _, id := range ids {
		if c.isReachable(id) {
			out = append(out, id)
		}
	}
	return out
}

// offline lists the replicas whose broker is away or whose directory is offline.
func (c *call) offline(p *metadata.Partition) []int32 {
	var out []int32
	for i, id := range p.Replicas {
		b := c.image.Broker(id)
		if b == nil || b.Fenced || i < len(p.Directories) && !hasDirectory(b, p.Directories[i]) {
			out = append(out, id)
		}
	}
	return out
}

// hasDirectory reports whether a broker has a directory online. What is not assigned yet is not offline.
func hasDirectory(b *metadata.Broker, dir kafka.DirectoryID) bool {
	if dir == kafka.UnassignedDirectory || dir == kafka.MigratingDirectory || len(b.LogDirs) == 0 {
		return true
	}
	for _, online := range b.LogDirs {
		if online == dir {
			return true
		}
	}
	return false
}

// flag is the effective value of a broker's boolean setting.
func (t *Table) flag(key string) bool {
	value, ok := t.o.BrokerConfigs.Effective(key, config.Layer{Source: config.SourceStaticBroker, Values: t.o.Static})
	yes, err := config.ParseBool(value)
	return ok && err == nil && yes
}

package controller

import (
	"slices"
	"strings"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// createTopics decides CreateTopics. Topics fail one by one, but for the limits, which fail them all; what is
// named twice fails once, at the end of the response.
func (v *view) createTopics(r *wire.CreateTopicsRequest) (change, error) {
	response := &wire.CreateTopicsResponse{}
	fail := func(name string, err error) {
		t := wire.NewCreateTopicsResponseTopics()
		t.Name, t.ErrorCode, t.ErrorMessage = name, kafka.CodeOf(err), kafka.MessageOf(err)
		t.NumPartitions, t.ReplicationFactor, t.Configs = -1, -1, []wire.CreateTopicsResponseConfigs{}
		response.Topics = append(response.Topics, t)
	}
	count := make(map[string]int)
	for _, t := range r.Topics {
		count[t.Name]++
	}
	var names []string // each once, in the order of the request
	partitions := 0
	for _, t := range r.Topics {
		if slices.Contains(names, t.Name) {
			continue
		}
		names = append(names, t.Name)
		switch {
		case count[t.Name] > 1 || t.Name == kafka.MetadataTopic:
		case len(t.Assignments) > 0:
			partitions += len(t.Assignments)
		case t.NumPartitions == -1:
			partitions += int(v.staticInt("num.partitions", 1))
		default:
			partitions += max(0, int(t.NumPartitions))
		}
	}
	whole := func(err error) (change, error) {
		response.Topics = nil
		for _, name := range names {
			fail(name, err)
		}
		return respond(response)
	}
	if partitions > maxPartitionsPerRequest {
		return whole(kafka.PolicyViolation.Errorf("the request asks for %d partitions; at most %d are allowed in one request", partitions, maxPartitionsPerRequest))
	}
	var records []record
	for i := range r.Topics {
		t := &r.Topics[i]
		if count[t.Name] > 1 || t.Name == kafka.MetadataTopic {
			continue
		}
		created, answer, err := v.createTopic(t)
		if err != nil {
			fail(t.Name, err)
			continue
		}
		records = append(records, created...)
		if len(records) > maxRecordsPerRequest {
			return whole(kafka.PolicyViolation.Errorf("the request needs more than %d records", maxRecordsPerRequest))
		}
		response.Topics = append(response.Topics, answer)
	}
	for _, name := range names {
		switch {
		case count[name] > 1:
			fail(name, kafka.InvalidRequest.Errorf("the request names the topic %q more than once", name))
		case name == kafka.MetadataTopic:
			fail(name, kafka.InvalidRequest.Errorf("the topic %s cannot be created", name))
		}
	}
	if r.ValidateOnly {
		records = nil
	}
	return change{records: records, response: response}, nil
}

func (v *view) createTopic(t *wire.CreateTopicsRequestTopics) ([]record, wire.CreateTopicsResponseTopics, error) {
	answer := wire.NewCreateTopicsResponseTopics()
	if err := kafka.CheckTopicName(t.Name); err != nil {
		return nil, answer, kafka.InvalidTopicException.Errorf("%v", err)
	}
	if v.image.Topic(t.Name) != nil {
		return nil, answer, kafka.TopicAlreadyExists.Errorf("the topic %q exists already", t.Name)
	}
	if other := v.collision(t.Name); other != "" {
		return nil, answer, kafka.InvalidTopicException.Errorf("the topic name %q collides with that of %q: metrics cannot tell '.' and '_' apart", t.Name, other)
	}
	overrides := make(map[string]string, len(t.Configs))
	for _, c := range t.Configs {
		if c.Value == nil {
			return nil, answer, kafka.InvalidConfig.Errorf("the value of the topic config %s must not be null", c.Name)
		}
		overrides[c.Name] = *c.Value
	}
	if err := v.checkTopicConfigs(overrides, nil); err != nil {
		return nil, answer, err
	}
	if err := v.room(); err != nil {
		return nil, answer, err
	}
	id := v.newTopicID()
	records := []record{{&wire.TopicRecord{Name: t.Name, TopicID: id}, 0}}
	for key, value := range sorted(overrides) {
		records = append(records, configRecord(kafka.ResourceTopic, t.Name, key, &value))
	}
	partitions, factor, err := v.assign(t)
	if err != nil {
		return nil, answer, err
	}
	for i, replicas := range partitions {
		r, err := v.newPartition(id, int32(i), replicas, len(t.Assignments) > 0)
		if err != nil {
			return nil, answer, err
		}
		records = append(records, r)
	}
	answer.Name, answer.TopicID, answer.NumPartitions, answer.ReplicationFactor = t.Name, id, int32(len(partitions)), factor
	answer.Configs = v.createdConfigs(overrides)
	return records, answer, nil
}

// assign returns the replicas of each partition of a new topic.
func (v *view) assign(t *wire.CreateTopicsRequestTopics) (partitions [][]int32, factor int16, err error) {
	if len(t.Assignments) == 0 {
		factor, count := t.ReplicationFactor, t.NumPartitions
		if factor < -1 || factor == 0 {
			return nil, 0, kafka.InvalidReplicationFactor.Errorf("the replication factor is %d; it must be positive, or -1 for the default", factor)
		}
		if count < -1 || count == 0 {
			return nil, 0, kafka.InvalidPartitions.Errorf("the number of partitions is %d; it must be positive, or -1 for the default", count)
		}
		if factor == -1 {
			factor = int16(v.staticInt("default.replication.factor", 1))
		}
		if count == -1 {
			count = int32(v.staticInt("num.partitions", 1))
		}
		p := v.newPlacer()
		for range count {
			replicas, err := p.place(int(factor))
			if err != nil {
				return nil, 0, err
			}
			partitions = append(partitions, replicas)
		}
		return partitions, factor, nil
	}
	if t.ReplicationFactor != -1 {
		return nil, 0, kafka.InvalidRequest.Errorf("replicas are assigned by hand, so the replication factor must be -1, not %d", t.ReplicationFactor)
	}
	if t.NumPartitions != -1 {
		return nil, 0, kafka.InvalidRequest.Errorf("replicas are assigned by hand, so the number of partitions must be -1, not %d", t.NumPartitions)
	}
	byPartition := make(map[int32][]int32, len(t.Assignments))
	factor = -1
	for _, a := range t.Assignments {
		if _, twice := byPartition[a.PartitionIndex]; twice {
			return nil, 0, kafka.InvalidReplicaAssignment.Errorf("partition %d is assigned twice", a.PartitionIndex)
		}
		if err := v.checkAssignment(a.BrokerIDs, int(factor)); err != nil {
			return nil, 0, err
		}
		byPartition[a.PartitionIndex] = a.BrokerIDs
		factor = int16(len(a.BrokerIDs))
	}
	for i := range int32(len(t.Assignments)) {
		replicas, ok := byPartition[i]
		if !ok {
			return nil, 0, kafka.InvalidReplicaAssignment.Errorf("the assigned partitions must be numbered from 0 without a gap; %d is missing", i)
		}
		partitions = append(partitions, replicas)
	}
	return partitions, factor, nil
}

// checkAssignment judges the replicas that a client chose for one partition. factor is how many the topic's
// other partitions have, -1 when there is no other.
func (v *view) checkAssignment(replicas []int32, factor int) error {
	if len(replicas) == 0 {
		return kafka.InvalidReplicaAssignment.Errorf("a partition is assigned no replica")
	}
	for i, id := range replicas {
		if v.image.Broker(id) == nil {
			return kafka.InvalidReplicaAssignment.Errorf("a replica is assigned to broker %d, which is not registered", id)
		}
		if slices.Contains(replicas[:i], id) {
			return kafka.InvalidReplicaAssignment.Errorf("a partition is assigned two replicas on broker %d", id)
		}
	}
	if factor >= 0 && len(replicas) != factor {
		return kafka.InvalidReplicaAssignment.Errorf("a partition is assigned %d replicas where others have %d", len(replicas), factor)
	}
	return nil
}

// newPartition makes the record of a new partition. Brokers that are not there are not in sync.
func (v *view) newPartition(topic kafka.TopicID, partition int32, replicas []int32, manual bool) (record, error) {
	r := &wire.PartitionRecord{}
	r.SetDefaults()
	r.PartitionID, r.TopicID, r.Replicas = partition, topic, replicas
	for _, id := range replicas {
		if v.active(id) {
			r.Isr = append(r.Isr, id)
		}
		r.Directories = append(r.Directories, v.directory(id))
	}
	if len(r.Isr) == 0 {
		if manual {
			return record{}, kafka.InvalidReplicaAssignment.Errorf("all brokers that partition %d is assigned to are fenced or shutting down", partition)
		}
		return record{}, kafka.InvalidReplicationFactor.Errorf("a partition cannot have %d replicas: all brokers are fenced or shutting down", len(replicas))
	}
	r.RemovingReplicas, r.AddingReplicas = []int32{}, []int32{}
	r.Leader, r.LeaderEpoch, r.PartitionEpoch, r.LeaderRecoveryState = r.Isr[0], 0, 0, recovered
	return record{r, v.partitionVersion()}, nil
}

// collision returns an existing topic that metric systems could not tell from the name, "" for none. It looks
// only at names that share what stands before the first '.' or '_'.
func (v *view) collision(name string) string {
	first := strings.IndexAny(name, "._")
	if first < 0 {
		return ""
	}
	wanted := kafka.CollisionName(name)
	for _, separator := range []string{".", "_"} {
		prefix := name[:first] + separator
		for t := range v.image.TopicsFrom(prefix) {
			if !strings.HasPrefix(t.Name, prefix) {
				break
			}
			if kafka.CollisionName(t.Name) == wanted {
				return t.Name
			}
		}
	}
	return ""
}

// newTopicID draws a random id that no topic has.
func (v *view) newTopicID() kafka.TopicID {
	for {
		var id kafka.TopicID
		for i := range 2 {
			word := v.rand.Uint64()
			for b := range 8 {
				id[i*8+b] = byte(word >> (8 * b))
			}
		}
		id[6] = id[6]&0x0f | 0x40 // version 4
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' && v.image.TopicByID(id) == nil {
			return id
		}
	}
}

// createdConfigs lists the settings of a new topic and where they come from (KIP-525). As in Kafka, values are
// as they were written, and each of the broker's layers is searched for all synonyms before the next layer.
func (v *view) createdConfigs(overrides map[string]string) []wire.CreateTopicsResponseConfigs {
	layers := append([]config.Layer{{Source: config.SourceDynamicBroker, Values: v.image.Config(kafka.ResourceBroker, nodeName(v.nodeID))}}, v.brokerLayers()...)
	var list []wire.CreateTopicsResponseConfigs
	for k := range v.topic.All() {
		entry := wire.NewCreateTopicsResponseConfigs()
		entry.Name, entry.IsSensitive = k.Name, k.Hidden()
		value, set := overrides[k.Name]
		source := config.SourceTopic
		for i := 0; !set && i < len(layers); i++ {
			value, set = v.topic.Effective(k.Name, layers[i])
			source = layers[i].Source
			if _, differs := v.topic.Effective(k.Name); set && differs && !layerSets(k, layers[i]) {
				set = false
			}
		}
		if !set {
			if k.Internal {
				continue
			}
			source = config.SourceDefault
			if k.Default != nil {
				value, set = *k.Default, true
			}
		}
		entry.ConfigSource = int8(source)
		if set && !k.Hidden() {
			entry.Value = &value
		}
		list = append(list, entry)
	}
	return list
}

// layerSets reports whether a broker layer gives the key a value.
func layerSets(k *config.Key, l config.Layer) bool {
	if len(k.Synonyms) == 0 {
		_, ok := l.Values[k.Name]
		return ok
	}
	return slices.ContainsFunc(k.Synonyms, func(s config.Synonym) bool { _, ok := l.Values[s.Name]; return ok })
}

// deleteTopics decides DeleteTopics. A topic is named by name or, from version 6 on, by id.
func (v *view) deleteTopics(r *wire.DeleteTopicsRequest, version int16) (change, error) {
	response := &wire.DeleteTopicsResponse{}
	answer := func(name *string, id kafka.TopicID, err error) {
		response.Responses = append(response.Responses, wire.DeleteTopicsResponseResponses{
			Name: name, TopicID: id, ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err)})
	}
	wanted := r.Topics
	if version < 6 {
		wanted = nil
		for _, name := range r.TopicNames {
			wanted = append(wanted, wire.DeleteTopicsRequestTopics{Name: &name})
		}
	}
	if v.topicDeletionOff() {
		code := kafka.TopicDeletionDisabled
		if version < 3 { // which have no such code
			code = kafka.InvalidRequest
		}
		for _, t := range wanted {
			answer(t.Name, t.TopicID, code)
		}
		return respond(response)
	}
	names, ids := make(map[string]int), make(map[kafka.TopicID]int)
	for _, t := range wanted {
		switch {
		case t.Name == nil:
			ids[t.TopicID]++
		case t.TopicID.IsZero():
			names[*t.Name]++
		}
	}
	answered := make(map[string]bool)
	answeredIDs := make(map[kafka.TopicID]bool)
	var records []record
	for _, t := range wanted {
		switch {
		case t.Name != nil && !t.TopicID.IsZero():
			answer(t.Name, t.TopicID, kafka.InvalidRequest.Errorf("a topic is named by its name or by its id, not by both"))
		case t.Name == nil && t.TopicID.IsZero():
			if !answeredIDs[t.TopicID] {
				answeredIDs[t.TopicID] = true
				answer(nil, t.TopicID, kafka.InvalidRequest.Errorf("a topic is named by neither its name nor its id"))
			}
		case t.Name != nil:
			topic := v.image.Topic(*t.Name)
			switch {
			case answered[*t.Name]:
			case names[*t.Name] > 1:
				answer(t.Name, kafka.TopicID{}, kafka.InvalidRequest.Errorf("the request names the topic %q more than once", *t.Name))
			case topic == nil:
				answer(t.Name, kafka.TopicID{}, kafka.UnknownTopicOrPartition.Errorf("there is no topic %q", *t.Name))
			case ids[topic.ID] > 0:
				answer(t.Name, topic.ID, kafka.InvalidRequest.Errorf("the request names the topic %q by its name and by its id", *t.Name))
			default:
				records = append(records, removeTopic(topic))
				answer(t.Name, topic.ID, nil)
			}
			answered[*t.Name] = true
		default:
			topic := v.image.TopicByID(t.TopicID)
			switch {
			case answeredIDs[t.TopicID]:
			case ids[t.TopicID] > 1:
				answer(nil, t.TopicID, kafka.InvalidRequest.Errorf("the request names the topic id %s more than once", t.TopicID))
			case topic == nil:
				answer(nil, t.TopicID, kafka.UnknownTopicID.Errorf("there is no topic with the id %s", t.TopicID))
			case names[topic.Name] > 0:
				// said where it is named by its name
			default:
				records = append(records, removeTopic(topic))
				answer(&topic.Name, topic.ID, nil)
			}
			answeredIDs[t.TopicID] = true
		}
	}
	return change{records: records, response: response}, nil
}

func (v *view) topicDeletionOff() bool { return !v.staticBool("delete.topic.enable", true) }

func removeTopic(t *metadata.Topic) record { return record{&wire.RemoveTopicRecord{TopicID: t.ID}, 0} }

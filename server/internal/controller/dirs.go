package controller

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// assignReplicas decides AssignReplicasToDirs: a broker says in which directory its replicas lie (KIP-858).
func (v *view) assignReplicas(r *wire.AssignReplicasToDirsRequest) (change, error) {
	response := &wire.AssignReplicasToDirsResponse{}
	if err := v.checkEpoch(r.BrokerID, r.BrokerEpoch); err != nil {
		response.ErrorCode = kafka.CodeOf(err)
		return respond(response)
	}
	var records []record
	for _, d := range r.Directories {
		answers := wire.AssignReplicasToDirsResponseDirectories{ID: d.ID}
		for _, t := range d.Topics {
			topic := v.image.TopicByID(t.TopicID)
			list := wire.AssignReplicasToDirsResponseTopics{TopicID: t.TopicID}
			var rules topicRules
			if topic != nil {
				rules = v.rules(topic.Name)
			}
			for _, asked := range t.Partitions {
				answer := wire.AssignReplicasToDirsResponsePartitions{PartitionIndex: asked.PartitionIndex}
				p := topic.Partition(asked.PartitionIndex)
				switch {
				case topic == nil:
					answer.ErrorCode = kafka.UnknownTopicID
				case p == nil:
					answer.ErrorCode = kafka.UnknownTopicOrPartition
				case !p.HasReplica(r.BrokerID):
					answer.ErrorCode = kafka.NotLeaderOrFollower
				default:
					if changed, ok := v.assignReplica(r.BrokerID, d.ID, topic, p, asked.PartitionIndex, rules); ok {
						records = append(records, changed)
					}
				}
				list.Partitions = append(list.Partitions, answer)
			}
			answers.Topics = append(answers.Topics, list)
		}
		response.Directories = append(response.Directories, answers)
	}
	return change{records: records, response: response}, nil
}

// assignReplica notes the directory of a replica. One that lies in a directory that is offline leads nothing
// and is in sync nowhere.
func (v *view) assignReplica(broker int32, dir kafka.DirectoryID, topic *metadata.Topic, p *metadata.Partition, partition int32, rules topicRules) (record, bool) {
	directories := slices.Clone(p.Directories)
	for len(directories) < len(p.Replicas) {
		directories = append(directories, kafka.MigratingDirectory)
	}
	directories[slices.Index(p.Replicas, broker)] = dir
	c := partitionChange{Partition: p, topic: topic.ID, partition: partition, minISR: rules.minISR, elr: v.elr(), version: max(1, v.partitionVersion()),
		directories: directories, recovery: -1, mayLead: v.mayLeadBut(p, kafka.NoNode, kafka.NoNode)}
	if !v.online(broker, dir) {
		c.isr = notNil(without(slices.Clone(p.ISR), broker))
		c.mayLead = v.mayLeadBut(p, broker, kafka.NoNode)
		if rules.unclean {
			c.election = electUnclean
		}
	}
	return c.record()
}

// newlyOffline returns the directories that a broker counts as lost now and was registered with.
func (v *view) newlyOffline(b *metadata.Broker, offline []kafka.DirectoryID) []kafka.DirectoryID {
	return slices.DeleteFunc(slices.Clone(offline), func(d kafka.DirectoryID) bool { return !slices.Contains(b.LogDirs, d) })
}

// directoriesFailed takes the replicas in failed directories out of service.
func (v *view) directoriesFailed(b *metadata.Broker, offline []kafka.DirectoryID) []record {
	return v.partitionsOf(b.ID, func(c *partitionChange, _ topicRules) bool {
		dir, ok := c.Directory(b.ID)
		if !ok || !slices.Contains(offline, dir) || c.Leader != b.ID && !slices.Contains(c.ISR, b.ID) {
			return false
		}
		c.isr = notNil(without(slices.Clone(c.ISR), b.ID))
		c.mayLead = v.mayLeadBut(c.Partition, b.ID, kafka.NoNode)
		return true
	})
}

package api

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// What the active controller decides. CreateTopics 2-7, DeleteTopics 1-6, CreatePartitions 0-3, AlterConfigs 0-2,
// IncrementalAlterConfigs 0-1, ElectLeaders 0-2, UpdateFeatures 0-2 and UnregisterBroker 0 come from clients, the
// others from brokers. A gate only carries the request, and answers for a controller that cannot be reached: each
// response says so in its own place, as the client looks for it.

// forward carries a request; refuse makes the answer for an error.
func forward[P wire.Message](c *call, request P, refuse func(request P, code kafka.ErrorCode, message *string) wire.Message) wire.Message {
	response, err := c.t.o.Forwarder.Forward(c, c.caller(), request, c.version())
	if err != nil {
		return refuse(request, kafka.CodeOf(err), kafka.MessageOf(err))
	}
	return response
}

// tooLate reports whether a request has no time: Kafka's controller says REQUEST_TIMED_OUT to all of it then and does none. It
// does not come to that where every name stands there twice, which is refused before.
func tooLate[N comparable](timeoutMs int32, names []N) bool {
	if timeoutMs > 0 {
		return false
	}
	times := make(map[N]int, len(names))
	for _, name := range names {
		times[name]++
	}
	for _, n := range times {
		if n == 1 {
			return true
		}
	}
	return false
}

// within is forward for a request that is refused when it is late.
func within[P wire.Message](c *call, late bool, request P, refuse func(request P, code kafka.ErrorCode, message *string) wire.Message) wire.Message {
	if late {
		return refuse(request, kafka.RequestTimedOut, nil)
	}
	return forward(c, request, refuse)
}

func createTopics(c *call, request *wire.CreateTopicsRequest) wire.Message {
	var names []string
	for _, t := range request.Topics {
		if t.Name != kafka.MetadataTopic { // which is refused before, too
			names = append(names, t.Name)
		}
	}
	return within(c, tooLate(request.TimeoutMs, names), request, func(request *wire.CreateTopicsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewCreateTopicsResponse()
		for _, t := range request.Topics {
			one := wire.NewCreateTopicsResponseTopics()
			one.Name, one.ErrorCode, one.ErrorMessage = t.Name, code, message
			one.Configs = []wire.CreateTopicsResponseConfigs{} // null would say that they may not be seen
			response.Topics = append(response.Topics, one)
		}
		return response
	})
}

func deleteTopics(c *call, request *wire.DeleteTopicsRequest) wire.Message {
	names := slices.Clone(request.TopicNames)
	var ids []kafka.TopicID
	for _, t := range request.Topics {
		if t.Name != nil {
			names = append(names, *t.Name)
		} else {
			ids = append(ids, t.TopicID)
		}
	}
	// Where no topic is deleted, that is said before anything else.
	late := c.t.flag("delete.topic.enable") && (tooLate(request.TimeoutMs, names) || tooLate(request.TimeoutMs, ids))
	return within(c, late, request, func(request *wire.DeleteTopicsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewDeleteTopicsResponse()
		for _, name := range request.TopicNames {
			response.Responses = append(response.Responses, wire.DeleteTopicsResponseResponses{Name: &name, ErrorCode: code, ErrorMessage: message})
		}
		for _, t := range request.Topics {
			response.Responses = append(response.Responses, wire.DeleteTopicsResponseResponses{Name: t.Name, TopicID: t.TopicID, ErrorCode: code, ErrorMessage: message})
		}
		return response
	})
}

func createPartitions(c *call, request *wire.CreatePartitionsRequest) wire.Message {
	var names []string
	for _, t := range request.Topics {
		names = append(names, t.Name)
	}
	return within(c, tooLate(request.TimeoutMs, names), request, func(request *wire.CreatePartitionsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewCreatePartitionsResponse()
		for _, t := range request.Topics {
			response.Results = append(response.Results, wire.CreatePartitionsResponseResults{Name: t.Name, ErrorCode: code, ErrorMessage: message})
		}
		return response
	})
}

func alterConfigs(c *call, request *wire.AlterConfigsRequest) wire.Message {
	return forward(c, request, func(request *wire.AlterConfigsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewAlterConfigsResponse()
		for _, r := range request.Resources {
			response.Responses = append(response.Responses, wire.AlterConfigsResponseResponses{ResourceType: r.ResourceType, ResourceName: r.ResourceName, ErrorCode: code, ErrorMessage: message})
		}
		return response
	})
}

func incrementalAlterConfigs(c *call, request *wire.IncrementalAlterConfigsRequest) wire.Message {
	return forward(c, request, func(request *wire.IncrementalAlterConfigsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewIncrementalAlterConfigsResponse()
		for _, r := range request.Resources {
			response.Responses = append(response.Responses, wire.IncrementalAlterConfigsResponseResponses{ResourceType: r.ResourceType, ResourceName: r.ResourceName, ErrorCode: code, ErrorMessage: message})
		}
		return response
	})
}

func electLeaders(c *call, request *wire.ElectLeadersRequest) wire.Message {
	return within(c, request.TimeoutMs <= 0, request, func(request *wire.ElectLeadersRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewElectLeadersResponse()
		response.ErrorCode = code
		for _, t := range request.TopicPartitions { // version 0 has no other place for the error
			one := wire.ElectLeadersResponseReplicaElectionResults{Topic: t.Topic}
			for _, p := range t.Partitions {
				one.PartitionResult = append(one.PartitionResult, wire.ElectLeadersResponsePartitionResult{PartitionID: p, ErrorCode: code, ErrorMessage: message})
			}
			response.ReplicaElectionResults = append(response.ReplicaElectionResults, one)
		}
		return response
	})
}

func updateFeatures(c *call, request *wire.UpdateFeaturesRequest) wire.Message {
	return forward(c, request, func(request *wire.UpdateFeaturesRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewUpdateFeaturesResponse()
		response.ErrorCode, response.ErrorMessage = code, message
		return response
	})
}

func unregisterBroker(c *call, request *wire.UnregisterBrokerRequest) wire.Message {
	return forward(c, request, func(request *wire.UnregisterBrokerRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewUnregisterBrokerResponse()
		response.ErrorCode, response.ErrorMessage = code, message
		return response
	})
}

func brokerRegistration(c *call, request *wire.BrokerRegistrationRequest) wire.Message {
	return forward(c, request, func(request *wire.BrokerRegistrationRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewBrokerRegistrationResponse()
		response.ErrorCode = code
		return response
	})
}

func brokerHeartbeat(c *call, request *wire.BrokerHeartbeatRequest) wire.Message {
	return forward(c, request, func(request *wire.BrokerHeartbeatRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewBrokerHeartbeatResponse()
		response.ErrorCode = code
		return response
	})
}

func allocateProducerIDs(c *call, request *wire.AllocateProducerIdsRequest) wire.Message {
	return forward(c, request, func(request *wire.AllocateProducerIdsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewAllocateProducerIdsResponse()
		response.ErrorCode = code
		return response
	})
}

func alterPartition(c *call, request *wire.AlterPartitionRequest) wire.Message {
	return forward(c, request, func(request *wire.AlterPartitionRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewAlterPartitionResponse()
		response.ErrorCode = code
		return response
	})
}

func assignReplicasToDirs(c *call, request *wire.AssignReplicasToDirsRequest) wire.Message {
	return forward(c, request, func(request *wire.AssignReplicasToDirsRequest, code kafka.ErrorCode, message *string) wire.Message {
		response := wire.NewAssignReplicasToDirsResponse()
		response.ErrorCode = code
		return response
	})
}

package api

import (
	"slices"
	"strconv"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ListConfigResources, versions 0 to 1 (KIP-1142): the resources that have settings. Version 0 lists client-metrics
// subscriptions; version 1 takes types, none meaning all.
func listConfigResources(c *call, request *wire.ListConfigResourcesRequest) wire.Message {
	response := wire.NewListConfigResourcesResponse()
	if !c.allowed(OpDescribeConfigs, ResCluster, clusterName) {
		response.ErrorCode = kafka.ClusterAuthorizationFailed
		return response
	}
	all := []kafka.ResourceType{kafka.ResourceTopic, kafka.ResourceBroker, kafka.ResourceBrokerLogger, kafka.ResourceClientMetrics, kafka.ResourceGroup}
	wanted := all
	switch {
	case c.version() == 0:
		wanted = []kafka.ResourceType{kafka.ResourceClientMetrics}
	case len(request.ResourceTypes) > 0:
		wanted = nil
		for _, t := range request.ResourceTypes {
			if !slices.Contains(all, kafka.ResourceType(t)) {
				response.ErrorCode = kafka.UnsupportedVersion
				return response
			}
			if !slices.Contains(wanted, kafka.ResourceType(t)) {
				wanted = append(wanted, kafka.ResourceType(t))
			}
		}
	}
	add := func(t kafka.ResourceType, name string) {
		response.ConfigResources = append(response.ConfigResources, wire.ListConfigResourcesResponseConfigResources{ResourceType: int8(t), ResourceName: name})
	}
	for _, t := range wanted {
		switch t {
		case kafka.ResourceTopic:
			for topic := range c.image.Topics() {
				add(t, topic.Name)
			}
		case kafka.ResourceBroker, kafka.ResourceBrokerLogger:
			for b := range c.image.Brokers() {
				add(t, strconv.Itoa(int(b.ID)))
			}
		default:
			for name := range c.image.ConfigResources(t) {
				add(t, name)
			}
		}
	}
	return response
}

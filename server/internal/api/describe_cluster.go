package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// DescribeCluster, versions 0 to 2: the nodes of one kind, 1 brokers or, on controllers (KIP-919), 2 controllers; fenced
// brokers when asked (KIP-1073).
const (
	endpointsOfBrokers     = 1
	endpointsOfControllers = 2
)

func describeCluster(c *call, request *wire.DescribeClusterRequest) wire.Message {
	response := wire.NewDescribeClusterResponse()
	own := int8(endpointsOfControllers)
	if c.t.ofBroker {
		own = endpointsOfBrokers
	}
	refuse := func(err error) wire.Message {
		response.ErrorCode, response.ErrorMessage = kafka.CodeOf(err), kafka.MessageOf(err)
		return response
	}
	switch {
	case request.EndpointType != endpointsOfBrokers && request.EndpointType != endpointsOfControllers:
		return refuse(kafka.UnsupportedEndpointType.Errorf("unsupported endpoint type %d: 1 stands for brokers, 2 for controllers", request.EndpointType))
	case request.EndpointType != own && c.version() == 0:
		return refuse(kafka.InvalidRequest.Errorf("version 0 asks for brokers, and this listener is a controller's"))
	case request.EndpointType != own:
		return refuse(kafka.MismatchedEndpointType.Errorf("the request asks for endpoints of type %d, this listener has those of type %d", request.EndpointType, own))
	}
	response.EndpointType = own
	response.ClusterID = c.t.o.ClusterID
	response.ClusterAuthorizedOperations = c.authorizedOperations(request.IncludeClusterAuthorizedOperations, ResCluster, clusterName)
	if !c.t.ofBroker {
		c.describeControllers(response)
		return response
	}
	for b := range c.image.Brokers() {
		if b.Fenced && !request.IncludeFencedBrokers {
			continue
		}
		if host, port, ok := c.endpoint(b); ok {
			response.Brokers = append(response.Brokers, wire.DescribeClusterResponseBrokers{BrokerID: b.ID, Host: host, Port: port, Rack: b.Rack, IsFenced: b.Fenced})
			if !b.Fenced {
				response.ControllerID = b.ID // any broker takes what is for the controller
			}
		}
	}
	return response
}

// describeControllers lists the controllers that have registered, and this one when none has.
func (c *call) describeControllers(response *wire.DescribeClusterResponse) {
	response.ControllerID, _ = c.t.o.Quorum.Leader()
	add := func(id int32, endpoints []metadata.Endpoint) {
		for _, e := range endpoints {
			if e.Name == c.Conn.Listener {
				response.Brokers = append(response.Brokers, wire.DescribeClusterResponseBrokers{BrokerID: id, Host: e.Host, Port: int32(e.Port)})
			}
		}
	}
	for n := range c.image.Controllers() {
		add(n.ID, n.Endpoints)
	}
	if len(response.Brokers) == 0 {
		add(c.t.o.NodeID, c.t.o.ControllerEndpoints)
	}
}

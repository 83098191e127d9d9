package api

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// InitProducerId, versions 0 to 5: a producer id for an idempotent producer, out of the broker's block of them. A
// transactional id needs a transaction coordinator: a broker that is not the coordinator says NOT_COORDINATOR.
func initProducerID(c *call, request *wire.InitProducerIdRequest) wire.Message {
	response := wire.NewInitProducerIdResponse()
	response.ProducerID, response.ProducerEpoch = kafka.NoProducerID, kafka.NoProducerEpoch
	switch id := request.TransactionalID; {
	case (request.ProducerID == kafka.NoProducerID) != (request.ProducerEpoch == kafka.NoProducerEpoch):
		response.ErrorCode = kafka.InvalidRequest
	case id != nil && !c.allowed(OpWrite, ResTxnID, *id):
		response.ErrorCode = kafka.TransactionalIDAuthorizationFailed
	case id != nil && *id == "":
		response.ErrorCode = kafka.InvalidRequest
	case id != nil && (request.TransactionTimeoutMs <= 0 || int64(request.TransactionTimeoutMs) > c.t.number("transaction.max.timeout.ms")):
		response.ErrorCode = kafka.InvalidTransactionTimeout
	case id != nil:
		response.ErrorCode = kafka.NotCoordinator
	case !c.allowed(OpIdempotentWrite, ResCluster, clusterName):
		response.ErrorCode = kafka.ClusterAuthorizationFailed
	default:
		producer, err := c.t.o.ProducerID(c)
		if err != nil {
			response.ErrorCode = kafka.CodeOf(err)
			break
		}
		response.ProducerID, response.ProducerEpoch = producer, 0
	}
	return response
}

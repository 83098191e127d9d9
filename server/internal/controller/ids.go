package controller

import (
	"strconv"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// producerIDBlock is how many producer ids a broker gets at a time (KIP-730).
const producerIDBlock = 1000

// allocateProducerIDs hands a broker the next block of producer ids.
func (v *view) allocateProducerIDs(r *wire.AllocateProducerIdsRequest) (change, error) {
	if err := v.checkEpoch(r.BrokerID, r.BrokerEpoch); err != nil {
		return respond(&wire.AllocateProducerIdsResponse{ErrorCode: kafka.CodeOf(err)})
	}
	first := v.image.NextProducerID()
	return change{
		records:  []record{{&wire.ProducerIdsRecord{BrokerID: r.BrokerID, BrokerEpoch: r.BrokerEpoch, NextProducerID: first + producerIDBlock}, 0}},
		response: &wire.AllocateProducerIdsResponse{ProducerIDStart: first, ProducerIDLen: producerIDBlock},
	}, nil
}

// nodeName is the name of a node as a configuration resource.
func nodeName(id int32) string { return strconv.Itoa(int(id)) }

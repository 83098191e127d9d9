package api

import (
	"math"
	"net"
)

// ACLOperation is an operation that a caller may be allowed (KIP-11), in the protocol's numbering.
type ACLOperation int8

// The operations.
const (
	OpRead            ACLOperation = 3
	OpWrite           ACLOperation = 4
	OpCreate          ACLOperation = 5
	OpDelete          ACLOperation = 6
	OpAlter           ACLOperation = 7
	OpDescribe        ACLOperation = 8
	OpClusterAction   ACLOperation = 9
	OpDescribeConfigs ACLOperation = 10
	OpAlterConfigs    ACLOperation = 11
	OpIdempotentWrite ACLOperation = 12
)

// ACLResource is a kind of thing that operations are allowed on, in the protocol's numbering.
type ACLResource int8

// The resources.
const (
	ResTopic   ACLResource = 2
	ResGroup   ACLResource = 3
	ResCluster ACLResource = 4
	ResTxnID   ACLResource = 5
)

// clusterName is the name of the one resource of kind ResCluster.
const clusterName = "kafka-cluster"

// allowed reports whether the caller may do something.
func (c *call) allowed(op ACLOperation, resource ACLResource, name string) bool {
	return c.t.o.Authorizer == nil || c.t.o.Authorizer.Allowed(c.caller(), op, resource, name)
}

// describes returns the question whether the caller may know of a topic, for who asks it when the call is over; nil when
// everybody may.
func (c *call) describes() func(topic string) bool {
	authorizer, who := c.t.o.Authorizer, c.caller()
	if authorizer == nil {
		return nil
	}
	return func(topic string) bool { return authorizer.Allowed(who, OpDescribe, ResTopic, topic) }
}

// operations are all that there are for a resource.
var operations = map[ACLResource][]ACLOperation{
	ResTopic:   {OpRead, OpWrite, OpCreate, OpDelete, OpAlter, OpDescribe, OpDescribeConfigs, OpAlterConfigs},
	ResGroup:   {OpRead, OpDelete, OpDescribe, OpDescribeConfigs, OpAlterConfigs},
	ResCluster: {OpCreate, OpAlter, OpDescribe, OpClusterAction, OpDescribeConfigs, OpAlterConfigs, OpIdempotentWrite},
}

// notAsked stands for authorized operations that nobody asked for.
const notAsked = math.MinInt32

// authorizedOperations is the bit set of what the caller may do with a resource (KIP-430), or notAsked.
func (c *call) authorizedOperations(asked bool, resource ACLResource, name string) int32 {
	if !asked {
		return notAsked
	}
	var bits int32
	for _, op := range operations[resource] {
		if c.allowed(op, resource, name) {
			bits |= 1 << op
		}
	}
	return bits
}

// host is the client's address as ACLs and logs name it.
func host(a net.Addr) string {
	h, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return h
}

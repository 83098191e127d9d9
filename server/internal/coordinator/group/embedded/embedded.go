// Package embedded reads and writes the consumer protocol that members of the classic protocol carry inside of it:
// bytes that concern the members alone, until a group goes from one protocol to the other (KIP-848).
//
//	JoinGroup, the metadata of a protocol    version (int16) | ConsumerProtocolSubscription
//	SyncGroup, an assignment                 version (int16) | ConsumerProtocolAssignment
//
// A newer version than is known begins like the newest, and is read as such.
package embedded

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// ProtocolType is the protocol type of members whose bytes can be read.
const ProtocolType = "consumer"

// Protocol is a way of assigning that a member supports, and what it says in it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Member is a member of the classic protocol on its way from a group of one kind to one of the other.
type Member struct {
	ID                               string
	Instance                         *string // set: a static member
	ClientID, Host                   string
	SessionTimeout, RebalanceTimeout time.Duration
	Protocols                        []Protocol // the one it likes best first
	// Subscription is what it says in the protocol of its group.
	Subscription []byte
	// Assignment is what it was given last. Empty bytes are none.
	Assignment []byte
	// Topics is what it is to have, for who writes the assignment.
	Topics []wire.ConsumerProtocolAssignmentAssignedPartitions
}

// Version is the version of a member's bytes.
func Version(b []byte) (int16, error) {
	if len(b) < 2 {
		return 0, fmt.Errorf("%d bytes are too few for a version of the consumer protocol", len(b))
	}
	v := int16(binary.BigEndian.Uint16(b))
	if v < 0 {
		return 0, fmt.Errorf("there is no version %d of the consumer protocol", v)
	}
	return v, nil
}

func read(b []byte, m wire.Message) error {
	v, err := Version(b)
	if err != nil {
		return err
	}
	r := wire.NewReader(b[2:])
	m.Decode(r, min(v, m.Info().MaxVersion))
	return r.Err()
}

// ReadSubscription reads what a member says.
func ReadSubscription(b []byte) (*wire.ConsumerProtocolSubscription, error) {
	s := wire.NewConsumerProtocolSubscription()
	if err := read(b, s); err != nil {
		return nil, fmt.Errorf("read a subscription: %w", err)
	}
	return s, nil
}

// ReadAssignment reads what a member was given. No bytes are no partitions: its leader had nothing for it.
func ReadAssignment(b []byte) (*wire.ConsumerProtocolAssignment, error) {
	a := wire.NewConsumerProtocolAssignment()
	if len(b) == 0 {
		return a, nil
	}
	if err := read(b, a); err != nil {
		return nil, fmt.Errorf("read an assignment: %w", err)
	}
	return a, nil
}

// WriteAssignment writes an assignment for a member whose own bytes are of a version.
func WriteAssignment(topics []wire.ConsumerProtocolAssignmentAssignedPartitions, version int16) []byte {
	a := &wire.ConsumerProtocolAssignment{AssignedPartitions: topics}
	version = min(version, a.Info().MaxVersion)
	return a.AppendTo(binary.BigEndian.AppendUint16(nil, uint16(version)), version)
}

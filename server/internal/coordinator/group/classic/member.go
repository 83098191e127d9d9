package classic

import (
	"bytes"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// member is one member of a group.
type member struct {
	id               string
	instance         *string // set: a static member (KIP-345)
	clientID, host   string
	rebalanceTimeout time.Duration
	sessionTimeout   time.Duration
	protocols        []protocol // the one it likes best first
	assignment       []byte

	// join and sync are set while it waits for the end of the phase.
	join func(*wire.JoinGroupResponse, error)
	sync func(*wire.SyncGroupResponse, error)
	// fresh is true until its first rebalance has ended.
	fresh bool
}

// protocol is a way of assigning that a member supports, and what it says in it.
type protocol struct {
	name     string
	metadata []byte
}

// protocolsOf copies what a request says: its memory is the request's.
func protocolsOf(request *wire.JoinGroupRequest) []protocol {
	list := make([]protocol, len(request.Protocols))
	for i, p := range request.Protocols {
		list[i] = protocol{p.Name, bytes.Clone(p.Metadata)}
	}
	return list
}

// matches reports whether protocols are what the member has said before.
func (m *member) matches(protocols []protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b protocol) bool {
		return a.name == b.name && bytes.Equal(a.metadata, b.metadata)
	})
}

// metadata is what the member says in a protocol.
func (m *member) metadata(name string) []byte {
	for _, p := range m.protocols {
		if p.name == name {
			return p.metadata
		}
	}
	return nil
}

func (m *member) supports(name string) bool {
	return slices.ContainsFunc(m.protocols, func(p protocol) bool { return p.name == name })
}

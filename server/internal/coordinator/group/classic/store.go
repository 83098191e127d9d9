package classic

import (
	"bytes"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// storedVersion is the version of GroupMetadataValue that Kafka 4.4 writes.
const storedVersion = 3

// store adds the record of the group as it is now.
func (d *decision) store() { d.records = append(d.records, d.g.record()) }

func (g *Group) record() coordinator.Record {
	v := wire.NewGroupMetadataValue()
	v.ProtocolType, v.Generation, v.CurrentStateTimestamp = g.protocolType, g.generation, g.since
	if g.protocol != "" {
		protocol := g.protocol
		v.Protocol = &protocol
	}
	if g.leader != "" && !g.converted {
		leader := g.leader
		v.Leader = &leader
	}
	for _, m := range g.members {
		v.Members = append(v.Members, wire.GroupMetadataValueMembers{
			MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host,
			RebalanceTimeout: int32(m.rebalanceTimeout.Milliseconds()), SessionTimeout: int32(m.sessionTimeout.Milliseconds()),
			Subscription: m.metadata(g.protocol), Assignment: m.assignment,
		})
	}
	return coordinator.Record{Key: &wire.GroupMetadataKey{Group: g.id}, Value: v, Version: storedVersion}
}

// Tombstones implements group.Group.
func (g *Group) Tombstones() []coordinator.Record {
	return []coordinator.Record{{Key: &wire.GroupMetadataKey{Group: g.id}}}
}

// Restore makes the group what a record says.
func (g *Group) Restore(v *wire.GroupMetadataValue) {
	g.generation, g.protocolType, g.since = v.Generation, v.ProtocolType, v.CurrentStateTimestamp
	if v.Protocol != nil {
		g.protocol = *v.Protocol
	}
	if v.Leader != nil {
		g.leader = *v.Leader
	} else if len(v.Members) > 0 {
		g.leader, g.converted = v.Members[0].MemberID, true
	}
	for _, s := range v.Members {
		m := &member{
			id: s.MemberID, instance: s.GroupInstanceID, clientID: s.ClientID, host: s.ClientHost,
			sessionTimeout: time.Duration(s.SessionTimeout) * time.Millisecond, rebalanceTimeout: time.Duration(s.RebalanceTimeout) * time.Millisecond,
			protocols: []protocol{{g.protocol, bytes.Clone(s.Subscription)}}, assignment: bytes.Clone(s.Assignment),
		}
		if s.RebalanceTimeout < 0 { // version 0
			m.rebalanceTimeout = m.sessionTimeout
		}
		g.members = append(g.members, m)
	}
	g.state = Empty
	if len(g.members) > 0 {
		g.state = Stable
	}
	g.readTopics()
}

// Loaded begins the sessions of the members of a group that was restored, and a rebalance if they are too many.
func (g *Group) Loaded(now time.Time) {
	d := &decision{g: g, now: now}
	for _, m := range g.members {
		d.heard(m)
	}
	switch {
	case len(g.members) > g.env.Config.MaxSize:
		d.cause = history.Event{Kind: history.TooMany}
		d.rebalance() // nobody waits yet, so there is nobody to answer
	case g.converted:
		d.cause = history.Event{Kind: history.Downgraded}
		d.rebalance()
	}
}

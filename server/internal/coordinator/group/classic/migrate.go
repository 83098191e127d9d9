package classic

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// Generation is the last generation of the group.
func (g *Group) Generation() int32 { return g.generation }

// Rebalancing reports whether the members are called to join anew, or have joined and wait for what their leader assigns.
func (g *Group) Rebalancing() bool {
	return g.state == PreparingRebalance || g.state == CompletingRebalance
}

// Members gives the members as a consumer group takes them in. Before there was a generation, what they say is that of the
// protocol that they would have chosen.
func (g *Group) Members() []embedded.Member {
	if len(g.members) == 0 {
		return nil
	}
	protocol := g.protocol
	if protocol == "" {
		protocol = g.choose()
	}
	list := make([]embedded.Member, len(g.members))
	for i, m := range g.members {
		list[i] = embedded.Member{
			ID: m.id, Instance: m.instance, ClientID: m.clientID, Host: m.host, SessionTimeout: m.sessionTimeout, RebalanceTimeout: m.rebalanceTimeout,
			Subscription: m.metadata(protocol), Assignment: m.assignment,
		}
		for _, p := range m.protocols {
			list[i].Protocols = append(list[i].Protocols, embedded.Protocol{Name: p.name, Metadata: p.metadata})
		}
	}
	return list
}

// Upgraded returns the answers for all who wait: they are members of a consumer group now, and must join that one. Should
// its records not be stored, this group goes on without anybody waiting.
func (g *Group) Upgraded(now time.Time) []func(error) {
	d := &decision{g: g, now: now}
	for _, m := range g.members {
		if m.join == nil && m.sync == nil {
			continue
		}
		why := kafka.RebalanceInProgress.Errorf("the group %q goes to the consumer protocol", g.id)
		response := wire.NewJoinGroupResponse()
		response.MemberID = m.id
		d.answerJoin(m, response, why)
		d.answerSync(m, nil, why)
		d.heard(m)
	}
	return d.then
}

// Downgrade makes a group of the members of a consumer group whose last member of the consumer protocol is gone, and
// returns what comes of it, behind the tombstones of that one. An error means that it cannot be: there is no protocol that
// all support, or what one of them says in it cannot be read.
//
// Nobody knows that it leads until the members have joined anew: whoever comes is told of no leader. They are called to at
// once for a rebalance, and else when their topics change, which no leader watches (layout.go). The record names no leader
// either, and whoever loads it calls them: otherwise nobody would have what the one had that is gone, or what has come
// since, until something else changes. Kafka names one, and has the gaps; it reads such a record as it reads its own.
func Downgrade(env *Env, id string, generation int32, members []embedded.Member, tombstones []coordinator.Record, rebalance bool, cause history.Event, now time.Time) (*Group, coordinator.Result, error) {
	g := New(env, id, now)
	g.generation, g.state, g.before = generation, Stable, Stable
	for _, e := range members {
		m := &member{
			id: e.ID, instance: e.Instance, clientID: e.ClientID, host: e.Host, sessionTimeout: e.SessionTimeout, rebalanceTimeout: e.RebalanceTimeout,
		}
		for _, p := range e.Protocols {
			m.protocols = append(m.protocols, protocol{p.Name, p.Metadata})
		}
		g.add(m, embedded.ProtocolType)
	}
	if g.protocol = g.choose(); g.protocol == "" {
		return nil, coordinator.Result{}, errors.New("there is no protocol that all members support")
	}
	for i, m := range g.members {
		version, err := embedded.Version(m.metadata(g.protocol))
		if err != nil {
			return nil, coordinator.Result{}, err
		}
		m.assignment = embedded.WriteAssignment(members[i].Topics, version)
	}
	g.readTopics()
	g.converted, g.shared = true, g.layoutIn(env.Image())
	d := &decision{g: g, now: now, cause: cause, records: tombstones}
	d.store()
	g.env.Note(g.id, history.Event{Kind: history.Downgraded, At: now, Epoch: generation, Members: int32(len(members))})
	for _, m := range g.members {
		d.heard(m)
	}
	if rebalance {
		d.rebalance()
	}
	return g, d.result(), nil
}

// Resume sets the timers that the group must have and has not: it was to be another, whose records could not be stored.
func (g *Group) Resume(now time.Time) {
	set := func(t coordinator.Timer, in time.Duration) {
		if _, is := g.env.Timers.At(t); !is {
			g.env.Timers.Set(t, now.Add(in))
		}
	}
	for _, m := range g.members {
		set(g.session(m.id), m.sessionTimeout)
	}
	for _, id := range slices.Sorted(maps.Keys(g.pending)) {
		set(g.session(id), g.env.Config.MinSessionTimeout)
	}
	switch g.state {
	case PreparingRebalance:
		set(g.timer(timerJoin), g.rebalanceTimeout())
	case CompletingRebalance:
		set(g.timer(timerSync), g.rebalanceTimeout())
	}
}

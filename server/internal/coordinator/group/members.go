package group

import (
	"errors"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
)

// Caller is who sent a request.
type Caller struct {
	ClientID, Host string
	Version        int16
	// Describes reports whether the caller may know of a topic; nil knows of all.
	Describes func(topic string) bool
}

// JoinGroup lets a member into a group of the classic protocol. The answer comes when the rebalance has begun or, with
// an error, at once; then the response, which is there too, names the member id to go on with.
func (c *Coordinator) JoinGroup(request *wire.JoinGroupRequest, caller Caller, done func(*wire.JoinGroupResponse, error)) {
	refuse := func(err error) {
		response := wire.NewJoinGroupResponse()
		response.MemberID = request.MemberID
		done(response, err)
	}
	timeout := time.Duration(request.SessionTimeoutMs) * time.Millisecond
	if low, high := c.o.Config.Classic.MinSessionTimeout, c.o.Config.Classic.MaxSessionTimeout; timeout < low || timeout > high {
		refuse(kafka.InvalidSessionTimeout.Errorf("the session timeout of %v is not between %v and %v (group.min.session.timeout.ms, group.max.session.timeout.ms)", timeout, low, high))
		return
	}
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, created, err := s.joinable(request.GroupID, request.MemberID)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		return g.Join(&classic.Join{JoinGroupRequest: request, Version: caller.Version, ClientID: caller.ClientID, Host: caller.Host, Created: created, Done: done}, now), nil
	}, refuse)
}

// joinable finds the classic group that a member joins, and makes it for a new member.
func (s *Shard) joinable(id, memberID string) (g *classic.Group, created bool, err error) {
	found := s.find(id)
	if g, ok := found.(*classic.Group); ok {
		return g, false, nil
	}
	switch {
	case found != nil:
		return nil, false, kafka.InconsistentGroupProtocol.Errorf("the group %q is not of the classic protocol", id)
	case memberID != "":
		return nil, false, kafka.UnknownMemberID.Errorf("there is no group %q, and so no member %q of it", id, memberID)
	}
	g = s.newClassic(id)
	s.groups.Keep(id, g)
	return g, true, nil
}

// member finds the classic group that somebody says to be a member of.
func (s *Shard) member(id, memberID string) (*classic.Group, error) {
	if g, ok := s.find(id).(*classic.Group); ok {
		return g, nil
	}
	return nil, kafka.UnknownMemberID.Errorf("there is no classic group %q, and so no member %q of it", id, memberID)
}

// SyncGroup answers a member with its assignment.
func (c *Coordinator) SyncGroup(request *wire.SyncGroupRequest, done func(*wire.SyncGroupResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, err := s.member(request.GroupID, request.MemberID)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		return g.Sync(request, now, done), nil
	}, refuse)
}

// Heartbeat keeps a member of a classic group.
func (c *Coordinator) Heartbeat(request *wire.HeartbeatRequest, done func(error)) {
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, err := s.member(request.GroupID, request.MemberID)
		if err == nil {
			err = g.Heartbeat(request, now)
		}
		return coordinator.Result{}, func(failed error) {
			if failed != nil {
				err = failed
			}
			done(err)
		}
	}, done)
}

// LeaveGroup lets members go. The members of the request are those of version 3; an older one has its single member
// there, too.
func (c *Coordinator) LeaveGroup(request *wire.LeaveGroupRequest, done func(*wire.LeaveGroupResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, err := s.member(request.GroupID, "")
		switch {
		case errors.Is(err, kafka.UnknownMemberID):
			return coordinator.Result{}, func(error) { done(nobodyLeft(request), nil) }
		case err != nil:
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		return g.Leave(request, now, done), nil
	}, refuse)
}

// nobodyLeft is the answer where there is no group: it is the members that are not known.
func nobodyLeft(request *wire.LeaveGroupRequest) *wire.LeaveGroupResponse {
	response := wire.NewLeaveGroupResponse()
	for _, who := range request.Members {
		response.Members = append(response.Members, wire.LeaveGroupResponseMembers{MemberID: who.MemberID, GroupInstanceID: who.GroupInstanceID, ErrorCode: kafka.UnknownMemberID})
	}
	return response
}

// DescribeGroup describes a classic group; the error is GROUP_ID_NOT_FOUND when there is no such group.
func (c *Coordinator) DescribeGroup(id string, done func(wire.DescribeGroupsResponseGroups, error)) {
	refuse := func(err error) {
		one := wire.NewDescribeGroupsResponseGroups()
		one.GroupID = id
		done(one, err)
	}
	c.run(id, func(s *Shard, _ time.Time) (coordinator.Result, func(error)) {
		g, ok := s.find(id).(*classic.Group)
		if !ok {
			err := notFound(id)
			if s.find(id) != nil {
				err = kafka.GroupIDNotFound.Errorf("Group %s is not a classic group.", id)
			}
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		one := g.Describe()
		return coordinator.Result{}, func(err error) {
			if err != nil {
				refuse(err)
				return
			}
			done(one, nil)
		}
	}, refuse)
}

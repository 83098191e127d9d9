package group

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
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
		if g, ok := s.find(request.GroupID).(*consumer.Group); ok && !g.Empty() {
			return s.joinConsumers(g, request, caller, done, now), nil
		}
		g, created, emptied, err := s.joinable(request.GroupID, request.MemberID)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		res := g.Join(&classic.Join{JoinGroupRequest: request, Version: caller.Version, ClientID: caller.ClientID, Host: caller.Host, Created: created, Done: done}, now)
		if emptied != nil {
			res.Records, res.Undo = append(emptied.Tombstones(), res.Records...), s.swap(request.GroupID, emptied, g, now)
		}
		if created {
			s.mayDrop(request.GroupID, g, &res)
		}
		return res, nil
	}, func(err error) { done(wire.NewJoinGroupResponse(), err) }) // nobody has looked at the member
}

// joinConsumers lets a member of the classic protocol into a group of the consumer protocol.
func (s *Shard) joinConsumers(g *consumer.Group, request *wire.JoinGroupRequest, caller Caller, done func(*wire.JoinGroupResponse, error), now time.Time) coordinator.Result {
	if s.c.o.Config.Migration == disabled {
		return coordinator.Reply(func(err error) {
			if err == nil {
				err = kafka.InconsistentGroupProtocol.Errorf("Cannot join the consumer group %s with the classic protocol because the group migration is disabled.", request.GroupID)
			}
			done(wire.NewJoinGroupResponse(), err)
		})
	}
	return g.ClassicJoin(&consumer.Join{JoinGroupRequest: request, Version: caller.Version, ClientID: caller.ClientID, Host: caller.Host, NewID: s.classic.NewID(), Done: done}, now)
}

// joinable finds the classic group that a member joins, and makes it for a new member. emptied is a consumer group without
// members that makes way for it.
func (s *Shard) joinable(id, memberID string) (g *classic.Group, created bool, emptied *consumer.Group, err error) {
	found := s.find(id)
	if g, ok := found.(*classic.Group); ok {
		return g, false, nil, nil
	}
	if memberID != "" {
		return nil, false, nil, kafka.UnknownMemberID.Errorf("there is no group %q with members, and so no member %q of it", id, memberID)
	}
	g = s.newClassic(id)
	if emptied, ok := found.(*consumer.Group); ok {
		return g, true, emptied, nil
	}
	s.groups.Keep(id, g)
	return g, true, nil, nil
}

// mayDrop sees to those who wait in a group that has just come in the place of another: when the records of that cannot be
// stored, the other is there again, as it was before it was deleted or changed its kind, and nobody would answer them.
func (s *Shard) mayDrop(id string, g *classic.Group, res *coordinator.Result) {
	var told []func()
	undo := res.Undo
	res.Undo = func() {
		if undo != nil {
			undo()
		}
		if s.find(id) != g {
			told = g.Unloaded(kafka.CoordinatorNotAvailable.Errorf("the group %q is again what it was before", id))
		}
	}
	res.Then = append(res.Then, func(error) {
		for _, tell := range told {
			tell()
		}
	})
}

// noMember is the answer to whoever says to be a member of a group that there is not.
func noMember(id, memberID string) error {
	return kafka.UnknownMemberID.Errorf("there is no group %q, and so no member %q of it", id, memberID)
}

// SyncGroup answers a member with its assignment.
func (c *Coordinator) SyncGroup(request *wire.SyncGroupRequest, done func(*wire.SyncGroupResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		switch g := s.find(request.GroupID).(type) {
		case *classic.Group:
			return g.Sync(request, now, done), nil
		case *consumer.Group:
			return g.ClassicSync(request, now, done), nil
		}
		return coordinator.Result{}, func(error) { refuse(noMember(request.GroupID, request.MemberID)) }
	}, refuse)
}

// Heartbeat keeps a member that speaks the classic protocol. While the group is being loaded everybody is: sessions begin
// when that is done.
func (c *Coordinator) Heartbeat(request *wire.HeartbeatRequest, done func(error)) {
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		err := noMember(request.GroupID, request.MemberID)
		switch g := s.find(request.GroupID).(type) {
		case *classic.Group:
			err = g.Heartbeat(request, now)
		case *consumer.Group:
			err = g.ClassicHeartbeat(request, now)
		}
		return coordinator.Result{}, func(failed error) {
			if failed != nil {
				err = failed
			}
			done(err)
		}
	}, func(err error) {
		if kafka.CodeOf(err) == kafka.CoordinatorLoadInProgress {
			err = nil
		}
		done(err)
	})
}

// LeaveGroup lets members go. The members of the request are those of version 3; an older one has its single member
// there, too.
func (c *Coordinator) LeaveGroup(request *wire.LeaveGroupRequest, done func(*wire.LeaveGroupResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		switch g := s.find(request.GroupID).(type) {
		case *classic.Group:
			return g.Leave(request, now, done), nil
		case *consumer.Group:
			return g.ClassicLeave(request, now, done), nil
		}
		return coordinator.Result{}, func(error) { done(nobodyLeft(request), nil) }
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

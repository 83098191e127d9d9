package group

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/history"
)

// ConsumerGroupHeartbeat is the one request of the consumer protocol (KIP-848): a member joins, stays, goes on towards its
// assignment, and leaves by it. In version 0 the coordinator gives new members their id.
func (c *Coordinator) ConsumerGroupHeartbeat(request *wire.ConsumerGroupHeartbeatRequest, caller Caller, done func(*wire.ConsumerGroupHeartbeatResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	if request.MemberID == "" && request.MemberEpoch == 0 && caller.Version == 0 {
		request.MemberID = kafka.NewUUID().String()
	}
	if err := c.o.Config.Consumer.Check(request, caller.Version); err != nil {
		refuse(err)
		return
	}
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, records, from, err := s.heartbeatGroup(request)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		step, err := g.Heartbeat(&consumer.Heartbeat{ConsumerGroupHeartbeatRequest: request, ClientID: caller.ClientID, Host: caller.Host}, now)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		step.Records = append(records, step.Records...)
		if from != nil {
			s.upgraded(request.GroupID, from, g, step, &history.Member{ID: *step.Response.MemberID, Instance: text(request.InstanceID), ClientID: caller.ClientID, Host: caller.Host}, now)
		}
		return step.Result, func(err error) {
			done(step.Response, err)
			if len(step.Resolve) > 0 {
				c.resolve(request.GroupID, step.Resolve, caller.Describes)
			}
		}
	}, refuse)
}

// resolve looks, outside of all locks, at which topics the regular expressions of a group stand for, and tells the group.
// The member whose heartbeat set it off sees for all of them, as in Kafka.
func (c *Coordinator) resolve(id string, regexes []string, describes func(topic string) bool) {
	c.runtime.Aside(func() (then func()) {
		found := consumer.Resolve(regexes, c.image.Load(), describes, c.o.Now())
		return func() {
			c.run(id, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
				s.consumer.EndResolve(id)
				g, ok := s.find(id).(*consumer.Group)
				if !ok {
					return coordinator.Result{}, nil
				}
				return coordinator.Result{Records: g.Resolved(found, now)}, nil
			}, func(error) {}) // the shard is gone, and what it waited for with it
		}
	})
}

// heartbeatGroup finds the consumer group of a request. A member that joins makes it; an empty classic group makes way
// for it, with the record that says so, and one with members, from, is upgraded.
func (s *Shard) heartbeatGroup(request *wire.ConsumerGroupHeartbeatRequest) (g *consumer.Group, records []coordinator.Record, from *classic.Group, err error) {
	switch found := s.find(request.GroupID).(type) {
	case *consumer.Group:
		return found, nil, nil, nil
	case *classic.Group:
		switch {
		case request.MemberEpoch != 0:
			return nil, nil, nil, kafka.GroupIDNotFound.Errorf("Group %s is not a consumer group.", request.GroupID)
		case found.Empty():
			return s.newConsumer(request.GroupID), found.Tombstones(), nil, nil
		}
		g, records, err = s.upgrade(request.GroupID, found)
		return g, records, found, err
	}
	if request.MemberEpoch != 0 {
		return nil, nil, nil, notFound(request.GroupID)
	}
	// Replaying its first record makes it once more, for good: until then it is not in the log.
	return s.newConsumer(request.GroupID), nil, nil, nil
}

func (s *Shard) newConsumer(id string) *consumer.Group { return consumer.New(&s.consumer, id) }

// replayConsumer replays a record of a consumer group.
func (s *Shard) replayConsumer(id string, r coordinator.Record) error {
	g, ok := s.find(id).(*consumer.Group)
	if !ok {
		if r.Value == nil {
			return nil // of a group that is gone
		}
		g = s.newConsumer(id)
		s.groups.Set(id, g)
	}
	if err := g.Replay(r); err != nil {
		return err
	}
	if _, whole := r.Key.(*wire.ConsumerGroupMetadataKey); whole && r.Value == nil {
		s.groups.Delete(id)
	}
	return nil
}

// ConsumerGroupDescribe describes a group of the consumer protocol.
func (c *Coordinator) ConsumerGroupDescribe(id string, done func(wire.ConsumerGroupDescribeResponseGroups, error)) {
	refuse := func(err error) {
		one := wire.NewConsumerGroupDescribeResponseGroups()
		one.GroupID = id
		done(one, err)
	}
	c.run(id, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, ok := s.find(id).(*consumer.Group)
		if !ok {
			err := notFound(id)
			if s.find(id) != nil {
				err = kafka.GroupIDNotFound.Errorf("Group %s is not a consumer group.", id)
			}
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		one := g.Describe(now)
		return coordinator.Result{}, func(err error) {
			if err != nil {
				refuse(err)
				return
			}
			done(one, nil)
		}
	}, refuse)
}

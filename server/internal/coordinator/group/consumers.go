package group

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/classic"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/consumer"
)

// ConsumerGroupHeartbeat is the one request of the consumer protocol (KIP-848): a member joins, stays, goes on towards its
// assignment, and leaves by it. In version 0 the coordinator gives new members their id.
func (c *Coordinator) ConsumerGroupHeartbeat(request *wire.ConsumerGroupHeartbeatRequest, caller Caller, done func(*wire.ConsumerGroupHeartbeatResponse, error)) {
	refuse := func(err error) { done(nil, err) }
	if request.MemberID == "" && request.MemberEpoch == 0 && caller.Version == 0 {
		request.MemberID = kafka.NewUUID().String()
	}
	if err := c.o.Config.Consumer.Check(request); err != nil {
		refuse(err)
		return
	}
	c.run(request.GroupID, func(s *Shard, now time.Time) (coordinator.Result, func(error)) {
		g, records, err := s.heartbeatGroup(request)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		decided, response, err := g.Heartbeat(&consumer.Heartbeat{ConsumerGroupHeartbeatRequest: request, ClientID: caller.ClientID, Host: caller.Host}, now)
		if err != nil {
			return coordinator.Result{}, func(error) { refuse(err) }
		}
		return coordinator.Result{Records: append(records, decided...)}, func(err error) { done(response, err) }
	}, refuse)
}

// heartbeatGroup finds the consumer group of a request. A member that joins makes it; an empty classic group makes way
// for it, with the record that says so.
func (s *Shard) heartbeatGroup(request *wire.ConsumerGroupHeartbeatRequest) (*consumer.Group, []coordinator.Record, error) {
	switch g := s.find(request.GroupID).(type) {
	case *consumer.Group:
		return g, nil, nil
	case *classic.Group:
		if !g.Empty() || request.MemberEpoch != 0 {
			return nil, nil, kafka.GroupIDNotFound.Errorf("Group %s is not a consumer group.", request.GroupID)
		}
		return s.newConsumer(request.GroupID), g.Tombstones(), nil
	}
	if request.MemberEpoch != 0 {
		return nil, nil, notFound(request.GroupID)
	}
	// Replaying its first record makes it once more, for good: until then it is not in the log.
	return s.newConsumer(request.GroupID), nil, nil
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

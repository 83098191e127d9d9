package consumer

import "time"

// soonest is the shortest time that a member is asked to let pass between two heartbeats.
const soonest = 100 * time.Millisecond

// pace is after how long a member is to beat again. Kafka always says the configured interval, so that members learn of an
// assignment, and of what others have given up, when it has passed: a rebalance takes two or three of them. Here a member
// comes right behind an assignment that is planned, and after one was made when that is twice as old as it is now, so that
// it gets what is for it about when it is there. That costs each member half a dozen heartbeats in a rebalance, and none
// in a group that is at rest.
func (c *change) pace(timing Timing) time.Duration {
	wait := c.now.Sub(c.targetAt)
	switch {
	case c.epoch > c.targetEpoch:
		wait = c.targetAt.Add(timing.AssignmentInterval).Sub(c.now)
	case wait < 0: // another coordinator's clock is ahead
		wait = timing.HeartbeatInterval
	}
	return min(max(wait, soonest), timing.HeartbeatInterval)
}

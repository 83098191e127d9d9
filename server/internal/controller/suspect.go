package controller

// Disconnected tells that the connection of a broker's heartbeats was closed. That makes it a suspect: it is
// fenced after half a second of silence instead of a whole session, unless it is heard of again.
func (c *Controller) Disconnected(broker int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lead == nil {
		return
	}
	if s := c.lead.sessions[broker]; s != nil && s.deadline.IsZero() {
		s.deadline = c.clock().Add(c.suspectTimeout)
		c.nudge()
	}
}

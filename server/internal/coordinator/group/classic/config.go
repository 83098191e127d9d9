package classic

import "time"

// Config is what the broker's configuration says to classic groups.
type Config struct {
	// MinSessionTimeout and MaxSessionTimeout bound what members may ask for.
	MinSessionTimeout, MaxSessionTimeout time.Duration
	// InitialRebalanceDelay is how long an empty group waits for more members than its first.
	InitialRebalanceDelay time.Duration
	// MaxSize is how many members a group may have.
	MaxSize int
}

// newMemberJoinTimeout is how long a member that has joined for the first time may wait for the group: it cannot send
// heartbeats, since it has not been told its member id, and may have gone away.
const newMemberJoinTimeout = 5 * time.Minute

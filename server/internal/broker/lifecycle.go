package broker

import (
	"fmt"
	"slices"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// State is where a broker is in its life.
type State uint8

// The states, in the order in which a broker comes through them.
const (
	Starting   State = iota // not registered
	Recovering              // registered and fenced: no client is sent here
	Running                 // unfenced
	Leaving                 // asking the controller to move its leaderships away
	Gone                    // the controller agreed, or nobody is left to ask
)

// String returns Kafka's name of the state (KIP-631).
func (s State) String() string {
	return [...]string{"STARTING", "RECOVERY", "RUNNING", "PENDING_CONTROLLED_SHUTDOWN", "SHUTTING_DOWN"}[s]
}

// Backoff of requests to a controller that does not answer well.
const (
	backoffMin = 10 * time.Millisecond
	backoffMax = time.Second
)

// lifecycle decides what a broker says to the controller next. It is a plain state machine: times are arguments,
// requests and answers are values, and at most one request is under way.
type lifecycle struct {
	registration wire.BrokerRegistrationRequest
	interval     time.Duration // between heartbeats
	giveUp       time.Time     // when the first registration has failed for good; zero after it

	state State
	epoch int64 // of the registration; -1 before it
	// waiting is true while a request is under way. Invariant: then next returns nil.
	waiting bool
	due     time.Time     // when the next request is to be sent
	backoff time.Duration // after failures, otherwise 0

	offset int64 // of the newest image that was handed to all rooms
	// told is the offset that the last heartbeat carried: a broker that waits to be unfenced says at once that
	// it has caught up, rather than at the next beat.
	told    int64
	offline []kafka.DirectoryID // failed directories, in the order in which they failed
	fence   bool                // the broker itself wants to be fenced
	leaving bool                // Leave was called
	failure error               // why the broker cannot live; set once
}

func newLifecycle(registration wire.BrokerRegistrationRequest, c Config, now time.Time) *lifecycle {
	return &lifecycle{registration: registration, interval: c.HeartbeatInterval, giveUp: now.Add(c.RegistrationTimeout),
		epoch: -1, offset: -1, told: -1, due: now}
}

// next returns the request that is to be sent now, or nil and when to ask again; the zero time for not before
// something happens.
func (l *lifecycle) next(now time.Time) (wire.Message, time.Time) {
	switch {
	case l.waiting || l.failure != nil || l.state == Gone:
		return nil, time.Time{}
	case now.Before(l.due):
		return nil, l.due
	}
	l.waiting = true
	if l.state == Starting {
		registration := l.registration
		return &registration, time.Time{}
	}
	l.told = l.offset
	return &wire.BrokerHeartbeatRequest{
		BrokerID:              l.registration.BrokerID,
		BrokerEpoch:           l.epoch,
		CurrentMetadataOffset: l.offset,
		WantFence:             l.fence,
		WantShutDown:          l.leaving,
		OfflineLogDirs:        slices.Clone(l.offline),
	}, time.Time{}
}

// answered takes the answer to the request that next returned: a response, or why there is none.
func (l *lifecycle) answered(response wire.Message, err error, now time.Time) {
	l.waiting = false
	switch r := response.(type) {
	case *wire.BrokerRegistrationResponse:
		if err == nil && r.ErrorCode != kafka.None {
			err = r.ErrorCode
		}
		if err != nil {
			l.registrationFailed(err, now)
			return
		}
		l.state, l.epoch = Recovering, r.BrokerEpoch
		l.giveUp = time.Time{}
		l.backoff, l.due = 0, now // the first heartbeat says how far the metadata has come
		return
	case *wire.BrokerHeartbeatResponse:
		if err == nil && r.ErrorCode != kafka.None {
			err = r.ErrorCode
		}
		switch code := kafka.CodeOf(err); {
		case err == nil:
			l.beaten(r)
		case code == kafka.StaleBrokerEpoch || code == kafka.BrokerIDNotRegistered:
			// The controller knows another incarnation, or none: begin again, with a new epoch.
			l.state, l.epoch = Starting, -1
			l.retry(now)
			return
		default:
			l.retry(now)
			return
		}
	default: // no answer at all
		if l.state == Starting {
			l.registrationFailed(err, now)
			return
		}
		l.retry(now)
		return
	}
	l.backoff = 0
	l.due = now.Add(l.interval)
	if l.state == Recovering && l.offset > l.told {
		l.due = now // an image came while the heartbeat was under way
	}
}

// beaten takes a heartbeat that the controller accepted.
func (l *lifecycle) beaten(r *wire.BrokerHeartbeatResponse) {
	switch {
	case r.ShouldShutDown:
		l.state = Gone
	case l.leaving:
		l.state = Leaving
	case r.IsFenced:
		l.state = Recovering
	default:
		l.state = Running
	}
}

func (l *lifecycle) registrationFailed(err error, now time.Time) {
	switch kafka.CodeOf(err) {
	case kafka.InconsistentClusterID, kafka.InvalidRegistration, kafka.UnsupportedVersion, kafka.InvalidRequest, kafka.ClusterAuthorizationFailed:
		l.failure = fmt.Errorf("the controller refuses the registration of node %d: %w", l.registration.BrokerID, err)
		return
	}
	if l.leaving {
		l.state = Gone
		return
	}
	if !l.giveUp.IsZero() && now.After(l.giveUp) {
		l.failure = fmt.Errorf("node %d could not register with the controller in time: %w", l.registration.BrokerID, err)
		return
	}
	l.retry(now)
}

func (l *lifecycle) retry(now time.Time) {
	l.backoff = min(max(2*l.backoff, backoffMin), backoffMax)
	l.due = now.Add(l.backoff)
}

// published says that the image up to an offset has been handed to all rooms.
func (l *lifecycle) published(offset int64, now time.Time) {
	l.offset = max(l.offset, offset)
	if l.state == Recovering && l.offset > l.told {
		l.due = now
	}
}

// dirFailed says that a log directory is offline.
func (l *lifecycle) dirFailed(id kafka.DirectoryID, now time.Time) {
	if !slices.Contains(l.offline, id) {
		l.offline = append(l.offline, id)
		l.due = now
	}
}

// wantFence says whether the broker should be fenced although it lives.
func (l *lifecycle) wantFence(fence bool, now time.Time) {
	if l.fence != fence {
		l.fence = fence
		l.due = now
	}
}

// leave begins the controlled shutdown.
func (l *lifecycle) leave(now time.Time) {
	l.leaving = true
	l.due = now
	if l.state == Starting && !l.waiting {
		l.state = Gone
	}
}

package broker

import (
	"time"

	"github.com/millrace-io/millrace/config"
)

// Config is what the broker's configuration says about its life.
type Config struct {
	// HeartbeatInterval is how often the controller is told that the broker lives. Ours is a quarter of a
	// second where Kafka's is two, so that a failure is noticed soon (D10).
	HeartbeatInterval time.Duration
	// RegistrationTimeout is how long the first registration may take before the node gives up.
	RegistrationTimeout time.Duration
	// ControlledShutdown says whether the broker hands its leaderships over before it stops.
	ControlledShutdown bool
	// ForwardTimeout bounds a request to the controller, retries included.
	ForwardTimeout time.Duration
}

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "initial.broker.registration.timeout.ms", Type: config.Int, Default: config.Value("60000"), Valid: config.AtLeast(0), Importance: config.Medium,
			Doc: "How long a starting broker tries to register with the controller before it gives up."},
		{Name: "broker.rack", Type: config.String, Importance: config.Medium,
			Doc: "Where the broker stands; replicas of a partition are spread over the racks."},
		{Name: "controlled.shutdown.enable", Type: config.Bool, Default: config.Value("true"), Importance: config.Medium,
			Doc: "Whether a broker that stops asks the controller to move its leaderships first."},
		{Name: "request.timeout.ms", Type: config.Int, Default: config.Value("30000"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "How long a request to another node may take, retries included."},
	}
}

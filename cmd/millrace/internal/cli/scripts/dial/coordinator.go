package dial

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// coordinatorTimeout bounds how long a coordinator is asked again; a shorter context ends it sooner.
const coordinatorTimeout = 30 * time.Second

// Settled asks the coordinator of groups until it answers. The first question to a cluster that has had no
// groups yet makes their topic, and a coordinator that has just got a partition of it reads that first; the
// client library passes these errors on for requests that go to several coordinators.
func Settled(ctx context.Context, ask func() error) error {
	for deadline := time.Now().Add(coordinatorTimeout); ; {
		err := ask()
		if !Unsettled(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond): // retry.backoff.ms
		}
	}
}

// Unsettled reports whether an error is of a coordinator that is made, moves or reads its groups.
func Unsettled(err error) bool {
	return errors.Is(err, kerr.CoordinatorNotAvailable) || errors.Is(err, kerr.CoordinatorLoadInProgress) || errors.Is(err, kerr.NotCoordinator)
}

package server

import "context"

// follower takes over the newest of something, after each change, on a goroutine of its own: whoever tells it of changes
// does not wait. Changes that come while it is at work are taken over together.
type follower struct {
	take   func(ctx context.Context)
	due    chan struct{} // holds one: something has changed since the last take began
	cancel context.CancelFunc
	ended  chan struct{}
}

// follow starts a follower; take ends soon when its context does.
func follow(take func(ctx context.Context)) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{take: take, due: make(chan struct{}, 1), cancel: cancel, ended: make(chan struct{})}
	go f.run(ctx)
	return f
}

func (f *follower) run(ctx context.Context) {
	defer close(f.ended)
	for {
		select {
		case <-f.due:
			f.take(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// changed says that there is something newer. It may be called after close, and does nothing then.
func (f *follower) changed() {
	select {
	case f.due <- struct{}{}:
	default: // the take that is due will find it
	}
}

func (f *follower) close() {
	f.cancel()
	<-f.ended
}

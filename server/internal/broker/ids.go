package broker

import (
	"context"
	"sync"

	"github.com/millrace-io/millrace/kafka"
)

// blockSpare is how many ids of a block are left when the next block is fetched.
const blockSpare = 100

// idBlock is a range of producer ids that the controller gave to this broker and to nobody else, ever.
type idBlock struct{ next, end int64 }

func (b idBlock) left() int64 { return b.end - b.next }

// producerIDs hands out producer ids from blocks of a thousand (KIP-98), the next of which is fetched before
// the last one is used up.
type producerIDs struct {
	// fetch asks the controller for a block.
	fetch func(ctx context.Context) (idBlock, error)
	// run starts a function that the broker waits for when it closes; false when it is closing.
	run func(func(ctx context.Context)) bool

	mu       sync.Mutex
	current  idBlock
	spare    idBlock
	fetching chan struct{} // closed when the fetch under way has ended; nil when none is
	failure  error         // of the last fetch
}

// next returns an id that was never given before. The error carries COORDINATOR_LOAD_IN_PROGRESS, upon which
// clients try again, when the controller gave no block in time.
func (p *producerIDs) next(ctx context.Context) (int64, error) {
	for {
		p.mu.Lock()
		if p.current.left() == 0 {
			p.current, p.spare = p.spare, idBlock{}
		}
		if p.current.left() <= blockSpare && p.spare.left() == 0 && p.fetching == nil {
			if err := p.startFetch(); err != nil {
				p.mu.Unlock()
				return -1, err
			}
		}
		if p.current.left() > 0 {
			id := p.current.next
			p.current.next++
			p.mu.Unlock()
			return id, nil
		}
		fetching := p.fetching
		p.mu.Unlock()

		select {
		case <-fetching:
		case <-ctx.Done():
			return -1, kafka.CoordinatorLoadInProgress.Errorf("no producer id: the controller did not answer in time")
		}
		p.mu.Lock()
		failure := p.failure
		p.mu.Unlock()
		if failure != nil {
			return -1, kafka.CoordinatorLoadInProgress.Errorf("no producer id: %v", failure)
		}
	}
}

// startFetch fetches a block beside the callers. Called with mu held.
func (p *producerIDs) startFetch() error {
	done := make(chan struct{})
	started := p.run(func(ctx context.Context) {
		block, err := p.fetch(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.failure = err; err == nil {
			p.spare = block
		}
		p.fetching = nil
		close(done)
	})
	if !started {
		return kafka.CoordinatorNotAvailable.Errorf("the broker is stopping")
	}
	p.fetching = done
	return nil
}

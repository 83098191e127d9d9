package broker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// publisher hands images on. While the replicas are being loaded nothing can be handed to them; then they get
// the newest image, whole.
type publisher struct {
	image atomic.Pointer[metadata.Image] // the newest that all rooms have

	mu     sync.Mutex
	loaded bool
	newest *metadata.Image // the newest that was published; handed on once loaded
}

// Publish is a metadata.Publisher. It is called from one goroutine, in the order of the log, and hands the image
// to every room that acts on metadata, always in this order:
//
//  1. the replicas: partitions appear, change and go, with their configurations;
//  2. the coordinators, which lead where their partition's replica leads;
//  3. requests, which see the image from now on and find the partitions it promises;
//  4. the lifecycle: the next heartbeat says how far this broker has come.
func (b *Broker) Publish(image *metadata.Image, delta *metadata.Delta) {
	p := &b.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest = image
	if p.loaded {
		b.hand(image, delta)
	}
}

// Recovered is what came of loading the replicas.
type Recovered struct {
	Replicas     Replicas
	Coordinators []Coordinator
	// Online are the log directories that can be used.
	Online []kafka.DirectoryID
	// PreviousEpoch is the broker epoch of a clean stop before this start, -1 when it was not clean (KIP-966).
	PreviousEpoch int64
}

// Loaded says that the replicas have been loaded: they are given the newest image, whole, and every later one.
func (b *Broker) Loaded(r Recovered) {
	p := &b.publisher
	p.mu.Lock()
	defer p.mu.Unlock()
	b.replicas, b.coordinators = r.Replicas, r.Coordinators
	b.mu.Lock()
	b.life.registration.LogDirs, b.life.registration.PreviousBrokerEpoch = r.Online, r.PreviousEpoch
	b.mu.Unlock()
	p.loaded = true
	if p.newest != nil {
		b.hand(p.newest, metadata.Between(metadata.Empty(), p.newest))
	}
}

// hand gives an image to every room, in order. Called with the publisher's mu held.
func (b *Broker) hand(image *metadata.Image, delta *metadata.Delta) {
	b.replicas.Apply(image, delta)
	for _, c := range b.coordinators {
		c.Publish(image, delta)
	}
	b.publisher.image.Store(image)

	b.mu.Lock()
	defer b.mu.Unlock()
	recovering := b.life.state == Recovering
	b.life.published(image.Offset(), time.Now())
	close(b.handed)
	b.handed = make(chan struct{})
	b.lookReady(image)
	b.life.wantFence(len(b.stalls) > 0 && b.othersServe(), time.Now())
	if recovering || len(b.stalls) > 0 {
		b.nudge()
	}
}

// Image returns the newest image that all rooms have, nil before the first.
func (b *Broker) Image() *metadata.Image { return b.publisher.image.Load() }

package metadata

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/millrace-io/millrace/internal/wire"
)

// Publisher is told of a new image and of what changed since the last one it was told of. Publishers are called one
// after the other, in the order given to NewLoader, and every image that a later one sees the earlier ones have seen.
type Publisher func(image *Image, delta *Delta)

// Loader turns the committed log into images. It is a state machine of the metadata quorum: Apply, Restore, Snapshot
// and LeaderChanged are called from one goroutine, in the order of the log, and never wait for a publisher.
//
// Publishers run in Run's goroutine (or in Publish's caller). One that takes long does not hold up the log: what was
// loaded meanwhile reaches the publishers as one image and one delta.
type Loader struct {
	publishers []Publisher
	image      atomic.Pointer[Image]

	// These belong to the goroutine that applies.
	transaction *transaction // a metadata transaction that has begun and not ended
	last        position     // of the last record or batch loaded

	mu      sync.Mutex
	pending *Delta        // loaded and not yet published
	wake    chan struct{} // holds one token while pending may be set

	publishing sync.Mutex // held while publishers run: there is one round at a time
}

// transaction is a metadata transaction (KIP-868): records that count together, over several batches.
type transaction struct {
	delta *Delta
	name  string
	begin int64
}

type position struct {
	offset      int64
	epoch       int32
	timestampMs int64
}

// NewLoader returns a loader of the empty image.
func NewLoader(publishers ...Publisher) *Loader {
	l := &Loader{publishers: publishers, wake: make(chan struct{}, 1), last: position{-1, -1, -1}}
	l.image.Store(Empty())
	return l
}

// Image returns the image after the last committed record or metadata transaction. Safe for concurrent use.
func (l *Loader) Image() *Image { return l.image.Load() }

// RecordError says where in the log a record could not be read or replayed, and which record it was.
type RecordError struct {
	Offset  int64 // -1 in a snapshot
	Type    int16 // record type, -1 when the frame cannot be read
	Version int16 // record version
	Err     error // a *ReplayError, a *wire.UnknownRecordError, or of class wire.ErrMalformed
}

// Error names offset, type, version and cause.
func (e *RecordError) Error() string {
	return fmt.Sprintf("metadata record at offset %d (type %d, version %d): %v", e.Offset, e.Type, e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// Decode reads the value of a metadata record: uvarint frame version, type and record version, then the fields. The
// error is a *RecordError; a node that cannot read what the cluster agreed on must stop.
func Decode(offset int64, value []byte) (wire.Message, int16, error) {
	m, version, err := wire.DecodeMetadataRecord(value)
	if err == nil {
		return m, version, nil
	}
	e := &RecordError{Offset: offset, Type: -1, Version: -1, Err: err}
	frame := wire.NewReader(value)
	frame.Uvarint()
	if number, version := frame.Uvarint(), frame.Uvarint(); frame.Err() == nil && number < 1<<15 && version < 1<<15 {
		e.Type, e.Version = int16(number), int16(version)
	}
	return nil, 0, e
}

// Apply loads one committed batch of records, as their values are stored. The error is a *RecordError, and the image is
// then the one before the batch: the node cannot go on.
func (l *Loader) Apply(baseOffset int64, epoch int32, timestampMs int64, records [][]byte) error {
	before := l.last
	image := l.image.Load()
	base := image
	delta := NewDelta(image)
	var finished *Delta // what the publishers shall hear of
	var commit = func() {
		image = delta.Apply(l.last.offset, l.last.epoch, l.last.timestampMs)
		if finished == nil {
			finished = delta
		} else {
			finished = finished.Then(delta)
		}
		delta = NewDelta(image)
	}
	open := l.transaction
	if open != nil {
		delta = open.delta
	}
	fail := func(offset int64, m wire.Message, version int16, err error) error {
		l.last = before
		return &RecordError{offset, m.Info().Type, version, err}
	}
	for i, value := range records {
		offset := baseOffset + int64(i)
		m, version, err := Decode(offset, value)
		if err != nil {
			l.last = before
			return err
		}
		switch m := m.(type) {
		case *wire.BeginTransactionRecord:
			if open != nil {
				return fail(offset, m, version, refuse(m, "the transaction %q that began at offset %d has not ended", open.name, open.begin))
			}
			if !delta.Empty() {
				commit() // what came before in this batch is not part of the transaction
			}
			open = &transaction{delta: delta, begin: offset}
			if m.Name != nil {
				open.name = *m.Name
			}
		case *wire.EndTransactionRecord:
			if open == nil {
				return fail(offset, m, version, refuse(m, "no transaction has begun"))
			}
			open = nil
			l.last = position{offset, epoch, timestampMs}
			commit()
		case *wire.AbortTransactionRecord:
			if open == nil {
				return fail(offset, m, version, refuse(m, "no transaction has begun"))
			}
			open = nil
			delta = NewDelta(image)
		default:
			if err := delta.Replay(m); err != nil {
				return fail(offset, m, version, err)
			}
		}
		l.last = position{offset, epoch, timestampMs}
	}
	if l.transaction = open; open == nil && len(records) > 0 {
		commit()
	}
	if image != base {
		l.publish(image, finished)
	}
	return nil
}

// Restore replaces everything by a snapshot that ends before endOffset.
func (l *Loader) Restore(endOffset int64, epoch int32, timestampMs int64, records iter.Seq2[[]byte, error]) error {
	delta := NewDelta(Empty())
	for value, err := range records {
		if err != nil {
			return err
		}
		m, version, err := Decode(-1, value)
		if err != nil {
			return err
		}
		if err := delta.Replay(m); err != nil {
			return &RecordError{-1, m.Info().Type, version, err}
		}
	}
	l.last = position{endOffset - 1, epoch, timestampMs}
	image := delta.Apply(endOffset-1, epoch, timestampMs)
	l.transaction = nil
	l.publish(image, Between(l.image.Load(), image))
	return nil
}

// Snapshot returns the offset of the last record of the current image and its records, framed. The records may be
// iterated over beside Apply; each is valid until the next.
func (l *Loader) Snapshot() (lastOffset int64, records iter.Seq[[]byte]) {
	image := l.image.Load()
	return image.offset, func(yield func([]byte) bool) {
		var buffer []byte
		for r := range SnapshotRecords(image) {
			buffer = wire.AppendMetadataRecord(buffer[:0], r.Message, r.Version)
			if !yield(buffer) {
				return
			}
		}
	}
}

// LeaderChanged drops nothing: what is committed stays. A transaction that its leader left open is aborted by a record
// of the next leader.
func (l *Loader) LeaderChanged(leader, epoch int32) {}

// InTransaction returns the offset at which the open metadata transaction began, false when none is open. A new leader
// asks, and aborts it. It belongs to the goroutine that applies.
func (l *Loader) InTransaction() (begin int64, open bool) {
	if l.transaction == nil {
		return 0, false
	}
	return l.transaction.begin, true
}

func (l *Loader) publish(image *Image, delta *Delta) {
	l.mu.Lock()
	l.image.Store(image)
	if len(l.publishers) > 0 {
		if l.pending != nil {
			delta = l.pending.Then(delta)
		}
		l.pending = delta
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Publish tells the publishers what they have not been told yet, and reports whether there was anything. Run calls it;
// a caller without a goroutine for Run calls it itself.
func (l *Loader) Publish() bool {
	l.publishing.Lock()
	defer l.publishing.Unlock()
	l.mu.Lock()
	delta := l.pending
	l.pending = nil
	l.mu.Unlock()
	if delta == nil {
		return false
	}
	for _, publisher := range l.publishers {
		publisher(delta.Image(), delta)
	}
	return true
}

// Run publishes until the context ends.
func (l *Loader) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			for ctx.Err() == nil && l.Publish() {
			}
		}
	}
}

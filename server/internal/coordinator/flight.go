package coordinator

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace-io/millrace/kafka"
)

// flight is a batch that was appended and is not known to be committed. All but deadline is guarded by flights.mu.
type flight struct {
	then     []func(error)
	deadline time.Time
	landed   bool
}

// flights are the batches in flight, the oldest first. Its lock is a leaf, since batches land on any goroutine, also on
// one that holds the shard's.
type flights struct {
	mu     sync.Mutex
	list   []*flight
	failed error // the leadership is over
	// holding is true during an append: what lands then is answered by the one who appends, who holds the shard's
	// lock now and gives no answer before it is released.
	holding bool
	held    []func()
}

// begin takes a batch in before it is appended.
func (fs *flights) begin(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.holding = true
	fs.list = append(fs.list, f)
}

// began ends begin. It returns the answers that became due meanwhile; a batch that was not appended is none, and its
// answers are the caller's.
func (fs *flights) began(f *flight, err error) []func() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.holding = false
	if err != nil {
		last := len(fs.list) - 1
		fs.list[last] = nil
		fs.list = fs.list[:last] // nothing was appended since
	}
	due := fs.held
	fs.held = nil
	return due
}

// board puts answers behind the newest batch in flight, and reports whether there is one.
func (fs *flights) board(then []func(error)) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.list) == 0 {
		return false
	}
	last := fs.list[len(fs.list)-1]
	last.then = append(last.then, then...)
	return true
}

// land takes off a batch that is committed, and returns the answers that are due, and with what. An error fails all that
// fly: none of them may be answered as committed any more by this leadership.
func (fs *flights) land(f *flight, err error) (due []func(error), with error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err != nil {
		if fs.failed == nil {
			fs.failed = err
		}
		due, with = fs.unboard(), answerFor(err)
	} else {
		f.landed = true
		landed := 0
		for landed < len(fs.list) && fs.list[landed].landed {
			due = joined(due, fs.list[landed].then)
			landed++
		}
		fs.list = slices.Delete(fs.list, 0, landed)
	}
	if fs.holding {
		fs.held = append(fs.held, bound(due, with)...)
		return nil, nil
	}
	return due, with
}

// unboard returns everybody who waits, and keeps the batches in the air.
func (fs *flights) unboard() (due []func(error)) {
	for _, f := range fs.list {
		due = joined(due, f.then)
		f.then = nil
	}
	return due
}

// joined is a and b, most often one of them.
func joined(a, b []func(error)) []func(error) {
	if len(a) == 0 {
		return b
	}
	return append(a, b...)
}

// bound are answers with what they will be told.
func bound(due []func(error), with error) (answers []func()) {
	for _, then := range due {
		answers = append(answers, func() { then(with) })
	}
	return answers
}

// broken returns why the leadership is over, nil when it is not.
func (fs *flights) broken() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.failed
}

// abandon answers everybody who waits.
func (fs *flights) abandon(err error) []func() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return bound(fs.unboard(), err)
}

// deadline is when the oldest batch that somebody waits for has taken too long; zero for never.
func (fs *flights) deadline() time.Time {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.list {
		if len(f.then) > 0 {
			return f.deadline
		}
	}
	return time.Time{}
}

// expire answers those who waited too long. The records stay in the log, and may yet be committed.
func (fs *flights) expire(now time.Time) []func() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var due []func()
	for _, f := range fs.list {
		if f.deadline.After(now) {
			break
		}
		for _, then := range f.then {
			due = append(due, func() {
				then(kafka.CoordinatorNotAvailable.Errorf("the write was not committed in time"))
			})
		}
		f.then = nil
	}
	return due
}

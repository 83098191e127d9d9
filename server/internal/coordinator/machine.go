package coordinator

import (
	"time"

	"github.com/millrace-io/millrace/internal/wire"
)

// Machine is the replicated state of one partition. The shard calls it under its lock: nothing here runs at the same
// time for one partition.
type Machine interface {
	// Replay changes the state by one record. It is the only way in which what is in the log may change. offset is
	// the record's own. producerID is that of the batch, kafka.NoProducerID unless the record belongs to a
	// transaction that is still open: it then counts only once EndTxn commits it. An error means that the record
	// contradicts the state. Key and value themselves are the caller's, and used again; what they point to may be kept.
	Replay(offset, producerID int64, r Record) error
	// EndTxn is told of a transaction marker.
	EndTxn(offset, producerID int64, commit bool) error
	// Loaded is called when the whole log was replayed, before the first request: timers can be set here.
	Loaded(now time.Time)
	// Expire decides what follows from a timer that is due. A timer may outlive what it was set for.
	Expire(t Timer, now time.Time) Result
	// Unloaded is called when the shard ends: why is what those who still wait in the machine are to be told, by the
	// functions that it returns. They are called outside of the lock.
	Unloaded(why error) []func()
}

// Record is one record of a coordinator's topic.
type Record struct {
	Key wire.Message
	// Value is nil for a tombstone: it deletes what the key names.
	Value wire.Message
	// Version is the version in which the value is stored.
	Version int16
}

// Producer is whose transaction records belong to.
type Producer struct {
	ID    int64
	Epoch int16
}

// Marker ends a transaction in this partition.
type Marker struct {
	Producer
	CoordinatorEpoch int32
	Commit           bool
}

// Result is what was decided.
type Result struct {
	// Records are appended and replayed in this order, all in one batch or, when Split is true and they are too
	// many for one, in several.
	Records []Record
	Split   bool
	// Kept says that the machine's state has changed already, and the records are only to be appended. The same
	// state must come of replaying them in a load.
	Kept bool
	// Producer is set when the records belong to its transaction: they get a batch of their own.
	Producer *Producer
	// Marker, when set, is appended behind the records.
	Marker *Marker
	// Then is called, outside of the lock and in this order, when the records and everything the decision saw are
	// committed, with nil; or with an error, when that cannot be said. The error carries a code that sends a client
	// to look for the coordinator, or to try again.
	Then []func(err error)
	// Undo is called, under the lock, when the records could not be appended: the machine's own state that is not
	// in the log goes back to what it was. What was replayed is taken back by the journal.
	Undo func()
}

// Reply returns a Result without records: an answer that is parked behind what it saw.
func Reply(then func(err error)) Result { return Result{Then: []func(error){then}} }

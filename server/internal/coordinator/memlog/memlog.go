// Package memlog is a coordinator's log in memory, whose commits, faults and loss of leadership a test decides.
package memlog

import (
	"bytes"
	"cmp"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
)

// Log is the log of one partition in one leadership of it; it is a coordinator.Log. It is for one goroutine.
type Log struct {
	Batches []record.Batch
	// End is the offset of the next record, High that behind the last committed one.
	End, High int64
	// Refuse, when set, is what the next appends meet: nothing is appended.
	Refuse error
	// Direct commits at once, inside of Append.
	Direct bool
	// Max is the size of the largest batch; zero is Kafka's default.
	Max int
	// Skew is added to the offsets of appends, as if somebody else wrote.
	Skew int64

	waiting []waiting
	over    error // the leadership ended
}

// waiting is a batch, or somebody who awaits an offset, not committed yet.
type waiting struct {
	end  int64
	done func(error)
}

// Bounds implements coordinator.Log.
func (l *Log) Bounds() (start, end int64) { return 0, l.End }

// MaxBatchBytes implements coordinator.Log.
func (l *Log) MaxBatchBytes() int { return cmp.Or(l.Max, 1048588) }

// Read implements coordinator.Log.
func (l *Log) Read(offset int64, buf []byte) ([]byte, error) {
	buf = buf[:0]
	for _, b := range l.Batches {
		if b.NextOffset() <= offset {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > cap(buf) {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

// Append implements coordinator.Log.
func (l *Log) Append(batch []byte, done func(error)) (baseOffset int64, err error) {
	switch {
	case l.over != nil:
		return -1, l.over
	case l.Refuse != nil:
		return -1, l.Refuse
	}
	b := record.Batch(bytes.Clone(batch))
	if err := b.CheckCRC(); err != nil {
		return -1, err
	}
	b.SetBaseOffset(l.End + l.Skew)
	l.Batches = append(l.Batches, b)
	l.End = b.NextOffset()
	if l.Direct {
		l.High = l.End
		done(nil)
	} else {
		l.waiting = append(l.waiting, waiting{l.End, done})
	}
	return b.BaseOffset(), nil
}

// Await implements coordinator.Log.
func (l *Log) Await(offset int64, done func(error)) {
	switch {
	case l.over != nil:
		done(l.over)
	case l.High >= offset:
		done(nil)
	default:
		l.waiting = append(l.waiting, waiting{offset, done})
	}
}

// Waiting is the number of batches that are not committed yet.
func (l *Log) Waiting() int { return len(l.waiting) }

// Commit moves the high watermark over the next n batches that wait.
func (l *Log) Commit(n int) {
	for ; n > 0 && len(l.waiting) > 0; n-- {
		w := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.High = max(l.High, w.end)
		w.done(nil)
	}
}

// Lose ends the leadership. What was not committed is cut away, but for the first keep batches of it: they were, only
// the answer got lost.
func (l *Log) Lose(keep int) {
	l.over = kafka.NotLeaderOrFollower
	told := l.waiting
	l.waiting = nil
	for _, w := range told {
		if keep > 0 {
			l.High, keep = max(l.High, w.end), keep-1
		}
		w.done(kafka.NotLeaderOrFollower)
	}
	for len(l.Batches) > 0 && l.Batches[len(l.Batches)-1].NextOffset() > l.High {
		l.Batches = l.Batches[:len(l.Batches)-1]
	}
	l.End = l.High
}

// Next is the log as the next leader finds it.
func (l *Log) Next() *Log {
	return &Log{Batches: l.Batches, End: l.End, High: l.High, Direct: l.Direct, Max: l.Max}
}

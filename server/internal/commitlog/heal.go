package commitlog

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// again reports whether to look once more after an attempt, counted from 0, that ended with an error: the segment was
// taken out while it was looked at, and its files are gone; or an index was healed.
func (l *Log) again(attempt int, err error) bool {
	return attempt < 3 && (errors.Is(err, fs.ErrNotExist) || l.heal(err))
}

// heal rebuilds the indexes of the segment that an error says are corrupt, and reports whether to try again. Kafka's
// indexes have no checksum: each entry that is used is compared with the batch that it leads to.
func (l *Log) heal(err error) bool {
	if !errors.Is(err, segment.ErrIndexCorrupt) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	h, err2 := l.writable()
	return err2 == nil && l.healLocked(h, err)
}

// healLocked is heal for those who hold mu.
func (l *Log) healLocked(h *hot, err error) bool {
	var corrupt *segment.CorruptIndexError
	if !errors.As(err, &corrupt) {
		return false
	}
	for i, seg := range h.segs {
		if seg.Base != corrupt.Base {
			continue
		}
		c := l.Config()
		sealed := i < len(h.segs)-1
		l.logger.Warn("an index contradicts its segment and is rebuilt", "partition", l.tp, "segment", seg.Base, "err", err)
		err := seg.Reindex(c.IndexIntervalBytes, checkBatch(seg))
		if err == nil && sealed {
			err = seg.Seal()
		}
		h.noteUnindexed(seg)
		if err != nil {
			l.logger.Error("an index cannot be rebuilt", "partition", l.tp, "segment", seg.Base, "err", err)
		}
		return err == nil
	}
	return false
}

// checkBatch judges the batches of one segment by themselves: CRCs, and offsets that do not go back.
func checkBatch(seg *segment.Segment) func(b *segment.Batch, bytes func() ([]byte, error)) error {
	next := seg.Base
	return func(b *segment.Batch, bytes func() ([]byte, error)) error {
		if b.BaseOffset < next {
			return &record.CorruptError{Offset: b.BaseOffset, Reason: fmt.Sprintf("base offset %d where %d must follow", b.BaseOffset, next)}
		}
		next = b.LastOffset() + 1
		raw, err := bytes()
		if err != nil {
			return err
		}
		return segment.CheckCRC(raw)
	}
}

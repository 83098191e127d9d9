package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"sort"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// Limiter bounds how fast a scrub reads.
type Limiter interface {
	// Wait returns when so many more bytes may be read, or with the context's error.
	Wait(ctx context.Context, bytes int) error
}

// maxFindings is after how many damaged places a scrub stops to look at a log.
const maxFindings = 16

// chain checks that each batch continues the one before it. The first 17 bytes of a batch (base offset, length, leader
// epoch, magic) lie outside of its CRC; the chain is what covers them: lengths land on the next batch, offsets go on
// and epochs are those of the epoch file.
type chain struct {
	next   int64 // the offset that must follow
	gaps   bool  // it may go on at a greater one: a compacted log
	epoch  int32 // of the batch before
	epochs []EpochEntry
	below  int64 // the entries of epochs are right below this offset
}

// problems calls tell for everything that is wrong with a batch, and steps over it. Without its bytes the CRC is not
// looked at.
func (c *chain) problems(b *segment.Batch, bytes []byte, tell func(string)) {
	if bytes != nil {
		if err := segment.CheckCRC(bytes); err != nil {
			tell(err.Error())
		}
	}
	switch {
	case b.BaseOffset < c.next:
		tell(fmt.Sprintf("base offset %d where %d must follow", b.BaseOffset, c.next))
	case b.BaseOffset > c.next && !c.gaps && b.Magic == 2:
		tell(fmt.Sprintf("base offset %d where %d must follow: %d offsets are missing", b.BaseOffset, c.next, b.BaseOffset-c.next))
	}
	if b.Magic == 2 { // the old formats have no epochs
		if problem := c.wrongEpoch(b); problem != "" {
			tell(problem)
		}
	}
	if b.Magic == 2 && !c.gaps && b.Count > 0 && b.LastOffsetDelta+1 != b.Count {
		tell(fmt.Sprintf("%d records for %d offsets", b.Count, b.LastOffsetDelta+1))
	}
	c.next, c.epoch = b.LastOffset()+1, max(c.epoch, b.LeaderEpoch)
}

// wrongEpoch says what is wrong with the epoch of a batch, if anything is.
func (c *chain) wrongEpoch(b *segment.Batch) string {
	if known := (&epochs{entries: c.epochs}).at(b.BaseOffset); known != b.LeaderEpoch && known >= 0 {
		if b.BaseOffset < c.below {
			return fmt.Sprintf("leader epoch %d where the epoch file has %d", b.LeaderEpoch, known)
		}
		c.epoch = max(c.epoch, known)
	}
	if b.LeaderEpoch < c.epoch {
		return fmt.Sprintf("leader epoch %d behind epoch %d", b.LeaderEpoch, c.epoch)
	}
	return ""
}

// Scrub reads everything that is flushed and checks it: CRCs, offsets, lengths, epochs. It changes nothing, but reads of
// what is damaged are refused from then on. Damage comes back as one or several *Damage (errors.As), the context's end
// as its error. The log can be used meanwhile, and a log that was cold is cold again afterwards.
func (l *Log) Scrub(ctx context.Context, limiter Limiter) error {
	wasCold := !l.Hot()
	h, err := l.wake()
	if err != nil {
		return err
	}
	if wasCold {
		defer l.Cool()
	}
	c := l.Config()
	l.view.Lock()
	segs, generation, known, start := h.segs, l.generation, h.epochs.entries, l.start.Load()
	l.view.Unlock()
	flushed := l.flushed.Load()
	ch := chain{next: segs[0].Base, gaps: c.Compact, epoch: record.NoLeaderEpoch, epochs: known, below: math.MaxInt64}
	var found []error
	if hole := l.hole(start, segs[0]); hole != nil {
		found = append(found, hole)
	}
	for i, seg := range segs {
		if seg.Base >= flushed {
			break
		}
		if i > 0 && ch.next != seg.Base {
			if !ch.gaps || ch.next > seg.Base {
				found = append(found, &Damage{Partition: l.tp, From: min(ch.next, seg.Base), To: max(ch.next, seg.Base), File: seg.Log.Path(), Cause: fmt.Errorf("the segment before it ends at offset %d", ch.next)})
			}
			ch.next = seg.Base
		}
		more, err := l.scrubSegment(ctx, limiter, seg, &ch, flushed)
		if errors.Is(err, fs.ErrNotExist) {
			next := flushed
			if i+1 < len(segs) {
				next = segs[i+1].Base
			}
			if l.holds(seg) { // or retention took it
				found = append(found, &Damage{Partition: l.tp, From: ch.next, To: next, File: seg.Log.Path(), Cause: err})
			}
			ch.next = next
			continue
		}
		if err != nil {
			return err
		}
		if found = append(found, more...); len(found) >= maxFindings {
			break
		}
	}
	l.view.Lock()
	same := l.generation == generation && !l.closed
	l.view.Unlock()
	if !same {
		return nil // what was read was being cut; the next round sees what is left
	}
	l.refuse(found, segs)
	return errors.Join(found...)
}

// holds reports whether a segment is one of the log's now.
func (l *Log) holds(seg *segment.Segment) bool {
	l.view.Lock()
	defer l.view.Unlock()
	return l.hot != nil && slices.Contains(l.hot.segs, seg)
}

// refuse has reads of damaged offsets end in an error from now on, and only those: what the last scrub found is forgotten.
func (l *Log) refuse(found []error, segs []*segment.Segment) {
	if len(found) == 0 {
		l.damages.Store(nil)
		return
	}
	var all []Damage
	for _, err := range found {
		var d *Damage
		if !errors.As(err, &d) {
			continue
		}
		known := *d
		if known.To < 0 { // up to the next place where a batch is known to begin
			known.To = math.MaxInt64
			for _, seg := range segs {
				if seg.Base > known.From {
					known.To = seg.Base
					break
				}
			}
		}
		known.To = max(known.To, known.From+1)
		all = append(all, known)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].From < all[j].From })
	l.damages.Store(&all)
}

// unsound is the error of a read that a known damage refuses: looking once more does not help.
type unsound struct{ error }

func (u unsound) Unwrap() error { return u.error }

// sound returns up to which offset, at most the limit, reads from an offset on meet no known damage. An offset that is
// damaged itself is an error of class CORRUPT_MESSAGE.
func (l *Log) sound(offset, limit int64) (int64, error) {
	known := l.damages.Load()
	if known == nil || offset < l.start.Load() { // what was let go is out of range, as it is anywhere: a reader goes on from there
		return limit, nil
	}
	for i := range *known {
		switch d := &(*known)[i]; {
		case offset >= d.To:
		case offset >= d.From:
			return 0, unsound{kafka.CorruptMessage.Errorf("offset %d of %s is damaged (%s, position %d: %v) and is not served; the log of the broker says what to do", offset, l.tp, d.File, d.Position, d.Cause)}
		default:
			return min(limit, d.From), nil
		}
	}
	return limit, nil
}

func (l *Log) scrubSegment(ctx context.Context, limiter Limiter, seg *segment.Segment, ch *chain, flushed int64) (found []error, err error) {
	f, err := seg.Log.Acquire()
	if err != nil {
		return nil, err
	}
	defer seg.Log.Release()
	if _, err := l.fs().Stat(seg.Log.Path()); err != nil { // it was unlinked while it is open
		return nil, err
	}
	damage := func(from, to, position int64, cause string) {
		found = append(found, &Damage{Partition: l.tp, From: from, To: to, File: seg.Log.Path(), Position: position, Cause: errors.New(cause)})
	}
	sc := segment.NewScanner(f, 0, seg.Size(), segment.BatchWindow)
	defer sc.Close()
	// resume is where the log goes on if it was the base offset of the last batch that changed, and not the batches
	// before it that went; the next batch tells.
	resume := int64(-1)
	for (ch.next < flushed || 0 <= resume && resume < flushed) && len(found) < maxFindings {
		b, err := sc.Next()
		if err == io.EOF {
			break
		}
		var bytes []byte
		if err == nil {
			if err := limiter.Wait(ctx, b.Length); err != nil {
				return found, err
			}
			bytes, err = sc.Bytes()
		}
		if err != nil && segment.IsBad(err) {
			damage(ch.next, -1, sc.Position(), err.Error()) // where the next batch begins cannot be known
			break
		}
		if err != nil {
			return found, ioError(fmt.Errorf("%s: scrub %s: %w", l.tp, seg.Log.Path(), err))
		}
		if b.BaseOffset == resume {
			ch.next = resume
		}
		resume = -1
		from, to := b.BaseOffset, b.LastOffset()+1
		if from != ch.next && !ch.gaps && b.Magic == 2 {
			from, to = ch.next, ch.next+int64(max(b.LastOffsetDelta, 0))+1
			resume = to
		}
		ch.problems(&b, bytes, func(problem string) { damage(from, to, b.Position, problem) })
	}
	if resume >= 0 {
		ch.next = resume
	}
	return found, nil
}

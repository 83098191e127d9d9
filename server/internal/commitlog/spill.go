package commitlog

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"github.com/millrace-io/millrace/server/internal/commitlog/segment"
)

// spillFile holds producers that do not fit in memory. It is a hash table with linear probing, of slots of 160
// bytes; it is never synced and is made anew at every start, from the snapshot and the log.
//
//	0       1   2       4             8             16          24           32                               152    160
//	+-------+---+-------+-------------+-------------+-----------+------------+--------------------------------+-------+
//	| state | n | epoch | coordinator | producer id | timestamp | txn first  | 5 batches of 24: last sequence,|       |
//	|       |   |       | epoch       |             |           |            | delta, last offset, timestamp  |       |
//	+-------+---+-------+-------------+-------------+-----------+------------+--------------------------------+-------+
//
// state: 0 never used, 1 used, 2 was used: a search goes on behind it.
const (
	spillFile      = "producers.spill"
	spillSlotBytes = 160
	spillMinSlots  = 1024

	slotEmpty = 0
	slotUsed  = 1
	slotGone  = 2
)

// spill is the table. Invariant: used + gone <= slots/2, so that every search ends.
type spill struct {
	handles *segment.Handles
	path    string
	h       *segment.Handle
	slots   int
	used    int
	gone    int
}

func newSpill(handles *segment.Handles, path string) *spill {
	return &spill{handles: handles, path: path}
}

func spillHash(id int64, slots int) int {
	hi, _ := bits.Mul64(uint64(id)*0x9e3779b97f4a7c15, uint64(slots))
	return int(hi)
}

func putSlot(b []byte, p *producer) {
	be := binary.BigEndian
	b[0], b[1] = slotUsed, byte(p.n)
	be.PutUint16(b[2:], uint16(p.epoch))
	be.PutUint32(b[4:], uint32(p.coordinatorEpoch))
	be.PutUint64(b[8:], uint64(p.id))
	be.PutUint64(b[16:], uint64(p.timestamp))
	be.PutUint64(b[24:], uint64(p.txnFirst))
	for i, m := range p.batches {
		at := b[32+24*i:]
		be.PutUint32(at, uint32(m.lastSequence))
		be.PutUint32(at[4:], uint32(m.offsetDelta))
		be.PutUint64(at[8:], uint64(m.lastOffset))
		be.PutUint64(at[16:], uint64(m.timestamp))
	}
}

func getSlot(b []byte) *producer {
	be := binary.BigEndian
	p := &producer{
		n: int8(b[1]), epoch: int16(be.Uint16(b[2:])), coordinatorEpoch: int32(be.Uint32(b[4:])), id: int64(be.Uint64(b[8:])),
		timestamp: int64(be.Uint64(b[16:])), txnFirst: int64(be.Uint64(b[24:])),
	}
	for i := range p.batches {
		at := b[32+24*i:]
		p.batches[i] = batchMark{int32(be.Uint32(at)), int32(be.Uint32(at[4:])), int64(be.Uint64(at[8:])), int64(be.Uint64(at[16:]))}
	}
	return p
}

// find probes for an id. It returns its slot, or -1, and the first slot that is free for it. The last slot probed is
// left in b.
func (s *spill) find(f io.ReaderAt, id int64, b []byte) (at, free int, err error) {
	free = -1
	for i := spillHash(id, s.slots); ; i = (i + 1) % s.slots {
		if _, err := f.ReadAt(b, int64(i)*spillSlotBytes); err != nil {
			return -1, -1, fmt.Errorf("read %s: %w", s.path, err)
		}
		switch b[0] {
		case slotEmpty:
			if free < 0 {
				free = i
			}
			return -1, free, nil
		case slotGone:
			if free < 0 {
				free = i
			}
		case slotUsed:
			if int64(binary.BigEndian.Uint64(b[8:])) == id {
				return i, free, nil
			}
		}
	}
}

// take returns a producer and forgets it; nil when it is not there.
func (s *spill) take(id int64) (*producer, error) {
	f, err := s.h.AcquireOrCreate()
	if err != nil {
		return nil, err
	}
	defer s.h.Release()
	b := make([]byte, spillSlotBytes)
	at, _, err := s.find(f, id, b)
	if err != nil || at < 0 {
		return nil, err
	}
	p := getSlot(b)
	if _, err := f.WriteAt([]byte{slotGone}, int64(at)*spillSlotBytes); err != nil {
		return nil, fmt.Errorf("write %s: %w", s.path, err)
	}
	s.used--
	s.gone++
	return p, nil
}

// put stores a producer that is not there.
func (s *spill) put(p *producer) error {
	if s.h == nil || (s.used+s.gone+1)*2 > s.slots {
		if err := s.rehash(max(spillMinSlots, (s.used+1)*4)); err != nil {
			return err
		}
	}
	f, err := s.h.AcquireOrCreate()
	if err != nil {
		return err
	}
	defer s.h.Release()
	b := make([]byte, spillSlotBytes)
	at, free, err := s.find(f, p.id, b)
	if err != nil {
		return err
	}
	if at >= 0 {
		panic(fmt.Sprintf("commitlog: producer %d is in memory and in its file", p.id))
	}
	putSlot(b, p)
	if _, err := f.ReadAt(b[:1], int64(free)*spillSlotBytes); err != nil {
		return err
	}
	if b[0] == slotGone {
		s.gone--
	}
	b[0] = slotUsed
	if _, err := f.WriteAt(b, int64(free)*spillSlotBytes); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	s.used++
	return nil
}

// rehash moves everything to a table of another size, which takes the old one's place.
func (s *spill) rehash(slots int) error {
	old := *s
	s.slots, s.used, s.gone = slots, 0, 0
	s.h = s.handles.NewHandle(s.path + ".new")
	f, err := s.h.AcquireOrCreate()
	if err == nil {
		if err = f.Truncate(0); err == nil {
			err = f.Truncate(int64(slots) * spillSlotBytes)
		}
		s.h.Release()
	}
	if err == nil && old.h != nil {
		err = old.each(s.put)
	}
	if err != nil {
		s.h.Remove()
		*s = old
		return err
	}
	if old.h != nil {
		old.h.Close()
	}
	return s.h.Rename(s.path)
}

// each calls fn for every producer in the order of the slots.
func (s *spill) each(fn func(*producer) error) error {
	return s.scan(func(_ int64, p *producer, _ io.WriterAt) error { return fn(p) })
}

// filter forgets the producers that keep says no to.
func (s *spill) filter(keep func(*producer) bool) error {
	return s.scan(func(at int64, p *producer, w io.WriterAt) error {
		if keep(p) {
			return nil
		}
		if _, err := w.WriteAt([]byte{slotGone}, at); err != nil {
			return err
		}
		s.used--
		s.gone++
		return nil
	})
}

func (s *spill) scan(fn func(at int64, p *producer, w io.WriterAt) error) error {
	if s.h == nil || s.used == 0 {
		return nil
	}
	f, err := s.h.AcquireOrCreate()
	if err != nil {
		return err
	}
	defer s.h.Release()
	const perRead = 256
	b := make([]byte, perRead*spillSlotBytes)
	for i := 0; i < s.slots; i += perRead {
		n := min(perRead, s.slots-i)
		if _, err := f.ReadAt(b[:n*spillSlotBytes], int64(i)*spillSlotBytes); err != nil {
			return fmt.Errorf("read %s: %w", s.path, err)
		}
		for j := range n {
			if slot := b[j*spillSlotBytes:]; slot[0] == slotUsed {
				if err := fn(int64(i+j)*spillSlotBytes, getSlot(slot), f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// close removes the file.
func (s *spill) close() {
	if s.h != nil {
		s.h.Remove()
	}
}

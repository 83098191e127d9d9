package history

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"
)

// Size is how many events are kept of a group, sameInARow how many of one kind before they are counted together.
const (
	Size       = 32
	sameInARow = 4
)

// Ring is the last events of a group. The zero Ring is empty.
//
// A coordinator may have many thousands of groups, and few of them are ever asked for: so the events are kept packed, the
// oldest first, in a third of the room that they take as Events.
//
//	+--------+------+-------+-----+----+-------+---------+----+------+-------+--------+
//	| length | kind | cause | who | by | epoch | members | at | took | whole | waited |
//	| 1      | 1    | 1     | 1   | 1  | varint| varint  | 8  | varint, nanoseconds   |
//	+--------+------+-------+-----+----+-------+---------+----+------+-------+--------+
//	         |<----------------------------- length ---------------------------------->|
//
// who and by are places in names, counted from 1; 0 is none. A member's name is its four texts, each behind its length. by
// is the reason in the events that may have one, which have no By.
type Ring struct {
	packed []byte
	names  []string // empty: the place is free
	count  uint8
	// What is last: where it begins, and how many of its kind are in a row, up to sameInARow.
	last   uint16
	inARow uint8
}

// Where the fields of a packed event are that have a fixed place.
const (
	atKind = 1 + iota
	atCause
	atWho
	atBy
	atRest
)

// packedMax is the size of the largest event.
const packedMax = atRest + 2*binary.MaxVarintLen32 + 8 + 3*binary.MaxVarintLen64

// Add takes an event in. When many members do the same in a row, only the first few are kept by name.
func (r *Ring) Add(e Event) {
	if r.count > 0 && e.Kind == Kind(r.packed[r.last:][atKind]) {
		if e.Kind.IsOfMember() && r.inARow >= sameInARow {
			last := r.unpack(r.packed[r.last:])
			last.Members++
			last.Waited = e.At.Sub(last.At)
			r.packed = r.pack(r.packed[:r.last], &last)
			return
		}
		r.inARow = min(r.inARow+1, sameInARow)
	} else {
		r.inARow = 1
	}
	if r.count == Size {
		r.forget()
	}
	r.count++
	r.last = uint16(len(r.packed))
	r.packed = r.pack(r.packed, &e)
}

// forget drops the oldest event, and the names that only it knew.
func (r *Ring) forget() {
	oldest := 1 + int(r.packed[0])
	who, by := r.packed[atWho], r.packed[atBy]
	r.packed = slices.Delete(r.packed, 0, oldest)
	r.count--
	for _, place := range [...]byte{who, by} {
		if place > 0 && !r.named(place) {
			r.names[place-1] = ""
		}
	}
}

func (r *Ring) named(place byte) bool {
	for rest := r.packed; len(rest) > 0; rest = rest[1+int(rest[0]):] {
		if rest[atWho] == place || rest[atBy] == place {
			return true
		}
	}
	return false
}

// Events returns the events, the oldest first.
func (r *Ring) Events() []Event {
	list := make([]Event, 0, r.count)
	for rest := r.packed; len(rest) > 0; rest = rest[1+int(rest[0]):] {
		list = append(list, r.unpack(rest))
	}
	return list
}

// pack appends an event.
func (r *Ring) pack(dst []byte, e *Event) []byte {
	var buf [packedMax]byte
	b := append(buf[:0], 0, byte(e.Kind), byte(e.Cause), r.placeOf(nameOf(e.Member)), r.placeOf([]byte(cmp.Or(e.By, e.Reason))))
	b = binary.AppendUvarint(b, uint64(uint32(e.Epoch)))
	b = binary.AppendUvarint(b, uint64(uint32(e.Members)))
	b = binary.BigEndian.AppendUint64(b, uint64(e.At.UnixNano()))
	for _, d := range [...]time.Duration{e.Took, e.Whole, e.Waited} {
		b = binary.AppendUvarint(b, uint64(d))
	}
	b[0] = byte(len(b) - 1)
	return append(dst, b...)
}

// unpack returns the event that b begins with.
func (r *Ring) unpack(b []byte) Event {
	e := Event{Kind: Kind(b[atKind]), Cause: Kind(b[atCause])}
	if place := b[atWho]; place > 0 {
		e.Member = memberOf(r.names[place-1])
	}
	if place := b[atBy]; place > 0 {
		text := &e.By
		if e.Kind.hasReason() {
			text = &e.Reason
		}
		*text = r.names[place-1]
	}
	b = b[atRest:]
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	e.Epoch, e.Members = int32(number()), int32(number())
	e.At = time.Unix(0, int64(binary.BigEndian.Uint64(b)))
	b = b[8:]
	e.Took, e.Whole, e.Waited = time.Duration(number()), time.Duration(number()), time.Duration(number())
	return e
}

// placeOf returns the place of a name, which it gets if it has none; 0 for no name.
func (r *Ring) placeOf(name []byte) byte {
	if len(name) == 0 {
		return 0
	}
	free := len(r.names)
	for i, known := range r.names {
		if known == string(name) {
			return byte(i + 1)
		}
		if known == "" {
			free = i
		}
	}
	if free == len(r.names) {
		r.names = append(r.names, "")
	}
	r.names[free] = string(name)
	return byte(free + 1)
}

// nameOf packs who a member is.
func nameOf(m *Member) []byte {
	if m == nil {
		return nil
	}
	b := make([]byte, 0, 256)
	for _, text := range [...]string{m.ID, m.Instance, m.ClientID, m.Host} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

// memberOf is the inverse of nameOf.
func memberOf(name string) *Member {
	text := func() string {
		var size, shift uint
		for more := true; more; name = name[1:] {
			size |= uint(name[0]&0x7f) << shift
			shift, more = shift+7, name[0] >= 0x80
		}
		t := name[:size]
		name = name[size:]
		return t
	}
	return &Member{ID: text(), Instance: text(), ClientID: text(), Host: text()}
}

package record

import (
	"encoding/binary"
	"fmt"
)

// A control record steers and is not shown to consumers (KIP-98, KIP-595, KIP-630, KIP-853). Its batch has the
// control bit; there is one of them in it, but for the first batch of a snapshot, which may have several.
//
//	key    +---------+------+       value of a marker   +---------+-------------------+
//	       | version | type |                           | version | coordinator epoch |
//	       | 2       | 2    |                           | 2 (0)   | 4                 |
//	       +---------+------+                           +---------+-------------------+
//
// The values of the other types are messages of the protocol, each after an int16 version: the wire room's.

// ControlType is what a control record is about.
type ControlType int16

// The control records. Unknown stands for types of a later version, which are to be passed over.
const (
	ControlUnknown        ControlType = -1
	ControlAbort          ControlType = 0
	ControlCommit         ControlType = 1
	ControlLeaderChange   ControlType = 2
	ControlSnapshotHeader ControlType = 3
	ControlSnapshotFooter ControlType = 4
	ControlKRaftVersion   ControlType = 5
	ControlVoters         ControlType = 6
)

var controlNames = [...]string{"ABORT", "COMMIT", "LEADER_CHANGE", "SNAPSHOT_HEADER", "SNAPSHOT_FOOTER", "KRAFT_VERSION", "KRAFT_VOTERS"}

// String is the name Kafka gives the type.
func (t ControlType) String() string {
	if t < 0 || int(t) >= len(controlNames) {
		return "UNKNOWN"
	}
	return controlNames[t]
}

// ControlKey is the key of a control record of version 0.
func ControlKey(t ControlType) []byte {
	return binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(t))
}

// ParseControlKey reads the key of a control record. A type that we do not know is ControlUnknown and no error.
func ParseControlKey(key []byte) (ControlType, error) {
	if len(key) < 4 {
		return ControlUnknown, malformed("a control record's key has %d bytes of 4", len(key))
	}
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return ControlUnknown, malformed("a control record's key is of version %d", version)
	}
	if t := ControlType(binary.BigEndian.Uint16(key[2:])); t >= 0 && int(t) < len(controlNames) {
		return t, nil
	}
	return ControlUnknown, nil
}

// ControlRecord returns a record of the type with that value, to be put into a batch whose options say Control.
func ControlRecord(t ControlType, value []byte, timestamp int64) Record {
	return Record{Timestamp: timestamp, Key: ControlKey(t), Value: value}
}

// AppendControl appends a batch of one control record to dst: a leader change, a snapshot's header or footer.
// It has no producer; base offset and leader epoch are the caller's.
func AppendControl(dst []byte, baseOffset int64, leaderEpoch int32, t ControlType, value []byte, timestamp int64) []byte {
	o := NewBuilderOptions()
	o.BaseOffset, o.LeaderEpoch, o.Control = baseOffset, leaderEpoch, true
	b := NewBuilder(o)
	b.Append(ControlRecord(t, value, timestamp))
	return b.Build(dst)
}

// Marker is the end of a transaction in one partition.
type Marker struct {
	ProducerID       int64
	ProducerEpoch    int16
	Commit           bool // else abort
	CoordinatorEpoch int32
	Timestamp        int64 // milliseconds
}

// AppendMarker appends the batch of a marker to dst.
func AppendMarker(dst []byte, baseOffset int64, leaderEpoch int32, m Marker) []byte {
	o := NewBuilderOptions()
	o.BaseOffset, o.LeaderEpoch, o.Control, o.Transactional = baseOffset, leaderEpoch, true, true
	o.ProducerID, o.ProducerEpoch = m.ProducerID, m.ProducerEpoch
	t := ControlAbort
	if m.Commit {
		t = ControlCommit
	}
	b := NewBuilder(o)
	b.Append(ControlRecord(t, binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(m.CoordinatorEpoch)), m.Timestamp))
	return b.Build(dst)
}

// ControlValue returns the type and value of the first record of a control batch. The value aliases the batch when that
// is not compressed, and else d.
func (b Batch) ControlValue(d *Decompressor) (ControlType, []byte, error) {
	if !b.Control() {
		return ControlUnknown, nil, malformed("batch at offset %d is no control batch", b.BaseOffset())
	}
	for r, err := range b.Records(d) {
		if err != nil {
			return ControlUnknown, nil, err
		}
		t, err := ParseControlKey(r.Key)
		if err != nil {
			return t, nil, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		return t, r.Value, nil
	}
	return ControlUnknown, nil, malformed("control batch at offset %d is empty", b.BaseOffset())
}

// Marker returns the marker that a control batch holds; ok is false for control batches of other types.
func (b Batch) Marker(d *Decompressor) (m Marker, ok bool, err error) {
	t, value, err := b.ControlValue(d)
	if err != nil || t != ControlAbort && t != ControlCommit {
		return Marker{}, false, err
	}
	if len(value) < 6 {
		return Marker{}, false, malformed("the marker at offset %d has %d bytes of 6", b.BaseOffset(), len(value))
	}
	if version := int16(binary.BigEndian.Uint16(value)); version < 0 {
		return Marker{}, false, malformed("the marker at offset %d is of version %d", b.BaseOffset(), version)
	}
	return Marker{
		ProducerID: b.ProducerID(), ProducerEpoch: b.ProducerEpoch(), Commit: t == ControlCommit,
		CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[2:])), Timestamp: b.MaxTimestamp(),
	}, true, nil
}

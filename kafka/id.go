package kafka

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// UUID is a 16-byte identifier as Kafka writes it: big-endian on the wire, URL-safe base64 without
// padding (22 characters) in text.
type UUID [16]byte

// TopicID names one incarnation of a topic (KIP-516). A topic deleted and created again under the same
// name has a new one.
type TopicID = UUID

// DirectoryID names one log directory of one broker (KIP-858), or one incarnation of a voter's metadata
// directory (KIP-853).
type DirectoryID = UUID

// Directory ids that mean something else than a directory (KIP-858). The first hundred values are reserved.
var (
	// MigratingDirectory marks a replica whose directory was never recorded.
	MigratingDirectory = DirectoryID{}
	// UnassignedDirectory marks a replica that no directory has been chosen for yet.
	UnassignedDirectory = DirectoryID{15: 1}
	// LostDirectory marks a replica whose directory is offline.
	LostDirectory = DirectoryID{15: 2}
)

// MetadataTopicID is the fixed id of the topic __cluster_metadata.
var MetadataTopicID = TopicID{15: 1}

// NewUUID draws a random (version 4) id. As in Kafka it is never one of the reserved values, and its
// text never begins with a dash, so that it cannot be taken for a flag on a command line.
func NewUUID() UUID {
	for {
		var id UUID
		rand.Read(id[:]) // never fails: crypto/rand aborts the process rather than return an error
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// ParseUUID reads the text form of an id.
func ParseUUID(s string) (UUID, error) {
	var id UUID
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%q is not an id: want 22 characters of URL-safe base64", s)
	}
	copy(id[:], raw)
	return id, nil
}

// IsZero reports whether the id is all zeros, which stands for "none".
func (id UUID) IsZero() bool { return id == UUID{} }

// Compare orders ids by their bytes: -1, 0 or 1.
func (id UUID) Compare(other UUID) int { return bytes.Compare(id[:], other[:]) }

// String returns the text form: 22 characters of URL-safe base64.
func (id UUID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler with the text form.
func (id UUID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler, the inverse of MarshalText.
func (id *UUID) UnmarshalText(text []byte) error {
	parsed, err := ParseUUID(string(text))
	if err == nil {
		*id = parsed
	}
	return err
}

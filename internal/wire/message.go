package wire

import "fmt"

// Message is one request, response or stored record. The generated types implement it by pointer.
//
// The zero value of a generated struct is not always what a field left out means: SetDefaults, and the New
// functions that structs with such fields have, put the defaults of the schema into it. What may be null is null
// (nil) by default, also where the schema's default is empty (only tagged fields keep that difference); in a version
// that has no null there, nil is written as empty.
type Message interface {
	// Decode sets every field, from the reader or, where the version does not have it, to its default. Whether it
	// went well is r.Err. It makes at most K bytes of memory for each byte it reads (cost.go).
	Decode(r *Reader, version int16)
	// AppendTo appends the fields that the version has. What it does not have is left out in silence, whatever
	// the value. The version must be one that Info says.
	AppendTo(dst []byte, version int16) []byte
	// SetDefaults sets every field to its default.
	SetDefaults()
	// Info describes the type of the message.
	Info() MessageInfo
}

// NeverFlexible is the FlexibleFrom of what has no flexible version.
const NeverFlexible int16 = 32767

// MessageInfo describes a type of message.
type MessageInfo struct {
	Name         string // ProduceRequest, TopicRecord
	Type         int16  // the API key, or the record type in its family; -1 for a message that has neither
	MinVersion   int16  // the first version
	MaxVersion   int16  // the last stable version
	Latest       int16  // the last version that Decode and AppendTo know: MaxVersion, or an unstable one
	FlexibleFrom int16  // the first flexible version or NeverFlexible
}

// Flexible reports whether a version has compact lengths and tagged fields.
func (i MessageInfo) Flexible(version int16) bool { return version >= i.FlexibleFrom }

// Decode reads a whole message: bytes behind its end are an error, as is a version that the message has not.
// Unstable versions are read, too.
func Decode(m Message, version int16, b []byte) error {
	return NewReader(b).message(m, version)
}

// DecodeRequest reads a request as Kafka's brokers do: they do not look at what is behind its last field, and clients get
// by with that. librdkafka's Metadata request for all topics has four bytes of zeros for their number in every version;
// from version 9 on one of them says null, and three bytes are left over at the end.
func DecodeRequest(m Message, version int16, b []byte) error {
	return NewReader(b).read(m, version, (*Reader).Err)
}

// message is Decode for what a reader has.
func (r *Reader) message(m Message, version int16) error { return r.read(m, version, (*Reader).Finish) }

// read reads a message; end says whether it went well.
func (r *Reader) read(m Message, version int16, end func(*Reader) error) error {
	info := m.Info()
	if version < info.MinVersion || version > info.Latest {
		return fmt.Errorf("%w: %s has versions %d to %d, not %d", ErrMalformed, info.Name, info.MinVersion, info.Latest, version)
	}
	m.Decode(r, version)
	if err := end(r); err != nil {
		return fmt.Errorf("%s version %d: %w", info.Name, version, err)
	}
	return nil
}

// APIKey is the number by which a request names its API.
type APIKey int16

// APIInfo is what the version table says of an API.
type APIInfo struct {
	Key           APIKey
	Name          string
	MinVersion    int16 // the first version that is answered
	MaxVersion    int16 // the last stable version
	UnstableMax   int16 // the last version where that is not stable, otherwise MaxVersion
	FlexibleFrom  int16 // the first flexible version or NeverFlexible
	Broker        bool  // answered on a broker's listeners
	Controller    bool  // answered on a controller's listeners
	Forwarded     bool  // a broker hands it to the active controller
	ClusterAction bool  // the caller must be a node of the cluster
}

// Flexible reports whether a version has compact lengths and tagged fields.
func (i APIInfo) Flexible(version int16) bool { return version >= i.FlexibleFrom }

// Lookup returns what the version table says of a key; false when no such API exists.
func Lookup(key APIKey) (APIInfo, bool) {
	if i := indexOf(key); i >= 0 {
		return apis[i], true
	}
	return APIInfo{}, false
}

// APIs returns the whole version table, by key. The caller may change what it gets.
func APIs() []APIInfo { return append([]APIInfo(nil), apis[:]...) }

// String returns Kafka's name of the API.
func (k APIKey) String() string {
	if i := indexOf(k); i >= 0 {
		return apis[i].Name
	}
	return fmt.Sprintf("API key %d", int16(k))
}

// Package wire owns the Kafka protocol as bytes: frames, headers, the version table, and a codec for every request,
// response and stored record; it opens no socket.
//
// The schemas lie in internal/wire/definitions, and go generate makes the types and codecs (*_gen.go) from them. The
// codecs of Produce and Fetch exist a second time, written by hand so that nothing is copied and nothing is garbage.
//
// One rule holds for every decoder: decoding n bytes makes at most a constant times n bytes of memory and takes at
// most a constant times n steps, whatever the bytes say (cost.go).
package wire

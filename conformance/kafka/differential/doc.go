// Package differential sends the same requests to Apache Kafka and to Millrace and compares what they answer,
// field by field, and what they leave in their log files, batch by batch.
//
// A run is a list of sequences, each made from a seed. A sequence makes topics of its own, walks through
// requests that depend on what came before, and takes its topics away again, so that each one stands alone: the
// seed of one that differs reproduces it. Requests are built for each side from the same plan; what the
// two sides must choose themselves (topic ids, producer ids, fetch sessions, clocks) the plan names by a symbol, which each
// side replaces by its own value, and the comparison puts the symbol back.
//
// Differences that are known and wanted stand in known.txt, each with its reason. An entry that nothing hits
// fails the run, so the list cannot outlive what it describes.
package differential

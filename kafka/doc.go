// Package kafka holds the nouns of the Kafka protocol: topics, partitions, ids, epochs and error codes.
//
// Every room of Millrace speaks these words, so the package imports nothing of ours and only the
// standard library; it decides nothing.
package kafka

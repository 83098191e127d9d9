// Package judge lets Apache Kafka judge our files: its own tools read what we wrote and find nothing wrong, ours print what
// they print, and logs move from Kafka to Millrace and back while producers go on writing.
package judge

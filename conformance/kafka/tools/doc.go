// Package tools runs Kafka's own command-line tools and ours, which have the same names, against the same
// cluster, and compares what they print and how they end.
//
// A scenario is a list of calls, which is run by Kafka's tools first and then by ours. Each side has topics of
// its own, whose names begin with {p}; in what is printed the two prefixes are made one. The scenarios run
// against Millrace and against Apache Kafka. Kafka's tools share one Java process, so that the start of Java is
// paid for once; ours are the binary under the tools' names.
package tools

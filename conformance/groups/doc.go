// Package groups lets other people's consumers share topics through Millrace's groups: the scenarios that the field
// teaches, members of several libraries in one group, and what is left when members and brokers die.
//
// Every member is a process of its own, so that it can die as members do. Members of Go's libraries are this test
// binary, started again; those of other languages are the drivers of conformance/clients:
//
//	DRIVER member BOOTSTRAP NAME=VALUE...     group, topic, protocol (classic or consumer), assignor, session and
//	                                          heartbeat (milliseconds), instance, workers
//
// A member reads its partitions from the beginning or from what was committed, commits what it processed, leaves when its
// input ends, and tells what happens to it, a line each, with the time in nanoseconds since 1970:
//
//	TIME assigned|revoked|lost PARTITION... [@GENERATION]
//	TIME read PARTITION OFFSET                  processed it
//	TIME committed PARTITION OFFSET             the coordinator acknowledged that offset
//	TIME refused MESSAGE                        it did not: another generation has begun
//
// A history joins the lines of all members of a group, in the order of their times, and says what is wrong with them.
// GROUP_SERVER=kafka runs all of it against Apache Kafka.
package groups

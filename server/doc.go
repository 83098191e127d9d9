// Package server is a node made from a configuration: it wires every other room and decides nothing.
//
// A node is made by [New] from a [Config], which [LoadConfig] reads from Kafka's own properties; [Server.Start]
// returns when it serves, [Server.Close] when nothing of it is left: no goroutine, no open file, no socket.
// Several nodes may live in one process.
package server

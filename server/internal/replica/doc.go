// Package replica holds the replicas on this node: who leads, what is acknowledged and when, how far readers may
// see, and how all of it reaches the disk.
package replica

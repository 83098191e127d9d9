// Package assign shares the partitions of topics out among the members of a group, on the server (KIP-848).
//
// An assignor is a pure function of the members, of what they read and own, and of the topics. The same input gives the
// same output, whatever the order of maps.
package assign

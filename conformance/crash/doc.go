// Package crash kills a node under load, again and again, and holds what it says afterwards against all that it ever
// acknowledged or showed.
//
// Every record says who wrote it and which of the writer's records it is, and its bytes follow from that. A ledger per
// partition knows, offset by offset, what was acknowledged there and what was read there. Writers speak the protocol
// themselves, so that no client library retries, numbers or drops anything behind the ledger's back: idempotent ones send
// again, under the same numbers, whatever a kill left without an answer, and go on; plain ones leave it, since
// it may or may not be there.
package crash

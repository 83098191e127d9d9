// Package listener owns sockets: it accepts connections, reads frames, keeps the order of each connection, and
// writes responses.
//
// A connection is one goroutine, which reads frames and runs the handler on them; it holds no buffer while it is
// idle. Requests of a connection start in the order in which they came, one after the other, but for Produce: while
// Produces wait for their acknowledgement further Produces may start (KIP-98 counts on five in flight). Responses leave
// in the order of the requests, as many in one write as are ready.
//
//	socket ─read─▶ [ frame | frame | fra… ]   one buffer, frames parsed in place
//	                  │ Handle, in order
//	                  ▼
//	queue            r1 ✓  r2 ✓  r3 …  r4 ✓   r1 and r2 are written together; r4 waits for r3
//
// Whoever completes the request at the head of the queue sees to the writing: the reader does it itself, when it has
// no whole frame left in its buffer; any other goroutine starts a writer, which ends when nothing is left to write.
// So a syncer or a timer that completes requests never waits for a slow client.
//
// Records leave in one of two ways. A large range of a segment is sent by the kernel from the page cache, to a client on a
// TCP socket (sendfile.go). A small one, and any to a client that is not on a socket of its own, is copied to memory that
// the budget lends, and written together with what else there is (write.go).
package listener

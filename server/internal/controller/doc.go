// Package controller decides about the cluster: (request, image, now) → (records, response).
//
// Every request that changes the cluster comes here. A decider (one file per subject: topics.go, brokers.go,
// configs.go …) is a pure function of the request and a view of the cluster; it returns the records that make
// the change and the response that says so. It owns no goroutine, clock or lock. run.go turns the crank:
//
//	request ──► decide on the speculative image ──► propose the records ──► committed ──► response
//	                       ▲                             │
//	                       └──── replayed at once ◄──────┘
//
// The speculative image is the committed one plus the controller's own records that are still on their way, so
// that requests need not wait for each other's syncs. It is dropped when leadership is lost or a proposal
// fails; what was decided on it is then answered with NOT_CONTROLLER. A response never leaves before all records
// that it was decided on are committed, also one that brings no records of its own.
//
// A change of k partitions costs O(k log n): the image is a persistent tree, and an index tells which partitions
// a broker holds.
package controller

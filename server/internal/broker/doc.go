// Package broker owns the life of a broker: it registers with the controller, keeps its session with heartbeats,
// hands every metadata image to the rooms it concerns in one fixed order, carries requests to the active
// controller, and leaves in good order.
//
//	          register            image shows us unfenced          Leave            controller agrees
//	STARTING ─────────▶ RECOVERING ─────────────────────▶ RUNNING ─────▶ LEAVING ───────────────────▶ GONE
//	   ▲                     ▲                               │
//	   │                     └──── fenced: session lost ─────┤
//	   └───────── epoch stale or id unknown: register again ─┘
//
// What to say next is decided by lifecycle, which owns no goroutine, clock or connection; Broker turns its crank.
package broker

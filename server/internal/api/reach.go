package api

import (
	"hash/maphash"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// endpoint is where the client of this call is told to find a broker: the address that the broker registered for the
// listener, or, for this node and with advertised.listeners=auto, the address that the client's own connection came in
// on, which it can certainly reach.
func (c *call) endpoint(b *metadata.Broker) (host string, port int32, ok bool) {
	if b.ID == c.t.o.NodeID && c.t.o.AutoAdvertised != nil && c.t.o.AutoAdvertised(c.Conn.Listener) {
		if h, p, err := net.SplitHostPort(c.Conn.Local.String()); err == nil {
			if n, err := strconv.ParseUint(p, 10, 16); err == nil {
				return h, int32(n), true
			}
		}
	}
	e, ok := b.Endpoint(c.Conn.Listener)
	return e.Host, int32(e.Port), ok
}

func joinHostPort(host string, port int32) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// reach notices clients that fetch metadata and never come back to the address that it advertises: what lies behind
// address translation cannot be guessed, but it can be said. A client is its address and its client id. What is
// remembered of clients is bounded in number and size, and costs no goroutine and no timer.
type reach struct {
	log *slog.Logger

	mu      sync.Mutex
	seed    maphash.Seed
	waiting map[visitor]visit // asked for metadata; nothing else was heard of them yet
	settled generations       // did come, or were told of
}

// visitor is the hash of a client's address and id: ids can be long.
type visitor uint64

type visit struct {
	first time.Time
	asked int
}

const (
	// reachAfter is how long a client may take from its metadata to its first real request, and reachAsked how often
	// it must have asked for metadata in that time to be told of: one that asks once may have wanted no more.
	reachAfter = 30 * time.Second
	reachAsked = 3
	// reachMax bounds what is remembered of clients.
	reachMax = 8192
)

// generations is a set that forgets: it holds the last reachMax members, and at most as many older ones.
type generations struct{ now, before map[visitor]struct{} }

func (g *generations) has(v visitor) bool {
	if _, ok := g.now[v]; ok {
		return true
	}
	_, ok := g.before[v]
	return ok
}

func (g *generations) add(v visitor) {
	if len(g.now) >= reachMax {
		g.now, g.before = nil, g.now
	}
	if g.now == nil {
		g.now = make(map[visitor]struct{})
	}
	g.now[v] = struct{}{}
}

// visitor needs mu.
func (r *reach) visitor(c *listener.Conn, clientID string) visitor {
	if r.waiting == nil {
		r.seed, r.waiting = maphash.MakeSeed(), make(map[visitor]visit)
	}
	return visitor(maphash.Comparable(r.seed, [2]string{host(c.Remote), clientID}))
}

// sawMetadata notes that a client was told an address. A client that asks again and again for longer than reachAfter,
// and does nothing else, is told of in the log, once.
func (r *reach) sawMetadata(c *listener.Conn, clientID, advertised string) {
	if c.Worked || advertised == c.Local.String() && host(c.Remote) == host(c.Local) {
		return // on this machine there is nothing between the client and the address
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.visitor(c, clientID)
	if r.settled.has(v) {
		return
	}
	now := time.Now()
	seen, known := r.waiting[v]
	if !known {
		if len(r.waiting) >= reachMax {
			clear(r.waiting)
		}
		seen.first = now
	}
	seen.asked++
	if waited := now.Sub(seen.first); seen.asked >= reachAsked && waited >= reachAfter {
		delete(r.waiting, v)
		r.settled.add(v)
		r.log.Warn("a client asks for metadata again and again but never comes to the address that it is told: can it reach that address? If not, set advertised.listeners to one that it can",
			"client", host(c.Remote), "client id", clientID, "told", advertised, "for", waited.Round(time.Second))
		return
	}
	r.waiting[v] = seen
}

// sawWork notes that a client did reach an advertised address: it sent more than what one asks to find the way. It costs
// a look at a field but for the first time.
func (r *reach) sawWork(c *listener.Conn, clientID string) {
	if c.Worked {
		return
	}
	c.Worked = true
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.visitor(c, clientID)
	delete(r.waiting, v)
	r.settled.add(v)
}

// asksTheWay reports whether a request is one that clients send to the address that they were configured with.
func asksTheWay(key wire.APIKey) bool {
	switch key {
	case wire.KeyApiVersions, wire.KeyMetadata, wire.KeyDescribeCluster, wire.KeySaslHandshake, wire.KeySaslAuthenticate:
		return true
	}
	return false
}

package api

import (
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

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
// address translation cannot be guessed, but it can be said. A client is its address and its client id. It remembers
// a bounded number of them, and costs no goroutine and no timer.
type reach struct {
	log *slog.Logger

	mu      sync.Mutex
	waiting map[visitor]*visit // asked for metadata; nothing else was heard of them yet
	told    map[visitor]struct{}
}

type visitor struct{ host, clientID string }

type visit struct {
	first      time.Time
	advertised string
}

const (
	// reachAfter is how long a client may take from its metadata to its first real request.
	reachAfter = 30 * time.Second
	// reachMax bounds what is remembered of clients.
	reachMax = 1024
)

// sawMetadata notes that a client was told an address. A client that asks again and again after reachAfter, and did
// nothing else, is told of in the log, once.
func (r *reach) sawMetadata(c *listener.Conn, clientID, advertised string) {
	if c.Worked {
		return
	}
	v := visitor{host(c.Remote), clientID}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, told := r.told[v]; told {
		return
	}
	now := time.Now()
	seen := r.waiting[v]
	if seen == nil {
		if r.waiting == nil || len(r.waiting) >= reachMax {
			r.waiting = make(map[visitor]*visit)
		}
		r.waiting[v] = &visit{now, advertised}
		return
	}
	if now.Sub(seen.first) < reachAfter {
		return
	}
	delete(r.waiting, v)
	if r.told == nil || len(r.told) >= reachMax {
		r.told = make(map[visitor]struct{})
	}
	r.told[v] = struct{}{}
	r.log.Warn("a client asks for metadata again and again but never comes to the address it is told: can it reach that address? If not, set advertised.listeners",
		"client", v.host, "client id", v.clientID, "told", seen.advertised, "for", now.Sub(seen.first).Round(time.Second))
}

// sawWork notes that a client did reach an advertised address. It costs a look at a field but for the first time.
func (r *reach) sawWork(c *listener.Conn, clientID string) {
	if c.Worked {
		return
	}
	c.Worked = true
	r.mu.Lock()
	delete(r.waiting, visitor{host(c.Remote), clientID})
	r.mu.Unlock()
}

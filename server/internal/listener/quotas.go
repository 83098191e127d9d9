package listener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Quotas is how many connections several listeners take together, and how fast (KIP-402, KIP-612). Like Kafka's:
//
//	max.connections of the broker   all listeners wait, but for a protected one, which makes room instead:
//	                                the connection of another listener that was used least recently is closed
//	max.connections of a listener   that listener waits
//	max.connection.creation.rate    of the broker or a listener: it waits, a protected one only for its own rate
//	max.connections.per.ip          the connection is closed
//
// A listener that waits accepts nothing: its clients stand in the backlog of the socket. Where the limit was lowered under
// what is open, connections of unprotected listeners are closed until it holds.
type Quotas struct {
	mu        sync.Mutex
	limits    Limits
	listeners []*Listener
	total     int
	perIP     map[netip.Addr]int
	open      map[*Listener]int
	paces     map[*Listener]*pace
	pace      pace
	changed   chan struct{} // closed, and made anew, when a place may be free or the limits are others
}

// Limits are the settings of Quotas. NoLimit is no limit.
type Limits struct {
	Ceiling
	// PerIP is max.connections.per.ip, and IPs what max.connections.per.ip.overrides puts in its place.
	PerIP int
	IPs   map[netip.Addr]int
	// Listeners are the ceilings of single listeners, by name; a listener that is missing has the broker's.
	Listeners map[string]Ceiling
}

// Ceiling is how many connections there may be, and how many may come in a second.
type Ceiling struct{ Connections, Rate int }

// NoLimit is Kafka's default for all of them.
const NoLimit = math.MaxInt32

// Unlimited are the limits of a node that sets none.
func Unlimited() Limits {
	return Limits{Ceiling: Ceiling{NoLimit, NoLimit}, PerIP: NoLimit}
}

// NewQuotas returns quotas without a limit.
func NewQuotas() *Quotas {
	return &Quotas{limits: Unlimited(), pace: pace{rate: NoLimit}, perIP: make(map[netip.Addr]int), open: make(map[*Listener]int), paces: make(map[*Listener]*pace), changed: make(chan struct{})}
}

// Set changes the limits. They hold at once: who waits is let in when there is room now, and what is too much is closed.
func (q *Quotas) Set(limits Limits) {
	q.mu.Lock()
	now := time.Now()
	q.limits = limits
	q.pace.set(limits.Rate, now)
	for l, p := range q.paces {
		p.set(limits.of(l).Rate, now)
	}
	q.wake()
	q.mu.Unlock()
	q.trim()
}

// of returns the ceiling of one listener.
func (m *Limits) of(l *Listener) Ceiling {
	if c, ok := m.Listeners[l.cfg.Name]; ok {
		return c
	}
	return m.Ceiling
}

// ofIP returns how many connections an address may have.
func (m *Limits) ofIP(ip netip.Addr) int {
	if most, ok := m.IPs[ip]; ok {
		return most
	}
	return m.PerIP
}

// join puts a listener under the quotas.
func (q *Quotas) join(l *Listener) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.listeners = append(q.listeners, l)
	q.paces[l] = &pace{}
	q.paces[l].set(q.limits.of(l).Rate, time.Now())
}

// wake has everyone that waits look again; mu is held.
func (q *Quotas) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// take waits for a place for a connection that a listener has accepted, and counts it. It fails when its address has too
// many, or ctx ends first. A connection that is counted leaves by give.
func (q *Quotas) take(ctx context.Context, l *Listener, ip netip.Addr) error {
	q.mu.Lock()
	now := time.Now()
	wait := q.paces[l].next(now)
	if !l.cfg.Protected {
		wait = max(wait, q.pace.next(now))
	}
	why := q.full(l)
	if wait > 0 && why == "" {
		why = "max.connection.creation.rate"
	}
	for told, due := false, now.Add(wait); wait > 0 || q.full(l) != ""; wait = time.Until(due) {
		changed := q.changed
		q.mu.Unlock()
		if !told {
			l.warn("connections have to wait", "limit", why)
			told = true
		}
		var late <-chan time.Time
		if wait > 0 {
			late = time.After(wait)
			changed = nil // a place does not help before its time
		}
		select {
		case <-late:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		q.mu.Lock()
	}
	if why != "" {
		l.stats.blocked.Add(int64(time.Since(now)))
	}
	err := q.count(ip, !l.cfg.Proxy)
	if err == nil {
		q.total++
		q.open[l]++
	}
	q.mu.Unlock()
	if err == nil {
		q.trim()
	}
	return err
}

// full returns the limit that leaves a listener no place, "" when there is one; mu is held.
func (q *Quotas) full(l *Listener) string {
	switch {
	case !l.cfg.Protected && q.total >= q.limits.Connections:
		return "max.connections"
	case q.open[l] >= q.limits.of(l).Connections:
		return "max.connections of the listener"
	}
	return ""
}

// count counts a connection of an address, if it may have one more; mu is held.
func (q *Quotas) count(ip netip.Addr, limited bool) error {
	if n := q.perIP[ip]; limited && n >= q.limits.ofIP(ip) {
		return fmt.Errorf("there are %d connections from there already (max.connections.per.ip)", n)
	}
	q.perIP[ip]++
	return nil
}

// move counts a connection as another address's than before.
func (q *Quotas) move(from, to netip.Addr) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.count(to, true); err != nil {
		return err
	}
	q.uncount(from)
	return nil
}

func (q *Quotas) uncount(ip netip.Addr) {
	if q.perIP[ip]--; q.perIP[ip] <= 0 {
		delete(q.perIP, ip)
	}
}

// give frees the place of a connection that is gone.
func (q *Quotas) give(l *Listener, ip netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	q.open[l]--
	q.uncount(ip)
	q.wake()
}

// errCrowded is why a connection ends that had to make room.
var errCrowded = errors.New("there are more connections than max.connections, and it was used least recently")

// trim closes connections until max.connections holds, those first that were used least recently. One that is closed already
// counts as gone, although it still has its place.
func (q *Quotas) trim() {
	q.mu.Lock()
	over := q.total - q.limits.Connections
	var listeners []*Listener
	if over > 0 {
		for _, l := range q.listeners {
			if !l.cfg.Protected {
				listeners = append(listeners, l)
			}
		}
	}
	q.mu.Unlock()
	type user struct {
		*Conn
		used time.Time
	}
	var users []user
	for _, l := range listeners {
		for _, c := range l.connections() {
			users = append(users, user{c, c.used()})
		}
	}
	slices.SortFunc(users, func(a, b user) int { return cmp.Or(a.used.Compare(b.used), cmp.Compare(a.ID, b.ID)) })
	for _, u := range users[:min(max(over, 0), len(users))] {
		if u.end(errCrowded, true) {
			u.l.stats.evicted.Add(1)
		}
	}
}

// pace is how fast connections may come: rate a second in the long run and, after a quiet time, those of ten seconds at once,
// which is what Kafka's window of eleven samples of a second comes to.
type pace struct {
	rate int
	free float64 // how many may come at once; below 0, how many are waited for
	at   time.Time
}

const paceWindow = 10

// set changes the rate. What came too fast under the old one is not forgotten.
func (p *pace) set(rate int, now time.Time) {
	if rate == p.rate {
		return
	}
	most := paceWindow * float64(rate)
	if p.refill(now); p.rate == 0 || p.rate == NoLimit {
		p.free = most
	}
	p.rate, p.free = rate, min(p.free, most)
}

func (p *pace) refill(now time.Time) {
	p.free = min(p.free+now.Sub(p.at).Seconds()*float64(p.rate), paceWindow*float64(p.rate))
	p.at = now
}

// next counts a connection, and returns how long it has to wait.
func (p *pace) next(now time.Time) time.Duration {
	switch p.rate {
	case NoLimit:
		return 0
	case 0:
		return time.Second // as in Kafka, where no connection waits for longer
	}
	p.refill(now)
	p.free--
	return max(0, time.Duration(-p.free/float64(p.rate)*float64(time.Second)))
}

package listener

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/server/internal/budget"
)

// house is several listeners under one quota.
func house(t *testing.T, limits Limits, names ...string) (*Quotas, map[string]*node) {
	q := NewQuotas()
	q.Set(limits)
	nodes := make(map[string]*node)
	for _, name := range names {
		nodes[name] = prepare(t, Config{Name: name, Quotas: q, Protected: name == "INTERNAL"}, echo)
		nodes[name].serve()
	}
	return q, nodes
}

func served(c *client) *client {
	c.t.Helper()
	c.send(metadata(1))
	c.want(1)
	return c
}

// waits requires that the connection is not served, and is none the worse for it.
func (n *node) waits(c *client, why string) {
	n.t.Helper()
	eventually(n.t, "a line that says "+why, func() bool {
		return strings.Contains(n.log.String(), "connections have to wait") && strings.Contains(n.log.String(), why)
	})
	c.send(metadata(1))
	c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !timedOut(err) {
		n.t.Fatalf("a connection beyond the limit: %v", err)
	}
}

// A listener that has no place waits for one; nobody is turned away.
func TestTooManyConnectionsWait(t *testing.T) {
	for why, limits := range map[string]Limits{
		"limit=max.connections":                   {Ceiling: Ceiling{2, NoLimit}, PerIP: NoLimit},
		`limit="max.connections of the listener"`: {Ceiling: Ceiling{NoLimit, NoLimit}, PerIP: NoLimit, Listeners: map[string]Ceiling{"A": {2, NoLimit}}},
	} {
		t.Run(why, func(t *testing.T) {
			_, nodes := house(t, limits, "A")
			a := nodes["A"]
			first, _ := served(a.dial()), served(a.dial())
			third := a.dial()
			a.waits(third, why)
			if s := a.Stats(); s.Refused != 0 || s.Open != 2 || s.Evicted != 0 {
				t.Errorf("%+v", s)
			}
			first.Close()
			third.want(1)
			eventually(t, "the waiting counted", func() bool { return a.Stats().Blocked > 0 })
		})
	}
}

// The limit of the broker is one for all listeners; that of a listener leaves the others alone.
func TestListenersShareTheBrokersLimit(t *testing.T) {
	q, nodes := house(t, Limits{Ceiling: Ceiling{2, NoLimit}, PerIP: NoLimit}, "A", "B")
	served(nodes["A"].dial())
	served(nodes["A"].dial())
	late := nodes["B"].dial()
	nodes["B"].waits(late, "max.connections")
	q.Set(Limits{Ceiling: Ceiling{3, NoLimit}, PerIP: NoLimit, Listeners: map[string]Ceiling{"A": {2, NoLimit}}})
	late.want(1) // a limit that is raised lets in who waits
	q.Set(Limits{Ceiling: Ceiling{9, NoLimit}, PerIP: NoLimit, Listeners: map[string]Ceiling{"A": {2, NoLimit}}})
	full := nodes["A"].dial()
	nodes["A"].waits(full, "max.connections of the listener")
	served(nodes["B"].dial())
}

// Brokers get their connections whatever clients do: the client's connection that was used least recently is closed.
func TestBrokersAreGivenRoom(t *testing.T) {
	_, nodes := house(t, Limits{Ceiling: Ceiling{3, NoLimit}, PerIP: NoLimit}, "A", "INTERNAL")
	idle := served(nodes["A"].dial())
	busy := served(nodes["A"].dial())
	inside := served(nodes["INTERNAL"].dial())
	served(idle) // so that it is the younger of the two
	served(nodes["INTERNAL"].dial())
	busy.wantClosed()
	served(idle)
	served(inside)
	if a, in := nodes["A"].Stats(), nodes["INTERNAL"].Stats(); a.Evicted != 1 || in.Evicted != 0 {
		t.Errorf("%+v, %+v", a, in)
	}
	served(nodes["INTERNAL"].dial())
	idle.wantClosed()
	full := nodes["INTERNAL"].dial() // without a ceiling of its own it has the broker's
	nodes["INTERNAL"].waits(full, "max.connections of the listener")
}

// A limit that is lowered under what is open closes what was used least recently.
func TestALoweredLimitClosesConnections(t *testing.T) {
	q, nodes := house(t, Unlimited(), "A", "B")
	oldest := served(nodes["A"].dial())
	next := served(nodes["B"].dial())
	last := served(nodes["A"].dial())
	q.Set(Limits{Ceiling: Ceiling{1, NoLimit}, PerIP: NoLimit})
	oldest.wantClosed()
	next.wantClosed()
	served(last)
}

// An address has one limit over all listeners, which an override replaces.
func TestConnectionsOfAnAddress(t *testing.T) {
	q, nodes := house(t, Limits{Ceiling: Ceiling{NoLimit, NoLimit}, PerIP: 2}, "A", "B")
	a := served(nodes["A"].dial())
	served(nodes["B"].dial())
	nodes["A"].dial().wantClosed()
	eventually(t, "the limit named in the log", func() bool { return strings.Contains(nodes["A"].log.String(), "(max.connections.per.ip)") })
	if s := nodes["A"].Stats(); s.Refused != 1 || s.Open != 1 || s.Accepted != 1 {
		t.Errorf("%+v", s)
	}
	q.Set(Limits{Ceiling: Ceiling{NoLimit, NoLimit}, IPs: map[netip.Addr]int{netip.MustParseAddr("127.0.0.1"): 3}})
	served(nodes["A"].dial())
	nodes["B"].dial().wantClosed()
	a.Close()
	eventually(t, "a place", func() bool { return nodes["A"].Stats().Open == 1 })
	served(nodes["A"].dial())
}

// Connections that come too fast are accepted at the rate that is allowed, and what was saved up in ten seconds at once.
func TestRateOfConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQuotas()
		q.Set(Limits{Ceiling: Ceiling{NoLimit, 4}, PerIP: NoLimit, Listeners: map[string]Ceiling{"A": {NoLimit, 4}, "B": {NoLimit, 4}, "INTERNAL": {NoLimit, 2}}})
		take := func(name string) func() {
			l := New(Config{Name: name, Quotas: q, Protected: name == "INTERNAL", Budget: budget.New(1 << 20), Log: slog.New(slog.DiscardHandler)}, handlerFunc(echo))
			return func() {
				if err := q.take(t.Context(), l, netip.Addr{}); err != nil {
					t.Error(err)
				}
			}
		}
		a, b, internal := take("A"), take("B"), take("INTERNAL")
		begun := time.Now()
		check := func(what string, want time.Duration) {
			t.Helper()
			if took := time.Since(begun).Round(time.Millisecond); took != want {
				t.Errorf("%s: %v are over, want %v", what, took, want)
			}
		}
		for range 20 {
			a()
			b()
		}
		check("a quiet time's worth", 0)
		a()
		check("one more", 250*time.Millisecond)
		for range 4 {
			b() // its own rate is not used up, the broker's is
		}
		check("four of another listener", 1250*time.Millisecond)
		for range 20 {
			internal()
		}
		check("brokers, at their own rate", 1250*time.Millisecond)
		internal()
		check("brokers beyond it", 1750*time.Millisecond)
		q.Set(Limits{PerIP: NoLimit, Ceiling: Ceiling{NoLimit, 0}})
		a()
		a()
		check("a rate of 0 lets one in each second", 3750*time.Millisecond)
		q.Set(Unlimited())
		for range 100 {
			a()
		}
		check("without a limit", 3750*time.Millisecond)
	})
}

// A listener that waits for a place can be closed.
func TestCloseWhileConnectionsWait(t *testing.T) {
	_, nodes := house(t, Limits{PerIP: NoLimit, Ceiling: Ceiling{0, NoLimit}}, "A")
	c := nodes["A"].dial()
	nodes["A"].waits(c, "max.connections")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := nodes["A"].Close(ctx); err != nil {
		t.Fatal(err)
	}
	c.wantClosed()
}

func TestParseLimits(t *testing.T) {
	addresses := func(host string) ([]netip.Addr, error) {
		if ip, is := Address(host); is {
			return []netip.Addr{ip}, nil
		}
		if host == "localhost" {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return nil, errors.New("no such host")
	}
	set := map[string]string{
		"max.connections": "100", "max.connection.creation.rate": "50", "max.connections.per.ip": "10", "max.connections.per.ip.overrides": "10.0.0.7:3, ::1:5,[fe80::1]:6, localhost : 7",
		"listener.name.internal.max.connections": "20", "listener.name.client.max.connection.creation.rate": "5",
	}
	limits, err := ParseLimits(func(key string) (string, bool) { v, ok := set[key]; return v, ok }, []string{"INTERNAL", "CLIENT"}, addresses)
	if err != nil {
		t.Fatal(err)
	}
	if limits.Ceiling != (Ceiling{100, 50}) || limits.PerIP != 10 || limits.Listeners["INTERNAL"] != (Ceiling{20, 50}) || limits.Listeners["CLIENT"] != (Ceiling{100, 5}) {
		t.Errorf("%+v", limits)
	}
	for ip, most := range map[string]int{"10.0.0.7": 3, "fe80::1": 6, "127.0.0.1": 7, "10.0.0.8": 10} {
		if got := limits.ofIP(netip.MustParseAddr(ip)); got != most {
			t.Errorf("%s may have %d connections, want %d", ip, got, most)
		}
	}
	set["max.connections.per.ip.overrides"] = "no-such-host.invalid:1,10.0.0.7:3"
	if limits, err = ParseLimits(func(key string) (string, bool) { v, ok := set[key]; return v, ok }, nil, addresses); err == nil || !strings.Contains(err.Error(), `"no-such-host.invalid"`) || limits.ofIP(netip.MustParseAddr("10.0.0.7")) != 3 {
		t.Errorf("%+v, %v", limits, err)
	}
	for _, bad := range []string{"10.0.0.1", ":5", "10.0.0.1:", "10.0.0.1:x", "10.0.0.1:-1", "10.0.0.1:1,", "a b:1", "10.0.0.1:99999999999"} {
		if _, err := parseOverrides(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

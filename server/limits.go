package server

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/listener"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// limits are those of connections. They may name hosts, whose addresses are looked up beside the metadata: that does not
// wait for a name server. Until an address is known its limit does not hold, and one that was known holds on.
type limits struct {
	limiting  sync.Mutex // held while limits are read and set, so that the newest stay
	addresses struct {
		*follower
		known map[string][]netip.Addr // under limiting
	}
}

// lookupTimeout is how long the looking up of names may take in all.
const lookupTimeout = 2 * time.Second

// limitConnections is a metadata.Publisher: the limits of connections may change while the node runs (KIP-226).
func (n *node) limitConnections(_ *metadata.Image, delta *metadata.Delta) {
	for r := range delta.ChangedConfigs() {
		if r.Type == kafka.ResourceBroker && (r.Name == "" || r.Name == strconv.Itoa(int(n.nodeID))) {
			if n.setLimits() {
				n.addresses.changed()
			}
			return
		}
	}
}

// setLimits has the limits hold that the newest image says, and reports whether these name hosts.
func (n *node) setLimits() (names bool) {
	n.limiting.Lock()
	defer n.limiting.Unlock()
	limits, _ := n.parseLimits(func(host string) ([]netip.Addr, error) {
		names = true
		return n.addresses.known[host], nil
	})
	n.ofBroker.Set(limits)
	n.ofController.Set(limits)
	return names
}

// lookUp finds the addresses of the hosts that limits name, and has the limits hold.
func (n *node) lookUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found := map[string][]netip.Addr{}
	_, err := n.parseLimits(func(host string) (ips []netip.Addr, err error) {
		ips, err = resolve(ctx, host)
		found[host] = ips
		return ips, err
	})
	if err != nil && ctx.Err() != context.Canceled {
		n.log.Warn("not every limit of connections holds", "error", err)
	}
	n.limiting.Lock()
	for host, ips := range found {
		if len(ips) == 0 {
			found[host] = n.addresses.known[host]
		}
	}
	n.addresses.known = found
	n.limiting.Unlock()
	n.setLimits()
}

// resolve looks a name up; tests have name servers of their own.
var resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// parseLimits reads the limits of the newest image; names says what is known of hosts that are named.
func (n *node) parseLimits(names func(host string) ([]netip.Addr, error)) (listener.Limits, error) {
	layers := n.layers(n.loader.Image())
	return listener.ParseLimits(func(key string) (string, bool) { return n.brokerKeys.Effective(key, layers...) }, n.names, func(host string) ([]netip.Addr, error) {
		if ip, is := listener.Address(host); is {
			return []netip.Addr{ip}, nil
		}
		return names(host)
	})
}

package listener

import "github.com/millrace-io/millrace/config"

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "socket.request.max.bytes", Type: config.Int, Default: config.Value("104857600"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "The largest request that is taken."},
		{Name: "connections.max.idle.ms", Type: config.Long, Default: config.Value("600000"), Importance: config.Medium,
			Doc: "How long a connection may be idle before it is closed."},
		{Name: "max.connections", Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How many connections a listener takes at a time."},
		{Name: "max.connections.per.ip", Type: config.Int, Default: config.Value("2147483647"), Valid: config.AtLeast(0), Importance: config.Medium, Update: config.ClusterWide,
			Doc: "How many connections a listener takes at a time from one address."},
		{Name: "proxy.protocol.listeners", Type: config.List, Default: config.Value(""), Importance: config.Medium,
			Doc: "The listeners whose connections come through a load balancer that begins each with a PROXY protocol header, version 1 or 2: the client's address is taken from it, and the address that the client connected to is what advertised.listeners=auto tells. A connection without one is closed. A key of Millrace."},
	}
}
